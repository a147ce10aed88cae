"""Rings of four and six against chordless cycles of networkx, and by hand."""

from collections import Counter

import numpy as np
import pytest
from boxes import TRIANGLE, borate_chain, boxed, boxes, corner, edge, frame, gas
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from lbpsi_driver import _kernels, structure

SEEDS = st.integers(0, 2**32 - 1)


def check(**given_):
    rings = _kernels.find_motifs(**given_)["rings"]
    assert rings.shape == (len(rings), 3)
    found = Counter(tuple(sorted(ring[ring >= 0].tolist())) for ring in rings)
    assert found == oracle.Motifs(**given_).rings
    # a missing third former is the last
    assert (rings[:, :2] >= 0).all()
    return found


def boroxol():
    """B3S6(3-): B and S by turns in a hexagon, an S on each B."""
    turned = -TRIANGLE
    return ["B"] * 3 + ["S"] * 6, np.vstack([1.8 * TRIANGLE, 1.8 * turned, 3.6 * TRIANGLE])


def adamantane():
    """P4S10: each two of four P over an S of their own, four rings of six."""
    p = 2.0 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    bridges = np.vstack([s * np.eye(3) for s in (2.15, -2.15)])
    return ["P"] * 4 + ["S"] * 10, np.vstack([p, bridges, 1.97 * p])


@settings(deadline=None, max_examples=80)
@given(boxes(), st.floats(0.01, 0.08), SEEDS)
def test_gases_in_any_box(cell, density, seed):
    rng = np.random.default_rng(seed)
    check(**frame(rng, gas(rng, cell, density, most=30), cell))


def test_dense_gas_has_rings_of_both_kinds():
    """The gases above would prove little without rings in them."""
    rng = np.random.default_rng(1)
    cell = np.array([[7.0, 0, 0], [2.0, 7.5, 0], [-1.0, 1.0, 8.0]])
    sizes = Counter()
    for _ in range(10):
        sizes.update(map(len, check(**frame(rng, gas(rng, cell, 0.12, most=50), cell))))
    assert sizes[2] > 10
    assert sizes[3] > 5


@pytest.mark.parametrize("melted_A", [0.0, 0.3, 0.8])
def test_packed_glass(cell, melted_A):
    atoms = structure.read_cell(cell)
    noise = np.random.default_rng(4).normal(0, melted_A, (len(atoms), 3))
    check(**boxed(list(atoms.symbols), atoms.positions + noise, atoms.cell.array))


@pytest.mark.parametrize(
    ("made", "rings"),
    [
        (boroxol(), {(0, 1, 2): 1}),
        (adamantane(), {(0, 1, 2): 1, (0, 1, 3): 1, (0, 2, 3): 1, (1, 2, 3): 1}),
        (edge(("P", 4), ("P", 4)), {(2, 5): 1}),
        (edge(("B", 3), ("B", 3)), {(2, 4): 1}),
        (corner(("P", 4), ("P", 4)), {}),
        (borate_chain(6), {}),
    ],
    ids=["boroxol", "P4S10", "P edge", "B edge", "corner", "chain"],
)
def test_by_hand(made, rings):
    assert check(**boxed(*made)) == rings


def test_face_has_a_ring_for_each_pair_of_s():
    ring = 1.9 * TRIANGLE
    height = (2.4**2 - 1.9**2) ** 0.5
    made = ["S"] * 3 + ["Ge"] * 2, np.vstack([ring, [[0, 0, height], [0, 0, -height]]])
    assert check(**boxed(*made)) == {(3, 4): 3}


def test_s_in_the_middle_is_a_chord():
    """Three formers around one S: a ring of six around it, none over it."""
    formers, outer, middle = 2.3 * TRIANGLE, -2.35 * TRIANGLE, np.zeros((1, 3))
    fours = {(0, 1): 1, (0, 2): 1}
    made = ["Ge"] * 3 + ["S"] * 3, np.vstack([formers, outer[1:], middle])
    assert check(**boxed(*made)) == fours
    made = ["Ge"] * 3 + ["S"] * 4, np.vstack([formers, outer, middle])
    assert check(**boxed(*made)) == {**fours, (1, 2): 1, (0, 1, 2): 1}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_chain_through_the_cell_is_no_ring(n):
    """B-S-B in a row that closes only through the periodic cell, whatever its length."""
    pitch = 3.1
    x = pitch * np.arange(n)
    y = np.zeros(n)
    positions = np.vstack([np.stack([x, y, y], 1), np.stack([x + pitch / 2, y + 0.93, y], 1)])
    cell = np.diag([n * pitch, 15.0, 15.0])
    found = _kernels.find_motifs(**boxed(["B"] * n + ["S"] * n, positions, cell))
    assert found["qn"][:n].tolist() == [2] * n
    assert not found["rings"].size
    assert not check(**boxed(["B"] * n + ["S"] * n, positions, cell))
