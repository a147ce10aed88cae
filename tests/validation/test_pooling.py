"""Pooling of replicas against closed forms, slow roots, statsmodels and repeats of known truth."""

import numpy as np
import pytest
from scipy import stats

from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.pooling import (
    NORMAL_95,
    paule_mandel,
    plain_mean,
    pool,
    pooled_ratio,
    power_to_find,
    random_effects,
    ratio_of,
    scatter_of,
    smallest_ratio,
)

# Eight replicas with unequal errors, that scatter beyond them.
VALUES = np.array([0.10, 0.30, 0.35, 0.65, 0.45, 0.15, 0.82, 0.51])
ERRORS = np.array([0.17, 0.10, 0.20, 0.12, 0.09, 0.25, 0.14, 0.30])


def estimate(value, error, log=False):
    ends = (value - NORMAL_95 * error, value + NORMAL_95 * error)
    if log:
        return Estimate(mean=np.exp(value), ci95=tuple(np.exp(ends)))
    return Estimate(mean=value, ci95=ends)


def estimates(values, errors, log=False):
    rows = zip(values, errors, strict=True)
    return {f"g{n}": estimate(y, s, log) for n, (y, s) in enumerate(rows)}


def slow_root(values, errors):
    """τ² by bisection of the sum of squares, term by term."""

    def squares(variance):
        weights = [1.0 / (s * s + variance) for s in errors]
        mean = sum(w * y for w, y in zip(weights, values, strict=True)) / sum(weights)
        return sum(w * (y - mean) ** 2 for w, y in zip(weights, values, strict=True))

    low, high = 0.0, 100.0
    if squares(low) < len(values) - 1:
        return 0.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if squares(middle) > len(values) - 1 else (low, middle)
    return low


@pytest.mark.parametrize("seed", range(5))
def test_variance_between_replicas_is_that_of_a_slow_root(seed):
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.1, 1.0, 6)
    values = rng.normal(0.0, np.sqrt(np.square(errors) + 0.5))
    assert paule_mandel(values, errors) == pytest.approx(slow_root(values, errors), abs=1e-9)


def test_statsmodels_gives_the_same():
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    found = meta.combine_effects(VALUES, np.square(ERRORS), method_re="iterated", use_t=True)
    mean, half, tau = random_effects(VALUES, ERRORS)
    assert tau**2 == pytest.approx(found.tau2, rel=1e-4)
    assert mean == pytest.approx(found.mean_effect_re, rel=1e-5)
    # Its interval of Hartung, Knapp, Sidik and Jonkman.
    error = found.sd_eff_w_re_hksj
    assert half == pytest.approx(stats.t.ppf(0.975, len(VALUES) - 1) * error, rel=1e-4)


def test_equal_errors_give_students_interval():
    """With equal errors all weights are equal, whatever they are."""
    errors = np.full(8, 0.05)
    mean, half, tau = random_effects(VALUES, errors)
    interval = stats.t.interval(0.95, 7, VALUES.mean(), stats.sem(VALUES))
    assert (mean - half, mean + half) == pytest.approx(interval)
    assert tau**2 == pytest.approx(VALUES.var(ddof=1) - 0.05**2)


def test_replicas_that_agree_too_well_have_the_interval_of_their_own_errors():
    values, errors = np.array([1.0, 1.001, 0.999]), np.array([0.1, 0.2, 0.1])
    mean, half, tau = random_effects(values, errors)
    assert tau == 0.0
    weights = 1 / errors**2
    assert mean == pytest.approx((weights * values).sum() / weights.sum())
    assert half == pytest.approx(1.959964 / np.sqrt(weights.sum()), rel=1e-6)


def test_plain_mean_takes_the_runs_own_errors_out_of_the_scatter():
    _, half, tau = plain_mean(VALUES, np.full(8, 0.1))
    assert tau**2 == pytest.approx(VALUES.var(ddof=1) - 0.01)
    assert plain_mean(VALUES)[1] == half
    assert plain_mean(np.array([1.0, 1.1]), np.array([1.0, 1.0]))[2] == 0.0


