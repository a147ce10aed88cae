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
    "meV/Å": 1e-3,
}
"""Units that forces are found in by mistake, eV/Å; eV/Bohr is too near to be told by size."""

LEAST_ENERGY_GAP = 0.5
"""eV/atom: energies that differ by less from those of like composition are physics, not units."""

LEAST_FORCE_RATIO = 5.0
WARM_K = 100.0
"""Above it thermal forces can't be small: a relaxed frame is no frame in other units."""

USUAL, LEAST, MOST = 1.5, 0.25, 8.0
"""How much more energies vary than a pair potential of their forces says, and what is doubted.

In 1980 frames of sulfide glasses, melts and salts, and in 1100 random parts of them, all in one
system of units, the ratio was 0.6 to 5.2, between 0.74 and 2.7 in 98 of 100.
"""

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
    for suspects in (far & sound & (off > 0), far & sound & warm & (off < 0)):
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
    sizes = counts.sum(axis=1)
    shares = np.round(counts / sizes[:, None], 3)
    energies = np.array([float(atoms.info[ENERGY]) for atoms in frames]) / sizes
    volumes = np.log(np.array([atoms.get_volume() for atoms in frames]) / sizes)
    runs = np.array([str(atoms.info.get(TRAJECTORY, "")) for atoms in frames])
    left: list[int] = []
    odd: dict[int, float] = {}
    for own in (np.flatnonzero(runs == run) for run in dict.fromkeys(runs.tolist())):
        ratio = _ratio(own, frames, shares, energies, volumes, pairs)
        if ratio is None:
            left.extend(own.tolist())
        else:
            odd |= dict.fromkeys(own.tolist(), ratio)
    rest = np.array(sorted(left), dtype=int)
    ratio = _ratio(rest, frames, shares, energies, volumes, pairs)
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


def _ratio(
    own: NDArray[np.intp],
    frames: Sequence[ase.Atoms],
    shares: Floats,
    energies: Floats,
    volumes: Floats,
    pairs: PairFit,
) -> float | None:
    """Divide the variation of some frames' energies by that told by their forces, where certain."""
    if len(own) < _FEWEST:
        return None
    _, kind = np.unique(shares[own], axis=0, return_inverse=True)
    apart = volumes[own] - volumes[own].mean()
    kinds = kind.ravel()[:, None] == np.arange(kind.max() + 1)
    aside = np.column_stack([kinds, apart, apart**2]).astype(float)
    freedom = len(own) - np.linalg.matrix_rank(aside) - 1
    if freedom < _FREEDOM:
        return None
    sizes = np.array([len(frames[number]) for number in own])
    both = np.column_stack([pairs.energies[own] / sizes, energies[own]])
    told, found = (both - aside @ np.linalg.lstsq(aside, both, rcond=1e-10)[0]).T
    square = told @ told
    if square < 1e-12 * len(own):
        return None
    slope = told @ found / square
    error = np.sqrt(np.sum((found - slope * told) ** 2) / freedom / square)
    if slope < _CERTAIN * error:
        return None
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
