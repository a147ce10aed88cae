"""The records of structure in ``results.json``, and their table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lbpsi_driver.observables.bond_angles import AngleDistribution, BondAngles
from lbpsi_driver.observables.coordination import Plateau
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.networks import Networks
from lbpsi_driver.observables.qn_tables import QnTable
from lbpsi_driver.observables.structure_factor import SharpPeak
from lbpsi_driver.report.records import Record, digits

STRUCTURE_DEFINITIONS = {
    "structure_factor": "Faber-Ziman partials from the positions, at the reciprocal vectors of "
    "each frame's cell, 1 without order; F = sum of c_a c_b w_a w_b (S_ab - 1), S = 1 + F/(sum of "
    "c_a w_a)²; w: bound coherent scattering lengths (neutrons) or form factors of neutral atoms "
    "(X-rays) of periodictable. Error: of one frozen structure, S over the root of the vectors",
    "fsdp": "first sharp diffraction peak: lowest peak between 0.5 and 2 1/Å of S(Q) smoothed by "
    "0.1 1/Å that stands out by three standard errors",
    "plateaus": "where d ln n/d ln r of a running coordination number stays at or under 1/2 (flat) "
    "or 3/2 (subtle) over 0.2 Å or more; value: mean of n there. B-S: S around B",
    "bond_angles": "between bonds of an atom, cutoffs of data/motifs.toml; p is a density per "
    "degree with the sine left in; units: S-X-S by the unit of X",
    "networks": "formers of an anion, averaged over anions (number) or over formers (weight); "
    "percolating: bonded to its own periodic images; rings: shortest-path rings by atoms",
    "qn": "share of the formers of an element with 0, 1, … bridging S; en: with 0, 1, … formers "
    "with which it shares an edge; homopolar: bonded to another former; environments: rows of "
    "paper 001, Tables S1 and S2, P-S-X (through_S) and P-X (direct)",
}


class PlateauRecord(Record):
    """A range over which a coordination number hardly rises."""

    range_A: tuple[float, float]
    value: float
    rise: float
    flat: bool

    @classmethod
    def of(cls, plateau: Plateau) -> PlateauRecord:
        """Make the record of a plateau."""
        return cls(
            range_A=plateau.range_A, value=plateau.value, rise=plateau.rise, flat=plateau.flat
        )


class CurveRecord(Record):
    """Where a curve is, and the numbers read off it."""

    file: str
    cutoff_A: float | None = None
    first_peak_A: dict[str, float | None] | None = None
    plateaus: dict[str, list[PlateauRecord]] | None = None


class StructureFactorRecord(Record):
    """S(Q) of one run; a reason for what it hasn't."""

    file: str | None = None
    fsdp_neutron_per_A: Estimate | None = None
    fsdp_xray_per_A: Estimate | None = None
    scattering_lengths_fm: dict[str, float] = Field(default_factory=dict)
    reason: str | None = None


def peak_estimate(peak: SharpPeak) -> Estimate:
    """Position of a diffraction peak, 1/Å, as a number without an interval."""
    reason = peak.reason or "read off one curve of all frames: no interval"
    return Estimate(mean=peak.Q_per_A, reason=reason)


class AngleRecord(Record):
    """Bond angles of one kind; `number` is that of a frame."""

    mean_deg: Estimate
    deviation_deg: float
    number: float


