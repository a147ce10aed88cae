"""Arrays along a trajectory, one row a frame, in memory while they are small and else on disk.

What is long is written once, while it is read from its own file, and comes back in parts: rows
(frames), or columns (atoms) over all rows. The temporary file has no name, so that the system
removes it whatever becomes of the process; it is read, not mapped, since pages of a map count as
memory. Rows stand in tiles in which each column's values follow each other, so that neither access
has to go through the file value by value.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lbpsi_driver.config import UsageError

MEMORY_BYTES = 2**25
"""What one array of a trajectory, or work on a part of it, takes of memory."""
BYTES_A_POSITION = 256
"""What work on a position takes at most: the transforms of an MSD, 10 times the position itself."""
_TILE_BYTES = 2**20
_MOST_ROWS_A_TILE = 64

Array = NDArray[Any]
Integers = NDArray[np.int64]


def positions_at_once() -> int:
    """Positions (of one atom in one frame) to work on at a time."""
    return max(1, MEMORY_BYTES // BYTES_A_POSITION)


@dataclass(frozen=True)
class _Tiles:
    """A file of tiles, each of so many rows of an array: (columns, rows, …)."""

    file: BinaryIO
    folder: Path | None
    columns: int
    rows: int
    item: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of a column in one row."""
        return int(np.prod(self.item, dtype=np.int64)) * self.dtype.itemsize

    def read(self, tile: int, first: int, stop: int) -> Array:
        """Columns `first` to `stop` of a tile, shape (stop - first, rows, …)."""
        found = np.empty((stop - first, self.rows, *self.item), self.dtype)
        place = (tile * self.columns + first) * self.rows * self.row_bytes
        if os.preadv(self.file.fileno(), [found.data.cast("B")], place) != found.nbytes:
            raise OSError("the temporary file of a trajectory ends early")
        return found

    def write(self, rows: Array) -> None:
        """Append a tile; rows (…, columns, …), those missing at the end are filled up."""
        tile = np.zeros((self.columns, self.rows, *self.item), self.dtype)
        tile[:, : len(rows)] = rows.swapaxes(0, 1)
        rest = tile.data.cast("B")
        while rest:
            rest = rest[self.file.write(rest) :]


class Stored:
    """An array on disk, read only: (F, N, …), rows F.

    Parameters
    ----------
    tiles : _Tiles
        Its file.
    rows : ndarray of int, shape (F,)
        Which of the file's rows it has.
    """

    def __init__(self, tiles: _Tiles, rows: Integers) -> None:
        self._tiles, self._rows = tiles, rows
        self._last: tuple[int, Array] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns, and what a column holds in a row."""
        return (len(self._rows), self._tiles.columns, *self._tiles.item)

    @property
    def folder(self) -> Path | None:
        """Folder of its file; None: the system's for temporary files."""
        return self._tiles.folder

    @property
    def nbytes(self) -> int:
        """Bytes that it would take in memory."""
        return len(self._rows) * self._tiles.columns * self._tiles.row_bytes

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Array]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, rows: int | np.integer[Any] | slice | Integers) -> Array:
        """Rows in memory: one, or several."""
        if isinstance(rows, int | np.integer):
            row: Array = self._read(self._rows[rows : rows + 1 or None])[0]
            return row
        return self._read(self._rows[rows])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self._read(self._rows), dtype)

    def at(self, rows: slice | Integers) -> Stored:
        """Choose rows; they stay on disk."""
        return Stored(self._tiles, self._rows[rows])

    def columns(self, chosen: Integers) -> Array:
        """All rows of a few columns, in memory, shape (F, n, …)."""
        found = np.empty((len(self), len(chosen), *self._tiles.item), self._tiles.dtype)
        if found.size:
            low, high = int(chosen.min()), int(chosen.max()) + 1
            for tile, places, inside in self._by_tile(self._rows):
                part = self._tiles.read(tile, low, high)[chosen - low]
                found[places] = part[:, inside].swapaxes(0, 1)
        return found

    def _read(self, rows: Integers) -> Array:
        found = np.empty((len(rows), *self.shape[1:]), self._tiles.dtype)
        for tile, places, inside in self._by_tile(rows):
            # Frames are mostly asked for one after the other.
            if self._last is None or self._last[0] != tile:
                self._last = tile, self._tiles.read(tile, 0, self._tiles.columns)
            found[places] = self._last[1][:, inside].swapaxes(0, 1)
        return found

    def _by_tile(self, rows: Integers) -> Iterator[tuple[int, slice, Integers]]:
        """Tiles, the places of their rows among those given, and in the tile."""
        tile, inside = np.divmod(rows, self._tiles.rows)
        edges = np.concatenate([[0], np.flatnonzero(np.diff(tile)) + 1, [len(rows)]])
        for first, stop in pairwise(edges.tolist()):
            if first < stop:
                yield int(tile[first]), slice(first, stop), inside[first:stop]


