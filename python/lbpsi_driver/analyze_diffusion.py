"""The part of ``analyze`` on displacements: MSD, D of each element, conductivities, Arrhenius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lbpsi_driver.attempt import attempt
from lbpsi_driver.config import AnalysisOptions
from lbpsi_driver.observables import msd as msd_module
from lbpsi_driver.observables.arrhenius import ArrheniusFit, arrhenius, is_usable
from lbpsi_driver.observables.conductivity import collective_diffusion, nernst_einstein
from lbpsi_driver.observables.diffusion import (
    TracerDiffusion,
    diffusion_of,
    too_few_frames,
    tracer_diffusion,
    without_D,
)
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.paths import Positions
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory
from lbpsi_driver.report.figures import ArrheniusPoints
from lbpsi_driver.report.records import DiffusionRecord
from lbpsi_driver.report.results import (
    AnalyzeResult,
    ArrheniusRecord,
    SigmaArrheniusRecord,
    TemperatureRecord,
)

ROOM_K = 300.0
_LEAST_POINTS = 2
MOST_ORIGINS_OTHERS = 500
"""Time origins at each lag for D of elements that aren't the mobile one."""

Fits = tuple[ArrheniusFit | None, ArrheniusFit | None]
"""Lines of D and of sigma T."""


@dataclass(frozen=True)
class RunDiffusion:
    """Displacements of one run.

    Attributes
    ----------
    lags_ps : ndarray, shape (L,)
        Lags of the MSD, ps; zero alone where there is no motion to be had.
    msd_A2 : dict of str to ndarray
        MSD by element, Å2.
    slopes : dict of str to ndarray
        Its log-log slope.
    tracers : dict of str to TracerDiffusion
        D by element, the mobile one first.
    ions : ndarray or Paths, shape (F, N, 3)
        Unwrapped, drift-free positions of the mobile ions, Å; no frames where there is no motion.
    fields : dict of str to object
        Conductivities and Haven ratio as fields of a :class:`TemperatureRecord`.
    reason : str or None
        Why there is no motion to be had.
    """

    lags_ps: Floats
    msd_A2: dict[str, Floats]
    slopes: dict[str, Floats]
    tracers: dict[str, TracerDiffusion]
    ions: Positions
    fields: dict[str, Any]
    reason: str | None

    def without_ions(self) -> RunDiffusion:
        """Leave out the positions, which aren't needed for tables and figures."""
        return replace(self, ions=np.empty((0, self.ions.shape[1], 3)))

    @property
    def records(self) -> dict[str, DiffusionRecord]:
        """D by element for ``results.json``."""
        return {element: DiffusionRecord.of(tracer) for element, tracer in self.tracers.items()}

    def table(self) -> dict[str, Floats]:
        """Columns of the CSV file."""
        table = {"lag_ps": self.lags_ps}
        table |= {f"msd_{element}_A2": values for element, values in self.msd_A2.items()}
        return table | {f"slope_{element}": values for element, values in self.slopes.items()}


def analyze_run(
    trajectory: Trajectory, options: AnalysisOptions, temperature_K: float | None, charge_e: float
) -> RunDiffusion:
    """MSD, D and conductivities of one run.

    Parameters
    ----------
    trajectory : Trajectory
        Its frames.
    options : AnalysisOptions
        The mobile ion, how displacements are taken.
    temperature_K : float or None
        Its temperature, K.
    charge_e : float
        Charge of the mobile ion, e.

    Returns
    -------
    RunDiffusion
        With reasons in place of numbers for one frame, frames at uneven times, no mobile ion.
    """
    elements = [str(element) for element in np.unique(trajectory.elements)]
    mobile = options.mobile
    reason = None
    if trajectory.n_frames < 2:
        reason = "1 frame: two or more are needed for displacements"
    grid, reason = attempt("time grid", trajectory.grid, reason)
    if grid is None:
        still = {element: np.zeros(1) for element in elements}
        tracers = {element: without_D(reason or "") for element in (mobile, *elements)}
        none = np.empty((0, len(trajectory.indices(mobile)), 3))
        fields = _conductivities(trajectory, none, tracers[mobile], None, temperature_K, charge_e)
        slopes = {element: np.full(1, np.nan) for element in elements}
        return RunDiffusion(np.zeros(1), still, slopes, tracers, none, fields, reason)
    ions = trajectory.indices(mobile)
    lags, curves, slopes = _msd_curves(trajectory, options, grid)
    paths = trajectory.paths(ions, options.com, options.unwrap)
    tracers = {mobile: without_D(f"no {mobile} in the trajectory")}
    if len(ions):
        tracers[mobile] = tracer_diffusion(paths, *grid)
    for element in elements:
        if element != mobile:
            others = trajectory.paths(trajectory.indices(element), options.com, options.unwrap)
            tracers[element] = _tracer_of_others(others, grid)
    in_frame = trajectory.paths(ions, "all", options.unwrap)
    about = (grid, temperature_K, charge_e)
    fields = _conductivities(trajectory, in_frame, tracers[mobile], *about)
    return RunDiffusion(lags, curves, slopes, tracers, paths, fields, None)


