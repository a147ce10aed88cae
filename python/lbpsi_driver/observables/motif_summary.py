"""Counts of motifs in one structure: the JSON of ``motifs``.

Only distinct codes become strings, so that a frame costs about as much as finding its motifs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

import lbpsi_driver._kernels as _kernels
from lbpsi_driver.observables.motifs import CLASS_NAMES, Motifs, Species, iterate
from lbpsi_driver.observables.trajectory import Integers, Trajectory

SHARING = {1: "CS", 2: "ES", 3: "FS"}
"""Corner, edge, face: by the number of S that two formers share."""


class Network(TypedDict):
    """The largest anion by B, and the share of B in anions of at least ``chain`` B."""

    largest_B: int
    fraction_B: float


class NeighbourRow(TypedDict):
    """Formers of one element with the same surroundings: a row of paper 001's Tables S1 and S2.

    ``through_S`` has an entry for each shared S and each other former on it, in alphabetical order:
    an edge gives two, and so does one S that is bonded to three formers.
    """

    qn: int
    en: int
    through_S: list[str]
    direct: list[str]
    count: int


MotifSummary = TypedDict(
    "MotifSummary",
    {
        "frame": NotRequired[int],
        "time_ps": NotRequired[float],
        "units": dict[str, int],
        "anions": dict[str, int],
        "sharing": dict[str, int],
        "qn": dict[str, list[int]],
        "en": dict[str, list[int]],
        "rings": dict[str, int],
        "homopolar": dict[str, int],
        "S-S": NotRequired[int],
        "network": Network,
        "li_environment": dict[str, int],
        "free": dict[str, int],
        "class": dict[str, int],
        "neighbours": dict[str, list[NeighbourRow]],
    },
)


def summarise(motifs: Motifs, *, cation: str = "Li") -> MotifSummary:
    """Count the motifs of a structure.

    Counts of zero are left out; names with counts stand by falling count, classes in the order of
    the class file.

    Parameters
    ----------
    motifs : Motifs
        From :func:`lbpsi_driver.observables.motifs.find_motifs`.
    cation : str
        Whose classes ``li_environment`` counts.

    Returns
    -------
    dict
        ``units`` by name (``PS4``); ``anions`` by formula and charge (``P2S7(4-)``), the charge
        3 n(B) + 5 n(P) + 4 n(Si) + 4 n(Ge) - 2 n(S) - n(halide) - 2 n(homopolar) + 2 n(S-S);
        ``sharing``, pairs of units by what they share (``(PS4-BS3)ES``); ``qn`` and ``en``, by
        former the number of units with 0, 1, 2, … bridging S, and of edge-sharing neighbours;
        ``rings``; ``homopolar`` bonds between formers and ``S-S`` bonds; ``network``;
        ``li_environment`` and ``class``, atoms by class; ``free``, components without a former;
        ``neighbours``, by former the rows Q^n, E^n, X of P-S-X, X of P-X.

    References
    ----------
    R. Zhou, K. Luo, S. W. Martin, Q. An, "A Machine Learning Force Field for Lithium Sulfide Glassy
    Electrolytes", Supplementary Information, Tables S1 and S2: the rows of ``neighbours``.
    """
    species = motifs.species
    formers = np.flatnonzero(motifs.former)
    bonds = _Bonds(motifs)
    summary: MotifSummary = {
        "units": _units(motifs, formers),
        "anions": _anions(motifs, bonds),
        "sharing": _sharing(motifs),
        "qn": _by_former(motifs, formers, motifs.qn),
        "en": _by_former(motifs, formers, motifs.en),
        "rings": _rings(motifs),
        "homopolar": _homopolar(species, bonds),
        "network": _network(motifs),
        "li_environment": _classes(motifs.cls[species.types == species.column(cation)]),
        "free": _free(motifs, bonds),
        "class": _classes(motifs.cls[formers]),
        "neighbours": _neighbours(motifs, formers),
    }
    if bonds.sulfur.any():
        summary["S-S"] = int(bonds.sulfur.sum()) // 2
    return summary


def summaries(
    trajectory: Trajectory,
    *,
    bonds: Mapping[str, float] | None = None,
    chain: int | None = None,
    cation: str = "Li",
) -> Iterator[MotifSummary]:
    """Count the motifs of each frame of a trajectory, with ``frame``, from 0, and ``time_ps``.

    Parameters
    ----------
    trajectory : Trajectory
        Frames, in time order.
    bonds, chain
        As in :func:`lbpsi_driver.observables.motifs.find_motifs`.
    cation : str
        Whose classes ``li_environment`` counts.

    Yields
    ------
    dict
        As :func:`summarise` returns it.

    Raises
    ------
    UsageError
        One line: no former, an element that the table doesn't have, a bad cutoff.
    """
    for t, motifs in enumerate(iterate(trajectory, bonds=bonds, chain=chain)):
        time = float(trajectory.times_ps[t])
        yield {"frame": t, "time_ps": time, **summarise(motifs, cation=cation)}


class _Bonds:
    """Bonds at both ends, told apart by their two elements."""

    def __init__(self, motifs: Motifs) -> None:
        species = motifs.species
        self.i, self.j = motifs.bond_i, motifs.bond_j
        self.type_i, self.type_j = species.types[self.i], species.types[self.j]
        self.former = species.former[self.type_i] & species.former[self.type_j]
        self.sulfur = species.sulfur[self.type_i] & species.sulfur[self.type_j]
        # With the table's own cutoffs these are the S-S bonds.
        self.anionic = ~(species.former[self.type_i] | species.former[self.type_j])


def _ranked(counts: dict[str, int]) -> dict[str, int]:
    """By falling count, ties by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _rows(table: Integers) -> tuple[list[list[int]], list[int]]:
    """Distinct rows, in order, and how often each is there."""
    rows, counts = _kernels.count_rows(table)
    return rows.tolist(), counts.tolist()


