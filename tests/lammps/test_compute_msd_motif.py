"""compute msd/motif against LAMMPS' compute msd, a NumPy oracle on dumps, and walkers by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

N_CLASSES, N_COLUMNS = 13, 7
HALIDE, NONE = 12, 13
BIN = Path(sys.executable).parent
MASSES = np.array([6.94, 10.81, 30.97376, 32.06, 126.90447])

# A liquid of Lennard-Jones atoms whose B-S and P-S contacts are bonds: units form and break often.
LIQUID = """
mass 1 6.94
mass 2 10.81
mass 3 30.97376
mass 4 32.06
mass 5 126.90447
pair_style lj/cut 5.0
pair_coeff * * 0.03 3.0
pair_coeff 3 4 0.6 1.85
pair_coeff 2 4 0.6 1.65
pair_coeff 1 4 0.15 2.3
pair_coeff 1 5 0.15 2.6
pair_coeff 3 3 0.3 2.0
comm_modify cutoff 9.5
timestep 0.002
"""
MOTIF = "compute m all motif elements Li B P S I\n"
LITHIUM = "group lithium type 1\n"
TILTED = """
change_box all triclinic
change_box all xy final 6.0 xz final -3.0 yz final 2.0 remap
"""
BAROSTAT = "fix i all npt temp 900 900 0.1 {} 20000 20000 0.3"
# A liquid flows under shear stress: the box flips again and again while its lengths move too.
SHEAR = (
    "fix i all npt temp 900 900 0.1 x 2e4 2e4 0.3 y 2e4 2e4 0.3 z 2e4 2e4 0.3 "
    "xy -1e5 -1e5 0.1 xz 5e4 5e4 0.1 yz 0 0 0.3 flip yes\n"
)


@pytest.fixture(scope="session")
def liquids(cell: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Data files of the melt, by whether the box is tilted."""
    folder = tmp_path_factory.mktemp("liquids")
    deck = ""
    for tilted in (False, True):
        deck += (
            f"clear\nunits metal\nread_data {cell}\n{TILTED if tilted else ''}{LIQUID}"
            "minimize 0 1e-3 100 1000\nreset_timestep 0\nvelocity all create 1800 4711\n"
            f"fix i all nve\nrun 50\nwrite_data tilted-{tilted}.data nocoeff\n"
        )
    (folder / "in.liquids").write_text(deck)
    subprocess.run(
        [BIN / "lmp", "-in", "in.liquids", "-log", "none", "-screen", "none"],
        cwd=folder,
        check=True,
        timeout=60,
    )
    return {tilted: folder / f"tilted-{tilted}.data" for tilted in (False, True)}


def start(data: Path) -> str:
    return f"units metal\natom_modify map array\nread_data {data}\n{LIQUID}{LITHIUM}{MOTIF}"


def table(name: str, every: int, compute: str = "d") -> str:
    """Record rows of a compute at full precision."""
    return (
        f"fix {name} all ave/time {every} 1 {every} c_{compute}[*] mode vector "
        f'format " %.17g" file {name}.txt\n'
    )


def frames_of(every: int, compute: str = "d", file: str = "d.dump") -> str:
    return (
        f"dump {file} all custom {every} {file} id type x y z ix iy iz c_m[5] "
        f"{' '.join(f'c_{compute}[{k}]' for k in range(1, 5))}\n"
        f"dump_modify {file} format float %.17g sort id\n"
    )


def read_tables(path: Path) -> dict[int, np.ndarray]:
    """Blocks of fix ave/time by step."""
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    blocks: dict[int, np.ndarray] = {}
    while lines:
        step, n = int(lines[0][0]), int(lines[0][1])
        blocks[step] = np.array([row[1:] for row in lines[1 : n + 1]], dtype=float)
        lines = lines[n + 1 :]
    return blocks


@dataclass
class Frame:
    step: int
    cell: np.ndarray
    low: np.ndarray
    ids: np.ndarray
    types: np.ndarray
    unwrapped: np.ndarray  # Å
    classes: np.ndarray
    written: np.ndarray  # per-atom columns of the compute


