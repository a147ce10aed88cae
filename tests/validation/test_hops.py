"""Hops against planted ones, cages without any, Poisson processes, and the functional spelt out."""

import numpy as np
import pytest

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.hops import detect_hops, hop_rate, residence

SPACING = 0.1  # ps
WINDOW = 2.0  # ps: ten frames a half


def cage(frames, ions, sigma, seed, memory=0.6):
    """Correlated vibration about a place, variance sigma² a direction."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(frames, ions, 3)) * sigma
    path = noise.copy()
    for t in range(1, frames):
        path[t] = memory * path[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return path


def steps(frames, ions, planted):
    """Places of ions that hop by a vector at a frame: {(ion, frame): vector}."""
    places = np.zeros((frames, ions, 3))
    for (ion, frame), vector in planted.items():
        places[frame:, ion] += vector
    return places


def poisson(frames, ions, rate, seed, apart=0):
    """Hops of length 3 Å in random directions, none sooner than `apart` frames after another."""
    rng = np.random.default_rng(seed)
    planted = {}
    for ion in range(ions):
        frame = int(rng.geometric(rate))
        while frame < frames:
            vector = rng.normal(size=3)
            planted[ion, frame] = 3.0 * vector / np.linalg.norm(vector)
            frame += apart + int(rng.geometric(rate))
    return planted


def test_planted_hops_are_found():
    planted = {
        (0, 50): [3.0, 0, 0],
        (0, 120): [0, -2.5, 0],
        (2, 200): [1.5, 1.5, 1.5],
        (2, 215): [0, 0, 3.5],
        (4, 300): [-2.0, 2.0, 0],
    }
    base = np.random.default_rng(1).uniform(-90, 90, (5, 3))
    positions = base + steps(400, 5, planted) + cage(400, 5, 0.3, seed=2)
    found = detect_hops(positions, SPACING, window_ps=WINDOW)
    assert list(zip(found.ion, found.point, strict=True)) == list(planted)
    assert found.time_ps == pytest.approx([(f - 0.5) * SPACING for _, f in planted])
    lengths = np.linalg.norm(list(planted.values()), axis=1)
    assert found.length_A == pytest.approx(lengths, abs=0.5)
    for k, ((ion, frame), vector) in enumerate(planted.items()):
        before = base[ion] + steps(400, 5, planted)[frame - 1, ion]
        assert found.start_A[k] == pytest.approx(before, abs=0.4)
        assert found.end_A[k] == pytest.approx(before + vector, abs=0.4)
    assert not found.returns.any()
    assert 0.8 < found.cage_A2 / (3 * 0.3**2) < 1.2
    assert found.threshold_A2 == pytest.approx(10 * found.cage_A2)


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.8])
def test_vibration_alone_gives_no_hops(memory):
    positions = cage(1500, 60, 0.4, seed=3, memory=memory)
    assert len(detect_hops(positions, SPACING, window_ps=WINDOW).ion) == 0


def test_stiff_and_soft_cages_together():
    """The threshold is one for all ions: amplitudes may differ by a half."""
    positions = cage(1500, 60, 0.3, seed=4) * np.linspace(0.7, 1.4, 60)[:, None]
    assert len(detect_hops(positions, SPACING, window_ps=WINDOW).ion) == 0


def test_an_ion_that_is_back_at_once_has_not_hopped():
    there = {(0, 100): [3.0, 0, 0], (0, 102): [-3.0, 0, 0]}
    stays = {(1, 100): [3.0, 0, 0], (1, 140): [-3.0, 0, 0], (1, 180): [0, 3.0, 0]}
    positions = steps(300, 2, there | stays) + cage(300, 2, 0.2, seed=5)
    found = detect_hops(positions, SPACING, window_ps=WINDOW, threshold_A2=4.0)
    assert found.ion.tolist() == [1, 1, 1]
    assert found.returns.tolist() == [False, True, False]
    assert found.threshold_A2 == 4.0


def test_functional_is_what_it_is_said_to_be():
    rng = np.random.default_rng(6)
    index = np.delete(np.arange(90), [10, 11, 30, 44, 45, 46, 71])
    positions = np.cumsum(rng.normal(size=(len(index), 3, 3)) * 0.5, axis=0) + 40.0
    found = detect_hops(positions, SPACING, index, window_ps=1.6, threshold_A2=1e-6)
    assert len(found.ion) >= 9
    for ion, point, p in zip(found.ion, found.point, found.functional_A2, strict=True):
        a = positions[(index >= point - 8) & (index < point), ion]
        b = positions[(index >= point) & (index < point + 8), ion]
        to_b = ((a - b.mean(axis=0)) ** 2).sum(axis=1).mean()
        to_a = ((b - a.mean(axis=0)) ** 2).sum(axis=1).mean()
        assert p == pytest.approx(np.sqrt(to_b * to_a))
    same = found.ion[1:] == found.ion[:-1]
    assert np.diff(found.point)[same].min() > 8


def test_missing_frames_leave_hops_where_they_are():
    planted = poisson(1500, 8, 0.008, seed=7, apart=25)
    positions = steps(1500, 8, planted) + cage(1500, 8, 0.2, seed=8)
    kept = np.sort(np.random.default_rng(9).choice(1500, 1200, replace=False))
    kept = np.union1d(kept, [0, 1499])
    whole = detect_hops(positions, SPACING, window_ps=WINDOW)
    found = detect_hops(positions[kept], SPACING, kept, window_ps=WINDOW)
    assert found.ion.tolist() == whole.ion.tolist()
    assert np.abs(found.point - whole.point).max() <= 2


def test_known_rate_is_within_its_interval():
    covered = by_blocks = 0
    for seed in range(40):
        planted = poisson(1200, 20, 0.004, seed=100 + seed)
        positions = steps(1200, 20, planted) + cage(1200, 20, 0.15, seed=200 + seed)
        found = detect_hops(positions, SPACING, window_ps=1.0)
        rate = hop_rate(found)
        truth = 0.004 / SPACING
        # Two hops within half a window are one.
        truth *= 1 - 0.004 * 5
        covered += rate.per_ps.ci95[0] < truth < rate.per_ps.ci95[1]
        by_blocks += rate.by_blocks_per_ps.ci95[0] < truth < rate.by_blocks_per_ps.ci95[1]
    # Binomial, 95 % of 40: 33 or fewer in 1 of 200 cases.
    assert covered >= 34
    assert by_blocks >= 34


def test_rate_tells_how_ions_hop():
    planted = poisson(4000, 60, 0.005, seed=10, apart=0)
    positions = steps(4000, 60, planted) + cage(4000, 60, 0.15, seed=11)
    found = detect_hops(positions, SPACING, window_ps=1.0)
    rate = hop_rate(found)
    assert rate.per_ps.mean == pytest.approx(len(found.ion) / found.ion_time_ps)
    assert 0.6 < rate.dispersion < 1.4
    expected = rate.per_ps.mean * np.mean(found.length_A**2) / 6 * 1e-4
    assert rate.D_uncorrelated_cm2_per_s == pytest.approx(expected)
    some = {key: vector for key, vector in planted.items() if key[0] < 10}
    uneven = detect_hops(
        steps(4000, 60, some) + cage(4000, 60, 0.15, seed=12), SPACING, window_ps=1.0
    )
    assert hop_rate(uneven).dispersion > 5


def test_ions_that_hop_together_widen_the_interval_of_blocks():
    one = poisson(3000, 1, 0.006, seed=13, apart=20)
    planted = {(ion, frame): vector for (_, frame), vector in one.items() for ion in range(30)}
    positions = steps(3000, 30, planted) + cage(3000, 30, 0.15, seed=14)
    rate = hop_rate(detect_hops(positions, SPACING, window_ps=1.0))
    poissonian, blocks = (np.ptp(e.ci95) for e in (rate.per_ps, rate.by_blocks_per_ps))
    assert blocks > 2 * poissonian


def test_residence_is_exponential_though_the_run_cuts_it_off():
    """Mean residence of half the run: complete ones alone would be far too short."""
    rate, apart = 0.002, 12
    planted = poisson(1000, 400, rate, seed=15, apart=apart)
    positions = steps(1000, 400, planted) + cage(1000, 400, 0.1, seed=16, memory=0.0)
    found = residence(detect_hops(positions, SPACING, window_ps=2.0, threshold_A2=2.0))
    assert found.complete + found.censored > 500
    assert found.censored > 0.3 * found.complete
    expected = np.exp(-rate / SPACING * np.maximum(found.times_ps - apart * SPACING, 0.0))
    inside = (found.low <= expected) & (expected <= found.high)
    assert inside[5:].mean() > 0.9
    median = np.log(2) / rate * SPACING + apart * SPACING
    assert found.median_ps.ci95[0] < median < found.median_ps.ci95[1]


def test_residences_by_hand():
    planted = {
        (0, 20): [3.0, 0, 0],
        (0, 60): [3.0, 0, 0],
        (0, 140): [3.0, 0, 0],
        (1, 50): [3, 0, 0],
    }
    positions = steps(201, 3, planted) + cage(201, 3, 0.1, seed=17)
    found = residence(detect_hops(positions, SPACING, window_ps=WINDOW))
    assert (found.complete, found.censored) == (2, 2)
    # Complete 4 and 8 ps; censored at 19.15 ps after 5.2 and 14.2 ps.
    assert found.times_ps[:1] == pytest.approx([4.0])
    at = dict(zip(np.round(found.times_ps, 3), found.survival, strict=True))
    assert at[4.0] == pytest.approx(3 / 4)
    assert at[8.0] == pytest.approx(3 / 4 * 1 / 2)
    assert found.median_ps.mean == pytest.approx(8.0)


def test_no_hops_have_an_upper_limit():
    found = detect_hops(cage(500, 10, 0.3, seed=18), SPACING, window_ps=WINDOW)
    rate = hop_rate(found)
    assert rate.per_ps.mean == 0.0
    assert rate.per_ps.ci95[0] == 0.0
    # -ln 0.025 expected hops are seen as none in 2.5 % of cases.
    assert rate.per_ps.ci95[1] == pytest.approx(-np.log(0.025) / found.ion_time_ps)
    assert rate.dispersion is None
    times = residence(found)
    assert times.median_ps.mean is None
    assert (times.complete, times.censored) == (0, 0)


def test_bad_input_is_one_line():
    positions = cage(100, 3, 0.3, seed=19)
    with pytest.raises(UsageError, match="6 frames"):
        detect_hops(positions, SPACING, window_ps=0.3)
    with pytest.raises(UsageError, match="less than the run"):
        detect_hops(positions, SPACING, window_ps=10.0)
    with pytest.raises(UsageError, match="positive square"):
        detect_hops(positions, SPACING, threshold_A2=0.0)
    with pytest.raises(UsageError, match="no ions"):
        detect_hops(positions[:, :0], SPACING)
    with pytest.raises(UsageError, match="don't move"):
        detect_hops(np.zeros((100, 2, 3)), SPACING)
