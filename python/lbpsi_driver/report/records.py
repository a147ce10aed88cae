"""What the records of ``results.json`` share: their base, D with its judgement, numbers as text."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from lbpsi_driver.observables.diffusion import TracerDiffusion
from lbpsi_driver.observables.estimate import Estimate


class Record(BaseModel):
    """Base of all records: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class DiffusionRecord(Estimate):
    """Tracer D of an ion, cm2/s, and whether its run is diffusive."""

    diffusive: bool
    loglog_slope: float | None
    loglog_slope_ci95: tuple[float, float] | None
    window_ps: tuple[float, float] | None

    @classmethod
    def of(cls, tracer: TracerDiffusion) -> DiffusionRecord:
        """Make the record of what :mod:`lbpsi_driver.observables.diffusion` found."""
        window = tracer.window
        return cls(
            mean=tracer.D_cm2_per_s,
            ci95=tracer.ci95_cm2_per_s,
            reason=tracer.reason,
            diffusive=tracer.diffusive,
            loglog_slope=None if window is None else window.slope,
            loglog_slope_ci95=None if window is None else window.slope_ci95,
            window_ps=None if window is None else (window.start_ps, window.stop_ps),
        )


def digits(value: float | None) -> str:
    """Write a number with three digits, a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.3g}"


def by_reason(parts: Iterable[tuple[str, str | None]]) -> dict[str, list[str]]:
    """Names of what a run hasn't, by the reason for it."""
    found: dict[str, list[str]] = {}
    for name, reason in parts:
        if reason is not None:
            found.setdefault(reason, []).append(name)
    return found
