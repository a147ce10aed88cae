"""``rotations``: known turns come back, jumps reduce to zero, windows, JSON, errors."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from lbpsi_driver import cli
from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.motifs import find_motifs
from lbpsi_driver.observables.rotation import STATES, ligands, records, rotations
from lbpsi_driver.observables.trajectory import Trajectory

TETRAHEDRON = 2.05 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
TRIANGLE = 1.82 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
# S of one end of P2S6 with the other P along z.
PYRAMID = 2.05 * np.array(
    [[np.cos(a) * 0.94, np.sin(a) * 0.94, -0.34] for a in np.radians([10, 130, 250])]
)
CELL = np.array([[17.0, 0.0, 0.0], [3.0, 16.0, 0.0], [-2.0, 4.0, 18.0]])
# The first stands across the walls.
CENTRES = {"PS4": [0.3, 0.2, 0.1], "BS3": [8.0, 7.0, 5.0], "P2S6": [6.0, 12.0, 13.0]}
ELEMENTS = ["P", *"SSSS", "B", *"SSS", "P", *"SSS", "P", *"SSS"]
AXIS = np.array([1.0, 2.0, -0.5]) / np.linalg.norm([1.0, 2.0, -0.5])


@pytest.fixture(autouse=True)
def _without_mpi(monkeypatch):
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    yield
    logging.getLogger("lbpsi_driver").handlers.clear()


def positions(turn: Rotation) -> np.ndarray:
    """PS4, BS3 and P2S6, each turned about its own centre."""
    dimer = np.vstack([[[0, 0, -1.12]], PYRAMID - [0, 0, 1.12]])
    dimer = np.vstack([dimer, -dimer])
    units = {
        "PS4": np.vstack([np.zeros((1, 3)), TETRAHEDRON]),
        "BS3": np.vstack([np.zeros((1, 3)), TRIANGLE]),
        "P2S6": dimer,
    }
    return np.vstack([turn.apply(x) + CENTRES[name] for name, x in units.items()])


def trajectory(frames: list[np.ndarray], elements=ELEMENTS, ids=None) -> Trajectory:
    n = len(frames)
    return Trajectory(
        np.array(frames) @ np.linalg.inv(CELL) % 1.0,
        np.repeat(CELL[None], n, axis=0),
        np.zeros((n, 3)),
        np.arange(n) * 0.1,
        np.array(elements),
        ids,
    )


def about(axis, degrees: float) -> Rotation:
    return Rotation.from_rotvec(np.radians(degrees) * np.asarray(axis) / np.linalg.norm(axis))


# --- turns ----------------------------------------------------------------------------------------


def test_known_turns_come_back():
    degrees = np.array([0.0, 1e-4, 5.0, 30.0, 100.0, 179.9])
    found = list(rotations(trajectory([positions(about(AXIS, d)) for d in degrees])))
    assert [frame.frame for frame in found] == list(range(6))
    for frame, angle in zip(found, degrees, strict=True):
        assert frame.ids.tolist() == [1, 6, 10, 14]
        assert frame.elements.tolist() == ["P", "B", "P", "P"]
        assert frame.class_names.tolist() == ["PS4", "small borate", "P2S6(4-)", "P2S6(4-)"]
        assert {STATES[code] for code in frame.state} == {"whole"}
        np.testing.assert_allclose(frame.angle_deg, angle, atol=1e-8)
        np.testing.assert_allclose(frame.residual_A, 0.0, atol=1e-9)
        if angle > 1:
            np.testing.assert_allclose(frame.axis, np.tile(AXIS, (4, 1)), atol=1e-8)
        assert (frame.reduced_angle_deg <= frame.angle_deg + 1e-9).all()
        assert not frame.exchanges.any()


@pytest.mark.parametrize(
    ("axis", "degrees", "reduced"),
    [
        (TETRAHEDRON[0], 120.0, {"PS4": 0.0}),
        ([1, 0, 0], 180.0, {"PS4": 0.0, "BS3": 0.0}),
        ([0, 0, 1], 120.0, {"BS3": 0.0, "P2S6": 0.0}),
        ([0, 0, 1], 180.0, {"PS4": 0.0, "BS3": 60.0, "P2S6": 60.0}),
        ([0, 0, 1], 90.0, {"PS4": 90.0, "BS3": 30.0, "P2S6": 30.0}),
        ([0, 0, 1], 10.0, {"PS4": 10.0, "BS3": 10.0, "P2S6": 10.0}),
    ],
)
def test_jumps_between_equal_orientations(axis, degrees, reduced):
    *_, last = rotations(
        trajectory([positions(Rotation.identity()), positions(about(axis, degrees))])
    )
    found = dict(zip(("PS4", "BS3", "P2S6"), last.reduced_angle_deg, strict=False))
    np.testing.assert_allclose(last.angle_deg, degrees, atol=1e-6)
    for name, angle in reduced.items():
        assert found[name] == pytest.approx(angle, abs=1e-5), name


def test_a_mirror_image_is_no_rotation():
    frames = [positions(Rotation.identity()) for _ in range(2)]
    frames[1][1:5] = CENTRES["PS4"] - TETRAHEDRON
    first, last = rotations(trajectory(frames))
    assert [STATES[code] for code in last.state] == ["inverted", "whole", "whole", "whole"]
    assert np.isnan([last.angle_deg[0], last.reduced_angle_deg[0], last.residual_A[0]]).all()
    assert np.isnan(last.axis[0]).all()
    assert np.isfinite(last.angle_deg[1:]).all()
    assert records(first)[0]["angle_deg"] == pytest.approx(0.0, abs=1e-8)


def test_frames_count_from_the_reference():
    turns = [positions(about(AXIS, d)) for d in (0.0, 20.0, 50.0, 90.0)]
    for reference in (1, -3):
        found = list(rotations(trajectory(turns), reference=reference))
        assert [frame.frame for frame in found] == [1, 2, 3]
        angles = [frame.angle_deg[0] for frame in found]
        assert angles == pytest.approx([0.0, 30.0, 70.0], abs=1e-6)


def with_other_sulfur(degrees: float) -> np.ndarray:
    """As `positions`, but one S of PS4 is gone and a free one stands in its place."""
    frame = np.vstack([positions(about(AXIS, degrees)), [[0.0, 0.0, 9.0]]])
    frame[[4, -1]] = frame[[-1, 4]]
    return frame


def test_an_exchanged_sulfur():
    whole = [np.vstack([positions(about(AXIS, d)), [[0.0, 0.0, 9.0]]]) for d in (0.0, 12.0)]
    frames = [*whole, *(with_other_sulfur(d) for d in (20.0, 25.0, 30.0, 40.0))]
    found = list(rotations(trajectory(frames, [*ELEMENTS, "S"]), hold=3))
    states = [STATES[frame.state[0]] for frame in found]
    assert states == ["whole", "whole", "broken", "broken", "whole", "whole"]
    assert [frame.exchanges[0] for frame in found] == [0, 0, 0, 0, 1, 1]
    angles = [records(frame)[0]["angle_deg"] for frame in found]
    assert angles[2:4] == [None, None]
    assert angles[1] == pytest.approx(12.0, abs=1e-6)
    assert angles[4:] == pytest.approx([0.0, 10.0], abs=1e-6)
    assert all(frame.state[1] == STATES.index("whole") for frame in found)
    never = list(rotations(trajectory(frames, [*ELEMENTS, "S"]), hold=5))
    assert [STATES[frame.state[0]] for frame in never[2:]] == ["broken"] * 4


def test_a_former_without_a_unit():
    frames = [np.array([[0.0, 0, 0], [8.0, 8, 8], *(TETRAHEDRON + 8.0)])] * 2
    _, last = rotations(trajectory(frames, ["P", "P", *"SSSS"]))
    assert [STATES[code] for code in last.state] == ["none", "whole"]
    assert records(last)[0] == {
        "id": 1, "element": "P", "class": "other", "angle_deg": None, "reduced_angle_deg": None,
        "axis": None, "residual_A": None, "state": "none", "exchanges": 0,
    }  # fmt: skip


def test_ligands_by_former():
    around = ligands(find_motifs((ELEMENTS, positions(Rotation.identity()), CELL)))
    assert around.start.tolist() == [0, 4, 7, 10, 13]
    assert around.ids.tolist() == [2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17]
    assert around.pyramid.tolist() == [False, False, True, True]
    np.testing.assert_allclose(around.vectors[:4], TETRAHEDRON, atol=1e-12)
    assert around.table()[1].tolist() == [7, 8, 9, -1, -1, -1, -1]
    named = ligands(
        find_motifs((ELEMENTS, positions(Rotation.identity()), CELL), ids=np.arange(117, 100, -1))
    )
    assert named.ids.tolist()[:7] == [113, 114, 115, 116, 109, 110, 111]
    np.testing.assert_allclose(named.vectors[:4], TETRAHEDRON[::-1], atol=1e-12)
    some = around.only(np.array([False, True, False, True]))
    assert some.start.tolist() == [0, 0, 3, 3, 6]
    assert some.ids.tolist() == [7, 8, 9, 15, 16, 17]


# --- windows --------------------------------------------------------------------------------------


def align(reference: np.ndarray, now: np.ndarray) -> float:
    return np.degrees(Rotation.align_vectors(now, reference)[0].magnitude())


def librating(seed: int, mean_degrees: list[float], spread: float) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    turns = [
        about(rng.normal(size=3), spread * rng.normal()) * about(AXIS, mean)
        for mean in mean_degrees
    ]
    return [positions(turn) for turn in turns]


def test_window_averages_are_the_oracle_s():
    frames = librating(2, [0.0] * 6 + [35.0] * 6 + [10.0] * 2, 9.0)
    found = list(rotations(trajectory(frames), window=6))
    assert len(found) == 14
    for k, (start, end) in enumerate(((0, 4), (5, 8))):
        own = [frame[start + 1 : end + 1] - frame[start] for frame in frames]
        means = [np.mean(own[s : s + 6], axis=0) for s in (0, 6)]
        for t, frame in enumerate(found):
            window = min(t // 6, 1)
            mean = means[window]
            squares = [align(mean, now) ** 2 for now in own[6 * window : 6 * window + 6]]
            assert frame.windows.libration_deg[k] == pytest.approx(
                np.mean(squares) ** 0.5, abs=1e-6
            )
            assert frame.windows.angle_deg[k] == pytest.approx(align(means[0], mean), abs=1e-5)


def test_windows_tell_a_turn_from_a_libration():
    turned = librating(3, [0.0] * 50 + [40.0] * 50, 9.0)
    *_, last = rotations(trajectory(turned), window=50)
    assert last.windows.angle_deg == pytest.approx([40.0] * 4, abs=6.0)
    assert last.windows.libration_deg == pytest.approx([9.0] * 4, abs=2.5)
    still = librating(4, [0.0] * 100, 9.0)
    *_, last = rotations(trajectory(still), window=50)
    assert (last.windows.angle_deg < 5.0).all()


def test_windows_start_at_the_reference():
    frames = [positions(about(AXIS, d)) for d in (70.0, 0.0, 0.0, 30.0, 30.0)]
    found = list(rotations(trajectory(frames), reference=1, window=2))
    assert [frame.windows.angle_deg[0] for frame in found] == pytest.approx(
        [0, 0, 30, 30], abs=1e-5
    )
    assert [frame.windows.libration_deg[0] for frame in found] == pytest.approx([0] * 4, abs=1e-5)


def test_a_unit_that_changes_has_no_average():
    whole = [np.vstack([positions(about(AXIS, d)), [[0.0, 0.0, 9.0]]]) for d in (0.0, 4.0, 0.0)]
    frames = [*whole, *(with_other_sulfur(d) for d in (20.0, 24.0, 28.0))]
    found = list(rotations(trajectory(frames, [*ELEMENTS, "S"]), window=2))
    first, second, third = (frame.windows for frame in found[::2])
    assert first.angle_deg[0] == pytest.approx(0.0, abs=1e-6)
    assert first.libration_deg[0] == pytest.approx(2.0, abs=1e-3)
    # both sets of S in the window; then other S than in the first one
    assert np.isnan([second.angle_deg[0], second.libration_deg[0], third.angle_deg[0]]).all()
    assert third.libration_deg[0] == pytest.approx(2.0, abs=1e-3)
    assert np.isfinite([second.angle_deg[1], third.angle_deg[1]]).all()
    late = list(rotations(trajectory(frames[2:], [*ELEMENTS, "S"]), window=2))
    assert np.isnan([frame.windows.angle_deg[0] for frame in late]).all()


# --- the verb -------------------------------------------------------------------------------------

KEYS = [
    "id", "element", "class", "angle_deg", "reduced_angle_deg", "axis", "residual_A", "state",
    "exchanges",
]  # fmt: skip
TURNS = (0.0, 15.0, 40.0)


@pytest.fixture
def extxyz(tmp_path) -> Path:
    path = tmp_path / "t.extxyz"
    frames = [Atoms(ELEMENTS, positions(about(AXIS, d)), cell=CELL, pbc=True) for d in TURNS]
    ase.io.write(path, frames)
    return path


@pytest.fixture
def dump(tmp_path) -> Path:
    """Ids that aren't 1, 2, …, rows in another order, types for elements."""
    path = tmp_path / "t.dump"
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = CELL
    box = f"{min(0, xz)} {lx + xy} {xy}\n0 {ly + yz} {xz}\n0 {lz} {yz}\n"
    text = ""
    for t, degrees in enumerate(TURNS):
        x = positions(about(AXIS, degrees))
        kinds = ["BPS".index(element) + 1 for element in ELEMENTS]
        rows = [
            f"{2 * k + 3} {kinds[k]} {x[k, 0]:.10f} {x[k, 1]:.10f} {x[k, 2]:.10f}"
            for k in reversed(range(len(x)))
        ]
        text += f"ITEM: TIMESTEP\n{t}\nITEM: NUMBER OF ATOMS\n{len(x)}\n"
        text += f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n{box}ITEM: ATOMS id type xu yu zu\n"
        text += "".join(row + "\n" for row in rows)
    path.write_text(text)
    return path


