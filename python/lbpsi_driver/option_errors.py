"""What the fields of option models are called, and the one line that refuses a bad value."""

from __future__ import annotations

import difflib
import inspect
import json
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

POSITIONAL: dict[str, JsonValue] = {"positional": True}
"""Marks a field that the command line takes without a flag."""

FILE_ONLY: dict[str, JsonValue] = {"file_only": True}
"""Marks a field that is a table of the run file and no flag."""

_TABLE = "expected a table, as in {key = value}"
_WANTED = {
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "path_type": "expected a path, as a string",
}
"""What is wanted in a user's words, by pydantic's type of error."""


def underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    """Write the keys of a table with underscores: ``dump-every`` is ``dump_every``."""
    return {key.replace("-", "_"): value for key, value in table.items()}


def is_positional(field: FieldInfo) -> bool:
    """Tell whether the command line takes a field without a flag."""
    return field.json_schema_extra == POSITIONAL


def is_file_only(field: FieldInfo) -> bool:
    """Tell whether a field is given by the run file alone."""
    return field.json_schema_extra == FILE_ONLY


def flag(name: str, field: FieldInfo) -> str:
    """How a field is called by its user: ``--dump-every``, ``FILE``, or a table's ``[source]``."""
    if is_file_only(field):
        return f"[{name}]"
    return name.upper() if is_positional(field) else "--" + name.replace("_", "-")


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """Name the nearest of the known words, or else all of them."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]}?" if close else f"one of: {', '.join(known)}"


def explain(
    refused: ValidationError,
    model: type[BaseModel],
    values: Mapping[str, Any],
    places: Mapping[str, str],
) -> str:
    """One line for the first bad value: its name, what was given, what was expected.

    Parameters
    ----------
    refused : ValidationError
        What pydantic says.
    model : type of BaseModel
        The options that were wanted.
    values : mapping
        What was given for them.
    places : mapping of str to str
        Where those are that no flag gave: file and table, by name of the field.
    """
    # A slip in a name may be why another one is missing.
    error = min(
        refused.errors(),
        key=lambda e: (
            e["type"] != "extra_forbidden",
            e["type"] == "missing" and len(e["loc"]) == 1,
        ),
    )
    if not error["loc"]:
        return _wanted(error, model)
    name, depth = str(error["loc"][0]), len(error["loc"])
    where = f"{places[name]}: " if name in places else ""
    if error["type"] == "extra_forbidden" and depth == 1:
        return f"{where}unknown option '{name}'; {did_you_mean(name, list(model.model_fields))}"
    field = model.model_fields[name]
    if is_file_only(field) and not (depth == 1 and error["type"] == "missing"):
        return where + _nested(error, model, values)
    if error["type"] == "missing" and depth == 1:
        place = " in a run file, with --config" if is_file_only(field) else ""
        return f"{flag(name, field)} is missing: give {field.description}{place}"
    given = error["input"]
    if isinstance(given, list | tuple):
        given = ",".join(map(str, given))
    shown = f"{where}{name} = {given}" if where else f"{flag(name, field)} {given}"
    return f"{shown}: {_wanted(error, model)} ({field.description})"


def _nested(error: ErrorDetails, model: type[BaseModel], values: Mapping[str, Any]) -> str:
    """One line for a bad value in a table: where, what was given, what is wanted."""
    where = ""
    inside: Any = values
    for place, part in enumerate(error["loc"]):
        if isinstance(part, int):
            inside = inside[part] if isinstance(inside, list | tuple) else None
            # A user knows his sources by name, if that is not what is wrong with them.
            named = (
                error["loc"][-1] != "name"
                and isinstance(inside, dict)
                and isinstance(inside.get("name"), str)
            )
            where += f" {inside['name']}: " if named else f"[{part}]"
            continue
        table = underscored(inside) if isinstance(inside, dict) else {}
        absent = error["type"] == "missing" and place + 1 == len(error["loc"])
        if isinstance(inside, dict) and part not in table and not absent:
            continue  # pydantic's name of the kind of table, which is no key
        where += part if where.endswith(": ") else f".{part}"
        inside = table.get(part)
    where = where.lstrip(".")
    if error["type"] == "union_tag_not_found":
        where += "kind" if where.endswith(": ") else ".kind"
    where = where.removesuffix(": ")
    if error["type"] in ("missing", "union_tag_not_found"):
        return f"{where} is missing"
    if error["type"] == "extra_forbidden":
        table = _type_at(model, error["loc"][:-1])
        known = list(table.model_fields) if _is_model(table) else []
        return f"{where}: unknown key; {did_you_mean(str(error['loc'][-1]), known)}"
    given = error["input"]
    given = "" if isinstance(given, dict) else f" = {given}"
    return f"{where}{given}: {_wanted(error, model)}"


def _wanted(error: ErrorDetails, model: type[BaseModel]) -> str:
    if error["type"] == "tuple_type":
        return _wanted_list(error["input"], _type_at(model, error["loc"]))
    return _WANTED.get(error["type"], error["msg"].removeprefix("Value error, "))


def _wanted_list(given: Any, wanted: Any) -> str:
    """Show how the value that stands alone would be written as the list that is wanted."""
    if isinstance(given, Mapping):
        return "expected a list of tables: write [[…]] for [ … ], or [{…}] for {…}"
    items = get_args(wanted)
    number = 1 if Ellipsis in items else max(1, len(items))
    example = ", ".join([json.dumps(given, default=str, ensure_ascii=False)] * number)
    return f"expected a list{f' of {number}' if number > 1 else ''}, as in [{example}]"


def _type_at(model: type[BaseModel], place: Sequence[int | str]) -> Any:
    """Find what is wanted at a place that pydantic names; None within free tables."""
    found: Any = model
    for part in place:
        found = _bare(found)
        inner = get_args(found)
        if isinstance(part, int):
            found = inner[0] if Ellipsis in inner else inner[part] if part < len(inner) else None
        elif _is_model(found):
            field = found.model_fields.get(part)
            found = field.annotation if field else None
        else:  # the kind of table, where it may be one of several
            kinds = [one for one in inner if _is_model(one) and "kind" in one.model_fields]
            named = (one for one in kinds if part in get_args(one.model_fields["kind"].annotation))
            found = next(named, None)
    return _bare(found)


def _bare(wanted: Any) -> Any:
    """Strip bounds and ``| None``."""
    while get_origin(wanted) is Annotated:
        wanted = get_args(wanted)[0]
    if get_origin(wanted) in (Union, types.UnionType):
        kinds = [one for one in get_args(wanted) if one is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else wanted
    return wanted


def _is_model(wanted: Any) -> bool:
    return inspect.isclass(wanted) and issubclass(wanted, BaseModel)
