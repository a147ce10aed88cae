"""Motifs along a trajectory: all that is taken from the motifs of every frame, in one pass.

Finding the motifs of a frame costs more than all that is done with them, so that classes,
rotations, averaged orientations and the paths of the units are taken at one go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lbpsi_driver import _kernels
from lbpsi_driver.config import DEFAULT_HOLD
from lbpsi_driver.observables.motifs import Motifs, iterate
from lbpsi_driver.observables.rotation import (
    BROKEN,
    WHOLE,
    Averages,
    Ligands,
    UnitRows,
    Windows,
    follow,
)
from lbpsi_driver.observables.spool import Array, Collector, Stored, folder_of, row_blocks
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

N_FORMER_CLASSES: int = _kernels.N_FORMER_CLASSES
"""Classes that a former can have: the first ones."""

WINDOW = 0.1
"""Share of a run's frames over which orientations are averaged, at its start and at its end."""
_FEWEST_IN_WINDOW = 3

Classes = NDArray[np.int8] | Stored


@dataclass(frozen=True)
class UnitPaths:
    """Rotations of all units along a trajectory: n formers, F frames.

    Attributes
    ----------
    former : ndarray of int, shape (n,)
        Index of each former.
    element : ndarray of str, shape (n,)
        Its chemical symbol.
    turns : ndarray or Stored, shape (F, n, 4)
        Rotations since the first frame as quaternions w, x, y, z; zero where a unit isn't whole.
    exchanges : ndarray or Stored, shape (F, n)
        How often each unit got another set of S so far.
    """

    former: Integers
    element: NDArray[np.str_]
    turns: Array | Stored
    exchanges: Array | Stored


@dataclass(frozen=True)
class MotifSeries:
    """Motifs along a trajectory: F frames, N mobile ions.

    Attributes
    ----------
    ions : ndarray or Stored of int8, shape (F, N)
        Class of each ion, a code from 1.
    formers : ndarray of int32, shape (F, 11)
        Formers in each class.
    rotations : ndarray or Stored, shape (F, 11, 6)
        Rotations of the units since the first frame by class, the columns of ``compute kabsch``:
        whole units, mean, root mean square and largest angle in degrees, broken units, exchanges.
    orientations : ndarray, shape (11, 2)
        Rotations of averaged units beside their librations: means over the units that a class has
        in the last frame, degrees, of the Kabsch angle from the unit averaged over the first
        :data:`WINDOW` of the frames to that over the last, and of the root mean square angle of the
        frames of the last window from its average. A frame's angle holds thermal motion, averages
        do not. NaN where no unit holds its S in both windows, or there are too few frames.
    units : UnitPaths
        Rotations of each unit.
    """

    ions: Classes
    formers: NDArray[np.int32]
    rotations: Array | Stored
    orientations: Floats
    units: UnitPaths

    def share_of_ions(self, code: int) -> Floats:
        """Share of the ions in a class in each frame, 0 where there are none, shape (F,)."""
        parts = [(self.ions[rows] == code).sum(axis=1) for rows in row_blocks(self.ions)]
        share: Floats = np.concatenate(parts) / max(1, self.ions.shape[1])
        return share


def motif_series(
    trajectory: Trajectory,
    mobile: Integers,
    *,
    hold: int = DEFAULT_HOLD,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
) -> MotifSeries:
    """Find the classes of ions and formers and the rotations of units in each frame.

    Parameters
    ----------
    trajectory : Trajectory
        The frames.
    mobile : ndarray of int, shape (N,)
        Indices of the mobile ions.
    hold, bonds, chain
        As in :func:`lbpsi_driver.observables.rotation.rotations`.

    Returns
    -------
    MotifSeries
        Of all frames.

    Raises
    ------
    UsageError
        An element without motifs, or no former.
    """
    number, folder = trajectory.n_frames, folder_of(trajectory.fractional)
    ions = Collector((len(mobile),), np.int8, expected=number, folder=folder)
    formers = np.empty((number, N_FORMER_CLASSES), dtype=np.int32)
    table = Collector((N_FORMER_CLASSES, 6), expected=number, folder=folder)
    ends, paths = _EndWindows(trajectory), _Paths(trajectory)
    frames = follow(iterate(trajectory, bonds=bonds, chain=chain), hold)
    for t, (motifs, around, found) in enumerate(frames):
        codes = motifs.cls[motifs.former].astype(np.int64)
        ions.append(motifs.cls[mobile])
        formers[t] = _by_class(codes)
        table.append(_rotation_row(codes, found))
        paths.add(motifs, found)
        ends.add(t, around)
    rotations, orientations = table.finish(), ends.table(codes)
    return MotifSeries(ions.finish(), formers, rotations, orientations, paths.finish())


