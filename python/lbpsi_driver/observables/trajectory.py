"""Trajectories in memory, and readers of LAMMPS text dumps, extxyz and XDATCAR.

Everything downstream works on continuous fractional coordinates: an atom that crosses the cell's
boundary keeps counting up, and a flip of a triclinic cell by LAMMPS is undone, so that both the
cell and the coordinates vary smoothly in time. Positions follow from them in two ways
(:meth:`Trajectory.positions`): ``fractional``, by the mean cell, and ``image``, by each frame's
own cell, which is what LAMMPS' ``compute msd`` does.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import ase.io
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from lbpsi_driver.config import UsageError
from lbpsi_driver.units import G_PER_CM3_PER_AMU_PER_A3

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Item = TypeVar("Item")

_LOG = logging.getLogger(__name__)
_FRAME = b"ITEM: TIMESTEP"
_FS_PER_PS = 1000.0
# Names of the three coordinates in a dump: (scaled by the cell, already unwrapped).
_COORDINATES = {
    ("xu", "yu", "zu"): (False, True),
    ("xsu", "ysu", "zsu"): (True, True),
    ("x", "y", "z"): (False, False),
    ("xs", "ys", "zs"): (True, False),
}
_IMAGES = ("ix", "iy", "iz")
# A grid sparser than this is no interval of frames with some missing: dumps at logarithmic times.
_MOST_SPARSE_GRID = 10


@dataclass(frozen=True)
class Trajectory:
    """Frames of a fixed set of atoms in a periodic cell, in time order.

    Attributes
    ----------
    fractional : ndarray, shape (F, N, 3)
        Continuous (unwrapped) fractional coordinates in the basis of `cells`.
    cells : ndarray, shape (F, 3, 3)
        Lattice vectors as rows, Å; flips of a triclinic cell undone.
    origins : ndarray, shape (F, 3)
        Corner of the cell, Å.
    times_ps : ndarray, shape (F,)
        Times, ps, strictly increasing.
    elements : ndarray of str, shape (N,)
        Chemical symbols.
    """

    fractional: Floats
    cells: Floats
    origins: Floats
    times_ps: Floats
    elements: NDArray[np.str_]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.times_ps)

    @property
    def mean_cell(self) -> Floats:
        """Mean of the cells, Å, shape (3, 3)."""
        mean: Floats = self.cells.mean(axis=0)
        return mean

    @property
    def volumes_A3(self) -> Floats:  # noqa: N802 - Å3 is the unit's symbol
        """Volume of each frame, Å3, shape (F,)."""
        volumes: Floats = np.abs(np.linalg.det(self.cells))
        return volumes

    @property
    def masses_amu(self) -> Floats:
        """Masses from ASE's table, amu, shape (N,)."""
        return np.array([atomic_masses[atomic_numbers[e]] for e in self.elements])

    @property
    def densities_g_cm3(self) -> Floats:
        """Mass density of each frame, g/cm3, shape (F,)."""
        densities: Floats = self.masses_amu.sum() / self.volumes_A3 * G_PER_CM3_PER_AMU_PER_A3
        return densities

    def indices(self, element: str) -> Integers:
        """Find the atoms of an element; indices, shape (n,)."""
        return np.flatnonzero(self.elements == element)

    def grid(self) -> tuple[float, Integers]:
        """Uniform time grid that holds every frame; frames may be missing on it.

        Returns
        -------
        spacing_ps : float
            Spacing of the grid, ps.
        index : ndarray of int, shape (F,)
            Grid point of each frame, the first 0.

        Raises
        ------
        UsageError
            Where the times aren't multiples of one interval, or hold fewer than a tenth of it.
        """
        since = self.times_ps - self.times_ps[0]
        spacing = float(np.diff(since).min())
        index = np.rint(since / spacing).astype(np.int64)
        if np.abs(since / spacing - index).max() > 0.1:
            raise UsageError("frames aren't evenly spaced in time: dump at one fixed interval")
        if index[-1] >= _MOST_SPARSE_GRID * self.n_frames:
            raise UsageError(
                f"only {self.n_frames} of {index[-1] + 1} evenly spaced frames are there: "
                "dump at one fixed interval"
            )
        return float(since[-1] / index[-1]), index

    def after(self, skip_ps: float) -> Trajectory:
        """Drop the frames of the first `skip_ps` ps.

        Raises
        ------
        UsageError
            Where fewer than two frames are left.
        """
        keep = self.times_ps - self.times_ps[0] >= skip_ps * (1.0 - 1e-9)
        if keep.sum() < 2:
            length = self.times_ps[-1] - self.times_ps[0]
            raise UsageError(
                f"{keep.sum()} frame(s) left of {self.n_frames} over {length:g} ps (skip "
                f"{skip_ps:g} ps): two or more are needed; run longer or dump more often"
            )
        if keep.all():
            return self
        return Trajectory(
            self.fractional[keep],
            self.cells[keep],
            self.origins[keep],
            self.times_ps[keep],
            self.elements,
        )

    def positions(self, unwrap: Literal["fractional", "image"] = "fractional") -> Floats:
        """Unwrapped Cartesian positions, whose differences are displacements.

        Parameters
        ----------
        unwrap : {'fractional', 'image'}
            ``fractional``: coordinates times the mean cell, so that the cell's own motion under a
            barostat doesn't count as displacement. ``image``: coordinates times each frame's cell
            plus its origin, as LAMMPS ``compute msd``: the cell's breathing counts, more so the
            more images an atom has crossed.

        Returns
        -------
        ndarray, shape (F, N, 3)
            Positions, Å.
        """
        if unwrap == "fractional":
            return self.fractional @ self.mean_cell
        return self.fractional @ self.cells + self.origins[:, None, :]


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
    if not (np.abs(np.linalg.det(cells)) > 1e-6).all():
        raise UsageError("a frame has no periodic cell: all three lattice vectors are needed")
    inverse = np.linalg.inv(cells)
    changes = np.empty(cells.shape, dtype=np.int64)
    changes[0] = np.eye(3, dtype=np.int64)
    for t in range(1, len(cells)):
        changes[t] = np.rint(changes[t - 1] @ cells[t - 1] @ inverse[t]).astype(np.int64)
        if round(abs(float(np.linalg.det(changes[t])))) != 1:
            raise UsageError(
                f"the cell of frame {t} is no small strain of the one before: "
                "is this one trajectory? dump more often if it is"
            )
    return changes


