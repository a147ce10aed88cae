"""Van Hove functions of one element, self and distinct, and the non-Gaussian parameter.

- Self part G_s(r, t): density of finding an ion at distance r from where it was a time t before.
- Distinct part G_d(r, t): density of *other* ions around that place, here over their mean density
  (N - 1)/V, so that an ideal gas of any size gives 1; at t = 0 it is the partial g(r).
- α2(t) = 3<r⁴>/(5<r²>²) - 1: zero for Gaussian displacements, positive where a few ions go further
  than the others.

They are averages over time origins (L. Van Hove, Phys. Rev. 95, 249 (1954),
doi:10.1103/PhysRev.95.249; A. Rahman, Phys. Rev. 136, A405 (1964), doi:10.1103/PhysRev.136.A405).
Displacements of the self part and of α2 are those of the MSD: unwrapped, by the mean cell. In the
distinct part both configurations are put into the cell of the later frame, since distances there
are what neighbours are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import freud
import numpy as np
from ase.geometry import cell_to_cellpar, minkowski_reduce

import lbpsi_driver._kernels as _kernels
from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, student_95
from lbpsi_driver.observables.msd import frame_pairs, log_lags, squared_displacements, with_origins
from lbpsi_driver.observables.paths import Positions, atom_blocks
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

MOST_ORIGINS = 100
"""Origins of the distinct part at each lag, evenly over the run."""


@dataclass(frozen=True)
class SelfPart:
    """G_s(r, t) at L lags and B distances.

    Attributes
    ----------
    lags_ps : ndarray, shape (L,)
        Lags, ps.
    r_A : ndarray, shape (B,)
        Centres of the bins, Å.
    G_per_A3 : ndarray, shape (L, B)
        G_s, mean over each bin's shell, 1/Å3.
    radial_per_A : ndarray, shape (L, B)
        4πr²G_s, the distribution of distances, 1/Å.
    beyond : ndarray, shape (L,)
        Share of the displacements that are longer than the last bin reaches.
    """

    lags_ps: Floats
    r_A: Floats
    G_per_A3: Floats
    radial_per_A: Floats
    beyond: Floats


@dataclass(frozen=True)
class DistinctPart:
    """G_d(r, t) over the density at L lags and B distances.

    Attributes
    ----------
    lags_ps : ndarray, shape (L,)
        Lags, ps.
    r_A : ndarray, shape (B,)
        Centres of the bins, Å.
    cutoff_A : float
        Largest distance, Å.
    G : ndarray, shape (L, B)
        G_d over (N - 1)/V of each frame.
    origins : ndarray of int, shape (L,)
        Time origins used.
    """

    lags_ps: Floats
    r_A: Floats
    cutoff_A: float
    G: Floats
    origins: Integers


@dataclass(frozen=True)
class NonGaussian:
    """Non-Gaussian parameter at L lags.

    Attributes
    ----------
    lags_ps : ndarray, shape (L,)
        Lags, ps.
    alpha2 : ndarray, shape (L,)
        α2.
    error : ndarray, shape (L,)
        Standard errors, by leaving out each ion in turn.
    peak : Estimate
        Largest α2; None where α2 still rises at the longest lag. The interval is that of α2 at the
        peak's lag: the largest of several noisy values is biased high.
    peak_ps : float or None
        Its lag, ps.
    """

    lags_ps: Floats
    alpha2: Floats
    error: Floats
    peak: Estimate
    peak_ps: float | None


def lags_on_grid(lags_ps: Sequence[float], spacing_ps: float, index: Integers) -> Integers:
    """Find the lags of a run nearest to those wanted, in points of its time grid.

    Parameters
    ----------
    lags_ps : sequence of float
        Lags, ps.
    spacing_ps : float
        Spacing of the grid, ps.
    index : ndarray of int, shape (F,)
        Grid point of each frame (see :meth:`Trajectory.grid`).

    Returns
    -------
    ndarray of int
        Distinct lags, 1 or more.

    Raises
    ------
    UsageError
        A lag that isn't positive or is longer than the run.
    """
    length = float(index[-1] * spacing_ps)
    for lag in lags_ps:
        if not 0.0 < lag <= length * (1.0 + 1e-9):
            raise UsageError(
                f"lag {lag:g} ps: expected more than 0 and at most the run, {length:g}"
            )
    return np.unique(np.maximum(np.rint(np.array(lags_ps) / spacing_ps).astype(np.int64), 1))


def self_part(
    positions: Positions,
    lags: Integers,
    spacing_ps: float,
    index: Integers | None = None,
    *,
    cutoff_A: float = 8.0,
    bin_A: float = 0.1,
) -> SelfPart:
    """G_s(r, t) of a group of ions over all time origins.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped, drift-free positions of the ions, Å.
    lags : ndarray of int, shape (L,)
        Lags in points of the grid; those that no two frames are apart are left out.
    spacing_ps : float
        Spacing of the grid, ps.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame; default 0, 1, …
    cutoff_A : float
        Largest distance, Å; whole bins only.
    bin_A : float
        Bin width, Å.

    Returns
    -------
    SelfPart
        By lag.

    Raises
    ------
    UsageError
        Where the cutoff holds fewer than two bins.
    """
    edges = np.arange(_bins(cutoff_A, bin_A) + 1) * bin_A
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    index = np.arange(len(positions)) if index is None else index
    there, number = with_origins(index, lags)
    counts = np.zeros((len(there), len(shells)))
    for _, block in atom_blocks(positions):
        for k, (_, start, stop) in enumerate(frame_pairs(index, there)):
            distances = np.sqrt(squared_displacements(block, start, stop))
            counts[k] += np.histogram(distances, edges)[0]
    number = (number * positions.shape[1])[:, None]
    share, beyond = counts / number, 1.0 - counts.sum(axis=1) / number[:, 0]
    r = 0.5 * (edges[1:] + edges[:-1])
    return SelfPart(_times(there, spacing_ps), r, share / shells, share / bin_A, beyond)


def distinct_part(
    trajectory: Trajectory,
    element: str,
    lags: Integers,
    *,
    com: Literal["all", "group", "none"] = "all",
    cutoff_A: float = 8.0,
    bin_A: float = 0.1,
) -> DistinctPart:
    """G_d(r, t) of an element over its density, each pair of frames in the cell of the later one.

    Parameters
    ----------
    trajectory : Trajectory
        Frames; :data:`MOST_ORIGINS` pairs of them at each lag.
    element : str
        Chemical symbol.
    lags : ndarray of int, shape (L,)
        Lags in points of the grid, 0 for g(r); those that no two frames are apart are left out.
    com : {'all', 'group', 'none'}
        Whose drift is taken out.
    cutoff_A : float
        Largest distance, Å; lowered to half of the cell's least width.
    bin_A : float
        Bin width, Å.

    Returns
    -------
    DistinctPart
        By lag.

    Raises
    ------
    UsageError
        Fewer than two ions of the element, or a cutoff that holds fewer than two bins.
    """
    ions = trajectory.indices(element)
    if len(ions) < 2:
        raise UsageError(f"{len(ions)} {element} in the trajectory: two or more are needed for G_d")
    # The most compact basis of the same lattice has the widest half-width.
    basis = np.rint(minkowski_reduce(trajectory.mean_cell)[1])
    cells = basis @ trajectory.cells
    least_width = float(1.0 / np.linalg.norm(np.linalg.inv(cells), axis=1).max())
    # freud refuses half the width itself.
    bins = _bins(min(cutoff_A, 0.4999 * least_width), bin_A)
    paths = _Paths(trajectory, ions, com, np.linalg.inv(basis))
    compute = freud.density.RDF(bins, bins * bin_A)
    spacing, index = trajectory.grid() if trajectory.n_frames > 1 else (0.0, np.zeros(1, np.int64))
    found, curves, origins = [], [], []
    for lag, start, stop in _pairs_from_zero(index, lags):
        chosen = np.linspace(0, len(start) - 1, min(MOST_ORIGINS, len(start))).astype(int)
        values = np.zeros(bins)
        for before, now in zip(start[chosen], stop[chosen], strict=True):
            values += _others(compute, cells[now], paths.at(before), paths.at(now))
        found.append(lag * spacing)
        curves.append(values / len(chosen))
        origins.append(len(chosen))
    r = (np.arange(bins, dtype=np.float64) + 0.5) * bin_A
    curves_array = np.array(curves).reshape(-1, bins)
    return DistinctPart(np.array(found), r, bins * bin_A, curves_array, np.array(origins))


def non_gaussian(
    positions: Positions,
    spacing_ps: float,
    index: Integers | None = None,
    lags: Integers | None = None,
) -> NonGaussian:
    """α2(t) of a group of ions over all time origins, with its peak.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped, drift-free positions of the ions, Å.
    spacing_ps : float
        Spacing of the time grid, ps.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame; default 0, 1, …
    lags : ndarray of int, shape (L,), optional
        Lags in points of the grid; default: about even in their logarithm, to half the run.

    Returns
    -------
    NonGaussian
        At the lags that any two frames are apart; ions that don't move at all give NaN.
    """
    index = np.arange(len(positions)) if index is None else index
    there, _ = with_origins(index, log_lags(int(index[-1]) // 2) if lags is None else lags)
    by_ion = np.empty((len(there), 2, positions.shape[1]))
    for chosen, block in atom_blocks(positions):
        block = np.ascontiguousarray(block)
        for k, (_, start, stop) in enumerate(frame_pairs(index, there)):
            mean, variance = _kernels.squares_by_atom(block, start, stop)
            by_ion[k, :, chosen] = mean, variance + np.square(mean)
    lags_ps = _times(there, spacing_ps)
    alpha2, error = _alpha2(by_ion.mean(axis=2)), _jackknife(by_ion)
    return NonGaussian(lags_ps, alpha2, error, *_peak(lags_ps, alpha2, error, by_ion.shape[2]))


def _bins(cutoff_A: float, bin_A: float) -> int:
    bins = int(round(cutoff_A / bin_A, 6))
    if bins < 2:
        raise UsageError(f"bins of {bin_A:g} Å: expected less than half of {cutoff_A:.3g} Å")
    return bins


def _times(lags: Integers, spacing_ps: float) -> Floats:
    return np.asarray(lags * spacing_ps, dtype=np.float64)


def _pairs_from_zero(index: Integers, lags: Integers) -> Iterator[tuple[int, Integers, Integers]]:
    """Pairs of frames a lag apart, and each frame with itself where lag 0 is wanted."""
    if (lags == 0).any():
        frames = np.arange(len(index))
        yield 0, frames, frames
    yield from frame_pairs(index, lags[lags > 0])


class _Paths:
    """Fractional coordinates of ions relative to a centre of mass, a frame at a time."""

    def __init__(
        self,
        trajectory: Trajectory,
        ions: Integers,
        com: Literal["all", "group", "none"],
        change: Floats,
    ) -> None:
        self._fractional, self._ions, self._change = trajectory.fractional, ions, change
        self._weights = trajectory.masses_amu
        if com == "group":
            self._weights = np.where(np.isin(np.arange(len(self._weights)), ions), self._weights, 0)
        self._weights = self._weights / self._weights.sum() * (com != "none")

    def at(self, frame: int) -> Floats:
        """Coordinates in the changed basis, shape (N, 3)."""
        now = self._fractional[frame]
        found: Floats = (now[self._ions] - self._weights @ now) @ self._change
        return found


def _others(compute: freud.density.RDF, cell: Floats, before: Floats, now: Floats) -> Floats:
    """Density of the other ions around where each was before, over (N - 1)/V."""
    lengths, angles = np.split(cell_to_cellpar(cell), 2)
    box = freud.box.Box.from_box_lengths_and_angles(*lengths, *np.radians(angles))
    points, query = box.make_absolute(now % 1.0), box.make_absolute(before % 1.0)
    compute.compute((box, points), query, neighbors={"r_max": compute.r_max, "exclude_ii": True})
    values: Floats = compute.rdf * (len(now) / (len(now) - 1))
    return values


def _alpha2(moments: Floats) -> Floats:
    """α2 from mean second and fourth moments along the second axis, shape (L, 2, …)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value: Floats = 0.6 * moments[:, 1] / np.square(moments[:, 0]) - 1.0
    return value


def _jackknife(by_ion: Floats) -> Floats:
    """Find the standard error of α2 by leaving out each ion, NaN for one ion, shape (L,)."""
    number = by_ion.shape[2]
    if number < 2:
        return np.full(len(by_ion), np.nan)
    without_one = (by_ion.sum(axis=2, keepdims=True) - by_ion) / (number - 1)
    error: Floats = np.sqrt(number - 1.0) * _alpha2(without_one).std(axis=1)
    return error


def _peak(
    lags_ps: Floats, alpha2: Floats, error: Floats, ions: int
) -> tuple[Estimate, float | None]:
    """Largest α2 and its lag."""
    if not np.isfinite(alpha2).any():
        return Estimate(mean=None, reason="ions that don't move, or no lags"), None
    top = int(np.nanargmax(alpha2))
    if top == len(alpha2) - 1:
        return Estimate(mean=None, reason="α2 is largest at the longest lag: run longer"), None
    height = float(alpha2[top])
    if ions < 3:
        reason = "fewer than three ions: no interval"
        return Estimate(mean=height, reason=reason), float(lags_ps[top])
    half = student_95(ions - 1) * float(error[top])
    return Estimate(mean=height, ci95=(height - half, height + half)), float(lags_ps[top])
