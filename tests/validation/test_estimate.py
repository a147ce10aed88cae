"""Mean of a correlated series: its interval covers, or is absent with a reason."""

import numpy as np
import pytest
from scipy.signal import lfilter

from lbpsi_driver.observables.density import density
from lbpsi_driver.observables.estimate import (
    LEAST_INDEPENDENT,
    Estimate,
    mean_of_series,
    statistical_inefficiency,
)
from lbpsi_driver.observables.trajectory import Trajectory

RUNS = 400


def relaxations(length, seed, spacing=0.1):
    """Ornstein-Uhlenbeck process about 2.0; length and spacing in correlation times."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-spacing)
    noise = rng.normal(size=round(length / spacing)) * np.sqrt(1 - decay**2)
    noise[0] = rng.normal()
    return 2.0 + 0.01 * lfilter([1.0], [1.0, -decay], noise)


def sample(length, **options):
    return [mean_of_series(relaxations(length, seed, **options)) for seed in range(RUNS)]


@pytest.mark.parametrize("length", [30, 100])
@pytest.mark.parametrize("spacing", [0.02, 0.1, 1.0])
def test_interval_covers(length, spacing):
    """Ten blocks, whatever the correlation time: 90 % and 95 % of these runs."""
    given = [e for e in sample(length, spacing=spacing) if e.ci95 is not None]
    hits = sum(low <= 2.0 <= high for low, high in (e.ci95 for e in given))
    assert hits / len(given) >= 0.88
    assert len(given) >= (0.65 if length == 30 else 0.99) * RUNS


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_run_of_a_few_correlation_times_has_no_interval(length):
    """Ten blocks gave all of them one, which held the truth in about half the cases."""
    found = sample(length)
    without = [e for e in found if e.ci95 is None]
    assert len(without) >= 0.9 * RUNS
    assert all("independent ones, fewer than 10" in e.reason for e in without)
    assert all(e.mean == pytest.approx(2.0, abs=0.1) for e in without)


@pytest.mark.parametrize("length", [3, 5, 10])
def test_few_short_runs_mislead(length):
    """Of all runs, those whose interval misses the truth: with ten blocks 23 to 50 %."""
    missed = sum(not e.ci95[0] <= 2.0 <= e.ci95[1] for e in sample(length, spacing=0.05) if e.ci95)
    assert missed <= 0.10 * RUNS


def test_interval_is_not_wider_than_it_needs_to_be():
    """Independent values: the textbook interval; correlated ones: that of n/g values."""
    rng = np.random.default_rng(1)
    low, high = mean_of_series(rng.normal(size=4000)).ci95
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(4000), rel=0.1)
    low, high = mean_of_series(relaxations(2000, 1)).ci95
    assert high - low == pytest.approx(2 * 1.96 * 0.01 * np.sqrt(2 / 2000), rel=0.15)


def test_inefficiency_is_twice_the_correlation_time():
    inefficiency, window = statistical_inefficiency(relaxations(5000, 2))
    assert inefficiency == pytest.approx(20.0, rel=0.1)
    assert 20 < window < 150
    noise = np.random.default_rng(3).normal(size=2000)
    alternating, _ = statistical_inefficiency(lfilter([1.0], [1.0, 0.5], noise))
    assert 1.0 <= alternating < 1.1


def test_a_drift_has_no_interval():
    found = mean_of_series(np.linspace(1.9, 2.0, 500))
    assert found.ci95 is None
    assert found.mean == pytest.approx(1.95)


def test_constant_values_have_an_interval_of_no_width():
    for count in (2, 5, 200):
        found = mean_of_series(np.full(count, 1.9))
        assert found == Estimate(mean=found.mean, ci95=(found.mean, found.mean))
    assert mean_of_series(np.array([1.9])).ci95 is None
    assert "one value" in mean_of_series(np.array([1.9])).reason


def breathing(lengths):
    """Four Li in a cube of these lengths."""
    count = len(lengths)
    return Trajectory(
        fractional=np.zeros((count, 4, 3)),
        cells=np.eye(3) * np.asarray(lengths)[:, None, None],
        origins=np.zeros((count, 3)),
        times_ps=np.arange(count, dtype=float),
        elements=np.array(["Li"] * 4),
    )


def test_density_of_a_trajectory():
    rigid = density(breathing(np.full(50, 4.0)))
    assert rigid.mean == pytest.approx(4 * 6.94 * 1.66053907 / 64, rel=1e-4)
    assert rigid.ci95 == (rigid.mean, rigid.mean)
    short = density(breathing(2.0 * relaxations(3, 1)))
    assert short.ci95 is None
    assert "independent" in short.reason
    low, high = density(breathing(2.0 * relaxations(100, 1))).ci95
    assert low < rigid.mean < high


def test_reasons_of_flagged_numbers():
    number = Estimate(mean=1.0, ci95=(0.5, 2.0))
    assert number.flagged(None) == number
    assert number.flagged("why") == Estimate(mean=1.0, ci95=(0.5, 2.0), reason="why")
    lone = Estimate(mean=1.0, reason="no interval")
    assert lone.flagged("why").reason == "why; no interval"
    assert lone.scaled(2.0).reason == "no interval"
    missing = Estimate(mean=None, reason="nothing")
    assert missing.flagged("why") == missing
    assert LEAST_INDEPENDENT >= 5
