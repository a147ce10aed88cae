"""Mass density of a trajectory."""

from __future__ import annotations

import numpy as np

from lbpsi_driver.observables.estimate import Estimate, mean_of_blocks
from lbpsi_driver.observables.trajectory import Trajectory

_BLOCKS = 10


def density(trajectory: Trajectory) -> Estimate:
    """Mean mass density with its interval from ten consecutive blocks of the run.

    Parameters
    ----------
    trajectory : Trajectory
        Frames.

    Returns
    -------
    Estimate
        Density, g/cm3. At constant volume the interval has no width.
    """
    blocks = np.array_split(trajectory.densities_g_cm3, min(_BLOCKS, trajectory.n_frames))
    return mean_of_blocks(np.array([block.mean() for block in blocks]))
