"""Pieces cut out of trajectories: bonds and distances survive the periodic boundaries."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from clusters import borate, boroxol, pair, together, unit

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.motif_summary import summarise
from lbpsi_driver.observables.motifs import find_motifs
from lbpsi_driver.observables.pathways import (
    anion_piece,
    classes_at,
    largest_displacements,
    pathway,
    pick_ions,
)
from lbpsi_driver.observables.trajectory import Trajectory, of_atoms

TETRAHEDRON = 2.05 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
CELL = np.array([[14.0, 0, 0], [3.0, 15.0, 0], [-4.0, 2.0, 16.0]])


def moving(path, centres=((0.05, 0.5, 0.95),), breathing=0.0, drift=0.0, seed=1):
    """PS4 at fractional centres, cut by the cell's faces, and an Li on a fractional path."""
    rng = np.random.default_rng(seed)
    frames = len(path)
    cells = CELL * (1 + breathing * rng.normal(size=(frames, 1, 1)))
    offset = rng.integers(-2, 3, (1 + 5 * len(centres), 3))
    fractional = np.empty((frames, 1 + 5 * len(centres), 3))
    for t in range(frames):
        fractional[t, 0] = path[t]
        for k, centre in enumerate(centres):
            unit_s = TETRAHEDRON @ np.linalg.inv(cells[t])
            fractional[t, 1 + 5 * k] = centre
            fractional[t, 2 + 5 * k : 6 + 5 * k] = centre + unit_s
        fractional[t] += offset + drift * t
    elements = np.array(["Li"] + ["P", "S", "S", "S", "S"] * len(centres))
    ids = np.arange(len(elements)) + 101
    return Trajectory(
        fractional, cells, np.zeros((frames, 3)), np.arange(frames) * 0.1, elements, ids
    )


def test_ions_are_picked_by_class_and_mobility():
    mobility = np.array([3.0, 9.0, 1.0, 4.0, 9.5])
    classes = np.array(["PS4", "network", "PS4", "PS4", "none"])
    assert pick_ions(mobility, classes).tolist() == [4]
    assert pick_ions(mobility, classes, "PS4", 2).tolist() == [3, 0]
    assert pick_ions(mobility, classes, "PS4", 9, slowest=True).tolist() == [2, 0, 3]
    assert pick_ions(np.array([0, 2, 5, 1, 0]), classes, "PS4").tolist() == [2]
    with pytest.raises(UsageError, match="expected one of PS4, network, none"):
        pick_ions(mobility, classes, "P2S7")
    with pytest.raises(UsageError, match="1 or more"):
        pick_ions(mobility, classes, number=0)


def test_largest_displacement_counts_a_journey_out_and_back():
    positions = np.zeros((5, 2, 3))
    positions[2, 0] = [3.0, 0.0, 4.0]
    positions[:, 1, 1] = np.arange(5)
    assert largest_displacements(positions + 7.0) == pytest.approx([5.0, 4.0])


def test_class_of_an_ion_is_that_of_its_former():
    structure = together([unit("P", 4).atoms(1), borate(6, boroxol(2)).atoms(2)], free="Li")
    phosphorus = structure.positions[structure.symbols == "P"][0]
    structure.positions[structure.symbols == "Li"] = phosphorus + np.array([2.9, 0.0, 0.0])
    trajectory = of_atoms(structure)
    assert classes_at(trajectory, trajectory.indices("Li")).tolist() == ["PS4"]


def test_unit_is_whole_beside_the_ion():
    path = np.array([[0.2, 0.5, 0.9]] * 3) + np.arange(3)[:, None] * [0.02, 0.0, 0.0]
    trajectory = moving(path, breathing=0.02)
    found = pathway(trajectory, 0)
    assert len(found.frames) == 3
    assert found.class_name == "PS4"
    (whole,) = found.units
    assert whole.class_name == "PS4"
    for t, piece in enumerate(found.frames):
        assert piece.get_chemical_symbols() == ["Li", "P", "S", "S", "S", "S"]
        assert piece.arrays["id"].tolist() == [101, 102, 103, 104, 105, 106]
        assert not piece.pbc.any()
        assert piece.info["time_ps"] == pytest.approx(0.1 * t)
        # By the mean cell, bonds breathe with the strain of their frame's cell.
        bonds = piece.get_distances(whole.former, list(whole.ligands))
        assert bonds == pytest.approx(np.full(4, 2.05), rel=0.06)
        fractional = path[t] - [0.05, 0.5, 0.95]
        expected = np.linalg.norm(fractional @ trajectory.mean_cell)
        assert piece.get_distance(0, 1) == pytest.approx(expected)
        assert found.path_A[t] == pytest.approx(piece.positions[0])
    # The ion's own motion moves the centre of mass, too.
    rest = 1.0 - trajectory.masses_amu[0] / trajectory.masses_amu.sum()
    expected = rest * np.linalg.norm([0.04, 0, 0] @ trajectory.mean_cell)
    assert found.largest_A == pytest.approx(expected)


def test_path_around_the_cell_passes_each_image():
    path = np.array([[0.2, 0.45, 0.9]]) + np.linspace(0, 2.2, 60)[:, None] * [1.0, 0.0, 0.0]
    found = pathway(moving(path), 0, radius_A=4.5)
    assert len(found.units) == 3
    piece = found.frames[0]
    formers = piece.positions[[one.former for one in found.units]]
    apart = np.sort(np.linalg.norm(formers - formers[0], axis=1))
    assert apart == pytest.approx([0.0, 14.0, 28.0]) or apart == pytest.approx([0.0, 14.0, 14.0])
    closest = [
        min(frame.get_distance(0, one.former) for frame in found.frames) for one in found.units
    ]
    assert max(closest) < 4.5
    for one in found.units:
        assert piece.get_distances(one.former, list(one.ligands)) == pytest.approx(np.full(4, 2.05))


