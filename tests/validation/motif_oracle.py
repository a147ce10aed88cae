"""Motifs counted the slow and obvious way: all pairs, all images, networkx for the components."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import networkx as nx
import numpy as np
from ase import Atoms
from clusters import CHARGE, CUTOFF, ROLE, SHELL

REACH = 5.0


def distances(atoms: Atoms) -> np.ndarray:
    """Distance to the nearest image of each atom, Å, by trying 27 of them."""
    x = atoms.get_scaled_positions(wrap=True) @ atoms.cell.array
    best = np.full((len(x), len(x)), np.inf)
    for shift in product((-1, 0, 1), repeat=3):
        d = x[None, :] + np.array(shift) @ atoms.cell.array - x[:, None]
        best = np.minimum(best, np.linalg.norm(d, axis=2))
    np.fill_diagonal(best, np.inf)
    return best


def bonds_of(atoms: Atoms) -> set[tuple[int, int]]:
    r = distances(atoms)
    symbols = list(atoms.symbols)
    return {
        (i, j)
        for i, j in combinations(range(len(symbols)), 2)
        if r[i, j] < CUTOFF.get(frozenset((symbols[i], symbols[j])), 0.0)
    }


def count(atoms: Atoms, chain: int = 6) -> dict:
    """The JSON of ``motifs``, lists of names as Counters."""
    symbols, graph = list(atoms.symbols), nx.Graph()
    graph.add_nodes_from(i for i, s in enumerate(symbols) if ROLE[s] != "cation")
    graph.add_edges_from(bonds_of(atoms))
    formers = [i for i in graph if ROLE[symbols[i]] == "former"]

    def sulfurs(i):
        return {j for j in graph[i] if symbols[j] == "S"}

    def formers_on(i):
        return {j for j in graph[i] if ROLE[symbols[j]] == "former"}

    def name(i):
        return f"{symbols[i]}S{len(sulfurs(i))}"

    shared = {(i, j): sulfurs(i) & sulfurs(j) for i in formers for j in formers if i != j}
    components = [set(c) for c in nx.connected_components(graph)]
    anions = [c for c in components if any(i in c for i in formers)]
    borons = {i: sum(symbols[j] == "B" for j in c) for c in anions for i in c}
    cls = {i: class_of(i, symbols, sulfurs, formers_on, shared, borons, chain) for i in formers}
    result = {
        "units": Counter(name(i) for i in formers),
        "anions": Counter(formula(c, symbols) + charge(c, symbols, graph) for c in anions),
        "free": Counter(formula(c, symbols) for c in components if c not in anions),
        "sharing": Counter(
            pair_name(name(i), name(j)) + {1: "CS", 2: "ES"}.get(len(s), "FS")
            for (i, j), s in shared.items()
            if i < j and s
        ),
        "homopolar": Counter(
            "-".join(sorted((symbols[i], symbols[j])))
            for i, j in graph.edges
            if {ROLE[symbols[i]], ROLE[symbols[j]]} == {"former"}
        ),
        "rings": Counter(rings(formers, symbols, shared)),
        "class": Counter(cls.values()),
        "S-S": sum(symbols[i] == symbols[j] == "S" for i, j in graph.edges),
        "network": {
            "largest_B": max(borons.values(), default=0),
            "fraction_B": np.mean([borons[i] >= chain for i in formers if symbols[i] == "B"] or 0),
        },
        "li_environment": Counter(environments(atoms, formers, cls)),
    }
    rows = {symbols[i]: [] for i in formers}
    for i in formers:
        others = [(j, s) for j in formers if j != i and (s := shared[i, j])]
        through = sorted(symbols[j] for j, s in others for _ in s)
        bridging = sum(len(formers_on(s)) > 1 for s in sulfurs(i))
        edges = sum(len(s) == 2 for _, s in others)
        direct = sorted(symbols[j] for j in formers_on(i))
        rows[symbols[i]].append((bridging, edges, tuple(through), tuple(direct)))
    result["neighbours"] = {element: Counter(found) for element, found in rows.items()}
    for key, column in (("qn", 0), ("en", 1)):
        result[key] = {
            element: np.bincount([row[column] for row in found]).tolist()
            for element, found in rows.items()
        }
    return result


def class_of(i, symbols, sulfurs, formers_on, shared, borons, chain):
    def meets(element, coordination, number):
        return any(
            symbols[j] == element
            and len(s) == number
            and (coordination is None or len(sulfurs(j)) == coordination)
            for (a, j), s in shared.items()
            if a == i
        )

    if symbols[i] == "P":
        if any(symbols[j] == "P" for j in formers_on(i)):
            return "P2S6(4-)"
        if meets("P", None, 2):
            return "P2S6(2-)"
    for n in (4, 3):
        for number, how in ((1, "CS"), (2, "ES")):
            as_p = symbols[i] == "P" and len(sulfurs(i)) == 4 and meets("B", n, number)
            as_b = symbols[i] == "B" and len(sulfurs(i)) == n and meets("P", 4, number)
            if as_p or as_b:
                return f"(PS4-BS{n}){how}"
    if symbols[i] == "P" and meets("P", None, 1):
        return "P2S7"
    if symbols[i] == "P" and len(sulfurs(i)) == 4:
        return "PS4"
    if borons[i] >= chain:
        return "network"
    return "small borate" if symbols[i] == "B" else "other"


def formula(component, symbols):
    counts = Counter(symbols[i] for i in component)
    order = sorted(counts, key=lambda s: ({"former": 0, "sulfur": 1}.get(ROLE[s], 2), s))
    return "".join(s + (str(counts[s]) if counts[s] > 1 else "") for s in order)


def charge(component, symbols, graph):
    total = sum(CHARGE[symbols[i]] for i in component)
    for i, j in graph.subgraph(component).edges:
        roles = {ROLE[symbols[i]], ROLE[symbols[j]]}
        total += -2 if roles == {"former"} else 2 if roles == {"sulfur"} else 0
    return f"({abs(total)}{'+' if total > 0 else '-' if total < 0 else ''})"


def pair_name(a, b):
    def rank(unit):
        element, n = unit.rsplit("S", 1)
        return (element != "P", -int(n), element)

    return f"({'-'.join(sorted((a, b), key=rank))})"


def rings(formers, symbols, shared):
    for i, j in combinations(formers, 2):
        for _ in combinations(shared[i, j], 2):
            yield formula((i, j), symbols) + "S2"
    for i, j, k in combinations(formers, 3):
        for a in shared[i, j] - shared[i, k]:
            for b in shared[j, k] - shared[i, j]:
                for c in shared[i, k] - shared[j, k]:
                    assert len({a, b, c}) == 3
                    yield formula((i, j, k), symbols) + "S3"


def environments(atoms, formers, cls):
    r, symbols = distances(atoms), list(atoms.symbols)
    for i in (i for i, s in enumerate(symbols) if s == "Li"):
        near = min(formers, key=lambda j: r[i, j])
        shell = {symbols[j] for j, s in enumerate(symbols) if r[i, j] < SHELL.get(("Li", s), 0.0)}
        if r[i, near] < REACH:
            yield cls[near]
        else:
            yield "halide" if shell and "S" not in shell else "none"
