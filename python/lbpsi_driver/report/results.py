"""The records of ``analyze``: what ``results.json`` holds, and their table for a terminal."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lbpsi_driver import __version__
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.report import structure_results, transport_results
from lbpsi_driver.report.motif_results import (
    MOTIF_DEFINITIONS,
    MotifRecord,
    QuenchMotifRecord,
    motif_table,
)
from lbpsi_driver.report.records import DiffusionRecord, Record, by_reason, digits
from lbpsi_driver.report.structure_results import (
    STRUCTURE_DEFINITIONS,
    BondAnglesRecord,
    CurveRecord,
    NetworksRecord,
    QnRecord,
    StructureFactorRecord,
    structure_table,
)
from lbpsi_driver.report.transport_results import (
    TRANSPORT_DEFINITIONS,
    HopRotationRecord,
    HopsRecord,
    IonDensityRecord,
    NonGaussianRecord,
    VanHoveRecord,
    elements_table,
    hopping_table,
)

RESULTS = "results.json"

DEFINITIONS = {
    "interval": "ci95 is a 95 % interval in time; the spread between replicas is not in it",
    "msd": "mean over ions and all time origins; unwrap and com as in options",
    "D": "slope/6 of the MSD in the diffusive window, lags weighted; posterior mean by kinisi",
    "diffusive": "MSD leaves the cage (2 Å2) and the interval of its log-log slope in the window "
    "reaches 0.9 to 1.1",
    "sigma_NE": "n z²e²D/(k_B T)",
    "sigma": "paper 000, eq. 2: summed displacement of the mobile ions in the frame of the centre "
    "of mass of all atoms; interval from blocks",
    "D_sigma": "sigma k_B T V/(N z²e²)",
    "haven_ratio": "D/D_sigma, both as slopes in the blocks and lags of sigma (collective_window), "
    "not with the D above, which has lags to half the run; one charge in both",
    "reason": "why there is no number or no interval; at a number with an interval, why it isn't a "
    "result: D, sigma_NE, sigma, D_sigma and Haven ratio of a run that isn't diffusive are no "
    "transport coefficients",
    "arrhenius": "weighted fit of ln D against 1/T, diffusive temperatures only",
    "first_peak": "first maximum of g(r) above 1",
    "density": "mass over volume, interval from the integrated autocorrelation time",
}
DEFINITIONS |= TRANSPORT_DEFINITIONS | MOTIF_DEFINITIONS | STRUCTURE_DEFINITIONS


class TemperatureRecord(Record):
    """Observables of one run."""

    label: str
    temperature_K: float | None
    frames: int
    time_ps: float
    n_mobile: int
    volume_A3: float
    density_g_cm3: Estimate
    msd: CurveRecord
    rdf: CurveRecord
    D_cm2_per_s: dict[str, DiffusionRecord]
    sigma_NE_mS_per_cm: Estimate
    sigma_mS_per_cm: Estimate
    D_sigma_cm2_per_s: Estimate
    haven_ratio: Estimate
    collective_window_ps: tuple[float, float] | None
    motifs: MotifRecord | None = None
    structure_factor: StructureFactorRecord | None = None
    bond_angles: BondAnglesRecord | None = None
    networks: NetworksRecord | None = None
    qn: QnRecord | None = None
    van_hove: VanHoveRecord | None = None
    non_gaussian: NonGaussianRecord | None = None
    ion_density: IonDensityRecord | None = None
    hops: HopsRecord | None = None
    hop_rotation: HopRotationRecord | None = None

    @property
    def name(self) -> str:
        """Temperature in K, or the label where it isn't known."""
        return self.label if self.temperature_K is None else f"{self.temperature_K:g}"

    def doubtful(self, mobile: str) -> bool:
        """Tell whether a D of the tables is of ions that aren't diffusive."""
        found = [self.D_cm2_per_s[mobile]]
        if self.motifs is not None:
            found += [
                row.D_cm2_per_s for row in self.motifs.classes.values() if row.D_cm2_per_s.mean
            ]
        return any(not D.diffusive for D in found)

    def absences(self) -> dict[str, list[str]]:
        """Names of what the run hasn't, by the reason for it."""
        parts = (*structure_results.absences(self), *transport_results.absences(self))
        return by_reason(parts)

    def remarkable(self, mobile: str) -> list[tuple[str, Estimate]]:
        """List the numbers that have a reason to tell: missing, flagged, without an interval."""
        D = self.D_cm2_per_s[mobile]
        named: dict[str, Estimate] = {"ρ": self.density_g_cm3}
        if D.mean is None or not D.diffusive:
            named["not diffusive, D, σ_NE, σ and Haven ratio are no transport coefficients"] = D
        else:
            named |= {"σ_NE": self.sigma_NE_mS_per_cm, "σ": self.sigma_mS_per_cm}
            named["Haven ratio"] = self.haven_ratio
        return [(name, number) for name, number in named.items() if number.reason is not None]


