"""The hopping part of ``analyze``: van Hove functions, α2, density on a grid, hops, rotations.

What can't be had of a run leaves the reason in its record, and the other observables go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from ase.io.cube import write_cube

from lbpsi_driver import motif_history
from lbpsi_driver.analyze_diffusion import RunDiffusion
from lbpsi_driver.attempt import attempt
from lbpsi_driver.config import AnalysisOptions, UsageError
from lbpsi_driver.observables.density_grid import (
    DensityGrid,
    Visited,
    density_grid,
    enclosing_threshold,
    percolation_density,
    visited,
)
from lbpsi_driver.observables.hop_rotation import (
    Coupling,
    Pairs,
    UnitTurns,
    coupling,
    near,
    unit_turns,
)
from lbpsi_driver.observables.hops import Hops, Residence, detect_hops, hop_rate, residence
from lbpsi_driver.observables.motif_series import UnitPaths, motif_series
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory
from lbpsi_driver.observables.van_hove import (
    DistinctPart,
    NonGaussian,
    SelfPart,
    distinct_part,
    lags_on_grid,
    non_gaussian,
    self_part,
)
from lbpsi_driver.report import density_surface, transport_figures
from lbpsi_driver.report.transport_results import (
    CouplingRecord,
    HopRotationRecord,
    HopsRecord,
    IonDensityRecord,
    NonGaussianRecord,
    VanHoveRecord,
)

PARTS = ("van Hove functions", "density on a grid", "hops", "hops and rotations")
"""What is told of the progress, in order."""
ALL_UNITS = "all"


@dataclass(frozen=True)
class RunHopping:
    """Hopping of one run as arrays, for curves and figures, beside its records.

    Attributes
    ----------
    records : dict of str to Record
        By their keys in ``results.json``.
    ids : ndarray of int, shape (N,)
        Ids of the mobile ions.
    own, distinct, gaussian, density, hops, stays
        Observables; None where they couldn't be had.
    couplings : dict of str to Coupling
        Of all units and by element of the former; empty where there are none.
    """

    records: dict[str, Any]
    ids: Integers
    own: SelfPart | None
    distinct: DistinctPart | None
    gaussian: NonGaussian | None
    density: tuple[DensityGrid, Visited] | None
    hops: Hops | None
    stays: Residence | None
    couplings: dict[str, Coupling]

    def tables(self) -> dict[str, dict[str, Floats]]:
        """Columns of the CSV files, by the first part of the file's name."""
        tables = {}
        if self.own is not None:
            tables["van_hove_self"] = _self_table(self.own)
        if self.distinct is not None:
            names = [f"Gd_{lag:g}ps" for lag in self.distinct.lags_ps]
            curves = dict(zip(names, self.distinct.G, strict=True))
            tables["van_hove_distinct"] = {"r_A": self.distinct.r_A} | curves
        if self.gaussian is not None:
            found = self.gaussian
            tables["alpha2"] = {"lag_ps": found.lags_ps}
            tables["alpha2"] |= {"alpha2": found.alpha2, "alpha2_error": found.error}
        if self.hops is not None:
            tables["hops"] = _hop_table(self.hops, self.ids)
        if self.stays is not None and self.stays.complete:
            tables["residence"] = _residence_table(self.stays)
        profiles = {name: one for name, one in self.couplings.items() if len(one.delays_ps)}
        if profiles:
            delays = next(iter(profiles.values())).delays_ps
            curves = {f"excess_{name}_deg": one.profile_deg for name, one in profiles.items()}
            tables["hop_rotation"] = {"delay_ps": delays} | curves
        return tables

    def cube(self) -> str | None:
        """Text of the cube file: lengths in bohr, density in 1/Å3."""
        if self.density is None:
            return None
        grid = self.density[0]
        comment = f"density of {grid.element}, 1/A^3, smoothed by {grid.smoothing_A:g} A"
        with TemporaryFile("w+") as file:  # numpy writes into real files alone
            write_cube(file, grid.framework, grid.density_per_A3, grid.origin_A, comment)
            file.seek(0)
            return file.read()


