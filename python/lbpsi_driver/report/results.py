"""The records of ``analyze``: what ``results.json`` holds, and their table for a terminal."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lbpsi_driver import __version__
from lbpsi_driver.observables.estimate import Estimate

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
    "haven_ratio": "D/D_sigma, one charge in both conductivities",
    "arrhenius": "weighted fit of ln D against 1/T, diffusive temperatures only",
    "first_peak": "first maximum of g(r) above 1",
    "density": "mass over volume, interval from ten blocks",
}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DiffusionRecord(Estimate):
    """Tracer D of an ion, cm2/s, and whether its run is diffusive."""

    diffusive: bool
    loglog_slope: float | None
    loglog_slope_ci95: tuple[float, float] | None
    window_ps: tuple[float, float] | None


class CurveRecord(_Record):
    """Where a curve is, and the numbers read off it."""

    file: str
    cutoff_A: float | None = None
    first_peak_A: dict[str, float | None] | None = None


class TemperatureRecord(_Record):
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

    def remarkable(self, mobile: str) -> list[tuple[str, Estimate]]:
        """List the numbers that have a reason to tell: missing, flagged, without an interval."""
        D = self.D_cm2_per_s[mobile]
        if D.mean is None or not D.diffusive:
            return [("not diffusive", D)]
        named = {"σ_NE": self.sigma_NE_mS_per_cm, "σ": self.sigma_mS_per_cm}
        named["Haven ratio"] = self.haven_ratio
        return [(name, number) for name, number in named.items() if number.reason is not None]


class ArrheniusRecord(_Record):
    """Activation energy and the extrapolation to 300 K, or why they aren't given."""

    Ea_eV: Estimate | None = None
    prefactor_cm2_per_s: Estimate | None = None
    D_300K_cm2_per_s: Estimate | None = None
    sigma_NE_300K_mS_per_cm: Estimate | None = None
    temperatures_K: tuple[float, ...] = ()
    chi2_per_degree: float | None = None
    reason: str | None = None


class QuenchRecord(_Record):
    """What the history of the quench tells."""

    history: str
    last_stage: str
    density_g_cm3: Estimate


class AnalyzeResult(_Record):
    """Result of ``analyze``: what ``results.json`` holds.

    Attributes
    ----------
    temperatures : list of TemperatureRecord
        One a run, by temperature; keys end in their unit, intervals are 95 %.
    arrhenius : ArrheniusRecord
        Activation energy, or the reason for its absence.
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
    quench: QuenchRecord | None = None
    files: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    definitions: dict[str, str] = Field(default_factory=lambda: dict(DEFINITIONS))

    def table(self) -> Group:
        """Render for a terminal: a row a temperature, Ea and remarks below."""
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
                row.label if row.temperature_K is None else f"{row.temperature_K:g}",
                _stack(row.density_g_cm3),
                _stack(D.scaled(1e7)),
                "-" if D.loglog_slope is None else f"{D.loglog_slope:.2f}",
                _stack(row.sigma_NE_mS_per_cm),
                _stack(row.sigma_mS_per_cm),
                _stack(row.haven_ratio),
                "yes" if D.diffusive else "no",
            )
        return Group(*([table] if self.temperatures else []), *map(Text, self._lines()))

    def _lines(self) -> list[str]:
        if not self.files:
            return ["would read: " + ", ".join(self.inputs)]
        fit = self.arrhenius
        lines = [f"warning: {warning}" for warning in self.warnings]
        lines += [
            f"{row.label}: {what}: {number.reason}"
            for row in self.temperatures
            for what, number in row.remarkable(self.mobile)
        ]
        if self.quench is not None:
            lines.append(
                f"quench: {_show(self.quench.density_g_cm3)} g/cm³ in stage "
                f"{self.quench.last_stage}"
            )
        if fit.Ea_eV is None:
            lines.append(f"Ea: not given: {fit.reason}")
        else:
            lines.append(f"Ea: {_show(fit.Ea_eV)} eV")
        if fit.D_300K_cm2_per_s is not None and fit.sigma_NE_300K_mS_per_cm is not None:
            lines.append(
                f"on the line at 300 K: D {_show(fit.D_300K_cm2_per_s.scaled(1e7))} 1e-7 cm²/s, "
                f"σ_NE {_show(fit.sigma_NE_300K_mS_per_cm)} mS/cm"
            )
        lines.append(f"written: {RESULTS}, {len(self.files) - 1} curves and figures: {self.output}")
        return lines


def _show(estimate: Estimate) -> str:
    """Write number and interval in a line."""
    if estimate.mean is None or estimate.ci95 is None:
        return _digits(estimate.mean)
    low, high = estimate.ci95
    return f"{_digits(estimate.mean)} (95 %: {_digits(low)} to {_digits(high)})"


def _stack(estimate: Estimate) -> str:
    """Write the number above its interval, for a column of a table."""
    if estimate.mean is None or estimate.ci95 is None:
        return _digits(estimate.mean)
    low, high = estimate.ci95
    return f"{_digits(estimate.mean)}\n{_digits(low)} –\n{_digits(high)}"


def _digits(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"
