"""Units of labelled energies and forces, told by the other frames and by each other.

Energies in kcal/mol beside forces in eV/Å make a fit that learns neither. Where all frames are so,
energies give it away by how they vary: a pair potential that is fitted to the forces alone says
how much they should.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase import units
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training.frames import ENERGY, FORCES, TEMPERATURE, TRAJECTORY
from lbpsi_driver.training.pair_fit import PairFit

ENERGY_UNITS = {
    "Hartree": units.Hartree,
    "Rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "meV": 1e-3,
}
"""Units that energies are found in by mistake, eV."""

FORCE_UNITS = {
    "Hartree/Bohr": units.Hartree / units.Bohr,
    "Rydberg/Bohr": units.Rydberg / units.Bohr,
    "kcal/mol/Å": units.kcal / units.mol,
    "kJ/mol/Å": units.kJ / units.mol,
    "meV/Å": 1e-3,
}
"""Units that forces are found in by mistake, eV/Å; eV/Bohr is too near to be told by size."""

LEAST_ENERGY_GAP = 0.5
"""eV/atom: energies that differ by less from those of like composition are physics, not units."""

LEAST_FORCE_RATIO = 5.0
WARM_K = 100.0
"""Above it thermal forces can't be small: a relaxed frame is no frame in other units."""

MOST_PRESSED = 50.0
"""eV/Å: the forces of frames that are pressed together or are being minimised may be as large."""

MOST_FORCE, LEAST_STIFFNESS, MOST_STIFFNESS = 10.0, 0.02, 300.0
"""Median root mean square force of frames, eV/Å, and that squared over kT of warm ones, eV/Å2.

In 2040 frames of sulfide glasses, melts and salts the force is 0.8 eV/Å, and the stiffness 7.7,
from 1.2 to 24. By harmonic estimates solid argon has 0.2 (Lennard-Jones), diamond 60 (1200 cm-1).
"""

USUAL, LEAST, MOST = 1.5, 0.25, 8.0
"""How much more energies vary than a pair potential of their forces says, and what is doubted.

In 1980 frames of sulfide glasses, melts and salts, and in 1100 random parts of them, all in one
system of units, the ratio was 0.6 to 5.2, between 0.74 and 2.7 in 98 of 100.
"""

_USUAL_FORCE, _USUAL_STIFFNESS, _NEAR_FORCE = 0.8, 7.7, 3.0
_SPREADS = 8.0
_FEWEST = 8
_CERTAIN = 5.0
_FREEDOM = 3
_ASKED = 5
_NEAR = 2.0


def refuse_odd_frames(frames: Sequence[ase.Atoms], counts: Floats, names: Sequence[str]) -> None:
    """Refuse frames whose labels are in other units than those of most.

    Compared are energies an atom with a fit by composition, and the size of the forces.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F labelled frames.
    counts : ndarray, shape (F, E)
        Atoms of each element.
    names : sequence of str
        How messages call each frame.

    Raises
    ------
    UsageError
        One line that names the frame, the unit and the factor.
    """
    atoms_each = counts.sum(axis=1)
    energies = np.array([float(atoms.info[ENERGY]) for atoms in frames]) / atoms_each
    expected = _robust_fit(counts / atoms_each[:, None], energies)
    tolerance = max(_SPREADS * _spread(energies - expected), LEAST_ENERGY_GAP)
    odd = np.abs(energies - expected) > tolerance
    for number in np.flatnonzero(odd).tolist():
        known = ENERGY_UNITS | {"eV an atom": atoms_each[number]}
        gaps = {
            name: abs(factor * energies[number] - expected[number])
            for name, factor in known.items()
        }
        unit = min(gaps, key=lambda name: gaps[name])
        if gaps[unit] < min(tolerance, 0.2 * abs(energies[number] - expected[number])):
            raise UsageError(
                f"{names[number]}: its energy of {energies[number]:.4g} an atom fits the others,"
                f" {expected[number]:.4g} eV, only as {unit}; multiply it by {known[unit]:.6g}"
            )
    _refuse_mixed_forces(frames, names, ~odd)


