"""MSD and D by class against hopping models with closed forms, and a double loop."""

import numpy as np
import pytest

from lbpsi_driver.observables.diffusion import tracer_diffusion
from lbpsi_driver.observables.motif_transport import (
    N_CLASSES,
    class_diffusion,
    class_displacements,
    survival_time_ps,
)
from lbpsi_driver.observables.msd import lag_statistics

FAST, SLOW = 3, 9
HOP_A = 1.5
HOP = {FAST: 0.8, SLOW: 0.2}  # probability of a hop a frame
SPACING = 0.5  # ps


def markov(n_frames, n_ions, leave, seed):
    """Classes of ions that leave FAST and SLOW with given probabilities a frame, stationary."""
    rng = np.random.default_rng(seed)
    total = leave[FAST] + leave[SLOW]
    fast = leave[SLOW] / total if total else 0.5
    classes = np.empty((n_frames, n_ions), dtype=np.int8)
    classes[0] = np.where(rng.random(n_ions) < fast, FAST, SLOW)
    for t in range(1, n_frames):
        before = classes[t - 1]
        leaves = rng.random(n_ions) < np.where(before == FAST, leave[FAST], leave[SLOW])
        classes[t] = np.where(leaves, FAST + SLOW - before, before)
    return classes


def hops(classes, seed):
    """Positions of ions on a lattice that hop in the next frame as their class has it."""
    rng = np.random.default_rng(seed)
    n_frames, n_ions = classes.shape
    axis = rng.integers(0, 3, (n_frames - 1, n_ions))
    sign = rng.choice([-HOP_A, HOP_A], (n_frames - 1, n_ions))
    probability = np.where(classes[:-1] == FAST, HOP[FAST], HOP[SLOW])
    sign = sign * (rng.random(sign.shape) < probability)
    steps = np.where(axis[..., None] == np.arange(3), sign[..., None], 0.0)
    return np.concatenate([np.zeros((1, n_ions, 3)), np.cumsum(steps, axis=0)])


def known_diffusion(code):
    """D of a class that its ions never leave, cm2/s."""
    return HOP[code] * HOP_A**2 / (6.0 * SPACING) * 1e-4


def double_loop(positions, classes, index, lags):
    """Squares of each displacement by lag and class: all, and those in which the class held."""
    found = {}
    for lag in lags:
        for a in range(len(index)):
            for b in range(a, len(index)):
                if index[b] - index[a] != lag:
                    continue
                for ion in range(positions.shape[1]):
                    square = ((positions[b, ion] - positions[a, ion]) ** 2).sum()
                    code = classes[a, ion]
                    found.setdefault((lag, code, "origin"), []).append(square)
                    if all(classes[t, ion] == code for t in range(a, b + 1)):
                        found.setdefault((lag, code, "survivors"), []).append(square)
    return found


def test_against_a_double_loop():
    index = np.array([0, 1, 2, 3, 5, 6, 8, 9, 10, 13, 14])
    lags = np.array([1, 2, 3, 5, 9, 12])
    rng = np.random.default_rng(2)
    positions = np.cumsum(rng.normal(size=(len(index), 5, 3)), axis=0)
    classes = rng.choice([1, FAST, 13], (len(index), 5), p=[0.2, 0.7, 0.1]).astype(np.int8)
    found = class_displacements(positions, classes, SPACING, index, lags)
    expected = double_loop(positions, classes, index, lags)
    there = [lag for lag in lags if any(key[0] == lag for key in expected)]
    assert found.lags_ps.tolist() == [lag * SPACING for lag in there]
    for row, lag in enumerate(there):
        for code in range(1, N_CLASSES + 1):
            for kind, moments in (("origin", found.origin), ("survivors", found.survivors)):
                squares = expected.get((lag, code, kind), [])
                assert moments.number[row, code - 1] == len(squares)
                if squares:
                    assert moments.msd_A2[row, code - 1] == pytest.approx(np.mean(squares))
                    assert moments.variance_A4[row, code - 1] == pytest.approx(
                        np.var(squares), abs=1e-9
                    )
                else:
                    assert np.isnan(moments.msd_A2[row, code - 1])


def test_mean_over_classes_is_the_plain_msd():
    classes = markov(300, 20, {FAST: 0.05, SLOW: 0.02}, seed=3)
    positions = hops(classes, seed=4)
    index = np.delete(np.arange(310), [5, 6, 40, 41, 100, 150, 151, 200, 250, 300])
    lags = np.array([1, 2, 5, 20, 70, 150])
    found = class_displacements(positions, classes, SPACING, index, lags)
    plain = lag_statistics(positions, lags, SPACING, index)
    sums = np.nansum(found.origin.number * found.origin.msd_A2, axis=1)
    assert sums / found.origin.number.sum(axis=1) == pytest.approx(plain.msd_A2, rel=1e-13)
    independent = (found.origin.number * found.independent[:, None]).sum(axis=1)
    assert independent == pytest.approx(plain.independent, rel=1e-13)


