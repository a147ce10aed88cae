"""Stresses or forces of the wrong sign, told by volumes, by each other and by other stresses.

Any frames follow roughly some pair potential whose -du/dr is piecewise linear in r for each pair of
elements. The one that fits the forces gives stresses of which no label was used, and the one that
fits the other frames' stresses gives that of a frame. Neither is good to more than half a GPa in a
glass (0.44 GPa of 0.95 among 348 frames of 136 atoms), which is enough to tell a sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training.frames import ENERGY, FORCES, STRESS, TRAJECTORY
from lbpsi_driver.training.pair_fit import PairFit, ridge
from lbpsi_driver.training.stress_units import deviator

TURNED_RUN = 2.0
"""A trajectory is doubted where its stresses, turned about, fit that much better.

Among 38 trajectories of sulfide glasses, all of the right sign, no ratio passed 0.3.
"""

TURNED_FRAME = 2.0
"""A frame is suspected where its stress, turned about, fits so many times better."""

SURE_OF_ONE, SURE_OF_SEVERAL, SEVERAL = 10.0, 3.0, 3
"""How much better, in errors of the prediction, for a single frame and for each of several of a
trajectory, and how many are several.

Of 2040 frames of sulfide glasses, melts and salts, and in 150 random parts of them, one passed 3,
with 3.2, a vapour that its neighbours in time confirm.
"""

MOST_UNEXPLAINED = 0.6
"""Share of a usual stress that may be left over where single stresses are judged: few frames, or
forces that no pair potential resembles, leave more and tell no sign."""

LEAST_OVERLAP, SIGMAS = -0.3, 3.0
"""Correlation of stress and that of the forces' pair potential; of few frames by so many standard
deviations of chance. In these glasses and random parts of 8 frames or more it is 0.53 to 0.95."""

LEANING, SURE_OF_ENERGY = 2.0, 5.0
"""Standard deviations of the slope of energies over those of the forces' pair potential: which of
forces and stress is believed, and where the energies alone refuse. In these parts none was below
-0.2."""

DENSE = 1.25
"""Pressure falls with volume up to so many times the smallest; a boiling liquid's may rise."""

_FEWEST, _FEW = 8, 4
_CERTAIN = 5.0
_STRESS_RIDGE = 1e-2
_REWEIGHTED = 8


def refuse_wrong(
    frames: Sequence[ase.Atoms],
    counts: Floats,
    stresses: Floats,
    names: Sequence[str],
    pairs: PairFit | None,
    downhill: float = 0.0,
) -> None:
    """Refuse stresses of the wrong sign, of all frames, of a trajectory or of single ones.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F labelled frames.
    counts : ndarray, shape (F, E)
        Atoms of each element.
    stresses : ndarray, shape (F, 6)
        Labelled stresses, eV/Å3, Voigt.
    names : sequence of str
        How messages call each frame.
    pairs : PairFit or None
        Pair potential of the frames; without it only pressures and volumes are compared.
    downhill : float
        How surely the energies fall along the forces, in standard deviations.

    Raises
    ------
    UsageError
        One line that names the frame. What is too small to tell its sign from passes.
    """
    sizes = counts.sum(axis=1)
    volumes = np.log(np.array([atoms.get_volume() for atoms in frames]) / sizes)
    energies = np.array([float(atoms.info[ENERGY]) for atoms in frames]) / sizes
    pressures = -stresses[:, :3].mean(axis=1)
    _, group = np.unique(np.round(counts / sizes[:, None], 3), axis=0, return_inverse=True)
    group = group.ravel()
    runs = [str(atoms.info.get(TRAJECTORY, "")) for atoms in frames]
    _, run = np.unique(np.array(runs), return_inverse=True)
    for label, kind in ((group, "composition"), (run, "trajectory")):
        for which in np.unique(label):
            own = np.flatnonzero(label == which)
            if len(np.unique(group[own])) == 1:
                _refuse_rising_pressure(own, kind, volumes, energies, pressures, names)
    energies_apart = energies - np.bincount(group, energies)[group] / np.bincount(group)[group]
    apart = volumes - volumes.mean()
    kinds = group[:, None] == np.unique(group)
    isotropic = np.column_stack([apart, apart**2, energies_apart, kinds]).astype(float)
    if pairs is not None:
        _refuse_turned_stress(pairs, stresses, isotropic, group, run, names, downhill)


def _refuse_rising_pressure(
    own: NDArray[np.intp],
    kind: str,
    volumes: Floats,
    energies: Floats,
    pressures: Floats,
    names: Sequence[str],
) -> None:
    # The energy stands for the temperature, whose own pressure could hide the volume's.
    dense = own[volumes[own] <= np.quantile(volumes[own], 0.05) + np.log(DENSE)]
    if len(dense) < _FEWEST or np.ptp(volumes[dense]) < np.log(1.05):
        return
    design = np.column_stack([volumes[dense], energies[dense], np.ones(len(dense))])
    slopes, _, rank, _ = np.linalg.lstsq(design, pressures[dense], rcond=None)
    rest = pressures[dense] - design @ slopes
    if rank < 3 or len(dense) < 4:
        return
    variance = rest @ rest / (len(dense) - 3) * np.linalg.inv(design.T @ design)[0, 0]
    if slopes[0] > _CERTAIN * np.sqrt(variance):
        raise UsageError(
            f"{names[dense[0]]} and {len(own) - 1} more of its {kind}: their pressure rises"
            f" with the volume, so {STRESS} has the wrong sign; expected tension positive, as in"
            " ASE: multiply it by -1"
        )


