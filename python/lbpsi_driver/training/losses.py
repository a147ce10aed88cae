"""The learning curve of a fit, from the lines that MACE writes after each step and epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbpsi_driver import manifest

HEAD = "Default"
"""The head of our data; MACE calls that of the replayed data ``pt_head``."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of a fit.

    Attributes
    ----------
    number : int
        From 1.
    training, validation : float
        Losses: the mean over its steps, and after it.
    energy, forces : float
        Validation RMSE, eV/atom and eV/Å.
    stress : float or None
        Validation RMSE, eV/Å3; None where the loss has none.
    seconds : float
        Time of its steps and its validation, s.
    """

    number: int
    training: float
    validation: float
    energy: float
    forces: float
    stress: float | None
    seconds: float

    @property
    def text(self) -> str:
        """Its validation errors, as progress shows them."""
        return f"validation {1e3 * self.energy:.1f} meV/atom, {1e3 * self.forces:.0f} meV/Å"


class Losses:
    """MACE's file of losses, read on as it grows.

    A fit that was continued writes the epochs since its checkpoint again; the later count.

    Parameters
    ----------
    path : Path
        The file; it may not be there yet.

    Attributes
    ----------
    epochs : list of Epoch
        What it holds so far, by number.
    """

    def __init__(self, path: Path) -> None:
        self.epochs: list[Epoch] = []
        self._path = path
        self._read = 0
        self._steps: list[tuple[float, float]] = []

    def mend(self) -> None:
        """End a line that was cut off when a fit was killed: the next must not follow on it."""
        if self._path.is_file() and not self._path.read_bytes().endswith(b"\n"):
            with manifest.writing(self._path), self._path.open("ab") as stream:
                stream.write(b"\n")

    def poll(self) -> list[Epoch]:
        """Read what is new, whole lines only, and return the new epochs."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return [new for line in whole.splitlines() if (new := self._take(line)) is not None]

    def _take(self, line: bytes) -> Epoch | None:
        try:
            row = json.loads(line)
            if row["mode"] == "opt":
                self._steps.append((float(row["loss"]), float(row["time"])))
                return None
            if row["head"] != HEAD:
                return None
        except (ValueError, KeyError, TypeError):
            return None  # cut off when a fit was killed
        steps, self._steps = self._steps, []
        if row["epoch"] is None:
            return None  # before the first step; the steps are of an epoch that was cut off
        losses = [loss for loss, _ in steps]
        new = Epoch(
            number=int(row["epoch"]) + 1,  # MACE counts from 0
            training=sum(losses) / len(losses) if losses else math.nan,
            validation=float(row["loss"]),
            energy=float(row["rmse_e_per_atom"]),
            forces=float(row["rmse_f"]),
            stress=float(row["rmse_stress"]) if row.get("rmse_stress") is not None else None,
            seconds=sum(time for _, time in steps) + float(row["time"]),
        )
        self.epochs = [*(one for one in self.epochs if one.number < new.number), new]
        return new


def draw(path: Path, epochs: Sequence[Epoch], batch: int, stage_two: int | None = None) -> None:
    """Draw losses, and errors of the validation frames, against the epoch.

    Parameters
    ----------
    path : Path
        The figure; its suffix is its format.
    epochs : sequence of Epoch
        The learning curve.
    batch : int
        Frames of a batch: by so many MACE divides the validation's loss more than the training's.
    stage_two : int, optional
        After how many epochs the weights in the loss change.
    """
    from lbpsi_driver.report.figures import COLOURS, GREY, finish, grid

    figure, panels = grid(2, width=3.5, height=3.0, columns=2)
    left, right = panels
    numbers = [one.number for one in epochs]
    left.semilogy(numbers, [one.training for one in epochs], color=COLOURS[0], label="training")
    validation = [batch * one.validation for one in epochs]
    left.semilogy(numbers, validation, color=COLOURS[1], label="validation")
    left.set_ylabel("loss")
    right.semilogy(
        numbers,
        [1e3 * one.energy for one in epochs],
        color=COLOURS[2],
        label="energy (meV/atom)",
    )
    right.semilogy(
        numbers, [1e3 * one.forces for one in epochs], color=COLOURS[3], label="force (meV/Å)"
    )
    right.set_ylabel("validation RMSE")
    for axes in panels:
        axes.set_xlabel("epoch")
        if stage_two is not None:
            axes.axvline(stage_two + 0.5, color=GREY, linestyle=":")
        axes.legend(frameon=False)
    finish(figure, panels, path)
