"""The records of ``analyze`` of several runs: what ``series.json`` holds, and their tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lbpsi_driver import __version__
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.pooling import Kind, Pooled
from lbpsi_driver.report.quantities import unit_of
from lbpsi_driver.report.records import Record, digits
from lbpsi_driver.report.run_facts import RunFacts

SERIES = "series.json"
SEVENFOLD = 7.0
"""Gain in conductivity by P2S5 that paper 000 cites from the experiment."""

DEFINITIONS = {
    "replicas": "runs of one composition (elements in smallest whole numbers) at one temperature",
    "linear": "random effects: weights 1/(s² + τ²), s the standard error of a run's own interval, "
    "τ² by Paule and Mandel; interval of Hartung, Knapp, Sidik and Jonkman, Student's with R - 1 "
    "degrees of freedom, never narrower than that of fixed effects",
    "log": "the same of ln y: mean is the geometric one, between and within are those of ln y",
    "plain": "plain mean, Student's interval with R - 1 degrees of freedom: for shares, for what "
    "has no interval of its own, and where a replica lacks one",
    "between": "τ, standard deviation between replicas beyond the errors of their runs",
    "within": "root mean square standard error of the replicas' own runs",
    "missing": "replicas that the number leaves out, and why. D, σ and the Haven ratio of runs "
    "that aren't diffusive are left out: where slow glasses are, the mean is that of the fast ones",
    "haven_ratio": "pooled D over pooled D_sigma (sums over replicas, the lags of each D_sigma), "
    "interval by the jackknife over replicas",
    "arrhenius": "pooled: the replicas' own Ea, prefactor and line at 300 K, pooled over replicas; "
    "a replica's offset is in all its temperatures, so that the spread of its slopes is the honest "
    "one. of_pooled_D: one line through the pooled D of temperatures where each replica has one, "
    "whose intervals hold the scatter of glasses. "
    "Reported is the former where a replica has three diffusive temperatures",
    "scatter": "standard deviation of ln y of one replica, between glasses and within runs "
    "together, pooled over compositions with its degrees of freedom (sum of R - 1); taken to be "
    "the same for all compositions",
    "smallest_ratio": "ratio exp(δ s sqrt(1/R1 + 1/R2)) of two compositions that Student's test of "
    "ln y at 95 % finds with a power of 80 %; δ: noncentrality of t (Cohen 1988). _at_most: with s "
    "at the upper end of its own 95 % interval",
    "ratios": "geometric mean over that of the reference, the composition with the least P2S5; "
    "found: 1 isn't in the interval. Each interval is 95 % by itself: of twenty one misses",
}


class PooledRecord(Estimate):
    """A number over replicas; `between` and `within` are of ln y where `kind` is log."""

    replicas: int
    kind: Kind
    between: float | None
    within: float | None
    missing: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, pooled: Pooled, kind: Kind) -> PooledRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.pooling` found."""
        one = pooled.estimate
        return cls(
            mean=one.mean,
            ci95=one.ci95,
            reason=one.reason,
            replicas=pooled.replicas,
            kind=kind,
            between=pooled.between,
            within=pooled.within,
            missing=pooled.missing,
        )


class GroupRecord(Record):
    """Replicas of one composition at one temperature."""

    temperature_K: float | None
    runs: list[str]
    time_ps: float
    quantities: dict[str, PooledRecord]

    def number(self, key: str) -> Estimate | None:
        """Give a quantity; a motif that no replica has is a share of zero, if any has motifs."""
        if key in self.quantities:
            return self.quantities[key]
        family = key.partition(".")[0]
        known = any(other.partition(".")[0] == family for other in self.quantities)
        if family in ("formers", "mobile") and known:
            return Estimate(mean=0.0, reason="none in any replica")
        return None


class SeriesArrhenius(Record):
    """Ea, prefactor and 300 K of a composition in two ways, and which of them is reported."""

    reported: str
    pooled: dict[str, PooledRecord]
    of_pooled_D: dict[str, Estimate] = Field(default_factory=dict)
    of_pooled_D_reason: str | None = None

    def number(self, key: str) -> Estimate:
        """Give the reported number."""
        if self.reported == "of_pooled_D" and key in self.of_pooled_D:
            return self.of_pooled_D[key]
        return self.pooled[key]


class CompositionRecord(Record):
    """All runs of one composition."""

    name: str
    formula: str
    p2s5_mol_percent: float | None
    facts: RunFacts
    runs: list[str]
    groups: list[GroupRecord]
    quantities: dict[str, PooledRecord]
    arrhenius: SeriesArrhenius

    def number(self, key: str) -> Estimate | None:
        """Give a number that is one for all temperatures; None where there is no such."""
        if key in self.arrhenius.pooled:
            return self.arrhenius.number(key)
        return self.quantities.get(key)