def read(path: Path, timestep_fs: float | None, elements: Sequence[str] = ()) -> Trajectory:
    """Read a trajectory: LAMMPS text dump, extxyz or XDATCAR.

    Parameters
    ----------
    path : Path
        ``XDATCAR*``, ``*.xyz``, ``*.extxyz``, or a dump whatever its name.
    timestep_fs : float
        Time per MD step of a dump, or between the frames of the other formats, fs.
    elements : sequence of str
        Symbols of LAMMPS types 1, 2, … where the dump has no column ``element``.

    Returns
    -------
    Trajectory
        All whole frames, in time order.

    Raises
    ------
    UsageError
        One line: no such file, no known format, no `timestep_fs`, a set of atoms that changes.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as err:
        raise UsageError(f"{path}: {err.strerror}; give a dump, extxyz or XDATCAR file") from err
    if timestep_fs is None:
        raise UsageError(
            f"{path.name} doesn't tell its time step: give --timestep "
            "(fs per MD step of a dump, fs between frames of extxyz or XDATCAR)"
        )
    if head.startswith(b"ITEM:"):
        return read_lammps_dump(path, timestep_fs, elements)
    if path.name.upper().startswith("XDATCAR"):
        return read_ase(path, "vasp-xdatcar", timestep_fs)
    if path.suffix in (".xyz", ".extxyz"):
        return read_ase(path, "extxyz", timestep_fs)
    raise UsageError(
        f"{path}: not a trajectory: expected a LAMMPS text dump (first line 'ITEM: …'), "
        "*.extxyz or XDATCAR"
    )


def read_ase(path: Path, file_format: str, timestep_fs: float) -> Trajectory:
    """Read a trajectory by ASE; atoms are unwrapped by the nearest image between frames.

    Parameters
    ----------
    path : Path
        The file.
    file_format : str
        ASE's name of the format, as in ``extxyz``.
    timestep_fs : float
        Time between frames, fs.

    Returns
    -------
    Trajectory
        All frames.

    Raises
    ------
    UsageError
        Where ASE can't read it, or the set of atoms changes.
    """
    try:
        frames = list(ase.io.iread(path, index=":", format=file_format))
    except Exception as err:  # ASE's readers raise whatever their parsers do
        raise UsageError(f"{path}: not {file_format}: {err}") from err
    if not frames:
        raise UsageError(f"{path}: no frames: is the file complete?")
    elements = np.array(frames[0].symbols)
    for number, frame in enumerate(frames):
        if not np.array_equal(elements, np.array(frame.symbols)):
            raise UsageError(f"{path}: frame {number} has other atoms than frame 0; split the file")
    _check_elements(set(elements.tolist()), path)
    cells = np.array([frame.cell.array for frame in frames])
    changes = undo_flips(cells)
    cartesian = np.array([frame.positions for frame in frames])
    scaled = cartesian @ np.linalg.inv(cells)
    fractional = _nearest_images(_rebase(scaled, changes))
    times = np.arange(len(frames), dtype=np.float64) * (timestep_fs / _FS_PER_PS)
    return Trajectory(fractional, changes @ cells, np.zeros((len(frames), 3)), times, elements)


def read_lammps_dump(path: Path, timestep_fs: float, elements: Sequence[str] = ()) -> Trajectory:
    """Read a LAMMPS text dump, also one of a run that was killed and resumed.

    Frames may be out of order; of a repeated time step the last whole one wins; a frame cut short
    is dropped with a warning.

    Parameters
    ----------
    path : Path
        Dump with the columns ``id``, ``element`` or ``type``, and the coordinates
        ``x y z`` or ``xs ys zs`` (with ``ix iy iz``, else unwrapped by the nearest image between
        frames), ``xu yu zu`` or ``xsu ysu zsu``; other columns are ignored.
    timestep_fs : float
        Time of an MD step, fs.
    elements : sequence of str
        Symbols of types 1, 2, … where there is no column ``element``.

    Returns
    -------
    Trajectory
        Frames by time, atoms by id.

    Raises
    ------
    UsageError
        One line: no whole frame, columns or element names missing, atoms that change, no
        periodic cell.
    """
    with path.open("rb") as file, contextlib.closing(_map(file.fileno(), path)) as text:
        frames = _find_frames(text, path)
        columns = _read_columns(frames[0].columns, path)
        cells = np.array([frame.cell for frame in frames])
        changes = undo_flips(cells)
        labels, raw = _read_rows(text, frames, columns, path)
    names = _name_atoms(labels, columns.label == "element", elements, path)
    origins = np.array([frame.origin for frame in frames])
    fractional = _rebase(raw, changes)
    if columns.continuous:
        _warn_of_jumps(fractional, frames, path)
    else:
        fractional = _nearest_images(fractional)
    times = np.array([frame.step for frame in frames]) * timestep_fs / _FS_PER_PS
    return Trajectory(fractional, changes @ cells, origins, times, names)


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
    coordinates: list[int]
    images: list[int]
    scaled: bool
    unwrapped: bool

    @property
    def continuous(self) -> bool:
        """Whether the file itself tells how often an atom crossed the boundaries."""
        return self.unwrapped or bool(self.images)


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
        coordinates=[names.index(name) for name in found],
        images=[names.index(name) for name in _IMAGES] if with_images else [],
        scaled=scaled,
        unwrapped=unwrapped,
    )


def _read_rows(
    text: mmap.mmap, frames: list[_Frame], columns: _Columns, path: Path
) -> tuple[list[str], Floats]:
    """Labels of the atoms, and fractional coordinates (images added) in each frame's own cell."""
    width, label_at = len(columns.names), columns.names.index(columns.label)
    first = text[frames[0].start : frames[0].stop].split()
    codes = _code_labels(first[label_at::width], columns)
    raw = np.empty((len(frames), frames[0].n_atoms, 3))
    reference: Floats | None = None
    for number, frame in enumerate(_progress(frames, path)):
        rows = _parse_rows(text[frame.start : frame.stop], frame, columns, codes, path)
        rows = rows[np.argsort(rows[:, columns.id], kind="stable")]
        who = rows[:, [columns.id, label_at]]
        reference = who if reference is None else reference
        if not np.array_equal(who, reference):
            raise UsageError(
                f"{path}: step {frame.step} has other atoms or elements than step "
                f"{frames[0].step}; analyse a trajectory with a fixed set of atoms"
            )
        xyz = rows[:, columns.coordinates]
        raw[number] = xyz if columns.scaled else (xyz - frame.origin) @ np.linalg.inv(frame.cell)
        if columns.images:
            raw[number] += rows[:, columns.images]
    assert reference is not None
    if not np.isfinite(raw).all():
        raise UsageError(f"{path}: a coordinate is no finite number: the run blew up")
    labels = {code: label.decode("ascii", "replace") for label, code in codes.items()}
    return [labels[int(code)] for code in reference[:, 1]], raw


