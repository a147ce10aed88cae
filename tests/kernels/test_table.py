"""The compiled table is data/motifs.toml, and says what DESIGN and the periodic system say."""

import tomllib
from importlib.resources import files

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers

from lbpsi_driver import _kernels

TOML = tomllib.loads((files("lbpsi_driver") / "data/motifs.toml").read_text())

FORMER_CLASSES = (
    "P2S6(4-)",
    "P2S6(2-)",
    "(PS4-BS4)CS",
    "(PS4-BS4)ES",
    "(PS4-BS3)CS",
    "(PS4-BS3)ES",
    "P2S7",
    "PS4",
    "network",
    "small borate",
    "other",
)


def test_classes_stand_in_their_order():
    assert (*FORMER_CLASSES, "halide", "none") == _kernels.CLASS_NAMES
    assert len(FORMER_CLASSES) == _kernels.N_FORMER_CLASSES


def test_compiled_table_is_the_file():
    elements = {e["symbol"]: (e["number"], e["role"], e["charge"]) for e in TOML["element"]}
    assert _kernels.elements() == elements
    assert _kernels.bond_cutoffs() == TOML["bond"]
    assert _kernels.shell_cutoffs() == TOML["shell"]
    assert tuple(c["name"] for c in TOML["class"]) == _kernels.CLASS_NAMES
    assert (_kernels.CHAIN, _kernels.ENVIRONMENT) == (6, 5.0)


def test_elements_are_what_they_are():
    charges = {"halide": {-1}, "sulfur": {-2}, "cation": {1, 2}, "former": {3, 4, 5}}
    for symbol, (number, role, charge) in _kernels.elements().items():
        assert number == atomic_numbers[symbol]
        assert charge in charges[role]
    for element in TOML["element"]:
        assert element["mass"] == pytest.approx(atomic_masses[element["number"]], abs=0.02)


def test_pairs_are_of_the_right_roles():
    role = {symbol: row[1] for symbol, row in _kernels.elements().items()}
    for pair, cutoff in _kernels.bond_cutoffs().items():
        assert {role[x] for x in pair.split("-")} <= {"former", "sulfur", "halide"}
        assert 1.0 < cutoff < 3.5
    for pair, radius in _kernels.shell_cutoffs().items():
        cation, anion = pair.split("-")
        assert role[cation] == "cation"
        assert role[anion] in {"sulfur", "halide"}
        assert 2.0 < radius < _kernels.ENVIRONMENT


def n_bonds(a, b, distance, **options):
    found = _kernels.find_motifs(
        np.array([[0, 0, 0], [distance, 0, 0]]),
        30.0 * np.eye(3),
        [0, 1],
        [a, b],
        [1, 2],
        **options,
    )
    assert len(found["bond_j"]) in {0, 2}
    return len(found["bond_j"]) // 2


@pytest.mark.parametrize("pair", TOML["bond"])
def test_bonds_end_at_the_cutoff(pair):
    (a, b), cutoff = pair.split("-"), TOML["bond"][pair]
    for first, second in ((a, b), (b, a)):
        assert n_bonds(first, second, cutoff - 1e-6) == 1
        assert n_bonds(first, second, cutoff + 1e-6) == 0
        longer = [(second, first, cutoff + 0.2)]
        assert n_bonds(first, second, cutoff + 0.2 - 1e-6, bonds=longer) == 1
        assert n_bonds(first, second, cutoff + 0.2 + 1e-6, bonds=longer) == 0


def test_pairs_without_a_row_have_no_bonds():
    symbols = sorted(_kernels.elements())
    for k, a in enumerate(symbols):
        for b in symbols[k:]:
            if not {f"{a}-{b}", f"{b}-{a}"} & set(TOML["bond"]):
                assert n_bonds(a, b, 1.0) == 0, (a, b)


def test_last_of_two_cutoffs_holds():
    bonds = [("P", "S", 2.0), ("S", "P", 3.0)]
    assert n_bonds("P", "S", 2.9, bonds=bonds) == 1
    assert n_bonds("P", "S", 2.9, bonds=bonds[::-1]) == 0


def test_a_bond_may_reach_beyond_everything_else():
    assert n_bonds("P", "S", 7.9, bonds=[("P", "S", 8.0)]) == 1


@pytest.mark.parametrize(
    ("symbols", "bond", "words"),
    [
        (["P", "Xe"], None, ["unknown element Xe", "expected one of B P", "NULL"]),
        (["P", "p"], None, ["unknown element p;"]),
        (["P", ""], None, ["unknown element ;"]),
        (["P", "S"], ("B", "S", 2.4), ["bond B S", "no type is B"]),
        (["P", "S"], ("P", "Zz", 2.4), ["bond P Zz", "no type is Zz"]),
        (["P", "Li"], ("Li", "P", 2.4), ["bond Li P", "Li forms no bonds"]),
        (["P", "NULL"], ("P", "NULL", 2.4), ["bond P NULL", "NULL forms no bonds"]),
        (["P", "S"], ("P", "S", 0.0), ["bond P S: cutoff 0.0", "not positive"]),
        (["P", "S"], ("P", "S", -2.0), ["bond P S: cutoff -2.0", "not positive"]),
        (["P", "S"], ("P", "S", np.nan), ["bond P S: cutoff nan", "not positive"]),
        (["P", "S"], ("P", "S", np.inf), ["bond P S: cutoff inf", "not positive"]),
    ],
)
def test_errors_name_the_token(symbols, bond, words):
    with pytest.raises(ValueError, match=f"^{words[0]}") as caught:
        _kernels.find_motifs(
            np.zeros((0, 3)), np.eye(3), [], symbols, [], bonds=[bond] if bond else []
        )
    message = str(caught.value)
    assert "\n" not in message
    for word in words[1:]:
        assert word in message
