"""Motifs counted by name, as the JSON of ``motifs`` has them, from the places of the oracle.

tests/oracle.py finds bonds, links, classes and rings; here they become names and counts.
"""

from __future__ import annotations

from collections import Counter

import networkx as nx
import numpy as np
from ase import Atoms
from clusters import CHARGE, ROLE

from oracle import CLASSES, HOME, TABLE, Motifs

NAMES = {row["id"]: row["name"] for row in TABLE["class"]}


def find(atoms: Atoms, chain: int = 6) -> Motifs:
    symbols, types = np.unique(list(atoms.symbols), return_inverse=True)
    ids = np.arange(1, len(types) + 1)
    return Motifs(atoms.positions, atoms.cell.array, types, symbols.tolist(), ids, chain=chain)


def bonds_of(atoms: Atoms) -> set[tuple[int, int]]:
    bonded = find(atoms).bonded
    return {(i, j) for i, ends in enumerate(bonded) for j, _ in ends if i < j}


def halved(counts: Counter) -> Counter:
    """Of what stands at both of its ends."""
    assert all(n % 2 == 0 for n in counts.values())
    return Counter({name: n // 2 for name, n in counts.items()})


def count(atoms: Atoms, chain: int = 6) -> dict:
    """The JSON of ``motifs``, lists of names as Counters."""
    motifs, symbols = find(atoms, chain), list(atoms.symbols)
    formers, anions = motifs.formers, motifs.anions
    units = {i: f"{symbols[i]}S{motifs.coordination[i]}" for i in formers}
    classes = [NAMES[CLASSES[code - 1]] for code in motifs.classes]
    borons = {i: sum(symbols[j] == "B" for j in anion) for anion in anions for i in anion}
    bonds = [(i, j) for i, ends in enumerate(motifs.bonded) for j, _ in ends]
    inside = set().union(*anions)
    rest = nx.Graph([bond for bond in bonds if not inside & set(bond)])
    rest.add_nodes_from(i for i, s in enumerate(symbols) if i not in inside and ROLE[s] != "cation")
    rows: dict[str, list] = {symbols[i]: [] for i in formers}
    for i in formers:
        through = sorted(symbols[j] for (j, _), n, _ in motifs.links[i] for _ in range(n))
        direct = sorted(symbols[j] for j, _ in motifs.around((i, HOME), "former"))
        rows[symbols[i]].append((motifs.qn[i], motifs.en[i], tuple(through), tuple(direct)))
    return {
        "units": Counter(units.values()),
        "anions": Counter(formula(a, symbols) + charge(a, symbols, bonds) for a in anions),
        "free": Counter(formula(c, symbols) for c in nx.connected_components(rest)),
        "sharing": halved(
            Counter(
                pair_name(units[i], units[j]) + {1: "CS", 2: "ES"}.get(n, "FS")
                for i in formers
                for (j, _), n, _ in motifs.links[i]
                if n
            )
        ),
        "homopolar": halved(
            Counter(
                "-".join(sorted((symbols[i], symbols[j])))
                for i, j in bonds
                if {ROLE[symbols[i]], ROLE[symbols[j]]} == {"former"}
            )
        ),
        "rings": Counter(
            f"{formula(ring, symbols)}S{len(ring)}" for ring in motifs.rings.elements()
        ),
        "class": Counter(classes[i] for i in formers),
        "S-S": sum(symbols[i] == symbols[j] == "S" for i, j in bonds) // 2,
        "network": {
            "largest_B": max(borons.values(), default=0),
            "fraction_B": np.mean([borons[i] >= chain for i in formers if symbols[i] == "B"] or 0),
        },
        "li_environment": Counter(classes[i] for i, s in enumerate(symbols) if s == "Li"),
        "neighbours": {element: Counter(found) for element, found in rows.items()},
        **{
            key: {
                element: np.bincount([row[column] for row in found]).tolist()
                for element, found in rows.items()
            }
            for key, column in (("qn", 0), ("en", 1))
        },
    }


def formula(component, symbols):
    counts = Counter(symbols[i] for i in component)
    order = sorted(counts, key=lambda s: ({"former": 0, "sulfur": 1}.get(ROLE[s], 2), s))
    return "".join(s + (str(counts[s]) if counts[s] > 1 else "") for s in order)


def charge(component, symbols, bonds):
    total = sum(CHARGE[symbols[i]] for i in component)
    for i, j in bonds:
        if i in component:
            roles = {ROLE[symbols[i]], ROLE[symbols[j]]}
            # Both ends of a bond come by: half of the two electrons each time.
            total += -1 if roles == {"former"} else 1 if roles == {"sulfur"} else 0
    return f"({abs(total)}{'+' if total > 0 else '-' if total < 0 else ''})"


def pair_name(a, b):
    def rank(unit):
        element, n = unit.rsplit("S", 1)
        return (element != "P", -int(n), element)

    return f"({'-'.join(sorted((a, b), key=rank))})"
