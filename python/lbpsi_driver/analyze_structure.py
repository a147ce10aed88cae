"""The structure part of ``analyze``: S(Q), plateaus, bond angles, sizes of anions, rings and Q^n.

What can't be had of a run leaves the reason in its record, and the other observables go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lbpsi_driver import motif_history
from lbpsi_driver.attempt import attempt
from lbpsi_driver.config import AnalysisOptions
from lbpsi_driver.observables.bond_angles import BondAngles, bond_angles, number_of_bins
from lbpsi_driver.observables.coordination import Plateau, plateaus_of
from lbpsi_driver.observables.motif_summary import summaries
from lbpsi_driver.observables.networks import Networks, check_longest, networks
from lbpsi_driver.observables.qn_tables import QnTable, qn_tables
from lbpsi_driver.observables.rdf import RadialDistributions
from lbpsi_driver.observables.structure_factor import (
    PartialStructureFactors,
    SharpPeak,
    TotalStructureFactor,
    first_sharp_peak,
    neutron,
    number_of_shells,
    partial_structure_factors,
    scattering_length,
    xray,
)
from lbpsi_driver.observables.trajectory import Floats, Trajectory
from lbpsi_driver.report import structure_figures
from lbpsi_driver.report.structure_results import (
    BondAnglesRecord,
    NetworksRecord,
    PlateauRecord,
    QnRecord,
    SpeciationRecord,
    StructureFactorRecord,
    peak_estimate,
)

PARTS = ("S(Q)", "bond angles", "anion sizes and rings", "Q^n")
"""What is told of the progress, in order."""


@dataclass(frozen=True)
class Scattering:
    """S(Q) of one run: partials, and what is seen by neutrons unless that isn't defined."""

    partials: PartialStructureFactors
    totals: dict[str, TotalStructureFactor]
    peaks: dict[str, SharpPeak]


@dataclass(frozen=True)
class RunStructure:
    """Structure of one run as arrays, for curves and figures, beside its records.

    Attributes
    ----------
    records : dict of str to Record
        By their keys in ``results.json``.
    times_ps : ndarray, shape (F,)
        Times of the frames used, ps.
    plateaus : dict of str to list of Plateau
        By pair; empty where they couldn't be found.
    scattering, angles, networks, qn
        None where they couldn't be had.
    """

    records: dict[str, Any]
    times_ps: Floats
    plateaus: dict[str, list[Plateau]]
    scattering: Scattering | None
    angles: BondAngles | None
    networks: Networks | None
    qn: dict[str, QnTable] | None

    @property
    def plateau_records(self) -> dict[str, list[PlateauRecord]]:
        """Plateaus for ``results.json``."""
        return {
            pair: [PlateauRecord.of(one) for one in found] for pair, found in self.plateaus.items()
        }

    def tables(self) -> dict[str, dict[str, Floats]]:
        """Columns of the CSV files, by the first part of the file's name."""
        tables = {}
        if self.scattering is not None:
            tables["sq"] = _scattering_table(self.scattering)
        if self.angles is not None:
            tables["angles"] = _angle_table(self.angles)
        if self.networks is not None:
            sizes = np.arange(len(self.networks.share_by_size), dtype=np.float64)
            tables["networks"] = _network_table(self.networks)
            tables["anion_sizes"] = {
                "formers": sizes[1:],
                "share_of_formers": self.networks.share_by_size[1:],
            }
        if self.qn is not None:
            tables["qn"] = _qn_table(self.times_ps, self.qn)
        return tables


def check(options: AnalysisOptions) -> None:
    """Refuse bad options before the work.

    Raises
    ------
    UsageError
        One line: bins, rings or isotopes that can't be.
    """
    if options.structure:
        number_of_shells(options.sq_max, options.sq_bin)
        number_of_bins(options.angle_bin)
        check_longest(options.longest_ring)
        for symbol, isotope in options.isotopes.items():
            scattering_length(symbol, isotope)