def read_frames(path: Path) -> Iterator[Frame]:
    blocks = path.read_text().split("ITEM: TIMESTEP\n")[1:]
    for block in blocks:
        lines = block.splitlines()
        bounds = np.array([line.split() for line in lines[4:7]], dtype=float)
        xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
        low = bounds[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
        high = bounds[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0]
        length = high - low
        cell = np.array([[length[0], 0, 0], [xy, length[1], 0], [xz, yz, length[2]]])
        rows = np.array([line.split() for line in lines[8:]], dtype=float)
        yield Frame(
            int(lines[0]),
            cell,
            low,
            rows[:, 0].astype(int),
            rows[:, 1].astype(int),
            rows[:, 2:5] + rows[:, 5:8] @ cell,
            np.where(rows[:, 8] == 0, NONE, rows[:, 8]).astype(int),
            rows[:, 9:],
        )


def nearest_tilts(cell: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The cell whose tilts are nearest to those before: c moves by whole b and a, b by whole a."""
    a, b, c = cell.copy()
    b += np.rint((before[1, 0] - b[0]) / a[0]) * a
    c += np.rint((before[2, 1] - c[1]) / b[1]) * b
    c += np.rint((before[2, 0] - c[0]) / a[0]) * a
    return np.array([a, b, c])


class Oracle:
    """Definitions of DESIGN, atom by atom: what an evaluation of each frame must give."""

    def __init__(self, members, com="all", unwrap="fractional", renew=0, periodic=(1, 1, 1)):
        self.members, self.com, self.unwrap, self.renew = members, com, unwrap, renew
        self.periodic = np.array(periodic, dtype=bool)
        self.origin, self.age_of = {}, None
        self.cells, self.next = [], None
        self.continuous = None

    def coordinates(self, frame):
        if self.unwrap == "image":
            return frame.unwrapped
        cell = np.where(self.periodic[:, None], frame.cell, np.eye(3))
        self.continuous = nearest_tilts(cell, cell if self.continuous is None else self.continuous)
        return (frame.unwrapped - frame.low * self.periodic) @ np.linalg.inv(self.continuous)

    def evaluate(self, frame):
        """Array (13, 7) and, by id, class and displacement."""
        where = self.coordinates(frame)
        mine = self.members(frame)
        weights = MASSES[frame.types - 1]
        if self.com != "none":
            chosen = np.ones(len(weights), bool) if self.com == "all" else mine
            where = where - np.average(where[chosen], axis=0, weights=weights[chosen])
        if self.next is not None:
            self.origin, self.cells, self.age_of = self.next
            self.next = None
        if self.age_of is None:
            self.age_of = frame.step
        # an id may be given again once its atom is gone
        self.origin = {i: known for i, known in self.origin.items() if i in set(frame.ids)}
        self.cells.append(np.eye(3) if self.unwrap == "image" else self.continuous)
        mean = np.mean(self.cells, axis=0)
        rows = {}
        for i in np.flatnonzero(mine):
            known = self.origin.setdefault(frame.ids[i], [where[i], frame.classes[i], True])
            known[2] = known[2] and known[1] == frame.classes[i]
            rows[frame.ids[i]] = (known[1], (where[i] - known[0]) @ mean, known[2])
        if self.renew and frame.step - self.age_of >= self.renew:
            fresh = {frame.ids[i]: [where[i], frame.classes[i], True] for i in np.flatnonzero(mine)}
            self.next = (fresh, self.cells[-1:], frame.step)
        return tabulate(rows.values()), rows


def tabulate(rows):
    """Columns of the array from (class, displacement, survives) of atoms."""
    result = np.zeros((N_CLASSES, N_COLUMNS))
    for code in range(1, N_CLASSES + 1):
        squares = np.array([d**2 for cls, d, _ in rows if cls == code])
        kept = np.array([d @ d for cls, d, holds in rows if cls == code and holds])
        result[code - 1, 0], result[code - 1, 5] = len(squares), len(kept)
        if len(squares):
            result[code - 1, 1:5] = squares.sum(axis=1).mean(), *squares.mean(axis=0)
        if len(kept):
            result[code - 1, 6] = kept.mean()
    return result


def lithium(frame):
    return frame.types == 1


def check_frames(frames, oracle, written=True):
    """Tables by step that the oracle gives, once the atoms' columns are what it says."""
    tables = {}
    for frame in frames:
        tables[frame.step], rows = oracle.evaluate(frame)
        atoms = np.zeros((len(frame.ids), 4))
        for i, number in enumerate(frame.ids):
            if number in rows:
                atoms[i] = [rows[number][0], *rows[number][1]]
        if written:
            np.testing.assert_allclose(frame.written, atoms, rtol=1e-9, atol=1e-9)
    return tables


def check_tables(tables, expected):
    assert tables.keys() == expected.keys()
    for step, rows in expected.items():
        np.testing.assert_allclose(tables[step], rows, rtol=1e-9, atol=1e-9, err_msg=str(step))


def mean_over_classes(rows):
    return (rows[:, 0] @ rows[:, 1]) / rows[:, 0].sum()


OUTPUT = "thermo_style custom step xy c_d[8][2]\nthermo 5\nthermo_modify format float %.12g\n"
VARIANTS = {
    "d": ("", {}),
    "g": ("com group unwrap image", {"com": "group", "unwrap": "image"}),
    "n": ("com none renew 15", {"com": "none", "renew": 15}),
    "a": ("com all unwrap image renew 7", {"unwrap": "image", "renew": 7}),
}


def recorded(tag="", every=5):
    """All variants and LAMMPS' own compute; n and d are read twice at each step."""
    lines = [
        f"compute {name} lithium msd/motif m {words}\n" for name, (words, _) in VARIANTS.items()
    ]
    lines += [table(f"{tag}{name}", every, name) for name in VARIANTS]
    lines += ["compute r lithium msd com yes\n", table(f"{tag}r", every, "r").replace("[*]", "")]
    return "".join(lines) + frames_of(every, "n", f"{tag}d.dump") + OUTPUT


def thermo(output):
    """Rows of the thermodynamic output."""
    rows = output.partition("Step ")[2].partition("Loop time")[0]
    return rows.splitlines()[1:]


def check_against_lammps(folder, tag=""):
    theirs = read_tables(folder / f"{tag}r.txt")
    ours = read_tables(folder / f"{tag}g.txt")
    assert ours.keys() == theirs.keys()
    for step, rows in ours.items():
        expected = theirs[step][:, 0]
        assert rows[:, 0].sum() == 42  # every Li is in one row
        assert (rows[:, 0] @ rows[:, 1]) / 42 == pytest.approx(expected[3], rel=1e-10, abs=1e-10)
        parts = rows[:, 0] @ rows[:, 2:5] / 42
        np.testing.assert_allclose(parts, expected[:3], rtol=1e-10, atol=1e-10)
    return ours


def check_against_oracle(folder, oracles, tag="", skip=0):
    """Each variant at each frame but the first `skip`; oracles go on from where they are."""
    frames = list(read_frames(folder / f"{tag}d.dump"))[skip:]
    for name, oracle in oracles.items():
        tables = read_tables(folder / f"{tag}{name}.txt")
        steps = [frame.step for frame in frames]
        assert list(tables)[skip:] == steps
        expected = check_frames(frames, oracle, written=name == "n")
        check_tables({step: tables[step] for step in steps}, expected)


def new_oracles():
    return {name: Oracle(lithium, **options) for name, (_, options) in VARIANTS.items()}


@pytest.mark.parametrize(
    ("ranks", "tilted", "motion", "runs", "every"),
    [
        (1, False, BAROSTAT.format("aniso"), (0, 0, 100, 200), 1),
        (1, True, SHEAR, (60,), 1),
        (2, False, BAROSTAT.format("aniso"), (20,), 1),
        (2, True, BAROSTAT.format("tri"), (20,), 1),
        (4, False, BAROSTAT.format("aniso"), (16,), 1),
        (4, True, BAROSTAT.format("tri"), (16,), 1),
        (4, True, SHEAR, (40,), 5),
    ],
    ids=["1-aniso", "1-flips", "2-aniso", "2-tri", "4-aniso", "4-tri", "4-flips"],
)
def test_against_lammps_and_oracle(tmp_path, lmp, liquids, ranks, tilted, motion, runs, every):
    deck = start(liquids[tilted]) + recorded(every=every) + f"{motion}\n"
    result = lmp(deck + "".join(f"run {n}\n" for n in runs), ranks=ranks)
    assert result.returncode == 0, result.stdout[-2000:]
    tables = check_against_lammps(tmp_path)
    assert len(tables) == sum(runs) // every + 1
    check_against_oracle(tmp_path, new_oracles())
    last = tables[sum(runs)]
    assert last[:, 1].max() > 0.1
    assert (last[:, 0] > 0).sum() >= 3  # several classes
    assert 0 < last[:, 5].sum() < 42  # some survive
    if motion == SHEAR:
        cells = np.array([frame.cell for frame in read_frames(tmp_path / "d.dump")])
        assert np.abs(np.diff(cells, axis=0)).max() > 5.0  # the box flips


@pytest.mark.parametrize("ranks", [1, 4])
def test_goes_on_after_a_restart(tmp_path, lmp, liquids, ranks):
    """Written on two ranks, amid flips; origins, classes, survivors and mean cells go on."""
    first = lmp(
        start(liquids[True]) + recorded() + SHEAR + "run 35\nwrite_restart liquid.restart\n",
        ranks=2,
    )
    assert first.returncode == 0, first.stdout[-2000:]
    second = lmp(
        f"units metal\natom_modify map array\nread_restart liquid.restart\n{LIQUID}{LITHIUM}"
        f"{MOTIF}{recorded('second_')}{SHEAR}run 25\n",
        ranks=ranks,
    )
    assert second.returncode == 0, second.stdout[-2000:]
    check_against_lammps(tmp_path)
    check_against_lammps(tmp_path, "second_")
    oracles = new_oracles()
    check_against_oracle(tmp_path, oracles)
    check_against_oracle(tmp_path, oracles, "second_", skip=1)
    # the last step before is the first after, and must not count twice
    for name in VARIANTS:
        before = read_tables(tmp_path / f"{name}.txt")[35]
        after = read_tables(tmp_path / f"second_{name}.txt")[35]
        np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-10)


def replay(frames, types, lines, *, box_lines=""):
    """A deck that reads frames (step, cell, unwrapped positions) as if they were being run."""
    _, cell, positions = frames[0]
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell

    def rows(cell, positions):
        images = np.floor(positions @ np.linalg.inv(cell) + 1e-9).astype(int)
        wrapped = positions - images @ cell
        return [
            f"{i} {kind} {x:.17g} {y:.17g} {z:.17g} {a} {b} {c}"
            for i, (kind, (x, y, z), (a, b, c)) in enumerate(
                zip(types, wrapped, images, strict=True), start=1
            )
        ]

    data = (
        f"made by hand\n\n{len(types)} atoms\n5 atom types\n\n0 {lx:.17g} xlo xhi\n"
        f"0 {ly:.17g} ylo yhi\n0 {lz:.17g} zlo zhi\n{xy:.17g} {xz:.17g} {yz:.17g} xy xz yz\n\n"
        "Atoms # atomic\n\n" + "\n".join(rows(cell, positions)) + "\n"
    )
    dump = ""
    for step, cell, positions in frames:
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
        low = min(0, xy, xz, xy + xz), min(0, yz), 0
        high = lx + max(0, xy, xz, xy + xz), ly + max(0, yz), lz
        bounds = "\n".join(
            f"{a:.17g} {b:.17g} {t:.17g}" for a, b, t in zip(low, high, (xy, xz, yz), strict=True)
        )
        dump += (
            f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(types)}\n"
            f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n{bounds}\n"
            "ITEM: ATOMS id type x y z ix iy iz\n" + "\n".join(rows(cell, positions)) + "\n"
        )
    deck = (
        "units metal\natom_modify map array\nbox tilt large\nread_data replay.data\n"
        "pair_style zero 5.0\npair_coeff * *\ncomm_modify cutoff 9.5\n"
        "mass 1 6.94\nmass 2 10.81\nmass 3 30.97376\nmass 4 32.06\nmass 5 126.90447\n"
        f"{LITHIUM}{MOTIF}{lines}thermo 1\nrerun replay.dump dump x y z ix iy iz box yes\n"
    )
    return data, dump, deck