def _code_labels(labels: Sequence[bytes], columns: _Columns) -> dict[bytes, int]:
    """Give each label a number; types are numbers already."""
    distinct = dict.fromkeys(labels)
    if columns.label == "type":
        return {label: int(label) for label in distinct}
    return {label: code for code, label in enumerate(distinct)}


def _parse_rows(
    rows: bytes, frame: _Frame, columns: _Columns, codes: dict[bytes, int], path: Path
) -> Floats:
    """Numbers of a frame, shape (N, columns); labels as codes, other words as NaN."""
    shape = (frame.n_atoms, len(columns.names))
    coded = rows
    if columns.label == "element":
        for label, code in codes.items():
            coded = coded.replace(b" %b " % label, b" %d " % code)
    # Text to numbers in one call is ten times as fast as token by token; what it can't read
    # (another word, a label at the end of a row) goes the slow way.
    with contextlib.suppress(ValueError, DeprecationWarning), warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        return np.fromstring(coded, sep=" ").reshape(shape)
    words = rows.split()
    if len(words) != shape[0] * shape[1]:
        raise UsageError(
            f"{path}: step {frame.step}: {len(words)} values, expected {shape[0]} rows of "
            f"{shape[1]}; the file is damaged"
        )
    table = np.array(words).reshape(shape)
    numbers = np.full(shape, np.nan)
    for column in {columns.id, *columns.coordinates, *columns.images}:
        try:
            numbers[:, column] = table[:, column].astype(np.float64)
        except ValueError as err:
            raise UsageError(f"{path}: step {frame.step}: {err}; the file is damaged") from err
    label_at = columns.names.index(columns.label)
    numbers[:, label_at] = [codes.get(label, -1) for label in table[:, label_at].tolist()]
    return numbers


