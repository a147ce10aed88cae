"""``train validate`` at toy size: a model against itself, and against another potential."""

import json

import ase
import numpy as np
import pytest
import tiny_mace
from ase.calculators.lj import LennardJones

from lbpsi_driver import structure
from lbpsi_driver.config import BuildOptions, UsageError
from lbpsi_driver.training import deck_runs, parity
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.options import ValidateOptions

pytestmark = pytest.mark.mace

LJ = {"sigma": 1.5, "epsilon": 0.5, "rc": 3.2, "smooth": True}
QUENCH = {
    "rate": 5000,
    "high": 400,
    "warm": 0.02,
    "hold": 0.02,
    "equilibrate": 0.02,
    "dump_every": 0.01,
    "thermo_every": 0.002,
}
NPT = {"equilibrate": 0.01, "dump_every": 0.01, "thermo_every": 0.002}
OFF = {
    "own_frames": 0,
    "quench_frames": 0,
    "volume_points": 0,
    "drift_time": 0,
    "short_range_points": 0,
}
ITSELF = {
    "kind": "mace",
    "dispersion": False,
    "arguments": {"default_dtype": "float64"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    pytest.importorskip("mace", reason="needs the [mace] extra")
    path = tmp_path_factory.mktemp("model") / "tiny.model"
    return str(tiny_mace.write(path, numbers=[3, 5, 15, 16, 53], scale=100.0))


@pytest.fixture(scope="module")
def calculator(model):
    from lbpsi_driver.training.models import mace_calculator

    return mace_calculator([model], dtype="float64")


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> ase.Atoms:
    """A packed cell of 16 atoms."""
    folder = tmp_path_factory.mktemp("toy")
    options = BuildOptions(units="Li=6,S=3,P2S5=1", density=1.9, output=folder)
    return structure.read_cell(structure.build(options).files["data"])


def labelled(atoms: ase.Atoms, calculator, number: int, split: str, trajectory: str) -> ase.Atoms:
    frame = atoms.copy()
    frame.rattle(0.05, seed=number + 1)
    frame = store.rounded(frame)
    frame.calc = calculator
    frame.info = {
        store.ID: f"{trajectory}/{number}",
        store.TRAJECTORY: trajectory,
        store.SPLIT: split,
        store.TEMPERATURE: 600.0,
        store.ENERGY: float(frame.get_potential_energy()),
        store.STRESS: frame.get_stress(voigt=True),
    }
    frame.arrays[store.FORCES] = frame.get_forces()
    frame.calc = None
    return frame


def data_file(folder, atoms, calculator):
    names = (("train", "a"), ("test", "b"), ("test", "b"), ("test", "c"))
    frames = [
        labelled(atoms, calculator, number, split, name)
        for number, (split, name) in enumerate(names)
    ]
    path = folder / "labelled.extxyz.xz"
    store.write_frames(path, frames)
    return path


@pytest.fixture(scope="module")
def itself(tmp_path_factory, model, toy, calculator):
    """A validation of a model with the model itself as the reference."""
    from lbpsi_driver.training.validate import validate

    folder = tmp_path_factory.mktemp("itself")
    options = ValidateOptions(
        model=model,
        dtype="float64",
        data=(data_file(folder, toy, calculator),),
        output=folder / "out",
        reference={**ITSELF, "model": model},
        cell=[{"units": "Li=6,S=3,P2S5=1", "density": 1.9}],
        own_frames=4,
        own_time=0.06,
        npt=NPT,
        independent_frames=2,
        quench=QUENCH,
        quench_frames=10,
        volume_points=3,
        drift_time=0.02,
        short_range_points=3,
        workers=1,
    )
    return options, validate(options)


def test_a_model_agrees_with_itself_wherever_it_is_asked(itself):
    _, result = itself
    stages = {f"own melt-quench, cell1 {s}" for s in ("warm", "heat", "hold", "cool")}
    assert {
        "independent test set",
        "own NPT",
        "own NPT, cell1",
        "own NPT + independent",
        "own melt-quench",
        *stages,
    } <= set(result.sets)
    assert result.sets["independent test set"].frames == 3
    assert result.sets["own NPT"].frames == 4
    assert result.sets["own NPT + independent"].frames == 6
    assert result.sets["own melt-quench"].frames == 10
    for found in result.sets.values():
        assert found.energy_rmse_meV_per_atom < 1e-3
        assert found.force_rmse_meV_per_A < 1e-2
        assert found.stress_rmse_MPa < 1e-1
    assert result.cells["cell1"].energy_volume_meV_per_atom < 1e-3
    assert result.cells["cell1"].melt_quench == "held"
    assert result.cells["cell1"].npt == "held"
    assert "energy against volume" not in result.limits
    assert "errors" not in result.limits
    assert result.not_tested == ()


def test_the_card_has_what_shipped_cards_have_and_all_numbers(itself, model):
    from lbpsi_driver import manifest, potential

    options, result = itself
    card = json.loads(result.card.read_text())
    kept = set(potential.card(tiny_mace.SHIPPED)) - {"warning", "stability", "dft"}
    assert kept <= set(card)
    assert card["elements"] == ["Li", "B", "P", "S", "I"]
    assert "4 channels, L=0, correlation 1, 2 interactions, cutoff 4 Å" in card["architecture"]
    assert card["model_sha256"] == manifest.sha256(potential.resolve(model))
    assert card["data_sha256"] == {"labelled.extxyz.xz": manifest.sha256(options.data[0])}
    assert card["labels"] == "mace tiny.model"
    assert card["frames"] == "4 labelled (3 test, 1 train) of 1 compositions"
    assert {"held_out", "paper_test", "own_npt", "own_melt_quench", "own_quenched_glass"} == {
        key.removesuffix("_force_meV_per_A") for key in card["errors"] if "force" in key
    }
    assert card["trust"].endswith("in its own melt-quench")
    assert {"independent", "own", "paper", "quench", "drift", "short_range"} <= set(
        card["validation"]
    )
    assert "/" not in json.dumps(card["reference"])
    assert str(options.output) not in result.card.read_text()
    for name in card["figures"]:
        assert (options.output / name).read_bytes().startswith(b"\x89PNG")
    assert set(card["figures"]) == {"parity.png", "energy_volume.png", "short_range.png"}


def test_own_frames_are_those_of_the_runs_at_their_stages(itself):
    options, _ = itself
    frames = store.read_frames(options.output / "quench.extxyz.xz")
    stages = {one.info["stage"] for one in frames}
    assert stages == {"warm", "heat", "hold", "cool", "equilibrate"}
    for stage in stages:
        assert sum(one.info["stage"] == stage for one in frames) == 2
    volume = json.loads(options.output.joinpath("parts/energy_volume.json").read_text())["cell1"]
    assert volume["volume_ratio"] == [0.85, 1.0, 1.325, 1.8]
    scans = json.loads(options.output.joinpath("parts/short_range.json").read_text())
    assert len(scans) == 2 * 6
    for one in scans:
        assert one["hole_A"] == pytest.approx(one["reference_hole_A"], abs=1e-4)
    drift = json.loads(options.output.joinpath("parts/drift.json").read_text())["cell1"]
    assert abs(drift["float64"]["drift_eV_per_atom_per_ps"]) < 0.05
    assert drift["float32"]["time_ps"] == pytest.approx(0.02)


def test_an_interrupted_validation_goes_on_where_it_was(itself):
    from lbpsi_driver.training.validate import validate

    options, result = itself
    card = result.card.read_text()
    manifest_file = options.output / "manifest.json"
    content = json.loads(manifest_file.read_text())
    content["runs"]["validate"] |= {"state": "running", "result": None}
    manifest_file.write_text(json.dumps(content))
    for name in ("card.json", "parity.png", "parts/energy_volume.json", "parts/short_range.json"):
        (options.output / name).unlink()
    kept = ["parts/own.json", "own.extxyz.xz", "cells/cell1/quench/history.dat"]
    kept += ["labels/label/labelled.extxyz.xz"]
    times = [(options.output / name).stat().st_mtime_ns for name in kept]
    assert validate(options) == result
    assert result.card.read_text() == card
    assert [(options.output / name).stat().st_mtime_ns for name in kept] == times
    assert validate(options) == result
    with pytest.raises(UsageError, match="with --own-frames 4, not 5"):
        validate(options.model_copy(update={"own_frames": 5}))


def test_errors_against_another_potential_are_those_counted_by_hand(tmp_path, toy):
    pytest.importorskip("mace", reason="needs the [mace] extra")
    from rich.console import Console

    from lbpsi_driver.training.models import mace_calculator
    from lbpsi_driver.training.validate import validate

    path = data_file(tmp_path, toy, LennardJones(**LJ))
    options = ValidateOptions(
        model=tiny_mace.SHIPPED,
        dtype="float64",
        data=(path,),
        output=tmp_path / "out",
        reference={
            "kind": "ase",
            "calculator": "ase.calculators.lj:LennardJones",
            "arguments": LJ,
            "dispersion": False,
        },
        cell=[{"data": _write(tmp_path / "data.toy", toy)}],
        **(OFF | {"volume_points": 2}),
    )
    result = validate(options)
    calculator = mace_calculator([tiny_mace.SHIPPED], dtype="float64")
    energies, squares, absolute, by_sulfur, stresses = [], [], [], [], []
    for frame in store.read_frames(path)[1:]:
        atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        values = []
        for calc in (calculator, LennardJones(**LJ)):
            atoms.calc = calc
            values.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
        (e, f, s), (e0, f0, s0) = values
        energies.append((e - e0) / len(atoms))
        stresses += [(a - b) * 160217.66 for a, b in zip(s, s0, strict=True)]
        for i, symbol in enumerate(frame.get_chemical_symbols()):
            for k in range(3):
                squares.append((f[i][k] - f0[i][k]) ** 2)
                absolute.append(abs(f[i][k] - f0[i][k]))
                if symbol == "S":
                    by_sulfur.append((f[i][k] - f0[i][k]) ** 2)
    found = result.sets["independent test set"]
    assert found.frames == 3
    count = len(energies)
    assert found.energy_rmse_meV_per_atom == pytest.approx(
        1e3 * (sum(e**2 for e in energies) / count) ** 0.5, rel=1e-5
    )
    assert found.energy_mae_meV_per_atom == pytest.approx(
        1e3 * sum(map(abs, energies)) / count, rel=1e-5
    )
    assert found.energy_bias_meV_per_atom == pytest.approx(1e3 * sum(energies) / count, rel=1e-5)
    assert found.force_rmse_meV_per_A == pytest.approx(
        1e3 * (sum(squares) / len(squares)) ** 0.5, rel=1e-5
    )
    assert found.force_mae_meV_per_A == pytest.approx(1e3 * sum(absolute) / len(absolute), rel=1e-5)
    assert found.force_rmse_by_element["S"] == pytest.approx(
        1e3 * (sum(by_sulfur) / len(by_sulfur)) ** 0.5, rel=1e-5
    )
    assert found.stress_mae_MPa == pytest.approx(np.mean(np.abs(stresses)), rel=1e-5)
    part = json.loads((tmp_path / "out" / "parts" / "independent.json").read_text())
    assert {name: one["frames"] for name, one in part["by_trajectory"].items()} == {"b": 2, "c": 1}
    assert list(part["by_composition"]) == [parity.composition(toy)]
    # the parts that were switched off are there, empty
    assert result.sets.keys() == {"independent test set"}
    assert result.cells["cell1"].npt == "not run"
    curve = json.loads((tmp_path / "out" / "parts" / "energy_volume.json").read_text())["cell1"]
    assert curve["largest_deviation_meV_per_atom"] == pytest.approx(
        max(
            abs(a - b)
            for a, b in zip(
                curve["model_meV_per_atom"], curve["reference_meV_per_atom"], strict=True
            )
        )
    )
    assert "energy against volume is off" in result.limits
    assert "errors on the independent test set are" in result.limits
    assert set(result.not_tested) == {
        "frames of its own NPT",
        "the paper's test set",
        "frames of its own melt-quench",
        "drift of the energy at constant volume",
        "pairs pressed together",
        "coordination",
    }
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result.table())
    assert f"{found.force_rmse_meV_per_A:.0f}" in console.export_text()


def _write(path, atoms):
    structure.write_data(path, atoms)
    return path


def test_bad_input_is_one_line(tmp_path, model, toy, calculator):
    from lbpsi_driver.training.validate import validate

    path = data_file(tmp_path, toy, LennardJones(**LJ))
    good = {"model": model, "data": (path,), "output": tmp_path / "out", **OFF}

    def refuse(match: str, **changed) -> None:
        with pytest.raises(UsageError, match=match):
            validate(ValidateOptions(**(good | changed)), dry_run=True)

    frames = store.read_frames(path)
    for change, match in (
        (lambda one: one.info.update(split="train", trajectory="d"), "no frame of split 'test'"),
        (lambda one: one.info.update({store.ENERGY: float("nan")}), "2"),
        (lambda one: one.symbols.__setitem__(0, "Na"), "Na"),
    ):
        changed = [frame.copy() for frame in frames]
        for one in changed if "split" in match else changed[2:3]:
            change(one)
        bad = tmp_path / "bad.extxyz"
        store.write_frames(bad, changed)
        refuse(match, data=(bad,))
    refuse("60 frames.*dump_every", own_frames=100, own_time=6.0)
    refuse("^quench: hold = -1", quench={"hold": -1.0}, quench_frames=1)
    refuse("^quench: unknown option 'hodl'; .* hold", quench={"hodl": 1.0}, quench_frames=1)
    refuse(r"^--data nothere.xyz: No such file", data=("nothere.xyz",))
    refuse(r"^cell\[1\]: data = no.data: no such file", cell=({}, {"data": "no.data"}))
    refuse(r"^cell\[0\]: atoms = 61: .* give atoms = ", cell=({"atoms": 61},))
    foreign = {"units": "Li=2,S=1,GeS2=1"}
    refuse(r"^cell\[0\]: --model .*: has no Ge; it knows", cell=(foreign,), quench_frames=1)
    refuse("no --data: no frame of split 'test'", data=())
    refuse(r"neither a file nor a shipped model .*; give a \.model file$", model="nosuch")
    exported = tmp_path / "x.pt"
    exported.write_bytes(b"")
    refuse(r"^--model .*x\.pt: exported already; give the \.model", model=str(exported))
    validate(ValidateOptions(**good), dry_run=True)
    validate(ValidateOptions(**(good | {"data": (), "independent_frames": 0})), dry_run=True)
    with pytest.raises(UsageError, match=r"^--data nothere.xyz: No such file"):
        validate(ValidateOptions(**(good | {"data": ("nothere.xyz",)})))
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_all_runs_and_labels(tmp_path, model, toy, calculator, caplog):
    from lbpsi_driver.training.validate import validate

    caplog.set_level("INFO", "lbpsi_driver")
    path = data_file(tmp_path, toy, LennardJones(**LJ))
    given = OFF | {"own_frames": 10, "own_time": 4.0, "quench_frames": 7, "drift_time": 2.0}
    given |= {
        "quench": {"rate": 100, "hold": 2.0, "equilibrate": 3.0, "high": 1300},
        "npt": {"equilibrate": 1.5},
        "short_range_points": 5,
    }
    options = ValidateOptions(model=model, data=(path,), output=tmp_path / "out", **given)
    assert validate(options, dry_run=True) is None
    # 0.5 warming, twice 10 of ramps; NPT of 4 after 1.5; NVE in two precisions
    assert "cell1: 35 ps of MD by the model: melt-quench 25.5" in caplog.text
    assert "NPT equilibration 1.5, NPT 4, NVE in two precisions 4" in caplog.text
    elements = len(deck_runs.elements_of(options.cell[0]))
    pairs = elements * (elements + 1) // 2
    assert f"at most {10 + 7 + 2 * 5 * pairs} labels" in caplog.text


def test_a_reference_that_cannot_label_is_refused_before_any_dynamics(tmp_path, model, toy):
    from lbpsi_driver.training.validate import validate

    path = data_file(tmp_path, toy, LennardJones(**LJ))
    reference = {"kind": "ase", "calculator": "ase.calculators.lj:LenardJones"}
    given = OFF | {"own_frames": 1, "own_time": 4.0, "reference": reference}
    options = ValidateOptions(model=model, data=(path,), output=tmp_path / "out", **given)
    with pytest.raises(UsageError, match=r"LenardJones; did you mean LennardJones\?$"):
        validate(options)
    assert not (tmp_path / "out" / "cells").exists()
