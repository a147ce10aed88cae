"""The motif part of ``analyze``: populations, rotations, MSD and D of the mobile ion by class.

Populations and rotations are taken from what the deck wrote while it ran, where that is beside the
trajectory, else from the frames. MSD and D by class are from the frames: they need many origins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lbpsi_driver import motif_history
from lbpsi_driver.history import MOTIFS, ROTATIONS, History
from lbpsi_driver.motif_history import Blocks, MotifHistory
from lbpsi_driver.observables.diffusion import TracerDiffusion, without_D
from lbpsi_driver.observables.estimate import Estimate, mean_of_series, mean_share
from lbpsi_driver.observables.motif_series import (
    N_FORMER_CLASSES,
    MotifSeries,
    UnitPaths,
    motif_series,
)
from lbpsi_driver.observables.motif_transport import (
    ClassDisplacements,
    Populations,
    class_diffusion,
    class_displacements,
    survival_time_ps,
)
from lbpsi_driver.observables.motifs import CLASS_NAMES
from lbpsi_driver.observables.paths import Positions
from lbpsi_driver.observables.spool import Array, Stored, columns, rows_at
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory
from lbpsi_driver.report.motif_results import (
    ClassRecord,
    MotifCurveRecord,
    MotifRecord,
    QuenchMotifRecord,
    RotationRecord,
)
from lbpsi_driver.report.records import DiffusionRecord

_FEWEST_ROWS = 2
_FRAMES = "trajectory"


@dataclass(frozen=True)
class RunMotifs:
    """Motifs of one run as arrays, for curves and figures, beside their record."""

    record: MotifRecord
    populations: Populations | None = None
    displacements: ClassDisplacements | None = None
    units: UnitPaths | None = None

    def without_units(self) -> RunMotifs:
        """Leave out the paths of units, which aren't needed for tables and figures."""
        return replace(self, units=None)

    def msd_table(self) -> dict[str, Floats]:
        """Columns of the CSV file of displacements: the classes that ions have."""
        if self.displacements is None:
            return {}
        found = self.displacements
        table = {"lag_ps": found.lags_ps}
        for name in self.record.classes:
            place = CLASS_NAMES.index(name)
            if found.origin.number[:, place].any():
                table[f"msd_{name}_A2"] = found.origin.msd_A2[:, place]
                table[f"survivors_msd_{name}_A2"] = found.survivors.msd_A2[:, place]
                table[f"surviving_{name}"] = found.surviving[:, place]
        return table


def analyze_run(
    label: str,
    deck: Path | None,
    trajectory: Trajectory,
    mobile: Integers,
    ions: Positions,
    tracer: TracerDiffusion,
    timestep_fs: float | None,
    cutoffs: Mapping[str, Any],
) -> RunMotifs:
    """Motifs of one run.

    Parameters
    ----------
    label : str
        Name of the run, for its files.
    deck : Path or None
        Folder of what the deck wrote, if it is there; None: all is taken from the frames.
    trajectory : Trajectory
        Its frames.
    mobile : ndarray of int, shape (N,)
        Indices of the mobile ions.
    ions : ndarray or Paths, shape (F, N, 3)
        Their unwrapped, drift-free positions, Å.
    tracer : TracerDiffusion
        D of all of them: where that isn't diffusive, none of a class is.
    timestep_fs : float or None
        Time of an MD step, fs.
    cutoffs : mapping
        `bonds` and `chain` of :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Returns
    -------
    RunMotifs
        Without numbers, and with a reason, where the elements have no motifs; those of formers
        alone where there are no mobile ions.

    Raises
    ------
    UsageError
        Files of a deck whose classes are others.
    """
    why = motif_history.absent(trajectory.elements.tolist())
    if why is not None:
        return RunMotifs(MotifRecord(reason=why))
    spacing, index = trajectory.grid()
    series = motif_series(trajectory, mobile, **cutoffs)
    populations = _populations(deck, trajectory, series)
    table, source = _rotations(deck, trajectory, series, timestep_fs)
    found = class_displacements(ions, series.ions, spacing, index) if len(mobile) else None
    classes = {
        name: _class_record(code, populations, series, found, tracer)
        for code, name in enumerate(CLASS_NAMES, start=1)
        if _is_present(code, populations, series)
    }
    for name, row in zip(CLASS_NAMES, series.orientations, strict=False):
        if name in classes:
            rows = columns(table, np.array([classes[name].code - 1]))[:, 0]
            classes[name].rotation = _rotation_record(rows, *row.tolist())
    record = MotifRecord(
        populations=MotifCurveRecord(file=f"motifs_{label}.csv", source=populations.source),
        rotations_source=source,
        msd=found and MotifCurveRecord(file=f"msd_motif_{label}.csv", source=_FRAMES),
        classes=classes,
    )
    return RunMotifs(record, populations, found, series.units)


