import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import interrupt
import numpy as np
import pytest
import tiny_mace
import toy_labels
import troubled_calculator as troubled
from ase.calculators.lj import LennardJones

from lbpsi_driver import manifest, potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.label import digest_of, label
from lbpsi_driver.training.options import LabelOptions

LJ = {"sigma": 2.7, "epsilon": 0.15, "rc": 5.5, "smooth": True}
LENNARD_JONES = {
    "kind": "ase",
    "calculator": "ase.calculators.lj:LennardJones",
    "arguments": LJ,
    "dispersion": False,
}


def bare_frames(number: int = 6):
    made = []
    for atoms in toy_labels.frames(number):
        atoms.info = {key: value for key, value in atoms.info.items() if not key.startswith("REF_")}
        del atoms.arrays[store.FORCES]
        made.append(store.rounded(atoms))
    return made


def options(folder: Path, frames=None, **changes) -> LabelOptions:
    data = folder / "frames.extxyz.xz"
    if frames is not None or not data.exists():
        store.write_frames(data, frames or bare_frames())
    given = {"data": data, "output": folder / "out", "reference": LENNARD_JONES, "workers": 1}
    return LabelOptions(**(given | changes))


def lines(folder: Path) -> list[dict]:
    return [json.loads(text) for text in (folder / "out/labels.jsonl").read_text().splitlines()]


def cued(*cues: str):
    """A frame for each cue, the first atom's element."""
    made = bare_frames(len(cues))
    for atoms, cue in zip(made, cues, strict=True):
        atoms.symbols[0] = cue
    return made


