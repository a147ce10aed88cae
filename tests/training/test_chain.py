"""All of ``train`` through the command line: CP2K's labels to a model that LAMMPS runs.

Eight atoms in a minimal basis: every part is the real one, and no number is physics. All stages
share one import of torch: it is long compared with what they do.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import ase.io
import forked
import numpy as np
import pytest
import tiny_mace
from ase.build import bulk

from lbpsi_driver import cli, structure
from lbpsi_driver.training import frames as store

pytestmark = [
    pytest.mark.mace,
    pytest.mark.mpi,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="needs cp2k (Debian)"),
]
pytest.importorskip("mace", reason="needs the [mace] extra")

DATA = Path(__file__).parents[1] / "data"
STAGES = ("sample", "label", "fit", "validate", "export")

# The stages find each other's files by the defaults of their options.
RUN = """
[train]
workers = 1

[train.reference]
kind = "cp2k"
settings = "cp2k.toml"

[train.sample]
model = "tiny.model"
frames = 6
valid = 0.3
test = 0.3

[train.fit]
foundation = "tiny.model"
multihead = false
epochs = 2
batch = 2
rate = 0.0001
threads = 1

[train.validate]
own_frames = 2
own_time = 0.02
own_temperature = 300.0
npt = {equilibrate = 0.01, dump_every = 0.01, thermo_every = 0.002}
quench_frames = 0
volume_points = 0
drift_time = 0.0
short_range_points = 0

[[train.validate.cell]]
data = "cell.data"

[train.export]
dtype = "float64"
elements = ["Li", "I"]
card = "runs/train/validate/card.json"
"""

SOURCE = """
[[train.sample.source]]
kind = "md"
name = "run{seed}"
data = "cell.data"
seed = {seed}
split = "{split}"
minimise = 0
every = 0.005
segment = [{{time = 0.02, temperature = [300, 600], volume = [1, 1]}}]
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> tuple[Path, dict[str, dict]]:
    """A folder in which all stages have run, and what each of them said."""
    folder = tmp_path_factory.mktemp("chain")
    splits = enumerate(("train", "valid", "test"), 1)
    sources = [SOURCE.format(seed=seed, split=split) for seed, split in splits]
    (folder / "run.toml").write_text(RUN + "".join(sources))
    shutil.copy(DATA / "cp2k_toy.toml", folder / "cp2k.toml")
    tiny_mace.write(folder / "tiny.model", numbers=[3, 53], scale=100.0)
    cell = bulk("LiI", "rocksalt", a=6.0, cubic=True)
    cell.rattle(0.1, seed=1)
    structure.write_data(folder / "cell.data", cell)
    said = {}
    with pytest.MonkeyPatch.context() as change, forked.maces(), forked.pools():
        change.chdir(folder)
        for stage in STAGES:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                assert cli.main(arguments(stage)) == 0, stage
            said[stage] = json.loads(out.getvalue())
    return folder, said


def arguments(stage: str) -> list[str]:
    return ["train", stage, "--config", "run.toml", "--json"]


def evaluated(model: Path, atoms: ase.Atoms) -> tuple[float, np.ndarray]:
    from lbpsi_driver.training.models import mace_calculator

    alone = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    alone.calc = mace_calculator([str(model)], dtype="float64")
    return alone.get_potential_energy(), alone.get_forces()


def test_each_stage_takes_what_the_one_before_has_made(chain):
    folder, said = chain
    frames = store.read_frames(folder / "runs/train/label/labelled.extxyz.xz")
    assert said["sample"]["frames"] == said["label"]["labelled"] == len(frames) == 6
    splits = {frame.info[store.TRAJECTORY]: frame.info[store.SPLIT] for frame in frames}
    assert splits == {"run1": "train", "run2": "valid", "run3": "test"}
    assert all("cp2k" in frame.info["reference"] for frame in frames)
    # The valence electrons of four LiI by GTH: hundreds of eV an ion pair, the foundation's few.
    energies = [frame.info[store.ENERGY] for frame in frames]
    assert max(energies) < 4 * -400
    assert said["fit"]["epochs"] == 2
    model = Path(folder / "runs/train/fit/fitted.model")
    tested = [frame for frame in frames if frame.info[store.SPLIT] == "test"]
    errors = []
    for frame in tested:
        energy, forces = evaluated(model, frame)
        # The E0s have been refit to the labels.
        assert energy / 8 == pytest.approx(frame.info[store.ENERGY] / 8, abs=0.5)
        errors.append(forces - frame.arrays[store.FORCES])
    rmse = 1e3 * np.sqrt(np.mean(np.square(errors)))
    sets = said["validate"]["sets"]
    assert sets["independent test set"]["frames"] == len(tested) > 0
    assert sets["independent test set"]["force_rmse_meV_per_A"] == pytest.approx(rmse, rel=1e-3)
    assert sets["own NPT"]["frames"] == 2
    card = json.loads((folder / "runs/train/export/fitted.json").read_text())
    assert card["labels"].startswith("cp2k")
    assert card["export"]["dtype"] == "float64"
    validated = json.loads((folder / "runs/train/validate/card.json").read_text())
    assert card["errors"] == validated["errors"]


def test_lammps_has_the_energy_of_ase(chain, lmp, tmp_path):
    folder, _ = chain
    shutil.copy(folder / "cell.data", tmp_path)
    exported = folder / "runs/train/export/fitted.pt"
    elements = structure.type_elements(structure.read_cell(tmp_path / "cell.data"))
    done = lmp(
        f"""
        units metal
        newton on
        atom_modify map yes
        read_data cell.data
        pair_style mliap/py {exported}
        pair_coeff * * {" ".join(elements)}
        velocity all create 600 1
        fix 1 all nve
        timestep 0.001
        dump d all custom 5 last.dump id element x y z fx fy fz
        dump_modify d sort id element {" ".join(elements)} format float %.15g
        run 5
        print "energy $(pe:%.15g)"
        """,
        env={"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-2000:]
    last = ase.io.read(tmp_path / "last.dump", index=-1, format="lammps-dump-text")
    assert np.abs(last.get_forces()).max() > 0.1
    energy, forces = evaluated(folder / "runs/train/fit/fitted.model", last)
    assert float(done.stdout.split("energy ")[-1].split()[0]) == pytest.approx(energy, abs=1e-6)
    assert last.get_forces() == pytest.approx(forces, abs=1e-6)


def test_the_same_commands_again_read_what_is_there(chain, monkeypatch, capsys):
    folder, said = chain
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    for stage in STAGES:
        assert cli.main(arguments(stage)) == 0
        assert json.loads(capsys.readouterr().out) == said[stage]
    now = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert now == before