def _msd_curves(
    trajectory: Trajectory,
    options: AnalysisOptions,
    grid: tuple[float, Integers],
) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
    """MSD of each element up to half the run: beyond, hardly two lags are independent."""
    spacing, index = grid
    length = max(2, int(index[-1]) // 2 + 1)
    curves, slopes = {}, {}
    for element in np.unique(trajectory.elements):
        group = trajectory.indices(element)
        paths = trajectory.paths(group, options.com, options.unwrap)
        msd = msd_module.mean_squared_displacement(paths, index)
        curves[str(element)] = msd[:length]
        slopes[str(element)] = msd_module.local_slopes(msd)[:length]
    return np.arange(length, dtype=np.float64) * spacing, curves, slopes


def _tracer_of_others(paths: Positions, grid: tuple[float, Integers]) -> TracerDiffusion:
    """D of an element that isn't the mobile one: the posterior in closed form."""
    spacing, index = grid
    few = too_few_frames(len(paths))
    if few is not None:
        return without_D(few)
    lags = msd_module.log_lags(int(index[-1]) // 2)
    stats = msd_module.lag_statistics(paths, lags, spacing, index, MOST_ORIGINS_OTHERS)
    found, reason = attempt("D", lambda: diffusion_of(stats, None))
    return without_D(reason or "") if found is None else found


def _conductivities(
    trajectory: Trajectory,
    ions: Positions,
    tracer: TracerDiffusion,
    grid: tuple[float, Integers] | None,
    temperature_K: float | None,
    charge: float,
) -> dict[str, Any]:
    """Conductivities and Haven ratio as fields of a :class:`TemperatureRecord`."""
    D = Estimate(mean=tracer.D_cm2_per_s, ci95=tracer.ci95_cm2_per_s, reason=tracer.reason)
    missing = None
    if ions.shape[1] == len(trajectory.elements):
        missing = "no other ions: the summed displacement is that of the centre of mass, zero"
    elif tracer.window is None:
        missing = tracer.reason
    if missing is not None or tracer.window is None or grid is None:
        D_sigma = ratio = Estimate(mean=None, reason=missing)
        lags = None
    else:
        found = collective_diffusion(ions, tracer.window.start_ps, *grid)
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


def add_arrhenius(result: AnalyzeResult) -> Fits:
    """Fit D and sigma T of the diffusive temperatures, or enter why not.

    Parameters
    ----------
    result : AnalyzeResult
        Its temperatures are read, its Arrhenius records written.

    Returns
    -------
    of_D, of_sigma : ArrheniusFit or None
        The fits.
    """
    rows = [
        (row.temperature_K, row)
        for row in result.temperatures
        if row.temperature_K is not None and row.D_cm2_per_s[result.mobile].diffusive
    ]
    return _fit_D(result, rows), _fit_sigma(result, rows)


def arrhenius_points(result: AnalyzeResult, fits: Fits) -> list[ArrheniusPoints]:
    """Collect what the Arrhenius figure shows: D, and sigma T where two runs have it.

    Parameters
    ----------
    result : AnalyzeResult
        All temperatures.
    fits : tuple of ArrheniusFit or None
        From :func:`add_arrhenius`.

    Returns
    -------
    list of ArrheniusPoints
        Empty where fewer than two runs have a D with an interval.
    """
    rows = [(row.temperature_K, row) for row in result.temperatures if row.temperature_K]
    tracers = [row.D_cm2_per_s[result.mobile] for _, row in rows]
    panels: list[ArrheniusPoints] = []
    for label, values, fit in (
        (f"D({result.mobile}) (cm²/s)", tracers, fits[0]),
        ("σT (mS K/cm)", _sigma_T(rows), fits[1]),
    ):
        if sum(value.ci95 is not None for value in values) < _LEAST_POINTS:
            break
        about = ([T for T, _ in rows], values, [D.diffusive for D in tracers], fit)
        panels.append(ArrheniusPoints(label, *about))
    return panels


def _sigma_T(  # noqa: N802 - T is the temperature
    rows: Sequence[tuple[float, TemperatureRecord]],
) -> list[Estimate]:
    """Multiply the collective conductivity of runs by their temperature, mS K/cm."""
    return [row.sigma_mS_per_cm.scaled(T) for T, row in rows]


def _fit_D(  # noqa: N802 - D is the quantity
    result: AnalyzeResult, rows: Sequence[tuple[float, TemperatureRecord]]
) -> ArrheniusFit | None:
    fit = arrhenius([T for T, _ in rows], [row.D_cm2_per_s[result.mobile] for _, row in rows])
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
        prefactor_cm2_per_s=fit.prefactor,
        D_300K_cm2_per_s=room,
        sigma_NE_300K_mS_per_cm=nernst_einstein(room, n, result.charge_e, ROOM_K),
        temperatures_K=fit.temperatures_K,
        chi2_per_degree=fit.chi2_per_degree,
    )
    return fit


def _fit_sigma(
    result: AnalyzeResult, rows: Sequence[tuple[float, TemperatureRecord]]
) -> ArrheniusFit | None:
    """Fit the temperatures whose sigma has an interval above zero: a few blocks may not give it."""
    used = [(T, row) for T, row in rows if is_usable(row.sigma_mS_per_cm)]
    left_out = tuple(T for T, row in rows if not is_usable(row.sigma_mS_per_cm))
    fit = arrhenius([T for T, _ in used], _sigma_T(used), "sigma T")
    if isinstance(fit, str):
        if left_out:
            names = ", ".join(f"{T:g}" for T in left_out)
            fit += f"; sigma at {names} K has no interval above zero"
        result.arrhenius_sigma = SigmaArrheniusRecord(left_out_K=left_out, reason=fit)
        return None
    result.arrhenius_sigma = SigmaArrheniusRecord(
        Ea_eV=fit.Ea_eV,
        prefactor_mS_K_per_cm=fit.prefactor,
        sigma_300K_mS_per_cm=fit.at(ROOM_K).scaled(1.0 / ROOM_K),
        temperatures_K=fit.temperatures_K,
        left_out_K=left_out,
        chi2_per_degree=fit.chi2_per_degree,
    )
    return fit
