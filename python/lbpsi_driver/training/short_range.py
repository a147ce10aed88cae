"""Whether a model repels atoms that are pressed together: a potential may have a hole there.

Two atoms are brought together along a line, alone in a large box and inside a cell, from their
bond length down to half of it. Below :data:`REPULSIVE` times the sum of the covalent radii, which
is shorter than the bond of every diatomic molecule of the elements here, each pair must repel; the
distance where it first does not is the hole's, and the energy on its rim the barrier that keeps a
simulation out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import ase
import numpy as np
from ase.data import covalent_radii
from ase.geometry import find_mic
from pydantic import BaseModel, ConfigDict

from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training import frames as store

FARTHEST, REPULSIVE, CLOSEST = 1.1, 0.8, 0.5
"""Where a scan starts, below what it must repel, where it ends: times the covalent radii's sum."""

BOX_A = 15.0
"""Edge of the box of a lone pair, Å: wider than any cutoff here."""

PAIR, DISTANCE, PLACE, AXIS, MOVED = "pair", "distance", "place", "axis", "moved"
PLACES = ("alone", "in_cell")

_DIRECTIONS = 200


class Compression(BaseModel):
    """A pair of elements pressed together.

    Attributes
    ----------
    pair : str
        Elements, as in ``P-S``.
    place : {'alone', 'in_cell'}
        Two atoms in a box, or in a cell of the glass.
    distance_A : tuple of float
        Distances, increasing.
    energy_eV : tuple of float
        Energies of the model from that at the largest distance.
    force_eV_per_A : tuple of float
        Force on the moved atom away from the other: positive repels.
    repels : bool
        Whether it does at all distances below ``threshold_A``.
    threshold_A : float
        Below it a pair must repel, Å.
    hole_A : float or None
        Largest distance below the threshold where the force turns attractive, interpolated.
    barrier_eV : float or None
        Energy there, above the least at larger distances.
    reference_hole_A : float or None
        The same of the reference, where it was asked.
    reference_energy_eV : tuple of (float or None), or None
        Energies of the reference in the same way; None where it has no result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pair: str
    place: str
    distance_A: tuple[float, ...]
    energy_eV: tuple[float, ...]
    force_eV_per_A: tuple[float, ...]
    repels: bool
    threshold_A: float
    hole_A: float | None
    barrier_eV: float | None
    reference_hole_A: float | None = None
    reference_energy_eV: tuple[float | None, ...] | None = None


def pairs_of(elements: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs of elements, like ones too, in alphabetical order."""
    return list(combinations_with_replacement(sorted(set(elements)), 2))


def radii_sum(pair: tuple[str, str]) -> float:
    """Sum of the covalent radii of two elements, Å (Cordero et al., doi:10.1039/b801115j)."""
    return float(sum(covalent_radii[ase.Atom(element).number] for element in pair))


def distances(pair: tuple[str, str], points: int) -> Floats:
    """Distances of a scan, Å, increasing."""
    scan: Floats = radii_sum(pair) * np.linspace(CLOSEST, FARTHEST, points)
    return scan


def frames(cells: Sequence[ase.Atoms], points: int) -> list[ase.Atoms]:
    """Make the frames of all scans: each pair of elements once alone, and once in a cell.

    Parameters
    ----------
    cells : sequence of ase.Atoms
        Cells of the glass; a pair is pressed together in the first that holds it, and an element
        with a single atom has no pair with itself.
    points : int
        Distances of each pair.

    Returns
    -------
    list of ase.Atoms
        Each with its pair, place, distance, the moved atom's index and the axis it is pushed
        along.
    """
    made: dict[tuple[str, tuple[str, str]], list[ase.Atoms]] = {}
    for cell in cells:
        apart = cell.get_all_distances(mic=True)
        np.fill_diagonal(apart, np.inf)
        for pair in pairs_of(cell.get_chemical_symbols()):
            if ("alone", pair) not in made:
                two = ase.Atoms(list(pair), np.full((2, 3), BOX_A / 2), cell=[BOX_A] * 3, pbc=True)
                along = np.array([1.0, 0.0, 0.0])
                made["alone", pair] = _scan(two, pair, points, "alone", 0, 1, along)
            if ("in_cell", pair) not in made and (found := _open_approach(cell, apart, pair)):
                made["in_cell", pair] = _scan(cell, pair, points, "in_cell", *found)
    return [frame for scan in made.values() for frame in scan]


def _open_approach(
    cell: ase.Atoms, apart: Floats, pair: tuple[str, str]
) -> tuple[int, int, Floats] | None:
    """Choose who stays, who moves, and the direction where third atoms are farthest.

    Along a straight line between two atoms of the glass others may stand in the way, and what one
    would find there is their repulsion.
    """
    symbols = np.array(cell.get_chemical_symbols())
    own = [np.flatnonzero(symbols == element) for element in pair]
    between = apart[np.ix_(*own)]
    if not np.isfinite(between).any():
        return None
    first, second = np.unravel_index(between.argmin(), between.shape)
    stays, moves = int(own[0][first]), int(own[1][second])
    rest = np.delete(np.arange(len(cell)), [stays, moves])
    if len(rest) == 0:
        return stays, moves, np.array([1.0, 0.0, 0.0])
    around = find_mic(cell.positions[rest] - cell.positions[stays], cell.cell, cell.pbc)[0]
    directions = _sphere(_DIRECTIONS)
    tip = 0.5 * (CLOSEST + FARTHEST) * radii_sum(pair) * directions
    clearance = np.linalg.norm(tip[:, None] - around[None], axis=2).min(axis=1)
    return stays, moves, directions[int(clearance.argmax())]


