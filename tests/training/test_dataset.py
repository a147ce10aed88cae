import re
from pathlib import Path

import numpy as np
import pytest
import toy_labels
from ase.build import bulk

from lbpsi_driver.config import UsageError
from lbpsi_driver.training import dataset
from lbpsi_driver.training.frames import read_frames, write_frames

HARTREE, HARTREE_BOHR = 27.211386, 51.422067


@pytest.fixture
def frames():
    return toy_labels.frames(48)


def refused(frames, *words, elements=None) -> None:
    with pytest.raises(UsageError) as caught:
        dataset.check(frames, elements)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def test_sound_frames_pass(frames):
    dataset.check(frames, ["Li", "B", "P", "S", "I"])
    dataset.check(frames[:1])
    dataset.check([])


@pytest.mark.parametrize("key", ["REF_energy", "REF_stress"])
def test_missing_and_infinite_labels(frames, key):
    good = frames[5].info.pop(key)
    refused(frames, "frame 5 (run5/5)", f"no {key}")
    frames[5].info[key] = np.nan * good
    refused(frames, "frame 5", f"{key} is not finite")


def test_missing_and_infinite_forces(frames):
    frames[7].arrays["REF_forces"][2, 1] = np.inf
    refused(frames, "frame 7", "REF_forces is not finite")
    del frames[7].arrays["REF_forces"]
    refused(frames, "frame 7", "no REF_forces")


