"""The records of hopping in ``results.json``, and their table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lbpsi_driver.observables.density_grid import DensityGrid, Visited
from lbpsi_driver.observables.estimate import Estimate, clustered_half_width
from lbpsi_driver.observables.hop_rotation import Coupling
from lbpsi_driver.observables.hops import HopRate, Hops, Residence
from lbpsi_driver.report.records import DiffusionRecord, Record, digits

TRANSPORT_DEFINITIONS = {
    "D of other elements": "as D, of at most 500 time origins a lag, kinisi's posterior in closed "
    "form; in a glass they are those of atoms in cages and not diffusive",
    "slope": "d ln MSD/d ln t, chord from the lag over the root of 2 to the lag times it",
    "arrhenius_sigma": "weighted fit of ln(sigma T) against 1/T, sigma the collective one, "
    "diffusive temperatures whose interval lies above zero; left_out_K: the other diffusive ones",
    "van_hove": "G_s: density of finding an ion at r from where it was a lag before; G_d: density "
    "of other ions around that place over their mean density, 1 without order; lags up to half the "
    "run; beyond_share: of the displacements, longer than the cutoff",
    "alpha2": "3<r^4>/(5<r²>²) - 1, zero for Gaussian displacements; errors by leaving out ions",
    "ion_density": "mean density of the mobile ion in the frame of the other atoms' centre of "
    "mass, on a grid of the mean cell, smoothed by a Gaussian. Visited: the densest region that "
    "holds the given share of the ions' time; dimension: independent directions in which it goes "
    "on for ever through shared faces of voxels; percolation_per_A3: highest threshold at which "
    "that is all three. Cube file: lengths in bohr, density in 1/Å3, atoms at mean positions",
    "hops": "maxima within half a window, above a threshold, of p² = <|r - <r>_B|²>_A <|r - "
    "<r>_A|²>_B, A and B the half-windows before and after; default threshold: 10 times the median "
    "of p. Rate: Garwood's interval of a Poisson process, and from 10 blocks of the run; "
    "dispersion: variance over mean of the ions' numbers of hops; D_uncorrelated: rate times mean "
    "square length over 6; returned: hops back to where the ion's hop before started",
    "residence": "time between an ion's hops, Kaplan-Meier's survival; those that the run ends are "
    "censored",
    "hop_rotation": "angle between a unit's mean orientations in the half-windows before and after "
    "a hop, mean over the units within the radius of the hop, then over hops; null model: all hops "
    "moved in time together, around the run; p two-sided. 'all' is the test; the others, by "
    "element of the former, are parts of it",
}


class VanHoveRecord(Record):
    """Van Hove functions of one run; a reason for what it hasn't."""

    self_file: str | None = None
    distinct_file: str | None = None
    lags_ps: tuple[float, ...] = ()
    beyond_share: tuple[float, ...] = ()
    distinct_cutoff_A: float | None = None
    reason: str | None = None


class NonGaussianRecord(Record):
    """Non-Gaussian parameter of one run, or a reason."""

    file: str | None = None
    peak: Estimate | None = None
    peak_ps: float | None = None
    reason: str | None = None


class IonDensityRecord(Record):
    """Density of the mobile ion on a grid and the volume visited, or a reason."""

    file: str | None = None
    voxels: tuple[int, int, int] | None = None
    voxel_A3: float | None = None
    smoothing_A: float | None = None
    mean_per_A3: float | None = None
    threshold_per_A3: float | None = None
    ion_share: float | None = None
    volume_share: float | None = None
    largest_share: float | None = None
    dimension: int | None = None
    along: tuple[bool, bool, bool] | None = None
    percolation_per_A3: float | None = None
    reason: str | None = None

    @classmethod
    def of(
        cls, file: str, grid: DensityGrid, visited: Visited, percolation_per_A3: float | None
    ) -> IonDensityRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.density_grid` found."""
        a, b, c = grid.density_per_A3.shape
        return cls(
            file=file,
            voxels=(a, b, c),
            voxel_A3=grid.voxel_A3,
            smoothing_A=grid.smoothing_A,
            mean_per_A3=grid.mean_per_A3,
            threshold_per_A3=visited.threshold_per_A3,
            ion_share=visited.ion_fraction,
            volume_share=visited.volume_fraction,
            largest_share=visited.largest_fraction,
            dimension=visited.dimension,
            along=visited.along,
            percolation_per_A3=percolation_per_A3,
        )


class HopsRecord(Record):
    """Hops of the mobile ion in one run, or a reason."""

    file: str | None = None
    residence_file: str | None = None
    number: int | None = None
    rate_per_ps: Estimate | None = None
    rate_by_blocks_per_ps: Estimate | None = None
    dispersion: float | None = None
    length_A: Estimate | None = None
    length_deviation_A: float | None = None
    returned_share: float | None = None
    D_uncorrelated_cm2_per_s: float | None = None
    residence_median_ps: Estimate | None = None
    residences_complete: int | None = None
    residences_censored: int | None = None
    cage_A2: float | None = None
    threshold_A2: float | None = None
    window_ps: float | None = None
    reason: str | None = None

    @classmethod
    def of(cls, label: str, hops: Hops, rate: HopRate, stays: Residence) -> HopsRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.hops` found."""
        number = len(hops.ion)
        return cls(
            file=f"hops_{label}.csv",
            residence_file=f"residence_{label}.csv" if stays.complete else None,
            number=number,
            rate_per_ps=rate.per_ps,
            rate_by_blocks_per_ps=rate.by_blocks_per_ps,
            dispersion=rate.dispersion,
            length_A=mean_length(hops),
            length_deviation_A=float(hops.length_A.std()) if number else None,
            returned_share=float(hops.returns.mean()) if number else None,
            D_uncorrelated_cm2_per_s=rate.D_uncorrelated_cm2_per_s,
            residence_median_ps=stays.median_ps,
            residences_complete=stays.complete,
            residences_censored=stays.censored,
            cage_A2=hops.cage_A2,
            threshold_A2=hops.threshold_A2,
            window_ps=hops.window_ps,
        )


def mean_length(hops: Hops) -> Estimate:
    """Mean length of hops, Å; interval from the scatter between ions."""
    length = hops.length_A
    if len(length) == 0:
        return Estimate(mean=None, reason="no hops")
    mean = float(length.mean())
    half = clustered_half_width(length - mean, hops.ion)
    if not np.isfinite(half):
        return Estimate(mean=mean, reason="hops of fewer than three ions: no interval")
    return Estimate(mean=mean, ci95=(mean - half, mean + half))


class CouplingRecord(Record):
    """Rotation of units near hops against the null model; a reason at the excess."""

    hops: int
    pairs: int
    angle_deg: float | None
    expected_deg: float | None
    null_deg: tuple[float, float] | None
    excess_deg: Estimate
    p_value: float | None
    draws: int

    @classmethod
    def of(cls, found: Coupling) -> CouplingRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.hop_rotation` found."""
        return cls(
            hops=found.hops,
            pairs=found.pairs,
            angle_deg=found.angle_deg,
            expected_deg=found.expected_deg,
            null_deg=found.null_deg,
            excess_deg=found.excess_deg,
            p_value=found.p_value,
            draws=found.draws,
        )


