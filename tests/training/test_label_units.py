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


def relabelled(frames, energy=1.0, forces=1.0, stress=1.0, virial=False):
    """Copies with all three labels multiplied; a virial is a stress times the volume."""
    made = changed(frames, energy, forces)
    for atoms in made:
        factor = stress * (atoms.get_volume() if virial else 1.0)
        atoms.info["REF_stress"] = factor * np.asarray(atoms.info["REF_stress"])
    return made


@pytest.mark.parametrize("part", [slice(None), slice(0, 12), slice(None, None, 6)])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"stress": 1602.18}, "kbar (multiply it by 0.000624151)"),
        # as VASP prints it: pressures
        ({"stress": -1602.18}, "kbar (multiply it by -0.000624151)"),
        ({"stress": 160.218}, "GPa (multiply it by 0.00624151)"),
        ({"stress": 1 / KCAL}, "kcal/mol/Å3 (multiply it by 0.0433641)"),
        ({"virial": True}, "a virial in eV (divide it by the volume)"),
        ({"virial": True, "stress": -1}, "a virial in eV (divide it by minus the volume)"),
    ],
)
def test_stresses_in_other_units(glass, part, labels, words):
    told = refused(relabelled(glass[part], **labels))
    assert told.startswith("frame 0 (dft-A/-60) and ")
    assert "REF_stress is" in told
    assert words in told


def test_stresses_of_a_trajectory_in_kbar(glass):
    frames = [
        *glass[:41],
        *relabelled(glass[41:], stress=1602.18),
    ]
    run = glass[41].info["trajectory"]
    assert run not in {atoms.info["trajectory"] for atoms in glass[:41]}
    assert refused(frames).startswith("frame 41 (")


def test_half_and_double_the_stress_may_be_physics(glass):
    dataset.check(relabelled(glass, stress=0.5))
    dataset.check(relabelled(glass, stress=2.0))


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        (KCAL, "kcal/mol/Å: multiply it by 0.0433641"),
        (KJ, "kJ/mol/Å: multiply it by 0.0103643"),
        (HARTREE_BOHR, "Hartree/Bohr: multiply it by 51.4221"),
    ],
)
def test_all_labels_in_one_other_system_of_units(glass, unit, name):
    told = refused(relabelled(glass, 1 / unit, 1 / unit, 1 / unit))
    assert ("too small" if unit > 1 else "too large") in told
    assert f"REF_forces looks like {name}" in told.replace("; looks", " REF_forces looks")


def test_forces_of_unknown_temperature_tell_by_their_size(glass):
    frames = relabelled(glass, 1 / KCAL, 1 / KCAL, 1 / KCAL)
    for atoms in frames:
        del atoms.info["temperature"]
    assert "looks like kcal/mol/Å" in refused(frames)


@pytest.mark.parametrize("part", [slice(None), slice(0, 12), slice(None, None, 6)])
def test_energies_tell_whether_forces_or_stresses_are_turned(glass, part):
    told = refused(relabelled(glass[part], forces=-1))
    assert "multiply REF_forces by -1" in told
    assert "multiply REF_stress" not in told
    told = refused(relabelled(glass[part], stress=-1))
    assert "multiply REF_stress by -1" in told
    assert "multiply REF_forces" not in told


def test_forces_and_stresses_turned_together(glass):
    told = refused(relabelled(glass, forces=-1, stress=-1))
    assert "REF_energy rises along REF_forces" in told


def test_too_few_frames_say_so(glass, caplog):
    with caplog.at_level("INFO"):
        dataset.check(relabelled(glass[:7], forces=-1))
    assert "too few frames (7) to check units and signs" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        dataset.check(glass[:8])
    assert caplog.text == ""
