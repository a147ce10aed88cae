"""Helpers of the driver's tests: quenches and sweeps of a Lennard-Jones cell, in other processes.

As a script it runs one verb: ``lj_runs.py quench '{"output": …}'``, exit status 2 on a UsageError.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
CELL = DATA / "lj.data"
STABLE = DATA / "lj.in"
BOILS = DATA / "lj_boils.in"
HERE = Path(__file__)

QUICK = {"data": CELL, "potential": STABLE, "rate": 1800, "hold": 0.5, "equilibrate": 0.5}
QUICK_SWEEP = {"data": CELL, "potential": STABLE, "time": 0.6, "equilibrate": 0.2}


def command(verb: str, options: dict, ranks: int = 0) -> list[str]:
    launcher = []
    if ranks:
        from lbpsi_driver import parallel

        launcher = [str(parallel.mpiexec()), "-n", str(ranks)]
    text = json.dumps(options, default=str)
    return [*launcher, sys.executable, str(HERE), verb, text]


def run(verb: str, options: dict, ranks: int = 0, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(verb, options, ranks), capture_output=True, text=True, timeout=120, **more
    )


def kill_when(verb: str, options: dict, ready) -> None:
    """Start a verb and kill -9 it as soon as ``ready()`` is true."""
    process = subprocess.Popen(
        command(verb, options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def frame_steps(trajectory: Path) -> list[int]:
    lines = trajectory.read_text().splitlines()
    return [int(lines[i + 1]) for i, line in enumerate(lines) if line == "ITEM: TIMESTEP"]


def main() -> None:
    from lbpsi_driver.config import QuenchOptions, SweepOptions, UsageError
    from lbpsi_driver.quench import quench
    from lbpsi_driver.sweep import sweep

    models = {"quench": (QuenchOptions, quench), "sweep": (SweepOptions, sweep)}
    model, verb = models[sys.argv[1]]
    try:
        verb(model(**json.loads(sys.argv[2])))
    except UsageError as err:
        print(err, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
