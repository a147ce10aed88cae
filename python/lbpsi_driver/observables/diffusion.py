"""Tracer diffusion coefficient with its interval, and whether the run is diffusive at all.

D is the slope of the MSD over 6 (paper 000, eq. 1) in the diffusive window. Its interval is the
posterior of kinisi's Bayesian regression (doi:10.1021/acs.jctc.4c01249), which knows that MSDs at
different lags come from the same displacements; an ordinary least-squares fit takes them for
independent and gives intervals several times too narrow.

The window ends at half the run. It starts at the earliest lag from which the log-log slope of the
MSD isn't clearly outside 0.9 to 1.1 (its 95 % interval reaches that range). Only lags where the
MSD has left the cage count, since flight and cage together can mimic a slope of 1.

A run is flagged *not diffusive* when

- the MSD at the end of the window is below :data:`CAGE_A2`: ions have not left their cages, and
  the slope is that of vibrations;
- the 95 % interval of the log-log slope lies below :data:`LEAST_SLOPE`, or above
  :data:`LARGEST_SLOPE`: sub-diffusion (hopping back and forth), or drift and flight;
- that interval is wider than :data:`WIDEST_SLOPE`: the run is too short to tell.

The interval of D is conditional on the window, and counts ions as independent: where they move
together (Haven ratio far below 1) it is too narrow by up to the root of that ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipp as sc
from kinisi.diffusion import Diffusion
from scipy.stats import truncnorm

from lbpsi_driver.observables.estimate import NORMAL_95
from lbpsi_driver.observables.msd import LagStatistics, lag_statistics, log_lags
from lbpsi_driver.observables.paths import Positions
from lbpsi_driver.observables.trajectory import Floats, Integers
from lbpsi_driver.units import CM2_PER_S_PER_A2_PER_PS

CAGE_A2 = 2.0
"""MSD that vibrations in a cage don't reach, Å2: about twice that of Li at 600 K in a sulfide."""
LEAST_SLOPE = 0.9
"""Least log-log slope of a diffusive MSD."""
LARGEST_SLOPE = 1.1
"""Largest log-log slope of a diffusive MSD."""
WIDEST_SLOPE = 1.0
"""Widest 95 % interval of the log-log slope that still tells diffusion from its absence."""
LEAST_LAGS = 4
"""Fewest lags for a line and its error."""
LEAST_GAIN = 1.1
"""Least growth from one lag of the regression to the next of what it adds."""
LATEST_START = 1.0 / 6.0
"""Latest start of the window, as a fraction of its end: a slope needs a range."""

_N_QUANTILES = 2000
_FEWEST_FRAMES = 20


@dataclass(frozen=True)
class Window:
    """Window of lags in which the slope of the MSD is taken.

    Attributes
    ----------
    start_ps, stop_ps : float
        First and last lag, ps.
    slope, slope_error : float
        Log-log slope of the MSD in the window and its standard error.
    """

    start_ps: float
    stop_ps: float
    slope: float
    slope_error: float

    @property
    def slope_ci95(self) -> tuple[float, float]:
        """95 % interval of the log-log slope."""
        half = NORMAL_95 * self.slope_error
        return self.slope - half, self.slope + half


@dataclass(frozen=True)
class TracerDiffusion:
    """Tracer diffusion coefficient of one kind of ion.

    Attributes
    ----------
    D_cm2_per_s : float or None
        Posterior mean, cm2/s; None where it can't be had, `reason` says why.
    ci95_cm2_per_s : tuple of float or None
        95 % interval, cm2/s.
    window : Window or None
        The diffusive window.
    diffusive : bool
        Whether the run is diffusive by the criteria of this module.
    reason : str or None
        Why it isn't, or why there is no D.
    """

    D_cm2_per_s: float | None
    ci95_cm2_per_s: tuple[float, float] | None
    window: Window | None
    diffusive: bool
    reason: str | None


def gls_line(x: Floats, y: Floats, covariance: Floats) -> tuple[float, float, float]:
    """Generalised least-squares line through correlated points.

    Parameters
    ----------
    x, y : ndarray, shape (L,)
        The points.
    covariance : ndarray, shape (L, L)
        Covariance of `y`; positive definite.

    Returns
    -------
    slope, slope_error, intercept : float
        The line and the standard error of its slope.
    """
    design = np.stack([x, np.ones_like(x)], axis=1)
    weighted = np.linalg.solve(covariance, design)
    spread = np.linalg.inv(design.T @ weighted)
    slope, intercept = spread @ (weighted.T @ y)
    return float(slope), float(np.sqrt(spread[0, 0])), float(intercept)


