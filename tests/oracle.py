"""Slow and obvious motifs: images one by one, places as nodes of graphs, definitions as sentences.

A place is an atom and an image of the cell: ``(atom, (a, b, c))``. Nothing here knows how the
kernels work; the only thing shared is data/motifs.toml.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import product

import networkx as nx
import numpy as np
from numpy.typing import NDArray

TABLE = tomllib.loads((files("lbpsi_driver") / "data/motifs.toml").read_text())
ELEMENTS = {row["symbol"]: row for row in TABLE["element"]}
CLASSES = [row["id"] for row in TABLE["class"]]
HOME = (0, 0, 0)
_TIE = 1e-9

Place = tuple[int, tuple[int, int, int]]
Pair = tuple[int, int, tuple[int, int, int]]


def code(name: str) -> int:
    """The integer that stands for a class of data/motifs.toml."""
    return CLASSES.index(name) + 1


def add(a: Sequence[int], b: Sequence[int]) -> tuple[int, int, int]:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def pairs(positions: NDArray, cell: NDArray, cutoff: float) -> dict[Pair, NDArray]:
    """Vectors of all ordered pairs closer than a cutoff, from every image that can be in reach."""
    fractional = positions @ np.linalg.inv(cell)
    home = np.floor(fractional).astype(int)
    wrapped = positions - home @ cell
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    # two wrapped atoms are less than one cell apart along each vector
    far = np.ceil(cutoff / heights).astype(int) + 1
    found = {}
    for image in product(*(range(-n, n + 1) for n in far)):
        d = wrapped[None] + np.array(image) @ cell - wrapped[:, None]
        near = np.linalg.norm(d, axis=2) < cutoff
        if image == HOME:
            np.fill_diagonal(near, False)
        for i, j in np.argwhere(near).tolist():
            shift = np.array(image) - home[j] + home[i]
            found[i, j, (int(shift[0]), int(shift[1]), int(shift[2]))] = d[i, j]
    return found


@dataclass
class Motifs:
    """Motifs of one frame; types count from 0, -1 leaves an atom out."""

    positions: NDArray
    cell: NDArray
    types: NDArray
    symbols: Sequence[str]
    ids: NDArray
    bonds: Sequence[tuple[str, str, float]] = ()
    chain: int = TABLE["chain"]
    environment: float = TABLE["environment_A"]

    def __post_init__(self) -> None:
        self.elements = [self.symbols[t] if t >= 0 else "NULL" for t in self.types]
        self.n = len(self.elements)
        self.roles = [ELEMENTS[e]["role"] if e in ELEMENTS else "none" for e in self.elements]
        self.formers = [i for i in range(self.n) if self.roles[i] == "former"]
        self.bond_cutoffs = dict(TABLE["bond"])
        for a, b, cutoff in self.bonds:
            self.bond_cutoffs.pop(f"{b}-{a}", None)
            self.bond_cutoffs[f"{a}-{b}"] = cutoff
        longest = max([*self.bond_cutoffs.values(), *TABLE["shell"].values(), self.environment])
        self.near: list[list[tuple[Place, NDArray]]] = [[] for _ in range(self.n)]
        for (i, j, shift), d in pairs(self.positions, self.cell, longest).items():
            self.near[i].append(((j, shift), d))

    def _within(self, i: int, j: int, d: NDArray, cutoffs: dict[str, float]) -> bool:
        a, b = self.elements[i], self.elements[j]
        return np.linalg.norm(d) < max(cutoffs.get(f"{a}-{b}", 0), cutoffs.get(f"{b}-{a}", 0))

    @cached_property
    def bonded(self) -> list[list[Place]]:
        return [
            [place for place, d in self.near[i] if self._within(i, place[0], d, self.bond_cutoffs)]
            for i in range(self.n)
        ]

    def around(self, place: Place, role: str) -> list[Place]:
        """Places with a role that are bonded to a place."""
        i, at = place
        return [(j, add(at, shift)) for j, shift in self.bonded[i] if self.roles[j] == role]

    @cached_property
    def coordination(self) -> list[int]:
        counted = {"former": "sulfur"}
        return [
            len(self.around((i, HOME), counted.get(self.roles[i], "former"))) for i in range(self.n)
        ]

    @cached_property
    def unit(self) -> list[int]:
        return [
            10 * ELEMENTS[self.elements[i]]["number"] + self.coordination[i]
            if i in self.formers
            else 0
            for i in range(self.n)
        ]

    @cached_property
    def qn(self) -> list[int]:
        bridging = [self.roles[i] == "sulfur" and self.coordination[i] > 1 for i in range(self.n)]
        return [
            sum(bridging[s] for s, _ in self.around((i, HOME), "sulfur"))
            if i in self.formers
            else 0
            for i in range(self.n)
        ]

    @cached_property
    def links(self) -> list[list[tuple[Place, int, bool]]]:
        """Of each former: places of formers, number of S in both, whether the two are bonded."""
        links: list[list[tuple[Place, int, bool]]] = [[] for _ in range(self.n)]
        for i in self.formers:
            mine = set(self.around((i, HOME), "sulfur"))
            homopolar = set(self.around((i, HOME), "former"))
            over_s = {place for s in mine for place in self.around(s, "former")} - {(i, HOME)}
            for place in over_s | homopolar:
                shared = len(mine & set(self.around(place, "sulfur")))
                links[i].append((place, shared, place in homopolar))
        return links

    @cached_property
    def en(self) -> list[int]:
        return [sum(shared == 2 for _, shared, _ in links) for links in self.links]

    @cached_property
    def anions(self) -> list[set[int]]:
        """Components with a former in them."""
        graph = nx.Graph()
        graph.add_nodes_from(self.formers)
        graph.add_edges_from((i, j) for i in range(self.n) for j, _ in self.bonded[i])
        return [c for c in nx.connected_components(graph) if c & set(self.formers)]

    @cached_property
    def anion_of(self) -> dict[int, tuple[int, int, int]]:
        """Least id, number of atoms and number of B, by atom."""
        return {
            i: (
                min(int(self.ids[k]) for k in anion),
                len(anion),
                sum(self.elements[k] == "B" for k in anion),
            )
            for anion in self.anions
            for i in anion
        }

    def former_class(self, i: int) -> str:
        me, mine = self.elements[i], self.coordination[i]
        p_p = {
            (shared, b) for (j, _), shared, b in self.links[i] if {me, self.elements[j]} == {"P"}
        }
        ps4_b = set()  # (coordination of the B, number of shared S)
        for (j, _), shared, _ in self.links[i]:
            n = {me: mine, self.elements[j]: self.coordination[j]}
            if set(n) == {"B", "P"} and n["P"] == 4:
                ps4_b.add((n["B"], shared))
        meanings = {
            "p2s6_4": any(bonded for _, bonded in p_p),
            "p2s6_2": any(shared == 2 for shared, _ in p_p),
            "ps4_bs4_corner": (4, 1) in ps4_b,
            "ps4_bs4_edge": (4, 2) in ps4_b,
            "ps4_bs3_corner": (3, 1) in ps4_b,
            "ps4_bs3_edge": (3, 2) in ps4_b,
            "p2s7": any(shared == 1 for shared, _ in p_p),
            "ps4": me == "P" and mine == 4,
            "network": self.anion_of[i][2] >= self.chain,
            "small_borate": me == "B",
            "other": True,
        }
        return next(name for name in CLASSES if meanings.get(name))

    @cached_property
    def nearest_former(self) -> list[int]:
        """Of each cation; -1 where no former is near, and for other atoms."""
        nearest = []
        for i in range(self.n):
            seen = [
                (float(np.linalg.norm(d)), int(self.ids[j]), j)
                for (j, _), d in self.near[i]
                if self.roles[i] == "cation"
                and self.roles[j] == "former"
                and np.linalg.norm(d) < self.environment
            ]
            least = min(seen)[0] if seen else 0.0
            tied = [(who, j) for r, who, j in seen if r < least + _TIE]
            nearest.append(min(tied)[1] if tied else -1)
        return nearest

    @cached_property
    def classes(self) -> list[int]:
        codes = {i: code(self.former_class(i)) for i in self.formers}
        return [codes.get(i) or self._other_class(i, codes) for i in range(self.n)]

    def _other_class(self, i: int, codes: dict[int, int]) -> int:
        role = self.roles[i]
        if role == "none":
            return 0
        if role == "cation":
            if self.nearest_former[i] >= 0:
                return codes[self.nearest_former[i]]
            shell = [j for (j, _), d in self.near[i] if self._within(i, j, d, TABLE["shell"])]
            alone = shell and all(self.roles[j] == "halide" for j in shell)
            return code("halide" if alone else "none")
        free = code("halide" if role == "halide" else "none")
        return min([free, *(codes[j] for j, _ in self.bonded[i] if j in codes)])

    @cached_property
    def rings(self) -> Counter[tuple[int, ...]]:
        """Chordless rings of four and six of formers and S, by the atoms of their formers."""
        graph, reached = nx.Graph(), {(i, HOME) for i in self.formers}
        for _ in range(3):  # no member of a ring of six is farther from another
            for place in list(reached):
                other = "sulfur" if self.roles[place[0]] == "former" else "former"
                graph.add_edges_from((place, next_) for next_ in self.around(place, other))
            reached |= set(graph)
        return Counter(
            tuple(sorted(i for i, _ in ring if self.roles[i] == "former"))
            for ring in {_at_home(c) for c in nx.chordless_cycles(graph, length_bound=6)}
        )


def _at_home(ring: Sequence[Place]) -> tuple[Place, ...]:
    """The same for a ring and its images."""
    return min(
        tuple(sorted((i, add(at, [-x for x in origin])) for i, at in ring)) for _, origin in ring
    )