def replayed(folder, lmp, frames, types, lines, ranks=1):
    data, dump, deck = replay(frames, types, lines)
    (folder / "replay.data").write_text(data)
    (folder / "replay.dump").write_text(dump)
    result = lmp(deck, ranks=ranks)
    assert result.returncode == 0, result.stdout[-2000:]
    return result


TETRAHEDRON = 2.05 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


@pytest.mark.parametrize("ranks", [1, 2])
def test_walkers_of_known_d_in_a_breathing_box(tmp_path, lmp, ranks):
    """Fractional steps are known: displacements are exact, D in its interval; `image` fails."""
    rng = np.random.default_rng(17)
    walkers, steps, step_fraction = 300, 40, 0.05
    smooth, cells, changes = [], [], []
    for t in range(steps):
        tilt = 6.0 + 0.4 * t  # flips at 10
        cell = np.array([[20.0, 0, 0], [tilt, 21.0, 0], [-2.0, 3.0, 19.0]])
        cell *= 1 + 0.03 * np.sin(1.7 * t)
        change = np.array([[1, 0, 0], [-np.rint(cell[1, 0] / cell[0, 0]), 1, 0], [0, 0, 1]])
        smooth.append(cell)
        changes.append(change)
        cells.append(change @ cell)
    jumps = rng.normal(0, step_fraction, (steps, walkers, 3))
    jumps[0] = rng.integers(-150, 150, (walkers, 3)) + rng.random((walkers, 3))
    fractional = np.cumsum(jumps, axis=0)
    former = [0.5, 0.5, 0.5]
    frames = []
    for t in range(steps):
        unit = np.vstack([[0, 0, 0], TETRAHEDRON]) + former @ smooth[t]
        frames.append((10 * t, cells[t], np.vstack([fractional[t] @ smooth[t], unit])))
    lines = "".join(
        f"compute {name} lithium msd/motif m com none unwrap {mode}\n{table(name, 10, name)}"
        for name, mode in (("d", "fractional"), ("i", "image"))
    )
    replayed(tmp_path, lmp, frames, [1] * walkers + [3] + [4] * 4, lines + frames_of(10), ranks)

    tables = read_tables(tmp_path / "d.txt")
    seen = list(read_frames(tmp_path / "d.dump"))
    assert len(seen) == len(tables) == steps
    for t, frame in enumerate(seen):
        mean_cell = np.mean(smooth[: t + 1], axis=0)
        expected = (fractional[t] - fractional[0]) @ mean_cell
        np.testing.assert_allclose(frame.written[:walkers, 1:], expected, rtol=0, atol=1e-8)
        np.testing.assert_array_equal(frame.written[walkers:], 0.0)
        total = tables[10 * t][:, 0] @ tables[10 * t][:, 1] / walkers
        assert total == pytest.approx((expected**2).sum(axis=1).mean(), rel=1e-9, abs=1e-9)

    # 6 D t is the trace of the covariance C of Gaussian walks, whose squares have variance 2 tr C^2
    covariance = (steps - 1) * step_fraction**2 * (mean_cell.T @ mean_cell)
    known = np.trace(covariance)
    error = np.sqrt(2.0 * np.trace(covariance @ covariance) / walkers)
    last = tables[10 * (steps - 1)]
    measured = last[:, 0] @ last[:, 1] / walkers
    assert abs(measured - known) < 4 * error
    image = read_tables(tmp_path / "i.txt")[10 * (steps - 1)]
    assert image[:, 0] @ image[:, 1] / walkers - known > 20 * error