def _refuse_mixed_forces(
    frames: Sequence[ase.Atoms], names: Sequence[str], sound: NDArray[np.bool_]
) -> None:
    sizes = np.array([np.sqrt(np.mean(atoms.arrays[FORCES] ** 2)) for atoms in frames])
    logs = np.log(np.maximum(sizes, 1e-300))
    middle, width = np.median(logs), max(_spread(logs), 0.25)
    off = logs - middle
    warm = np.array([float(atoms.info.get(TEMPERATURE, 0.0)) >= WARM_K for atoms in frames])
    far = np.abs(off) > max(3 * width, np.log(LEAST_FORCE_RATIO))
    pressed = ~warm & (sizes < MOST_PRESSED)
    for suspects in (far & sound & ~pressed & (off > 0), far & sound & warm & (off < 0)):
        if not suspects.any():
            continue
        # Many tell their unit better than one, whose forces may be large or small anyway.
        usual = float(np.median(off[suspects]))
        gaps = {name: abs(usual + np.log(factor)) for name, factor in FORCE_UNITS.items()}
        unit = min(gaps, key=lambda name: gaps[name])
        if gaps[unit] < min(3 * width, 0.4 * abs(usual)):
            number = int(np.flatnonzero(suspects)[0])
            raise UsageError(
                f"{names[number]}: its forces of {sizes[number]:.3g} rms fit the others,"
                f" {np.exp(middle):.3g} eV/Å, only as {unit}; multiply them by"
                f" {FORCE_UNITS[unit]:.6g}"
            )


def refuse_absurd_forces(frames: Sequence[ase.Atoms], names: Sequence[str]) -> None:
    """Refuse forces that nothing has in eV/Å: all labels may be in other units alike.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F labelled frames.
    names : sequence of str
        How messages call each frame.

    Raises
    ------
    UsageError
        One line with the size of the forces and the unit that they look like.
    """
    sizes = np.array([np.sqrt(np.mean(atoms.arrays[FORCES] ** 2)) for atoms in frames])
    kelvin = np.array([float(atoms.info.get(TEMPERATURE, 0.0)) for atoms in frames])
    force, warm = float(np.median(sizes)), kelvin >= WARM_K
    stiffness = np.square(sizes[warm]) / (units.kB * kelvin[warm])
    known = float(np.median(stiffness)) if len(stiffness) >= _FEWEST else None
    few = known is not None and known < LEAST_STIFFNESS
    if not few and force < MOST_FORCE and (known is None or known < MOST_STIFFNESS):
        return
    off = np.log(force / _USUAL_FORCE) if known is None else 0.5 * np.log(known / _USUAL_STIFFNESS)
    unit = min(FORCE_UNITS, key=lambda name: abs(off + np.log(FORCE_UNITS[name])))
    near = abs(off + np.log(FORCE_UNITS[unit])) < np.log(_NEAR_FORCE)
    looks = f"looks like {unit}: multiply it by {FORCE_UNITS[unit]:.6g}; " if near else ""
    hint = ", and energies and stresses too, where they are in its system of units" if near else ""
    told = "" if known is None else f" at {np.median(kelvin[warm]):.0f} K"
    raise UsageError(
        f"{names[0]} and {len(names) - 1} more: {FORCES} of {force:.3g} rms{told} is too"
        f" {'small' if few else 'large'} for eV/Å; {looks}expected eV and Å{hint}"
    )


def refuse_unlike_forces(
    frames: Sequence[ase.Atoms], counts: Floats, names: Sequence[str], pairs: PairFit
) -> None:
    """Refuse energies that are in other units than the forces, in all frames or a trajectory.

    Within frames of one trajectory and composition, energies are compared with those of a pair
    potential of the forces; what follows the volume is left out, since forces leave it open.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F labelled frames.
    counts : ndarray, shape (F, E)
        Atoms of each element.
    names : sequence of str
        How messages call each frame.
    pairs : PairFit
        Of these frames.

    Raises
    ------
    UsageError
        One line that names the first of the frames, the factor and the unit that it looks like.
        What varies too little to tell passes.
    """
    left: list[int] = []
    odd: dict[int, float] = {}
    for own in _trajectories(frames):
        ratio = _ratio(own, frames, counts, pairs)
        if ratio is None:
            left.extend(own.tolist())
        else:
            odd |= dict.fromkeys(own.tolist(), ratio)
    rest = np.array(sorted(left), dtype=int)
    ratio = _ratio(rest, frames, counts, pairs)
    if ratio is not None:
        odd |= dict.fromkeys(rest.tolist(), ratio)
    doubted = [number for number in sorted(odd) if not LEAST < odd[number] < MOST]
    if doubted:
        number = doubted[0]
        alike = [one for one in doubted if (odd[one] > MOST) == (odd[number] > MOST)]
        factor = float(np.exp(np.median(np.log([odd[one] for one in alike])))) / USUAL
        forces = np.concatenate([frames[one].arrays[FORCES] for one in alike])
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        raise UsageError(
            f"{names[number]}{more}: {ENERGY} varies {factor:.2g} times as much as {FORCES} tell;"
            f" {_advice(factor, float(np.sqrt(np.mean(np.square(forces)))))}"
        )


