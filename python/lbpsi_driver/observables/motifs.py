"""Motifs of sulfide glasses: units, bridging S, Q^n, E^n, anions, rings, environments of Li.

The kernels behind are those of ``compute motif`` in LAMMPS, and the words are the same: a *former*
(B, P, Si, Ge) with its bonded S is a *unit*; an *anion* is a connected component of formers through
shared S, homopolar and S-S bonds. Elements, cutoffs and classes are those of ``data/motifs.toml``.
:func:`lbpsi_driver.observables.motif_summary.summarise` counts what is found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

import lbpsi_driver._kernels as _kernels
from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.spool import row_blocks
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory, require_periodic

Counts = NDArray[np.int32]
Structure = Atoms | tuple[Sequence[str], ArrayLike, ArrayLike]
"""ASE's Atoms, or elements (N,), positions (N, 3) in Å and lattice vectors (3, 3) as rows in Å."""

CLASS_NAMES: tuple[str, ...] = tuple(_kernels.CLASS_NAMES)
"""Names of the classes; the code of a class is its place here, counted from 1."""

_LEAST_VOLUME_A3 = 1e-6


@dataclass(frozen=True)
class Species:
    """The elements of a set of atoms and their parts in it.

    Attributes
    ----------
    symbols : tuple of str
        Distinct elements, in alphabetical order.
    charges : ndarray of int, shape (T,)
        Formal charge of each, e.
    former, sulfur, halide : ndarray of bool, shape (T,)
        Which of them are network formers, S, halides.
    types : ndarray of int32, shape (N,)
        Element of each atom, as its place in `symbols`.
    """

    symbols: tuple[str, ...]
    charges: Integers
    former: NDArray[np.bool_]
    sulfur: NDArray[np.bool_]
    halide: NDArray[np.bool_]
    types: Counts

    def column(self, symbol: str) -> int | None:
        """Place of an element in `symbols`; None where there is none of it."""
        return self.symbols.index(symbol) if symbol in self.symbols else None


@dataclass(frozen=True)
class Motifs:
    """What each atom of a structure is part of; N atoms.

    Attributes
    ----------
    species : Species
        Elements of the atoms.
    ids : ndarray of int, shape (N,)
        Ids of the atoms, 1, 2, … unless the structure came with others.
    coordination : ndarray of int32, shape (N,)
        Bonded S of a former, bonded formers of an S or halide.
    unit : ndarray of int32, shape (N,)
        10 Z + coordination of a former, as 154 for PS4; 0 for the others.
    qn, en : ndarray of int32, shape (N,)
        Bridging S of a former; formers with which it shares an edge.
    cls : ndarray of int32, shape (N,)
        Class, a code of :data:`CLASS_NAMES`.
    anion : ndarray of int64, shape (N,)
        Least id of the atoms of its anion; 0 for atoms that are in none.
    anion_atoms, anion_borons : ndarray, shape (N,)
        Atoms and B of that anion.
    bond_start : ndarray of int, shape (N + 1,)
        Where each atom's bonds start in `bond_j` and `bond_d`; each bond stands at both ends.
    bond_j : ndarray of int, shape (B,)
        The other end, an index, by increasing id.
    bond_d : ndarray, shape (B, 3)
        Vector to the other end, Å.
    link_start : ndarray of int, shape (N + 1,)
        Where each former's links start: the formers it shares S with or is bonded to.
    link_id, link_type, link_coordination : ndarray, shape (L,)
        Id, element and coordination of the other former.
    link_shared : ndarray of int, shape (L,)
        S bonded to both: 1 corner, 2 edge, 3 face.
    link_bonded : ndarray of bool, shape (L,)
        Whether the two are bonded to each other.
    li_former : ndarray of int, shape (N,)
        Nearest former within 5 Å of a cation, an index; -1 where there is none.
    rings : ndarray of int, shape (R, 3)
        Formers of each ring of four or six members, indices; -1 third in one of four.
    chain : int
        Fewest B of a network.
    """

    species: Species
    ids: Integers
    coordination: Counts
    unit: Counts
    qn: Counts
    en: Counts
    cls: Counts
    anion: Integers
    anion_atoms: Integers
    anion_borons: Integers
    bond_start: Integers
    bond_j: Integers
    bond_d: Floats
    link_start: Integers
    link_id: Integers
    link_type: Integers
    link_coordination: Integers
    link_shared: Integers
    link_bonded: NDArray[np.bool_]
    li_former: Integers
    rings: Integers
    chain: int

    @property
    def elements(self) -> NDArray[np.str_]:
        """Chemical symbols, shape (N,)."""
        return np.array(self.species.symbols)[self.species.types]

    @property
    def former(self) -> NDArray[np.bool_]:
        """Which atoms are formers, shape (N,)."""
        return self.species.former[self.species.types]

    @property
    def bond_i(self) -> Integers:
        """Atom at which each bond stands, an index, shape (B,)."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.bond_start))

    @property
    def link_i(self) -> Integers:
        """Former at which each link stands, an index, shape (L,)."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.link_start))

    def class_names(self) -> NDArray[np.str_]:
        """Names of the atoms' classes, shape (N,)."""
        return np.array(["", *CLASS_NAMES])[self.cls]


