"""Sizes, percolation and rings of drawn anions and of crystals, and of random cells by search."""

from collections import Counter

import networkx as nx
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from clusters import ANIONS, compact, together, unit
from motif_oracle import find

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.motif_summary import summarise
from lbpsi_driver.observables.motifs import find_motifs
from lbpsi_driver.observables.networks import anion_graph, networks, ring_counts
from lbpsi_driver.observables.trajectory import Trajectory, of_atoms
from oracle import HOME

SKEWED = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])


def of(*frames):
    parts = [of_atoms(atoms) for atoms in frames]
    return Trajectory(
        np.concatenate([part.fractional for part in parts]),
        np.concatenate([part.cells for part in parts]),
        np.zeros((len(parts), 3)),
        np.arange(len(parts)) * 0.5,
        parts[0].elements,
    )


def graph_of(atoms):
    part = of_atoms(atoms)
    return anion_graph(find_motifs(atoms), part.fractional[0], part.cells[0])


def chain(periods=1):
    """SiS2: tetrahedra (flattened) that share edges along x."""
    period = [[0.0, 0.0, 0.0], [1.6, 1.45, 0.0], [1.6, -1.45, 0.0]]
    return Atoms("SiS2", period, cell=[3.2, 12.0, 12.0], pbc=True) * (periods, 1, 1)


def sheet(n=1, m=1):
    """B2S3: a honeycomb of BS3 that share corners."""
    a, b = 1.8 * np.sqrt(3) * 2 * np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    cell = np.zeros((3, 3))
    cell[0, :2], cell[1, :2], cell[2, 2] = a, b, 9.0
    first, second = (a + b) / 3, 2 * (a + b) / 3
    middle = [(first + second + shift) / 2 for shift in (0 * a, -a, -b)]
    flat = np.array([first, second, *middle])
    positions = np.concatenate([flat, np.full((5, 1), 4.0)], axis=1)
    return Atoms("B2S3", positions, cell=cell, pbc=True) * (n, m, 1)


def cristobalite(n=1, bond=2.1):
    """SiS2 as ideal cristobalite: diamond with an S in the middle of each bond."""
    a = 4 / np.sqrt(3) * 2 * bond
    silicon = bulk("Si", "diamond", a=a, cubic=True)
    sulfur = Atoms(cell=silicon.cell, pbc=True)
    for corner in silicon.positions[::2]:
        for step in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]):
            sulfur += Atoms("S", [corner + np.array(step) * a / 8])
    return (silicon + sulfur) * (n, n, n)


def wrapped(atoms, seed=0):
    """The same crystal in a skewed basis, moved, its atoms in any periodic image, out of order."""
    rng = np.random.default_rng(seed)
    other = atoms.copy()
    other.positions += rng.random(3) * 5
    other.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    other.set_cell(SKEWED @ atoms.cell.array, scale_atoms=False)
    return other[rng.permutation(len(other))]


def test_sizes_of_a_hand_counted_cell():
    """One anion of nine B, one of two P, three of one former: 14 formers in five anions."""
    atoms = together([ANIONS[name]().atoms() for name in ("B9S15(3-)", "P2S7(4-)")])
    singles = together([unit(former, n).atoms() for former, n in (("P", 4), ("B", 3), ("B", 4))])
    atoms = together([atoms, singles], free="S2LiI")
    found = networks(of(atoms, atoms))
    counts = [0, 3, 1, 0, 0, 0, 0, 0, 0, 1]
    assert found.series.anions.tolist() == [counts, counts]
    assert found.series.times_ps.tolist() == [0.0, 0.5]
    assert found.number_averaged.mean == pytest.approx(14 / 5)
    assert found.weight_averaged.mean == pytest.approx((3 * 1 + 2 * 2 + 9 * 9) / 14)
    assert found.largest_share.mean == pytest.approx(9 / 14)
    assert found.percolating_share.mean == 0.0
    np.testing.assert_allclose(found.share_by_size, np.array(counts) * np.arange(10) / 14)
    assert found.share_by_size.sum() == pytest.approx(1.0)