def downhill(frames: Sequence[ase.Atoms], counts: Floats, pairs: PairFit) -> float:
    """Tell how surely energies fall along the forces.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F labelled frames.
    counts : ndarray, shape (F, E)
        Atoms of each element.
    pairs : PairFit
        Of these frames.

    Returns
    -------
    float
        Slope of the energies over those of the pair potential in its standard deviations, the
        surest of all frames and of each trajectory; negative where one of both has the wrong
        sign, 0 where nothing tells.
    """
    parts = [*_trajectories(frames), np.arange(len(frames))]
    slopes = [_slope(own, frames, counts, pairs) for own in parts]
    sure = [slope / max(error, 1e-12) for slope, error in filter(None, slopes)]
    return max(sure, key=abs, default=0.0)


def _trajectories(frames: Sequence[ase.Atoms]) -> list[NDArray[np.intp]]:
    runs = np.array([str(atoms.info.get(TRAJECTORY, "")) for atoms in frames])
    return [np.flatnonzero(runs == run) for run in dict.fromkeys(runs.tolist())]


def _slope(
    own: NDArray[np.intp], frames: Sequence[ase.Atoms], counts: Floats, pairs: PairFit
) -> tuple[float, float] | None:
    """Slope of some frames' energies over those told by their forces, and its error."""
    if len(own) < _FEWEST:
        return None
    sizes = counts[own].sum(axis=1)
    shares = np.round(counts[own] / sizes[:, None], 3)
    _, kind = np.unique(shares, axis=0, return_inverse=True)
    volumes = np.log(np.array([frames[number].get_volume() for number in own]) / sizes)
    apart = volumes - volumes.mean()
    kinds = kind.ravel()[:, None] == np.arange(kind.max() + 1)
    aside = np.column_stack([kinds, apart, apart**2]).astype(float)
    freedom = len(own) - np.linalg.matrix_rank(aside) - 1
    if freedom < _FREEDOM:
        return None
    energies = np.array([float(frames[number].info[ENERGY]) for number in own])
    both = np.column_stack([pairs.energies[own], energies]) / sizes[:, None]
    told, found = (both - aside @ np.linalg.lstsq(aside, both, rcond=1e-10)[0]).T
    square = told @ told
    if square < 1e-12 * len(own):
        return None
    slope = float(told @ found / square)
    return slope, float(np.sqrt(np.sum((found - slope * told) ** 2) / freedom / square))


def _ratio(
    own: NDArray[np.intp], frames: Sequence[ase.Atoms], counts: Floats, pairs: PairFit
) -> float | None:
    """Divide the variation of some frames' energies by that told by their forces, where certain."""
    found = _slope(own, frames, counts, pairs)
    if found is None or found[0] < _CERTAIN * found[1]:
        return None
    slope = found[0]
    # Of frames in several units the potential has those of the largest forces.
    some = own[:: -(-len(own) // _ASKED)]
    given = np.concatenate([frames[number].arrays[FORCES] for number in some])
    expected = np.concatenate([pairs.forces(frames[number]) for number in some])
    share = np.sum(given * expected) / np.sum(np.square(expected))
    return float(slope / share) if share > 0 else None


def _advice(factor: float, size: float) -> str:
    """Name the unit that a factor between energies and forces of this size, rms, looks like."""
    guesses = [
        (abs(np.log(factor * unit)), abs(np.log(size)), f"{ENERGY} looks like {name}", unit)
        for name, unit in ENERGY_UNITS.items()
    ]
    guesses += [
        (
            abs(np.log(factor / unit)),
            abs(np.log(size * unit)),
            f"{FORCES} looks like {name}",
            unit,
        )
        for name, unit in FORCE_UNITS.items()
    ]
    near = [guess for guess in guesses if guess[0] < np.log(_NEAR)]
    if not near:
        return f"give both in eV and Å, as {ENERGY} and {FORCES} are expected"
    # Forces of warm frames are some eV/Å, and of near units the nearest is meant.
    best = min(near, key=lambda guess: guess[0] + guess[1])
    return f"{best[2]}: multiply it by {best[3]:.6g}"


def _robust_fit(design: Floats, target: Floats) -> Floats:
    """Fit by least absolute deviations, which the lesser half can't draw away; what it expects."""
    weights = np.ones(len(target))
    expected = target
    for _ in range(50):
        roots = np.sqrt(weights)
        solution = np.linalg.lstsq(design * roots[:, None], target * roots, rcond=None)[0]
        expected = design @ solution
        weights = 1 / np.maximum(np.abs(target - expected), 1e-6)
    return expected


def _spread(values: Floats) -> float:
    """Return the standard deviation as the median's, blind to outliers."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
