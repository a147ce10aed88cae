"""``quickstart``: the whole way on the default composition, stage by stage in one run folder.

Each stage is the very command that a user would type, so any of them can be repeated, changed or
continued by hand; ``commands.sh`` in the folder lists them.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console, Group
from rich.text import Text

from lbpsi_driver import manifest, parallel, potential, progress
from lbpsi_driver.config import (
    BuildOptions,
    Options,
    QuenchOptions,
    QuickstartOptions,
    SweepOptions,
    UsageError,
)
from lbpsi_driver.report.results import RESULTS, AnalyzeResult
from lbpsi_driver.series_options import SeriesOptions

VERB = "quickstart"
SCRIPT = "commands.sh"
OWNS = (RESULTS, "*.csv", "*.png", "*.cube")
"""Patterns of what the analysis leaves in the folder; the stages look after their own."""

_MOST_RANKS = 4


@dataclass(frozen=True)
class Stage:
    """A command of the way and the folders whose progress is worth watching."""

    verb: str
    options: Options
    ranks: int = 1
    watched: Mapping[str, Path] | None = None

    @property
    def arguments(self) -> list[str]:
        """Verb and flags: what differs from the defaults."""
        words = [self.verb]
        defaults = type(self.options)().model_dump(mode="json")
        for name, value in self.options.model_dump(mode="json").items():
            if value == defaults[name]:
                continue
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            elif isinstance(value, list) and isinstance(value[0], str):
                words += [word for item in value for word in (flag, item)]
            elif isinstance(value, list):
                words += [flag, ",".join(f"{item:g}" for item in value)]
            else:
                words += [flag, str(value)]
        return words

    @property
    def by_hand(self) -> str:
        """The command as a user types it."""
        launch = ["mpirun", "-n", str(self.ranks)] if self.ranks > 1 else []
        return shlex.join([*launch, "python", "-m", "lbpsi_driver", *self.arguments])


class QuickstartResult(BaseModel):
    """Result of ``quickstart``.

    Attributes
    ----------
    protocol, note : str
        The schedule and what it means for the numbers.
    model : str
        The potential.
    trust : str
        How far its card says to trust it.
    warning : str or None
        What the card warns of.
    commands : list of str
        The stages by hand.
    analysis : AnalyzeResult or None
        The numbers; None after a dry run.
    """

    protocol: str
    note: str
    model: str
    trust: str
    warning: str | None
    commands: list[str]
    analysis: AnalyzeResult | None = None

    def table(self) -> Group:
        """Render for a terminal: what the numbers are worth, then the table of ``analyze``."""
        remarks = [f"protocol {self.protocol}: {self.note}", f"model {self.model}: {self.trust}"]
        if self.warning:
            remarks.append(f"warning: {self.warning}")
        body = self.analysis.table() if self.analysis else Text("\n".join(self.commands))
        return Group(*(Text(remark) for remark in remarks), body)


def protocol(name: str) -> dict[str, Any]:
    """Return a schedule of ``data/protocols.toml``."""
    file = resources.files("lbpsi_driver") / "data" / "protocols.toml"
    table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))[name]
    return table


def stages(options: QuickstartOptions) -> list[Stage]:
    """Lay out the commands of the way.

    Parameters
    ----------
    options : QuickstartOptions
        Protocol, model, ranks, seed and folder.

    Returns
    -------
    list of Stage
        build, the protocol's quenches, sweep, analyze.
    """
    schedule, root = protocol(options.protocol), options.output
    cores = parallel.usable_cores()
    ranks = options.ranks or min(cores, _MOST_RANKS)
    shared = options.model_dump(include={"model", "dtype", "seed", "force"})
    shared["threads"] = max(1, cores // ranks)

    build = BuildOptions(seed=options.seed, force=options.force, output=root / "build")
    way, cell = [Stage("build", build)], root / "build" / "data.lammps"
    for quench in schedule["quench"]:
        folder = root / quench["folder"]
        chosen = {key: value for key, value in quench.items() if key != "folder"}
        melt = QuenchOptions(data=cell, output=folder, **shared, **chosen)
        way.append(Stage("quench", melt, ranks, {"": folder}))
        cell = folder / "data.quenched"
    sweep = SweepOptions(data=cell, output=root / "sweep", **shared, **schedule["sweep"])
    watched = {f"T{kelvin:g}": root / "sweep" / f"T{kelvin:g}" for kelvin in sweep.temperatures}
    way.append(Stage("sweep", sweep, ranks, watched))
    return [*way, Stage("analyze", SeriesOptions(run=(root / "sweep",), output=root))]


def quickstart(options: QuickstartOptions, *, dry_run: bool = False) -> QuickstartResult:
    """Build, quench, sweep and analyse the default cell.

    In a finished folder each stage returns what it has stored, and the analysis is made again.

    Parameters
    ----------
    options : QuickstartOptions
        Protocol, model, ranks, seed and folder.
    dry_run : bool
        Write ``commands.sh`` and stop.

    Returns
    -------
    QuickstartResult
        The numbers and what they are worth.

    Raises
    ------
    UsageError
        Launched by mpirun, no such model, a folder of another configuration, or a stage that
        stopped: its own line.
    """
    if int(os.environ.get("PMI_SIZE", "1")) > 1:
        raise UsageError("quickstart starts its own ranks: run it without mpirun, with --ranks N")
    card, way = potential.card(options.model), stages(options)
    result = QuickstartResult(
        protocol=options.protocol,
        note=protocol(options.protocol)["note"],
        model=options.model,
        trust=card["trust"],
        warning=card.get("warning"),
        commands=[stage.by_hand for stage in way],
    )
    folder, force = options.output, options.force
    inputs = {"model": potential.resolve(options.model)}
    if dry_run:
        manifest.refuse_conflict(folder, VERB, options, force=force, inputs=inputs, owns=OWNS)
        _write_script(folder, result.commands)
        return result
    run = manifest.open_run(folder, VERB, options, force=force, inputs=inputs, owns=OWNS)
    _write_script(folder, result.commands)
    run.note(stages=result.commands)
    found: dict[str, Any] = {}
    for number, stage in enumerate(way, start=1):
        found = _run(stage, f"{number}/{len(way)} {stage.verb}")
    result.analysis = AnalyzeResult(**found)
    run.finish({"files": result.analysis.files})
    return result


def _write_script(folder: Path, commands: Sequence[str]) -> None:
    with manifest.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    manifest.write_atomic(folder / SCRIPT, "\n".join(["#!/bin/sh", "set -e", *commands, ""]))


def _run(stage: Stage, title: str) -> dict[str, Any]:
    """Run a stage in processes of its own, so that a crash there ends no more than the stage."""
    launch = [str(parallel.mpiexec()), "-n", str(stage.ranks)] if stage.ranks > 1 else []
    command = [*launch, sys.executable, "-m", "lbpsi_driver", *stage.arguments, "--json"]
    Console(stderr=True).print(title, style="bold")
    with progress.watch(stage.verb, stage.watched or {}):
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, progress.VARIABLE: "off"},
            check=False,
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {"error": f"ended with exit code {done.returncode} and no result"}
    if "error" in answer:
        raise UsageError(f"{stage.verb}: {answer['error']}; by hand: {stage.by_hand}")
    return answer
