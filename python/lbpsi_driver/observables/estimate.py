"""A number with its 95 % interval: the mean of a correlated series, and of independent blocks.

Successive values of a run are correlated, so the error of their mean is that of the fewer
independent values they are worth: the statistical inefficiency g, twice the integrated
autocorrelation time, values make up one. It is found by summing the autocorrelation up to where
the sum of neighbouring pairs turns negative, pairs made monotone (Geyer, Statist. Sci. 7, 473
(1992), doi:10.1214/ss/1177011137). Subtracting the mean of a short run biases it low, by the
factor 1 + (2W + 1)/n for a sum up to lag W of n values (Wolff, Comput. Phys. Commun. 156, 143
(2004), doi:10.1016/S0010-4655(03)00467-3, eq. 49). There is no interval where fewer than
:data:`LEAST_INDEPENDENT` independent values are left: a run that hasn't seen its own correlation
time can't tell it, and looks better sampled than it is.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from lbpsi_driver.observables.trajectory import Floats, Integers

LEAST_INDEPENDENT = 10.0
"""Fewest independent values, as estimated from the run itself, that give an interval."""
NORMAL_95 = 1.959963984540054
"""Half-width of the 95 % interval of a normal distribution, in standard errors."""
_CONSTANT = 1e-9


class Estimate(BaseModel):
    """A number with its interval; the key that holds it names the unit.

    Attributes
    ----------
    mean : float or None
        The number; None where it can't be had.
    ci95 : tuple of float or None
        95 % interval; None where the run is too short for it.
    reason : str or None
        Why there is no number or no interval, or why it isn't to be taken for a result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float | None
    ci95: tuple[float, float] | None = None
    reason: str | None = None

    def scaled(self, factor: float) -> Estimate:
        """Multiply number and interval by a positive exact factor."""
        if self.mean is None:
            return self
        ci95 = None if self.ci95 is None else (self.ci95[0] * factor, self.ci95[1] * factor)
        return Estimate(mean=self.mean * factor, ci95=ci95, reason=self.reason)

    def flagged(self, reason: str | None) -> Estimate:
        """Add a reason why the number isn't to be taken for a result; one missing keeps its own."""
        if self.mean is None or reason is None:
            return self
        reasons = [reason, self.reason] if self.reason else [reason]
        return Estimate(mean=self.mean, ci95=self.ci95, reason="; ".join(reasons))


def student_95(degrees: float) -> float:
    """Half-width of the 95 % interval of Student's t, in standard errors."""
    return float(stats.t.ppf(0.975, degrees))


def mean_of_series(values: Floats) -> Estimate:
    """Mean of successive, correlated values of a run with its 95 % interval.

    The interval is Student's with n/(2W + 1) degrees of freedom, since the variance of the mean is
    itself uncertain: its relative variance is 2(2W + 1)/n (Madras and Sokal, J. Stat. Phys. 50, 109
    (1988), doi:10.1007/BF01022990), that of a chi-square of as many degrees of freedom.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values at even spacing; a gap in them is passed over.

    Returns
    -------
    Estimate
        Mean and interval: of no width where all values are the same, None, with a reason, where
        they hold fewer than :data:`LEAST_INDEPENDENT` independent ones.
    """
    mean = float(np.mean(values))
    number = len(values)
    if number < 2:
        return Estimate(mean=mean, reason="one value: no interval")
    if float(np.ptp(values)) <= _CONSTANT * abs(mean):
        return Estimate(mean=mean, ci95=(mean, mean))
    inefficiency, window = statistical_inefficiency(values)
    independent = number / inefficiency
    if independent < LEAST_INDEPENDENT:
        reason = (
            f"{number} values are worth about {independent:.1f} independent ones, fewer than "
            f"{LEAST_INDEPENDENT:g}: no interval, run longer"
        )
        return Estimate(mean=mean, reason=reason)
    error = float(np.std(values)) / np.sqrt(independent - 1.0)
    half = student_95(max(1.0, number / (2 * window + 1))) * float(error)
    return Estimate(mean=mean, ci95=(mean - half, mean + half))