def _refuse_turned_stress(
    pairs: PairFit,
    given: Floats,
    isotropic: Floats,
    group: NDArray[np.intp],
    run: NDArray[np.intp],
    names: Sequence[str],
    downhill: float,
) -> None:
    """Compare stresses with what forces and the other frames' stresses lead one to expect."""
    of_others, errors = expect(pairs.strains, given, isotropic)
    advice = "expected tension positive, as in ASE: multiply it by -1"
    shear, expected_shear = deviator(given), deviator(pairs.stresses)
    overlap = np.sum(shear * expected_shear)
    size = np.sqrt(np.sum(shear**2) * np.sum(expected_shear**2))
    # A deviator has five components.
    if overlap < size * min(LEAST_OVERLAP, -SIGMAS / np.sqrt(5 * len(names))):
        raise UsageError(f"{names[0]} and {len(names) - 1} more: {_blame(downhill)}")
    if overlap > 0 and downhill < -SURE_OF_ENERGY:
        raise UsageError(
            f"{names[0]} and {len(names) - 1} more: {ENERGY} rises along {FORCES}; expected forces"
            f" of -dE/dx: multiply {FORCES} and {STRESS} by -1, or {ENERGY}, whichever is turned"
        )
    gaps = np.linalg.norm(given - of_others, axis=1)
    turned = np.linalg.norm(given + of_others, axis=1)
    if np.median(gaps) > MOST_UNEXPLAINED * np.median(np.linalg.norm(given, axis=1)):
        return
    better = (gaps - turned) / errors
    gap_of_run, turned_of_run = (np.bincount(run, (part / errors) ** 2) for part in (gaps, turned))
    wrong = (np.bincount(run) >= _FEW) & (gap_of_run > TURNED_RUN**2 * turned_of_run)
    suspect = (gaps > TURNED_FRAME * turned) & (better > SURE_OF_SEVERAL)
    several = np.bincount(run, suspect)[run] >= SEVERAL
    single = suspect & (several | (better > SURE_OF_ONE))
    known = np.bincount(group)[group] >= _FEWEST
    if len(found := np.flatnonzero((single | wrong[run]) & known)):
        raise UsageError(
            f"{names[found[0]]}: its {STRESS} fits the other frames only with the opposite sign;"
            f" {advice}"
        )


def _blame(downhill: float) -> str:
    """Say which of forces and stress, of opposite signs, is wrong, where the energies tell."""
    expected = "expected tension positive, as in ASE, and forces of -dE/dx"
    if downhill < -LEANING:
        return (
            f"their {FORCES} has the sign opposite to that of {STRESS}, and {ENERGY} rises along"
            f" it; {expected}: multiply {FORCES} by -1"
        )
    opposite = f"their {STRESS} has the sign opposite to that of {FORCES}"
    if downhill > LEANING:
        return f"{opposite}, along which {ENERGY} falls; {expected}: multiply {STRESS} by -1"
    return f"{opposite}; {expected}: multiply the one that is turned by -1"


def expect(strains: Floats, stresses: Floats, isotropic: Floats) -> tuple[Floats, Floats]:
    """Fit a pair potential to stresses, and say what it expects of each frame.

    Parameters
    ----------
    strains : ndarray, shape (F, 6, C)
        Stresses of a pair potential's C functions.
    stresses : ndarray, shape (F, 6)
        Labelled stresses, eV/Å3, Voigt.
    isotropic : ndarray, shape (F, K)
        What else the pressure may follow: volumes, energies, compositions.

    Returns
    -------
    expected : ndarray, shape (F, 6)
        Stress of each frame by the fit to the others' stresses, blind to the lesser part of them.
    errors : ndarray, shape (F,)
        Error that is usual for it, eV/Å3: larger where the others are unlike the frame.
    """
    pressures = np.zeros((len(strains), 6, isotropic.shape[1]))
    pressures[:, :3] = isotropic[:, None]
    columns = np.concatenate([strains, pressures], axis=2)
    sizes = np.sqrt(np.mean(np.square(columns), axis=(0, 1)))
    return _of_others(columns[..., sizes > 0] / sizes[sizes > 0], stresses)


def _of_others(rows: Floats, stresses: Floats) -> tuple[Floats, Floats]:
    """Leave each frame out in turn, by the leverage of its six rows in a reweighted fit."""
    weights = np.ones(len(rows))
    expected, errors = stresses, weights
    for _ in range(_REWEIGHTED):
        weighted = weights[:, None, None] * rows
        normal = np.tensordot(weighted, rows, axes=((0, 1), (0, 1)))
        inverse = np.linalg.inv(normal + ridge(normal, _STRESS_RIDGE))
        solution = inverse @ np.tensordot(weighted, stresses, axes=((0, 1), (0, 1)))
        leverage = (weighted @ inverse) @ rows.transpose(0, 2, 1)
        rest = stresses - rows @ solution
        left = np.eye(6) - leverage
        apart = np.linalg.solve(left, rest[..., None])[..., 0]
        expected = stresses - apart
        lengths = np.linalg.norm(apart, axis=1)
        middle = max(float(np.median(lengths)), 1e-12)
        weights = middle / np.maximum(lengths, middle)
        # What a frame alone determines the others extrapolate to.
        errors = middle / np.sqrt(np.maximum(np.linalg.eigvalsh(left)[:, 0], 1e-6))
    return expected, errors
