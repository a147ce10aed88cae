"""``mace_run_train`` as a process: followed, stopped, and continued from its checkpoints.

What MACE 0.3.16 leaves to its caller: a single process never ends by its patience, and at the end
it makes the model of the newest checkpoint, which need not be the best; ``checkpoints.py`` sees to
these.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training.checkpoints import Checkpoints
from lbpsi_driver.training.losses import HEAD, Epoch, Losses

CONFIG = "mace.yaml"
WORK = "mace"
OUTPUT = "output.log"

_POLL_S = 0.2
_ROW = re.compile(rf"\| (train|valid)_{HEAD}\s*\|((?:\s*[\d.e+-]+\s*\|)+)")
_ERROR = re.compile(r"^[\w.]*(Error|Exception)\b|: error: ")
_DIE_WITH_PARENT = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Outcome:
    """What a fit came to.

    Attributes
    ----------
    model : Path
        MACE's model of the best epoch.
    epochs : list of Epoch
        The learning curve.
    best : Epoch
        The epoch of the model.
    patience : bool
        Whether it ended because nothing got better.
    errors : dict
        RMSE on the training frames, as MACE's table rounds it: eV/atom, eV/Å, eV/Å3.
    """

    model: Path
    epochs: list[Epoch]
    best: Epoch
    patience: bool
    errors: dict[str, float]


@dataclass
class Training:
    """A fit in a folder that holds its ``mace.yaml``.

    Attributes
    ----------
    folder : Path
        The folder, where MACE runs; it writes to ``mace`` in it.
    name : str
        Name of the model.
    seed : int
        MACE's seed.
    epochs, patience : int
        Most epochs, and how many without a better one end it.
    stage_two : int or None
        After how many epochs stage two begins.
    threads : int
        Threads of the process.
    """

    folder: Path
    name: str
    seed: int
    epochs: int
    patience: int
    stage_two: int | None
    threads: int
    losses: Losses = field(init=False)
    checkpoints: Checkpoints = field(init=False)

    def __post_init__(self) -> None:
        self.losses = Losses(self._work / "results" / f"{self._tag}_train.txt")
        self.checkpoints = Checkpoints(self._work, self._tag, self.stage_two)

    @property
    def _work(self) -> Path:
        return self.folder / WORK

    @property
    def _tag(self) -> str:
        return f"{self.name}_run-{self.seed}"

    def begin(self) -> int:
        """Mend what a kill cut off; return how many epochs are done.

        Raises
        ------
        UsageError
            The loss is no longer a number.
        """
        self.checkpoints.mend()
        self.losses.mend()
        self.losses.poll()
        _refuse_no_number(self.losses.epochs)
        self.checkpoints.keep_best(self.losses.epochs)
        return self.epochs if self._done() else self.checkpoints.go_on(self.losses.epochs)

    def carry_out(self, told: Callable[[Epoch], None]) -> Outcome:
        """Run MACE to the end, or go on with it; after :meth:`begin`.

        Parameters
        ----------
        told : callable
            Gets each epoch when it is done.

        Returns
        -------
        Outcome
            The model of the best epoch, and how it got there.

        Raises
        ------
        UsageError
            MACE failed, or the loss is no longer a number.
        """
        saved = False
        if not self._done():
            self._run([], told)
            # MACE makes the model of its newest checkpoint, if it was let.
            saved = self.checkpoints.keep_best(self.losses.epochs) and not self._exhausted()
        if not saved:
            self.checkpoints.lay_out_best(self._work / "final", self.epochs)
            where = f"{WORK}/final"
            self._run(["--checkpoints_dir", where, "--results_dir", where], told)
        two = self.stage_two is not None
        best = self.checkpoints.kept(two)
        if best is None:
            raise UsageError(f"{self._work}: MACE left no checkpoint; see {self._work / OUTPUT}")
        return Outcome(
            self._work / f"{self.name}{'_stagetwo' if two else ''}.model",
            self.losses.epochs,
            best,
            self._exhausted(),
            self._table(),
        )

    def _run(self, arguments: list[str], told: Callable[[Epoch], None]) -> None:
        """Run MACE until it ends, or has had patience enough."""
        output = self._work / OUTPUT
        command = [sys.executable, "-m", "mace.cli.run_train", "--config", CONFIG, *arguments]
        # Threads that spin at barriers would take the core of whatever runs beside.
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        with manifest.writing(output), output.open("ab") as stream:
            begun = stream.tell()
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )
        try:
            self._follow(process, told)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0 and not self._exhausted():
            raise UsageError(self._complaint(process.returncode, begun))

    def _follow(self, process: subprocess.Popen[bytes], told: Callable[[Epoch], None]) -> None:
        over = False
        while not over:
            over = process.poll() is not None
            for one in self.losses.poll():
                _refuse_no_number([one])
                told(one)
                self.checkpoints.prune(self.losses.epochs)
                if self._exhausted():
                    return
            time.sleep(_POLL_S)

    def _stage(self, two: bool) -> list[Epoch]:
        start = math.inf if self.stage_two is None else self.stage_two
        return [one for one in self.losses.epochs if (one.number > start) == two]

    def _exhausted(self) -> bool:
        """Tell whether patience has ended it; MACE itself ends stage one before stage two."""
        losses = [one.validation for one in self._stage(self.stage_two is not None)]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience

    def _done(self) -> bool:
        reached = self.losses.epochs[-1].number if self.losses.epochs else 0
        return self._exhausted() or reached >= self.epochs

    def _table(self) -> dict[str, float]:
        """Read MACE's final errors on the training frames from its last table; eV, Å, an atom."""
        log = self._work / "logs" / f"{self._tag}.log"
        rows = _ROW.findall(log.read_text(encoding="utf-8")) if log.is_file() else []
        for which, cells in reversed(rows):
            if which == "train":
                values = [1e-3 * float(cell) for cell in cells.split("|")[:-1]]
                columns = ("energy", "forces", "relative", "stress")
                errors = dict(zip(columns, values, strict=False))  # a loss may have no stress
                del errors["relative"]
                return errors
        raise UsageError(f"{log}: no table of errors; see {self._work / OUTPUT}")

    def _complaint(self, code: int, begun: int) -> str:
        """Say why MACE failed, in its own last words."""
        output = self._work / OUTPUT
        text = output.read_bytes()[begun:].decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line[:1].strip()]
        said = next((line for line in reversed(lines) if _ERROR.search(line)), None)
        if said is None and code < 0:
            said = f"killed by {signal.Signals(-code).name}; is there memory enough?"
        said = said or (lines[-1] if lines else f"ended with code {code}")
        return f"mace_run_train failed: {said}; its messages are in {output}"


def _refuse_no_number(epochs: Sequence[Epoch]) -> None:
    for one in epochs:
        if not math.isfinite(one.validation):
            raise UsageError(
                f"the loss is no longer a number at epoch {one.number}; give a lower --rate in"
                " another --output"
            )


def _die_with_parent() -> None:
    # A parent that is killed can't end its child, which would write beside the next one.
    if _libc is not None:
        _libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
