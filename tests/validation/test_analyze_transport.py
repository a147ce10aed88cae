"""The hopping part of ``analyze`` on a glass made by hand: hops, rotations and D are planted."""

import csv
import json

import ase
import ase.io
import numpy as np
import pytest
from ase.io.cube import read_cube
from rich.console import Console
from scipy.spatial.transform import Rotation

from lbpsi_driver import analyze_transport
from lbpsi_driver.analyze import analyze
from lbpsi_driver.analyze_diffusion import add_arrhenius
from lbpsi_driver.config import AnalyzeOptions, UsageError, options
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.msd import lag_statistics, local_slopes
from lbpsi_driver.report.records import DiffusionRecord
from lbpsi_driver.report.results import AnalyzeResult, TemperatureRecord
from lbpsi_driver.report.structure_results import CurveRecord
from lbpsi_driver.units import BOLTZMANN_EV_PER_K

LENGTH = 24.0
FRAMES, SPACING = 400, 0.1
TETRAHEDRON = 2.05 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
CENTRES = 8.0 * np.array(list(np.ndindex(3, 3, 3))) + 4.0
JUMP = np.array([0.0, 3.0, 0.0])
BESIDE = np.array([3.6, -1.5, 0.0])
CAGE, TURN, D_IODINE = 0.15, 70.0, 0.4
LIGHT = {"sq_max": 2.0, "sq_bin": 0.2, "sq_vectors": 60, "longest_ring": 0}
ELEMENTS = np.array(["Li"] * 27 + ["P"] * 27 + ["S"] * 108 + ["I"] * 30)


def planted(seed=1):
    """Twice an ion hops 3 Å beside its PS4, which turns by 70 degrees then; I walk at random."""
    rng = np.random.default_rng(seed)
    first = rng.integers(30, 170, 27)
    second = first + rng.integers(60, 180, 27)
    second[9:] = FRAMES  # the others hop once
    time = np.arange(FRAMES)[:, None]
    hopped = (time >= first) ^ (time >= second)
    lithium = CENTRES + BESIDE + hopped[..., None] * JUMP
    lithium = lithium + rng.normal(0, CAGE, lithium.shape)
    turns = (time >= first).astype(int) + (time >= second)
    axes = rng.normal(size=(27, 3))
    axes *= np.radians(TURN) / np.linalg.norm(axes, axis=1, keepdims=True)
    sulfur = np.empty((FRAMES, 27, 4, 3))
    for unit, (centre, axis) in enumerate(zip(CENTRES, axes, strict=True)):
        for count in range(3):
            corners = Rotation.from_rotvec(count * axis).apply(TETRAHEDRON)
            sulfur[turns[:, unit] == count, unit] = centre + corners
    sulfur += rng.normal(0, 0.05, sulfur.shape)
    walk = rng.normal(0, np.sqrt(2 * D_IODINE * SPACING), (FRAMES, 30, 3))
    iodine = rng.random((30, 3)) * LENGTH + np.cumsum(walk, axis=0)
    phosphorus = CENTRES + rng.normal(0, 0.03, (FRAMES, 27, 3))
    parts = (lithium, phosphorus, sulfur.reshape(FRAMES, -1, 3), iodine)
    return np.concatenate(parts, axis=1), 27 + 9


def write(path, positions, elements=ELEMENTS):
    frames = (ase.Atoms(elements, now, cell=[LENGTH] * 3, pbc=True) for now in positions)
    ase.io.write(path, list(frames))
    return path


def chosen(run, output, **values):
    """Options without motifs and structure; I is not bonded, and one unit is near each hop."""
    given = {"motifs": False, "structure": False, "temperature": 500.0, "timestep": 100.0}
    quick = {"com": "none", "rdf_bin": 0.1, "density_voxel": 0.5, "bond": ["P-I=0.5"], "draws": 199}
    near = {"rotation_radius": 4.0}
    return AnalyzeOptions(run=run, output=output, **{**given, **quick, **near, **values})


@pytest.fixture(scope="module")
def positions():
    return planted()


@pytest.fixture(scope="module")
def result(positions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("glass")
    run = write(folder / "glass.extxyz", positions[0])
    output = folder / "out"
    return analyze(chosen(run, output)), output


def columns(path):
    with path.open() as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, np.array(rows, float).T, strict=True))


def printed(found, width=120):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


