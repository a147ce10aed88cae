"""Compositions: mol % or numbers of building units -> a charge-neutral set of whole units.

A *building unit* is a salt (Li2S, B2S3, …), a bare ion (Li, S, I, …) or an anion of a glass (PS4,
BS3, …); the table of them is ``data/building_units.toml``. Sets of units are dictionaries of
formula to number.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lbpsi_driver.config import UsageError

Position = tuple[float, float, float]

_SEARCHED_SIZES = 2000
_SEARCHED_SETS = 20_000
_WIDEST_WINDOW = 8


class BuildingUnit(BaseModel):
    """One row of the table of building units.

    Attributes
    ----------
    packed : {"ion", "ions", "molecule", "anion"}
        Packed as one loose ion, as the loose ions of a salt, or whole.
    symbols : tuple of str
        Elements of what is packed whole, in the order of ``positions``; empty for others.
    positions : tuple of (float, float, float)
        Starting geometry of what is packed whole, Å; empty for others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    packed: Literal["ion", "ions", "molecule", "anion"]
    symbols: tuple[str, ...] = ()
    positions: tuple[Position, ...] = ()


class UnitTable(BaseModel):
    """``data/building_units.toml``.

    Attributes
    ----------
    type_order : tuple of str
        Elements in the order of their LAMMPS atom types.
    charges : dict of str to int
        Formal charge of each element, e.
    units : dict of str to BuildingUnit
        The building units by formula.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type_order: tuple[str, ...]
    charges: dict[str, int]
    units: Annotated[dict[str, BuildingUnit], Field(min_length=1)]

    @property
    def salts(self) -> list[str]:
        """Formulas that may stand in a mol % composition."""
        return [name for name, unit in self.units.items() if unit.packed in ("ions", "molecule")]

    @property
    def ions(self) -> list[str]:
        """The bare ions."""
        return [name for name, unit in self.units.items() if unit.packed == "ion"]

    @property
    def anions(self) -> list[str]:
        """Anions that are packed whole."""
        return [name for name, unit in self.units.items() if unit.packed == "anion"]


@cache
def unit_table() -> UnitTable:
    """Read the shipped table of building units."""
    text = files("lbpsi_driver").joinpath("data/building_units.toml").read_text(encoding="utf-8")
    return UnitTable.model_validate(tomllib.loads(text))


def elements_of(formula: str) -> dict[str, int]:
    """Count the elements of a formula without brackets, as in ``P2S5`` -> ``{P: 2, S: 5}``."""
    counts: Counter[str] = Counter()
    for symbol, number in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        counts[symbol] += int(number or 1)
    return dict(counts)


def formal_charge(formula: str) -> int:
    """Sum the formal charges of a formula's elements.

    Parameters
    ----------
    formula : str
        A formula of elements whose charges the table has.

    Returns
    -------
    int
        Charge, e.
    """
    charges = unit_table().charges
    return sum(charges[symbol] * number for symbol, number in elements_of(formula).items())


def element_counts(units: Mapping[str, int]) -> dict[str, int]:
    """Count the atoms of each element in a set of units."""
    counts: Counter[str] = Counter()
    for formula, number in units.items():
        for symbol, each in elements_of(formula).items():
            counts[symbol] += each * number
    return dict(counts)


def packed_units(units: Mapping[str, int]) -> dict[str, int]:
    """Decompose a set of units into what is packed: loose ions, and what is packed whole.

    Parameters
    ----------
    units : mapping of str to int
        Numbers of salts, ions and anions.

    Returns
    -------
    dict of str to int
        Numbers of ions, molecules and anions, each in the table's order.
    """
    table = unit_table()
    counts: Counter[str] = Counter()
    for formula, number in units.items():
        if table.units[formula].symbols:
            counts[formula] += number
        else:
            counts.update(element_counts({formula: number}))
    order = [*table.ions, *table.salts, *table.anions]
    return {name: counts[name] for name in order if counts[name]}


def mol_percent(elements: Mapping[str, int]) -> dict[str, float] | None:
    """Write a cell as mol % of salts.

    Parameters
    ----------
    elements : mapping of str to int
        Atoms by element.

    Returns
    -------
    dict of str to float or None
        mol % by salt, in the table's order; they sum to 100. None where formers, S and halides
        with Li don't make neutral salts.
    """
    table = unit_table()
    if not elements or not set(elements) <= set(table.charges):
        return None
    if sum(table.charges[symbol] * number for symbol, number in elements.items()) != 0:
        return None
    left: dict[str, float] = dict(elements)
    amounts: dict[str, float] = {}
    # Those of formers first: Li2S gets the S that they leave.
    for salt in sorted(table.salts, key=lambda name: table.units[name].packed != "molecule"):
        holds = elements_of(salt)
        own = next(symbol for symbol in holds if symbol != "Li")
        amounts[salt] = left.get(own, 0) / holds[own]
        for symbol, each in holds.items():
            left[symbol] = left.get(symbol, 0) - amounts[salt] * each
    total = sum(amounts.values())
    if min([*left.values(), *amounts.values()]) < 0 or total == 0:
        return None
    return {salt: 100 * amounts[salt] / total for salt in table.salts if amounts[salt]}


def parse_mol_percent(text: str) -> dict[str, float]:
    """Parse a composition such as ``30Li2S-25B2S3-45LiI-5P2S5``.

    Parameters
    ----------
    text : str
        Amounts and salts joined by hyphens; decimals, typographic dashes and subscripts are read.

    Returns
    -------
    dict of str to float
        mol % of each salt, normalised to a sum of 100.

    Raises
    ------
    UsageError
        A token that is no positive amount of a known salt, or a salt given twice.
    """
    plain = re.sub("[\u2010-\u2015\u2212]", "-", unicodedata.normalize("NFKC", text))
    amounts: dict[str, float] = {}
    for token in (part.strip() for part in plain.split("-")):
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([A-Z]\w*)", token)
        if match is None or float(match[1]) == 0:
            raise UsageError(
                f"--composition {text}: '{token}': expected a positive amount in mol % and a salt,"
                " as in 30Li2S-25B2S3-45LiI-5P2S5"
            )
        salt = match[2]
        _require_known("--composition", text, salt, unit_table().salts)
        if salt in amounts:
            raise UsageError(f"--composition {text}: {salt} is there twice; give each salt once")
        amounts[salt] = float(match[1])
    total = sum(amounts.values())
    return {salt: 100 * amount / total for salt, amount in amounts.items()}


def parse_units(text: str) -> dict[str, int]:
    """Parse numbers of building units such as ``Li=42,S=12,I=18,B2S3=10,P2S5=2``.

    Parameters
    ----------
    text : str
        ``unit=number`` pairs joined by commas.

    Returns
    -------
    dict of str to int
        Number of each unit as given; their charges balance.

    Raises
    ------
    UsageError
        A token that is no positive number of a known unit, a unit given twice, or charges that
        don't balance: the message then names the nearest set that does.
    """
    units: dict[str, int] = {}
    for token in (part.strip() for part in unicodedata.normalize("NFKC", text).split(",")):
        match = re.fullmatch(r"([A-Z]\w*)\s*=\s*(\d+)", token)
        if match is None or int(match[2]) == 0:
            raise UsageError(
                f"--units {text}: '{token}': expected a building unit and a positive whole number,"
                " as in Li=42,S=12,I=18,B2S3=10"
            )
        formula = match[1]
        table = unit_table()
        _require_known("--units", text, formula, [*table.salts, *table.ions, *table.anions])
        if formula in units:
            raise UsageError(f"--units {text}: {formula} is there twice; give each unit once")
        units[formula] = int(match[2])
    _require_neutral(units)
    return units


def nearest_balanced(units: Mapping[str, int]) -> dict[str, int]:
    """Find the neutral set of units that differs in the fewest bare ions.

    Sulfide is changed first (two charges an ion) where the set has any, lithium takes the rest.
    A set that would lose its only kind of ion gains the counter-ion instead.

    Parameters
    ----------
    units : mapping of str to int
        Numbers of salts and ions.

    Returns
    -------
    dict of str to int
        The neutral set; ``units`` itself where that is neutral.
    """
    charge = sum(formal_charge(formula) * number for formula, number in units.items())
    lithium, sulfide = units.get("Li", 0), units.get("S", 0)
    halides = any(formal_charge(ion) < 0 and ion != "S" for ion in units)
    if charge > 0 and not (sulfide or halides):
        added_sulfide = (charge + 1) // 2
    elif not lithium or not sulfide:
        added_sulfide = 0
    elif charge > 0:
        added_sulfide = charge // 2
    else:
        added_sulfide = -min(sulfide, -charge // 2)
    balanced = dict(units)
    balanced["S"] = sulfide + added_sulfide
    balanced["Li"] = lithium - charge + 2 * added_sulfide
    return {formula: number for formula, number in balanced.items() if number}


def formula_units(percent: Mapping[str, float], atoms: int, rounding: float) -> dict[str, int]:
    """Find the whole numbers of salts that make a cell of a given size.

    Parameters
    ----------
    percent : mapping of str to float
        mol % of each salt, summing to 100.
    atoms : int
        Atoms in the cell; met exactly.
    rounding : float
        Largest deviation of a salt's realised mol % that is accepted.

    Returns
    -------
    dict of str to int
        Number of each salt, at least one of each, in the order of ``percent``.

    Raises
    ------
    UsageError
        Where no numbers come close enough; names the nearest sizes for which some do.
    """
    best, deviation = _closest(percent, atoms)
    if best and deviation <= rounding:
        return best
    wanted = "-".join(f"{amount:.4g}{salt}" for salt, amount in percent.items())
    found = f"is off by {deviation:.2g} mol % at best" if best else "cannot be made"
    sizes = _nearest_sizes(percent, atoms, rounding)
    mend = (
        f"give --atoms {' or '.join(map(str, sizes))}"
        if sizes
        else f"no size up to {atoms + _SEARCHED_SIZES} atoms comes closer: simplify the composition"
    )
    raise UsageError(
        f"--atoms {atoms}: {wanted} {found}, expected {rounding:g} mol % or less; {mend},"
        " or raise --rounding"
    )


def _require_known(flag: str, text: str, formula: str, known: list[str]) -> None:
    if formula in known:
        return
    if formula in unit_table().units:
        raise UsageError(
            f"{flag} {text}: '{formula}' is an ion, mol % are of salts ({', '.join(known)});"
            " give --units to count ions"
        )
    close = difflib.get_close_matches(formula, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(
        f"{flag} {text}: '{formula}' is no known unit, expected one of {', '.join(known)}{hint}"
    )


def _require_neutral(units: Mapping[str, int]) -> None:
    charge = sum(formal_charge(formula) * number for formula, number in units.items())
    if charge:
        raise UsageError(
            f"--units {_joined(units)}: charges sum to {charge:+d} e, expected 0;"
            f" the nearest balanced set is {_joined(nearest_balanced(units))}"
        )


def _joined(units: Mapping[str, int]) -> str:
    return ",".join(f"{formula}={number}" for formula, number in units.items())


@cache
def _offsets(dimensions: int) -> NDArray[np.int64]:
    """Whole-number offsets around a point, as many as the budget of sets to try allows."""
    width = next(
        w
        for w in range(_WIDEST_WINDOW, 0, -1)
        if (2 * w + 1) ** dimensions <= _SEARCHED_SETS or w == 1
    )
    window = itertools.product(range(-width, width + 1), repeat=dimensions)
    return np.array(list(window), dtype=np.int64)


def _closest(percent: Mapping[str, float], atoms: int) -> tuple[dict[str, int], float]:
    """Return the closest whole numbers of salts and the largest deviation, mol %."""
    size = {salt: sum(elements_of(salt).values()) for salt in percent}
    # The salt with the fewest atoms is solved for: its size divides the remainder most often.
    salts = sorted(percent, key=lambda salt: -size[salt])
    sizes = np.array([size[salt] for salt in salts])
    share = np.array([percent[salt] for salt in salts]) / 100
    ideal = share * atoms / (share @ sizes)
    heads = np.rint(ideal[:-1]).astype(np.int64) + _offsets(len(salts) - 1)
    rest = atoms - heads @ sizes[:-1]
    whole = (heads >= 1).all(axis=1) & (rest >= sizes[-1]) & (rest % sizes[-1] == 0)
    if not whole.any():
        return {}, np.inf
    counts = np.column_stack([heads[whole], rest[whole] // sizes[-1]])
    realised = counts / counts.sum(axis=1, keepdims=True)
    # Rounded so that ties fall to the first set on every machine.
    deviations = np.round(100 * np.abs(realised - share).max(axis=1), 9)
    best = int(np.argmin(deviations))
    numbers = dict(zip(salts, counts[best].tolist(), strict=True))
    return {salt: numbers[salt] for salt in percent}, float(deviations[best])


def _nearest_sizes(percent: Mapping[str, float], atoms: int, rounding: float) -> list[int]:
    """Return the nearest smaller and larger sizes that round well enough, where there are any."""
    smaller = range(atoms - 1, max(1, atoms - _SEARCHED_SIZES), -1)
    larger = range(atoms + 1, atoms + _SEARCHED_SIZES + 1)
    return [
        size
        for sizes in (smaller, larger)
        for size in itertools.islice(
            (size for size in sizes if _closest(percent, size)[1] <= rounding), 1
        )
    ]