def analyze_run(
    label: str,
    trajectory: Trajectory,
    motion: RunDiffusion,
    units: UnitPaths | None,
    options: AnalysisOptions,
    cutoffs: Mapping[str, Any],
    advance: Callable[[str], None],
) -> RunHopping:
    """Hopping of one run.

    Parameters
    ----------
    label : str
        Name of the run, for its files.
    trajectory : Trajectory
        Its frames.
    motion : RunDiffusion
        Its displacements.
    units : UnitPaths or None
        Rotations of its units; None: they are taken from the frames where they are needed.
    options : AnalysisOptions
        Those of :class:`lbpsi_driver.transport_options.HoppingFields`.
    cutoffs : mapping
        `bonds` and `chain` of :func:`lbpsi_driver.observables.motifs.find_motifs`.
    advance : callable
        Told after each of the :data:`PARTS`.

    Returns
    -------
    RunHopping
        Without what couldn't be had; its record tells why.
    """
    ions = trajectory.indices(options.mobile)
    why = None if len(ions) else f"no {options.mobile} in the trajectory"
    still = why or motion.reason
    own, distinct, of_van_hove = _van_hove(label, trajectory, motion, options, still)
    gaussian, of_gaussian = _non_gaussian(label, trajectory, motion, still)
    advance(f"{label} {PARTS[0]}")
    few = "1 frame: two or more are needed" if trajectory.n_frames < 2 else None
    density, of_density = _density(label, trajectory, options, why or few)
    advance(f"{label} {PARTS[1]}")
    hops, stays, of_hops = _hops(label, trajectory, motion, options, still)
    advance(f"{label} {PARTS[2]}")
    of_units = (trajectory, hops, units, options, cutoffs, of_hops.reason)
    couplings, of_rotation = _couplings(label, *of_units)
    advance(f"{label} {PARTS[3]}")
    records = {
        "van_hove": of_van_hove,
        "non_gaussian": of_gaussian,
        "ion_density": of_density,
        "hops": of_hops,
        "hop_rotation": of_rotation,
    }
    known = trajectory.ids
    ids = ions + 1 if known is None else known[ions]
    return RunHopping(records, ids, own, distinct, gaussian, density, hops, stays, couplings)


def draw(runs: Mapping[str, RunHopping], mobile: str, output: Path) -> dict[str, str]:
    """Draw the figures of what there is, all runs in each; return their files by kind.

    Parameters
    ----------
    runs : mapping of str to RunHopping
        By title, as in ``300 K``.
    mobile : str
        Symbol of the mobile ion.
    output : Path
        Folder of the files.
    """
    van_hove = {t: (run.own, run.distinct) for t, run in runs.items() if run.own is not None}
    alpha2 = {t: run.gaussian for t, run in runs.items() if run.gaussian is not None}
    density = {t: run.density for t, run in runs.items() if run.density is not None}
    hops = {
        t: (run.hops, run.stays) for t, run in runs.items() if run.hops and len(run.hops.ion) > 0
    }
    couplings = {
        t: {name: one for name, one in run.couplings.items() if len(one.delays_ps)}
        for t, run in runs.items()
    }
    couplings = {title: found for title, found in couplings.items() if found}
    figures: tuple[tuple[str, Any, Callable[[Any, str, Path], None]], ...] = (
        ("van_hove", van_hove, transport_figures.van_hove),
        ("alpha2", alpha2, transport_figures.non_gaussian),
        ("ion_density", density, transport_figures.ion_density),
        ("ion_density_surface", density, density_surface.ion_density_surface),
        ("hops", hops, transport_figures.hops),
        ("hop_rotation", couplings, transport_figures.hop_rotation),
    )
    files = {}
    for kind, found, work in figures:
        if found:
            file = f"{kind}.png"
            _, reason = attempt(file, partial(work, found, mobile, output / file))
            if reason is None:
                files[f"{kind}_figure"] = file
    return files


