"""Physical constants and conversions between LAMMPS ``metal`` units and what a report prints.

Inside: Å, ps, eV, bar, K, e, amu. Reports: g/cm3, cm2/s, mS/cm. Constants are CODATA's, from
:mod:`scipy.constants`.
"""

from __future__ import annotations

from scipy import constants

BOLTZMANN_EV_PER_K: float = constants.k / constants.e
"""Boltzmann's constant, eV/K."""

G_PER_CM3_PER_AMU_PER_A3: float = constants.atomic_mass * 1e3 / (constants.angstrom * 1e2) ** 3
"""Mass density of 1 amu/Å3, g/cm3."""

CM2_PER_S_PER_A2_PER_PS: float = (constants.angstrom * 1e2) ** 2 / constants.pico
"""Diffusion coefficient of 1 Å2/ps, cm2/s."""

MS_PER_CM_PER_S_PER_M: float = 10.0
"""Conductivity of 1 S/m, mS/cm."""


def density_g_per_cm3(mass_amu: float, volume_A3: float) -> float:
    """Mass density of a cell.

    Parameters
    ----------
    mass_amu : float
        Mass of all atoms, amu.
    volume_A3 : float
        Volume of the cell, Å3.

    Returns
    -------
    float
        Density, g/cm3.

    Raises
    ------
    ValueError
        Where the volume isn't positive.
    """
    if volume_A3 <= 0:
        raise ValueError(f"volume {volume_A3:g} Å3: expected a positive volume")
    return mass_amu / volume_A3 * G_PER_CM3_PER_AMU_PER_A3


def cell_volume(mass_amu: float, density: float) -> float:
    """Volume of a cell of given mass and density.

    Parameters
    ----------
    mass_amu : float
        Mass of all atoms, amu.
    density : float
        Density, g/cm3.

    Returns
    -------
    float
        Volume, Å3.

    Raises
    ------
    ValueError
        Where the density isn't positive.
    """
    if density <= 0:
        raise ValueError(f"density {density:g} g/cm3: expected a positive density")
    return mass_amu / density * G_PER_CM3_PER_AMU_PER_A3


def conductivity_mS_per_cm(  # noqa: N802 - mS is the unit's symbol
    d_cm2_per_s: float, n_per_A3: float, z: float, temperature_K: float
) -> float:
    """Nernst-Einstein conductivity, σ = n z²e²D/(k_B T).

    Parameters
    ----------
    d_cm2_per_s : float
        Diffusion coefficient, cm2/s: the tracer's for σ_NE, D_σ for the collective σ.
    n_per_A3 : float
        Number density of the mobile ion, 1/Å3.
    z : float
        Charge of the mobile ion, e.
    temperature_K : float
        Temperature, K.

    Returns
    -------
    float
        Conductivity, mS/cm.

    Raises
    ------
    ValueError
        Where the temperature isn't positive.
    """
    if temperature_K <= 0:
        raise ValueError(f"temperature {temperature_K:g} K: expected a positive temperature")
    n_per_m3 = n_per_A3 / constants.angstrom**3
    d_m2_per_s = d_cm2_per_s * constants.centi**2
    siemens_per_m: float = (
        n_per_m3 * (z * constants.e) ** 2 * d_m2_per_s / (constants.k * temperature_K)
    )
    return siemens_per_m * MS_PER_CM_PER_S_PER_M
