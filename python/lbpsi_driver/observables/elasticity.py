"""Elastic tensor from the stresses of strained cells, and the moduli of an isotropic body.

Strain and stress are taken in the frame of the reference cell: the Lagrangian strain E =
(FᵀF - 1)/2 and the second Piola-Kirchhoff stress det(F) F⁻¹ σ F⁻ᵀ know no rotation, so that simple
shears and cells that LAMMPS keeps lower triangular are treated exactly. Their slope C is the second
derivative of the energy; Hooke's law for the stress itself has Wallace's coefficients, which differ
from C by the stress of the reference (Barron and Klein, Proc. Phys. Soc. 85, 523 (1965),
doi:10.1088/0370-1328/85/3/313). Voigt's order: xx, yy, zz, yz, xz, xy, shear strains doubled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, mean_of_blocks
from lbpsi_driver.observables.trajectory import Floats

DIRECTIONS = ("xx", "yy", "zz", "yz", "xz", "xy")
"""Voigt's order."""

_FIRST = np.array([0, 1, 2, 1, 0, 0])
_SECOND = np.array([0, 1, 2, 2, 2, 1])
_DOUBLED = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
_LEAST_STRAIN = 1e-9


@dataclass(frozen=True)
class ElasticTensor:
    """Elastic tensor of a cell at the stress that it has; P strained states.

    Attributes
    ----------
    C_GPa : ndarray, shape (6, 6)
        Stress-strain coefficients of Hooke's law in Voigt's order, made symmetric, GPa.
    asymmetry_GPa : float
        Largest part that this took away, half of C_ij - C_ji, GPa.
    stress_GPa : ndarray, shape (3, 3)
        Stress of the reference, positive in tension, GPa.
    misfit : ndarray, shape (P,)
        Change of stress in each state that C leaves over, as a fraction of that change: a few per
        cent are anharmonic, more tells that atoms rearranged.
    """

    C_GPa: Floats
    asymmetry_GPa: float
    stress_GPa: Floats
    misfit: Floats


@dataclass(frozen=True)
class Moduli:
    """Moduli of the isotropic body in one of the averages; NaN where the crystal is unstable.

    Attributes
    ----------
    B_GPa, G_GPa, E_GPa : float
        Bulk, shear and Young's modulus, GPa.
    nu : float
        Poisson's ratio.
    """

    B_GPa: float
    G_GPa: float
    E_GPa: float
    nu: float


@dataclass(frozen=True)
class Averages:
    """Moduli of a polycrystal by the averages of Voigt, Reuss and Hill.

    Attributes
    ----------
    voigt, reuss, hill : Moduli
        Upper bound (uniform strain), lower bound (uniform stress), and from the means of B and G.
    anisotropy : float
        Universal index 5 G_V/G_R + B_V/B_R - 6, 0 for an isotropic body; NaN where unstable.
    """

    voigt: Moduli
    reuss: Moduli
    hill: Moduli
    anisotropy: float