def _sphere(number: int) -> Floats:
    """Directions that cover the sphere evenly: a Fibonacci lattice."""
    index = np.arange(number) + 0.5
    polar = np.arccos(1.0 - 2.0 * index / number)
    angle = np.pi * (1.0 + np.sqrt(5.0)) * index
    return np.stack(
        [np.cos(angle) * np.sin(polar), np.sin(angle) * np.sin(polar), np.cos(polar)], axis=1
    )


def _scan(
    cell: ase.Atoms,
    pair: tuple[str, str],
    points: int,
    place: str,
    stays: int,
    moves: int,
    axis: Floats,
) -> list[ase.Atoms]:
    made = []
    name = "-".join(pair)
    for distance in distances(pair, points):
        frame = cell.copy()
        frame.calc = None
        frame.positions[moves] = frame.positions[stays] + distance * axis
        frame = store.rounded(frame)
        frame.info = {
            store.ID: f"{place}/{name}/{distance:.4f}",
            store.TRAJECTORY: f"{place}/{name}",
            PAIR: name,
            PLACE: place,
            DISTANCE: float(distance),
            MOVED: moves,
            AXIS: axis,
        }
        made.append(frame)
    return made


def judge(
    scan: Sequence[ase.Atoms], energy: str, forces: str
) -> tuple[Floats, Floats, Floats, float | None, float | None]:
    """Find the hole of one scan.

    Parameters
    ----------
    scan : sequence of ase.Atoms
        Frames of one pair in one place, with results.
    energy, forces : str
        Keys of the results.

    Returns
    -------
    distance, energy, force : ndarray, shape (D,)
        Å, eV from that of the largest distance, eV/Å away from the other atom; by distance.
    hole, barrier : float or None
        Å and eV as in :class:`Compression`.
    """
    scan = sorted(scan, key=lambda atoms: float(atoms.info[DISTANCE]))
    r = np.array([atoms.info[DISTANCE] for atoms in scan], dtype=np.float64)
    E = np.array([atoms.info[energy] for atoms in scan], dtype=np.float64)
    push = np.array(
        [
            atoms.arrays[forces][int(atoms.info[MOVED])] @ np.array(atoms.info[AXIS])
            for atoms in scan
        ]
    )
    threshold = REPULSIVE * radii_sum(_elements(scan[0]))
    attracted = np.flatnonzero((r < threshold) & ~(push > 0.0))
    E = E - E[-1]
    if len(attracted) == 0:
        return r, E, push, None, None
    at = int(attracted[-1])
    hole, rim = float(r[at]), float(E[at])
    if at + 1 < len(r) and push[at + 1] > 0.0:
        part = push[at + 1] / (push[at + 1] - push[at])
        hole = float(r[at + 1] + part * (r[at] - r[at + 1]))
        rim = float(max(E[at], E[at + 1]))
    return r, E, push, min(hole, threshold), rim - float(E[at:].min())


def compare(scan: Sequence[ase.Atoms], model: tuple[str, str], labelled: bool) -> Compression:
    """Judge the model on one scan, and the reference beside it.

    Parameters
    ----------
    scan : sequence of ase.Atoms
        Frames of one pair in one place, with the model's results.
    model : tuple of str
        Keys of the model's energy and forces.
    labelled : bool
        Whether the reference was asked; frames that it has no result for lack labels.
    """
    r, E, push, hole, barrier = judge(scan, *model)
    result = Compression(
        pair=str(scan[0].info[PAIR]),
        place=str(scan[0].info[PLACE]),
        distance_A=tuple(r.tolist()),
        energy_eV=tuple(E.tolist()),
        force_eV_per_A=tuple(push.tolist()),
        repels=hole is None,
        threshold_A=REPULSIVE * radii_sum(_elements(scan[0])),
        hole_A=hole,
        barrier_eV=barrier,
    )
    known = [atoms for atoms in scan if store.has_labels(atoms)]
    if not labelled or not known:
        return result
    at, energies, _, reference_hole, _ = judge(known, store.ENERGY, store.FORCES)
    table = dict(zip(at.tolist(), energies.tolist(), strict=True))
    return result.model_copy(
        update={
            "reference_hole_A": reference_hole,
            "reference_energy_eV": tuple(table.get(distance) for distance in r.tolist()),
        }
    )


def _elements(atoms: ase.Atoms) -> tuple[str, str]:
    first, second = str(atoms.info[PAIR]).split("-")
    return first, second
