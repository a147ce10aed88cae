"""Conversions against values worked out by hand and against ASE's own table."""

import numpy as np
import pytest
from ase import units as ase_units
from hypothesis import given
from hypothesis import strategies as st

from lbpsi_driver import units

positive = st.floats(1e-3, 1e6)


def test_boltzmann_is_the_exact_si_ratio():
    assert pytest.approx(1.380649e-23 / 1.602176634e-19, rel=1e-14) == units.BOLTZMANN_EV_PER_K


def test_density_of_water_like_box():
    # One mole of a 18 g/mol molecule in 18 cm3 is 1 g/cm3.
    volume_A3 = 18e24 / 6.02214076e23
    assert units.density_g_per_cm3(18.0, volume_A3) == pytest.approx(1.0, rel=1e-8)
    # ASE's table is an older CODATA release.
    per_ase = ase_units._amu * 1e27
    assert pytest.approx(per_ase, rel=1e-6) == units.G_PER_CM3_PER_AMU_PER_A3


def test_diffusion_conversion():
    assert pytest.approx(1e-4, rel=1e-14) == units.CM2_PER_S_PER_A2_PER_PS


def test_nernst_einstein_by_hand():
    # n = 1e28/m3, D = 1e-11 m2/s, z = 1, T = 300 K: n e2 D/(kB T) = 0.61975 S/m.
    expected = 1e28 * 1.602176634e-19**2 * 1e-11 / (1.380649e-23 * 300) * 10
    assert units.conductivity_mS_per_cm(1e-7, 0.01, 1, 300) == pytest.approx(expected, rel=1e-12)


@given(positive, positive)
def test_volume_and_density_are_inverse(mass, density):
    volume = units.cell_volume(mass, density)
    assert units.density_g_per_cm3(mass, volume) == pytest.approx(density, rel=1e-12)


@given(st.floats(1e-9, 1e-4), st.floats(1e-3, 0.1), st.floats(0.1, 3), st.floats(1, 3000))
def test_conductivity_scales(d, n, z, temperature):
    sigma = units.conductivity_mS_per_cm(d, n, z, temperature)
    assert units.conductivity_mS_per_cm(d, n, -2 * z, temperature) == pytest.approx(4 * sigma)
    assert units.conductivity_mS_per_cm(d, n, z, 2 * temperature) == pytest.approx(sigma / 2)
    assert np.isfinite(sigma)


@pytest.mark.parametrize(
    ("call", "token"),
    [
        (lambda: units.density_g_per_cm3(1, 0), "volume 0"),
        (lambda: units.cell_volume(1, -1), "density -1"),
        (lambda: units.conductivity_mS_per_cm(1, 1, 1, 0), "temperature 0"),
    ],
)
def test_bad_values_are_named(call, token):
    with pytest.raises(ValueError, match=token):
        call()