def _name_atoms(
    labels: list[str], named: bool, elements: Sequence[str], path: Path
) -> NDArray[np.str_]:
    """Chemical symbols from a dump's labels: symbols themselves, or types to look up."""
    if not named:
        needed = max(int(label) for label in labels)
        if len(elements) < needed:
            raise UsageError(
                f"{path}: no column 'element' and types up to {needed}: give --elements for "
                f"types 1 to {needed}, as in Li,B,P,S,I"
            )
        labels = [elements[int(label) - 1] for label in labels]
    _check_elements(set(labels), path)
    return np.array(labels)


def _check_elements(symbols: set[str], path: Path) -> None:
    unknown = sorted(symbols - atomic_numbers.keys() | symbols & {"X"})
    if unknown:
        raise UsageError(f"{path}: '{unknown[0]}' is no element: expected symbols such as Li or S")


def _rebase(fractional: Floats, changes: Integers) -> Floats:
    """Fractional coordinates in the basis ``changes @ cells``."""
    if (changes == np.eye(3, dtype=np.int64)).all():
        return fractional
    rebased: Floats = fractional @ np.rint(np.linalg.inv(changes))
    return rebased


def _nearest_images(fractional: Floats) -> Floats:
    """Unwrap: each atom's step between frames is the shortest of its images."""
    jumps = np.rint(np.diff(fractional, axis=0))
    unwrapped = fractional.copy()
    unwrapped[1:] -= np.cumsum(jumps, axis=0)
    return unwrapped


def _warn_of_jumps(fractional: Floats, frames: list[_Frame], path: Path) -> None:
    """Image flags that were reset in the middle of a run would pass for displacements."""
    for t in range(1, len(fractional)):
        if np.abs(fractional[t] - fractional[t - 1]).max() > 0.5:
            _LOG.warning(
                "%s: an atom moves by more than half the cell between steps %d and %d; "
                "were image flags reset?",
                path,
                frames[t - 1].step,
                frames[t].step,
            )
            return


def _progress(items: Sequence[Item], path: Path) -> Iterable[Item]:
    """Show how far a long read is, on a terminal's stderr only."""
    if not sys.stderr.isatty():
        return items
    return track(items, f"reading {path.name}", console=Console(stderr=True), transient=True)
