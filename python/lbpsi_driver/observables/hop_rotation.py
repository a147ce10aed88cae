"""Do units rotate when an ion near them hops? Rotations around hops against a null model.

Papers 000 and 001 see large rotations of tetrahedra near mobile Li and leave open whether the two
belong together. Here each hop (:mod:`lbpsi_driver.observables.hops`) is given the angular
displacement of the units near it, from their mean orientation in the half-window before the hop to
that in the half-window after: librations average out as the ion's vibration does. The statistic is
the mean over hops of the mean over each hop's units.

Units near hops may be mobile ones at all times, so that the mean over all units is no baseline. The
null models keep each hop's own units and move it in time:

- ``together``: all hops by one circular shift. Hops keep their correlations with each other,
  rotations theirs, and only what binds the one to the other is lost;
- ``each``: each ion's hops by a shift of their own. More shifts that differ, but where ions hop
  together it takes their hops for independent, and finds couplings that aren't there;
- ``units``: no shift; units change places with others of the same element, which asks whether
  units near a hop rotate more than others at that time, mobile ones included.

p = (1 + k)/(1 + n) for k of n draws at least as far out (B. Phipson and G. K. Smyth, Stat. Appl.
Genet. Mol. Biol. 9, 39 (2010), doi:10.2202/1544-6115.1585), doubled, since rotations may be fewer
near hops, too. A correlation tells no cause: S atoms also give way to an ion that passes. The
profile over delays shows which of the two comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.geometry import find_mic
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, clustered_half_width
from lbpsi_driver.observables.hops import Hops
from lbpsi_driver.observables.motif_series import UnitPaths
from lbpsi_driver.observables.spool import columns, positions_at_once
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

Null = Literal["together", "each", "units"]

DRAWS = 999
"""Draws of the null model."""
LEAST_HOPS = 10
"""Fewest hops with units near them."""
_MIC_CHUNK = 2**14  # vectors, each of which has many images
_SHARE_PRESENT = 0.5  # of the frames of a half-window in which a unit must be whole
_TIME_CLUSTERS = 20


@dataclass(frozen=True)
class UnitTurns:
    """Angular displacements of U units at the L points of the time grid.

    Attributes
    ----------
    former : ndarray of int, shape (U,)
        Index of each unit's former.
    element : ndarray of str, shape (U,)
        Its chemical symbol.
    angle_deg : ndarray of float32, shape (L, U)
        Angle from the mean orientation in the half-window before a point to that in the one from
        the point on, degrees; NaN where the unit isn't whole in most of either, or changes S.
    half : int
        Points in half a window.
    spacing_ps : float
        Spacing of the time grid, ps.
    """

    former: Integers
    element: NDArray[np.str_]
    angle_deg: NDArray[np.float32]
    half: int
    spacing_ps: float


@dataclass(frozen=True)
class Pairs:
    """Units near hops; P pairs, by hop.

    Attributes
    ----------
    hop, unit : ndarray of int, shape (P,)
        Places in :class:`lbpsi_driver.observables.hops.Hops` and :class:`UnitTurns`.
    """

    hop: Integers
    unit: Integers


@dataclass(frozen=True)
class Coupling:
    """Rotation of units near hops against a null model.

    Attributes
    ----------
    null : str
        The null model.
    hops, pairs : int
        Hops with units near them, and pairs of these.
    angle_deg : float or None
        Mean angular displacement of the units near a hop, degrees.
    expected_deg : float or None
        Its mean in the null model, degrees.
    null_deg : tuple of float or None
        95 % range of the null model's draws, degrees.
    excess_deg : Estimate
        The difference; interval from hops clustered by ion, or by time where that is wider.
    p_value : float or None
        Two-sided.
    draws : int
        Draws of the null model.
    delays_ps : ndarray, shape (D,)
        Delays, ps: negative before the hop.
    profile_deg : ndarray, shape (D,)
        Excess of the angular displacement at each delay, degrees, over the units' means in time.
    """

    null: Null
    hops: int
    pairs: int
    angle_deg: float | None
    expected_deg: float | None
    null_deg: tuple[float, float] | None
    excess_deg: Estimate
    p_value: float | None
    draws: int
    delays_ps: Floats
    profile_deg: Floats


def unit_turns(
    trajectory: Trajectory,
    paths: UnitPaths,
    window_ps: float,
    *,
    elements: Sequence[str] | None = None,
) -> UnitTurns:
    """Angular displacements of all units along a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        The frames.
    paths : UnitPaths
        Rotations of their units, from
        :func:`lbpsi_driver.observables.motif_series.motif_series`.
    window_ps : float
        Both half-windows together, ps; that of the hops.
    elements : sequence of str, optional
        Formers whose units are wanted; default: all.

    Returns
    -------
    UnitTurns
        On the trajectory's time grid.

    Raises
    ------
    UsageError
        None of these formers, a window longer than the run or under two points of the grid.
    """
    spacing, index = trajectory.grid()
    length, half = int(index[-1]) + 1, round(window_ps / spacing / 2.0)
    if not 1 <= half <= length // 2:
        raise UsageError(
            f"window {window_ps:g} ps: expected {2 * spacing:g} ps to {length * spacing:g} ps"
        )
    names = paths.element
    wanted = np.isin(names, names if elements is None else list(elements))
    if not wanted.any():
        raise UsageError(
            f"no units of {', '.join(elements or ())}: one of: {', '.join(set(names))}"
        )
    angle = np.empty((length, int(wanted.sum())), dtype=np.float32)
    size = max(1, positions_at_once() // length)
    for first in range(0, angle.shape[1], size):
        chosen = np.flatnonzero(wanted)[first : first + size]
        path = np.zeros((length, len(chosen), 4))
        path[index] = columns(paths.turns, chosen)
        held = _held(columns(paths.exchanges, chosen), index, length, half)
        angle[:, first : first + size] = np.where(held, _turns(path, half), np.nan)
    return UnitTurns(paths.former[wanted], names[wanted], angle, half, spacing)


def near(
    trajectory: Trajectory, ions: Integers, hops: Hops, former: Integers, radius_A: float = 5.0
) -> Pairs:
    """Find the units near hops: formers within a radius of the middle of the ion's two places.

    Parameters
    ----------
    trajectory : Trajectory
        The frames that the hops are from.
    ions : ndarray of int, shape (N,)
        Indices of the ions that `hops` counts.
    hops : Hops
        From :func:`lbpsi_driver.observables.hops.detect_hops`.
    former : ndarray of int, shape (U,)
        Indices of the formers.
    radius_A : float
        Largest distance at the hop, Å.

    Returns
    -------
    Pairs
        Each with the distance to the nearest image, in the cell at the hop.

    Raises
    ------
    UsageError
        A radius that isn't positive.
    """
    if not radius_A > 0.0:
        raise UsageError(f"radius {radius_A:g} Å: expected a positive distance")
    _, index = trajectory.grid()
    after = np.searchsorted(index, hops.point)
    before = np.maximum(after - 1, 0)
    strain = np.linalg.inv(trajectory.mean_cell) @ trajectory.cells
    # Within half the cell's least width there is one image only, that of the least fractions.
    least_width = 1.0 / np.linalg.norm(np.linalg.inv(trajectory.cells), axis=1).max()
    one_image = radius_A < 0.5 * least_width
    of_hop, of_unit = [], []
    in_time = np.argsort(after, kind="stable")
    size = max(1, _MIC_CHUNK // max(len(former), 1))
    for first in range(0, len(hops.ion), size):
        chunk = in_time[first : first + size]
        s, t, ion = before[chunk], after[chunk], ions[hops.ion[chunk]]
        before_hop, after_hop = trajectory.fractional[s], trajectory.fractional[t]
        place = np.arange(len(ion))
        middle = 0.5 * (before_hop[place, ion] + after_hop[place, ion])
        apart = after_hop[:, former] - middle[:, None]
        if one_image:
            nearest = (apart - np.rint(apart)) @ trajectory.cells[t]
        else:
            flat = apart.reshape(-1, 3) @ trajectory.mean_cell
            nearest = find_mic(flat, trajectory.mean_cell)[0].reshape(apart.shape) @ strain[t]
        hop, unit = np.nonzero(np.square(nearest).sum(axis=2) <= radius_A**2)
        of_hop.append(chunk[hop])
        of_unit.append(unit)
    hop, unit = (np.concatenate([*part, []]).astype(np.int64) for part in (of_hop, of_unit))
    by_hop = np.lexsort((unit, hop))
    return Pairs(hop[by_hop], unit[by_hop])


def coupling(
    turns: UnitTurns,
    hops: Hops,
    pairs: Pairs,
    *,
    null: Null = "together",
    draws: int = DRAWS,
    seed: int = 1,
) -> Coupling:
    """Mean angular displacement of units near hops against a null model.

    Parameters
    ----------
    turns : UnitTurns
        Angular displacements.
    hops : Hops
        The hops.
    pairs : Pairs
        Which units are near which hop.
    null : {'together', 'each', 'units'}
        The null model.
    draws : int
        Draws of it: the least p is 2/(1 + draws).
    seed : int
        Seed of the draws.

    Returns
    -------
    Coupling
        Without numbers, and with a reason at the excess, where fewer than :data:`LEAST_HOPS` hops
        have units near them, or the run holds no shift longer than the window.
    """
    test = _Test(turns, hops, pairs)
    count = len(test.hops)
    few = f"{count} hops with units near them: {LEAST_HOPS} or more are needed"
    if count >= LEAST_HOPS and null != "units" and test.shifts < 1:
        few = "the run is too short to shift hops by more than a window"
    elif count >= LEAST_HOPS:
        rng = np.random.default_rng(seed)
        found = test.statistic(test.point, test.unit)
        drawn = test.draw(null, draws, rng)
        above, below = int((drawn >= found).sum()), int((drawn <= found).sum())
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Coupling(
            null=null,
            hops=count,
            pairs=len(test.hop),
            angle_deg=found,
            expected_deg=float(drawn.mean()),
            null_deg=(float(low), float(high)),
            excess_deg=test.excess(found - float(drawn.mean())),
            p_value=min(1.0, 2.0 * (1 + min(above, below)) / (1 + len(drawn))),
            draws=len(drawn),
            delays_ps=test.delays_ps,
            profile_deg=test.profile(),
        )
    missing = Estimate(mean=None, reason=few)
    empty = np.empty(0)
    return Coupling(null, count, len(test.hop), None, None, None, missing, None, 0, empty, empty)


class _Test:
    """What the statistic and its null models need: pairs whose angle is known."""

    def __init__(self, turns: UnitTurns, hops: Hops, pairs: Pairs) -> None:
        self._first, last = turns.half, len(turns.angle_deg) - turns.half
        # The points at which angles can be: shifts go around in them.
        self._angle = turns.angle_deg[self._first : last + 1]
        self._half = turns.half
        point = hops.point[pairs.hop] - self._first
        inside = (point >= 0) & (point < len(self._angle))
        inside[inside] &= np.isfinite(self._angle[point[inside], pairs.unit[inside]])
        self.hop, self.unit, self.point = pairs.hop[inside], pairs.unit[inside], point[inside]
        self._ion = hops.ion[self.hop]
        self.hops, self._place = np.unique(self.hop, return_inverse=True)
        self._n_ions = hops.n_ions
        self._groups = [np.flatnonzero(turns.element == e) for e in np.unique(turns.element)]
        self._delays = np.arange(-2 * turns.half, 2 * turns.half + 1)
        self.delays_ps = np.asarray(self._delays * turns.spacing_ps, dtype=np.float64)

    @property
    def shifts(self) -> int:
        """Circular shifts by more than a window, either way."""
        return len(self._angle) - 4 * self._half - 1

    def statistic(self, point: Integers, unit: Integers) -> float:
        """Mean over hops of the mean over their units; unknown angles are passed over."""
        return float(np.nanmean(self._by_hop(self._angle[point, unit].astype(np.float64))))

    def draw(self, null: Null, draws: int, rng: np.random.Generator) -> Floats:
        """Statistics of draws of a null model; all shifts, once, where these are fewer."""
        if null == "units":
            return np.array([self._exchanged(rng) for _ in range(draws)])
        if null == "together" and self.shifts <= draws:
            return np.array([self._shifted(np.array([shift])) for shift in range(self.shifts)])
        number = 1 if null == "together" else self._n_ions
        return np.array([self._shifted(rng.integers(0, self.shifts, number)) for _ in range(draws)])

    def _exchanged(self, rng: np.random.Generator) -> float:
        other = np.arange(self._angle.shape[1])
        for group in self._groups:
            other[group] = rng.permutation(group)
        return self.statistic(self.point, other[self.unit])

    def _shifted(self, shift: Integers) -> float:
        moved = self.point + 2 * self._half + 1 + (shift[self._ion] if len(shift) > 1 else shift)
        return self.statistic(moved % len(self._angle), self.unit)

    def excess(self, mean: float) -> Estimate:
        """Give the excess its interval, from its scatter between ions and between times."""
        values = self._angle[self.point, self.unit] - self._baseline()[self.unit]
        excess = self._by_hop(values)
        first = np.searchsorted(self.hop, self.hops)
        time = self.point[first] * _TIME_CLUSTERS // len(self._angle)
        rest = excess - excess.mean()
        halves = [clustered_half_width(rest, labels) for labels in (self._ion[first], time)]
        if not np.isfinite(halves).all():
            return Estimate(mean=mean, reason="hops of too few ions or times for an interval")
        half = float(max(halves))
        return Estimate(mean=mean, ci95=(mean - half, mean + half))

    def profile(self) -> Floats:
        """Excess at each delay."""
        baseline = self._baseline()[self.unit]
        rows = []
        for delay in self._delays.tolist():
            point = self.point + delay
            there = (point >= 0) & (point < len(self._angle))
            values = np.full(len(point), np.nan)
            values[there] = self._angle[point[there], self.unit[there]] - baseline[there]
            found = self._by_hop(values)
            rows.append(np.nanmean(found) if np.isfinite(found).any() else np.nan)
        return np.array(rows, dtype=np.float64)

    def _baseline(self) -> Floats:
        """Mean over time of each unit's angle; NaN for one that is never whole."""
        units = self._angle.shape[1]
        total, number = np.zeros((2, units))
        size = max(1, positions_at_once() // len(self._angle))
        for first in range(0, units, size):
            part = self._angle[:, first : first + size]
            known = np.isfinite(part)
            total[first : first + size] = np.where(known, part, 0.0).sum(axis=0, dtype=np.float64)
            number[first : first + size] = known.sum(axis=0)
        with np.errstate(invalid="ignore"):
            mean: Floats = total / number
        return mean

    def _by_hop(self, values: Floats) -> Floats:
        """Mean over the known values of each hop's units, NaN where none is."""
        known = np.isfinite(values)
        number = np.bincount(self._place, known, len(self.hops))
        total = np.bincount(self._place, np.where(known, values, 0.0), len(self.hops))
        with np.errstate(invalid="ignore"):
            mean: Floats = total / number
        return mean


def _held(exchanges: Integers, index: Integers, length: int, half: int) -> NDArray[np.bool_]:
    """Whether a unit is referred to one set of S around a point, shape (length, U)."""
    filled = np.searchsorted(index, np.arange(length), side="right") - 1
    count = exchanges[filled]
    held = np.zeros(count.shape, dtype=bool)
    held[half : length - half + 1] = count[: length - 2 * half + 1] == count[2 * half - 1 :]
    return held


def _turns(path: Floats, half: int) -> Floats:
    """Angles between mean orientations before and after each point, degrees, shape (L, U)."""
    there = (np.square(path).sum(axis=2) > 0.5).astype(np.float64)
    for unit in range(path.shape[1]):
        known = np.flatnonzero(there[:, unit])
        steady = path[known, unit]
        # A quaternion and its negative are one rotation: keep to the one near the frame before.
        turned = np.where(np.einsum("ij,ij->i", steady[1:], steady[:-1]) < 0.0, -1.0, 1.0)
        path[known[1:], unit] *= np.cumprod(turned)[:, None]
    sums, number = (
        np.concatenate([np.zeros((1, *a.shape[1:])), np.cumsum(a, axis=0)]) for a in (path, there)
    )
    before, after = sums[half:-half] - sums[: -2 * half], sums[2 * half :] - sums[half:-half]
    counts = [number[half:-half] - number[: -2 * half], number[2 * half :] - number[half:-half]]
    enough = np.minimum(*counts) >= max(1.0, _SHARE_PRESENT * half)
    norms = np.linalg.norm(before, axis=2) * np.linalg.norm(after, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.abs(np.einsum("tui,tui->tu", before, after)) / norms
    angle = np.full(there.shape, np.nan)
    found = np.degrees(2.0 * np.arccos(np.minimum(cosine, 1.0)))
    angle[half : len(path) - half + 1] = np.where(enough, found, np.nan)
    return angle
