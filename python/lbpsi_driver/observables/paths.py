"""Unwrapped positions of some atoms along a trajectory, computed in parts where they are needed.

Transport needs all frames of an atom, and all atoms only for the centre of mass, which is taken
beforehand: so it works on a few atoms at a time, over all frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lbpsi_driver.observables import spool
from lbpsi_driver.observables.spool import Stored

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Coordinates = Floats | Stored
"""Positions (F, N, 3), in memory or on disk."""


@dataclass(frozen=True)
class Cells:
    """How fractional coordinates become positions, ``fractional @ cells + origins``; F frames.

    Attributes
    ----------
    cells : ndarray, shape (1, 3, 3) or (F, 3, 3)
        Lattice vectors as rows, Å: one cell for all frames, or each frame's.
    origins : ndarray, shape (1, 3) or (F, 3)
        Corners of the cells, Å.
    """

    cells: Floats
    origins: Floats

    def positions(self, fractional: Floats) -> Floats:
        """Positions of F frames, Å, shape (F, N, 3)."""
        if len(self.cells) > 1:
            positions: Floats = fractional @ self.cells
        else:
            positions = (fractional.reshape(-1, 3) @ self.cells[0]).reshape(fractional.shape)
        positions += self.origins[:, None]
        return positions

    def at(self, frames: slice | Integers) -> Cells:
        """Choose frames."""
        if len(self.cells) == 1:
            return self
        return Cells(self.cells[frames], self.origins[frames])


@dataclass(frozen=True)
class Paths:
    """Positions of n atoms in F frames relative to a centre.

    Attributes
    ----------
    fractional : ndarray or Stored, shape (F, N, 3)
        Continuous fractional coordinates of all atoms.
    cells : Cells
        What makes positions of them.
    atoms : ndarray of int, shape (n,)
        Those wanted.
    centre : ndarray, shape (F, 3) or (1, 3)
        What is taken away from their positions, Å.
    """

    fractional: Coordinates
    cells: Cells
    atoms: Integers
    centre: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        """F, n and 3."""
        return len(self.fractional), len(self.atoms), 3

    def __len__(self) -> int:
        return len(self.fractional)

    def of(self, chosen: slice) -> Floats:
        """Positions of a few of the atoms in all frames, Å, shape (F, k, 3)."""
        fractional = spool.columns(self.fractional, self.atoms[chosen])
        positions = self.cells.positions(fractional)
        positions -= self.centre[:, None]
        return positions

    def at(self, frames: Integers) -> Paths:
        """Choose frames, shape (f,)."""
        chosen = self.fractional
        chosen = chosen.at(frames) if isinstance(chosen, Stored) else chosen[frames]
        centre = self.centre if len(self.centre) == 1 else self.centre[frames]
        return replace(self, fractional=chosen, cells=self.cells.at(frames), centre=centre)


Positions = Floats | Paths
"""Positions (F, n, 3) of ions, Å, as an array or computed in parts."""


def atom_blocks(positions: Positions) -> Iterator[tuple[slice, Floats]]:
    """Go through a few atoms at a time, over all frames.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, n, 3)
        Of n atoms.

    Yields
    ------
    chosen : slice
        Which of the atoms.
    ndarray, shape (F, k, 3)
        Their positions, Å.
    """
    size = max(1, spool.positions_at_once() // len(positions))
    for first in range(0, positions.shape[1], size):
        chosen = slice(first, min(first + size, positions.shape[1]))
        yield chosen, positions.of(chosen) if isinstance(positions, Paths) else positions[:, chosen]


def at_frames(positions: Positions, frames: Integers) -> Positions:
    """Choose frames, shape (f,)."""
    return positions.at(frames) if isinstance(positions, Paths) else positions[frames]


def summed(positions: Positions) -> Floats:
    """Sum over the atoms, Å, shape (F, 1, 3)."""
    total = np.zeros((len(positions), 1, 3))
    for _, block in atom_blocks(positions):
        total += block.sum(axis=1, keepdims=True)
    return total


def centre_of_mass(
    fractional: Coordinates, cells: Cells, atoms: Integers, masses_amu: Floats
) -> Floats:
    """Centre of mass of a group in each frame.

    Parameters
    ----------
    fractional : ndarray or Stored, shape (F, N, 3)
        Continuous fractional coordinates of all atoms.
    cells : Cells
        What makes positions of them.
    atoms : ndarray of int, shape (n,)
        The group.
    masses_amu : ndarray, shape (N,)
        Masses, amu.

    Returns
    -------
    ndarray, shape (F, 3)
        Positions, Å.
    """
    weights = masses_amu[atoms] / masses_amu[atoms].sum()
    centre = np.empty((len(fractional), 3))
    for rows in spool.row_blocks(fractional):
        positions = cells.at(rows).positions(np.take(fractional[rows], atoms, axis=1))
        centre[rows] = np.tensordot(positions, weights, axes=(1, 0))
    return centre