class ScatterRecord(Record):
    """How much replicas of a quantity scatter, and what could be seen in spite of it."""

    quantity: str
    temperature_K: float
    sd_ln: float
    sd_ln_ci95: tuple[float, float]
    degrees: int
    replicas: tuple[int, int]
    smallest_ratio: float
    smallest_ratio_at_most: float
    power_of_sevenfold: float


class RatioRecord(Record):
    """One composition over the reference at one temperature."""

    quantity: str
    temperature_K: float
    composition: str
    reference: str
    ratio: Estimate
    found: bool | None


class SeriesResult(Record):
    """Result of ``analyze`` of several runs: what ``series.json`` holds.

    Attributes
    ----------
    runs : dict of str to str
        Folder of the results of each run, by its name.
    compositions : list of CompositionRecord
        By mol % P2S5.
    scatter : list of ScatterRecord
        For D, sigma_NE and sigma at each temperature where a composition has two replicas.
    ratios : list of RatioRecord
        Each composition over that with the least P2S5.
    """

    verb: str = "analyze"
    version: str = __version__
    output: str
    mobile: str
    charge_e: float
    options: dict[str, Any]
    runs: dict[str, str]
    inputs: list[str] = Field(default_factory=list)
    compositions: list[CompositionRecord] = Field(default_factory=list)
    scatter: list[ScatterRecord] = Field(default_factory=list)
    ratios: list[RatioRecord] = Field(default_factory=list)
    files: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    definitions: dict[str, str] = Field(default_factory=lambda: dict(DEFINITIONS))

    def table(self) -> Group:
        """Render for a terminal: transport, motifs and Q^n against P2S5, what could be seen."""
        if not self.files:
            return Group(Text("would read: " + ", ".join(self.inputs)))
        shares = [self._shares("formers."), self._shares("qn.")]
        tables = [self._transport(), *shares, self._ratios(), self._scatter()]
        lines = (Text(line) for line in self._lines())
        return Group(*(table for table in tables if table.row_count), *lines)

    def rows(self) -> Iterator[tuple[CompositionRecord, GroupRecord]]:
        """Give each composition at each temperature."""
        return ((one, group) for one in self.compositions for group in one.groups)

    def _transport(self) -> Table:
        table = Table(title=f"pooled: {self.mobile}", box=SIMPLE_HEAD, leading=1)
        heads = ("P2S5\nmol %", "T\nK", "R", "ρ\ng/cm³", "D\n1e-7 cm²/s", "σ_NE\nmS/cm", "σ\nmS/cm")
        for head in (*heads, "Haven\nratio", "Ea\neV"):
            table.add_column(head, justify="right", overflow="fold")
        for one in self.compositions:
            for place, group in enumerate(one.groups):
                found = group.quantities
                D = found.get("D_cm2_per_s")
                table.add_row(
                    _percent(one) if place == 0 else "",
                    "-" if group.temperature_K is None else f"{group.temperature_K:g}",
                    str(len(group.runs)),
                    _stack(found.get("density_g_cm3")),
                    _stack(None if D is None else D.scaled(1e7), D),
                    *(_stack(found.get(key)) for key in ("sigma_NE_mS_per_cm", "sigma_mS_per_cm")),
                    _stack(found.get("haven_ratio")),
                    _stack(one.arrhenius.number("Ea_eV")) if place == 0 else "",
                )
        return table

    def _shares(self, beginning: str) -> Table:
        """List populations in per cent, a column a class, a row a composition and temperature."""
        keys = dict.fromkeys(
            key for _, group in self.rows() for key in group.quantities if key.startswith(beginning)
        )
        title = {"formers.": "formers by motif, %", "qn.": "Q^n, %"}[beginning]
        table = Table(title=title, box=SIMPLE_HEAD)
        for head in ("motif" if beginning == "formers." else "", "P2S5\nmol %", "T\nK", "share"):
            table.add_column(head, justify="left" if head in ("", "motif") else "right")
        for key in keys:
            first = key.removeprefix(beginning)
            if beginning == "qn.":
                symbol, _, n = first.partition(".")
                first = f"{symbol} Q{n}"
            for one, group in self.rows():
                if (found := group.quantities.get(key)) is None:
                    continue
                kelvin = "-" if group.temperature_K is None else f"{group.temperature_K:g}"
                table.add_row(first, _percent(one), kelvin, _show(found.scaled(100.0)))
                first = ""
        return table

    def _ratios(self) -> Table:
        table = Table(title="ratio to the least P2S5", box=SIMPLE_HEAD)
        for head in ("", "T\nK", "P2S5\nmol %", "ratio", "differs"):
            table.add_column(head, justify="right" if head else "left")
        percents = {one.name: _percent(one) for one in self.compositions}
        for row in self.ratios:
            table.add_row(
                labelled(row.quantity).partition(" ")[0],
                f"{row.temperature_K:g}",
                f"{percents[row.composition]} / {percents[row.reference]}",
                _show(row.ratio),
                "-" if row.found is None else "yes" if row.found else "not seen",
            )
        return table

    def _scatter(self) -> Table:
        """Lay out what a pair of compositions could show."""
        table = Table(title="what the replicas could show (95 %, power 80 %)", box=SIMPLE_HEAD)
        heads = ("", "T\nK", "scatter\nfactor", "replicas", "smallest\nratio", "at\nmost")
        for head in (*heads, "sevenfold\nseen, %"):
            table.add_column(head, justify="right" if head else "left")
        for row in self.scatter:
            table.add_row(
                labelled(row.quantity).partition(" ")[0],
                f"{row.temperature_K:g}",
                digits(math.exp(row.sd_ln)),
                f"{row.replicas[0]}, {row.replicas[1]}",
                digits(row.smallest_ratio),
                digits(row.smallest_ratio_at_most),
                f"{100.0 * row.power_of_sevenfold:.0f}",
            )
        return table

    def _lines(self) -> list[str]:
        lines = [f"warning: {warning}" for warning in self.warnings]
        for one in self.compositions:
            where = f"{_percent(one)} mol % P2S5" if one.p2s5_mol_percent is not None else one.name
            lines.append(f"{where}: {one.name}: {', '.join(one.runs)}")
            Ea, room = one.arrhenius.number("Ea_eV"), one.arrhenius.number("D_300K_cm2_per_s")
            conductivity = one.arrhenius.number("sigma_NE_300K_mS_per_cm")
            if Ea.mean is None:
                lines.append(f"  Ea: not given: {Ea.reason}")
            else:
                how = (
                    "each replica's own, pooled"
                    if one.arrhenius.reported == "pooled"
                    else ("one line through the pooled D")
                )
                lines.append(
                    f"  Ea {_show(Ea)} eV ({how}); at 300 K: D {_show(room.scaled(1e7))} "
                    f"1e-7 cm²/s, σ_NE {_show(conductivity)} mS/cm"
                )
        lines += self._missing()
        lines.append(f"written: {SERIES}, {len(self.files) - 1} tables and figures: {self.output}")
        return lines

    def _missing(self) -> list[str]:
        """Name the replicas without D, and why."""
        return [
            f"{one.name}, {'-' if group.temperature_K is None else f'{group.temperature_K:g}'} K: "
            f"{len(D.missing)} of {len(group.runs)} replicas without D: {run}: {reason}"
            for one, group in self.rows()
            if (D := group.quantities.get("D_cm2_per_s")) is not None
            for run, reason in D.missing.items()
        ]