def test_hops_are_those_planted(result, positions):
    found, output = result
    record, number = found.temperatures[0].hops, positions[1]
    assert record.reason is None
    assert record.number == number
    assert record.length_A.mean == pytest.approx(3.0, abs=0.1)
    low, high = record.length_A.ci95
    assert low < 3.0 < high
    assert record.returned_share == pytest.approx(9 / number)
    watched = (FRAMES - 2 * 10 + 1) * SPACING
    assert record.rate_per_ps.mean == pytest.approx(number / (27 * watched))
    assert (record.residences_complete, record.residences_censored) == (9, 27)
    table = columns(output / record.file)
    assert len(table["time_ps"]) == number
    assert set(table["ion_id"]) == set(range(1, 28))
    assert (np.bincount(table["ion_id"].astype(int))[1:] == [2] * 9 + [1] * 18).all()
    np.testing.assert_allclose(np.abs(table["end_y_A"] - table["start_y_A"]), 3.0, atol=0.4)
    survival = columns(output / record.residence_file)
    assert (np.diff(survival["survival"]) <= 0).all()


def test_units_turn_at_hops(result):
    found, output = result
    record = found.temperatures[0].hop_rotation
    assert record.units.keys() == {"all", "P"}
    coupling = record.units["all"]
    assert coupling == record.units["P"]
    assert coupling.hops == 36
    assert coupling.angle_deg == pytest.approx(TURN, abs=2.0)
    assert coupling.expected_deg < 15.0
    assert coupling.excess_deg.ci95[0] > 45.0
    assert coupling.p_value == pytest.approx(2 / (1 + coupling.draws))
    profile = columns(output / record.file)
    peak = np.argmax(profile["excess_all_deg"])
    assert profile["delay_ps"][peak] == pytest.approx(0.0, abs=SPACING)


def test_van_hove_functions_and_alpha2(result, positions):
    found, output = result
    row = found.temperatures[0]
    assert row.van_hove.lags_ps == pytest.approx((1.0, 10.0))
    assert "100 ps are longer than half the run" in row.van_hove.reason
    table = columns(output / row.van_hove.self_file)
    for lag, beyond in zip((1, 10), row.van_hove.beyond_share, strict=True):
        total = 0.1 * table[f"4pir2Gs_{lag}ps_per_A"].sum()
        assert total + beyond == pytest.approx(1.0, abs=1e-4)
    lithium = positions[0][:, :27]
    moved = np.linalg.norm(lithium[100:] - lithium[:-100], axis=2)
    far = 0.1 * table["4pir2Gs_10ps_per_A"][table["r_A"] > 2.0].sum()
    assert far == pytest.approx((moved > 2.0).mean(), abs=2e-3)
    at_rest = columns(output / row.van_hove.distinct_file)
    # At lag 0 it is g(r), but for the N - 1 others of N ions.
    radial = columns(output / row.rdf.file)["g_Li-Li"][: len(at_rest["r_A"])]
    np.testing.assert_allclose(at_rest["Gd_0ps"][: len(radial)] * 26 / 27, radial, rtol=0.05)
    gaussian = columns(output / row.non_gaussian.file)
    place = np.argmin(np.abs(gaussian["lag_ps"] - 10.0))
    lag = round(gaussian["lag_ps"][place] / SPACING)
    squares = np.square(lithium[lag:] - lithium[:-lag]).sum(axis=2)
    expected = 0.6 * np.square(squares).mean() / squares.mean() ** 2 - 1
    assert gaussian["alpha2"][place] == pytest.approx(expected, rel=1e-4)


def test_density_is_in_pockets_and_goes_through_the_cube_file(result):
    found, output = result
    record = found.temperatures[0].ion_density
    assert record.reason is None
    assert record.ion_share == pytest.approx(0.9, abs=0.01)
    assert record.dimension == 0
    assert record.along == (False, False, False)
    assert record.mean_per_A3 == pytest.approx(27 / LENGTH**3)
    with (output / record.file).open() as file:
        cube = read_cube(file)
    assert cube["data"].shape == record.voxels
    assert cube["data"].sum() * record.voxel_A3 == pytest.approx(27.0, rel=1e-3)
    inside = cube["data"] >= record.threshold_per_A3
    assert inside.mean() == pytest.approx(record.volume_share, abs=1e-4)
    assert (cube["atoms"].symbols == "S").sum() == 108


