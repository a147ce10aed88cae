"""Option models of what looks at several runs, or at a run and a paper."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from lbpsi_driver.config import POSITIONAL, AnalysisOptions, AnalyzeOptions, Options

DEFAULT_OUTPUT = Path("runs/series")


class SeriesOptions(AnalysisOptions):
    """Options of ``analyze``: each run's observables, and of several runs those pooled."""

    run: tuple[Path, ...] = Field(
        (Path("runs/sweep"),),
        min_length=1,
        description="a sweep's or quench's folder, or a trajectory (dump, extxyz, XDATCAR); given "
        "more than once, replicas are pooled and compositions tabulated",
    )
    output: Path | None = Field(
        None,
        description="where results.json and figures go, of several runs series.json; default: "
        f"run, of several {DEFAULT_OUTPUT}",
    )

    @field_validator("run")
    @classmethod
    def _each_once(cls, run: tuple[Path, ...]) -> tuple[Path, ...]:
        if len({path.resolve() for path in run}) != len(run):
            raise ValueError("each run once: the same run is no replica of itself")
        return run

    def of(self, run: Path, output: Path | None) -> AnalyzeOptions:
        """Take the options for one of the runs; what was left to defaults stays so."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return AnalyzeOptions(**{**given, "run": run, "output": output})


class CompareOptions(Options):
    """Options of ``compare``: our numbers beside a paper's."""

    run: Path = Field(
        description="folder of an analysed run, of pooled runs, or of elastic",
        json_schema_extra=POSITIONAL,
    )
    paper: str = Field("lbpsi", description="lbpsi, li_si_p_s, lps_map or softness")
    output: Path | None = Field(None, description="folder of compare.json and .csv; default: run")
