"""``motifs``: counts of units, anions, sharing, rings and environments in a cell or trajectory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbpsi_driver import _kernels
from lbpsi_driver.config import MotifsOptions, UsageError
from lbpsi_driver.observables.lammps_dump import progress
from lbpsi_driver.observables.motif_summary import MotifSummary, summarise
from lbpsi_driver.observables.motifs import MotifFinder
from lbpsi_driver.observables.trajectory import (
    Trajectory,
    is_trajectory,
    of_atoms,
    read,
)
from lbpsi_driver.structure import read_cell

if TYPE_CHECKING:
    from rich.table import Table

ANY_TIMESTEP_FS = 1.0
"""Given to readers of trajectories where times don't matter."""


@dataclass(frozen=True)
class MotifsResult:
    """What ``motifs`` found.

    Attributes
    ----------
    file : Path
        What was read.
    frames : list of dict
        A summary a frame, see :func:`lbpsi_driver.observables.motif_summary.summarise`.
    single : bool
        Whether one frame was wanted: the JSON is then an object, else a list.
    """

    file: Path
    frames: list[MotifSummary]
    single: bool

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Render as JSON: an object, or a list with all frames."""
        return json.dumps(self.frames[0] if self.single else self.frames, indent=indent)

    def table(self) -> Table:
        """Render for a terminal: one frame, or the means over all."""
        from rich.table import Table

        title = f"motifs of {self.file.name}, "
        title += (
            f"frame {self.frames[0]['frame']}" if self.single else f"mean of {len(self.frames)}"
        )
        table = Table("quantity", "number", title=title)
        rows = [_rows(frame) for frame in self.frames]
        for name in dict.fromkeys(name for row in rows for name in row):
            counts = [row.get(name, {}) for row in rows]
            keys = dict.fromkeys(key for one in counts for key in one)
            means = {key: sum(one.get(key, 0) for one in counts) / len(counts) for key in keys}
            table.add_row(name, "  ".join(f"{key}={mean:.4g}" for key, mean in means.items()))
        return table


def motifs(options: MotifsOptions, *, dry_run: bool = False) -> MotifsResult | None:
    """Count the motifs of a cell or trajectory.

    Parameters
    ----------
    options : MotifsOptions
        What to read and how.
    dry_run : bool
        Only check the options; nothing is written in any case.

    Returns
    -------
    MotifsResult
        A summary of one frame or of all; None after a dry run.

    Raises
    ------
    UsageError
        One line: a file that can't be read or has no cell, an element that the table doesn't have,
        no former, a bad ``--bond``, no such frame.
    """
    if options.all and "frame" in options.model_fields_set:
        raise UsageError(f"--frame {options.frame}: --all is given too; give one of the two")
    if dry_run:
        return None
    trajectory = _load(options)
    chosen = _chosen(options, trajectory.n_frames)
    finder = MotifFinder(trajectory.elements, **options.cutoffs)
    _check_cation(options, finder.species.symbols)
    frames = []
    for t in progress(chosen, f"motifs of {options.file.name}"):
        found = finder.find(trajectory.fractional[t] @ trajectory.cells[t], trajectory.cells[t])
        summary: MotifSummary = {"frame": t, **summarise(found, cation=options.cation)}
        if options.timestep is not None:
            summary["time_ps"] = float(trajectory.times_ps[t])
        frames.append(summary)
    return MotifsResult(options.file, frames, single=not options.all)


def _check_cation(options: MotifsOptions, symbols: Sequence[str]) -> None:
    """Refuse an ion that was asked for and isn't there; the default need not be."""
    cations = [symbol for symbol in symbols if _kernels.elements()[symbol][1] == "cation"]
    if "cation" in options.model_fields_set and options.cation not in cations:
        known = ", ".join(cations) or "none"
        raise UsageError(f"--cation {options.cation}: expected a cation of {options.file}: {known}")


def _load(options: MotifsOptions) -> Trajectory:
    path = options.file
    if not is_trajectory(path):
        return of_atoms(read_cell(path))
    return read(path, options.timestep or ANY_TIMESTEP_FS, options.elements)


def _chosen(options: MotifsOptions, n_frames: int) -> Sequence[int]:
    if options.all:
        return range(n_frames)
    if not -n_frames <= options.frame < n_frames:
        frames = "frame 0 alone" if n_frames == 1 else f"frames 0 to {n_frames - 1}"
        raise UsageError(f"--frame {options.frame}: {options.file} has {frames}")
    return [options.frame % n_frames]


def _rows(summary: MotifSummary) -> dict[str, Mapping[str, float]]:
    """Lines of the table: names with their numbers."""
    given: dict[str, Any] = dict(summary)
    rows: dict[str, Mapping[str, float]] = {
        title: given[key]
        for key, title in {
            "units": "units",
            "anions": "anions",
            "free": "free",
            "sharing": "shared corners, edges, faces",
        }.items()
    }
    for key, letter in {"qn": "Q", "en": "E"}.items():
        for former, counts in given[key].items():
            rows[f"{letter}n of {former}"] = {f"{letter}{n}": c for n, c in enumerate(counts)}
    rows["rings"] = given["rings"]
    rows["homopolar and S-S bonds"] = summary["homopolar"] | (
        {"S-S": summary["S-S"]} if "S-S" in summary else {}
    )
    rows["class of formers"] = summary["class"]
    rows["class of cations"] = summary["li_environment"]
    if "B" in summary["qn"]:
        rows["B"] = {
            "in_largest_anion": summary["network"]["largest_B"],
            "fraction_in_networks": summary["network"]["fraction_B"],
        }
    return {title: numbers for title, numbers in rows.items() if numbers}
