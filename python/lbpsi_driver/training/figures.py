"""Figures of a validation: parity as in Figure 1b of the paper, energy curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
from matplotlib.axes import Axes

from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.report.figures import COLOURS, GREY, finish, grid, legend
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import parity as results
from lbpsi_driver.training.energy_volume import EnergyVolume
from lbpsi_driver.training.short_range import Compression

_MOST_POINTS = 20000
_ENERGY_WINDOW_EV = (-1.0, 20.0)


def parity(sets: Mapping[str, Sequence[ase.Atoms]], path: Path) -> None:
    """Draw the model's energies and force components against the reference's.

    Parameters
    ----------
    sets : mapping of str to sequence of ase.Atoms
        Frames with both, by the name of their set.
    path : Path
        The file to write; its suffix is the format.
    """
    figure, panels = grid(2, width=3.4, height=3.4, columns=2)
    for number, (name, frames) in enumerate(sets.items()):
        colour = COLOURS[number % len(COLOURS)]
        found = results.errors(frames)
        energy = [results.energy_per_atom(frames, key) for key in (store.ENERGY, results.ENERGY)]
        force = [
            np.concatenate([atoms.arrays[key] for atoms in frames]).ravel()
            for key in (store.FORCES, results.FORCES)
        ]
        stride = -(-len(force[0]) // _MOST_POINTS)
        looks: dict[str, Any] = {
            "color": colour,
            "linestyle": "none",
            "marker": "o",
            "markeredgewidth": 0,
        }
        panels[0].plot(
            *energy,
            **looks,
            markersize=3,
            alpha=0.7,
            label=f"{name}: {found.energy_rmse_meV_per_atom:.1f} meV/atom,"
            f" {found.force_rmse_meV_per_A:.0f} meV/Å",
        )
        panels[1].plot(*(part[::stride] for part in force), **looks, markersize=1.5, alpha=0.4)
    for axes, unit in zip(panels, ("energy (eV/atom)", "force (eV/Å)"), strict=True):
        _diagonal(axes)
        axes.set_xlabel(f"reference {unit}")
        axes.set_ylabel(f"model {unit}")
    legend(figure, panels, columns=1)
    finish(figure, panels, path)


def _diagonal(axes: Axes) -> None:
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")


def energy_volume(cells: Mapping[str, EnergyVolume], path: Path) -> None:
    """Draw energy against volume, a panel a cell.

    Parameters
    ----------
    cells : mapping of str to EnergyVolume
        By the cell's name.
    path : Path
        The file to write.
    """
    figure, panels = grid(len(cells), width=3.2, height=2.8, columns=3)
    for axes, (name, found) in zip(panels, cells.items(), strict=True):
        axes.plot(
            found.volume_ratio,
            found.reference_meV_per_atom,
            "o",
            color=COLOURS[6],
            markersize=4,
            label="reference",
        )
        axes.plot(found.volume_ratio, found.model_meV_per_atom, color=COLOURS[0], label="model")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("volume over the cell's")
        axes.set_ylabel("energy (meV/atom)")
    legend(figure, panels)
    finish(figure, panels, path)


def short_range(scans: Sequence[Compression], path: Path) -> None:
    """Draw the energy of pairs that are pressed together, a panel a pair.

    Parameters
    ----------
    scans : sequence of Compression
        All pairs in both places.
    path : Path
        The file to write.
    """
    pairs = list(dict.fromkeys(one.pair for one in scans))
    figure, panels = grid(len(pairs), width=2.3, height=2.1, columns=4)
    looks = {"alone": (COLOURS[0], "alone"), "in_cell": (COLOURS[1], "in a cell")}
    for axes, pair in zip(panels, pairs, strict=True):
        for one in scans:
            if one.pair != pair:
                continue
            colour, label = looks[one.place]
            axes.plot(one.distance_A, one.energy_eV, color=colour, label=f"model, {label}")
            if one.reference_energy_eV is not None:
                known: Floats = np.array(
                    [np.nan if value is None else value for value in one.reference_energy_eV]
                )
                axes.plot(
                    one.distance_A,
                    known,
                    "o",
                    color=colour,
                    markersize=2.5,
                    label=f"reference, {label}",
                )
            axes.axvline(one.threshold_A, color=GREY, linewidth=0.6, linestyle=":")
            if one.hole_A is not None:
                axes.axvline(one.hole_A, color=colour, linewidth=0.8, linestyle="--")
        axes.set_ylim(*_ENERGY_WINDOW_EV)
        axes.set_title(pair, fontsize=9)
        axes.set_xlabel("distance (Å)", fontsize=8)
        axes.set_ylabel("energy (eV)", fontsize=8)
    legend(figure, panels, columns=4)
    finish(figure, panels, path)
