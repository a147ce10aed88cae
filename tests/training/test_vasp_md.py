"""Dynamics by VASP: inputs, and frames of output by `vasp_output`: no VASP ran here."""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import toy_labels
import vasp_output
from ase import units

from lbpsi_driver import config, manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import sample, trajectories
from lbpsi_driver.training.options import SampleOptions

SEGMENTS = (
    {"time": 0.02, "temperature": [300, 1200], "volume": [1.1, 1.1]},
    {"time": 0.01, "temperature": [1200, 1200], "volume": [1.3, 1.3]},
    {"time": 0.03, "temperature": [1200, 300], "pressure": 2000.0},
)


def start() -> ase.Atoms:
    atoms = toy_labels.frames(1)[0]
    return store.rounded(ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))


def options(folder: Path, *segments: dict, **changes) -> SampleOptions:
    cell = folder / "cell.extxyz"
    if not cell.exists():
        ase.io.write(cell, start(), parallel=False)
    source = {"kind": "md", "name": "melt", "data": cell, "calculator": "reference"}
    source |= {"minimise": 0, "segment": segments or SEGMENTS, "every": 0.005}
    values = {"output": folder / "out", "source": [source | changes], "workers": 1}
    return config.options(SampleOptions, values | {"reference": {"kind": "vasp"}})


def sampled(one: SampleOptions) -> Path:
    folder = one.output / "sources" / "melt"
    trajectories.run(one.source[0], one, folder)
    return folder


def waiting(one: SampleOptions) -> Path:
    """Write the inputs; return the folder of the segments."""
    with pytest.raises(UsageError, match=r"vasp/1: VASP has not run to its end; next: sh .*run.sh"):
        sampled(one)
    return one.output / "sources" / "melt" / "vasp"


def incar(folder: Path) -> dict[str, str]:
    return dict(line.split(" = ") for line in (folder / "INCAR").read_text().splitlines())


def test_inputs_are_the_papers_dynamics(tmp_path, monkeypatch):
    monkeypatch.delenv("VASP_PP_PATH", raising=False)
    folder = waiting(options(tmp_path))
    first, second, third = (incar(folder / name) for name in "123")
    shared = {"ENCUT": "500", "IBRION": "0", "MDALGO": "3", "GGA": "PE", "IVDW": "12"}
    for tags in (first, second, third):
        assert shared.items() <= tags.items()
        assert float(tags["POTIM"]) == 1.0
        # one friction for each of I, Li and S
        assert tags["LANGEVIN_GAMMA"].split() == ["10.0"] * 3
    assert [int(tags["NSW"]) for tags in (first, second, third)] == [20, 10, 30]
    ramps = [(float(tags["TEBEG"]), float(tags["TEEND"])) for tags in (first, second, third)]
    assert ramps == [(300, 1200), (1200, 1200), (1200, 300)]
    assert [tags["ISIF"] for tags in (first, second, third)] == ["2", "2", "3"]
    # VASP's pressure is in kB
    assert float(third["PSTRESS"]) * 1000 * units.bar == pytest.approx(2000 * units.bar)
    assert "PSTRESS" not in first
    written = ase.io.read(folder / "1" / "POSCAR", parallel=False)
    assert written.get_volume() == pytest.approx(1.1 * start().get_volume())
    assert (folder / "3" / "POTCAR.spec").read_text().count("POTCAR\n") == 3
    # What was added by hand stays; POTCARs that are there by now are joined.
    (folder / "1" / "INCAR").write_text("NCORE = 4\n")
    for name in ("I", "Li_sv", "S"):
        (tmp_path / "pp" / "potpaw_PBE" / name).mkdir(parents=True)
        (tmp_path / "pp" / "potpaw_PBE" / name / "POTCAR").write_text(f"of {name}\n")
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "pp"))
    waiting(options(tmp_path))
    assert (folder / "3" / "POTCAR").read_text() == "of I\nof Li_sv\nof S\n"
    assert (folder / "1" / "INCAR").read_text() == "NCORE = 4\n"


STAND_IN = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import ase.io, vasp_output
tags = dict(line.split(" = ") for line in Path("INCAR").read_text().splitlines())
atoms = ase.io.read("POSCAR", parallel=False)
frames = []
for step in range(int(tags["NSW"])):
    frames.append(atoms.copy())
    atoms.positions[0, 0] += 0.01
vasp_output.write_dynamics(Path(), frames)
if Path("../broken").exists():
    sys.exit("Oh no")