def quench(folder: Path, history: History) -> tuple[QuenchMotifRecord, Populations] | None:
    """Find the populations along a quench and their means in its last stage.

    Parameters
    ----------
    folder : Path
        The quench's folder.
    history : History
        Its ``history.dat``, with rows.

    Returns
    -------
    QuenchMotifRecord, Populations
        None where it has no ``motifs.dat``.

    Raises
    ------
    UsageError
        A ``motifs.dat`` whose classes are others.
    """
    rows = motif_history.read_motifs(folder)
    if rows is None:
        return None
    populations = _of_history(rows)
    in_stage = history.time[history.stage == history.stage[-1]]
    last = rows.between(float(in_stage[0]), float(in_stage[-1]))
    means = {}
    if len(last.step) > 0:
        means = {
            name: mean_share(last.fractions[:, place])
            for place, name in enumerate(CLASS_NAMES[:N_FORMER_CLASSES])
            if last.counts[:, place].any()
        }
    return QuenchMotifRecord(file="motifs.csv", fraction_of_formers=means), populations


def _of_history(rows: MotifHistory) -> Populations:
    return Populations(rows.time_ps, rows.temperature_K, rows.fractions, MOTIFS)


def _populations(deck: Path | None, trajectory: Trajectory, series: MotifSeries) -> Populations:
    """Take the populations from ``motifs.dat`` of the same span of time, else from the frames."""
    times = trajectory.times_ps
    rows = None if deck is None else motif_history.read_motifs(deck)
    if rows is not None:
        rows = rows.between(float(times[0]), float(times[-1]))
        if len(rows.step) >= _FEWEST_ROWS:
            return _of_history(rows)
    fractions = series.formers / series.formers.sum(axis=1, keepdims=True)
    return Populations(times, np.full(len(times), np.nan), fractions, _FRAMES)


def _rotations(
    deck: Path | None, trajectory: Trajectory, series: MotifSeries, timestep_fs: float | None
) -> tuple[Array | Stored, str]:
    """Rotations of units by class, shape (R, 11, 6), and where they are from."""
    blocks = None if deck is None else motif_history.read_rotations(deck)
    if blocks is not None and timestep_fs is not None:
        steps = np.rint(trajectory.times_ps * (1000.0 / timestep_fs)).astype(np.int64)
        blocks = _turned(blocks.between(int(steps[0]), int(steps[-1])))
        if len(blocks.step) >= _FEWEST_ROWS:
            return blocks.values, ROTATIONS
    return rows_at(series.rotations, slice(1, None)), _FRAMES


def _turned(blocks: Blocks) -> Blocks:
    """Leave out the reference itself, where nothing has turned."""
    kept = blocks.values[:, :, 3].any(axis=1)
    return Blocks(blocks.step[kept], blocks.values[kept])


def _is_present(code: int, populations: Populations, series: MotifSeries) -> bool:
    of_formers = code <= N_FORMER_CLASSES and populations.fractions[:, code - 1].any()
    return bool(of_formers or series.share_of_ions(code).any())


def _class_record(
    code: int,
    populations: Populations,
    series: MotifSeries,
    found: ClassDisplacements | None,
    tracer: TracerDiffusion,
) -> ClassRecord:
    frames = len(series.ions)
    of_formers = None
    if code <= N_FORMER_CLASSES:
        of_formers = mean_share(populations.fractions[:, code - 1])
    if found is None:
        of_none = DiffusionRecord.of(tracer)
        return ClassRecord(
            code=code,
            fraction_of_formers=of_formers,
            fraction_of_mobile=Estimate(mean=None, reason=tracer.reason),
            D_cm2_per_s=of_none,
            D_survivors_cm2_per_s=of_none,
            survival_time_ps=None,
        )
    diffusion = {}
    for key, survivors in (("D_cm2_per_s", False), ("D_survivors_cm2_per_s", True)):
        of_class = class_diffusion(found.statistics(code, survivors=survivors), frames)
        diffusion[key] = DiffusionRecord.of(_judged(of_class, tracer))
    return ClassRecord(
        code=code,
        fraction_of_formers=of_formers,
        fraction_of_mobile=mean_share(series.share_of_ions(code)),
        survival_time_ps=survival_time_ps(found, code),
        **diffusion,
    )


def _judged(of_class: TracerDiffusion, tracer: TracerDiffusion) -> TracerDiffusion:
    """Flag a class in a run that isn't diffusive: few ions can't show it by themselves."""
    if tracer.D_cm2_per_s is None and of_class.D_cm2_per_s is not None:
        return without_D(f"of all ions: {tracer.reason}")
    if not of_class.diffusive or tracer.diffusive:
        return of_class
    return replace(of_class, diffusive=False, reason=f"of all ions: {tracer.reason}")


def _rotation_record(rows: Floats, averaged: float, libration: float) -> RotationRecord | None:
    """Average the columns of ``compute kabsch`` over time; None where the class has no units."""
    count, mean, rms, largest, broken, exchanges = rows.T
    units = count + broken
    if not units.any():
        return None
    whole = count > 0
    angle = Estimate(mean=None, reason="no whole unit: all have other S than the reference")
    square = None
    if whole.any():
        angle = mean_of_series(mean[whole])
        square = float(np.sqrt(np.average(rms[whole] ** 2, weights=count[whole])))
    return RotationRecord(
        angle_deg=angle,
        rms_deg=square,
        largest_deg=float(largest[whole].max()) if whole.any() else None,
        averaged_deg=None if np.isnan(averaged) else averaged,
        libration_deg=None if np.isnan(libration) else libration,
        broken_fraction=mean_share((broken / np.maximum(units, 1.0))[units > 0]),
        exchanges=int(exchanges[-1]),
    )
