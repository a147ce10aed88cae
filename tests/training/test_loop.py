"""``train loop`` at toy size, with real parts: MACE's training, LAMMPS, Lennard-Jones labels."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import ase
import ase.io
import forked
import numpy as np
import pytest
import tiny_mace
from ase.build import bulk
from ase.calculators.lj import LennardJones

from lbpsi_driver import cli
from lbpsi_driver.config import UsageError
from lbpsi_driver.mliap import import_torch
from lbpsi_driver.training import explore, loop_result
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.options import LoopOptions

pytestmark = pytest.mark.mace
pytest.importorskip("mace", reason="needs the [mace] extra")

LJ = {"sigma": 2.4, "epsilon": 0.15, "rc": 5.0, "smooth": True}
REFERENCE = {
    "kind": "ase",
    "calculator": "ase.calculators.lj:LennardJones",
    "arguments": LJ,
    "dispersion": False,
}
FIT = {
    "channels": 4,
    "correlation": 1,
    "max_ell": 1,
    "interactions": 1,
    "cutoff": 4.0,
    "bessel": 4,
    "radial": (8,),
    "epochs": 1,
    "multihead": False,
    "threads": 1,
}
WIDE = {"lower": 1e-6, "upper": 1e3, "stop": 1e4}
"""Bounds between which whatever a fit of one epoch does is a candidate."""


def cell() -> ase.Atoms:
    """16 atoms of rock salt, stretched to where the Lennard-Jones pairs are at rest."""
    return bulk("LiI", "rocksalt", a=5.3, cubic=True).repeat((1, 1, 2))


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A folder with labelled frames of two trajectories, a cell, and two models that disagree."""
    folder = tmp_path_factory.mktemp("start")
    rng = np.random.default_rng(5)
    frames = []
    for number in range(10):
        atoms = cell()
        atoms.set_cell(atoms.cell * rng.uniform(0.98, 1.06), scale_atoms=True)
        atoms.rattle(0.15, rng=rng)
        atoms = store.rounded(atoms)
        atoms.calc = LennardJones(**LJ)
        split = "valid" if number < 2 else "train"
        atoms.info = {
            store.ID: f"{split}/{number}",
            store.TRAJECTORY: split,
            store.SPLIT: split,
            store.TEMPERATURE: 300.0,
            store.ENERGY: atoms.get_potential_energy(),
            store.STRESS: atoms.get_stress(),
        }
        atoms.arrays[store.FORCES] = atoms.get_forces()
        frames.append(atoms)
    store.write_frames(folder / "data.extxyz.xz", frames)
    ase.io.write(folder / "cell.extxyz", cell(), parallel=False)
    for seed in (1, 2):
        tiny_mace.write(folder / f"{seed}.model", numbers=[3, 53], seed=seed)
    shutil.copy(folder / "1.model", folder / "twin.model")
    return folder


def md(start: Path, **changes) -> dict:
    segment = {"time": 0.04, "temperature": (300, 300), "volume": (1.0, 1.0)}
    return {
        "kind": "md",
        "name": "warm",
        "data": start / "cell.extxyz",
        "segment": [segment],
        "every": 0.01,
        "minimise": 0,
    } | changes


def labelled_pool(start: Path) -> dict:
    return {"kind": "file", "name": "pool", "path": start / "data.extxyz.xz"}


def options(start: Path, folder: Path, **changes) -> LoopOptions:
    given = {
        "data": [start / "data.extxyz.xz"],
        "output": folder,
        "source": [md(start)],
        "reference": REFERENCE,
        "fit": FIT,
        "committee": 2,
        "workers": 1,
        **WIDE,
    }
    return LoopOptions(**(given | changes))


def committee(start: Path, *names: str) -> list[Path]:
    return [start / f"{name}.model" for name in names]


@pytest.fixture(scope="module", autouse=True)
def _maces():
    with forked.maces():
        yield


@pytest.fixture
def in_process():
    """Explore in this process: starting another one takes longer than what it does."""
    with forked.pools():
        yield