def test_far_units_and_drift_are_left_out():
    path = np.array([[0.2, 0.5, 0.9]] * 20)
    centres = ((0.05, 0.5, 0.95), (0.6, 0.1, 0.4))
    still = pathway(moving(path, centres), 0, most_frames=7)
    drifting = pathway(moving(path, centres, drift=0.03), 0, most_frames=7)
    for found in (still, drifting):
        assert len(found.units) == 1
        assert len(found.frames) == 7
        assert len(found.frames[0]) == 6
        assert found.largest_A == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(drifting.path_A, still.path_A, atol=1e-9)


def test_units_share_their_bridging_sulfur():
    structure = together([pair("P", 4, "P", 4, 1).atoms(3)], free="Li")
    phosphorus = structure.positions[structure.symbols == "P"]
    middle = phosphorus.mean(axis=0)
    structure.positions[structure.symbols == "Li"] = middle + np.array([0.0, 0.0, 3.0])
    found = pathway(of_atoms(structure), int(of_atoms(structure).indices("Li")[0]))
    assert len(found.units) == 2
    assert len(found.frames[0]) == 1 + 2 + 7
    assert len(set(found.units[0].ligands) & set(found.units[1].ligands)) == 1


def test_pathway_goes_through_extxyz(tmp_path):
    found = pathway(moving(np.array([[0.2, 0.5, 0.9]] * 4)), 0)
    ase.io.write(tmp_path / "path.extxyz", list(found.frames))
    frames = ase.io.read(tmp_path / "path.extxyz", ":")
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(frames[2].positions, found.frames[2].positions, atol=1e-7)
    assert frames[0].arrays["id"].tolist() == found.frames[0].arrays["id"].tolist()


def scene(seed):
    """Two P2S7 and a PS4, cut by the cell's faces, with an Li beside each P."""
    parts = [pair("P", 4, "P", 4, 1).atoms(seed), pair("P", 4, "P", 4, 1).atoms(seed + 1)]
    structure = together([*parts, unit("P", 4).atoms(seed + 2)], seed=seed)
    centres = structure.positions[structure.symbols == "P"]
    sulfur = structure.positions[structure.symbols == "S"]
    rng = np.random.default_rng(seed)
    for centre in centres:
        around = centre + 3.4 * np.array([v / np.linalg.norm(v) for v in rng.normal(size=(99, 3))])
        room = np.linalg.norm(around[:, None] - sulfur, axis=2).min(axis=1)
        structure += Atoms("Li", [around[np.argmax(room)]])
    structure.positions += rng.random(3) * 20
    structure.wrap()
    return structure


@pytest.mark.parametrize("seed", [1, 5])
def test_anion_comes_out_in_one_piece(seed):
    structure = scene(seed)
    trajectory = of_atoms(structure)
    ids = set()
    for which in (0, 1):
        found = anion_piece(trajectory, "P2S7(4-)", which=which)
        assert (found.n_anion, found.of_that_name, found.endless) == (9, 2, False)
        anion = found.atoms[: found.n_anion]
        ids |= set(anion.arrays["id"].tolist())
        alone = Atoms(anion.symbols, anion.positions, cell=[60.0] * 3, pbc=True)
        assert summarise(find_motifs(alone))["anions"] == {"P2S7(4-)": 1}
        lithium = found.atoms[found.n_anion :]
        assert lithium.get_chemical_formula() == "Li2"
        for ion in lithium:
            near = np.linalg.norm(anion.positions - ion.position, axis=1).min()
            place = ion.index + found.n_anion
            members = anion.arrays["id"] - 1
            number = int(found.atoms.arrays["id"][place]) - 1
            assert near == pytest.approx(
                structure.get_distances(number, members, mic=True).min(), abs=1e-9
            )
            assert near <= 3.5
    assert len(ids) == 18


def test_endless_anion_is_told():
    """A chain of PS2 through the cell along x, two P and four S a cell."""
    half = 1.45
    positions = []
    for k, turn in ((0, 0.0), (1, 1.0)):
        x = 2 * half * k
        positions += [[x, 0, 0], [x + half, 1.45 * (1 - turn), 1.45 * turn]]
        positions += [[x + half, -1.45 * (1 - turn), -1.45 * turn]]
    chain = Atoms("PS2PS2", np.array(positions) + 5.0, cell=[4 * half, 16, 16], pbc=True)
    name = next(iter(summarise(find_motifs(chain))["anions"]))
    found = anion_piece(of_atoms(chain), name)
    assert found.endless
    assert found.n_anion == 6
    assert len(found.atoms) == 6


def test_bad_input_is_one_line():
    trajectory = of_atoms(scene(1))
    with pytest.raises(
        UsageError, match=r"no anion BS3\(3-\) in the frame: there are 2 P2S7\(4-\)"
    ):
        anion_piece(trajectory, "BS3(3-)")
    with pytest.raises(UsageError, match="number 2, from 0"):
        anion_piece(trajectory, "P2S7(4-)", which=2)
    with pytest.raises(UsageError, match="frame 1: expected one from 0 to 0"):
        anion_piece(trajectory, "P2S7(4-)", frame=1)
    with pytest.raises(UsageError, match="ion 99"):
        pathway(trajectory, 99)
    with pytest.raises(UsageError, match="more than 0 of both"):
        pathway(trajectory, 0, radius_A=0.0)