def test_sizes_change_in_time():
    one = ANIONS["P2S7(4-)"]().atoms()
    two = together([unit("P", 4).atoms(), unit("P", 3).atoms()])
    found = networks(of(*(part[np.argsort(part.symbols)] for part in (one, two))))
    assert found.series.anions.tolist() == [[0, 0, 1], [0, 2, 0]]
    assert found.series.number_averaged.tolist() == [2.0, 1.0]
    assert found.series.weight_averaged.tolist() == [2.0, 1.0]
    assert found.series.largest_share.tolist() == [1.0, 0.5]
    assert found.number_averaged.mean == 1.5


@pytest.mark.parametrize(
    ("atoms", "dimensions"),
    [
        (chain(1), 1),
        (chain(2), 1),
        (chain(3), 1),
        (sheet(), 2),
        (sheet(3, 2), 2),
        (cristobalite(), 3),
    ],
    ids=["chain1", "chain2", "chain3", "sheet", "sheet3x2", "cristobalite"],
)
def test_anions_without_end(atoms, dimensions):
    for crystal in (atoms, wrapped(atoms), wrapped(atoms, 1)):
        graph = graph_of(crystal)
        assert graph.dimensions.tolist() == [dimensions]
        found = networks(of(crystal), longest_ring=0)
        assert found.series.dimensions[0, dimensions] == 1.0
        assert found.percolating_share.mean == 1.0
        assert not found.rings_per_former


def test_ends_of_an_anion_across_a_wall_are_no_percolation():
    """A B9S15 that lies across the walls, and a chain that a missing S cuts."""
    assert graph_of(wrapped(ANIONS["B9S15(3-)"]().atoms())).dimensions.tolist() == [0]
    cut = chain(4)
    del cut[[1, 2]]
    assert graph_of(cut).dimensions.tolist() == [0]
    one = chain(4)
    del one[1]
    assert graph_of(one).dimensions.tolist() == [1]


def test_share_of_formers_by_dimension():
    """A chain of six Si beside a P2S7: six formers of eight percolate."""
    atoms = chain(6)
    atoms.set_cell([19.2, 30.0, 30.0])
    pair = ANIONS["P2S7(4-)"]().atoms()
    atoms += Atoms(pair.symbols, compact(pair) + 10.0)
    found = networks(of(atoms))
    assert found.series.anions.tolist() == [[0, 0, 1, 0, 0, 0, 1]]
    np.testing.assert_allclose(found.series.dimensions, [[2 / 8, 6 / 8, 0, 0]])
    assert found.percolating_share.mean == pytest.approx(6 / 8)


def test_two_anions_percolate_each_by_itself():
    double = chain(1)
    double += Atoms("SiS2", chain(1).positions + np.array([0, 6, 6]))
    found = graph_of(double)
    assert found.dimensions.tolist() == [1, 1]
    assert found.formers.tolist() == [1, 1]


# --- random cells: walks over places and cycles of graphs ----------------------------------------

BOX = np.array([[10.5, 0.0, 0.0], [2.0, 10.5, 0.0], [-3.0, 3.0, 11.0]])
WINDOW = 2


def soup(seed, n):
    rng = np.random.default_rng(seed)
    elements = rng.choice(["S", "B", "P", "I"], n, p=[0.5, 0.25, 0.15, 0.1])
    elements[0] = "P"
    return Atoms(elements, rng.random((n, 3)) @ (0.68 * BOX), cell=0.68 * BOX, pbc=True)


def walk(atoms):
    """Graphs of places, each from one former: all that bonds lead to within a window of cells."""
    motifs = find(atoms)
    left = set(motifs.formers)
    while left:
        start = (min(left), HOME)
        graph, todo = nx.Graph(), [start]
        graph.add_node(start)
        while todo:
            place = todo.pop()
            for role in ("former", "sulfur", "halide"):
                for other in motifs.around(place, role):
                    if max(map(abs, other[1])) > WINDOW:
                        continue
                    if other not in graph:
                        todo.append(other)
                    graph.add_edge(place, other)
        left -= {i for i, _ in graph}
        images = [image for i, image in graph if i == start[0] and image != HOME]
        yield graph, int(np.linalg.matrix_rank(images)) if images else 0


