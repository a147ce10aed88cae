"""References as worker processes: :class:`Worker` speaks to ``worker.py``, wherever that runs."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from lbpsi_driver import potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import cp2k
from lbpsi_driver.training.options import Reference

SCRIPT = Path(__file__).with_name("worker.py")

_LAST_LINES = 20
_MOST_NAMED = 20
"""Elements of a reference that an error lists; a universal model knows some ninety."""


class WorkerError(UsageError):
    """A worker could not start, or died."""


class LabelError(Exception):
    """The reference has no result for this frame: one line that says why."""


class Worker:
    """One process that evaluates frames.

    Parameters
    ----------
    reference : Reference
        What it runs: its kind, its environment's interpreter, its threads, its time for a frame.
    folder : Path, optional
        Where it runs, for codes that write files; default: the present folder.

    Attributes
    ----------
    name : str
        Reference and interpreter, for messages.
    versions : dict of str to str or None
        Of the reference's packages, known once it has started.
    elements : list of str or None
        Those that the reference knows; None where it doesn't tell.

    Raises
    ------
    WorkerError
        The interpreter is missing.
    """

    def __init__(self, reference: Reference, folder: Path | None = None) -> None:
        # The worker's folder is not that which relative paths refer to.
        python = str(reference.python.absolute() if reference.python else sys.executable)
        self._order = _order(reference)
        self._minutes = reference.timeout
        self.name = f"{reference.kind} in {python}"
        # Threads that spin at barriers would take the core of the worker beside.
        environment = os.environ | {
            "OMP_NUM_THREADS": str(reference.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        try:
            self._process = subprocess.Popen(
                [python, str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                # The reference may print anything.
                errors="replace",
                cwd=folder,
                env=environment,
                # With what it starts in turn it can be ended at once.
                process_group=0,
            )
        except OSError as err:
            raise WorkerError(
                f"[train.reference] python = {python}: {err.strerror}; give the interpreter of the"
                " environment that holds the reference"
            ) from err
        # A full pipe of messages that nobody reads would stop the worker.
        self._said: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.versions: dict[str, str | None] = {}
        self.elements: list[str] | None = None

    def _listen(self) -> None:
        assert self._process.stderr is not None
        self._said.extend(self._process.stderr)

    def start(self) -> None:
        """Wait until it is ready; no part of its making, so that it can be killed meanwhile.

        Raises
        ------
        WorkerError
            The reference's package or program is missing.
        """
        reply = self._exchange(self._order)
        if "error" in reply:
            self.close()
            raise WorkerError(self._explain(reply["error"], reply["cause"]))
        self.versions = reply["ready"]
        self.elements = reply["elements"]

    def _explain(self, error: str, cause: str) -> str:
        """Say why it can't start, and what mends that."""
        if cause == "order":
            return f"[train.reference] {error}"
        mend = "see to [train.reference]"
        if self._order["kind"] == "cp2k":
            mend = "install CP2K (Debian: cp2k) or give [train.reference] command"
        elif cause == "package":
            mend = (
                "install its package there or name another interpreter in [train.reference] python"
            )
        return f"{self.name}: {error}; {mend}"

    def refuse_unknown(self, elements: Iterable[str]) -> None:
        """Refuse elements that the reference lacks, where it tells which it knows.

        Parameters
        ----------
        elements : iterable of str
            Chemical symbols.

        Raises
        ------
        UsageError
            One line that names the first of them and what the reference knows.
        """
        lacking = [] if self.elements is None else sorted(set(elements) - set(self.elements))
        if self.elements is not None and lacking:
            what = self._order["calculator" if self._order["kind"] == "ase" else "model"]
            many = len(self.elements) > _MOST_NAMED
            known = f"{len(self.elements)} others" if many else ", ".join(self.elements)
            raise UsageError(
                f"the reference ({self._order['kind']} {what}) has no {lacking[0]}: it knows"
                f" {known}; leave {lacking[0]} out or give another [train.reference]"
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def evaluate(self, atoms: ase.Atoms) -> dict[str, Any]:
        """Return energy (eV), forces (N, 3) in eV/Å and stress (6,) in eV/Å3, ASE's sign.

        Raises
        ------
        LabelError
            The reference failed on this frame, or took longer than its ``timeout``: then the worker
            is killed.
        WorkerError
            The worker could not start, or died.
        """
        if not self.versions:
            self.start()
        with self._limited():
            reply = self._exchange(
                {
                    "numbers": atoms.numbers.tolist(),
                    "positions": atoms.positions.tolist(),
                    "cell": atoms.cell.array.tolist(),
                    "pbc": atoms.pbc.tolist(),
                }
            )
        if "error" in reply:
            raise LabelError(reply["error"])
        return {
            "energy": float(reply["energy"]),
            "forces": np.array(reply["forces"], dtype=float),
            "stress": np.array(reply["stress"], dtype=float),
        }

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """End the process where the body takes longer than a frame may."""
        if self._minutes is None:
            yield
            return
        late = threading.Event()

        def end() -> None:
            late.set()
            self.kill()

        timer = threading.Timer(60 * self._minutes, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except WorkerError as err:
            if late.is_set():
                raise LabelError(overtime(self._minutes)) from err
            raise
        finally:
            timer.cancel()

    def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
            line = stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if not line.endswith("\n"):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
            self.kill()
            self._listener.join(timeout=10)
            last = next((text.strip() for text in reversed(self._said) if text.strip()), "")
            raise WorkerError(f"{self.name}: ended with code {self._process.returncode}: {last}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process."""
        # What a dead process has not read is still to be written.
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process and what it has started, in the midst of a frame too."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Worker:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def overtime(minutes: float) -> str:
    """Reason why a frame that took too long has no label."""
    return f"no result after {minutes:g} minutes; [train.reference] timeout allows no more"


def _order(reference: Reference) -> dict[str, Any]:
    """Return the worker's first line."""
    order = reference.model_dump(mode="json", include={"kind", "model", "dispersion"})
    order |= {"calculator": reference.calculator, "arguments": reference.arguments}
    if reference.kind == "cp2k":
        order |= cp2k.order(reference)
    elif reference.kind == "mace":
        order["model"] = str(potential.resolve(reference.model, "[train.reference] model ="))
    elif Path(reference.model).exists():
        order["model"] = str(Path(reference.model).absolute())
    return order


class WorkerCalculator(Calculator):
    """A worker as an ASE calculator.

    Parameters
    ----------
    worker : Worker
        Who evaluates.
    """

    implemented_properties: list[str] = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, worker: Worker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.worker = worker

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate at ASE's demand."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        self.results = self.worker.evaluate(self.atoms)
