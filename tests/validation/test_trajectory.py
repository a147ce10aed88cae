"""Readers and unwrapping: what is in the file is what is in memory, through flips and restarts."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.trajectory import Trajectory, of_atoms, read, undo_flips

ELEMENTS = ("Li", "Li", "S", "P")
SKEW = np.array([[8.0, 0.0, 0.0], [1.5, 9.0, 0.0], [-1.0, 2.0, 10.0]])


def frame_text(step, cell, rows, columns="id element x y z ix iy iz", item=""):
    """A frame of a dump; the cell is restricted triclinic, its origin at zero."""
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
    low = (min(0, xy, xz, xy + xz), min(0, yz), 0)
    high = (lx + max(0, xy, xz, xy + xz), ly + max(0, yz), lz)
    bounds = "\n".join(
        f"{a:.16g} {b:.16g} {t:.16g}" for a, b, t in zip(low, high, (xy, xz, yz), strict=True)
    )
    return (
        f"{item}ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n"
        f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n{bounds}\nITEM: ATOMS {columns}\n"
        + "".join(" ".join(map(str, row)) + " \n" for row in rows)
    )


def wrapped_rows(fractional, cell, labels=ELEMENTS):
    images = np.floor(fractional).astype(int)
    xyz = (fractional - images) @ cell
    return [
        (i + 1, labels[i], *(f"{v:.16g}" for v in xyz[i]), *images[i]) for i in range(len(labels))
    ]


@pytest.fixture
def walk():
    """Continuous fractional coordinates that cross boundaries, in a breathing triclinic cell."""
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 0.08, (30, len(ELEMENTS), 3))
    fractional = rng.random((1, len(ELEMENTS), 3)) + np.cumsum(steps, axis=0)
    cells = SKEW * (1 + 0.03 * rng.normal(size=(30, 1, 1)))
    return fractional, cells


def write(path: Path, *frames: str) -> Path:
    path.write_text("".join(frames))
    return path


def dump(path, fractional, cells, **options):
    return write(
        path,
        *(
            frame_text(100 * t, cells[t], wrapped_rows(fractional[t], cells[t]), **options)
            for t in range(len(cells))
        ),
    )


def test_dump_with_images_gives_what_was_written(tmp_path, walk):
    fractional, cells = walk
    trajectory = read(dump(tmp_path / "a.dump", fractional, cells), 2.0)
    np.testing.assert_allclose(trajectory.fractional, fractional, atol=1e-12)
    np.testing.assert_allclose(trajectory.cells, cells, atol=1e-12)
    np.testing.assert_allclose(trajectory.times_ps, np.arange(30) * 0.2)
    assert tuple(trajectory.elements) == ELEMENTS
    np.testing.assert_allclose(trajectory.positions("image"), fractional @ cells, atol=1e-10)
    np.testing.assert_allclose(trajectory.positions(), fractional @ cells.mean(axis=0), atol=1e-10)


@pytest.mark.parametrize("names", ["xu yu zu", "xs ys zs ix iy iz", "xsu ysu zsu", "x y z"])
@pytest.mark.parametrize("label", ["element", "type"])
def test_each_set_of_columns_gives_the_same(tmp_path, walk, names, label):
    fractional, cells = walk
    types = {"Li": 1, "S": 2, "P": 3}
    frames = []
    for t, (s, cell) in enumerate(zip(fractional, cells, strict=True)):
        images = np.floor(s)
        values = {
            "xu yu zu": s @ cell,
            "xsu ysu zsu": s,
            "xs ys zs ix iy iz": np.hstack([s - images, images]),
            "x y z": (s - images) @ cell,
        }[names]
        rows = [
            (
                f"{v[0]:.16g}",
                types[e] if label == "type" else e,
                i + 1,
                *(f"{x:.16g}" for x in v[1:]),
            )
            for i, (v, e) in enumerate(zip(values, ELEMENTS, strict=True))
        ]
        first, *others = names.split()
        frames.append(frame_text(t, cell, rows[::-1], " ".join([first, label, "id", *others])))
    path = write(tmp_path / "b.dump", *frames)
    trajectory = read(path, 1000.0, ("Li", "S", "P"))
    start = trajectory.fractional[0] - fractional[0]
    np.testing.assert_allclose(start, np.rint(start), atol=1e-10)
    np.testing.assert_allclose(trajectory.fractional - start, fractional, atol=1e-10)
    assert tuple(trajectory.elements) == ELEMENTS


def test_general_triclinic_cell(tmp_path):
    cell, origin = SKEW[[1, 2, 0]], np.array([0.5, -1.0, 2.0])
    text = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS abc origin pp pp pp\n"
    for vector, corner in zip(cell, origin, strict=True):
        text += " ".join(f"{v:g}" for v in (*vector, corner)) + "\n"
    x, y, z = origin + np.array([0.1, 0.2, 0.3]) @ cell
    text += f"ITEM: ATOMS id element x y z\n1 Li {x:.16g} {y:.16g} {z:.16g}\n"
    trajectory = read(write(tmp_path / "g.dump", text), 1.0)
    np.testing.assert_allclose(trajectory.fractional[0, 0], [0.1, 0.2, 0.3], atol=1e-12)


def test_flips_of_the_cell_are_undone(tmp_path):
    """A cell sheared through several flips, as LAMMPS does them (Domain::image_flip)."""
    rng = np.random.default_rng(5)
    frames, positions = [], []
    fractional = rng.random((len(ELEMENTS), 3)) * 3 - 1
    for t, tilt in enumerate(np.linspace(0.0, 18.0, 61)):
        fractional = fractional + rng.normal(0, 0.01, fractional.shape)
        smooth = np.array([[8.0, 0, 0], [tilt, 9.0, 0], [0.4 * tilt, 0.7 * tilt, 10.0]])
        positions.append(fractional.copy())
        p = -round(0.7 * tilt / 9.0)
        c = smooth[2] + p * smooth[1]
        m, n = -round(tilt / 8.0), -round(c[0] / 8.0)
        change = np.array([[1, 0, 0], [m, 1, 0], [n, p, 1]])
        flipped = change @ smooth
        assert np.abs(flipped[[1, 2], 0]).max() <= 4.0 + 1e-9
        rows = wrapped_rows(fractional @ np.linalg.inv(change), flipped)
        frames.append(frame_text(t, flipped, rows))
    trajectory = read(write(tmp_path / "f.dump", *frames), 1.0)
    np.testing.assert_allclose(trajectory.fractional, positions, atol=1e-9)
    assert np.abs(np.diff(trajectory.cells, axis=0)).max() < 0.5


SHEARED = """
units metal
boundary p p p
region cell prism 0 12 0 12 0 12 0 0 0
create_box 2 cell
create_atoms 1 random 40 4711 NULL overlap 2.0 maxtry 500
create_atoms 2 random 40 1147 NULL overlap 2.0 maxtry 500
mass 1 6.94
mass 2 32.06
pair_style lj/cut 6.0
pair_coeff * * 0.01 2.2
minimize 0 1e-4 500 5000
velocity all create 900 99
timestep 0.002
compute moved all msd com yes
fix integrate all nvt temp 900 900 0.1
fix shear all deform 1 xy erate 0.35 xz erate 0.25 flip yes remap x
dump frames all custom 50 sheared.dump id type x y z ix iy iz
dump_modify frames format float %.12g sort id
variable msd equal c_moved[4]
variable step equal step
fix record all print 50 "${step} ${msd}" file msd.txt screen no
run 5000
"""


def test_flips_and_images_as_lammps_does_them(tmp_path):
    """A cell that LAMMPS shears through many flips: our ``image`` is its ``compute msd``."""
    lmp = shutil.which("lmp", path=str(Path(sys.executable).parent))
    if lmp is None:
        pytest.skip("no lmp beside this Python")
    (tmp_path / "in.sheared").write_text(SHEARED)
    subprocess.run(
        [lmp, "-in", "in.sheared", "-log", "none", "-screen", "none"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    trajectory = read(tmp_path / "sheared.dump", 2.0, ("Li", "S"))
    assert trajectory.cells[-1, 1, 0] > 24.0  # several flips of a 12 Å cell
    recorded = np.loadtxt(tmp_path / "msd.txt")[:, 1]
    # ASE's masses of Li and S differ from the script's in the fourth digit.
    masses = np.where(trajectory.elements == "Li", 6.94, 32.06)
    positions = trajectory.positions("image")
    positions -= np.einsum("a,tad->td", masses / masses.sum(), positions)[:, None]
    ours = np.square(positions - positions[0]).sum(axis=2).mean(axis=1)
    # compute msd unwraps with the cell of the step; its reference is the first step of the run.
    np.testing.assert_allclose(ours[: len(recorded)], recorded, rtol=1e-5, atol=1e-6)


def test_cell_that_jumps_is_refused():
    with pytest.raises(UsageError, match="no small strain"):
        undo_flips(np.array([SKEW, SKEW * 2.6]))
    with pytest.raises(UsageError, match="no periodic cell"):
        undo_flips(np.zeros((2, 3, 3)))


def test_killed_and_resumed(tmp_path, walk, caplog):
    """Repeated steps: the last wins; out of order: sorted; cut short: dropped and said."""
    fractional, cells = walk

    def text(t, shift=0.0):
        return frame_text(100 * t, cells[t], wrapped_rows(fractional[t] + shift, cells[t]))

    path = write(
        tmp_path / "r.dump",
        *(text(t) for t in range(3)),
        text(3, shift=0.3),
        text(4)[:-25],
        text(3),
        text(6),
        text(4),
        text(5),
        text(7)[:-3],
    )
    with caplog.at_level(logging.WARNING):
        trajectory = read(path, 1.0)
    np.testing.assert_allclose(trajectory.fractional, fractional[:7], atol=1e-12)
    np.testing.assert_allclose(trajectory.times_ps, np.arange(7) * 0.1)
    assert caplog.text.count("cut short") == 2


def test_items_of_units_and_time_are_passed_over(tmp_path, walk):
    fractional, cells = walk
    path = dump(tmp_path / "t.dump", fractional, cells, item="ITEM: TIME\n0.5\n")
    text = path.read_text()
    path.write_text(text.removeprefix("ITEM: TIME\n0.5\n"))
    np.testing.assert_allclose(read(path, 1.0).fractional, fractional, atol=1e-12)


def test_reset_image_flags_are_told(tmp_path, walk, caplog):
    fractional, cells = walk
    fractional = fractional.copy()
    fractional[15:] -= 1.0
    with caplog.at_level(logging.WARNING):
        read(dump(tmp_path / "i.dump", fractional, cells), 1.0)
    assert "image flags reset" in caplog.text
    assert "1400 and 1500" in caplog.text


@pytest.mark.parametrize(
    ("name", "file_format"), [("a.extxyz", "extxyz"), ("XDATCAR", "vasp-xdatcar")]
)
def test_extxyz_and_xdatcar(tmp_path, walk, name, file_format):
    fractional, cells = walk
    frames = [
        ase.Atoms(ELEMENTS, cell=cell, scaled_positions=s % 1.0, pbc=True)
        for s, cell in zip(fractional, cells, strict=True)
    ]
    ase.io.write(tmp_path / name, frames, format=file_format)
    trajectory = read(tmp_path / name, 2.0)
    since = trajectory.fractional - trajectory.fractional[0]
    np.testing.assert_allclose(since, fractional - fractional[0], atol=1e-7)
    np.testing.assert_allclose(trajectory.times_ps, np.arange(30) * 0.002)


def test_frames_are_spread_over_the_run():
    times = np.arange(250.0)
    cells = np.broadcast_to(np.eye(3), (250, 3, 3))
    positions = np.broadcast_to(times[:, None, None], (250, 1, 3))
    run = Trajectory(positions, cells, np.zeros((250, 3)), times, np.array(["Li"]))
    chosen = run.spread()
    assert chosen.n_frames == 100
    assert chosen.times_ps[[0, -1]].tolist() == [0.0, 249.0]
    assert set(np.diff(chosen.times_ps)) == {2.0, 3.0}
    assert chosen.fractional[:, 0, 0].tolist() == chosen.times_ps.tolist()
    assert run.spread(250) is run


def test_missing_frames_lie_on_the_grid():
    times = np.array([0.0, 0.1, 0.2, 0.5, 0.6])
    shape = (5, 1, 3)
    cells = np.tile(np.eye(3), (5, 1, 1))
    trajectory = Trajectory(np.zeros(shape), cells, np.zeros((5, 3)), times, np.array(["Li"]))
    spacing, index = trajectory.grid()
    assert spacing == pytest.approx(0.1)
    assert index.tolist() == [0, 1, 2, 5, 6]
    assert trajectory.after(0.2).n_frames == 3
    with pytest.raises(UsageError, match="two or more are needed"):
        trajectory.after(0.6)


ONE_LINE = {
    "other atoms": lambda: (
        frame_text(0, SKEW, wrapped_rows(np.zeros((4, 3)), SKEW))
        + frame_text(1, SKEW, wrapped_rows(np.zeros((3, 3)), SKEW, ELEMENTS[:3]))
    ),
    "other atoms or elements": lambda: (
        frame_text(0, SKEW, wrapped_rows(np.zeros((4, 3)), SKEW))
        + frame_text(1, SKEW, wrapped_rows(np.zeros((4, 3)), SKEW, ELEMENTS[::-1]))
    ),
    "--elements": lambda: frame_text(
        0, SKEW, wrapped_rows(np.zeros((4, 3)), SKEW, (1, 1, 2, 3)), "id type x y z ix iy iz"
    ),
    "'Xx' is no element": lambda: frame_text(
        0, SKEW, wrapped_rows(np.zeros((1, 3)), SKEW, ("Xx",))
    ),
    "expected id, element or type": lambda: frame_text(0, SKEW, [(1, 2, 3)], "id vx vy"),
    "periodic": lambda: frame_text(0, SKEW, wrapped_rows(np.zeros((4, 3)), SKEW)).replace(
        "pp pp pp", "pp pp ff"
    ),
    "no whole frame": lambda: "ITEM: TIMESTEP\n0\nITEM: NUM",
    "damaged": lambda: frame_text(0, SKEW, [(1, "Li", "0.1.2", 0, 0, 0, 0, 0)]),
    "blew up": lambda: frame_text(0, SKEW, [(1, "Li", "nan", 0, 0, 0, 0, 0)]),
    "not a trajectory": lambda: "LAMMPS data file\n",
}


@pytest.mark.parametrize("expected", ONE_LINE)
def test_bad_dumps_end_in_one_line(tmp_path, expected):
    path = write(tmp_path / "bad.dump", ONE_LINE[expected]())
    wanted = "fixed set of atoms" if expected == "other atoms" else expected
    with pytest.raises(UsageError, match=wanted) as error:
        read(path, 1.0)
    assert "\n" not in str(error.value)


def test_bad_files_end_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "none", 1.0)
    path = write(tmp_path / "a.dump", ONE_LINE["damaged"]())
    with pytest.raises(UsageError, match="--timestep"):
        read(path, None)
    ase.io.write(tmp_path / "a.extxyz", [ase.Atoms("Li2"), ase.Atoms("Li3")])
    with pytest.raises(UsageError, match="other atoms"):
        read(tmp_path / "a.extxyz", 1.0)
    ase.io.write(tmp_path / "b.extxyz", [ase.Atoms("Li2", positions=np.eye(3)[:2])] * 2)
    with pytest.raises(UsageError, match="no periodic cell"):
        read(tmp_path / "b.extxyz", 1.0)
    slab = ase.Atoms("Li2", positions=np.eye(3)[:2], cell=[9, 9, 9], pbc=(True, True, False))
    ase.io.write(tmp_path / "slab.extxyz", [slab, slab])
    with pytest.raises(UsageError, match="frame 0: periodic in 'T T F': expected all three"):
        read(str(tmp_path / "slab.extxyz"), 1.0)
    with pytest.raises(UsageError, match="periodic in 'T T F'"):
        of_atoms(slab)
    write(tmp_path / "XDATCAR", "nothing\n")
    with pytest.raises(UsageError, match="no frames"):
        read(tmp_path / "XDATCAR", 1.0)
    write(tmp_path / "c.extxyz", "2\nnothing\nLi 0 0\n")
    with pytest.raises(UsageError, match="not extxyz") as error:
        read(tmp_path / "c.extxyz", 1.0)
    assert "\n" not in str(error.value)
