"""LAMMPS text dumps as arrays: whole frames of a run that may have been killed and resumed."""

from __future__ import annotations

import contextlib
import logging
import mmap
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

import lbpsi_driver._kernels as _kernels
from lbpsi_driver.config import UsageError

Floats = NDArray[np.float64]
Item = TypeVar("Item")

_LOG = logging.getLogger(__name__)
_FRAME = b"ITEM: TIMESTEP"
# Names of the three coordinates in a dump: (scaled by the cell, already unwrapped).
_COORDINATES = {
    ("xu", "yu", "zu"): (False, True),
    ("xsu", "ysu", "zsu"): (True, True),
    ("x", "y", "z"): (False, False),
    ("xs", "ys", "zs"): (True, False),
}
_IMAGES = ("ix", "iy", "iz")


@dataclass(frozen=True)
class Dump:
    """Frames of a dump by time step, atoms by id.

    Attributes
    ----------
    steps : list of int
        Time steps, increasing.
    ids : ndarray of int, shape (N,)
        Ids of the atoms, increasing.
    labels : list of str
        ``element`` of each atom where `named`, else its ``type``.
    named : bool
        Which of the two.
    fractional : ndarray, shape (F, N, 3)
        Fractional coordinates in each frame's own cell, images added.
    cells : ndarray, shape (F, 3, 3)
        Lattice vectors as rows, Å, as in the file: they jump where LAMMPS flips the cell.
    origins : ndarray, shape (F, 3)
        Corner of the cell, Å.
    continuous : bool
        Whether the file tells how often an atom crossed the boundaries.
    """

    steps: list[int]
    ids: NDArray[np.int64]
    labels: list[str]
    named: bool
    fractional: Floats
    cells: Floats
    origins: Floats
    continuous: bool


def read_dump(path: Path) -> Dump:
    """Read all whole frames; of a repeated time step the last.

    Parameters
    ----------
    path : Path
        Columns ``id``, ``element`` or ``type``, and coordinates; see
        :func:`lbpsi_driver.observables.trajectory.read_lammps_dump`.

    Raises
    ------
    UsageError
        One line: no whole frame, columns missing, atoms that change, no periodic cell.
    """
    with path.open("rb") as file, contextlib.closing(_map(file.fileno(), path)) as text:
        frames = _find_frames(text, path)
        columns = _read_columns(frames[0].columns, path)
        ids, labels, fractional = _read_rows(text, frames, columns, path)
    return Dump(
        steps=[frame.step for frame in frames],
        ids=ids,
        labels=labels,
        named=columns.label == "element",
        fractional=fractional,
        cells=np.array([frame.cell for frame in frames]),
        origins=np.array([frame.origin for frame in frames]),
        continuous=columns.unwrapped or bool(columns.images),
    )


@dataclass(frozen=True)
class _Frame:
    """One whole frame of a dump: its header, and where its rows are in the file."""

    step: int
    n_atoms: int
    cell: Floats
    origin: Floats
    columns: tuple[str, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class _Columns:
    """Which columns of a dump hold what."""

    names: tuple[str, ...]
    id: int
    label: Literal["element", "type"]
    label_at: int
    coordinates: list[int]
    images: list[int]
    scaled: bool
    unwrapped: bool


def _map(descriptor: int, path: Path) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError as err:  # an empty file can't be mapped
        raise UsageError(f"{path}: empty file; is the run finished?") from err


def _find_frames(text: mmap.mmap, path: Path) -> list[_Frame]:
    """Headers of all whole frames by time step, the last of each step."""
    starts = [match.start() for match in re.finditer(_FRAME, text)]
    whole: dict[int, _Frame] = {}
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=True):
        frame = _read_header(text, start, stop, path)
        if frame is None:
            _LOG.warning("%s: the frame at byte %d is cut short; dropped", path, start)
        else:
            whole[frame.step] = frame
    if not whole:
        raise UsageError(f"{path}: no whole frame; is the run finished?")
    frames = [whole[step] for step in sorted(whole)]
    for frame in frames:
        if frame.n_atoms != frames[0].n_atoms:
            raise UsageError(
                f"{path}: step {frame.step} has {frame.n_atoms} atoms, step {frames[0].step} had "
                f"{frames[0].n_atoms}; analyse a trajectory with a fixed set of atoms"
            )
        if frame.columns != frames[0].columns:
            raise UsageError(f"{path}: step {frame.step} has other columns; split the file")
    return frames


def _read_header(text: mmap.mmap, start: int, stop: int, path: Path) -> _Frame | None:
    """Header of the frame in ``text[start:stop]``, None where header or rows are cut short."""
    columns_at = text.find(b"ITEM: ATOMS", start, stop)
    rows_at = text.find(b"\n", columns_at, stop) + 1
    if columns_at < 0 or rows_at == 0:
        return None
    items: dict[str, list[str]] = {}
    for line in text[start:columns_at].decode("ascii", "replace").splitlines():
        if line.startswith("ITEM: "):
            title = line.removeprefix("ITEM: ")
            items[title] = []
        else:
            items[title].append(line)
    bounds = next((title for title in items if title.startswith("BOX BOUNDS")), None)
    try:
        step, n_atoms = int(items["TIMESTEP"][0]), int(items["NUMBER OF ATOMS"][0])
        box = np.array([line.split() for line in items[bounds or ""]], dtype=np.float64)
        cell, origin = _read_box(box, bounds or "", path)
    except (KeyError, IndexError, ValueError):
        return None
    if not abs(np.linalg.det(cell)) > 0.0:
        raise UsageError(f"{path}: step {step}: a cell without volume; the run blew up")
    # `dump_modify time` and `units` put items of the next frame before its TIMESTEP.
    behind = text.find(b"ITEM:", rows_at, stop)
    end = stop if behind < 0 else behind
    rows = text[rows_at:end]
    if rows.count(b"\n") != n_atoms or not rows.endswith(b"\n"):
        return None
    columns = tuple(text[columns_at:rows_at].decode("ascii", "replace").split()[2:])
    return _Frame(step, n_atoms, cell, origin, columns, rows_at, end)


