"""Real fits by mace_run_train at toy size."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
import tiny_mace
import toy_labels

pytest.importorskip("mace", reason="needs the [mace] extra")

from lbpsi_driver import potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import e0s, mace_run
from lbpsi_driver.training.fit import fit
from lbpsi_driver.training.frames import read_frames, write_frames
from lbpsi_driver.training.mace_config import configuration
from lbpsi_driver.training.models import mace_calculator
from lbpsi_driver.training.options import FitOptions

pytestmark = pytest.mark.mace

TINY = {
    "channels": 4,
    "max_ell": 1,
    "correlation": 1,
    "radial": (8,),
    "bessel": 4,
    "cutoff": 4.0,
    "batch": 4,
}


@pytest.fixture(scope="module", autouse=True)
def _maces():
    """MACE is forked, but where a test starts the command line."""
    with forked.maces():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "labelled.extxyz.xz"
    write_frames(path, toy_labels.frames())
    return path


@pytest.fixture(scope="module")
def scratch(data, tmp_path_factory):
    """A fit from scratch: its folder and its result."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    return folder, fit(FitOptions(data=(data,), output=folder, epochs=5, decay=0.99, **TINY))


def lines(folder: Path) -> list[dict]:
    (path,) = (folder / "mace" / "results").glob("*.txt")
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def evaluated(model: Path, frames, **more) -> np.ndarray:
    """Energies an atom and forces by MACE's ASE calculator, in float64."""
    calculator = mace_calculator([str(model)], dtype="float64", **more)
    energies = [calculator.get_potential_energy(atoms) / len(atoms) for atoms in frames]
    forces = [calculator.get_forces(atoms) for atoms in frames]
    return np.array(energies), np.array(forces)


def labels(frames) -> tuple[np.ndarray, np.ndarray]:
    energies = [atoms.info["REF_energy"] / len(atoms) for atoms in frames]
    return np.array(energies), np.array([atoms.arrays["REF_forces"] for atoms in frames])


def test_model_has_the_errors_that_are_reported(scratch, data):
    folder, result = scratch
    frames = read_frames(data)
    for name, errors, relative in (("train", result.train, 0.02), ("valid", result.valid, 1e-3)):
        own = [atoms for atoms in frames if atoms.info["split"] == name]
        assert errors.frames == len(own)
        for found, label, reported in zip(
            evaluated(result.model, own),
            labels(own),
            (errors.energy, errors.forces),
            strict=True,
        ):
            rmse = np.sqrt(np.mean((found - label) ** 2))
            assert reported == pytest.approx(rmse, rel=relative, abs=1e-4)
    assert result.valid.stress > 0
    assert result.epochs == 5
    assert result.ended == "epochs"
    assert result.elements == ["Li", "B", "P", "S", "I"]
    assert json.loads((folder / "fit.json").read_text())["sha256"] == result.sha256
    assert (folder / "losses.png").stat().st_size > 10_000
    curve = [row["loss"] for row in lines(folder) if row["mode"] == "eval"]
    assert result.best_epoch == 1 + int(np.argmin(curve[1:]))
    assert str(result.table().title).endswith(
        f"best of 5 epochs is {result.best_epoch}, by the loss of the validation frames"
    )


