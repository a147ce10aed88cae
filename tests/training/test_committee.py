"""Deviation of forces in a committee, against closed forms and a plain double loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny_mace

from lbpsi_driver import machine, potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.training.committee import Committee, force_deviation


def test_two_members_that_differ_on_one_atom():
    forces = np.tile(np.random.default_rng(1).normal(size=(5, 3)), (2, 1, 1))
    forces[1, 3] += [3.0, 0.0, 4.0]
    # Half the difference away from the mean, both: sqrt((2.5^2 + 2.5^2) / 2).
    assert force_deviation(forces) == pytest.approx(2.5, rel=1e-12)


def test_members_on_the_corners_of_a_square_and_a_triangle():
    square = [[[1.0, 1.0, 0.0]], [[1.0, -1.0, 0.0]], [[-1.0, 1.0, 0.0]], [[-1.0, -1.0, 0.0]]]
    assert force_deviation(square) == pytest.approx(math.sqrt(2.0))
    corners = [0.0, 2 * math.pi / 3, 4 * math.pi / 3]
    triangle = [[[7.0 + math.cos(a), math.sin(a), -2.0]] for a in corners]
    assert force_deviation(triangle) == pytest.approx(1.0)


def test_it_is_the_largest_over_atoms_and_not_the_mean():
    forces = np.zeros((2, 100, 3))
    forces[1, 7, 1] = 1.0
    assert force_deviation(forces) == pytest.approx(0.5)


def test_agrees_with_the_definition_written_out():
    forces = np.random.default_rng(2).normal(size=(4, 9, 3))
    largest = 0.0
    for atom in range(9):
        mean = [sum(forces[m][atom][k] for m in range(4)) / 4 for k in range(3)]
        squares = 0.0
        for member in range(4):
            squares += sum((forces[member][atom][k] - mean[k]) ** 2 for k in range(3))
        largest = max(largest, math.sqrt(squares / 4))
    assert force_deviation(forces) == pytest.approx(largest, rel=1e-12)


def test_a_member_without_forces_is_never_accurate():
    forces = np.zeros((3, 4, 3))
    forces[1, 2, 0] = np.nan
    assert math.isnan(force_deviation(forces))


@pytest.mark.parametrize("shape", [(1, 4, 3), (2, 4), (2, 4, 2), (2, 0, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(M, N, 3\)"):
        force_deviation(np.zeros(shape))


@pytest.mark.mace
def test_models_whose_forces_are_multiples_of_each_other(tmp_path):
    pytest.importorskip("mace", reason="needs the [mace] extra")
    from lbpsi_driver.mliap import import_torch

    scaled = potential.read_model(potential.resolve(tiny_mace.SHIPPED))
    scaled.scale_shift.scale *= 1.2  # forces are proportional to it, E0s are constants
    import_torch().save(scaled, tmp_path / "scaled.model")
    names = [tiny_mace.SHIPPED, str(tmp_path / "scaled.model")]
    atoms = machine.lattice(["Li", "B", "P", "S", "I"])
    committee = Committee(names, dtype="float64")
    energies, forces = committee.evaluate(atoms)
    assert energies.shape == (2,)
    assert forces.shape == (2, len(atoms), 3)
    largest = np.linalg.norm(forces[0], axis=1).max()
    assert largest > 0.1
    assert committee.deviation(atoms) == pytest.approx(0.1 * largest, rel=1e-6)
    assert atoms.calc is None
    with pytest.raises(UsageError, match="a committee of 1: give at least two"):
        Committee([tiny_mace.SHIPPED])


def test_a_gpu_that_is_not_there_is_refused_in_one_line():
    torch = pytest.importorskip("torch", reason="needs the [mace] extra")
    if torch.cuda.is_available():
        pytest.skip("has the GPU that must be lacking")
    with pytest.raises(UsageError, match="--device cuda: torch sees no CUDA GPU here"):
        Committee([tiny_mace.SHIPPED, tiny_mace.SHIPPED], device="cuda")