def _units(motifs: Motifs, formers: Integers) -> dict[str, int]:
    symbols = motifs.species.symbols
    table = np.stack([motifs.species.types[formers], motifs.coordination[formers]], axis=1).astype(
        np.int64
    )
    rows, counts = _rows(table)
    return _ranked({_unit(symbols[t], n): c for (t, n), c in zip(rows, counts, strict=True)})


def _unit(symbol: str, coordination: int) -> str:
    return f"{symbol}S{coordination}"


def _composition(motifs: Motifs) -> tuple[Integers, Integers, Integers]:
    """Atoms that are in anions, the number of the anion of each, atoms by element of each anion."""
    inside = np.flatnonzero(motifs.anion)
    _, number = np.unique(motifs.anion[inside], return_inverse=True)
    width = len(motifs.species.symbols)
    n_anions = int(number.max(initial=-1)) + 1
    flat = np.bincount(number * width + motifs.species.types[inside], minlength=n_anions * width)
    return inside, number, flat.reshape(n_anions, width)


def _anions(motifs: Motifs, bonds: _Bonds) -> dict[str, int]:
    inside, number, composition = _composition(motifs)
    numbers = np.full(len(motifs.ids), -1)
    numbers[inside] = number
    ends = np.zeros(len(composition), dtype=np.int64)
    for kind, sign in ((bonds.former, -1), (bonds.anionic, 1)):
        which = numbers[bonds.i[kind]]
        # Two electrons a bond, and each bond is there from both ends.
        ends += sign * np.bincount(which[which >= 0], minlength=len(ends))
    charges = composition @ motifs.species.charges + ends
    rows, counts = _rows(np.column_stack([composition, charges]))
    names = (_formula(motifs.species, tuple(row[:-1])) + _charge(row[-1]) for row in rows)
    return _ranked(dict(zip(names, counts, strict=True)))


def _formula(species: Species, composition: tuple[int, ...]) -> str:
    return _spell(
        _order(species.symbols, tuple(species.former), tuple(species.sulfur)), composition
    )


@lru_cache
def _order(
    symbols: tuple[str, ...], former: tuple[bool, ...], sulfur: tuple[bool, ...]
) -> tuple[tuple[int, str], ...]:
    """Elements in a formula's order: formers, S, the others; each alphabetically."""
    ranks = [0 if f else 1 if s else 2 for f, s in zip(former, sulfur, strict=True)]
    return tuple((k, symbols[k]) for k in sorted(range(len(symbols)), key=lambda k: (ranks[k], k)))


@lru_cache(maxsize=4096)
def _spell(order: tuple[tuple[int, str], ...], composition: tuple[int, ...]) -> str:
    parts = ((symbol, composition[k]) for k, symbol in order)
    return "".join(symbol + (str(n) if n > 1 else "") for symbol, n in parts if n)


def _charge(charge: int) -> str:
    sign = "-" if charge < 0 else "+" if charge > 0 else ""
    return f"({abs(charge)}{sign})"


