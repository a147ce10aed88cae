"""Figures of hopping: van Hove functions, α2, density on a grid, hops, rotations near them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from lbpsi_driver.observables.density_grid import DensityGrid, Visited
from lbpsi_driver.observables.hop_rotation import Coupling
from lbpsi_driver.observables.hops import Hops, Residence
from lbpsi_driver.observables.van_hove import DistinctPart, NonGaussian, SelfPart
from lbpsi_driver.report.figures import COLOURS, GREY, finish, grid, legend, looks

_COLUMNS = 3
_DECADES = 1e-3  # of the largest projected density, down to which it is drawn
_BINS_A = 0.25


def van_hove(
    runs: Mapping[str, tuple[SelfPart, DistinctPart | None]], mobile: str, path: Path
) -> None:
    """Draw 4πr²G_s and G_d, a row a run, a line a lag.

    Parameters
    ----------
    runs : mapping of str to tuple
        Self and distinct part by title, as in ``300 K``.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write; its suffix is the format.
    """
    figure, panels = grid(2 * len(runs), width=3.4, height=2.3, columns=2)
    for place, (title, (own, distinct)) in enumerate(runs.items()):
        left, right = panels[2 * place], panels[2 * place + 1]
        for lag, curve, look in looks(dict(zip(own.lags_ps, own.radial_per_A, strict=True))):
            left.plot(own.r_A, curve, label=f"{lag:g} ps", **look)
        left.set_ylabel("4πr²$G_s$ (1/Å)")
        if distinct is not None:
            for lag, curve, look in looks(dict(zip(distinct.lags_ps, distinct.G, strict=True))):
                right.plot(distinct.r_A, curve, label=f"{lag:g} ps", **look)
            right.axhline(1.0, color=GREY, linewidth=0.6)
        right.set_ylabel("$G_d$")
        for axes, kind in ((left, "self"), (right, "distinct")):
            axes.set_title(f"{title}, {mobile}, {kind}", fontsize=10)
            axes.set_xlabel("r (Å)")
            axes.set_ylim(bottom=0.0)
            axes.legend(frameon=False, fontsize=7)
    finish(figure, panels, path)


def non_gaussian(runs: Mapping[str, NonGaussian], mobile: str, path: Path) -> None:
    """Draw α2 against lag, a line a run, standard errors shaded, peaks marked.

    Parameters
    ----------
    runs : mapping of str to NonGaussian
        By title.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write.
    """
    figure, panels = grid(1, width=4.6, height=3.2, columns=1)
    (axes,) = panels
    for title, run, look in looks(runs):
        axes.plot(run.lags_ps, run.alpha2, label=title, **look)
        band = (run.alpha2 - run.error, run.alpha2 + run.error)
        axes.fill_between(run.lags_ps, *band, color=look["color"], alpha=0.15, linewidth=0)
        if run.peak.mean is not None and run.peak_ps is not None:
            axes.plot(run.peak_ps, run.peak.mean, "v", color=look["color"], markeredgecolor="white")
    axes.axhline(0.0, color=GREY, linewidth=0.6)
    axes.set_xscale("log")
    axes.set_xlabel("lag (ps)")
    axes.set_ylabel(f"α₂({mobile})")
    legend(figure, panels)
    finish(figure, panels, path)


def ion_density(runs: Mapping[str, tuple[DensityGrid, Visited]], mobile: str, path: Path) -> None:
    """Draw the density summed along each lattice vector, a row a run, the visited volume outlined.

    Parameters
    ----------
    runs : mapping of str to tuple of DensityGrid and Visited
        By title.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write.
    """
    figure, panels = grid(3 * len(runs), width=2.6, height=2.6, columns=3)
    for place, (title, (density, inside)) in enumerate(runs.items()):
        for along in range(3):
            _projection(panels[3 * place + along], density, inside, along)
        head = f"{title}, {mobile}, visited: {100 * inside.volume_fraction:.1f} % of the volume"
        panels[3 * place].set_title(f"{head}, {inside.dimension}d", fontsize=9, loc="left")
    finish(figure, panels, path)


def _projection(axes: Axes, density: DensityGrid, inside: Visited, along: int) -> None:
    """Density per area, seen along a lattice vector; the other two are the axes."""
    across = [axis for axis in range(3) if axis != along]
    lengths = np.linalg.norm(density.cell_A, axis=1)
    depth = lengths[along] / density.density_per_A3.shape[along]
    seen = density.density_per_A3.sum(axis=along) * depth
    top = float(seen.max())
    extent = (0.0, float(lengths[across[0]]), 0.0, float(lengths[across[1]]))
    norm = LogNorm(_DECADES * top, top)
    shown = np.maximum(seen.T, _DECADES * top)
    axes.imshow(shown, origin="lower", extent=extent, cmap="cividis", norm=norm, aspect="equal")
    share = (density.density_per_A3 >= inside.threshold_per_A3).any(axis=along)
    if share.any() and not share.all():
        axes.contour(share.T, levels=[0.5], colors="white", linewidths=0.5, extent=extent)
    axes.set_xlabel(f"{'abc'[across[0]]} (Å)")
    axes.set_ylabel(f"{'abc'[across[1]]} (Å)")


def hops(runs: Mapping[str, tuple[Hops, Residence | None]], mobile: str, path: Path) -> None:
    """Draw the lengths of hops and the survival of residences, a line a run.

    Parameters
    ----------
    runs : mapping of str to tuple of Hops and Residence
        By title; one hop or more in each.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write.
    """
    figure, panels = grid(2, width=3.6, height=3.0, columns=2)
    left, right = panels
    longest = max(float(found.length_A.max()) for found, _ in runs.values())
    edges = np.arange(0.0, longest + 2 * _BINS_A, _BINS_A)
    for title, (found, stays), look in looks(runs):
        share, _ = np.histogram(found.length_A, edges, density=True)
        left.stairs(share, edges, label=title, **look)
        if stays is not None and stays.complete:
            right.step(stays.times_ps, stays.survival, where="post", label=title, **look)
            band = (np.nan_to_num(stays.low), np.nan_to_num(stays.high, nan=1.0))
            right.fill_between(
                stays.times_ps, *band, step="post", color=look["color"], alpha=0.12, linewidth=0
            )
    left.set_xlabel(f"length of a hop of {mobile} (Å)")
    left.set_ylabel("p (1/Å)")
    left.set_xlim(left=0.0)
    right.set_xlabel("time after a hop (ps)")
    right.set_ylabel("share not hopped again")
    right.set_xlim(left=0.0)
    right.set_ylim(0.0, 1.02)
    legend(figure, panels)
    finish(figure, panels, path)


def hop_rotation(runs: Mapping[str, Mapping[str, Coupling]], mobile: str, path: Path) -> None:
    """Draw the excess rotation of units near hops against the delay, a panel a run.

    Parameters
    ----------
    runs : mapping of str to mapping of str to Coupling
        By title, then by units; those with a profile.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write.
    """
    figure, panels = grid(len(runs), width=3.2, height=2.5, columns=_COLUMNS)
    for axes, (title, found) in zip(panels, runs.items(), strict=True):
        for (name, one), colour in zip(found.items(), COLOURS, strict=False):
            axes.plot(one.delays_ps, one.profile_deg, color=colour, label=name)
        _note_p(axes, found)
        axes.axhline(0.0, color=GREY, linewidth=0.6)
        axes.axvline(0.0, color=GREY, linewidth=0.6, linestyle=":")
        axes.set_title(f"{title}, hops of {mobile}", fontsize=10)
        axes.set_xlabel("time since the hop (ps)")
        axes.set_ylabel("excess rotation (degrees)")
    legend(figure, panels)
    finish(figure, panels, path)


def _note_p(axes: Axes, found: Mapping[str, Coupling]) -> None:
    lines = [f"{name}: p = {one.p_value:.2g}" for name, one in found.items() if one.p_value]
    axes.text(0.03, 0.97, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7)
