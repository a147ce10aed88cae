"""Mean squared displacements over all time origins, by FFT, with the drift taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

# Columns of one batch of FFTs; keeps the work array small beside the trajectory.
_BATCH = 192


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


def remove_drift(
    positions: Floats,
    masses_amu: Floats,
    com: Literal["all", "group", "none"],
    group: Integers,
) -> Floats:
    """Positions of a group relative to a centre of mass.

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
        Unwrapped positions of all atoms, Å.
    masses_amu : ndarray, shape (N,)
        Masses, amu.
    com : {'all', 'group', 'none'}
        Whose centre of mass is the origin; none leaves the positions as they are.
    group : ndarray of int, shape (n,)
        Atoms wanted.

    Returns
    -------
    ndarray, shape (F, n, 3)
        Positions, Å.
    """
    chosen = positions[:, group]
    if com == "none":
        return chosen
    if com == "group":
        weights = masses_amu[group] / masses_amu[group].sum()
        centre = np.tensordot(chosen, weights, axes=(1, 0))
    else:
        centre = np.tensordot(positions, masses_amu / masses_amu.sum(), axes=(1, 0))
    relative: Floats = chosen - centre[:, None, :]
    return relative


def group_positions(
    trajectory: Trajectory,
    element: str,
    com: Literal["all", "group", "none"] = "all",
    unwrap: Literal["fractional", "image"] = "fractional",
) -> Floats:
    """Unwrapped, drift-free positions of an element's atoms, Å, shape (F, n, 3)."""
    return remove_drift(
        trajectory.positions(unwrap),
        trajectory.masses_amu,
        com,
        trajectory.indices(element),
    )


def mean_squared_displacement(positions: Floats, index: Integers | None = None) -> Floats:
    """MSD at every lag, averaged over atoms and all time origins, by FFT.

    The algorithm of Kneller et al., Comput. Phys. Commun. 91, 191 (1995), and Calandrini et al.,
    Collection SFN 12, 201 (2011), widened to frames that are missing: origins without a partner
    don't count.

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
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
    # Centred: the FFT's rounding error grows with the distance from the origin of coordinates.
    paths = (positions - positions.mean(axis=0)).reshape(len(positions), -1)
    power = np.zeros(size // 2 + 1)
    for start in range(0, paths.shape[1], _BATCH):
        batch = np.zeros((min(_BATCH, paths.shape[1] - start), length))
        batch[:, index] = paths[:, start : start + _BATCH].T
        power += (np.abs(rfft(batch, size, axis=1)) ** 2).sum(axis=0)
    there, square = np.zeros(length), np.zeros(length)
    there[index] = 1.0
    square[index] = (paths**2).sum(axis=1)
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
    positions: Floats,
    lags: Integers,
    spacing_ps: float,
    index: Integers | None = None,
    most_origins: int | None = None,
) -> LagStatistics:
    """Mean and variance of the squared displacements at a few lags.

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
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
    rows = []
    for lag, start, stop in frame_pairs(index, lags):
        independent = index[-1] / lag
        if most_origins is not None and len(start) > most_origins:
            chosen = np.linspace(0, len(start) - 1, most_origins).astype(np.int64)
            start, stop = start[chosen], stop[chosen]
            independent = min(independent, most_origins)
        squares = squared_displacements(positions, start, stop)
        rows.append(
            (lag * spacing_ps, squares.mean(), squares.var(), positions.shape[1] * independent)
        )
    return LagStatistics(*np.array(rows, dtype=np.float64).reshape(-1, 4).T)


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


def squared_displacements(positions: Floats, start: Integers, stop: Integers) -> Floats:
    """Squared displacements between pairs of frames, Å2, shape (P, N)."""
    squares: Floats = np.square(positions[stop] - positions[start]).sum(axis=2)
    return squares


def log_lags(longest: int, number: int = 64) -> Integers:
    """Distinct lags from 1 to `longest`, about evenly spaced in their logarithm."""
    lags = np.geomspace(1, max(longest, 1), number)
    return np.unique(np.rint(lags).astype(np.int64))
