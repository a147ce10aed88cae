"""Trajectories, and readers of LAMMPS text dumps, extxyz and XDATCAR.

Everything downstream works on continuous fractional coordinates: an atom that crosses the cell's
boundary keeps counting up, and a flip of a triclinic cell by LAMMPS is undone, so that both the
cell and the coordinates vary smoothly in time. Positions follow from them in two ways
(:meth:`Trajectory.paths`): ``fractional``, by the mean cell, and ``image``, by each frame's own
cell, which is what LAMMPS' ``compute msd`` does.

Coordinates of a short trajectory are in memory, those of a long one in a temporary file
(:mod:`lbpsi_driver.observables.spool`). Neither takes all frames of all atoms at once: observables
go through frames, ``trajectory.fractional[t]``, or through the paths of a few atoms.
"""

from __future__ import annotations

import io
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import ase
import ase.io
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.lammps_dump import read_dump
from lbpsi_driver.observables.paths import Cells, Coordinates, Paths, centre_of_mass
from lbpsi_driver.observables.spool import Collector, rows_at
from lbpsi_driver.observables.unwrapping import (
    Flips,
    nearest_images,
    rebase,
    undo_flips,
    warned_of_jumps,
)
from lbpsi_driver.units import G_PER_CM3_PER_AMU_PER_A3

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Com = Literal["all", "group", "none"]
Unwrap = Literal["fractional", "image"]

MOST_FRAMES = 100
"""Frames used for static structure, evenly over the run: neighbours tell the same."""

_FS_PER_PS = 1000.0
_DUMP = b"ITEM:"
# A grid sparser than this is no interval of frames with some missing: dumps at logarithmic times.
_MOST_SPARSE_GRID = 10


@dataclass(frozen=True)
class Trajectory:
    """Frames of a fixed set of atoms in a periodic cell, in time order.

    Attributes
    ----------
    fractional : ndarray or Stored, shape (F, N, 3)
        Continuous (unwrapped) fractional coordinates in the basis of `cells`; ``fractional[t]`` are
        those of a frame, ``fractional[a:b]`` of several.
    cells : ndarray, shape (F, 3, 3)
        Lattice vectors as rows, Å; flips of a triclinic cell undone.
    origins : ndarray, shape (F, 3)
        Corner of the cell, Å.
    times_ps : ndarray, shape (F,)
        Times, ps, strictly increasing.
    elements : ndarray of str, shape (N,)
        Chemical symbols.
    ids : ndarray of int, shape (N,), optional
        Ids of the atoms in the file; None: 1, 2, …
    """

    fractional: Coordinates
    cells: Floats
    origins: Floats
    times_ps: Floats
    elements: NDArray[np.str_]
    ids: Integers | None = None

    @cached_property
    def _centres(self) -> dict[Unwrap, Floats]:
        """Centres of mass of all atoms, once they were asked for."""
        return {}

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
        return self if keep.all() else self.at(np.flatnonzero(keep))

    def at(self, frames: Integers) -> Trajectory:
        """Choose frames by their numbers, increasing; shape (n,)."""
        return replace(
            self,
            fractional=rows_at(self.fractional, frames),
            cells=self.cells[frames],
            origins=self.origins[frames],
            times_ps=self.times_ps[frames],
        )

    def spread(self, most: int = MOST_FRAMES) -> Trajectory:
        """Choose at most so many frames, evenly over the run, first and last among them."""
        last = self.n_frames - 1
        if last < most:
            return self
        return self.at(np.linspace(0, last, most).astype(np.int64))

    def paths(
        self,
        atoms: Integers,
        com: Com = "all",
        unwrap: Unwrap = "fractional",
    ) -> Paths:
        """Unwrapped Cartesian positions of a group, whose differences are displacements.

        Parameters
        ----------
        atoms : ndarray of int, shape (n,)
            Indices of the atoms wanted.
        com : {'all', 'group', 'none'}
            Whose centre of mass is the origin; none leaves the positions as they are.
        unwrap : {'fractional', 'image'}
            ``fractional``: coordinates times the mean cell, so that the cell's own motion under a
            barostat doesn't count as displacement. ``image``: coordinates times each frame's cell
            plus its origin, as LAMMPS ``compute msd``: the cell's breathing counts, more so the
            more images an atom has crossed.

        Returns
        -------
        Paths
            Of shape (F, n, 3), Å; computed a few atoms at a time, when asked for.
        """
        cells = self._cells(unwrap)
        return Paths(self.fractional, cells, atoms, self._centre(atoms, com, unwrap))

    def _cells(self, unwrap: Unwrap) -> Cells:
        if unwrap == "fractional":
            return Cells(self.mean_cell[None], np.zeros((1, 3)))
        return Cells(self.cells, self.origins)

    def _centre(self, atoms: Integers, com: Com, unwrap: Unwrap) -> Floats:
        if com == "none":
            return np.zeros((1, 3))
        if com == "group":
            return centre_of_mass(self.fractional, self._cells(unwrap), atoms, self.masses_amu)
        # All groups have it in common, and it takes all coordinates.
        if unwrap not in self._centres:
            every = np.arange(len(self.elements))
            self._centres[unwrap] = self._centre(every, "group", unwrap)
        return self._centres[unwrap]

    def positions(self, unwrap: Unwrap = "fractional") -> Floats:
        """Unwrapped positions of all atoms, Å, shape (F, N, 3); for what is short."""
        every = np.arange(len(self.elements))
        return self.paths(every, "none", unwrap).of(slice(None))


