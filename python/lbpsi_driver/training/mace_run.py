"""``mace_run_train`` as a process: followed, stopped, and continued from its checkpoints.

What MACE 0.3.16 leaves to its caller: a single process never ends by its patience; at the end it
saves the checkpoint of the highest number, which after a continuation need not be the best; it
deletes the old checkpoint before it has written the new one; and one that was cut off makes it
start over in silence.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training.losses import HEAD, Epoch, Losses

CONFIG = "mace.yaml"
WORK = "mace"
OUTPUT = "output.log"

_POLL_S = 0.2
_ROW = re.compile(rf"\| (train|valid)_{HEAD}\s*\|((?:\s*[\d.e+-]+\s*\|)+)")
_ERROR = re.compile(r"^[\w.]*(Error|Exception)\b|: error: ")
_DIE_WITH_PARENT = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

logger = logging.getLogger(__name__)


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
        Epoch at which stage two begins.
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

    def __post_init__(self) -> None:
        self.losses = Losses(self._work / "results" / f"{self._tag}_train.txt")

    @property
    def _work(self) -> Path:
        return self.folder / WORK

    @property
    def _tag(self) -> str:
        return f"{self.name}_run-{self.seed}"

    @property
    def first(self) -> int:
        """The epoch that it starts at, or goes on from."""
        found = self._checkpoints(two=True) or self._checkpoints(two=False)
        return max(found, default=0)

    def carry_out(self, told: Callable[[Epoch], None]) -> Outcome:
        """Run MACE to the end, or go on with it.

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
        self._mend()
        _refuse_no_number(self.losses.poll())
        self._keep_best()
        saved = False
        if not self._done():
            self._run([], told)
            # MACE saves its newest checkpoint; an earlier start may have had a better one.
            saved = self._keep_best() and not self._exhausted()
        if not saved:
            self._run(self._finishing(), told)
        two = self.stage_two is not None
        best = self._kept(two)
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
                self._prune()
                if self._exhausted():
                    return
            time.sleep(_POLL_S)

    def _stage(self, two: bool) -> list[Epoch]:
        start = math.inf if self.stage_two is None else self.stage_two
        return [one for one in self.losses.epochs if (one.number >= start) == two]

    def _exhausted(self) -> bool:
        """Tell whether patience has ended it; MACE itself ends stage one before stage two."""
        losses = [one.validation for one in self._stage(self.stage_two is not None)]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience

    def _done(self) -> bool:
        reached = self.losses.epochs[-1].number + 1 if self.losses.epochs else 0
        return self._exhausted() or reached >= self.epochs

    def _checkpoints(self, *, two: bool) -> dict[int, Path]:
        """Find the checkpoints of a stage by their epoch."""
        name = re.compile(rf"{re.escape(self._tag)}_epoch-(\d+){'_swa' if two else ''}\.pt")
        found = (self._work / "checkpoints").glob("*.pt")
        return {int(match[1]): path for path in found if (match := name.fullmatch(path.name))}

    def _mend(self) -> None:
        """Take away what was cut off when a fit was killed: MACE would start over."""
        for two in (False, True):
            for path in self._checkpoints(two=two).values():
                if not _is_whole(path):
                    logger.warning("%s is cut off; going on from the one before", path.name)
                    path.unlink()
        path = self._work / "results" / f"{self._tag}_train.txt"
        if path.is_file() and not path.read_bytes().endswith(b"\n"):
            with manifest.writing(path), path.open("ab") as stream:
                stream.write(b"\n")

    def _prune(self) -> None:
        # The newest may be half written when everything ends; the one before is then gone on from.
        for two in (False, True):
            found = self._checkpoints(two=two)
            for number in sorted(found)[:-2]:
                found[number].unlink()

    def _kept_path(self, two: bool, suffix: str) -> Path:
        return self._work / f"best{'_stagetwo' if two else ''}{suffix}"

    def _kept(self, two: bool) -> Epoch | None:
        path = self._kept_path(two, ".json")
        if not path.is_file():
            return None
        return Epoch(**json.loads(path.read_text(encoding="utf-8")))

    def _keep_best(self) -> bool:
        """Keep the best checkpoint of each stage; tell whether the newest is the one to save."""
        newest_is_best = False
        curve = {one.number: one for one in self.losses.epochs}
        for two in (False, True):
            found = self._checkpoints(two=two)
            newest = curve.get(max(found, default=-1))
            if newest is None:
                continue
            kept = self._kept(two)
            newest_is_best = kept is None or newest.validation <= kept.validation
            if newest_is_best:
                path = self._kept_path(two, ".pt")
                manifest.write_atomic(path, found[newest.number].read_bytes())
                text = json.dumps(dataclasses.asdict(newest))
                manifest.write_atomic(self._kept_path(two, ".json"), text)
        return newest_is_best

    def _finishing(self) -> list[str]:
        """Give MACE the kept checkpoints as those of the last epoch, so that it saves the model."""
        folder = self._work / "final"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        last = self.stage_two is not None
        for two in (False, True):
            best = self._kept(two)
            if best is not None:
                number = self.epochs if two == last else best.number
                name = f"{self._tag}_epoch-{number}{'_swa' if two else ''}.pt"
                shutil.copyfile(self._kept_path(two, ".pt"), folder / name)
        where = f"{WORK}/final"
        return ["--checkpoints_dir", where, "--results_dir", where]

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


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _die_with_parent() -> None:
    # A parent that is killed can't end its child, which would write beside the next one.
    if _libc is not None:
        _libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
