"""Model beside reference on labelled frames: errors of energy, forces and stress.

Errors are model minus reference. RMSE and MAE of forces and stress run over components, those of
energies over frames, per atom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ase
import numpy as np
from ase import units
from pydantic import BaseModel, ConfigDict

from lbpsi_driver import progress
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training import dataset
from lbpsi_driver.training import frames as store

ENERGY, FORCES, STRESS = "model_energy", "model_forces", "model_stress"
"""Keys of the model's results on a frame, beside the reference's; units as theirs."""

MPA = 1e6 * units.Pascal
"""One MPa in eV/Å3."""


class Errors(BaseModel):
    """Errors of a model on a set of frames.

    Attributes
    ----------
    frames, atoms : int
        How many frames, and atoms in all of them.
    energy_rmse_meV_per_atom, energy_mae_meV_per_atom : float
        Over frames.
    energy_bias_meV_per_atom : float
        Mean of model minus reference.
    force_rmse_meV_per_A, force_mae_meV_per_A : float
        Over components.
    force_max_meV_per_A : float
        Largest length of a difference.
    force_rmse_by_element, force_mae_by_element : dict of str to float
        The same of each element, meV/Å.
    stress_rmse_MPa, stress_mae_MPa : float
        Over the six components.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int
    atoms: int
    energy_rmse_meV_per_atom: float
    energy_mae_meV_per_atom: float
    energy_bias_meV_per_atom: float
    force_rmse_meV_per_A: float
    force_mae_meV_per_A: float
    force_max_meV_per_A: float
    force_rmse_by_element: dict[str, float]
    force_mae_by_element: dict[str, float]
    stress_rmse_MPa: float
    stress_mae_MPa: float


def predict(frames: Sequence[ase.Atoms], calculator: Any, title: str = "") -> list[ase.Atoms]:
    """Return copies of frames that hold a model's results beside their labels.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Any.
    calculator : ase calculator
        The model.
    title : str
        What progress calls the set.
    """
    done = []
    with progress.count(f"predict {title}".rstrip(), len(frames)) as advance:
        for frame in frames:
            atoms = frame.copy()
            atoms.calc = calculator
            atoms.info[ENERGY] = float(atoms.get_potential_energy())
            atoms.arrays[FORCES] = np.asarray(atoms.get_forces(), dtype=float)
            atoms.info[STRESS] = np.asarray(atoms.get_stress(voigt=True), dtype=float)
            atoms.calc = None
            done.append(atoms)
            advance(str(frame.info.get(store.ID, "")))
    return done


def energy_per_atom(frames: Sequence[ase.Atoms], key: str) -> Floats:
    """Energies of frames, eV/atom, shape (F,)."""
    return np.array([atoms.info[key] / len(atoms) for atoms in frames], dtype=np.float64)


def errors(frames: Sequence[ase.Atoms]) -> Errors:
    """Compare the model with the reference on frames that hold both.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        What :func:`predict` returned, at least one.
    """
    energy = 1e3 * (energy_per_atom(frames, ENERGY) - energy_per_atom(frames, store.ENERGY))
    force = 1e3 * np.concatenate([one.arrays[FORCES] - one.arrays[store.FORCES] for one in frames])
    stress = np.array([one.info[STRESS] - dataset.stress_of(one) for one in frames]) / MPA
    symbols = np.concatenate([np.array(one.get_chemical_symbols()) for one in frames])
    by_element = {name: force[symbols == name] for name in sorted(set(symbols.tolist()))}
    return Errors(
        frames=len(frames),
        atoms=len(symbols),
        energy_rmse_meV_per_atom=_rms(energy),
        energy_mae_meV_per_atom=_mean_abs(energy),
        energy_bias_meV_per_atom=float(energy.mean()),
        force_rmse_meV_per_A=_rms(force),
        force_mae_meV_per_A=_mean_abs(force),
        force_max_meV_per_A=float(np.linalg.norm(force, axis=1).max()),
        force_rmse_by_element={name: _rms(own) for name, own in by_element.items()},
        force_mae_by_element={name: _mean_abs(own) for name, own in by_element.items()},
        stress_rmse_MPa=_rms(stress),
        stress_mae_MPa=_mean_abs(stress),
    )


def grouped(frames: Sequence[ase.Atoms], name_of: Callable[[ase.Atoms], str]) -> dict[str, Errors]:
    """Return the errors of each group of frames, groups in order of their first frame.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        What :func:`predict` returned.
    name_of : callable
        Names the group of a frame.
    """
    groups: dict[str, list[ase.Atoms]] = {}
    for atoms in frames:
        groups.setdefault(name_of(atoms), []).append(atoms)
    return {name: errors(members) for name, members in groups.items()}


def composition(atoms: ase.Atoms) -> str:
    """Name the composition of a frame by its reduced formula."""
    return str(atoms.symbols.formula.reduce()[0].format("hill"))


def trajectory(atoms: ase.Atoms) -> str:
    """Name the trajectory of a frame."""
    return str(atoms.info.get(store.TRAJECTORY, "none"))


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _mean_abs(values: Floats) -> float:
    return float(np.mean(np.abs(values)))
