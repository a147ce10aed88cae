import logging
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from lj_runs import BOILS, CELL, QUICK, frame_steps, kill_when, run

from lbpsi_driver import engine, history
from lbpsi_driver.config import QuenchOptions, UsageError
from lbpsi_driver.quench import quench
from lbpsi_driver.structure import read_cell


def quick(folder: Path, **changes) -> QuenchOptions:
    return QuenchOptions(**(QUICK | {"output": folder} | changes))


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("quench") / "run"
    assert quench(quick(folder)) is not None
    return folder


def test_leaves_a_glass_and_what_made_it(finished):
    glass = read_cell(finished / "data.quenched")
    assert sorted(glass.symbols) == sorted(read_cell(CELL).symbols)
    rows = history.read_history(finished)
    assert list(dict.fromkeys(rows.stage)) == ["warm", "heat", "hold", "cool", "equilibrate"]
    header = (finished / "history.dat").read_text().splitlines()[0]
    assert header == "# step time_ps temp_K density_g_cm3 press_bar volume_A3 pe_eV stage"
    assert (finished / "decks" / "quench.in").is_file()
    assert "-var rate 1800" in (finished / "run.sh").read_text()
    assert rows.mean("temperature", "hold") == pytest.approx(1200, rel=0.15)


def test_finished_run_is_not_run_again(finished):
    before = written(finished)
    again = quench(quick(finished))
    assert again is not None
    assert again.cells[0].density > 0
    for name in ("log.lammps", "history.dat", "trajectory.dump", "data.quenched"):
        assert written(finished)[name] == before[name]
    assert "quenched" in str(again.table().columns[-1]._cells[0])


def test_changed_configuration_is_refused_then_forced(finished, tmp_path):
    with pytest.raises(UsageError, match=r"with --hold 0.5, not 0.2; .*--output.*--force"):
        quench(quick(finished, hold=0.2))
    assert quench(quick(finished, hold=0.2, force=True)) is not None
    assert (finished / "superseded-1" / "data.quenched").is_file()
    assert (finished / "superseded-1" / "manifest.json").is_file()


def test_other_threads_are_no_other_configuration(tmp_path):
    assert quench(quick(tmp_path, threads=1)) is not None
    assert quench(quick(tmp_path, threads=2)) is not None


def test_killed_at_any_moment_it_goes_on(tmp_path):
    options = QUICK | {
        "output": tmp_path,
        "rate": 300,
        "hold": 2,
        "equilibrate": 2,
        "supercell": (2, 2, 2),
        "timestep": 1,
    }

    def reached(step: int):
        def ready() -> bool:
            row = history.last_row(tmp_path)
            return row is not None and row.step >= step

        return ready

    kill_when("quench", options, (tmp_path / "log.lammps").is_file)
    for step in (100, 1500, 4300, 8000):
        kill_when("quench", options, reached(step))
    done = run("quench", options)
    assert done.returncode == 0, done.stderr

    rows = history.read_history(tmp_path)
    last = history.last_step(tmp_path)
    assert last == 500 + 3000 + 2000 + 3000 + 2000
    assert rows.step.tolist() == list(range(10, last + 1, 10))
    assert frame_steps(tmp_path / "trajectory.dump") == list(range(0, last + 1, 100))
    stages = [line.split()[0] for line in (tmp_path / "schedule.dat").read_text().splitlines()]
    assert stages == ["#", "warm", "heat", "hold", "cool", "equilibrate"]

    # Every window of both ramps is where the schedule, not the restart, says it should be.
    corners = [500, 3500, 5500, 8500, 10500]
    target = np.interp(rows.step, corners, [300, 1200, 1200, 300, 300])
    for start in range(700, 10300, 400):
        window = (rows.step >= start) & (rows.step < start + 400)
        assert rows.temperature[window].mean() == pytest.approx(target[window].mean(), rel=0.2)

    log = (tmp_path / "log.lammps").read_text()
    assert log.count("Minimization stats:") == 1
    assert len(re.findall(r"^read_restart restart\.[ab]", log, re.MULTILINE)) == 4
    for step, aim in thermostat_targets(log):
        if step > 500:
            assert aim == pytest.approx(np.interp(step, corners, [300, 1200, 1200, 300, 300]))


def thermostat_targets(log: str) -> list[tuple[int, float]]:
    rows = [line.split() for line in log.splitlines()]
    return [(int(row[0]), float(row[3])) for row in rows if len(row) == 17 and row[0].isdigit()]


