"""Parsing, charge balance, rounding to whole units, and what each refusal says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpsi_driver import composition as comp
from lbpsi_driver.config import DEFAULT_COMPOSITION, UsageError

SALTS = comp.unit_table().salts
IONS = comp.unit_table().ions
PAPER = {"Li": 42, "S": 12, "I": 18, "B2S3": 10, "P2S5": 2}

salt_amounts = st.dictionaries(st.sampled_from(SALTS), st.integers(1, 60), min_size=1)
unit_numbers = st.dictionaries(st.sampled_from(SALTS + IONS), st.integers(1, 60), min_size=1)


def net_charge(units):
    return sum(comp.formal_charge(name) * number for name, number in units.items())


def test_default_is_the_papers_cell():
    percent = comp.parse_mol_percent(DEFAULT_COMPOSITION)
    units = comp.formula_units(percent, 136, 0.0)
    assert comp.packed_units(units) == PAPER
    assert comp.element_counts(units) == {"Li": 42, "B": 20, "P": 4, "S": 52, "I": 18}


def test_units_and_mol_percent_agree():
    units = comp.parse_units("Li=42,S=12,I=18,B2S3=10,P2S5=2")
    assert units == PAPER
    wanted = comp.parse_mol_percent(DEFAULT_COMPOSITION)
    realised = comp.mol_percent(comp.element_counts(units))
    assert realised == pytest.approx(wanted)


def test_table_holds_what_is_promised():
    assert set(SALTS) == {"Li2S", "B2S3", "P2S5", "SiS2", "GeS2", "LiI", "LiCl", "LiBr"}
    assert set(IONS) == {"Li", "S", "I", "Cl", "Br"}
    assert all(comp.formal_charge(salt) == 0 for salt in SALTS)
    charges = {ion: comp.formal_charge(ion) for ion in IONS}
    assert charges == {"Li": 1, "S": -2, "I": -1, "Cl": -1, "Br": -1}


def test_anions_of_glasses_are_units():
    units = comp.parse_units("Li=42,S=6,I=18,B2S3=10,PS4=4")
    assert comp.packed_units(units) == units
    assert comp.element_counts(units) == comp.element_counts(PAPER)
    charges = {anion: comp.formal_charge(anion) for anion in comp.unit_table().anions}
    assert charges == {"PS4": -3, "P2S7": -4, "BS3": -3, "BS4": -5}
    # 3 Li2S and a P2S5 make two of the first, 2 and one the second.
    for text, lithium_sulfide in (("Li=6,PS4=2", 75), ("Li=4,P2S7=1", 200 / 3)):
        realised = comp.mol_percent(comp.element_counts(comp.parse_units(text)))
        assert realised == pytest.approx({"Li2S": lithium_sulfide, "P2S5": 100 - lithium_sulfide})


BONDS = {"P2S5": 3, "PS4": 4, "P2S7": 4, "BS3": 3, "BS4": 4}


@pytest.mark.parametrize("name", [n for n, unit in comp.unit_table().units.items() if unit.symbols])
def test_what_is_packed_whole_has_its_formula_and_bonds(name):
    unit = comp.unit_table().units[name]
    symbols, counts = np.unique(unit.symbols, return_counts=True)
    assert dict(zip(symbols, counts, strict=True)) == comp.elements_of(name)
    positions = np.array(unit.positions)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    former = np.array(unit.symbols) != "S"
    to_sulfur = distance[np.ix_(former, ~former)]
    bonds_of_former = (to_sulfur < 2.4).sum(axis=1)
    assert set(bonds_of_former) == {BONDS.get(name, 2)}
    assert to_sulfur.min() > 1.7
    assert distance[~np.eye(len(former), dtype=bool)].min() > 1.7


def test_decimals_dashes_and_subscripts_are_read():
    plain = comp.parse_mol_percent("33.5Li2S-66.5SiS2")
    assert plain == {"Li2S": 33.5, "SiS2": 66.5}
    assert comp.parse_mol_percent("33.5Li₂S–66.5 SiS₂") == plain


@given(salt_amounts)
def test_mol_percent_sums_to_100(amounts):
    text = "-".join(f"{amount}{salt}" for salt, amount in amounts.items())
    percent = comp.parse_mol_percent(text)
    assert sum(percent.values()) == pytest.approx(100)
    assert list(percent) == list(amounts)


@given(salt_amounts)
@settings(max_examples=40, deadline=None)
def test_whole_formulas_round_without_error(amounts):
    percent = comp.parse_mol_percent("-".join(f"{n}{salt}" for salt, n in amounts.items()))
    atoms = sum(comp.element_counts(amounts).values())
    units = comp.formula_units(percent, atoms, 0.0)
    total = np.array([units[salt] / amounts[salt] for salt in amounts])
    assert total == pytest.approx(np.ones(len(total)))


@given(salt_amounts, st.integers(30, 400), st.floats(0.1, 5))
@settings(max_examples=40, deadline=None)
def test_rounding_holds_or_is_refused(amounts, atoms, rounding):
    percent = comp.parse_mol_percent("-".join(f"{n}{salt}" for salt, n in amounts.items()))
    best, _ = comp._closest(percent, atoms)
    if not best:
        return
    realised = comp.mol_percent(comp.element_counts(best))
    assert sum(comp.element_counts(best).values()) == atoms
    assert net_charge(best) == 0
    deviation = max(abs(realised[salt] - percent[salt]) for salt in percent)
    if deviation < rounding - 1e-6:
        assert comp.formula_units(percent, atoms, rounding) == best


def test_closest_is_the_closest_of_all():
    percent = comp.parse_mol_percent("60Li2S-25B2S3-15LiI")
    for atoms in range(40, 60):
        every = [
            (a, b, c)
            for a in range(1, 20)
            for b in range(1, 12)
            for c in range(1, 30)
            if 3 * a + 5 * b + 2 * c == atoms
        ]
        share = np.array(every) / np.sum(every, axis=1, keepdims=True) * 100
        best = np.abs(share - [60, 25, 15]).max(axis=1).min()
        assert comp._closest(percent, atoms)[1] == pytest.approx(best, abs=1e-6)


@given(unit_numbers)
def test_nearest_balanced_is_balanced_and_near(units):
    nearest = comp.nearest_balanced(units)
    assert net_charge(nearest) == 0
    assert all(number > 0 for number in nearest.values())
    assert nearest
    salts = {name: n for name, n in units.items() if name in SALTS}
    assert {name: n for name, n in nearest.items() if name in SALTS} == salts
    change = sum(abs(nearest.get(i, 0) - units.get(i, 0)) for i in IONS)
    assert change <= 2 * abs(net_charge(units)) + 1
    if net_charge(units) == 0:
        assert nearest == units


@given(unit_numbers)
def test_packed_units_keep_every_atom(units):
    assert comp.element_counts(comp.packed_units(units)) == comp.element_counts(units)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30Li2X-5P2S5", "'Li2X' is no known unit.*did you mean Li2S"),
        ("30Li-5P2S5", "'Li' is an ion.*--units"),
        ("30Li2S-5PS4", "'PS4' is an ion.*--units"),
        ("Li2S-5P2S5", "'Li2S': expected a positive amount"),
        ("0Li2S-5P2S5", "'0Li2S': expected a positive amount"),
        ("30Li2S-", "'': expected a positive amount"),
        ("30Li2S-5Li2S", "Li2S is there twice"),
    ],
)
def test_bad_mol_percent(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        comp.parse_mol_percent(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Li=2.5", "'Li=2.5': expected a building unit and a positive whole number"),
        ("Li=0,S=1", "'Li=0'"),
        ("Na=2,S=1", "'Na' is no known unit"),
        ("Li=1,Li=1,S=1", "Li is there twice"),
        ("Li=42,S=12,I=17", r"sum to \+1 e.*balanced set is Li=41,S=12,I=17"),
        ("Li=44,S=12,I=18", r"sum to \+2 e.*balanced set is Li=44,S=13,I=18"),
        ("Li=2,S=12", r"sum to -22 e.*balanced set is Li=2,S=1"),
        ("Li=3", r"sum to \+3 e.*balanced set is Li=4,S=2"),
        ("S=1,B2S3=2", r"sum to -2 e.*balanced set is S=1,B2S3=2,Li=2"),
    ],
)
def test_bad_units(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        comp.parse_units(text)
    assert "\n" not in str(caught.value)


def test_a_size_that_cannot_be_names_those_that_can():
    percent = comp.parse_mol_percent("60Li2S-40SiS2")
    with pytest.raises(UsageError, match=r"--atoms 100: .*cannot be made.* 90 or 105,"):
        comp.formula_units(percent, 100, 0.5)
    for atoms in (90, 105):
        assert comp.formula_units(percent, atoms, 0.5)


def test_a_size_too_coarse_names_the_deviation():
    percent = comp.parse_mol_percent(DEFAULT_COMPOSITION)
    with pytest.raises(UsageError, match=r"--atoms 20: .*23 mol % at best.*--atoms 68"):
        comp.formula_units(percent, 20, 0.5)


def test_no_size_at_all_says_so():
    percent = comp.parse_mol_percent("33.3Li2S-66.7SiS2")
    with pytest.raises(UsageError, match=r"no size up to 2099 atoms.*--rounding"):
        comp.formula_units(percent, 99, 0.0)
