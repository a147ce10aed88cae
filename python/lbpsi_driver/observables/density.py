"""Mass density of a trajectory."""

from __future__ import annotations

from lbpsi_driver.observables.estimate import Estimate, mean_of_series
from lbpsi_driver.observables.trajectory import Trajectory


def density(trajectory: Trajectory) -> Estimate:
    """Mean mass density with its interval from the autocorrelation of the run.

    Parameters
    ----------
    trajectory : Trajectory
        Frames.

    Returns
    -------
    Estimate
        Density, g/cm3. At constant volume the interval has no width; it is None, with a reason,
        where the run is short against the barostat's relaxation.
    """
    return mean_of_series(trajectory.densities_g_cm3)
