"""``analyze``: trajectories in, observables with intervals out.

A sweep's folder has a subfolder ``T300`` … a temperature, each with ``trajectory.dump``; any other
LAMMPS dump, extxyz or XDATCAR is analysed as one run. ``results.json`` holds the
:class:`AnalyzeResult`; curves go into CSV files beside it, and figures. The manifest says
what they were made from, by what.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lbpsi_driver import analyze_motifs, analyze_structure, progress
from lbpsi_driver.analyze_motifs import RunMotifs
from lbpsi_driver.analyze_structure import RunStructure
from lbpsi_driver.config import AnalyzeOptions, CutoffOptions, UsageError
from lbpsi_driver.history import HISTORY, TRAJECTORY, read_history
from lbpsi_driver.manifest import new_run, write_atomic, writing
from lbpsi_driver.observables import msd as msd_module
from lbpsi_driver.observables.arrhenius import ArrheniusFit, arrhenius
from lbpsi_driver.observables.conductivity import (
    charge_of,
    collective_diffusion,
    nernst_einstein,
)
from lbpsi_driver.observables.density import density
from lbpsi_driver.observables.diffusion import TracerDiffusion, tracer_diffusion
from lbpsi_driver.observables.estimate import Estimate, mean_of_series
from lbpsi_driver.observables.rdf import RadialDistributions, radial_distributions
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory, read
from lbpsi_driver.report import figures, motif_figures
from lbpsi_driver.report.records import DiffusionRecord
from lbpsi_driver.report.results import (
    RESULTS,
    AnalyzeResult,
    ArrheniusRecord,
    QuenchRecord,
    TemperatureRecord,
)
from lbpsi_driver.report.structure_results import CurveRecord

ROOM_K = 300.0

_LOG = logging.getLogger(__name__)
_TEMPERATURE_FOLDER = re.compile(r"T(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class _Source:
    """A trajectory to analyse."""

    label: str
    path: Path
    temperature_K: float | None
    timestep_fs: float | None
    cutoffs: dict[str, Any]
    deck: Path | None  # folder of what the deck wrote with the same cutoffs


@dataclass(frozen=True)
class _Run:
    """Observables of one run as arrays, for figures, beside its record."""

    record: TemperatureRecord
    title: str
    lags_ps: Floats
    msd_A2: dict[str, Floats]
    tracer: TracerDiffusion
    rdf: RadialDistributions
    motifs: RunMotifs | None
    structure: RunStructure | None


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
    sources, warnings = _find(options)
    quench = _quench_history(options.run)
    if not sources and quench is None:
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
        inputs=[str(path) for path in (*(s.path for s in sources), quench) if path is not None],
        arrhenius=ArrheniusRecord(reason="nothing analysed yet"),
        warnings=warnings,
    )
    if dry_run:
        return result
    with writing(output):  # before the work, not after it
        output.mkdir(parents=True, exist_ok=True)
    record = new_run(output, "analyze", options, {name: Path(name) for name in result.inputs})
    with progress.count("analyze", len(sources) * _parts(options)) as advance:
        runs = [_analyze_run(source, options, result.charge_e, advance) for source in sources]
    with writing(output):
        if quench is not None:
            _add_quench(result, quench, output, options)
        _write(result, runs, output)
    record.finish({"files": result.files})
    return result


def _write(result: AnalyzeResult, runs: list[_Run], output: Path) -> None:
    _add_runs(result, runs, output)
    fit = _add_arrhenius(result)
    _draw(result, runs, fit, output)
    result.files["results"] = RESULTS
    write_atomic(output / RESULTS, result.model_dump_json(indent=1) + "\n")


def _find(options: AnalyzeOptions) -> tuple[list[_Source], list[str]]:
    """Trajectories of a run by temperature, and what is missing."""
    run = options.run
    if run.is_file():
        if run.name != TRAJECTORY or not _TEMPERATURE_FOLDER.fullmatch(run.resolve().parent.name):
            deck = run.parent if run.name == TRAJECTORY else None
            about = (options.temperature, options.timestep, options.cutoffs, deck)
            return [_Source(run.stem, run, *about)], []
        run = run.parent
    if not run.is_dir():
        raise UsageError(f"--run {run}: no such file or folder; run sweep first")
    folders = {}
    for folder in [run, *run.iterdir()]:
        match = _TEMPERATURE_FOLDER.fullmatch(folder.resolve().name)
        if match and folder.is_dir():
            folders[float(match[1])] = folder
    sources, warnings = [], []
    for temperature, folder in sorted(folders.items()):
        path = folder / TRAJECTORY
        if path.is_file():
            of_run = _sweep_options(folder.parent)
            timestep = options.timestep or of_run.get("timestep")
            cutoffs = _cutoffs(options, of_run)
            deck = folder if cutoffs == _cutoffs(AnalyzeOptions(), of_run) else None
            about = (temperature, timestep, cutoffs, deck)
            sources.append(_Source(folder.resolve().name, path, *about))
        elif folder != run:
            warnings.append(f"{folder.name}: no {TRAJECTORY} yet, left out")
    for warning in warnings:
        _LOG.warning(warning)
    return sources, warnings


def _cutoffs(options: AnalyzeOptions, of_run: Mapping[str, Any]) -> dict[str, Any]:
    """Cutoffs of motifs: those given here, else those that the run was made with."""
    chosen = {
        name: getattr(options, name) if name in options.model_fields_set else of_run.get(name)
        for name in CutoffOptions.model_fields
    }
    return CutoffOptions(**{name: value for name, value in chosen.items() if value}).cutoffs


def _sweep_options(folder: Path) -> dict[str, Any]:
    """Options of the sweep from its manifest; empty where there is none."""
    try:
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    record = content.get("runs", {}).get("sweep", content)
    options: dict[str, Any] = record.get("options", {})
    return options


def _quench_history(run: Path) -> Path | None:
    """History of a quench: in its own folder, or beside the cell that a sweep started from."""
    if not run.is_dir():
        return None
    data = _sweep_options(run).get("data")
    places = [run, *([Path(data).parent] if data else [])]
    return next((p / HISTORY for p in places if (p / HISTORY).is_file()), None)


def _parts(options: AnalyzeOptions) -> int:
    """How often the analysis of a run tells of its progress."""
    return 2 + options.motifs + options.structure * len(analyze_structure.PARTS)


def _analyze_run(
    source: _Source, options: AnalyzeOptions, charge: float, advance: Callable[[str], None]
) -> _Run:
    """Compute the observables of one run."""
    label = source.label
    trajectory = read(source.path, source.timestep_fs, options.elements).after(options.skip)
    mobile = trajectory.indices(options.mobile)
    if len(mobile) == 0:
        present = ", ".join(np.unique(trajectory.elements))
        raise UsageError(f"--mobile {options.mobile}: none in {source.path}; one of: {present}")
    spacing, index = trajectory.grid()
    positions = trajectory.positions(options.unwrap)
    lags, curves = _msd_curves(trajectory, positions, options, spacing, index)
    masses = trajectory.masses_amu
    ions = msd_module.remove_drift(positions, masses, options.com, mobile)
    tracer = tracer_diffusion(ions, spacing, index)
    in_frame = msd_module.remove_drift(positions, masses, "all", mobile)
    transport = _transport(trajectory, in_frame, tracer, source.temperature_K, charge)
    advance(f"{label} MSD and D")
    rdf = radial_distributions(trajectory, options.rdf_cutoff, options.rdf_bin)
    advance(f"{label} g(r)")
    motifs = structure = None
    if options.motifs:
        about = (trajectory, mobile, ions, tracer, source.timestep_fs, source.cutoffs)
        motifs = analyze_motifs.analyze_run(label, source.deck, *about)
        advance(f"{label} motifs")
    if options.structure:
        of_structure = (trajectory, rdf, options, source.cutoffs, advance)
        structure = analyze_structure.analyze_run(label, *of_structure)
    title = label if source.temperature_K is None else f"{source.temperature_K:g} K"
    diffusion = {options.mobile: DiffusionRecord.of(tracer)}
    record = _record(source, trajectory, len(mobile), diffusion, rdf, transport)
    record.motifs = None if motifs is None else motifs.record
    if structure is not None:
        record = record.model_copy(update=structure.records)
        record.rdf.plateaus = structure.plateau_records
    return _Run(record, title, lags, curves, tracer, rdf, motifs, structure)


def _record(
    source: _Source,
    trajectory: Trajectory,
    n_mobile: int,
    diffusion: dict[str, DiffusionRecord],
    rdf: RadialDistributions,
    transport: dict[str, Any],
) -> TemperatureRecord:
    """Record of a run without motifs and structure."""
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
        D_cm2_per_s=diffusion,
        **transport,
    )


def _msd_curves(
    trajectory: Trajectory,
    positions: Floats,
    options: AnalyzeOptions,
    spacing_ps: float,
    index: Integers,
) -> tuple[Floats, dict[str, Floats]]:
    """MSD of each element up to half the run: beyond, hardly two lags are independent."""
    length = max(2, int(index[-1]) // 2 + 1)
    curves = {}
    for element in np.unique(trajectory.elements):
        group = trajectory.indices(element)
        paths = msd_module.remove_drift(positions, trajectory.masses_amu, options.com, group)
        curves[str(element)] = msd_module.mean_squared_displacement(paths, index)[:length]
    return np.arange(length, dtype=np.float64) * spacing_ps, curves


def _transport(
    trajectory: Trajectory,
    ions: Floats,
    tracer: TracerDiffusion,
    temperature_K: float | None,
    charge: float,
) -> dict[str, Any]:
    """Conductivities and Haven ratio as fields of a :class:`TemperatureRecord`."""
    D = Estimate(mean=tracer.D_cm2_per_s, ci95=tracer.ci95_cm2_per_s, reason=tracer.reason)
    spacing, index = trajectory.grid()
    missing = None
    if ions.shape[1] == trajectory.fractional.shape[1]:
        missing = "no other ions: the summed displacement is that of the centre of mass, zero"
    elif tracer.window is None:
        missing = tracer.reason
    if missing is not None or tracer.window is None:
        D_sigma = ratio = Estimate(mean=None, reason=missing)
        lags = None
    else:
        found = collective_diffusion(ions, tracer.window.start_ps, spacing, index)
        D_sigma = found.D_sigma_cm2_per_s.flagged(tracer.reason)
        ratio, lags = found.haven_ratio.flagged(tracer.reason), found.lags_ps
    if temperature_K is None:
        sigma_NE = sigma = Estimate(mean=None, reason="temperature unknown: give --temperature")
    else:
        n = ions.shape[1] / float(trajectory.volumes_A3.mean())
        sigma_NE = nernst_einstein(D, n, charge, temperature_K)
        sigma = nernst_einstein(D_sigma, n, charge, temperature_K)
    return {
        "sigma_NE_mS_per_cm": sigma_NE,
        "sigma_mS_per_cm": sigma,
        "D_sigma_cm2_per_s": D_sigma,
        "haven_ratio": ratio,
        "collective_window_ps": lags,
    }


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
        msd_table = {"lag_ps": run.lags_ps}
        msd_table |= {f"msd_{element}_A2": values for element, values in run.msd_A2.items()}
        _write_csv(output / record.msd.file, msd_table)
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
        for kind, table in tables.items():
            name = f"{kind}_{record.label}"
            result.files[name] = f"{name}.csv"
            _write_csv(output / f"{name}.csv", table)


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
        writer.writerow([f"{value:.6g}" for value in row])
    write_atomic(path, text.getvalue())


def _add_arrhenius(result: AnalyzeResult) -> ArrheniusFit | None:
    """Fit the diffusive temperatures, or enter why not."""
    rows = [
        (row.temperature_K, row.D_cm2_per_s[result.mobile])
        for row in result.temperatures
        if row.temperature_K is not None and row.D_cm2_per_s[result.mobile].diffusive
    ]
    fit = arrhenius([T for T, _ in rows], [D for _, D in rows])
    if isinstance(fit, str):
        result.arrhenius = ArrheniusRecord(reason=fit)
        return None
    nearest = min(
        (row for row in result.temperatures if row.temperature_K is not None),
        key=lambda row: abs((row.temperature_K or 0.0) - ROOM_K),
    )
    n = nearest.n_mobile / nearest.volume_A3
    room = fit.at(ROOM_K)
    result.arrhenius = ArrheniusRecord(
        Ea_eV=fit.Ea_eV,
        prefactor_cm2_per_s=fit.prefactor_cm2_per_s,
        D_300K_cm2_per_s=room,
        sigma_NE_300K_mS_per_cm=nernst_einstein(room, n, result.charge_e, ROOM_K),
        temperatures_K=fit.temperatures_K,
        chi2_per_degree=fit.chi2_per_degree,
    )
    return fit


def _draw(result: AnalyzeResult, runs: list[_Run], fit: ArrheniusFit | None, output: Path) -> None:
    if not runs:
        return
    result.files |= {"msd": "msd.png", "rdf": "rdf.png"}
    curves = [
        figures.MsdCurves(run.title, run.lags_ps, run.msd_A2, run.tracer.window) for run in runs
    ]
    figures.msd(curves, output / "msd.png")
    figures.rdf({run.title: run.rdf for run in runs}, output / "rdf.png")
    found = {run.title: run.structure for run in runs if run.structure is not None}
    result.files |= analyze_structure.draw(found, {run.title: run.rdf for run in runs}, output)
    _draw_motifs(result, runs, output)
    rows = [row for row in result.temperatures if row.temperature_K is not None]
    transport = [row.D_cm2_per_s[result.mobile] for row in rows]
    if len([D for D in transport if D.ci95 is not None]) < 2:
        return
    result.files["arrhenius"] = "arrhenius.png"
    figures.arrhenius(
        [row.temperature_K or 0.0 for row in rows],
        transport,
        [D.diffusive for D in transport],
        fit,
        result.mobile,
        output / "arrhenius.png",
    )


def _draw_motifs(result: AnalyzeResult, runs: list[_Run], output: Path) -> None:
    """Draw populations, MSD and rotations by class of the runs that have motifs."""
    found = {run.title: run.motifs for run in runs if run.motifs is not None}
    records = {title: motifs.record.classes for title, motifs in found.items()}
    if not any(records.values()):
        return
    result.files |= {
        "populations": "populations.png",
        "msd_motif": "msd_motif.png",
        "rotation": "rotation.png",
    }
    motif_figures.populations(records, output / "populations.png")
    motif_figures.rotation(records, output / "rotation.png")
    curves = {
        title: (motifs.displacements, tuple(motifs.record.classes))
        for title, motifs in found.items()
        if motifs.displacements is not None
    }
    motif_figures.msd(curves, result.mobile, output / "msd_motif.png")
