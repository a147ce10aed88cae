"""Probability density of an element on a grid of the mean cell, and the space that it visits.

Each frame's fractional coordinates, relative to the centre of mass of the *other* atoms (the
framework), are counted on a grid of the unit cell; volumes are those of the mean cell. Over the
volume, the density integrates to the number of ions.

What is visited is where the density lies above a threshold; whether that region goes through the
whole cell is found on its connected components: going once around a component and coming back to
the same voxel in another periodic image is a translation of the lattice, and the number of
independent ones is the dimension of the pathway (0: closed pockets, 3: a network in all
directions).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import ase
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import irfftn, rfftn

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.spool import row_blocks
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

MOST_VOXELS = 2**24
"""Largest grid."""
_NARROWEST = 0.3  # of the widest voxel edge: a narrower Gaussian is one voxel
_FURTHEST = 8.0  # standard deviations that a Gaussian reaches
_IMAGES = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)

Steps = dict[int, list[tuple[int, Integers]]]


@dataclass(frozen=True)
class DensityGrid:
    """Density of an element in the mean cell.

    Attributes
    ----------
    element : str
        Chemical symbol.
    cell_A : ndarray, shape (3, 3)
        Mean cell, lattice vectors as rows, Å.
    density_per_A3 : ndarray, shape (na, nb, nc)
        Density in each voxel, 1/Å3; voxel (i, j, k) holds the fractional coordinates from i/na to
        (i + 1)/na, and so on.
    smoothing_A : float
        Standard deviation of the Gaussian that it was smoothed by, Å; 0 for none.
    framework : ase.Atoms
        The other atoms at their mean positions in the frame of the grid.
    """

    element: str
    cell_A: Floats
    density_per_A3: Floats
    smoothing_A: float
    framework: ase.Atoms

    @property
    def voxel_A3(self) -> float:  # noqa: N802 - Å3 is the unit's symbol
        """Volume of a voxel, Å3."""
        return float(abs(np.linalg.det(self.cell_A)) / self.density_per_A3.size)

    @property
    def origin_A(self) -> Floats:  # noqa: N802 - Å is the unit's symbol
        """Centre of the first voxel, Å: the origin that a cube file of the density has."""
        centre: Floats = (0.5 / np.array(self.density_per_A3.shape)) @ self.cell_A
        return centre

    @property
    def mean_per_A3(self) -> float:  # noqa: N802 - Å3 is the unit's symbol
        """Number density of the element, 1/Å3."""
        return float(self.density_per_A3.mean())


@dataclass(frozen=True)
class Visited:
    """Where a density lies above a threshold.

    Attributes
    ----------
    threshold_per_A3 : float
        The threshold, 1/Å3.
    volume_fraction : float
        Share of the cell's volume above it.
    ion_fraction : float
        Share of the ions' time spent there.
    dimension : int
        Largest number of independent directions in which a component goes on for ever, 0 to 3.
    along : tuple of bool
        Whether one goes on along the first, second, third lattice vector.
    largest_fraction : float
        Share of the visited volume that is in its largest component.
    """

    threshold_per_A3: float
    volume_fraction: float
    ion_fraction: float
    dimension: int
    along: tuple[bool, bool, bool]
    largest_fraction: float


def density_grid(
    trajectory: Trajectory,
    element: str,
    *,
    voxel_A: float = 0.4,
    smoothing_A: float = 0.0,
) -> DensityGrid:
    """Density of an element, averaged over all frames.

    Parameters
    ----------
    trajectory : Trajectory
        The frames.
    element : str
        Chemical symbol.
    voxel_A : float
        Longest edge of a voxel, Å.
    smoothing_A : float
        Standard deviation of a Gaussian to smooth it by, Å; see :func:`smoothed`.

    Returns
    -------
    DensityGrid
        Its sum times the voxel's volume is the number of ions.

    Raises
    ------
    UsageError
        No such element, or a grid with no or too many voxels.
    """
    ions = trajectory.indices(element)
    if len(ions) == 0:
        present = ", ".join(np.unique(trajectory.elements))
        raise UsageError(f"density of {element}: none in the trajectory; one of: {present}")
    cell = trajectory.mean_cell
    shape = _shape(cell, voxel_A)
    rest = np.flatnonzero(trajectory.elements != element)
    counts = np.zeros(int(np.prod(shape)))
    mean = np.zeros((len(rest), 3))
    for rows in row_blocks(trajectory.fractional):
        chunk = trajectory.fractional[rows]
        chunk = chunk - _drift(trajectory, rest, chunk)
        voxels = np.floor(chunk[:, ions] % 1.0 * shape).astype(np.int64)
        # 1 - 1e-17 is 1: the last voxel's upper face is the first one's lower.
        flat = np.ravel_multi_index(tuple(np.moveaxis(voxels, -1, 0)), shape, mode="wrap")
        counts += np.bincount(flat.ravel(), minlength=len(counts))
        mean += chunk[:, rest].sum(axis=0)
    framework = ase.Atoms(
        trajectory.elements[rest].tolist(),
        scaled_positions=mean / trajectory.n_frames % 1.0,
        cell=cell,
        pbc=True,
    )
    voxel_A3 = abs(np.linalg.det(cell)) / len(counts)
    values = counts.reshape(shape) / (trajectory.n_frames * voxel_A3)
    grid = DensityGrid(element, cell, values, 0.0, framework)
    return smoothed(grid, smoothing_A) if smoothing_A > 0.0 else grid


def smoothed(grid: DensityGrid, sigma_A: float) -> DensityGrid:
    """Smooth by a Gaussian that is the same in all directions of space, also in a triclinic cell.

    Parameters
    ----------
    grid : DensityGrid
        The density.
    sigma_A : float
        Standard deviation of the Gaussian along each direction, Å.

    Returns
    -------
    DensityGrid
        Not negative; its sum is unchanged.

    Raises
    ------
    UsageError
        Where the Gaussian is wider than a quarter of the cell, or narrower than the voxels tell.
    """
    shape = np.array(grid.density_per_A3.shape)
    width = float((1.0 / np.linalg.norm(np.linalg.inv(grid.cell_A), axis=0)).min())
    edge = float((np.linalg.norm(grid.cell_A, axis=1) / shape).max())
    if not _NARROWEST * edge <= sigma_A <= 0.25 * width:
        raise UsageError(
            f"smoothing by {sigma_A:g} Å: expected {_NARROWEST * edge:.2g} Å, below which it is "
            f"less than a voxel, to {0.25 * width:.3g} Å, a quarter of the cell"
        )
    kernel = np.zeros(tuple(shape))
    metric = grid.cell_A @ grid.cell_A.T / sigma_A**2
    for image in _IMAGES:
        x, y, z = np.ix_(*(np.fft.fftfreq(n) + step for n, step in zip(shape, image, strict=True)))
        squares = x * (metric[0, 0] * x + 2.0 * metric[0, 1] * y) + metric[1, 1] * y**2
        squares = squares + z * (2.0 * (metric[0, 2] * x + metric[1, 2] * y) + metric[2, 2] * z)
        if squares.min() < _FURTHEST**2:
            kernel += np.exp(-0.5 * squares)
    product = rfftn(grid.density_per_A3) * rfftn(kernel / kernel.sum())
    values = np.maximum(irfftn(product, tuple(shape)), 0.0)
    values *= grid.density_per_A3.sum() / values.sum()
    return replace(
        grid, density_per_A3=values, smoothing_A=float(np.hypot(grid.smoothing_A, sigma_A))
    )


def enclosing_threshold(grid: DensityGrid, share: float) -> float:
    """Density above which the densest region lies that holds a share of the ions, 1/Å3.

    Parameters
    ----------
    grid : DensityGrid
        The density.
    share : float
        Share of the ions' time, 0 to 1.

    Raises
    ------
    UsageError
        A share that isn't between 0 and 1.
    """
    if not 0.0 < share < 1.0:
        raise UsageError(f"share {share:g}: expected between 0 and 1")
    values = np.sort(grid.density_per_A3, axis=None)[::-1]
    held = np.cumsum(values)
    return float(values[np.searchsorted(held, share * held[-1])])


def visited(grid: DensityGrid, threshold_per_A3: float) -> Visited:
    """Volume where the density reaches a threshold, and whether it goes through the cell.

    Voxels are neighbours that share a face.

    Parameters
    ----------
    grid : DensityGrid
        The density; smoothed, unless each voxel of the pathway was visited often.
    threshold_per_A3 : float
        Least density, 1/Å3.

    Returns
    -------
    Visited
        Nothing visited has dimension 0.

    Raises
    ------
    UsageError
        A threshold that isn't positive.
    """
    if not threshold_per_A3 > 0.0:
        raise UsageError(f"threshold {threshold_per_A3:g} 1/Å3: expected a positive density")
    inside = grid.density_per_A3 >= threshold_per_A3
    volumes, directions = _components(inside)
    total = float(inside.sum())
    return Visited(
        threshold_per_A3=threshold_per_A3,
        volume_fraction=total / inside.size,
        ion_fraction=float(grid.density_per_A3[inside].sum() / grid.density_per_A3.sum()),
        dimension=max((int(np.linalg.matrix_rank(ways)) for ways in directions), default=0),
        along=_along(directions),
        largest_fraction=max(volumes, default=0) / max(total, 1.0),
    )


def percolation_density(grid: DensityGrid, dimension: int = 3) -> float | None:
    """Highest threshold at which the region goes on in so many directions, 1/Å3.

    It needs no threshold to be chosen: the higher it is against the mean density, the wider the
    bottlenecks of the pathway.

    Parameters
    ----------
    grid : DensityGrid
        The density.
    dimension : int
        Independent directions, 1 to 3.

    Returns
    -------
    float or None
        A density of the grid; None where all that was ever visited doesn't percolate so.
    """
    values = np.unique(grid.density_per_A3[grid.density_per_A3 > 0.0])
    low, high = 0, len(values)
    if not _reaches(grid, values[0], dimension):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _reaches(grid, values[middle], dimension) else (low, middle)
    return float(values[low])


def _reaches(grid: DensityGrid, threshold: float, dimension: int) -> bool:
    return visited(grid, float(threshold)).dimension >= dimension


def _shape(cell: Floats, voxel_A: float) -> tuple[int, int, int]:
    if not voxel_A > 0.0:
        raise UsageError(f"voxel of {voxel_A:g} Å: expected a positive length")
    a, b, c = (max(1, int(np.ceil(edge / voxel_A - 1e-9))) for edge in np.linalg.norm(cell, axis=1))
    if a * b * c > MOST_VOXELS:
        raise UsageError(
            f"voxel of {voxel_A:g} Å: {a}x{b}x{c} voxels are too many; give a longer one"
        )
    return a, b, c


def _drift(trajectory: Trajectory, rest: Integers, chunk: Floats) -> Floats:
    """How far the framework's centre of mass has moved since the first frame, fractional."""
    if len(rest) == 0:
        return np.zeros((len(chunk), 1, 3))
    weights = trajectory.masses_amu[rest] / trajectory.masses_amu[rest].sum()
    moved = np.tensordot(chunk[:, rest] - trajectory.fractional[0][rest], weights, axes=(1, 0))
    drift: Floats = moved[:, None, :]
    return drift


