"""Melt-quenches and NPT runs of the model itself, by our LAMMPS decks, and frames drawn from them.

What users run is what is validated: the same decks, the same exported model. A run that the decks'
guard stops is an outcome: what it left is used, and the reason is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import ase
import numpy as np
from pydantic import BaseModel, ConfigDict

from lbpsi_driver import config, engine, history, manifest, quench, sweep
from lbpsi_driver.config import QuenchOptions, SweepOptions, UsageError
from lbpsi_driver.training import deck_runs
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.calculators import Worker
from lbpsi_driver.training.options import Cell, ValidateOptions

CELL = "cell_name"
STOPPED = "stopped"

_MOTIONLESS = {"motifs": False}

logger = logging.getLogger(__name__)


class Dynamics(BaseModel):
    """How a run of the model went.

    Attributes
    ----------
    folder : Path
        Run folder.
    final : Path or None
        The cell at its end; None where it was stopped.
    stopped : str or None
        Why it was stopped; None where it was not.
    density_g_cm3, melt_density_g_cm3 : float or None
        Mean density at its end, of a melt-quench also while the melt was held.
    density_spread_g_cm3 : float or None
        Standard deviation of the first of these in time.
    temperature_K : float or None
        Mean temperature there.
    time_ps : float
        How long it ran.
    lost_atoms : int
        Atoms of the first frame that the last one lacks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    final: Path | None
    stopped: str | None
    density_g_cm3: float | None
    density_spread_g_cm3: float | None
    melt_density_g_cm3: float | None
    temperature_K: float | None
    time_ps: float
    lost_atoms: int


def quench_options(options: ValidateOptions, cell: Cell, data: Path, folder: Path) -> QuenchOptions:
    """Return the options of a cell's melt-quench.

    Raises
    ------
    UsageError
        A bad value in the table ``quench`` of the run file.
    """
    given = config.underscored(options.quench)
    values = _MOTIONLESS | {"seed": cell.seed} | given | _shared(options, data, folder)
    return config.options(QuenchOptions, values, dict.fromkeys(given, "quench"))


def npt_options(options: ValidateOptions, cell: Cell, data: Path, folder: Path) -> SweepOptions:
    """Return the options of a cell's NPT run.

    Raises
    ------
    UsageError
        A bad value in the table ``npt``, or frames too far apart to draw as many as are wanted.
    """
    given = config.underscored(options.npt)
    values = _MOTIONLESS | {"seed": cell.seed} | given | _shared(options, data, folder)
    values |= {"temperatures": (options.own_temperature,), "time": options.own_time}
    made = config.options(SweepOptions, values, dict.fromkeys(given, "npt"))
    frames = int(options.own_time / made.dump_every + 1e-6)
    if frames < options.own_frames:
        raise UsageError(
            f"--own-frames {options.own_frames}: {options.own_time:g} ps hold {frames} frames,"
            f" {made.dump_every:g} ps apart; run longer or set dump_every in [train.validate.npt]"
        )
    return made


def wants_cells(options: ValidateOptions) -> bool:
    """Tell whether any part of a validation needs the cells."""
    wants_glass = options.own_frames or options.volume_points or options.drift_time
    return bool(options.quench_frames or wants_glass or options.short_range_points)


def check(options: ValidateOptions, model: str, known: Collection[str]) -> None:
    """Refuse cells and options of the decks that can't be run, before anything is.

    Parameters
    ----------
    options : ValidateOptions
        The validation.
    model : str
        Name of the model, for messages.
    known : collection of str
        Its elements.

    Raises
    ------
    UsageError
        One line that names the cell.
    """
    for number, cell in enumerate(options.cell):
        quench_options(options, cell, Path("data"), Path("."))
        npt_options(options, cell, Path("data"), Path("."))
        try:
            lacking = sorted(deck_runs.elements_of(cell) - set(known))
        except UsageError as err:
            raise UsageError(f"cell[{number}]: {err}") from err
        if lacking and wants_cells(options):
            raise UsageError(
                f"cell[{number}]: --model {model}: has no {lacking[0]}; it knows {', '.join(known)}"
            )


def refuse_reference(options: ValidateOptions) -> None:
    """Start the reference once, before hours of dynamics whose frames it could not label.

    Raises
    ------
    UsageError
        It can't start, or it lacks an element of a cell.
    """
    if not labels_due(options) or options.reference.kind == "vasp":
        return
    with Worker(options.reference) as worker:
        for cell in options.cell:
            worker.refuse_unknown(deck_runs.elements_of(cell))


def labels_due(options: ValidateOptions) -> int:
    """Return how many frames the reference is asked about, at most."""
    each = options.own_frames + options.quench_frames + options.volume_points
    if not options.labels_short_range:
        return len(options.cell) * each
    pairs = {
        pair
        for cell in options.cell
        for pair in combinations_with_replacement(sorted(deck_runs.elements_of(cell)), 2)
    }
    # Alone, and in a cell.
    return len(options.cell) * each + 2 * len(pairs) * options.short_range_points


