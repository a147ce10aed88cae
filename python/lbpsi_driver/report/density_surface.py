"""Surface picture of where the mobile ion goes, as Figure 8b of paper 004."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LightSource, to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from lbpsi_driver.observables.density_grid import DensityGrid, Visited
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.report.figures import GREY
from lbpsi_driver.report.pathway_figures import LOOKS, UNKNOWN

_SIDE = 4.2
_COLUMNS = 2
_DPI = 150
_MOST_VOXELS = 40  # along a side: ten pixels each; drawing takes a time for each triangle
_VIEW = (18.0, -62.0)
_DOTS = 0.25  # of the area of an atom in pictures of single units
_LIGHT = LightSource(azdeg=225, altdeg=45)


def isosurface(grid: DensityGrid, level_per_A3: float, step: int = 1) -> tuple[Floats, Floats]:
    """Triangulate a surface of equal density within the cell, by marching cubes.

    Parameters
    ----------
    grid : DensityGrid
        The density.
    level_per_A3 : float
        Density on the surface, 1/Å3.
    step : int
        Every how many voxels the density is looked at.

    Returns
    -------
    corners_A : ndarray, shape (T, 3, 3)
        Corners of each triangle, Å; none where the density nowhere crosses the level.
    normals : ndarray, shape (T, 3)
        Unit vectors across each triangle, towards lower density.
    """
    # Imported here: half a second.
    from skimage.measure import marching_cubes

    # One more layer from across the faces: the surface goes on to the cell's end.
    layers = [(0, -n % step + 1) for n in grid.density_per_A3.shape]
    values = np.pad(grid.density_per_A3, layers, mode="wrap")
    if not values.min() < level_per_A3 < values.max():
        return np.empty((0, 3, 3)), np.empty((0, 3))
    points, triangles, _, _ = marching_cubes(
        values, level_per_A3, gradient_direction="ascent", step_size=step
    )
    places = (points + 0.5) / np.array(grid.density_per_A3.shape) @ grid.cell_A
    corners: Floats = places[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(across, axis=1)
    corners, across, lengths = (a[lengths > 0.0] for a in (corners, across, lengths))
    # Marching cubes winds triangles by the grid's axes, which a left-handed cell mirrors.
    hand = np.sign(np.linalg.det(grid.cell_A))
    return corners, hand * across / lengths[:, None]


def ion_density_surface(
    runs: Mapping[str, tuple[DensityGrid, Visited]], mobile: str, path: Path
) -> None:
    """Draw the surface of the visited volume among the mean places of the other atoms.

    Parameters
    ----------
    runs : mapping of str to tuple of DensityGrid and Visited
        By title, as in ``300 K``.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write; its suffix is the format.
    """
    columns = min(_COLUMNS, len(runs))
    rows = -(-len(runs) // columns)
    # No layout to find: that takes another round of drawing, which for surfaces is long.
    figure = Figure(figsize=(_SIDE * columns, _SIDE * rows))
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=1.0 - 0.08 / rows, wspace=0.05)
    for place, (title, (density, inside)) in enumerate(runs.items(), 1):
        axes: Any = figure.add_subplot(rows, columns, place, projection="3d")
        _panel(axes, density, inside.threshold_per_A3)
        share = f"{100 * inside.ion_fraction:.0f} % of the time of {mobile}"
        axes.set_title(f"{title}: {share}, {inside.threshold_per_A3:.2g} 1/Å³", fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _panel(axes: Any, density: DensityGrid, level_per_A3: float) -> None:
    step = max(1, round(max(density.density_per_A3.shape) / _MOST_VOXELS))
    corners, normals = isosurface(density, level_per_A3, step)
    if len(corners):
        shades = _LIGHT.shade_normals(normals, fraction=0.8)
        colour, _ = LOOKS.get(density.element, UNKNOWN)
        colours = np.outer(0.35 + 0.65 * shades, to_rgb(colour)).clip(0.0, 1.0)
        axes.add_collection3d(Poly3DCollection(corners, facecolors=colours, alpha=0.75))
    ends = np.array(list(product((0.0, 1.0), repeat=3)))
    pairs = [(a, b) for a in ends for b in ends if (b - a).sum() == 1.0 and (b >= a).all()]
    edges = [(a @ density.cell_A, b @ density.cell_A) for a, b in pairs]
    axes.add_collection3d(Line3DCollection(edges, colors=GREY, linewidths=0.8))
    others = density.framework.copy()
    others.wrap()
    for symbol in dict.fromkeys(others.symbols):
        colour, area = LOOKS.get(symbol, UNKNOWN)
        places = others.positions[others.symbols == symbol].T
        axes.scatter(*places, color=colour, s=_DOTS * area, label=symbol, linewidths=0)
    corners_of_cell = ends @ density.cell_A
    low, high = corners_of_cell.min(axis=0), corners_of_cell.max(axis=0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_box_aspect(high - low)
    axes.view_init(*_VIEW)
    axes.set_axis_off()
    axes.legend(frameon=False, fontsize=8, loc="lower left")
