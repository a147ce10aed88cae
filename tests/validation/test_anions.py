"""Every anion of the design, drawn by hand: formula, charge, class, sharing, environments of Li."""

import re

import numpy as np
import pytest
from ase import Atoms
from clusters import ANIONS, CHARGE, Cluster, borate, boroxol, compact, joined, pair, together, unit

from lbpsi_driver.observables.motif_summary import summarise
from lbpsi_driver.observables.motifs import find_motifs


def summary_of(cluster: Cluster, seed: int = 0, **options):
    return summarise(find_motifs(cluster.atoms(seed), **options))


@pytest.mark.parametrize("formula", ANIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_formula_and_charge(formula, seed):
    assert summary_of(ANIONS[formula](), seed)["anions"] == {formula: 1}


def test_halides_and_sulfur_chains_in_anions():
    thio = Cluster()
    p = thio.add("P")
    thio.add("I", p)
    thio.fill(p, 3)
    assert summary_of(thio)["anions"] == {"PS3I(2-)": 1}
    per = Cluster()
    p = per.add("P")
    per.fill(p, 4)
    per.add("S", 1)
    summary = summary_of(per)
    assert summary["anions"] == {"PS5(3-)": 1}
    assert summary["S-S"] == 1
    assert summary["units"] == {"PS4": 1}
    assert summary["homopolar"] == {}


def test_neutral_and_positive_components():
    molecule = Cluster()
    b = molecule.add("B")
    for _ in range(3):
        molecule.add("I", b)
    molecule.add("S")
    assert summary_of(molecule)["anions"] == {"BI3(0)": 1}
    assert summary_of(molecule)["free"] == {"S": 1}
    cation = unit("P", 2)
    assert summary_of(cation)["anions"] == {"PS2(1+)": 1}


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (unit("P", 4), {"PS4": 1}),
        (unit("B", 4), {"small borate": 1}),
        (unit("Si", 4), {"other": 1}),
        (unit("P", 3), {"other": 1}),
        (joined("P", "P"), {"P2S6(4-)": 2}),
        (joined("Si", "Si"), {"other": 2}),
        (pair("P", 4, "P", 4, 2), {"P2S6(2-)": 2}),
        (pair("P", 4, "P", 4, 1), {"P2S7": 2}),
        (pair("P", 4, "B", 4, 1), {"(PS4-BS4)CS": 2}),
        (pair("P", 4, "B", 4, 2), {"(PS4-BS4)ES": 2}),
        (pair("P", 4, "B", 3, 1), {"(PS4-BS3)CS": 2}),
        (pair("P", 4, "B", 3, 2), {"(PS4-BS3)ES": 2}),
        (borate(6, [*boroxol(2), (0, 3)]), {"network": 6}),
        (borate(3, boroxol(1)), {"small borate": 3}),
    ],
)
def test_classes(cluster, expected):
    assert summary_of(cluster)["class"] == expected


@pytest.mark.parametrize(
    ("cluster", "sharing", "rings"),
    [
        (pair("P", 4, "B", 4, 1), {"(PS4-BS4)CS": 1}, {}),
        (pair("P", 4, "B", 4, 2), {"(PS4-BS4)ES": 1}, {"BPS2": 1}),
        (pair("P", 4, "B", 4, 3), {"(PS4-BS4)FS": 1}, {"BPS2": 3}),
        (pair("P", 4, "B", 3, 1), {"(PS4-BS3)CS": 1}, {}),
        (pair("B", 3, "P", 4, 2), {"(PS4-BS3)ES": 1}, {"BPS2": 1}),
        (pair("B", 4, "P", 3, 1), {"(PS3-BS4)CS": 1}, {}),
        (pair("B", 3, "B", 4, 1), {"(BS4-BS3)CS": 1}, {}),
        (pair("Si", 4, "B", 4, 1), {"(BS4-SiS4)CS": 1}, {}),
        (pair("Si", 4, "B", 3, 1), {"(SiS4-BS3)CS": 1}, {}),
        (pair("B", 3, "B", 3, 2), {"(BS3-BS3)ES": 1}, {"B2S2": 1}),
        (borate(3, boroxol(1)), {"(BS3-BS3)CS": 3}, {"B3S3": 1}),
    ],
)
def test_sharing_and_rings(cluster, sharing, rings):
    summary = summary_of(cluster)
    assert summary["sharing"] == sharing
    assert summary["rings"] == rings


