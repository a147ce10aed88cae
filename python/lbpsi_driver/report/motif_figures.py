"""Figures of motifs: populations against time and temperature, MSD and rotation by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.motif_series import N_FORMER_CLASSES
from lbpsi_driver.observables.motif_transport import ClassDisplacements, Populations
from lbpsi_driver.observables.motifs import CLASS_NAMES
from lbpsi_driver.report.figures import COLOURS, GREY, finish, grid, legend, log_log
from lbpsi_driver.report.motif_results import ClassRecord

Runs = Mapping[str, Mapping[str, ClassRecord]]
"""Records by class of each run, by its title, as in ``300 K``."""

# Okabe and Ito's, and of Tol's muted scheme: one a class.
_COLOURS = (*COLOURS, "#882255", "#44AA99", "#332288", "#DDCC77", "#CC6677")


_AVERAGED: dict[str, Any] = {
    "marker": "D",
    "color": "white",
    "markeredgecolor": "black",
    "markersize": 5,
    "linestyle": "none",
}
_LIBRATION: dict[str, Any] = {
    "marker": "_",
    "color": COLOURS[1],
    "markersize": 9,
    "markeredgewidth": 2,
    "linestyle": "none",
}


def populations_in_time(found: Populations, path: Path) -> None:
    """Draw temperature and the share of formers in each class against time.

    Parameters
    ----------
    found : Populations
        Along a quench.
    path : Path
        The file to write; its suffix is the format.
    """
    figure = Figure(figsize=(6.0, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    upper.plot(found.time_ps, found.temperature_K, color=GREY, linewidth=0.8)
    upper.set_ylabel("temperature (K)")
    for place, name in enumerate(CLASS_NAMES[:N_FORMER_CLASSES]):
        if found.fractions[:, place].any():
            lower.plot(
                found.time_ps,
                100.0 * found.fractions[:, place],
                color=_colour(name),
                linewidth=1.0,
                label=name,
            )
    lower.set_ylabel("formers (%)")
    lower.set_xlabel("time (ps)")
    lower.set_ylim(bottom=0.0)
    legend(figure, (lower,), columns=4)
    finish(figure, (upper, lower), path)


def populations(runs: Runs, path: Path) -> None:
    """Draw the share of formers and of mobile ions in each class, a point a run.

    Parameters
    ----------
    runs : mapping of str to mapping of str to ClassRecord
        By title and class.
    path : Path
        The file to write.
    """
    figure, panels = grid(2, width=3.2, height=3.2, columns=2)
    heads = ("formers (%, bars: 95 %)", "mobile ions (%, bars: 95 %)")
    for axes, head, formers in zip(panels, heads, (True, False), strict=True):
        for name in _names(runs):
            shares = [_share(run.get(name), formers=formers) for run in runs.values()]
            if any(share is not None and share.mean is not None for share in shares):
                _series(axes, shares, name, 100.0)
        axes.set_xticks(range(len(runs)), list(runs))
        axes.set_ylabel(head)
        axes.set_ylim(bottom=0.0)
    legend(figure, panels, columns=4)
    finish(figure, panels, path)


def msd(
    runs: Mapping[str, tuple[ClassDisplacements, Sequence[str]]], mobile: str, path: Path
) -> None:
    """Draw the MSD of the mobile ion by class, log-log, a panel a run; survivors dotted.

    Lags without a whole independent displacement of the class are left out.

    Parameters
    ----------
    runs : mapping of str to tuple of ClassDisplacements and sequence of str
        Displacements by title, and the classes to draw.
    mobile : str
        Symbol of the mobile ion.
    path : Path
        The file to write.
    """
    figure, panels = grid(len(runs), width=2.9, height=2.7, columns=2)
    for axes, (title, (found, names)) in zip(panels, runs.items(), strict=True):
        for name in names:
            place = CLASS_NAMES.index(name)
            for chosen, style in ((found.origin, "-"), (found.survivors, ":")):
                independent = chosen.number[:, place] * found.independent
                there = (chosen.msd_A2[:, place] > 0) & (independent >= 1.0)
                axes.plot(
                    found.lags_ps[there],
                    chosen.msd_A2[there, place],
                    style,
                    color=_colour(name),
                    label=name if style == "-" else None,
                )
        axes.plot([], [], ":", color=GREY, label="survivors")
        log_log(axes)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("lag (ps)")
        axes.set_ylabel(f"MSD({mobile}) (Å²)")
    legend(figure, panels, columns=4)
    finish(figure, panels, path)


def rotation(runs: Runs, path: Path) -> None:
    """Draw the mean rotation of the units of each class, a colour a run.

    Bars are angles of frames; diamonds those of averaged orientations, lines the librations.

    Parameters
    ----------
    runs : mapping of str to mapping of str to ClassRecord
        By title and class.
    path : Path
        The file to write.
    """
    names = [name for name in _names(runs) if name in CLASS_NAMES[:N_FORMER_CLASSES]]
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    shades = colormaps["cividis"](np.linspace(0.0, 0.85, len(runs)))
    width = 0.8 / len(runs)
    for number, ((title, run), shade) in enumerate(zip(runs.items(), shades, strict=True)):
        for place, name in enumerate(names):
            row = run.get(name)
            if row is None or row.rotation is None or row.rotation.angle_deg.mean is None:
                continue
            x = place + width * (number - 0.5 * (len(runs) - 1))
            found, angle = row.rotation, row.rotation.angle_deg
            height = angle.mean or 0.0
            axes.bar(x, height, width, color=shade, label=title, yerr=_errors(angle, 1.0))
            for look, value in ((_AVERAGED, found.averaged_deg), (_LIBRATION, found.libration_deg)):
                axes.plot([x], [np.nan if value is None else value], **look)
    axes.plot([], [], label="averaged orientation", **_AVERAGED)
    axes.plot([], [], label="libration", **_LIBRATION)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_ylabel("mean rotation since the start (degrees)")
    legend(figure, (axes,))
    finish(figure, (axes,), path)


def _names(runs: Runs) -> list[str]:
    """Classes of any run, in their order."""
    return [name for name in CLASS_NAMES if any(name in run for run in runs.values())]


def _colour(name: str) -> str:
    return _COLOURS[CLASS_NAMES.index(name)]


def _share(row: ClassRecord | None, *, formers: bool) -> Estimate | None:
    if row is None:
        return None
    return row.fraction_of_formers if formers else row.fraction_of_mobile


def _series(axes: Axes, shares: Sequence[Estimate | None], name: str, factor: float) -> None:
    points = [
        (place, share)
        for place, share in enumerate(shares)
        if share is not None and share.mean is not None
    ]
    axes.errorbar(
        [place for place, _ in points],
        [factor * (share.mean or 0.0) for _, share in points],
        yerr=np.hstack([_errors(share, factor) for _, share in points]),
        fmt="o-",
        color=_colour(name),
        markersize=4,
        capsize=3,
        linewidth=1.0,
        label=name,
    )


def _errors(estimate: Estimate, factor: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Distances to the ends of the interval, shape (2, 1); zero without one."""
    mean, ci95 = estimate.mean or 0.0, estimate.ci95
    low, high = (mean, mean) if ci95 is None else ci95
    return factor * np.array([[max(0.0, mean - low)], [max(0.0, high - mean)]])
