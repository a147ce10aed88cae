"""Long trajectories on disk, gone through in parts: the same numbers, in bounded memory."""

import gc
import logging
import tracemalloc
from dataclasses import asdict, is_dataclass, replace

import ase
import ase.io
import numpy as np
import pytest

from lbpsi_driver.analyze import analyze
from lbpsi_driver.config import AnalyzeOptions, UsageError
from lbpsi_driver.observables import spool
from lbpsi_driver.observables.conductivity import collective_diffusion
from lbpsi_driver.observables.density_grid import density_grid
from lbpsi_driver.observables.hop_rotation import near, unit_turns
from lbpsi_driver.observables.hops import detect_hops
from lbpsi_driver.observables.motif_series import motif_series
from lbpsi_driver.observables.motif_transport import class_displacements
from lbpsi_driver.observables.msd import lag_statistics, log_lags, mean_squared_displacement
from lbpsi_driver.observables.paths import atom_blocks
from lbpsi_driver.observables.rdf import radial_distributions
from lbpsi_driver.observables.rotation import rotations
from lbpsi_driver.observables.spool import Collector, Stored
from lbpsi_driver.observables.trajectory import Trajectory, read
from lbpsi_driver.observables.van_hove import distinct_part, non_gaussian, self_part

TETRAHEDRON = 2.05 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
EDGE = 7.0


def glass(frames, cells=2, seed=1):
    """PS4 that turn and rattle, three Li each that walk, in a cell that breathes and shears."""
    rng = np.random.default_rng(seed)
    places = EDGE * np.stack(np.meshgrid(*[np.arange(cells)] * 3), axis=-1).reshape(-1, 3)
    length, n = EDGE * cells, len(places)
    units = (places[:, None] + np.vstack([np.zeros((1, 3)), TETRAHEDRON])).reshape(-1, 3)
    lithium = rng.random((3 * n, 3)) * length
    elements = np.array(["P", "S", "S", "S", "S"] * n + ["Li"] * (3 * n))
    walk = np.cumsum(rng.normal(0, 0.25, (frames, 3 * n, 3)), axis=0) + lithium
    still = units + rng.normal(0, 0.08, (frames, 5 * n, 3))
    fractional = np.concatenate([still, walk], axis=1) / length
    # Ids don't stand in the order of the elements.
    order = rng.permutation(len(elements))
    cell = length * np.eye(3) * (1 + 0.01 * rng.normal(size=(frames, 1, 1)))
    cell[:, 1, 0] += 0.2 * np.sin(np.arange(frames) / 9.0)
    return fractional[:, order], cell, elements[order]


def write_dump(path, fractional, cells, elements, steps=None):
    parts = []
    for t in range(len(cells)) if steps is None else steps:
        (lx, _, _), (xy, ly, _), (_, _, lz) = cells[t]
        images = np.floor(fractional[t]).astype(int)
        rows = np.hstack([(fractional[t] - images) @ cells[t], images])
        parts.append(
            f"ITEM: TIMESTEP\n{100 * t}\nITEM: NUMBER OF ATOMS\n{len(elements)}\n"
            "ITEM: BOX BOUNDS xy xz yz pp pp pp\n"
            f"{min(0, xy):.16g} {lx + max(0, xy):.16g} {xy:.16g}\n"
            f"0 {ly:.16g} 0\n0 {lz:.16g} 0\nITEM: ATOMS id element x y z ix iy iz\n"
        )
        parts += [
            f"{k + 1} {elements[k]} {x:.12g} {y:.12g} {z:.12g} {a:.0f} {b:.0f} {c:.0f}\n"
            for k, (x, y, z, a, b, c) in enumerate(rows.tolist())
        ]
    path.write_text("".join(parts))
    return path


def stored(values, folder=None, known=True):
    collector = Collector(
        values.shape[1:], values.dtype, expected=len(values) * known, folder=folder
    )
    for row in values:
        collector.append(row)
    return collector.finish()


def parts_of(trajectory, budget, monkeypatch):
    """The same trajectory on disk, worked on in small parts."""
    monkeypatch.setattr(spool, "MEMORY_BYTES", budget)
    found = Trajectory(
        stored(trajectory.fractional),
        trajectory.cells,
        trajectory.origins,
        trajectory.times_ps,
        trajectory.elements,
        trajectory.ids,
    )
    assert isinstance(found.fractional, Stored)
    return found