def test_model_is_exported_as_it_is(scratch, tmp_path):
    _, result = scratch
    potential.export(result.model, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size > 0


def test_test_frames_are_not_given_to_mace(scratch, data):
    folder, _ = scratch
    given = [read_frames(folder / "inputs" / f"{name}.extxyz") for name in ("train", "valid")]
    assert [len(frames) for frames in given] == [16, 4]
    held = {a.info["REF_energy"] for a in read_frames(data) if a.info["split"] == "test"}
    assert held.isdisjoint(atoms.info["REF_energy"] for frames in given for atoms in frames)


def test_mace_was_told_every_hyper_parameter(scratch):
    folder, _ = scratch
    (log,) = (folder / "mace" / "logs").glob("*_debug.log")
    told = re.search(r"Configuration: Namespace\((.*)\)", log.read_text())[1]
    wanted = configuration(FitOptions(epochs=5, decay=0.99, **TINY))
    for key, value in wanted.items():
        if key not in ("start_stage_two",):
            assert f"{key}={value!r}," in told.replace('"', "'") + ",", key


def test_finished_fit_is_not_run_again(scratch, data):
    folder, result = scratch
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    options = FitOptions(data=(data,), output=folder, epochs=5, decay=0.99, **TINY)
    assert fit(options) == result
    now = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert now == before
    with pytest.raises(UsageError, match="--epochs 5, not 6"):
        fit(options.model_copy(update={"epochs": 6}))


SHIFT_EV = {"Li": -190.0, "B": -70.0, "P": -180.0, "S": -275.0, "I": -310.0}


def shifted(path: Path, target: Path) -> list:
    """The frames as another reference would label them: by hundreds of eV an element."""
    frames = read_frames(path)
    for atoms in frames:
        atoms.info["REF_energy"] += sum(SHIFT_EV[symbol] for symbol in atoms.symbols)
    write_frames(target, frames)
    return frames


def test_refit_leaves_no_shift_and_patience_keeps_the_best(scratch, data, tmp_path):
    """The foundation under another reference, at a rate of nothing: it is to stay what it was.

    Its elements are those of the data, so that MACE by itself would keep its E0s too, and a single
    process of MACE does not end by its patience.
    """
    _, before = scratch
    frames = shifted(data, tmp_path / "other.extxyz")
    result = fit(
        FitOptions(
            data=(tmp_path / "other.extxyz",),
            output=tmp_path / "run",
            foundation=str(before.model),
            multihead=False,
            epochs=500,
            patience=3,
            rate=1e-30,
            batch=4,
            average=None,
            loss="weighted",
        )
    )
    assert result.ended == "patience"
    assert result.best_epoch == 1
    assert 4 <= result.epochs < 100
    assert result.valid.stress is None
    assert result.foundation_sha256 == before.sha256
    # float32 holds totals of 2000 eV to 0.1 meV
    initial = next(row for row in lines(tmp_path / "run") if row["mode"] == "eval")
    assert initial["epoch"] is None
    assert initial["rmse_e_per_atom"] < before.valid.energy + 0.02
    assert result.valid.energy == pytest.approx(initial["rmse_e_per_atom"], abs=1e-3)

    energies, forces = evaluated(result.model, frames)
    assert forces == pytest.approx(evaluated(before.model, frames)[1], abs=1e-4)
    train = [atoms.info["split"] == "train" for atoms in frames]
    error = energies - labels(frames)[0]
    assert error[train].mean() == pytest.approx(0, abs=1e-4)
    assert np.abs(error).max() < 0.2


def test_energies_of_a_foundation_are_those_of_its_calculator(scratch, data):
    _, result = scratch
    frames = read_frames(data)[:5]
    found = e0s.energies(e0s.foundation(result.model), frames)
    assert found / 8 == pytest.approx(evaluated(result.model, frames)[0], abs=1e-9)


def test_one_composition_takes_the_nearest_e0s():
    counts = np.tile([4.0, 2.0, 2.0], (5, 1))
    start = np.array([-1.0, -300.0, -20.0])
    leftover = counts @ start + 8.0
    found = e0s.least_squares(counts, leftover, start)
    assert counts @ found == pytest.approx(leftover)
    # The nearest of all that fit lies along the composition.
    assert found - start == pytest.approx(np.array([4.0, 2.0, 2.0]) * 8 / 24)


def test_more_compositions_give_each_element_its_own():
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 9, (30, 3)).astype(float)
    wanted = np.array([-190.0, -275.0, -310.0])
    found = e0s.least_squares(counts, counts @ wanted, np.zeros(3))
    assert found == pytest.approx(wanted)


def test_multihead_replays_the_foundations_data(scratch, data, tmp_path):
    _, before = scratch
    frames = shifted(data, tmp_path / "other.extxyz")
    result = fit(
        FitOptions(
            data=(tmp_path / "other.extxyz",),
            output=tmp_path / "run",
            foundation=str(before.model),
            replay=data,
            epochs=2,
            batch=4,
            rate=1e-4,
            average=0.9,
        )
    )
    assert potential.heads(result.model) == ["pt_head", "Default"]
    ours, _ = evaluated(result.model, frames[:6])
    assert ours == pytest.approx(labels(frames[:6])[0], abs=0.2)
    theirs, _ = evaluated(result.model, frames[:6], head="pt_head")
    assert theirs == pytest.approx(labels(read_frames(data)[:6])[0], abs=0.2)
    assert result.valid.energy < 0.2
    (log,) = (tmp_path / "run" / "mace" / "logs").glob("*_debug.log")
    assert "lr=0.0001" in log.read_text()
    assert "ema_decay=0.9," in log.read_text()