def analyze_run(
    label: str,
    trajectory: Trajectory,
    rdf: RadialDistributions,
    options: AnalysisOptions,
    cutoffs: Mapping[str, Any],
    advance: Callable[[str], None],
) -> RunStructure:
    """Structure of one run.

    Parameters
    ----------
    label : str
        Name of the run, for its files.
    trajectory : Trajectory
        Its frames.
    rdf : RadialDistributions
        Its g(r).
    options : AnalysisOptions
        Those of S(Q), bond angles and rings.
    cutoffs : mapping
        `bonds` and `chain` of :func:`lbpsi_driver.observables.motifs.find_motifs`.
    advance : callable
        Told after each of the :data:`PARTS`.

    Returns
    -------
    RunStructure
        Without what couldn't be had; its record tells why.
    """
    frames = trajectory.spread()
    bonds = cutoffs.get("bonds")
    plateaus, _ = attempt(f"{label}: plateaus", lambda: plateaus_of(rdf))
    scattering, of_scattering = _scattering(label, frames, options)
    advance(f"{label} {PARTS[0]}")
    why = motif_history.absent(frames.elements.tolist())
    angles, reason = attempt(
        f"{label}: {PARTS[1]}", lambda: bond_angles(frames, options.angle_bin, bonds=bonds), why
    )
    of_angles = BondAnglesRecord(reason=reason)
    if angles is not None:
        of_angles = BondAnglesRecord.of(f"angles_{label}.csv", angles)
    advance(f"{label} {PARTS[1]}")
    anions, of_anions = _anions(label, frames, options.longest_ring, bonds, why)
    advance(f"{label} {PARTS[2]}")
    qn, reason = attempt(
        f"{label}: {PARTS[3]}", lambda: qn_tables(summaries(frames, **cutoffs)), why
    )
    of_qn = QnRecord(reason=reason)
    if qn is not None:
        formers = {symbol: SpeciationRecord.of(table) for symbol, table in qn.items()}
        of_qn = QnRecord(file=f"qn_{label}.csv", formers=formers)
    advance(f"{label} {PARTS[3]}")
    records = {
        "structure_factor": of_scattering,
        "bond_angles": of_angles,
        "networks": of_anions,
        "qn": of_qn,
    }
    return RunStructure(records, frames.times_ps, plateaus or {}, scattering, angles, anions, qn)


def draw(
    runs: Mapping[str, RunStructure], rdfs: Mapping[str, RadialDistributions], output: Path
) -> dict[str, str]:
    """Draw the figures of what there is, all runs in each; return their files by kind.

    Parameters
    ----------
    runs : mapping of str to RunStructure
        By title, as in ``300 K``.
    rdfs : mapping of str to RadialDistributions
        Likewise.
    output : Path
        Folder of the files.
    """
    scattering = {t: run.scattering for t, run in runs.items() if run.scattering is not None}
    totals = {t: (one.totals, one.peaks) for t, one in scattering.items()}
    partials = {t: one.partials for t, one in scattering.items()}
    shells = {t: (rdfs[t], run.plateaus) for t, run in runs.items() if run.plateaus}
    angles = {t: run.angles for t, run in runs.items() if run.angles is not None}
    sizes = {t: run.networks.share_by_size for t, run in runs.items() if run.networks is not None}
    qn = {t: (run.times_ps, run.qn) for t, run in runs.items() if run.qn is not None}
    files = {}
    figures: tuple[tuple[str, Any, Callable[[Any, Path], None]], ...] = (
        ("sq", totals, structure_figures.totals),
        ("sq_partial", partials, structure_figures.partials),
        ("coordination", shells, structure_figures.coordination),
        ("bond_angles", angles, structure_figures.bond_angles),
        ("anion_sizes", sizes, structure_figures.anion_sizes),
        ("qn", qn, structure_figures.qn),
    )
    for kind, found, work in figures:
        if found:
            file = f"{kind}.png"
            _, reason = attempt(file, partial(work, found, output / file))
            if reason is None:
                files[f"{kind}_figure"] = file
    return files