# --- parts ---


def test_every_frame_is_of_one_sort_and_what_is_no_number_has_failed():
    deviations = np.array([0.0, 0.19, 0.2, 0.3999, 0.4, 7.0, np.nan])
    sorts = explore.classify(deviations, 0.2, 0.4)
    assert {name: found.tolist() for name, found in sorts.items()} == {
        "accurate": [0, 1],
        "candidate": [2, 3],
        "failed": [4, 5, 6],
    }


def test_bounds_must_rise(start, tmp_path):
    for changes in ({"lower": 0.4, "upper": 0.2}, {"lower": 0.1, "upper": 2.0, "stop": 1.0}):
        with pytest.raises(ValueError, match=r"must be above (lower|upper)"):
            options(start, tmp_path, **changes)


def test_trajectory_ends_where_the_committee_parts(start, tmp_path, in_process):
    names = [str(path) for path in committee(start, "1", "2")]
    free = options(start, tmp_path / "free")
    found = explore.explore(free, 1, names, tmp_path / "free")
    assert len(found.frames) == 4
    assert not found.stopped
    assert np.isfinite(found.deviations).all()
    tight = options(start, tmp_path, lower=1e-9, upper=1e-8, stop=0.999 * found.deviations[0])
    ended = explore.explore(tight, 1, names, tmp_path / "tight")
    assert len(ended.frames) == 1
    assert "at step 10, beyond stop" in ended.stopped["warm"]
    assert ended.deviations[0] == pytest.approx(found.deviations[0], rel=1e-3)
    # Read back, not run again; another iteration has other velocities.
    before = (tmp_path / "free" / "warm" / "trajectory.extxyz").read_bytes()
    again = explore.explore(free, 1, names, tmp_path / "free")
    assert (tmp_path / "free" / "warm" / "trajectory.extxyz").read_bytes() == before
    assert again.deviations.tolist() == found.deviations.tolist()
    other = explore.explore(free, 2, names, tmp_path / "other")
    assert np.abs(other.frames[0].positions - found.frames[0].positions).max() > 1e-3


def test_the_committee_and_what_it_drives_have_the_loops_device(start, tmp_path, in_process):
    if import_torch().cuda.is_available():
        pytest.skip("has the GPU that must be lacking")
    names = [str(path) for path in committee(start, "1", "2")]
    wanted = options(start, tmp_path, device="cuda")
    assert explore.sample_options(wanted, 1, names[0]).device == "cuda"
    with pytest.raises(UsageError, match="--device cuda: torch sees no CUDA GPU here"):
        explore.explore(wanted, 1, names, tmp_path / "explore")


def test_selection_leaves_out_what_has_labels(start):
    from lbpsi_driver.training.models import mace_calculator

    known = store.read_frames(start / "data.extxyz.xz")
    calculator = mace_calculator([str(start / "1.model")])
    assert explore.select(known, known, 5, calculator) == []
    # Two that are far from each other and from what is labelled, one that is close to it.
    squeezed, stretched, near = known[3].copy(), known[4].copy(), known[5].copy()
    squeezed.set_cell(squeezed.cell * 0.9, scale_atoms=True)
    stretched.set_cell(stretched.cell * 1.2, scale_atoms=True)
    near.positions += 1e-3
    candidates = [near, squeezed, known[6], stretched, squeezed.copy()]
    assert explore.select(candidates, known, 2, calculator) == [1, 3]


def test_a_strained_frame_goes_where_its_parent_goes(start, tmp_path):
    strain = {"kind": "strain", "name": "strained", "of": ["warm"], "frames": 1}
    wanted = options(start, tmp_path, source=[md(start, split="valid"), strain])
    frame = cell()
    frame.info = {store.ID: "strained/0", store.TRAJECTORY: "warm", store.STEP: 10}
    named = explore.renamed(frame, 3, wanted.source)
    assert named.info == {
        store.ID: "iter-03/strained/0",
        store.TRAJECTORY: "iter-03/warm",
        store.SPLIT: "valid",
        store.STEP: 10,
    }