def elastic_tensor(
    reference_cell: Floats, reference_stress_GPa: Floats, cells: Floats, stresses_GPa: Floats
) -> ElasticTensor:
    """Fit Hooke's law to the stresses of strained cells, by least squares.

    Strains of both signs cancel what is quadratic in the strain. The stress at zero strain is
    fitted too, the reference counting as one state.

    Parameters
    ----------
    reference_cell : ndarray, shape (3, 3)
        Cell vectors of the reference, a row each, Å.
    reference_stress_GPa : ndarray, shape (3, 3)
        Its Cauchy stress, positive in tension, GPa.
    cells : ndarray, shape (P, 3, 3)
        Cell vectors of the strained states.
    stresses_GPa : ndarray, shape (P, 3, 3)
        Their Cauchy stresses, ions relaxed, GPa.

    Returns
    -------
    ElasticTensor
        Symmetric tensor, what symmetry took away, and the misfit of each state.

    Raises
    ------
    UsageError
        A cell without volume, or strains that leave a component of C open.
    """
    gradients = _gradients(reference_cell, cells)
    strains = to_voigt(0.5 * (_turned(gradients) @ gradients - np.eye(3)), doubled=True)
    if np.linalg.matrix_rank(strains, tol=_LEAST_STRAIN) < 6:
        raise UsageError("the strains span fewer than six directions; strain all six")
    reference = to_voigt(reference_stress_GPa)
    stresses = np.vstack([reference, to_voigt(_second_piola_kirchhoff(gradients, stresses_GPa))])
    design = np.column_stack([np.ones(len(strains) + 1), np.vstack([np.zeros(6), strains])])
    fitted = np.linalg.lstsq(design, stresses, rcond=None)[0]
    change = np.linalg.norm((stresses - reference)[1:] * np.sqrt(_DOUBLED), axis=1)
    left = np.linalg.norm((stresses - design @ fitted)[1:] * np.sqrt(_DOUBLED), axis=1)
    slope = fitted[1:].T
    symmetric = stress_strain_coefficients(0.5 * (slope + slope.T), reference_stress_GPa)
    misfit = np.divide(left, change, out=np.zeros_like(left), where=change > 0.0)
    asymmetry = 0.5 * float(np.abs(slope - slope.T).max())
    return ElasticTensor(symmetric, asymmetry, np.asarray(reference_stress_GPa), misfit)


def stress_strain_coefficients(C_GPa: Floats, stress_GPa: Floats) -> Floats:
    """Turn second derivatives of the energy into Hooke's law about a stressed reference.

    B_ijkl = C_ijkl + (σ_ik δ_jl + σ_jk δ_il + σ_il δ_jk + σ_jl δ_ik - 2 σ_ij δ_kl)/2 (Barron and
    Klein), the part that is symmetric in ij and kl: all of it under hydrostatic pressure.

    Parameters
    ----------
    C_GPa : ndarray, shape (6, 6)
        Second derivatives of the energy by Lagrangian strain over the reference volume, GPa.
    stress_GPa : ndarray, shape (3, 3)
        Stress of the reference, positive in tension, GPa.

    Returns
    -------
    ndarray, shape (6, 6)
        Stress-strain coefficients, GPa.
    """
    one = np.eye(3)
    i, j = _FIRST[:, None], _SECOND[:, None]
    k, m = _FIRST[None, :], _SECOND[None, :]
    s = np.asarray(stress_GPa)
    added = s[i, k] * one[j, m] + s[j, k] * one[i, m] + s[i, m] * one[j, k] + s[j, m] * one[i, k]
    added = 0.5 * added - s[i, j] * one[k, m]
    result: Floats = np.asarray(C_GPa) + 0.5 * (added + added.T)
    return result


def least_stiffness(C_GPa: Floats) -> float:
    """Least eigenvalue of the tensor, GPa: positive where the body is stable (Born).

    Parameters
    ----------
    C_GPa : ndarray, shape (6, 6)
        Symmetric elastic tensor in Voigt's order, GPa.

    Returns
    -------
    float
        Eigenvalue in the orthonormal basis of symmetric tensors (Kelvin's), so that it doesn't
        depend on the axes.
    """
    weights = np.sqrt(_DOUBLED)
    return float(np.linalg.eigvalsh(np.asarray(C_GPa) * np.outer(weights, weights)).min())


def averages(C_GPa: Floats) -> Averages:
    """Voigt, Reuss and Hill averages of an elastic tensor (paper 001, section 2.3).

    Parameters
    ----------
    C_GPa : ndarray, shape (6, 6)
        Symmetric elastic tensor in Voigt's order, GPa.

    Returns
    -------
    Averages
        Reuss, Hill and the anisotropy are NaN where the tensor isn't positive definite.

    References
    ----------
    R. Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307; S. I. Ranganathan
    and M. Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504 (2008),
    doi:10.1103/PhysRevLett.101.055504.
    """
    C = np.asarray(C_GPa, dtype=np.float64)
    axial, mixed, shear = _sums(C)
    voigt = _moduli((axial + 2.0 * mixed) / 9.0, (axial - mixed + 3.0 * shear) / 15.0)
    if least_stiffness(C) <= 0.0:
        unknown = _moduli(np.nan, np.nan)
        return Averages(voigt, unknown, unknown, np.nan)
    axial, mixed, shear = _sums(np.asarray(np.linalg.inv(C), dtype=np.float64))
    reuss = _moduli(1.0 / (axial + 2.0 * mixed), 15.0 / (4.0 * axial - 4.0 * mixed + 3.0 * shear))
    hill = _moduli(0.5 * (voigt.B_GPa + reuss.B_GPa), 0.5 * (voigt.G_GPa + reuss.G_GPa))
    anisotropy = 5.0 * voigt.G_GPa / reuss.G_GPa + voigt.B_GPa / reuss.B_GPa - 6.0
    return Averages(voigt, reuss, hill, anisotropy)


