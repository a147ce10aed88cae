"""Peers of ``bench_motifs``: scripts as one writes them with ASE, networkx, freud, OVITO.

``count`` gives the JSON of ``motifs`` for a cell whose sides are longer than 10 Å: neighbour lists
of ASE, components of networkx, dictionaries and sets for the rest; every loop is over atoms, bonds
or links, none over pairs of them. The others give the number of components alone.
"""

from __future__ import annotations

import os
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from importlib.resources import files
from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

TABLE = tomllib.loads((files("lbpsi_driver") / "data/motifs.toml").read_text(encoding="utf-8"))
ROLE = {row["symbol"]: row["role"] for row in TABLE["element"]}
CHARGE = {row["symbol"]: row["charge"] for row in TABLE["element"]}
BOND = {tuple(pair.split("-")): length for pair, length in TABLE["bond"].items()}
SHELL = {tuple(pair.split("-")): length for pair, length in TABLE["shell"].items()}
REACH, CHAIN = TABLE["environment_A"], TABLE["chain"]

Pair = tuple[int, int]


class Glass:
    """Bonds of one frame, by atom."""

    def __init__(self, atoms: Atoms) -> None:
        self.symbols = atoms.get_chemical_symbols()
        present = set(self.symbols)
        self.graph = nx.Graph()
        self.graph.add_nodes_from(i for i, s in enumerate(self.symbols) if ROLE[s] != "cation")
        i, j = neighbor_list("ij", atoms, {p: r for p, r in BOND.items() if present >= set(p)})
        self.graph.add_edges_from(zip(i.tolist(), j.tolist(), strict=True))
        self.formers = [i for i in self.graph if ROLE[self.symbols[i]] == "former"]
        self.sulfurs = {i: {j for j in self.graph[i] if self.symbols[j] == "S"} for i in self.graph}
        self.bonded = {
            i: [j for j in self.graph[i] if ROLE[self.symbols[j]] == "former"] for i in self.graph
        }
        self.shared: dict[int, dict[int, set[int]]] = {i: defaultdict(set) for i in self.formers}
        for s in (s for s in self.graph if self.symbols[s] == "S"):
            for a in self.bonded[s]:
                for b in self.bonded[s]:
                    if a != b:
                        self.shared[a][b].add(s)
        self.components = list(nx.connected_components(self.graph))
        self.borons = {
            i: sum(self.symbols[j] == "B" for j in c) for c in self.components for i in c
        }

    def name(self, i: int) -> str:
        """Name the unit of a former."""
        return f"{self.symbols[i]}S{len(self.sulfurs[i])}"

    def pairs(self) -> Iterator[tuple[int, int, set[int]]]:
        """Yield formers that share S, once each."""
        return ((a, b, s) for a, others in self.shared.items() for b, s in others.items() if a < b)


def count(atoms: Atoms) -> dict[str, Any]:
    """Give the JSON of ``motifs`` for one frame."""
    glass = Glass(atoms)
    symbols = glass.symbols
    anions = [c for c in glass.components if any(ROLE[symbols[i]] == "former" for i in c)]
    free = [c for c in glass.components if not any(ROLE[symbols[i]] == "former" for i in c)]
    cls = {i: former_class(glass, i) for i in glass.formers}
    borons = [glass.borons[i] for i in glass.formers if symbols[i] == "B"]
    rows = {i: neighbours(glass, i) for i in glass.formers}
    result: dict[str, Any] = {
        "units": Counter(map(glass.name, glass.formers)),
        "anions": Counter(formula(glass, c) + charge(glass, c) for c in anions),
        "sharing": Counter(
            pair_name(glass.name(a), glass.name(b)) + {1: "CS", 2: "ES"}.get(len(s), "FS")
            for a, b, s in glass.pairs()
        ),
        "qn": histograms(glass, {i: row[0] for i, row in rows.items()}),
        "en": histograms(glass, {i: row[1] for i, row in rows.items()}),
        "rings": Counter(rings(glass)),
        "homopolar": Counter(
            "-".join(sorted((symbols[i], symbols[j])))
            for i in glass.formers
            for j in glass.bonded[i]
            if i < j
        ),
        "network": {
            "largest_B": max(borons, default=0),
            "fraction_B": sum(b >= CHAIN for b in borons) / max(1, len(borons)),
        },
        "li_environment": Counter(environments(atoms, cls)),
        "free": Counter(formula(glass, c) for c in free),
        "class": Counter(cls.values()),
        "neighbours": {
            element: Counter(rows[i] for i in glass.formers if symbols[i] == element)
            for element in dict.fromkeys(symbols[i] for i in glass.formers)
        },
    }
    sulfur = sum(symbols[i] == symbols[j] == "S" for i, j in glass.graph.edges)
    return result | ({"S-S": sulfur} if sulfur else {})


