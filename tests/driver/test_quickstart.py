"""The whole way without walking it: its commands, its folder, and what it refuses."""

from __future__ import annotations

import json
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from lbpsi_driver import cli, manifest, parallel, potential
from lbpsi_driver.config import DEFAULT_MODEL, QuickstartOptions, UsageError
from lbpsi_driver.quickstart import quickstart, stages
from lbpsi_driver.report.results import AnalyzeResult, ArrheniusRecord


def chosen(folder: Path, **changes) -> QuickstartOptions:
    return QuickstartOptions(output=folder, **changes)


def record(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["runs"]["quickstart"]


@pytest.fixture
def walked(monkeypatch) -> list[list[str]]:
    """Stages that answer at once, as finished ones do; the list is what was asked of them."""
    asked = []
    analysis = AnalyzeResult(
        run="sweep",
        output=".",
        mobile="Li",
        charge_e=1.0,
        options={},
        inputs=[],
        arrhenius=ArrheniusRecord(reason="none"),
    )

    def answer(command, **_keywords):
        asked.append(command[command.index("lbpsi_driver") + 1 :])
        return subprocess.CompletedProcess(command, 0, stdout=analysis.model_dump_json())

    monkeypatch.setattr(subprocess, "run", answer)
    return asked


@pytest.mark.parametrize("protocol", ["quick", "paper"])
def test_dry_run_leaves_the_commands_alone(tmp_path, protocol):
    folder = tmp_path / "a folder"
    result = quickstart(chosen(folder, protocol=protocol, ranks=2), dry_run=True)
    assert [path.name for path in folder.iterdir()] == ["commands.sh"]
    assert stat.S_ISREG((folder / "commands.sh").stat().st_mode)
    lines = (folder / "commands.sh").read_text().splitlines()
    assert lines[2:] == result.commands
    verbs = [words[words.index("lbpsi_driver") + 1] for words in map(shlex.split, lines[2:])]
    quenches = {"quick": 1, "paper": 2}[protocol]
    assert verbs == ["build", *["quench"] * quenches, "sweep", "analyze"]
    assert result.analysis is None


def test_commands_are_ones_that_the_command_line_takes(tmp_path):
    for stage in stages(chosen(tmp_path, protocol="paper", seed=3, ranks=1)):
        request = cli._parse(stage.arguments)
        options, _ = cli._resolve(request)
        assert options == stage.options


def test_cores_are_those_that_the_container_grants(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 3)
    quench = next(stage for stage in stages(chosen(tmp_path)) if stage.verb == "quench")
    assert (quench.ranks, quench.options.threads) == (3, 1)
    quench = next(stage for stage in stages(chosen(tmp_path, ranks=1)) if stage.verb == "quench")
    assert (quench.ranks, quench.options.threads) == (1, 3)


def test_it_starts_ranks_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(UsageError, match="run it without mpirun, with --ranks N"):
        quickstart(chosen(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_unknown_model(tmp_path):
    with pytest.raises(UsageError, match=rf"--model none: neither a file nor .*{DEFAULT_MODEL}"):
        quickstart(chosen(tmp_path / "run", model="none"))
    assert not (tmp_path / "run").exists()


def test_error_of_a_stage_is_passed_on(tmp_path):
    # The first stage meets a file where it wants its folder.
    (tmp_path / "build").write_text("")
    with pytest.raises(UsageError) as caught:
        quickstart(chosen(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"build: cannot write {tmp_path}/build: ")
    assert message.endswith(f"; by hand: python -m lbpsi_driver build --output {tmp_path}/build")
    assert record(tmp_path)["state"] == "running"


def test_a_stage_that_dies_is_named(tmp_path, monkeypatch):
    def die(command, **_keywords):
        return subprocess.CompletedProcess(command, -9, stdout="")

    monkeypatch.setattr(subprocess, "run", die)
    with pytest.raises(UsageError, match="build: ended with exit code -9 and no result"):
        quickstart(chosen(tmp_path))


def test_manifest_of_the_root_and_the_same_command_again(tmp_path, walked):
    options = chosen(tmp_path)
    result = quickstart(options)
    first = record(tmp_path)
    assert first["state"] == "finished"
    assert first["options"]["protocol"] == "quick"
    assert first["stages"] == result.commands
    source = potential.resolve(DEFAULT_MODEL)
    assert first["configuration"]["sha256"] == {"model": manifest.sha256(source)}
    once = list(walked)
    assert [words[0] for words in once] == ["build", "quench", "sweep", "analyze"]
    assert quickstart(chosen(tmp_path)).analysis == result.analysis
    assert walked == 2 * once


def test_another_configuration_is_refused_then_forced(tmp_path, walked):
    quickstart(chosen(tmp_path))
    (tmp_path / "results.json").write_text("old")
    for dry_run in (False, True):
        before = (tmp_path / "commands.sh").read_text()
        with pytest.raises(UsageError, match="with --seed 1, not 2; give another --output"):
            quickstart(chosen(tmp_path, seed=2), dry_run=dry_run)
        assert (tmp_path / "commands.sh").read_text() == before
    quickstart(chosen(tmp_path, seed=2, force=True))
    assert record(tmp_path)["options"]["seed"] == 2
    assert (tmp_path / "superseded-1" / "results.json").read_text() == "old"
    assert (tmp_path / "superseded-1" / "manifest.json").is_file()


def test_another_model_under_the_same_name_is_noticed(tmp_path, walked):
    model = tmp_path / "mine.model"
    shutil.copyfile(potential.resolve(DEFAULT_MODEL), model)
    quickstart(chosen(tmp_path / "run", model=str(model)))
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(UsageError, match="made from other content of --model"):
        quickstart(chosen(tmp_path / "run", model=str(model)))
