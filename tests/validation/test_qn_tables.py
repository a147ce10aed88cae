"""Every row of paper 001's Tables S1 and S2, drawn by hand, and whole summaries of random cells."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from clusters import ROLE, Cluster, together, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from motif_oracle import bonds_of, count

from lbpsi_driver.observables.motif_summary import _rows, summarise
from lbpsi_driver.observables.motifs import find_motifs

# Q^n, E^n, X of P-S-X, X of P-X; then the other formers on each shared S (a former that comes
# twice by its number shares an edge).
TABLE_S1 = [
    (0, 0, "", "", []),
    (0, 0, "", "P", []),
    (1, 0, "Si", "", ["Si1"]),
    (1, 0, "Si", "P", ["Si1"]),
    (1, 0, "P", "", ["P1"]),
    (2, 0, "Si, Si", "", ["Si1", "Si2"]),
    (2, 0, "Si, Si", "P", ["Si1", "Si2"]),
    (2, 0, "Si, P", "", ["Si1", "P1"]),
    (2, 0, "P, P", "", ["P1", "P2"]),
    (2, 1, "Si, Si", "", ["Si1", "Si1"]),
    (2, 1, "P, P", "", ["P1", "P1"]),
    (2, 1, "Si, Si", "P", ["Si1", "Si1"]),
    (3, 0, "Si, Si, Si", "", ["Si1", "Si2", "Si3"]),
    (3, 1, "Si, Si, Si", "", ["Si1", "Si1", "Si2"]),
    (3, 1, "Si, Si, P", "", ["Si1", "Si1", "P1"]),
]
TABLE_S2 = [
    (0, 0, "", "", []),
    (1, 0, "Si", "", ["Si1"]),
    (1, 0, "P, P", "", ["P1 P2"]),
    (2, 0, "Si, Si", "", ["Si1", "Si2"]),
    (2, 0, "Si, P", "", ["Si1", "P1"]),
    (2, 0, "P, P", "", ["P1", "P2"]),
    (2, 1, "Si, Si", "", ["Si1", "Si1"]),
    (2, 1, "P, P", "", ["P1", "P1"]),
    (3, 0, "Si, Si, Si", "", ["Si1", "Si2", "Si3"]),
    (3, 0, "Si, Si, P", "", ["Si1", "Si2", "P1"]),
    (3, 1, "Si, Si, Si", "", ["Si1", "Si1", "Si2"]),
    (3, 1, "Si, Si, P", "", ["Si1", "Si1", "P1"]),
    (3, 1, "Si, P, P", "", ["P1", "P1", "Si1"]),
    (3, 1, "P, P, P", "", ["P1", "P1", "P2"]),
    (4, 1, "Si, Si, Si, Si", "", ["Si1", "Si1", "Si2", "Si3"]),
    (4, 1, "Si, P, P, P", "", ["P1", "P1", "P2", "Si1"]),
    (4, 2, "Si, Si, Si, Si", "", ["Si1", "Si1", "Si2", "Si2"]),
]
ROWS = [("P", *row) for row in TABLE_S1] + [("Si", *row) for row in TABLE_S2]


def draw(centre: str, direct: str, bridges: list[str]) -> Cluster:
    cluster = Cluster()
    middle = cluster.add(centre)
    others: dict[str, int] = {}
    for bridge in bridges:
        for name in bridge.split():
            if name not in others:
                others[name] = cluster.add(name.rstrip("0123456789"))
        cluster.bridge(middle, *(others[name] for name in bridge.split()))
    for element in direct.split():
        cluster.fill(cluster.add(element, middle), 3)
    cluster.fill(middle, 3 if direct else 4)
    for former in others.values():
        cluster.fill(former, 4)
    return cluster


def listed(found: list[dict]) -> Counter:
    assert found == sorted(found, key=lambda row: -row["count"])
    rows = {
        (row["qn"], row["en"], tuple(row["through_S"]), tuple(row["direct"])): row["count"]
        for row in found
    }
    assert len(rows) == len(found)
    return Counter(rows)


def names(text: str) -> tuple[str, ...]:
    return tuple(sorted(text.replace(",", "").split()))


def test_the_tables_are_whole():
    assert (len(TABLE_S1), len(TABLE_S2)) == (15, 17)
    assert len({(c, *row) for c, *row, _ in ROWS}) == 32


@pytest.mark.parametrize(("centre", "qn", "en", "through", "direct", "bridges"), ROWS)
def test_row_of_the_tables(centre, qn, en, through, direct, bridges):
    atoms = draw(centre, direct, bridges).atoms()
    motifs = find_motifs(atoms)
    assert (motifs.qn[0], motifs.en[0]) == (qn, en)
    links = slice(*motifs.link_start[:2])
    symbols = np.array(motifs.species.symbols)[motifs.link_type[links]]
    shared, bonded = motifs.link_shared[links], motifs.link_bonded[links]
    assert tuple(sorted(np.repeat(symbols, shared))) == names(through)
    assert tuple(symbols[bonded]) == names(direct)
    rows = listed(summarise(motifs)["neighbours"][centre])
    assert (qn, en, names(through), names(direct)) in rows
    assert rows == count(atoms)["neighbours"][centre]


def test_the_row_of_the_centre_alone():
    """Rows of the other formers don't hide a row that is missing."""
    atoms = draw("Si", "", ["P1 P2"]).atoms()
    found = summarise(find_motifs(atoms))
    assert listed(found["neighbours"]["Si"]) == {(1, 0, ("P", "P"), ()): 1}
    assert listed(found["neighbours"]["P"]) == {(1, 0, ("P", "Si"), ()): 2}
    assert found["qn"] == {"P": [0, 2], "Si": [0, 1]}
    assert found["sharing"] == {"(PS4-PS4)CS": 1, "(PS4-SiS4)CS": 2}
    atoms = together([draw("Si", "", ["P1 P2"]).atoms(), *[unit("Si", 4).atoms()] * 2])
    table = summarise(find_motifs(atoms))["neighbours"]["Si"]
    assert table == [
        {"qn": 0, "en": 0, "through_S": [], "direct": [], "count": 2},
        {"qn": 1, "en": 0, "through_S": ["P", "P"], "direct": [], "count": 1},
    ]


