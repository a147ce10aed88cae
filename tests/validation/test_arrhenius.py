"""Arrhenius: exact data come back, weights count, the interval holds, absence is explained."""

import numpy as np
import pytest

from lbpsi_driver.observables.arrhenius import arrhenius
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.units import BOLTZMANN_EV_PER_K

TEMPERATURES = np.array([300.0, 400.0, 500.0, 600.0])


def law(temperature, Ea=0.2241, D0=2e-3):
    return D0 * np.exp(-Ea / (BOLTZMANN_EV_PER_K * temperature))


def estimates(values, relative):
    """Numbers whose logarithm has the standard error `relative`."""
    half = np.exp(1.96 * np.broadcast_to(relative, np.shape(values)))
    return [
        Estimate(mean=v, ci95=(v / h, v * h)) for v, h in zip(np.asarray(values), half, strict=True)
    ]


def test_exact_data_come_back():
    fit = arrhenius(TEMPERATURES, estimates(law(TEMPERATURES), 0.1))
    assert fit.Ea_eV.mean == pytest.approx(0.2241, rel=1e-9)
    assert fit.prefactor.mean == pytest.approx(2e-3, rel=1e-9)
    assert fit.at(300.0).mean == pytest.approx(law(300.0), rel=1e-9)
    assert fit.at(250.0).mean == pytest.approx(law(250.0), rel=1e-9)
    assert fit.chi2_per_degree == pytest.approx(0.0, abs=1e-12)


def test_the_unit_of_the_activation_energy():
    """A slope of 11604.5 K against 1/T is 1 eV: T in K, not 1000/T, and ln, not log10."""
    values = np.exp(-11604.518 / TEMPERATURES)
    assert arrhenius(TEMPERATURES, estimates(values, 0.1)).Ea_eV.mean == pytest.approx(
        1.0, rel=1e-6
    )


def test_a_wrong_point_with_a_wide_interval_hardly_counts():
    values = law(TEMPERATURES)
    values[0] *= 3.0
    errors = np.array([1.5, 0.03, 0.03, 0.03])
    weighted = arrhenius(TEMPERATURES, estimates(values, errors)).Ea_eV.mean
    unweighted = -np.polyfit(1 / (BOLTZMANN_EV_PER_K * TEMPERATURES), np.log(values), 1)[0]
    assert weighted == pytest.approx(0.2241, abs=0.001)
    assert abs(unweighted - 0.2241) > 0.03


def test_weights_are_inverse_variances():
    """Against scipy's weighted fit with absolute errors, on scattered data."""
    from scipy.optimize import curve_fit

    errors = np.array([0.3, 0.2, 0.1, 0.05])
    values = law(TEMPERATURES) * np.exp(0.3 * errors * np.array([1, -1, 1, -1]))
    fit = arrhenius(TEMPERATURES, estimates(values, errors))
    line, covariance = curve_fit(
        lambda x, a, b: a + b * x,
        1 / (BOLTZMANN_EV_PER_K * TEMPERATURES),
        np.log(values),
        sigma=errors,
        absolute_sigma=True,
    )
    assert fit.Ea_eV.mean == pytest.approx(-line[1], rel=1e-6)
    half = (fit.Ea_eV.ci95[1] - fit.Ea_eV.ci95[0]) / 2
    assert half == pytest.approx(1.96 * np.sqrt(covariance[1, 1]), rel=1e-3)


def test_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    errors = np.array([0.4, 0.2, 0.1, 0.1])
    hits = np.zeros(2)
    for _ in range(300):
        values = law(TEMPERATURES) * np.exp(errors * rng.normal(size=4))
        fit = arrhenius(TEMPERATURES, estimates(values, errors))
        for n, (found, truth) in enumerate(((fit.Ea_eV, 0.2241), (fit.at(300.0), law(300.0)))):
            hits[n] += found.ci95[0] <= truth <= found.ci95[1]
    assert (hits / 300 > 0.93).all()


@pytest.mark.parametrize(
    ("temperatures", "least"), [(TEMPERATURES[1:], 0.82), (TEMPERATURES, 0.9)], ids=[3, 4]
)
def test_intervals_hold_the_truth_where_the_stated_errors_are_a_third_of_it(temperatures, least):
    """The normal quantile: 76 % with three temperatures, 82 % with four."""
    rng = np.random.default_rng(2)
    count = len(temperatures)
    hits = np.zeros(3)
    for _ in range(400):
        values = law(temperatures) * np.exp(0.3 * rng.normal(size=count))
        fit = arrhenius(temperatures, estimates(values, 0.1))
        for n, (found, truth) in enumerate(
            ((fit.Ea_eV, 0.2241), (fit.prefactor, 2e-3), (fit.at(300.0), law(300.0)))
        ):
            hits[n] += found.ci95[0] <= truth <= found.ci95[1]
    assert (hits / 400 >= least).all(), hits / 400


def test_a_line_that_does_not_fit_widens_the_interval():
    bent = law(TEMPERATURES) * np.array([3.0, 1.0, 1.0, 3.0])
    straight = arrhenius(TEMPERATURES, estimates(law(TEMPERATURES), 0.1))
    fit = arrhenius(TEMPERATURES, estimates(bent, 0.1))
    assert fit.chi2_per_degree > 10
    assert np.ptp(fit.Ea_eV.ci95) > 3 * np.ptp(straight.Ea_eV.ci95)


def test_fewer_than_three_temperatures_have_no_activation_energy():
    two = TEMPERATURES[:2]
    assert "2 diffusive temperature" in arrhenius(two, estimates(law(two), 0.1))
    twice = np.array([300.0, 400.0, 400.0])
    assert "2 diffusive temperature" in arrhenius(twice, estimates(law(twice), 0.1))
    assert "0 diffusive temperature" in arrhenius([], [])
    lone = [*estimates(law(TEMPERATURES[:3]), 0.1), Estimate(mean=1e-6, ci95=None)]
    assert "600 K has no interval" in arrhenius(TEMPERATURES, lone)
