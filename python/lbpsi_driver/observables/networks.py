"""Sizes of anions by their formers, anions without end, and rings, as functions of time.

Anions are those of the motifs: formers connected by bonds of any kind. Of
n_s anions of s formers the number-averaged size is sum(s n_s) / sum(n_s), the weight-averaged size
sum(s² n_s) / sum(s n_s): that of the anion of a former picked at random. An anion *percolates* in d
dimensions when bonds lead from it to its own periodic images along d independent directions.

Rings are shortest-path rings, in which no two members have a shorter way than along the ring
(Franzblau), found by matscipy among the bonded atoms of anions. Their members are atoms: B2S2 has
four, B3S3 six; an odd number means a homopolar or S-S bond. B2S2 with a bond between its two B
isn't one ring of four but two of three.

References
----------
D. S. Franzblau, Phys. Rev. B 44, 4925 (1991), doi:10.1103/PhysRevB.44.4925.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, mean_share
from lbpsi_driver.observables.motifs import Motifs, iterate
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

LONGEST_RING = 16
"""Members of the longest ring looked for: eight formers that share corners."""
# Two formers that share an S are at most 3.6 Å apart, by two bonds.
_STRIDE_A = 1.8
# matscipy keeps the distance between each two of them: 400 MB.
_MOST_ATOMS = 10_000


@dataclass(frozen=True)
class NetworkSeries:
    """Anions of F frames.

    Attributes
    ----------
    times_ps : ndarray, shape (F,)
        Times of the frames, ps.
    anions : ndarray of int, shape (F, M + 1)
        Anions of 0, 1, …, M formers.
    dimensions : ndarray, shape (F, 4)
        Share of the formers in anions that percolate in 0, 1, 2, 3 dimensions.
    rings : ndarray, shape (F, R + 1)
        Rings of 0, 1, …, R members; R is 0 where they weren't looked for.
    """

    times_ps: Floats
    anions: Integers
    dimensions: Floats
    rings: Floats

    @property
    def formers(self) -> Floats:
        """Formers in anions of each size, shape (F, M + 1)."""
        numbers: Floats = self.anions * np.arange(self.anions.shape[1], dtype=np.float64)
        return numbers

    @property
    def number_averaged(self) -> Floats:
        """Formers of an anion, averaged over anions; shape (F,)."""
        sizes: Floats = self.formers.sum(axis=1) / self.anions.sum(axis=1)
        return sizes

    @property
    def weight_averaged(self) -> Floats:
        """Formers of an anion, averaged over formers; shape (F,)."""
        formers = self.formers
        sizes: Floats = formers @ np.arange(formers.shape[1]) / formers.sum(axis=1)
        return sizes

    @property
    def largest_share(self) -> Floats:
        """Share of the formers that are in the largest anion; shape (F,)."""
        last = self.anions.shape[1] - 1 - np.argmax(self.anions[:, ::-1] > 0, axis=1)
        share: Floats = last / self.formers.sum(axis=1)
        return share

    @property
    def percolating_share(self) -> Floats:
        """Share of the formers in anions that percolate in any dimension; shape (F,)."""
        return 1.0 - self.dimensions[:, 0]


@dataclass(frozen=True)
class Networks:
    """Anions of a trajectory in time, and their means.

    Attributes
    ----------
    series : NetworkSeries
        Frame by frame.
    share_by_size : ndarray, shape (M + 1,)
        Mean share of the formers in anions of 0, 1, …, M formers: sums to 1.
    number_averaged, weight_averaged : Estimate
        Mean number of formers of an anion.
    largest_share, percolating_share : Estimate
        Mean share of the formers in the largest anion, and in anions that percolate.
    rings_per_former : dict of int to Estimate
        Rings by number of members over the number of formers; of those that are there.
    """

    series: NetworkSeries
    share_by_size: Floats
    number_averaged: Estimate
    weight_averaged: Estimate
    largest_share: Estimate
    percolating_share: Estimate
    rings_per_former: dict[int, Estimate]


def networks(
    trajectory: Trajectory,
    *,
    longest_ring: int = LONGEST_RING,
    bonds: Mapping[str, float] | None = None,
) -> Networks:
    """Find sizes of the anions, percolation and rings in the frames of a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        Frames; at most :data:`lbpsi_driver.observables.trajectory.MOST_FRAMES` of them are used.
    longest_ring : int
        Members of the longest ring looked for; 0: no rings.
    bonds : mapping of str to float, optional
        As in :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Returns
    -------
    Networks
        Series and means.

    Raises
    ------
    UsageError
        No former, an element without motifs, a ring of fewer than three members.
    """
    check_longest(longest_ring)
    frames = trajectory.spread()
    sizes, dimensions = [], np.zeros((frames.n_frames, 4))
    rings = np.zeros((frames.n_frames, longest_ring + 1))
    for t, motifs in enumerate(iterate(frames, bonds=bonds)):
        graph = anion_graph(motifs, frames.fractional[t], frames.cells[t])
        sizes.append(np.bincount(graph.formers))
        dimensions[t] = np.bincount(graph.dimensions, graph.formers, 4) / graph.formers.sum()
        if longest_ring:
            rings[t] = ring_counts(graph, frames.cells[t], longest_ring)
    anions = np.zeros((frames.n_frames, max(len(row) for row in sizes)), dtype=np.int64)
    for row, counts in zip(anions, sizes, strict=True):
        row[: len(counts)] = counts
    series = NetworkSeries(frames.times_ps, anions, dimensions, rings)
    formers = series.formers.sum(axis=1)
    return Networks(
        series,
        (series.formers / formers[:, None]).mean(axis=0),
        mean_share(series.number_averaged),
        mean_share(series.weight_averaged),
        mean_share(series.largest_share),
        mean_share(series.percolating_share),
        {m: mean_share(rings[:, m] / formers) for m in np.flatnonzero(rings.any(axis=0)).tolist()},
    )


def check_longest(longest_ring: int) -> None:
    """Refuse rings that are none.

    Raises
    ------
    UsageError
        Fewer than three members, and not 0 for no rings.
    """
    if longest_ring != 0 and longest_ring < 3:
        raise UsageError(f"longest ring {longest_ring}: expected 3 members or more, or 0 for none")


@dataclass(frozen=True)
class AnionGraph:
    """Bonds in the anions of a structure, with the cells they lead to.

    Attributes
    ----------
    i, j : ndarray of int, shape (B,)
        Both ends of each bond, places among the V atoms of the graph; each bond from both ends.
    vector_A : ndarray, shape (B, 3)
        From i to j, Å.
    shift : ndarray of int, shape (B, 3)
        Cells between them, counted with each atom where its anion is in one piece: not zero only
        for bonds that close a way to a periodic image.
    anion : ndarray of int, shape (V,)
        Number of the anion of each atom, 0, 1, …, A - 1.
    formers : ndarray of int, shape (A,)
        Formers of each anion.
    dimensions : ndarray of int, shape (A,)
        In how many dimensions it percolates.
    """

    i: Integers
    j: Integers
    vector_A: Floats
    shift: Integers
    anion: Integers
    formers: Integers
    dimensions: Integers


def anion_graph(motifs: Motifs, fractional: Floats, cell: Floats) -> AnionGraph:
    """Find the bonds of the anions, and in how many dimensions each percolates.

    Parameters
    ----------
    motifs : Motifs
        Of the structure.
    fractional : ndarray, shape (N, 3)
        Its fractional coordinates, in any periodic image.
    cell : ndarray, shape (3, 3)
        Lattice vectors as rows, Å.

    Returns
    -------
    AnionGraph
        Of all anions, bound halides among their atoms.
    """
    species = motifs.species
    member = motifs.anion > 0
    atoms = np.flatnonzero(member)
    place = np.cumsum(member) - 1
    held = member[motifs.bond_i] & member[motifs.bond_j]
    i, j, vector = motifs.bond_i[held], motifs.bond_j[held], motifs.bond_d[held]
    apart = vector @ np.linalg.inv(cell) - fractional[j] + fractional[i]
    i, j, shift = place[i], place[j], np.rint(apart).astype(np.int64)
    _, anion = np.unique(motifs.anion[atoms], return_inverse=True)
    home = _home_cells(i, j, shift, anion)
    # bonds of one piece lead nowhere; what is left leads to images
    shift += home[i] - home[j]
    dimensions = np.zeros(int(anion.max()) + 1, dtype=np.int64)
    out = shift.any(axis=1)
    for number in np.unique(anion[i[out]]):
        dimensions[number] = np.linalg.matrix_rank(
            np.unique(shift[out & (anion[i] == number)], axis=0)
        )
    formers = np.bincount(anion, species.former[species.types[atoms]]).astype(np.int64)
    return AnionGraph(i, j, vector, shift, anion, formers, dimensions)


def _home_cells(i: Integers, j: Integers, shift: Integers, anion: Integers) -> Integers:
    """Cell of each atom in which a spanning tree of its anion is in one piece; shape (V, 3)."""
    n = len(anion)
    _, first = np.unique(anion, return_index=True)
    # one more place, joined to one atom of each anion: a single tree spans them all
    rows, columns = np.concatenate([i, np.full(len(first), n)]), np.concatenate([j, first])
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(n + 1, n + 1))
    _, parent = breadth_first_order(graph, n, directed=True)
    # any one bond between an atom and its parent
    key = np.full(n, -1, dtype=np.int64)
    tree = parent[j] == i
    key[j[tree]] = np.flatnonzero(tree)
    home = np.where((key >= 0)[:, None], shift[key], 0)
    ahead = np.where(key >= 0, parent[:n], np.arange(n))
    # each round doubles the way that is summed
    while (ahead[ahead] != ahead).any():
        home, ahead = home + home[ahead], ahead[ahead]
    return home


def ring_counts(graph: AnionGraph, cell: Floats, longest: int = LONGEST_RING) -> Floats:
    """Shortest-path rings by the number of their members.

    In a cell that is small against the longest ring, ways through a periodic image would pass for
    shorter ones: anions are repeated along the directions in which they percolate, and their rings
    counted by the cell.

    Parameters
    ----------
    graph : AnionGraph
        From :func:`anion_graph`.
    cell : ndarray, shape (3, 3)
        Lattice vectors as rows, Å.
    longest : int
        Members of the longest ring.

    Returns
    -------
    ndarray, shape (longest + 1,)
        Rings of 0, 1, …, `longest` members.

    Raises
    ------
    UsageError
        An anion too large for the memory of its search.
    """
    from matscipy.ffi import distances_on_graph, find_sp_rings

    widths = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    enough = np.ceil(longest * _STRIDE_A / widths - 1e-9).astype(np.int64)
    inner = _without_dead_ends(graph.i, graph.j, len(graph.anion))
    order, counts = np.flatnonzero(inner), np.zeros(longest + 1)
    if len(order) == 0:
        return counts
    order = order[np.argsort(graph.anion[graph.i[order]], kind="stable")]
    _, starts = np.unique(graph.anion[graph.i[order]], return_index=True)
    for bonds in np.split(order, starts[1:]):
        images = np.where(graph.shift[bonds].any(axis=0), enough, 1)
        i, j, vector = _repeated(graph, bonds, images)
        if i[-1] >= _MOST_ATOMS:
            raise UsageError(
                f"rings in an anion of {i[-1] + 1} atoms (dead ends left out): {_MOST_ATOMS} are "
                "the most; ask for shorter rings or for none"
            )
        found = find_sp_rings(i, j, vector, distances_on_graph(i, j), longest)[: longest + 1]
        counts[: len(found)] += found / images.prod()
    return counts


def _without_dead_ends(i: Integers, j: Integers, n: int) -> NDArray[np.bool_]:
    """Bonds of atoms that are left after taking away ends of one bond, again and again."""
    kept = np.ones(len(i), dtype=np.bool_)
    while True:
        degree = np.bincount(i[kept], minlength=n)
        fewer = kept & (degree[i] > 1) & (degree[j] > 1)
        if np.array_equal(fewer, kept):
            return kept
        kept = fewer


def _repeated(
    graph: AnionGraph, bonds: Integers, images: Integers
) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """Bonds of an anion in a block of so many cells, sorted by their first atom."""
    atoms, places = np.unique(graph.i[bonds], return_inverse=True)
    there = np.searchsorted(atoms, graph.j[bonds])
    i, j = [], []
    for at in product(*(range(n) for n in images.tolist())):
        end = (np.array(at) + graph.shift[bonds]) % images
        i.append(np.ravel_multi_index(at, images) * len(atoms) + places)
        j.append(np.ravel_multi_index(tuple(end.T), images) * len(atoms) + there)
    first, second = np.concatenate(i), np.concatenate(j)
    vector = np.tile(graph.vector_A[bonds], (len(i), 1))
    order = np.argsort(first, kind="stable")
    return first[order].astype(np.int32), second[order].astype(np.int32), vector[order]
