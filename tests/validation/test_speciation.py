"""Q^n, E^n and surroundings over frames whose units were drawn by hand."""

import numpy as np
import pytest
from ase import Atoms
from clusters import ANIONS, joined, pair, together, unit

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import mean_of_series
from lbpsi_driver.observables.motif_summary import summaries, summarise
from lbpsi_driver.observables.motifs import find_motifs
from lbpsi_driver.observables.qn_tables import qn_tables
from lbpsi_driver.observables.trajectory import Trajectory


def frame(*clusters):
    return summarise(find_motifs(together([cluster.atoms() for cluster in clusters])))


# four P and two Si each
FIRST = frame(unit("P", 4), unit("P", 4), joined("P", "P"), pair("Si", 4, "Si", 4, 2))
SECOND = frame(unit("P", 4), pair("P", 4, "P", 4, 1), pair("P", 4, "Si", 4, 1), unit("Si", 4))


def means(estimates):
    return [estimate.mean for estimate in estimates]


def rows(table):
    return {
        (row.qn, row.en, row.through_S, row.direct): row.fraction.mean for row in table.environments
    }


def test_one_frame():
    found = qn_tables([FIRST])
    assert found.keys() == {"P", "Si"}
    assert found["P"].number == 4
    assert means(found["P"].qn) == [1.0]
    assert means(found["P"].en) == [1.0]
    assert found["P"].homopolar.mean == 0.5
    assert rows(found["P"]) == {(0, 0, (), ()): 0.5, (0, 0, (), ("P",)): 0.5}
    assert means(found["Si"].qn) == [0.0, 0.0, 1.0]
    assert means(found["Si"].en) == [0.0, 1.0]
    assert found["Si"].homopolar.mean == 0.0
    assert rows(found["Si"]) == {(2, 1, ("Si", "Si"), ()): 1.0}
    assert found["P"].qn[0].ci95 is None
    assert "one value" in found["P"].qn[0].reason


def test_two_frames_are_averaged():
    """Kinds and numbers of S that a frame doesn't have count there as none."""
    found = qn_tables([FIRST, SECOND])
    assert found["P"].qn_series.tolist() == [[1.0, 0.0], [0.25, 0.75]]
    assert means(found["P"].qn) == [0.625, 0.375]
    assert found["P"].en_series.tolist() == [[1.0], [1.0]]
    assert found["P"].homopolar.mean == 0.25
    assert rows(found["P"]) == {
        (0, 0, (), ()): pytest.approx((0.5 + 0.25) / 2),
        (0, 0, (), ("P",)): 0.25,
        (1, 0, ("P",), ()): 0.25,
        (1, 0, ("Si",), ()): 0.125,
    }
    assert means(found["Si"].qn) == [0.25, 0.25, 0.5]
    assert means(found["Si"].en) == [0.5, 0.5]
    for table in found.values():
        shares = [row.fraction.mean for row in table.environments]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1.0)
        assert table.qn_series.sum(axis=1) == pytest.approx(np.ones(2))


def test_rows_add_up_to_the_distributions():
    """What is said twice is the same twice: Q^n, E^n and homopolar share from the rows."""
    found = qn_tables([FIRST, SECOND, SECOND])
    for table in found.values():
        for n, share in enumerate(table.qn):
            of_rows = sum(row.fraction.mean for row in table.environments if row.qn == n)
            assert of_rows == pytest.approx(share.mean)
        for n, share in enumerate(table.en):
            of_rows = sum(row.fraction.mean for row in table.environments if row.en == n)
            assert of_rows == pytest.approx(share.mean)
        of_rows = sum(row.fraction.mean for row in table.environments if row.direct)
        assert of_rows == pytest.approx(table.homopolar.mean)


def test_intervals_are_those_of_the_series():
    """Units that come and go at random have an interval; what never changes has a reason."""
    coin = np.random.default_rng(3).random(400) < 0.3
    found = qn_tables([SECOND if heads else FIRST for heads in coin])
    share = coin.mean()
    qn = found["P"].qn[1]
    assert qn.mean == pytest.approx(0.75 * share)
    assert qn == mean_of_series(0.75 * coin)
    exact = 1.96 * 0.75 * np.sqrt(share * (1 - share) / 400)
    assert qn.ci95[1] - qn.mean == pytest.approx(exact, rel=0.3)
    constant = found["P"].en[0]
    assert (constant.mean, constant.ci95) == (1.0, None)
    assert "never changes" in constant.reason
    pulled = found["P"].environments[0].fraction
    assert pulled.ci95[0] < 0.5 - 0.25 * 0.3 < pulled.ci95[1]


def test_frames_of_a_trajectory():
    """From the positions: a P2S7 that falls apart into PS4 and PS3."""
    whole = ANIONS["P2S7(4-)"]().atoms()
    torn = together([unit("P", 4).atoms(), unit("P", 3).atoms()])
    torn = torn[np.argsort(torn.symbols, kind="stable")]
    whole = whole[np.argsort(whole.symbols, kind="stable")]
    cell = np.diag(np.maximum(whole.cell.lengths(), torn.cell.lengths()) + 3.0)
    # the box grows around atoms that don't cross its walls
    frames = []
    for atoms in (whole, torn):
        atoms = spaced(atoms, cell)
        frames.append(atoms.positions @ np.linalg.inv(cell))
    trajectory = Trajectory(
        np.array(frames),
        np.array([cell] * 2),
        np.zeros((2, 3)),
        np.arange(2.0),
        np.array(torn.symbols),
    )
    found = qn_tables(summaries(trajectory))["P"]
    assert found.qn_series.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def spaced(atoms, cell):
    """The same clusters, unwrapped by their bonds, in a larger box."""
    bonds = find_motifs(atoms)
    positions, known = atoms.positions.copy(), set()
    for start in range(len(atoms)):
        todo = [] if start in known else [start]
        known.update(todo)
        while todo:
            i = todo.pop()
            for b in range(*bonds.bond_start[i : i + 2]):
                j = int(bonds.bond_j[b])
                if j not in known:
                    known.add(j)
                    positions[j] = positions[i] + bonds.bond_d[b]
                    todo.append(j)
    return Atoms(atoms.symbols, positions, cell=cell, pbc=True)


def test_bad_input_ends_in_one_line():
    with pytest.raises(UsageError, match="no frames"):
        qn_tables([])
    with pytest.raises(UsageError, match="other numbers of"):
        qn_tables([FIRST, frame(unit("P", 4), unit("Si", 4), unit("Si", 4))])
