from pathlib import Path

import numpy as np
import pytest
from lj_runs import QUICK_SWEEP, frame_steps, kill_when, run

from lbpsi_driver import engine, history
from lbpsi_driver.config import SweepOptions, UsageError
from lbpsi_driver.sweep import sweep

TEMPERATURES = (300, 450, 600)


def final_cells(folder: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in folder.glob("T*/data.final")}


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "serial"
    result = sweep(SweepOptions(**QUICK_SWEEP, output=folder, temperatures=TEMPERATURES))
    assert [one.temperature for one in result.runs] == list(TEMPERATURES)
    return folder


def test_production_counts_from_its_own_start(serial):
    rows = history.read_history(serial / "T450")
    assert rows.mean("temperature", "production") == pytest.approx(450, rel=0.25)
    lines = (serial / "T450" / "trajectory.dump").read_text().splitlines()
    assert lines[8] == "ITEM: ATOMS id element x y z ix iy iz"
    first = np.array([line.split()[5:] for line in lines[9 : 9 + 32]], dtype=int)
    assert not first.any()
    assert [line.split()[0] for line in lines[9 : 9 + 32]] == [str(i) for i in range(1, 33)]
    assert frame_steps(serial / "T450" / "trajectory.dump") == list(range(200, 801, 100))


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_over_temperatures_give_the_same_numbers(serial, tmp_path, ranks):
    options = QUICK_SWEEP | {"output": tmp_path, "temperatures": TEMPERATURES}
    done = run("sweep", options, ranks)
    assert done.returncode == 0, done.stderr
    assert final_cells(tmp_path) == final_cells(serial)


@pytest.mark.mpi
def test_more_ranks_than_temperatures(tmp_path):
    options = QUICK_SWEEP | {"temperatures": (300, 600)}
    pair = run("sweep", options | {"output": tmp_path / "pair"}, 4)
    assert pair.returncode == 0, pair.stderr
    for temperature in (300, 600):
        alone = options | {"output": tmp_path / f"{temperature}", "temperatures": (temperature,)}
        assert run("sweep", alone, 2).returncode == 0
        name = f"T{temperature}"
        assert (
            final_cells(tmp_path / "pair")[name] == final_cells(tmp_path / f"{temperature}")[name]
        )


def test_killed_and_called_again(tmp_path):
    options = QUICK_SWEEP | {"output": tmp_path, "temperatures": (300, 600), "time": 20}

    def producing() -> bool:
        trajectory = tmp_path / "T600" / "trajectory.dump"
        return trajectory.is_file() and trajectory.stat().st_size > 0

    kill_when("sweep", options, producing)
    # The only restart file is older than the production, whose frames are all written again.
    assert engine.newest_restart(tmp_path / "T600").step < 200
    kept = (tmp_path / "T300" / "log.lammps").read_bytes()
    done = run("sweep", options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "T300" / "log.lammps").read_bytes() == kept
    assert frame_steps(tmp_path / "T600" / "trajectory.dump") == list(range(200, 20201, 100))


def failing_include(folder: Path) -> Path:
    """Forces that explode above 500 K only: the guard's limit lies below what 600 K reaches."""
    include = folder / "hot.in"
    stable = QUICK_SWEEP["potential"].read_text()
    include.write_text(stable + 'if "${temperature} > 500" then "variable guard_force index 0.5"\n')
    return include


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 2])
def test_one_bad_temperature_leaves_the_others(tmp_path, ranks):
    options = QUICK_SWEEP | {
        "output": tmp_path / "run",
        "temperatures": (300, 600, 400),
        "potential": failing_include(tmp_path),
    }
    done = run("sweep", options, ranks)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "sweep stopped" in line]
    assert len(lines) == 1
    assert "600 K: step" in lines[0]
    assert "finished and kept: 300 K, 400 K" in lines[0]
    assert set(final_cells(tmp_path / "run")) == {"T300", "T400"}


def test_changed_temperatures_are_refused(serial):
    options = SweepOptions(**QUICK_SWEEP, output=serial, temperatures=(300, 450))
    with pytest.raises(UsageError, match="--temperatures 300,450,600, not 300,450"):
        sweep(options)


def test_torn_final_cell_is_no_finished_run(tmp_path):
    options = SweepOptions(**QUICK_SWEEP, output=tmp_path, temperatures=(300,))
    sweep(options)
    final = tmp_path / "T300" / "data.final"
    whole = final.read_text()
    schedule = (tmp_path / "T300" / "schedule.dat").read_text()
    final.write_text(whole[: len(whole) // 2])
    run_again = engine.DeckRun("sweep.in", tmp_path / "T300", {}, "data.final")
    assert not run_again.done
    assert engine.newest_restart(tmp_path / "T300").step == 800
    sweep(options)
    assert run_again.done
    assert frame_steps(tmp_path / "T300" / "trajectory.dump") == list(range(200, 801, 100))
    assert (tmp_path / "T300" / "schedule.dat").read_text() == schedule
    rows = history.read_history(tmp_path / "T300")
    assert rows.step.tolist() == list(range(10, 801, 10))


def test_forced_keeps_each_temperature_of_the_old_run(tmp_path):
    options = SweepOptions(**QUICK_SWEEP, output=tmp_path, temperatures=(300, 400))
    sweep(options)
    names = [f"{folder}/{name}" for folder in ("T300", "T400") for name in ("trajectory.dump",)]
    before = {name: (tmp_path / name).read_bytes() for name in names}
    sweep(options.model_copy(update={"time": 0.3, "force": True}))
    for name, content in before.items():
        assert (tmp_path / "superseded-1" / name).read_bytes() == content
        assert (tmp_path / name).read_bytes() != content


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("force", [False, True])
def test_dry_run_leaves_another_run_alone(serial, force):
    before = files_of(serial)
    changed = QUICK_SWEEP | {"timestep": 2.0, "force": force}
    options = SweepOptions(**changed, output=serial, temperatures=TEMPERATURES)
    with pytest.raises(UsageError, match="with --timestep 1, not 2; give another --output"):
        sweep(options, dry_run=True)
    assert files_of(serial) == before
