"""``analyze``: trajectories in, observables with intervals out.

A sweep's folder has a subfolder ``T300`` … a temperature, each with ``trajectory.dump``; any other
LAMMPS dump, extxyz or XDATCAR is analysed as one run. ``results.json`` holds the
:class:`AnalyzeResult`; curves go into CSV files beside it, and figures. The manifest says
what they were made from, by what.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbpsi_driver import (
    analyze_diffusion,
    analyze_motifs,
    analyze_structure,
    analyze_transport,
    progress,
    sources,
)
from lbpsi_driver.analyze_diffusion import Fits, RunDiffusion, add_arrhenius, arrhenius_points
from lbpsi_driver.analyze_motifs import RunMotifs
from lbpsi_driver.analyze_structure import RunStructure
from lbpsi_driver.analyze_transport import RunHopping
from lbpsi_driver.config import AnalyzeOptions, UsageError
from lbpsi_driver.history import HISTORY, TRAJECTORY, read_history
from lbpsi_driver.manifest import new_run, write_atomic, writing
from lbpsi_driver.observables.conductivity import charge_of
from lbpsi_driver.observables.density import density
from lbpsi_driver.observables.estimate import mean_of_series
from lbpsi_driver.observables.rdf import RadialDistributions, radial_distributions
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory, read
from lbpsi_driver.report import figures, motif_figures
from lbpsi_driver.report.motif_results import MotifRecord
from lbpsi_driver.report.results import (
    RESULTS,
    AnalyzeResult,
    ArrheniusRecord,
    QuenchRecord,
    TemperatureRecord,
)
from lbpsi_driver.report.structure_results import CurveRecord
from lbpsi_driver.sources import Source


@dataclass(frozen=True)
class _Run:
    """Observables of one run as arrays, for figures, beside its record."""

    record: TemperatureRecord
    title: str
    motion: RunDiffusion
    rdf: RadialDistributions
    motifs: RunMotifs | None
    structure: RunStructure | None
    hopping: RunHopping | None


def analyze(options: AnalyzeOptions, *, dry_run: bool = False) -> AnalyzeResult:
    """Analyse a sweep's folder, a quench's folder or a trajectory.

    Parameters
    ----------
    options : AnalyzeOptions
        What to read and how.
    dry_run : bool
        Only find the input and check the options; read and write nothing else.

    Returns
    -------
    AnalyzeResult
        Also in ``results.json`` in the output folder.

    Raises
    ------
    UsageError
        One line: nothing to analyse there, no mobile ion, a file that can't be read or written.
    """
    analyze_structure.check(options)
    found, warnings = sources.find(options)
    quench = sources.quench_history(options.run)
    if not found and quench is None:
        raise UsageError(
            f"--run {options.run}: no T300/{TRAJECTORY} or the like and no {HISTORY} in it; "
            "give a sweep's folder, a quench's folder or a trajectory file"
        )
    output = options.output or (options.run if options.run.is_dir() else options.run.parent)
    result = AnalyzeResult(
        run=str(options.run),
        output=str(output),
        mobile=options.mobile,
        charge_e=charge_of(options.mobile, options.charge),
        options=options.model_dump(mode="json"),
        inputs=[str(path) for path in (*(s.path for s in found), quench) if path is not None],
        arrhenius=ArrheniusRecord(reason="nothing analysed yet"),
        warnings=warnings,
    )
    if dry_run:
        return result
    with writing(output):  # before the work, not after it
        output.mkdir(parents=True, exist_ok=True)
    record = new_run(output, "analyze", options, {name: Path(name) for name in result.inputs})
    with progress.count("analyze", len(found) * _parts(options)) as advance:
        about = (options, result.charge_e, sources.scratch(output), advance)
        runs = [_analyze_run(source, *about) for source in found]
    with writing(output):
        if quench is not None:
            _add_quench(result, quench, output, options)
        _write(result, runs, output)
    record.finish({"files": result.files})
    return result


def _write(result: AnalyzeResult, runs: list[_Run], output: Path) -> None:
    _add_runs(result, runs, output)
    fits = add_arrhenius(result)
    _draw(result, runs, fits, output)
    result.files["results"] = RESULTS
    write_atomic(output / RESULTS, result.model_dump_json(indent=1) + "\n")


def _parts(options: AnalyzeOptions) -> int:
    """How often the analysis of a run tells of its progress."""
    of_structure = options.structure * len(analyze_structure.PARTS)
    return 2 + options.motifs + of_structure + options.hopping * len(analyze_transport.PARTS)


def _analyze_run(
    source: Source,
    options: AnalyzeOptions,
    charge: float,
    scratch: Path | None,
    advance: Callable[[str], None],
) -> _Run:
    """Compute the observables of one run."""
    label = source.label
    trajectory = read(source.path, source.timestep_fs, options.elements, scratch)
    if trajectory.n_frames > 1 or options.skip > 0.0:
        trajectory = trajectory.after(options.skip)
    mobile = trajectory.indices(options.mobile)
    if len(mobile) == 0 and "mobile" in options.model_fields_set:
        present = ", ".join(np.unique(trajectory.elements))
        raise UsageError(f"--mobile {options.mobile}: none in {source.path}; one of: {present}")
    motion = analyze_diffusion.analyze_run(trajectory, options, source.temperature_K, charge)
    advance(f"{label} MSD and D")
    rdf = radial_distributions(trajectory, options.rdf_cutoff, options.rdf_bin)
    advance(f"{label} g(r)")
    motifs = structure = hopping = None
    if options.motifs:
        motifs = _motifs(source, trajectory, mobile, motion, options.mobile)
        advance(f"{label} motifs")
    if options.structure:
        of_structure = (trajectory, rdf, options, source.cutoffs, advance)
        structure = analyze_structure.analyze_run(label, *of_structure)
    if options.hopping:
        units = None if motifs is None else motifs.units
        of_hopping = (trajectory, motion, units, options, source.cutoffs, advance)
        hopping = analyze_transport.analyze_run(label, *of_hopping)
    title = label if source.temperature_K is None else f"{source.temperature_K:g} K"
    record = _record(source, trajectory, len(mobile), motion, rdf)
    record.motifs = None if motifs is None else motifs.record
    for part in (structure, hopping):
        if part is not None:
            record = record.model_copy(update=part.records)
    if structure is not None:
        record.rdf.plateaus = structure.plateau_records
    motifs = None if motifs is None else motifs.without_units()
    return _Run(record, title, motion.without_ions(), rdf, motifs, structure, hopping)


def _motifs(
    source: Source, trajectory: Trajectory, mobile: Integers, motion: RunDiffusion, element: str
) -> RunMotifs:
    """Motifs of a run, or why it has none."""
    if motion.reason is not None:
        return RunMotifs(MotifRecord(reason=motion.reason))
    about = (trajectory, mobile, motion.ions, motion.tracers[element])
    return analyze_motifs.analyze_run(
        source.label, source.deck, *about, source.timestep_fs, source.cutoffs
    )


def _record(
    source: Source,
    trajectory: Trajectory,
    n_mobile: int,
    motion: RunDiffusion,
    rdf: RadialDistributions,
) -> TemperatureRecord:
    """Record of a run without motifs, structure and hopping."""
    return TemperatureRecord(
        label=source.label,
        temperature_K=source.temperature_K,
        frames=trajectory.n_frames,
        time_ps=float(trajectory.times_ps[-1] - trajectory.times_ps[0]),
        n_mobile=n_mobile,
        volume_A3=float(trajectory.volumes_A3.mean()),
        density_g_cm3=density(trajectory),
        msd=CurveRecord(file=f"msd_{source.label}.csv"),
        rdf=CurveRecord(
            file=f"rdf_{source.label}.csv", cutoff_A=rdf.cutoff_A, first_peak_A=rdf.first_peak_A
        ),
        D_cm2_per_s=motion.records,
        **motion.fields,
    )


def _add_quench(result: AnalyzeResult, path: Path, output: Path, options: AnalyzeOptions) -> None:
    record = read_history(path.parent)
    if len(record.step) == 0:
        raise UsageError(f"{path}: no rows of a run's history: is the run started?")
    last = str(record.stage[-1])
    values = record.density[record.stage == last]
    result.quench = QuenchRecord(
        history=str(path), last_stage=last, density_g_cm3=mean_of_series(values)
    )
    result.files["history"] = "history.png"
    figures.history(record, output / "history.png")
    found = analyze_motifs.quench(path.parent, record) if options.motifs else None
    if found is not None:
        result.quench.motifs, populations = found
        _write_csv(output / result.quench.motifs.file, populations.table())
        result.files |= {"motifs": result.quench.motifs.file, "motifs_figure": "motifs.png"}
        motif_figures.populations_in_time(populations, output / "motifs.png")


def _add_runs(result: AnalyzeResult, runs: list[_Run], output: Path) -> None:
    """Enter the runs' records and write their curves."""
    for run in runs:
        record = run.record
        result.temperatures.append(record)
        _write_csv(output / record.msd.file, run.motion.table())
        rdf = run.rdf
        rdf_table = {"r_A": rdf.r_A, "r_upper_A": rdf.r_A + 0.5 * (rdf.r_A[1] - rdf.r_A[0])}
        rdf_table |= {f"g_{pair}": values for pair, values in rdf.g.items()}
        rdf_table |= {f"n_{pair}_to_r_upper": values for pair, values in rdf.coordination.items()}
        _write_csv(output / record.rdf.file, rdf_table)
        result.files |= {
            f"msd_{record.label}": record.msd.file,
            f"rdf_{record.label}": record.rdf.file,
        }
        if run.motifs is not None:
            result.files |= _write_motifs(run.motifs, record.label, output)
        tables = {} if run.structure is None else run.structure.tables()
        tables |= {} if run.hopping is None else run.hopping.tables()
        for kind, table in tables.items():
            name = f"{kind}_{record.label}"
            result.files[name] = f"{name}.csv"
            _write_csv(output / f"{name}.csv", table)
        cube = None if run.hopping is None else run.hopping.cube()
        if cube is not None and record.ion_density is not None and record.ion_density.file:
            result.files[f"ion_density_{record.label}"] = record.ion_density.file
            write_atomic(output / record.ion_density.file, cube)


