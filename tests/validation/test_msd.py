"""MSD by FFT against the double loop; barostats, drift and image flags."""

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpsi_driver.observables.msd import (
    lag_statistics,
    log_lags,
    mean_squared_displacement,
)
from lbpsi_driver.observables.trajectory import Trajectory


def brute_force(positions, index):
    """Every pair of frames, one after the other."""
    sums, pairs = np.zeros(index[-1] + 1), np.zeros(index[-1] + 1)
    for a in range(len(index)):
        for b in range(a, len(index)):
            lag = index[b] - index[a]
            sums[lag] += np.square(positions[b] - positions[a]).sum(axis=1).mean()
            pairs[lag] += 1
    with np.errstate(invalid="ignore"):
        return sums / pairs


def make(fractional, cells, elements, times=None):
    count = len(fractional)
    times = np.arange(count) * 1.0 if times is None else times
    return Trajectory(fractional, cells, np.zeros((count, 3)), times, np.array(elements))


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(2, 40),
    atoms=st.integers(1, 90),
    missing=st.floats(0, 0.6),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 999),
)
def test_fft_equals_the_double_loop(frames, atoms, missing, offset, seed):
    rng = np.random.default_rng(seed)
    there = rng.random(frames) > missing
    there[[0, -1]] = True
    positions = np.cumsum(rng.normal(size=(frames, atoms, 3)), axis=0)[there]
    index = np.flatnonzero(there)
    expected = brute_force(positions, index)
    found = mean_squared_displacement(positions + offset, index)
    # The offset itself costs digits: 1e3 Å leaves 1e-13 Å in each coordinate.
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_lag_statistics_equal_the_double_loop():
    rng = np.random.default_rng(1)
    positions = np.cumsum(rng.normal(size=(50, 7, 3)), axis=0)
    index = np.delete(np.arange(60), [3, 4, 10, 22, 23, 30, 41, 42, 50, 51])
    lags = log_lags(30, 10)
    stats = lag_statistics(positions, lags, 0.5, index)
    np.testing.assert_allclose(stats.msd_A2, brute_force(positions, index)[lags], rtol=1e-12)
    np.testing.assert_allclose(stats.lags_ps, lags * 0.5)
    np.testing.assert_allclose(stats.independent, 7 * 59 / lags)
    squares = np.square(positions[1:] - positions[:-1]).sum(axis=2)[np.diff(index) == 1]
    assert stats.variance_A4[0] == pytest.approx(squares.var())


def test_ballistic_motion_is_quadratic():
    velocity = np.array([[0.3, -0.1, 0.2], [0.0, 0.5, 0.1]])
    positions = np.arange(100)[:, None, None] * velocity
    expected = np.square(velocity).sum(axis=1).mean() * np.arange(100.0) ** 2
    np.testing.assert_allclose(mean_squared_displacement(positions), expected, atol=1e-8)


def test_breathing_cell_leaves_fractional_alone_and_swells_image():
    """Atoms that walk in a cell under a barostat: the cell's breathing is no displacement."""
    rng = np.random.default_rng(7)
    frames, D, length = 1500, 0.02, 12.0
    steps = rng.normal(0, np.sqrt(2 * D), (frames, 60, 3)) / length
    far = rng.integers(-4, 5, (1, 60, 3))  # images crossed before: LAMMPS keeps their flags
    fractional = rng.random((1, 60, 3)) + far + np.cumsum(steps, axis=0)
    scale = 1 + 0.02 * np.sin(np.arange(frames) / 3.0) + 0.005 * rng.normal(size=frames)
    cells = length * scale[:, None, None] * np.eye(3)
    trajectory = make(fractional, cells, ["Li"] * 60)
    lags = np.arange(1, 50)
    right = mean_squared_displacement(trajectory.paths(np.arange(60), "none"))[lags]
    swollen = mean_squared_displacement(trajectory.paths(np.arange(60), "none", "image"))[lags]
    np.testing.assert_allclose(right, 6 * D * lags, rtol=0.1)
    assert (swollen > right + 0.15).all()
    assert np.abs(swollen / (6 * D * lags) - 1).max() > 1.0


def test_image_is_lammps_compute_msd():
    """Unwrapped by each frame's cell, as x + ix·a + iy·b + iz·c."""
    rng = np.random.default_rng(2)
    cells = np.array([[8.0, 0, 0], [1, 9, 0], [2, -1, 10]]) * (1 + 0.1 * rng.random((5, 1, 1)))
    fractional = rng.normal(0, 2, (5, 3, 3))
    images = np.floor(fractional)
    expected = (fractional - images) @ cells + images @ cells
    trajectory = make(fractional, cells, ["Li"] * 3)
    np.testing.assert_allclose(trajectory.positions("image"), expected, atol=1e-12)


def test_drift_of_the_centre_of_mass():
    rng = np.random.default_rng(4)
    elements = ["Li", "Li", "S", "I"]
    masses = atomic_masses[[atomic_numbers[element] for element in elements]]
    still = rng.normal(size=(20, 4, 3))
    still -= np.einsum("a,tad->td", masses / masses.sum(), still)[:, None]
    drift = np.linspace(0, 30, 20)[:, None, None] * np.array([1.0, -2.0, 0.5])
    trajectory = make(still + drift, np.tile(np.eye(3), (20, 1, 1)), elements)

    def positions(com):
        return trajectory.paths(np.array([0, 1]), com).of(slice(None))

    np.testing.assert_allclose(positions("all"), still[:, :2], atol=1e-12)
    np.testing.assert_allclose(positions("group").mean(axis=1), 0.0, atol=1e-12)
    np.testing.assert_array_equal(positions("none"), (still + drift)[:, :2])


def test_elements_are_not_mixed():
    """Each element's MSD is its own, whatever the order of the atoms."""
    rng = np.random.default_rng(8)
    elements = np.array(["Li", "S"] * 20)
    sizes = np.where(elements == "Li", 0.5, 0.1)[None, :, None]
    fractional = np.cumsum(rng.normal(size=(400, 40, 3)) * sizes, axis=0)
    trajectory = make(fractional, np.tile(np.eye(3), (400, 1, 1)), elements)
    for element, size in (("Li", 0.5), ("S", 0.1)):
        msd = mean_squared_displacement(trajectory.paths(trajectory.indices(element), "none"))
        np.testing.assert_allclose(msd[1:6], 3 * size**2 * np.arange(1, 6), rtol=0.1)