def _scattering(
    label: str, frames: Trajectory, options: AnalysisOptions
) -> tuple[Scattering | None, StructureFactorRecord]:
    partials, reason = attempt(
        f"{label}: {PARTS[0]}",
        lambda: partial_structure_factors(
            frames,
            options.sq_max,
            options.sq_bin,
            vectors=options.sq_vectors,
            seed=options.seed,
        ),
    )
    if partials is None:
        return None, StructureFactorRecord(reason=reason)
    seen, reason = attempt(f"{label}: neutrons", lambda: neutron(partials, options.isotopes))
    totals = {"xray": xray(partials)} | ({} if seen is None else {"neutron": seen})
    peaks = {kind: first_sharp_peak(total) for kind, total in totals.items()}
    record = StructureFactorRecord(
        file=f"sq_{label}.csv",
        fsdp_xray_per_A=peak_estimate(peaks["xray"]),
        reason=None if reason is None else f"neutrons: {reason}",
    )
    if seen is not None:
        record.fsdp_neutron_per_A = peak_estimate(peaks["neutron"])
        record.scattering_lengths_fm = {a: float(b[0]) for a, b in seen.weights.items()}
    return Scattering(partials, totals, peaks), record


def _anions(
    label: str,
    frames: Trajectory,
    longest_ring: int,
    bonds: Mapping[str, float] | None,
    why: str | None,
) -> tuple[Networks | None, NetworksRecord]:
    """Sizes of anions, without rings where those alone can't be had."""
    what = f"{label}: {PARTS[2]}"
    found, reason = attempt(
        what, lambda: networks(frames, longest_ring=longest_ring, bonds=bonds), why
    )
    if found is None and why is None and longest_ring:
        found, _ = attempt(what, lambda: networks(frames, longest_ring=0, bonds=bonds))
    if found is None:
        return None, NetworksRecord(reason=reason)
    record = NetworksRecord.of(f"networks_{label}.csv", f"anion_sizes_{label}.csv", found)
    record.reason = reason
    return found, record


def _scattering_table(found: Scattering) -> dict[str, Floats]:
    table = {"Q_per_A": found.partials.Q_per_A, "vectors": found.partials.vectors}
    seen = found.totals.get("neutron")
    if seen is not None:
        table |= {"S_neutron": seen.S, "S_neutron_error": seen.error, "F_neutron_fm2": seen.F}
    rays = found.totals["xray"]
    table |= {"S_xray": rays.S, "S_xray_error": rays.error, "F_xray_e2": rays.F}
    return table | {f"S_{pair}": S for pair, S in found.partials.S.items()}


def _angle_table(found: BondAngles) -> dict[str, Floats]:
    kinds = found.triples | found.units
    curves = {f"p_{name}_per_deg": kind.density_per_deg for name, kind in kinds.items()}
    return {"angle_deg": found.angle_deg} | curves


def _network_table(found: Networks) -> dict[str, Floats]:
    series = found.series
    table = {
        "time_ps": series.times_ps,
        "number_averaged": series.number_averaged,
        "weight_averaged": series.weight_averaged,
        "largest_share": series.largest_share,
        "percolating_share": series.percolating_share,
    }
    table |= {f"percolating_{d}d": series.dimensions[:, d] for d in (1, 2, 3)}
    return table | {f"rings_{size}": series.rings[:, size] for size in found.rings_per_former}


def _qn_table(times_ps: Floats, tables: Mapping[str, QnTable]) -> dict[str, Floats]:
    columns = {"time_ps": times_ps}
    for symbol, table in tables.items():
        for letter, series in (("Q", table.qn_series), ("E", table.en_series)):
            columns |= {f"{symbol}_{letter}{n}": share for n, share in enumerate(series.T)}
    return columns
