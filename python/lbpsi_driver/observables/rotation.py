"""Rotations of units along a trajectory, against a reference frame, and window-averaged ones.

The rotation of a unit is the proper one that takes its former-to-S vectors of the reference,
labelled by atom id, closest to those of the frame (W. Kabsch, Acta Cryst. A32, 922 (1976)). The
kernels are those of ``compute kabsch`` in LAMMPS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

import lbpsi_driver._kernels as _kernels
from lbpsi_driver.config import DEFAULT_HOLD, UsageError
from lbpsi_driver.observables.motifs import Motifs, iterate
from lbpsi_driver.observables.spool import Collector
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

STATES = ("none", "whole", "broken", "inverted")
"""Names of the states by code: no unit (under three S), as the reference, other S, mirrored."""
WHOLE, BROKEN = STATES.index("whole"), STATES.index("broken")

UnitRows = dict[str, NDArray[Any]]
"""What the kernel finds of the units of a frame, by name."""


@dataclass(frozen=True)
class Windows:
    """Orientations averaged over a window of frames, by former; n formers.

    Each S vector of a unit is averaged over the frames of the window, in the laboratory frame. Both
    numbers are NaN unless the unit holds the same S in each frame of the window, `angle_deg` also
    unless they are those of the first window, and where a mirror image fits better.

    Attributes
    ----------
    angle_deg : ndarray, shape (n,)
        Kabsch angle from the averaged vectors of the first window, which starts at the reference
        frame, to those of this one, degrees.
    libration_deg : ndarray, shape (n,)
        Root mean square over the frames of the window of the Kabsch angle from the averaged vectors
        to those of the frame, degrees: what a frame's angle holds of thermal motion.
    """

    angle_deg: Floats
    libration_deg: Floats


@dataclass(frozen=True)
class Rotations:
    """Rotations of all formers in one frame since the reference; n formers.

    Angles, axes and residuals are NaN unless a unit is whole.

    Attributes
    ----------
    frame : int
        The frame, from 0.
    ids : ndarray of int, shape (n,)
        Ids of the formers.
    elements : ndarray of str, shape (n,)
        Their chemical symbols.
    class_names : ndarray of str, shape (n,)
        Their classes in this frame.
    state : ndarray of int, shape (n,)
        Index of :data:`STATES`.
    angle_deg : ndarray, shape (n,)
        Rotation angle since the reference, 0 to 180 degrees.
    reduced_angle_deg : ndarray, shape (n,)
        The least angle up to the proper symmetry of the ideal unit (12 operations of XS4, 6 of a
        planar XS3, 3 of a pyramid), degrees: small for a jump from one orientation to an equal one.
    axis : ndarray, shape (n, 3)
        Unit vector of the axis; zero for no rotation.
    residual_A : ndarray, shape (n,)
        Root mean square of what the rotation leaves of the vectors' differences, Å.
    exchanges : ndarray of int, shape (n,)
        How often the unit got another set of S that held, and was referred to it.
    windows : Windows, optional
        Of the last whole window that starts no later than the frame.
    """

    frame: int
    ids: Integers
    elements: NDArray[np.str_]
    class_names: NDArray[np.str_]
    state: Integers
    angle_deg: Floats
    reduced_angle_deg: Floats
    axis: Floats
    residual_A: Floats
    exchanges: Integers
    windows: Windows | None = None


UnitRotation = TypedDict(
    "UnitRotation",
    {
        "id": int,
        "element": str,
        "class": str,
        "angle_deg": float | None,
        "reduced_angle_deg": float | None,
        "axis": list[float] | None,
        "residual_A": float | None,
        "state": str,
        "exchanges": int,
        "window_angle_deg": NotRequired[float | None],
        "libration_deg": NotRequired[float | None],
    },
)


@dataclass(frozen=True)
class Ligands:
    """S of each former; n formers.

    Attributes
    ----------
    start : ndarray of int, shape (n + 1,)
        Where the S of each former start in `ids` and `vectors`.
    ids : ndarray of int, shape (m,)
        Ids of the S, increasing for each former.
    vectors : ndarray, shape (m, 3)
        From the former to the S, Å.
    pyramid : ndarray of bool, shape (n,)
        Whether the former is bonded to another former besides.
    """

    start: Integers
    ids: Integers
    vectors: Floats
    pyramid: NDArray[np.bool_]

    def arrays(self) -> tuple[Integers, Integers, Floats, NDArray[np.bool_]]:
        """All of it, in the order that the kernel takes."""
        return self.start, self.ids, self.vectors, self.pyramid

    @property
    def owner(self) -> Integers:
        """Former of each S, shape (m,)."""
        return np.repeat(np.arange(len(self.pyramid)), np.diff(self.start))

    def table(self) -> Integers:
        """Ids in a row for each former, -1 behind them, shape (n, 7); what is more is cut off."""
        owner = self.owner
        place = np.arange(len(self.ids)) - self.start[owner]
        kept = place <= _kernels.MOST_LIGANDS
        rows = np.full((len(self.pyramid), _kernels.MOST_LIGANDS + 1), -1, dtype=np.int64)
        rows[owner[kept], place[kept]] = self.ids[kept]
        return rows

    def only(self, formers: NDArray[np.bool_]) -> Ligands:
        """Leave the other formers without S."""
        kept = formers[self.owner]
        numbers = np.where(formers, np.diff(self.start), 0)
        return Ligands(_starts(numbers), self.ids[kept], self.vectors[kept], self.pyramid)


def ligands(motifs: Motifs) -> Ligands:
    """Find the S of each former.

    Parameters
    ----------
    motifs : Motifs
        From :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Returns
    -------
    Ligands
        By former, in the order of the atoms.
    """
    species, n = motifs.species, len(motifs.ids)
    i, types = motifs.bond_i, motifs.species.types
    from_former = species.former[types[i]]
    sulfur = from_former & species.sulfur[types[motifs.bond_j]]
    other = from_former & species.former[types[motifs.bond_j]]
    formers = motifs.former
    numbers = np.bincount(i[sulfur], minlength=n)[formers]
    pyramid = np.bincount(i[other], minlength=n)[formers] > 0
    ids = motifs.ids[motifs.bond_j[sulfur]]
    return Ligands(_starts(numbers), ids, motifs.bond_d[sulfur], pyramid)


def rotations(
    trajectory: Trajectory,
    *,
    reference: int = 0,
    hold: int = DEFAULT_HOLD,
    window: int | None = None,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
) -> Iterator[Rotations]:
    """Follow the rotation of each unit from a reference frame on.

    A unit is broken while its S are others than the reference's; when another set of as many S has
    held for `hold` frames in a row, an exchange is counted and the unit is referred to that frame.
    A former without a unit at the reference frame is referred to its first one.

    Parameters
    ----------
    trajectory : Trajectory
        Frames, in time order, dumped often enough that S don't change places between two of them.
    reference : int
        Frame of the references, from 0, or from the end where negative; earlier ones are left out.
    hold : int
        Frames that a new set of S must hold.
    window : int, optional
        Frames of a window for averaged orientations; windows follow each other from the reference
        frame on, and an incomplete last one is left out.
    bonds, chain
        As in :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Yields
    ------
    Rotations
        Of the frames `reference`, `reference` + 1, …; with `window` a window's frames together.

    Raises
    ------
    UsageError
        One line: no such frame, a window longer than the trajectory, no former, a bad cutoff.
    """
    n_frames = trajectory.n_frames
    if not -n_frames <= reference < n_frames:
        raise UsageError(f"reference {reference}: expected a frame from 0 to {n_frames - 1}")
    start = reference % n_frames
    if hold < 1:
        raise UsageError(f"hold {hold}: expected a number of frames, 1 or more")
    if window is not None and not 2 <= window <= n_frames - start:
        raise UsageError(
            f"window {window}: expected 2 to {n_frames - start} frames, those from the reference on"
        )
    followed = follow(iterate(trajectory, bonds=bonds, chain=chain, start=start), hold)
    frames = (
        (_rotations(frame, motifs, found), around)
        for frame, (motifs, around, found) in enumerate(followed, start)
    )
    if window is None:
        return (now for now, _ in frames)
    return _windowed(frames, window)


def records(frame: Rotations) -> list[UnitRotation]:
    """List the rotations of a frame, a dict a former: the JSON of ``rotations``.

    Parameters
    ----------
    frame : Rotations
        From :func:`rotations`.

    Returns
    -------
    list of dict
        ``id``, ``element``, ``class``, ``angle_deg``, ``reduced_angle_deg``, ``axis``,
        ``residual_A``, ``state``, ``exchanges``, with windows ``window_angle_deg`` and
        ``libration_deg``; None for numbers that aren't known.
    """
    listed: list[UnitRotation] = []
    for k in range(len(frame.ids)):
        unit: UnitRotation = {
            "id": int(frame.ids[k]),
            "element": str(frame.elements[k]),
            "class": str(frame.class_names[k]),
            "angle_deg": _known(frame.angle_deg[k]),
            "reduced_angle_deg": _known(frame.reduced_angle_deg[k]),
            "axis": frame.axis[k].tolist() if frame.state[k] == WHOLE else None,
            "residual_A": _known(frame.residual_A[k]),
            "state": STATES[frame.state[k]],
            "exchanges": int(frame.exchanges[k]),
        }
        if frame.windows is not None:
            unit["window_angle_deg"] = _known(frame.windows.angle_deg[k])
            unit["libration_deg"] = _known(frame.windows.libration_deg[k])
        listed.append(unit)
    return listed


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def follow(
    frames: Iterable[Motifs], hold: int = DEFAULT_HOLD
) -> Iterator[tuple[Motifs, Ligands, UnitRows]]:
    """Follow the units through frames; see :func:`rotations`.

    Parameters
    ----------
    frames : iterable of Motifs
        Of each frame, the reference first.
    hold : int
        Frames that a new set of S must hold.

    Yields
    ------
    motifs : Motifs
        Of the frame.
    around : Ligands
        S of its formers.
    found : dict of str to ndarray
        By former: ``state``, ``angle`` and ``reduced`` (rad), ``axis``, ``residual``,
        ``exchanges``, ``quaternion``; rotations are those of whole units, else zero.
    """
    references: _kernels.UnitReferences | None = None
    for motifs in frames:
        around = ligands(motifs)
        if references is None:
            references = _kernels.UnitReferences(len(around.pyramid), hold)
        yield motifs, around, references.update(*around.arrays())


def _rotations(frame: int, motifs: Motifs, found: UnitRows) -> Rotations:
    formers = motifs.former
    whole = found["state"] == WHOLE
    return Rotations(
        frame=frame,
        ids=motifs.ids[formers],
        elements=motifs.elements[formers],
        class_names=motifs.class_names()[formers],
        state=found["state"].astype(np.int64),
        angle_deg=np.degrees(_where(whole, found["angle"])),
        reduced_angle_deg=np.degrees(_where(whole, found["reduced"])),
        axis=_where(whole[:, None], found["axis"]),
        residual_A=_where(whole, found["residual"]),
        exchanges=found["exchanges"].astype(np.int64),
    )


def _where(known: NDArray[np.bool_], values: NDArray[Any]) -> Floats:
    return np.where(known, values.astype(np.float64), np.nan)


def _windowed(frames: Iterator[tuple[Rotations, Ligands]], window: int) -> Iterator[Rotations]:
    """Join each frame with its window, which is known at the window's end only."""
    averages = Averages(window)
    found: Windows | None = None
    waiting: list[Rotations] = []
    for now, around in frames:
        waiting.append(now)
        averages.add(around)
        if len(waiting) == window:
            found = averages.close()
            yield from (replace(one, windows=found) for one in waiting)
            waiting.clear()
    for now in waiting:
        yield replace(now, windows=found)


