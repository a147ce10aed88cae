"""Conductivities and the Haven ratio on walkers whose correlations are known."""

import numpy as np
import pytest
from scipy import constants

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.conductivity import (
    charge_of,
    collective_diffusion,
    nernst_einstein,
)
from lbpsi_driver.observables.diffusion import tracer_diffusion
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.paths import Cells, Paths, centre_of_mass

D, SPACING = 0.05, 0.5  # Å2/ps, ps


def groups_of(size, groups, seed, frames=3000):
    """Ions that move together in groups: N = size · groups, Haven ratio 1/size."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, np.sqrt(2 * D * SPACING), (frames, groups, 3))
    return np.repeat(np.cumsum(steps, axis=0), size, axis=1)


def measure(ions):
    tracer = tracer_diffusion(ions, SPACING)
    return tracer, collective_diffusion(ions, tracer.window.start_ps, SPACING)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_haven_ratio_of_ions_that_move_in_groups(size):
    _, found = measure(groups_of(size, 24, seed=size))
    ratio, (low, high) = found.haven_ratio.mean, found.haven_ratio.ci95
    assert low <= 1 / size <= high
    assert ratio == pytest.approx(1 / size, rel=0.3)
    assert high / low < 3
    low, high = found.D_sigma_cm2_per_s.ci95
    assert low <= size * D * 1e-4 <= high


def test_haven_ratio_does_not_depend_on_the_size_of_the_cell():
    """Without the factor N the ratio of 96 ions would be a quarter of that of 24."""
    for groups in (24, 96):
        found = collective_diffusion(groups_of(1, groups, 1), 5.0, SPACING)
        assert found.haven_ratio.mean == pytest.approx(1.0, abs=0.35)


def test_ions_that_exchange_places_conduct_nothing():
    """Pairs with opposite displacements: tracer D as ever, no net current."""
    ions = groups_of(1, 20, seed=3)
    tracer, found = measure(np.concatenate([ions, -ions], axis=1))
    assert tracer.D_cm2_per_s == pytest.approx(D * 1e-4, rel=0.2)
    D_sigma = found.D_sigma_cm2_per_s
    assert D_sigma.mean is None or D_sigma.mean < 1e-3 * D * 1e-4


def test_collective_frame_is_that_of_all_atoms():
    """A drift of the whole cell carries no current; in the ions' own frame nothing moves."""
    ions = groups_of(1, 24, seed=5)
    host = np.zeros((len(ions), 40, 3))
    drift = np.linspace(0, 200, len(ions))[:, None, None]
    everything = np.concatenate([ions, host], axis=1) + drift
    masses = np.concatenate([np.full(24, 6.94), np.full(40, 1e6)])
    group, cells = np.arange(24), Cells(np.eye(3)[None], np.zeros((1, 3)))
    all_atoms = centre_of_mass(everything, cells, np.arange(64), masses)
    in_frame = Paths(everything, cells, group, all_atoms)
    _, found = measure(in_frame)
    assert found.haven_ratio.mean == pytest.approx(1.0, rel=0.3)
    own = Paths(everything, cells, group, centre_of_mass(everything, cells, group, masses))
    np.testing.assert_allclose(own.of(slice(None)).sum(axis=1), 0.0, atol=1e-8)


def test_interval_from_blocks_covers():
    hits = 0
    for seed in range(40):
        ions = groups_of(1, 12, 100 + seed, frames=800)
        found = collective_diffusion(ions, 2.0, SPACING)
        low, high = found.D_sigma_cm2_per_s.ci95
        hits += low <= D * 1e-4 <= high
    assert hits >= 34


def test_haven_ratio_and_its_interval_are_of_the_same_lags():
    """Eight ions that move as one have 1/8 at any lag, be their motion a random walk or not.

    Here they relax in a wide cage, too, and D from lags to half the run is another number.
    """
    rng = np.random.default_rng(11)
    walk = np.cumsum(rng.normal(0, np.sqrt(2 * D * SPACING), (3000, 1, 3)), axis=0)
    cage = np.zeros((3000, 1, 3))
    for t in range(1, 3000):
        cage[t] = 0.905 * cage[t - 1] + rng.normal(0, 0.85, (1, 3))
    tracer, found = measure(np.repeat(walk + cage, 8, axis=1))
    assert tracer.diffusive
    assert found.haven_ratio.mean == pytest.approx(1 / 8, rel=1e-6)
    assert found.haven_ratio.ci95 == pytest.approx((1 / 8, 1 / 8), rel=1e-6)
    of_long_lags = tracer.D_cm2_per_s / found.D_sigma_cm2_per_s.mean
    assert abs(of_long_lags * 8 - 1) > 0.3


def test_interval_of_the_haven_ratio_covers():
    hits = 0
    for seed in range(60):
        found = collective_diffusion(groups_of(3, 8, 300 + seed, frames=800), 2.0, SPACING)
        low, high = found.haven_ratio.ci95
        assert low <= found.haven_ratio.mean <= high
        hits += low <= 1 / 3 <= high
    assert hits >= 52


def test_nernst_einstein_in_si():
    """Paper 000's cell: 336 Li in 29.15 Å at 300 K; 10.36 mS/cm at z = 0.882."""
    n, z, T, D_cm2 = 336 / 29.15**3, 0.882, 300.0, 1.6e-7
    siemens_per_m = n * 1e30 * (z * constants.e) ** 2 * D_cm2 * 1e-4 / (constants.k * T)
    found = nernst_einstein(Estimate(mean=D_cm2, ci95=(1e-7, 2e-7)), n, z, T)
    assert found.mean == pytest.approx(siemens_per_m * 10)
    assert found.ci95 == pytest.approx((found.mean / 1.6, found.mean * 1.25))
    assert 5 < found.mean < 20


def test_one_charge_in_both_conductivities():
    """σ scales with z², the Haven ratio doesn't."""
    _, found = measure(groups_of(2, 12, seed=9))
    n, T = 0.0136, 300.0
    formal, bader = (nernst_einstein(found.D_sigma_cm2_per_s, n, z, T).mean for z in (1.0, 0.882))
    assert bader / formal == pytest.approx(0.882**2)
    tracer = nernst_einstein(Estimate(mean=D * 1e-4), n, 0.882, T).mean
    assert tracer / bader == pytest.approx(D * 1e-4 / found.D_sigma_cm2_per_s.mean)


def test_too_short_a_run_has_no_conductivity():
    ions = groups_of(1, 10, seed=1, frames=50)
    found = collective_diffusion(ions, 5.0, SPACING)
    assert found.D_sigma_cm2_per_s.mean is None
    assert "blocks" in found.haven_ratio.reason


def test_charges():
    assert charge_of("Li", None) == 1.0
    assert charge_of("Mg", None) == 2.0
    assert charge_of("Li", "Li=0.882") == 0.882
    for bad in ("0.882", "Na=1", "Li=", "Li=zero", "Li=0", "Li=nan"):
        with pytest.raises(UsageError, match="as in Li=0"):
            charge_of("Li", bad)
    with pytest.raises(UsageError, match="--charge Xe=1"):
        charge_of("Xe", None)
