"""Do the 95 % intervals of the library cover the truth in 90-99 % of seeded repeats?

    make validate                                    # 200 repeats; rewrites the table of the page
    python tests/intervals/validate.py --repeats 50  # prints it
    python tests/intervals/validate.py --only Arrhenius

Each repeat draws a run of known answer from a seed of its own (case, repeat) and asks the library.
Numbers that it flags, or gives without an interval, are counted apart. The exit status is 1 where
a coverage lies outside its bounds, be they the goal's or those of a deviation that is known.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from cases import CASES, GOAL, VERDICTS, Case, Known, Measured, Verdict
from scipy.stats import binom

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "validation.md"
BEGIN, END = "<!-- table: written by make validate -->", "<!-- end of the table -->"
PACKAGES = ("lbpsi-driver", "numpy", "scipy", "kinisi")
REPEATS = 200


@dataclass(frozen=True)
class Coverage:
    """A line of the table.

    Attributes
    ----------
    observable, number, name : str
        What, and of which runs.
    repeats, given, hits : int
        Runs, those with an interval and without a flag, those of them whose interval holds the
        truth.
    width : float
        Median width of the intervals over the truth; NaN without any.
    stated : float
        Median width over that of the middle 95 % of the numbers: above 1 wider than need be.
    bias : float
        Median of the numbers over the truth, less 1.
    known : Known or None
        A deviation that is known.
    """

    observable: str
    number: str
    name: str
    repeats: int
    given: int
    hits: int
    width: float
    stated: float
    bias: float
    known: Known | None = None

    @property
    def share(self) -> float:
        """Coverage; NaN without any interval."""
        return self.hits / self.given if self.given else float("nan")

    @property
    def bounds(self) -> tuple[float, float]:
        """Coverage that it should have."""
        return GOAL if self.known is None else (self.known.low, self.known.high)

    @property
    def met(self) -> bool:
        """Whether the coverage is in its bounds."""
        return bool(self.bounds[0] <= self.share <= self.bounds[1])

    def possible(self, doubt: float = 1e-4) -> bool:
        """Whether so few repeats contradict the bounds, but for one case in 1/`doubt`."""
        low, high = self.bounds
        least, most = binom.ppf(doubt, self.given, low), binom.isf(doubt, self.given, high)
        return bool(self.given > 0 and least <= self.hits <= most)

    def row(self) -> list[str]:
        """Cells of the line."""
        return [
            self.observable,
            self.number,
            self.name,
            f"{self.given}/{self.repeats}",
            f"{100 * self.share:.1f} %",
            f"{self.width:.2g}",
            f"{self.stated:.2g}",
            f"{100 * self.bias:+.1f} %",
            verdict(self.met, self.known),
        ]


def verdict(met: bool, known: Known | None) -> str:
    if known is not None:
        return f"known: {known.why}" if met else "**NOT AS KNOWN**"
    return "" if met else "**OUTSIDE**"


def generator(name: str, repeat: int) -> np.random.Generator:
    """Seed by name, so that a case added or left out doesn't change the others."""
    return np.random.default_rng([zlib.crc32(name.encode()), repeat])


def measure(case: Case, repeats: int) -> list[Coverage]:
    """Run the repeats of a case: a line for each of its numbers."""
    name = f"{case.observable}: {case.name}"
    with warnings.catch_warnings(action="ignore"):
        found = [case.run(generator(name, repeat)) for repeat in range(repeats)]
    return [
        coverage(case, number, [one[number] for one in found]) for number in dict.fromkeys(found[0])
    ]


def coverage(case: Case, number: str, found: Sequence[Measured]) -> Coverage:
    given = [one for one in found if one.ci95 is not None and one.mean is not None]
    lows, highs = np.array([one.ci95 for one in given]).reshape(-1, 2).T
    means, truths = (np.array([getattr(one, key) for one in given]) for key in ("mean", "truth"))
    width = stated = bias = float("nan")
    if given:
        relative = means / truths
        width = float(np.median((highs - lows) / np.abs(truths)))
        stated = width / float(np.ptp(np.quantile(relative, [0.025, 0.975])))
        bias = float(np.median(relative)) - 1.0
    hits = int(((lows <= truths) & (truths <= highs)).sum())
    return Coverage(
        case.observable,
        number,
        case.name,
        len(found),
        len(given),
        hits,
        width,
        stated,
        bias,
        case.known.get(number),
    )


def flagged(verdict: Verdict, repeats: int) -> float:
    """Share of the runs that are flagged as not diffusive."""
    runs = (verdict.run(generator(verdict.name, repeat)) for repeat in range(repeats))
    return sum(not run.diffusive for run in runs) / repeats


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def as_text(lines: Sequence[Coverage], flags: Sequence[tuple[Verdict, float]]) -> str:
    """Both tables in Markdown, with the versions that they were made by."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    head = ["observable", "number", "runs", "with interval", "coverage"]
    head += ["width / truth", "width / scatter", "bias", ""]
    text = [f"Made by {versions}.", "", *table(head, [line.row() for line in lines])]
    if flags:
        goals = [
            [one.name, f"{100 * share:.1f} %", f"{100 * one.low:g}-{100 * one.high:g} %"]
            for one, share in flags
        ]
        text += ["", *table(["runs", "flagged as not diffusive", "should be"], goals)]
    return "\n".join(text)


def write(page: Path, text: str) -> None:
    """Put the tables between the marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{page}: no '{BEGIN}' … '{END}' in it; put them where the table goes")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"of each case ({REPEATS})")
    parser.add_argument("--only", default="", help="cases whose observable or name holds this")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    return parser.parse_args()


def main() -> int:
    """Run all, print or write the tables, say what is outside."""
    args = arguments()
    if args.write and (args.only or args.repeats != REPEATS):
        raise SystemExit(f"--write: only with all cases and {REPEATS} repeats")
    lines = []
    for case in CASES:
        if args.only in f"{case.observable}: {case.name}":
            start = time.process_time()
            found = measure(case, args.repeats)
            spent = time.process_time() - start
            for one in found:
                print(f"{' | '.join(one.row())} ({spent:.1f} s)", file=sys.stderr, flush=True)
            lines += found
    flags = [(one, flagged(one, args.repeats)) for one in VERDICTS if args.only in one.name]
    text = as_text(lines, flags)
    print(text)
    if args.write:
        write(PAGE, text)
    wrong = [f"{one.observable}, {one.number}, {one.name}" for one in lines if not one.met]
    wrong += [one.name for one, share in flags if not one.low <= share <= one.high]
    for name in wrong:
        print(f"not in its bounds: {name}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
