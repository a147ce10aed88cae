"""Motifs against the oracle, against hand-made units, and under what must not change them."""

from collections import Counter

import numpy as np
import pytest
from boxes import (
    LENGTHS,
    TRIANGLE,
    borate_chain,
    boxed,
    boxes,
    corner,
    edge,
    frame,
    gas,
    rotation,
    unimodular,
    unit,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from lbpsi_driver import _kernels, structure

SEEDS = st.integers(0, 2**32 - 1)
PER_ATOM = ("unit", "coordination", "qn", "en", "cls", "anion", "anion_atoms", "anion_borons")
LINK = ("id", "type", "coordination", "shared", "bonded")


def rows(found, name, i):
    """Entries of atom i: 'bond' or 'link'."""
    start, stop = found[f"{name}_start"][i : i + 2]
    keys = [key for key in found if key.startswith(f"{name}_") and key != f"{name}_start"]
    return {key.removeprefix(f"{name}_"): found[key][start:stop] for key in keys}


def check(**given_):
    found, expected = _kernels.find_motifs(**given_), oracle.Motifs(**given_)
    n, ids = expected.n, given_["ids"]
    for key, values in {
        "unit": expected.unit,
        "coordination": expected.coordination,
        "qn": expected.qn,
        "en": expected.en,
        "cls": expected.classes,
        "li_former": expected.nearest_former,
    }.items():
        assert found[key].tolist() == values, key
    anions = np.stack([found[key] for key in ("anion", "anion_atoms", "anion_borons")], axis=1)
    assert anions.tolist() == [list(expected.anion_of.get(i, (0, 0, 0))) for i in range(n)]
    for i in range(n):
        check_bonds(found, expected, i)
        links = rows(found, "link", i)
        assert (np.diff(links["id"]) >= 0).all()
        assert Counter(zip(*(links[key].tolist() for key in LINK), strict=True)) == Counter(
            (ids[j], given_["types"][j], expected.coordination[j], shared, bonded)
            for (j, _), shared, bonded in expected.links[i]
        )
    return found, expected


def check_bonds(found, expected, i):
    bonds = rows(found, "bond", i)
    assert (np.diff(expected.ids[bonds["j"]]) >= 0).all()
    in_order(bonds)
    home = expected.positions[i]
    places = [
        (j, expected.positions[j] + np.array(shift) @ expected.cell - home)
        for j, shift in expected.bonded[i]
    ]
    assert sorted(bonds["j"].tolist()) == sorted(j for j, _ in places)
    for j, d in zip(bonds["j"], bonds["d"], strict=True):
        assert sum(j == k and np.allclose(d, to, rtol=0, atol=1e-9) for k, to in places) == 1


def in_order(bonds):
    """Images of one atom stand by x, then y, then z."""
    for j in set(bonds["j"].tolist()):
        images = bonds["d"][bonds["j"] == j].tolist()
        assert images == sorted(images)


def by_id(found, ids):
    """Everything that is known of an atom, by its id: the same however the atoms are ordered."""
    name = {-1: None, **dict(enumerate(ids.tolist()))}
    atoms = {}
    for i, who in enumerate(ids.tolist()):
        links = rows(found, "link", i)
        atoms[who] = (
            [int(found[key][i]) for key in PER_ATOM],
            name[int(found["li_former"][i])],
            Counter(zip(*(links[key].tolist() for key in LINK), strict=True)),
            Counter(name[j] for j in rows(found, "bond", i)["j"].tolist()),
        )
    rings = Counter(tuple(sorted(ids[ring[ring >= 0]].tolist())) for ring in found["rings"])
    return atoms, rings


# --- against the oracle ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=120)
@given(boxes(), st.floats(0.01, 0.12), SEEDS)
def test_gases_in_any_box(cell, density, seed):
    rng = np.random.default_rng(seed)
    check(**frame(rng, gas(rng, cell, density, most=40), cell))


@settings(deadline=None, max_examples=30)
@given(boxes(smallest=3.0), SEEDS, st.integers(1, 4), st.floats(2.0, 7.0))
def test_own_cutoffs(cell, seed, chain, environment):
    rng = np.random.default_rng(seed)
    bonds = [("S", "B", 2.9), ("P", "P", 1.5), ("B", "P", 2.4), ("S", "I", 2.2)]
    arguments = frame(rng, gas(rng, cell, 0.05, most=40), cell)
    check(**arguments, bonds=bonds, chain=chain, environment=environment)


@pytest.mark.parametrize("melted_A", [0.0, 0.15, 0.4, 0.8])
def test_packed_glass(cell, melted_A):
    atoms = structure.read_cell(cell)
    noise = np.random.default_rng(3).normal(0, melted_A, (len(atoms), 3))
    found, _ = check(**boxed(list(atoms.symbols), atoms.positions + noise, atoms.cell.array))
    assert (found["unit"] == 154).any() == (melted_A < 0.3)


# --- what must not change them --------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(boxes(smallest=4.0), unimodular(), st.floats(0.03, 0.1), SEEDS)
def test_nothing_depends_on_how_the_structure_is_told(cell, basis, density, seed):
    """The order of the atoms, the origin, images, axes, handedness and basis of the lattice."""
    rng = np.random.default_rng(seed)
    arguments = frame(rng, gas(rng, cell, density, most=150), cell)
    before = by_id(_kernels.find_motifs(**arguments), arguments["ids"])

    n = len(arguments["ids"])
    order, mirror = rng.permutation(n), np.diag([1.0, 1.0, rng.choice([-1.0, 1.0])])
    images = rng.integers(-2, 3, (n, 3)) @ cell
    turn = rotation(rng) @ mirror
    told = {
        **arguments,
        "positions": ((arguments["positions"] + images + rng.normal(size=3)) @ turn)[order],
        "cell": basis @ cell @ turn,
        "types": arguments["types"][order],
        "ids": arguments["ids"][order],
    }
    assert by_id(_kernels.find_motifs(**told), told["ids"]) == before


@settings(deadline=None, max_examples=30)
@given(boxes(smallest=4.0), SEEDS)
def test_ids_are_names_only(cell, seed):
    rng = np.random.default_rng(seed)
    arguments = frame(rng, gas(rng, cell, 0.06, most=100), cell)
    named = {**arguments, "ids": rng.permutation(arguments["ids"])}
    before, after = _kernels.find_motifs(**arguments), _kernels.find_motifs(**named)
    for key in set(PER_ATOM) - {"anion"} | {"li_former"}:
        np.testing.assert_array_equal(before[key], after[key])
    one_to_one = set(zip(before["anion"].tolist(), after["anion"].tolist(), strict=True))
    assert len(one_to_one) == len(set(before["anion"])) == len(set(after["anion"]))


@settings(deadline=None, max_examples=40)
@given(boxes(smallest=2.5, largest=8.0), st.sampled_from([(2, 1, 1), (1, 1, 3), (2, 2, 1)]), SEEDS)
def test_a_supercell_has_the_motifs_of_its_cell(cell, repeats, seed):
    """Motifs of a small cell are those of the crystal, not of atoms that meet themselves."""
    rng = np.random.default_rng(seed)
    small = frame(rng, gas(rng, cell, 0.05, most=30), cell)
    shifts = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    n, m = len(small["ids"]), len(shifts)
    large = {
        **small,
        "positions": (small["positions"] + (shifts @ cell)[:, None]).reshape(-1, 3),
        "cell": np.array(repeats)[:, None] * cell,
        "types": np.tile(small["types"], m),
        "ids": np.arange(1, n * m + 1),
    }
    # anions of a crystal may have no end, so that no size of theirs is the crystal's
    one, many = (_kernels.find_motifs(**arguments, chain=10**6) for arguments in (small, large))
    for key in ("unit", "coordination", "qn", "en", "cls"):
        np.testing.assert_array_equal(np.tile(one[key], m), many[key], err_msg=key)
    for i in range(n * m):
        a, b = rows(one, "link", i % n), rows(many, "link", i)
        keys = ("type", "coordination", "shared", "bonded")
        assert Counter(zip(*(a[k].tolist() for k in keys), strict=True)) == Counter(
            zip(*(b[k].tolist() for k in keys), strict=True)
        )
    origin = Counter(tuple(sorted(ring)) for ring in one["rings"].tolist())
    copies = np.where(many["rings"] < 0, -1, many["rings"] % n)
    assert Counter(tuple(sorted(ring)) for ring in copies.tolist()) == Counter(
        {ring: m * count for ring, count in origin.items()}
    )


# --- by hand --------------------------------------------------------------------------------------

P4, B4, B3 = ("P", 4), ("B", 4), ("B", 3)


def of(found, arguments, element):
    """Class, Q^n and E^n of the atoms of an element."""
    here = arguments["types"] == arguments["symbols"].index(element)
    names = [_kernels.CLASS_NAMES[c - 1] for c in found["cls"][here]]
    return list(zip(names, found["qn"][here].tolist(), found["en"][here].tolist(), strict=True))


@pytest.mark.parametrize(
    ("make", "a", "b", "name", "qn", "en"),
    [
        (corner, P4, P4, "P2S7", 1, 0),
        (edge, P4, P4, "P2S6(2-)", 2, 1),
        (corner, P4, B4, "(PS4-BS4)CS", 1, 0),
        (edge, P4, B4, "(PS4-BS4)ES", 2, 1),
        (corner, P4, B3, "(PS4-BS3)CS", 1, 0),
        (edge, P4, B3, "(PS4-BS3)ES", 2, 1),
        (edge, B3, B3, "small borate", 2, 1),
        (corner, ("Si", 4), ("Ge", 4), "other", 1, 0),
        # P that is no PS4 makes no pair with B
        (corner, ("P", 3), B3, None, 1, 0),
    ],
)
def test_two_units(make, a, b, name, qn, en):
    arguments = boxed(*make(a, b))
    found, _ = check(**arguments)
    for former in (a[0], b[0]):
        expected = name or {"P": "other", "B": "small borate"}[former]
        assert set(of(found, arguments, former)) == {(expected, qn, en)}
    sulfur = {cls for cls, _, _ in of(found, arguments, "S")}
    assert sulfur == {cls for f in (a[0], b[0]) for cls, _, _ in of(found, arguments, f)}


def test_p2s6_with_a_bond():
    arm = unit("P", 4, [0, 0, 1.0])[1:]
    positions = np.vstack([[0, 0, 2.2], arm * [1, 1, -1] + [0, 0, 2.2], [0, 0, 0], arm])
    # the S of one P point away from the other P
    positions[1:4] = [0, 0, 2.2] - arm
    arguments = boxed(["P", "S", "S", "S"] * 2, positions)
    found, _ = check(**arguments)
    assert of(found, arguments, "P") == [("P2S6(4-)", 0, 0)] * 2
    assert set(found["unit"]) == {153, 0}
    assert found["anion_atoms"].tolist() == [8] * 8
    assert found["link_bonded"].tolist() == [True, True]
    assert found["link_shared"].tolist() == [0, 0]


def test_s_of_three_formers():
    """Paper 001's row '1 | 0 | P, P'."""
    elements, positions = ["S"], [np.zeros((1, 3))]
    for k in range(3):
        centre = LENGTHS["P"] * TRIANGLE[k]
        positions += [centre[None], centre + unit("P", 4, -TRIANGLE[k])[1:]]
        elements += ["P", "S", "S", "S"]
    arguments = boxed(elements, np.vstack(positions))
    found, _ = check(**arguments)
    assert found["coordination"][0] == 3
    assert of(found, arguments, "P") == [("P2S7", 1, 0)] * 3
    assert np.diff(found["link_start"])[1::4].tolist() == [2, 2, 2]
    assert found["link_shared"].tolist() == [1] * 6


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        (("Ge", 4), ("Ge", 4), ("other", "other")),
        (P4, P4, ("PS4", "PS4")),
        (P4, B4, ("PS4", "small borate")),
        (P4, B3, ("PS4", "small borate")),
    ],
)
def test_shared_face(a, b, names):
    """Three S in common are neither a corner nor an edge."""
    radius = 1.9 if a[0] == "Ge" else 1.5
    elements, positions = ["S"] * 3, list(radius * TRIANGLE)
    for (former, n), side in ((a, 1), (b, -1)):
        r = 2.4 if former == "Ge" else LENGTHS[former]
        height = (r**2 - radius**2) ** 0.5
        elements += [former, "S"][: n - 2]
        positions += [[0, 0, side * height], [0, 0, side * (height + r)]][: n - 2]
    arguments = boxed(elements, np.array(positions))
    found, _ = check(**arguments)
    for former, name in zip((a[0], b[0]), names, strict=True):
        assert set(of(found, arguments, former)) == {(name, 3, 0)}
    assert found["link_shared"].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("n", "chain", "name"),
    [(5, None, "small borate"), (6, None, "network"), (3, 3, "network"), (3, 4, "small borate")],
)
def test_network(n, chain, name):
    arguments = boxed(*borate_chain(n))
    found = _kernels.find_motifs(**arguments, chain=chain)
    ends, inner = [(name, 1, 0)], [(name, 2, 0)]
    assert of(found, arguments, "B") == ends + inner * (n - 2) + ends
    assert found["anion_borons"].tolist() == [n] * len(arguments["ids"])


