"""D with its interval on walks of known D; what is not diffusive is told."""

import numpy as np
import pytest

from lbpsi_driver.observables.diffusion import (
    CAGE_A2,
    Window,
    choose_window,
    informative,
    judge,
    loglog_slope,
    slope_posterior,
    slope_quantiles,
    tracer_diffusion,
)
from lbpsi_driver.observables.msd import LagStatistics, lag_statistics, log_lags

CM2_PER_S = 1e-4  # of 1 Å2/ps


def walk(seed, D=0.05, spacing=0.5, frames=300, ions=30, cage=0.2):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, np.sqrt(2 * D * spacing), (frames, ions, 3))
    return np.cumsum(steps, axis=0) + rng.normal(0, cage, (frames, ions, 3))


def test_interval_covers_the_known_coefficient():
    """12 walks: at least 9 of the 95 % intervals hold the truth (99.8 % if they are right)."""
    hits, errors = 0, []
    for seed in range(12):
        found = tracer_diffusion(walk(seed), 0.5)
        assert found.diffusive, found.reason
        low, high = found.ci95_cm2_per_s
        hits += low <= 0.05 * CM2_PER_S <= high
        errors.append((found.D_cm2_per_s / (0.05 * CM2_PER_S) - 1, (high - low) / 0.05 / CM2_PER_S))
    assert hits >= 9
    deviations, widths = np.array(errors).T
    assert abs(deviations.mean()) < 0.03
    # Neither too narrow, as least squares has it, nor too wide to be of use.
    assert 0.5 < widths.mean() / (4 * deviations.std()) < 2.5


def test_least_squares_interval_would_be_too_narrow():
    """The defect this module avoids: lags taken for independent."""
    positions = walk(3)
    stats = lag_statistics(positions, np.arange(20, 150), 0.5)
    _, cov = np.polyfit(stats.lags_ps, stats.msd_A2, 1, cov=True)
    found = tracer_diffusion(positions, 0.5)
    low, high = found.ci95_cm2_per_s
    least_squares = 2 * 1.96 * np.sqrt(cov[0, 0]) / 6 * CM2_PER_S
    assert least_squares < 0.4 * (high - low)


def nearly_still() -> LagStatistics:
    """An MSD whose slope is one standard error or so: the posterior is cut off at zero."""
    lags = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    return LagStatistics(lags, 2.0 + 0.1 * lags, 0.02 * lags**2, 16.0 / lags)


@pytest.mark.parametrize(
    "stats", [lag_statistics(walk(1), log_lags(150, 12)[6:], 0.5), nearly_still()]
)
def test_kinisi_samples_what_the_closed_form_gives(stats):
    samples, quantiles = slope_posterior(stats), slope_quantiles(stats)
    error = quantiles.std()
    assert samples.mean() == pytest.approx(quantiles.mean(), abs=0.15 * error)
    assert samples.std() == pytest.approx(error, rel=0.1)
    ends = [0.025, 0.975]
    found = np.quantile(samples, ends)
    assert found == pytest.approx(np.quantile(quantiles, ends), abs=0.3 * error)
    assert quantiles.min() > 0


def test_noise_between_neighbouring_lags_does_not_lead_kinisi_astray():
    """With all lags of this walk its covariance is nearly singular, its slope a quarter."""
    stats = lag_statistics(walk(5, frames=400, ions=42, cage=0.3), log_lags(199)[-23:], 0.5)
    information = stats.variance_A4 * stats.independent
    assert (information[1:] < 1.001 * information[:-1]).any()
    kept = informative(stats)
    assert len(kept.lags_ps) >= 10
    assert slope_posterior(kept).mean() / 6 == pytest.approx(0.05, rel=0.2)


def test_same_seed_same_number_and_no_trace_in_the_callers_generator():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    first = tracer_diffusion(walk(2), 0.5)
    assert np.random.random() == expected  # noqa: NPY002
    assert tracer_diffusion(walk(2), 0.5) == first


def test_units():
    """The same path with twice the time between frames has half the D, in cm2/s."""
    slow, fast = tracer_diffusion(walk(4), 1.0), tracer_diffusion(walk(4), 0.5)
    assert slow.D_cm2_per_s == pytest.approx(fast.D_cm2_per_s / 2, rel=0.02)
    assert fast.D_cm2_per_s == pytest.approx(5e-6, rel=0.3)
    assert slow.window.stop_ps == pytest.approx(2 * fast.window.stop_ps)


