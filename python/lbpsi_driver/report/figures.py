"""Figures of a run for papers: quench history, g(r), MSD, Arrhenius; Okabe-Ito colours.

Each function draws one figure into a file and keeps no state: matplotlib's ``Figure`` is used
without ``pyplot``, so no display is needed and nothing is shared between threads.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from lbpsi_driver.history import History
from lbpsi_driver.observables.arrhenius import ArrheniusFit
from lbpsi_driver.observables.diffusion import Window
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.rdf import RadialDistributions
from lbpsi_driver.observables.trajectory import Floats

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's colours, told apart with any colour vision."""
STYLES = ("-", "--", "-.", ":")
GREY = "#777777"
_DPI = 200
_COLUMNS = 4
_FEW_DECADES = 100.0

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True)
class MsdCurves:
    """MSD of each element in one run.

    Attributes
    ----------
    title : str
        Title of the panel, as in ``300 K``.
    lags_ps : ndarray, shape (L,)
        Lags, ps; the first is zero.
    msd_A2 : dict of str to ndarray
        MSD by element, Å2.
    slopes : dict of str to ndarray
        Its log-log slope.
    window : Window or None
        Diffusive window of the mobile ion.
    """

    title: str
    lags_ps: Floats
    msd_A2: Mapping[str, Floats]
    slopes: Mapping[str, Floats]
    window: Window | None


@dataclass(frozen=True)
class ArrheniusPoints:
    """What is drawn against 1000/T in one panel.

    Attributes
    ----------
    label : str
        Label of the axis, with the unit.
    temperatures_K : sequence of float
        Temperature of each run, K.
    values : sequence of Estimate
        Its number; one without an interval is left out.
    diffusive : sequence of bool
        Whether the run is diffusive.
    fit : ArrheniusFit or None
        The line, where there is one.
    """

    label: str
    temperatures_K: Sequence[float]
    values: Sequence[Estimate]
    diffusive: Sequence[bool]
    fit: ArrheniusFit | None