def times_due(options: ValidateOptions, cell: Cell) -> dict[str, float]:
    """Return the length of each run of a cell by the model, ps.

    Parameters
    ----------
    options : ValidateOptions
        The validation.
    cell : Cell
        One of its cells.

    Returns
    -------
    dict of str to float
        By what is run; without what isn't.
    """
    times: dict[str, float] = {}
    if options.quench_frames or (cell.data is None and wants_cells(options)):
        melt = quench_options(options, cell, Path("data"), Path("."))
        ramps = 2 * (melt.high - melt.low) / melt.rate
        times["melt-quench"] = melt.warm + melt.relax + ramps + melt.hold + melt.equilibrate
    if options.own_frames:
        wanted = npt_options(options, cell, Path("data"), Path("."))
        times["NPT equilibration"], times["NPT"] = wanted.equilibrate, wanted.time
    if options.drift_time:
        times["NVE in two precisions"] = 2 * options.drift_time
    return times


def _shared(options: ValidateOptions, data: Path, folder: Path) -> dict[str, Any]:
    same = {name: getattr(options, name) for name in ("head", "dtype", "device", "timestep")}
    return same | {"model": str(options.model), "data": data, "output": folder}


def melt_quench(options: QuenchOptions) -> Dynamics:
    """Melt and quench a cell, or read how that went.

    Parameters
    ----------
    options : QuenchOptions
        What :func:`quench_options` returned.

    Raises
    ------
    UsageError
        Bad input, or a machine that failed; a run that the guard stopped raises nothing.
    """
    stopped = _carry_out(lambda: quench.quench(options), options.output)
    return _outcome(options.output, quench.FINAL, stopped, "equilibrate")


def npt(options: SweepOptions) -> Dynamics:
    """Run a cell at constant pressure, or read how that went.

    Parameters
    ----------
    options : SweepOptions
        What :func:`npt_options` returned.

    Raises
    ------
    UsageError
        Bad input, or a machine that failed; a run that the guard stopped raises nothing.
    """
    run = options.output / f"T{options.temperatures[0]:g}"
    stopped = _carry_out(lambda: sweep.sweep(options), options.output)
    return _outcome(run, sweep.FINAL, stopped, "production")


def _carry_out(work: Callable[[], object], folder: Path) -> str | None:
    """Run decks; return why they were stopped, where the model and not the machine is to blame."""
    mark = folder / STOPPED
    if mark.exists():
        return mark.read_text(encoding="utf-8").strip()
    try:
        work()
    except engine.RunawayError as err:
        logger.warning("%s: %s", folder, err)
        manifest.write_atomic(mark, f"{err}\n")
        return str(err)
    return None


def _outcome(folder: Path, final: str, stopped: str | None, stage: str) -> Dynamics:
    rows = history.read_history(folder)
    of_stage = rows.density[rows.stage == stage]
    return Dynamics(
        folder=folder,
        final=folder / final if engine.is_whole(folder / final) else None,
        stopped=stopped,
        density_g_cm3=rows.mean("density", stage),
        density_spread_g_cm3=float(of_stage.std()) if len(of_stage) else None,
        melt_density_g_cm3=rows.mean("density", "hold"),
        temperature_K=rows.mean("temperature", stage),
        time_ps=float(rows.time[-1]) if len(rows.time) else 0.0,
        lost_atoms=_lost(folder / history.TRAJECTORY),
    )


def _lost(dump: Path) -> int:
    """Atoms that the last frame of a dump has fewer than its first."""
    if not dump.is_file():
        return 0
    counts = []
    with dump.open(encoding="utf-8") as stream:
        for line in stream:
            if line.startswith("ITEM: NUMBER OF ATOMS"):
                counts.append(int(next(stream)))
    return counts[0] - counts[-1] if counts else 0


def draw(frames: list[ase.Atoms], number: int, seed: int) -> list[ase.Atoms]:
    """Draw frames at random without replacement, at most all of them, in order of time."""
    size = min(number, len(frames))
    chosen = np.random.default_rng(seed).choice(len(frames), size, replace=False)
    return [frames[index] for index in np.sort(chosen)]


def spread(frames: list[ase.Atoms], number: int) -> list[ase.Atoms]:
    """Choose frames evenly from each stage, each stage as many as the others where it has them.

    Parameters
    ----------
    frames : list of ase.Atoms
        In order of time, with their stages.
    number : int
        How many in all.
    """
    stages: dict[str, list[ase.Atoms]] = {}
    for atoms in frames:
        stages.setdefault(atoms.info[deck_runs.STAGE], []).append(atoms)
    chosen = []
    left = number
    # From the shortest on, so that what it can't give the longer ones do.
    for place, name in enumerate(sorted(stages, key=lambda name: len(stages[name]))):
        members = stages[name]
        share = min(len(members), round(left / (len(stages) - place)))
        left -= share
        middles = (np.arange(share) + 0.5) * len(members) / max(share, 1)
        chosen += [members[int(index)] for index in middles]
    return sorted(chosen, key=lambda atoms: int(atoms.info[store.STEP]))
