"""What ``quench`` and ``sweep`` share: a folder with inputs, decks that run on shares of the ranks.

The run folder holds ``data.lammps``, ``model.pt`` (or ``potential.in``) and the manifest; each deck
runs in it or in a sub-folder and names these files by relative paths, so the folder can be moved.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpsi_driver import engine, manifest, parallel, progress, structure
from lbpsi_driver.config import DynamicsOptions, UsageError

DATA = "data.lammps"
POTENTIAL = "potential.in"


@dataclass(frozen=True)
class Task:
    """A deck that is run with a seed in a sub-folder, by the name that messages give it."""

    name: str
    subfolder: str
    seed: int
    variables: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """What all ranks need to know: the decks, and whether there is anything left to run."""

    runs: dict[str, engine.DeckRun]
    finished: bool


def input_files(options: DynamicsOptions, data: Path) -> dict[str, Path]:
    """Files that the result depends on, by option name.

    Parameters
    ----------
    options : DynamicsOptions
        Options of the verb.
    data : Path
        The cell.

    Raises
    ------
    UsageError
        No such model.
    """
    if options.potential is not None:
        return {"data": data, "potential": options.potential}
    # The import is heavy and runs without a model need none of it.
    from lbpsi_driver import potential

    return {"data": data, "model": potential.resolve(options.model)}


def lay_out(
    options: DynamicsOptions,
    folder: Path,
    data: Path,
    deck: str,
    final: str,
    tasks: Sequence[Task],
    *,
    threads: int,
) -> dict[str, engine.DeckRun]:
    """Write inputs, decks and commands of all tasks into the run folder; rank 0 calls it.

    Parameters
    ----------
    options : DynamicsOptions
        Options of the verb.
    folder : Path
        The run folder.
    data : Path
        The cell, in any format that ``structure.read_cell`` knows.
    deck, final : str
        The deck and the file it ends with.
    tasks : sequence of Task
        What is run with it.
    threads : int
        Threads a rank.

    Returns
    -------
    dict of str to DeckRun
        The decks by the tasks' names.

    Raises
    ------
    UsageError
        A cell, model or include that can't be used, or a folder that can't be written.
    """
    atoms = structure.read_cell(data)
    elements = structure.type_elements(atoms)
    with manifest.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    structure.write_data(folder / DATA, atoms)
    forces = _forces(options, folder, elements, threads)
    sizes = parallel.group_sizes(parallel.size(), len(tasks))
    runs = {}
    for number, task in enumerate(tasks):
        own = folder / task.subfolder
        variables = {"data": DATA, "elements": " ".join(elements), **forces, **task.variables}
        for name in {"data", "model", "potential"} & variables.keys():
            variables[name] = os.path.relpath(folder / variables[name], own)
        variables["seed"] = str(task.seed)
        runs[task.name] = engine.DeckRun(deck, own.resolve(), variables, final)
        with manifest.writing(own):
            own.mkdir(parents=True, exist_ok=True)
        runs[task.name].write(sizes[number % len(sizes)])
    return runs


def run_all(verb: str, runs: dict[str, engine.DeckRun]) -> None:
    """Run the decks that are not done, on all ranks; every rank calls it.

    Parameters
    ----------
    verb : str
        For messages and progress.
    runs : dict of str to DeckRun
        The decks by name.

    Raises
    ------
    UsageError
        On rank 0, after all the others have ended, for each deck that stopped.
    SystemExit
        On the other ranks then.
    """
    left = parallel.on_root(lambda: [name for name, run in runs.items() if not run.done])

    def work(name: str, comm: Any) -> None:
        runs[name].run(comm)

    folders = {name: runs[name].folder for name in left}
    with progress.watch(verb, folders, here=parallel.is_root()):
        outcomes = parallel.run_all(left, work)

    def check() -> None:
        failed = [(left[one.number], one.error) for one in outcomes or [] if one.error]
        if failed:
            what = "; ".join(f"{name}: {error}".removeprefix(": ") for name, error in failed)
            kept = [name for name in runs if name not in dict(failed)]
            others = f"; finished and kept: {', '.join(kept)}" if kept else ""
            raise UsageError(f"{verb} stopped: {what}{others}")

    parallel.on_root(check)


def carry_out(
    verb: str,
    options: DynamicsOptions,
    folder: Path,
    data: Path,
    lay: Callable[[], dict[str, engine.DeckRun]],
    *,
    owns: Sequence[str],
    collect: Callable[[dict[str, engine.DeckRun]], dict[str, Any]],
    dry_run: bool,
) -> dict[str, Any] | None:
    """Open the folder, run what is not done, store the result; every rank calls it.

    Parameters
    ----------
    verb : str
        Name of the manifest's record.
    options : DynamicsOptions
        Options of the verb.
    folder, data : Path
        Run folder and cell.
    lay : callable
        Writes the decks and returns them; called on rank 0.
    owns : sequence of str
        Patterns of the decks' files, set aside when a forced run supersedes another.
    collect : callable
        Makes the result from finished decks; called on rank 0.
    dry_run : bool
        Write the decks and stop.

    Returns
    -------
    dict or None
        The result on rank 0, unless ``dry_run``.

    Raises
    ------
    UsageError
        Bad input, a folder of another configuration, or a run that went wrong.
    """
    run: manifest.Run | None = None

    def begin() -> Plan:
        nonlocal run
        if dry_run:
            return Plan(lay(), finished=True)
        files = input_files(options, data)
        run = manifest.open_run(folder, verb, options, force=options.force, inputs=files, owns=owns)
        runs = lay()
        run.note(seeds={name: int(one.variables["seed"]) for name, one in runs.items()})
        return Plan(runs, run.finished is not None and all(one.done for one in runs.values()))

    plan = parallel.on_root(begin)
    if not plan.finished:
        run_all(verb, plan.runs)
    if run is None:
        return None
    if not plan.finished:
        run.finish(collect(plan.runs))
    return run.finished


def _forces(
    options: DynamicsOptions, folder: Path, elements: Sequence[str], threads: int
) -> dict[str, str]:
    """Variables that all decks share, paths relative to the run folder."""
    shared = {
        name: f"{getattr(options, name):.12g}"
        for name in ("timestep", "pressure", "thermo_every", "dump_every")
    }
    shared["barostat"] = options.barostat
    if options.potential is not None:
        _check_include(options.potential, elements)
        with manifest.writing(folder):
            shutil.copyfile(options.potential, folder / POTENTIAL)
        return shared | {"potential": POTENTIAL}
    from lbpsi_driver import potential

    model = potential.prepare(options, folder, elements)
    inside = model.is_relative_to(folder)
    return shared | {
        "pair": "stock",
        "model": str(model.relative_to(folder) if inside else model.resolve()),
        "device": options.device,
        "threads": str(threads),
        "dispersion": "yes" if options.dispersion else "no",
    }


def _check_include(path: Path, elements: Sequence[str]) -> None:
    """Refuse numbered types: the run folder's may differ from those of the user's own data file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"--potential {path}: {err}; expected a LAMMPS include file") from err
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["pair_coeff"] and any(re.search(r"\d", word) for word in words[1:3]):
            raise UsageError(
                f"--potential {path}: '{line.strip()}' numbers the atom types; name them, as in"
                f" pair_coeff {elements[0]} {elements[-1]}: the types are {' '.join(elements)}"
            )
