"""Energies and forces in different units, on a part of the data that the shipped model learned."""

from pathlib import Path

import numpy as np
import pytest
import toy_labels

from lbpsi_driver.config import UsageError
from lbpsi_driver.training import dataset
from lbpsi_driver.training.frames import read_frames
from lbpsi_driver.training.pair_fit import fit_pairs

HARTREE, RYDBERG, KCAL, KJ = 27.211386, 13.605693, 0.04336410, 0.01036427
HARTREE_BOHR, RYDBERG_BOHR = 51.422067, 25.711034

DATA = Path(__file__).parents[2] / "examples" / "lbpsi_small" / "cp2k.extxyz.xz"


@pytest.fixture(scope="module")
def glass():
    """72 frames of 30 and 31 atoms by CP2K, six trajectories of two compositions."""
    return read_frames(DATA)


def changed(frames, energy=1.0, forces=1.0, runs=None):
    """Copies, the labels of all or of some trajectories multiplied."""
    made = []
    for atoms in frames:
        copy = atoms.copy()
        if runs is None or atoms.info["trajectory"] in runs:
            copy.info["REF_energy"] *= energy
            copy.arrays["REF_forces"] = forces * atoms.arrays["REF_forces"]
        made.append(copy)
    return made


def refused(frames) -> str:
    with pytest.raises(UsageError) as caught:
        dataset.check(frames)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shipped_data_passes(glass):
    dataset.check(glass)


@pytest.mark.parametrize(
    "part", [slice(0, 17), slice(17, 41), slice(41, None), slice(None, None, 3)]
)
def test_parts_of_it_pass(glass, part):
    dataset.check(glass[part])


@pytest.mark.parametrize(
    ("energy", "forces", "words"),
    [
        (1 / KCAL, 1, "REF_energy looks like kcal/mol: multiply it by 0.0433641"),
        (1 / KJ, 1, "REF_energy looks like kJ/mol: multiply it by 0.0103643"),
        (1 / HARTREE, 1, "REF_energy looks like Hartree: multiply it by 27.2114"),
        (1 / RYDBERG, 1, "REF_energy looks like Rydberg: multiply it by 13.6057"),
        (1, 1 / HARTREE_BOHR, "REF_forces looks like Hartree/Bohr: multiply it by 51.4221"),
        (1, 1 / RYDBERG_BOHR, "REF_forces looks like Rydberg/Bohr: multiply it by 25.711"),
        (1, 1 / KCAL, "REF_forces looks like kcal/mol/Å: multiply it by 0.0433641"),
        # Multiplied where it should have been divided: the factor tells, no unit does.
        (HARTREE, 1, "times as much as REF_forces tell"),
        (KCAL, 1, "times as much as REF_forces tell"),
        (1, HARTREE_BOHR, "times as much as REF_forces tell"),
    ],
)
def test_all_frames_in_other_units(glass, energy, forces, words):
    told = refused(changed(glass, energy, forces))
    assert told.startswith("frame 0 (dft-A/-60) and ")
    assert words in told
    factor = float(told.split(" varies ")[1].split()[0])
    assert factor == pytest.approx(energy / forces, rel=0.3)


@pytest.mark.parametrize(
    ("energy", "forces"),
    [(1 / KCAL, 1), (HARTREE, 1), (1 / HARTREE, 1), (1, HARTREE_BOHR), (1, 1 / HARTREE_BOHR)],
)
@pytest.mark.parametrize("runs", [("dft-C",), ("dft-A", "dft-C", "dft-B-test")])
def test_trajectories_in_other_units(glass, energy, forces, runs):
    number = int(refused(changed(glass, energy, forces, runs)).split()[1])
    # of half and half neither is the usual one
    assert len(runs) > 1 or glass[number].info["trajectory"] in runs


def test_frames_that_hardly_vary_tell_nothing():
    """Within the noise of the energies no factor is certain, and none is told."""
    frames = toy_labels.frames(8, trajectories=1)
    for atoms in frames[1:]:
        atoms.set_cell(frames[0].cell)
        atoms.positions = frames[0].positions
    rng = np.random.default_rng(1)
    for atoms in frames:
        atoms.positions += rng.normal(0, 2e-3, atoms.positions.shape)
        toy_labels.label(atoms)
        atoms.info["REF_energy"] += rng.normal(0, 0.5)
        atoms.info["REF_stress"] = np.zeros(6)
    dataset.check(frames)


def test_energies_of_the_pair_fit_are_the_work_of_its_forces():
    frames = toy_labels.frames(24)
    pairs = fit_pairs(frames)
    for number in (0, 3, 10):
        assert pairs.energies[number] == pytest.approx(energy_of(pairs, frames[number]), rel=1e-4)
    atoms = frames[3]
    direction = np.random.default_rng(2).normal(0, 1, atoms.positions.shape)
    behind, ahead = atoms.copy(), atoms.copy()
    behind.positions -= 1e-4 * direction
    ahead.positions += 1e-4 * direction
    slope = (energy_of(pairs, ahead) - energy_of(pairs, behind)) / 2e-4
    assert slope == pytest.approx(-np.sum(pairs.forces(atoms) * direction), rel=1e-3)


def energy_of(pairs, atoms) -> float:
    """The integral of the fitted force over each pair's distance, by fine steps."""
    from matscipy.neighbours import neighbour_list

    first, second, r = neighbour_list("ijd", atoms, 6.0)
    knots = np.linspace(1.2, 6.0, 13)
    total = 0.0
    names = list(pairs.symbols)
    for one, other, distance in zip(first, second, r, strict=True):
        low, high = sorted((names.index(atoms[one].symbol), names.index(atoms[other].symbol)))
        number = low * len(names) - low * (low - 1) // 2 + high - low
        heights = pairs.factors[13 * number : 13 * (number + 1)]
        grid = np.linspace(distance, 6.0, 2001)
        total += 0.5 * np.trapezoid(np.interp(grid, knots, heights), grid)
    return total