def test_polysulfide_joins_two_units():
    arm = unit("P", 4, [1.0, 0, 0])
    other = -arm + (2 * arm[0] + [2.05, 0, 0])
    positions = np.vstack([np.zeros(3), arm, 2 * arm[0] + [2.05, 0, 0], other])
    found, _ = check(**boxed(["P", *["S"] * 4] * 2, positions))
    assert found["anion"].tolist() == [1] * 10
    assert not found["qn"].any()


def test_free_ions():
    """Free S and S2, halides free and bound, and Li in front of them."""
    far = np.arange(8)[:, None] * np.array([12.0, 0, 0])
    cell = np.diag([96.0, 20.0, 20.0])
    spots = [
        (["S"], [[0, 0, 0]]),
        (["S", "S"], [[0, 0, 0], [2.0, 0, 0]]),
        (["I", "Li"], [[0, 0, 0], [2.8, 0, 0]]),
        (["I", "Li", "S"], [[0, 0, 0], [2.8, 0, 0], [5.2, 0, 0]]),
        (["Li"], [[0, 0, 0]]),
        (["B", "S", "S", "I"], [[0, 0, 0], [-0.9, 1.56, 0], [-0.9, -1.56, 0], [2.1, 0, 0]]),
        (["P", "Li"], [[0, 0, 0], [4.9, 0, 0]]),
        (["P", "Li"], [[0, 0, 0], [5.1, 0, 0]]),
    ]
    elements = [e for these, _ in spots for e in these]
    positions = np.vstack([at + np.array(x) for at, (_, x) in zip(far, spots, strict=True)])
    found, _ = check(**boxed(elements, positions, cell))
    names = [_kernels.CLASS_NAMES[c - 1] for c in found["cls"]]
    assert names == [
        *["none"] * 3,
        *["halide"] * 2,
        *["halide", "none", "none"],
        "none",
        *["small borate"] * 4,
        *["other"] * 2,
        *["other", "none"],
    ]
    assert found["anion"][:9].tolist() == [0] * 9
    assert found["anion"][9:13].tolist() == [10] * 4
    assert found["coordination"][12] == 1