def loglog_slope(stats: LagStatistics) -> tuple[float, float]:
    """Log-log slope of an MSD and its standard error.

    For a random walk the logarithms of the MSD at two lags covary as the shorter lag over the run
    (kinisi's covariance in logarithms), which makes the fit a generalised least-squares one. The
    factor in front is 2/3 for Gaussian displacements; it is taken from the data, since hops of a
    few ions spread more.

    Returns
    -------
    slope, error : float
        Slope d ln MSD / d ln t and its standard error.
    """
    relative = float(np.mean(stats.variance_A4 / stats.msd_A2**2))
    walks = float(np.mean(stats.independent * stats.lags_ps))
    covariance = relative * np.minimum.outer(stats.lags_ps, stats.lags_ps) / walks
    slope, error, _ = gls_line(np.log(stats.lags_ps), np.log(stats.msd_A2), covariance)
    return slope, error


def choose_window(stats: LagStatistics) -> Window | None:
    """Diffusive window of an MSD by the rule of this module.

    Returns
    -------
    Window or None
        None where there are too few lags. Where no start gives a slope that agrees with 1, the
        window with the latest start: nearest to what the ions do in the long run.
    """
    if len(stats.lags_ps) < LEAST_LAGS or not (stats.msd_A2 > 0).all():
        return None
    stop = float(stats.lags_ps[-1])
    window = None
    for first in np.flatnonzero(stats.lags_ps <= stop * LATEST_START):
        start = float(stats.lags_ps[first])
        window = Window(start, stop, *loglog_slope(_from(stats, start)))
        low, high = window.slope_ci95
        if stats.msd_A2[first] >= CAGE_A2 / 2 and low <= LARGEST_SLOPE and high >= LEAST_SLOPE:
            break
    return window


def judge(window: Window, end_A2: float) -> str | None:
    """Why an MSD is not diffusive by the criteria of this module, None where it is.

    Parameters
    ----------
    window : Window
        Its diffusive window.
    end_A2 : float
        MSD at the end of the window, Å2.
    """
    low, high = window.slope_ci95
    if end_A2 < CAGE_A2:
        return f"MSD reaches {end_A2:.2g} Å2 only, below {CAGE_A2:g} Å2: ions stay in their cages"
    if high < LEAST_SLOPE:
        return f"log-log slope {window.slope:.2f} (95 %: {low:.2f} to {high:.2f}): sub-diffusive"
    if low > LARGEST_SLOPE:
        return f"log-log slope {window.slope:.2f} (95 %: {low:.2f} to {high:.2f}): super-diffusive"
    if high - low > WIDEST_SLOPE:
        return f"log-log slope {window.slope:.2f} (95 %: {low:.2f} to {high:.2f}): run too short"
    return None


