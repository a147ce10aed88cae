import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_mace
import troubled_calculator as troubled
from ase.build import bulk
from ase.calculators.lj import LennardJones

from lbpsi_driver.config import UsageError
from lbpsi_driver.training.calculators import LabelError, Worker, WorkerCalculator, WorkerError
from lbpsi_driver.training.options import Reference

LJ = {"sigma": 2.7, "epsilon": 0.15, "rc": 5.5, "smooth": True}
LENNARD_JONES = Reference(
    kind="ase", calculator="ase.calculators.lj:LennardJones", arguments=LJ, dispersion=False
)


def crystal(symbol: str = "Cu", scale: float = 1.0):
    atoms = bulk(symbol, "fcc", a=4.0 * scale, cubic=True)
    atoms.positions += np.random.default_rng(1).normal(0, 0.1, atoms.positions.shape)
    return atoms


def troubled_reference(monkeypatch, log: Path, **more) -> Reference:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return Reference(
        kind="ase",
        calculator="troubled_calculator:Troubled",
        arguments={"log": str(log), **more},
        dispersion=False,
    )


def test_says_what_the_calculator_says_to_the_last_bit():
    atoms = crystal()
    with Worker(LENNARD_JONES) as worker:
        found = worker.evaluate(atoms)
        assert worker.versions.keys() == {"ase"}
        through = crystal()
        through.calc = WorkerCalculator(worker)
        assert through.get_potential_energy() == found["energy"]
    atoms.calc = LennardJones(**LJ)
    assert found["energy"] == atoms.get_potential_energy()
    assert (found["forces"] == atoms.get_forces()).all()
    assert (found["stress"] == atoms.get_stress()).all()


def test_compressed_crystal_has_a_negative_trace():
    with Worker(LENNARD_JONES) as worker:
        assert worker.evaluate(crystal(scale=0.9))["stress"][:3].sum() < 0
        assert worker.evaluate(crystal(scale=1.15))["stress"][:3].sum() > 0


def test_goes_on_after_a_frame_that_fails_and_after_one_that_prints(monkeypatch, tmp_path):
    with Worker(troubled_reference(monkeypatch, tmp_path / "log")) as worker:
        with pytest.raises(LabelError, match="ValueError: no such thing as sodium"):
            worker.evaluate(crystal(troubled.RAISES))
        printed = worker.evaluate(crystal(troubled.CHATTERS))["energy"]
        assert printed == pytest.approx(worker.evaluate(crystal())["energy"])
        assert printed != 0


def test_death_is_told_with_the_last_words(monkeypatch, tmp_path):
    with (
        Worker(troubled_reference(monkeypatch, tmp_path / "log")) as worker,
        pytest.raises(WorkerError, match="ended with code 3: out of luck"),
    ):
        worker.evaluate(crystal(troubled.DIES))


def test_death_between_frames_is_told_too(monkeypatch, tmp_path):
    reference = troubled_reference(monkeypatch, tmp_path / "log")

    def evaluate_after_death():
        with Worker(reference) as worker:
            worker.kill()
            assert not worker.alive
            worker.evaluate(crystal())

    with pytest.raises(WorkerError, match="ended with code -9"):
        evaluate_after_death()


def test_killed_in_the_midst_of_a_frame(monkeypatch, tmp_path):
    log = tmp_path / "log"
    worker = Worker(troubled_reference(monkeypatch, log, wait=60))
    worker.start()

    def kill():
        while not log.exists():
            time.sleep(0.02)
        worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(WorkerError, match="ended with code -9"):
        worker.evaluate(crystal())
    killer.join()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"python": Path("/nowhere/python")}, r"python = /nowhere/python: No such file.*interpr"),
        ({"calculator": "no_such_module:Thing"}, r"No module named 'no_such_module'; install its"),
        (
            {"calculator": "ase.calculators.lj:LennardJone"},
            r"^\[train.reference\] calculator = ase.calculators.lj:LennardJone: "
            r"ase.calculators.lj has no LennardJone; did you mean LennardJones\?$",
        ),
        (
            {"calculator": "ase.calculators.lj:Qqq"},
            r"ase.calculators.lj has no Qqq; it has Lennard",
        ),
        (
            {"calculator": "ase.calculators.ljj:LennardJones"},
            r"ase.calculators has no module ljj; did you mean lj\?$",
        ),
        ({"calculator": "ase.calc.lj:LennardJones"}, r"ase has no module calc; did .* calculators"),
        ({"arguments": {"rc": "far"}}, r"TypeError: .*; see to \[train.reference\]$"),
    ],
)
def test_what_cannot_start_says_why(change, message):
    reference = LENNARD_JONES.model_copy(update=change)
    with pytest.raises(WorkerError, match=message), Worker(reference):
        pass


def test_a_model_that_is_not_there_is_named_as_in_the_run_file():
    reference = Reference(kind="mace", model="no.model")
    with pytest.raises(UsageError, match=r"^\[train.reference\] model = no.model: neither a file"):
        Worker(reference)


@pytest.mark.mace
def test_elements_that_the_reference_lacks(tmp_path):
    pytest.importorskip("mace", reason="needs the [mace] extra")
    path = tiny_mace.write(tmp_path / "tiny.model", numbers=[3, 16])
    with Worker(Reference(kind="mace", model=str(path))) as worker:
        assert worker.elements == ["Li", "S"]
        worker.refuse_unknown(["S", "Li", "S"])
        with pytest.raises(
            UsageError, match=r"tiny.model\) has no Ge: it knows Li, S; leave Ge out"
        ):
            worker.refuse_unknown(["Li", "Ge"])
    with Worker(LENNARD_JONES) as worker:
        assert worker.elements is None
        worker.refuse_unknown(["Ge"])


def test_relative_paths_are_those_of_the_parent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text('#!/bin/sh\nexec python3 "$@"\n')
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bin" / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    reference = LENNARD_JONES.model_copy(update={"python": Path("bin/python")})
    with Worker(reference, tmp_path / "elsewhere") as worker:
        assert worker.evaluate(crystal())["energy"] < 0


def test_dispersion_is_added_to_sevennet_by_default_and_nowhere_else():
    lennard_jones = {"kind": "ase", "calculator": "ase.calculators.lj:LennardJones"}
    for given, wanted in (({}, True), ({"kind": "mace"}, False), (lennard_jones, False)):
        assert Reference(**given).dispersion is wanted
        for said in (True, False):
            assert Reference(**given, dispersion=said).dispersion is said
        # A run compares by what it does, and not by who said so.
        assert Reference(**given).model_dump() == Reference(**given, dispersion=wanted).model_dump()
    for kind in ("vasp", "cp2k"):
        with pytest.raises(ValueError, match=f"dispersion = false: that of kind '{kind}' is in"):
            Reference(kind=kind, dispersion=False)