def of_atoms(atoms: ase.Atoms) -> Trajectory:
    """Make a trajectory of one frame from a periodic structure.

    Raises
    ------
    UsageError
        Where it isn't periodic in all three directions.
    """
    require_periodic(atoms, "the structure")
    cell = atoms.cell.array
    fractional = atoms.positions @ np.linalg.inv(cell)
    elements = np.array(atoms.symbols)
    return Trajectory(fractional[None], cell[None], np.zeros((1, 3)), np.zeros(1), elements)


def require_periodic(atoms: ase.Atoms, what: object) -> None:
    """Refuse what isn't periodic in all three directions.

    Raises
    ------
    UsageError
        One line: `what` and its directions.
    """
    if not atoms.pbc.all():
        flags = " ".join("T" if flag else "F" for flag in atoms.pbc)
        raise UsageError(f"{what}: periodic in '{flags}': expected all three directions, 'T T T'")


def is_trajectory(path: Path) -> bool:
    """Tell whether :func:`read` takes a file, by its name or a dump's first line."""
    if path.name.upper().startswith("XDATCAR") or path.suffix in (".xyz", ".extxyz"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_DUMP)) == _DUMP
    except OSError:
        return False


def read(
    path: Path | str,
    timestep_fs: float | None,
    elements: Sequence[str] = (),
    scratch: Path | None = None,
) -> Trajectory:
    """Read a trajectory: LAMMPS text dump, extxyz or XDATCAR.

    Parameters
    ----------
    path : Path or str
        ``XDATCAR*``, ``*.xyz``, ``*.extxyz``, or a dump whatever its name.
    timestep_fs : float
        Time per MD step of a dump, or between the frames of the other formats, fs.
    elements : sequence of str
        Symbols of LAMMPS types 1, 2, … where the dump has no column ``element``.
    scratch : Path, optional
        Folder of the temporary file of a long trajectory; default: ``$TMPDIR`` or the system's.

    Returns
    -------
    Trajectory
        All whole frames, in time order.

    Raises
    ------
    UsageError
        One line: no such file, no known format, no `timestep_fs`, a set of atoms that changes, no
        room for the temporary file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(_DUMP))
    except OSError as err:
        raise UsageError(f"{path}: {err.strerror}; give a dump, extxyz or XDATCAR file") from err
    if timestep_fs is None:
        raise UsageError(
            f"{path.name} doesn't tell its time step: give --timestep "
            "(fs per MD step of a dump, fs between frames of extxyz or XDATCAR)"
        )
    if head == _DUMP:
        return read_lammps_dump(path, timestep_fs, elements, scratch)
    if path.name.upper().startswith("XDATCAR"):
        return read_ase(path, "vasp-xdatcar", timestep_fs, scratch)
    if path.suffix in (".xyz", ".extxyz"):
        return read_ase(path, "extxyz", timestep_fs, scratch)
    raise UsageError(
        f"{path}: not a trajectory: expected a LAMMPS text dump (first line 'ITEM: …'), "
        "*.extxyz or XDATCAR"
    )


def read_ase(
    path: Path, file_format: str, timestep_fs: float, scratch: Path | None = None
) -> Trajectory:
    """Read a trajectory by ASE; atoms are unwrapped by the nearest image between frames.

    Parameters
    ----------
    path : Path
        The file.
    file_format : str
        ASE's name of the format, as in ``extxyz``.
    timestep_fs : float
        Time between frames, fs.
    scratch : Path, optional
        As in :func:`read`.

    Returns
    -------
    Trajectory
        All frames.

    Raises
    ------
    UsageError
        Where ASE can't read it, or the set of atoms changes.
    """
    frames = _same_atoms(_frames_of_ase(path, file_format), path)
    first = next(frames, None)
    if first is None:
        raise UsageError(f"{path}: no frames: is the file complete?")
    elements = np.array(first.symbols)
    _check_elements(set(elements.tolist()), path)
    cells = array("d")
    collector = Collector((len(elements), 3), folder=scratch)
    for fractional in nearest_images(_continuous(chain([first], frames), cells, path)):
        collector.append(fractional)
    continuous = np.array(cells).reshape(-1, 3, 3)
    number = len(continuous)
    times = np.arange(number, dtype=np.float64) * (timestep_fs / _FS_PER_PS)
    return Trajectory(collector.finish(), continuous, np.zeros((number, 3)), times, elements)


def _frames_of_ase(path: Path, file_format: str) -> Iterator[ase.Atoms]:
    try:
        if file_format == "vasp-xdatcar":
            yield from _frames_of_xdatcar(path)
        else:
            yield from ase.io.iread(path, index=":", format=file_format)
    except Exception as err:  # ASE's readers raise whatever their parsers do
        raise UsageError(f"{path}: not {file_format}: {' '.join(str(err).split())}") from err


def _frames_of_xdatcar(path: Path) -> Iterator[ase.Atoms]:
    """Give ASE, which reads all of a file, a frame at a time."""
    header: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if "Direct configuration=" not in line:
                header = [line, *islice(file, 6)]
                line = next(file, "")
            if not line:
                return
            rows = islice(file, sum(int(number) for number in header[-1].split()))
            text = io.StringIO("".join([*header, line, *rows]))
            yield from ase.io.iread(text, index=":", format="vasp-xdatcar")


def _same_atoms(frames: Iterator[ase.Atoms], path: Path) -> Iterator[ase.Atoms]:
    numbers: NDArray[np.int_] | None = None
    for number, frame in enumerate(frames):
        numbers = frame.numbers if numbers is None else numbers
        if not np.array_equal(frame.numbers, numbers):
            raise UsageError(f"{path}: frame {number} has other atoms than frame 0; split the file")
        yield frame


def _continuous(frames: Iterator[ase.Atoms], cells: array[float], path: Path) -> Iterator[Floats]:
    """Fractional coordinates in cells without flips, which are appended to `cells`."""
    flips = Flips()
    for number, frame in enumerate(frames):
        cell = frame.cell.array
        try:
            change = flips.change(cell)
            require_periodic(frame, f"{path}: frame {number}")
        except UsageError:
            deque(frames, maxlen=0)  # atoms that change are the better reason
            raise
        cells.extend((change @ cell).ravel())
        yield rebase(frame.positions @ np.linalg.inv(cell), change)


def read_lammps_dump(
    path: Path, timestep_fs: float, elements: Sequence[str] = (), scratch: Path | None = None
) -> Trajectory:
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
    scratch : Path, optional
        As in :func:`read`.

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
    dump = read_dump(path)
    names = _name_atoms(dump.labels, dump.named, elements, path)
    changes = undo_flips(dump.cells)
    smooth = map(rebase, dump.frames(), changes)
    frames = (
        warned_of_jumps(smooth, dump.steps, path) if dump.continuous else nearest_images(smooth)
    )
    collector = Collector((len(names), 3), expected=len(dump.steps), folder=scratch)
    for fractional in frames:
        collector.append(fractional)
    times = dump.steps.astype(np.float64) * timestep_fs / _FS_PER_PS
    cells = changes @ dump.cells
    return Trajectory(collector.finish(), cells, dump.origins, times, names, dump.ids)


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
