"""``sweep``: the quenched glass at several temperatures, by ``lammps_inputs/sweep.in``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.table import Table

from lbpsi_driver import dynamics, engine, history
from lbpsi_driver.config import SweepOptions

DECK = "sweep.in"
FINAL = "data.final"
OWNS = tuple(f"T*/{pattern}" for pattern in engine.OUTPUTS)


class SweptRun(BaseModel):
    """The run at one temperature and where its files are.

    Attributes
    ----------
    temperature : float
        Target temperature, K.
    seed : int
        Seed of its velocities.
    folder : Path
        Run folder with history and log.
    trajectory : Path
        Frames of the production, image flags counting from its start.
    mean_temperature : float or None
        Mean temperature of the production, K; None where it has no rows.
    density : float or None
        Mean density of the production, g/cm3.
    """

    temperature: float
    seed: int
    folder: Path
    trajectory: Path
    mean_temperature: float | None
    density: float | None


class SweepResult(BaseModel):
    """Result of ``sweep``: a run a temperature, in the order asked for."""

    runs: tuple[SweptRun, ...]

    def table(self) -> Table:
        """Lay the result out for the terminal; the columns carry their units."""
        table = Table(title="Sweep")
        for column in ("T / K", "mean T / K", "ρ / g/cm3", "seed"):
            table.add_column(column, justify="right")
        table.add_column("trajectory")
        for run in self.runs:
            table.add_row(
                f"{run.temperature:g}",
                "-" if run.mean_temperature is None else f"{run.mean_temperature:.0f}",
                "-" if run.density is None else f"{run.density:.3f}",
                str(run.seed),
                str(run.trajectory),
            )
        return table


def sweep(options: SweepOptions, *, dry_run: bool = False) -> SweepResult | None:
    """Run the glass at each temperature; an interrupted sweep goes on where it was.

    Every rank calls it; temperatures share the ranks out, and the numbers are those of one after
    another on as many ranks each. A run that fails leaves the others alone.

    Parameters
    ----------
    options : SweepOptions
        Cell, temperatures, times, model and run folder.
    dry_run : bool
        Write the decks, the cell and the commands that run them, and stop.

    Returns
    -------
    SweepResult or None
        On rank 0, unless ``dry_run``.

    Raises
    ------
    UsageError
        Bad input, a folder that belongs to another configuration, or, after the others have
        ended, a run that went wrong.
    """
    campaign = dynamics.Campaign(
        "sweep", options, options.output, options.data, DECK, FINAL, _tasks(options), OWNS
    )
    result = campaign.carry_out(lambda: _collect(options), dry_run=dry_run)
    return None if result is None else SweepResult.model_validate(result)


def _tasks(options: SweepOptions) -> tuple[dynamics.Task, ...]:
    shared = {name: f"{getattr(options, name):.12g}" for name in ("time", "equilibrate")}
    shared["mobile"] = options.mobile
    return tuple(
        dynamics.Task(
            f"{temperature:g} K",
            f"T{temperature:g}",
            # From the temperature, not from its place in the list, so that order doesn't matter.
            options.seed + round(temperature),
            {"temperature": f"{temperature:.12g}", **shared},
        )
        for temperature in options.temperatures
    )


def _collect(options: SweepOptions) -> dict[str, Any]:
    swept = []
    for task, temperature in zip(_tasks(options), options.temperatures, strict=True):
        folder = options.output / task.subfolder
        rows = history.read_history(folder)
        swept.append(
            SweptRun(
                temperature=temperature,
                seed=task.seed,
                folder=folder,
                trajectory=folder / history.TRAJECTORY,
                mean_temperature=rows.mean("temperature", "production"),
                density=rows.mean("density", "production"),
            )
        )
    return SweepResult(runs=tuple(swept)).model_dump(mode="json")