class Collector:
    """Takes an array row by row, in memory up to :data:`MEMORY_BYTES`, then to disk.

    Parameters
    ----------
    row : tuple of int
        Shape of a row: columns, and what a column holds.
    dtype : data type
        Of the values.
    expected : int, optional
        How many rows will come, where it is known.
    folder : Path, optional
        Where the temporary file goes; default: the system's place for such, ``$TMPDIR``.
    """

    def __init__(
        self,
        row: tuple[int, ...],
        dtype: DTypeLike = np.float64,
        *,
        expected: int = 0,
        folder: Path | None = None,
    ) -> None:
        columns, *item = row
        self._dtype, self._folder = np.dtype(dtype), folder
        row_bytes = max(1, int(np.prod(row, dtype=np.int64)) * self._dtype.itemsize)
        self._height = min(max(1, _TILE_BYTES // row_bytes), _MOST_ROWS_A_TILE)
        self._most = MEMORY_BYTES // row_bytes
        self._layout = (columns, self._height, tuple(item), self._dtype)
        self._tiles: _Tiles | None = None
        self._held = self._written = 0
        tiles = 1 if expected > self._most else max(1, -(-expected // self._height))
        self._rows = np.empty((tiles * self._height, *row), self._dtype)
        if expected > self._most:
            self._open()

    def append(self, row: ArrayLike) -> None:
        """Add a row.

        Raises
        ------
        UsageError
            One line: no room on disk.
        """
        if self._held == len(self._rows):
            self._make_room()
        self._rows[self._held] = row
        self._held += 1

    def finish(self) -> Array | Stored:
        """Give the array: one of numpy where it is in memory."""
        if self._tiles is None:
            return self._rows[: self._held]
        if self._held:
            self._write(self._rows[: self._held])
        return Stored(self._tiles, np.arange(self._written))

    def _make_room(self) -> None:
        if self._tiles is None and 2 * len(self._rows) <= self._most:
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            return
        if self._tiles is None:
            self._open()
        rows, self._held = self._rows, 0
        for first in range(0, len(rows), self._height):
            self._write(rows[first : first + self._height])
        self._rows = rows[: self._height].copy()

    def _open(self) -> None:
        try:
            file: Any = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115
        except OSError as err:
            raise self._no_room(err) from err
        self._tiles = _Tiles(file, self._folder, *self._layout)

    def _write(self, rows: Array) -> None:
        assert self._tiles is not None
        try:
            self._tiles.write(rows)
            self._written += len(rows)
        except OSError as err:
            raise self._no_room(err) from err

    def _no_room(self, err: OSError) -> UsageError:
        folder = self._folder or tempfile.gettempdir()
        return UsageError(
            f"{folder}: {err.strerror}: coordinates of a long trajectory go to a temporary file "
            "there; set TMPDIR to a folder with more room"
        )


def folder_of(array: Array | Stored) -> Path | None:
    """Folder for what is as long as an array."""
    return array.folder if isinstance(array, Stored) else None


def columns(array: Array | Stored, chosen: Integers) -> Array:
    """All rows of a few columns, shape (F, n, …)."""
    if isinstance(array, Stored):
        return array.columns(chosen)
    return np.take(array, chosen, axis=1)


def rows_at(array: Array | Stored, rows: slice | Integers) -> Array | Stored:
    """Choose rows; what is on disk stays there unless it is small."""
    if isinstance(array, Stored):
        chosen = array.at(rows)
        return chosen[:] if chosen.nbytes <= MEMORY_BYTES else chosen
    found: Array = array[rows]
    return found


def row_blocks(array: Array | Stored) -> Iterator[slice]:
    """Rows to work on at a time, of an array of positions."""
    size = max(1, positions_at_once() // max(1, array.shape[1]))
    # A multiple of 4 where it can be: BLAS rounds the last few rows in another way.
    size = size // 4 * 4 or size
    return (slice(first, first + size) for first in range(0, len(array), size))