def histograms(glass: Glass, numbers: dict[int, int]) -> dict[str, list[int]]:
    by_element = defaultdict(list)
    for i, n in numbers.items():
        by_element[glass.symbols[i]].append(n)
    return {element: np.bincount(found).tolist() for element, found in by_element.items()}


def neighbours(glass: Glass, i: int) -> tuple[Any, ...]:
    """Q^n, E^n, formers through S and bonded: a row of ``neighbours``."""
    others = glass.shared[i].items()
    return (
        sum(len(glass.bonded[s]) > 1 for s in glass.sulfurs[i]),
        sum(len(s) == 2 for _, s in others),
        tuple(sorted(glass.symbols[j] for j, s in others for _ in s)),
        tuple(sorted(glass.symbols[j] for j in glass.bonded[i])),
    )


def former_class(glass: Glass, i: int) -> str:
    element, n = glass.symbols[i], len(glass.sulfurs[i])
    met = {(glass.symbols[j], len(glass.sulfurs[j]), len(s)) for j, s in glass.shared[i].items()}
    if element == "P":
        if any(glass.symbols[j] == "P" for j in glass.bonded[i]):
            return "P2S6(4-)"
        if any(other == "P" and shared == 2 for other, _, shared in met):
            return "P2S6(2-)"
    for boron in (4, 3):
        for shared, how in ((1, "CS"), (2, "ES")):
            as_p = element == "P" and n == 4 and ("B", boron, shared) in met
            as_b = element == "B" and n == boron and ("P", 4, shared) in met
            if as_p or as_b:
                return f"(PS4-BS{boron}){how}"
    if element == "P" and any(other == "P" and shared == 1 for other, _, shared in met):
        return "P2S7"
    if element == "P" and n == 4:
        return "PS4"
    if glass.borons[i] >= CHAIN:
        return "network"
    return "small borate" if element == "B" else "other"


def formula(glass: Glass, component: Iterable[int]) -> str:
    counts = Counter(glass.symbols[i] for i in component)
    order = sorted(counts, key=lambda s: ({"former": 0, "sulfur": 1}.get(ROLE[s], 2), s))
    return "".join(s + (str(counts[s]) if counts[s] > 1 else "") for s in order)


def charge(glass: Glass, component: set[int]) -> str:
    total = sum(CHARGE[glass.symbols[i]] for i in component)
    for i in component:
        # each of these bonds is met from both ends
        if ROLE[glass.symbols[i]] == "former":
            total -= len(glass.bonded[i])
        elif glass.symbols[i] == "S":
            total += len(glass.sulfurs[i])
    return f"({abs(total)}{'+' if total > 0 else '-' if total < 0 else ''})"


def pair_name(a: str, b: str) -> str:
    def rank(unit: str) -> tuple[bool, int, str]:
        element, n = unit.rsplit("S", 1)
        return (element != "P", -int(n), element)

    return f"({'-'.join(sorted((a, b), key=rank))})"


def rings(glass: Glass) -> Iterator[str]:
    """Rings of four and of six without a shortcut."""
    for a, b, s in glass.pairs():
        for _ in combinations(s, 2):
            yield formula(glass, (a, b)) + "S2"
        for c in glass.shared[b]:
            if c <= b or c not in glass.shared[a]:
                continue
            ac, bc = glass.shared[a][c], glass.shared[b][c]
            for _ in range(len(s - ac) * len(bc - s) * len(ac - bc)):
                yield formula(glass, (a, b, c)) + "S3"