class HopRotationRecord(Record):
    """Coupling of hops and rotations of one run: of all units and by former, or a reason."""

    file: str | None = None
    null: str | None = None
    radius_A: float | None = None
    window_ps: float | None = None
    units: dict[str, CouplingRecord] = Field(default_factory=dict)
    reason: str | None = None


class TransportRow(Protocol):
    """What the tables and the remarks read of the record of a run."""

    D_cm2_per_s: dict[str, DiffusionRecord]
    van_hove: VanHoveRecord | None
    non_gaussian: NonGaussianRecord | None
    ion_density: IonDensityRecord | None
    hops: HopsRecord | None
    hop_rotation: HopRotationRecord | None

    @property
    def name(self) -> str:
        """Temperature in K, or the label where it isn't known."""


def elements_table(rows: Iterable[TransportRow], mobile: str) -> Table | None:
    """Lay out D of the elements beside the mobile one that have any; None where none has."""
    rows = list(rows)
    every = [D for row in rows for D in row.D_cm2_per_s.items()]
    found = {element for element, D in every if D.mean is not None} - {mobile}
    if not found:
        return None
    title = "D of the others, 1e-7 cm²/s; ( ): not diffusive"
    table = Table(title=title, box=SIMPLE_HEAD)
    table.add_column("T\nK", justify="right")
    for element in sorted(found):
        table.add_column(element, justify="right")
    for row in rows:
        table.add_row(row.name, *(_D(row.D_cm2_per_s, element) for element in sorted(found)))
    return table


def hopping_table(rows: Iterable[TransportRow]) -> Table | None:
    """Lay out α2, hops, visited volume and the coupling; None where no run has any."""
    table = Table(title="hopping", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("T\nK", justify="right")
    heads = ("α₂\nmax", "hops\n1/ns", "length\nÅ", "back\n%", "stay\nps", "visited\n% volume")
    for head in (*heads, "turn/by\nchance °", "p"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        if row.hops is None:
            continue
        gaussian, hops, density = row.non_gaussian, row.hops, row.ion_density
        coupling = None if row.hop_rotation is None else row.hop_rotation.units.get("all")
        rate = None if hops.rate_per_ps is None else hops.rate_per_ps.scaled(1e3)
        table.add_row(
            row.name,
            _mean(None if gaussian is None else gaussian.peak),
            _mean(rate),
            _mean(hops.length_A),
            _percent(hops.returned_share),
            _mean(hops.residence_median_ps),
            _visited(density),
            _turn(coupling),
            digits(None if coupling is None else coupling.p_value),
        )
    return table if table.row_count else None


def absences(row: TransportRow) -> list[tuple[str, str | None]]:
    """List the parts of hopping with the reason for what one hasn't."""
    parts = (
        ("van Hove functions", row.van_hove),
        ("α₂", row.non_gaussian),
        ("density on a grid", row.ion_density),
        ("hops", row.hops),
        ("hops and rotations", row.hop_rotation),
    )
    return [(name, record.reason) for name, record in parts if record is not None]


def _D(found: Mapping[str, DiffusionRecord], element: str) -> str:  # noqa: N802
    D = found.get(element)
    if D is None or D.mean is None:
        return "-"
    text = digits(1e7 * D.mean)
    return text if D.diffusive else f"({text})"


def _mean(number: Estimate | None) -> str:
    return digits(None if number is None else number.mean)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.0f}"


def _visited(found: IonDensityRecord | None) -> str:
    """Share of the volume, and in how many directions it goes on."""
    if found is None or found.volume_share is None:
        return "-"
    return f"{100.0 * found.volume_share:.1f} ({found.dimension}d)"


def _turn(found: CouplingRecord | None) -> str:
    """Rotation of units near hops, and that of the null model."""
    if found is None or found.angle_deg is None:
        return "-"
    return f"{digits(found.angle_deg)}/{digits(found.expected_deg)}"
