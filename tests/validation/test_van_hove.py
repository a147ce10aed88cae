"""Van Hove functions and α2 against walks and gases with closed forms, and double loops."""

import numpy as np
import pytest
from scipy.stats import maxwell

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.rdf import radial_distributions
from lbpsi_driver.observables.trajectory import Trajectory
from lbpsi_driver.observables.van_hove import (
    distinct_part,
    lags_on_grid,
    non_gaussian,
    self_part,
)

TRICLINIC = np.array([[14.0, 0, 0], [4.0, 15.0, 0], [-3.0, 5.0, 16.0]])
SPACING = 0.5  # ps


def walk(frames, ions, sigma, seed):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(frames, ions, 3)) * sigma
    return np.cumsum(steps, axis=0)


def make(fractional, cells, elements, times=None):
    frames = len(fractional)
    times = np.arange(frames) * SPACING if times is None else times
    return Trajectory(
        np.asarray(fractional), np.asarray(cells), np.zeros((frames, 3)), times, np.array(elements)
    )


def gas(frames, elements, breathing=0.0, seed=1):
    rng = np.random.default_rng(seed)
    cells = TRICLINIC * (1 + breathing * rng.normal(size=(frames, 1, 1)))
    images = rng.integers(-2, 3, (frames, len(elements), 3))
    return make(rng.random((frames, len(elements), 3)) + images, cells, elements)


def test_gaussian_walk_has_its_closed_form():
    sigma = 0.4
    positions = walk(2000, 60, sigma, seed=1)
    lags = np.array([1, 4, 16])
    found = self_part(positions, lags, SPACING, cutoff_A=8.0, bin_A=0.25)
    assert found.lags_ps.tolist() == [0.5, 2.0, 8.0]
    for row, lag in enumerate(lags):
        variance = sigma**2 * lag
        expected = np.diff(maxwell.cdf(np.arange(33) * 0.25, scale=np.sqrt(variance)))
        assert found.radial_per_A[row] * 0.25 == pytest.approx(expected, abs=0.005)
        # Far inside the Gaussian the density is that of its top.
        top = (2 * np.pi * variance) ** -1.5
        assert found.G_per_A3[row, 0] == pytest.approx(top, rel=0.2)
        shells = 4 / 3 * np.pi * np.diff((np.arange(33) * 0.25) ** 3)
        assert (shells * found.G_per_A3[row]).sum() + found.beyond[row] == pytest.approx(1.0)
        assert found.radial_per_A[row].sum() * 0.25 + found.beyond[row] == pytest.approx(1.0)
    alpha = non_gaussian(positions, SPACING)
    assert (np.abs(alpha.alpha2) < 4 * alpha.error).all()
    assert alpha.error[0] < 0.01 < alpha.error[-1]


def test_two_populations_have_their_alpha2():
    slow, fast = walk(1500, 90, 0.2, seed=2), walk(1500, 30, 0.6, seed=3)
    found = non_gaussian(np.concatenate([slow, fast], axis=1), SPACING, lags=np.array([1, 3, 10]))
    variances = np.array([0.2**2] * 3 + [0.6**2])
    expected = np.mean(variances**2) / np.mean(variances) ** 2 - 1
    assert found.alpha2 == pytest.approx(np.full(3, expected), rel=0.05)


def test_peak_of_hops_out_of_cages():
    """Poisson hops between Gaussian cages: the peak is where hops and cages weigh the same."""
    rng = np.random.default_rng(4)
    rate, cage, hop, frames, ions = 0.01, 0.05, 1.0, 2000, 200
    steps = rng.normal(size=(frames, ions, 3)) * (rng.random((frames, ions, 1)) < rate)
    positions = np.cumsum(hop * steps, axis=0)
    positions += rng.normal(size=positions.shape) * np.sqrt(cage)
    found = non_gaussian(positions, SPACING)
    t = found.lags_ps / SPACING
    expected = rate * t * hop**4 / (2 * cage + rate * t * hop**2) ** 2
    early = t <= 100
    # A hop in a frame is a Bernoulli trial: its variance is lower than Poisson's by the rate.
    assert found.alpha2[early] == pytest.approx(expected[early], rel=0.1)
    low, high = found.peak.ci95
    assert low < hop**2 / (8 * cage) < high
    assert 0.5 < found.peak_ps / (2 * cage / rate * SPACING) < 2.0


def test_alpha2_still_rising_has_no_peak():
    velocities = np.where(np.arange(50) < 10, 3.0, 0.0)
    positions = np.arange(60.0)[:, None, None] * velocities[:, None]
    positions = positions + walk(60, 50, 3.0, seed=6)
    found = non_gaussian(positions, SPACING)
    assert found.peak.mean is None
    assert "run longer" in found.peak.reason
    still = non_gaussian(np.zeros((30, 4, 3)), SPACING)
    assert np.isnan(still.alpha2).all()
    assert still.peak.mean is None


def test_against_a_double_loop_with_missing_frames():
    index = np.array([0, 1, 2, 4, 5, 8, 9, 10, 13])
    positions = walk(len(index), 4, 0.7, seed=7)
    lags = np.array([1, 3, 6, 12])
    found = self_part(positions, lags, SPACING, index, cutoff_A=4.0, bin_A=0.5)
    alpha = non_gaussian(positions, SPACING, index, lags)
    there = []
    for lag in lags:
        distances = [
            np.linalg.norm(positions[b, i] - positions[a, i])
            for a in range(len(index))
            for b in range(a, len(index))
            for i in range(4)
            if index[b] - index[a] == lag
        ]
        if not distances:
            continue
        row, r = len(there), np.array(distances)
        there.append(lag * SPACING)
        shares = np.histogram(r, np.arange(9) * 0.5)[0] / len(r)
        np.testing.assert_allclose(found.radial_per_A[row] * 0.5, shares)
        assert found.beyond[row] == pytest.approx(np.mean(r >= 4.0))
        fourth = 3 * np.mean(r**4) / (5 * np.mean(r**2) ** 2) - 1
        assert alpha.alpha2[row] == pytest.approx(fourth)
    assert found.lags_ps.tolist() == alpha.lags_ps.tolist() == there


