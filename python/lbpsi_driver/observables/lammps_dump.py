"""LAMMPS text dumps: whole frames of a run that may have been killed and resumed, one by one.

The file is read twice, in parts: for where its whole frames are and their cells, which is all that
is kept, and then frame by frame in the order of time.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

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
_READ = 2**20  # bytes at a time
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
    steps : ndarray of int, shape (F,)
        Time steps, increasing.
    ids : ndarray of int, shape (N,)
        Ids of the atoms, increasing.
    labels : list of str
        ``element`` of each atom where `named`, else its ``type``.
    named : bool
        Which of the two.
    cells : ndarray, shape (F, 3, 3)
        Lattice vectors as rows, Å, as in the file: they jump where LAMMPS flips the cell.
    origins : ndarray, shape (F, 3)
        Corner of the cell, Å.
    continuous : bool
        Whether the file tells how often an atom crossed the boundaries.
    """

    steps: NDArray[np.int64]
    ids: NDArray[np.int64]
    labels: list[str]
    named: bool
    cells: Floats
    origins: Floats
    continuous: bool
    _rows: _Rows

    def frames(self) -> Iterator[Floats]:
        """Read the frames one by one.

        Yields
        ------
        ndarray, shape (N, 3)
            Fractional coordinates in the frame's own cell, images added.

        Raises
        ------
        UsageError
            One line: atoms that change, values that aren't numbers.
        """
        return self._rows.frames()


def read_dump(path: Path) -> Dump:
    """Find all whole frames; of a repeated time step the last.

    Parameters
    ----------
    path : Path
        Columns ``id``, ``element`` or ``type``, and coordinates; see
        :func:`lbpsi_driver.observables.trajectory.read_lammps_dump`.

    Raises
    ------
    UsageError
        One line: no whole frame, columns missing, no periodic cell, numbers of atoms that change.
    """
    frames, names = _find_frames(path)
    columns = _read_columns(names, path)
    rows = _Rows(path, frames, columns)
    labels = {code: label.decode("ascii", "replace") for label, code in rows.codes.items()}
    return Dump(
        steps=frames.steps,
        ids=rows.reference[:, 0].astype(np.int64),
        labels=[labels[int(code)] for code in rows.reference[:, 1]],
        named=columns.label == "element",
        cells=frames.cells,
        origins=frames.origins,
        continuous=columns.unwrapped or bool(columns.images),
        _rows=rows,
    )


@dataclass(frozen=True)
class _Frames:
    """Headers of F frames of the same atoms, and where their rows are in the file."""

    n_atoms: int
    steps: NDArray[np.int64]
    cells: Floats
    origins: Floats
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


@dataclass(frozen=True)
class _Header:
    """Header of one whole frame, and where its rows are in the file."""

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


def _find_frames(path: Path) -> tuple[_Frames, tuple[str, ...]]:
    """Headers of all whole frames by time step, the last of each step, and their columns."""
    # Compact, and filled as they come: a long run has many.
    numbers, boxes = array("q"), array("d")
    columns: dict[tuple[str, ...], int] = {}
    with path.open("rb") as file:
        for start, text in _split(file):
            frame = _read_header(text, start, path)
            if frame is None:
                _LOG.warning("%s: the frame at byte %d is cut short; dropped", path, start)
                continue
            kind = columns.setdefault(frame.columns, len(columns))
            numbers.extend((frame.step, frame.n_atoms, kind, frame.start, frame.stop))
            boxes.extend((*frame.cell.ravel(), *frame.origin))
        if not os.fstat(file.fileno()).st_size:
            raise UsageError(f"{path}: empty file; is the run finished?")
    if not numbers:
        raise UsageError(f"{path}: no whole frame; is the run finished?")
    table, box = np.array(numbers).reshape(-1, 5), np.array(boxes).reshape(-1, 12)
    order = np.argsort(table[:, 0], kind="stable")
    last = np.append(np.diff(table[order, 0]) > 0, True)
    chosen = order[last]
    table, box = table[chosen], box[chosen]
    _check_frames(table, path)
    frames = _Frames(
        n_atoms=int(table[0, 1]),
        steps=table[:, 0],
        cells=box[:, :9].reshape(-1, 3, 3),
        origins=box[:, 9:],
        starts=table[:, 3],
        stops=table[:, 4],
    )
    return frames, list(columns)[int(table[0, 2])]


def _check_frames(table: NDArray[np.int64], path: Path) -> None:
    """Refuse frames of other atoms or columns than the first."""
    other = np.flatnonzero((table[:, 1:3] != table[0, 1:3]).any(axis=1))
    if len(other) == 0:
        return
    step, n_atoms = table[other[0], :2].tolist()
    if n_atoms != table[0, 1]:
        raise UsageError(
            f"{path}: step {step} has {n_atoms} atoms, step {table[0, 0]} had "
            f"{table[0, 1]}; analyse a trajectory with a fixed set of atoms"
        )
    raise UsageError(f"{path}: step {step} has other columns; split the file")