A, B, C = 0, 1, 2


@pytest.mark.parametrize("ranks", [1, 4])
def test_classes_survivors_and_renewal_by_hand(tmp_path, lmp, ranks):
    """Three Li: beside PS4, beside iodide, alone. Most ranks hold no atom, one compute no Li."""
    phosphorus, iodide = np.array([10.0, 10, 10]), np.array([30.0, 30, 30])
    home = np.array(
        [phosphorus + np.array([3.5, 0, 0]), iodide + np.array([2.8, 0, 0]), [30.0, 10, 10]]
    )
    rest = np.vstack([phosphorus, phosphorus + TETRAHEDRON, iodide])
    near_iodide = iodide + np.array([0, 2.8, 0])
    a = [home[A], home[A] + [1, 0, 0], near_iodide, home[A] + [0.5, 0, 0], home[A]]
    frames = []
    for t, position in enumerate(a):
        lithiums = home.copy()
        lithiums[A] = position
        lithiums[C, 1] += 0.1 * t
        frames.append((10 * t, 40 * np.eye(3), np.vstack([lithiums, rest])))
    lines = (
        "compute d lithium msd/motif m com none\n"
        "compute n lithium msd/motif m com none renew 20\n"
        "group nobody empty\ncompute e nobody msd/motif m com group\n"
        + "".join(table(name, 10, name) for name in "dne")
    )
    replayed(tmp_path, lmp, frames, [1, 1, 1, 3, 4, 4, 4, 4, 5], lines, ranks)

    def rows(**moved):
        """Rows that hold atoms: (count, x, y, z squares, survivors, their MSD)."""
        full = np.zeros((N_CLASSES, N_COLUMNS))
        for name, (count, square, survivors, kept) in moved.items():
            full[{"ps4": 7, "halide": 11, "none": 12}[name]] = [
                count,
                sum(square),
                *square,
                survivors,
                kept,
            ]
        return full

    away = (near_iodide - home[A]) ** 2
    still = (1, (0, 0, 0), 1, 0)

    def alone(t):
        return (1, (0, (0.1 * t) ** 2, 0), 1, (0.1 * t) ** 2)

    expected = {
        0: rows(ps4=still, halide=still, none=still),
        10: rows(ps4=(1, (1, 0, 0), 1, 1), halide=still, none=alone(1)),
        20: rows(ps4=(1, away, 0, 0), halide=still, none=alone(2)),
    }
    kept_origin = {
        30: rows(ps4=(1, (0.25, 0, 0), 0, 0), halide=still, none=alone(3)),
        40: rows(ps4=(1, (0, 0, 0), 0, 0), halide=still, none=alone(4)),
    }
    back = (home[A] + [0.5, 0, 0] - near_iodide) ** 2
    renewed = {
        30: rows(halide=(2, back / 2, 1, 0), none=alone(1)),
        40: rows(halide=(2, away / 2, 1, 0), none=alone(2)),
    }
    check_tables(read_tables(tmp_path / "d.txt"), expected | kept_origin)
    check_tables(read_tables(tmp_path / "n.txt"), expected | renewed)
    empty = read_tables(tmp_path / "e.txt")
    assert len(empty) == 5
    assert not any(table.any() for table in empty.values())


