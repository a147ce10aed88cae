"""Pieces of a trajectory to look at: an ion's path with the units along it, and an anion.

- A pathway (paper 000, Figure 4): one ion and the units that its path comes close to, frame by
  frame, in one piece: continuous coordinates by the mean cell, each unit in the periodic image that
  the ion passes; where the path goes around the cell, a unit is there once for each image passed.
- An anion (paper 000, Figure 2): all atoms of one anion of a given name in one frame, unwrapped
  along its bonds, and the cations near it.

Both are ASE Atoms without periodicity, ready to be written as extxyz; the array ``id`` holds the
atoms' ids.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import ase
import numpy as np
from ase.geometry import find_mic
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.motif_summary import summarise
from lbpsi_driver.observables.motifs import CLASS_NAMES, MotifFinder, Motifs
from lbpsi_driver.observables.paths import Positions, atom_blocks
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

MOST_FRAMES = 400
"""Frames of a pathway, evenly over the run."""
LEAST_LIGANDS = 3
"""Fewest S of a unit that is shown."""
_CLOSED_A = 1e-3  # a ring of bonds that closes within this is no way through the cell


@dataclass(frozen=True)
class Unit:
    """A unit in a piece.

    Attributes
    ----------
    former : int
        Place of the former among the piece's atoms.
    ligands : tuple of int
        Places of its S.
    class_name : str
        Its class at the origin.
    """

    former: int
    ligands: tuple[int, ...]
    class_name: str


@dataclass(frozen=True)
class Pathway:
    """An ion's path and the units near it.

    Attributes
    ----------
    ion : int
        Index of the ion in the trajectory.
    class_name : str
        Its class at the origin.
    path_A : ndarray, shape (F, 3)
        Its positions, Å.
    largest_A : float
        Largest distance from the first of these, Å.
    frames : tuple of ase.Atoms
        F frames of the same atoms; the ion is the first. ``info`` holds ``time_ps``.
    units : tuple of Unit
        The units, those of the first frame: an S that leaves one moves away.
    """

    ion: int
    class_name: str
    path_A: Floats
    largest_A: float
    frames: tuple[ase.Atoms, ...]
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class AnionPiece:
    """An anion in one piece and the cations around it.

    Attributes
    ----------
    name : str
        Formula and charge.
    atoms : ase.Atoms
        The anion, then the cations; no cell.
    n_anion : int
        Atoms of the anion.
    endless : bool
        Whether the anion goes through the cell for ever: then it is cut open somewhere.
    of_that_name : int
        Anions of that name in the frame.
    """

    name: str
    atoms: ase.Atoms
    n_anion: int
    endless: bool
    of_that_name: int


def classes_at(
    trajectory: Trajectory,
    ions: Integers,
    frame: int = 0,
    *,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
) -> NDArray[np.str_]:
    """Name the classes of ions in one frame, the origin.

    Parameters
    ----------
    trajectory : Trajectory
        The frames.
    ions : ndarray of int, shape (N,)
        Indices of the ions.
    frame : int
        The frame, from 0, or from the end where negative.
    bonds, chain
        As in :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Returns
    -------
    ndarray of str, shape (N,)
        Their classes.

    Raises
    ------
    UsageError
        No such frame, an element without motifs, or no former.
    """
    return _find(trajectory, frame, bonds, chain).class_names()[ions]


def largest_displacements(positions: Positions) -> Floats:
    """Largest distance of each ion from its first position, Å.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped, drift-free positions, Å.

    Returns
    -------
    ndarray, shape (N,)
        Distances, Å; it takes a journey out and back for one, unlike the distance at the end.
    """
    largest = np.zeros(positions.shape[1])
    for chosen, block in atom_blocks(positions):
        largest[chosen] = np.square(block - block[0]).sum(axis=2).max(axis=0)
    return np.sqrt(largest)


def pick_ions(
    mobility: Floats | Integers,
    classes: NDArray[np.str_],
    class_name: str | None = None,
    number: int = 1,
    *,
    slowest: bool = False,
) -> Integers:
    """Choose ions by class and mobility.

    Parameters
    ----------
    mobility : ndarray, shape (N,)
        Of each ion: its largest displacement, or its number of hops.
    classes : ndarray of str, shape (N,)
        Class of each at the origin.
    class_name : str, optional
        Class wanted; default: any.
    number : int
        How many; fewer where there are no more.
    slowest : bool
        The least mobile instead of the most mobile ones.

    Returns
    -------
    ndarray of int, shape (n,)
        Places among the ions, the extreme one first.

    Raises
    ------
    UsageError
        No ion of that class: the classes that there are.
    """
    chosen = (
        np.arange(len(classes)) if class_name is None else np.flatnonzero(classes == class_name)
    )
    if len(chosen) == 0:
        present = ", ".join(name for name in CLASS_NAMES if name in classes)
        raise UsageError(f"no ion of class {class_name}: expected one of {present}")
    if number < 1:
        raise UsageError(f"{number} ions: expected 1 or more")
    values = np.asarray(mobility, dtype=np.float64)[chosen]
    return chosen[np.argsort(values if slowest else -values, kind="stable")[:number]]


def pathway(
    trajectory: Trajectory,
    ion: int,
    *,
    radius_A: float = 5.0,
    most_frames: int = MOST_FRAMES,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
) -> Pathway:
    """Cut the path of an ion and the units near it out of a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        The frames; cut it first where a part of the run is wanted.
    ion : int
        Index of the ion in the trajectory.
    radius_A : float
        Largest distance of a unit's former from the ion in at least one frame, Å.
    most_frames : int
        Frames at most, evenly over the run.
    bonds, chain
        As in :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Returns
    -------
    Pathway
        The piece; without units where none comes near.

    Raises
    ------
    UsageError
        No such ion, no frames or radius, an element without motifs, or no former.
    """
    if not 0 <= ion < len(trajectory.elements):
        raise UsageError(f"ion {ion}: expected an index from 0 to {len(trajectory.elements) - 1}")
    if most_frames < 1 or not radius_A > 0.0:
        raise UsageError(
            f"{most_frames} frames, radius {radius_A:g} Å: expected more than 0 of both"
        )
    motifs = _find(trajectory, 0, bonds, chain)
    shown = trajectory.spread(most_frames)
    former, image = _passed(shown, ion, np.flatnonzero(motifs.former), radius_A)
    atom, shift, units = _units(trajectory, motifs, former, image)
    atom, shift = np.append(ion, atom).astype(int), np.vstack([np.zeros((1, 3)), shift])
    mean_cell, masses = trajectory.mean_cell, trajectory.masses_amu
    symbols, ids = trajectory.elements[atom].tolist(), motifs.ids[atom]
    frames, path = [], np.empty((shown.n_frames, 3))
    start = masses @ trajectory.fractional[0] / masses.sum()
    for t, fractional in enumerate(shown.fractional):
        drift = masses @ fractional / masses.sum() - start
        positions = (fractional[atom] + shift - drift) @ mean_cell
        piece = ase.Atoms(symbols, positions, cell=mean_cell, pbc=False)
        piece.set_array("id", ids)
        piece.info["time_ps"] = float(shown.times_ps[t])
        frames.append(piece)
        path[t] = positions[0]
    largest = float(np.linalg.norm(path - path[0], axis=1).max())
    name = str(motifs.class_names()[ion])
    return Pathway(ion, name, path, largest, tuple(frames), tuple(units))


def anion_piece(
    trajectory: Trajectory,
    name: str,
    *,
    frame: int = -1,
    which: int = 0,
    cation: str = "Li",
    radius_A: float = 3.5,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
) -> AnionPiece:
    """Cut an anion and the cations around it out of a frame.

    Parameters
    ----------
    trajectory : Trajectory
        The frames.
    name : str
        Formula and charge, as in :func:`lbpsi_driver.observables.motif_summary.summarise`:
        ``P2S7(4-)``.
    frame : int
        The frame, from 0, or from the end where negative.
    which : int
        Which of the anions of that name, from 0, by their least id.
    cation : str
        Element of the cations.
    radius_A : float
        Largest distance of a cation from any atom of the anion, Å.
    bonds, chain
        As in :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Returns
    -------
    AnionPiece
        The anion's atoms around their middle, and each cation in its image nearest to the anion.

    Raises
    ------
    UsageError
        No such anion or frame; the line lists the anions that there are.
    """
    motifs = _find(trajectory, frame, bonds, chain)
    found = _named(motifs)
    same = [anion for anion, called in found.items() if called == name]
    if not 0 <= which < len(same):
        present = ", ".join(f"{n} {called}" for called, n in Counter(found.values()).most_common())
        wanted = name if not same else f"{name} number {which}, from 0"
        raise UsageError(f"no anion {wanted} in the frame: there are {present}")
    members, positions, endless = _unwrapped(motifs, np.flatnonzero(motifs.anion == same[which]))
    cell = trajectory.cells[frame]
    wrapped = trajectory.fractional[frame] @ cell
    positions += wrapped[members[0]]
    near, places = _around(
        wrapped, np.flatnonzero(motifs.elements == cation), cell, positions, radius_A
    )
    atom = np.append(members, near).astype(int)
    piece = ase.Atoms(
        trajectory.elements[atom].tolist(), np.vstack([positions, places]) - positions.mean(axis=0)
    )
    piece.set_array("id", motifs.ids[atom])
    piece.info["time_ps"] = float(trajectory.times_ps[frame])
    return AnionPiece(name, piece, len(members), endless, len(same))


def _find(
    trajectory: Trajectory, frame: int, bonds: Mapping[str, float] | None, chain: int | None
) -> Motifs:
    n = trajectory.n_frames
    if not -n <= frame < n:
        raise UsageError(f"frame {frame}: expected one from 0 to {n - 1}")
    finder = MotifFinder(trajectory.elements, bonds=bonds, chain=chain, ids=trajectory.ids)
    cell = trajectory.cells[frame]
    return finder.find(trajectory.fractional[frame] @ cell, cell)


def _passed(
    trajectory: Trajectory, ion: int, formers: Integers, radius_A: float
) -> tuple[Integers, Integers]:
    """Formers that an ion passes and in which images, distinct."""
    rows = []
    for fractional, cell in zip(trajectory.fractional, trajectory.cells, strict=True):
        apart = fractional[formers] - fractional[ion]
        nearest, distance = find_mic(apart @ cell, cell)
        image = np.rint(nearest @ np.linalg.inv(cell) - apart).astype(np.int64)
        close = distance <= radius_A
        rows.append(np.column_stack([formers[close], image[close]]))
    table = np.unique(np.concatenate(rows), axis=0)
    return table[:, 0], table[:, 1:]


def _units(
    trajectory: Trajectory, motifs: Motifs, formers: Integers, images: Integers
) -> tuple[Integers, Integers, list[Unit]]:
    """Atoms and images of units; their places count from 1, behind the ion."""
    inverse = np.linalg.inv(trajectory.cells[0])
    place: dict[tuple[int, ...], int] = {}
    units = []
    for former, image in zip(formers.tolist(), images, strict=True):
        bonds = slice(motifs.bond_start[former], motifs.bond_start[former + 1])
        other, vector = motifs.bond_j[bonds], motifs.bond_d[bonds]
        sulfur = motifs.species.sulfur[motifs.species.types[other]]
        if sulfur.sum() < LEAST_LIGANDS:
            continue
        apart = trajectory.fractional[0][former] - trajectory.fractional[0][other]
        shifts = np.rint(apart + vector @ inverse).astype(np.int64) + image
        keys = [(former, *image.tolist())]
        keys += [(int(j), *s.tolist()) for j, s in zip(other[sulfur], shifts[sulfur], strict=True)]
        first, *rest = (place.setdefault(key, len(place) + 1) for key in keys)
        units.append(Unit(first, tuple(rest), str(motifs.class_names()[former])))
    table = np.array(list(place), dtype=np.int64).reshape(-1, 4)
    return table[:, 0], table[:, 1:], units


def _named(motifs: Motifs) -> dict[int, str]:
    """Name each anion, by its least id."""
    names = {}
    for anion in np.unique(motifs.anion[motifs.anion > 0]).tolist():
        alone = replace(motifs, anion=np.where(motifs.anion == anion, anion, 0))
        (names[anion],) = summarise(alone)["anions"]
    return names


def _unwrapped(motifs: Motifs, members: Integers) -> tuple[Integers, Floats, bool]:
    """Atoms of an anion, their places relative to the first, and whether it is endless."""
    first = int(members[0])
    place: dict[int, Floats] = {first: np.zeros(3)}
    queue, endless = deque([first]), False
    while queue:
        now = queue.popleft()
        for bond in range(motifs.bond_start[now], motifs.bond_start[now + 1]):
            other = int(motifs.bond_j[bond])
            there = place[now] + motifs.bond_d[bond]
            if other not in place:
                place[other] = there
                queue.append(other)
            elif np.abs(place[other] - there).max() > _CLOSED_A:
                endless = True
    order = np.array([first, *sorted(place.keys() - {first})])
    return order, np.array([place[atom] for atom in order.tolist()]), endless


def _around(
    wrapped: Floats, cations: Integers, cell: Floats, anion: Floats, radius_A: float
) -> tuple[Integers, Floats]:
    """Cations near an anion, each in the image nearest to it."""
    near, places = [], []
    for cation in cations.tolist():
        vectors, distances = find_mic(wrapped[cation] - anion, cell)
        closest = int(np.argmin(distances))
        if distances[closest] <= radius_A:
            near.append(cation)
            places.append(anion[closest] + vectors[closest])
    return np.array(near, dtype=np.int64), np.array(places).reshape(-1, 3)
