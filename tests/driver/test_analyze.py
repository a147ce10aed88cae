"""``analyze`` end to end on folders as ``sweep`` and ``quench`` leave them, and on other files."""

import csv
import json
import logging

import ase
import ase.io
import numpy as np
import pytest
from rich.console import Console

from lbpsi_driver import manifest
from lbpsi_driver.analyze import analyze
from lbpsi_driver.config import AnalyzeOptions, SweepOptions, UsageError
from lbpsi_driver.report.records import digits
from lbpsi_driver.report.results import DEFINITIONS, AnalyzeResult
from lbpsi_driver.units import BOLTZMANN_EV_PER_K

ELEMENTS = np.array(["Li"] * 16 + ["S"] * 12 + ["P"] * 4)
LENGTH = 9.0
SPACING = 0.2  # ps


def chosen(**values):
    """Options without motifs, structure and hopping, which have tests of their own."""
    return AnalyzeOptions(**{"motifs": False, "structure": False, "hopping": False, **values})


def truth(temperature):
    """D of the walkers below, Å2/ps."""
    return 20.0 * np.exp(-0.25 / (BOLTZMANN_EV_PER_K * temperature))


def frames(D, count, seed):
    """Li walks, the rest rattles, the cell breathes; fractional coordinates and cell lengths."""
    rng = np.random.default_rng(seed)
    sigma = np.where(ELEMENTS == "Li", np.sqrt(2 * D * SPACING), 0.0)[:, None] / LENGTH
    path = rng.random((1, len(ELEMENTS), 3)) + np.cumsum(
        rng.normal(size=(count, len(ELEMENTS), 3)) * sigma, axis=0
    )
    path += rng.normal(0, 0.1 / LENGTH, path.shape)
    return path, LENGTH * (1 + 0.01 * rng.normal(size=count))


def write_dump(path, D, count=200, seed=1):
    fractional, lengths = frames(D, count, seed)
    text = []
    for t, (s, length) in enumerate(zip(fractional, lengths, strict=True)):
        images = np.floor(s)
        rows = np.hstack([(s - images) * length, images])
        text.append(
            f"ITEM: TIMESTEP\n{1000 + 100 * t}\nITEM: NUMBER OF ATOMS\n{len(ELEMENTS)}\n"
            "ITEM: BOX BOUNDS pp pp pp\n" + f"0 {length:.10g}\n" * 3
        )
        text.append("ITEM: ATOMS id element x y z ix iy iz\n")
        text += [
            f"{i + 1} {ELEMENTS[i]} {x:.8g} {y:.8g} {z:.8g} {a:.0f} {b:.0f} {c:.0f}\n"
            for i, (x, y, z, a, b, c) in enumerate(rows)
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(text))


