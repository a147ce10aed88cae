"""Surfaces of equal density against a Gaussian's spheres, and the picture of them."""

import ase
import numpy as np
import pytest
from matplotlib.image import imread

from lbpsi_driver.observables.density_grid import DensityGrid, visited
from lbpsi_driver.report.density_surface import ion_density_surface, isosurface

CELLS = {
    "orthogonal": np.diag([12.0, 11.0, 13.0]),
    "triclinic": np.array([[12.0, 0, 0], [2.5, 11.0, 0], [-2.0, 3.0, 12.0]]),
    "left-handed": np.array([[0, 12.0, 0], [11.0, 0, 0], [1.0, 2.0, 12.0]]),
}
RADIUS, WIDTH = 2.5, 2.0


def gaussian(cell, shape=(48, 44, 52)):
    """Density exp(-r²/2w²) about the cell's middle, 1 there."""
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ cell
    away = np.linalg.norm(places - cell.sum(axis=0) / 2, axis=-1)
    framework = ase.Atoms("PS", scaled_positions=[[0.1, 0.2, 0.3], [0.7, 0.7, 0.7]], cell=cell)
    framework.pbc = True
    return DensityGrid("Li", cell, np.exp(-(away**2) / (2 * WIDTH**2)), 0.0, framework)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_sphere(cell, step):
    level = float(np.exp(-(RADIUS**2) / (2 * WIDTH**2)))
    corners, normals = isosurface(gaussian(cell), level, step)
    outwards = corners.mean(axis=1) - cell.sum(axis=0) / 2
    assert np.linalg.norm(outwards, axis=1) == pytest.approx(RADIUS, abs=0.01 * step**2)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(across, axis=1) / 2
    assert areas.sum() == pytest.approx(4 * np.pi * RADIUS**2, rel=0.01 * step**2)
    # Gauss: the volume from the flux of r/3, which a normal turned inwards would spoil.
    flux = (areas * (outwards * normals).sum(axis=1)).sum() / 3
    assert flux == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01 * step**2)


@pytest.mark.parametrize("level", [0.0, 2.0])
def test_no_surface(level):
    corners, normals = isosurface(gaussian(CELLS["orthogonal"]), level)
    assert len(corners) == len(normals) == 0


def test_surface_goes_on_to_the_ends_of_the_cell():
    values = np.zeros((8, 8, 8))
    values[3:5, 3:5, :] = 1.0
    corners, _ = isosurface(DensityGrid("Li", 8.0 * np.eye(3), values, 0.0, ase.Atoms()), 0.5)
    assert np.ptp(corners[..., 2]) == pytest.approx(8.0)


def test_picture(tmp_path):
    grid = gaussian(CELLS["triclinic"], (16, 15, 17))
    file = tmp_path / "surface.png"
    ion_density_surface({"300 K": (grid, visited(grid, 0.5))}, "Li", file)
    green = (imread(file)[..., :3] @ [-1.0, 1.0, 0.0]) > 0.2
    assert 0.01 < green.mean() < 0.5
