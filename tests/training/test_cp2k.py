import shutil
from pathlib import Path

import pytest
from ase.build import bulk

from lbpsi_driver.config import UsageError
from lbpsi_driver.training import cp2k
from lbpsi_driver.training.calculators import LabelError, Worker, WorkerError
from lbpsi_driver.training.options import Reference

needs_cp2k = pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="needs cp2k (Debian)")

TOY = Path(__file__).parents[1] / "data" / "cp2k_toy.toml"


def toy(**arguments) -> Reference:
    return Reference(kind="cp2k", settings=TOY, arguments=arguments)


def silicon(a: float = 5.2):
    atoms = bulk("Si", "diamond", a=a, cubic=True)
    atoms.positions[0] += 0.05, 0.02, -0.04
    return atoms


def test_shipped_settings_are_those_of_the_docs():
    order = cp2k.order(Reference(kind="cp2k", arguments={"max_scf": 7}))
    assert order["command"] == "cp2k.psmp --shell"
    keywords = order["arguments"]
    assert keywords["max_scf"] == 7
    assert keywords["basis_set"] == "DZVP-MOLOPT-SR-GTH"
    assert keywords["cutoff"] / 13.605693 >= 400
    assert "TYPE DFTD3(BJ)" in keywords["inp"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cutof_Ry = 1.0\n[calculator]\n", r"cutof_Ry: expected one of command, cutoff_Ry"),
        ("cutoff_Ry = 'a'\n[calculator]\n", r"cutoff_Ry: expected float"),
        ("cutoff_Ry = 1.0\n", r"calculator: expected dict"),
        ("cutoff_Ry = \n", r"own.toml: Invalid value"),
    ],
)
def test_bad_settings_are_refused(tmp_path, text, message):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        cp2k.order(Reference(kind="cp2k", settings=path))


def test_without_cp2k_it_says_so(tmp_path):
    reference = toy().model_copy(update={"command": "no_such_cp2k --shell"})
    with pytest.raises(WorkerError, match=r"no_such_cp2k.*install CP2K .*command"):
        Worker(reference, tmp_path).start()


@needs_cp2k
def test_forces_are_derivatives_and_pressure_is_negative_stress(tmp_path):
    step = 0.02
    with Worker(toy(), tmp_path) as worker:
        assert worker.versions["cp2k"]
        found = worker.evaluate(silicon())
        energies = []
        for sign in (1, -1):
            moved = silicon()
            moved.positions[0, 0] += sign * step
            energies.append(worker.evaluate(moved)["energy"])
    force = -(energies[0] - energies[1]) / (2 * step)
    assert found["forces"].shape == (8, 3)
    assert found["forces"][0, 0] == pytest.approx(force, abs=0.05)
    assert abs(force) > 0.2
    # Tension is positive: a compressed crystal pushes outward.
    assert found["stress"][:3].sum() < 0


@needs_cp2k
def test_scf_that_does_not_converge_is_no_label(tmp_path):
    with Worker(toy(max_scf=2), tmp_path) as worker:
        for _ in range(2):
            with pytest.raises(LabelError, match="the SCF did not converge"):
                worker.evaluate(silicon())


@needs_cp2k
def test_goes_on_after_cp2k_stopped(tmp_path):
    with Worker(toy(), tmp_path) as worker:
        atoms = silicon()
        atoms.symbols[0] = "Og"
        with pytest.raises(LabelError, match=r"CP2K stopped: The requested basis.*<OG>[^\\|]*$"):
            worker.evaluate(atoms)
        assert worker.evaluate(silicon())["energy"] < 0
