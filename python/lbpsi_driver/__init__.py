"""Molecular dynamics of glassy solid electrolytes: melt, quench, sweep, analyse."""

__version__ = "0.1.0"
