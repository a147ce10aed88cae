"""Whether dynamics with a model holds: drift of the energy at constant volume and no thermostat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase import units
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from pydantic import BaseModel, ConfigDict

from lbpsi_driver.training import md

MOST_SAMPLES = 200


class Drift(BaseModel):
    """Outcome of an NVE run.

    Attributes
    ----------
    drift_eV_per_atom_per_ps : float or None
        Slope of the total energy, least squares; None where the run stopped at once.
    fluctuation_eV_per_atom : float or None
        Standard deviation of the total energy about that line.
    temperature_K : float or None
        Mean temperature.
    time_ps : float
        How long it ran.
    stopped : str or None
        Why it was stopped; None where it was not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drift_eV_per_atom_per_ps: float | None
    fluctuation_eV_per_atom: float | None
    temperature_K: float | None
    time_ps: float
    stopped: str | None


def nve(
    atoms: ase.Atoms,
    calculator: Any,
    *,
    temperature: float,
    time_ps: float,
    timestep_fs: float,
    seed: int,
    advance: Callable[[str], None] = lambda text: None,
) -> Drift:
    """Run velocity Verlet from thermal velocities and fit the total energy against time.

    Parameters
    ----------
    atoms : ase.Atoms
        A cell that was equilibrated near the temperature; left as it is.
    calculator : ase calculator
        The model.
    temperature : float
        Temperature of the velocities, K.
    time_ps, timestep_fs : float
        Length and time step.
    seed : int
        Seed of the velocities.
    advance : callable
        Told of each of :func:`samples` stretches.

    Returns
    -------
    Drift
        A run whose forces pass ``md.LARGEST_FORCE`` is stopped there.
    """
    atoms = atoms.copy()
    atoms.calc = calculator
    _thermalise(atoms, temperature, np.random.default_rng(seed))
    dynamics = VelocityVerlet(atoms, timestep_fs * units.fs)
    every, number = samples(time_ps, timestep_fs)
    rows = []
    stopped = None
    for sample in range(number + 1):
        if sample:
            dynamics.run(every)
            advance(f"{sample * every} steps")
        largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        if not largest < md.LARGEST_FORCE:
            stopped = f"force of {largest:.0f} eV/Å at step {sample * every}"
            break
        time = 1e-3 * sample * every * timestep_fs
        rows.append((time, atoms.get_total_energy() / len(atoms), atoms.get_temperature()))
    if len(rows) < 2:
        return Drift(
            drift_eV_per_atom_per_ps=None,
            fluctuation_eV_per_atom=None,
            temperature_K=None,
            time_ps=0.0,
            stopped=stopped,
        )
    time, energy, kelvin = np.array(rows).T
    slope, start = np.polyfit(time, energy - energy[0], 1)
    rest = energy - energy[0] - slope * time - start
    return Drift(
        drift_eV_per_atom_per_ps=float(slope),
        fluctuation_eV_per_atom=float(rest.std()),
        temperature_K=float(kelvin.mean()),
        time_ps=float(time[-1]),
        stopped=stopped,
    )


def _thermalise(atoms: ase.Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Draw momenta, take the drift out, and scale to the temperature itself."""
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses())[:, None])
    Stationary(atoms, preserve_temperature=False)
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(temperature / atoms.get_temperature()))


def samples(time_ps: float, timestep_fs: float) -> tuple[int, int]:
    """Return the steps between two samples of the energy, and how many intervals there are."""
    steps = max(2, round(1e3 * time_ps / timestep_fs))
    every = -(-steps // MOST_SAMPLES)
    return every, max(2, steps // every)
