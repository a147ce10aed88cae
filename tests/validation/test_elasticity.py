"""Elastic tensor and moduli against a lattice sum, closed forms and exact nonlinear bodies."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables import elasticity

# Stillinger-Weber silicon with relaxed ions, from the manual of LAMMPS' example ELASTIC, GPa.
C11, C12, C44 = 151.4, 76.4, 56.4
DELTA = np.eye(3)
ORDER = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def to_full(C):
    """All 81 components of a tensor in Voigt's order."""
    full = np.zeros((3, 3, 3, 3))
    for a, (i, j) in enumerate(ORDER):
        for b, (k, m) in enumerate(ORDER):
            for p, q in {(i, j), (j, i)}:
                for r, s in {(k, m), (m, k)}:
                    full[p, q, r, s] = C[a, b]
    return full


def from_full(full):
    return np.array([[full[i, j, k, m] for k, m in ORDER] for i, j in ORDER])


def cubic(c11=C11, c12=C12, c44=C44):
    C = np.diag([c11 - c12] * 3 + [c44] * 3)
    C[:3, :3] += c12
    return C


def upper_triangular(size):
    """Deformation gradients of the deck: six directions, both signs."""
    gradients = []
    for k, m in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        for sign in (1, -1):
            gradients.append(np.eye(3))
            gradients[-1][k, m] += sign * size
    return np.array(gradients)


# --- averages ----------------------------------------------------------------------------------


def test_cubic_crystal_has_the_textbook_averages():
    found = elasticity.averages(cubic())
    B = (C11 + 2 * C12) / 3
    voigt = (C11 - C12 + 3 * C44) / 5
    reuss = 5 * (C11 - C12) * C44 / (4 * C44 + 3 * (C11 - C12))
    assert [one.B_GPa for one in (found.voigt, found.reuss, found.hill)] == pytest.approx([B] * 3)
    assert found.voigt.G_GPa == pytest.approx(voigt)
    assert found.reuss.G_GPa == pytest.approx(reuss)
    G = (voigt + reuss) / 2
    assert found.hill.G_GPa == pytest.approx(G)
    assert found.hill.E_GPa == pytest.approx(9 * B * G / (3 * B + G))
    assert found.hill.nu == pytest.approx(found.hill.E_GPa / (2 * G) - 1)
    # Ranganathan and Ostoja-Starzewski: of a cubic crystal by Zener's ratio alone.
    zener = 2 * C44 / (C11 - C12)
    assert found.anisotropy == pytest.approx(1.2 * (np.sqrt(zener) - 1 / np.sqrt(zener)) ** 2)


def test_isotropic_body_has_its_own_moduli():
    """B = 18.61 and G = 8.39 GPa are paper 001's of 75Li2S-25P2S5: its E is 21.89 GPa."""
    B, G = 18.61, 8.39
    found = elasticity.averages(cubic(B + 4 * G / 3, B - 2 * G / 3, G))
    for one in (found.voigt, found.reuss, found.hill):
        assert (one.B_GPa, one.G_GPa) == pytest.approx((B, G))
        assert one.E_GPa == pytest.approx(21.89, abs=0.01)
        assert one.nu == pytest.approx(0.30, abs=0.005)
    assert found.anisotropy == pytest.approx(0.0, abs=1e-9)


def test_averages_know_no_axes():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6))
    C = root @ root.T + np.eye(6)
    axes = [Rotation.random(random_state=2).as_matrix()] * 4
    turned = from_full(np.einsum("ip,jq,kr,ls,pqrs->ijkl", *axes, to_full(C)))
    assert np.abs(turned - C).max() > 0.5
    before, after = elasticity.averages(C), elasticity.averages(turned)
    for one, other in ((before.voigt, after.voigt), (before.reuss, after.reuss)):
        assert (other.B_GPa, other.G_GPa) == pytest.approx((one.B_GPa, one.G_GPa))
    assert elasticity.least_stiffness(turned) == pytest.approx(elasticity.least_stiffness(C))
    assert before.reuss.G_GPa < before.hill.G_GPa < before.voigt.G_GPa


@pytest.mark.parametrize(
    ("C", "least"),
    [(cubic(c12=160.0), C11 - 160.0), (cubic(c44=-3.0), -6.0), (cubic(c12=-80.0), C11 - 160.0)],
)
def test_unstable_crystal_has_upper_bounds_only(C, least):
    """Born: C11 > C12, C44 > 0, C11 + 2 C12 > 0."""
    assert elasticity.least_stiffness(C) == pytest.approx(least)
    found = elasticity.averages(C)
    assert np.isfinite(found.voigt.B_GPa)
    assert np.isnan([found.reuss.B_GPa, found.hill.G_GPa, found.anisotropy]).all()
    assert elasticity.least_stiffness(cubic()) > 0


