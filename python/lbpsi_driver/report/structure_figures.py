"""Figures of structure: S(Q), coordination numbers, bond angles, sizes of anions, Q^n in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from lbpsi_driver.observables.bond_angles import BondAngles
from lbpsi_driver.observables.coordination import Plateau
from lbpsi_driver.observables.qn_tables import QnTable
from lbpsi_driver.observables.rdf import RadialDistributions
from lbpsi_driver.observables.structure_factor import (
    PartialStructureFactors,
    SharpPeak,
    TotalStructureFactor,
)
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.report.figures import GREY, finish, grid, label_outer, legend, looks

_HEADS = {"neutron": "S(Q), neutrons", "xray": "S(Q), X-rays"}
_ANIONS = frozenset({"O", "S", "Se", "F", "Cl", "Br", "I"})
_COLUMNS = 4
_LEAST_SHARE = 0.01
_LEAST_NEIGHBOURS = 6.0
_LEAST_VECTORS = 30.0


def totals(
    runs: Mapping[str, tuple[Mapping[str, TotalStructureFactor], Mapping[str, SharpPeak]]],
    path: Path,
) -> None:
    """Draw S(Q) of neutrons and X-rays, a line a run, the first sharp peaks marked.

    The height is that of shells of 30 vectors or more.

    Parameters
    ----------
    runs : mapping of str to tuple
        By title, as in ``300 K``: curves and their peaks, both by ``neutron`` and ``xray``.
    path : Path
        The file to write; its suffix is the format.
    """
    kinds = [kind for kind in _HEADS if any(kind in curves for curves, _ in runs.values())]
    figure, panels = grid(len(kinds), width=4.0, height=3.0, columns=2)
    for axes, kind in zip(panels, kinds, strict=True):
        for title, (curves, peaks), look in looks(runs):
            if kind not in curves:
                continue
            curve, peak = curves[kind], peaks[kind]
            axes.plot(curve.Q_per_A, curve.S, linewidth=0.9, label=title, **look)
            if peak.Q_per_A is not None and peak.S is not None:
                axes.plot(peak.Q_per_A, peak.S, "v", color=look["color"], markeredgecolor="white")
        held = [curves[kind] for curves, _ in runs.values() if kind in curves]
        _fit_height(axes, [(curve.S, curve.vectors) for curve in held])
        axes.axhline(1.0, color=GREY, linewidth=0.6)
        axes.set_title(_HEADS[kind], fontsize=10)
        axes.set_xlabel("Q (1/Å)")
        axes.set_ylabel("S(Q)")
        axes.plot([], [], "v", color=GREY, label="first sharp peak")
    legend(figure, panels)
    finish(figure, panels, path)


def partials(runs: Mapping[str, PartialStructureFactors], path: Path) -> None:
    """Draw the Faber-Ziman partials, a panel a pair of elements, a line a run.

    Parameters
    ----------
    runs : mapping of str to PartialStructureFactors
        By title.
    path : Path
        The file to write.
    """
    pairs = sorted({pair for run in runs.values() for pair in run.S})
    figure, panels = grid(len(pairs), width=2.2, height=1.8, columns=_COLUMNS, same_x=True)
    for axes, pair in zip(panels, pairs, strict=True):
        for title, run, look in looks(runs):
            if pair in run.S:
                axes.plot(run.Q_per_A, run.S[pair], linewidth=0.9, label=title, **look)
        held = [run for run in runs.values() if pair in run.S]
        _fit_height(axes, [(run.S[pair], run.vectors) for run in held])
        axes.axhline(1.0, color=GREY, linewidth=0.6)
        axes.set_title(pair.replace("-", "–"), fontsize=10)
    label_outer(panels, "Q (1/Å)", "S(Q)")
    legend(figure, panels)
    finish(figure, panels, path)


def _fit_height(axes: Axes, curves: Iterable[tuple[Floats, Floats]]) -> None:
    """Cut off what shells of few vectors scatter: it would hide all the rest."""
    values = np.concatenate([S[vectors >= _LEAST_VECTORS] for S, vectors in curves])
    if len(values):
        low, high = min(0.0, float(values.min())), max(1.5, float(values.max()))
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


def coordination(
    runs: Mapping[str, tuple[RadialDistributions, Mapping[str, list[Plateau]]]], path: Path
) -> None:
    """Draw n(r) of anions around the other elements, a line a run, plateaus shaded.

    Flat plateaus are dark, subtle ones light. Where there are no anions, all pairs are drawn.

    Parameters
    ----------
    runs : mapping of str to tuple of RadialDistributions and mapping of str to list of Plateau
        By title; plateaus by pair.
    path : Path
        The file to write.
    """
    every = sorted({pair for rdf, _ in runs.values() for pair in rdf.coordination})
    pairs = [pair for pair in every if _of_anions(*pair.split("-"))] or every
    figure, panels = grid(len(pairs), width=2.2, height=1.9, columns=_COLUMNS, same_x=True)
    for axes, pair in zip(panels, pairs, strict=True):
        top = _LEAST_NEIGHBOURS
        for title, (rdf, plateaus), look in looks(runs):
            if pair not in rdf.coordination:
                continue
            upper = rdf.r_A + 0.5 * (rdf.r_A[1] - rdf.r_A[0])
            axes.plot(upper, rdf.coordination[pair], linewidth=1.1, label=title, **look)
            for plateau in plateaus.get(pair, []):
                shade = (0.3 if plateau.flat else 0.12) / len(runs)
                axes.axvspan(*plateau.range_A, color=look["color"], alpha=shade, linewidth=0)
                top = max(top, 1.5 * plateau.value)
        axes.set_ylim(0.0, top)
        centre, around = pair.split("-")
        axes.set_title(f"{around} around {centre}", fontsize=10)
    label_outer(panels, "r (Å)", "n(r)")
    legend(figure, panels)
    finish(figure, panels, path)


def _of_anions(centre: str, around: str) -> bool:
    return around in _ANIONS and centre not in _ANIONS


def bond_angles(runs: Mapping[str, BondAngles], path: Path) -> None:
    """Draw the S-X-S angles by unit, a panel a unit, a line a run; rare units are left out.

    Parameters
    ----------
    runs : mapping of str to BondAngles
        By title. Where no run has units, angles are drawn by their elements.
    path : Path
        The file to write.
    """
    kinds = {title: run.units or run.triples for title, run in runs.items()}
    names = set()
    for run in kinds.values():
        number = sum(kind.number for kind in run.values())
        names |= {name for name, kind in run.items() if kind.number >= _LEAST_SHARE * number}
    size = {"width": 2.4, "height": 1.9}
    figure, panels = grid(max(1, len(names)), **size, columns=_COLUMNS, same_x=True)
    for axes, name in zip(panels, sorted(names), strict=False):
        for title, run, look in looks(kinds):
            if name in run:
                angle, density = runs[title].angle_deg, run[name].density_per_deg
                axes.plot(angle, density, linewidth=1.0, label=title, **look)
        axes.set_title(name, fontsize=10)
        axes.set_xlim(0.0, 180.0)
        axes.set_xticks(range(0, 181, 60))
        axes.set_ylim(bottom=0.0)
    label_outer(panels, "angle (degrees)", "p (1/degree)")
    legend(figure, panels)
    finish(figure, panels, path)


def anion_sizes(runs: Mapping[str, Floats], path: Path) -> None:
    """Draw the share of the formers in anions of each size, a panel a run.

    Parameters
    ----------
    runs : mapping of str to ndarray
        By title: shares in anions of 0, 1, … formers.
    path : Path
        The file to write.
    """
    figure, panels = grid(len(runs), width=2.9, height=2.2, columns=2)
    largest = max(len(shares) - 1 for shares in runs.values())
    for axes, (title, shares, look) in zip(panels, looks(runs), strict=True):
        sizes = np.flatnonzero(shares)
        axes.vlines(sizes, 0.0, 100.0 * shares[sizes], color=look["color"], linewidth=1.5)
        axes.plot(sizes, 100.0 * shares[sizes], "o", color=look["color"], markersize=3)
        axes.set_xscale("log")
        axes.set_xlim(0.8, 1.25 * largest)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(bottom=0.0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("formers of the anion")
        axes.set_ylabel("formers (%)")
    finish(figure, panels, path)


def qn(runs: Mapping[str, tuple[Floats, Mapping[str, QnTable]]], path: Path) -> None:
    """Draw Q^n of each former against time, stacked, a panel a run and former.

    Parameters
    ----------
    runs : mapping of str to tuple of ndarray and mapping of str to QnTable
        By title: times, ps, and tables by element.
    path : Path
        The file to write.
    """
    shown = [
        (f"{title}, {symbol}", times, table.qn_series)
        for title, (times, tables) in runs.items()
        for symbol, table in tables.items()
    ]
    columns = max(len(tables) for _, tables in runs.values())
    figure, panels = grid(len(shown), width=2.9, height=2.0, columns=columns)
    most = max(series.shape[1] for _, _, series in shown)
    shades = colormaps["cividis"](np.linspace(0.0, 1.0, most))
    for axes, (title, times, series) in zip(panels, shown, strict=True):
        number = series.shape[1]
        labels = [f"$Q^{n}$" for n in range(number)]
        axes.stackplot(times, 100.0 * series.T, labels=labels, colors=shades[:number].tolist())
        _frame(axes, times)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("time (ps)")
        axes.set_ylabel("formers (%)")
    legend(figure, panels)
    finish(figure, panels, path)


def _frame(axes: Axes, times: Floats) -> None:
    """Fill the panel with the stack."""
    axes.set_ylim(0.0, 100.0)
    if times[-1] > times[0]:
        axes.set_xlim(float(times[0]), float(times[-1]))
