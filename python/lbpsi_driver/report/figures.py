"""Figures of a run for papers: quench history, g(r), MSD, Arrhenius; Okabe-Ito colours.

Each function draws one figure into a file and keeps no state: matplotlib's ``Figure`` is used
without ``pyplot``, so no display is needed and nothing is shared between threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

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
    window : Window or None
        Diffusive window of the mobile ion.
    """

    title: str
    lags_ps: Floats
    msd_A2: Mapping[str, Floats]
    window: Window | None


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
    """Draw the MSD of each element, log-log, a panel a run, the diffusive window shaded.

    Parameters
    ----------
    runs : sequence of MsdCurves
        One a temperature.
    path : Path
        The file to write.
    """
    figure, panels = grid(len(runs), width=2.9, height=2.7, columns=2)
    elements = sorted({element for run in runs for element in run.msd_A2})
    looks = dict(zip(elements, cycle(COLOURS), strict=False))
    for axes, run in zip(panels, runs, strict=True):
        for element, values in run.msd_A2.items():
            there = (run.lags_ps > 0) & (values > 0)
            axes.plot(run.lags_ps[there], values[there], color=looks[element], label=element)
        log_log(axes)
        if run.window is not None:
            span = (run.window.start_ps, run.window.stop_ps)
            axes.axvspan(*span, color=GREY, alpha=0.18, linewidth=0)
            guide = np.array(span)
            end = 0.5 * max(float(values[-1]) for values in run.msd_A2.values())
            axes.plot(guide, end * guide / guide[-1], ":", color=GREY, label="slope 1")
            note = f"window slope {run.window.slope:.2f} ± {1.96 * run.window.slope_error:.2f}"
            axes.text(0.03, 0.97, note, transform=axes.transAxes, va="top", fontsize=8)
        axes.set_title(run.title, fontsize=10)
        axes.set_xlabel("lag (ps)")
        axes.set_ylabel("MSD (Å²)")
    legend(figure, panels)
    finish(figure, panels, path)


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
    figure, panels = grid(len(pairs), width=2.2, height=1.8, columns=_COLUMNS)
    shades = colormaps["cividis"](np.linspace(0.0, 0.85, len(runs)))
    for axes, pair in zip(panels, pairs, strict=True):
        for (title, run), shade, style in zip(runs.items(), shades, cycle(STYLES), strict=False):
            if pair in run.g:
                axes.plot(run.r_A, run.g[pair], style, color=shade, linewidth=1.1, label=title)
        axes.axhline(1.0, color=GREY, linewidth=0.6)
        axes.set_ylim(bottom=0.0)
        axes.set_title(pair.replace("-", "–"), fontsize=10)
        axes.set_xlabel("r (Å)")
        axes.set_ylabel("g(r)")
    legend(figure, panels)
    finish(figure, panels, path)


def arrhenius(
    temperatures_K: Sequence[float],
    D_cm2_per_s: Sequence[Estimate],
    diffusive: Sequence[bool],
    fit: ArrheniusFit | None,
    mobile: str,
    path: Path,
) -> None:
    """Draw D against 1000/T with intervals, the fit with its band, and D at 300 K on the line.

    Parameters
    ----------
    temperatures_K, D_cm2_per_s, diffusive : sequence
        Temperature, D and flag of each run; runs without D are left out.
    fit : ArrheniusFit or None
        The fit, where there is one.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write.
    """
    figure = Figure(figsize=(4.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for wanted, face, label in (
        (True, COLOURS[0], "diffusive"),
        (False, "white", "not diffusive, not in the fit"),
    ):
        points = [
            (T, D)
            for T, D, flag in zip(temperatures_K, D_cm2_per_s, diffusive, strict=True)
            if flag == wanted and D.mean is not None and D.ci95 is not None
        ]
        _points(axes, points, face, label)
    if fit is not None:
        _line(axes, fit)
    axes.set_yscale("log")
    axes.set_xlabel("1000/T (1/K)")
    axes.set_ylabel(f"D({mobile}) (cm²/s)")
    upper = axes.secondary_xaxis("top", functions=(_reciprocal, _reciprocal))
    upper.set_xticks(sorted({*temperatures_K, 300.0} if fit else set(temperatures_K)))
    upper.xaxis.set_major_formatter("{x:g}")
    upper.xaxis.set_minor_formatter(NullFormatter())
    upper.set_xlabel("T (K)")
    axes.legend(frameon=False, fontsize=8)
    finish(figure, (axes,), path)


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


def grid(number: int, width: float, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    """Make a figure with a number of panels of a size in inches, at most so many in a row."""
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(width * columns, 4.0), height * rows), layout="constrained")
    panels = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for spare in panels[number:]:
        spare.set_axis_off()
    return figure, panels[:number]


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


def finish(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    """Bring panels into the common style and write the file."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=_DPI)