class ArrheniusRecord(Record):
    """Activation energy and the extrapolation to 300 K, or why they aren't given."""

    Ea_eV: Estimate | None = None
    prefactor_cm2_per_s: Estimate | None = None
    D_300K_cm2_per_s: Estimate | None = None
    sigma_NE_300K_mS_per_cm: Estimate | None = None
    temperatures_K: tuple[float, ...] = ()
    chi2_per_degree: float | None = None
    reason: str | None = None


class SigmaArrheniusRecord(Record):
    """Activation energy of the collective conductivity and its extrapolation, or a reason."""

    Ea_eV: Estimate | None = None
    prefactor_mS_K_per_cm: Estimate | None = None
    sigma_300K_mS_per_cm: Estimate | None = None
    temperatures_K: tuple[float, ...] = ()
    left_out_K: tuple[float, ...] = ()
    chi2_per_degree: float | None = None
    reason: str | None = None


class QuenchRecord(Record):
    """What the history of the quench tells."""

    history: str
    last_stage: str
    density_g_cm3: Estimate
    motifs: QuenchMotifRecord | None = None


class AnalyzeResult(Record):
    """Result of ``analyze``: what ``results.json`` holds.

    Attributes
    ----------
    temperatures : list of TemperatureRecord
        One a run, by temperature; keys end in their unit, intervals are 95 %.
    arrhenius : ArrheniusRecord
        Activation energy of D, or the reason for its absence.
    arrhenius_sigma : SigmaArrheniusRecord
        Likewise of sigma T.
    quench : QuenchRecord or None
        Where the history of the quench is at hand.
    files : dict of str to str
        What was written, by kind, relative to `output`.
    warnings : list of str
        What a reader of the numbers should know.
    """

    verb: str = "analyze"
    version: str = __version__
    run: str
    output: str
    mobile: str
    charge_e: float
    options: dict[str, Any]
    inputs: list[str]
    temperatures: list[TemperatureRecord] = Field(default_factory=list)
    arrhenius: ArrheniusRecord = Field(default_factory=ArrheniusRecord)
    arrhenius_sigma: SigmaArrheniusRecord = Field(default_factory=SigmaArrheniusRecord)
    quench: QuenchRecord | None = None
    files: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    definitions: dict[str, str] = Field(default_factory=lambda: dict(DEFINITIONS))

    def table(self) -> Group:
        """Render for a terminal: a row a temperature, Ea and remarks below.

        Numbers of a run that isn't diffusive are in brackets.
        """
        title = Text(f"{self.run}: {self.mobile}, z = {self.charge_e:g} e")
        table = Table(title=title, box=SIMPLE_HEAD, leading=1)
        for head in ("T\nK", "ρ\ng/cm³", "D\n1e-7 cm²/s", "log-log\nslope"):
            table.add_column(head, justify="right", overflow="fold")
        for head in ("σ_NE\nmS/cm", "σ\nmS/cm", "Haven\nratio"):
            table.add_column(head, justify="right", overflow="fold")
        table.add_column("diffu-\nsive")
        for row in self.temperatures:
            D = row.D_cm2_per_s[self.mobile]
            table.add_row(
                row.name,
                _stack(row.density_g_cm3),
                _stack(D.scaled(1e7), doubtful=not D.diffusive),
                "-" if D.loglog_slope is None else f"{D.loglog_slope:.2f}",
                _stack(row.sigma_NE_mS_per_cm, doubtful=not D.diffusive),
                _stack(row.sigma_mS_per_cm, doubtful=not D.diffusive),
                _stack(row.haven_ratio, doubtful=not D.diffusive),
                "yes" if D.diffusive else "no",
            )
        motifs = {row.name: row.motifs for row in self.temperatures if row.motifs is not None}
        tables = [
            table if self.temperatures else None,
            elements_table(self.temperatures, self.mobile),
            structure_table(self.temperatures),
            hopping_table(self.temperatures),
            motif_table(motifs, self.mobile),
        ]
        return Group(*(one for one in tables if one is not None), *map(Text, self._lines()))

    def _lines(self) -> list[str]:
        if not self.files:
            return ["would read: " + ", ".join(self.inputs)]
        lines = [f"warning: {warning}" for warning in self.warnings]
        if any(row.doubtful(self.mobile) for row in self.temperatures):
            lines.append("( ): of a run or a motif that is not diffusive, no transport coefficient")
        lines += [
            f"{row.label}: no motifs: {row.motifs.reason}"
            for row in self.temperatures
            if row.motifs is not None and row.motifs.reason is not None
        ]
        lines += [
            f"{row.label}: {', '.join(names)}: {reason}"
            for row in self.temperatures
            for reason, names in row.absences().items()
            if row.motifs is None or reason != row.motifs.reason
        ]
        lines += [
            f"{row.label}: {what}: {number.reason}"
            for row in self.temperatures
            for what, number in row.remarkable(self.mobile)
        ]
        if self.quench is not None:
            density = self.quench.density_g_cm3
            why = "" if density.reason is None else f": {density.reason}"
            lines.append(f"quench: {_show(density)} g/cm³ in stage {self.quench.last_stage}{why}")
            if self.quench.motifs is not None:
                lines.append(
                    f"quench: formers in stage {self.quench.last_stage}: "
                    + self.quench.motifs.summary()
                )
        lines += self._fits()
        lines.append(f"written: {RESULTS}, {len(self.files) - 1} curves and figures: {self.output}")
        return lines

    def _fits(self) -> list[str]:
        """Activation energies and what the lines give at 300 K."""
        fit, of_sigma = self.arrhenius, self.arrhenius_sigma
        if fit.Ea_eV is None:
            lines = [f"Ea: not given: {fit.reason}"]
        else:
            lines = [f"Ea: {_show(fit.Ea_eV)} eV"]
        if fit.D_300K_cm2_per_s is not None and fit.sigma_NE_300K_mS_per_cm is not None:
            lines.append(
                f"on the line at 300 K: D {_show(fit.D_300K_cm2_per_s.scaled(1e7))} 1e-7 cm²/s, "
                f"σ_NE {_show(fit.sigma_NE_300K_mS_per_cm)} mS/cm"
            )
        if of_sigma.Ea_eV is not None and of_sigma.sigma_300K_mS_per_cm is not None:
            lines.append(
                f"of σT: Ea {_show(of_sigma.Ea_eV)} eV, on the line at 300 K: "
                f"σ {_show(of_sigma.sigma_300K_mS_per_cm)} mS/cm"
            )
        elif fit.Ea_eV is not None:
            lines.append(f"of σT: Ea not given: {of_sigma.reason}")
        return lines


def _show(estimate: Estimate) -> str:
    """Write number and interval in a line."""
    if estimate.mean is None or estimate.ci95 is None:
        return digits(estimate.mean)
    low, high = estimate.ci95
    return f"{digits(estimate.mean)} (95 %: {digits(low)} to {digits(high)})"


def _stack(estimate: Estimate, *, doubtful: bool = False) -> str:
    """Write the number above its interval, for a column of a table; in brackets if doubtful."""
    text = digits(estimate.mean)
    if estimate.mean is not None and estimate.ci95 is not None:
        low, high = estimate.ci95
        text += f"\n{digits(low)} –\n{digits(high)}"
    return f"({text})" if doubtful and estimate.mean is not None else text
