"""What the benchmarks share: warm workers that take turns, ratios of medians, one table.

A worker is a process of its own with its own threads. It answers each ``run N`` line on its
standard input with one line of JSON, so that A and B can be measured as A B A B while nothing else
of ours runs: a machine that slows down half-way slows both.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

import numpy as np

REPLY = "@"


class WorkerError(RuntimeError):
    """A worker ended before it answered."""


class Worker:
    """A process that is warm and waits; ``run`` makes it do one block.

    Parameters
    ----------
    command : sequence of str
        What to start; its standard output carries replies, other lines on it are ignored.
    threads : int
        Threads of OpenMP, MKL and torch in each of its processes.
    """

    def __init__(self, command: Sequence[str], *, threads: int = 1) -> None:
        self._command = list(command)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker
        count = str(threads)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count},
        )

    def __enter__(self) -> Worker:
        """Return the worker; it may still be starting."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process: at once after an error, else when it has read that there is no more."""
        if kind is not None:
            self._process.terminate()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def reply(self) -> dict[str, Any]:
        """Return the next reply: the first one says that the worker is ready.

        Raises
        ------
        WorkerError
            With the end of what the worker wrote to its standard error.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(REPLY):
                answer: dict[str, Any] = json.loads(line.removeprefix(REPLY))
                return answer
        self._errors.seek(0)
        told = self._errors.read()[-2000:]
        raise WorkerError(f"{' '.join(self._command)} ended with\n{told}")

    def run(self, steps: int) -> dict[str, Any]:
        """Do one block of so many steps and return what the worker says about it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"run {steps}\n")
        self._process.stdin.flush()
        return self.reply()


def take_turns(workers: Sequence[Worker], *, steps: int, blocks: int) -> list[list[dict[str, Any]]]:
    """Measure workers in turn, A B A B, and return the replies of each."""
    for worker in workers:
        worker.reply()
    rounds = [[worker.run(steps) for worker in workers] for _ in range(blocks)]
    return [list(replies) for replies in zip(*rounds, strict=True)]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name, unit : str
        What was measured, and the unit of ``value`` and ``peer``.
    value, peer : float
        Medians of ours and of what it is measured against.
    ratio : float
        Ratio of the medians: the number that the goal speaks of.
    low, high : float
        Least and greatest ratio of a single pair of neighbouring blocks.
    goal : str
        As ``<= 1.0`` or ``>= 1.6``; empty where the line only informs.
    """

    name: str
    unit: str
    value: float
    peer: float
    ratio: float
    low: float
    high: float
    goal: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if not self.goal:
            return None
        sense, bound = self.goal.split()
        return self.ratio <= float(bound) if sense == "<=" else self.ratio >= float(bound)

    def text(self) -> str:
        """Render the line."""
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        spread = f"{self.low:.3g}-{self.high:.3g}"
        return (
            f"{self.name:<44} {self.value:>9.4g} {self.peer:>9.4g} {self.unit:<6}"
            f" {self.ratio:>8.3g}  {spread:<17} {self.goal:<8} {verdict}"
        ).rstrip()


def compare(
    name: str, value: Sequence[float], peer: Sequence[float], *, unit: str = "ms", goal: str = ""
) -> Row:
    """Set medians against each other; both come from blocks that took turns."""
    pairs = [a / b for a, b in zip(value, peer, strict=True)]
    ours, theirs = median(value), median(peer)
    return Row(name, unit, ours, theirs, ours / theirs, min(pairs), max(pairs), goal)


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def conditions(packages: Sequence[str]) -> dict[str, Any]:
    """Describe machine and versions; the load tells whether the cores were idle."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in packages},
    }


def report(rows: Sequence[Row], where: Mapping[str, Any], *, as_json: bool) -> str:
    """Render the table, or everything as JSON."""
    if as_json:
        listed = [asdict(row) | {"met": row.met} for row in rows]
        return json.dumps({"conditions": dict(where), "rows": listed}, indent=2)
    head = (
        f"{'':<44} {'ours':>9} {'peer':>9} {'unit':<6} {'ratio':>8}  {'of pairs':<17} {'goal':<8}"
    ).rstrip()
    facts = "  ".join(f"{key} {value}" for key, value in where.items() if key != "versions")
    tools = "  ".join(f"{name} {number}" for name, number in where["versions"].items())
    return "\n".join([facts, tools, "", head, *(row.text() for row in rows)])


def machine_rates(nbytes: float) -> dict[str, float]:
    """Best of this core: a copy of so many bytes read and written, a product of matrices."""
    source = np.ones(max(1, int(nbytes) // 16))
    target = np.empty_like(source)
    square = np.ones((256, 256))
    product = np.empty_like(square)
    return {
        "bytes_per_s": 2 * source.nbytes / _best(lambda: np.copyto(target, source)),
        "flops_per_s": 2 * 256**3 / _best(lambda: np.matmul(square, square, out=product)),
    }


def _best(action: Callable[[], Any], repeats: int = 30) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