def test_window_starts_after_the_cage():
    """Ions that rattle for 10 ps before they walk: the window leaves that out."""
    rng = np.random.default_rng(6)
    frames, spacing = 1200, 0.5
    centres = np.cumsum(rng.normal(0, np.sqrt(2 * 0.02 * spacing), (frames, 60, 3)), axis=0)
    rattle = np.zeros((frames, 60, 3))
    for t in range(1, frames):
        rattle[t] = 0.9 * rattle[t - 1] + rng.normal(0, 0.2, (60, 3))
    found = tracer_diffusion(centres + rattle, spacing)
    assert found.window.start_ps > 5.0
    assert found.diffusive
    assert found.ci95_cm2_per_s[0] < 0.02 * CM2_PER_S < found.ci95_cm2_per_s[1]


def test_caged_ions_are_not_diffusive():
    rng = np.random.default_rng(7)
    found = tracer_diffusion(rng.normal(0, 0.3, (400, 40, 3)), 0.1)
    assert not found.diffusive
    assert "cages" in found.reason


def test_subdiffusive_ions_are_flagged():
    """Hops back and forth between traps: MSD grows as the root of time."""
    rng = np.random.default_rng(8)
    frames, ions = 2000, 40
    noise = np.fft.rfft(rng.normal(size=(frames * 2, ions * 3)), axis=0)
    frequency = np.arange(1, len(noise)) / (frames * 2)
    noise[1:] /= frequency[:, None] ** 0.75  # spectrum of fractional motion, H = 1/4
    noise[0] = 0
    path = np.fft.irfft(noise, axis=0)[:frames].reshape(frames, ions, 3)
    path *= 2.0 / np.sqrt(np.square(path[100:] - path[:-100]).sum(axis=2).mean())
    found = tracer_diffusion(3.0 * path, 0.1)
    assert found.window.slope == pytest.approx(0.5, abs=0.1)
    assert not found.diffusive
    assert "sub-diffusive" in found.reason


def test_ballistic_ions_are_flagged():
    rng = np.random.default_rng(9)
    path = np.arange(300)[:, None, None] * rng.normal(0, 0.2, (30, 3))
    found = tracer_diffusion(path, 0.1)
    assert not found.diffusive
    assert found.window.slope == pytest.approx(2.0, abs=0.01)
    assert "super-diffusive" in found.reason


def test_too_short_is_said_and_nothing_is_made_up():
    found = tracer_diffusion(walk(1, frames=12), 0.5)
    assert found.D_cm2_per_s is None
    assert "12 frames" in found.reason
    still = tracer_diffusion(np.zeros((50, 3, 3)), 0.5)
    assert still.D_cm2_per_s is None
    assert not still.diffusive


def test_judgement_of_a_slope():
    assert judge(Window(1, 10, 1.0, 0.05), 10.0) is None
    assert judge(Window(1, 10, 0.85, 0.05), 10.0) is None  # 0.85 + 0.1 reaches 0.9
    assert "sub" in judge(Window(1, 10, 0.75, 0.05), 10.0)
    assert "super" in judge(Window(1, 10, 1.4, 0.05), 10.0)
    assert "too short" in judge(Window(1, 10, 1.0, 0.4), 10.0)
    assert "cages" in judge(Window(1, 10, 1.0, 0.05), 0.9 * CAGE_A2)


def test_slope_and_its_error():
    slopes = []
    for seed in range(40):
        stats = lag_statistics(walk(seed, frames=200, ions=15, cage=0.0), log_lags(100, 20), 0.5)
        slopes.append(loglog_slope(stats))
    values, errors = np.array(slopes).T
    assert values.mean() == pytest.approx(1.0, abs=0.02)
    assert 0.7 < errors.mean() / values.std() < 1.6


def test_missing_frames_change_little():
    positions = walk(10)
    keep = np.delete(np.arange(300), np.arange(40, 90))
    whole, holed = tracer_diffusion(positions, 0.5), tracer_diffusion(positions[keep], 0.5, keep)
    assert holed.D_cm2_per_s == pytest.approx(whole.D_cm2_per_s, rel=0.2)
    assert choose_window(lag_statistics(positions[:3], np.array([1]), 0.5)) is None