def test_figure_of_deviations(tmp_path):
    path = tmp_path / "deviations.png"
    loop_result.plot([[0.1, 0.3, float("nan")], [0.0, 0.05], [float("nan")]], 0.2, 0.4, path)
    assert path.read_bytes().startswith(b"\x89PNG")


# --- the loop ---


def run(wanted: LoopOptions, **how):
    from lbpsi_driver.training.loop import loop

    return loop(wanted, **how)


@pytest.fixture(scope="module")
def looped(start, tmp_path_factory):
    """Fit, explore, select, label; refit, where it is killed; explore, and the budget is spent."""
    folder = tmp_path_factory.mktemp("loop") / "run"
    wanted = options(start, folder, budget=2, epochs_more=1)
    kill_when(wanted, folder / "iter-02" / "member-2" / "mace")
    return wanted, run(wanted)


def kill_when(wanted: LoopOptions, path: Path) -> None:
    """Run the loop in another process and kill -9 it as soon as a file is there."""
    with forked.pools():
        process = forked.start(run, wanted)
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_it_fits_explores_labels_and_refits(looped):
    wanted, result = looped
    assert result.ended == "budget"
    assert result.reason.startswith("not converged at the end of the budget")
    first, second = result.iterations
    for record in (first, second):
        assert record.frames == record.accurate + record.candidate + record.failed == 4
        assert len({path.read_bytes() for path in record.models}) == 2
    assert (first.selected, first.labelled, second.selected) == (2, 2, 0)
    assert first.forces_rmse > 0
    assert result.models == second.models
    stored = json.loads((wanted.output / "loop.json").read_text())
    assert (stored["ended"], len(stored["iterations"])) == ("budget", 2)
    assert result.figure.is_file()
    columns = [column._cells for column in result.table().columns]
    assert columns[0] == ["1", "2"]
    # The refit has gone on from the member before, not from random weights.
    fitted = json.loads((wanted.output / "iter-02" / "member-2" / "manifest.json").read_text())
    given = fitted["runs"]["fit"]["options"]
    assert given["foundation"] == str(first.models[1])
    assert given["epochs"] == 1
    assert len(given["data"]) == 2


def test_labels_are_the_references_and_new(looped):
    wanted, result = looped
    assert result.data == (*wanted.data, wanted.output / "iter-01" / "label" / "labelled.extxyz.xz")
    frames = store.read_frames(result.data[1])
    for frame in frames:
        assert frame.info[store.SPLIT] == "train"
        assert frame.info[store.ID].startswith("iter-01/warm/")
        frame.calc = LennardJones(**LJ)
        assert frame.arrays[store.FORCES] == pytest.approx(frame.get_forces(), abs=2e-4)
        assert frame.info[store.ENERGY] == pytest.approx(frame.get_potential_energy(), abs=2e-4)
        assert frame.info[store.STRESS] == pytest.approx(frame.get_stress(), abs=1e-5)
    assert len({frame.info[store.ID] for frame in frames}) == 2


def test_it_goes_on_where_it_was(looped, tmp_path, in_process):
    wanted, result = looped
    folder = tmp_path / "run"
    shutil.copytree(wanted.output, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["runs"]["loop"] |= {"state": "running", "result": None}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "iter-02" / "iteration.json").unlink()
    (folder / "iter-02" / "explore" / "warm" / "deviations.json").unlink()
    kept = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.name in ("member-1.model", "member-2.model", "trajectory.extxyz")
        or path.suffix == ".xz"
    }
    assert len(kept) >= 4 + 2 + 2
    again = run(wanted.model_copy(update={"output": folder, "workers": 2}))
    for now, before in zip(again.iterations, result.iterations, strict=True):
        assert now.model_dump(exclude={"models", "median", "largest"}) == before.model_dump(
            exclude={"models", "median", "largest"}
        )
        assert now.median == pytest.approx(before.median, rel=1e-4)
    assert {path: path.read_bytes() for path in kept} == kept
    assert all(path.is_relative_to(folder) for one in again.iterations for path in one.models)