def _van_hove(
    label: str,
    trajectory: Trajectory,
    motion: RunDiffusion,
    options: AnalysisOptions,
    why: str | None,
) -> tuple[SelfPart | None, DistinctPart | None, VanHoveRecord]:
    """Both parts at the lags that the run is long enough for; one without the other if need be."""
    chosen, reason = attempt(
        f"{label}: lags", lambda: _lags(trajectory, options.van_hove_lags), why
    )
    if chosen is None:
        return None, None, VanHoveRecord(reason=reason)
    lags, left_out = chosen
    spacing, index = trajectory.grid()
    sizes = {"cutoff_A": options.van_hove_cutoff, "bin_A": options.van_hove_bin}
    own, reason = attempt(
        f"{label}: {PARTS[0]}", lambda: self_part(motion.ions, lags, spacing, index, **sizes)
    )
    if own is None:
        return None, None, VanHoveRecord(reason=reason)
    record = VanHoveRecord(
        self_file=f"van_hove_self_{label}.csv",
        lags_ps=tuple(own.lags_ps.tolist()),
        beyond_share=tuple(own.beyond.tolist()),
    )
    from_zero = np.append(0, lags)
    distinct, reason = attempt(
        f"{label}: distinct part",
        lambda: distinct_part(trajectory, options.mobile, from_zero, com=options.com, **sizes),
    )
    if distinct is not None:
        record.distinct_file = f"van_hove_distinct_{label}.csv"
        record.distinct_cutoff_A = distinct.cutoff_A
    reasons = [left_out, None if reason is None else f"distinct part: {reason}"]
    record.reason = "; ".join(one for one in reasons if one) or None
    return own, distinct, record


def _lags(trajectory: Trajectory, wanted: tuple[float, ...]) -> tuple[Integers, str | None]:
    """Lags up to half the run in points of its grid, and what was left out."""
    spacing, index = trajectory.grid()
    half = 0.5 * float(index[-1]) * spacing * (1.0 + 1e-9)
    lags = [lag for lag in wanted if lag <= half]
    left = ", ".join(f"{lag:g}" for lag in wanted if lag > half)
    reason = f"lags of {left} ps are longer than half the run, {half:.4g} ps" if left else None
    if not lags:
        raise UsageError(reason or "")
    return lags_on_grid(lags, spacing, index), reason


def _non_gaussian(
    label: str, trajectory: Trajectory, motion: RunDiffusion, why: str | None
) -> tuple[NonGaussian | None, NonGaussianRecord]:
    found, reason = attempt(
        f"{label}: alpha2", lambda: non_gaussian(motion.ions, *trajectory.grid()), why
    )
    if found is None or not np.isfinite(found.alpha2).any():
        return None, NonGaussianRecord(reason=reason or "ions that don't move, or no lags")
    file = f"alpha2_{label}.csv"
    record = NonGaussianRecord(file=file, peak=found.peak, peak_ps=found.peak_ps)
    record.reason = None if found.peak.mean is not None else found.peak.reason
    return found, record


def _density(
    label: str, trajectory: Trajectory, options: AnalysisOptions, why: str | None
) -> tuple[tuple[DensityGrid, Visited] | None, IonDensityRecord]:
    def work() -> tuple[DensityGrid, Visited, float | None]:
        grid = density_grid(
            trajectory,
            options.mobile,
            voxel_A=options.density_voxel,
            smoothing_A=options.density_smoothing,
        )
        inside = visited(grid, enclosing_threshold(grid, options.density_share))
        return grid, inside, percolation_density(grid)

    found, reason = attempt(f"{label}: {PARTS[1]}", work, why)
    if found is None:
        return None, IonDensityRecord(reason=reason)
    grid, inside, percolation = found
    file = f"density_{options.mobile}_{label}.cube"
    return (grid, inside), IonDensityRecord.of(file, grid, inside, percolation)


