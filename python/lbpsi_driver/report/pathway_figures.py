"""Pictures of pieces of a trajectory: an ion's superposed path among units, and an anion.

Both are seen along the direction in which the piece is flattest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from scipy.spatial import ConvexHull

from lbpsi_driver.observables.pathways import AnionPiece, Pathway
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.report.figures import COLOURS, GREY, finish

LOOKS = {
    "Li": ("#009E73", 45.0),
    "Na": ("#009E73", 60.0),
    "S": ("#E6C300", 60.0),
    "P": ("#0072B2", 80.0),
    "B": ("#CC79A7", 60.0),
    "Si": ("#56B4E9", 80.0),
    "Ge": ("#999999", 80.0),
    "I": ("#882255", 110.0),
}
UNKNOWN = (GREY, 60.0)
_FLAT = 1e-6  # Å3: ligands in a plane have no hull


def path(found: Pathway, title: str, file: Path) -> None:
    """Draw the positions of an ion in all frames over the units of the first one.

    Parameters
    ----------
    found : Pathway
        The piece.
    title : str
        Which ion it is.
    file : Path
        The file to write; its suffix is the format.
    """
    first = found.frames[0]
    symbols = first.get_chemical_symbols()
    atoms = first.positions[1:] if len(first) > 1 else found.path_A
    view, middle = _view(np.vstack([found.path_A, atoms])), found.path_A.mean(axis=0)
    seen, places = (found.path_A - middle) @ view, (first.positions - middle) @ view
    figure, axes = _figure()
    for unit in sorted(found.units, key=lambda one: float(places[one.former, 2])):
        colour, _ = LOOKS.get(symbols[unit.former], UNKNOWN)
        faces = _faces(places[list(unit.ligands)])
        axes.add_collection(
            PolyCollection(faces, facecolors=colour, edgecolors=colour, alpha=0.22, linewidths=0.8)
        )
    _balls(axes, places[1:], symbols[1:], 0.35)
    times = np.array([frame.info["time_ps"] for frame in found.frames])
    axes.plot(seen[:, 0], seen[:, 1], color=GREY, linewidth=0.4, alpha=0.6)
    dots = axes.scatter(seen[:, 0], seen[:, 1], c=times, cmap="viridis", s=14, zorder=3)
    figure.colorbar(dots, ax=axes, label="time (ps)", shrink=0.8)
    axes.set_title(f"{title}, up to {found.largest_A:.3g} Å from its start", fontsize=10)
    _finish(figure, axes, file)


def anion(found: AnionPiece, bonds: Sequence[tuple[int, int]], file: Path) -> None:
    """Draw an anion as balls and sticks, and the cations around it.

    Parameters
    ----------
    found : AnionPiece
        The piece.
    bonds : sequence of tuple of int
        Places of bonded atoms.
    file : Path
        The file to write; its suffix is the format.
    """
    places = found.atoms.positions @ _view(found.atoms.positions[: found.n_anion])
    figure, axes = _figure()
    sticks = [(places[a, :2], places[b, :2]) for a, b in bonds]
    axes.add_collection(LineCollection(sticks, colors=GREY, linewidths=2.5, zorder=1))
    _balls(axes, places, found.atoms.get_chemical_symbols(), 1.0)
    around = len(found.atoms) - found.n_anion
    axes.set_title(f"{found.name}, {around} cations around it", fontsize=10)
    _finish(figure, axes, file)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    return figure, figure.subplots()


def _finish(figure: Figure, axes: Axes, file: Path) -> None:
    axes.autoscale_view()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("Å")
    axes.set_ylabel("Å")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    finish(figure, (axes,), file)


def _view(points: Floats) -> Floats:
    """Right-handed axes of sight as columns: the widest, the next, the flattest."""
    axes: Floats = np.linalg.svd(points - points.mean(axis=0), full_matrices=True)[2].T
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    return axes


def _faces(corners: Floats) -> list[Floats]:
    """Faces of a unit, the ones behind first; a plane one is its own face."""
    if len(corners) > 3:
        spread = np.linalg.svd(corners - corners.mean(axis=0), compute_uv=False)
        if spread[2] > _FLAT:
            faces = [corners[face] for face in ConvexHull(corners).simplices]
            return [face[:, :2] for face in sorted(faces, key=lambda one: float(one[:, 2].mean()))]
    centred = corners[:, :2] - corners[:, :2].mean(axis=0)
    return [corners[np.argsort(np.arctan2(centred[:, 1], centred[:, 0])), :2]]


def _balls(axes: Axes, places: Floats, symbols: Sequence[str], scale: float) -> None:
    """Atoms, those behind first; an entry an element in the legend."""
    spare = iter(COLOURS)
    for symbol in dict.fromkeys(symbols):
        chosen = np.flatnonzero(np.array(symbols) == symbol)
        colour, size = LOOKS.get(symbol) or (next(spare), UNKNOWN[1])
        x, y, depth = places[chosen[np.argsort(places[chosen, 2])]].T
        order = 2.0 + 0.1 * float(depth.mean() > places[:, 2].mean())
        axes.scatter(
            x,
            y,
            s=scale * size,
            c=colour,
            edgecolors="black",
            linewidths=0.4,
            zorder=order,
            label=symbol,
        )