def run_json(capsys, *arguments):
    assert cli.main(["rotations", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json(capsys, extxyz):
    found = run_json(capsys, extxyz)
    assert [list(unit) for unit in found] == [KEYS] * 4
    assert [unit["id"] for unit in found] == [1, 6, 10, 14]
    assert [unit["element"] for unit in found] == ["P", "B", "P", "P"]
    assert found[0]["class"] == "PS4"
    assert found[0]["state"] == "whole"
    assert found[0]["exchanges"] == 0
    assert found[0]["angle_deg"] == pytest.approx(40.0, abs=1e-5)
    assert found[0]["axis"] == pytest.approx(AXIS.tolist(), abs=1e-6)
    assert found[0]["residual_A"] == pytest.approx(0.0, abs=1e-6)
    frames = run_json(capsys, extxyz, "--all")
    assert [frame[0]["angle_deg"] for frame in frames] == pytest.approx(TURNS, abs=1e-5)
    assert frames[-1] == found
    frames = run_json(capsys, extxyz, "--all", "--reference", "1")
    assert [frame[0]["angle_deg"] for frame in frames] == pytest.approx([0.0, 25.0], abs=1e-5)
    last = run_json(capsys, extxyz, "--window", "3")
    assert [list(unit) for unit in last] == [[*KEYS, "window_angle_deg", "libration_deg"]] * 4
    assert last[0]["window_angle_deg"] == pytest.approx(0.0, abs=1e-6)
    assert 5.0 < last[0]["libration_deg"] < 25.0


def test_ids_and_types_of_a_dump(capsys, dump):
    found = run_json(capsys, dump, "--elements", "B,P,S")
    assert [(unit["id"], unit["element"]) for unit in found] == [
        (3, "P"), (13, "B"), (21, "P"), (29, "P"),
    ]  # fmt: skip
    assert [unit["angle_deg"] for unit in found] == pytest.approx([40.0] * 4, abs=1e-5)


def test_bond_cutoffs_of_the_user(capsys, extxyz):
    found = run_json(capsys, extxyz, "--bond", "B-S=1.5")
    assert [unit["state"] for unit in found] == ["whole", "none", "whole", "whole"]


def test_table(capsys, extxyz):
    assert cli.main(["rotations", str(extxyz), "--window", "2"]) == 0
    text = capsys.readouterr().out
    assert "frame 2 against 0" in text
    words = [line.split() for line in text.splitlines()]
    # units, not whole, exchanges, mean, most; then reduced, window, libration
    assert [row[1:6] for row in words if row[:1] == ["P2S6(4-)"]] == [
        ["2", "0", "0", "40.0", "40.0"]
    ]
    assert "exchanges" in text
    assert "libration" in text
    assert cli.main(["rotations", "not-there", "--dry-run"]) == 0


def test_refusals(capsys, tmp_path, extxyz, dump):
    ase.io.write(tmp_path / "li.extxyz", Atoms("Li", cell=[9] * 3, pbc=True))
    for arguments, message in [
        ([], "TRAJECTORY is missing: give a trajectory"),
        (["not-there"], "not-there: No such file"),
        ([extxyz, "--reference", "3"], "reference 3: expected a frame from 0 to 2"),
        ([extxyz, "--reference", "-4"], "reference -4: expected a frame from 0 to 2"),
        ([extxyz, "--window", "4"], "window 4: expected 2 to 3 frames"),
        ([extxyz, "--window", "1"], "--window 1: "),
        ([extxyz, "--hold", "0"], "--hold 0: "),
        ([extxyz, "--bond", "PS"], "--bond PS: expected a pair"),
        ([dump], "give --elements"),
        ([tmp_path / "li.extxyz"], "no network former among Li"),
    ]:
        assert cli.main(["rotations", *map(str, arguments)]) == 2, arguments
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        assert message in shown.err


def test_refusals_of_the_library():
    frames = trajectory([positions(Rotation.identity())] * 2)
    for options in ({"hold": 0}, {"window": 1}, {"window": 3}, {"reference": 2}):
        with pytest.raises(UsageError, match=next(iter(options))):
            rotations(frames, **options)