def test_restart_file_cut_anywhere_is_noticed(finished, tmp_path):
    content = (finished / engine.RESTARTS[0]).read_bytes()
    path = tmp_path / "restart.a"
    path.write_bytes(content)
    assert engine.restart_step(path) > 0
    for length in {0, 1, 15, 16, 40, 100, len(content) // 2, len(content) - 16, len(content) - 1}:
        path.write_bytes(content[:length])
        assert engine.restart_step(path) is None, length
    path.write_bytes(b"x" * len(content))
    assert engine.restart_step(path) is None
    assert engine.restart_step(tmp_path / "missing") is None


def interrupted(folder: Path) -> dict:
    """A quench that was killed after both restart files had been written."""
    options = QUICK | {"output": folder, "supercell": (2, 2, 2)}
    kill_when("quench", options, lambda: (history.last_row(folder) or _never).step >= 900)
    return options


class _never:  # noqa: N801
    step = -1


def test_half_written_restart_is_passed_over(tmp_path, caplog):
    options = interrupted(tmp_path)
    newest = engine.newest_restart(tmp_path)
    other = next(name for name in engine.RESTARTS if name != newest.name)
    older = engine.restart_step(tmp_path / other)
    path = tmp_path / newest.name
    path.write_bytes(path.read_bytes()[:-100])
    assert engine.newest_restart(tmp_path) == engine.Restart(other, older)
    with caplog.at_level(logging.WARNING):
        assert quench(QuenchOptions(**options)) is not None
    assert f"{newest.name} is damaged, going on from {other}" in caplog.text
    rows = history.read_history(tmp_path)
    assert rows.step.tolist() == list(range(10, history.last_step(tmp_path) + 1, 10))


def test_without_a_sound_restart_it_starts_over(tmp_path, caplog):
    options = interrupted(tmp_path)
    for name in engine.RESTARTS:
        (tmp_path / name).write_bytes(b"torn")
    with caplog.at_level(logging.WARNING):
        assert quench(QuenchOptions(**options)) is not None
    assert "starting over" in caplog.text
    assert (tmp_path / "superseded-1" / "history.dat").is_file()
    assert history.read_history(tmp_path).step[0] == 10


def test_replicas_differ_and_lie_beside_each_other(tmp_path):
    result = quench(quick(tmp_path, replicas=2, seed=7))
    assert [cell.seed for cell in result.cells] == [7, 8]
    first, second = (read_cell(cell.data).positions for cell in result.cells)
    assert np.abs(first - second).max() > 0.1
    assert (tmp_path / "replica2" / "history.dat").is_file()


def test_boiling_trips_the_guard(tmp_path):
    with pytest.raises(UsageError, match=r"step \d+: the density fell to 0\.4.*--melt-ensemble"):
        quench(quick(tmp_path, potential=BOILS, hold=20))
    assert not (tmp_path / "data.quenched").exists()


def test_dry_run_leaves_a_command_that_runs_by_hand(tmp_path):
    assert quench(quick(tmp_path), dry_run=True) is None
    assert not (tmp_path / "history.dat").exists()
    script = (tmp_path / "run.sh").read_text()
    assert "lmp -in decks/quench.in" in script
    assert quench(quick(tmp_path, hold=0.1)) is not None


def test_numbered_types_of_an_include_are_refused(tmp_path):
    include = tmp_path / "numbered.in"
    include.write_text("pair_style lj/cut 6\npair_coeff 1 2 0.1 2.0\n")
    with pytest.raises(UsageError, match=r"pair_coeff 1 2 0.1 2.0.*name them"):
        quench(quick(tmp_path / "run", potential=include))


def test_folder_with_blanks(tmp_path):
    assert quench(quick(tmp_path / "a folder")) is not None


def test_supercell_and_triclinic(tmp_path):
    result = quench(quick(tmp_path, supercell=(2, 1, 1), barostat="tri", melt_ensemble="nvt"))
    assert len(read_cell(result.cells[0].data)) == 2 * len(read_cell(CELL))


@pytest.mark.mpi
def test_cell_of_another_format_on_two_ranks(tmp_path):
    cell = tmp_path / "cell.extxyz"
    ase.io.write(cell, read_cell(CELL), parallel=False)
    result = run("quench", {**QUICK, "data": cell, "output": tmp_path / "run"}, 2)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "data.quenched").is_file()