def _write_motifs(motifs: RunMotifs, label: str, output: Path) -> dict[str, str]:
    """Write the curves by class; return their files."""
    record, written = motifs.record, {}
    if record.populations is not None and motifs.populations is not None:
        _write_csv(output / record.populations.file, motifs.populations.table())
        written[f"motifs_{label}"] = record.populations.file
    if record.msd is not None:
        _write_csv(output / record.msd.file, motifs.msd_table())
        written[f"msd_motif_{label}"] = record.msd.file
    return written


def _write_csv(path: Path, columns: dict[str, Floats]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{v:.0f}" if float(v).is_integer() else f"{v:.6g}" for v in row])
    write_atomic(path, text.getvalue())


def _draw(result: AnalyzeResult, runs: list[_Run], fits: Fits, output: Path) -> None:
    if not runs:
        return
    result.files["rdf"] = "rdf.png"
    rdfs = {run.title: run.rdf for run in runs}
    figures.rdf(rdfs, output / "rdf.png")
    curves = [
        figures.MsdCurves(
            run.title,
            run.motion.lags_ps,
            run.motion.msd_A2,
            run.motion.slopes,
            run.motion.tracers[result.mobile].window,
        )
        for run in runs
        if run.motion.reason is None
    ]
    if curves:
        result.files["msd"] = "msd.png"
        figures.msd(curves, output / "msd.png")
    found = {run.title: run.structure for run in runs if run.structure is not None}
    result.files |= analyze_structure.draw(found, rdfs, output)
    hopping = {run.title: run.hopping for run in runs if run.hopping is not None}
    result.files |= analyze_transport.draw(hopping, result.mobile, output)
    _draw_motifs(result, runs, output)
    panels = arrhenius_points(result, fits)
    if panels:
        result.files["arrhenius"] = "arrhenius.png"
        figures.arrhenius(panels, output / "arrhenius.png")


def _draw_motifs(result: AnalyzeResult, runs: list[_Run], output: Path) -> None:
    """Draw populations, MSD and rotations by class of the runs that have motifs."""
    found = {run.title: run.motifs for run in runs if run.motifs is not None}
    records = {title: motifs.record.classes for title, motifs in found.items()}
    if not any(records.values()):
        return
    result.files |= {"populations": "populations.png", "rotation": "rotation.png"}
    motif_figures.populations(records, output / "populations.png")
    motif_figures.rotation(records, output / "rotation.png")
    curves = {
        title: (motifs.displacements, tuple(motifs.record.classes))
        for title, motifs in found.items()
        if motifs.displacements is not None
    }
    if curves:
        result.files["msd_motif"] = "msd_motif.png"
        motif_figures.msd(curves, result.mobile, output / "msd_motif.png")
