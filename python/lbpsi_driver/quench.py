"""``quench``: melt a cell and quench it to a glass, by ``lammps_inputs/quench.in``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.table import Table

from lbpsi_driver import dynamics, engine, history
from lbpsi_driver.config import QuenchOptions

DECK = "quench.in"
FINAL = "data.quenched"
OWNS = (*engine.OUTPUTS, *(f"replica*/{pattern}" for pattern in engine.OUTPUTS))


class QuenchedCell(BaseModel):
    """One quenched cell and where its files are.

    Attributes
    ----------
    seed : int
        Seed of its velocities.
    data : Path
        LAMMPS data file of the glass.
    folder : Path
        Run folder with history, trajectory and log.
    temperature : float or None
        Mean temperature of the equilibration after the quench, K; None where it has no rows.
    density : float or None
        Mean density of that equilibration, g/cm3.
    melt_density : float or None
        Mean density while the melt was held, g/cm3.
    """

    seed: int
    data: Path
    folder: Path
    temperature: float | None
    density: float | None
    melt_density: float | None


class QuenchResult(BaseModel):
    """Result of ``quench``: a glass a replica."""

    cells: tuple[QuenchedCell, ...]

    def table(self) -> Table:
        """Lay the result out for the terminal; the columns carry their units."""
        table = Table(title="Quenched cells")
        for column in ("seed", "T / K", "ρ melt / g/cm3", "ρ / g/cm3"):
            table.add_column(column, justify="right")
        table.add_column("file")
        for cell in self.cells:
            table.add_row(
                str(cell.seed),
                _number(cell.temperature, 0),
                _number(cell.melt_density, 3),
                _number(cell.density, 3),
                str(cell.data),
            )
        return table


def quench(options: QuenchOptions, *, dry_run: bool = False) -> QuenchResult | None:
    """Melt and quench a cell, once a replica; an interrupted run goes on where it was.

    Every rank calls it; replicas share the ranks out. The protocol is that of the SI of An,
    "Corner-Sharing PS4-BS4 Modes Facilitate Fast Ion Conduction", sections 2 and 5.

    Parameters
    ----------
    options : QuenchOptions
        Cell, schedule, model and run folder.
    dry_run : bool
        Write the decks, the cell and the command that runs them, and stop.

    Returns
    -------
    QuenchResult or None
        On rank 0, unless ``dry_run``.

    Raises
    ------
    UsageError
        Bad input, a folder that belongs to another configuration, or a run that went wrong.
    """
    campaign = dynamics.Campaign(
        "quench", options, options.output, options.data, DECK, FINAL, _tasks(options), OWNS
    )
    result = campaign.carry_out(lambda: _collect(options), dry_run=dry_run)
    return None if result is None else QuenchResult.model_validate(result)


def _tasks(options: QuenchOptions) -> tuple[dynamics.Task, ...]:
    names = ("low", "high", "rate", "warm", "relax", "hold", "equilibrate")
    schedule = {name: f"{getattr(options, name):.12g}" for name in names}
    schedule["supercell"] = " ".join(map(str, options.supercell))
    schedule["melt_ensemble"] = options.melt_ensemble
    if options.replicas == 1:
        return (dynamics.Task("", "", options.seed, schedule),)
    return tuple(
        dynamics.Task(f"replica {number}", f"replica{number}", options.seed + number - 1, schedule)
        for number in range(1, options.replicas + 1)
    )


def _collect(options: QuenchOptions) -> dict[str, Any]:
    cells = []
    for task in _tasks(options):
        folder = options.output / task.subfolder
        rows = history.read_history(folder)
        cells.append(
            QuenchedCell(
                seed=task.seed,
                data=folder / FINAL,
                folder=folder,
                temperature=rows.mean("temperature", "equilibrate"),
                density=rows.mean("density", "equilibrate"),
                melt_density=rows.mean("density", "hold"),
            )
        )
    return QuenchResult(cells=tuple(cells)).model_dump(mode="json")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
