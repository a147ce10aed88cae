"""Partial radial distribution functions by freud, first peaks, running coordination numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import freud
import numpy as np
from ase.geometry import minkowski_reduce
from scipy.signal import find_peaks

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

_PEAK_PROMINENCE = 0.5


@dataclass(frozen=True)
class RadialDistributions:
    """g(r) and n(r) of a trajectory.

    Attributes
    ----------
    r_A : ndarray, shape (B,)
        Centres of the bins, Å.
    cutoff_A : float
        Largest distance, Å.
    g : dict of str to ndarray
        g(r) by pair, elements in alphabetical order, as in ``B-S``.
    coordination : dict of str to ndarray
        Mean number of neighbours to the upper edge of each bin; ``B-S``: S around B.
    first_peak_A : dict of str to float or None
        Position of the first peak of each g(r), Å; None where there is none.
    """

    r_A: Floats
    cutoff_A: float
    g: dict[str, Floats]
    coordination: dict[str, Floats]
    first_peak_A: dict[str, float | None]


def radial_distributions(
    trajectory: Trajectory, cutoff_A: float, bin_A: float
) -> RadialDistributions:
    """Partial g(r) of all pairs of elements, each frame in its own (triclinic) cell.

    g(r) of like atoms counts the other N − 1 of them, so that an ideal gas of any size gives 1.

    Parameters
    ----------
    trajectory : Trajectory
        Frames; at most :data:`lbpsi_driver.observables.trajectory.MOST_FRAMES` of them are used.
    cutoff_A : float
        Largest distance, Å; lowered to half of the cell's least width.
    bin_A : float
        Bin width, Å.

    Returns
    -------
    RadialDistributions
        Averages over the frames.

    Raises
    ------
    UsageError
        Where the cutoff holds fewer than two bins.
    """
    frames = trajectory.spread()
    # The most compact basis of the same lattice has the widest half-width.
    basis = np.rint(minkowski_reduce(frames.mean_cell)[1])
    cells = basis @ frames.cells
    # freud refuses half the width itself.
    cutoff = min(cutoff_A, 0.4999 * _least_width(cells))
    bins = int(round(cutoff / bin_A, 6))
    if bins < 2:
        raise UsageError(f"--rdf-bin {bin_A:g}: expected less than half of {cutoff:.3g} Å")
    cutoff = bins * bin_A
    members = {element: trajectory.indices(element) for element in np.unique(trajectory.elements)}
    pairs = list(combinations_with_replacement(members, 2))
    g, counts = ({f"{a}-{b}": np.zeros(bins) for a, b in pairs} for _ in range(2))
    compute = freud.density.RDF(bins, cutoff)
    for fractional, cell in zip(frames.fractional, cells, strict=True):
        box = freud.box.Box.from_box_lengths_and_angles(*_lengths_and_angles(cell))
        points = box.make_absolute(fractional @ np.linalg.inv(basis) % 1.0)
        for a, b in pairs:
            values, neighbours = _pair(compute, box, points[members[a]], points[members[b]], a == b)
            g[f"{a}-{b}"] += values / frames.n_frames
            counts[f"{a}-{b}"] += neighbours / frames.n_frames
    r = (np.arange(bins, dtype=np.float64) + 0.5) * bin_A
    peaks = {pair: first_peak(r, values) for pair, values in g.items()}
    return RadialDistributions(r, cutoff, g, _running(counts, members), peaks)


def first_peak(r_A: Floats, g: Floats) -> float | None:
    """Position of the first peak of g(r) above 1, by a parabola through its top, Å."""
    tops, _ = find_peaks(np.append(g, 0.0), height=1.0, prominence=_PEAK_PROMINENCE)
    tops = tops[(tops > 0) & (tops < len(g) - 1)]
    if len(tops) == 0:
        return None
    top = int(tops[0])
    left, middle, right = g[top - 1 : top + 2]
    curvature = left - 2.0 * middle + right
    shift = 0.0 if curvature == 0.0 else 0.5 * (left - right) / curvature
    return float(r_A[top] + shift * (r_A[1] - r_A[0]))


def _pair(
    compute: freud.density.RDF, box: freud.box.Box, around: Floats, of: Floats, like: bool
) -> tuple[Floats, Floats]:
    """g(r) of one pair in one frame, and the neighbours of an atom by bin."""
    compute.compute((box, of), around, neighbors={"r_max": compute.r_max, "exclude_ii": like})
    scale = len(around) / max(len(around) - 1, 1) if like else 1.0
    return compute.rdf * scale, compute.bin_counts / len(around)


def _running(counts: dict[str, Floats], members: dict[str, Integers]) -> dict[str, Floats]:
    """Sum the histograms to running coordination numbers, in both directions."""
    running = {}
    for pair, histogram in counts.items():
        a, b = pair.split("-")
        running[pair] = np.cumsum(histogram)
        running[f"{b}-{a}"] = running[pair] * len(members[a]) / len(members[b])
    return running


def _least_width(cells: Floats) -> float:
    """Least distance between opposite faces of the cells, Å."""
    return float(1.0 / np.linalg.norm(np.linalg.inv(cells), axis=1).max())


def _lengths_and_angles(cell: Floats) -> tuple[float, ...]:
    a, b, c = cell
    lengths = np.linalg.norm(cell, axis=1)
    cosines = np.array([b @ c, a @ c, a @ b]) / np.array(
        [lengths[1] * lengths[2], lengths[0] * lengths[2], lengths[0] * lengths[1]]
    )
    return (*lengths.tolist(), *np.arccos(cosines).tolist())
