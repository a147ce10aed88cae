"""The records of ``compare``: what ``compare.json`` holds, its CSV, and its table."""

from __future__ import annotations

import csv
import io
import string
from collections import Counter

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lbpsi_driver import __version__
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.report.records import Record, digits

_MOST = 0.7
COMPARE = "compare.json"
COMPARE_CSV = "compare.csv"

COLUMNS = (
    "key",
    "label",
    "composition",
    "temperature_K",
    "our_temperature_K",
    "unit",
    "ours",
    "ours_low",
    "ours_high",
    "paper",
    "paper_high",
    "ratio",
    "difference",
    "inside",
    "paper_protocol",
    "where",
    "differences",
    "reason",
)

DEFINITIONS = {
    "ours": "number and 95 % interval of the run, of replicas that over replicas; conductivities "
    "with the paper's charge of the mobile ion",
    "ratio": "ours over the paper's, of a range over its middle",
    "difference": "ours less the paper's, in the unit of the row",
    "inside": "whether the paper's number lies in our interval; of a range, whether they overlap; "
    "null without an interval. The paper gives no errors: outside doesn't say that it is wrong",
    "differences": "what of the protocol differs, ours first; an empty list where it is the same",
    "reason": "why the run has no such number",
}


class CompareRow(Record):
    """One number of the paper and ours beside it."""

    key: str
    label: str
    unit: str
    composition: str | None
    temperature_K: float | None
    ours: Estimate
    our_temperature_K: float | None = None
    paper: float | tuple[float, float]
    ratio: float | None = None
    difference: float | None = None
    inside: bool | None = None
    differences: list[str] = Field(default_factory=list)
    paper_protocol: str
    where: str
    reason: str | None = None

    @property
    def deviation(self) -> str:
        """Ratio, or difference where a ratio says little: lengths, angles, shares, counts."""
        if self.difference is None:
            return "-"
        if self.ratio is None or self.unit in ("Å", "1/Å", "°", ""):
            return f"{self.difference:+.2g}"
        return f"x {digits(self.ratio)}"


class CompareResult(Record):
    """Result of ``compare``: what ``compare.json`` holds.

    Attributes
    ----------
    sources : list of str
        Files of results that were read.
    our_charge_e, charge_e : float or None
        Charge of the mobile ion in the run, and in the paper.
    rows : list of CompareRow
        In the order of the paper's file.
    """

    verb: str = "compare"
    version: str = __version__
    run: str
    output: str
    paper: str
    title: str
    source: str
    sources: list[str]
    our_charge_e: float | None
    charge_e: float
    rows: list[CompareRow]
    files: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    definitions: dict[str, str] = Field(default_factory=lambda: dict(DEFINITIONS))

    def table(self) -> Group:
        """Render for a terminal: rows that both have, then what the run lacks and why."""
        table = Table(title=f"{self.run} beside {self.source}", box=SIMPLE_HEAD, leading=1)
        table.add_column("quantity", overflow="fold", ratio=4)
        for head in ("ours", "paper", "ours/paper\nor less it", "in our\n95 %"):
            table.add_column(head, justify="right", overflow="fold")
        table.add_column("protocol differs", overflow="fold", ratio=4)
        marks = self._marks()
        for row in (row for row in self.rows if row.ours.mean is not None):
            mark, shared = marks.get(row.paper_protocol, ("", ()))
            whole = not mark or not set(shared) <= set(row.differences)
            own = [text for text in row.differences if whole or text not in shared]
            table.add_row(
                row.label + (f", {row.unit}" if row.unit else ""),
                _stack(row.ours),
                _paper(row.paper),
                row.deviation,
                {True: "yes", False: "no", None: "-"}[row.inside],
                "; ".join([*([] if whole else [mark]), *own]) or "none",
            )
        shown = [table] if table.row_count else []
        notes = [f"{mark}: {'; '.join(shared)}" for mark, shared in marks.values()]
        return Group(*shown, *map(Text, [*notes, *self._lines()]))

    def _marks(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Letter and phrases that most rows of a protocol share: long, and said once."""
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for protocol in dict.fromkeys(row.paper_protocol for row in self.rows):
            rows = [
                row.differences
                for row in self.rows
                if row.paper_protocol == protocol and row.ours.mean is not None
            ]
            counts = Counter(phrase for row in rows for phrase in row)
            shared = tuple(one for one, n in counts.items() if n >= max(2, _MOST * len(rows)))
            if shared:
                found[protocol] = (string.ascii_lowercase[len(found)], shared)
        return found

    def _lines(self) -> list[str]:
        lines = [f"warning: {warning}" for warning in self.warnings]
        if self.our_charge_e is not None and self.our_charge_e != self.charge_e:
            lines.append(
                f"conductivities: ours are brought from z = {self.our_charge_e:g} e to the paper's "
                f"{self.charge_e:g} e"
            )
        reasons: dict[str, list[str]] = {}
        for row in self.rows:
            if row.ours.mean is None:
                reasons.setdefault(row.reason or "no number", []).append(row.label)
        for reason, labels in reasons.items():
            counted = (f"{label} ({n})" if n > 1 else label for label, n in Counter(labels).items())
            lines.append(f"not compared: {', '.join(counted)}: {reason}")
        if self.files:
            lines.append(f"written: {', '.join(self.files.values())}: {self.output}")
        return lines

    def csv(self) -> str:
        """Write the rows as CSV, empty cells where there is nothing."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            low, high = row.ours.ci95 or (None, None)
            paper = row.paper if isinstance(row.paper, tuple) else (row.paper, None)
            numbers = (row.our_temperature_K, row.unit, row.ours.mean, low, high, *paper)
            deviation = (row.ratio, row.difference, row.inside)
            about = (row.paper_protocol, row.where, "; ".join(row.differences), row.reason)
            first = (row.key, row.label, row.composition, row.temperature_K)
            cells = (*first, *numbers, *deviation, *about)
            writer.writerow([f"{cell:.6g}" if type(cell) is float else cell for cell in cells])
        return text.getvalue()


def _paper(value: float | tuple[float, float]) -> str:
    if isinstance(value, tuple):
        return f"{digits(value[0])} –\n{digits(value[1])}"
    return f"{value:.4g}"


def _stack(estimate: Estimate) -> str:
    """Write the number above its interval."""
    text = digits(estimate.mean)
    if estimate.ci95 is not None:
        low, high = estimate.ci95
        text += f"\n{digits(low)} –\n{digits(high)}"
    return text