def test_stress_of_other_shapes(frames):
    voigt = frames[3].info["REF_stress"]
    assert np.array_equal(dataset.stress_of(frames[3]), voigt)
    frames[3].info["REF_stress"] = voigt[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    assert np.array_equal(dataset.stress_of(frames[3]), voigt)
    dataset.check(frames)
    frames[3].info["REF_stress"] = voigt[:3]
    refused(frames, "frame 3", "3 components")


def test_frame_without_cell(frames):
    frames[4].set_cell(np.zeros((3, 3)))
    refused(frames, "frame 4", "no cell")


def test_element_that_the_model_lacks(frames):
    first = next(i for i, atoms in enumerate(frames) if "B" in atoms.symbols)
    refused(frames, f"frame {first} ", "holds B", "Li, P, S, I", elements=["Li", "P", "S", "I"])


def test_duplicates_across_cells_and_ids(frames):
    twin = frames[2].copy()
    twin.info["frame_id"] = "other/1"
    twin.positions += twin.cell.array[0] - 2 * twin.cell.array[2]
    refused([*frames, twin], "frame 48 (other/1)", "frame 2 (run2/2)", "leave one out")
    twin.positions[3, 1] += 0.02
    dataset.check([*frames, twin])
    twin.info["frame_id"] = "run2/2"
    refused([*frames, twin], "frame 48", "frame_id", "frame 2 ")


def test_atom_on_the_boundary_is_no_difference(frames):
    frames[2].positions -= frames[2].positions[0]
    toy_labels.label(frames[2])
    twin = frames[2].copy()
    twin.info["frame_id"] = "other/1"
    twin.positions -= 1e-5
    twin.wrap()
    assert np.abs(twin.positions - frames[2].positions).max() > 1
    refused([*frames, twin], "frame 48", "frame 2 ")


def test_divided_trajectory(frames):
    frames[12].info["split"] = "valid"
    refused(frames, "frame 12 (run0/12)", "frame 0 ", "trajectory run0", "one split")


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize(
    ("unit", "factor"), [("Hartree", HARTREE), ("kJ/mol", 0.01036427), ("meV", 1e-3)]
)
def test_energies_in_other_units(frames, unit, factor, count):
    odd = range(9, 9 + 2 * count, 2)
    for i in odd:
        frames[i].info["REF_energy"] /= factor
    refused(frames, "frame 9 ", f"only as {unit};", "multiply")


def test_energy_an_atom(frames):
    frames[9].info["REF_energy"] /= len(frames[9])
    refused(frames, "frame 9 ", "eV an atom", "multiply it by 8")


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize(("unit", "factor"), [("Hartree/Bohr", HARTREE_BOHR), ("meV/Å", 1e-3)])
def test_forces_in_other_units(frames, unit, factor, count):
    for i in range(9, 9 + 2 * count, 2):
        frames[i].arrays["REF_forces"] /= factor
    refused(frames, "frame 9 ", f"only as {unit};")


def test_relaxed_frame_is_no_frame_in_other_units(frames):
    frames[9].arrays["REF_forces"] /= HARTREE_BOHR
    frames[9].info["temperature"] = 0.0
    dataset.check(frames)


def test_energies_of_another_code_are_no_other_units(frames):
    """Pseudopotential energies are hundreds of eV apart, and in eV all the same."""
    for atoms in frames:
        atoms.info["REF_energy"] += sum({"S": -270, "I": -300}.get(s, -150) for s in atoms.symbols)
    dataset.check(frames)


def test_stress_sign_of_the_whole_set(frames):
    for atoms in frames:
        atoms.info["REF_stress"] = -atoms.info["REF_stress"]
    refused(frames, "pressure rises with the volume", "multiply it by -1")


@pytest.mark.parametrize("every", [48, 5])
def test_stress_sign_of_single_frames(frames, every):
    pressures = [-atoms.info["REF_stress"][:3].mean() for atoms in frames]
    odd = np.argsort(pressures)[::-every]
    for i in odd:
        frames[i].info["REF_stress"] *= -1
    refused(frames, "opposite sign")
    with pytest.raises(UsageError) as caught:
        dataset.check(frames)
    assert int(re.match(r"frame (\d+)", str(caught.value))[1]) in odd


def strained(number: int, seed: int = 0):
    """Frames of one volume and composition whose stresses are shears about a pressure of zero."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(number):
        atoms = bulk("Li", "bcc", a=3.55, cubic=True) * (2, 2, 2)
        atoms.symbols[:] = 4 * ["S", "Li", "Li", "Li"]
        strain = rng.normal(0, 0.03, (3, 3))
        strain = np.eye(3) + strain + strain.T
        atoms.set_cell(atoms.cell @ strain / np.cbrt(np.linalg.det(strain)), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        toy_labels.label(atoms)
        atoms.info |= {"frame_id": f"a/{i}", "trajectory": "a", "temperature": 600.0}
        made.append(atoms)
    return made


def test_stress_sign_of_a_set_of_one_volume():
    frames = strained(32)
    assert np.ptp([atoms.get_volume() for atoms in frames]) < 1e-6
    dataset.check(frames)
    for atoms in frames:
        atoms.info["REF_stress"] *= -1
    refused(frames, "frame 0 (a/0) and 31 more", "opposite to that of REF_forces")


@pytest.mark.parametrize("rank", [-1, -2])
def test_stress_sign_of_a_frame_without_pressure(rank):
    frames = strained(32)
    # of small stresses none can tell the sign
    odd = np.argsort([np.linalg.norm(atoms.info["REF_stress"]) for atoms in frames])[rank]
    frames[odd].info["REF_stress"][:3] -= frames[odd].info["REF_stress"][:3].mean()
    dataset.check(frames)
    frames[odd].info["REF_stress"] *= -1
    refused(frames, f"frame {odd} ", "opposite sign")


def test_stress_sign_of_a_trajectory():
    frames = strained(32)
    for atoms in frames[8:14]:
        atoms.info["trajectory"] = "b"
        atoms.info["REF_stress"] *= -1
    refused(frames, "frame ", "opposite sign")


def test_split_keeps_trajectories_together(frames, tmp_path):
    for atoms in frames:
        del atoms.info["split"]
    write_frames(tmp_path / "a.extxyz.xz", frames)
    joined = dataset.read([tmp_path / "a.extxyz.xz"])
    divided = dataset.split(joined, 0.3, seed=1)
    runs = [
        {atoms.info["trajectory"] for atoms in divided.of_split(name).atoms}
        for name in ("train", "valid")
    ]
    assert runs[0].isdisjoint(runs[1])
    assert len(runs[0] | runs[1]) == 6
    assert len(divided.of_split("valid").atoms) == 16
    again = dataset.split(joined, 0.3, seed=1)
    assert [a.info["split"] for a in again.atoms] == [a.info["split"] for a in divided.atoms]
    others = {
        tuple(a.info["split"] for a in dataset.split(joined, 0.3, seed).atoms) for seed in range(9)
    }
    assert len(others) > 1


def test_given_splits_stay(frames):
    joined = dataset.Frames(tuple(frames), tuple(map(str, range(48))))
    divided = dataset.split(joined, 0.5, seed=1)
    assert [a.info["split"] for a in divided.atoms] == [a.info["split"] for a in frames]
    for atoms in frames:
        if atoms.info["split"] == "valid":
            atoms.info["split"] = "test"
    divided = dataset.split(joined, 0.3, seed=1)
    for atoms, before in zip(divided.atoms, frames, strict=True):
        assert (atoms.info["split"] == "test") == (before.info["split"] == "test")
    assert divided.of_split("valid").atoms


def test_one_trajectory_is_not_divided(frames, tmp_path):
    for atoms in frames:
        atoms.info = {key: atoms.info[key] for key in ("REF_energy", "REF_stress")}
    write_frames(tmp_path / "a.extxyz", frames)
    with pytest.raises(UsageError, match="no frame is for validation"):
        dataset.split(dataset.read([tmp_path / "a.extxyz"]), 0.3, seed=1)
    write_frames(tmp_path / "b.extxyz", frames[:4])
    joined = dataset.read([tmp_path / "a.extxyz", tmp_path / "b.extxyz"])
    assert joined.names[49].endswith("b.extxyz: frame 1")
    assert dataset.split(joined, 0.01, seed=1).of_split("valid").atoms


def test_doubts_may_be_overruled_and_faults_not(frames, caplog):
    for atoms in frames[:12]:
        atoms.info["REF_energy"] /= HARTREE
    refused(frames, "Hartree", "--doubts warn")
    dataset.check(frames, doubts="warn")
    assert "Hartree" in caplog.text
    frames[3].info["REF_energy"] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        dataset.check(frames, doubts="warn")


SHIPPED = sorted((Path(__file__).parents[2] / "examples" / "lbpsi_small").glob("*.extxyz.xz"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_data_is_right(path):
    dataset.check(read_frames(path))


def test_shipped_data_is_right_together():
    """A frame of LiI vapour among them has a tension that no other has at its volume."""
    teachers = [path for path in SHIPPED if "cp2k" not in path.name]
    dataset.check([atoms for path in teachers for atoms in read_frames(path)])


def test_pressed_frames_are_no_frames_in_other_units():
    """Forces of 9 eV/Å among others of 0.8 are what they are where atoms are pressed together."""
    frames = read_frames(next(path for path in SHIPPED if "iter1" in path.name))
    (at,) = (i for i, atoms in enumerate(frames) if atoms.info["frame_id"] == "i1-pressed/2")
    part = frames[at - 53 : at + 3]
    sizes = [np.sqrt(np.mean(atoms.arrays["REF_forces"] ** 2)) for atoms in part]
    assert sizes[53] > 8 * np.median(sizes)
    dataset.check(part)
    part[53].info["temperature"] = 600.0
    refused(part, "frame 53 (i1-pressed/2)", "only as kcal/mol/Å")


def test_several_turned_frames_of_a_trajectory():
    """Three are certain where each by itself might be physics."""
    frames = read_frames(next(path for path in SHIPPED if "iter2" in path.name))
    own = [i for i, atoms in enumerate(frames) if atoms.info["trajectory"] == "i2-x15-volume"]
    # of one or two GPa, without the minimisation
    own = [i for i in own if frames[i].info["temperature"] > 0][:5]
    for i in own:
        frames[i].info["REF_stress"] = -np.asarray(frames[i].info["REF_stress"])
        if i == own[0]:
            dataset.check(frames)
    with pytest.raises(UsageError, match="opposite sign") as caught:
        dataset.check(frames)
    assert int(re.match(r"frame (\d+)", str(caught.value))[1]) in own


def test_elements_that_only_validation_frames_hold(frames):
    valid = dataset.Frames((frames[1],), ("frame 1",))
    assert "P" in frames[1].symbols
    dataset.refuse_unlearned_elements(valid, ["Li", "P", "S", "I"])
    with pytest.raises(UsageError, match=r"frame 1: .* holds P, but no training frame holds P: .*"):
        dataset.refuse_unlearned_elements(valid, ["Li", "S", "I"])
