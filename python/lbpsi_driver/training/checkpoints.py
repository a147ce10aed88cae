"""Checkpoints of ``mace_run_train``: the newest to go on from, and the best to make the model of.

MACE 0.3.16 runs the epoch of its newest checkpoint again, makes the model of the newest, writes
over an old one that is of the same number, and starts over in silence from one that was cut off.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import re
import shutil
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpsi_driver import manifest
from lbpsi_driver.mliap import import_torch
from lbpsi_driver.training.losses import Epoch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a fit, one an epoch, of which the newest two and the best are kept.

    Attributes
    ----------
    work : Path
        Folder that MACE writes to.
    tag : str
        How MACE calls the fit.
    stage_two : int or None
        After how many epochs stage two begins.
    """

    work: Path
    tag: str
    stage_two: int | None

    def mend(self) -> None:
        """Take away what was cut off when a fit was killed: MACE would start over."""
        for two in (False, True):
            for path in self._found(two).values():
                if not _is_whole(path):
                    logger.warning("%s is cut off; going on from the one before", path.name)
                    path.unlink()

    def go_on(self, curve: Sequence[Epoch]) -> int:
        """Give MACE the newest checkpoint as that of the next epoch; return how many are done.

        MACE steps its scheduler of the learning rate before each epoch but its first, so that the
        step is taken here.
        """
        two = bool(self._found(True))
        found = self._found(two)
        newest = max(found, default=1)
        done = next((one for one in curve if one.number == newest), None)
        if newest not in self._finished(two, curve) or done is None:
            return newest - 1
        torch = import_torch()
        content = torch.load(found[newest], map_location="cpu")
        if self.stage_two is None or newest < self.stage_two:
            _step(content, done.validation)
        stream = io.BytesIO()
        torch.save(content, stream)
        path = self._path(newest + 1, two)
        given = {"sha256": hashlib.sha256(stream.getvalue()).hexdigest(), "name": path.name}
        manifest.write_atomic(self._given, json.dumps(given))
        manifest.write_atomic(path, stream.getvalue())
        return newest

    def prune(self, curve: Sequence[Epoch]) -> None:
        """Delete what is neither among the newest two nor the best before them."""
        for two in (False, True):
            found = self._found(two)
            # The newest may be half written when everything ends: the others are then needed.
            older = {one.number: one.validation for one in curve if one.number in found}
            older.pop(max(found, default=-1), None)
            kept = {*sorted(found)[-2:], min(older, key=lambda one: older[one], default=-1)}
            for number in found.keys() - kept:
                found[number].unlink()

    def keep_best(self, curve: Sequence[Epoch]) -> bool:
        """Put the best of each stage away; tell whether that of the last one is the newest."""
        newest_is_best = False
        by_number = {one.number: one for one in curve}
        for two in (False, True):
            found = self._finished(two, curve)
            if not found:
                continue
            best = min((by_number[number] for number in found), key=lambda one: one.validation)
            kept = self.kept(two)
            newest_is_best = False
            if kept is None or best.validation < kept.validation:
                manifest.write_atomic(self._kept(two, ".pt"), found[best.number].read_bytes())
                text = json.dumps(dataclasses.asdict(best))
                manifest.write_atomic(self._kept(two, ".json"), text)
                newest_is_best = best.number == max(self._found(two))
        return newest_is_best

    def kept(self, two: bool) -> Epoch | None:
        """Return the best epoch of a stage that was put away."""
        path = self._kept(two, ".json")
        if not path.is_file():
            return None
        return Epoch(**json.loads(path.read_text(encoding="utf-8")))

    def lay_out_best(self, folder: Path, epochs: int) -> None:
        """Put the best into a folder, as if all epochs were done: MACE makes the model of them."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for two in (False, True):
            best = self.kept(two)
            if best is not None:
                number = epochs + 1 if two == (self.stage_two is not None) else best.number
                shutil.copyfile(self._kept(two, ".pt"), folder / self._path(number, two).name)

    @property
    def _given(self) -> Path:
        return self.work / "given.json"

    def _kept(self, two: bool, suffix: str) -> Path:
        return self.work / f"best{'_stagetwo' if two else ''}{suffix}"

    def _path(self, number: int, two: bool) -> Path:
        # MACE counts from 0.
        name = f"{self.tag}_epoch-{number - 1}{'_swa' if two else ''}.pt"
        return self.work / "checkpoints" / name

    def _found(self, two: bool) -> dict[int, Path]:
        """Find the checkpoints of a stage by their epoch."""
        name = re.compile(rf"{re.escape(self.tag)}_epoch-(\d+){'_swa' if two else ''}\.pt")
        found = (self.work / "checkpoints").glob("*.pt")
        return {int(match[1]) + 1: path for path in found if (match := name.fullmatch(path.name))}

    def _finished(self, two: bool, curve: Sequence[Epoch]) -> dict[int, Path]:
        """Find those that MACE wrote after the epoch that they are called by."""
        given = json.loads(self._given.read_text()) if self._given.is_file() else {"name": None}
        numbers = {one.number for one in curve}
        return {
            number: path
            for number, path in self._found(two).items()
            if number in numbers
            and not (path.name == given["name"] and manifest.sha256(path) == given["sha256"])
        }


def _step(content: dict[str, Any], loss: float) -> None:
    """Step the scheduler of a checkpoint as MACE does after an epoch of this loss."""
    torch = import_torch()
    groups = content["optimizer"]["param_groups"]
    stand_in = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": one["lr"]} for one in groups])
    state = content["lr_scheduler"]
    kinds = torch.optim.lr_scheduler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no step of the optimizer was before it
        if "gamma" in state:
            scheduler, seen = kinds.ExponentialLR(stand_in, gamma=state["gamma"]), []
        else:
            scheduler, seen = kinds.ReduceLROnPlateau(stand_in), [loss]
        scheduler.load_state_dict(state)
        for mine, theirs in zip(stand_in.param_groups, groups, strict=True):
            mine["lr"] = theirs["lr"]
        scheduler.step(*seen)
    for mine, theirs in zip(stand_in.param_groups, groups, strict=True):
        theirs["lr"] = mine["lr"]
    content["lr_scheduler"] = scheduler.state_dict()


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
