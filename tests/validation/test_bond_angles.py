"""Bond angles of ideal units in closed form, and of random cells against ASE."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from clusters import CUTOFF
from scipy import stats

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.bond_angles import angles_of, bond_angles
from lbpsi_driver.observables.motifs import find_motifs
from lbpsi_driver.observables.trajectory import Trajectory, of_atoms

TETRAHEDRAL = np.degrees(np.arccos(-1 / 3))
BOX = np.array([[16.5, 0.0, 0.0], [3.0, 16.5, 0.0], [-4.0, 5.0, 17.0]])


def in_box(symbols, positions, cell=BOX, at=(8.0, 9.0, 0.5)):
    """Across a wall of a triclinic box."""
    return Atoms(symbols, np.array(positions) + at, cell=cell, pbc=True)


def of(*frames):
    parts = [of_atoms(atoms) for atoms in frames]
    return Trajectory(
        np.concatenate([part.fractional for part in parts]),
        np.concatenate([part.cells for part in parts]),
        np.zeros((len(parts), 3)),
        np.arange(len(parts)) * 1.0,
        parts[0].elements,
    )


def tetrahedron(length=2.05):
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return in_box("PS4", [[0, 0, 0], *(corners * length / np.sqrt(3))])


def test_tetrahedron_and_triangle():
    found = bond_angles(of(tetrahedron()), 1.0)
    assert list(found.triples) == ["S-P-S"]
    assert list(found.units) == ["PS4"]
    angles = found.triples["S-P-S"]
    assert angles.number == 6
    assert angles.mean_deg.mean == pytest.approx(TETRAHEDRAL, abs=1e-6)
    assert angles.deviation_deg == pytest.approx(0.0, abs=1e-4)
    assert found.angle_deg[angles.density_per_deg > 0] == pytest.approx([109.5])
    turns = np.radians([10, 130, 250])
    ring = 1.82 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    found = bond_angles(of(in_box("BS3", [[0, 0, 0], *ring])), 0.5)
    assert found.units["BS3"].mean_deg.mean == pytest.approx(120.0, abs=1e-6)
    assert found.units["BS3"].number == 3
    assert found.units["BS3"].density_per_deg.sum() * 0.5 == pytest.approx(1.0)


@pytest.mark.parametrize("angle", [80.0, 94.0])
def test_shared_edge(angle):
    """P2S6(2-): the four-membered ring is a rhombus, its angles at P and at S add up to 180."""
    half = np.radians(angle / 2)
    x, y = 2.1 * np.cos(half), 2.1 * np.sin(half)
    ends = [[s * (x + 1.1), 0.0, z] for s in (-1, 1) for z in (-1.7, 1.7)]
    atoms = in_box("P2S6", [[-x, 0, 0], [x, 0, 0], [0, y, 0], [0, -y, 0], *ends])
    found = bond_angles(of(atoms), 1.0)
    assert found.triples["P-S-P"].number == 2
    assert found.triples["P-S-P"].mean_deg.mean == pytest.approx(180 - angle, abs=1e-6)
    assert found.triples["S-P-S"].number == 12
    motifs = find_motifs(atoms)
    centre, ends_of, degrees = angles_of(motifs)
    inside = (centre == 0) & (ends_of < 4).all(axis=1)
    assert degrees[inside] == pytest.approx([angle], abs=1e-6)


def test_straight_and_mixed_ends():
    """180 degrees belong to the last bin; ends stand in alphabetical order."""
    atoms = in_box("SBSP", [[-1.8, 0, 0], [0, 0, 0], [1.8, 0, 0], [1.8, 2.05, 0]])
    found = bond_angles(of(atoms), 1.0)
    assert list(found.triples) == ["B-S-P", "S-B-S"]
    assert found.triples["S-B-S"].density_per_deg[-1] == pytest.approx(1.0)
    assert found.triples["S-B-S"].mean_deg.mean == pytest.approx(180.0)
    assert found.triples["B-S-P"].mean_deg.mean == pytest.approx(90.0)
    assert list(found.units) == ["BS2"]


def test_directions_without_preference():
    """p = (pi/360) sin: chi-squared over bins of equal width, and a preference of 1."""
    rng = np.random.default_rng(7)
    side, n = 9.0, 10
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * side
    bonds = rng.normal(size=(2, n**3, 3))
    bonds *= 2.0 / np.linalg.norm(bonds, axis=2, keepdims=True)
    symbols = ["P"] * n**3 + ["S"] * (2 * n**3)
    positions = np.concatenate([grid, grid + bonds[0], grid + bonds[1]])
    atoms = Atoms(symbols, positions, cell=[n * side] * 3, pbc=True)
    found = bond_angles(of(atoms), 10.0).triples["S-P-S"]
    edges = np.radians(np.arange(19) * 10.0)
    expected = n**3 * -np.diff(np.cos(edges)) / 2
    counts = found.density_per_deg * 10.0 * n**3
    assert stats.chisquare(counts, expected).pvalue > 0.01
    np.testing.assert_allclose(found.preference, counts / expected)
    assert np.average(found.preference, weights=expected) == pytest.approx(1.0)


def soup(seed, n=120):
    rng = np.random.default_rng(seed)
    elements = rng.choice(["S", "B", "P", "I", "Li"], n, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    return Atoms(elements, rng.random((n, 3)) @ (0.8 * BOX), cell=0.8 * BOX, pbc=True)


def test_equals_ase_angle_by_angle():
    atoms = soup(3)
    found = bond_angles(of(atoms), 2.0)
    symbols = list(atoms.symbols)
    distances = atoms.get_all_distances(mic=True)
    bonded = [
        [
            j
            for j in range(len(atoms))
            if j != i and distances[i, j] < CUTOFF.get(frozenset((symbols[i], symbols[j])), 0.0)
        ]
        for i in range(len(atoms))
    ]
    expected: dict[str, list[float]] = {}
    for i, ends in enumerate(bonded):
        for k, a in enumerate(ends):
            for b in ends[k + 1 :]:
                first, last = sorted((symbols[a], symbols[b]))
                angle = atoms.get_angle(a, i, b, mic=True)
                expected.setdefault(f"{first}-{symbols[i]}-{last}", []).append(angle)
    assert found.triples.keys() == expected.keys()
    assert len(expected) > 8
    for name, angles in expected.items():
        values = found.triples[name]
        assert values.number == len(angles)
        assert values.mean_deg.mean == pytest.approx(np.mean(angles), abs=1e-6)
        assert values.deviation_deg == pytest.approx(np.std(angles), abs=1e-4)
        counts = np.histogram(angles, np.arange(91) * 2.0)[0]
        np.testing.assert_allclose(values.density_per_deg * 2.0 * len(angles), counts, atol=1e-9)


def test_frames_are_pooled_each_in_its_own_cell():
    """A cell that swells keeps its angles; a kind that one frame has counts half in number."""
    first, wide, bent = tetrahedron(), tetrahedron(2.1), tetrahedron()
    wide.set_cell(1.05 * BOX, scale_atoms=False)
    found = bond_angles(of(first, wide), 1.0).triples["S-P-S"]
    assert found.number == 6
    assert found.mean_deg.mean == pytest.approx(TETRAHEDRAL, abs=1e-6)
    bent.positions[4] = bent.positions[0] + [0.0, 0.0, 3.5]
    found = bond_angles(of(first, bent), 1.0)
    assert {name: d.number for name, d in found.units.items()} == {"PS3": 1.5, "PS4": 3.0}
    assert found.triples["S-P-S"].number == 4.5


def test_bad_input_ends_in_one_line():
    for width in (0.0, -1.0, 7.0, 180.0):
        with pytest.raises(UsageError, match="part of 180"):
            bond_angles(of(tetrahedron()), width)
    water = molecule("H2O", cell=[8.0] * 3, pbc=True)
    with pytest.raises(UsageError, match="element H"):
        bond_angles(of(water))
    with pytest.raises(UsageError, match="no network former"):
        bond_angles(of(in_box("Li2S", [[0, 0, 0], [2, 0, 0], [0, 2, 0]])))
    assert bond_angles(of(in_box("P", [[0, 0, 0]]))).triples == {}