def environments(atoms: Atoms, cls: dict[int, str]) -> Iterator[str]:
    """Class of each Li."""
    symbols = atoms.get_chemical_symbols()
    lithium = [i for i, s in enumerate(symbols) if s == "Li"]
    reach = {("Li", s): REACH for s in {symbols[i] for i in cls}}
    nearest = dict.fromkeys(lithium, (REACH, ""))
    for a, b, r in contacts(atoms, [*lithium, *cls], reach):
        nearest[a] = min(nearest[a], (r, cls[b]))
    around = [i for i, s in enumerate(symbols) if ("Li", s) in SHELL]
    shells = {pair: r for pair, r in SHELL.items() if pair[0] == "Li" and pair[1] in symbols}
    shell = defaultdict(set)
    for a, b, _ in contacts(atoms, [*lithium, *around], shells):
        shell[a].add(symbols[b])
    for a, (_, name) in nearest.items():
        yield name or ("halide" if shell[a] and "S" not in shell[a] else "none")


def contacts(
    atoms: Atoms, among: list[int], cutoffs: dict[tuple[str, str], float]
) -> Iterator[tuple[int, int, float]]:
    """Yield Li, other end and distance.

    ASE's time grows with the cube of the longest cutoff: a list of the atoms in question is faster
    than one of all.
    """
    part = atoms[among]
    i, j, d = neighbor_list("ijd", part, cutoffs)
    lithium = part.symbols == "Li"
    for a, b, r in zip(i[lithium[i]].tolist(), j[lithium[i]].tolist(), d[lithium[i]], strict=True):
        yield among[a], among[b], float(r)


# --- components alone ----------------------------------------------------------------------------


def anionic(atoms: Atoms) -> Atoms:
    """Leave out the cations."""
    return atoms[[ROLE[s] != "cation" for s in atoms.symbols]]


class Freud:
    """Components by ``freud.cluster.Cluster``: pairs by the longest bond, filtered by cutoffs."""

    def __init__(self, frames: list[Atoms]) -> None:
        import freud

        freud.set_num_threads(1)
        self._freud = freud
        self._systems = []
        for atoms in map(anionic, frames):
            box = freud.Box.from_matrix(atoms.cell.array.T)
            self._systems.append(
                (box, box.wrap(atoms.positions - atoms.cell.array.sum(axis=0) / 2))
            )
        symbols, self._types = np.unique(list(anionic(frames[0]).symbols), return_inverse=True)
        self._cutoffs = np.array(
            [[BOND.get((a, b), BOND.get((b, a), 0.0)) for b in symbols] for a in symbols]
        )

    def components(self, frame: int) -> int:
        """Count them in one frame."""
        system, types = self._systems[frame], self._types
        query = self._freud.AABBQuery(*system)
        pairs = query.query(
            system[1], {"r_max": float(self._cutoffs.max()), "exclude_ii": True}
        ).toNeighborList()
        ends = types[pairs.query_point_indices], types[pairs.point_indices]
        pairs.filter(pairs.distances < self._cutoffs[ends])
        cluster = self._freud.cluster.Cluster()
        return int(cluster.compute(system, neighbors=pairs).num_clusters)


class Ovito:
    """Components by ``ClusterAnalysisModifier`` on the bonds of ``CreateBondsModifier``."""

    def __init__(self, frames: list[Atoms]) -> None:
        os.environ["OVITO_THREAD_COUNT"] = "1"
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        from ovito.io.ase import ase_to_ovito
        from ovito.modifiers import ClusterAnalysisModifier, CreateBondsModifier

        self._frames = [ase_to_ovito(anionic(atoms)) for atoms in frames]
        self._bonds = CreateBondsModifier(mode=CreateBondsModifier.Mode.Pairwise)
        present = set(frames[0].symbols)
        for (a, b), cutoff in BOND.items():
            if {a, b} <= present:
                self._bonds.set_pairwise_cutoff(a, b, cutoff)
        self._clusters = ClusterAnalysisModifier(
            neighbor_mode=ClusterAnalysisModifier.NeighborMode.Bonding
        )

    def components(self, frame: int) -> int:
        """Count them in one frame."""
        data = self._frames[frame].clone()
        data.apply(self._bonds)
        data.apply(self._clusters)
        return int(data.attributes["ClusterAnalysis.cluster_count"])
