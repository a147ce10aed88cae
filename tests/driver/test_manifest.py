import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lbpsi_driver import manifest
from lbpsi_driver.config import BuildOptions, SweepOptions, UsageError


def options(folder: Path, **changes) -> SweepOptions:
    return SweepOptions(output=folder, **changes)


def test_new_continued_finished(tmp_path):
    run = manifest.open_run(tmp_path, "sweep", options(tmp_path))
    assert run.finished is None
    run.note(seeds=[1, 2])
    again = manifest.open_run(tmp_path, "sweep", options(tmp_path, threads=2))
    assert again.finished is None
    assert again.record["seeds"] == [1, 2]
    assert len(again.record["commands"]) == 2
    again.finish({"density": 2.0})
    assert manifest.open_run(tmp_path, "sweep", options(tmp_path)).finished == {"density": 2.0}
    content = json.loads((tmp_path / "manifest.json").read_text())["runs"]["sweep"]
    assert content["versions"]["lammps"]
    assert content["state"] == "finished"


def test_verbs_share_a_folder(tmp_path):
    manifest.open_run(tmp_path, "sweep", options(tmp_path)).finish({"a": 1})
    manifest.open_run(tmp_path, "build", BuildOptions(output=tmp_path)).finish({"b": 2})
    assert manifest.open_run(tmp_path, "sweep", options(tmp_path)).finished == {"a": 1}


def test_changed_option_names_itself(tmp_path):
    manifest.open_run(tmp_path, "sweep", options(tmp_path)).finish({})
    with pytest.raises(UsageError) as caught:
        manifest.open_run(tmp_path, "sweep", options(tmp_path, dump_every=0.2))
    message = str(caught.value)
    assert "--dump-every 0.1, not 0.2" in message
    assert "--force" in message
    assert "\n" not in message


def test_changed_input_is_noticed_and_a_moved_one_is_not(tmp_path):
    cell, moved, run = tmp_path / "cell", tmp_path / "moved", tmp_path / "run"
    cell.write_text("a")
    moved.write_text("a")
    manifest.open_run(run, "sweep", options(run, data=cell), inputs={"data": cell})
    manifest.open_run(run, "sweep", options(run, data=moved), inputs={"data": moved}).finish({})
    cell.write_text("b")
    with pytest.raises(UsageError, match="other content of --data"):
        manifest.open_run(run, "sweep", options(run, data=cell), inputs={"data": cell})


def test_missing_input(tmp_path):
    with pytest.raises(UsageError, match="missing: No such file"):
        manifest.open_run(
            tmp_path, "sweep", options(tmp_path), inputs={"data": tmp_path / "missing"}
        )


def test_forced_sets_the_old_aside(tmp_path):
    manifest.open_run(tmp_path, "sweep", options(tmp_path)).finish({"a": 1})
    (tmp_path / "history.dat").write_text("old")
    (tmp_path / "mine.txt").write_text("keep")
    run = manifest.open_run(
        tmp_path, "sweep", options(tmp_path, time=1), force=True, owns=["history.dat"]
    )
    assert run.finished is None
    assert not (tmp_path / "history.dat").exists()
    assert (tmp_path / "superseded-1" / "history.dat").read_text() == "old"
    assert '"a": 1' in (tmp_path / "superseded-1" / "manifest.json").read_text()
    assert (tmp_path / "mine.txt").exists()