def tracer_diffusion(
    positions: Positions, spacing_ps: float, index: Integers | None = None, seed: int = 1
) -> TracerDiffusion:
    """Tracer diffusion coefficient of a group of ions, with its 95 % interval.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped, drift-free positions of the ions, Å.
    spacing_ps : float
        Spacing of the time grid, ps.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame; default 0, 1, …
    seed : int
        Seed of the posterior's sampling.

    Returns
    -------
    TracerDiffusion
        D, its interval, the window, and whether the run is diffusive. D is None, with a reason,
        where the run is too short for a regression; it is given, flagged, where it is not
        diffusive.
    """
    index = np.arange(len(positions)) if index is None else index
    few = too_few_frames(len(positions))
    if few is not None:
        return without_D(few)
    lags = log_lags(int(index[-1]) // 2)
    return diffusion_of(lag_statistics(positions, lags, spacing_ps, index), seed)


def too_few_frames(number: int) -> str | None:
    """Why a number of frames gives no D, None where it may."""
    if number < _FEWEST_FRAMES:
        return f"{number} frames: {_FEWEST_FRAMES} or more are needed for D"
    return None


def without_D(reason: str) -> TracerDiffusion:  # noqa: N802 - D is the quantity
    """D that can't be had, and why."""
    return TracerDiffusion(None, None, None, False, reason)


def diffusion_of(stats: LagStatistics, seed: int | None = 1) -> TracerDiffusion:
    """Tracer diffusion coefficient from the statistics of squared displacements.

    Parameters
    ----------
    stats : LagStatistics
        Of any set of ions, at lags up to half the run.
    seed : int or None
        Seed of the posterior's sampling; None: take :func:`slope_quantiles`, the same posterior in
        a thousandth of the time.

    Returns
    -------
    TracerDiffusion
        As :func:`tracer_diffusion`.
    """
    window = choose_window(stats)
    if window is None:
        return without_D("too few lags, or ions that don't move")
    reason = judge(window, float(stats.msd_A2[-1]))
    inside = informative(_from(stats, window.start_ps))
    if len(inside.lags_ps) < LEAST_LAGS:
        reason = reason or "MSD doesn't grow steadily in the window: run too short"
        return TracerDiffusion(None, None, window, False, reason)
    slopes = slope_quantiles(inside) if seed is None else slope_posterior(inside, seed)
    samples = slopes / 6.0 * CM2_PER_S_PER_A2_PER_PS
    low, high = np.quantile(samples, [0.025, 0.975])
    return TracerDiffusion(
        float(samples.mean()), (float(low), float(high)), window, reason is None, reason
    )


def slope_posterior(stats: LagStatistics, seed: int = 1) -> Floats:
    """Posterior of the slope of an MSD by kinisi's Bayesian regression.

    kinisi's readers unwrap orthorhombic and triclinic cells themselves; here its regression gets
    the MSD of our displacements, which are right under a barostat and through flips.

    Parameters
    ----------
    stats : LagStatistics
        MSD in the diffusive window.
    seed : int
        Seed of the sampling.

    Returns
    -------
    ndarray, shape (S,)
        Samples of the slope, Å2/ps; positive.
    """
    msd = sc.Variable(
        dims=["time interval"],
        values=stats.msd_A2,
        variances=stats.variance_A4 / stats.independent,
        unit="angstrom^2",
    )
    lags = sc.array(dims=["time interval"], values=stats.lags_ps, unit="ps")
    counts = sc.array(dims=["time interval"], values=stats.independent)
    data = sc.DataArray(data=msd, coords={"time interval": lags, "n_samples": counts})
    regression = Diffusion(sc.DataGroup({"da": data, "dimensionality": sc.scalar(3)}))
    # kinisi seeds numpy's global generator; a caller's own random numbers must not change.
    state = np.random.get_state()  # noqa: NPY002
    try:
        regression.bayesian_regression(
            start_dt=lags["time interval", 0],
            n_burn=1000,
            progress=False,
            random_state=np.random.RandomState(seed),
        )
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return np.asarray(regression.gradient.values, dtype=np.float64)


def slope_quantiles(stats: LagStatistics) -> Floats:
    """Quantiles of the posterior that :func:`slope_posterior` samples, in closed form.

    Its likelihood is normal and its priors are flat, but for a slope that isn't negative: the
    slope's posterior is that of generalised least squares, cut off at zero. Covariance of two lags:
    variance_i / independent_j for i before j, as kinisi has it (doi:10.1021/acs.jctc.4c01249).

    Parameters
    ----------
    stats : LagStatistics
        MSD in the diffusive window; :func:`informative` lags only.

    Returns
    -------
    ndarray, shape (S,)
        Slopes at even steps of probability, Å2/ps; not negative.
    """
    lag = np.arange(len(stats.lags_ps))
    first, last = np.minimum.outer(lag, lag), np.maximum.outer(lag, lag)
    covariance = stats.variance_A4[first] / stats.independent[last]
    slope, error, _ = gls_line(stats.lags_ps, stats.msd_A2, covariance)
    probabilities = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES
    cut_off = truncnorm(-slope / error, np.inf, loc=slope, scale=error)
    return np.asarray(cut_off.ppf(probabilities), dtype=np.float64)


def _from(stats: LagStatistics, start_ps: float) -> LagStatistics:
    return _at(stats, np.flatnonzero(stats.lags_ps >= start_ps * (1.0 - 1e-9)))


def informative(stats: LagStatistics) -> LagStatistics:
    """Keep the lags that each add information to the ones before.

    kinisi's covariance of two lags, variance_i / independent_j for i before j, is positive
    definite only where variance times independent grows with the lag, and nearly singular where
    it hardly does. Noise between neighbouring lags does that, and the regression lands anywhere.
    """
    information = stats.variance_A4 * stats.independent
    kept = [0]
    for lag in range(1, len(information)):
        if information[lag] >= LEAST_GAIN * information[kept[-1]]:
            kept.append(lag)
    return _at(stats, np.array(kept))


def _at(stats: LagStatistics, chosen: Integers) -> LagStatistics:
    return LagStatistics(
        stats.lags_ps[chosen],
        stats.msd_A2[chosen],
        stats.variance_A4[chosen],
        stats.independent[chosen],
    )
