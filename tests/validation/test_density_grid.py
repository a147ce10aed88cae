"""Density grids against histograms and Gaussians, percolation against a search in open space."""

from dataclasses import replace

import ase
import numpy as np
import pytest
from ase.io.cube import read_cube, write_cube
from scipy import ndimage

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.density_grid import (
    DensityGrid,
    density_grid,
    enclosing_threshold,
    percolation_density,
    smoothed,
    visited,
)
from lbpsi_driver.observables.trajectory import Trajectory

TRICLINIC = np.array([[9.0, 0, 0], [2.5, 8.0, 0], [-2.0, 3.0, 10.0]])


def make(fractional, cells, elements):
    frames = len(fractional)
    return Trajectory(
        np.asarray(fractional),
        np.asarray(cells),
        np.zeros((frames, 3)),
        np.arange(frames) * 1.0,
        np.array(elements),
    )


def grid_of(values, cell=None):
    cell = 10.0 * np.eye(3) if cell is None else cell
    return DensityGrid("Li", cell, np.asarray(values, dtype=float), 0.0, ase.Atoms())


def breathing(frames=40, seed=1):
    rng = np.random.default_rng(seed)
    fractional = rng.random((frames, 8, 3)) + rng.integers(-3, 4, (frames, 8, 3))
    fractional[:, 5:] = fractional[0, 5:]
    cells = TRICLINIC * (1 + 0.04 * rng.normal(size=(frames, 1, 1)))
    return make(fractional, cells, ["Li"] * 5 + ["S"] * 2 + ["P"])


def test_grid_is_the_histogram_of_a_breathing_cell():
    trajectory = breathing()
    found = density_grid(trajectory, "Li", voxel_A=1.5)
    edges = np.linalg.norm(trajectory.mean_cell, axis=1)
    shape = found.density_per_A3.shape
    assert all(e / n <= 1.5 < e / (n - 1) for e, n in zip(edges, shape, strict=True))
    volume = abs(np.linalg.det(trajectory.mean_cell))
    points = trajectory.fractional[:, :5].reshape(-1, 3) % 1.0
    counts, _ = np.histogramdd(points, shape, [(0, 1)] * 3)
    np.testing.assert_allclose(
        found.density_per_A3, counts / 40 * np.prod(shape) / volume, rtol=1e-12
    )
    assert found.density_per_A3.sum() * found.voxel_A3 == pytest.approx(5.0, rel=1e-12)
    assert found.mean_per_A3 == pytest.approx(5.0 / volume)


def test_drift_of_the_framework_is_taken_out():
    trajectory = breathing(seed=2)
    drift = np.linspace(0, 1.7, 40)[:, None, None] * np.array([0.3, -0.8, 0.5])
    moved = make(trajectory.fractional + drift, trajectory.cells, trajectory.elements)
    still, found = density_grid(trajectory, "Li"), density_grid(moved, "Li")
    # Rounding may take an ion across the face of a voxel.
    assert np.abs(still.density_per_A3 - found.density_per_A3).sum() < 0.01 * (
        still.density_per_A3.sum()
    )
    expected = trajectory.fractional[0, 5:] % 1.0
    np.testing.assert_allclose(found.framework.get_scaled_positions(), expected, atol=1e-9)
    assert found.framework.get_chemical_formula() == "PS2"


def test_positions_on_the_cells_faces_are_counted():
    fractional = [[[0.0, 1.0, -1e-18], [1 - 1e-17, -1e-17, 2.0], [0.5, 0.5, 0.5]]]
    found = density_grid(make(fractional, [6.0 * np.eye(3)], ["Li", "Li", "S"]), "Li", voxel_A=2.0)
    assert found.density_per_A3.sum() * found.voxel_A3 == pytest.approx(2.0)