def test_error_of_alpha2_is_its_scatter():
    values, errors = [], []
    for seed in range(60):
        found = non_gaussian(walk(80, 20, 0.3, seed=100 + seed), SPACING, lags=np.array([5, 30]))
        values.append(found.alpha2)
        errors.append(found.error)
    assert np.mean(errors, axis=0) == pytest.approx(np.std(values, axis=0), rel=0.35)


def test_distinct_part_of_an_ideal_gas_is_one():
    trajectory = gas(90, ["Li"] * 60 + ["S"] * 20, breathing=0.03)
    found = distinct_part(trajectory, "Li", np.array([0, 1, 20]), cutoff_A=6.0, bin_A=0.5)
    assert found.origins.tolist() == [90, 89, 70]
    for curve in found.G:
        assert np.average(curve, weights=found.r_A**2) == pytest.approx(1.0, abs=0.02)
        assert curve[4:] == pytest.approx(np.ones(len(curve) - 4), abs=0.12)


def test_lag_zero_is_the_radial_distribution():
    trajectory = gas(12, ["Li"] * 40 + ["S"] * 10, breathing=0.02, seed=8)
    found = distinct_part(trajectory, "Li", np.array([0]), cutoff_A=6.0, bin_A=0.25)
    expected = radial_distributions(trajectory, 6.0, 0.25)
    np.testing.assert_allclose(found.G[0], expected.g["Li-Li"], atol=1e-6)
    assert found.r_A.tolist() == expected.r_A.tolist()


def test_distinct_part_against_all_images():
    """Other ions around an ion's former place in the later frame's cell, drift taken out."""
    trajectory = gas(4, ["Li"] * 12 + ["S"] * 5, breathing=0.05, seed=9)
    bins, width = 10, 0.6
    counts = np.zeros(bins)
    masses = trajectory.masses_amu
    centre = masses @ trajectory.fractional / masses.sum()
    s = trajectory.fractional[:, :12] - centre[:, None]
    grid = np.array(np.meshgrid(*[range(-8, 9)] * 3, indexing="ij")).reshape(3, -1).T
    for a, b in ((0, 2), (1, 3)):
        volume = abs(np.linalg.det(trajectory.cells[b]))
        for i in range(12):
            for j in range(12):
                if i != j:
                    far = np.linalg.norm((s[b, j] - s[a, i] + grid) @ trajectory.cells[b], axis=1)
                    here = np.histogram(far, np.arange(bins + 1) * width)[0]
                    counts += here * volume / 2
    edges = np.arange(bins + 1) * width
    expected = counts / (12 * 11) / (4 / 3 * np.pi * np.diff(edges**3))
    found = distinct_part(trajectory, "Li", np.array([2]), cutoff_A=6.0, bin_A=width)
    np.testing.assert_allclose(found.G[0], expected, rtol=1e-5, atol=1e-9)


def test_drift_leaves_the_distinct_part():
    trajectory = gas(6, ["Li"] * 20 + ["S"] * 10, seed=10)
    drift = np.arange(6)[:, None, None] * np.array([0.11, -0.07, 0.02])
    moved = make(trajectory.fractional + drift, trajectory.cells, trajectory.elements)
    for com, same in (("all", True), ("group", True), ("none", False)):
        before, after = (
            distinct_part(t, "Li", np.array([2]), com=com).G for t in (trajectory, moved)
        )
        # Single precision of the neighbour search: an ion on a bin's edge may change bins.
        assert (np.abs(before - after).mean() < 0.02) == same


def test_ions_that_take_each_others_places():
    """Each ion moves to where the next one was: one ion at no distance."""
    n, width = 6, 0.5
    rng = np.random.default_rng(11)
    places = (np.arange(n)[:, None] + 0.1) / n * np.array([1.0, 0.4, 0.2]) + rng.random((n, 3)) / 40
    trajectory = make([places, np.roll(places, -1, axis=0)], [TRICLINIC] * 2, ["Li"] * n)
    found = distinct_part(trajectory, "Li", np.array([1]), com="none", bin_A=width)
    density = (n - 1) / abs(np.linalg.det(TRICLINIC))
    assert found.G[0, 0] == pytest.approx(1 / (density * 4 / 3 * np.pi * width**3), rel=1e-5)


def test_bad_input_is_one_line():
    trajectory = gas(5, ["Li"] * 10 + ["P"], seed=12)
    index = np.arange(5)
    assert lags_on_grid([0.5, 0.6, 1.9], SPACING, index).tolist() == [1, 4]
    for lag in (0.0, 2.5):
        with pytest.raises(UsageError, match="at most the run"):
            lags_on_grid([lag], SPACING, index)
    with pytest.raises(UsageError, match="1 P in the trajectory"):
        distinct_part(trajectory, "P", np.array([1]))
    with pytest.raises(UsageError, match="less than half"):
        self_part(np.zeros((5, 2, 3)), np.array([1]), SPACING, cutoff_A=1.0, bin_A=0.9)
    assert len(distinct_part(trajectory, "Li", np.array([9])).lags_ps) == 0
    single = make(trajectory.fractional[:1], trajectory.cells[:1], trajectory.elements)
    assert distinct_part(single, "Li", np.array([0, 1])).origins.tolist() == [1]
