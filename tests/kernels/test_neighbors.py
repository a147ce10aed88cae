"""Neighbour pairs against brute force over images, in boxes of any shape."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from boxes import boxes, gas, unimodular
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from lbpsi_driver import _kernels

SEEDS = st.integers(0, 2**32 - 1)
CUTOFFS = st.floats(0.5, 7.0)


def as_dict(found):
    i, j, shift, d = found
    keys = [(int(a), int(b), tuple(s)) for a, b, s in zip(i, j, shift.tolist(), strict=True)]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    return dict(zip(keys, d, strict=True))


def check(positions, cell, cutoff):
    found = as_dict(_kernels.neighbor_pairs(positions, cell, cutoff))
    expected = oracle.pairs(positions, cell, cutoff)
    assert set(found) == set(expected)
    for (i, j, shift), d in found.items():
        np.testing.assert_allclose(d, expected[i, j, shift], rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            d, positions[j] + np.array(shift) @ cell - positions[i], rtol=0, atol=1e-10
        )


@settings(deadline=None, max_examples=150)
@given(boxes(), CUTOFFS, st.floats(0.002, 0.1), SEEDS)
def test_gases_in_any_box(cell, cutoff, density, seed):
    check(gas(np.random.default_rng(seed), cell, density, most=60), cell, cutoff)


@settings(deadline=None, max_examples=60)
@given(boxes(smallest=4.0), unimodular(), CUTOFFS, SEEDS)
def test_basis_of_the_lattice_does_not_matter(cell, basis, cutoff, seed):
    """Another basis only renames the shifts."""
    positions = gas(np.random.default_rng(seed), cell, 0.02, most=60)
    found = as_dict(_kernels.neighbor_pairs(positions, cell, cutoff))
    other = as_dict(_kernels.neighbor_pairs(positions, basis @ cell, cutoff))
    assert set(found) == {(i, j, tuple((s @ basis).tolist())) for i, j, s in other}


@settings(deadline=None, max_examples=60)
@given(boxes(smallest=4.0), CUTOFFS, SEEDS)
def test_wrapping_changes_shifts_only(cell, cutoff, seed):
    rng = np.random.default_rng(seed)
    positions = gas(rng, cell, 0.03, most=60)
    moved = rng.integers(-3, 4, positions.shape)
    found = as_dict(_kernels.neighbor_pairs(positions, cell, cutoff))
    other = as_dict(_kernels.neighbor_pairs(positions + moved @ cell, cell, cutoff))
    renamed = {(i, j, tuple((s + moved[j] - moved[i]).tolist())) for i, j, s in other}
    assert set(found) == renamed


def test_each_pair_stands_both_ways():
    rng = np.random.default_rng(2)
    cell = np.array([[9.0, 1.0, 0.0], [2.0, 8.0, 1.0], [-1.0, 0.5, 7.0]])
    found = as_dict(_kernels.neighbor_pairs(gas(rng, cell, 0.1, 60), cell, 4.0))
    for (i, j, shift), d in found.items():
        np.testing.assert_array_equal(found[j, i, tuple(-s for s in shift)], -d)


@pytest.mark.parametrize(
    ("cutoff", "count"), [(2.9, 0), (3.1, 6), (4.3, 18), (5.3, 26), (6.1, 32)], ids=str
)
def test_one_atom_meets_its_own_images(cutoff, count):
    """Shells of a simple cubic lattice of 3 Å."""
    i, j, shift, d = _kernels.neighbor_pairs([[1.0, 50.0, -7.0]], 3.0 * np.eye(3), cutoff)
    assert len(i) == len(j) == count
    assert not i.any()
    assert not j.any()
    np.testing.assert_allclose(d, 3.0 * shift, atol=1e-12)


def test_cutoff_itself_is_out():
    cell, positions = 20.0 * np.eye(3), np.array([[0.0, 0, 0], [2.0, 0, 0]])
    assert len(_kernels.neighbor_pairs(positions, cell, 2.0)[0]) == 0
    assert len(_kernels.neighbor_pairs(positions, cell, np.nextafter(2.0, 3.0))[0]) == 2


def test_atoms_on_the_faces():
    """Fractions that round to one, and atoms on the borders of bins."""
    cell = 6.0 * np.eye(3)
    positions = np.array(
        [[-1e-17, 0, 0], [6.0, 3.0, 3.0], [0, 3.0, 6.0], [3.0, 3.0, np.nextafter(6, 0)]]
    )
    check(positions, cell, 3.5)


def test_crystal_as_ase_has_it():
    atoms: Atoms = bulk("Si", cubic=True).repeat((2, 3, 2))
    i, j, shift, d = _kernels.neighbor_pairs(atoms.positions, atoms.cell.array, 5.0)
    ours = sorted(zip(i.tolist(), j.tolist(), map(tuple, shift.tolist()), strict=True))
    a, b, s = neighbor_list("ijS", atoms, 5.0)
    assert ours == sorted(zip(a.tolist(), b.tolist(), map(tuple, s.tolist()), strict=True))
    np.testing.assert_allclose(np.sort(np.linalg.norm(d, axis=1))[0], 5.43 * 3**0.5 / 4)


def test_thin_gas_in_a_huge_cell():
    """Bins as small as the cutoff would not fit into memory."""
    cell = 1e5 * np.eye(3)
    positions = np.array([[0.0, 0, 0], [1e5 - 1.0, 0, 0], [5e4, 5e4, 5e4]])
    i, j, shift, _ = _kernels.neighbor_pairs(positions, cell, 2.0)
    assert (i.tolist(), j.tolist()) == ([0, 1], [1, 0])
    assert shift.tolist() == [[-1, 0, 0], [1, 0, 0]]


def test_no_atoms():
    i, _, shift, d = _kernels.neighbor_pairs(np.empty((0, 3)), np.eye(3), 2.0)
    assert (i.shape, shift.shape, d.shape) == ((0,), (0, 3), (0, 3))


FLAT = np.array([[4.0, 0, 0], [0, 4.0, 0], [4.0, 4.0, 0]])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"positions": np.zeros((2, 2))}, r"positions has shape \(2, 2\); expected \(n, 3\)"),
        ({"positions": np.zeros(3)}, r"positions has shape \(3\)"),
        ({"positions": [[0, 0, 0], [0, np.nan, 0]]}, "positions of atom 2"),
        ({"positions": [[np.inf, 0, 0]]}, "positions of atom 1"),
        ({"positions": [[1e30, 0, 0]]}, "positions of atom 1"),
        ({"cell": np.eye(2)}, r"cell has shape \(2, 2\); expected \(3, 3\)"),
        ({"cell": FLAT}, "cell has volume"),
        ({"cell": np.zeros((3, 3))}, "cell has volume"),
        ({"cell": np.full((3, 3), np.nan)}, "cell has volume"),
        ({"cutoff": 0.0}, r"cutoff 0\.0+ "),
        ({"cutoff": -1.0}, r"cutoff -1\.0+ "),
        ({"cutoff": np.nan}, "cutoff nan"),
        ({"cutoff": np.inf}, "cutoff inf"),
    ],
)
def test_bad_input_is_one_line(change, word):
    given_ = {"positions": np.zeros((2, 3)), "cell": 5.0 * np.eye(3), "cutoff": 3.0, **change}
    with pytest.raises(ValueError, match=f"^{word}") as caught:
        _kernels.neighbor_pairs(**given_)
    assert "\n" not in str(caught.value)
