"""Plateaus of running coordination numbers: where a shell ends, and how many it holds.

How steep n(r) is, is told by k(r) = d ln n / d ln r: 3 where the surroundings have no structure,
0 where there are no atoms at all. Measured so, one rule does for all pairs, frequent and rare. A
plateau is *flat* where k stays at or under 1/2 over at least 0.2 Å, *subtle* where it stays at or
under 3/2, half of what no structure gives, over as much without a flat part in it. Its value is
the mean of n over its range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.rdf import RadialDistributions
from lbpsi_driver.observables.trajectory import Floats

FLAT = 0.5
"""Largest d ln n / d ln r of a plateau."""
SUBTLE = 1.5
"""Largest d ln n / d ln r of a subtle one: half of that of uniform surroundings."""
LEAST_WIDTH_A = 0.2
"""Least width of a plateau, Å."""
_SMOOTHING_A = 0.05
_LEAST_NUMBER = 0.05


@dataclass(frozen=True)
class Plateau:
    """A range of distances over which a coordination number hardly rises.

    Attributes
    ----------
    range_A : tuple of float
        From where to where, Å.
    value : float
        Mean coordination number over the range.
    rise : float
        By how much it rises over the range.
    flat : bool
        False for a subtle one.
    """

    range_A: tuple[float, float]
    value: float
    rise: float
    flat: bool


def plateaus_of(found: RadialDistributions) -> dict[str, list[Plateau]]:
    """Plateaus of all pairs, in both directions; ``B-S``: of the number of S around B.

    Parameters
    ----------
    found : RadialDistributions
        From :func:`lbpsi_driver.observables.rdf.radial_distributions`.

    Returns
    -------
    dict of str to list of Plateau
        By increasing distance; an empty list where a pair has none.
    """
    upper = found.r_A + 0.5 * (found.r_A[1] - found.r_A[0])
    return {pair: plateaus(upper, n) for pair, n in found.coordination.items()}


def plateaus(
    r_A: Floats, n: Floats, *, flat: float = FLAT, subtle: float = SUBTLE
) -> list[Plateau]:
    """Find the plateaus of a running coordination number.

    The derivative is smoothed by a Gaussian of 0.05 Å; what lies before the first twentieth of
    a neighbour, and a plateau that the end of the data cuts short of the least width, are none.

    Parameters
    ----------
    r_A : ndarray, shape (B,)
        Even distances at which `n` is known, Å.
    n : ndarray, shape (B,)
        Mean number of neighbours up to there; never falls.
    flat, subtle : float
        Largest d ln n / d ln r of either kind.

    Returns
    -------
    list of Plateau
        By increasing distance.

    Raises
    ------
    UsageError
        Distances that aren't even, or fewer than three.
    """
    r_A, n = np.asarray(r_A, np.float64), np.asarray(n, np.float64)
    steps = np.diff(r_A)
    if len(r_A) < 3 or len(n) != len(r_A) or np.ptp(steps) > 1e-6 * float(steps.max()):
        raise UsageError("coordination numbers: expected three or more at evenly spaced distances")
    steepness = _steepness(r_A, n)
    gentle = list(_runs(steepness <= flat, r_A))
    found = [_plateau(r_A, n, run, True) for run in gentle]
    for run in _runs(steepness <= subtle, r_A):
        if not any(run.start <= inner.start < run.stop for inner in gentle):
            found.append(_plateau(r_A, n, run, False))
    return sorted(found, key=lambda plateau: plateau.range_A)


def _steepness(r_A: Floats, n: Floats) -> Floats:
    """Exponent d ln n / d ln r at each distance; infinite where there are no neighbours yet."""
    width = float(r_A[1] - r_A[0])
    slope = gaussian_filter1d(np.gradient(n, width), _SMOOTHING_A / width, mode="nearest")
    held = n >= _LEAST_NUMBER
    return np.where(held, r_A * slope / np.where(held, n, 1.0), np.inf)


def _runs(chosen: NDArray[np.bool_], r_A: Floats) -> Iterator[slice]:
    """Ranges of neighbouring places that are chosen and wide enough."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    for start, stop in ends.reshape(-1, 2).tolist():
        if r_A[stop - 1] - r_A[start] >= LEAST_WIDTH_A - 1e-9:
            yield slice(start, stop)


def _plateau(r_A: Floats, n: Floats, run: slice, flat: bool) -> Plateau:
    first, last = run.start, run.stop - 1
    return Plateau(
        (float(r_A[first]), float(r_A[last])), float(n[run].mean()), float(n[last] - n[first]), flat
    )