def test_li_between_two_formers():
    """A tie by symmetry goes to the lower id, whatever rounding says."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        x = np.array([[-3.0, 0, 0], [0, 0, 0], [3.0, 0, 0]]) @ rotation(rng) + rng.normal(size=3)
        arguments = boxed(["P", "Li", "B"], x, 20.0 * rotation(rng))
        for ids, nearest in (([1, 2, 3], 0), ([9, 2, 3], 2)):
            found = _kernels.find_motifs(**{**arguments, "ids": ids})
            assert found["li_former"].tolist() == [-1, nearest, -1]


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_chain_of_edges_in_a_cell_of_one_unit(copies):
    """SiS2: every Si shares an edge with the Si on either side, its own images included."""
    pitch = 2.8
    elements, positions = [], []
    for k in range(copies):
        elements += ["Si", "S", "S"]
        positions += [[0, 0, k * pitch], [1.5, 0, (k + 0.5) * pitch], [-1.5, 0, (k + 0.5) * pitch]]
    arguments = boxed(elements, positions, np.diag([12.0, 12.0, copies * pitch]))
    found, _ = check(**arguments)
    assert of(found, arguments, "Si") == [("other", 4, 2)] * copies
    assert found["link_shared"].tolist() == [2] * (2 * copies)
    assert found["rings"].shape == (copies, 3)


def test_left_out():
    """Types of NULL and -1 have no bonds, and no atom meets them."""
    elements, positions = corner(P4, P4)
    arguments = boxed(elements, positions)
    bridge = 1
    for out in (-1, len(arguments["symbols"])):
        types = arguments["types"].copy()
        types[bridge] = out
        given_ = {**arguments, "types": types, "symbols": [*arguments["symbols"], "NULL"]}
        found, _ = check(**given_)
        assert found["unit"][found["unit"] > 0].tolist() == [153, 153]
        assert (found["cls"][bridge], found["anion"][bridge]) == (0, 0)
        assert not np.isin(bridge, found["bond_j"])


def test_lone_units_and_no_atoms():
    for n, name in ((4, "PS4"), (3, "other")):
        arguments = boxed(["P", *["S"] * n], np.vstack([np.zeros(3), unit("P", n)]))
        found, _ = check(**arguments)
        assert of(found, arguments, "P") == [(name, 0, 0)]
        assert found["unit"][0] == 150 + n
    empty = _kernels.find_motifs(np.empty((0, 3)), np.eye(3), [], ["P"], [])
    assert {len(v) for k, v in empty.items() if not k.endswith("_start")} == {0}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"positions": np.zeros((3, 2))}, r"positions has shape \(3, 2\)"),
        ({"cell": np.eye(4)}, r"cell has shape \(4, 4\)"),
        ({"cell": np.ones((3, 3))}, "cell has volume"),
        ({"types": [0, 1]}, r"types has shape \(2\); expected \(3\)"),
        ({"types": [0, 1, 2]}, "types of atom 3 is 2"),
        ({"types": [0, -2, 1]}, "types of atom 2 is -2"),
        ({"ids": [1, 2]}, r"ids has shape \(2\); expected \(3\)"),
        ({"ids": [7, 1, 7]}, "ids holds 7 more than once"),
        ({"ids": [0, 1, 2]}, "ids holds 0;"),
        ({"ids": [1, 2, 2**60]}, f"ids holds {2**60};"),
        ({"positions": [[0, 0, 0], [1, 1, 1], [np.nan, 0, 0]]}, "positions of atom 3"),
        ({"symbols": ["P", "Xx"]}, "unknown element Xx"),
        ({"chain": 0}, "chain 0"),
        ({"environment": -1.0}, r"environment -1\.0"),
        ({"environment": np.inf}, "environment inf"),
        ({"bonds": [("P", "S", 0.0)]}, "bond P S: cutoff 0"),
    ],
)
def test_bad_input_is_one_line(change, word):
    given_ = {
        "positions": np.arange(9.0).reshape(3, 3),
        "cell": 9.0 * np.eye(3),
        "types": [0, 1, 1],
        "symbols": ["P", "S"],
        "ids": [1, 2, 3],
        **change,
    }
    with pytest.raises(ValueError, match=f"^{word}") as caught:
        _kernels.find_motifs(**given_)
    assert "\n" not in str(caught.value)
