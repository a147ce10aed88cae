"""Stresses of the wrong sign, told by what volumes, forces and the other stresses lead to expect.

Any frames follow roughly some pair potential whose -du/dr is piecewise linear in r for each pair of
elements. The one that fits the forces gives stresses of which no label was used, and the one that
fits the other frames' stresses gives that of a frame. Neither is good to more than half a GPa in a
glass (0.44 GPa of 0.95 among 348 frames of 136 atoms), which is enough to tell a sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training.frames import ENERGY, FORCES, STRESS, TRAJECTORY

REACH_A = 6.0
"""Pairs are taken up to here, Å."""

MOST_ELEMENTS = 8
"""Of more, as in a foundation's own data, there are too many pairs to fit a potential for each."""

MOST_FRAMES = 200
"""The potential is fitted to the forces of as many frames."""

TURNED_RUN = 2.0
"""A trajectory is doubted where its stresses, turned about, fit that much better.

Among 38 trajectories of sulfide glasses, all of the right sign, no ratio passed 0.3.
"""

TURNED_FRAME, EVIDENCE = 2.0, 20.0
"""A frame by this ratio, where that times how many medians it is off is more than so much.

Of the 1088 frames of these, pressed and boiling ones among them, three passed 2, with 6 to 11.
"""

MOST_UNEXPLAINED = 0.6
"""Share of a usual stress that may be left over where single stresses are judged: few frames, or
forces that no pair potential resembles, leave more and tell no sign."""

LEAST_OVERLAP = -0.3
"""Correlation of stress and that of the forces' pair potential; 0.75 in these glasses."""

DENSE = 1.25
"""Pressure falls with volume up to so many times the smallest; a boiling liquid's may rise."""

_MANY, _FEWEST, _FEW = 30, 8, 4
_CERTAIN = 5.0
_NEAREST_A = 1.2
_KNOTS = 13
_FORCE_RIDGE, _STRESS_RIDGE = 1e-6, 1e-2
_REWEIGHTED = 8
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def refuse_wrong(
    frames: Sequence[ase.Atoms], counts: Floats, stresses: Floats, names: Sequence[str]
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
    _refuse_turned_stress(frames, stresses, isotropic, group, run, names)


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
    frames: Sequence[ase.Atoms],
    given: Floats,
    isotropic: Floats,
    group: NDArray[np.intp],
    run: NDArray[np.intp],
    names: Sequence[str],
) -> None:
    """Compare stresses with what forces and the other frames' stresses lead one to expect."""
    if len({symbol for atoms in frames for symbol in atoms.symbols}) > MOST_ELEMENTS:
        return
    forces = [np.asarray(atoms.arrays[FORCES], dtype=float) for atoms in frames]
    of_forces, of_others = expect(frames, forces, given, isotropic)
    advice = "expected tension positive, as in ASE: multiply it by -1"
    shear, expected_shear = _deviator(given), _deviator(of_forces)
    overlap = np.sum(shear * expected_shear)
    many = len(frames) >= _MANY
    if many and overlap < LEAST_OVERLAP * np.sqrt(np.sum(shear**2) * np.sum(expected_shear**2)):
        raise UsageError(
            f"{names[0]} and {len(names) - 1} more: their {STRESS} has the sign opposite to that"
            f" of {FORCES}; {advice}"
        )
    gaps = np.linalg.norm(given - of_others, axis=1)
    turned = np.linalg.norm(given + of_others, axis=1)
    if np.median(gaps) > MOST_UNEXPLAINED * np.median(np.linalg.norm(given, axis=1)):
        return
    gap_of_run, turned_of_run = (np.bincount(run, part**2) for part in (gaps, turned))
    wrong = (np.bincount(run) >= _FEW) & (gap_of_run > TURNED_RUN**2 * turned_of_run)
    ratios = gaps / np.maximum(turned, 1e-12)
    evidence = ratios * gaps / max(float(np.median(gaps)), 1e-12)
    single = (ratios > TURNED_FRAME) & (evidence > EVIDENCE)
    known = np.bincount(group)[group] >= _FEWEST
    if len(found := np.flatnonzero((single | wrong[run]) & known)):
        raise UsageError(
            f"{names[found[0]]}: its {STRESS} fits the other frames only with the opposite sign;"
            f" {advice}"
        )


def _deviator(stresses: Floats) -> Floats:
    """Take a third of the trace out of stresses, shape (F, 6)."""
    rest = stresses.copy()
    rest[:, :3] -= rest[:, :3].mean(axis=1, keepdims=True)
    return rest