def test_D_of_every_element(result):  # noqa: N802
    D = result[0].temperatures[0].D_cm2_per_s
    assert D.keys() == {"Li", "P", "S", "I"}
    iodine = D["I"]
    assert iodine.diffusive, iodine.reason
    low, high = iodine.ci95
    assert low < D_IODINE * 1e-4 < high
    assert high < 1.5 * low
    assert not D["P"].diffusive
    assert D["P"].reason
    assert "D of the others" in " ".join(printed(result[0]).split())


def test_json_figures_and_table(result):
    found, output = result
    content = json.loads((output / "results.json").read_text())
    assert AnalyzeResult.model_validate(content) == found
    assert {"van_hove", "alpha2", "hops", "hop_rotation", "slope"} <= content["definitions"].keys()
    for kind in ("van_hove", "alpha2", "ion_density", "hops", "hop_rotation"):
        name = found.files[f"{kind}_figure"]
        assert (output / name).read_bytes().startswith(b"\x89PNG"), name
    for name in found.files.values():
        assert (output / name).stat().st_size > 0, name
    for width in (80, 160):
        text = printed(found, width)
        assert "hopping" in text
        assert "nan" not in text
        assert "…" not in text


def small(path, elements, frames=2, seed=3):
    """Atoms of some elements that jitter about random places."""
    rng = np.random.default_rng(seed)
    start = rng.random((len(elements), 3)) * LENGTH
    return write(path, start + rng.normal(0, 0.1, (frames, len(elements), 3)), elements)


def reasons(row):
    parts = ("van_hove", "non_gaussian", "ion_density", "hops", "hop_rotation")
    return {part: getattr(row, part).reason for part in parts}


def test_one_frame_keeps_what_needs_no_motion(tmp_path):
    run = write(tmp_path / "one.extxyz", planted()[0][:1])
    found = analyze(chosen(run, tmp_path / "out", motifs=True, structure=True, **LIGHT))
    row = found.temperatures[0]
    assert row.qn.formers["P"].number == 27
    assert row.structure_factor.reason is None
    assert row.density_g_cm3.mean > 0
    for reason in (*reasons(row).values(), row.D_cm2_per_s["Li"].reason, row.motifs.reason):
        assert "1 frame" in reason
    assert row.sigma_mS_per_cm.mean is None
    assert "msd" not in found.files
    assert "1 frame" in printed(found)


def test_no_mobile_ion_keeps_the_rest(tmp_path):
    run = write(tmp_path / "a.extxyz", planted()[0][:40, 27:], ELEMENTS[27:])
    found = analyze(chosen(run, tmp_path / "out", motifs=True, structure=True, **LIGHT))
    row = found.temperatures[0]
    assert row.n_mobile == 0
    assert row.qn.formers["P"].number == 27
    assert row.motifs.classes["PS4"].fraction_of_formers.mean == 1.0
    assert row.D_cm2_per_s["I"].mean == pytest.approx(D_IODINE * 1e-4, rel=0.5)
    missing = (*reasons(row).values(), row.D_cm2_per_s["Li"].reason, row.haven_ratio.reason)
    assert set(missing) == {"no Li in the trajectory"}
    with pytest.raises(UsageError, match="--mobile Na: none in"):
        analyze(chosen(run, tmp_path / "out", mobile="Na"))


def test_without_formers_and_with_few_frames(tmp_path):
    elements = np.array(["Li"] * 6 + ["S"] * 6)
    found = analyze(chosen(small(tmp_path / "a.extxyz", elements), tmp_path / "out"))
    row = found.temperatures[0]
    assert "longer than half the run" in row.van_hove.reason
    assert "less than the run, 0.1 ps" in row.hops.reason
    assert "former" in row.hop_rotation.reason
    assert row.ion_density.reason is None
    assert "20 or more" in row.D_cm2_per_s["S"].reason


def test_what_breaks_does_not_lose_the_others(tmp_path, monkeypatch):
    def breaks(*_args, **_kwargs):
        raise ValueError("no\nsense")

    monkeypatch.setattr(analyze_transport, "detect_hops", breaks)
    monkeypatch.setattr(analyze_transport.transport_figures, "ion_density", breaks)
    elements = np.array(["Li"] * 6 + ["P"] * 6)
    run = small(tmp_path / "a.extxyz", elements, frames=15)
    found = analyze(chosen(run, tmp_path / "out", van_hove_lags=[0.1]))
    row = found.temperatures[0]
    assert row.hops.reason == row.hop_rotation.reason == "ValueError: no sense"
    assert "a: hops, hops and rotations: ValueError: no sense" in printed(found, 200)
    assert row.van_hove.lags_ps == pytest.approx((0.1,))
    assert "ion_density_a" in found.files
    assert "ion_density_figure" not in found.files


