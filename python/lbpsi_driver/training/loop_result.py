"""Result of ``train loop``: a record an iteration, their table and their figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import colormaps
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from lbpsi_driver.report.figures import GREY, finish, grid, legend

End = Literal["converged", "no candidates", "budget", "iterations"]

_LEAST_DEVIATION = 1e-3
_COLUMNS = (
    "no.",
    "frames",
    "stopped",
    "shares / %",
    "median / eV/Å",
    "labels",
    "energy / meV/atom",
    "forces / meV/Å",
)


class Iteration(BaseModel):
    """What one iteration explored, chose and learned.

    Attributes
    ----------
    number : int
        From 1.
    models : tuple of Path
        Its committee.
    frames : int
        Explored frames; those after a trajectory ran away are among the failed.
    accurate, candidate, failed : int
        How many have a maximum force deviation below the lower bound, between the bounds, and from
        the upper one on.
    stopped : dict of str to str
        Why trajectories ended early, by source.
    median, largest : float or None
        Of the deviations, eV/Å; None without frames.
    selected, labelled : int
        Candidates given to the reference, and those that it labelled; the others were set aside.
    energy_rmse, forces_rmse : float or None
        Errors of the committee's mean on the new labels, before it learns from them, meV/atom and
        meV/Å; None without labels.
    ended : str or None
        Why the loop ended with it.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    models: tuple[Path, ...]
    frames: int
    accurate: int
    candidate: int
    failed: int
    stopped: dict[str, str]
    median: float | None
    largest: float | None
    selected: int = 0
    labelled: int = 0
    energy_rmse: float | None = None
    forces_rmse: float | None = None
    ended: End | None = None

    def share(self, sort: Literal["accurate", "candidate", "failed"]) -> float:
        """Share of the frames of a sort; 0 without frames."""
        count: int = getattr(self, sort)
        return count / self.frames if self.frames else 0.0


class LoopResult(BaseModel):
    """Result of ``train loop``.

    Attributes
    ----------
    ended : str or None
        Why it ended: ``converged``, ``no candidates``, ``budget`` or ``iterations``; None in the
        file while it runs.
    reason : str
        The same in words.
    iterations : tuple of Iteration
        In order.
    models : tuple of Path
        The last committee; it has learned all labels.
    data : tuple of Path
        All labelled frames, to fit to.
    figure : Path
        Distribution of the deviations in each iteration.
    """

    model_config = ConfigDict(frozen=True)

    ended: End | None
    reason: str
    iterations: tuple[Iteration, ...]
    models: tuple[Path, ...]
    data: tuple[Path, ...]
    figure: Path

    def table(self) -> Table:
        """Lay the iterations out for the terminal; the columns carry their units."""
        labels = sum(one.labelled for one in self.iterations)
        models = ", ".join(map(str, self.models))
        caption = (
            f"{self.reason}\nshares: accurate, candidate, failed; {labels} labels\n"
            f"figure: {self.figure}\nmodels: {models}"
        )
        table = Table(title="Iterations", caption=caption, caption_justify="left")
        for column in _COLUMNS:
            table.add_column(column, justify="right")
        for one in self.iterations:
            shares = (one.share("accurate"), one.share("candidate"), one.share("failed"))
            failed = one.selected - one.labelled
            table.add_row(
                str(one.number),
                str(one.frames),
                str(len(one.stopped)),
                ", ".join(f"{100 * share:.0f}" for share in shares),
                _number(one.median, 3),
                f"{one.labelled} of {one.selected}" if failed else str(one.labelled),
                _number(one.energy_rmse, 1),
                _number(one.forces_rmse, 0),
            )
        return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def plot(deviations: Sequence[Sequence[float]], lower: float, upper: float, path: Path) -> None:
    """Draw the cumulative distribution of deviations, a curve an iteration.

    Parameters
    ----------
    deviations : sequence of sequences of float
        Maximum force deviations of each iteration's frames, eV/Å; NaN counts as beyond all.
    lower, upper : float
        Bounds of the candidates, eV/Å; the band between them is shaded.
    path : Path
        The file to write.
    """
    figure, panels = grid(1, width=4.8, height=3.2, columns=1)
    axes = panels[0]
    axes.axvspan(lower, upper, color=GREY, alpha=0.2, linewidth=0, label="candidates")
    colours = colormaps["viridis"](np.linspace(0.0, 0.9, len(deviations)))
    for number, (found, colour) in enumerate(zip(deviations, colours, strict=True), 1):
        known = np.sort([value for value in found if np.isfinite(value)])
        below = np.arange(1, len(known) + 1) / max(1, len(found))
        heights = np.concatenate([[0.0], below])
        edges = np.maximum(np.concatenate([known[:1], known]), _LEAST_DEVIATION)
        if len(known):
            axes.step(edges, heights, where="post", color=colour, label=f"iteration {number}")
    axes.set_xscale("log")
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel("maximum force deviation (eV/Å)")
    axes.set_ylabel("share of frames below")
    legend(figure, panels, columns=4)
    finish(figure, panels, path)
