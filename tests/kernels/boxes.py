"""Boxes of any shape, and atoms in them, for the tests of the kernels."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

SYMBOLS = ["Li", "B", "P", "S", "I", "Si", "Ge", "Na", "Cl", "NULL"]
# Enough formers and S for motifs of all kinds.
SHARES = [0.2, 0.12, 0.12, 0.36, 0.06, 0.03, 0.03, 0.03, 0.03, 0.02]
_SHEARS = [(a, b) for a in range(3) for b in range(3) if a != b]


def rotation(rng: np.random.Generator) -> NDArray:
    """A proper rotation matrix, for rows from the right."""
    return Rotation.random(random_state=rng).as_matrix()


@st.composite
def boxes(draw: st.DrawFn, smallest: float = 1.5, largest: float = 25.0) -> NDArray:
    """Cells of either hand, tilted up to 45 degrees and turned any way."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    # round numbers, as hypothesis likes them, would put an atom's images right on a cutoff
    lengths = rng.uniform(1.0, 1.001, 3) * draw(st.tuples(*[st.floats(smallest, largest)] * 3))
    tilts = draw(st.tuples(*[st.floats(-1.0, 1.0)] * 3))
    cell = np.diag(lengths)
    cell[1, 0], cell[2, 0], cell[2, 1] = np.array(tilts) * lengths[[1, 2, 2]]
    cell = cell @ rotation(rng)
    return cell[[1, 0, 2]] if draw(st.booleans()) else cell


@st.composite
def unimodular(draw: st.DrawFn) -> NDArray:
    """Integer matrices that lead to another basis of the same lattice."""
    basis = np.eye(3, dtype=int)
    for a, b in draw(st.lists(st.sampled_from(_SHEARS), min_size=1, max_size=3)):
        basis[a] += draw(st.sampled_from([-1, 1])) * basis[b]
    return basis


def gas(rng: np.random.Generator, cell: NDArray, density: float, most: int) -> NDArray:
    """Positions, Å, some outside the cell; density in atoms per Å3."""
    n = int(np.clip(density * abs(np.linalg.det(cell)), 1, most))
    return (rng.random((n, 3)) * 3 - 1) @ cell


def species(rng: np.random.Generator, n: int) -> NDArray:
    """Types of SYMBOLS; some atoms left out."""
    types = rng.choice(len(SYMBOLS), n, p=SHARES).astype(np.int32)
    types[rng.random(n) < 0.03] = -1
    return types


def frame(rng: np.random.Generator, positions: NDArray, cell: NDArray) -> dict:
    """Arguments of find_motifs: elements of all kinds and ids with gaps."""
    n = len(positions)
    return {
        "positions": positions,
        "cell": cell,
        "types": species(rng, n),
        "symbols": SYMBOLS,
        "ids": rng.choice(10 * n, n, replace=False) + 1,
    }


# --- units by hand ------------------------------------------------------------------------------

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
TRIANGLE = np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
LENGTHS = {"P": 2.05, "B": 1.85, "Si": 2.1, "Ge": 2.2}


def _along(directions: NDArray, axis: NDArray, spin: float) -> NDArray:
    """Turn directions so that the first points along an axis."""
    turn, _ = Rotation.align_vectors([axis], directions[:1])
    return turn.apply(directions) @ Rotation.from_rotvec(spin * np.asarray(axis)).as_matrix().T


def unit(former: str, n: int, axis: NDArray = TETRAHEDRON[0], spin: float = 0.0) -> NDArray:
    """S around a former at the origin, (n, 3); the first lies along a unit vector."""
    return LENGTHS[former] * _along(TETRAHEDRON if n == 4 else TRIANGLE, np.asarray(axis), spin)


def corner(a: tuple[str, int], b: tuple[str, int]) -> tuple[list[str], NDArray]:
    """Two units with one S in common, at an angle of 110 degrees."""
    bend = np.radians(70.0)
    w = np.array([np.cos(bend), np.sin(bend), 0.0])
    first = unit(*a, np.array([1.0, 0, 0]))
    centre = first[0] + LENGTHS[b[0]] * w

    def apart(spin: float) -> float:
        others = centre + unit(*b, -w, spin)[1:]
        return np.linalg.norm(others[:, None] - first, axis=2).min()

    spin = max(np.linspace(0, 2 * np.pi, 24), key=apart)
    second = centre + unit(*b, -w, spin)[1:]
    elements = [a[0], *["S"] * a[1], b[0], *["S"] * (b[1] - 1)]
    return elements, np.vstack([np.zeros(3), first, centre, second])


def edge(a: tuple[str, int], b: tuple[str, int]) -> tuple[list[str], NDArray]:
    """Two units with two S in common, 2.8 Å apart along y."""
    elements, positions = ["S", "S"], [[0, 1.4, 0], [0, -1.4, 0]]
    for (former, n), side in ((a, -1), (b, 1)):
        r = LENGTHS[former]
        x = (r**2 - 1.4**2) ** 0.5
        ends = {3: [(r, 0.0)], 4: [(0.6 * r, 0.8 * r), (0.6 * r, -0.8 * r)]}[n]
        elements += [former, *["S"] * (n - 2)]
        positions += [[side * x, 0, 0], *([side * (x + u), 0, z] for u, z in ends)]
    return elements, np.array(positions)


def borate_chain(n: int) -> tuple[list[str], NDArray]:
    """BS3 in a row, each next two with one S in common."""
    pitch = 3.1
    x = pitch * np.arange(n)
    boron = np.stack([x, 0 * x, 0 * x], axis=1)
    bridges = np.stack([pitch * (np.arange(n + 1) - 0.5), np.full(n + 1, 0.93), np.zeros(n + 1)], 1)
    return ["B"] * n + ["S"] * (2 * n + 1), np.vstack([boron, bridges, boron - [0, 1.8, 0]])


def boxed(elements: list[str], positions: NDArray, cell: NDArray | None = None) -> dict:
    """Arguments of find_motifs for atoms in a box that is too large for images to matter."""
    symbols = sorted(set(elements))
    return {
        "positions": np.asarray(positions, dtype=float),
        "cell": 60.0 * np.eye(3) if cell is None else np.asarray(cell, dtype=float),
        "types": np.array([symbols.index(e) for e in elements], dtype=np.int32),
        "symbols": symbols,
        "ids": np.arange(1, len(elements) + 1),
    }