class BondAnglesRecord(Record):
    """Bond angles of one run by the three elements and by unit, or a reason."""

    file: str | None = None
    triples: dict[str, AngleRecord] = Field(default_factory=dict)
    units: dict[str, AngleRecord] = Field(default_factory=dict)
    reason: str | None = None

    @classmethod
    def of(cls, file: str, found: BondAngles) -> BondAnglesRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.bond_angles` found."""
        return cls(file=file, triples=_angles(found.triples), units=_angles(found.units))


def _angles(kinds: Mapping[str, AngleDistribution]) -> dict[str, AngleRecord]:
    return {
        name: AngleRecord(
            mean_deg=kind.mean_deg, deviation_deg=kind.deviation_deg, number=kind.number
        )
        for name, kind in kinds.items()
    }


class NetworksRecord(Record):
    """Sizes of anions, percolation and rings of one run; a reason for what it hasn't."""

    file: str | None = None
    sizes_file: str | None = None
    number_averaged: Estimate | None = None
    weight_averaged: Estimate | None = None
    largest_share: Estimate | None = None
    percolating_share: Estimate | None = None
    rings_per_former: dict[int, Estimate] = Field(default_factory=dict)
    reason: str | None = None

    @classmethod
    def of(cls, file: str, sizes_file: str, found: Networks) -> NetworksRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.networks` found."""
        return cls(
            file=file,
            sizes_file=sizes_file,
            number_averaged=found.number_averaged,
            weight_averaged=found.weight_averaged,
            largest_share=found.largest_share,
            percolating_share=found.percolating_share,
            rings_per_former=found.rings_per_former,
        )


class EnvironmentRecord(Record):
    """Formers with the same surroundings."""

    qn: int
    en: int
    through_S: list[str]
    direct: list[str]
    fraction: Estimate


class SpeciationRecord(Record):
    """Speciation of the formers of one element."""

    number: int
    qn: list[Estimate]
    en: list[Estimate]
    homopolar: Estimate
    environments: list[EnvironmentRecord]

    @classmethod
    def of(cls, found: QnTable) -> SpeciationRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.qn_tables` found."""
        return cls(
            number=found.number,
            qn=list(found.qn),
            en=list(found.en),
            homopolar=found.homopolar,
            environments=[
                EnvironmentRecord(
                    qn=row.qn,
                    en=row.en,
                    through_S=list(row.through_S),
                    direct=list(row.direct),
                    fraction=row.fraction,
                )
                for row in found.environments
            ],
        )


class QnRecord(Record):
    """Q^n and E^n of one run by element, or a reason."""

    file: str | None = None
    formers: dict[str, SpeciationRecord] = Field(default_factory=dict)
    reason: str | None = None


class StructureRow(Protocol):
    """What the table and the remarks read of the record of a run."""

    rdf: CurveRecord
    structure_factor: StructureFactorRecord | None
    bond_angles: BondAnglesRecord | None
    networks: NetworksRecord | None
    qn: QnRecord | None

    @property
    def name(self) -> str:
        """Temperature in K, or the label where it isn't known."""


def structure_table(rows: Iterable[StructureRow]) -> Table | None:
    """Lay out FSDP, and plateau, angle and Q^n of each former; None where no run has any."""
    table = Table(title="structure", box=SIMPLE_HEAD)
    for head in ("T\nK", "FSDP n\n1/Å", "FSDP X\n1/Å"):
        table.add_column(head, justify="right")
    table.add_column("former")
    for head in ("n(S)\n~ subtle", "S-X-S\n°", "Q⁰/Q¹/…\n%"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        scattering, qn = row.structure_factor, row.qn
        if scattering is None:
            continue
        first = [
            row.name,
            _mean(scattering.fsdp_neutron_per_A),
            _mean(scattering.fsdp_xray_per_A),
        ]
        formers = {} if qn is None else qn.formers
        for symbol, found in formers.items():
            shares = "/".join(f"{100.0 * (share.mean or 0.0):.0f}" for share in found.qn)
            table.add_row(*first, symbol, _shell(row.rdf, symbol), _angle(row, symbol), shares)
            first = ["", "", ""]
        if not formers:
            table.add_row(*first, "-", "-", "-", "-")
    return table if table.row_count else None


def absences(row: StructureRow) -> list[tuple[str, str | None]]:
    """List the parts of structure with the reason for what one hasn't."""
    parts = (
        ("S(Q)", row.structure_factor),
        ("bond angles", row.bond_angles),
        ("anion sizes and rings", row.networks),
        ("Q^n", row.qn),
    )
    return [(name, record.reason) for name, record in parts if record is not None]


def _mean(number: Estimate | None) -> str:
    return digits(None if number is None else number.mean)


def _shell(rdf: CurveRecord, symbol: str) -> str:
    """Coordination number at the end of the first shell of S."""
    plateaus = (rdf.plateaus or {}).get(f"{symbol}-S", [])
    if not plateaus:
        return "-"
    return ("" if plateaus[0].flat else "~") + f"{plateaus[0].value:.2f}"


def _angle(row: StructureRow, symbol: str) -> str:
    kinds = {} if row.bond_angles is None else row.bond_angles.triples
    kind = kinds.get(f"S-{symbol}-S")
    return "-" if kind is None else f"{kind.mean_deg.mean:.1f}±{kind.deviation_deg:.0f}"
