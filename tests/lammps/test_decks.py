"""The decks by hand, as ``lmp -in lammps_inputs/quench.in -var …``, without the driver's Python."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lbpsi_driver import engine, parallel

ROOT = Path(__file__).parents[2]
DECKS = ROOT / "lammps_inputs"
DATA = Path(__file__).parents[1] / "data"
CELL = DATA / "lj.data"

NEEDED = {"data": CELL, "elements": "Li S", "potential": DATA / "lj.in"}
QUICK = {"rate": 3000, "hold": 0.1, "equilibrate": 0.1, "warm": 0.1}


def lmp(deck: Path | str, variables: dict, cwd: Path, ranks: int = 0):
    launcher = parallel.mpiexec()
    words = [str(launcher), "-n", str(ranks)] if ranks else []
    words += [str(launcher.parent / "lmp"), "-in", str(deck)]
    for name, value in variables.items():
        words += ["-var", name, str(value)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60)


def by_hand(deck: str, cwd: Path, ranks: int = 0, **variables):
    return lmp(DECKS / deck, {"decks": DECKS, **NEEDED, **variables}, cwd, ranks)


def steps(folder: Path) -> list[int]:
    rows = (folder / "history.dat").read_text().splitlines()
    return [int(row.split()[0]) for row in rows if not row.startswith("#")]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 2])
def test_quench(tmp_path, ranks):
    done = by_hand("quench.in", tmp_path, ranks, **QUICK)
    assert done.returncode == 0, done.stdout[-800:]
    assert steps(tmp_path) == list(range(10, 901, 10))
    glass = (tmp_path / "data.quenched").read_text()
    assert "1 Li\n2 S\n" in glass
    assert "Velocities" in glass


def test_from_the_repository_and_from_a_copy(tmp_path):
    shutil.copytree(DECKS, tmp_path / "decks")
    assert lmp("decks/quench.in", NEEDED | QUICK, tmp_path).returncode == 0
    inside = lmp("quench.in", NEEDED | QUICK | {"folder": tmp_path / "new"}, tmp_path / "decks")
    assert inside.returncode == 0
    assert (tmp_path / "new" / "data.quenched").is_file()
    dry = lmp("lammps_inputs/quench.in", {"elements": "Li S", "folder": tmp_path / "r"}, ROOT)
    assert "variable data is missing" in dry.stdout
    (ROOT / "log.lammps").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"barostat": "tri"},
        {"barostat": "aniso"},
        {"melt_ensemble": "nvt"},
        {"supercell": "2 1 1"},
        {"warm": 0},
        {"relax": 0.1},
        {"timestep": 0.5},
    ],
)
def test_variants(tmp_path, changes):
    done = by_hand("quench.in", tmp_path, **(QUICK | changes))
    assert done.returncode == 0, done.stdout[-800:]
    glass = (tmp_path / "data.quenched").read_text()
    assert ("xy xz yz" in glass) == (changes.get("barostat") == "tri")
    assert ("\n64 atoms" in glass) == ("supercell" in changes)


def test_constant_volume_melt(tmp_path):
    by_hand("quench.in", tmp_path, **QUICK, melt_ensemble="nvt")
    rows = [row.split() for row in (tmp_path / "history.dat").read_text().splitlines()]
    volumes = {stage: {row[5] for row in rows if row[-1] == stage} for stage in ("hold", "cool")}
    assert len(volumes["hold"]) == 1
    assert len(volumes["cool"]) > 1


def test_triclinic_cell(tmp_path):
    text = CELL.read_text().replace("zhi", "zhi\n0.5 -0.3 0.2 xy xz yz")
    tilted = tmp_path / "tilted.data"
    tilted.write_text(text)
    done = by_hand("quench.in", tmp_path, **QUICK, data=tilted)
    assert done.returncode == 0, done.stdout[-800:]
    assert "xy xz yz" in (tmp_path / "data.quenched").read_text()


def test_sweep_goes_on_from_a_restart(tmp_path):
    times = {"temperature": 400, "time": 0.4, "equilibration": 0.1}
    assert by_hand("sweep.in", tmp_path, **times).returncode == 0
    step = engine.restart_step(tmp_path / "restart.a")
    rows = steps(tmp_path)
    done = by_hand("sweep.in", tmp_path, **times, restart=tmp_path / "restart.a", append="yes")
    assert done.returncode == 0, done.stdout[-800:]
    again = steps(tmp_path)[len(rows) :]
    assert again == [row for row in rows if row > step]


BAD = [
    ("data", None, "variable data is missing"),
    ("elements", None, "variable elements is missing"),
    ("potential", None, "variable model is missing"),
    ("data", "nowhere", "variable data: cannot read nowhere"),
    ("potential", "nowhere", "variable potential: cannot read nowhere"),
    ("model", "nowhere.pt", "variable model: cannot read nowhere.pt"),
    ("restart", "nowhere", "variable restart: cannot read nowhere"),
    ("elements", "Li", "variable elements: Li; expected one for each of the 2"),
    ("elements", "Li B S", "variable elements: Li B S; expected one for each of the 2"),
    ("decks", "/nowhere", "variable decks: /nowhere has no mod.check"),
    ("pair", "mace-x", "variable pair: mace-x; expected stock or mliap_kk"),
    ("dispersion", "d3", "variable dispersion: d3; expected yes or no"),
    ("device", "tpu", "variable device: tpu; expected cpu or cuda"),
    ("barostat", "cubic", "variable barostat: cubic; expected iso, aniso or tri"),
    ("append", "maybe", "variable append: maybe; expected yes or no"),
    ("melt_ensemble", "nve", "variable melt_ensemble: nve; expected npt or nvt"),
    ("high", "250", "variable high: 250; expected more than low"),
    ("seed", "0", "variable seed: 0; expected a whole number from 1"),
    *[(name, "-1", f"variable {name}: -1; expected") for name in
      ("timestep", "tdamp", "pdamp", "thermo_every", "dump_every", "threads", "low", "rate",
       "warm", "relax", "hold", "equilibrate")],
    *[(name, "fast", f"{name}_must_be_a_") for name in
      ("timestep", "pressure", "tdamp", "pdamp", "thermo_every", "dump_every", "seed", "threads",
       "low", "high", "rate", "warm", "relax", "hold", "equilibrate")],
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_bad_variable_says_what_was_expected(tmp_path, name, value, message):
    variables = {"decks": DECKS, **NEEDED, name: value}
    given = {key: given for key, given in variables.items() if given is not None}
    done = lmp(DECKS / "quench.in", given, tmp_path)
    assert done.returncode != 0
    assert message in done.stdout
    assert not (tmp_path / "data.quenched").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", None, "variable temperature is missing"),
        ("temperature", "-1", "variable temperature: -1; expected"),
        ("temperature", "hot", "temperature_must_be_a_number_of_K"),
        ("time", "0", "variable time: 0; expected"),
        ("equilibration", "-1", "variable equilibration: -1; expected"),
    ],
)
def test_bad_variable_of_the_sweep(tmp_path, name, value, message):
    variables = {"temperature": 300} | {name: value}
    given = {key: given for key, given in variables.items() if given is not None}
    done = by_hand("sweep.in", tmp_path, **given)
    assert done.returncode != 0
    assert message in done.stdout


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"potential": DATA / "lj_boils.in", "hold": 20}, "density_below_guard"),
        ({"guard_force": 0.01}, "force_above_guard"),
        ({"guard_temperature": 700}, "temperature_above_guard"),
        ({"guard_disk": 1e12}, "disk_below_guard"),
    ],
)
def test_guard(tmp_path, changes, culprit):
    done = by_hand("quench.in", tmp_path, **(QUICK | changes))
    assert done.returncode != 0
    assert re.search(rf"ERROR.*fix-id {culprit} met on step \d+", done.stdout)
    assert not (tmp_path / "data.quenched").exists()


def test_every_module_has_a_header():
    for path in [*DECKS.glob("mod.*"), *DECKS.glob("*.in")]:
        assert path.read_text().startswith(f"# {path.name}: "), path.name


def test_ascii_only():
    """LAMMPS mangles any other character, in its log too."""
    for path in [*DECKS.glob("mod.*"), *DECKS.glob("*.in")]:
        assert path.read_bytes().isascii(), path.name
