"""A number with its 95 % interval, and the interval of a mean from blocks of a run."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from lbpsi_driver.observables.trajectory import Floats


class Estimate(BaseModel):
    """A number with its interval; the key that holds it names the unit.

    Attributes
    ----------
    mean : float or None
        The number; None where it can't be had.
    ci95 : tuple of float or None
        95 % interval; None where one block is too few for it.
    reason : str or None
        Why there is no number, or no interval.
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


def student_95(degrees: int) -> float:
    """Half-width of the 95 % interval of Student's t, in standard errors."""
    return float(stats.t.ppf(0.975, degrees))


def mean_of_blocks(blocks: Floats) -> Estimate:
    """Mean of independent blocks with Student's 95 % interval.

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