def test_networks_by_their_borons():
    six = ANIONS["B6S10(2-)"]().atoms()
    small = ANIONS["B2S4(2-)"]().atoms()
    atoms = together([six, small])
    assert summarise(find_motifs(atoms))["network"] == {"largest_B": 6, "fraction_B": 0.75}
    found = summarise(find_motifs(atoms, chain=7))
    assert found["network"] == {"largest_B": 6, "fraction_B": 0.0}
    assert found["class"] == {"small borate": 8}
    assert summarise(find_motifs(unit("P", 4).atoms()))["network"] == {
        "largest_B": 0,
        "fraction_B": 0.0,
    }


def test_environments_of_lithium():
    tetrahedron = compact(unit("P", 4).atoms())
    tetrahedron += 5.0 - tetrahedron[0]
    places = [
        [5.0, 5.0, 9.9],  # just within reach of the P
        [20.0, 20.0, 20.0],  # an I is near
        [30.0, 30.0, 30.0],  # an I and an S are near
        [20.0, 5.0, 30.0],  # nothing is near
    ]
    atoms = Atoms(
        "PS4Li4I2S",
        [*tetrahedron, *places, [20.0, 20.0, 22.8], [30.0, 30.0, 32.8], [30.0, 32.4, 30.0]],
        cell=[40.0] * 3,
        pbc=True,
    )
    found = summarise(find_motifs(atoms))
    assert found["li_environment"] == {"PS4": 1, "halide": 1, "none": 2}
    assert found["free"] == {"I": 2, "S": 1}
    atoms.symbols[6] = "Na"
    found = find_motifs(atoms)
    assert summarise(found)["li_environment"] == {"PS4": 1, "none": 2}
    assert summarise(found, cation="Na")["li_environment"] == {"halide": 1}
    assert summarise(found, cation="K")["li_environment"] == {}


def charge_of(name: str) -> int:
    size, sign = re.search(r"\((\d+)([+-]?)\)$", name).groups()
    return -int(size) if sign == "-" else int(size)


def free_charge(name: str, n: int) -> int:
    return n * sum(CHARGE[symbol] for symbol in Atoms(name).symbols)


@pytest.mark.parametrize("seed", range(4))
def test_charges_of_a_neutral_cell_add_up(seed):
    """All ions together: 2 (n(S-S) - n(homopolar)), S-S those of free S_n too."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(list(ANIONS), 6)
    disulfide = Cluster()
    disulfide.add("S", disulfide.add("S"))
    parts = [ANIONS[name]().atoms(k) for k, name in enumerate(chosen)]
    parts += [disulfide.atoms(), joined("Si", "Si").atoms()]
    rest = together(parts, "I3S2")
    negative = sum(CHARGE[symbol] for symbol in rest.symbols)
    atoms = together(parts, f"I3S2Li{-negative}", seed)
    assert sum(CHARGE[symbol] for symbol in atoms.symbols) == 0
    found = summarise(find_motifs(atoms))
    assert sum(found["li_environment"].values()) == -negative
    ions = -negative + sum(charge_of(name) * n for name, n in found["anions"].items())
    ions += sum(free_charge(name, n) for name, n in found["free"].items())
    ions += 2 * found["free"]["S2"]
    assert found["free"] == {"I": 3, "S": 2, "S2": 1}
    assert ions == 2 * (found["S-S"] - sum(found["homopolar"].values()))
