"""Hops of the mobile ion, found without sites: times, lengths, residence times, rate.

A glass has no lattice whose sites could be told apart beforehand, so hops are found on each ion's
path by itself. At a time t, let A be the half-window before it and B that after it; the hop
functional is

    p(t) = sqrt(<|r - <r>_B|²>_A <|r - <r>_A|²>_B),

u², the mean square deviation from the mean place, while the ion stays in its cage, and u² + d² at a
hop of length d between two cages. A hop is the largest p within half a window of it, where it
exceeds a threshold (R. Candelier et al., Phys. Rev. Lett. 102, 088001 (2009),
doi:10.1103/PhysRevLett.102.088001, and 105, 135702 (2010), doi:10.1103/PhysRevLett.105.135702, who
cut paths by it recursively; A. Smessaert and J. Rottler, Phys. Rev. E 88, 022314 (2013),
doi:10.1103/PhysRevE.88.022314, for the running window used here).

The default threshold is :data:`OVER_CAGE` times u², the median of p over ions and times, which the
few windows that hold a hop don't move. Where an ion's mean place wanders in its cage, p has a tail
like chi-square's of three degrees: beyond ten times its median lie 3 in 100 000 windows. Hops are
found that are longer than about three times sqrt(u²). An ion that leaves and is back within half a
window has not hopped, and of two hops closer than that the larger one counts: a residence is at
least half a window long, and rates of a process faster than the window are too low.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, mean_of_blocks
from lbpsi_driver.observables.paths import Positions, atom_blocks
from lbpsi_driver.observables.trajectory import Floats, Integers
from lbpsi_driver.units import CM2_PER_S_PER_A2_PER_PS

OVER_CAGE = 10.0
"""Default threshold over u²."""
LEAST_IN_HALF = 3
"""Fewest points of the grid in half a window."""
BLOCKS = 10
"""Blocks of the run for the interval of the rate."""
_SHARE_PRESENT = 0.5  # of the frames of a half-window, for p to be known


@dataclass(frozen=True)
class Hops:
    """Hops of N ions, by ion, then by time; H hops.

    Attributes
    ----------
    ion : ndarray of int, shape (H,)
        Which ion, its place among those given.
    point : ndarray of int, shape (H,)
        Grid point after the hop: half-windows are those before and from it on.
    time_ps : ndarray, shape (H,)
        Time since the first frame, in the middle between that point and the one before, ps.
    start_A, end_A : ndarray, shape (H, 3)
        Mean positions in the half-windows before and after, Å.
    functional_A2 : ndarray, shape (H,)
        p at the hop, Å2.
    cage_A2 : float
        u², median of p, Å2.
    threshold_A2 : float
        Least p of a hop, Å2.
    window_ps : float
        Both half-windows, ps.
    n_ions : int
        Ions watched.
    watched_ps : tuple of float
        First and last time at which a hop can be found.
    """

    ion: Integers
    point: Integers
    time_ps: Floats
    start_A: Floats
    end_A: Floats
    functional_A2: Floats
    cage_A2: float
    threshold_A2: float
    window_ps: float
    n_ions: int
    watched_ps: tuple[float, float]

    @property
    def length_A(self) -> Floats:  # noqa: N802 - Å is the unit's symbol
        """Length of each hop, Å, shape (H,)."""
        length: Floats = np.linalg.norm(self.end_A - self.start_A, axis=1)
        return length

    @property
    def ion_time_ps(self) -> float:
        """Time watched, summed over the ions, ps."""
        return self.n_ions * (self.watched_ps[1] - self.watched_ps[0])

    @property
    def returns(self) -> NDArray[np.bool_]:
        """Which hops bring their ion back to where its hop before started, shape (H,)."""
        back = np.zeros(len(self.ion), dtype=bool)
        distance = np.linalg.norm(self.end_A[1:] - self.start_A[:-1], axis=1)
        back[1:] = (self.ion[1:] == self.ion[:-1]) & (distance**2 < self.threshold_A2)
        return back


@dataclass(frozen=True)
class HopRate:
    """Hops of an ion in a time.

    Attributes
    ----------
    per_ps : Estimate
        Rate, 1/ps, with the exact interval of a Poisson process (F. Garwood, Biometrika 28, 437
        (1936), doi:10.1093/biomet/28.3-4.437).
    by_blocks_per_ps : Estimate
        The same rate with the interval from blocks of the run, which knows that ions hop together.
    dispersion : float or None
        Variance over mean of the ions' numbers of hops: 1 where all ions hop alike and each hop is
        independent of the ones before; above 1 where some ions hop more. None without hops.
    D_uncorrelated_cm2_per_s : float or None
        Rate times mean square length over 6, cm2/s: D if each hop's direction were independent of
        the one before. D below it tells of hops back.
    """

    per_ps: Estimate
    by_blocks_per_ps: Estimate
    dispersion: float | None
    D_uncorrelated_cm2_per_s: float | None


@dataclass(frozen=True)
class Residence:
    """Survival of ions in the place that they have hopped to (Kaplan-Meier).

    Residences start at a hop. One that ends at the next hop is complete; one that the run ends is
    censored, known only to be longer. The time before an ion's first hop is left out: when it began
    isn't known.

    Attributes
    ----------
    times_ps : ndarray, shape (K,)
        Times, ps, increasing.
    survival : ndarray, shape (K,)
        Share of residences longer than that.
    low, high : ndarray, shape (K,)
        95 % interval of `survival` (of its log-log, Greenwood's variance), NaN where not known.
    median_ps : Estimate
        Median residence, ps; None while more than half survive the run.
    complete, censored : int
        Residences of either kind.
    """

    times_ps: Floats
    survival: Floats
    low: Floats
    high: Floats
    median_ps: Estimate
    complete: int
    censored: int


def detect_hops(
    positions: Positions,
    spacing_ps: float,
    index: Integers | None = None,
    *,
    window_ps: float = 2.0,
    threshold_A2: float | None = None,
) -> Hops:
    """Find the hops of ions.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped, drift-free positions of the ions, Å.
    spacing_ps : float
        Spacing of the time grid, ps.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame; default 0, 1, …
    window_ps : float
        Both half-windows together, ps: longer than a few vibrations, shorter than residences.
    threshold_A2 : float, optional
        Least p of a hop, Å2; default :data:`OVER_CAGE` times u².

    Returns
    -------
    Hops
        By ion, then by time.

    Raises
    ------
    UsageError
        No ions, a window of fewer than six points of the grid or as long as the run, a threshold
        that isn't positive, ions that don't move where it is to be found from them.
    """
    index = np.arange(len(positions)) if index is None else index
    half = _half(window_ps, spacing_ps, int(index[-1]) + 1, positions.shape[1])
    if threshold_A2 is not None and not threshold_A2 > 0.0:
        raise UsageError(f"hop threshold {threshold_A2:g} Å2: expected a positive square")
    cage = _cage(positions, index, half)
    threshold = OVER_CAGE * cage if threshold_A2 is None else threshold_A2
    if not threshold > 0.0:
        raise UsageError("hops: the ions don't move, no cage size: give a threshold in Å2")
    rows = [
        _hops_of(windows, half, threshold, first)
        for first, windows in _windows(positions, index, half)
    ]
    ion, point, start, end, functional = (np.concatenate(part) for part in zip(*rows, strict=True))
    # Relative to each ion's mean in the windows, for rounding.
    centre = np.concatenate([block.mean(axis=0) for _, block in atom_blocks(positions)])[ion]
    return Hops(
        ion=ion,
        point=point,
        time_ps=(point - 0.5) * spacing_ps,
        start_A=start + centre,
        end_A=end + centre,
        functional_A2=functional,
        cage_A2=cage,
        threshold_A2=threshold,
        window_ps=2 * half * spacing_ps,
        n_ions=positions.shape[1],
        watched_ps=((half - 1) * spacing_ps, (int(index[-1]) + 1 - half) * spacing_ps),
    )


def hop_rate(hops: Hops) -> HopRate:
    """Rate of hops with its intervals.

    Parameters
    ----------
    hops : Hops
        From :func:`detect_hops`.

    Returns
    -------
    HopRate
        Mean over the ions; no hops give a rate of 0 below an upper limit.
    """
    number, time = len(hops.ion), hops.ion_time_ps
    low = stats.chi2.ppf(0.025, 2 * number) / 2.0 if number else 0.0
    high = stats.chi2.ppf(0.975, 2 * number + 2) / 2.0
    rate = Estimate(mean=number / time, ci95=(float(low) / time, float(high) / time))
    edges = np.linspace(*hops.watched_ps, BLOCKS + 1)
    counts = np.histogram(hops.time_ps, edges)[0]
    blocks = mean_of_blocks(counts / (time / BLOCKS))
    if blocks.ci95 is not None:
        blocks = Estimate(mean=blocks.mean, ci95=(max(0.0, blocks.ci95[0]), blocks.ci95[1]))
    if number == 0:
        return HopRate(rate, blocks.flagged("no hops"), None, None)
    by_ion = np.bincount(hops.ion, minlength=hops.n_ions)
    uncorrelated = number / time * float(np.mean(hops.length_A**2)) / 6.0
    dispersion = float(by_ion.var(ddof=1) / by_ion.mean()) if hops.n_ions > 1 else None
    return HopRate(rate, blocks, dispersion, uncorrelated * CM2_PER_S_PER_A2_PER_PS)


def residence(hops: Hops) -> Residence:
    """Distribution of residence times between hops.

    Parameters
    ----------
    hops : Hops
        From :func:`detect_hops`.

    Returns
    -------
    Residence
        Empty, with a reason at the median, without any complete residence.
    """
    same = hops.ion[1:] == hops.ion[:-1]
    complete = np.diff(hops.time_ps)[same]
    last = np.append(~same, True)[: len(hops.ion)]
    censored = hops.watched_ps[1] - hops.time_ps[last]
    if len(complete) == 0:
        missing = Estimate(mean=None, reason="no ion hops twice: run longer")
        empty = np.empty(0)
        return Residence(empty, empty, empty, empty, missing, 0, len(censored))
    found = stats.ecdf(stats.CensoredData(uncensored=complete, right=censored)).sf
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        # The interval isn't known where all or none have survived.
        ci = found.confidence_interval(method="log-log")
    low, high = ci.low.probabilities, ci.high.probabilities
    times, survival = found.quantiles, found.probabilities
    median = _median(times, survival, low, high)
    return Residence(times, survival, low, high, median, len(complete), len(censored))


@dataclass(frozen=True)
class _Windows:
    """Moments of the half-windows that end and start at each point of the grid; n ions."""

    mean: Floats  # (L - half + 1, n, 3), of the half-window that starts at a point
    deviation: Floats  # (L - half + 1, n), mean square from that mean
    present: NDArray[np.bool_]  # (L - half + 1,)

    def functional(self, half: int, every: int = 1) -> Floats:
        """Hop functional at the points half, half + every, …, 0 where it isn't known."""
        before, after = slice(None, -half, every), slice(half, None, every)
        jump = np.square(self.mean[after] - self.mean[before]).sum(axis=2)
        product = (self.deviation[before] + jump) * (self.deviation[after] + jump)
        known = self.present[after] & self.present[before]
        values: Floats = np.where(known[:, None], np.sqrt(product), 0.0)
        return values


def _half(window_ps: float, spacing_ps: float, length: int, n_ions: int) -> int:
    """Points of the grid in half a window."""
    if n_ions == 0:
        raise UsageError("hops: no ions of that element")
    half = round(window_ps / spacing_ps / 2.0)
    if half < LEAST_IN_HALF:
        raise UsageError(
            f"hop window {window_ps:g} ps: expected {2 * LEAST_IN_HALF} frames of {spacing_ps:g} "
            "ps or more; dump more often or take a longer window"
        )
    if 2 * half >= length:
        run_ps = (length - 1) * spacing_ps
        raise UsageError(f"hop window {window_ps:g} ps: expected less than the run, {run_ps:g} ps")
    return half


def _windows(positions: Positions, index: Integers, half: int) -> Iterator[tuple[int, _Windows]]:
    """Half-windows of a few ions at a time, and the first of these ions."""
    length = int(index[-1]) + 1
    there = np.zeros(length)
    there[index] = 1.0
    number = _sums(there, half)
    present = number >= max(2.0, _SHARE_PRESENT * half)
    for chosen, block in atom_blocks(positions):
        paths = np.zeros((length, block.shape[1], 3))
        paths[index] = block - block.mean(axis=0)
        counts = np.maximum(number, 1.0)[:, None]
        mean = _sums(paths, half) / counts[..., None]
        squares = _sums(np.square(paths).sum(axis=2), half) / counts
        deviation = np.maximum(squares - np.square(mean).sum(axis=2), 0.0)
        yield chosen.start, _Windows(mean, deviation, present)


def _sums(values: Floats, half: int) -> Floats:
    """Sum over the half-windows that start at each point."""
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    sums: Floats = total[half:] - total[:-half]
    return sums


def _cage(positions: Positions, index: Integers, half: int) -> float:
    """Median of the hop functional at points half a window apart; 0 where none is known."""
    parts = [windows.functional(half, half) for _, windows in _windows(positions, index, half)]
    values = np.concatenate([part[part > 0.0] for part in parts])
    return float(np.median(values)) if len(values) else 0.0


def _hops_of(
    windows: _Windows, half: int, threshold: float, first: int
) -> tuple[Integers, Integers, Floats, Floats, Floats]:
    """Ion, grid point, place before, place after and functional of each hop of a few ions."""
    p = windows.functional(half)
    largest = ndimage.maximum_filter1d(p, 2 * half + 1, axis=0, mode="constant")
    ion, place = np.nonzero(((p == largest) & (p >= threshold)).T)
    # Of equal values within half a window the first counts.
    again = np.zeros(len(ion), dtype=bool)
    again[1:] = (ion[1:] == ion[:-1]) & (np.diff(place) <= half)
    ion, place = ion[~again], place[~again]
    before, after = windows.mean[place, ion], windows.mean[place + half, ion]
    return ion + first, place + half, before, after, p[place, ion]


def _median(times: Floats, survival: Floats, low: Floats, high: Floats) -> Estimate:
    """Median of a survival curve; its interval is where the curve's interval holds one half."""
    if survival[-1] > 0.5:
        return Estimate(mean=None, reason="more than half of the residences outlast the run")
    median = float(times[survival <= 0.5][0])
    under_low, under_high = times[low <= 0.5], times[high <= 0.5]
    if len(under_low) == 0 or len(under_high) == 0:
        return Estimate(mean=median, reason="too few residences end in the run for an interval")
    return Estimate(mean=median, ci95=(float(under_low[0]), float(under_high[0])))