ase.io.write("CONTCAR", frames[-1], format="vasp", parallel=False)
Path("OUTCAR").write_text("General timing and accounting informations for this job")
"""
"""In place of VASP: its first atom drifts by 0.01 Å a step."""


def test_segments_follow_each_other_and_are_read(tmp_path):
    one = options(tmp_path)
    folder = waiting(one)
    script = tmp_path / "vasp.py"
    script.write_text(STAND_IN.format(tests=str(Path(__file__).parent)))
    for name in "123":
        (folder / name / "POTCAR").write_text("")
    run = {"args": ["sh", str(folder / "run.sh")], "capture_output": True, "text": True}
    run["env"] = {"VASP": f"{sys.executable} {script}", "PATH": "/usr/bin:/bin"}
    (folder / "broken").touch()
    failed = subprocess.run(**run, check=False)
    assert (failed.returncode, failed.stderr) == (1, "1: VASP failed\n")
    assert not (folder / "2" / "POSCAR").exists()
    (folder / "broken").unlink()
    subprocess.run(**run, check=True)
    frames = store.read_frames(sampled(one) / "trajectory.extxyz")
    steps = list(range(0, 60, 5))
    assert [frame.info[store.STEP] for frame in frames] == steps
    assert [frame.info[store.ID] for frame in frames] == [f"melt/{step}" for step in steps]
    wanted = [300, 525, 750, 975, 1200, 1200, 1200, 1050, 900, 750, 600, 450]
    assert [frame.info[store.TEMPERATURE] for frame in frames] == pytest.approx(wanted)
    # held, then scaled, then as the segment before left it
    ratios = [frame.get_volume() / start().get_volume() for frame in frames]
    assert ratios == pytest.approx([1.1] * 4 + [1.3] * 8, rel=1e-6)
    # Atoms have the order of the cell; the one that drifts is the first of POSCAR, an iodine.
    assert all((frame.numbers == start().numbers).all() for frame in frames)
    moved = frames[1].positions - frames[0].positions
    drifting = start().get_chemical_symbols().index("I")
    assert moved[drifting] == pytest.approx([0.05, 0, 0], abs=1e-4)
    assert np.abs(np.delete(moved, drifting, axis=0)).max() < 1e-4
    # Finished segments are not run again, nor is the trajectory made again.
    before = (folder / "1" / "vasprun.xml").stat().st_mtime_ns
    subprocess.run(**run, check=True)
    assert (folder / "1" / "vasprun.xml").stat().st_mtime_ns == before


def test_output_that_is_of_something_else_is_refused(tmp_path):
    one = options(tmp_path, SEGMENTS[0])
    folder = waiting(one) / "1"
    atoms = ase.io.read(folder / "POSCAR", parallel=False)
    vasp_output.write_dynamics(folder, [atoms] * 20)
    whole = (folder / "vasprun.xml").read_text()
    (folder / "vasprun.xml").write_text(whole[: len(whole) // 2])
    waiting(one)
    vasp_output.write_dynamics(folder, [atoms] * 19)
    with pytest.raises(UsageError, match=r"vasprun.xml: 19 of 20 steps; delete the output"):
        sampled(one)
    vasp_output.write_dynamics(folder, [atoms[:-1]] * 20)
    with pytest.raises(UsageError, match="VASP's output is of other atoms"):
        sampled(one)
    (folder / "vasprun.xml").write_text("<modeling><a></modeling>")
    with pytest.raises(UsageError, match=r"vasprun.xml can't be read"):
        sampled(one)


def test_volume_that_changes_within_a_segment_is_refused(tmp_path):
    ramp = {"time": 0.02, "temperature": [300, 300], "volume": [1.0, 1.2]}
    with pytest.raises(
        UsageError, match=r"source melt: volume = \[1, 1.2\]: VASP holds the volume"
    ):
        sample.sample(options(tmp_path, ramp))


def test_other_settings_make_another_trajectory(tmp_path):
    def sample_with(one: SampleOptions) -> None:
        sample._claim_sources(one, tmp_path / "claims", "of the model")

    sample_with(options(tmp_path))
    sample_with(options(tmp_path))
    (tmp_path / "claims" / "melt" / "trajectory.extxyz").write_text("frames\n")
    own = tmp_path / "own.toml"
    own.write_text("[incar]\nENCUT = 400\n[sampling]\nENCUT = 300\n[potcar]\n")
    changed = options(tmp_path)
    reference = changed.reference.model_copy(update={"settings": own})
    with pytest.raises(UsageError, match="the trajectory of another source melt"):
        sample_with(changed.model_copy(update={"reference": reference}))
    made = (tmp_path / "claims" / "melt" / "source.json").read_text()
    assert "of the model" not in made
    sample_with(options(tmp_path / ".", minimise=5).model_copy(update={"force": True}))
    assert "of the model" in (tmp_path / "claims" / "melt" / "source.json").read_text()
    assert manifest.sha256(own) not in made
