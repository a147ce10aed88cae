"""Observables of a trajectory, one module each; DESIGN.md §3 has their definitions."""