def _sharing(motifs: Motifs) -> dict[str, int]:
    i = motifs.link_i
    linked = motifs.link_shared > 0
    i = i[linked]
    table = np.stack(
        [
            motifs.species.types[i],
            motifs.coordination[i],
            motifs.link_type[linked],
            motifs.link_coordination[linked],
            np.minimum(motifs.link_shared[linked], max(SHARING)),
        ],
        axis=1,
    )
    symbols = motifs.species.symbols
    named: dict[str, int] = {}
    for (a, n, b, m, shared), count in zip(*_rows(table), strict=True):
        name = _pair(symbols[a], n, symbols[b], m) + SHARING[shared]
        named[name] = named.get(name, 0) + count
    # A pair is there from both of its ends, also where they are one former and its image.
    return _ranked({name: count // 2 for name, count in named.items()})


@lru_cache(maxsize=4096)
def _pair(a: str, n: int, b: str, m: int) -> str:
    """Name a pair: P first, then by falling coordination, then by name."""
    units = sorted(((a, n), (b, m)), key=lambda unit: (unit[0] != "P", -unit[1], unit[0]))
    return "(" + "-".join(_unit(*unit) for unit in units) + ")"


def _by_former(
    motifs: Motifs, formers: Integers, values: NDArray[np.int32]
) -> dict[str, list[int]]:
    """Histogram of a number over the formers of each element."""
    species = motifs.species
    types, values = species.types[formers], values[formers]
    return {
        species.symbols[t]: np.bincount(values[types == t]).tolist()
        for t in np.flatnonzero(species.former)
    }


def _rings(motifs: Motifs) -> dict[str, int]:
    types = np.where(motifs.rings >= 0, motifs.species.types[motifs.rings], -1)
    rows, counts = _rows(np.sort(types, axis=1))
    width = len(motifs.species.symbols)
    named: dict[str, int] = {}
    for row, count in zip(rows, counts, strict=True):
        members = [t for t in row if t >= 0]
        formers = tuple(members.count(t) for t in range(width))
        named[f"{_formula(motifs.species, formers)}S{len(members)}"] = count
    return _ranked(named)


def _homopolar(species: Species, bonds: _Bonds) -> dict[str, int]:
    ends = np.stack([bonds.type_i[bonds.former], bonds.type_j[bonds.former]], axis=1)
    rows, counts = _rows(np.sort(ends, axis=1))
    names = ("-".join(species.symbols[t] for t in row) for row in rows)
    return _ranked({name: n // 2 for name, n in zip(names, counts, strict=True)})


def _network(motifs: Motifs) -> Network:
    borons = motifs.anion_borons[motifs.species.types == motifs.species.column("B")]
    if len(borons) == 0:
        return {"largest_B": 0, "fraction_B": 0.0}
    return {
        "largest_B": int(borons.max()),
        "fraction_B": float((borons >= motifs.chain).mean()),
    }


def _classes(codes: NDArray[np.int32]) -> dict[str, int]:
    counts = np.bincount(codes, minlength=len(CLASS_NAMES) + 1)[1:]
    return {name: n for name, n in zip(CLASS_NAMES, counts.tolist(), strict=True) if n}


def _free(motifs: Motifs, bonds: _Bonds) -> dict[str, int]:
    """Components of S and halides that no former is in."""
    species = motifs.species
    ligand = species.sulfur | species.halide
    free = (motifs.anion == 0) & ligand[species.types]
    bound = bonds.anionic & free[bonds.i]
    atoms = np.flatnonzero(free)
    place = np.cumsum(free) - 1
    number = _components(len(atoms), place[bonds.i[bound]], place[bonds.j[bound]])
    width = len(species.symbols)
    flat = np.bincount(number * width + species.types[atoms], minlength=len(atoms) * width)
    table = flat.reshape(len(atoms), width)
    rows, counts = _rows(table[table.any(axis=1)])
    names = (_formula(species, tuple(row)) for row in rows)
    return _ranked(dict(zip(names, counts, strict=True)))


def _components(n: int, i: Integers, j: Integers) -> Integers:
    """Least index of the component of each of n atoms that bonds i-j, from both ends, join."""
    labels = np.arange(n)
    while True:
        least = labels.copy()
        np.minimum.at(least, i, labels[j])
        # Long chains settle in few rounds: labels follow their own labels.
        least = least[least]
        if np.array_equal(least, labels):
            return labels
        labels = least


def _neighbours(motifs: Motifs, formers: Integers) -> dict[str, list[NeighbourRow]]:
    species = motifs.species
    i, width = motifs.link_i, len(species.symbols)
    n, place = len(motifs.ids), i * width + motifs.link_type
    by_element = [
        np.bincount(place, weights=w, minlength=n * width).reshape(n, width)[formers]
        for w in (motifs.link_shared, motifs.link_bonded)
    ]
    first = [species.types[formers], motifs.qn[formers], motifs.en[formers]]
    rows, counts = _rows(np.column_stack([*first, *by_element]).astype(np.int64))
    tables: dict[str, list[NeighbourRow]] = {
        species.symbols[t]: [] for t in np.flatnonzero(species.former)
    }
    for row, count in sorted(zip(rows, counts, strict=True), key=lambda item: (-item[1], item[0])):
        tables[species.symbols[row[0]]].append(
            {
                "qn": row[1],
                "en": row[2],
                "through_S": _repeated(species.symbols, row[3 : 3 + width]),
                "direct": _repeated(species.symbols, row[3 + width :]),
                "count": count,
            }
        )
    return tables


def _repeated(symbols: Sequence[str], counts: Sequence[int]) -> list[str]:
    return [symbol for symbol, n in zip(symbols, counts, strict=True) for _ in range(n)]
