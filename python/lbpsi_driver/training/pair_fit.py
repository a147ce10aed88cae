"""The pair potential that resembles labelled forces: what they say of energies and stresses.

Any frames follow roughly some pair potential whose -du/dr is piecewise linear in r for each pair of
elements. Fitted to the forces alone it gives energies and stresses of which no label was used: good
for no simulation, but enough to tell the units and signs of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training.frames import FORCES

REACH_A = 6.0
"""Pairs are taken up to here, Å."""

MOST_ELEMENTS = 8
"""Of more, as in a foundation's own data, there are too many pairs to fit a potential for each."""

MOST_FRAMES = 200
"""The potential is fitted to the forces of as many frames."""

_NEAREST_A = 1.2
_KNOTS = 13
_WIDTH_A = (REACH_A - _NEAREST_A) / (_KNOTS - 1)
_FORCE_RIDGE = 1e-6
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class PairFit:
    """A pair potential of C functions, and what it says of the F frames that it was fitted to.

    Attributes
    ----------
    symbols : tuple of str
        Elements of the frames.
    factors : ndarray, shape (C,)
        Factors of the functions, eV/Å.
    energies : ndarray, shape (F,)
        Its energies, eV.
    strains : ndarray, shape (F, 6, C)
        Stresses of its functions, 1/Å2, Voigt.
    """

    symbols: tuple[str, ...]
    factors: Floats
    energies: Floats
    strains: Floats

    @property
    def stresses(self) -> Floats:
        """Its stresses, shape (F, 6), eV/Å3. Traces mean little: forces leave the pressure open."""
        return np.asarray(self.strains @ self.factors)

    def forces(self, atoms: ase.Atoms) -> Floats:
        """Return its forces on the atoms of a frame, shape (N, 3), eV/Å."""
        pushes, _, _ = _features(atoms, self.symbols)
        return np.asarray(pushes @ self.factors).reshape(-1, 3)


def fit_pairs(frames: Sequence[ase.Atoms]) -> PairFit | None:
    """Fit a pair potential to labelled forces.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F periodic frames.

    Returns
    -------
    PairFit or None
        None where there are too many elements.
    """
    symbols = tuple(sorted({symbol for atoms in frames for symbol in atoms.symbols}))
    if len(symbols) > MOST_ELEMENTS:
        return None
    size = len(symbols) * (len(symbols) + 1) // 2 * _KNOTS
    normal, right = np.zeros((size, size)), np.zeros(size)
    strains, depths = np.zeros((len(frames), 6, size)), np.zeros((len(frames), size))
    stride = -(-len(frames) // MOST_FRAMES)
    for number, atoms in enumerate(frames):
        pushes, strains[number], depths[number] = _features(atoms, symbols)
        if number % stride == 0:
            normal += pushes.T @ pushes
            right += pushes.T @ np.asarray(atoms.arrays[FORCES], dtype=float).ravel()
    factors = np.linalg.solve(normal + ridge(normal, _FORCE_RIDGE), right).astype(float)
    return PairFit(symbols, factors, np.asarray(depths @ factors, dtype=float), strains)


def ridge(normal: Floats, share: float) -> Floats:
    """Keep what no frame tells small; a set without any pair is left solvable too."""
    added: Floats = (share * np.trace(normal) / len(normal) + 1e-12) * np.eye(len(normal))
    return added


def _features(atoms: ase.Atoms, symbols: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Return forces, shape (3N, C), stresses, (6, C), and energies, (C,), of each pair's hats."""
    first, second, r, apart = neighbour_list("ijdD", atoms, REACH_A)
    kinds = np.array([symbols.index(symbol) for symbol in atoms.symbols], dtype=int)
    low, high = np.sort([kinds[first], kinds[second]], axis=0)
    pair = low * len(symbols) - low * (low - 1) // 2 + high - low
    size = len(symbols) * (len(symbols) + 1) // 2 * _KNOTS
    place = np.clip((r - _NEAREST_A) / _WIDTH_A, 0.0, _KNOTS - 1.001)
    knot = place.astype(int)
    towards = apart / np.maximum(r, 1e-9)[:, None]
    pushes, strains = np.zeros(3 * len(atoms) * size), np.zeros((6, size))
    for at, share in ((knot, 1.0 - place + knot), (knot + 1, place - knot)):
        column = pair * _KNOTS + at
        for axis in range(3):
            where = (3 * first + axis) * size + column
            pushes -= np.bincount(where, share * towards[:, axis], len(pushes))
        for component, (a, b) in enumerate(_VOIGT):
            # Each pair is listed from both its ends.
            work = -0.5 * share * towards[:, a] * apart[:, b]
            strains[component] += np.bincount(column, work, size)
    depths = _depths(pair * _KNOTS + knot, place - knot, size)
    return pushes.reshape(-1, size), strains / atoms.get_volume(), depths


def _depths(column: NDArray[np.intp], along: Floats, size: int) -> Floats:
    """Sum the integrals of the hats from each pair's r to the reach, Å: energies by their forces.

    ``column`` is that of the knot before r, and ``along`` how far r is to the next one.
    """
    begun = np.bincount(column, 0.5 * (1.0 - along) ** 2, size)
    next_one = np.bincount(column + 1, 0.5 * (1.0 - along**2) + 0.5, size)
    depths = (begun + next_one).reshape(-1, _KNOTS).astype(float)
    passed = np.cumsum(np.bincount(column, minlength=size).reshape(-1, _KNOTS), axis=1)
    depths[:, 2:] += passed[:, :-2].astype(float)
    # The last hat ends at its top.
    depths[:, -1] -= 0.5 * passed[:, -2].astype(float)
    # Each pair is listed from both its ends.
    return np.asarray(0.5 * _WIDTH_A * depths).ravel()