def reached(folder: Path) -> int:
    """How many epochs MACE has told of."""
    found = (folder / "mace" / "results").glob("*.txt")
    rows = [line for path in found for line in path.read_text().splitlines()]
    return sum('"mode": "eval"' in line and '"epoch": null' not in line for line in rows)


def kill(options: FitOptions, epochs: int) -> None:
    """Begin or continue a fit, and kill it after so many more epochs."""
    wanted = reached(options.output) + epochs
    process = forked.start(fit, options)
    deadline = time.monotonic() + 300
    while reached(options.output) < wanted:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = reached(options.output)
    time.sleep(0.3)
    assert reached(options.output) == before, "MACE went on when its parent was killed"


def test_fit_that_is_killed_on_a_plateau_goes_on_there(scratch, data, tmp_path, capfd, monkeypatch):
    """A model that is right already, at a rate that grows: each epoch is worse than the one before.

    MACE alone would go on from the first, and make the model of the last.
    """
    _, before = scratch
    frames = read_frames(data)
    calculator = mace_calculator([str(before.model)], dtype="float64")
    for atoms in frames:
        atoms.info["REF_energy"] = calculator.get_potential_energy(atoms)
        atoms.info["REF_stress"] = calculator.get_stress(atoms)
        atoms.arrays["REF_forces"] = calculator.get_forces(atoms)
    write_frames(tmp_path / "own.extxyz", frames)
    options = FitOptions(
        data=(tmp_path / "own.extxyz",),
        output=tmp_path / "run",
        foundation=str(before.model),
        multihead=False,
        e0s="keep",
        epochs=16,
        patience=16,
        rate=1e-4,
        decay=1.4,
        batch=4,
        average=None,
        threads=1,
        doubts="warn",
    )
    kill(options, 5)
    kill(options, 3)
    done = max(row["epoch"] for row in lines(options.output) if row["epoch"] is not None) + 1
    monkeypatch.setenv("LBPSI_PROGRESS", "plain")
    capfd.readouterr()
    result = fit(options)
    shown = re.search(r"fit: (\d+) % (\d+)/16 epochs", capfd.readouterr().err)
    rows = [row for row in lines(options.output) if row["mode"] == "eval"]
    epochs = [row["epoch"] for row in rows]
    starts = [epochs[i + 1] for i, epoch in enumerate(epochs[:-1]) if epoch is None]
    # the last checkpoint may be half written
    assert 4 <= starts[1] <= 6
    assert done - 1 <= starts[2] <= done
    assert int(shown[2]) == starts[2] + 1
    assert int(shown[1]) == round(100 * int(shown[2]) / 16)
    assert (epochs[-1], result.epochs, result.best_epoch) == (15, 16, 1)

    checkpoints = {epoch_of(path): path for path in options.output.rglob("checkpoints/*.pt")}
    assert set(checkpoints) <= {0, 14, 15}
    newest = pytest.importorskip("torch").load(checkpoints[15])
    assert newest["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-4 * 1.4**15)

    curve = {row["epoch"]: row for row in rows}
    valid = [atoms for atoms in frames if atoms.info["split"] == "valid"]
    rmse = np.sqrt(np.mean((evaluated(result.model, valid)[1] - labels(valid)[1]) ** 2))
    assert curve[0]["rmse_f"] < 0.5 * curve[15]["rmse_f"]
    assert result.valid.forces == pytest.approx(curve[0]["rmse_f"])
    assert curve[0]["rmse_f"] == pytest.approx(rmse, rel=0.02)


def test_killed_fit_goes_on(data, tmp_path):
    """Killed in stage two, the newest checkpoint cut off besides."""
    table = {**TINY, "epochs": 14, "stage_two": 5, "threads": 1, "rate": 0.003, "radial": [8]}
    config = tmp_path / "run.toml"
    config.write_text(
        "[train.fit]\n"
        + f"data = ['{data}']\noutput = '{tmp_path / 'run'}'\n"
        + "".join(f"{key} = {value}\n" for key, value in table.items())
    )
    command = [sys.executable, "-m", "lbpsi_driver", "train", "fit", "--config", str(config)]

    given = {key: tuple(value) if key == "radial" else value for key, value in table.items()}
    kill(FitOptions(data=(data,), output=tmp_path / "run", **given), 9)
    newest = max((tmp_path / "run" / "mace" / "checkpoints").glob("*_swa.pt"), key=epoch_of)
    newest.write_bytes(newest.read_bytes()[:-1000])

    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    epochs = [row["epoch"] for row in lines(tmp_path / "run") if row["mode"] == "eval"]
    starts = [epochs[i + 1] for i, epoch in enumerate(epochs[:-1]) if epoch is None]
    assert starts[0] == 0
    # the checkpoint of the ninth epoch was cut off, that of a tenth may be half written
    assert starts[1] >= 8
    assert result["epochs"] == 14
    assert epochs[-1] == 13
    assert result["best_epoch"] > 5
    model = tmp_path / "run" / "fitted.model"
    assert model.read_bytes() == (tmp_path / "run/mace/fitted_stagetwo.model").read_bytes()
    valid = [atoms for atoms in read_frames(data) if atoms.info["split"] == "valid"]
    rmse = np.sqrt(np.mean((evaluated(model, valid)[1] - labels(valid)[1]) ** 2))
    assert result["valid"]["forces"] == pytest.approx(rmse, rel=1e-3)


def epoch_of(path: Path) -> int:
    return int(re.search(r"epoch-(\d+)", path.name)[1])


def test_dry_run_writes_what_mace_would_get_and_says_so(data, tmp_path, caplog):
    options = FitOptions(data=(data,), output=tmp_path / "run", epochs=1, **TINY)
    with caplog.at_level(logging.INFO):
        assert fit(options, dry_run=True) is None
    told = f"written: {tmp_path / 'run'}: mace.yaml and the frames in inputs; nothing was fitted"
    assert told in caplog.text
    written = {path.name for path in (tmp_path / "run").rglob("*")}
    assert written == {"inputs", "train.extxyz", "valid.extxyz", "e0s.json", "mace.yaml"}


def test_failure_is_told_in_maces_last_words(data, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("has the GPU that must be lacking")
    options = FitOptions(data=(data,), output=tmp_path, device="cuda", epochs=1, **TINY)
    with pytest.raises(
        UsageError, match=r"failed: \w*Error: .*CUDA.*messages are in .*log"
    ) as told:
        fit(options)
    assert "\n" not in str(told.value)
    assert "Traceback" in (tmp_path / "mace" / "output.log").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"foundation": tiny_mace.SHIPPED}, r"--replay FILE, or --no-multihead"),
        ({"replay": "here"}, "--replay: goes with a foundation"),
        ({"e0s": "keep"}, "--e0s keep.*--foundation"),
        ({"stage_two": 5, "epochs": 5}, "--stage-two 5.*--epochs 5"),
        ({"batch": 17}, "--batch 17: larger than the training set of 16 frames"),
        (
            {"foundation": tiny_mace.SHIPPED, "replay": "a", "multihead": False},
            "--replay: goes with",
        ),
        ({"foundation": tiny_mace.SHIPPED, "replay": "a", "loss": "huber"}, "--loss huber"),
        (
            {"foundation": "tiny", "multihead": False},
            rf"--foundation tiny: neither.*{tiny_mace.SHIPPED}.*small",
        ),
        (
            {"foundation": tiny_mace.SHIPPED, "multihead": False, "foundation_head": "no"},
            "--foundation-head no: .* one of: Default",
        ),
        ({"data": ("missing.extxyz",)}, "missing.extxyz"),
    ],
)
def test_contradictions_are_refused(data, tmp_path, changes, words):
    given = {"data": (data,), "output": tmp_path / "run"} | changes
    with pytest.raises(UsageError, match=words):
        fit(FitOptions(**given), dry_run=True)


