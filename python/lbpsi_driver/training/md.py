"""Molecular dynamics for sampling, with any ASE calculator: segments of temperature and volume.

The production runs are LAMMPS's; here the calculator may be a teacher that LAMMPS does not know,
and the trajectory is a means to get well-spread frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import ase
import numpy as np
from ase import units
from ase.md.langevinbaoab import LangevinBAOAB
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.optimize import FIRE

from lbpsi_driver.config import UsageError
from lbpsi_driver.training.options import Segment

THERMOSTAT_FS = 100.0
BAROSTAT_FS = 500.0
CHUNK_STEPS = 5
"""Steps between two updates of the temperature and, at constant volume, the cell."""

RELAXED = 0.5
"""eV/Å: a minimisation ends when no force is larger."""

MINIMISER_EVERY = 3
"""Steps between two recorded frames of a minimisation."""

NEAREST = 0.5
"""Times the sum of the covalent radii: atoms that are nearer have fallen into each other."""

LARGEST_FORCE = 60.0
"""eV/Å: beyond it the calculator has left what it knows, and no frame after it is worth a label."""

VOLUME_LIMITS = (0.5, 3.0)
"""Times the volume at the start: outside it the cell has collapsed or boiled off."""


class RunawayError(UsageError):
    """A trajectory in ASE ran away: one line that says where. LAMMPS's is ``engine``'s."""


def relax(
    atoms: ase.Atoms,
    steps: int,
    record: Callable[[ase.Atoms, int, float], None] | None = None,
    every: int = MINIMISER_EVERY,
) -> None:
    """Minimise at fixed cell, so that dynamics never starts from a fresh packing.

    The way down is recorded too: a model that has not seen it falls into holes at short distances.

    Parameters
    ----------
    atoms : ase.Atoms
        With a calculator; its positions are changed.
    steps : int
        At most as many; fewer where no force is larger than ``RELAXED``.
    record : callable, optional
        Gets the atoms, the step, which is negative and counts up to 0, and 0 K.
    every : int
        Steps between two calls of ``record``.

    Raises
    ------
    RunawayError
        Where atoms fall into each other.
    """
    minimiser = FIRE(atoms, logfile=None)

    def look() -> None:
        refuse_contact(atoms, minimiser.nsteps - steps)
        if record is not None and minimiser.nsteps < steps:
            record(atoms, minimiser.nsteps - steps, 0.0)

    minimiser.attach(look, interval=every)
    minimiser.run(fmax=RELAXED, steps=steps)


def contact(atoms: ase.Atoms) -> str | None:
    """Name a pair of elements that is nearer than ``NEAREST``; None where there is none."""
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=NEAREST))
    if not len(first):
        return None
    return "-".join(sorted({atoms.symbols[first[0]], atoms.symbols[second[0]]}))


def refuse_contact(atoms: ase.Atoms, step: int) -> None:
    """Refuse atoms nearer than ``NEAREST`` times the sum of their covalent radii.

    Raises
    ------
    RunawayError
        Names the two elements and the step.
    """
    pair = contact(atoms)
    if pair is not None:
        raise RunawayError(
            f"{pair} fell into each other at step {step}; the calculator has a hole at short"
            " distances: fit it to frames of a minimisation by the reference"
        )


def steps_of(segments: Sequence[Segment], timestep_fs: float) -> list[int]:
    """Return the number of steps of each segment, whole chunks."""
    chunks = [max(1, round(1e3 * one.time / timestep_fs / CHUNK_STEPS)) for one in segments]
    return [CHUNK_STEPS * number for number in chunks]


def run(
    atoms: ase.Atoms,
    segments: Sequence[Segment],
    *,
    timestep_fs: float,
    every: int,
    seed: int,
    record: Callable[[ase.Atoms, int, float], None],
    start: int = 0,
    volume: float | None = None,
) -> None:
    """Run Langevin dynamics through segments of temperature and volume or pressure.

    Parameters
    ----------
    atoms : ase.Atoms
        With a calculator, and momenta where ``start`` is above 0; changed in place.
    segments : sequence of Segment
        Each with a time (ps), two temperatures (K) and either two volumes, as multiples of
        ``volume``, or a pressure (bar).
    timestep_fs : float
        Time step, fs.
    every : int
        Steps between two calls of ``record``; a multiple of ``CHUNK_STEPS``.
    seed : int
        Seed of velocities and noise.
    record : callable
        Gets the atoms, the step, and the target temperature (K).
    start : int
        Step to go on from.
    volume : float, optional
        Volume that the segments' multiples refer to, Å3; default: the present one.

    Raises
    ------
    RunawayError
        Where a force passes ``LARGEST_FORCE``, the volume ``VOLUME_LIMITS``, or atoms fall into
        each other, whose neighbours would fill the memory.

    References
    ----------
    B. Leimkuhler, C. Matthews, J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990.
    """
    volume = atoms.get_volume() if volume is None else volume
    # The noise after a continuation differs from that of the unbroken run, the ensemble does not.
    rng = np.random.default_rng([seed, start])
    if start == 0:
        variance = units.kB * segments[0].temperature[0] * atoms.get_masses()
        atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * np.sqrt(variance)[:, None])
    end = 0
    for segment, steps in zip(segments, steps_of(segments, timestep_fs), strict=True):
        begin, end = end, end + steps
        if start >= end:
            continue
        dynamics = _dynamics(atoms, segment, timestep_fs, rng)
        for step in range(max(begin, start) + CHUNK_STEPS, end + 1, CHUNK_STEPS):
            fraction = (step - begin) / steps
            temperature = float(np.interp(fraction, (0, 1), segment.temperature))
            dynamics.set_temperature(temperature)
            if segment.volume is not None:
                _scale(atoms, volume * float(np.interp(fraction, (0, 1), segment.volume)))
            dynamics.run(CHUNK_STEPS)
            _refuse_runaway(atoms, volume, step)
            refuse_contact(atoms, step)
            if step % every == 0:
                record(atoms, step, temperature)


def _dynamics(
    atoms: ase.Atoms, segment: Segment, timestep_fs: float, rng: np.random.Generator
) -> LangevinBAOAB:
    constant_pressure: dict[str, object] = {}
    if segment.volume is None:
        constant_pressure = {
            "externalstress": -segment.pressure * units.bar,
            "hydrostatic": True,
            "P_tau": BAROSTAT_FS * units.fs,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reports its own choice of the barostat's mass
        return LangevinBAOAB(
            atoms,
            timestep_fs * units.fs,
            temperature_K=segment.temperature[0],
            T_tau=THERMOSTAT_FS * units.fs,
            rng=rng,
            **constant_pressure,
        )


def _scale(atoms: ase.Atoms, volume: float) -> None:
    atoms.set_cell(atoms.cell * np.cbrt(volume / atoms.get_volume()), scale_atoms=True)


def _refuse_runaway(atoms: ase.Atoms, volume: float, step: int) -> None:
    largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    if not largest < LARGEST_FORCE:
        raise RunawayError(
            f"force of {largest:.0f} eV/Å at step {step}; the calculator has left what it knows:"
            " start colder, or leave the frames after this out"
        )
    ratio = atoms.get_volume() / volume
    if not VOLUME_LIMITS[0] < ratio < VOLUME_LIMITS[1]:
        raise RunawayError(
            f"{ratio:.2f} times the starting volume at step {step}; the cell"
            f" {'boiled off' if ratio > 1 else 'collapsed'}: lower the temperature or hold the"
            " volume"
        )
