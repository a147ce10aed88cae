"""Q^n and E^n of the formers, and what is behind their S: the tables of paper 001, with intervals.

A row of its Tables S1 and S2 is the share of the formers of one element that have n bridging S
(Q^n), share edges with m formers (E^m), and have certain elements X behind those S (P-S-X: each
other former on each bridging S, so that an edge gives two and an S bonded to three formers gives
two) and directly bonded (P-X). The counts are those of
:func:`lbpsi_driver.observables.motif_summary.summarise`.

References
----------
R. Zhou, K. Luo, S. W. Martin, Q. An, "A Machine Learning Force Field for Lithium Sulfide Glassy
Electrolytes": Tables 6 and 7; Supplementary Information, Tables S1 and S2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, mean_share
from lbpsi_driver.observables.motif_summary import MotifSummary
from lbpsi_driver.observables.trajectory import Floats

_Key = tuple[int, int, tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Environment:
    """Formers of one element with the same surroundings: a row of Tables S1 and S2.

    Attributes
    ----------
    qn, en : int
        Bridging S; formers with which it shares an edge.
    through_S : tuple of str
        X of P-S-X, in alphabetical order.
    direct : tuple of str
        X of P-X, in alphabetical order.
    fraction : Estimate
        Share of the formers of the element.
    """

    qn: int
    en: int
    through_S: tuple[str, ...]
    direct: tuple[str, ...]
    fraction: Estimate


@dataclass(frozen=True)
class QnTable:
    """Speciation of the formers of one element over F frames.

    Attributes
    ----------
    number : int
        Formers of the element.
    qn_series, en_series : ndarray, shape (F, n)
        Share with 0, 1, 2, … bridging S, and edge-sharing neighbours, frame by frame.
    qn, en : tuple of Estimate
        Their means.
    homopolar : Estimate
        Share that is bonded to another former.
    environments : tuple of Environment
        By falling share; shares of all add up to 1.
    """

    number: int
    qn_series: Floats
    en_series: Floats
    qn: tuple[Estimate, ...]
    en: tuple[Estimate, ...]
    homopolar: Estimate
    environments: tuple[Environment, ...]


def qn_tables(frames: Iterable[MotifSummary]) -> dict[str, QnTable]:
    """Speciation of each element of formers, averaged over frames.

    Parameters
    ----------
    frames : iterable of dict
        Summaries of the frames of one trajectory, as
        :func:`lbpsi_driver.observables.motif_summary.summaries` yields them.

    Returns
    -------
    dict of str to QnTable
        By element.

    Raises
    ------
    UsageError
        No frames, or frames with other numbers of formers.
    """
    kept = [(frame["qn"], frame["en"], frame["neighbours"]) for frame in frames]
    if not kept:
        raise UsageError("no frames: Q^n needs the summary of one frame or more")
    tables = {}
    for element in sorted(kept[0][0]):
        qn = _shares([frame.get(element, []) for frame, _, _ in kept], element)
        en = _shares([frame.get(element, []) for _, frame, _ in kept], element)
        number = sum(kept[0][0][element])
        rows: dict[_Key, Floats] = {}
        for t, (_, _, neighbours) in enumerate(kept):
            for row in neighbours[element]:
                key = row["qn"], row["en"], tuple(row["through_S"]), tuple(row["direct"])
                rows.setdefault(key, np.zeros(len(kept)))[t] = row["count"] / number
        bonded = np.sum([s for key, s in rows.items() if key[3]], axis=0) + np.zeros(len(kept))
        tables[element] = QnTable(
            number,
            qn,
            en,
            tuple(mean_share(column) for column in qn.T),
            tuple(mean_share(column) for column in en.T),
            mean_share(bonded),
            _environments(rows),
        )
    return tables


def _shares(counts: Sequence[Sequence[int]], element: str) -> Floats:
    """Histograms of the frames, of one width, as shares; shape (F, n)."""
    table = np.zeros((len(counts), max(len(row) for row in counts)))
    for row, of_frame in zip(table, counts, strict=True):
        row[: len(of_frame)] = of_frame
    numbers = table.sum(axis=1)
    if (numbers != numbers[0]).any() or numbers[0] == 0:
        raise UsageError(f"frames with other numbers of {element}: give those of one trajectory")
    shares: Floats = table / numbers[0]
    return shares


def _environments(rows: dict[_Key, Floats]) -> tuple[Environment, ...]:
    ranked = sorted(rows.items(), key=lambda item: (-float(item[1].mean()), item[0]))
    return tuple(Environment(*key, fraction=mean_share(shares)) for key, shares in ranked)