def test_switched_off(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LBPSI_PROGRESS", "plain")
    elements = np.array(["Li"] * 6 + ["P"] * 6)
    run = small(tmp_path / "a.extxyz", elements)
    found = analyze(chosen(run, tmp_path / "off", hopping=False))
    assert "2/2 a g(r)" in capsys.readouterr().err
    assert found.temperatures[0].hops is None
    assert found.temperatures[0].D_cm2_per_s.keys() == {"Li", "P"}
    assert not any("hop" in name or "hove" in name for name in found.files)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"van_hove_lags": [-1.0]}, "--van-hove-lags"),
        ({"density_share": 1.0}, "--density-share 1.0"),
        ({"hop_window": 0.0}, "--hop-window 0.0"),
        ({"draws": 3}, "--draws 3"),
    ],
)
def test_bad_options_are_refused(values, expected):
    with pytest.raises(UsageError, match=expected):
        options(AnalyzeOptions, values)


def test_local_slope_of_a_power_law():
    lags = np.arange(200, dtype=float)
    for power in (0.3, 1.0, 2.0):
        slopes = local_slopes(5.0 * lags**power)
        assert np.isnan(slopes[0])
        np.testing.assert_allclose(slopes[1:140], power)
        assert np.isnan(slopes[150:]).all()
    gap = lags.copy()
    gap[10] = np.nan
    assert np.isnan(local_slopes(gap)[[7, 14]]).all()


def test_fewer_origins_give_the_same_mean_and_count_less():
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(size=(2000, 40, 3)), axis=0)
    lags = np.array([1, 100])
    every, few = lag_statistics(walk, lags, 1.0), lag_statistics(walk, lags, 1.0, None, 200)
    np.testing.assert_allclose(few.msd_A2, every.msd_A2, rtol=0.05)
    assert every.independent == pytest.approx([40 * 1999, 40 * 19.99])
    assert few.independent == pytest.approx([40 * 200, 40 * 19.99])


def of_run(temperature, sigma, relative):
    """Record of a diffusive run with a collective conductivity, mS/cm."""
    ci95 = (sigma * (1 - relative), sigma * (1 + relative))
    D = DiffusionRecord(
        mean=1e-6,
        ci95=(0.9e-6, 1.1e-6),
        diffusive=True,
        loglog_slope=1.0,
        loglog_slope_ci95=None,
        window_ps=None,
    )
    none = Estimate(mean=None, reason="-")
    return TemperatureRecord(
        label=f"T{temperature:g}",
        temperature_K=temperature,
        frames=9,
        time_ps=1.0,
        n_mobile=1,
        volume_A3=100.0,
        density_g_cm3=none,
        msd=CurveRecord(file="-"),
        rdf=CurveRecord(file="-"),
        D_cm2_per_s={"Li": D},
        sigma_NE_mS_per_cm=none,
        sigma_mS_per_cm=Estimate(mean=sigma, ci95=ci95),
        D_sigma_cm2_per_s=none,
        haven_ratio=none,
        collective_window_ps=None,
    )


def test_arrhenius_of_the_collective_conductivity():
    """sigma T = A exp(-Ea/kT) gives A, Ea and sigma at 300 K; a point without use is named."""
    temperatures = (400.0, 500.0, 600.0, 700.0)
    law = {T: 5e6 * np.exp(-0.3 / (BOLTZMANN_EV_PER_K * T)) / T for T in (300.0, *temperatures)}
    rows = [of_run(T, law[T], 0.1) for T in temperatures] + [of_run(900.0, 1.0, 1.5)]
    result = AnalyzeResult(
        run="-", output="-", mobile="Li", charge_e=1.0, options={}, inputs=[], temperatures=rows
    )
    _, fit = add_arrhenius(result)
    record = result.arrhenius_sigma
    assert fit is not None
    assert record.Ea_eV.mean == pytest.approx(0.3)
    assert record.prefactor_mS_K_per_cm.mean == pytest.approx(5e6)
    assert record.sigma_300K_mS_per_cm.mean == pytest.approx(law[300.0])
    assert record.temperatures_K == temperatures
    assert record.left_out_K == (900.0,)
    result.temperatures = rows[2:]
    assert add_arrhenius(result)[1] is None
    assert "900 K has no interval above zero" in result.arrhenius_sigma.reason