class Averages:
    """Averages the units over windows of frames, the first of which is the reference of the others.

    Parameters
    ----------
    window : int
        Frames of a window.
    folder : Path, optional
        Where the temporary file of a long window goes; default: the system's place for such.
    """

    def __init__(self, window: int, folder: Path | None = None) -> None:
        self._window, self._folder = window, folder
        self._reference: _Fixed | None = None
        self._first: Ligands | None = None

    def add(self, frame: Ligands) -> None:
        """Take the next frame of the window.

        Parameters
        ----------
        frame : Ligands
            S of all formers.
        """
        if self._first is None:
            self._first = frame
            self._steady = np.ones(len(frame.pyramid), dtype=np.bool_)
            shape = frame.vectors.shape
            self._rows = Collector(shape, expected=self._window, folder=self._folder)
            self._total, self._number = np.zeros_like(frame.vectors), 0
        first, vectors = self._first, frame.vectors
        if not (np.array_equal(frame.start, first.start) and np.array_equal(frame.ids, first.ids)):
            self._steady &= (frame.table() == first.table()).all(axis=1)
            vectors = np.zeros_like(first.vectors)
            vectors[self._steady[first.owner]] = frame.vectors[self._steady[frame.owner]]
        self._total += vectors
        self._rows.append(vectors)
        self._number += 1

    def close(self) -> Windows:
        """End the window: its averages, and how far its frames are from them."""
        first, steady, rows = self._first, self._steady, self._rows.finish()
        assert first is not None
        self._first = None
        mean = replace(first, vectors=self._total / self._number).only(steady)
        self._reference = self._reference or _Fixed(mean)
        here = _Fixed(mean)
        squares = np.zeros(len(steady))
        for vectors in rows:
            squares += np.square(here.angle_to(replace(first, vectors=vectors).only(steady)))
        return Windows(
            angle_deg=np.degrees(self._reference.angle_to(mean)),
            libration_deg=np.degrees(np.sqrt(squares / self._number)),
        )


class _Fixed:
    """References that stay what they are."""

    def __init__(self, reference: Ligands) -> None:
        self._references = _kernels.UnitReferences(len(reference.pyramid), 1)
        self._references.update(*reference.arrays())

    def angle_to(self, now: Ligands) -> Floats:
        """Kabsch angles, rad; NaN where a unit isn't whole."""
        found = self._references.look(*now.arrays())
        return _where(found["state"] == WHOLE, found["angle"])


def _starts(numbers: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64)