class MotifFinder:
    """Finds motifs in many structures of the same atoms.

    Parameters
    ----------
    elements : sequence of str, shape (N,)
        Chemical symbols.
    bonds : mapping of str to float, optional
        Bond cutoffs of pairs as ``{"B-S": 2.5}``, Å, in place of the table's.
    chain : int, optional
        Fewest B of a network; default: the table's, 6.
    ids : array_like of int, shape (N,), optional
        Ids of the atoms, positive and distinct; default 1, 2, …

    Raises
    ------
    UsageError
        One line: an element that the table doesn't have, no former, a bad cutoff.
    """

    def __init__(
        self,
        elements: Sequence[str] | NDArray[np.str_],
        *,
        bonds: Mapping[str, float] | None = None,
        chain: int | None = None,
        ids: ArrayLike | None = None,
    ) -> None:
        self._species = _species(np.asarray(elements, dtype=np.str_))
        self._bonds = [_cutoff(pair, length) for pair, length in (bonds or {}).items()]
        self._chain = _kernels.CHAIN if chain is None else chain
        if self._chain < 1:
            raise UsageError(f"chain {chain}: expected a number of B, 1 or more")
        n = len(self._species.types)
        self._ids = np.arange(1, n + 1) if ids is None else np.asarray(ids, dtype=np.int64)
        if self._ids.shape != (n,):
            raise UsageError(f"ids of shape {self._ids.shape}: expected {(n,)}, as elements")

    @property
    def species(self) -> Species:
        """Elements of the atoms."""
        return self._species

    def find(self, positions: ArrayLike, cell: ArrayLike) -> Motifs:
        """Find the motifs of one structure.

        Parameters
        ----------
        positions : array_like, shape (N, 3)
            Positions, Å, in any periodic image.
        cell : array_like, shape (3, 3)
            Lattice vectors as rows, Å; periodic in all three directions.

        Returns
        -------
        Motifs
            Per atom.

        Raises
        ------
        UsageError
            One line: no cell, arrays of wrong shape, positions that are no numbers.
        """
        cell = np.asarray(cell, dtype=np.float64)
        if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > _LEAST_VOLUME_A3:
            raise UsageError("no periodic cell: all three lattice vectors are needed, as rows in Å")
        positions = np.asarray(positions, dtype=np.float64)
        if positions.shape != (len(self._ids), 3):
            raise UsageError(
                f"positions of shape {positions.shape}: expected {(len(self._ids), 3)}, as elements"
            )
        try:
            found = _kernels.find_motifs(
                positions,
                cell,
                self._species.types,
                list(self._species.symbols),
                self._ids,
                bonds=self._bonds,
                chain=self._chain,
            )
        except ValueError as err:
            raise UsageError(str(err)) from err
        return Motifs(species=self._species, ids=self._ids, chain=self._chain, **found)


def find_motifs(
    structure: Structure,
    *,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
    ids: ArrayLike | None = None,
) -> Motifs:
    """Find the motifs of a structure.

    Parameters
    ----------
    structure : ase.Atoms or tuple
        Atoms in a periodic cell, or elements (N,), positions (N, 3) and cell (3, 3, rows), Å.
    bonds : mapping of str to float, optional
        Bond cutoffs of pairs as ``{"B-S": 2.5}``, Å, in place of the table's.
    chain : int, optional
        Fewest B of a network; default 6.
    ids : array_like of int, shape (N,), optional
        Ids of the atoms; default 1, 2, …

    Returns
    -------
    Motifs
        Per atom.

    Raises
    ------
    UsageError
        One line: no cell, no former, an element that the table doesn't have, a bad cutoff.

    Examples
    --------
    >>> import ase.io
    >>> motifs = find_motifs(ase.io.read("glass.extxyz"), bonds={"B-S": 2.5})
    >>> motifs.qn[motifs.elements == "P"].mean()
    """
    if isinstance(structure, Atoms):
        require_periodic(structure, "the Atoms")
        structure = (list(structure.symbols), structure.positions, structure.cell.array)
    elements, positions, cell = structure
    return MotifFinder(elements, bonds=bonds, chain=chain, ids=ids).find(positions, cell)


def iterate(
    trajectory: Trajectory,
    *,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
    start: int = 0,
) -> Iterator[Motifs]:
    """Find the motifs of each frame of a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        Frames, in time order.
    bonds, chain
        As in :func:`find_motifs`.
    start : int
        First frame.

    Yields
    ------
    Motifs
        Of the frames `start`, `start` + 1, …

    Raises
    ------
    UsageError
        As in :func:`find_motifs`.
    """
    finder = MotifFinder(trajectory.elements, bonds=bonds, chain=chain, ids=trajectory.ids)
    rest = trajectory if start == 0 else trajectory.at(np.arange(start, trajectory.n_frames))
    for rows in row_blocks(rest.fractional):
        for fractional, cell in zip(rest.fractional[rows], rest.cells[rows], strict=True):
            yield finder.find(fractional @ cell, cell)


def _species(elements: NDArray[np.str_]) -> Species:
    table = _kernels.elements()
    symbols, types = np.unique(elements, return_inverse=True)
    for symbol in symbols:
        if symbol not in table:
            raise UsageError(f"element {symbol}: no motifs with it; expected {', '.join(table)}")
    rows = [table[symbol] for symbol in symbols]
    roles = np.array([role for _, role, _ in rows])
    if "former" not in roles:
        formers = ", ".join(symbol for symbol, row in table.items() if row[1] == "former")
        present = ", ".join(symbols) or "no atoms"
        raise UsageError(f"no network former among {present}: expected one of {formers}")
    return Species(
        symbols=tuple(symbols.tolist()),
        charges=np.array([charge for _, _, charge in rows], dtype=np.int64),
        former=roles == "former",
        sulfur=roles == "sulfur",
        halide=roles == "halide",
        types=types.astype(np.int32),
    )


def _cutoff(pair: str, length: float) -> tuple[str, str, float]:
    first, dash, second = pair.partition("-")
    if not (first and dash and second):
        raise UsageError(f"bond {pair}: expected two elements joined by a dash, as in B-S")
    return first, second, float(length)
