"""Plateaus of curves in closed form and of a crystal."""

from itertools import pairwise

import numpy as np
import pytest
from ase.build import bulk
from scipy.stats import norm

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.coordination import plateaus, plateaus_of
from lbpsi_driver.observables.rdf import radial_distributions
from lbpsi_driver.observables.trajectory import Trajectory

R = 0.02 * np.arange(1, 401)


def shells(*places):
    """Coordination number of Gaussian shells: distance, width, neighbours."""
    return np.sum([n * norm.cdf(R, at, width) for at, width, n in places], axis=0)


def uniform(density, start=0.0):
    return 4 / 3 * np.pi * density * np.maximum(R**3 - start**3, 0.0)


def test_steps_have_the_plateaus_between_them():
    """As P-S: 4 neighbours at 2.05 Å, the next from 3.2 Å on."""
    found = plateaus(R, shells((2.05, 0.07, 4)) + uniform(0.02, 3.2))
    assert len(found) == 1
    (plateau,) = found
    assert plateau.flat
    assert plateau.value == pytest.approx(4.0, abs=0.05)
    assert plateau.range_A[0] == pytest.approx(2.25, abs=0.1)
    assert plateau.range_A[1] == pytest.approx(3.2, abs=0.1)
    assert 0.0 <= plateau.rise < 0.2


def test_two_shells_have_two_plateaus():
    found = plateaus(R, shells((1.85, 0.06, 3), (3.0, 0.1, 1), (5.0, 0.2, 8)))
    assert [p.flat for p in found] == [True, True, True]
    np.testing.assert_allclose([p.value for p in found], [3, 4, 12], atol=0.05)
    assert all(a.range_A[1] < b.range_A[0] for a, b in pairwise(found))
    assert found[1].range_A[0] > 3.0
    assert found[2].range_A[1] == pytest.approx(8.0)


def test_subtle_plateau():
    """As B-S at 3.25 Å: a shell that runs into the next before it is over."""
    found = plateaus(R, shells((1.85, 0.06, 3), (2.95, 0.1, 1), (3.85, 0.25, 6)))[:2]
    assert [p.flat for p in found] == [True, False]
    assert found[0].value == pytest.approx(3.0, abs=0.05)
    assert found[1].range_A == pytest.approx((3.1, 3.33), abs=0.06)
    assert found[1].value == pytest.approx(4.1, abs=0.15)
    assert found[1].rise > 0.2


@pytest.mark.parametrize(
    ("power", "expected"), [(0.4, [True]), (0.6, [False]), (1.4, [False]), (1.6, []), (3.0, [])]
)
def test_power_laws_are_their_own_exponents(power, expected):
    found = plateaus(R, 2.0 * (R / 3.0) ** power)
    assert [p.flat for p in found] == expected
    assert all(p.range_A[1] - p.range_A[0] > 7.0 for p in found)


def test_limits_can_be_chosen():
    curve = 2.0 * (R / 3.0) ** 0.6
    assert [p.flat for p in plateaus(R, curve, flat=0.7)] == [True]
    assert plateaus(R, curve, flat=0.2, subtle=0.5) == []


@pytest.mark.parametrize("share", [0.1, 1.0, 5.0])
def test_rare_neighbours_have_the_same_ranges(share):
    """The rule is one of ratios: so both directions of a pair have the same plateaus."""
    curve = shells((2.25, 0.06, 1), (3.35, 0.1, 2), (6.0, 0.3, 9))
    found, scaled = plateaus(R, curve), plateaus(R, share * curve)
    assert len(found) == len(scaled) == 3
    for one, other in zip(found, scaled, strict=True):
        np.testing.assert_allclose(other.range_A, one.range_A, atol=0.05)
        assert other.value == pytest.approx(share * one.value, rel=0.01)


def test_narrow_gaps_are_no_plateaus():
    assert plateaus(R, shells((2.0, 0.03, 4), (2.25, 0.03, 4)) + uniform(0.2, 2.3)) == []
    assert plateaus(R, np.zeros_like(R)) == []
    assert plateaus(R, np.full_like(R, 0.01)) == []


def rock_salt(frames=4, shake=0.08):
    rng = np.random.default_rng(1)
    atoms = bulk("LiCl", "rocksalt", a=5.13, cubic=True) * (4, 4, 4)
    positions = atoms.positions + shake * rng.normal(size=(frames, len(atoms), 3))
    cells = np.repeat(atoms.cell.array[None], frames, axis=0)
    fractional = positions @ np.linalg.inv(cells)
    times = np.arange(frames) * 1.0
    return Trajectory(fractional, cells, np.zeros((frames, 3)), times, np.array(atoms.symbols))


def test_shells_of_rock_salt():
    found = plateaus_of(radial_distributions(rock_salt(), 8.0, 0.02))
    assert found.keys() == {"Li-Li", "Cl-Cl", "Cl-Li", "Li-Cl"}
    for pair in ("Li-Cl", "Cl-Li"):
        first, second = found[pair][:2]
        assert (first.flat, second.flat) == (True, True)
        assert first.value == pytest.approx(6.0, abs=0.01)
        assert first.range_A[0] == pytest.approx(5.13 / 2 + 0.25, abs=0.15)
        assert first.range_A[1] == pytest.approx(5.13 * np.sqrt(3) / 2 - 0.3, abs=0.15)
        assert second.value == pytest.approx(14.0, abs=0.05)
    assert found["Cl-Cl"][0].value == pytest.approx(12.0, abs=0.05)
    assert found["Cl-Cl"][1].value == pytest.approx(18.0, abs=0.1)


def test_bad_input_ends_in_one_line():
    with pytest.raises(UsageError, match="evenly"):
        plateaus(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    with pytest.raises(UsageError, match="evenly"):
        plateaus(R**2, R)
    with pytest.raises(UsageError, match="evenly"):
        plateaus(R, R[:-1])
