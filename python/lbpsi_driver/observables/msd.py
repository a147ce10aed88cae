"""Mean squared displacements over all time origins, by FFT, with the drift taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

import lbpsi_driver._kernels as _kernels
from lbpsi_driver.observables.paths import Positions, atom_blocks
from lbpsi_driver.observables.trajectory import Floats, Integers


@dataclass(frozen=True)
class LagStatistics:
    """Squared displacements of one kind of ion at chosen lags, over all ions and origins.

    Attributes
    ----------
    lags_ps : ndarray, shape (L,)
        Lags, ps.
    msd_A2 : ndarray, shape (L,)
        Means, Å2.
    variance_A4 : ndarray, shape (L,)
        Variances of the single squared displacements (not of the means), Å4.
    independent : ndarray, shape (L,)
        Numbers of independent displacements: ions times non-overlapping lags in the run.
    """

    lags_ps: Floats
    msd_A2: Floats
    variance_A4: Floats
    independent: Floats


def mean_squared_displacement(positions: Positions, index: Integers | None = None) -> Floats:
    """MSD at every lag, averaged over atoms and all time origins, by FFT.

    The algorithm of Kneller et al., Comput. Phys. Commun. 91, 191 (1995), and Calandrini et al.,
    Collection SFN 12, 201 (2011), widened to frames that are missing: origins without a partner
    don't count.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped positions, Å.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame, increasing from 0 (see :meth:`Trajectory.grid`); default 0, 1, …

    Returns
    -------
    ndarray, shape (L,)
        MSD at the lags 0 … ``index[-1]`` of the grid, Å2; NaN where no two frames are a lag apart.
    """
    index = np.arange(len(positions)) if index is None else index
    length = int(index[-1]) + 1
    size = next_fast_len(2 * length, real=True)
    power, there, square = np.zeros(size // 2 + 1), np.zeros(length), np.zeros(length)
    there[index] = 1.0
    for _, block in atom_blocks(positions):
        # Centred: the FFT's rounding error grows with the distance from the origin of coordinates.
        paths = (block - block.mean(axis=0)).reshape(len(block), -1)
        batch = np.zeros((paths.shape[1], length))
        batch[:, index] = paths.T
        power += (np.abs(rfft(batch, size, axis=1)) ** 2).sum(axis=0)
        square[index] += (paths**2).sum(axis=1)
    there_hat, square_hat = rfft(there, size), rfft(square, size)
    pairs = np.rint(irfft(np.abs(there_hat) ** 2, size)[:length])
    squares = irfft(2.0 * (there_hat.conj() * square_hat).real, size)[:length]
    products = irfft(power, size)[:length]
    with np.errstate(invalid="ignore", divide="ignore"):
        msd = (squares - 2.0 * products) / (pairs * positions.shape[1])
    msd[pairs == 0] = np.nan
    positive: Floats = np.maximum(msd, 0.0)
    return positive


def local_slopes(msd: Floats) -> Floats:
    """Log-log slope d ln MSD/d ln t at each lag: 2 for flight, 0 in a cage, 1 for diffusion.

    The slope of the chord from a lag shorter by the root of 2 to one longer by as much: a factor of
    2 in time, over which noise between neighbouring lags averages out.

    Parameters
    ----------
    msd : ndarray, shape (L,)
        MSD at the lags 0 … L - 1 of a uniform grid, Å2.

    Returns
    -------
    ndarray, shape (L,)
        Slopes; NaN at lag 0, at the last ones, and where there is no MSD or none above zero.
    """
    slopes = np.full(len(msd), np.nan)
    lag = np.arange(1, len(msd))
    before = np.maximum(1, np.rint(lag / np.sqrt(2.0)).astype(np.int64))
    after = np.maximum(before + 1, np.rint(lag * np.sqrt(2.0)).astype(np.int64))
    lag, before, after = (values[after < len(msd)] for values in (lag, before, after))
    with np.errstate(invalid="ignore", divide="ignore"):
        rise = np.log(msd[after] / msd[before])
    slopes[lag] = np.where(np.isfinite(rise), rise, np.nan) / np.log(after / before)
    return slopes


def lag_statistics(
    positions: Positions,
    lags: Integers,
    spacing_ps: float,
    index: Integers | None = None,
    most_origins: int | None = None,
) -> LagStatistics:
    """Mean and variance of the squared displacements at a few lags.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped positions, Å.
    lags : ndarray of int, shape (L,)
        Lags in points of the grid; those that no two frames are apart are left out.
    spacing_ps : float
        Spacing of the grid, ps.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame; default 0, 1, …
    most_origins : int, optional
        Time origins at each lag at most, evenly over the run; default: all.

    Returns
    -------
    LagStatistics
        Statistics by lag.
    """
    index = np.arange(len(positions)) if index is None else index
    there, number = with_origins(index, lags)
    lags_ps = np.asarray(there * spacing_ps, dtype=np.float64)
    mean, variance = np.zeros((2, len(there)))
    for chosen, block in atom_blocks(positions):
        # Mean and variance of two sets from those of each.
        share = (chosen.stop - chosen.start) / chosen.stop
        block = np.ascontiguousarray(block)
        for k, (_, start, stop) in enumerate(frame_pairs(index, there)):
            kept = _evenly(len(start), most_origins)
            means, variances = _kernels.squares_by_atom(block, start[kept], stop[kept])
            away = means.mean() - mean[k]
            rest = (1.0 - share) * (variance[k] + share * away**2)
            mean[k] += share * away
            variance[k] = share * (variances.mean() + means.var()) + rest
    independent = index[-1] / there
    if most_origins is not None:
        thinned = np.minimum(independent, most_origins)
        independent = np.where(number > most_origins, thinned, independent)
    return LagStatistics(lags_ps, mean, variance, positions.shape[1] * independent)


def _evenly(number: int, most: int | None) -> slice | Integers:
    """At most so many of a number of places, evenly."""
    if most is None or number <= most:
        return slice(None)
    return np.linspace(0, number - 1, most).astype(np.int64)


def frame_pairs(index: Integers, lags: Integers) -> Iterator[tuple[int, Integers, Integers]]:
    """Pairs of frames that are a lag apart.

    Parameters
    ----------
    index : ndarray of int, shape (F,)
        Grid point of each frame.
    lags : ndarray of int, shape (L,)
        Lags in points of the grid.

    Yields
    ------
    lag : int
        A lag that there are frames for.
    start, stop : ndarray of int, shape (P,)
        Frames at its two ends.
    """
    frame_at = np.full(int(index[-1]) + 1, -1)
    frame_at[index] = np.arange(len(index))
    for lag in lags.tolist():
        start, stop = frame_at[:-lag], frame_at[lag:]
        both = (start >= 0) & (stop >= 0)
        if both.any():
            yield lag, start[both], stop[both]


def with_origins(index: Integers, lags: Integers) -> tuple[Integers, Integers]:
    """Lags that any two frames are apart, and from how many origins.

    Parameters
    ----------
    index : ndarray of int, shape (F,)
        Grid point of each frame.
    lags : ndarray of int
        Lags in points of the grid.

    Returns
    -------
    lags : ndarray of int, shape (L,)
        Those that there are frames for.
    number : ndarray of int, shape (L,)
        Pairs of frames.
    """
    pairs = [(lag, len(start)) for lag, start, _ in frame_pairs(index, lags)]
    there, number = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return there, number


def squared_displacements(positions: Floats, start: Integers, stop: Integers) -> Floats:
    """Squared displacements between pairs of frames, Å2, shape (P, N)."""
    squares: Floats = np.square(positions[stop] - positions[start]).sum(axis=2)
    return squares


def log_lags(longest: int, number: int = 64) -> Integers:
    """Distinct lags from 1 to `longest`, about evenly spaced in their logarithm."""
    lags = np.geomspace(1, max(longest, 1), number)
    return np.unique(np.rint(lags).astype(np.int64))
