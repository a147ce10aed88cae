"""Replicas: pooled means that keep the scatter between glasses apart from the error of each run.

Each replica r gives a number y_r with a standard error s_r of its own run. Glasses differ, so that
the y_r scatter by more than their errors: y_r = μ + u_r + e_r with Var u = τ² between glasses and
Var e = s_r² within a run (random effects). τ² is that of Paule and Mandel, J. Res. Natl. Bur.
Stand. 87, 377 (1982), doi:10.6028/jres.087.022: with weights w_r = 1/(s_r² + τ²) the weighted sum
of squares is its expectation R - 1. The interval is that of Hartung and Knapp, Stat. Med. 20, 3875
(2001), doi:10.1002/sim.1009, and Sidik and Jonkman, Stat. Med. 21, 3153 (2002),
doi:10.1002/sim.1262: Student's with R - 1 degrees of freedom and the scatter about the weighted
mean; it is never taken narrower than the interval with fixed effects (τ² = 0, normal).

Positive numbers that vary by factors (D, σ) are pooled as logarithms. Shares and counts have
errors that depend on their own size, so that weights would favour small ones: they, and all that
has no error of its own, get the plain mean with Student's interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy import optimize, stats

from lbpsi_driver.observables.estimate import NORMAL_95, Estimate, jackknife_ratio, student_95
from lbpsi_driver.observables.trajectory import Floats

Kind = Literal["linear", "log", "plain"]
"""How a quantity is pooled: weighted, weighted as logarithms, or by the plain mean."""

ONE = "one replica: the interval is that of its own run, the scatter of glasses is not in it"
TWO = "two replicas: Student's t of one degree of freedom, 12.7 standard errors"
_FEW = 1
_PAIR = 2
_QUANTILES = 4000


@dataclass(frozen=True)
class Pooled:
    """A number over replicas.

    Attributes
    ----------
    estimate : Estimate
        Pooled mean and 95 % interval; of logarithms the geometric mean.
    replicas : int
        Replicas with a number.
    between : float or None
        τ, standard deviation between replicas; of ln y where pooled as logarithms. None from
        fewer than two.
    within : float or None
        Root mean square standard error of the replicas' own runs, in the same scale; None where
        one has none.
    missing : dict of str to str
        Why a replica has no number, by its name.
    """

    estimate: Estimate
    replicas: int
    between: float | None
    within: float | None
    missing: dict[str, str]


def pool(
    replicas: Mapping[str, Estimate],
    kind: Kind,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Pooled:
    """Pool a number over replicas.

    Parameters
    ----------
    replicas : mapping of str to Estimate
        By the replica's name; one without a number is counted and named.
    kind : {"linear", "log", "plain"}
        See the module.
    bounds : tuple of float
        Least and largest value that the number can have: the interval is cut there.

    Returns
    -------
    Pooled
        Of one replica its own interval, flagged; of two flagged, too.
    """
    known = {
        name: one
        for name, one in replicas.items()
        if one.mean is not None and (kind != "log" or one.mean > 0.0)
    }
    missing = {
        name: one.reason or "not above zero" for name, one in replicas.items() if name not in known
    }
    number = len(known)
    if number == 0:
        reasons = "; ".join(dict.fromkeys(missing.values())) or "no replicas"
        return Pooled(Estimate(mean=None, reason=reasons), 0, None, None, missing)
    values, errors = _scaled(list(known.values()), kind == "log")
    within = None if errors is None else float(np.sqrt(np.mean(np.square(errors))))
    if number == _FEW:
        own = next(iter(known.values()))
        flag = ONE if own.reason is None else f"{ONE}; {own.reason}"
        single = Estimate(mean=own.mean, ci95=own.ci95, reason=flag)
        return Pooled(single, number, None, within, missing)
    if errors is None or kind == "plain":
        mean, half, between = plain_mean(values, errors)
    else:
        mean, half, between = random_effects(values, errors)
    reason = TWO if number == _PAIR else None
    estimate = _unscaled(mean, half, kind == "log", bounds, reason)
    return Pooled(estimate, number, between, within, missing)


def paule_mandel(values: Floats, errors: Floats) -> float:
    """Variance τ² between replicas by Paule and Mandel.

    Parameters
    ----------
    values : ndarray, shape (R,)
        Numbers of R ≥ 2 replicas.
    errors : ndarray, shape (R,)
        Their standard errors, above zero.

    Returns
    -------
    float
        τ², zero where the values scatter by no more than their errors.
    """

    def excess(variance: float) -> float:
        weights = 1.0 / (np.square(errors) + variance)
        mean = (weights * values).sum() / weights.sum()
        return float((weights * np.square(values - mean)).sum()) - (len(values) - 1)

    if excess(0.0) <= 0.0:
        return 0.0
    # At this variance each weight is under (R - 1)/sum of squares: the excess is negative.
    highest = float(np.square(values - values.mean()).sum()) / (len(values) - 1)
    found: float = optimize.brentq(excess, 0.0, highest, xtol=1e-12 * highest, rtol=1e-12)
    return found


def random_effects(values: Floats, errors: Floats) -> tuple[float, float, float]:
    """Random-effects mean with its interval; the module says whose.

    Parameters
    ----------
    values : ndarray, shape (R,)
        Numbers of R ≥ 2 replicas.
    errors : ndarray, shape (R,)
        Their standard errors, above zero.

    Returns
    -------
    mean : float
        Weighted mean.
    half : float
        Half-width of its 95 % interval.
    tau : float
        Standard deviation between replicas.
    """
    variance = paule_mandel(values, errors)
    weights = 1.0 / (np.square(errors) + variance)
    mean = float((weights * values).sum() / weights.sum())
    freedom = len(values) - 1
    scatter = (weights * np.square(values - mean)).sum() / (freedom * weights.sum())
    fixed = NORMAL_95 / np.sqrt((1.0 / np.square(errors)).sum())
    half = max(student_95(freedom) * float(np.sqrt(scatter)), float(fixed))
    return mean, half, float(np.sqrt(variance))


def plain_mean(values: Floats, errors: Floats | None = None) -> tuple[float, float, float]:
    """Mean of equally weighted replicas with Student's 95 % interval.

    Parameters
    ----------
    values : ndarray, shape (R,)
        Numbers of R ≥ 2 replicas.
    errors : ndarray, shape (R,), optional
        Their standard errors: their mean square is taken out of τ² (Hedges and Olkin).

    Returns
    -------
    mean, half, tau : float
        Mean, half-width of its interval, standard deviation between replicas.
    """
    variance = float(values.var(ddof=1))
    half = student_95(len(values) - 1) * float(np.sqrt(variance / len(values)))
    own = 0.0 if errors is None else float(np.mean(np.square(errors)))
    return float(values.mean()), half, float(np.sqrt(max(0.0, variance - own)))


def pooled_ratio(tracer: Mapping[str, float], summed: Mapping[str, float]) -> Estimate:
    """Ratio of pooled D to pooled D_σ: the Haven ratio over replicas.

    A mean of ratios is biased, since D_σ of a short run scatters widely and stands below the line.
    The interval is Student's, from the jackknife of the ratio's logarithm that leaves out one
    replica at a time.

    Parameters
    ----------
    tracer, summed : mapping of str to float
        D and D_σ of the same lags by replica, cm2/s, above zero, two or more.

    Returns
    -------
    Estimate
        Ratio of the sums.
    """
    over = np.array([tracer[name] for name in summed])
    under = np.array(list(summed.values()))
    ratio, half = jackknife_ratio(over, under)
    ci95 = (ratio * float(np.exp(-half)), ratio * float(np.exp(half)))
    return Estimate(mean=ratio, ci95=ci95, reason=TWO if len(under) == _PAIR else None)


@dataclass(frozen=True)
class Scatter:
    """Standard deviation of ln y of a single replica, from groups of replicas.

    Attributes
    ----------
    sd : float
        Pooled over the groups: between glasses and within runs together.
    degrees : int
        Its degrees of freedom, the sum of R - 1.
    ci95 : tuple of float
        Its own interval, by chi-square.
    """

    sd: float
    degrees: int
    ci95: tuple[float, float]


def scatter_of(groups: Sequence[Floats]) -> Scatter | None:
    """Pool the scatter of groups of replicas; None where no group has two.

    Parameters
    ----------
    groups : sequence of ndarray
        ln y of the replicas of each composition.
    """
    degrees = sum(len(group) - 1 for group in groups if len(group))
    if degrees == 0:
        return None
    squares = sum(float(np.square(group - group.mean()).sum()) for group in groups if len(group))
    low, high = (squares / stats.chi2.ppf(p, degrees) for p in (0.975, 0.025))
    ci95 = (float(np.sqrt(low)), float(np.sqrt(high)))
    return Scatter(float(np.sqrt(squares / degrees)), degrees, ci95)


def smallest_ratio(
    sd: float, replicas: tuple[int, int], degrees: int | None = None, power: float = 0.8
) -> float:
    """Smallest ratio of two compositions that R replicas of each would show.

    Student's two-sample test of ln y at 95 %: with the standard error sd sqrt(1/R1 + 1/R2) and ν
    degrees of freedom, t is non-central t of δ = ln(ratio)/error. The ratio is that whose δ
    exceeds the quantile with the wanted power (Cohen, Statistical Power Analysis for the
    Behavioral Sciences, 2nd ed., 1988, chapter 2 and section 12.8.1).

    Parameters
    ----------
    sd : float
        Standard deviation of ln y of one replica: assumed beforehand, or of :func:`scatter_of`.
    replicas : tuple of int
        R1 and R2.
    degrees : int, optional
        ν; default R1 + R2 - 2, more where the scatter comes from other compositions, too.
    power : float
        Chance to find it.

    Returns
    -------
    float
        The ratio, 1 or more; infinite where there is no degree of freedom.
    """
    degrees = sum(replicas) - 2 if degrees is None else degrees
    if degrees < 1 or min(replicas) < 1:
        return float("inf")
    error = sd * float(np.sqrt(1.0 / replicas[0] + 1.0 / replicas[1]))
    highest = 4.0 * student_95(degrees) + 4.0
    delta: float = optimize.brentq(lambda d: _power(d, degrees) - power, 0.0, highest)
    return float(np.exp(delta * error))


def power_to_find(
    ratio: float, sd: float, replicas: tuple[int, int], degrees: int | None = None
) -> float:
    """Chance that a given ratio of two compositions is found; see :func:`smallest_ratio`."""
    degrees = sum(replicas) - 2 if degrees is None else degrees
    if degrees < 1 or min(replicas) < 1:
        return 0.0
    error = sd * float(np.sqrt(1.0 / replicas[0] + 1.0 / replicas[1]))
    return 1.0 if error == 0.0 else _power(abs(float(np.log(ratio))) / error, degrees)


def ratio_of(first: Floats, second: Floats, scatter: Scatter | None) -> Estimate:
    """Ratio of two compositions, from ln y of their replicas, with Student's 95 % interval.

    Parameters
    ----------
    first, second : ndarray
        ln y of the replicas of each, one or more.
    scatter : Scatter or None
        Scatter of one replica, taken to be the same for all compositions.

    Returns
    -------
    Estimate
        Ratio of the geometric means, first over second.
    """
    difference = float(first.mean() - second.mean())
    if scatter is None:
        reason = "no composition has two replicas: the scatter of glasses is unknown, no interval"
        return Estimate(mean=float(np.exp(difference)), reason=reason)
    error = scatter.sd * float(np.sqrt(1.0 / len(first) + 1.0 / len(second)))
    half = student_95(scatter.degrees) * error
    return _unscaled(difference, half, True, (0.0, np.inf), None)


def _power(delta: float, degrees: int) -> float:
    """Chance that |t| of non-central t exceeds the 95 % quantile.

    By the mean over quantiles of the standard error: t = (z + δ)/s. scipy's ``nct`` fails for
    the large δ of few degrees of freedom.
    """
    edges = _edges(degrees)
    return float((stats.norm.sf(edges - delta) + stats.norm.cdf(-edges - delta)).mean())


@cache
def _edges(degrees: int) -> Floats:
    """95 % quantile of t times equally likely standard errors."""
    quantiles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    errors = np.sqrt(stats.chi2.ppf(quantiles, degrees) / degrees)
    edges: Floats = student_95(degrees) * errors
    return edges


def _scaled(known: Sequence[Estimate], log: bool) -> tuple[Floats, Floats | None]:
    """Numbers and their standard errors, of logarithms if wanted; no errors where one has none."""
    values = np.array([one.mean for one in known], dtype=np.float64)
    halves: list[float] = []
    for one in known:
        if one.mean is None or one.ci95 is None or not one.ci95[0] < one.ci95[1]:
            halves = []
            break
        low, high = one.ci95
        if not log:
            halves.append((high - low) / 2.0)
        elif low > 0.0:
            halves.append(float(np.log(high / low)) / 2.0)
        else:  # cut at zero: the upper half tells
            halves.append(float(np.log(high / one.mean)))
    scaled: Floats = np.log(values) if log else values
    if not halves or min(halves) <= 0.0:
        return scaled, None
    return scaled, np.array(halves) / NORMAL_95


def _unscaled(
    mean: float, half: float, log: bool, bounds: tuple[float, float], reason: str | None
) -> Estimate:
    ends = np.array([mean, mean - half, mean + half])
    middle, low, high = (float(end) for end in (np.exp(ends) if log else ends))
    ci95 = (max(bounds[0], low), min(bounds[1], high))
    return Estimate(mean=middle, ci95=ci95, reason=reason)