def _hops(
    label: str,
    trajectory: Trajectory,
    motion: RunDiffusion,
    options: AnalysisOptions,
    why: str | None,
) -> tuple[Hops | None, Residence | None, HopsRecord]:
    def work() -> tuple[Hops, Residence, HopsRecord]:
        hops = detect_hops(
            motion.ions,
            *trajectory.grid(),
            window_ps=options.hop_window,
            threshold_A2=options.hop_threshold,
        )
        stays = residence(hops)
        return hops, stays, HopsRecord.of(label, hops, hop_rate(hops), stays)

    found, reason = attempt(f"{label}: {PARTS[2]}", work, why)
    return (None, None, HopsRecord(reason=reason)) if found is None else found


def _couplings(
    label: str,
    trajectory: Trajectory,
    hops: Hops | None,
    units: UnitPaths | None,
    options: AnalysisOptions,
    cutoffs: Mapping[str, Any],
    why: str | None,
) -> tuple[dict[str, Coupling], HopRotationRecord]:
    """Test all units near hops, then those of each former's element."""
    why = motif_history.absent(trajectory.elements.tolist()) or why
    if hops is not None and len(hops.ion) == 0:
        why = why or "no hops"

    def work() -> dict[str, Coupling]:
        assert hops is not None
        ions = trajectory.indices(options.mobile)
        paths = units or motif_series(trajectory, ions, **cutoffs).units
        turns = unit_turns(trajectory, paths, hops.window_ps)
        pairs = near(trajectory, ions, hops, turns.former, options.rotation_radius)
        test = partial(coupling, turns, hops, draws=options.draws, seed=options.seed)
        elements = np.unique(turns.element).tolist()
        parts = {str(one): test(_of_element(turns, pairs, one)) for one in elements}
        every = next(iter(parts.values())) if len(parts) == 1 else test(pairs)
        return {ALL_UNITS: every} | parts

    found, reason = attempt(f"{label}: {PARTS[3]}", work, why)
    if found is None or hops is None:
        return {}, HopRotationRecord(reason=reason)
    record = HopRotationRecord(
        null=found[ALL_UNITS].null,
        radius_A=options.rotation_radius,
        window_ps=hops.window_ps,
        units={name: CouplingRecord.of(one) for name, one in found.items()},
    )
    if any(len(one.delays_ps) for one in found.values()):
        record.file = f"hop_rotation_{label}.csv"
    if found[ALL_UNITS].p_value is None:
        record.reason = found[ALL_UNITS].excess_deg.reason
    return found, record


def _of_element(turns: UnitTurns, pairs: Pairs, element: str) -> Pairs:
    chosen = turns.element[pairs.unit] == element
    return replace(pairs, hop=pairs.hop[chosen], unit=pairs.unit[chosen])


def _self_table(found: SelfPart) -> dict[str, Floats]:
    table = {"r_A": found.r_A}
    rows = zip(found.lags_ps, found.G_per_A3, found.radial_per_A, strict=True)
    for lag, density, radial in rows:
        table |= {f"Gs_{lag:g}ps_per_A3": density, f"4pir2Gs_{lag:g}ps_per_A": radial}
    return table


def _hop_table(found: Hops, ids: Integers) -> dict[str, Floats]:
    table = {
        "ion_id": ids[found.ion].astype(np.float64),
        "time_ps": found.time_ps,
        "length_A": found.length_A,
        "functional_A2": found.functional_A2,
        "returned": found.returns.astype(np.float64),
    }
    for name, places in (("start", found.start_A), ("end", found.end_A)):
        table |= {f"{name}_{axis}_A": places[:, k] for k, axis in enumerate("xyz")}
    return table


def _residence_table(found: Residence) -> dict[str, Floats]:
    return {
        "time_ps": found.times_ps,
        "survival": found.survival,
        "survival_low": found.low,
        "survival_high": found.high,
    }