def test_set_aside_keeps_files_of_one_name_apart(tmp_path):
    for name in ("T300", "T400"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trajectory.dump").write_text(name)
    aside = manifest.set_aside(tmp_path, ["T*/trajectory.dump"])
    for name in ("T300", "T400"):
        assert (aside / name / "trajectory.dump").read_text() == name
        assert not (tmp_path / name / "trajectory.dump").exists()


def test_conflict_is_refused_without_writing(tmp_path):
    folder = tmp_path / "run"
    manifest.refuse_conflict(folder, "sweep", options(folder))
    assert not folder.exists()
    manifest.open_run(folder, "sweep", options(folder)).finish({})
    before = {path: path.read_bytes() for path in folder.iterdir()}
    manifest.refuse_conflict(folder, "sweep", options(folder, threads=2))
    with pytest.raises(UsageError, match="--time 500, not 1; give another --output, or --force"):
        manifest.refuse_conflict(folder, "sweep", options(folder, time=1))
    with pytest.raises(UsageError, match=r"--time 500, not 1; .*a dry run sets nothing aside"):
        manifest.refuse_conflict(folder, "sweep", options(folder, time=1), force=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_new_run_replaces_its_own_record_alone(tmp_path):
    manifest.open_run(tmp_path, "sweep", options(tmp_path)).finish({"a": 1})
    cell = tmp_path / "cell"
    cell.write_text("a")
    for seed in (1, 2):
        chosen = BuildOptions(output=tmp_path, seed=seed)
        run = manifest.new_run(tmp_path, "build", chosen, {"cell": cell})
        before = json.loads((tmp_path / "manifest.json").read_text())["runs"]
        assert before.get("build", {}).get("options", {}).get("seed") == (None if seed == 1 else 1)
        run.finish({"b": seed})
    records = json.loads((tmp_path / "manifest.json").read_text())["runs"]
    assert records["sweep"]["result"] == {"a": 1}
    assert records["build"]["result"] == {"b": 2}
    assert records["build"]["configuration"]["sha256"] == {"cell": manifest.sha256(cell)}
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match=r"damaged.*; move it away or give another --output"):
        manifest.new_run(tmp_path, "build", chosen, {})


def test_records_written_at_once_are_all_kept(tmp_path):
    script = (
        "import sys; from pathlib import Path; from lbpsi_driver import locks, manifest\n"
        "from lbpsi_driver.config import SweepOptions\n"
        "run = manifest.open_run(Path(sys.argv[1]), sys.argv[2], SweepOptions())\n"
        "for number in range(50): run.note(number=number)\n"
    )
    verbs = ("sweep", "quench", "build")
    writers = [subprocess.Popen([sys.executable, "-c", script, tmp_path, verb]) for verb in verbs]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    records = json.loads((tmp_path / "manifest.json").read_text())["runs"]
    assert {verb: records[verb]["number"] for verb in verbs} == dict.fromkeys(verbs, 49)


def test_atomic_write_takes_text_and_bytes(tmp_path):
    for content, expected in (("Å", "Å".encode()), (b"\0\xff", b"\0\xff")):
        manifest.write_atomic(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == expected


@pytest.mark.parametrize("text", ["", "{", "[]", '{"runs": 3}', '{"runs": {"sweep": {}}}'])
def test_damaged_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match="damaged"):
        manifest.open_run(tmp_path, "sweep", options(tmp_path))
    run = manifest.open_run(tmp_path, "sweep", options(tmp_path), force=True)
    assert run.finished is None
    assert (tmp_path / "superseded-1" / "manifest.json").read_text() == text


def test_files_of_an_unknown_run_are_not_touched(tmp_path):
    (tmp_path / "history.dat").write_text("by hand")
    with pytest.raises(UsageError, match="without a record"):
        manifest.open_run(tmp_path, "sweep", options(tmp_path), owns=["history.dat"])


def test_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    run = manifest.open_run(tmp_path, "sweep", options(tmp_path))
    before = (tmp_path / "manifest.json").read_text()

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device; free some space"):
        run.finish({"a": 1})
    assert (tmp_path / "manifest.json").read_text() == before
    assert not list(tmp_path.glob(".manifest*"))


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    with pytest.raises(UsageError, match=r"cannot write .*file/run: Not a directory.*--output"):
        manifest.open_run(folder, "sweep", options(folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UsageError, match="Permission denied"):
        manifest.open_run(tmp_path, "sweep", options(tmp_path))


def test_second_process_is_kept_out(tmp_path, monkeypatch):
    manifest.open_run(tmp_path, "sweep", options(tmp_path))
    script = (
        "import sys; from pathlib import Path; from lbpsi_driver import locks, manifest\n"
        "from lbpsi_driver.config import SweepOptions\n"
        "locks._LOCK_PATIENCE_S = 0.2\n"
        "manifest.open_run(Path(sys.argv[1]), 'sweep', SweepOptions())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert "in use by another sweep" in done.stderr


def test_a_run_that_made_nothing_leaves_the_folder_free(tmp_path):
    """A first try that stopped at its input must not refuse the mended second one."""
    manifest.open_run(tmp_path, "sweep", SweepOptions(time=10), owns=("history.dat",))
    mended = manifest.open_run(tmp_path, "sweep", SweepOptions(time=20), owns=("history.dat",))
    assert mended.record["options"]["time"] == 20
    (tmp_path / "history.dat").touch()
    with pytest.raises(UsageError, match="--time 20, not 30"):
        manifest.open_run(tmp_path, "sweep", SweepOptions(time=30), owns=("history.dat",))
