"""Energy against volume: a cell scaled isotropically, the model beside the reference."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from pydantic import BaseModel, ConfigDict

from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import parity

RATIO = "volume_ratio"


class EnergyVolume(BaseModel):
    """Energies and pressures of one cell at several volumes.

    Attributes
    ----------
    volume_ratio : tuple of float
        Volume over that of the cell itself; 1 is among them.
    volume_A3_per_atom : tuple of float
        Volumes.
    model_meV_per_atom, reference_meV_per_atom : tuple of float
        Energies, of each from its own at ratio 1.
    offset_meV_per_atom : float
        Model minus reference at ratio 1, which is taken out of these.
    model_pressure_MPa, reference_pressure_MPa : tuple of float
        Minus a third of the stress' trace, without the kinetic part.
    largest_deviation_meV_per_atom : float
        Largest absolute difference of model and reference, the offset taken out.
    at_volume_ratio : float
        Where that is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    volume_ratio: tuple[float, ...]
    volume_A3_per_atom: tuple[float, ...]
    model_meV_per_atom: tuple[float, ...]
    reference_meV_per_atom: tuple[float, ...]
    offset_meV_per_atom: float
    model_pressure_MPa: tuple[float, ...]
    reference_pressure_MPa: tuple[float, ...]
    largest_deviation_meV_per_atom: float
    at_volume_ratio: float


def scaled(
    atoms: ase.Atoms, volumes: tuple[float, float], points: int, name: str
) -> list[ase.Atoms]:
    """Scale a cell and its atoms to evenly spaced volumes; the cell's own is added to them.

    Parameters
    ----------
    atoms : ase.Atoms
        The cell.
    volumes : tuple of float
        Range of volumes, times the cell's.
    points : int
        How many.
    name : str
        Name of the cell, part of each frame's id.
    """
    frames = []
    for ratio in sorted({*np.linspace(*volumes, points).round(6).tolist(), 1.0}):
        frame = atoms.copy()
        frame.calc = None
        frame.set_cell(np.cbrt(ratio) * frame.cell.array, scale_atoms=True)
        frame = store.rounded(frame)
        frame.info = {store.ID: f"{name}/volume/{ratio:g}", store.TRAJECTORY: name, RATIO: ratio}
        frames.append(frame)
    return frames


def compare(frames: Sequence[ase.Atoms]) -> EnergyVolume | None:
    """Lay model and reference side by side.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Scaled cells with both results; those that the reference has no result for may be missing.

    Returns
    -------
    EnergyVolume or None
        None where the reference has none at the cell's own volume.
    """
    ratios = [float(atoms.info[RATIO]) for atoms in frames]
    if 1.0 not in ratios:
        return None
    own = ratios.index(1.0)
    model = 1e3 * parity.energy_per_atom(frames, parity.ENERGY)
    reference = 1e3 * parity.energy_per_atom(frames, store.ENERGY)
    offset = float(model[own] - reference[own])
    deviation = np.abs(model - reference - offset)
    worst = int(deviation.argmax())
    return EnergyVolume(
        volume_ratio=tuple(ratios),
        volume_A3_per_atom=tuple(atoms.get_volume() / len(atoms) for atoms in frames),
        model_meV_per_atom=tuple((model - model[own]).tolist()),
        reference_meV_per_atom=tuple((reference - reference[own]).tolist()),
        offset_meV_per_atom=offset,
        model_pressure_MPa=_pressure(frames, parity.STRESS),
        reference_pressure_MPa=_pressure(frames, store.STRESS),
        largest_deviation_meV_per_atom=float(deviation[worst]),
        at_volume_ratio=ratios[worst],
    )


def _pressure(frames: Sequence[ase.Atoms], key: str) -> tuple[float, ...]:
    stress: Floats = np.array([atoms.info[key] for atoms in frames], dtype=np.float64)
    return tuple((-stress[:, :3].mean(axis=1) / parity.MPA).tolist())
