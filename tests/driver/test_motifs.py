"""``motifs``: files of all kinds in, the JSON contract out, one line for what can't be."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import ase.io
import numpy as np
import pytest
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field

from lbpsi_driver import cli
from lbpsi_driver.config import MotifsOptions, UsageError, options
from lbpsi_driver.observables.motif_summary import summaries, summarise
from lbpsi_driver.observables.motifs import CLASS_NAMES, MotifFinder, find_motifs, iterate
from lbpsi_driver.observables.trajectory import read
from lbpsi_driver.structure import read_cell

Counts = dict[str, Annotated[int, Field(gt=0)]]
Histograms = dict[str, Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Network(Strict):
    largest_B: int
    fraction_B: float


class Row(Strict):
    qn: int
    en: int
    through_S: list[str]
    direct: list[str]
    count: Annotated[int, Field(gt=0)]


class Contract(Strict):
    """What other tools rely on, written down apart from the code."""

    frame: int
    units: Counts
    anions: Counts
    sharing: Counts
    qn: Histograms
    en: Histograms
    rings: Counts
    homopolar: Counts
    sulfur_sulfur: Annotated[int, Field(gt=0, alias="S-S")] = 1
    network: Network
    li_environment: Counts
    free: Counts
    classes: Annotated[Counts, Field(alias="class")]
    neighbours: dict[str, list[Row]]


TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
CELL = np.array([[14.0, 0.0, 0.0], [2.0, 13.0, 0.0], [1.0, -3.0, 15.0]])


@pytest.fixture(autouse=True)
def _without_mpi(monkeypatch):
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    yield
    logging.getLogger("lbpsi_driver").handlers.clear()


def glass(p_s: float = 2.05) -> Atoms:
    """Two Li3PS4 and an LiI, one PS4 across the walls; elements in the order of LAMMPS types."""
    units = [np.vstack([c, c + p_s * TETRAHEDRON]) for c in ([0.5, 0.5, 0.5], [8.0, 6.0, 7.0])]
    lithium = [[2.9, 0.4, 0.6], [7.8, 6.2, 10.6], [5.2, 6.2, 7.2], [8.1, 2.9, 7.1]]
    lithium += [[3.0, 0.5, 4.4], [11.3, 6.3, 7.4], [8.2, 0.4, 13.0]]
    positions = [*lithium, *units[0], *units[1], [8.1, 0.3, 10.3]]
    return Atoms("Li7PS4PS4I", positions, cell=CELL, pbc=True)


EXPECTED = {
    "frame": 0,
    "units": {"PS4": 2},
    "anions": {"PS4(3-)": 2},
    "sharing": {},
    "qn": {"P": [2]},
    "en": {"P": [2]},
    "rings": {},
    "homopolar": {},
    "network": {"largest_B": 0, "fraction_B": 0.0},
    "li_environment": {"PS4": 6, "halide": 1},
    "free": {"I": 1},
    "class": {"PS4": 2},
    "neighbours": {"P": [{"qn": 0, "en": 0, "through_S": [], "direct": [], "count": 2}]},
}


def run_json(capsys, *arguments):
    assert cli.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def error_of(capsys, *arguments) -> str:
    assert cli.main([*map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    return shown.err


def dump_text(step: int, atoms: Atoms, columns: str, ids=None) -> str:
    cell = atoms.cell.array
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
    bounds = [
        (min(0, xy, xz, xy + xz), lx + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), ly + max(0, yz), xz),
        (0, lz, yz),
    ]
    types = {symbol: k for k, symbol in enumerate(("Li", "P", "S", "I"), 1)}
    x = atoms.get_scaled_positions(wrap=True) @ cell
    ids = range(1, len(atoms) + 1) if ids is None else ids
    rows = []
    for number, symbol, position in zip(ids, atoms.symbols, x, strict=True):
        values = {"id": number, "type": types[symbol], "element": symbol}
        values |= dict(zip("xyz", (f"{v:.9f}" for v in position), strict=True))
        rows.append(" ".join(str(values[c]) for c in columns.split()))
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n"
        "ITEM: BOX BOUNDS xy xz yz pp pp pp\n"
        + "".join(f"{low} {high} {tilt}\n" for low, high, tilt in bounds)
        + f"ITEM: ATOMS {columns}\n"
        + "".join(row + "\n" for row in rows)
    )


UNITS = [{"PS4": 2}, {"PS3": 1, "PS4": 1}, {"PS2": 1, "PS4": 1}]


def changing() -> list[Atoms]:
    """Frames: whole; then two S of the first P out of reach, one by one."""
    frames = [glass() for _ in range(3)]
    for pulled, atoms in enumerate(frames):
        for sulfur in (8, 9)[:pulled]:
            atoms.positions[sulfur] += 0.4 * (atoms.positions[sulfur] - atoms.positions[7])
    return frames


@pytest.fixture
def dump(tmp_path) -> Path:
    path = tmp_path / "t.dump"
    columns = "id element x y z"
    path.write_text(
        "".join(dump_text(100 * t, atoms, columns) for t, atoms in enumerate(changing()))
    )
    return path


# --- the contract ---------------------------------------------------------------------------------


def test_json_of_a_packed_cell(capsys, cell):
    found = run_json(capsys, "motifs", cell)
    Contract.model_validate(found)
    atoms = read_cell(cell)
    numbers = {e: int((np.array(atoms.symbols) == e).sum()) for e in ("Li", "B", "P")}
    formers = numbers["B"] + numbers["P"]
    for key in ("units", "class"):
        assert sum(found[key].values()) == formers
    for key in ("qn", "en"):
        assert {e: sum(n) for e, n in found[key].items()} == {e: numbers[e] for e in ("B", "P")}
    for element, rows in found["neighbours"].items():
        assert sum(row["count"] for row in rows) == numbers[element]
    assert sum(found["li_environment"].values()) == numbers["Li"]
    assert set(found["li_environment"]) | set(found["class"]) <= set(CLASS_NAMES)
    assert found == {"frame": 0, **summarise(find_motifs(atoms))}


def write(name: str, atoms: Atoms, folder: Path) -> Path:
    path = folder / name
    if name.startswith("dump"):
        label = "element" if name == "dump.element" else "type"
        path.write_text(dump_text(0, atoms, f"id {label} x y z"))
    elif name == "data.lammps":
        ase.io.write(path, atoms, format="lammps-data", masses=True, units="metal")
    else:
        kind = {"XDATCAR": "vasp-xdatcar", "POSCAR": "vasp"}.get(name)
        ase.io.write(path, [atoms] if name == "XDATCAR" else atoms, format=kind)
    return path


@pytest.mark.parametrize(
    "name", ["dump.element", "dump.type", "data.lammps", "g.extxyz", "XDATCAR", "POSCAR", "g.cif"]
)
def test_every_kind_of_file(capsys, tmp_path, name):
    path = write(name, glass(), tmp_path)
    types = ["--elements", "Li,P,S,I"] if name == "dump.type" else []
    assert run_json(capsys, "motifs", path, *types) == EXPECTED


def test_arrays_atoms_and_trajectories_agree(tmp_path, dump):
    atoms = glass()
    arrays = (list(atoms.symbols), atoms.positions + CELL[1] - 2 * CELL[2], CELL.tolist())
    assert summarise(find_motifs(arrays)) == summarise(find_motifs(atoms))
    found = list(summaries(read(dump, 2.0)))
    assert [frame["units"] for frame in found] == UNITS
    assert [frame["frame"] for frame in found] == [0, 1, 2]
    assert [frame["time_ps"] for frame in found] == pytest.approx([0.0, 0.2, 0.4])


def test_what_is_known_of_each_atom():
    motifs = find_motifs(glass(), ids=np.arange(101, 119))
    assert motifs.unit.tolist() == [0] * 7 + [154, 0, 0, 0, 0, 154, 0, 0, 0, 0, 0]
    assert motifs.anion.tolist() == [0] * 7 + [108] * 5 + [113] * 5 + [0]
    assert motifs.class_names()[[7, 17, 6]].tolist() == ["PS4", "halide", "halide"]
    assert motifs.elements.tolist() == list(glass().symbols)
    assert motifs.bond_i.tolist() == [7] * 4 + [8, 9, 10, 11] + [12] * 4 + [13, 14, 15, 16]
    first = motifs.bond_d[:4]
    np.testing.assert_allclose(first, 2.05 * TETRAHEDRON, atol=1e-12)


# --- frames ---------------------------------------------------------------------------------------


def test_frames_of_a_trajectory(capsys, dump):
    assert run_json(capsys, "motifs", dump)["units"] == UNITS[2]
    for frame in (0, 1, -1, -3):
        found = run_json(capsys, "motifs", dump, "--frame", frame)
        assert found["units"] == UNITS[frame]
        assert found["frame"] == frame % 3
        assert "time_ps" not in found
    found = run_json(capsys, "motifs", dump, "--all", "--timestep", "2")
    assert [one["units"] for one in found] == UNITS
    assert [one["time_ps"] for one in found] == pytest.approx([0.0, 0.2, 0.4])
    assert run_json(capsys, "motifs", dump, "--all") == [
        run_json(capsys, "motifs", dump, "--frame", k) for k in range(3)
    ]


def test_all_of_one_frame_is_a_list(capsys, tmp_path):
    path = write("g.extxyz", glass(), tmp_path)
    assert run_json(capsys, "motifs", path, "--all") == [EXPECTED]


def test_table(capsys, dump):
    assert cli.main(["motifs", str(dump)]) == 0
    text = capsys.readouterr().out
    assert "motifs of t.dump, frame 2" in text
    assert "PS2=1  PS4=1" in text
    assert cli.main(["motifs", str(dump), "--all"]) == 0
    text = capsys.readouterr().out
    assert "mean of 3" in text
    assert "PS4=1.333  PS3=0.3333  PS2=0.3333" in text


# --- options --------------------------------------------------------------------------------------


def test_bond_cutoffs_of_the_user(capsys, tmp_path):
    path = write("g.extxyz", glass(2.7), tmp_path)
    assert run_json(capsys, "motifs", path)["units"] == {"PS0": 2}
    found = run_json(capsys, "motifs", path, "--bond", "S-P=2.75", "--bond", "P-I=3")
    assert found["units"] == {"PS4": 2}
    found = run_json(capsys, "motifs", path, "--bond", "P-S=2.75,P-I=3")
    assert found["units"] == {"PS4": 2}


def test_options_from_a_run_file(capsys, tmp_path):
    path = write("g.extxyz", glass(2.7), tmp_path)
    run = tmp_path / "run.toml"
    run.write_text(f'[motifs]\nfile = "{path}"\nbond = ["P-S=2.75"]\nchain = 8\n')
    found = run_json(capsys, "motifs", "--config", run)
    assert found["units"] == {"PS4": 2}
    assert run_json(capsys, "motifs", path, "--config", run) == found


def test_dry_run_reads_nothing(capsys):
    assert cli.main(["motifs", "not-there", "--dry-run"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "given", ["B-S", "B=2.5", "B-S=", "B-S=x", "B-S=-1", "-S=2", "B-S=nan", "B-S=300"]
)
def test_bad_bonds(given):
    with pytest.raises(UsageError, match=r"--bond .*: expected a pair and its cutoff"):
        options(MotifsOptions, {"file": "x", "bond": [given]})


def test_last_bond_of_a_pair_counts():
    given = MotifsOptions(file="x", bond=("B-S=2.5", "S-B=2.6", "P-S=2"), chain=8)
    assert given.cutoffs == {"bonds": {"B-S": 2.6, "P-S": 2.0}, "chain": 8}


# --- refusals -------------------------------------------------------------------------------------


def test_refusals_of_files(capsys, tmp_path, dump):
    def written(atoms: Atoms, **changes) -> Path:
        for name, value in changes.items():
            setattr(atoms, name, value)
        ase.io.write(tmp_path / "x.extxyz", atoms)
        return tmp_path / "x.extxyz"

    assert "FILE is missing: give a cell or trajectory" in error_of(capsys, "motifs")
    assert "not-there: No such file" in error_of(capsys, "motifs", "not-there")
    lithia = written(Atoms("LiI", [[0, 0, 0], [3, 0, 0]], cell=[9] * 3, pbc=True))
    assert "no network former among I, Li: expected one of B, P, Si, Ge" in error_of(
        capsys, "motifs", lithia
    )
    oxide = written(Atoms("PO", [[0, 0, 0], [3, 0, 0]], cell=[9] * 3, pbc=True))
    assert "element O: no motifs with it; expected B, P" in error_of(capsys, "motifs", oxide)
    molecule = written(Atoms("PS", [[0, 0, 0], [2, 0, 0]]))
    assert "no periodic cell" in error_of(capsys, "motifs", molecule)
    for frame in (3, -4):
        message = error_of(capsys, "motifs", dump, "--frame", frame)
        assert f"--frame {frame}: {dump} has frames 0 to 2" in message
    one = write("g.extxyz", glass(), tmp_path)
    assert "has frame 0 alone" in error_of(capsys, "motifs", one, "--frame", "1")
    assert "give one of the two" in error_of(capsys, "motifs", dump, "--all", "--frame", "1")
    path = write("dump.type", glass(), tmp_path)
    assert "give --elements" in error_of(capsys, "motifs", path)


def test_refusals_of_options(capsys, tmp_path):
    path = write("g.extxyz", glass(), tmp_path)
    for flags, message in [
        (["--bond", "P:S"], "--bond P:S: expected a pair and its cutoff"),
        (["--cation", "Na"], "--cation Na: expected a cation of"),
        (["--cation", "S"], "--cation S: expected a cation of"),
        (["--bond", "Q-S=2"], "Q"),
        (["--bond", "Li-S=2"], "Li"),
        (["--chain", "0"], "--chain 0"),
        (["--frame", "x"], "--frame x"),
        (["other"], "other"),
    ]:
        assert message in error_of(capsys, "motifs", path, *flags)


def test_refusals_of_the_library():
    atoms = glass()
    with pytest.raises(UsageError, match="no periodic cell"):
        find_motifs((list(atoms.symbols), atoms.positions, np.zeros((3, 3))))
    with pytest.raises(UsageError, match="positions"):
        find_motifs((list(atoms.symbols), atoms.positions[:4], CELL))
    with pytest.raises(UsageError, match="more than once"):
        find_motifs(atoms, ids=[1] * len(atoms))
    with pytest.raises(UsageError, match="expected two elements joined by a dash"):
        find_motifs(atoms, bonds={"PS": 2.0})
    with pytest.raises(UsageError, match="chain 0"):
        MotifFinder(list(atoms.symbols), chain=0)
    atoms.positions[3, 1] = np.nan
    with pytest.raises(UsageError, match=r"finite|number"):
        find_motifs(atoms)


def test_ids_of_a_dump(tmp_path):
    path = tmp_path / "t.dump"
    ids = [2 * k + 5 for k in range(18)]
    path.write_text("".join(dump_text(t, glass(), "id element x y z", ids) for t in range(3)))
    trajectory = read(path, 1000.0)
    assert trajectory.ids.tolist() == ids
    assert trajectory.after(1.0).ids.tolist() == ids
    assert [int(motifs.anion.max()) for motifs in iterate(trajectory)] == [ids[12]] * 3