def shortest_path_rings(graph, longest):
    """Cycles in which each two members are as far apart in the graph as along the cycle."""
    counts: Counter = Counter()
    for cycle in nx.simple_cycles(graph, longest):
        n = len(cycle)
        apart = {(a, b): min(b - a, n - b + a) for a in range(n) for b in range(a + 1, n)}
        if all(
            nx.shortest_path_length(graph, cycle[a], cycle[b]) == steps
            for (a, b), steps in apart.items()
        ):
            counts[n] += 1
    return counts


def test_percolation_of_random_cells():
    seen: Counter = Counter()
    for seed in range(24):
        atoms = soup(seed, 12 + seed)
        graph, walks = (
            graph_of(atoms),
            sorted(
                (sum(atoms.symbols[i] in "BP" for i in {i for i, _ in places}), rank)
                for places, rank in walk(atoms)
            ),
        )
        found = sorted(zip(graph.formers.tolist(), graph.dimensions.tolist(), strict=True))
        assert found == walks, seed
        seen.update(rank for _, rank in walks)
    assert min(seen[0], seen[1], seen[2], seen[3]) > 0, seen


def lump(seed, n=45):
    """Atoms that grew onto each other at bond lengths, far from their images."""
    rng = np.random.default_rng(seed)
    positions = np.zeros((1, 3))
    while len(positions) < n:
        step = rng.normal(size=3)
        new = positions[rng.integers(len(positions))] + step / np.linalg.norm(step) * 2.0
        if np.linalg.norm(positions - new, axis=1).min() > 1.75 and np.linalg.norm(new) < 6.0:
            positions = np.vstack([positions, new])
    elements = rng.choice(["S", "B", "P"], n, p=[0.6, 0.25, 0.15])
    elements[0] = "P"
    return Atoms(elements, positions + 2.0, cell=2 * BOX, pbc=True)


def test_rings_of_random_lumps():
    seen: Counter = Counter()
    for seed in range(12):
        atoms = lump(seed)
        expected: Counter = Counter()
        for graph, rank in walk(atoms):
            assert rank == 0
            expected += shortest_path_rings(graph, 9)
        counts = ring_counts(graph_of(atoms), atoms.cell.array, 9)
        assert {m: n for m, n in enumerate(counts.tolist()) if n} == expected, seed
        seen += expected
    assert seen.keys() >= {3, 4, 5, 6, 7, 8}


# --- rings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["B2S4(2-)", "B3S6(3-)", "P2S6(4-)", "B6S10(2-)", "B9S15(3-)"])
def test_rings_of_drawn_anions_are_those_of_the_kernel(name):
    atoms = ANIONS[name]().atoms()
    found = ring_counts(graph_of(atoms), atoms.cell.array)
    small = summarise(find_motifs(atoms))["rings"]
    assert found[4] == small.get("B2S2", 0)
    assert found[6] == small.get("B3S3", 0)
    if name in ("B2S4(2-)", "B3S6(3-)"):
        assert found.sum() == 1
    if name == "B6S10(2-)":  # two rings joined at two places: the third is around the joint
        assert found[6] == 2
        assert found.sum() == 3


@pytest.mark.parametrize(
    ("make", "sizes", "members", "per_former"),
    [
        (chain, [(1,), (2,), (4,)], 4, 1.0),
        (sheet, [(1, 1), (2, 1), (3, 3)], 12, 0.5),
        (cristobalite, [(1,), (2,)], 12, 2.0),
    ],
    ids=["chain", "sheet", "cristobalite"],
)
def test_rings_of_crystals_whatever_the_cell(make, sizes, members, per_former):
    """SiS2 chains, honeycombs and cristobalite, also in cells smaller than a ring."""
    for size in sizes:
        for atoms in (make(*size), wrapped(make(*size))):
            found = networks(of(atoms), longest_ring=13).rings_per_former
            assert found.keys() == {members}
            assert found[members].mean == pytest.approx(per_former)


def test_bad_input_ends_in_one_line():
    with pytest.raises(UsageError, match="longest ring 2"):
        networks(of(chain()), longest_ring=2)
    with pytest.raises(UsageError, match="no network former"):
        networks(of(Atoms("Li2S", np.eye(3) * 2, cell=[9] * 3, pbc=True)))
    with pytest.raises(UsageError, match="rings in an anion of 12000 atoms"):
        networks(of(chain(4000)))