def write_history(folder):
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["# step time_ps temp_K density_g_cm3 press_bar volume_A3 pe_eV stage"]
    rows += [
        f"{n} {0.01 * n} {300 + n} {2.0 + 0.001 * (n % 5)} 1 900 -50 {'heat' if n < 50 else 'cool'}"
        for n in [*range(70), *range(60, 100)]
    ]
    (folder / "history.dat").write_text("\n".join([*rows, "100 1.0 4"]))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_history(root / "quench")
    folder = root / "sweep"
    for number, temperature in enumerate((400, 500, 600, 1000)):
        write_dump(folder / f"T{temperature}" / "trajectory.dump", truth(temperature), seed=number)
    (folder / "T700").mkdir()
    options = {"timestep": 2.0, "data": str(root / "quench" / "data.quenched")}
    manifest = {"format": 1, "runs": {"sweep": {"options": options}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def result(sweep, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "new"
    return analyze(chosen(run=sweep, output=output, rdf_bin=0.1)), output


def test_numbers_of_a_sweep(result):
    found, _ = result
    assert [row.temperature_K for row in found.temperatures] == [400, 500, 600, 1000]
    for row in found.temperatures[1:]:
        D = row.D_cm2_per_s["Li"]
        assert D.diffusive, D.reason
        low, high = D.ci95
        width = high - low
        # Li is an eighth of the mass: its walk moves the centre of mass that D refers to.
        assert low - width < truth(row.temperature_K) * 1e-4 < high + width
        assert row.time_ps == pytest.approx(199 * SPACING)
        assert row.haven_ratio.ci95[0] < 1.4
        assert row.haven_ratio.ci95[1] > 0.8
        # Its D is that of the lags of sigma.
        ratio = row.sigma_NE_mS_per_cm.mean / row.sigma_mS_per_cm.mean
        assert ratio == pytest.approx(row.haven_ratio.mean, rel=0.3)
        assert row.sigma_mS_per_cm.reason is None
        mass = 16 * 6.94 + 12 * 32.06 + 4 * 30.974
        expected = mass * 1.66053907 / LENGTH**3
        assert row.density_g_cm3.mean == pytest.approx(expected, rel=0.01)
    assert found.arrhenius.Ea_eV.ci95[0] - 0.02 < 0.25 < found.arrhenius.Ea_eV.ci95[1] + 0.02
    assert found.arrhenius.D_300K_cm2_per_s.mean == pytest.approx(truth(300) * 1e-4, rel=0.6)
    # In 40 ps of slow walks the sum of all displacements hardly tells its slope from zero.
    assert "sigma at 400, 500 K has no interval above zero" in found.arrhenius_sigma.reason
    assert found.quench.last_stage == "cool"
    assert found.quench.density_g_cm3.mean == pytest.approx(2.002, abs=1e-4)
    assert found.warnings == ["T700: no trajectory.dump yet, left out"]


def test_results_json_is_the_result_and_keeps_its_schema(result):
    found, output = result
    content = json.loads((output / "results.json").read_text())
    assert AnalyzeResult.model_validate(content) == found
    assert {"temperatures", "arrhenius", "definitions", "quench", "files"} <= content.keys()
    row = content["temperatures"][-1]
    assert row["temperature_K"] == 1000
    assert row["D_cm2_per_s"]["Li"].keys() == {
        "mean",
        "ci95",
        "reason",
        "diffusive",
        "loglog_slope",
        "loglog_slope_ci95",
        "window_ps",
    }
    for key in ("density_g_cm3", "sigma_NE_mS_per_cm", "sigma_mS_per_cm", "haven_ratio"):
        assert row[key].keys() == {"mean", "ci95", "reason"}
    assert content["definitions"] == DEFINITIONS
    assert content["options"]["com"] == "all"


def test_files(result):
    found, output = result
    for name in found.files.values():
        assert (output / name).stat().st_size > 100, name
    for name in ("msd.png", "rdf.png", "arrhenius.png", "history.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    with (output / found.temperatures[0].msd.file).open() as file:
        rows = list(csv.DictReader(file))
    names = [f"{kind}_{element}" for kind in ("msd", "slope") for element in ("Li", "P", "S")]
    assert rows[0].keys() == {
        "lag_ps",
        *(name + "_A2" * name.startswith("msd") for name in names),
    }
    assert float(rows[1]["lag_ps"]) == pytest.approx(SPACING)
    hot = found.temperatures[-1]
    with (output / hot.msd.file).open() as file:
        rows = list(csv.DictReader(file))
    walked = [float(row["slope_Li"]) for row in rows[5:40]]
    assert np.mean(walked) == pytest.approx(1.0, abs=0.1)
    rattled = [float(row["slope_P"]) for row in rows[5:40]]
    assert np.mean(rattled) < 0.6
    with (output / found.temperatures[0].rdf.file).open() as file:
        header = next(csv.reader(file))
    assert header[:3] == ["r_A", "r_upper_A", "g_Li-Li"]
    assert "n_P-S_to_r_upper" in header


def printed(found, width=200):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


def test_manifest_says_what_the_numbers_were_made_from(result, sweep):
    found, output = result
    record = json.loads((output / "manifest.json").read_text())["runs"]["analyze"]
    assert record["state"] == "finished"
    assert record["options"]["rdf_bin"] == 0.1
    assert record["versions"]["lbpsi_driver"]
    path = sweep / "T500" / "trajectory.dump"
    assert record["configuration"]["sha256"][str(path)] == manifest.sha256(path)
    assert list(record["inputs"]) == found.inputs


def test_records_of_other_verbs_stay_and_nothing_is_refused(tmp_path):
    write_dump(tmp_path / "T900" / "trajectory.dump", truth(900), count=60)
    options = SweepOptions(output=tmp_path, timestep=2.0)
    manifest.open_run(tmp_path, "sweep", options).finish({"runs": []})
    for mobile in ("Li", "S"):
        analyze(chosen(run=tmp_path, mobile=mobile))
    records = json.loads((tmp_path / "manifest.json").read_text())["runs"]
    assert records["analyze"]["options"]["mobile"] == "S"
    assert manifest.open_run(tmp_path, "sweep", options).finished == {"runs": []}


@pytest.mark.parametrize("width", [80, 160])
def test_table_is_legible(result, width):
    text = printed(result[0], width)
    for word in ("1000", "mS/cm", "Haven", "yes", "Ea: ", "eV"):
        assert word in text
    assert "…" not in text
    assert "nan" not in text


def test_charge_scales_conductivity_and_not_the_haven_ratio(sweep, tmp_path):
    options = chosen(run=sweep / "T1000", output=tmp_path / "a")
    formal = analyze(options).temperatures[0]
    given = analyze(options.model_copy(update={"charge": "Li=0.882"})).temperatures[0]
    ratio = given.sigma_mS_per_cm.mean / formal.sigma_mS_per_cm.mean
    assert ratio == pytest.approx(0.882**2)
    assert given.haven_ratio == formal.haven_ratio
    assert given.temperature_K == 1000


def test_fewer_than_three_diffusive_temperatures_say_why(tmp_path):
    for temperature, D in ((300, 1e-6), (900, truth(900)), (1000, truth(1000))):
        write_dump(tmp_path / f"T{temperature}" / "trajectory.dump", D, count=120)
    found = analyze(chosen(run=tmp_path, timestep=2.0, skip=2.0))
    assert not found.temperatures[0].D_cm2_per_s["Li"].diffusive
    assert "cages" in found.temperatures[0].D_cm2_per_s["Li"].reason
    assert found.temperatures[0].frames == 110
    assert found.arrhenius.Ea_eV is None
    assert "2 diffusive temperature" in found.arrhenius.reason
    assert (tmp_path / "results.json").is_file()


def test_transport_of_a_run_that_is_not_diffusive_is_flagged(tmp_path):
    write_dump(tmp_path / "T300" / "trajectory.dump", 0.004, count=400)
    found = analyze(chosen(run=tmp_path, timestep=2.0))
    row = found.temperatures[0]
    D = row.D_cm2_per_s["Li"]
    assert not D.diffusive
    for number in (
        row.sigma_NE_mS_per_cm,
        row.sigma_mS_per_cm,
        row.D_sigma_cm2_per_s,
        row.haven_ratio,
    ):
        assert number.mean is not None
        assert D.reason in number.reason
    text = printed(found)
    assert "not diffusive, D, σ_NE, σ and Haven ratio are no transport coefficients: MSD" in text
    for number in (D.scaled(1e7), row.sigma_mS_per_cm, row.haven_ratio):
        assert f"({number.mean:.3g}" in text
        assert f"{number.ci95[1]:.3g})" in text


def test_numbers_of_diffusive_runs_have_no_brackets(result):
    rows = printed(result[0]).split("1000")[1].split("warning")[0]
    assert "(" not in rows


def test_density_of_a_short_stage_has_no_interval_but_a_reason(tmp_path):
    """A density that drifts all through its stage, as in a quench that hasn't settled."""
    rows = [f"{n} {0.01 * n} 300 {2.0 + 0.001 * n} 1 900 -50 cool" for n in range(60)]
    (tmp_path / "history.dat").write_text("\n".join(rows) + "\n")
    found = analyze(chosen(run=tmp_path))
    density = found.quench.density_g_cm3
    assert density.mean == pytest.approx(2.0295)
    assert density.ci95 is None
    assert "independent" in density.reason
    assert "in stage cool: 60 values are worth" in printed(found)


def test_dry_run_writes_nothing(sweep, tmp_path):
    found = analyze(chosen(run=sweep, output=tmp_path / "none"), dry_run=True)
    assert not (tmp_path / "none").exists()
    assert len(found.inputs) == 5
    assert found.temperatures == []
    assert "would read" in printed(found)


def test_a_quench_alone(tmp_path):
    write_history(tmp_path)
    found = analyze(chosen(run=tmp_path))
    assert found.quench.density_g_cm3.ci95 is not None
    assert found.files.keys() == {"history", "results"}
    assert found.arrhenius.reason


@pytest.mark.parametrize("name", ["walk.extxyz", "XDATCAR"])
def test_foreign_trajectory(tmp_path, name):
    fractional, lengths = frames(truth(1000), 80, seed=3)
    images = [
        ase.Atoms(ELEMENTS, scaled_positions=s % 1.0, cell=[length] * 3, pbc=True)
        for s, length in zip(fractional, lengths, strict=True)
    ]
    ase.io.write(tmp_path / name, images, format="extxyz" if "ext" in name else "vasp-xdatcar")
    found = analyze(chosen(run=tmp_path / name, timestep=200.0, temperature=1000.0))
    row = found.temperatures[0]
    assert row.time_ps == pytest.approx(79 * SPACING)
    assert row.D_cm2_per_s["Li"].mean == pytest.approx(truth(1000) * 1e-4, rel=0.4)
    assert row.sigma_NE_mS_per_cm.mean > 0
    assert (tmp_path / "results.json").is_file()
    unknown = analyze(chosen(run=tmp_path / name, timestep=200.0)).temperatures[0]
    assert unknown.D_cm2_per_s["Li"] == row.D_cm2_per_s["Li"]
    assert "--temperature" in unknown.sigma_mS_per_cm.reason


def test_ions_alone_have_no_collective_conductivity(tmp_path):
    fractional, _ = frames(truth(1000), 80, seed=3)
    lithium = ELEMENTS == "Li"
    images = [
        ase.Atoms(ELEMENTS[lithium], scaled_positions=s[lithium], cell=[LENGTH] * 3, pbc=True)
        for s in fractional
    ]
    ase.io.write(tmp_path / "a.extxyz", images)
    options = chosen(run=tmp_path / "a.extxyz", timestep=200.0, temperature=1000.0)
    row = analyze(options).temperatures[0]
    assert row.sigma_mS_per_cm.mean is None
    assert "no other ions" in row.sigma_mS_per_cm.reason
    assert row.sigma_NE_mS_per_cm.mean > 0


def test_bad_input_ends_in_one_line(sweep, tmp_path):
    single = tmp_path / "single.dump"
    write_dump(single, 0.1, count=1)
    blocked = tmp_path / "file"
    blocked.write_text("")
    cases = {
        "run sweep first": {"run": tmp_path / "none"},
        "give a sweep's folder": {"run": tmp_path},
        "--mobile Na: none in": {"run": sweep, "mobile": "Na"},
        "as in Li=0.882": {"run": sweep, "charge": "0.882"},
        "two or more are needed": {"run": single, "timestep": 1.0, "skip": 0.5},
        "--timestep": {"run": single},
        "cannot write": {"run": sweep, "output": blocked / "sub"},
        "--rdf-bin": {"run": sweep, "rdf_bin": 5.0},
    }
    for expected, values in cases.items():
        with pytest.raises(UsageError) as error:
            analyze(chosen(**{"output": tmp_path / "out", **values}))
        assert expected in str(error.value)
        assert "\n" not in str(error.value)


def test_one_dump_of_a_sweep_is_known_by_its_folder(sweep, tmp_path):
    run = sweep / "T1000" / "trajectory.dump"
    found = analyze(chosen(run=run, output=tmp_path), dry_run=True)
    assert found.inputs == [str(run)]
    row = analyze(chosen(run=run, output=tmp_path)).temperatures[0]
    assert (row.label, row.temperature_K, row.time_ps) == ("T1000", 1000, pytest.approx(39.8))


def test_unfinished_temperatures_are_logged(sweep, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        analyze(chosen(run=sweep, output=tmp_path), dry_run=True)
    assert "T700" in caplog.text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.01234, "0.0123"), (999.4, "999"), (999.6, "1000"), (-12345.0, "-12345")],
)
def test_numbers_have_three_digits(value, text):
    assert digits(value) == text