def _split(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Frames of a file, whole or not, each with the byte at which it starts."""
    rest, at = b"", 0
    while block := file.read(_READ):
        rest += block
        starts = [match.start() for match in re.finditer(_FRAME, rest)]
        for start, stop in pairwise(starts):
            yield at + start, rest[start:stop]
        # The last one may go on, and what is before the first is none.
        kept = starts[-1] if starts else max(0, len(rest) - len(_FRAME))
        rest, at = rest[kept:], at + kept
    if rest.startswith(_FRAME):
        yield at, rest


def _read_header(text: bytes, start: int, path: Path) -> _Header | None:
    """Header of a frame that starts at a byte; None where header or rows are cut short."""
    columns_at = text.find(b"ITEM: ATOMS")
    rows_at = text.find(b"\n", columns_at) + 1
    if columns_at < 0 or rows_at == 0:
        return None
    items: dict[str, list[str]] = {}
    for line in text[:columns_at].decode("ascii", "replace").splitlines():
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
    behind = text.find(b"ITEM:", rows_at)
    end = len(text) if behind < 0 else behind
    if text.count(b"\n", rows_at, end) != n_atoms or not text.endswith(b"\n", rows_at, end):
        return None
    columns = tuple(text[columns_at:rows_at].decode("ascii", "replace").split()[2:])
    return _Header(step, n_atoms, cell, origin, columns, start + rows_at, start + end)


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


class _Rows:
    """Reads the rows of frames; the atoms of all are those of the first."""

    def __init__(self, path: Path, frames: _Frames, columns: _Columns) -> None:
        self._path, self._frames, self._columns = path, frames, columns
        with path.open("rb") as file:
            text = self._text(file, 0)
            words = text.split()
            self.codes = _code_labels(words[columns.label_at :: len(columns.names)], columns)
            rows = self._parse(text, 0)
        self.reference = rows[np.argsort(rows[:, 0], kind="stable")][:, :2]

    def frames(self) -> Iterator[Floats]:
        """Fractional coordinates (images added) in each frame's cell, atoms by id."""
        frames = self._frames
        inverse = np.linalg.inv(frames.cells)
        with self._path.open("rb") as file:
            for t in progress(range(len(frames.steps)), f"reading {self._path.name}"):
                rows = self._sorted(self._parse(self._text(file, t), t), t)
                found: Floats = rows[:, 2:5]
                if not self._columns.scaled:
                    found = (found - frames.origins[t]) @ inverse[t]
                if self._columns.images:
                    found = found + rows[:, 5:8]
                if not np.isfinite(found).all():
                    raise UsageError(
                        f"{self._path}: a coordinate is no finite number: the run blew up"
                    )
                yield found

    def _text(self, file: BinaryIO, frame: int) -> bytes:
        start, stop = int(self._frames.starts[frame]), int(self._frames.stops[frame])
        file.seek(start)
        return file.read(stop - start)

    def _parse(self, text: bytes, frame: int) -> Floats:
        step, n_atoms = int(self._frames.steps[frame]), self._frames.n_atoms
        return _parse_rows(text, step, n_atoms, self._columns, self.codes, self._path)

    def _sorted(self, rows: Floats, frame: int) -> Floats:
        if not np.array_equal(rows[:, :2], self.reference):
            rows = rows[np.argsort(rows[:, 0], kind="stable")]
        if not np.array_equal(rows[:, :2], self.reference):
            steps = self._frames.steps
            raise UsageError(
                f"{self._path}: step {steps[frame]} has other atoms or elements than step "
                f"{steps[0]}; analyse a trajectory with a fixed set of atoms"
            )
        return rows


def _code_labels(labels: Sequence[bytes], columns: _Columns) -> dict[bytes, int]:
    """Give each label a number; types are numbers already."""
    distinct = dict.fromkeys(labels)
    if columns.label == "type":
        return {label: int(label) for label in distinct}
    return {label: code for code, label in enumerate(distinct)}


def _parse_rows(
    rows: bytes, step: int, n_atoms: int, columns: _Columns, codes: dict[bytes, int], path: Path
) -> Floats:
    """Id, label's code, coordinates and images of a frame's atoms, shape (N, 5 or 8)."""
    wanted = [columns.id, columns.label_at, *columns.coordinates, *columns.images]
    width = len(columns.names)
    named = columns.label == "element"
    parsed: Floats | None = _kernels.parse_rows(
        rows, n_atoms, width, wanted, columns.label_at if named else -1, list(codes)
    )
    if parsed is not None:
        return parsed
    # What the kernel doesn't take goes the slow way, which knows what is wrong with it.
    words = rows.split()
    if len(words) != n_atoms * width:
        raise UsageError(
            f"{path}: step {step}: {len(words)} values, expected {n_atoms} rows of "
            f"{width}; the file is damaged"
        )
    table = np.array(words).reshape(n_atoms, width)[:, wanted]
    numbers = np.empty(table.shape)
    for place in range(len(wanted)):
        if place == 1:
            numbers[:, 1] = [codes.get(label, -1) for label in table[:, 1].tolist()]
            continue
        try:
            numbers[:, place] = table[:, place].astype(np.float64)
        except ValueError as err:
            raise UsageError(f"{path}: step {step}: {err}; the file is damaged") from err
    return numbers


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Show how far a long loop is, on a terminal's stderr only."""
    if not sys.stderr.isatty():
        return items
    return track(items, what, console=Console(stderr=True), transient=True)