# --- the fit -----------------------------------------------------------------------------------


def barron_klein(C, stress):
    """The coefficients by Einstein's sums over full tensors."""
    full = to_full(C)
    for text in ("ik,jl->ijkl", "jk,il->ijkl", "il,jk->ijkl", "jl,ik->ijkl"):
        full += 0.5 * np.einsum(text, stress, DELTA)
    full -= np.einsum("ij,kl->ijkl", stress, DELTA)
    voigt = from_full(full)
    return 0.5 * (voigt + voigt.T)


@pytest.mark.parametrize("size", [1e-4, 0.05])
def test_body_linear_in_lagrangian_strain_is_fitted_exactly(size):
    """St. Venant-Kirchhoff: any cell, any strains with rotations, a stressed reference."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(6, 6))
    C = 10 * (root @ root.T) + 30 * np.eye(6)
    reference = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [-2.0, 4.0, 7.0]])
    stress = rng.normal(size=(3, 3))
    stress = stress + stress.T
    cells, stresses = [], []
    for number, F in enumerate(upper_triangular(size)):
        F = Rotation.random(random_state=number).as_matrix() @ F
        E = (F.T @ F - DELTA) / 2
        shears = np.array([E[0, 0], E[1, 1], E[2, 2], 2 * E[1, 2], 2 * E[0, 2], 2 * E[0, 1]])
        xx, yy, zz, yz, xz, xy = C @ shears
        S = stress + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        cells.append(reference @ F.T)
        stresses.append(F @ S @ F.T / np.linalg.det(F))
    found = elasticity.elastic_tensor(reference, stress, np.array(cells), np.array(stresses))
    assert found.C_GPa == pytest.approx(barron_klein(C, stress), rel=1e-6, abs=1e-6)
    assert found.asymmetry_GPa < 1e-6
    assert found.misfit.max() < 1e-6


EPSILON, SIGMA, REACH = 2.0, 3.0, 9.6  # eps in GPa Å3, lengths in Å


def neighbours(cell):
    counts = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vectors = counts[counts.any(axis=1)] @ cell
    return vectors[np.linalg.norm(vectors, axis=1) < REACH]


def slopes(r):
    """First and second derivative of the Lennard-Jones potential."""
    six, twelve = (SIGMA / r) ** 6, (SIGMA / r) ** 12
    return 4 * EPSILON * (6 * six - 12 * twelve) / r, 4 * EPSILON * (156 * twelve - 42 * six) / r**2


def lattice_stress(cell, vectors):
    r = np.linalg.norm(vectors, axis=1)
    first, _ = slopes(r)
    return np.einsum("n,ni,nj->ij", first / r, vectors, vectors) / (2 * np.linalg.det(cell))


@pytest.mark.parametrize("a", [4.3, 4.64, 4.72])
def test_lattice_sum_under_pressure(a):
    """A Lennard-Jones crystal in its primitive cell, squeezed, free and stretched."""
    cell = a / 2 * np.array([[1.0, 1, 0], [0, 1, 1], [1, 0, 1]])
    vectors = neighbours(cell)
    r = np.linalg.norm(vectors, axis=1)
    first, second = slopes(r)
    weights = (second - first / r) / r**2
    full = np.einsum("n,ni,nj,nk,nl->ijkl", weights, *[vectors] * 4) / (2 * np.linalg.det(cell))
    stress = lattice_stress(cell, vectors)
    pressure = -np.trace(stress) / 3
    assert {4.3: pressure > 2, 4.64: abs(pressure) < 0.1, 4.72: pressure < -0.2}[a]
    expected = barron_klein(from_full(full), stress)

    gradients = upper_triangular(1e-3)
    cells = np.array([cell @ F.T for F in gradients])
    stresses = np.array([lattice_stress(cell @ F.T, vectors @ F.T) for F in gradients])
    found = elasticity.elastic_tensor(cell, stress, cells, stresses)
    assert found.C_GPa == pytest.approx(expected, rel=2e-4, abs=2e-3 * expected.max())
    assert found.misfit.max() < 0.03

    # The bulk modulus is that of the pressure's own slope, -V dP/dV.
    h = 1e-4
    pressures = [-np.trace(lattice_stress(s * cell, s * vectors)) / 3 for s in (1 + h, 1 - h)]
    slope = (pressures[1] - pressures[0]) / (6 * h)
    assert elasticity.averages(found.C_GPa).hill.B_GPa == pytest.approx(slope, rel=1e-3)


def test_signs_of_strain_cancel_what_is_quadratic():
    """Stresses with a quadratic part: the slope is exact to second order, the misfit tells."""
    gradients = upper_triangular(0.01)
    C = cubic()
    stresses = []
    for F in gradients:
        e = elasticity.to_voigt((F + F.T) / 2 - DELTA, doubled=True)
        stresses.append(elasticity.from_voigt(C @ e - 10 * C @ e**2))
    found = elasticity.elastic_tensor(
        DELTA * 10, np.zeros((3, 3)), gradients * 10, np.array(stresses)
    )
    assert found.C_GPa == pytest.approx(C, abs=0.02 * C11)
    one_sided = elasticity.elastic_tensor(
        DELTA * 10, np.zeros((3, 3)), gradients[::2] * 10, np.array(stresses)[::2]
    )
    assert abs(one_sided.C_GPa - C).max() > 0.05 * C11
    assert 0.03 < found.misfit.max() < 0.2


def test_one_rearrangement_shows():
    gradients = upper_triangular(0.01)
    strains = [elasticity.to_voigt((F + F.T) / 2 - DELTA, doubled=True) for F in gradients]
    stresses = np.array([elasticity.from_voigt(cubic() @ e) for e in strains])
    stresses[6] *= 0.3
    found = elasticity.elastic_tensor(DELTA * 10, np.zeros((3, 3)), gradients * 10, stresses)
    assert np.argmax(found.misfit) == 6
    assert found.misfit[6] > 0.5
    assert np.delete(found.misfit, [6, 7]).max() < 0.2


def test_five_directions_are_not_enough():
    gradients = upper_triangular(0.01)[:10]
    with pytest.raises(UsageError, match="fewer than six directions"):
        elasticity.elastic_tensor(DELTA, np.zeros((3, 3)), gradients, np.zeros((10, 3, 3)))


# --- noise and replicas ------------------------------------------------------------------------


def test_interval_over_replicas_covers():
    """Stresses with noise, five replicas: 95 % of the intervals of B, G and C11 hold the truth."""
    rng = np.random.default_rng(4)
    gradients = upper_triangular(0.01)
    C = cubic(30.0, 12.0, 9.0)
    strains = [elasticity.to_voigt((F + F.T) / 2 - DELTA, doubled=True) for F in gradients]
    stresses = np.array([elasticity.from_voigt(C @ e) for e in strains])
    truth = elasticity.averages(C)
    exact = np.array([truth.voigt.B_GPa, truth.voigt.G_GPa, 30.0])
    repeats, hits = 300, np.zeros(3)
    for _ in range(repeats):
        found = []
        for _ in range(5):
            noise = elasticity.from_voigt(rng.normal(scale=0.01, size=(12, 6)))
            zero = np.zeros((3, 3))
            tensor = elasticity.elastic_tensor(DELTA, zero, gradients, stresses + noise).C_GPa
            voigt = elasticity.averages(tensor).voigt
            found.append([voigt.B_GPa, voigt.G_GPa, tensor[0, 0]])
        intervals = [elasticity.over_replicas(column).ci95 for column in np.transpose(found)]
        hits += [low <= value <= high for (low, high), value in zip(intervals, exact, strict=True)]
    assert (hits / repeats >= 0.91).all()
    assert (hits / repeats <= 0.99).all()


def test_few_replicas_have_no_interval():
    one, two = elasticity.over_replicas([3.0]), elasticity.over_replicas([3.0, 4.0])
    assert (one.mean, one.ci95, two.mean, two.ci95) == (3.0, None, 3.5, None)
    assert "one replica" in one.reason
    assert "2 replicas" in two.reason
    assert elasticity.over_replicas([3.0, 4.0, 5.0]).ci95 == pytest.approx(
        (4 - 2.484, 4 + 2.484), abs=1e-3
    )
    lost = elasticity.over_replicas([3.0, np.nan, 4.0])
    assert lost.mean is None
    assert "replica 2 is unstable" in lost.reason


def test_voigt_there_and_back():
    rng = np.random.default_rng(5)
    given = rng.normal(size=(4, 6))
    tensors = elasticity.from_voigt(given)
    assert (tensors == np.swapaxes(tensors, -1, -2)).all()
    assert tensors[0][1, 2] == given[0, 3]
    assert (elasticity.to_voigt(tensors) == given).all()
    assert (elasticity.to_voigt(tensors, doubled=True)[:, 3:] == 2 * given[:, 3:]).all()
