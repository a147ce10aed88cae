"""Trajectories in memory, and readers of LAMMPS text dumps, extxyz and XDATCAR.

Everything downstream works on continuous fractional coordinates: an atom that crosses the cell's
boundary keeps counting up, and a flip of a triclinic cell by LAMMPS is undone, so that both the
cell and the coordinates vary smoothly in time. Positions follow from them in two ways
(:meth:`Trajectory.positions`): ``fractional``, by the mean cell, and ``image``, by each frame's
own cell, which is what LAMMPS' ``compute msd`` does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import ase
import ase.io
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.lammps_dump import read_dump
from lbpsi_driver.units import G_PER_CM3_PER_AMU_PER_A3

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_FRAMES = 100
"""Frames used for static structure, evenly over the run: neighbours tell the same."""

_LOG = logging.getLogger(__name__)
_FS_PER_PS = 1000.0
_DUMP = b"ITEM:"
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
    ids : ndarray of int, shape (N,), optional
        Ids of the atoms in the file; None: 1, 2, …
    """

    fractional: Floats
    cells: Floats
    origins: Floats
    times_ps: Floats
    elements: NDArray[np.str_]
    ids: Integers | None = None

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
            fractional=self.fractional[frames],
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


def read(path: Path | str, timestep_fs: float | None, elements: Sequence[str] = ()) -> Trajectory:
    """Read a trajectory: LAMMPS text dump, extxyz or XDATCAR.

    Parameters
    ----------
    path : Path or str
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
        raise UsageError(f"{path}: not {file_format}: {' '.join(str(err).split())}") from err
    if not frames:
        raise UsageError(f"{path}: no frames: is the file complete?")
    elements = np.array(frames[0].symbols)
    for number, frame in enumerate(frames):
        if not np.array_equal(elements, np.array(frame.symbols)):
            raise UsageError(f"{path}: frame {number} has other atoms than frame 0; split the file")
    _check_elements(set(elements.tolist()), path)
    cells = np.array([frame.cell.array for frame in frames])
    changes = undo_flips(cells)
    for number, frame in enumerate(frames):
        require_periodic(frame, f"{path}: frame {number}")
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
    dump = read_dump(path)
    names = _name_atoms(dump.labels, dump.named, elements, path)
    changes = undo_flips(dump.cells)
    fractional = _rebase(dump.fractional, changes)
    if dump.continuous:
        _warn_of_jumps(fractional, dump.steps, path)
    else:
        fractional = _nearest_images(fractional)
    times = np.array(dump.steps) * timestep_fs / _FS_PER_PS
    return Trajectory(fractional, changes @ dump.cells, dump.origins, times, names, dump.ids)


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


def _warn_of_jumps(fractional: Floats, steps: Sequence[int], path: Path) -> None:
    """Image flags that were reset in the middle of a run would pass for displacements."""
    for t in range(1, len(fractional)):
        if np.abs(fractional[t] - fractional[t - 1]).max() > 0.5:
            _LOG.warning(
                "%s: an atom moves by more than half the cell between steps %d and %d; "
                "were image flags reset?",
                path,
                steps[t - 1],
                steps[t],
            )
            return
