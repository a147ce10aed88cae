"""Mass density of a trajectory, and the thermodynamic history of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, mean_of_blocks
from lbpsi_driver.observables.trajectory import Floats, Trajectory

_BLOCKS = 10
_HISTORY = "# step time_ps temp_K density_g_cm3 press_bar volume_A3 pe_eV stage"


@dataclass(frozen=True)
class History:
    """Thermodynamic history of a run, each array of shape (R,), in time order.

    Attributes
    ----------
    time_ps, temperature_K, density_g_cm3 : ndarray
        Time, ps; instantaneous temperature, K; density, g/cm3.
    stage : ndarray of str
        Stage of the schedule.
    """

    time_ps: Floats
    temperature_K: Floats
    density_g_cm3: Floats
    stage: np.ndarray[tuple[int], np.dtype[np.str_]]


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


def read_history(path: Path) -> History:
    """Read ``history.dat``, also one of a run that was killed and resumed.

    Parameters
    ----------
    path : Path
        The file; of a repeated step the last row wins, a row cut short is left out.

    Returns
    -------
    History
        Rows by step.

    Raises
    ------
    UsageError
        Where it can't be read or holds no such rows.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as err:
        raise UsageError(f"{path}: {err.strerror}; expected a run's history.dat") from err
    width = len(_HISTORY.split()) - 1
    rows: dict[int, list[str]] = {}
    for line in lines:
        words = line.split()
        if len(words) == width and words[0].isdigit():
            rows[int(words[0])] = words
    if not rows:
        raise UsageError(f"{path}: no rows below '{_HISTORY}': is the run started?")
    ordered = [rows[step] for step in sorted(rows)]
    try:
        numbers = np.array([row[1:4] for row in ordered], dtype=np.float64)
    except ValueError as err:
        raise UsageError(f"{path}: {err}; the file is damaged") from err
    stages = np.array([row[-1] for row in ordered])
    return History(numbers[:, 0], numbers[:, 1], numbers[:, 2], stages)