def _by_class(codes: Integers, weights: Floats | Integers | None = None) -> Floats:
    """Sum by class of formers, shape (11,)."""
    return np.bincount(codes, weights, N_FORMER_CLASSES + 1)[1:].astype(np.float64)


def _rotation_row(codes: Integers, found: UnitRows) -> Floats:
    """Rotations of a frame by class of the units, shape (11, 6)."""
    whole = found["state"] == WHOLE
    angle, mine = np.degrees(found["angle"][whole]), codes[whole]
    row = np.zeros((N_FORMER_CLASSES, 6))
    number = row[:, 0] = _by_class(mine)
    of_some = np.maximum(number, 1.0)
    row[:, 1] = _by_class(mine, angle) / of_some
    row[:, 2] = np.sqrt(_by_class(mine, angle**2) / of_some)
    np.maximum.at(row[:, 3], mine - 1, angle)
    row[:, 4] = _by_class(codes[found["state"] == BROKEN])
    row[:, 5] = _by_class(codes, found["exchanges"])
    return row


class _EndWindows:
    """Averages the units over the first and the last frames of a trajectory."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._frames = trajectory.n_frames
        self._window = round(WINDOW * self._frames)
        if self._window < _FEWEST_IN_WINDOW:
            self._window = 0
        self._averages = Averages(self._window, folder_of(trajectory.fractional))
        self._last: Windows | None = None

    def add(self, frame: int, around: Ligands) -> None:
        """Take the next frame."""
        if frame < self._window or frame >= self._frames - self._window:
            self._averages.add(around)
        if self._window and frame in (self._window - 1, self._frames - 1):
            self._last = self._averages.close()

    def table(self, codes: Integers) -> Floats:
        """Means by class in the last frame; see :class:`MotifSeries`."""
        table = np.full((N_FORMER_CLASSES, 2), np.nan)
        if self._last is None:
            return table
        found = np.stack([self._last.angle_deg, self._last.libration_deg], axis=1)
        known = ~np.isnan(found).any(axis=1)
        for code, row in enumerate(table, start=1):
            mine = known & (codes == code)
            if mine.any():
                row[:] = found[mine].mean(axis=0)
        return table


class _Paths:
    """Collects the rotations of all units."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._number, self._folder = trajectory.n_frames, folder_of(trajectory.fractional)
        self._motifs: Motifs | None = None

    def add(self, motifs: Motifs, found: UnitRows) -> None:
        """Take those of the next frame."""
        if self._motifs is None:
            self._motifs = motifs
            n, number, folder = len(found["state"]), self._number, self._folder
            self._turns = Collector((n, 4), expected=number, folder=folder)
            self._exchanges = Collector((n,), np.int32, expected=number, folder=folder)
        whole = found["state"] == WHOLE
        self._turns.append(np.where(whole[:, None], found["quaternion"], 0.0))
        self._exchanges.append(found["exchanges"])

    def finish(self) -> UnitPaths:
        """Give them all."""
        assert self._motifs is not None
        former = np.flatnonzero(self._motifs.former)
        about = former, self._motifs.elements[former]
        return UnitPaths(*about, self._turns.finish(), self._exchanges.finish())
