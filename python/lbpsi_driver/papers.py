"""The papers' numbers: ``data/papers/*.toml``, a file a paper, a row a number."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lbpsi_driver.config import UsageError


class Protocol(BaseModel):
    """How a paper came by a number; None where it doesn't say or it doesn't apply.

    Attributes
    ----------
    label : str
        What it is in a few words.
    kind : str
        ``MD`` with a fitted or classical potential, ``AIMD``, ``static`` or ``experiment``.
    composition : str or None
        mol % of salts or a formula; a row's own wins.
    atoms : int or None
        Atoms in the cell.
    temperatures_K : tuple of float
        Of an Arrhenius line.
    time_ps : float or None
        Production at each temperature.
    rate_K_per_ps, high_K, hold_ps, equilibrate_ps : float or None
        The quench.
    replicas : int or None
        Independent glasses.
    model : str or None
        Forces.
    strain : float or None
        Of elastic constants.
    where : str
        Section that says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    kind: Literal["MD", "AIMD", "static", "experiment"]
    composition: str | None = None
    atoms: int | None = None
    temperatures_K: tuple[float, ...] = ()
    time_ps: float | None = None
    rate_K_per_ps: float | None = None
    high_K: float | None = None
    hold_ps: float | None = None
    equilibrate_ps: float | None = None
    replicas: int | None = None
    model: str | None = None
    strain: float | None = None
    where: str


class Row(BaseModel):
    """One number of a paper.

    Attributes
    ----------
    key : str
        Which of our numbers it is beside, as in ``series.json``.
    label : str
        What the reader sees.
    value : float or tuple of float
        The number, or lowest and highest of a range.
    unit : str
        Its unit; empty for shares (of 1) and counts, ``times`` for ratios.
    where : str
        Section, figure or table.
    protocol : str
        Name of the protocol in the file.
    composition : str or None
        In place of the protocol's.
    temperature_K : float or None
        None where the number has none, as Ea.
    time_ps : float or None
        In place of the protocol's.
    note : str or None
        Another definition than ours, in a few words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    label: str
    value: float | tuple[float, float]
    unit: str
    where: str
    protocol: str
    composition: str | None = None
    temperature_K: float | None = None
    time_ps: float | None = None
    note: str | None = None


class Paper(BaseModel):
    """A paper's file.

    Attributes
    ----------
    title, source : str
        The paper.
    charge_e : float
        Charge of the mobile ion in its conductivities, e: ours are brought to it.
    protocols : dict of str to Protocol
        By name.
    rows : tuple of Row
        Its numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    charge_e: float = 1.0
    protocols: dict[str, Protocol]
    rows: tuple[Row, ...] = Field(min_length=1)

    def protocol(self, row: Row) -> Protocol:
        """Give a row's protocol with what the row says otherwise."""
        own = {"composition": row.composition, "time_ps": row.time_ps}
        return self.protocols[row.protocol].model_copy(
            update={name: value for name, value in own.items() if value is not None}
        )


def known() -> list[str]:
    """List the papers that there are."""
    folder = resources.files("lbpsi_driver") / "data" / "papers"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir())


def read_paper(name: str) -> Paper:
    """Read a paper's numbers.

    Raises
    ------
    UsageError
        No such paper; the line lists those that there are.
    """
    if name not in known():
        close = difflib.get_close_matches(name, known(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"--paper {name}: expected {', '.join(known())}{hint}")
    file = resources.files("lbpsi_driver") / "data" / "papers" / f"{name}.toml"
    return Paper.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
