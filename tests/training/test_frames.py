"""Frames in files: what is kept, compressed, cut off."""

from __future__ import annotations

import io

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store

CELL = [[7.0, 0.0, 0.0], [1.0, 8.0, 0.0], [0.5, -0.25, 9.0]]


def frame(number: int, *, labels: bool = True) -> ase.Atoms:
    rng = np.random.default_rng(number)
    atoms = ase.Atoms("Li2BPS4I", rng.uniform(-3, 12, (9, 3)), cell=CELL, pbc=True)
    atoms.set_momenta(rng.normal(size=(9, 3)))
    atoms.info = {
        store.ID: f"melt-1/{number}",
        store.TRAJECTORY: "melt-1",
        store.SPLIT: "train",
        store.STEP: number,
        store.TEMPERATURE: 1200.5,
    }
    if labels:
        atoms.info[store.ENERGY] = -12.345678
        atoms.info[store.STRESS] = rng.normal(size=6)
        atoms.arrays[store.FORCES] = rng.normal(size=(9, 3))
    return atoms


def test_all_is_kept_without_and_with_compression(tmp_path):
    written = [frame(number) for number in range(4)]
    # results of a calculator are not labels: nothing may be stored under ASE's own keys
    written[1].calc = SinglePointCalculator(written[1], energy=1.0, forces=np.ones((9, 3)))
    for name in ("a.extxyz", "a.extxyz.xz", "a.extxyz.gz"):
        store.write_frames(tmp_path / name, written)
        found = store.read_frames(tmp_path / name)
        assert len(found) == 4
        for old, new in zip(written, found, strict=True):
            assert (new.numbers == old.numbers).all()
            np.testing.assert_allclose(new.positions, old.positions, atol=1e-8)
            np.testing.assert_allclose(new.cell.array, old.cell.array, atol=1e-8)
            np.testing.assert_allclose(new.get_momenta(), old.get_momenta(), atol=1e-8)
            np.testing.assert_allclose(
                new.arrays[store.FORCES], old.arrays[store.FORCES], atol=1e-8
            )
            np.testing.assert_allclose(new.info[store.STRESS], old.info[store.STRESS], atol=1e-8)
            assert new.info[store.ENERGY] == old.info[store.ENERGY]
            for key in (store.ID, store.TRAJECTORY, store.SPLIT, store.STEP, store.TEMPERATURE):
                assert new.info[key] == old.info[key]
            assert new.calc is None
            assert store.has_labels(new)
            assert set(new.arrays) == {"numbers", "positions", "momenta", store.FORCES}
    sizes = [(tmp_path / name).stat().st_size for name in ("a.extxyz", "a.extxyz.xz")]
    assert sizes[1] < sizes[0]


def test_the_same_frames_are_the_same_file(tmp_path):
    for name in ("a.extxyz.xz", "a.extxyz.gz"):
        store.write_frames(tmp_path / name, [frame(0)])
        before = (tmp_path / name).read_bytes()
        store.write_frames(tmp_path / name, [frame(0)])
        assert (tmp_path / name).read_bytes() == before


def test_labels_are_whole_or_none():
    atoms = frame(0)
    assert store.has_labels(atoms)
    for holder, key in ((atoms.info, store.ENERGY), (atoms.arrays, store.FORCES)):
        value = holder.pop(key)
        assert not store.has_labels(atoms)
        holder[key] = value
    assert not store.has_labels(frame(0, labels=False))


def test_no_frames(tmp_path):
    store.write_frames(tmp_path / "a.extxyz.xz", [])
    assert store.read_frames(tmp_path / "a.extxyz.xz") == []
    assert store.whole_frames(tmp_path / "missing.extxyz") == []


@pytest.mark.parametrize("name", ["a.extxyz", "a.extxyz.gz", "a.extxyz.xz"])
def test_a_file_cut_in_half_is_refused(tmp_path, name):
    path = tmp_path / name
    store.write_frames(path, [frame(number) for number in range(6)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 12])
    message = r"frame 3: .*cut short" if name == "a.extxyz" else "whole"
    with pytest.raises(UsageError, match=message) as caught:
        store.read_frames(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_frames_is_refused(tmp_path):
    (tmp_path / "a.extxyz").write_text("hello\nworld\n")
    (tmp_path / "b.extxyz").write_bytes(b"\xff\xfe\x00")
    for name in ("a.extxyz", "b.extxyz", "missing.extxyz"):
        with pytest.raises(UsageError, match=name):
            store.read_frames(tmp_path / name)


def test_a_trajectory_cut_anywhere_keeps_its_whole_frames(tmp_path):
    path = tmp_path / "run.extxyz"
    ends = [0]
    for number in range(3):
        store.append_frame(path, frame(number))
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    cuts = {end + shift for end in ends for shift in (-1, 0, 1, 2, 40)}
    for cut in sorted(cuts | set(range(0, ends[-1], 97))):
        path.write_bytes(content[: max(0, cut)])
        whole = sum(0 < end <= cut for end in ends)
        assert [one.info[store.STEP] for one in store.whole_frames(path)] == list(range(whole)), cut
    assert store.whole_frames(path)[0].get_momenta().any()


def test_what_is_labelled_is_what_is_stored(tmp_path):
    atoms = store.rounded(frame(3))
    assert (store.rounded(atoms).positions == atoms.positions).all()
    scaled = atoms.get_scaled_positions(wrap=False)
    assert scaled.min() > -1e-5
    assert scaled.max() < 1 + 1e-5
    store.write_frames(tmp_path / "a.extxyz.xz", [atoms])
    again = store.read_frames(tmp_path / "a.extxyz.xz")[0]
    assert (again.positions == atoms.positions).all()
    assert (again.cell.array == atoms.cell.array).all()
    np.testing.assert_allclose(
        again.get_all_distances(mic=True), frame(3).get_all_distances(mic=True), atol=3e-5
    )


def test_foreign_files_are_read(tmp_path):
    text = io.StringIO()
    ase.io.write(text, [frame(0, labels=False)] * 2, format="extxyz")
    (tmp_path / "a.xyz").write_text(text.getvalue())
    assert len(store.read_frames(tmp_path / "a.xyz")) == 2