@pytest.fixture
def troubling(tmp_path, monkeypatch):
    """A reference with troubles, and its log."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    log = tmp_path / "log"

    def make(**arguments):
        return {
            "kind": "ase",
            "calculator": "troubled_calculator:Troubled",
            "arguments": {"log": str(log), **arguments},
            "dispersion": False,
        }

    return make, log


def test_labels_are_the_calculators(tmp_path):
    frames = bare_frames()
    result = label(options(tmp_path, frames, workers=2))
    assert (result.frames, result.labelled, result.waiting) == (6, 6, 0)
    found = store.read_frames(result.file)
    assert [atoms.info["frame_id"] for atoms in found] == [a.info["frame_id"] for a in frames]
    for atoms, frame in zip(found, frames, strict=True):
        assert store.has_labels(atoms)
        assert atoms.info.items() >= frame.info.items()
        assert digest_of(atoms) == digest_of(frame)
        assert "LennardJones" in atoms.info["reference"]
        assert "ase 3." in atoms.info["reference"]
        frame.calc = LennardJones(**LJ)
        assert atoms.info[store.ENERGY] == pytest.approx(frame.get_potential_energy(), abs=1e-12)
        assert np.abs(atoms.arrays[store.FORCES] - frame.get_forces()).max() < 1e-5
        assert atoms.info[store.STRESS] == pytest.approx(frame.get_stress(), rel=1e-6, abs=1e-9)
    assert json.loads((tmp_path / "out/set_aside.json").read_text()) == []
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("lab*")}
    # Other threads and workers are no other configuration; it is finished.
    changed = LENNARD_JONES | {"threads": 2}
    assert label(options(tmp_path, reference=changed, workers=1)) == result
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("lab*")}
    with pytest.raises(UsageError, match="other content of --data"):
        label(options(tmp_path, bare_frames(5)))


def test_failures_are_set_aside_with_their_reason(tmp_path, troubling, caplog):
    make, log = troubling
    cues = ("Li", troubled.RAISES, troubled.NOT_A_NUMBER, troubled.DIES, troubled.DIES_ONCE, "S")
    frames = cued(*cues)
    with caplog.at_level(logging.WARNING):
        result = label(options(tmp_path, frames, reference=make(), workers=2))
    ids = [atoms.info["frame_id"] for atoms in frames]
    assert [one.frame_id for one in result.set_aside] == ids[1:4]
    reasons = [one.reason for one in result.set_aside]
    assert reasons[0] == "ValueError: no such thing as sodium"
    assert reasons[1] == "energy that is not finite"
    assert reasons[2].startswith("the worker died twice: ")
    assert reasons[2].endswith("ended with code 3: out of luck")
    assert [atoms.info["frame_id"] for atoms in store.read_frames(result.file)] == [
        ids[0],
        ids[4],
        ids[5],
    ]
    assert sorted(log.read_text().split()).count(troubled.DIES) == 2
    listed = [one.model_dump() for one in result.set_aside]
    assert json.loads((tmp_path / "out/set_aside.json").read_text()) == listed
    assert "sodium" in str(result.table().caption)
    assert all(one in caplog.text for one in ids[1:4])


def test_frames_set_aside_are_tried_again_without_their_list(tmp_path, troubling):
    make, log = troubling
    one = options(tmp_path, cued("Li", *11 * [troubled.RAISES]), reference=make(), workers=1)
    first = label(one)
    assert len(first.set_aside) == 11
    begun = len(log.read_text().split())
    assert label(one) == first
    assert len(log.read_text().split()) == begun
    (tmp_path / "out/set_aside.json").unlink()
    # More failures than are taken for the reference's fault: one frame has its label already.
    assert label(one) == first
    assert len(log.read_text().split()) == begun + 11


def test_frame_that_takes_too_long_is_set_aside(tmp_path, troubling):
    make, log = troubling
    reference = make() | {"timeout": 0.05}
    frames = cued("Li", troubled.HANGS, "S")
    result = label(options(tmp_path, frames, reference=reference, workers=1))
    assert [one.frame_id for one in result.set_aside] == [frames[1].info["frame_id"]]
    assert result.set_aside[0].reason.startswith("no result after 0.05 minutes; [train.reference]")
    assert log.read_text().split() == ["Li", troubled.HANGS, "S"]


def test_labelled_file_cut_in_half_is_made_again(tmp_path):
    one = options(tmp_path)
    result = label(one)
    content = result.file.read_bytes()
    result.file.write_bytes(content[: len(content) // 2])
    assert label(one) == result
    assert result.file.read_bytes() == content


def test_no_label_at_all_is_an_error(tmp_path, troubling):
    make, _ = troubling
    with pytest.raises(UsageError, match=r"all 2 frames failed, the first .*sodium"):
        label(options(tmp_path, cued(*2 * [troubled.RAISES]), reference=make()))
    assert len(json.loads((tmp_path / "out/set_aside.json").read_text())) == 2
    many = options(tmp_path, cued(*12 * [troubled.RAISES]), reference=make(), output=tmp_path / "b")
    with pytest.raises(UsageError, match=r"the first 10 frames all failed: .*sodium"):
        label(many)


def test_damaged_and_foreign_lines_are_labelled_anew(tmp_path, caplog):
    whole = label(options(tmp_path))
    path = tmp_path / "out/labels.jsonl"
    kept = path.read_text().splitlines()
    other = json.loads(kept[3])
    damaged = [
        kept[0],
        kept[1][: len(kept[1]) // 2],
        kept[2].replace(str(json.loads(kept[2])["energy"]), "-99.0"),
        json.dumps(other | {"energy": 1.0}),
        kept[4],
        kept[5][:-1],
    ]
    assert len({*kept, *damaged}) == 10
    unfinish(tmp_path / "out")
    path.write_text("\n".join(damaged))
    with caplog.at_level(logging.WARNING):
        again = label(options(tmp_path))
    assert [f"line {n} is damaged" in caplog.text for n in (1, 2, 3, 4, 5, 6)] == [
        False,
        True,
        True,
        True,
        False,
        True,
    ]
    assert again == whole
    assert sorted(json.dumps(line) for line in lines(tmp_path)) == sorted(kept)


def unfinish(folder: Path) -> None:
    """As if it had been interrupted before its end."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["runs"]["label"]["state"] = "running"
    path.write_text(json.dumps(content))


