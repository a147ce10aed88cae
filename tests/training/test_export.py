"""``train export``: what is written is what LAMMPS runs, and the card says how it was made."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
from pathlib import Path

import ase.io
import numpy as np
import pytest
import tiny_mace
from rich.console import Console

from lbpsi_driver import machine, potential, structure
from lbpsi_driver.config import UsageError
from lbpsi_driver.mliap import import_torch, load
from lbpsi_driver.training import export as stage
from lbpsi_driver.training.export import evaluate, export
from lbpsi_driver.training.options import ExportOptions

pytestmark = pytest.mark.mace
pytest.importorskip("mace", reason="needs the [mace] extra")


def options(folder, **changes) -> ExportOptions:
    return ExportOptions(**({"model": tiny_mace.SHIPPED, "output": folder} | changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    card = folder / "validated.json"
    card.write_text(json.dumps({"trust": "toy", "errors": {"force_meV_per_A": 12}}))
    return export(options(folder / "out", name="toy", dtype="float64", card=card))


def test_card_holds_the_validation_and_how_it_was_made(written):
    card = json.loads(written.card.read_text())
    assert card["errors"] == {"force_meV_per_A": 12}
    assert (card["trust"], card["name"]) == ("toy", "toy")
    assert card["elements"] == ["Li", "B", "P", "S", "I"]
    made = card["export"]
    assert (made["dtype"], made["device"], made["cueq"], made["head"]) == (
        "float64",
        "cpu",
        False,
        "Default",
    )
    source = potential.resolve(tiny_mace.SHIPPED)
    for name, path in {source.name: source, "toy.pt": written.file}.items():
        assert made["sha256"][name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made["cutoff_A"] == float(potential.read_model(source).r_max)
    assert potential.card(str(written.file)) == card


def test_sums_are_what_sha256sum_checks(written):
    command = ["sha256sum", "-c", "toy.sha256"]
    done = subprocess.run(command, cwd=written.folder, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["toy.pt: OK", "toy.json: OK"]


def test_lammps_runs_the_printed_lines_and_agrees(written, lmp, tmp_path):
    atoms = machine.lattice(["Li", "B", "P", "S", "I"])
    structure.write_data(tmp_path / "cell.data", atoms)
    lines = written.lines["LAMMPS with this plugin"]
    types = " ".join(structure.type_elements(structure.read_cell(tmp_path / "cell.data")))
    assert lines[1] == "pair_coeff * * Li B P S I"
    deck = f"""
        units metal
        newton on
        atom_modify map yes
        read_data cell.data
        {lines[0]}
        pair_coeff * * {types}
        dump d all custom 1 forces.dump id element x y z fx fy fz
        dump_modify d sort id element {types} format float %.15g
        run 0
        print "energy $(pe:%.15g)"
    """
    done = lmp(deck)
    assert done.returncode == 0, done.stdout[-2000:]
    energy = float(done.stdout.split("energy ")[-1].split()[0])
    frame = ase.io.read(tmp_path / "forces.dump", format="lammps-dump-text")
    found = evaluate(load(str(written.file)), frame)
    assert found.energy == pytest.approx(energy, abs=1e-9)
    assert np.allclose(found.forces, frame.get_forces(), atol=1e-9)


def test_forces_without_lammps_are_the_slope_of_the_energy(written):
    model = load(str(written.file))
    # One layer, near enough to its own images to feel them, and no two atoms in contact: there the
    # repulsion's curvature would be more than the differences below can follow.
    atoms = machine.lattice(["Li", "S"])[:16]
    atoms.set_cell(atoms.cell.array * [[0.4], [1.0], [1.0]], scale_atoms=False)
    step = 1e-4
    found = evaluate(model, atoms)

    def energy(atom: int, axis: int, by: float) -> float:
        moved = atoms.copy()
        moved.positions[atom, axis] += by
        return evaluate(model, moved).energy

    for atom, axis in ((0, 0), (5, 2)):
        slope = (energy(atom, axis, step) - energy(atom, axis, -step)) / (2 * step)
        assert found.forces[atom, axis] == pytest.approx(-slope, abs=1e-5)
    strained = []
    for by in (-step, step):
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array * (1 + np.array([by, 0, 0])), scale_atoms=True)
        strained.append(evaluate(model, moved).energy)
    slope = (strained[1] - strained[0]) / (2 * step * atoms.get_volume())
    assert found.stress[0] == pytest.approx(slope, abs=1e-6)


def test_finished_export_is_not_made_again_but_a_damaged_one_is(written, monkeypatch):
    again = options(
        written.folder, name="toy", dtype="float64", card=written.folder.parent / "validated.json"
    )
    with monkeypatch.context() as change:
        change.setattr(stage, "_write", None)
        assert export(again) == written
    content = written.file.read_bytes()
    written.file.write_bytes(content[:-100])
    assert export(again) == written
    assert load(str(written.file)).elements == list(written.elements)
    with pytest.raises(UsageError, match=r"with --dtype float64, not float32; .*--force"):
        export(again.model_copy(update={"dtype": "float32"}))


def test_another_device_is_stated_anew(tmp_path):
    first = export(options(tmp_path))
    second = export(options(tmp_path, device="cuda"))
    made = json.loads(second.card.read_text())["export"]
    assert (first.device, second.device, made["device"]) == ("cpu", "cuda", "cuda")
    assert made["checked"]["on"] == ("cuda" if import_torch().cuda.is_available() else "cpu")
    assert second.lines["LAMMPS with this plugin"][0].endswith("device cuda")


@pytest.mark.parametrize("folder", ["short", "a-folder-with-a-name-that-is-long/" * 2])
def test_printed_lines_can_be_copied_from_a_terminal(written, folder):
    result = written.model_copy(update={"folder": Path(folder)})
    printed = io.StringIO()
    Console(file=printed, width=80).print(result.table())
    text = "\n".join(line.rstrip() for line in printed.getvalue().splitlines())
    joined = re.sub(r" &\n +", " ", text).splitlines()
    for line in (line for own in result.lines.values() for line in own):
        assert line in joined


def test_float32_is_stated_and_close(tmp_path):
    result = export(options(tmp_path, elements=("Li", "P", "S")))
    assert result.dtype == "float32"
    assert 1e-9 < result.differences["forces"] < 1e-4
    assert (
        json.loads(result.card.read_text())["trust"] == potential.card(tiny_mace.SHIPPED)["trust"]
    )


def test_each_head_is_exported_as_itself(tmp_path):
    model = tiny_mace.write(tmp_path / "two.model", numbers=[3, 16], heads=["pbe", "scan"])
    results = {
        head: export(options(tmp_path / str(head), model=model, head=head))
        for head in ("pbe", "scan", None)
    }
    assert {head: result.head for head, result in results.items()} == {
        "pbe": "pbe",
        "scan": "scan",
        None: "scan",
    }
    atoms = machine.lattice(["Li", "S"])
    energies = {
        head: evaluate(load(str(result.file)), atoms).energy for head, result in results.items()
    }
    assert energies["scan"] == energies[None]
    # E0s of -1 and -2 eV against -3 and -4 eV; forces of the heads differ too.
    assert abs(energies["pbe"] - energies["scan"]) > 10
    with pytest.raises(UsageError, match=r"--head b3lyp: .* one of: pbe, scan"):
        export(options(tmp_path / "other", model=model, head="b3lyp"))
    assert not (tmp_path / "other" / "two.pt").exists()


def test_what_it_refuses_before_writing_anything(tmp_path, written):
    folder = tmp_path / "none"
    for changes, why in (
        ({"elements": ("Li", "Si", "Ge")}, r"does not know Si, Ge; it knows Li, B, P, S, I"),
        ({"cueq": True}, r"--cueq: .*--device cuda"),
        ({"name": "a/b"}, r"--name a/b: .*--output"),
        ({"model": written.file}, r"exported already; give the \.model"),
        ({"model": "nothing"}, r"neither a file nor a shipped model .*; give a \.model file$"),
    ):
        with pytest.raises(UsageError, match=why):
            export(options(folder, **changes))
        assert not folder.exists()
    if not import_torch().cuda.is_available():
        with pytest.raises(UsageError, match="--cueq: torch sees no CUDA GPU here"):
            export(options(folder, cueq=True, device="cuda"))
    assert export(options(folder), dry_run=True) is None
    assert not folder.exists()


def test_a_file_that_gives_other_forces_is_refused(tmp_path, monkeypatch):
    torch = import_torch()
    other = potential.read_model(potential.resolve(tiny_mace.SHIPPED))
    other.scale_shift.scale *= 1.01
    torch.save(other, tmp_path / "other.model")
    right = potential.export

    def wrong(_source, target, **keywords) -> None:
        right(tmp_path / "other.model", target, **keywords)

    monkeypatch.setattr(potential, "export", wrong)
    with pytest.raises(
        UsageError, match=r"differs from ASE in float64 by 1e-02 of the largest value"
    ):
        export(options(tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.json.tmp"))
    assert not (tmp_path / "out" / f"{tiny_mace.SHIPPED}.sha256").exists()


def test_bad_card_is_one_line(tmp_path):
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(UsageError, match=r"--card .*card\.json: .*expected the JSON card"):
        export(options(tmp_path / "out", card=tmp_path / "card.json"))


@pytest.mark.parametrize("content", ["half", "noise", "text"])
def test_what_is_no_model_is_refused_in_plain_words(tmp_path, content):
    """Without what torch or pickle make of it."""
    path = tiny_mace.write(tmp_path / "a.model", numbers=[3, 16])
    half = path.read_bytes()[: path.stat().st_size // 2]
    noise = b"\x80\x02G?\xdf\xe8\x88\xa8\x0c\x8eX." + bytes(50)
    path.write_bytes({"half": half, "noise": noise, "text": b"0.5\n"}[content])
    with pytest.raises(UsageError) as told:
        export(ExportOptions(model=str(path), output=tmp_path / "out"))
    assert str(told.value) == (
        f"--model {path}: not a MACE model, or one that was cut off; give a whole .model of MACE's"
    )
