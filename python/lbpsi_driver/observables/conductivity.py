"""Ionic conductivity: Nernst-Einstein, collective, and their Haven ratio.

- σ_NE = n z²e²D/(k_B T), from the tracer D.
- σ is eq. 2 of paper 000: the slope of the mean squared *sum* of the mobile ions' displacements,
  in the frame of the centre of mass of all atoms (in that of the mobile ions the sum is zero).
- D_σ = σ k_B T V/(N z²e²): the slope of that sum over 6N. Without the factor N, a Haven ratio
  depends on the size of the cell.
- Haven ratio H_R = D/D_σ, both from the same lags; the charge cancels, since one z is in both
  conductivities.

The sum over all ions is a single path, so its interval comes from blocks of the run: the slope is
taken in each block, and Student's t gives the interval of their mean. The Haven ratio is that of
the ions' own slopes to those of their sum in the same blocks at the same lags, so that
fluctuations both share cancel; its interval is the jackknife's over these blocks. Where the MSD
isn't linear its D differs from the tracer D, which is taken from lags up to half the run, and the
ratio from σ_NE/σ.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.diffusion import gls_line
from lbpsi_driver.observables.estimate import Estimate, jackknife_ratio, mean_of_blocks
from lbpsi_driver.observables.msd import log_lags, mean_squared_displacement
from lbpsi_driver.observables.paths import Positions, at_frames, summed
from lbpsi_driver.observables.trajectory import Floats, Integers
from lbpsi_driver.units import CM2_PER_S_PER_A2_PER_PS, conductivity_mS_per_cm

FORMAL_CHARGE_E = {
    "H": 1.0,
    "Li": 1.0,
    "Na": 1.0,
    "K": 1.0,
    "Cu": 1.0,
    "Ag": 1.0,
    "Mg": 2.0,
    "Ca": 2.0,
    "Zn": 2.0,
    "Al": 3.0,
    "F": -1.0,
    "Cl": -1.0,
    "Br": -1.0,
    "I": -1.0,
    "O": -2.0,
    "S": -2.0,
}
"""Formal charges of ions that conduct, e."""

MOST_BLOCKS = 10
LEAST_BLOCKS = 3
_STARTS_A_BLOCK = 4.0
_LAGS_A_BLOCK = 16
_NO_GROWTH = "the displacement or its sum doesn't grow: run too short"


@dataclass(frozen=True)
class Collective:
    """Collective diffusion of N ions.

    Attributes
    ----------
    D_sigma_cm2_per_s : Estimate
        D_σ, cm2/s.
    haven_ratio : Estimate
        D/D_σ, number and interval from the lags of D_σ.
    lags_ps : tuple of float or None
        First and last lag of the slopes in each block, ps.
    """

    D_sigma_cm2_per_s: Estimate
    haven_ratio: Estimate
    lags_ps: tuple[float, float] | None


def charge_of(mobile: str, given: str | None) -> float:
    """Charge of the mobile ion, e: what the user gave, else formal.

    Parameters
    ----------
    mobile : str
        Element of the mobile ion.
    given : str or None
        As in ``Li=0.882``.

    Raises
    ------
    UsageError
        Where `given` isn't ``mobile=number``, or there is no formal charge for `mobile`.
    """
    if given is None:
        if mobile not in FORMAL_CHARGE_E:
            raise UsageError(f"no formal charge of '{mobile}': give --charge {mobile}=1, in e")
        return FORMAL_CHARGE_E[mobile]
    name, _, value = given.partition("=")
    try:
        charge = float(value)
    except ValueError:
        charge = 0.0
    if name.strip() != mobile or not np.isfinite(charge) or charge == 0.0:
        raise UsageError(
            f"--charge {given}: expected the mobile ion and its charge in e, as in {mobile}=0.882"
        )
    return charge


def nernst_einstein(
    D_cm2_per_s: Estimate, n_per_A3: float, z: float, temperature_K: float
) -> Estimate:
    """σ = n z²e²D/(k_B T), mS/cm: σ_NE from the tracer's D, the collective σ from D_σ.

    Parameters
    ----------
    D_cm2_per_s : Estimate
        Diffusion coefficient, cm2/s.
    n_per_A3 : float
        Number density of the mobile ion, 1/Å3.
    z : float
        Its charge, e.
    temperature_K : float
        Temperature, K.
    """
    return D_cm2_per_s.scaled(conductivity_mS_per_cm(1.0, n_per_A3, z, temperature_K))


def collective_diffusion(
    positions: Positions,
    start_ps: float,
    spacing_ps: float,
    index: Integers | None = None,
) -> Collective:
    """D_σ and Haven ratio of the mobile ions, with intervals from blocks of the run.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped positions of all N mobile ions relative to the centre of mass of *all* atoms, Å.
    start_ps : float
        Start of the diffusive window, ps.
    spacing_ps : float
        Spacing of the time grid, ps.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame; default 0, 1, …

    Returns
    -------
    Collective
        Both None, with a reason, where three blocks of four times `start_ps` don't fit in the run.
    """
    index = np.arange(len(positions)) if index is None else index
    start = max(1, round(start_ps / spacing_ps))
    length = int(index[-1])
    number = min(MOST_BLOCKS, int(length / (_STARTS_A_BLOCK * start)))
    if number < LEAST_BLOCKS:
        reason = (
            f"run of {length * spacing_ps:g} ps holds fewer than {LEAST_BLOCKS} blocks of "
            f"{_STARTS_A_BLOCK * start * spacing_ps:g} ps"
        )
        missing = Estimate(mean=None, reason=reason)
        return Collective(missing, missing, None)
    edges = np.linspace(0, length, number + 1).astype(np.int64)
    stop = int(np.diff(edges).min()) // 2
    lags = log_lags(stop, 4 * _LAGS_A_BLOCK)
    lags = lags[lags >= start]
    tracer = _slopes(positions, lags, index, edges) / 6.0
    collective = _slopes(summed(positions), lags, index, edges) / (6.0 * positions.shape[1])
    unit = CM2_PER_S_PER_A2_PER_PS / spacing_ps
    D_sigma = _positive(mean_of_blocks(collective * unit))
    return Collective(
        D_sigma, _haven_ratio(tracer, collective), (start * spacing_ps, stop * spacing_ps)
    )


def _slopes(positions: Positions, lags: Integers, index: Integers, edges: Integers) -> Floats:
    """Slope of the MSD in each block of the run."""
    blocks = [np.flatnonzero((index >= low) & (index <= high)) for low, high in pairwise(edges)]
    return np.array([_slope(at_frames(positions, block), lags, index[block]) for block in blocks])


def _slope(positions: Positions, lags: Integers, index: Integers) -> float:
    """Slope of the MSD, Å2 per grid point, weighted as a random walk asks."""
    msd = mean_squared_displacement(positions, index - index[0])
    there = lags[lags < len(msd)]
    there = there[np.isfinite(msd[there])]
    if len(there) < 2:
        return float("nan")
    x = there.astype(np.float64)
    # Covariance of two lags of a random walk: the shorter squared times the longer.
    covariance = np.minimum.outer(x, x) ** 2 * np.maximum.outer(x, x)
    return gls_line(x, msd[there], covariance)[0]


def _positive(D_sigma: Estimate) -> Estimate:
    if D_sigma.mean is None or not D_sigma.mean > 0.0:
        return Estimate(mean=None, reason=_NO_GROWTH)
    if D_sigma.ci95 is None:
        return D_sigma
    return Estimate(mean=D_sigma.mean, ci95=(max(0.0, D_sigma.ci95[0]), D_sigma.ci95[1]))


def _haven_ratio(tracer: Floats, summed: Floats) -> Estimate:
    """Ratio of the blocks' mean slopes, with the jackknife's interval of its logarithm."""
    if not tracer.sum() > 0.0 or not summed.sum() > 0.0:
        return Estimate(mean=None, reason=_NO_GROWTH)
    ratio, half = jackknife_ratio(tracer, summed)
    if np.isnan(half):
        return Estimate(mean=ratio, reason="blocks scatter too much for an interval")
    return Estimate(mean=ratio, ci95=(ratio * np.exp(-half), ratio * np.exp(half)))
