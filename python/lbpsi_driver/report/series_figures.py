"""Figures of pooled runs: Arrhenius over replicas, and what depends on the composition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.report.figures import COLOURS, GREY, STYLES, finish
from lbpsi_driver.report.series_results import CompositionRecord, SeriesResult, labelled

_COLUMNS = 3
PANELS = (
    "density_g_cm3",
    "D_cm2_per_s",
    "sigma_NE_mS_per_cm",
    "sigma_mS_per_cm",
    "haven_ratio",
)
_LOGARITHMIC = {"D_cm2_per_s", "sigma_NE_mS_per_cm", "sigma_mS_per_cm"}
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LEAST_SHARE = 0.01


def arrhenius(
    result: SeriesResult, replicas: Mapping[str, Sequence[tuple[float, float]]], path: Path
) -> None:
    """Draw D of each replica (thin) and pooled (with intervals) against 1000/T.

    Parameters
    ----------
    result : SeriesResult
        Pooled numbers.
    replicas : mapping of str to sequence of (float, float)
        Temperature, K, and D, cm2/s, of each replica where it is diffusive.
    path : Path
        The file to write; its suffix is the format.
    """
    figure = Figure(figsize=(5.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(result.compositions):
        colour = COLOURS[number % len(COLOURS)]
        for run in one.runs:
            points = sorted(replicas.get(run, ()))
            if points:
                kelvins, D = zip(*points, strict=True)
                axes.plot([1e3 / T for T in kelvins], D, color=colour, linewidth=0.6, alpha=0.5)
        points_of = [
            (group.temperature_K, group.quantities.get("D_cm2_per_s")) for group in one.groups
        ]
        pooled = {T: D for T, D in points_of if T and D is not None and D.mean is not None}
        _errors(axes, {1e3 / T: D for T, D in pooled.items()}, colour, number, one.name)
    axes.set_yscale("log")
    axes.set_xlabel("1000 / T (1/K)")
    axes.set_ylabel("D (cm²/s)")
    axes.legend(fontsize=7, frameon=False)
    finish(figure, [axes], path)


def series(result: SeriesResult, path: Path) -> None:
    """Draw density, transport and Ea against mol % P2S5, a curve a temperature.

    Parameters
    ----------
    result : SeriesResult
        Two compositions or more.
    path : Path
        The file to write.
    """
    panels = [key for key in PANELS if any(key in group.quantities for _, group in result.rows())]
    rows = math.ceil((len(panels) + 1) / _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, 2.8 * rows), layout="constrained")
    grid = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axes, key in zip(grid, panels, strict=False):
        _against_composition(axes, result, key)
        if key in _LOGARITHMIC and axes.has_data():
            axes.set_yscale("log")
    axes = grid[len(panels)]
    _errors(
        axes,
        {_place(result, one): one.arrhenius.number("Ea_eV") for one in result.compositions},
        COLOURS[0],
        0,
        None,
    )
    axes.set_ylabel(labelled("Ea_eV"))
    for unused in grid[len(panels) + 1 :]:
        unused.set_axis_off()
    for used in grid[: len(panels) + 1]:
        _name_axis(used, result)
    if grid[0].get_legend_handles_labels()[1]:
        grid[0].legend(fontsize=7, frameon=False)
    finish(figure, grid, path)


def populations(result: SeriesResult, path: Path) -> bool:
    """Draw the share of formers in each motif and Q^n against mol % P2S5, a panel a key.

    Parameters
    ----------
    result : SeriesResult
        Two compositions or more.
    path : Path
        The file to write.

    Returns
    -------
    bool
        Whether there was anything to draw; motifs under 1 % everywhere are left out.
    """
    shown: dict[str, float] = {}
    for _, group in result.rows():
        for key, found in group.quantities.items():
            if key.startswith(("formers.", "qn.")):
                shown[key] = max(shown.get(key, 0.0), found.mean or 0.0)
    keys = [key for key, most in shown.items() if most >= _LEAST_SHARE]
    if not keys:
        return False
    rows = math.ceil(len(keys) / _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, 2.2 * rows), layout="constrained")
    grid = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axes, key in zip(grid, keys, strict=False):
        _against_composition(axes, result, key)
        axes.set_title(key.partition(".")[2].replace(".", " Q"), fontsize=8)
        axes.set_ylabel("share of formers", fontsize=7)
        axes.set_ylim(bottom=0.0)
        _name_axis(axes, result)
    for unused in grid[len(keys) :]:
        unused.set_axis_off()
    if grid[0].get_legend_handles_labels()[1]:
        grid[0].legend(fontsize=7, frameon=False)
    finish(figure, grid, path)
    return True


def _against_composition(axes: Axes, result: SeriesResult, key: str) -> None:
    kelvins = sorted({group.temperature_K for _, group in result.rows() if group.temperature_K})
    for number, T in enumerate(kelvins):
        points = {
            _place(result, one): found
            for one, group in result.rows()
            if group.temperature_K == T and (found := group.number(key)) is not None
        }
        _errors(axes, points, COLOURS[number % len(COLOURS)], number, f"{T:g} K")
    axes.set_ylabel(labelled(key))


def _errors(
    axes: Axes, points: Mapping[float, Estimate], colour: str, number: int, label: str | None
) -> None:
    """Draw numbers with their intervals, in the order of x; those without a number are left out."""
    known = sorted((x, y) for x, y in _numbers(points).items())
    if not known:
        return
    xs = [x for x, _ in known]
    means = [mean for _, (mean, _, _) in known]
    below = [mean - low for _, (mean, low, _) in known]
    above = [high - mean for _, (mean, _, high) in known]
    axes.errorbar(
        xs,
        means,
        yerr=[below, above],
        color=colour,
        marker=_MARKS[number % len(_MARKS)],
        linestyle=STYLES[number % len(STYLES)] if len(xs) > 1 else "none",
        markersize=4,
        linewidth=1.0,
        capsize=2,
        label=label,
    )


def _numbers(points: Mapping[float, Estimate]) -> dict[float, tuple[float, float, float]]:
    """Mean and both ends; of no width where there is no interval."""
    return {
        x: (y.mean, *(y.ci95 or (y.mean, y.mean))) for x, y in points.items() if y.mean is not None
    }


def _place(result: SeriesResult, one: CompositionRecord) -> float:
    """Where a composition stands: mol % P2S5, or its number where one has none."""
    if _in_percent(result) and one.p2s5_mol_percent is not None:
        return one.p2s5_mol_percent
    return float(result.compositions.index(one))


def _in_percent(result: SeriesResult) -> bool:
    percents = [one.p2s5_mol_percent for one in result.compositions]
    return None not in percents and len(set(percents)) == len(percents)


def _name_axis(axes: Axes, result: SeriesResult) -> None:
    places = [_place(result, one) for one in result.compositions]
    margin = 0.05 * (max(places) - min(places))
    axes.set_xlim(min(places) - margin, max(places) + margin)
    if _in_percent(result):
        axes.set_xlabel("P2S5 (mol %)")
        return
    names = [one.name for one in result.compositions]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=6, color=GREY)