def history(record: History, path: Path) -> None:
    """Draw temperature and density against time, stages shaded in turn.

    Parameters
    ----------
    record : History
        Thermodynamic history of a quench.
    path : Path
        The file to write; its suffix is the format.
    """
    figure = Figure(figsize=(6.0, 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    time = record.time
    upper.plot(time, record.temperature, color=COLOURS[1], linewidth=0.8)
    upper.set_ylabel("temperature (K)")
    lower.plot(time, record.density, color=COLOURS[0], linewidth=0.8)
    lower.set_ylabel("density (g/cm³)")
    lower.set_xlabel("time (ps)")
    begins = np.flatnonzero(np.append(True, record.stage[1:] != record.stage[:-1]))
    ends = np.append(begins[1:], len(time) - 1)
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        for axes in (upper, lower):
            axes.axvspan(time[begin], time[end], color=GREY, alpha=0.12 * (number % 2), linewidth=0)
        if time[end] - time[begin] > 0.05 * (time[-1] - time[0]):
            upper.text(
                0.5 * (time[begin] + time[end]),
                1.01,
                str(record.stage[begin]),
                transform=upper.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
                color="#444444",
            )
    finish(figure, (upper, lower), path)


def msd(runs: Sequence[MsdCurves], path: Path) -> None:
    """Draw MSD and log-log slope of each element, a column a run, the diffusive window shaded.

    Parameters
    ----------
    runs : sequence of MsdCurves
        One a temperature.
    path : Path
        The file to write.
    """
    figure, panels = _stacked(len(runs))
    elements = sorted({element for run in runs for element in run.msd_A2})
    colour = dict(zip(elements, cycle(COLOURS), strict=False))
    for (upper, lower), run in zip(panels, runs, strict=True):
        for element, values in run.msd_A2.items():
            there = (run.lags_ps > 0) & (values > 0)
            upper.plot(run.lags_ps[there], values[there], color=colour[element], label=element)
            slopes = run.slopes[element]
            lower.plot(run.lags_ps[there], slopes[there], color=colour[element], linewidth=0.9)
        log_log(upper)
        lower.axhline(1.0, linestyle=":", color=GREY)
        lower.set_ylim(-0.2, 2.2)
        if run.window is not None:
            _mark_window(upper, lower, run, run.window)
        upper.set_title(run.title, fontsize=10)
        upper.set_ylabel("MSD (Å²)")
        upper.tick_params(labelbottom=False, which="both")
        lower.set_xlabel("lag (ps)")
        lower.set_ylabel("log-log slope")
    legend(figure, [upper for upper, _ in panels])
    finish(figure, [axes for pair in panels for axes in pair], path)


def _stacked(number: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Make a figure of pairs of panels, two pairs in a row, the lower panel flat."""
    columns = min(2, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(2.9 * columns, 4.0), 3.7 * rows), layout="constrained")
    ratios = {"height_ratios": [2.2, 1.0] * rows}
    every = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw=ratios)
    pairs = [
        (every[2 * row, k], every[2 * row + 1, k]) for row in range(rows) for k in range(columns)
    ]
    for upper, lower in pairs[:number]:
        lower.sharex(upper)
    for axes in (axes for pair in pairs[number:] for axes in pair):
        axes.set_axis_off()
    return figure, pairs[:number]


def _mark_window(upper: Axes, lower: Axes, run: MsdCurves, window: Window) -> None:
    """Shade the diffusive window and write its slope."""
    span = (window.start_ps, window.stop_ps)
    for axes in (upper, lower):
        axes.axvspan(*span, color=GREY, alpha=0.18, linewidth=0)
    guide = np.array(span)
    end = 0.5 * max(float(values[-1]) for values in run.msd_A2.values())
    upper.plot(guide, end * guide / guide[-1], ":", color=GREY, label="slope 1")
    note = f"window slope {window.slope:.2f} ± {1.96 * window.slope_error:.2f}"
    upper.text(0.03, 0.97, note, transform=upper.transAxes, va="top", fontsize=8)


def rdf(runs: Mapping[str, RadialDistributions], path: Path) -> None:
    """Draw g(r), a panel a pair of elements, a line a run.

    Parameters
    ----------
    runs : mapping of str to RadialDistributions
        By title, as in ``300 K``.
    path : Path
        The file to write.
    """
    pairs = sorted({pair for run in runs.values() for pair in run.g})
    figure, panels = grid(len(pairs), width=2.2, height=1.8, columns=_COLUMNS, same_x=True)
    for axes, pair in zip(panels, pairs, strict=True):
        for title, run, look in looks(runs):
            if pair in run.g:
                axes.plot(run.r_A, run.g[pair], linewidth=1.1, label=title, **look)
        axes.axhline(1.0, color=GREY, linewidth=0.6)
        axes.set_ylim(bottom=0.0)
        axes.set_title(pair.replace("-", "–"), fontsize=10)
    label_outer(panels, "r (Å)", "g(r)")
    legend(figure, panels)
    finish(figure, panels, path)


def arrhenius(drawn: Sequence[ArrheniusPoints], path: Path) -> None:
    """Draw numbers against 1000/T with intervals, the fit with its band, its value at 300 K.

    Parameters
    ----------
    drawn : sequence of ArrheniusPoints
        One a panel.
    path : Path
        The file to write.
    """
    figure = Figure(figsize=(4.6 * len(drawn), 3.8), layout="constrained")
    panels = list(np.ravel(figure.subplots(1, len(drawn), squeeze=False)))
    for axes, one in zip(panels, drawn, strict=True):
        for wanted, face, label in (
            (True, COLOURS[0], "diffusive"),
            (False, "white", "not diffusive, not in the fit"),
        ):
            rows = zip(one.temperatures_K, one.values, one.diffusive, strict=True)
            points = [(T, value) for T, value, flag in rows if flag == wanted]
            _points(axes, [(T, v) for T, v in points if v.mean and v.ci95], face, label)
        if one.fit is not None:
            _line(axes, one.fit)
        axes.set_yscale("log")
        axes.set_xlabel("1000/T (1/K)")
        axes.set_ylabel(one.label)
        upper = axes.secondary_xaxis("top", functions=(_reciprocal, _reciprocal))
        upper.set_xticks(sorted({*one.temperatures_K, *([300.0] if one.fit else [])}))
        upper.xaxis.set_major_formatter("{x:g}")
        upper.xaxis.set_minor_formatter(NullFormatter())
        upper.set_xlabel("T (K)")
        axes.legend(frameon=False, fontsize=8)
    finish(figure, panels, path)


def _points(axes: Axes, points: Sequence[tuple[float, Estimate]], face: str, label: str) -> None:
    for number, (temperature, D) in enumerate(points):
        assert D.mean is not None
        assert D.ci95 is not None
        axes.errorbar(
            1000.0 / temperature,
            D.mean,
            yerr=[[max(0.0, D.mean - D.ci95[0])], [max(0.0, D.ci95[1] - D.mean)]],
            fmt="o",
            color=COLOURS[0],
            markerfacecolor=face,
            capsize=3,
            label=label if number == 0 else None,
        )


def _line(axes: Axes, fit: ArrheniusFit) -> None:
    inverse = np.linspace(
        1000.0 / max(fit.temperatures_K), 1000.0 / min(300.0, *fit.temperatures_K)
    )
    on_line = [fit.at(1000.0 / x) for x in (*inverse, 1000.0 / 300.0)]
    means = np.array([estimate.mean for estimate in on_line], dtype=np.float64)
    band = np.array([estimate.ci95 for estimate in on_line[:-1]], dtype=np.float64)
    Ea, interval = fit.Ea_eV.mean, fit.Ea_eV.ci95
    assert interval is not None
    label = f"Ea = {Ea:.3f} eV (95 %: {interval[0]:.3f} to {interval[1]:.3f})"
    axes.plot(inverse, means[:-1], color=COLOURS[1], label=label)
    axes.fill_between(inverse, band[:, 0], band[:, 1], color=COLOURS[1], alpha=0.2, linewidth=0)
    axes.plot(1000.0 / 300.0, means[-1], "*", color=COLOURS[1], markersize=11)


def _reciprocal(values: ArrayLike) -> Floats:
    # matplotlib probes the axis with zeros while it lays out.
    return np.asarray(1000.0 / np.maximum(values, 1e-9), dtype=np.float64)


def log_log(axes: Axes) -> None:
    """Make both axes logarithmic, with ticks at 1, 2 and 5 where one spans few decades.

    Parameters
    ----------
    axes : Axes
        The panel, its curves drawn.
    """
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_minor_formatter(NullFormatter())
        if high < _FEW_DECADES * low:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FormatStrFormatter("%g"))


def grid(
    number: int, width: float, height: float, columns: int, *, same_x: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure with a number of panels of a size in inches, at most so many in a row."""
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(width * columns, 4.0), height * rows), layout="constrained")
    panels = list(np.ravel(figure.subplots(rows, columns, squeeze=False, sharex=same_x)))
    for spare in panels[number:]:
        spare.set_axis_off()
    return figure, panels[:number]


def label_outer(panels: Sequence[Axes], x: str, y: str) -> None:
    """Name what all panels of a grid show: below the last of each column, left of each row."""
    lowest = {}
    for axes in panels:
        place = axes.get_subplotspec()
        assert place is not None
        lowest[place.colspan.start] = axes
        if place.is_first_col():
            axes.set_ylabel(y)
    for axes in lowest.values():
        axes.set_xlabel(x)
        axes.tick_params(labelbottom=True)


def legend(figure: Figure, panels: Sequence[Axes], columns: int = 8) -> None:
    """Put one legend for all panels above them, at most so many entries in a row."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= {str(label): handle for label, handle in zip(labels, handles, strict=True)}
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside upper center",
        ncols=min(len(entries), columns),
        frameon=False,
        fontsize=8,
    )


def looks(runs: Mapping[K, R]) -> Iterator[tuple[K, R, dict[str, Any]]]:
    """Title, run, and colour and style of its line: dark to light."""
    shades = colormaps["cividis"](np.linspace(0.0, 0.85, len(runs)))
    for (title, run), shade, style in zip(runs.items(), shades, cycle(STYLES), strict=False):
        yield title, run, {"color": shade, "linestyle": style}


def finish(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    """Bring panels into the common style and write the file."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.set_dpi(_DPI)
    engine = figure.get_layout_engine()
    if engine is not None:
        # Laid out here, it is drawn once: with a layout to find, savefig draws all twice.
        engine.execute(figure)
        figure.set_layout_engine("none")
    figure.savefig(path, dpi=_DPI)
