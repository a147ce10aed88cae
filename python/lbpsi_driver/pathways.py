"""``pathways``: paths of ions with the units along them, and an anion cut out of a frame.

The pieces are written as extxyz, each with a picture of it; ``pathways.json`` holds the
:class:`PathwaysResult`.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import ase
import ase.io
import numpy as np
from pydantic import Field

from lbpsi_driver import sources
from lbpsi_driver.config import AnalyzeOptions, UsageError
from lbpsi_driver.manifest import new_run, write_atomic, writing
from lbpsi_driver.observables.motifs import CLASS_NAMES, find_motifs
from lbpsi_driver.observables.pathways import (
    AnionPiece,
    anion_piece,
    classes_at,
    largest_displacements,
    pathway,
    pick_ions,
)
from lbpsi_driver.observables.trajectory import Trajectory, is_trajectory, of_atoms, read
from lbpsi_driver.pathway_options import PathwaysOptions
from lbpsi_driver.report import pathway_figures
from lbpsi_driver.report.records import Record, digits
from lbpsi_driver.structure import read_cell

if TYPE_CHECKING:
    from rich.table import Table

RESULT = "pathways.json"
_MARGIN_A = 20.0  # empty space around an anion alone: no bonds to its images


class PathRecord(Record):
    """Path of one ion."""

    ion_id: int
    motif: str
    largest_A: float
    frames: int
    start_ps: float
    stop_ps: float
    units: dict[str, int]
    file: str
    figure: str


class AnionRecord(Record):
    """Anion cut out of a frame."""

    name: str
    atoms: int
    ions: int
    endless: bool
    of_that_name: int
    file: str
    figure: str


class PathwaysResult(Record):
    """What ``pathways`` cut out; `units` of a path are those of each class in its first frame."""

    verb: str = "pathways"
    file: str
    output: str
    mobile: str
    paths: list[PathRecord] = Field(default_factory=list)
    anion: AnionRecord | None = None

    @property
    def files(self) -> list[str]:
        """What was written, relative to `output`."""
        files = [name for path in self.paths for name in (path.file, path.figure)]
        return files + ([] if self.anion is None else [self.anion.file, self.anion.figure])

    def table(self) -> Table:
        """Render for a terminal: a row a piece."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(title=f"{self.file}: written to {self.output}", box=SIMPLE_HEAD)
        for head in ("piece", "motif", "furthest\nÅ", "from, to\nps", "beside it", "file"):
            table.add_column(head, overflow="fold")
        for path in self.paths:
            units = ", ".join(f"{number} {name}" for name, number in path.units.items())
            span = f"{path.start_ps:.4g}, {path.stop_ps:.4g}"
            name = f"{self.mobile} {path.ion_id}"
            table.add_row(name, path.motif, digits(path.largest_A), span, units, path.file)
        if self.anion is not None:
            one = self.anion
            note = ", cut open: it goes through the cell for ever" if one.endless else ""
            table.add_row(one.name, "-", "-", "-", f"{one.ions} {self.mobile}{note}", one.file)
        return table


def pathways(options: PathwaysOptions, *, dry_run: bool = False) -> PathwaysResult | None:
    """Cut paths of ions and an anion out of a trajectory.

    Parameters
    ----------
    options : PathwaysOptions
        What to read, and what is wanted of it.
    dry_run : bool
        Only check the options; read and write nothing.

    Returns
    -------
    PathwaysResult
        Also in ``pathways.json`` in the output folder; None after a dry run.

    Raises
    ------
    UsageError
        One line: a file that can't be read or written, no such ion, class, anion, frame or time.
    """
    if options.motif is not None and options.motif not in CLASS_NAMES:
        raise UsageError(f"--motif {options.motif}: expected one of {', '.join(CLASS_NAMES)}")
    if options.number == 0 and options.anion is None:
        raise UsageError("--number 0: no paths and no anion wanted: give --anion")
    if not options.file.is_file():
        raise UsageError(f"{options.file}: no such file: give a trajectory or a cell")
    if dry_run:
        return None
    with writing(options.output):  # before the work, not after it
        options.output.mkdir(parents=True, exist_ok=True)
    trajectory, cutoffs = _load(options)
    result = PathwaysResult(
        file=str(options.file), output=str(options.output), mobile=options.mobile
    )
    record = new_run(options.output, "pathways", options, {"file": options.file})
    if options.number > 0:
        _cut_paths(result, trajectory, options, cutoffs)
    if options.anion is not None:
        _cut_anion(result, trajectory, options, cutoffs)
    with writing(options.output):
        write_atomic(options.output / RESULT, result.model_dump_json(indent=1) + "\n")
    record.finish({"files": result.files})
    return result


