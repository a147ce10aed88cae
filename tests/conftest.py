"""Fixtures shared by the suite: a packed cell, exported models, and ways to run LAMMPS."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbpsi_driver import potential, structure
from lbpsi_driver.config import DEFAULT_MODEL, BuildOptions

BIN = Path(sys.executable).parent
DATA = Path(__file__).parent / "data"

Lmp = Callable[..., subprocess.CompletedProcess[str]]

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


@pytest.fixture
def lmp(tmp_path: Path) -> Lmp:
    """Run an input with the ``lmp`` of this environment, on as many ranks as wanted."""

    def run(
        deck: str, *, ranks: int = 1, timeout: float = 120, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "in.test").write_text(deck)
        launch = [] if ranks == 1 else [str(BIN / "mpirun"), "-n", str(ranks)]
        return subprocess.run(
            [*launch, str(BIN / "lmp"), "-in", "in.test"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            # a test before this one may have imported lammps and left where it found the plugin
            env={**os.environ, "LAMMPS_PLUGIN_PATH": "", **(env or {})},
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run
