"""CSV tables of pooled runs, as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.report.quantities import ARRHENIUS, OF_SIGMA, TRANSPORT, Quantity
from lbpsi_driver.report.series_results import SeriesResult

_MAIN = ("density_g_cm3", *TRANSPORT)
_LINES = (*ARRHENIUS, *OF_SIGMA)
_SHARES = ("formers.", "qn.", "en.")


def series(result: SeriesResult) -> str:
    """Lay out the main numbers against mol % P2S5, a row a composition and temperature.

    Each quantity has three columns: its mean, ``_low`` and ``_high`` of the 95 % interval.
    """
    keys = dict.fromkeys(
        key
        for beginning in (*_MAIN, *_SHARES)
        for _, group in result.rows()
        for key in group.quantities
        if key == beginning or (beginning in _SHARES and key.startswith(beginning))
    )
    head = ["P2S5_mol_percent", "composition", "temperature_K", "replicas", "time_ps"]
    rows = []
    for one, group in result.rows():
        numbers = [group.number(key) for key in keys]
        numbers_of_all = [one.arrhenius.number(key) for key in _LINES]
        about = [one.p2s5_mol_percent, one.name, group.temperature_K, len(group.runs)]
        cells = [cell for number in (*numbers, *numbers_of_all) for cell in _three(number)]
        rows.append([*about, group.time_ps, *cells])
    columns = [f"{key}{end}" for key in (*keys, *_LINES) for end in ("", "_low", "_high")]
    return _text([*head, *columns], rows)


def pooled(result: SeriesResult) -> str:
    """Lay out all pooled numbers, a row a number."""
    head = ["P2S5_mol_percent", "composition", "temperature_K", "quantity", "mean", "low", "high"]
    rows = []
    for one in result.compositions:
        tables = [(group.temperature_K, group.quantities) for group in one.groups]
        for T, quantities in (*tables, (None, one.arrhenius.pooled | one.quantities)):
            rows += [
                [
                    one.p2s5_mol_percent,
                    one.name,
                    T,
                    key,
                    *_three(found),
                    found.replicas,
                    found.kind,
                    found.between,
                    found.within,
                    "; ".join(f"{run}: {why}" for run, why in found.missing.items()),
                    found.reason,
                ]
                for key, found in quantities.items()
            ]
    return _text([*head, "replicas", "kind", "between", "within", "missing", "reason"], rows)


def replicas(
    result: SeriesResult,
    numbers: Mapping[str, Mapping[float | None, Mapping[str, Quantity]]],
) -> str:
    """Lay out the numbers of each run that were pooled, a row a number."""
    rows = [
        [
            one.p2s5_mol_percent,
            one.name,
            T,
            run,
            key,
            *_three(found.estimate),
            found.estimate.reason,
        ]
        for one in result.compositions
        for run in one.runs
        for T, quantities in numbers[run].items()
        for key, found in quantities.items()
    ]
    head = ["P2S5_mol_percent", "composition", "temperature_K", "run", "quantity"]
    return _text([*head, "mean", "low", "high", "reason"], rows)


def _three(number: Estimate | None) -> tuple[float | None, float | None, float | None]:
    if number is None:
        return None, None, None
    return number.mean, *(number.ci95 or (None, None))


def _text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table; empty cells where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()