def test_smoothing_of_a_point_is_a_gaussian_in_a_skewed_cell():
    shape, sigma, at = (36, 33, 40), 0.7, np.array([0, 32, 5])
    values = np.zeros(shape)
    values[tuple(at)] = 3.0
    found = smoothed(grid_of(values, TRICLINIC), sigma)
    assert found.density_per_A3.sum() == pytest.approx(3.0, rel=1e-12)
    assert (found.density_per_A3 >= 0).all()
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    apart = (places - at) / shape
    expected = np.zeros(shape)
    for image in np.ndindex(5, 5, 5):
        squares = (((apart + np.array(image) - 2) @ TRICLINIC) ** 2).sum(axis=-1)
        expected += np.exp(-squares / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5
    expected *= 3.0 * found.voxel_A3
    np.testing.assert_allclose(found.density_per_A3, expected, atol=1e-6 * expected.max())
    assert smoothed(found, sigma).smoothing_A == pytest.approx(sigma * np.sqrt(2))


def test_density_goes_through_a_cube_file(tmp_path):
    ion = np.array([0.83, 0.11, 0.48])
    trajectory = make([[ion, [0.2, 0.4, 0.9]]] * 2, [TRICLINIC] * 2, ["Li", "S"])
    found = density_grid(trajectory, "Li", smoothing_A=0.6)
    with (tmp_path / "li.cube").open("w") as file:
        write_cube(file, found.framework, found.density_per_A3, found.origin_A)
    with (tmp_path / "li.cube").open() as file:
        cube = read_cube(file)
    np.testing.assert_allclose(cube["data"], found.density_per_A3, atol=1e-6)
    densest = np.array(np.unravel_index(np.argmax(cube["data"]), cube["data"].shape))
    place = cube["origin"] + densest @ cube["spacing"]
    assert np.linalg.norm(place - ion @ TRICLINIC) < 0.4
    np.testing.assert_allclose(
        cube["atoms"].positions, [np.array([0.2, 0.4, 0.9]) @ TRICLINIC], atol=1e-5
    )


SHAPE = (8, 8, 8)


def region(*slices):
    inside = np.zeros(SHAPE)
    for part in slices:
        inside[part] = 1.0
    return inside


def ring():
    """Across the first face and back by another way."""
    inside = region(np.s_[6:, 2, 3], np.s_[:3, 2, 3], np.s_[6:, 5, 3], np.s_[:3, 5, 3])
    inside[2, 2:6, 3] = inside[6, 2:6, 3] = 1.0
    return inside


def staircase():
    inside = np.zeros(SHAPE)
    for k in range(8):
        inside[k, k, 2] = inside[(k + 1) % 8, k, 2] = 1.0
    return inside


@pytest.mark.parametrize(
    ("inside", "dimension", "along"),
    [
        (region(np.s_[2:4, 3:5, 6:]), 0, (False, False, False)),
        (region(np.s_[7, 0, 0], np.s_[0, 0, 0]), 0, (False, False, False)),
        (ring(), 0, (False, False, False)),
        (region(np.s_[:, 2, 3]), 1, (True, False, False)),
        (staircase(), 1, (True, True, False)),
        (region(np.s_[:, 2, 3], np.s_[1, :, 6]), 1, (True, True, False)),
        (region(np.s_[:, 2, 3], np.s_[1, :, 3]), 2, (True, True, False)),
        (region(np.s_[:, 2, 3], np.s_[1, :, 3], np.s_[1, 2, :]), 3, (True, True, True)),
        (np.ones(SHAPE), 3, (True, True, True)),
        (np.zeros(SHAPE), 0, (False, False, False)),
    ],
    ids=["ball", "pair", "ring", "tube", "stairs", "tubes", "sheet", "net", "all", "none"],
)
def test_pathways_drawn_by_hand(inside, dimension, along):
    found = visited(replace(grid_of(inside), density_per_A3=inside + 1e-9), 0.5)
    assert (found.dimension, found.along) == (dimension, along)
    assert found.volume_fraction == pytest.approx(inside.mean())


def images_of(inside, tiles=7):
    """Images of each voxel that are joined to it in a block of many cells with open walls."""
    labels = ndimage.label(np.tile(inside, (tiles,) * 3))[0]
    a, b, c = inside.shape
    labels = labels.reshape(tiles, a, tiles, b, tiles, c).transpose(1, 3, 5, 0, 2, 4)
    middle = tiles // 2
    for i, j, k in np.argwhere(inside):
        own = labels[i, j, k]
        yield np.argwhere(own == own[middle, middle, middle]) - middle


def test_percolation_against_unfolded_space():
    rng = np.random.default_rng(3)
    seen = set()
    for share in (0.25, 0.35, 0.45, 0.55):
        for _ in range(8):
            inside = rng.random((4, 3, 5)) < share
            images = list(images_of(inside))
            dimension = max(int(np.linalg.matrix_rank(rows)) for rows in images)
            along = tuple(bool(any(rows[:, k].any() for rows in images)) for k in range(3))
            found = visited(grid_of(inside), 0.5)
            assert (found.dimension, found.along) == (dimension, along)
            seen.add(dimension)
    assert seen == {0, 1, 2, 3}


def test_highest_percolating_density_is_that_of_the_saddle():
    """cos x + cos y + cos z has its bottlenecks at 1, on the edges between its maxima."""
    x, y, z = np.meshgrid(*[np.arange(12) / 12 * 2 * np.pi] * 3, indexing="ij")
    values = np.cos(x) + 0.9 * np.cos(y) + 0.8 * np.cos(z) + 3.0
    # Bottlenecks along x, y, z: -1 + 0.9 + 0.8, 1 - 0.9 + 0.8, 1 + 0.9 - 0.8.
    for dimension, expected in ((1, 4.1), (2, 3.9), (3, 3.7)):
        assert percolation_density(grid_of(values), dimension) == pytest.approx(expected)
    assert percolation_density(grid_of(region(np.s_[1:3, 2, 2])), 1) is None


def test_shares_above_a_threshold():
    rng = np.random.default_rng(4)
    grid = grid_of(rng.random((6, 7, 8)) ** 4)
    threshold = enclosing_threshold(grid, 0.8)
    found = visited(grid, threshold)
    values = np.sort(grid.density_per_A3.ravel())[::-1]
    fewest = next(n for n in range(1, values.size) if values[:n].sum() >= 0.8 * values.sum())
    assert found.volume_fraction == pytest.approx(fewest / values.size)
    assert found.ion_fraction == pytest.approx(values[:fewest].sum() / values.sum())
    balls = region(np.s_[1, 1, 1:4], np.s_[5, 5, 5])
    assert visited(grid_of(balls), 0.5).largest_fraction == pytest.approx(0.75)


def test_bad_input_is_one_line():
    trajectory = breathing()
    with pytest.raises(UsageError, match="density of Na: none"):
        density_grid(trajectory, "Na")
    with pytest.raises(UsageError, match="positive length"):
        density_grid(trajectory, "Li", voxel_A=0.0)
    with pytest.raises(UsageError, match="too many"):
        density_grid(trajectory, "Li", voxel_A=0.01)
    for sigma in (0.01, 5.0):
        with pytest.raises(UsageError, match="a quarter of the cell"):
            density_grid(trajectory, "Li", smoothing_A=sigma)
    grid = density_grid(trajectory, "Li")
    with pytest.raises(UsageError, match="positive density"):
        visited(grid, 0.0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        enclosing_threshold(grid, 1.0)
    alone = density_grid(make(np.full((2, 1, 3), 0.3), [TRICLINIC] * 2, ["Li"]), "Li")
    assert len(alone.framework) == 0