def _components(inside: NDArray[np.bool_]) -> tuple[list[int], list[Integers]]:
    """Voxels of each periodic component, and the lattice translations that it goes on by."""
    labels, number = ndimage.label(inside)
    voxels = np.bincount(labels.ravel(), minlength=number + 1)
    steps: Steps = defaultdict(list)
    for a, b, step in _across(labels):
        steps[a].append((b, step))
        steps[b].append((a, -step))
    home: dict[int, Integers] = {}
    volumes, directions = [], []
    for first in range(1, number + 1):
        if first not in home:
            members, ways = _explore(first, steps, home)
            volumes.append(int(voxels[members].sum()))
            directions.append(ways)
    return volumes, directions


def _across(labels: NDArray[np.int32]) -> Iterator[tuple[int, int, Integers]]:
    """Labels that touch across the cell's faces, with the translation of the second."""
    for axis in range(3):
        last, first = np.take(labels, -1, axis).ravel(), np.take(labels, 0, axis).ravel()
        both = (last > 0) & (first > 0)
        for a, b in np.unique(np.stack([last[both], first[both]], axis=1), axis=0).tolist():
            yield a, b, np.eye(3, dtype=np.int64)[axis]


def _explore(first: int, steps: Steps, home: dict[int, Integers]) -> tuple[list[int], Integers]:
    """Walk a component; each way back to a known place in another image is a translation."""
    home[first] = np.zeros(3, dtype=np.int64)
    members, ways, queue = [first], {(0, 0, 0)}, deque([first])
    while queue:
        now = queue.popleft()
        for other, step in steps[now]:
            there = home[now] + step
            if other not in home:
                home[other] = there
                members.append(other)
                queue.append(other)
            else:
                ways.add(tuple((there - home[other]).tolist()))
    return members, np.array(sorted(ways))


def _along(directions: list[Integers]) -> tuple[bool, bool, bool]:
    a, b, c = (any(bool(ways[:, axis].any()) for ways in directions) for axis in range(3))
    return a, b, c