def test_an_origin_keeps_its_age_through_reset_timestep(tmp_path, lmp, liquids):
    """The same run in two parts, with steps numbered anew between them or not."""
    deck = start(liquids[False]) + (
        "compute d lithium msd/motif m renew 40\nfix i all nve\nthermo 10\n"
        "thermo_style custom step c_d[10][1] c_d[10][2] c_d[13][1] c_d[13][2] c_d[13][6]\n"
        "thermo_modify format float %.17g\nrun 30\n{}run 60\n"
    )
    blocks = []
    for between in ("", "reset_timestep 0\n"):
        result = lmp(deck.replace("{}", between))
        assert result.returncode == 0, result.stdout[-2000:]
        second = result.stdout.split("Step ")[2].partition("Loop time")[0]
        blocks.append([line.split()[1:] for line in second.splitlines()[1:]])
    kept, renumbered = np.array(blocks, dtype=float)
    assert len(kept) == 7
    np.testing.assert_allclose(renumbered, kept, rtol=1e-9)
    assert kept[2, 1] < kept[1, 1]  # renewed at step 40


def test_minimise_first(tmp_path, lmp, liquids):
    deck = start(liquids[False]) + (
        f"compute d lithium msd/motif m\n{frames_of(5)}{OUTPUT}"
        "minimize 0 0 20 100\nfix i all nve\nrun 20\n"
    )
    result = lmp(deck)
    assert result.returncode == 0, result.stdout[-2000:]
    frames = list(read_frames(tmp_path / "d.dump"))
    assert [frame.step for frame in frames] == list(range(0, 41, 5))
    check_frames(frames, Oracle(lithium))
    assert np.abs(frames[4].written[:, 1:]).max() > 0.01  # minimisation moves atoms