def test_another_configuration_is_refused(looped):
    wanted, result = looped
    assert run(wanted) == result
    with pytest.raises(UsageError, match=r"with --lower .*--force"):
        run(wanted.model_copy(update={"lower": 0.1}))


def test_a_committee_that_agrees_has_converged(start, tmp_path, in_process):
    models = committee(start, "1", "twin")
    result = run(options(start, tmp_path, models=models))
    assert result.ended == "converged"
    assert result.iterations[0].accurate == result.iterations[0].frames == 4
    assert result.models == tuple(path.resolve() for path in models)
    assert not (tmp_path / "iter-01" / "label").exists()


def test_a_committee_that_fails_everywhere_has_not(start, tmp_path, in_process):
    bounds = {"lower": 1e-9, "upper": 1e-8, "stop": 1e-7}
    models = committee(start, "1", "2")
    result = run(options(start, tmp_path, models=models, **bounds))
    assert result.ended == "no candidates"
    assert result.reason.startswith("not converged")
    record = result.iterations[0]
    assert (record.frames, record.failed, list(record.stopped)) == (1, 1, ["warm"])


def test_frames_that_have_labels_are_no_candidates(start, tmp_path, in_process):
    models = committee(start, "1", "2")
    result = run(options(start, tmp_path, models=models, source=[labelled_pool(start)]))
    assert result.ended == "no candidates"
    assert (result.iterations[0].candidate, result.iterations[0].selected) == (10, 0)


def test_iterations_end_before_labels_that_nobody_would_learn(start, tmp_path, in_process):
    models = committee(start, "1", "2")
    result = run(options(start, tmp_path, models=models, iterations=1))
    assert result.ended == "iterations"
    assert (result.iterations[0].candidate, result.iterations[0].selected) == (4, 0)


def test_without_data_or_committee_there_is_nothing_to_begin_with(start, tmp_path):
    with pytest.raises(UsageError, match="--data is missing"):
        run(options(start, tmp_path / "none", data=[]))
    with pytest.raises(UsageError, match="--models: a committee of one"):
        run(options(start, tmp_path / "none", models=committee(start, "1")))
    assert not (tmp_path / "none").exists()


def test_a_broken_member_is_named_before_any_source(start, tmp_path):
    half = tmp_path / "half.model"
    half.write_bytes((start / "1.model").read_bytes()[:2000])
    for models, why in (
        ([half, half], rf"^--models {half}: not a MACE model, or one that was cut off; give"),
        ([start / "1.model", half], rf"^--models {half}: not a MACE model"),
        (committee(start, "1", "1"), r"^--models .*1\.model: is there twice"),
        (committee(start, "1", "3"), r"^--models .*3\.model: neither a file .* a \.model file$"),
    ):
        for dry_run in (True, False):
            with pytest.raises(UsageError, match=why):
                run(options(start, tmp_path / "out", models=models), dry_run=dry_run)
    assert not (tmp_path / "out").exists()


def test_a_run_file_gives_sources_and_fit_to_all_stages(start, tmp_path, capsys):
    file = tmp_path / "run.toml"
    text = f"""
        [train]
        data = ["{start / "data.extxyz.xz"}"]
        [train.reference]
        kind = "ase"
        calculator = "ase.calculators.lj:LennardJones"
        [[train.source]]
        kind = "file"
        name = "pool"
        path = "{start / "data.extxyz.xz"}"
        [train.fit]
        channels = 4
        [train.loop]
        output = "{tmp_path / "out"}"
    """
    file.write_text(text)
    assert cli.main(["train", "loop", "--config", str(file), "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    file.write_text(text.replace("channels = 4", "channels = 0"))
    assert cli.main(["train", "loop", "--config", str(file), "--dry-run"]) == 2
    assert "fit.channels = 0" in capsys.readouterr().err