def _load(options: PathwaysOptions) -> tuple[Trajectory, sources.Cutoffs]:
    """Read the frames; time step and cutoffs of a sweep's trajectory are those of its manifest."""
    if not is_trajectory(options.file):
        return of_atoms(read_cell(options.file)), options.cutoffs
    chosen = {
        name: getattr(options, name)
        for name in ("timestep", "elements", "bond", "chain")
        if name in options.model_fields_set
    }
    (source,), _ = sources.find(AnalyzeOptions(run=options.file, **chosen))
    scratch = sources.scratch(options.output)
    return read(source.path, source.timestep_fs, options.elements, scratch), source.cutoffs


def _cut_paths(
    result: PathwaysResult,
    trajectory: Trajectory,
    options: PathwaysOptions,
    cutoffs: sources.Cutoffs,
) -> None:
    """Pick ions by class and mobility and write their paths."""
    part = _between(trajectory, options)
    ions = part.indices(options.mobile)
    if len(ions) == 0:
        present = ", ".join(np.unique(part.elements))
        raise UsageError(f"--mobile {options.mobile}: none in {options.file}; one of: {present}")
    classes = classes_at(part, ions, **cutoffs)
    mobility = largest_displacements(part.paths(ions))
    chosen = pick_ions(mobility, classes, options.motif, options.number, slowest=options.slowest)
    for ion in ions[chosen].tolist():
        found = pathway(part, ion, radius_A=options.radius, most_frames=options.frames, **cutoffs)
        number = int(found.frames[0].arrays["id"][0])
        name = f"path_{options.mobile}{number}"
        with writing(options.output):
            _write(options.output / f"{name}.extxyz", list(found.frames))
            title = f"{options.mobile} {number}, {found.class_name}"
            pathway_figures.path(found, title, options.output / f"{name}.png")
        of_units = [unit.class_name for unit in found.units]
        result.paths.append(
            PathRecord(
                ion_id=number,
                motif=found.class_name,
                largest_A=found.largest_A,
                frames=len(found.frames),
                start_ps=found.frames[0].info["time_ps"],
                stop_ps=found.frames[-1].info["time_ps"],
                units={one: of_units.count(one) for one in dict.fromkeys(of_units)},
                file=f"{name}.extxyz",
                figure=f"{name}.png",
            )
        )


def _between(trajectory: Trajectory, options: PathwaysOptions) -> Trajectory:
    """Frames of the wanted span of time: two or more."""
    since = trajectory.times_ps - trajectory.times_ps[0]
    stop = np.inf if options.time is None else options.start + options.time
    slack = 1e-9 * max(1.0, float(since[-1]))
    frames = np.flatnonzero((since >= options.start - slack) & (since <= stop + slack))
    if len(frames) < 2:
        raise UsageError(
            f"{len(frames)} frame(s) from {options.start:g} ps on in a run of {since[-1]:g} ps: a "
            "path needs two or more; --number 0 leaves paths out"
        )
    return trajectory.at(frames)


def _cut_anion(
    result: PathwaysResult,
    trajectory: Trajectory,
    options: PathwaysOptions,
    cutoffs: sources.Cutoffs,
) -> None:
    found = anion_piece(
        trajectory,
        options.anion or "",
        frame=options.frame,
        which=options.which,
        cation=options.mobile,
        radius_A=options.anion_radius,
        **cutoffs,
    )
    name = "anion_" + re.sub(r"[^A-Za-z0-9+-]+", "_", found.name).strip("_")
    with writing(options.output):
        _write(options.output / f"{name}.extxyz", [found.atoms])
        bonds = _bonds(found, cutoffs)
        pathway_figures.anion(found, bonds, options.output / f"{name}.png")
    result.anion = AnionRecord(
        name=found.name,
        atoms=found.n_anion,
        ions=len(found.atoms) - found.n_anion,
        endless=found.endless,
        of_that_name=found.of_that_name,
        file=f"{name}.extxyz",
        figure=f"{name}.png",
    )


def _bonds(found: AnionPiece, cutoffs: sources.Cutoffs) -> list[tuple[int, int]]:
    """Bonds of an anion by its atoms' places."""
    anion = found.atoms[: found.n_anion]
    size = float(np.ptp(anion.positions, axis=0).max()) + _MARGIN_A
    alone = ase.Atoms(anion.symbols, anion.positions, cell=[size] * 3, pbc=True)
    motifs = find_motifs(alone, **cutoffs)
    number = np.diff(motifs.bond_start)
    first = np.repeat(np.arange(len(number)), number)
    rows = zip(first.tolist(), motifs.bond_j.tolist(), strict=True)
    return [(a, b) for a, b in rows if a < b]


def _write(path: Path, frames: list[ase.Atoms]) -> None:
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    write_atomic(path, text.getvalue())
