"""The command line: one verb a stage, flags made from the option models of ``config.py``.

Parsing and running are apart: Typer turns the arguments into a :class:`Request`, then :func:`main`
runs it, so that errors and Ctrl-C end in one place. Verbs are imported when they run: ``--help``
needs neither torch, LAMMPS nor MPI.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import inspect
import json
import logging
import os
import sys
import tomllib
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lbpsi_driver import __version__, config
from lbpsi_driver.config import Options, UsageError
from lbpsi_driver.verbs import GROUPS, VERBS, Verb

USAGE_ERROR = 2
FAILURE = 1
INTERRUPTED = 130
LOG_LEVELS = ("debug", "info", "warning", "error")

# Click's UsageError, base of all complaints about the command line; its home depends on Typer.
_CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]


class Result(Protocol):
    """What a verb returns."""

    def table(self) -> Any:
        """Render for a terminal."""

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Render as JSON."""


@dataclass(frozen=True)
class Common:
    """Flags that every verb has."""

    dry_run: bool = False
    json: bool = False
    log_level: str = "info"


@dataclass(frozen=True)
class Request:
    """A parsed command line: what was given, nothing filled in."""

    verb: Verb
    values: dict[str, Any]
    common: dict[str, Any]
    config: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments after the program's name; default: those of the process.

    Returns
    -------
    int
        Exit code: 0; 2 for bad input; 130 after Ctrl-C; 1 for any other failure, a check of
        `doctor` among them.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    debug = False
    try:
        request = _parse(given)
        if request is None:
            return 0
        options, common = _resolve(request)
        as_json, debug = common.json, common.log_level == "debug"
        _start_logging(common.log_level)
        if not request.verb.parallel and _spectator():
            return 0
        result = _function(request.verb)(options, dry_run=common.dry_run)
        if result is not None:
            _show(result, as_json)
            return 0 if getattr(result, "ok", True) else FAILURE
    except KeyboardInterrupt:
        return _fail("interrupted; the same command continues the run", INTERRUPTED, as_json)
    except UsageError as err:
        return _fail(_one_line(err), USAGE_ERROR, as_json)
    except _CommandLineError as err:
        return _fail(_complaint(err), USAGE_ERROR, as_json)
    except Exception as err:
        if debug:
            traceback.print_exc()
        return _fail(_explain(err, debug), FAILURE, as_json)
    return 0


def _parse(arguments: list[str]) -> Request | None:
    """Return the request, or None where help or the version was wanted and printed."""
    command = typer.main.get_command(_application())
    if not arguments or (len(arguments) == 1 and arguments[0] in GROUPS):
        arguments = [*arguments, "--help"]
    outcome = command.main(args=arguments, standalone_mode=False)
    if outcome == INTERRUPTED:
        raise KeyboardInterrupt
    return outcome if isinstance(outcome, Request) else None


