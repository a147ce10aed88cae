"""Where the trajectories of a run are, and what its manifest tells about them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpsi_driver.config import AnalysisOptions, AnalyzeOptions, CutoffOptions, UsageError
from lbpsi_driver.history import HISTORY, TRAJECTORY
from lbpsi_driver.manifest import stored_record

Cutoffs = dict[str, Any]
"""`bonds` and `chain` of :func:`lbpsi_driver.observables.motifs.find_motifs`."""

_LOG = logging.getLogger(__name__)
_TEMPERATURE_FOLDER = re.compile(r"T(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Source:
    """A trajectory to analyse.

    Attributes
    ----------
    label : str
        Name of the run.
    path : Path
        The file.
    temperature_K, timestep_fs : float or None
        Where they are known.
    cutoffs : dict
        `bonds` and `chain` of :func:`lbpsi_driver.observables.motifs.find_motifs`.
    deck : Path or None
        Folder of what the deck wrote with the same cutoffs.
    """

    label: str
    path: Path
    temperature_K: float | None
    timestep_fs: float | None
    cutoffs: Cutoffs
    deck: Path | None


def find(options: AnalyzeOptions) -> tuple[list[Source], list[str]]:
    """Find the trajectories of a run.

    Parameters
    ----------
    options : AnalyzeOptions
        The run, and what its files don't tell.

    Returns
    -------
    sources : list of Source
        By temperature.
    warnings : list of str
        What is missing.

    Raises
    ------
    UsageError
        No such file or folder.
    """
    run = options.run
    if run.is_file():
        if run.name != TRAJECTORY or not _TEMPERATURE_FOLDER.fullmatch(run.resolve().parent.name):
            deck = run.parent if run.name == TRAJECTORY else None
            about = (options.temperature, options.timestep, options.cutoffs, deck)
            return [Source(run.stem, run, *about)], []
        run = run.parent
    if not run.is_dir():
        raise UsageError(f"--run {run}: no such file or folder; run sweep first")
    folders = {}
    for folder in [run, *run.iterdir()]:
        match = _TEMPERATURE_FOLDER.fullmatch(folder.resolve().name)
        if match and folder.is_dir():
            folders[float(match[1])] = folder
    sources, warnings = [], []
    for temperature, folder in sorted(folders.items()):
        path = folder / TRAJECTORY
        if path.is_file():
            of_run = sweep_options(folder.parent)
            timestep = options.timestep or of_run.get("timestep")
            cutoffs = _cutoffs(options, of_run)
            deck = folder if cutoffs == _cutoffs(AnalysisOptions(), of_run) else None
            about = (temperature, timestep, cutoffs, deck)
            sources.append(Source(folder.resolve().name, path, *about))
        elif folder != run:
            warnings.append(f"{folder.name}: no {TRAJECTORY} yet, left out")
    for warning in warnings:
        _LOG.warning(warning)
    return sources, warnings


def sweep_options(folder: Path) -> dict[str, Any]:
    """Options of the sweep from its manifest; empty where there is none."""
    options: dict[str, Any] = stored_record(folder, "sweep").get("options", {})
    return options


def quench_history(run: Path) -> Path | None:
    """History of a quench: in its own folder, or beside the cell that a sweep started from."""
    if not run.is_dir():
        return None
    data = sweep_options(run).get("data")
    places = [run, *([Path(data).parent] if data else [])]
    return next((p / HISTORY for p in places if (p / HISTORY).is_file()), None)


def _cutoffs(options: AnalysisOptions, of_run: Mapping[str, Any]) -> Cutoffs:
    """Cutoffs of motifs: those given here, else those that the run was made with."""
    chosen = {
        name: getattr(options, name) if name in options.model_fields_set else of_run.get(name)
        for name in CutoffOptions.model_fields
    }
    return CutoffOptions(**{name: value for name, value in chosen.items() if value}).cutoffs


def scratch(output: Path) -> Path | None:
    """Folder of the temporary files of long trajectories: ``$TMPDIR``, else beside the output."""
    return None if "TMPDIR" in os.environ else output