@pytest.fixture(scope="module")
def trajectory():
    fractional, cells, elements = glass(150)
    times = np.delete(np.arange(154), [20, 21, 77, 120]) * 0.1
    origins = np.random.default_rng(3).normal(size=(150, 3))
    return Trajectory(fractional, cells, origins, times, elements)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", [(7, 5, 3), (64, 4), (200, 9, 3), (70, 9000), (3, 1, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.int8])
def test_what_is_stored_comes_back(tmp_path, monkeypatch, shape, dtype, known):
    monkeypatch.setattr(spool, "MEMORY_BYTES", 1)
    values = (100 * np.random.default_rng(1).random(shape)).astype(dtype)
    found = stored(values, tmp_path, known)
    if not isinstance(found, Stored):  # one tile that was never full
        assert not known
        assert len(values) <= 64
        np.testing.assert_array_equal(found, values)
        return
    assert found.shape == values.shape
    assert len(found) == len(values)
    np.testing.assert_array_equal(np.asarray(found), values)
    for rows in (0, len(values) - 1, -1, slice(1, None, 2), slice(0, 0), np.array([2, 0, 2, 1])):
        np.testing.assert_array_equal(found[rows], values[rows])
    with pytest.raises(IndexError):
        found[len(values)]
    chosen = np.random.default_rng(2).permutation(shape[1])[: max(1, shape[1] // 3)]
    np.testing.assert_array_equal(found.columns(chosen), values[:, chosen])
    later = found.at(np.arange(1, len(values)))
    np.testing.assert_array_equal(later.columns(chosen), values[1:, chosen])
    np.testing.assert_array_equal(later.at(slice(0, 1))[:], values[1:2])
    np.testing.assert_array_equal(np.stack(list(found)), values)
    assert not list(tmp_path.iterdir())  # the file has no name, so that nothing is left of it


def test_small_arrays_stay_in_memory():
    values = np.arange(300.0).reshape(100, 3)
    assert isinstance(stored(values), np.ndarray)
    assert isinstance(stored(values, known=False), np.ndarray)
    np.testing.assert_array_equal(stored(values, known=False), values)


def test_full_disk_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "MEMORY_BYTES", 8)
    with pytest.raises(UsageError, match=r"No such file.*set TMPDIR") as error:
        stored(np.zeros((9, 4)), tmp_path / "none")
    assert "\n" not in str(error.value)
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - the collector closes it
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", lambda **_: full)
    with pytest.raises(UsageError, match=r"No space left.*set TMPDIR"):
        stored(np.zeros((99, 4)), tmp_path)


def test_dumps_are_read_the_same_to_memory_and_to_disk(tmp_path, monkeypatch, caplog):
    """Frames out of order and repeated, one cut short, image flags reset."""
    fractional, cells, elements = glass(150)
    fractional[100:] += np.array([1.0, 0.0, -2.0])
    steps = [*range(40), *range(90, 150), *range(35, 92), 5, 3]
    path = write_dump(tmp_path / "a.dump", fractional, cells, elements, steps)
    path.write_text(path.read_text()[:-40])
    with caplog.at_level(logging.WARNING):
        whole = read(path, 1.0)
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    np.testing.assert_allclose(whole.fractional, fractional, atol=1e-9)
    caplog.clear()
    monkeypatch.setattr(spool, "MEMORY_BYTES", 2**12)
    monkeypatch.setattr("lbpsi_driver.observables.lammps_dump._READ", 5000)
    with caplog.at_level(logging.WARNING):
        parts = read(path, 1.0, scratch=tmp_path)
    assert [record.message for record in caplog.records] == told
    assert isinstance(parts.fractional, Stored)
    np.testing.assert_array_equal(parts.fractional, whole.fractional)
    np.testing.assert_array_equal(parts.cells, whole.cells)
    np.testing.assert_array_equal(parts.times_ps, whole.times_ps)
    np.testing.assert_array_equal(parts.after(2.0).fractional, whole.after(2.0).fractional)
    np.testing.assert_array_equal(parts.spread(30).fractional, whole.spread(30).fractional)
    assert [file.name for file in tmp_path.iterdir()] == ["a.dump"]


@pytest.mark.parametrize(
    ("name", "file_format"), [("a.extxyz", "extxyz"), ("XDATCAR", "vasp-xdatcar")]
)
def test_files_of_ase_are_read_the_same_to_memory_and_to_disk(
    tmp_path, monkeypatch, name, file_format
):
    fractional, cells, elements = glass(70)
    frames = [
        ase.Atoms(elements[np.argsort(elements)], cell=c, scaled_positions=s % 1.0, pbc=True)
        for s, c in zip(fractional[:, np.argsort(elements)], cells, strict=True)
    ]
    ase.io.write(tmp_path / name, frames, format=file_format)
    whole = read(tmp_path / name, 1.0)
    monkeypatch.setattr(spool, "MEMORY_BYTES", 2**12)
    parts = read(tmp_path / name, 1.0)
    assert isinstance(parts.fractional, Stored)
    np.testing.assert_array_equal(parts.fractional, whole.fractional)
    np.testing.assert_array_equal(parts.cells, whole.cells)


@pytest.mark.parametrize("unwrap", ["fractional", "image"])
@pytest.mark.parametrize("com", ["all", "group", "none"])
def test_paths_are_positions_without_drift(trajectory, monkeypatch, com, unwrap):
    """Against whole arrays, written out."""
    cells = trajectory.cells if unwrap == "image" else trajectory.cells.mean(axis=0)
    positions = trajectory.fractional @ cells
    if unwrap == "image":
        positions = positions + trajectory.origins[:, None]
    ions, masses = trajectory.indices("Li"), trajectory.masses_amu
    group = {"all": np.arange(len(masses)), "group": ions, "none": ions}[com]
    weights = masses[group] / masses[group].sum()
    centre = np.einsum("a,tad->td", weights, positions[:, group]) * (com != "none")
    expected = positions[:, ions] - centre[:, None]
    np.testing.assert_allclose(
        trajectory.paths(ions, com, unwrap).of(slice(None)), expected, atol=1e-12
    )
    paths = parts_of(trajectory, 2**16, monkeypatch).paths(ions, com, unwrap)
    blocks = list(atom_blocks(paths))
    assert len(blocks) > 5
    np.testing.assert_allclose(np.concatenate([b for _, b in blocks], 1), expected, atol=1e-12)
    np.testing.assert_allclose(paths.at(np.arange(40, 90)).of(slice(2, 5)), expected[40:90, 2:5])


def observables(trajectory):
    """What works on paths or on all frames."""
    spacing, index = trajectory.grid()
    ions = trajectory.paths(trajectory.indices("Li"))
    lags = log_lags(60, 12)
    classes = motif_series(trajectory, trajectory.indices("Li"))
    hops = detect_hops(ions, spacing, index, window_ps=1.0, threshold_A2=1.0)
    turns = unit_turns(trajectory, classes.units, 1.0)
    pairs = near(trajectory, trajectory.indices("Li"), hops, turns.former)
    assert len(pairs.hop) > 20
    return {
        "msd": mean_squared_displacement(ions, index),
        "lags": lag_statistics(ions, lags, spacing, index),
        "sigma": collective_diffusion(ions, 2 * spacing, spacing, index),
        "classes": replace(classes, units=None, rotations=np.asarray(classes.rotations)),
        "paths": (np.asarray(classes.units.turns), np.asarray(classes.units.exchanges)),
        "by class": class_displacements(ions, classes.ions, spacing, index),
        "own": self_part(ions, lags, spacing, index),
        "distinct": distinct_part(trajectory, "Li", lags[:4], cutoff_A=6.0),
        "alpha2": non_gaussian(ions, spacing, index, lags),
        "hops": hops,
        "turns": turns,
        "pairs": pairs,
        "density": density_grid(trajectory, "Li").density_per_A3,
        "rdf": radial_distributions(trajectory, 6.0, 0.1).g,
    }


def leaves(value, name=""):
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    elif is_dataclass(value):
        value = asdict(value)
    if isinstance(value, tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, f"{name}.{key}")
    elif value is not None and not isinstance(value, str):
        yield name, np.asarray(value)


def test_parts_give_the_same_numbers(trajectory, monkeypatch):
    whole = dict(leaves(observables(trajectory)))
    parts = dict(leaves(observables(parts_of(trajectory, 2**15, monkeypatch))))
    assert len(whole) > 40
    assert whole.keys() == parts.keys()
    for name, expected in whole.items():
        if expected.dtype.kind in "fc":
            np.testing.assert_allclose(parts[name], expected, 1e-11, 1e-11, err_msg=name)
        else:
            np.testing.assert_array_equal(parts[name], expected, err_msg=name)


def test_analyze_gives_the_same_in_parts(tmp_path, monkeypatch):
    """All of results.json; kinisi's sampling turns a last digit into as much as 1 % of D."""
    path = write_dump(tmp_path / "a.dump", *glass(150))
    options = {"run": path, "timestep": 1.0, "temperature": 600.0, "structure": False, "skip": 1.0}
    options |= {"hop_window": 1.0, "hop_threshold": 1.0}

    def results(name):
        found = analyze(AnalyzeOptions(**options, output=tmp_path / name))
        return dict(leaves(found.temperatures[0]))

    whole = results("whole")
    monkeypatch.setattr(spool, "MEMORY_BYTES", 2**15)
    parts = results("parts")
    assert whole.keys() == parts.keys()
    assert len(whole) > 100
    for name, expected in whole.items():
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(parts[name], expected, err_msg=name)
            continue
        sampled = "D_cm2_per_s.Li" in name or "sigma_NE" in name
        close = 0.05 if sampled else 1e-9
        np.testing.assert_allclose(parts[name], expected, close, 1e-12, err_msg=name)


def test_windows_at_the_ends_are_those_of_rotations(trajectory):
    """Against all frames of both windows at once."""
    window = 15
    ends = trajectory.at(np.r_[0:window, 150 - window : 150])
    *_, last = rotations(ends, window=window)
    known = ~np.isnan(last.windows.angle_deg)
    mine = known & (last.class_names == "PS4")
    assert mine.any()
    expected = last.windows.angle_deg[mine].mean(), last.windows.libration_deg[mine].mean()
    table = motif_series(trajectory, trajectory.indices("Li")).orientations
    np.testing.assert_allclose(table[~np.isnan(table).any(axis=1)], [expected], rtol=1e-12)


def peak_bytes(work):
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_times_as_long_takes_no_more_memory(tmp_path, monkeypatch):
    """At most 1.2 times, from the file to D, conductivity and motifs; held as a whole: 10 times."""
    monkeypatch.setattr(spool, "MEMORY_BYTES", 2**19)

    def work(path):
        trajectory = read(path, 1.0)
        ions = trajectory.paths(trajectory.indices("Li"))
        spacing, index = trajectory.grid()
        mean_squared_displacement(ions, index)
        lag_statistics(ions, log_lags(50), spacing, index)
        collective_diffusion(ions, 2 * spacing, spacing, index)
        classes = motif_series(trajectory, trajectory.indices("Li"))
        class_displacements(ions, classes.ions, spacing, index)
        radial_distributions(trajectory, 6.0, 0.1)

    fractional, cells, elements = glass(800, cells=3)
    work(write_dump(tmp_path / "warm.dump", fractional[:2], cells, elements, range(2)))
    peaks = [
        peak_bytes(lambda path=path: work(path))
        for path in (
            write_dump(tmp_path / f"{count}.dump", fractional, cells, elements, range(count))
            for count in (80, 800)
        )
    ]
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 0.6 * fractional.nbytes


def test_hops_hold_no_value_of_every_frame(tmp_path, monkeypatch):
    """A cage needs one value a half-window."""
    monkeypatch.setattr(spool, "MEMORY_BYTES", 2**15)
    fractional, cells, elements = glass(800, cells=3)
    trajectory = read(write_dump(tmp_path / "long.dump", fractional, cells, elements), 1.0)
    ions, (spacing, index) = trajectory.paths(trajectory.indices("Li")), trajectory.grid()
    about = {"window_ps": 12 * spacing, "threshold_A2": 100.0}
    peak = peak_bytes(lambda: detect_hops(ions, spacing, index, **about))
    assert peak < len(ions) * ions.shape[1] * 8
