"""VASP by its files: no VASP ran here, its output is written by `vasp_output`."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import toy_labels
import vasp_output

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import settings, vasp
from lbpsi_driver.training.calculators import LabelError
from lbpsi_driver.training.label import label
from lbpsi_driver.training.options import LabelOptions, Reference


def frames(number: int = 3):
    made = [store.rounded(atoms) for atoms in toy_labels.frames(number)]
    for atoms in made:
        for key in (store.ENERGY, store.STRESS):
            del atoms.info[key]
        del atoms.arrays[store.FORCES]
    return made


@pytest.fixture
def folder(tmp_path):
    """A folder with the inputs of the first frame."""
    vasp.write_inputs(tmp_path / "0", frames()[0], "digest", None)
    return tmp_path / "0"


def options(tmp_path: Path, **more) -> LabelOptions:
    data = tmp_path / "frames.extxyz.xz"
    if not data.exists():
        store.write_frames(data, frames())
    return LabelOptions(
        data=data, output=tmp_path / "label", reference=Reference(kind="vasp", **more)
    )


def test_inputs_are_the_papers(folder):
    incar = dict(line.split(" = ") for line in (folder / "INCAR").read_text().splitlines())
    wanted = {"ENCUT": "520", "EDIFF": "1e-06", "GGA": "PE", "IVDW": "12", "NSW": "0"}
    assert wanted.items() <= incar.items()
    assert incar["LREAL"] == ".FALSE."
    assert (folder / "KPOINTS").read_text().splitlines()[2:4] == ["Gamma", "1 1 1"]
    # One block of each element, whatever the frame's order; potentials in the same order.
    assert (folder / "POSCAR").read_text().splitlines()[5].split() == ["I", "Li", "S"]
    spec = (folder / "POTCAR.spec").read_text().splitlines()[1:]
    assert spec == [f"potpaw_PBE/{name}/POTCAR" for name in ("I", "Li_sv", "S")]
    atoms = frames()[0]
    order = json.loads((folder / "frame.json").read_text())["order"]
    written = ase.io.read(folder / "POSCAR", parallel=False)
    assert np.abs(written.positions - atoms.positions[order]).max() < 1e-12


def test_potcar_is_joined_in_order(tmp_path, monkeypatch):
    for name in ("I", "Li_sv", "S"):
        (tmp_path / "pp" / "potpaw_PBE" / name).mkdir(parents=True)
        (tmp_path / "pp" / "potpaw_PBE" / name / "POTCAR").write_text(f"of {name}\n")
    vasp.write_inputs(tmp_path / "0", frames()[0], "digest", None)
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "pp"))
    vasp.write_inputs(tmp_path / "0", frames()[0], "digest", None)
    assert (tmp_path / "0" / "POTCAR").read_text() == "of I\nof Li_sv\nof S\n"
    assert not (tmp_path / "0" / "POTCAR.spec").exists()
    (tmp_path / "pp" / "potpaw_PBE" / "S" / "POTCAR").unlink()
    with pytest.raises(UsageError, match=r"no potpaw_PBE/S/POTCAR in it; name another in"):
        vasp.write_inputs(tmp_path / "1", frames()[0], "digest", None)


@pytest.mark.parametrize("write", [vasp_output.write_xml, vasp_output.write_outcar])
def test_output_is_read_in_the_frames_order_and_our_units(folder, write):
    atoms = frames()[0]
    atoms.set_cell(0.85 * atoms.cell.array, scale_atoms=True)
    vasp.write_inputs(folder, atoms, "compressed", None)
    write(folder)
    found = vasp.read(folder, atoms, "compressed")
    wanted = vasp_output.labels_of(atoms)
    # The free energy, not that extrapolated to no smearing.
    assert found["energy"] == pytest.approx(wanted["energy"], abs=1e-7)
    assert np.abs(found["forces"] - wanted["forces"]).max() < 2e-6
    assert found["stress"] == pytest.approx(wanted["stress"], abs=1e-7)
    assert found["stress"][:3].sum() < -0.01
    assert found["version"].startswith("6.3.0")
    assert len(set(map(tuple, wanted["forces"].round(3)))) == len(atoms)


def test_what_is_not_there_waits_and_what_is_bad_is_refused(folder):
    atoms = frames()[0]
    with pytest.raises(vasp.NotReadyError, match="VASP has not run"):
        vasp.read(folder, atoms, "digest")
    with pytest.raises(vasp.NotReadyError, match="not written"):
        vasp.read(folder, atoms, "other")
    vasp_output.write_outcar(folder)
    whole = (folder / "OUTCAR").read_text()
    for length in (0, len(whole) // 2, len(whole) - 30):
        (folder / "OUTCAR").write_text(whole[:length])
        with pytest.raises(vasp.NotReadyError, match="OUTCAR cut short"):
            vasp.read(folder, atoms, "digest")
    vasp_output.write_outcar(folder, converged=False)
    with pytest.raises(LabelError, match="did not converge"):
        vasp.read(folder, atoms, "digest")
    vasp_output.write_xml(folder, steps=vasp_output.NELM)
    with pytest.raises(LabelError, match=r"not converged in 200 electronic steps"):
        vasp.read(folder, atoms, "digest")
    vasp_output.write_xml(folder)
    moved = frames()[0]
    moved.positions[3, 1] += 0.01
    with pytest.raises(LabelError, match=r"another frame: positions differ by 0\.010"):
        vasp.read(folder, moved, "digest")
    assert vasp.read(folder, atoms, "digest")["energy"] < 0


def test_bare_calls_write_then_read_what_has_run(tmp_path, monkeypatch):
    monkeypatch.delenv("VASP_PP_PATH", raising=False)
    first = label(options(tmp_path), dry_run=True)
    assert first is not None
    assert (first.labelled, first.waiting) == (0, 3)
    assert first.next == f"sh {tmp_path / 'label' / 'vasp' / 'run.sh'}"
    missing = subprocess.run(first.next.split(), capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "no POTCAR" in missing.stderr
    places = sorted((tmp_path / "label" / "vasp").glob("0*"))
    vasp_output.write_xml(places[1])
    second = label(options(tmp_path))
    assert (second.labelled, second.waiting) == (1, 2)
    vasp_output.write_outcar(places[0])
    vasp_output.write_xml(places[2], steps=vasp_output.NELM)
    third = label(options(tmp_path))
    assert (third.labelled, third.waiting, len(third.set_aside)) == (2, 0, 1)
    assert third.next is None
    assert "not converged" in third.set_aside[0].reason
    shipped = manifest.sha256(settings.path_of("vasp", None))[:12]
    assert third.references == (f"vasp settings shipped sha256:{shipped}, vasp 6.3.0",)
    wanted = {atoms.info["frame_id"]: vasp_output.labels_of(atoms) for atoms in frames()}
    for atoms in store.read_frames(third.file):
        own = wanted[atoms.info["frame_id"]]
        assert atoms.info[store.ENERGY] == pytest.approx(own["energy"], abs=1e-7)
        assert np.abs(atoms.arrays[store.FORCES] - own["forces"]).max() < 2e-5
    assert label(options(tmp_path)) == third


def test_command_runs_in_each_folder(tmp_path):
    (tmp_path / "POTCAR").write_text("")
    script = tmp_path / "vasp.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path; import vasp_output\n"
        "vasp_output.write_xml(Path()) if 'I' in Path('POSCAR').read_text() else print('Oh no')\n"
    )
    with pytest.raises(UsageError, match=r"all 3 frames failed.*no POTCAR; put one there"):
        label(options(tmp_path, command="true"))
    for place in (tmp_path / "label" / "vasp").glob("0*"):
        (place / "POTCAR").write_text("")
    done = label(options(tmp_path, command=f"{sys.executable} {script}"))
    assert (done.labelled, done.waiting) == (2, 0)
    assert "VASP ended with code 0 before its end: Oh no" in done.set_aside[0].reason


def test_command_that_takes_too_long_or_is_stopped_is_ended(folder):
    (folder / "POTCAR").write_text("")
    # A shell that starts another process, as a launcher does.
    slow = "sleep 600 & echo $! > pid; wait"

    def alive() -> bool:
        stat = Path(f"/proc/{(folder / 'pid').read_text().strip()}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    def ends() -> bool:
        # A process on a busy machine dies some time after it has been told to.
        deadline = time.monotonic() + 10
        while alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not alive()

    with pytest.raises(LabelError, match=r"VASP: no result after 0\.01 minutes"):
        vasp.run(folder, slow, stopped=threading.Event(), minutes=0.01)
    assert ends()
    stopped = threading.Event()
    threading.Timer(0.5, stopped.set).start()
    with pytest.raises(LabelError, match="ended with code -15 before its end"):
        vasp.run(folder, slow, stopped=stopped)
    assert ends()