def _application() -> typer.Typer:
    application = typer.Typer(
        name="lbpsi",
        add_completion=False,
        # Rich's tables cut long defaults off at 80 columns.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    application.callback()(_before_verb)
    homes = {"": application}
    for verb in VERBS.values():
        if verb.group not in homes:
            homes[verb.group] = typer.Typer(rich_markup_mode=None)
            application.add_typer(homes[verb.group], name=verb.group, help=GROUPS[verb.group])
        home = homes[verb.group]
        home.command(verb.name, help=verb.summary, epilog=_epilog(verb))(_command(verb))
    return application


def _epilog(verb: Verb) -> str:
    """Return what a verb's help ends with: what no flag can hold, and examples."""
    fields = verb.options.model_fields.items()
    tables = [
        f"{config.flag(name, field)} {field.description}"
        for name, field in fields
        if config.is_file_only(field)
    ]
    heads = {"Tables of the run file alone:": tables, "Examples:": verb.examples}
    return "\n\n".join(
        "\n  ".join((f"\b\n{head}", *lines)) for head, lines in heads.items() if lines
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lbpsi_driver {__version__}")
        raise typer.Exit


def _before_verb(
    version: bool = typer.Option(
        False,
        "--version",
        is_eager=True,
        callback=_print_version,
        help="Print the version and exit.",
    ),
) -> None:
    """Molecular dynamics of glassy solid electrolytes: melt, quench, sweep, analyse."""


def _command(verb: Verb) -> Callable[..., Request]:
    """Make the function whose signature Typer reads: the model's fields, then the common flags."""

    def command(**given: Any) -> Request:
        present = {name: value for name, value in given.items() if value not in (None, [])}
        common = {name: present.pop(name) for name in Common.__annotations__ if name in present}
        path = present.pop("config", None)
        return Request(verb, present, common, path)

    fields = [
        _parameter(name, field)
        for name, field in verb.options.model_fields.items()
        if not config.is_file_only(field)
    ]
    command.__signature__ = inspect.Signature([*fields, *_common_parameters(verb)])  # type: ignore[attr-defined]
    return command


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Turn a field of an options model into a flag; pydantic does the validation later."""
    flag = config.flag(name, field)
    base = _value_type(field.annotation)
    text = f"{field.description or ''}{_default(field.default)}"
    if config.is_positional(field):
        argument = typer.Argument(None, metavar=flag, help=text, show_default=False)
        return _keyword(name, str, argument)
    if base is bool:
        return _option(name, bool, f"{flag}/--no-{flag[2:]}", help=text)
    kind: Any = list[str] if get_origin(base) is tuple else str
    return _option(name, kind, flag, help=text, metavar=_metavar(base))


def _common_parameters(verb: Verb) -> list[inspect.Parameter]:
    panel = "Common options"
    levels = "|".join(LOG_LEVELS)
    return [
        _option(
            "config", Path, "--config", help="TOML run file; flags win", metavar="PATH", panel=panel
        ),
        _option("dry_run", bool, "--dry-run/--no-dry-run", help=verb.dry_run, panel=panel),
        _option("json", bool, "--json/--no-json", help="the result as JSON on stdout", panel=panel),
        _option(
            "log_level",
            str,
            "--log-level",
            help="messages on stderr (default: info)",
            metavar=levels,
            panel=panel,
        ),
    ]


def _option(
    name: str,
    kind: Any,
    flag: str,
    *,
    help: str,
    metavar: str | None = None,
    panel: str = "Options",
) -> inspect.Parameter:
    option = typer.Option(
        None, flag, help=help, metavar=metavar, show_default=False, rich_help_panel=panel
    )
    return _keyword(name, kind, option)


def _keyword(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind | None
    )


def _value_type(annotation: Any) -> Any:
    """Strip ``| None`` and the bounds that pydantic keeps as metadata."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _metavar(base: Any) -> str:
    if get_origin(base) is Literal:
        return "|".join(map(str, get_args(base)))
    if get_origin(base) is tuple:
        inner = _metavar(_value_type(get_args(base)[0]))
        return f"{inner},…"
    return {int: "INTEGER", float: "FLOAT", Path: "PATH"}.get(base, "TEXT")


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or isinstance(value, bool) or value == ():
        return ""
    if isinstance(value, tuple):
        return f" (default: {','.join(_number(item) for item in value)})"
    return f" (default: {_number(value)})"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _resolve(request: Request) -> tuple[Options, Common]:
    """Join the run file and the flags; flags win."""
    values: dict[str, Any] = {}
    common: dict[str, Any] = {}
    places: dict[str, str] = {}
    if request.config is not None:
        values, places = _file_values(request.config, request.verb)
        common = _file_common(request.config)
    values |= request.values
    places = {name: place for name, place in places.items() if name not in request.values}
    values = _with_lists(request.verb.options, values)
    common |= request.common
    if common.get("log_level", "info") not in LOG_LEVELS:
        raise UsageError(f"--log-level {common['log_level']}: expected {', '.join(LOG_LEVELS)}")
    return config.options(request.verb.options, values, places), Common(**common)


def _with_lists(model: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    """Split what stands for a list, in the tables that a table holds too."""
    split = dict(values)
    for name, field in model.model_fields.items():
        base = _value_type(field.annotation)
        if name not in split:
            continue
        if get_origin(base) is tuple:
            split[name] = _items(name, split[name], get_args(base))
        elif inspect.isclass(base) and issubclass(base, Options) and isinstance(split[name], dict):
            split[name] = _with_lists(base, config.underscored(split[name]))
    return split


def _items(name: str, value: Any, wanted: tuple[Any, ...]) -> Any:
    """Split comma-separated and repeated values into one list of the wanted length."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    items = [
        part
        for item in value
        for part in ([p.strip() for p in item.split(",")] if isinstance(item, str) else [item])
    ]
    if Ellipsis not in wanted and len(items) != len(wanted):
        flag, given = "--" + name.replace("_", "-"), ",".join(map(str, items))
        raise UsageError(f"{flag} {given}: expected {len(wanted)} values joined by commas")
    return items


def _file_values(path: Path, verb: Verb) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a verb's options from a run file, and in which of its tables each is.

    A stage has those of its group beneath its own.
    """
    where = f"--config {path}"
    if not verb.group:
        own = config.underscored(config.read_toml(path, verb.name))
        return own, dict.fromkeys(own, f"{where}: [{verb.name}]")
    shared = config.underscored(config.read_toml(path, verb.group))
    table = f"{verb.group}.{verb.name}"
    own = config.underscored(config.table_in(shared, verb.name, where, table))
    stages = {other.name: other for other in VERBS.values() if other.group == verb.group}
    known = set(stages).union(*(other.options.model_fields for other in stages.values()))
    for key in shared:
        if key not in known:
            close = difflib.get_close_matches(key, sorted(known), n=1)
            expected = ", ".join(f"[{verb.group}.{name}]" for name in stages)
            hint = f"did you mean {close[0]}?" if close else f"expected an option of {expected}"
            raise UsageError(f"{where}: unknown key '{key}' in [{verb.group}]; {hint}")
    fields = verb.options.model_fields
    shared = {key: value for key, value in shared.items() if key in fields}
    places = dict.fromkeys(shared, f"{where}: [{verb.group}]")
    return shared | own, places | dict.fromkeys(own, f"{where}: [{table}]")


def _file_common(path: Path) -> dict[str, Any]:
    """Read the top-level keys of a run file; those that are no table of a verb."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    tables = {verb.group or verb.name: None for verb in VERBS.values()}
    common = {key: value for key, value in content.items() if key not in tables}
    known = {"dry_run": bool, "json": bool, "log_level": str}
    for key, value in config.underscored(common).items():
        if key not in known:
            close = difflib.get_close_matches(key, [*known, *tables], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            expected = ", ".join([*known, *(f"[{name}]" for name in tables)])
            raise UsageError(f"--config {path}: unknown key '{key}', expected {expected}{hint}")
        if not isinstance(value, known[key]):
            kind = "true or false" if known[key] is bool else "a string"
            raise UsageError(f"--config {path}: {key} = {value!r}: expected {kind}")
    return config.underscored(common)


def _function(verb: Verb) -> Callable[..., Result | None]:
    module = importlib.import_module(f"lbpsi_driver.{verb.module}")
    function: Callable[..., Result | None] = getattr(module, verb.name)
    return function


def _spectator() -> bool:
    """Tell by the launcher's word, without MPI, whether this is a rank beyond the first."""
    ranks = (os.environ.get(name, "0") for name in ("PMI_RANK", "PMIX_RANK"))
    return any(rank.isdigit() and int(rank) > 0 for rank in ranks)


def _start_logging(level: str) -> None:
    from rich.console import Console
    from rich.logging import RichHandler

    logger = logging.getLogger("lbpsi_driver")
    logger.setLevel(level.upper())
    logger.handlers[:] = [RichHandler(console=Console(stderr=True), show_path=False)]


def _show(result: Result, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(result.model_dump_json(indent=2) + "\n")
        return
    from rich.console import Console

    Console().print(result.table())


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())


def _complaint(err: Exception) -> str:
    """Say what is wrong with the command line; for an unknown word, name those that are known."""
    unknown, context = getattr(err, "option_name", None), getattr(err, "ctx", None)
    known_commands = getattr(getattr(context, "command", None), "commands", None)
    if known_commands and _one_line(err).endswith("'."):
        return f"{_one_line(err)} One of: {', '.join(known_commands)}"
    if not isinstance(unknown, str) or context is None or not err.args[0].startswith("No such"):
        return _one_line(err)
    known = [flag for param in context.command.params for flag in param.opts]
    likely = [flag for flag in known if flag.startswith(unknown)]
    likely = likely or difflib.get_close_matches(unknown, known, n=2)
    hint = f"did you mean {' or '.join(likely)}?" if likely else "--help lists the flags"
    return f"unknown flag {unknown}; {hint}"


def _explain(err: Exception, debug: bool) -> str:
    if isinstance(err, OSError) and err.filename is not None:
        full = err.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "free some space" if full else "check that the path is there and yours to write"
        return f"{err.filename}: {err.strerror}; {mend}, then run the same command again"
    if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{err.strerror} in {Path.cwd()} or the --output folder; free some space"
    hint = "" if debug else "; --log-level debug shows the traceback"
    return f"{type(err).__name__}: {_one_line(err)}{hint}"


def _fail(message: str, code: int, as_json: bool) -> int:
    """Say what went wrong, and end the other ranks of an MPI run, which would wait for ever."""
    if as_json:
        sys.stdout.write(json.dumps({"error": message}) + "\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(f"error: {message}\n")
        sys.stderr.flush()
    if "mpi4py.MPI" in sys.modules:
        parallel = importlib.import_module("lbpsi_driver.parallel")
        # A rank alone keeps nobody waiting, and MPI_Abort would add its own noise.
        if parallel.size() > 1:
            parallel.abort(code)
    return code