def test_one_class_is_the_tracer():
    classes = np.full((400, 30), SLOW, dtype=np.int8)
    positions = hops(classes, seed=5)
    found = class_displacements(positions, classes, SPACING)
    plain = tracer_diffusion(positions, SPACING)
    for survivors in (False, True):
        stats = found.statistics(SLOW, survivors=survivors)
        by_class = class_diffusion(stats, len(positions))
        # The one posterior is sampled, the other in closed form.
        low, high = plain.ci95_cm2_per_s
        noise = 0.05 * (high - low)
        assert by_class.window == plain.window
        assert by_class.D_cm2_per_s == pytest.approx(plain.D_cm2_per_s, abs=noise)
        assert by_class.ci95_cm2_per_s == pytest.approx(plain.ci95_cm2_per_s, abs=2 * noise)
    assert survival_time_ps(found, SLOW) is None


def test_permanent_classes_have_their_own_coefficient():
    classes = markov(1500, 120, {FAST: 0.0, SLOW: 0.0}, seed=6)
    positions = hops(classes, seed=7)
    found = class_displacements(positions, classes, SPACING)
    intervals = {}
    for code in (FAST, SLOW):
        for survivors in (False, True):
            stats = found.statistics(code, survivors=survivors)
            D = class_diffusion(stats, len(positions))
            assert D.diffusive, D.reason
            low, high = D.ci95_cm2_per_s
            assert low < known_diffusion(code) < high
            assert high / low < 2.0
            intervals[code] = low, high
    assert intervals[SLOW][1] < intervals[FAST][0]


def test_exchange_of_classes_has_its_closed_forms():
    """A Markov chain: survivors decay as a power, the MSD relaxes from one slope to the mean's."""
    leave = {FAST: 0.08, SLOW: 0.02}
    classes = markov(4000, 150, leave, seed=8)
    positions = hops(classes, seed=9)
    lags = np.array([1, 2, 4, 8, 16, 32, 64])
    found = class_displacements(positions, classes, SPACING, lags=lags)
    memory = 1.0 - leave[FAST] - leave[SLOW]
    mean = (leave[SLOW] * HOP[FAST] + leave[FAST] * HOP[SLOW]) / (leave[FAST] + leave[SLOW])
    relaxed = (1.0 - memory**lags) / (1.0 - memory)
    for code in (FAST, SLOW):
        held = (1.0 - leave[code]) ** lags
        assert found.surviving[:, code - 1] == pytest.approx(held, rel=0.05, abs=0.003)
        expected = HOP_A**2 * (mean * lags + (HOP[code] - mean) * relaxed)
        assert found.origin.msd_A2[:, code - 1] == pytest.approx(expected, rel=0.05)
        enough = held > 0.1
        alone = HOP_A**2 * HOP[code] * lags
        assert found.survivors.msd_A2[enough, code - 1] == pytest.approx(alone[enough], rel=0.06)
    assert survival_time_ps(found, FAST) == 16 * SPACING
    assert survival_time_ps(found, SLOW) == 64 * SPACING


def test_long_lags_of_exchanging_ions_have_one_coefficient():
    leave = {FAST: 0.3, SLOW: 0.1}
    classes = markov(1200, 150, leave, seed=10)
    positions = hops(classes, seed=11)
    found = class_displacements(positions, classes, SPACING)
    plain = tracer_diffusion(positions, SPACING)
    low, high = plain.ci95_cm2_per_s
    for code in (FAST, SLOW):
        D = class_diffusion(found.statistics(code), len(positions))
        assert D.ci95_cm2_per_s[0] < high
        assert D.ci95_cm2_per_s[1] > low
        survivors = class_diffusion(found.statistics(code, survivors=True), len(positions))
        assert survivors.reason is not None


def test_few_ions_give_a_reason():
    classes = np.full((200, 40), SLOW, dtype=np.int8)
    classes[:4, 0] = FAST
    found = class_displacements(hops(classes, seed=12), classes, SPACING)
    D = class_diffusion(found.statistics(FAST), 200)
    assert D.D_cm2_per_s is None
    assert "too few ions" in D.reason
    nobody = class_diffusion(found.statistics(1), 200)
    assert nobody.D_cm2_per_s is None
    short = class_diffusion(found.statistics(SLOW), 10)
    assert "10 frames" in short.reason


def test_lags_without_enough_ions_are_left_out():
    """Three ions for the whole run: thirty independent displacements at a tenth of it."""
    classes = np.full((1000, 3), FAST, dtype=np.int8)
    found = class_displacements(hops(classes, seed=13), classes, SPACING)
    D = class_diffusion(found.statistics(FAST), 1000)
    assert D.window.stop_ps <= 0.3 * 999 * SPACING
    low, high = D.ci95_cm2_per_s
    assert low < known_diffusion(FAST) < high