def test_foundation_with_other_elements_than_the_data(data, tmp_path):
    """With fewer it is refused; with more it is cut down, or kept whole on demand."""
    options = {"data": (data,), "multihead": False}
    small = tiny_mace.write(tmp_path / "small.model", numbers=[3, 15, 16, 53])
    with pytest.raises(UsageError, match="holds B, which the model lacks; it knows Li, P, S, I"):
        fit(FitOptions(output=tmp_path / "no", foundation=str(small), **options), dry_run=True)
    large = tiny_mace.write(tmp_path / "large.model", numbers=[1, 3, 5, 8, 15, 16, 53])
    for keep, numbers in ((False, {3, 5, 15, 16, 53}), (True, {1, 3, 5, 8, 15, 16, 53})):
        folder = tmp_path / str(keep)
        options |= {"output": folder, "keep_elements": keep}
        fit(FitOptions(foundation=str(large), **options), dry_run=True)
        found = json.loads((folder / "inputs" / "e0s.json").read_text())
        assert set(map(int, found)) == numbers
        assert (
            f"foundation_model_elements: {str(keep).lower()}" in (folder / "mace.yaml").read_text()
        )
    start = e0s.foundation(large)
    assert found["8"] == pytest.approx(start.e0s[start.elements.index("O")])


