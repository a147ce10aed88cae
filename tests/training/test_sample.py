"""Sampling: trajectories that survive their end, and the frames that are selected from them.

The dynamics is that of a Lennard-Jones reference; the shipped model describes where one is needed.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
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

from lbpsi_driver import config, manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.structure import read_cell
from lbpsi_driver.training import dataset, pool, trajectories
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import sample as stage
from lbpsi_driver.training.options import SampleOptions

DATA = Path(__file__).parents[1] / "data"
CELL = DATA / "lj.data"

REFERENCE = {
    "kind": "ase",
    "calculator": "ase.calculators.lj:LennardJones",
    "dispersion": False,
    "arguments": {"sigma": 2.2, "epsilon": 0.15, "rc": 5.0, "smooth": True},
}
COLD = {"time": 0.05, "temperature": [300, 300], "volume": [1, 1]}


def md(name: str, **changes) -> dict:
    source = {"kind": "md", "name": name, "data": CELL, "calculator": "reference"}
    return source | {"minimise": 0, "segment": [COLD], "every": 0.01} | changes


def options(folder: Path, *sources: dict, **changes) -> SampleOptions:
    values = {"output": folder, "source": list(sources), "reference": REFERENCE, "workers": 2}
    return config.options(SampleOptions, values | changes)


def run_alone(one: SampleOptions) -> Path:
    """Run the one source of some options in this process; return its folder."""
    folder = one.output / "sources" / one.source[0].name
    trajectories.run(one.source[0], one, folder)
    return folder


def steps(folder: Path) -> list[int]:
    return [frame.info[store.STEP] for frame in store.read_frames(folder / "trajectory.extxyz")]


# --- one trajectory ----------------------------------------------------------------------------


def test_frames_of_dynamics_know_where_they_are_from(tmp_path, cold):
    folder = cold
    frames = store.read_frames(folder / "trajectory.extxyz")
    assert [frame.info[store.ID] for frame in frames] == [f"cold/{n}" for n in range(10, 51, 10)]
    assert {frame.info[store.TRAJECTORY] for frame in frames} == {"cold"}
    assert {frame.info[store.TEMPERATURE] for frame in frames} == {300}
    assert (folder / "done").is_file()
    assert not (folder / "stopped").exists()
    before = (folder / "trajectory.extxyz").stat()
    trajectories.run(options(tmp_path, md("cold")).source[0], options(tmp_path, md("cold")), folder)
    assert (folder / "trajectory.extxyz").stat() == before


def test_the_way_down_is_recorded_and_gone_on_with(tmp_path):
    cell = read_cell(CELL)
    cell.rattle(0.3, seed=3)
    store.write_frames(tmp_path / "rattled.extxyz", [cell])
    one = options(tmp_path, md("cold", minimise=12, data=tmp_path / "rattled.extxyz"))
    folder = run_alone(one)
    # every third step of at most 12, then the dynamics
    assert steps(folder) == [-12, -9, -6, -3, 10, 20, 30, 40, 50]
    frames = store.read_frames(folder / "trajectory.extxyz")
    assert [frame.info[store.TEMPERATURE] for frame in frames[:5]] == [0, 0, 0, 0, 300]
    positions = [frame.positions for frame in frames[:4]]
    assert all((one != other).any() for one, other in itertools.pairwise(positions))
    store.write_frames(folder / "trajectory.extxyz", frames[:2])
    (folder / "done").unlink()
    run_alone(one)
    assert steps(folder) == [-12, -9, -6, -3, 10, 20, 30, 40, 50]


@pytest.fixture(scope="module")
def cold(tmp_path_factory) -> Path:
    """The folder of one trajectory that has ended."""
    return run_alone(options(tmp_path_factory.mktemp("cold"), md("cold")))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.61, 0.8, 1.0])
def test_a_trajectory_cut_off_goes_on(tmp_path, cold, kept):
    one = options(tmp_path, md("cold"))
    folder = tmp_path / "sources" / "cold"
    shutil.copytree(cold, folder)
    path = folder / "trajectory.extxyz"
    content = path.read_bytes()
    whole = store.read_frames(path)
    (folder / "done").unlink()
    path.write_bytes(content[: int(kept * len(content))])
    left = len(store.whole_frames(path))
    run_alone(one)
    assert steps(folder) == list(range(10, 51, 10))
    for old, new in zip(whole[:left], store.read_frames(path)[:left], strict=True):
        assert (old.positions == new.positions).all()


def test_a_runaway_keeps_its_frames(tmp_path):
    hot = {"time": 1, "temperature": [3e6, 3e6], "volume": [1, 1]}
    folder = run_alone(options(tmp_path, md("hot", segment=[COLD, hot], every=0.005)))
    assert "eV/Å at step" in (folder / "stopped").read_text()
    assert steps(folder)[:10] == list(range(5, 51, 5))
    assert (folder / "done").is_file()
    frames = trajectories.sane_frames(folder)
    assert 10 <= len(frames) <= len(steps(folder))


def test_what_the_reference_refuses_ends_the_trajectory(tmp_path):
    # ASE's Morse potential has no stress for one axis without period: a label error in the worker
    path = tmp_path / "cell.extxyz"
    ase.io.write(path, read_cell(CELL))
    reference = REFERENCE | {"calculator": "ase.calculators.emt:EMT", "arguments": {}}
    one = options(tmp_path, md("emt", data=path), reference=reference)
    folder = run_alone(one)
    assert "NotImplementedError" in (folder / "stopped").read_text()
    assert trajectories.sane_frames(folder) == []


def write_stopped(folder: Path, frames: list[ase.Atoms]) -> None:
    folder.mkdir(parents=True)
    for name in ("done", "stopped"):
        (folder / name).write_text("it boiled\n")
    store.write_frames(folder / "trajectory.extxyz", frames)


def test_frames_after_a_runaway_are_left_out(tmp_path):
    cell = read_cell(CELL)
    boiled, collided, lost = cell.copy(), cell.copy(), cell.copy()
    boiled.set_cell(1.5 * cell.cell, scale_atoms=True)
    collided.positions[3] = collided.positions[4] + [0.4, 0, 0]
    lost.positions[0] = np.nan
    for number, bad in enumerate((boiled, collided, lost)):
        folder = tmp_path / str(number)
        write_stopped(folder, [cell, cell, bad, cell])
        assert len(trajectories.sane_frames(folder)) == 2
        # nobody may drop frames of a run that came to its end
        (folder / "stopped").unlink()
        assert len(trajectories.sane_frames(folder)) == 4


def test_strained_frames_follow_their_parents(tmp_path):
    strain = {
        "kind": "strain", "name": "strained", "of": ["cold"], "frames": 40,
        "volume": [0.9, 1.6], "shear": 0.03, "rattle": 0.0, "seed": 3,
    }  # fmt: skip
    one = options(tmp_path, md("cold"), strain)
    parents = {}
    for source in one.source:
        trajectories.run(source, one, tmp_path / "sources" / source.name)
        parents[source.name] = store.read_frames(
            tmp_path / "sources" / source.name / "trajectory.extxyz"
        )
    by_step = {frame.info[store.STEP]: frame for frame in parents["cold"]}
    ratios, shears = [], []
    for number, frame in enumerate(parents["strained"]):
        assert frame.info[store.ID] == f"strained/{number}"
        assert frame.info[store.TRAJECTORY] == "cold"
        assert store.TEMPERATURE not in frame.info
        old = by_step[frame.info[store.STEP]]
        ratios.append(frame.get_volume() / old.get_volume())
        deformation = np.linalg.solve(old.cell.array, frame.cell.array) / np.cbrt(ratios[-1])
        np.testing.assert_allclose(np.tril(deformation), np.eye(3), atol=1e-7)
        shears += list(deformation[np.triu_indices(3, 1)])
        np.testing.assert_allclose(
            frame.get_scaled_positions(), old.get_scaled_positions(), atol=1e-6
        )
    assert 0.9 <= min(ratios) < 1.1
    assert 1.4 < max(ratios) <= 1.6
    assert np.std(shears) == pytest.approx(0.03, rel=0.3)


def test_files_keep_what_their_frames_say(tmp_path):
    frames = []
    for number in range(6):
        atoms = read_cell(CELL)
        atoms.info = {"frame_id": "old", "comment": "x", store.TEMPERATURE: 300.0 + number}
        if number >= 3:
            atoms.info |= {store.TRAJECTORY: "earlier", store.SPLIT: "test"}
        frames.append(atoms)
    store.write_frames(tmp_path / "a.extxyz.xz", frames)
    source = {"kind": "file", "name": "there", "path": tmp_path / "a.extxyz.xz", "every": 2}
    folder = run_alone(options(tmp_path, source))
    found = [frame.info for frame in store.read_frames(folder / "trajectory.extxyz")]
    assert [info[store.ID] for info in found] == ["there/0", "there/2", "there/4"]
    assert [info[store.TRAJECTORY] for info in found] == ["there", "there", "earlier"]
    assert [info.get(store.SPLIT) for info in found] == [None, None, "test"]
    assert [info[store.TEMPERATURE] for info in found] == [300, 302, 304]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.extxyz", "3\nnothing\nLi 0 0\n", "frame 0"),
        ("a.xyz", "1\n\nLi 0 0 0\n", "frame 0 has no cell"),
        ("a.cif", "nonsense", "path = "),
        ("a.extxyz", '1\nLattice="9 0 0 0 9 0 0 0 9"\nLi nan 0 0\n', "frame 0 has positions"),
        (
            "a.extxyz",
            '1\nLattice="9 0 0 0 9 0 0 0 9" split=training\nLi 0 0 0\n',
            "frame 0 is for 'training'; expected train, valid, test",
        ),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    source = {"kind": "file", "name": "bad", "path": tmp_path / name}
    with pytest.raises(UsageError, match=message) as caught:
        run_alone(options(tmp_path, source))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


LJ_QUENCH = {"rate": 1800, "hold": 0.5, "equilibrate": 0.5, "dump-every": 0.05}


def quench(name: str, potential: str) -> dict:
    own = LJ_QUENCH | {"potential": str(DATA / potential)}
    return {"kind": "quench", "name": name, "data": CELL, "quench": own}


def test_frames_of_a_melt_quench(tmp_path):
    folder = run_alone(options(tmp_path, quench("glass", "lj.in")))
    frames = trajectories.sane_frames(folder)
    dumped = (folder / "quench" / "trajectory.dump").read_text().count("ITEM: TIMESTEP")
    assert len(frames) == dumped > 20
    assert steps(folder) == [50 * number for number in range(dumped)]
    temperatures = np.array([frame.info[store.TEMPERATURE] for frame in frames])
    assert temperatures.max() > 900
    assert temperatures[-3:].mean() < 600
    assert sorted(frames[0].symbols) == sorted(read_cell(CELL).symbols)


def test_a_full_disk_is_no_runaway(tmp_path):
    own = tmp_path / "lj.in"
    # The guard's limit, MB: of two values of an index variable the first counts.
    own.write_text((DATA / "lj.in").read_text() + "variable guard_disk index 1e12\n")
    source = quench("glass", "lj.in")
    source["quench"]["potential"] = str(own)
    one = options(tmp_path, source)
    with pytest.raises(UsageError, match="MB of disk left: free some space"):
        run_alone(one)
    folder = one.output / "sources" / "glass"
    assert (folder / "quench" / "trajectory.dump").stat().st_size > 0
    assert not (folder / "stopped").exists()
    assert not (folder / "done").exists()


def test_a_quench_has_the_precision_and_time_step_of_the_stage(tmp_path):
    one = options(tmp_path, quench("q", "lj.in"), dtype="float64", timestep=0.5, device="cuda")
    wanted = one.source[0].quench_options(CELL, tmp_path, one)
    assert (wanted.dtype, wanted.timestep, wanted.device) == ("float64", 0.5, "cuda")


def test_a_melt_that_boils_off_keeps_its_frames(tmp_path):
    folder = run_alone(options(tmp_path, quench("vapour", "lj_boils.in")))
    assert "boils off" in (folder / "stopped").read_text()
    frames = trajectories.sane_frames(folder)
    assert len(frames) > 2
    volumes = [frame.get_volume() / frames[0].get_volume() for frame in frames]
    assert max(volumes) < 3


# --- several trajectories ----------------------------------------------------------------------


def test_sources_run_side_by_side_and_parents_first(tmp_path):
    strain = {"kind": "strain", "name": "after", "of": ["a", "b"], "frames": 4}
    one = options(tmp_path, strain, md("a"), md("b", seed=2))
    stage.run_sources(one, tmp_path / "sources")
    for name, number in (("a", 5), ("b", 5), ("after", 4)):
        assert len(steps(tmp_path / "sources" / name)) == number
    first = [store.read_frames(tmp_path / "sources" / n / "trajectory.extxyz")[0] for n in "ab"]
    assert not np.allclose(first[0].positions, first[1].positions)


def test_one_failure_leaves_the_others_whole(tmp_path):
    (tmp_path / "bad.xyz").write_text("1\n\nLi 0 0 0\n")
    bad = {"kind": "file", "name": "bad", "path": tmp_path / "bad.xyz"}
    with pytest.raises(UsageError, match=r"^source bad: path = .*no cell$"):
        stage.run_sources(options(tmp_path, bad, md("a")), tmp_path / "sources")
    assert len(steps(tmp_path / "sources" / "a")) == 5


def test_jobs_that_fail_or_die_are_told_apart(capfd):
    outcomes = pool.run("sample", int, {"a": ("3",), "b": ("x",)}, 2)
    assert list(outcomes) == ["a", "b"]
    assert (outcomes["a"].result, outcomes["a"].error) == (3, None)
    assert outcomes["b"].error.startswith("ValueError: invalid literal")
    died = pool.run("sample", os._exit, {"c": (3,)}, 1)
    assert "a process was killed" in died["c"].error
    assert pool.run("sample", int, {}, 2) == {}
    # what failed is not done
    shown = capfd.readouterr().err
    assert "1/2 a" in shown
    assert "2/2" not in shown


LONG = {"segment": [COLD | {"time": 0.25}], "every": 0.005}


def started(folder: Path, *sources: dict) -> subprocess.Popen:
    path = folder / "run.json"
    values = {"output": folder, "source": sources, "reference": REFERENCE, "workers": 2}
    path.write_text(json.dumps(values, default=str))
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from lbpsi_driver.training import sample\n"
        "from lbpsi_driver.training.options import SampleOptions\n"
        "if __name__ == '__main__':\n"
        "    options = SampleOptions(**json.loads(Path(sys.argv[1]).read_text()))\n"
        "    sample.run_sources(options, options.output / 'sources')\n"
    )
    script = folder / "run.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script), str(path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=interrupt.heed,
    )  # fmt: skip


def descendants(pid: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(words[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait(ready, process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_and_interrupted_it_goes_on(tmp_path):
    sources = (md("a", **LONG), md("b", **LONG))
    folders = [tmp_path / "sources" / name for name in "ab"]

    def frames_of(folder: Path) -> list[ase.Atoms]:
        return store.whole_frames(folder / "trajectory.extxyz")

    kept = []
    for how, enough in ((signal.SIGKILL, 3), (signal.SIGINT, 12)):
        process = started(tmp_path, *sources)
        wait(lambda least=enough: all(len(frames_of(f)) > least for f in folders), process)
        children = descendants(process.pid)
        assert len(children) >= 4  # two of the pool, a reference each
        os.kill(process.pid, how)
        process.wait(timeout=60)
        assert process.returncode != 0
        wait(lambda ended=children: not any(alive(child) for child in ended))
        kept.append([frames_of(folder) for folder in folders])
        assert not any((folder / "done").exists() for folder in folders)

    last = started(tmp_path, *sources)
    assert last.wait(timeout=120) == 0, last.stderr.read()
    for number, folder in enumerate(folders):
        assert steps(folder) == list(range(5, 251, 5))
        whole = frames_of(folder)
        for before in kept:
            assert 3 < len(before[number]) < 50
            pairs = zip(before[number], whole, strict=False)
            assert all((old.positions == new.positions).all() for old, new in pairs)


# --- what is refused ---------------------------------------------------------------------------

FILE = {"kind": "file", "name": "there", "path": CELL}


@pytest.mark.parametrize(
    ("sources", "changes", "message"),
    [
        ([md("a"), md("a")], {}, "source a: the name is there twice"),
        ([md("a"), {"kind": "strain", "name": "s", "of": ["b"], "frames": 1}], {},
         "source s: of = b: no trajectory of that name; there is: a"),
        ([md("a"), {"kind": "strain", "name": "s", "of": ["a"], "frames": 1},
          {"kind": "strain", "name": "u", "of": ["s"], "frames": 1}], {}, "source u: of = s: no"),
        ([FILE | {"path": "no.extxyz"}], {}, "source there: path = no.extxyz: no such file"),
        ([md("a", data="no.data")], {}, "source a: data = no.data: no such file"),
        ([quench("q", "lj.in") | {"quench": {"rat": 3}}], {}, "source q: quench: .*'rat'; did you"),
        ([quench("q", "lj.in") | {"quench": {"seed": 3}}], {}, "source q: quench.seed: .*leave it"),
        ([quench("q", "lj.in") | {"quench": {"rate": -1}}], {}, "source q: quench: rate = -1: "),
        ([md("a", every=0.06)], {}, "source a: every = 0.06 ps: its segments last 0.05 ps"),
        ([md("a", segment=[COLD | {"volume": [1, 2]}])], {"reference": {"kind": "vasp"}},
         "source a: volume = .*VASP holds the volume or the pressure"),
        ([md("a")], {"model": "no.model"}, "--model no.model"),
    ],
)  # fmt: skip
def test_bad_sources_are_one_line(tmp_path, sources, changes, message):
    one = options(tmp_path / "new", *sources, **changes)
    for dry_run in (True, False):
        with pytest.raises(UsageError, match=message) as caught:
            stage.sample(one, dry_run=dry_run)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_reference_must_be_given_where_one_is_needed(tmp_path):
    one = config.options(SampleOptions, {"output": tmp_path, "source": [md("a")]})
    with pytest.raises(UsageError, match=r"source a: .*give the table \[train.reference\]"):
        stage.sample(one)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "12", "1e5", "T", "false", "nan", "-a"])
def test_names_that_files_would_not_give_back_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"^source\[0\].name = "):
        options(tmp_path, md(name))


@pytest.mark.parametrize("name", ["x05", "136-hot", "a.b_c+d", "1_x"])
def test_names_come_back_from_files(tmp_path, name):
    options(tmp_path, md(name))
    atoms = read_cell(CELL)
    atoms.info = {store.TRAJECTORY: name, store.ID: f"{name}/5"}
    store.write_frames(tmp_path / "a.extxyz", [atoms])
    assert store.read_frames(tmp_path / "a.extxyz")[0].info == atoms.info


def test_one_cell_is_given(tmp_path):
    with pytest.raises(UsageError, match=r"^source a: composition and data are given"):
        options(tmp_path, md("a", composition="70Li2S-30P2S5"))


def test_a_dry_run_writes_packings_and_nothing_else(tmp_path):
    packed = md("a")
    del packed["data"]
    assert stage.sample(options(tmp_path / "new", packed, md("b")), dry_run=True) is None
    written = {path.name for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert "packmol.inp" in written
    assert not written & {"trajectory.extxyz", "manifest.json", "frames.extxyz.xz"}
    with pytest.raises(UsageError, match=r"source a: .*cannot be made"):
        stage.sample(options(tmp_path / "half", packed | {"composition": "30Li2S"}), dry_run=True)


# --- the selection -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[SampleOptions, stage.SampleResult]:
    pytest.importorskip("mace", reason="needs the [mace] extra")
    folder = tmp_path_factory.mktemp("sample") / "run"
    glass = read_cell(CELL)
    glass.rattle(0.1, seed=5)
    there = folder.parent / "there.extxyz"
    store.write_frames(there, [read_cell(CELL), glass, glass])
    one = options(
        folder,
        md("warm", every=0.005),
        md("hot", segment=[COLD | {"temperature": [900, 1200]}], every=0.005, seed=2),
        md("tested", split="test", seed=3),
        {"kind": "strain", "name": "strained", "of": ["warm", "tested"], "frames": 15},
        {"kind": "file", "name": "there", "path": there, "split": "train"},
        frames=20,
        workers=1,
        model=str(tiny_mace.write(folder.parent / "tiny.model", numbers=[3, 16])),
    )
    return one, stage.sample(one)


@pytest.mark.mace
def test_selected_frames(finished):
    one, result = finished
    frames = store.read_frames(one.output / "frames.extxyz.xz")
    assert len(frames) == result.frames == 20
    assert len({frame.info[store.ID] for frame in frames}) == 20
    raw = {}
    for folder in (one.output / "sources").iterdir():
        for frame in store.read_frames(folder / "trajectory.extxyz"):
            raw[frame.info[store.ID]] = frame
    sets: dict[str, set] = {}
    for frame in frames:
        sets.setdefault(frame.info[store.TRAJECTORY], set()).add(frame.info[store.SPLIT])
        old = raw[frame.info[store.ID]]
        assert frame.info[store.TRAJECTORY] == old.info[store.TRAJECTORY]
        assert (frame.positions == store.rounded(frame).positions).all()
        np.testing.assert_allclose(
            frame.get_all_distances(mic=True), old.get_all_distances(mic=True), atol=3e-5
        )
        assert not {"start_volume", "comment"} & frame.info.keys()
        assert "momenta" not in frame.arrays
    assert all(len(split) == 1 for split in sets.values())
    assert sets["tested"] == {"test"}
    assert sets["there"] == {"train"}
    assert {"train", "valid", "test"} == set.union(*sets.values())
    # 10 + 10 + 5 + 15 + 3 frames, one of them twice: each set has its share
    share = 20 / 42
    test = sum(1 for frame in raw.values() if frame.info[store.TRAJECTORY] == "tested")
    assert abs(result.splits["test"] - share * test) < 1


@pytest.mark.mace
def test_twins_are_selected_once(finished):
    one, _ = finished
    every = stage.sample(
        one.model_copy(update={"frames": 999, "output": one.output, "force": True})
    )
    assert every.frames == 42
    assert (one.output / "superseded-1" / "frames.extxyz.xz").is_file()
    # another selection takes the trajectories that are there
    assert not (one.output / "superseded-1" / "sources").exists()
    by_name = {source.name: source for source in every.sources}
    assert sum(by_name["there"].selected.values()) == 2
    assert by_name["hot"].raw == 10
    assert stage.sample(one.model_copy(update={"force": True})).frames == 20


@pytest.mark.mace
def test_the_table_tells_where_frames_are_from(finished):
    one, result = finished
    by_name = {source.name: source for source in result.sources}
    assert list(by_name) == ["warm", "hot", "tested", "strained", "there"]
    low, high = by_name["hot"].temperature
    assert (low, high) == (pytest.approx(930), pytest.approx(1200))
    assert by_name["there"].temperature is None
    density = read_cell(CELL).get_masses().sum() / read_cell(CELL).get_volume() * 1.66054
    assert by_name["there"].density == pytest.approx((density, density), rel=1e-4)
    assert by_name["strained"].density[0] < density / 1.2
    assert by_name["warm"].stopped is None
    assert sum(sum(source.selected.values()) for source in result.sources) == 20
    table = result.table()
    assert table.row_count == 5
    assert "20 frames" in str(table.title)
    assert (one.output / "selection.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.mace
def test_a_finished_run_is_read_and_a_changed_one_refused(finished):
    one, result = finished
    before = (one.output / "frames.extxyz.xz").stat()
    again = stage.sample(one.model_copy(update={"workers": 1}))
    assert again == result
    assert (one.output / "frames.extxyz.xz").stat() == before
    with pytest.raises(UsageError, match=r"with --frames 20, not 3; .*--force"):
        stage.sample(one.model_copy(update={"frames": 3}))


@pytest.mark.mace
def test_a_lost_selection_is_made_again(finished):
    one, result = finished
    path = one.output / "frames.extxyz.xz"
    content = path.read_bytes()
    path.unlink()
    assert stage.sample(one) == result
    assert path.read_bytes() == content


def test_a_changed_source_is_refused_then_run_anew(tmp_path):
    one = options(tmp_path, md("a"), md("b"))
    stage._claim_sources(one, tmp_path / "sources", "hash")
    run_alone(one)
    run_alone(options(tmp_path, md("b")))
    stage._claim_sources(one.model_copy(update={"frames": 3}), tmp_path / "sources", "other hash")
    assert len(steps(tmp_path / "sources" / "a")) == 5
    changed = options(tmp_path, md("a", every=0.02), md("b", split="test"))
    with pytest.raises(UsageError, match=r"sources/a holds the trajectory of another source a"):
        stage._claim_sources(changed, tmp_path / "sources", "hash")
    forced = changed.model_copy(update={"force": True})
    stage._claim_sources(forced, tmp_path / "sources", "hash")
    assert len(steps(tmp_path / "sources" / "superseded-1" / "a")) == 5
    assert not (tmp_path / "sources" / "superseded-1" / "b").exists()
    # the same cell by another path is the same source
    copy = tmp_path / "copy.data"
    copy.write_bytes(CELL.read_bytes())
    stage._claim_sources(options(tmp_path, md("b", data=copy)), tmp_path / "sources", "hash")
    copy.write_bytes(CELL.read_bytes() + b"\n")
    with pytest.raises(UsageError, match="another source b"):
        stage._claim_sources(options(tmp_path, md("b", data=copy)), tmp_path / "sources", "hash")


def test_a_source_that_failed_before_its_first_frame_is_corrected(tmp_path):
    # a reference that has nothing to say, and a cell too dense to be packed
    broken = REFERENCE | {"arguments": REFERENCE["arguments"] | {"sigma": "wide"}}
    dense = {key: value for key, value in md("dense").items() if key != "data"}
    dense |= {"units": "Li=2,S=1", "density": 400.0}
    first = options(tmp_path, md("mute"), dense, reference=broken)
    stage._claim_sources(first, tmp_path / "sources", "hash")
    with pytest.raises(UsageError, match=r"^source dense: density = 400: .*lower density"):
        stage.run_sources(first, tmp_path / "sources")
    assert (tmp_path / "sources" / "mute" / "stopped").is_file()
    sparse = dense | {"density": 1.0}
    right = options(tmp_path, md("mute"), sparse | {"data": CELL, "units": None})
    stage._claim_sources(right, tmp_path / "sources", "hash")
    stage.run_sources(right, tmp_path / "sources")
    for name in ("mute", "dense"):
        assert len(steps(tmp_path / "sources" / name)) == 5
    # nor is a corrected source confused with its predecessor from then on
    with pytest.raises(UsageError, match="another source mute"):
        stage._claim_sources(first, tmp_path / "sources", "hash")


@pytest.mark.parametrize("file", ["quench/trajectory.dump", "vasp/01/OUTCAR", "trajectory.extxyz"])
def test_what_was_run_is_never_taken_for_nothing(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert not trajectories.has_frames(tmp_path)
    path.write_text("something\n")
    assert trajectories.has_frames(tmp_path)


PACKED = {"kind": "md", "name": "a", "segment": [COLD], "every": 0.01}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"atoms": 61}, r"^source a: atoms = 61: .*; give atoms = \d+.*, or count building"),
        ({"composition": "30Li2S-70Xy"}, r"^source a: composition = 30Li2S-70Xy: 'Xy' is no known"),
        ({"units": "Li=1,S=1"}, r"^source a: units = Li=1,S=1: charges sum to -1 e"),
        ({"units": "Li=2,S"}, r"^source a: units = Li=2,S: 'S': expected"),
    ],
)
def test_cells_that_cannot_be_made_are_told_in_words_of_the_run_file(tmp_path, cell, message):
    # a good source stands before it, and does not run
    one = options(tmp_path / "new", md("good"), PACKED | cell)
    with pytest.raises(UsageError, match=message) as caught:
        stage.sample(one)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_trajectories_without_a_record_are_taken(tmp_path, caplog):
    one = options(tmp_path, md("a"))
    folder = run_alone(one)
    stage._claim_sources(one, tmp_path / "sources", "hash")
    assert "taken as it is" in caplog.text
    assert len(steps(folder)) == 5


def test_sets_of_frames(tmp_path):
    def frame(trajectory: str, **info) -> ase.Atoms:
        return ase.Atoms("Li", info={store.TRAJECTORY: trajectory} | info)

    file = {"kind": "file", "path": CELL}
    strain = {"kind": "strain", "name": "strained", "of": ["a"], "frames": 1}
    one = options(
        tmp_path, strain, file | {"name": "a", "split": "test"}, file | {"name": "b"}, md("c")
    )
    # a strained frame carries what its parent's file said of it
    frames = [frame("a", split="valid"), frame("a", split="valid"), frame("old", split="valid")]
    # nor are all parents selected themselves
    frames += [frame("elsewhere", split="test"), frame("c"), frame("b")]
    stage._split(one, frames, ["strained", "a", "b", "strained", "c", "b"])
    assert [f.info[store.SPLIT] for f in frames[:4]] == ["test", "test", "valid", "test"]
    assert {f.info[store.SPLIT] for f in frames[4:]} <= {"train", "valid", "test"}
    with pytest.raises(UsageError, match="trajectory a is for test and for train"):
        stage._split(one, [frame("a"), frame("a", split="train")], ["a", "b"])


def test_one_trajectory_is_for_training_and_says_so(tmp_path, caplog):
    one = options(tmp_path, md("a"))
    frames = [ase.Atoms("Li", info={store.TRAJECTORY: "a"}) for _ in range(3)]
    stage._split(one, frames, ["a"] * 3)
    assert {frame.info[store.SPLIT] for frame in frames} == {"train"}
    assert "no trajectory is left for valid and test (train fit refuses these" in caplog.text
    # fit does so indeed
    data = [frame.copy() for frame in frames]
    with pytest.raises(UsageError, match="no frame is for validation"):
        dataset.split(dataset.Frames(tuple(data), ("a",) * 3), 0.1, 1)
    caplog.clear()
    stage._split(one.model_copy(update={"valid": 0.0, "test": 0.0}), frames, ["a"] * 3)
    assert caplog.text == ""


def test_sets_that_a_fit_would_suffer_from(caplog):
    def frames(symbol: str, split: str, number: int) -> list[ase.Atoms]:
        return [ase.Atoms(symbol, info={store.SPLIT: split}) for _ in range(number)]

    sound = [*frames("LiP", "train", 3), *frames("Li", "valid", 3), *frames("P", "test", 9)]
    stage._warn_of_sets(sound)
    assert caplog.text == ""
    stage._warn_of_sets([*sound, *frames("LiP", "valid", 1)])
    assert "4 frames for validation and 3 for training" in caplog.text
    assert "hold" not in caplog.text
    caplog.clear()
    stage._warn_of_sets([*sound, *frames("LiS", "test", 1)])
    (told,) = (record.message for record in caplog.records)
    assert told.startswith("frames for test hold S, which no training frame holds")


@pytest.mark.mace
def test_elements_that_the_model_lacks_are_named(tmp_path):
    pytest.importorskip("mace", reason="needs the [mace] extra")
    atoms = read_cell(CELL)
    atoms.symbols[0] = "Ge"
    store.write_frames(tmp_path / "a.extxyz", [atoms])
    source = {"kind": "file", "name": "germanium", "path": tmp_path / "a.extxyz"}
    one = options(tmp_path, source)
    folder = run_alone(one)
    with pytest.raises(UsageError, match="the model has no Ge: it knows Li, B, P, S, I; give"):
        stage.described(folder, one, "rows.npy")
    assert not (folder / "rows.npy").exists()
    driven = options(tmp_path, md("x", data=tmp_path / "a.extxyz", calculator="model"))
    with pytest.raises(UsageError, match="the model has no Ge"):
        run_alone(driven)
    # the stage refuses before any source runs
    both = options(tmp_path / "both", md("good"), md("x", data=tmp_path / "a.extxyz"))
    with pytest.raises(UsageError, match=r"^source x: --model lbpsi-small: has no Ge; it knows Li"):
        stage.sample(both)
    assert not list((tmp_path / "both").rglob("trajectory.extxyz"))


@pytest.mark.mace
def test_the_model_drives_too(tmp_path):
    pytest.importorskip("mace", reason="needs the [mace] extra")
    short = COLD | {"time": 0.01}
    folder = run_alone(
        options(tmp_path, md("own", calculator="model", segment=[short], every=0.005))
    )
    assert steps(folder) == [5, 10]


def test_the_record_is_that_of_the_stage(tmp_path):
    # the interpreter's path or the number of workers is no other configuration of a source
    one = options(tmp_path, md("a"))
    other = options(tmp_path, md("a"), workers=7, reference=REFERENCE | {"threads": 3})
    made = [stage._made_of(o.source[0], o, "hash") for o in (one, other)]
    assert made[0] == made[1]
    assert manifest.sha256(CELL) in json.dumps(made[0])


def test_a_reference_of_other_content_makes_another_trajectory(tmp_path):
    made = []
    for name, content in (("a", "one"), ("b", "one"), ("a", "two")):
        model = tmp_path / f"{name}.model"
        model.write_text(content)
        reference = {"kind": "mace", "model": str(model)}
        one = options(tmp_path, md("a"), reference=reference)
        made.append(stage._made_of(one.source[0], one, "hash"))
    assert made[0] == made[1]
    assert made[0] != made[2]