def expect(
    frames: Sequence[ase.Atoms],
    forces: Sequence[Floats],
    stresses: Floats,
    isotropic: Floats,
) -> tuple[Floats, Floats]:
    """Fit pair potentials, and say what stresses they expect.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F periodic frames.
    forces : sequence of ndarray, shape (N, 3)
        Their forces, eV/Å.
    stresses : ndarray, shape (F, 6)
        Their stresses, eV/Å3, Voigt.
    isotropic : ndarray, shape (F, K)
        What else the pressure may follow: volumes, energies, compositions.

    Returns
    -------
    of_forces : ndarray, shape (F, 6)
        Stresses of the potential that fits the forces. Their traces mean little: forces leave the
        pressure open.
    of_others : ndarray, shape (F, 6)
        Stress of each frame by the fit to the others' stresses, blind to the lesser part of them.
    """
    symbols = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    size = len(symbols) * (len(symbols) + 1) // 2 * _KNOTS
    normal, right = np.zeros((size, size)), np.zeros(size)
    rows = np.zeros((len(frames), 6, size))
    stride = -(-len(frames) // MOST_FRAMES)
    for number, (atoms, force) in enumerate(zip(frames, forces, strict=True)):
        pushes, rows[number] = _features(atoms, symbols)
        if number % stride == 0:
            normal += pushes.T @ pushes
            right += pushes.T @ force.ravel()
    of_forces = rows @ np.linalg.solve(normal + _ridge(normal, _FORCE_RIDGE), right)
    pressures = np.zeros((len(frames), 6, isotropic.shape[1]))
    pressures[:, :3] = isotropic[:, None]
    columns = np.concatenate([rows, pressures], axis=2)
    sizes = np.sqrt(np.mean(np.square(columns), axis=(0, 1)))
    return of_forces, _of_others(columns[..., sizes > 0] / sizes[sizes > 0], stresses)


def _of_others(rows: Floats, stresses: Floats) -> Floats:
    """Leave each frame out in turn, by the leverage of its six rows in a reweighted fit."""
    weights = np.ones(len(rows))
    expected = stresses
    for _ in range(_REWEIGHTED):
        weighted = weights[:, None, None] * rows
        normal = np.tensordot(weighted, rows, axes=((0, 1), (0, 1)))
        inverse = np.linalg.inv(normal + _ridge(normal, _STRESS_RIDGE))
        solution = inverse @ np.tensordot(weighted, stresses, axes=((0, 1), (0, 1)))
        leverage = (weighted @ inverse) @ rows.transpose(0, 2, 1)
        rest = stresses - rows @ solution
        apart = np.linalg.solve(np.eye(6) - leverage, rest[..., None])[..., 0]
        expected = stresses - apart
        lengths = np.linalg.norm(apart, axis=1)
        middle = max(float(np.median(lengths)), 1e-12)
        weights = middle / np.maximum(lengths, middle)
    return expected


def _ridge(normal: Floats, share: float) -> Floats:
    """Keep what no frame tells small; a set without any pair is left solvable too."""
    ridge: Floats = (share * np.trace(normal) / len(normal) + 1e-12) * np.eye(len(normal))
    return ridge


def _features(atoms: ase.Atoms, symbols: Sequence[str]) -> tuple[Floats, Floats]:
    """Return forces, shape (3N, C), and stresses, shape (6, C), of each pair's hats in r."""
    first, second, r, apart = neighbour_list("ijdD", atoms, REACH_A)
    kinds = np.array([symbols.index(symbol) for symbol in atoms.symbols], dtype=int)
    low, high = np.sort([kinds[first], kinds[second]], axis=0)
    pair = low * len(symbols) - low * (low - 1) // 2 + high - low
    size = len(symbols) * (len(symbols) + 1) // 2 * _KNOTS
    place = (r - _NEAREST_A) / (REACH_A - _NEAREST_A) * (_KNOTS - 1)
    place = np.clip(place, 0.0, _KNOTS - 1.001)
    knot = place.astype(int)
    towards = apart / np.maximum(r, 1e-9)[:, None]
    pushes, strains = np.zeros(3 * len(atoms) * size), np.zeros((6, size))
    for at, share in ((knot, 1.0 - place + knot), (knot + 1, place - knot)):
        column = pair * _KNOTS + at
        for axis in range(3):
            where = (3 * first + axis) * size + column
            pushes -= np.bincount(where, share * towards[:, axis], len(pushes))
        for component, (a, b) in enumerate(_VOIGT):
            # Each pair is listed from both its ends.
            work = -0.5 * share * towards[:, a] * apart[:, b]
            strains[component] += np.bincount(column, work, size)
    return pushes.reshape(-1, size), strains / atoms.get_volume()
