"""``analyze``: one run, or several that are pooled as replicas and tabulated by composition.

Each run is analysed by :mod:`lbpsi_driver.analyze` into its own folder; results that were made
before with the same options, of unchanged input, by this version are taken as they are. Runs of one
composition are replicas; ``series.json`` holds the :class:`SeriesResult`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pydantic import ValidationError

from lbpsi_driver import __version__, pool_runs, run_facts
from lbpsi_driver.analyze import analyze as analyze_run
from lbpsi_driver.config import AnalyzeOptions, UsageError
from lbpsi_driver.manifest import (
    new_run,
    physics,
    sha256,
    stored_record,
    write_atomic,
    writing,
)
from lbpsi_driver.pool_runs import Replica
from lbpsi_driver.report import series_figures, series_tables
from lbpsi_driver.report.results import RESULTS, AnalyzeResult
from lbpsi_driver.report.series_results import SERIES, SeriesResult
from lbpsi_driver.series_options import DEFAULT_OUTPUT, SeriesOptions

VERB = "series"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """A run of the series: its name, and the options that it is analysed with."""

    name: str
    options: AnalyzeOptions

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return self.options.output or self.options.run


def analyze(options: SeriesOptions, *, dry_run: bool = False) -> AnalyzeResult | SeriesResult:
    """Analyse runs; pool several of them.

    Parameters
    ----------
    options : SeriesOptions
        What to read and how; the same for all runs.
    dry_run : bool
        Only find the input and check the options; read and write nothing else.

    Returns
    -------
    AnalyzeResult or SeriesResult
        Of one run its own, also in ``results.json``; of several that of the series, also in
        ``series.json`` in the output folder.

    Raises
    ------
    UsageError
        One line: nothing to analyse in a run, a file that can't be read or written.
    """
    if len(options.run) == 1:
        return analyze_run(options.of(options.run[0], options.output), dry_run=dry_run)
    output = options.output or DEFAULT_OUTPUT
    runs = _runs(options, output)
    planned = {run.name: analyze_run(run.options, dry_run=True) for run in runs}
    first = next(iter(planned.values()))
    result = SeriesResult(
        output=str(output),
        mobile=first.mobile,
        charge_e=first.charge_e,
        options=options.model_dump(mode="json"),
        runs={run.name: str(run.folder) for run in runs},
        inputs=[path for one in planned.values() for path in one.inputs],
    )
    if dry_run:
        return result
    with writing(output):  # before the work, not after it
        output.mkdir(parents=True, exist_ok=True)
    replicas = [_replica(run, planned[run.name], options) for run in runs]
    made_of = {run.name: run.folder / RESULTS for run in runs}
    record = new_run(output, VERB, options, made_of)
    result.warnings = [*_doubts(replicas), *_same_input(runs)]
    for warning in result.warnings:
        _LOG.warning(warning)
    pool_runs.pool_all(result, replicas)
    with writing(output):
        _write(result, replicas, output)
    record.finish({"files": result.files})
    return result


def _runs(options: SeriesOptions, output: Path) -> list[_Run]:
    """Name each run by the end of its path; a lone file gets a folder below the output."""
    runs = []
    for path, name in zip(options.run, names_of(options.run), strict=True):
        folder = path if path.is_dir() else output / name.replace("/", "_")
        runs.append(_Run(name, options.of(path, folder)))
    return runs


def names_of(paths: Sequence[Path]) -> list[str]:
    """Shortest ends of paths that tell all of them apart, without the part that all share.

    Parameters
    ----------
    paths : sequence of Path
        Distinct paths.
    """
    whole = [path.resolve() for path in paths]
    # A folder's name may hold a dot, as x2.5.
    parts = [(one if one.is_dir() else one.with_suffix("")).parts for one in whole]
    if len(set(parts)) < len(parts):
        parts = [one.parts for one in whole]
    length = next(
        (n for n in range(1, max(map(len, parts))) if len({p[-n:] for p in parts}) == len(parts)),
        max(map(len, parts)),
    )
    ends = [list(p[-length:]) for p in parts]
    while min(map(len, ends)) > 1 and len({end[-1] for end in ends}) == 1:
        ends = [end[:-1] for end in ends]
    return ["/".join(end) for end in ends]


def _replica(run: _Run, planned: AnalyzeResult, options: SeriesOptions) -> Replica:
    """Take the results that are there, if they are what would be made, or make them."""
    result = _stored(run, planned.inputs)
    if result is None:
        _LOG.info("%s: analysing", run.name)
        result = analyze_run(run.options)
    else:
        _LOG.info("%s: %s is of this input and these options: reused", run.name, RESULTS)
    return Replica(run.name, result, run_facts.facts_of(result, options.elements))


def _stored(run: _Run, inputs: Iterable[str]) -> AnalyzeResult | None:
    """Results in the run's folder; None unless whole, of this version, options and input."""
    record = stored_record(run.folder, "analyze")
    if record.get("state") != "finished":
        return None
    wanted = {
        "options": physics(run.options.model_dump(mode="json"), tuple(inputs)),
        "sha256": {name: sha256(Path(name)) for name in inputs},
    }
    if record.get("configuration") != wanted:
        return None
    try:
        text = (run.folder / RESULTS).read_text(encoding="utf-8")
        found = AnalyzeResult.model_validate_json(text)
    except (OSError, ValidationError):
        return None
    whole = all((run.folder / name).is_file() for name in found.files.values())
    return found if whole and found.version == __version__ else None