# --- against the oracle -------------------------------------------------------------------------

BOX = np.array([[16.5, 0.0, 0.0], [3.0, 16.5, 0.0], [-4.0, 5.0, 17.0]])


def soup(seed: int, n: int, tilted: bool, scale: float = 1.0) -> Atoms:
    """Atoms at random, no two nearer than 1.7 Å, some lined up as clusters would be."""
    rng = np.random.default_rng(seed)
    elements = rng.choice(["S", "B", "P", "Si", "I", "Li"], n, p=[0.5, 0.14, 0.1, 0.06, 0.1, 0.1])
    elements[:2] = "S", "P"
    cell = scale * (BOX if tilted else np.diag(np.diag(BOX)))
    inverse = np.linalg.inv(cell)
    placed = [rng.random(3) @ cell]
    while len(placed) < n:
        step = rng.normal(size=3)
        near = placed[rng.integers(len(placed))] + step / np.linalg.norm(step) * rng.uniform(
            1.7, 2.6
        )
        d = (np.array(placed) - near) @ inverse
        if np.linalg.norm((d - np.rint(d)) @ cell, axis=1).min() > 1.7:
            placed.append(near)
    return Atoms(elements, placed, cell=cell, pbc=True)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 150), tilted=st.booleans())
def test_summary_is_the_oracle_s(seed, n, tilted):
    atoms = soup(seed, n, tilted)
    found, expected = summarise(find_motifs(atoms)), count(atoms)
    for key in ("units", "anions", "free", "sharing", "homopolar", "rings", "class"):
        assert found[key] == expected[key], key
    for key in ("qn", "en", "li_environment", "network"):
        assert found[key] == expected[key], key
    assert found.get("S-S", 0) == expected["S-S"]
    assert "S-S" not in found or found["S-S"] > 0
    assert {e: listed(rows) for e, rows in found["neighbours"].items()} == expected["neighbours"]


def chain(periods: int) -> Atoms:
    """SiS2: tetrahedra (flattened) that share edges along x, one a period."""
    period = Atoms(
        "SiS2", [[0.0, 0.0, 0.0], [1.6, 1.45, 0.0], [1.6, -1.45, 0.0]], cell=[3.2, 12.0, 12.0]
    )
    period.pbc = True
    return period * (periods, 1, 1)


@pytest.mark.parametrize("periods", [1, 2, 3])
def test_chains_are_counted_by_the_period(periods):
    """A former that is its own neighbour, one that is another's on both sides, and a real chain."""
    atoms = chain(periods)
    found, expected = summarise(find_motifs(atoms)), count(atoms)
    for key in ("units", "sharing", "rings", "qn", "en", "class"):
        assert found[key] == expected[key], key
    assert found["sharing"] == {"(SiS4-SiS4)ES": periods}
    assert found["en"] == {"Si": [0, 0, periods]}
    assert listed(found["neighbours"]["Si"]) == {(4, 2, ("Si",) * 4, ()): periods}


def test_small_cells_are_those_of_the_oracle():
    """Cells that atoms reach across to their own images."""
    seen: Counter = Counter()
    for seed in range(8):
        atoms = soup(seed, 9, tilted=seed % 2 > 0, scale=0.3)
        found, expected = summarise(find_motifs(atoms)), count(atoms)
        for key in ("units", "anions", "free", "sharing", "homopolar", "class", "qn", "en"):
            assert found[key] == expected[key], key
        assert {e: listed(r) for e, r in found["neighbours"].items()} == expected["neighbours"]
        seen.update(found["sharing"])
    assert seen


def test_soups_hold_what_they_are_to_test():
    """So that agreement isn't that of empty counts."""
    seen: Counter = Counter()
    for seed in range(12):
        expected = count(soup(seed, 150, tilted=True))
        for key in ("free", "sharing", "homopolar", "rings", "class", "li_environment"):
            seen.update(f"{key} {name}" for name in expected[key])
        seen["S-S"] += expected["S-S"]
    for what in ("free S2", "rings B2S2", "homopolar P-P", "li_environment small borate", "S-S"):
        assert seen[what] > 0, what
    assert any(key.startswith("rings") and key.endswith("S3") for key in seen)
    assert {how[-2:] for how in seen if how.startswith("sharing")} == {"CS", "ES", "FS"}


@pytest.mark.parametrize("largest", [3, 2**40])
def test_distinct_rows_of_any_numbers(largest):
    """Rows that fit into one integer, and rows that don't."""
    rng = np.random.default_rng(1)
    table = rng.integers(-1, 2, (60, 3)) * largest
    rows, counts = _rows(table)
    assert Counter(dict(zip(map(tuple, rows), counts, strict=True))) == Counter(
        map(tuple, table.tolist())
    )


def test_drawn_bonds_are_those_found():
    """The oracle's bonds, and so the drawings, in the wrapped box too."""
    cluster = draw("Si", "", ["P1", "P1", "P2", "Si1"])
    atoms = cluster.atoms(5)
    assert bonds_of(atoms) == {tuple(sorted(bond)) for bond in cluster.bonds}
    assert {ROLE[s] for s in atoms.symbols} == {"former", "sulfur"}