def coverage(kind, tau, replicas, repeats=200):
    """Share of intervals that hold the truth, replicas of unequal errors."""
    rng = np.random.default_rng(7)
    truth = 0.4
    hits = 0
    for _ in range(repeats):
        errors = rng.uniform(0.05, 0.4, replicas)
        values = truth + rng.normal(0.0, np.sqrt(np.square(errors) + tau**2))
        found = pool(estimates(values, errors, kind == "log"), kind).estimate
        centre = np.exp(truth) if kind == "log" else truth
        hits += found.ci95[0] <= centre <= found.ci95[1]
    return hits / repeats


@pytest.mark.parametrize("kind", ["linear", "log", "plain"])
@pytest.mark.parametrize(("tau", "replicas"), [(0.0, 3), (0.3, 3), (0.3, 5), (1.0, 10)])
def test_intervals_hold_the_truth(kind, tau, replicas):
    # Without scatter between glasses the wider of two intervals holds it more often.
    most = 1.0 if tau == 0.0 else 0.99
    assert 0.90 <= coverage(kind, tau, replicas) <= most


def test_fixed_effects_would_not():
    """What the scatter of glasses does to an interval that leaves it out."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        errors = rng.uniform(0.05, 0.2, 4)
        values = rng.normal(0.0, np.sqrt(np.square(errors) + 0.25))
        weights = 1 / errors**2
        mean = (weights * values).sum() / weights.sum()
        hits += abs(mean) < NORMAL_95 / np.sqrt(weights.sum())
    assert hits / 200 < 0.6


def test_logarithms_give_the_geometric_mean():
    found = pool(estimates(np.log([1.0, 10.0, 100.0]), [0.01] * 3, log=True), "log")
    assert found.estimate.mean == pytest.approx(10.0)
    assert found.between == pytest.approx(np.log(10.0), rel=1e-3)
    assert found.within == pytest.approx(0.01)
    low, high = found.estimate.ci95
    assert low * high == pytest.approx(100.0)


def test_an_interval_that_is_cut_at_zero_has_its_upper_half():
    one = Estimate(mean=1.0, ci95=(0.0, np.exp(0.5)))
    found = pool({"a": one, "b": one, "c": one}, "log")
    assert found.within == pytest.approx(0.5 / NORMAL_95)


def test_one_replica_keeps_its_interval_and_two_are_flagged():
    own = Estimate(mean=2.0, ci95=(1.0, 3.0))
    one = pool({"a": own}, "linear")
    assert (one.estimate.mean, one.estimate.ci95) == (2.0, (1.0, 3.0))
    assert "one replica" in one.estimate.reason
    assert one.between is None
    two = pool({"a": own, "b": Estimate(mean=4.0, ci95=(3.0, 5.0))}, "linear")
    assert "two replicas" in two.estimate.reason
    assert two.estimate.ci95[0] == pytest.approx(3.0 - 12.706 * 1.0, rel=1e-3)
    assert pool(estimates([1, 2, 3], [1, 1, 1]), "linear").estimate.reason is None


def test_missing_replicas_are_named_and_not_counted():
    table = {"a": Estimate(mean=1.0), "b": Estimate(mean=None, reason="not diffusive")}
    table["c"] = Estimate(mean=-1.0)
    found = pool(table, "log")
    assert found.replicas == 1
    assert found.missing == {"b": "not diffusive", "c": "not above zero"}
    nothing = pool({"b": table["b"]}, "log")
    assert nothing.estimate.mean is None
    assert nothing.estimate.reason == "not diffusive"


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_without_an_interval_of_each_the_mean_is_plain(kind):
    table = estimates([1.0, 2.0, 6.0], [0.001, 1.0, 1.0])
    table["g1"] = Estimate(mean=2.0, reason="never changes")
    found = pool(table, kind)
    expected = 3.0 if kind == "linear" else 12.0 ** (1 / 3)
    assert found.estimate.mean == pytest.approx(expected)
    assert found.within is None


def test_intervals_stay_within_what_the_number_can_be():
    found = pool(estimates([0.01, 0.9, 0.5], [0.1] * 3), "plain", (0.0, 1.0))
    assert found.estimate.ci95 == (0.0, 1.0)


def test_haven_ratio_is_that_of_pooled_numbers():
    """Replicas of one ratio whose D_sigma scatters: the mean of ratios is off, theirs is not."""
    rng = np.random.default_rng(3)
    hits, ratios, means = 0, [], []
    for _ in range(200):
        tracer = rng.normal(1.0, 0.05, 6)
        summed = 2.0 * rng.gamma(3.0, 1 / 3.0, 6)
        names = [f"g{n}" for n in range(6)]
        rows = [dict(zip(names, column, strict=True)) for column in (tracer, summed)]
        found = pooled_ratio(*rows)
        ratios.append(found.mean)
        means.append(np.mean(tracer / summed))
        hits += found.ci95[0] <= 0.5 <= found.ci95[1]
    assert 0.88 <= hits / 200 <= 0.99
    assert np.median(ratios) == pytest.approx(0.5, rel=0.06)
    assert np.mean(means) > 0.65
    exact = pooled_ratio({"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 4.0})
    assert exact.mean == 0.5
    assert exact.ci95 == pytest.approx((0.5, 0.5))


def test_smallest_ratio_is_found_as_often_as_it_says():
    sd, replicas = 0.5, (3, 4)
    ratio = smallest_ratio(sd, replicas)
    rng = np.random.default_rng(1)
    first = rng.normal(np.log(ratio), sd, (20000, replicas[0]))
    second = rng.normal(0.0, sd, (20000, replicas[1]))
    found = stats.ttest_ind(first, second, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert power_to_find(ratio, sd, replicas) == pytest.approx(0.8)


def test_smallest_ratio_of_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    effect = power.TTestIndPower().solve_power(nobs1=3, ratio=1.0, alpha=0.05, power=0.8)
    assert np.log(smallest_ratio(1.0, (3, 3))) == pytest.approx(effect, rel=1e-4)


def test_more_replicas_or_compositions_show_smaller_ratios():
    assert smallest_ratio(0.5, (5, 5)) < smallest_ratio(0.5, (3, 3)) < smallest_ratio(0.5, (2, 2))
    assert smallest_ratio(0.5, (3, 3), degrees=10) < smallest_ratio(0.5, (3, 3))
    assert smallest_ratio(0.0, (3, 3)) == 1.0
    assert smallest_ratio(0.5, (1, 1)) == np.inf
    assert power_to_find(7.0, 0.5, (1, 1)) == 0.0
    assert power_to_find(1.0, 0.5, (3, 3)) == pytest.approx(0.05, rel=1e-3)


def test_ratio_of_compositions_is_students():
    rng = np.random.default_rng(2)
    first, second = rng.normal(1.0, 0.4, 4), rng.normal(0.0, 0.4, 3)
    scatter = scatter_of([first, second])
    found = ratio_of(first, second, scatter)
    expected = stats.ttest_ind(first, second).confidence_interval()
    assert np.log(found.ci95) == pytest.approx((expected.low, expected.high))
    assert np.log(found.mean) == pytest.approx(first.mean() - second.mean())
    assert scatter.degrees == 5
    assert scatter.ci95[0] < scatter.sd < scatter.ci95[1]


def test_scatter_needs_two_replicas_somewhere():
    assert scatter_of([np.array([1.0]), np.array([])]) is None
    single = np.array([0.0])
    assert ratio_of(single, single, None).ci95 is None
    scatter = scatter_of([single, np.array([0.0, 1.0])])
    assert ratio_of(single, np.array([0.0, 1.0]), scatter).ci95 is not None