def _doubts(replicas: Sequence[Replica]) -> list[str]:
    """Say where runs of one composition aren't independent, or not made alike."""
    warnings = [
        f"{one.name}: composition unknown (no trajectory, no cell): it is pooled with nothing"
        for one in replicas
        if not one.facts.elements
    ]
    for (name, first), (other, second) in combinations(
        ((one.name, one.facts) for one in replicas if one.facts.elements), 2
    ):
        if first.formula != second.formula:
            continue
        if first.glass_sha256 is not None and first.glass_sha256 == second.glass_sha256:
            warnings.append(
                f"{name} and {other} start from one glass: the scatter between glasses is not in "
                "what is pooled; quench each replica by itself"
            )
        differences = {
            "numbers of atoms": (first.atoms, second.atoms),
            "cooling rates": (first.rate_K_per_ps, second.rate_K_per_ps),
            "models": (first.model_sha256, second.model_sha256),
        }
        unlike = [what for what, (one, two) in differences.items() if one != two]
        if unlike:
            warnings.append(f"{name} and {other} are pooled with other {' and '.join(unlike)}")
    return warnings


def _same_input(runs: Sequence[_Run]) -> list[str]:
    """Say which runs hold one and the same file."""
    seen: dict[str, str] = {}
    warnings = []
    for run in runs:
        record = stored_record(run.folder, "analyze")
        digests: Mapping[str, str] = record.get("configuration", {}).get("sha256", {})
        trajectories = {d for name, d in digests.items() if Path(name).name != "history.dat"}
        if twin := next((seen[digest] for digest in trajectories if digest in seen), None):
            warnings.append(f"{run.name} and {twin} hold the same trajectory: no replicas")
        seen |= dict.fromkeys(trajectories, run.name)
    return warnings


def _write(result: SeriesResult, replicas: Sequence[Replica], output: Path) -> None:
    numbers = pool_runs.numbers_of(replicas)
    for name, text in {
        "series": series_tables.series(result),
        "pooled": series_tables.pooled(result),
        "replicas": series_tables.replicas(result, numbers),
    }.items():
        result.files[name] = f"{name}.csv"
        write_atomic(output / f"{name}.csv", text)
    diffusive = pool_runs.diffusive_points(replicas)
    if any(diffusive.values()):
        result.files["pooled_arrhenius"] = "pooled_arrhenius.png"
        series_figures.arrhenius(result, diffusive, output / "pooled_arrhenius.png")
    if len(result.compositions) > 1:
        result.files["series_figure"] = "series.png"
        series_figures.series(result, output / "series.png")
        if series_figures.populations(result, output / "series_populations.png"):
            result.files["series_populations"] = "series_populations.png"
    result.files["json"] = SERIES
    write_atomic(output / SERIES, result.model_dump_json(indent=1) + "\n")


def read_results(folder: Path) -> AnalyzeResult | SeriesResult | None:
    """Read what ``analyze`` left in a folder, pooled results first; None where there is nothing.

    Raises
    ------
    UsageError
        A file that isn't what this version writes.
    """
    kinds: dict[str, type[AnalyzeResult] | type[SeriesResult]] = {
        SERIES: SeriesResult,
        RESULTS: AnalyzeResult,
    }
    for name, kind in kinds.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            return kind.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as err:
            why = " ".join(str(err).split())[:120]
            raise UsageError(f"{path}: not results of this version ({why}); analyze again") from err
    return None