def over_replicas(values: Sequence[float] | Floats) -> Estimate:
    """Mean of a number over independent replicas with Student's 95 % interval.

    Parameters
    ----------
    values : sequence of float
        One a replica; NaN where it has none.

    Returns
    -------
    Estimate
        No interval from fewer than three replicas; no number where one has none.
    """
    if not np.isfinite(values).all():
        missing = ", ".join(str(number) for number in np.flatnonzero(~np.isfinite(values)) + 1)
        return Estimate(mean=None, reason=f"replica {missing} is unstable: no such modulus")
    found = mean_of_blocks(np.asarray(values, dtype=np.float64))
    if found.ci95 is None:
        number = "one replica" if len(values) == 1 else f"{len(values)} replicas"
        return Estimate(mean=found.mean, reason=f"{number}, expected three or more: no interval")
    return found


def to_voigt(tensors: Floats, *, doubled: bool = False) -> Floats:
    """Write symmetric tensors in Voigt's order, shears doubled where they are strains.

    Parameters
    ----------
    tensors : ndarray, shape (..., 3, 3)
        Symmetric tensors.
    doubled : bool
        Double yz, xz and xy.

    Returns
    -------
    ndarray, shape (..., 6)
        Components xx, yy, zz, yz, xz, xy.
    """
    components: Floats = np.asarray(tensors)[..., _FIRST, _SECOND]
    return components * _DOUBLED if doubled else components


def from_voigt(components: Floats) -> Floats:
    """Write stresses in Voigt's order as symmetric tensors: (..., 6) to (..., 3, 3)."""
    given = np.asarray(components)
    tensors = np.empty((*given.shape[:-1], 3, 3))
    tensors[..., _FIRST, _SECOND] = given
    tensors[..., _SECOND, _FIRST] = given
    return tensors


def _gradients(reference: Floats, cells: Floats) -> Floats:
    """Deformation gradients F, r = F R, from cells whose vectors are rows."""
    if abs(np.linalg.det(reference)) < _LEAST_STRAIN:
        raise UsageError("the reference cell has no volume; expected three independent vectors")
    return _turned(np.asarray(np.linalg.solve(reference, cells), dtype=np.float64))


def _second_piola_kirchhoff(gradients: Floats, stresses: Floats) -> Floats:
    inverse = np.asarray(np.linalg.inv(gradients), dtype=np.float64)
    volumes = np.linalg.det(gradients)[:, None, None]
    result: Floats = volumes * (inverse @ np.asarray(stresses) @ _turned(inverse))
    return result


def _turned(tensors: Floats) -> Floats:
    return np.swapaxes(tensors, -1, -2)


def _sums(tensor: Floats) -> tuple[float, float, float]:
    """Take the sums that averages are made of: 11 + 22 + 33, 12 + 13 + 23, 44 + 55 + 66."""
    diagonal = np.diag(tensor)
    mixed = tensor[0, 1] + tensor[0, 2] + tensor[1, 2]
    return float(diagonal[:3].sum()), float(mixed), float(diagonal[3:].sum())


def _moduli(B: float, G: float) -> Moduli:
    """Young's modulus and Poisson's ratio of an isotropic body from B and G."""
    return Moduli(B, G, 9.0 * B * G / (3.0 * B + G), 0.5 * (3.0 * B - 2.0 * G) / (3.0 * B + G))
