"""The page on training: its tables of the run file's keys are those of the option classes."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from lbpsi_driver.config import QuenchOptions, SweepOptions
from lbpsi_driver.training import options

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "train.md"

UNITS = ("ps", "fs", "K", "K/ps", "bar", "Å", "g/cm3", "minutes")
CELL = set(options.Cell.model_fields)
# What the stages themselves set, or what nobody wants to read twice.
SET_BY_STAGE = {"model", "head", "dtype", "device", "timestep", "data", "output", "seed", "force"}
SELDOM = {"dispersion", "potential", "bond", "chain", "motifs", "motif_every", "threads"}
LEFT_OUT = SET_BY_STAGE | SELDOM | {"replicas", "temperatures", "time", "mobile"}

TABLES = {
    "Keys of a cell": (options.Cell, set()),
    "Keys of an `md` source": (options.MDSource, CELL),
    "Keys of a segment": (options.Segment, set()),
    "Keys of a `quench` source": (options.QuenchSource, CELL),
    "Keys of a `strain` source": (options.StrainSource, set()),
    "Keys of a `file` source": (options.FileSource, set()),
    "Keys of `[train.reference]`": (options.Reference, set()),
    "Keys of `quench`": (QuenchOptions, LEFT_OUT),
    "Keys of `npt`": (SweepOptions, LEFT_OUT),
}


def bare(annotation: Any) -> Any:
    """Strip bounds and ``| None``."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return bare(next(one for one in get_args(annotation) if one is not type(None)))
    return annotation


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def row(name: str, field: FieldInfo) -> str:
    meaning, _, default = (field.description or "").partition("; default: ")
    if field.is_required():
        default = "needed"
    elif field.default not in (None, {}, ()):
        default = toml(field.default)
    words, _, unit = meaning.rpartition(", ")
    meaning, unit = (words, unit) if unit in UNITS else (meaning, "")
    if get_origin(bare(field.annotation)) is Literal:
        choices = get_args(bare(field.annotation))
        meaning = f"`{choices[0]}`" if len(choices) == 1 else f"{meaning}: {', '.join(choices)}"
    return f"| `{name}` | {default or '-'} | {unit or '-'} | {meaning} |"


def table(title: str) -> str:
    model, left_out = TABLES[title]
    fields = model.model_fields.items()
    rows = [row(name, field) for name, field in fields if name not in left_out]
    return "\n".join(
        [f"{title}:", "", "| key | default | unit | meaning |", "|---|---|---|---|", *rows]
    )


@pytest.mark.parametrize("title", TABLES)
def test_tables_are_those_of_the_options(title):
    page = PAGE.read_text(encoding="utf-8")
    start = page.index(f"{title}:\n")
    rest = page[start:].split("\n\n")
    assert "\n\n".join(rest[:2]).rstrip() == table(title)


def test_every_table_of_a_run_file_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for stage in (options.SampleOptions, options.ValidateOptions, options.LoopOptions):
        for name, field in stage.model_fields.items():
            if field.json_schema_extra:
                assert f"{name}]" in page or f"`{name}`" in page, name