def test_label_of_a_frame_that_changed_is_not_used(tmp_path, caplog):
    frames = bare_frames(2)
    label(options(tmp_path, frames))
    stale = lines(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    frames[0].positions[2, 1] += 0.001
    label(options(other, frames, workers=1))
    fresh = lines(other)
    unfinish(other / "out")
    (other / "out/labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in stale))
    with caplog.at_level(logging.WARNING):
        label(options(other))
    assert f"frame {frames[0].info['frame_id']} is another by now" in caplog.text
    by_id = {line["frame_id"]: line for line in lines(other)}
    assert all(by_id[line["frame_id"]] == line for line in fresh)


def test_interrupted_it_ends_at_once_and_goes_on(tmp_path, troubling):
    make, log = troubling
    slow = options(tmp_path, reference=make(wait=0.5))
    command = [
        sys.executable,
        "-c",
        "import sys; from lbpsi_driver.cli import main; sys.exit(main())",
        *("train", "label", "--config", str(tmp_path / "run.toml")),
    ]
    (tmp_path / "run.toml").write_text(
        f"[train]\nworkers = 2\n[train.label]\ndata = '{slow.data}'\noutput = '{slow.output}'\n"
        "[train.reference]\nkind = 'ase'\ncalculator = 'troubled_calculator:Troubled'\n"
        f"dispersion = false\narguments = {{log = '{log}', wait = 0.5}}\n"
    )
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=interrupt.heed
    )
    labels = slow.output / "labels.jsonl"
    while running.poll() is None and not (labels.exists() and labels.read_text().count("\n") >= 2):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "the same command continues" in said
    done = lines(tmp_path)
    assert 2 <= len(done) < 6
    begun = len(log.read_text().split())
    result = label(slow)
    assert result.labelled == 6
    assert len(log.read_text().split()) == begun + 6 - len(done)
    assert lines(tmp_path)[: len(done)] == done


def test_dry_run_counts_and_writes_nothing(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert label(options(tmp_path), dry_run=True) is None
    assert "6 of 6 frames are left" in caplog.text
    assert not (tmp_path / "out").exists()


def test_bad_data_are_refused(tmp_path):
    frames = bare_frames(3)
    frames[2].info["frame_id"] = frames[0].info["frame_id"]
    with pytest.raises(UsageError, match=r"frame 2 has the frame_id run0/0 of frame 0"):
        label(options(tmp_path, frames))
    with pytest.raises(UsageError, match=r"missing\.extxyz: .*No such file"):
        label(options(tmp_path, data=tmp_path / "missing.extxyz", output=tmp_path / "b"))


def test_foreign_frames_get_an_id(tmp_path):
    path = tmp_path / "foreign.extxyz"
    plain = bare_frames(2)
    for atoms in plain:
        atoms.info = {}
    ase.io.write(path, plain, parallel=False)
    found = store.read_frames(label(options(tmp_path, data=path)).file)
    assert [atoms.info["frame_id"] for atoms in found] == ["foreign.extxyz/0", "foreign.extxyz/1"]


def test_worker_that_cannot_start_is_one_error(tmp_path):
    missing = LENNARD_JONES | {"python": "/nowhere/python"}
    with pytest.raises(UsageError, match=r"python = /nowhere/python: No such file"):
        label(options(tmp_path, reference=missing))
    # The interpreter is no part of what the labels depend on.
    assert label(options(tmp_path)).labelled == 6


@pytest.mark.mace
def test_mace_model_by_its_shipped_name(tmp_path):
    pytest.importorskip("mace", reason="needs the [mace] extra")
    from lbpsi_driver.training.models import mace_calculator

    reference = {"kind": "mace", "model": tiny_mace.SHIPPED, "dispersion": False}
    frames = bare_frames(2)
    result = label(options(tmp_path, frames, reference=reference, workers=1))
    assert result.references[0].startswith(f"mace {tiny_mace.SHIPPED} sha256:")
    calculator = mace_calculator([tiny_mace.SHIPPED], dtype="float64")
    for atoms in store.read_frames(result.file):
        bare = atoms.copy()
        bare.calc = calculator
        assert atoms.info[store.ENERGY] == pytest.approx(bare.get_potential_energy(), abs=1e-5)
        assert np.abs(atoms.arrays[store.FORCES] - bare.get_forces()).max() < 1e-4
        assert atoms.info[store.STRESS] == pytest.approx(bare.get_stress(), abs=1e-6)


@pytest.mark.mace
def test_a_model_of_a_shipped_name_is_known_by_its_content(tmp_path, monkeypatch):
    """Another version of this package may ship another model by the name."""
    pytest.importorskip("mace", reason="needs the [mace] extra")
    model = tiny_mace.write(tmp_path / "toy.model", numbers=[3, 5, 15, 16, 53])
    monkeypatch.setattr(potential, "shipped", lambda: {"toy": model})
    one = options(tmp_path, bare_frames(2), reference={"kind": "mace", "model": "toy"})
    result = label(one)
    assert f"toy sha256:{manifest.sha256(model)[:12]}" in result.references[0]
    assert label(one) == result
    tiny_mace.write(model, numbers=[3, 5, 15, 16, 53], seed=2)
    with pytest.raises(UsageError, match=r"other content of --reference\.model; .*--force"):
        label(one)
    with pytest.raises(UsageError, match=r"reference\] model = none: neither a file nor a shipped"):
        label(options(tmp_path, reference={"kind": "mace", "model": "none"}, output=tmp_path / "b"))