def test_atoms_come_and_go(tmp_path, lmp, liquids):
    """An open box loses atoms, others are made: origins where first seen, means over the rest."""
    deck = start(liquids[False]) + (
        "change_box all boundary p p f\nthermo_modify lost ignore flush yes\n"
        f"compute d all msd/motif m\n{table('d', 5)}{frames_of(5)}thermo 5\n"
        "group fast id 1 2 3\nvelocity fast set 0 0 400\nfix i all nve/limit 0.4\n"
        "run 100\ncreate_atoms 1 single 3 4 5\ncreate_atoms 4 single 8 8 8\nrun 50\n"
    )
    result = lmp(deck, ranks=2)
    assert result.returncode == 0, result.stdout[-2000:]
    frames = list(read_frames(tmp_path / "d.dump"))
    oracle = Oracle(lambda frame: np.ones(len(frame.ids), bool), periodic=(1, 1, 0))
    check_tables(read_tables(tmp_path / "d.txt"), check_frames(frames, oracle))
    left = len(frames[20].ids)
    assert left < 136
    assert set(frames[21].ids) - set(frames[20].ids)


def first_line_of_error(result):
    assert result.returncode != 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1, result.stdout[-1000:]
    return lines[0]


BOX = (
    "units metal\nregion r block 0 20 0 20 0 20\ncreate_box 5 r\nmass * 1.0\n"
    "compute m all motif elements Li B P S I\ncompute p all pe\n"
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("all msd/motif", "the ID of a compute motif was expected"),
        ("all msd/motif x", "x is no compute; expected the ID of a compute motif"),
        ("all msd/motif p", "p is a compute pe; expected the ID of a compute motif"),
        ("all msd/motif m con all", "unknown keyword con; use com, unwrap or renew"),
        ("all msd/motif m com lithium", "com lithium; expected all, group or none"),
        ("all msd/motif m unwrap", "unwrap has no value; expected fractional or image"),
        ("all msd/motif m renew 0", "renew 0; expected a number of steps, at least 1"),
        ("all msd/motif m renew 1.5", "renew 1.5; expected a number of steps, at least 1"),
        ("moving msd/motif m", "group moving is dynamic; use a static group"),
    ],
)
def test_bad_words_end_in_one_line(lmp, words, expected):
    dynamic = "group moving dynamic all region r\n" if "moving" in words else ""
    assert expected in first_line_of_error(lmp(f"{BOX}{dynamic}compute d {words}\n"))


