"""What ``quench`` and ``sweep`` share: a folder with inputs, decks that run on shares of the ranks.

The run folder holds ``data.start``, ``model.pt`` (or ``potential.in``) and the manifest; each deck
runs in it or in a sub-folder and names these files by relative paths, so the folder can be moved.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpsi_driver import engine, manifest, motif_history, parallel, progress, structure
from lbpsi_driver.config import DynamicsOptions, PotentialOptions, UsageError

DATA = "data.start"
POTENTIAL = "potential.in"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A deck that is run with a seed in a sub-folder, by the name that messages give it."""

    name: str
    subfolder: str
    seed: int
    variables: dict[str, str]


@dataclass(frozen=True)
class Campaign:
    """A verb's decks in one run folder.

    Attributes
    ----------
    verb : str
        Name of the manifest's record.
    options : DynamicsOptions
        Options of the verb.
    folder, data : Path
        Run folder, and the cell in any format that ``structure.read_cell`` knows.
    deck, final : str
        The deck and the file it ends with.
    tasks : tuple of Task
        What is run with it.
    owns : tuple of str
        Patterns of the decks' files, set aside when a forced run supersedes another.
    """

    verb: str
    options: DynamicsOptions
    folder: Path
    data: Path
    deck: str
    final: str
    tasks: tuple[Task, ...]
    owns: tuple[str, ...]

    def carry_out(
        self, collect: Callable[[], dict[str, Any]], *, dry_run: bool
    ) -> dict[str, Any] | None:
        """Open the folder, run what is not done, store the result; every rank calls it.

        Parameters
        ----------
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
        # Collective, so before rank 0 goes ahead alone.
        threads = self.options.threads or parallel.threads_per_rank()
        if dry_run:
            parallel.on_root(lambda: self._lay_out_dry(threads))
            return None
        # Only rank 0 holds the manifest.
        opened: list[manifest.Run] = []

        def begin() -> dict[str, engine.DeckRun] | None:
            run = manifest.open_run(**self._claim())
            opened.append(run)
            finals = (self.folder / task.subfolder / self.final for task in self.tasks)
            if run.finished is not None and all(map(engine.is_whole, finals)):
                return None
            run.note(seeds={task.name or self.verb: task.seed for task in self.tasks})
            return self._lay_out(threads)

        decks = parallel.on_root(begin)
        if decks is not None:
            run_all(self.verb, decks)
            for run in opened:
                run.finish(collect())
        return opened[0].finished if opened else None

    def _claim(self) -> dict[str, Any]:
        """Collect what the manifest compares with what is in the folder."""
        return {
            "folder": self.folder,
            "verb": self.verb,
            "options": self.options,
            "force": self.options.force,
            "inputs": input_files(self.options, self.data),
            "owns": self.owns,
        }

    def _lay_out_dry(self, threads: int) -> None:
        manifest.refuse_conflict(**self._claim())
        self._lay_out(threads)
        logger.info("written: %s: decks, forces and run.sh; nothing was run", self.folder)

    def _lay_out(self, threads: int) -> dict[str, engine.DeckRun]:
        """Write inputs, decks and the commands that run them; return the decks by task."""
        atoms = structure.read_cell(self.data)
        elements = structure.type_elements(atoms)
        with manifest.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        structure.write_data(self.folder / DATA, atoms)
        shared = {"data": DATA, "elements": " ".join(elements)}
        shared |= _settings(self.options, elements)
        shared |= forces(self.options, self.folder, elements, threads)
        sizes = parallel.group_sizes(parallel.size(), len(self.tasks))
        runs = {}
        for number, task in enumerate(self.tasks):
            own = self.folder / task.subfolder
            variables = shared | task.variables | {"seed": str(task.seed)}
            for name in {"data", "model", "potential"} & variables.keys():
                variables[name] = os.path.relpath(self.folder / variables[name], own)
            runs[task.name] = engine.DeckRun(self.deck, own.resolve(), variables, self.final)
            runs[task.name].write(sizes[number % len(sizes)])
        return runs


def input_files(options: PotentialOptions, data: Path) -> dict[str, Path]:
    """Files that the result depends on, by option name.

    Parameters
    ----------
    options : PotentialOptions
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
        On rank 0, after all the others have ended, for each deck that stopped; an
        ``engine.RunawayError`` where each of these ran away.
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
            ran_away = all(isinstance(error, engine.RunawayError) for _, error in failed)
            kind = engine.RunawayError if ran_away else UsageError
            raise kind(f"{verb} stopped: {what}{others}")

    parallel.on_root(check)


def forces(
    options: PotentialOptions, folder: Path, elements: Sequence[str], threads: int
) -> dict[str, str]:
    """Put the potential into the run folder and return the variables of mod.potential.

    Parameters
    ----------
    options : PotentialOptions
        Options of the verb.
    folder : Path
        The run folder; paths among the variables are relative to it, or absolute.
    elements : sequence of str
        Elements of the cell.
    threads : int
        Threads a rank.

    Raises
    ------
    UsageError
        No such model or include file, or one that does not fit the elements.
    """
    if options.potential is not None:
        _check_include(options.potential, elements)
        with manifest.writing(folder):
            shutil.copyfile(options.potential, folder / POTENTIAL)
        return {"potential": POTENTIAL}
    from lbpsi_driver import potential

    model = potential.prepare(options, folder, elements)
    inside = model.is_relative_to(folder)
    return {
        "pair": "stock",
        "model": str(model.relative_to(folder) if inside else model.resolve()),
        "device": options.device,
        "threads": str(threads),
        "dispersion": "yes" if options.dispersion else "no",
    }


def _settings(options: DynamicsOptions, elements: Sequence[str]) -> dict[str, str]:
    """Variables of the dynamics that all decks share."""
    names = ("timestep", "pressure", "thermo_every", "dump_every")
    shared = {name: f"{getattr(options, name):.12g}" for name in names}
    return shared | {"barostat": options.barostat} | motif_history.variables(options, elements)


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
