"""Continuous coordinates, frame by frame: flips of the cell undone, boundaries counted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOG = logging.getLogger(__name__)
_UNCHANGED = np.eye(3, dtype=np.int64)


class Flips:
    """Follows the cell of a trajectory; see :func:`undo_flips`."""

    def __init__(self) -> None:
        self._frames = 0
        self._cell: Floats | None = None

    def change(self, cell: Floats) -> Integers:
        """Change of basis of the next frame's cell, shape (3, 3).

        Raises
        ------
        UsageError
            As :func:`undo_flips`.
        """
        if not abs(np.linalg.det(cell)) > 1e-6:
            raise UsageError("a frame has no periodic cell: all three lattice vectors are needed")
        change = _UNCHANGED
        if self._cell is not None:
            change = np.rint(self._cell @ np.linalg.inv(cell)).astype(np.int64)
            flipped = not np.array_equal(change, _UNCHANGED)
            if flipped and round(abs(float(np.linalg.det(change)))) != 1:
                raise UsageError(
                    f"the cell of frame {self._frames} is no small strain of the one before: "
                    "is this one trajectory? dump more often if it is"
                )
        self._cell = change @ cell
        self._frames += 1
        return change


def undo_flips(cells: Floats) -> Integers:
    """Change of basis that makes a series of cells continuous.

    LAMMPS flips a triclinic cell whose tilt passes half a length: the lattice stays, its basis
    jumps by an integer unimodular matrix. The matrix that takes each cell's basis closest to the
    one before is that jump undone, as long as the cell strains little between frames.

    Parameters
    ----------
    cells : ndarray, shape (F, 3, 3)
        Lattice vectors as rows, Å.

    Returns
    -------
    ndarray of int, shape (F, 3, 3)
        Matrices M of determinant +1 or -1; ``M @ cells`` is continuous and starts at ``cells[0]``.

    Raises
    ------
    UsageError
        Where a cell has no volume, or changes by half a lattice vector between two frames.
    """
    flips = Flips()
    return np.array([flips.change(cell) for cell in cells]).reshape(-1, 3, 3)


def rebase(fractional: Floats, change: Integers) -> Floats:
    """Fractional coordinates of a frame, shape (N, 3), in the basis ``change @ cell``."""
    if (change == _UNCHANGED).all():
        return fractional
    rebased: Floats = fractional @ np.rint(np.linalg.inv(change))
    return rebased


def nearest_images(frames: Iterable[Floats]) -> Iterator[Floats]:
    """Unwrap: each atom's step between frames is the shortest of its images."""
    before: Floats | None = None
    crossed: Floats | float = 0.0
    for frame in frames:
        if before is not None:
            crossed = crossed + np.rint(frame - before)
        before = frame
        yield frame - crossed


def warned_of_jumps(frames: Iterable[Floats], steps: Integers, path: Path) -> Iterator[Floats]:
    """Image flags that were reset in the middle of a run would pass for displacements."""
    before: Floats | None = None
    told = False
    for t, frame in enumerate(frames):
        if not told and before is not None and np.abs(frame - before).max() > 0.5:
            _LOG.warning(
                "%s: an atom moves by more than half the cell between steps %d and %d; "
                "were image flags reset?",
                path,
                steps[t - 1],
                steps[t],
            )
            told = True
        before = frame
        yield frame