def _percent(one: CompositionRecord) -> str:
    return "-" if one.p2s5_mol_percent is None else f"{one.p2s5_mol_percent:.3g}"


def _show(estimate: Estimate) -> str:
    """Write number and interval in a line."""
    if estimate.mean is None or estimate.ci95 is None:
        return digits(estimate.mean)
    low, high = estimate.ci95
    return f"{digits(estimate.mean)} (95 %: {digits(low)} to {digits(high)})"


def _stack(estimate: Estimate | None, record: PooledRecord | None = None) -> str:
    """Write the number above its interval; * where replicas are left out of it."""
    if estimate is None or estimate.mean is None:
        return "-"
    source = record or (estimate if isinstance(estimate, PooledRecord) else None)
    text = digits(estimate.mean) + ("*" if source is not None and source.missing else "")
    if estimate.ci95 is not None:
        low, high = estimate.ci95
        text += f"\n{digits(low)} –\n{digits(high)}"
    return text


def labelled(key: str) -> str:
    """Name a quantity with its unit, for an axis."""
    names = {
        "density_g_cm3": "density",
        "D_cm2_per_s": "D",
        "sigma_NE_mS_per_cm": "σ_NE",
        "sigma_mS_per_cm": "σ",
        "haven_ratio": "Haven ratio",
        "Ea_eV": "Ea",
        "sigma_NE_300K_mS_per_cm": "σ_NE at 300 K",
    }
    unit = unit_of(key)
    return names.get(key, key) + (f" ({unit})" if unit else "")