def test_masses_are_needed_for_a_centre_of_mass(lmp):
    deck = BOX.replace("mass * 1.0\n", "") + "compute d all msd/motif m com {}\n"
    assert "mass" in first_line_of_error(lmp(deck.format("all")))
    assert lmp(deck.format("none")).returncode == 0


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            f"{OUTPUT}run 0\nchange_box all x scale 2.6 y scale 2.6 remap\nrun 0\n",
            "no small strain of the one at the evaluation before; evaluate more often",
        ),
        ("run 0\nuncompute m\nrun 0\n", "m is no compute"),
        ("run 0\nuncompute m\nprint $(c_d[8][2])\n", "m is no compute"),
        (f"run 0\nuncompute m\n{MOTIF}print $(c_d[8][2])\n", "newer than the last run"),
        ("run 0\nunfix d_reference\nrun 0\n", "its fix d_reference is gone"),
        (
            f"{frames_of(1)}run 0\ncreate_atoms 1 random 20000 3 NULL\nprint $(c_d[8][2])\n",
            "neighbors out of date; use run 0 before",
        ),
    ],
)
def test_a_compute_that_cannot_go_on_says_so(lmp, liquids, lines, expected):
    deck = start(liquids[False]) + "compute d lithium msd/motif m\n" + lines
    assert expected in first_line_of_error(lmp(deck))


def test_a_restart_with_other_words_is_refused(tmp_path, lmp, liquids):
    first = lmp(
        start(liquids[False]) + "compute d lithium msd/motif m\nrun 0\nwrite_restart o.restart\n"
    )
    assert first.returncode == 0, first.stdout[-2000:]
    again = (
        f"units metal\natom_modify map array\nread_restart o.restart\n{LIQUID}{LITHIUM}{MOTIF}"
        "compute d "
    )
    for words, expected in {
        "lithium msd/motif m com none": "has com all and the input none; give the same, or",
        "lithium msd/motif m unwrap image": "has unwrap fractional and the input image",
        "all msd/motif m": "has group lithium and the input all",
    }.items():
        assert expected in first_line_of_error(lmp(again + words + "\n"))
    assert lmp(again + "lithium msd/motif m renew 5\nrun 0\n").returncode == 0
