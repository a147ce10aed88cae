"""``rotations``: how far each unit of a trajectory has turned since a reference frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lbpsi_driver.config import RotationsOptions
from lbpsi_driver.motifs import ANY_TIMESTEP_FS
from lbpsi_driver.observables.lammps_dump import progress
from lbpsi_driver.observables.motifs import CLASS_NAMES
from lbpsi_driver.observables.rotation import WHOLE, Rotations, records
from lbpsi_driver.observables.rotation import rotations as follow
from lbpsi_driver.observables.trajectory import Floats, read

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class RotationsResult:
    """What ``rotations`` found.

    Attributes
    ----------
    file : Path
        The trajectory.
    reference : int
        Its frame that angles count from.
    frames : list of Rotations
        The last frame, or all from the reference on.
    single : bool
        Whether the last frame alone was wanted: the JSON is then a list of formers, else a list of
        such lists.
    """

    file: Path
    reference: int
    frames: list[Rotations]
    single: bool

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Render as JSON: a list of formers, or a list of them a frame."""
        lists = [records(frame) for frame in self.frames]
        return json.dumps(lists[0] if self.single else lists, indent=indent)

    def table(self) -> Table:
        """Render for a terminal: the last frame by class."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        last = self.frames[-1]
        title = f"rotations in {self.file.name}, degrees, frame {last.frame} against "
        columns = ["units", "not whole", "exchanges", "mean", "largest", "reduced"]
        if last.windows is not None:
            columns += ["window", "libration"]
        table = Table(title=title + str(self.reference), box=SIMPLE_HEAD, padding=0)
        table.add_column("class", no_wrap=True)
        for column in columns:
            table.add_column(column, justify="right")
        for name in CLASS_NAMES:
            of_class = last.class_names == name
            if of_class.any():
                table.add_row(name, *_row(last, of_class))
        return table


def rotations(options: RotationsOptions, *, dry_run: bool = False) -> RotationsResult | None:
    """Follow the rotation of each unit along a trajectory.

    Parameters
    ----------
    options : RotationsOptions
        What to read and how.
    dry_run : bool
        Only check the options; nothing is written in any case.

    Returns
    -------
    RotationsResult
        Of the last frame or of all; None after a dry run.

    Raises
    ------
    UsageError
        One line: a file that can't be read, no former, a bad ``--bond``, no such frame, a window
        longer than the trajectory.
    """
    if dry_run:
        return None
    trajectory = read(options.trajectory, ANY_TIMESTEP_FS, options.elements)
    found = follow(
        trajectory,
        reference=options.reference,
        hold=options.hold,
        window=options.window,
        **options.cutoffs,
    )
    reference = options.reference % trajectory.n_frames
    frames: list[Rotations] = []
    steps = range(trajectory.n_frames - reference)
    for _, frame in zip(
        progress(steps, f"rotations of {options.trajectory.name}"), found, strict=True
    ):
        if not options.all:
            frames.clear()
        frames.append(frame)
    return RotationsResult(options.trajectory, reference, frames, single=not options.all)


def _row(frame: Rotations, chosen: NDArray[np.bool_]) -> list[str]:
    angles = frame.angle_deg[chosen]
    counts = [chosen.sum(), (frame.state[chosen] != WHOLE).sum(), frame.exchanges[chosen].sum()]
    cells = [str(int(count)) for count in counts]
    cells += [_mean(angles), _number(np.nanmax(angles)) if _any(angles) else "-"]
    cells.append(_mean(frame.reduced_angle_deg[chosen]))
    if frame.windows is not None:
        cells += [
            _mean(frame.windows.angle_deg[chosen]),
            _mean(frame.windows.libration_deg[chosen]),
        ]
    return cells


def _any(values: Floats) -> bool:
    return bool(np.isfinite(values).any())


def _mean(values: Floats) -> str:
    return _number(np.nanmean(values)) if _any(values) else "-"


def _number(value: np.floating) -> str:
    return f"{value:.1f}"
