"""Clusters drawn by hand as graphs of bonds, and given coordinates with real bond lengths.

Springs pull bonded atoms together and push all others beyond the cutoffs; what comes out is checked
against the drawing by brute force, so that a test never rests on a cluster that relaxed wrongly.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from itertools import combinations, product

import numpy as np
from ase import Atoms
from scipy.optimize import minimize
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.transform import Rotation

TABLE = tomllib.loads(
    resources.files("lbpsi_driver").joinpath("data/motifs.toml").read_text(encoding="utf-8")
)
ROLE = {row["symbol"]: row["role"] for row in TABLE["element"]}
CHARGE = {row["symbol"]: row["charge"] for row in TABLE["element"]}
CUTOFF = {frozenset(pair.split("-")): length for pair, length in TABLE["bond"].items()}
SHELL = {tuple(pair.split("-")): length for pair, length in TABLE["shell"].items()}

LENGTH = {
    "B-S": 1.82, "P-S": 2.05, "Si-S": 2.13, "Ge-S": 2.21, "S-S": 2.06, "P-P": 2.22,
    "Si-Si": 2.34, "Ge-Ge": 2.42, "B-B": 1.70, "B-I": 2.12, "P-I": 2.46,
}  # fmt: skip
LENGTHS = {frozenset(pair.split("-")): length for pair, length in LENGTH.items()}
MARGIN = 0.1
TRIES = 20


class Cluster:
    """Atoms and the bonds between them."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.bonds: set[tuple[int, int]] = set()

    def add(self, element: str, *to: int) -> int:
        """Add an atom, bonded to others; returns its number."""
        self.elements.append(element)
        number = len(self.elements) - 1
        self.bonds |= {(other, number) for other in to}
        return number

    def bond(self, a: int, b: int) -> None:
        self.bonds.add((min(a, b), max(a, b)))

    def bridge(self, *formers: int) -> int:
        """Add an S bonded to all of these."""
        return self.add("S", *formers)

    def sulfurs(self, former: int) -> int:
        ends = (b if a == former else a for a, b in self.bonds if former in (a, b))
        return sum(self.elements[end] == "S" for end in ends)

    def fill(self, former: int, coordination: int) -> None:
        """Add terminal S until the former has this many S."""
        for _ in range(coordination - self.sulfurs(former)):
            self.add("S", former)

    def atoms(self, seed: int = 0, spread: float = 8.0) -> Atoms:
        """Relax into a box with `spread` Å around, turned and moved across its walls at random."""
        rng = np.random.default_rng(seed)
        for _ in range(TRIES):
            positions = self._relaxed(rng)
            if self._is_as_drawn(positions):
                break
        else:
            raise AssertionError(f"no geometry for {''.join(self.elements)}")
        positions = Rotation.random(random_state=rng).apply(positions)
        box = float(np.ptp(positions, axis=0).max()) + spread
        positions = (positions + rng.random(3) * box) % box
        return Atoms(self.elements, positions, cell=[box] * 3, pbc=True)

    def _relaxed(self, rng: np.random.Generator) -> np.ndarray:
        n = len(self.elements)
        first, second = np.triu_indices(n, 1)
        bonded = np.array([(i, j) in self.bonds for i, j in zip(first, second, strict=True)], bool)
        target = np.array(
            [
                LENGTHS[frozenset((a, b))] if held else least(a, b)
                for a, b, held in zip(
                    (self.elements[i] for i in first),
                    (self.elements[j] for j in second),
                    bonded,
                    strict=True,
                )
            ]
        )

        def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
            x = flat.reshape(n, 3)
            d = x[first] - x[second]
            r = np.linalg.norm(d, axis=1) + 1e-12
            off = np.where(bonded, r - target, np.minimum(r - target, 0.0))
            pull = (2.0 * off / r)[:, None] * d
            force = np.zeros((n, 3))
            np.add.at(force, first, pull)
            np.add.at(force, second, -pull)
            return float((off**2).sum()), force.ravel()

        start = self._unfolded(rng)
        return minimize(energy, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(n, 3)

    def _unfolded(self, rng: np.random.Generator) -> np.ndarray:
        """Spread over space by the number of bonds between atoms (classical scaling)."""
        n = len(self.elements)
        graph = np.zeros((n, n))
        for a, b in self.bonds:
            graph[a, b] = 1.0
        steps = shortest_path(graph, directed=False)
        steps[~np.isfinite(steps)] = 6.0
        centre = np.eye(n) - 1.0 / n
        values, vectors = np.linalg.eigh(-0.5 * centre @ (1.6 * steps) ** 2 @ centre)
        scaled = vectors[:, -3:] * np.sqrt(np.maximum(values[-3:], 0.0)) if n > 2 else np.zeros(1)
        return scaled + rng.normal(0, 0.7, (n, 3))

    def _is_as_drawn(self, positions: np.ndarray) -> bool:
        for i, j in combinations(range(len(self.elements)), 2):
            cutoff = CUTOFF.get(frozenset((self.elements[i], self.elements[j])), 0.0)
            distance = np.linalg.norm(positions[i] - positions[j])
            limit = cutoff - MARGIN if (i, j) in self.bonds else cutoff + MARGIN
            if (distance < limit) != ((i, j) in self.bonds):
                return False
        return True


def least(a: str, b: str) -> float:
    """How close two atoms may come that aren't bonded, Å."""
    if a == b == "S":
        return 2.7
    return max(CUTOFF.get(frozenset((a, b)), 0.0) + 0.25, 2.2)


def together(clusters: list[Atoms], free: str = "", seed: int = 0) -> Atoms:
    """Set clusters and single atoms (``free``: symbols) into one box, a cell of a grid each."""
    parts = [*clusters, *(Atoms(symbol) for symbol in Atoms(free).symbols)]
    room = max(float(np.ptp(compact(part), axis=0).max()) for part in parts) + 6.0
    side = int(np.ceil(len(parts) ** (1 / 3)))
    corners = np.array(list(product(range(side), repeat=3)))[: len(parts)] * room
    np.random.default_rng(seed).shuffle(corners)
    whole = Atoms(cell=[side * room] * 3, pbc=True)
    for part, corner in zip(parts, corners, strict=True):
        whole += Atoms(part.symbols, compact(part) + corner)
    return whole


def compact(part: Atoms) -> np.ndarray:
    """Positions of a cluster in one piece, from its lower corner."""
    if not part.pbc.any():
        return part.positions - part.positions.min(axis=0)
    box = part.cell[0, 0]
    # nothing is in the widest gap along each axis
    x = part.positions.copy()
    for axis in range(3):
        order = np.sort(x[:, axis])
        gaps = np.diff(np.append(order, order[0] + box))
        x[:, axis] = (x[:, axis] - order[(int(gaps.argmax()) + 1) % len(order)]) % box
    return x


# --- the anions of DESIGN.md, section 3 ----------------------------------------------------------


def unit(former: str, coordination: int) -> Cluster:
    cluster = Cluster()
    cluster.fill(cluster.add(former), coordination)
    return cluster


def pair(a: str, n: int, b: str, m: int, shared: int) -> Cluster:
    """Two units that share this many S."""
    cluster = Cluster()
    first, second = cluster.add(a), cluster.add(b)
    for _ in range(shared):
        cluster.bridge(first, second)
    cluster.fill(first, n)
    cluster.fill(second, m)
    return cluster


def joined(a: str, b: str) -> Cluster:
    """Two formers with a bond between them and three S each, as P2S6(4-)."""
    cluster = Cluster()
    first = cluster.add(a)
    second = cluster.add(b, first)
    cluster.fill(first, 3)
    cluster.fill(second, 3)
    return cluster


def borate(n: int, edges: list[tuple[int, int]]) -> Cluster:
    """BS3 units, joined over an S where an edge is."""
    cluster = Cluster()
    for _ in range(n):
        cluster.add("B")
    for a, b in edges:
        cluster.bridge(a, b)
    for boron in range(n):
        cluster.fill(boron, 3)
    return cluster


def boroxol(number: int) -> list[tuple[int, int]]:
    """Edges of separate B3S3 rings."""
    return [(3 * k + a, 3 * k + b) for k in range(number) for a, b in ((0, 1), (1, 2), (0, 2))]


ANIONS = {
    "PS4(3-)": lambda: unit("P", 4),
    "BS3(3-)": lambda: unit("B", 3),
    "BS4(5-)": lambda: unit("B", 4),
    "B2S4(2-)": lambda: pair("B", 3, "B", 3, 2),
    "B3S6(3-)": lambda: borate(3, boroxol(1)),
    "B2S5(4-)": lambda: pair("B", 3, "B", 3, 1),
    "P2S7(4-)": lambda: pair("P", 4, "P", 4, 1),
    "P2S6(2-)": lambda: pair("P", 4, "P", 4, 2),
    "P2S6(4-)": lambda: joined("P", "P"),
    "BPS7(6-)": lambda: pair("P", 4, "B", 4, 1),
    "B6S10(2-)": lambda: borate(6, [*boroxol(2), (0, 3), (1, 4)]),
    "B9S15(3-)": lambda: borate(9, [*boroxol(3), (0, 3), (4, 6), (7, 1)]),
    "B14S25(8-)": lambda: borate(14, [*boroxol(4), (0, 3), (4, 6), (7, 9), (1, 12), (10, 13)]),
}