def mean_share(values: Floats) -> Estimate:
    """Mean in time of a share or count; one that never changes doesn't tell how far it might.

    Parameters
    ----------
    values : ndarray, shape (F,)
        Its value in each frame.
    """
    if len(values) > 1 and float(np.ptp(values)) == 0.0:
        return Estimate(mean=float(values[0]), reason="never changes in the run: no interval")
    return mean_of_series(values)


def statistical_inefficiency(values: Floats) -> tuple[float, int]:
    """Successive values that make up one independent one, and the last lag summed for it.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Two or more values at even spacing, not all the same.

    Returns
    -------
    inefficiency : float
        g, at least 1: values that alternate about their mean aren't credited for it.
    window : int
        W, the last lag in the sum.
    """
    number = len(values)
    spectrum = np.fft.rfft(values - np.mean(values), 2 * number)
    correlation = np.fft.irfft(np.square(np.abs(spectrum)))[:number]
    pairs = correlation[: number // 2 * 2].reshape(-1, 2).sum(axis=1) / correlation[0]
    negative = np.flatnonzero(pairs <= 0.0)
    end = int(negative[0]) if len(negative) else len(pairs)
    window = max(0, 2 * end - 1)
    g = max(1.0, 2.0 * float(np.minimum.accumulate(pairs[:end]).sum()) - 1.0)
    return g * (1.0 + (2 * window + 1) / number), window


def mean_of_blocks(blocks: Floats) -> Estimate:
    """Mean of independent blocks with Student's 95 % interval.

    For numbers that are had once a block, as the slope of an MSD; means of a series' blocks are
    independent only by luck: use :func:`mean_of_series` for those.

    Parameters
    ----------
    blocks : ndarray, shape (B,)
        One value a block.

    Returns
    -------
    Estimate
        Mean and interval; no interval from fewer than three blocks.
    """
    mean = float(np.mean(blocks))
    if len(blocks) < 3:
        return Estimate(mean=mean, reason="fewer than three blocks: no interval")
    error = float(np.std(blocks, ddof=1)) / np.sqrt(len(blocks))
    half = student_95(len(blocks) - 1) * error
    return Estimate(mean=mean, ci95=(mean - half, mean + half))


def jackknife_ratio(over: Floats, under: Floats) -> tuple[float, float]:
    """Ratio of two sums over independent parts, and the half-width of its logarithm's interval.

    Parameters
    ----------
    over, under : ndarray, shape (n,)
        What is summed, of two or more parts; both sums are above zero.

    Returns
    -------
    ratio : float
        Sum over sum.
    half : float
        Student's 95 % half-width of ln(ratio), from leaving out one part at a time; NaN where what
        is left isn't above zero.
    """
    number = len(over)
    ratio = float(over.sum() / under.sum())
    without_one = over.sum() - over, under.sum() - under
    if not all((rest > 0.0).all() for rest in without_one):
        return ratio, float("nan")
    logs = np.log(without_one[0] / without_one[1])
    error = np.sqrt((number - 1) / number * np.square(logs - logs.mean()).sum())
    return ratio, student_95(number - 1) * float(error)


def clustered_half_width(rest: Floats, labels: Integers) -> float:
    """Half-width of the 95 % interval of a mean whose residuals are correlated within clusters.

    Parameters
    ----------
    rest : ndarray, shape (n,)
        Values less their mean.
    labels : ndarray of int, shape (n,)
        Cluster of each.

    Returns
    -------
    float
        Student's interval over the clusters; NaN from fewer than three.
    """
    _, place = np.unique(labels, return_inverse=True)
    sums = np.bincount(place, rest)
    clusters = len(sums)
    if clusters < 3:
        return float("nan")
    error = np.sqrt(clusters / (clusters - 1.0) * np.square(sums).sum()) / len(rest)
    return student_95(clusters - 1) * float(error)