def _read_box(box: Floats, title: str, path: Path) -> tuple[Floats, Floats]:
    """Cell (rows) and origin from the three lines below ``BOX BOUNDS``, Å."""
    flags = title.split()[-3:]
    if flags != ["pp"] * 3 and flags[-1:] != ["origin"]:
        raise UsageError(f"{path}: boundaries '{' '.join(flags)}': expected 'pp pp pp' (periodic)")
    if "abc" in title:
        return box[:, :3], box[:, 3]
    low, high = box[:, 0].copy(), box[:, 1].copy()
    xy, xz, yz = box[:, 2] if box.shape[1] == 3 else (0.0, 0.0, 0.0)
    # LAMMPS writes the bounds of the parallelepiped, not of the cell's vectors.
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    x, y, z = high - low
    return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]]), low


def _read_columns(names: tuple[str, ...], path: Path) -> _Columns:
    found = next((triple for triple in _COORDINATES if set(triple) <= set(names)), None)
    label: Literal["element", "type"] = "element" if "element" in names else "type"
    if found is None or "id" not in names or label not in names:
        raise UsageError(
            f"{path}: columns '{' '.join(names)}': expected id, element or type, and x y z "
            "(ix iy iz), xu yu zu, xs ys zs or xsu ysu zsu; dump those"
        )
    scaled, unwrapped = _COORDINATES[found]
    with_images = set(_IMAGES) <= set(names) and not unwrapped
    return _Columns(
        names=names,
        id=names.index("id"),
        label=label,
        label_at=names.index(label),
        coordinates=[names.index(name) for name in found],
        images=[names.index(name) for name in _IMAGES] if with_images else [],
        scaled=scaled,
        unwrapped=unwrapped,
    )


def _read_rows(
    text: mmap.mmap, frames: list[_Frame], columns: _Columns, path: Path
) -> tuple[NDArray[np.int64], list[str], Floats]:
    """Ids and labels of the atoms, fractional coordinates (images added) in each frame's cell."""
    words = text[frames[0].start : frames[0].stop].split()
    codes = _code_labels(words[columns.label_at :: len(columns.names)], columns)
    raw = np.empty((len(frames), frames[0].n_atoms, 3))
    reference: Floats | None = None
    for number, frame in enumerate(progress(frames, f"reading {path.name}")):
        rows = _parse_rows(text[frame.start : frame.stop], frame, columns, codes, path)
        if reference is None or not np.array_equal(rows[:, :2], reference):
            rows = rows[np.argsort(rows[:, 0], kind="stable")]
            reference = rows[:, :2] if reference is None else reference
        if not np.array_equal(rows[:, :2], reference):
            raise UsageError(
                f"{path}: step {frame.step} has other atoms or elements than step "
                f"{frames[0].step}; analyse a trajectory with a fixed set of atoms"
            )
        xyz = rows[:, 2:5]
        raw[number] = xyz if columns.scaled else (xyz - frame.origin) @ np.linalg.inv(frame.cell)
        if columns.images:
            raw[number] += rows[:, 5:8]
    assert reference is not None
    if not np.isfinite(raw).all():
        raise UsageError(f"{path}: a coordinate is no finite number: the run blew up")
    labels = {code: label.decode("ascii", "replace") for label, code in codes.items()}
    ids = reference[:, 0].astype(np.int64)
    return ids, [labels[int(code)] for code in reference[:, 1]], raw


def _code_labels(labels: Sequence[bytes], columns: _Columns) -> dict[bytes, int]:
    """Give each label a number; types are numbers already."""
    distinct = dict.fromkeys(labels)
    if columns.label == "type":
        return {label: int(label) for label in distinct}
    return {label: code for code, label in enumerate(distinct)}


def _parse_rows(
    rows: bytes, frame: _Frame, columns: _Columns, codes: dict[bytes, int], path: Path
) -> Floats:
    """Id, label's code, coordinates and images of a frame's atoms, shape (N, 5 or 8)."""
    wanted = [columns.id, columns.label_at, *columns.coordinates, *columns.images]
    width = len(columns.names)
    named = columns.label == "element"
    parsed: Floats | None = _kernels.parse_rows(
        rows, frame.n_atoms, width, wanted, columns.label_at if named else -1, list(codes)
    )
    if parsed is not None:
        return parsed
    # What the kernel doesn't take goes the slow way, which knows what is wrong with it.
    words = rows.split()
    if len(words) != frame.n_atoms * width:
        raise UsageError(
            f"{path}: step {frame.step}: {len(words)} values, expected {frame.n_atoms} rows of "
            f"{width}; the file is damaged"
        )
    table = np.array(words).reshape(frame.n_atoms, width)[:, wanted]
    numbers = np.empty(table.shape)
    for place in range(len(wanted)):
        if place == 1:
            numbers[:, 1] = [codes.get(label, -1) for label in table[:, 1].tolist()]
            continue
        try:
            numbers[:, place] = table[:, place].astype(np.float64)
        except ValueError as err:
            raise UsageError(f"{path}: step {frame.step}: {err}; the file is damaged") from err
    return numbers


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Show how far a long loop is, on a terminal's stderr only."""
    if not sys.stderr.isatty():
        return items
    return track(items, what, console=Console(stderr=True), transient=True)