def test_elements_of_validation_frames_alone_are_no_matter_of_a_model(data, tmp_path):
    frames = read_frames(data)
    for atoms in frames:
        atoms.info["split"] = "valid" if "P" in atoms.symbols else "train"
    write_frames(tmp_path / "data.extxyz", frames)
    options = FitOptions(data=(tmp_path / "data.extxyz",), output=tmp_path / "run", **TINY)
    with pytest.raises(UsageError, match=r"holds P, but no training frame holds P: give") as told:
        fit(options, dry_run=True)
    assert "the model" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_replay_of_another_reference_is_refused(data, scratch, tmp_path):
    _, before = scratch
    shifted(data, tmp_path / "other.extxyz")
    options = FitOptions(
        data=(data,),
        output=tmp_path / "run",
        foundation=str(before.model),
        replay=tmp_path / "other.extxyz",
        batch=4,
    )
    with pytest.raises(UsageError, match=r"--replay .* eV/atom off the foundation's"):
        fit(options)


def test_foundation_by_name_says_that_it_needs_a_download(monkeypatch, tmp_path):
    """Without a network, which a proxy that is not there stands for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"--foundation small-0b2: needs a download.*its path"):
        e0s.find("small-0b2")


def test_options_that_a_foundation_overrides_are_named(data, tmp_path, caplog):
    options = FitOptions(
        data=(data,), output=tmp_path, foundation=tiny_mace.SHIPPED, multihead=False, channels=64
    )
    with caplog.at_level(logging.WARNING):
        fit(options, dry_run=True)
    assert "--channels has no effect: a fine-tuned model keeps" in caplog.text


def test_a_loss_that_is_no_number_leaves_no_model_later_either(tmp_path):
    results = tmp_path / "mace" / "results"
    results.mkdir(parents=True)
    row = {"mode": "eval", "head": "Default", "epoch": 3, "time": 1.0}
    row |= {"loss": float("nan"), "rmse_e_per_atom": 0.1, "rmse_f": 0.1}
    (results / "a_run-1_train.txt").write_text(json.dumps(row) + "\n")
    training = mace_run.Training(tmp_path, "a", 1, 5, 9, None, 1)
    with pytest.raises(UsageError, match="no longer a number at epoch 4; give a lower --rate"):
        training.begin()
    assert list(tmp_path.rglob("*.model")) == []


def test_one_composition_leaves_e0s_open(data, tmp_path, caplog):
    frames = [atoms for atoms in read_frames(data) if atoms.info["trajectory"] in ("run1", "run4")]
    write_frames(tmp_path / "one.extxyz", frames)
    options = FitOptions(data=(tmp_path / "one.extxyz",), output=tmp_path / "run", **TINY)
    with caplog.at_level(logging.WARNING):
        fit(options, dry_run=True)
    (told,) = (record.message for record in caplog.records)
    assert re.match(r"E0s: the data has one composition of 3 elements, .* lone atoms", told)
    caplog.clear()
    foundation = tiny_mace.write(tmp_path / "tiny.model", numbers=[3, 15, 16])
    update = {"foundation": str(foundation), "multihead": False, "output": tmp_path / "more"}
    fit(options.model_copy(update=update), dry_run=True)
    assert "one composition" not in caplog.text
