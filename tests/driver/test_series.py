"""``analyze`` of several runs: pooled replicas, planted and absent effects of composition."""

import csv
import json
import logging

import ase
import ase.io
import numpy as np
import pytest
import walks
from replicas import chosen, replica
from rich.console import Console

from lbpsi_driver import composition, pool_runs, run_facts, series
from lbpsi_driver.config import UsageError, options
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.report.quantities import Quantity, grouped
from lbpsi_driver.report.results import AnalyzeResult
from lbpsi_driver.report.series_results import GroupRecord, PooledRecord, SeriesResult
from lbpsi_driver.series_options import SeriesOptions

T = 900
SPREAD = (0.9, 1.0, 1.12)
"""Factors of D of the replicas: their glasses differ."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three compositions; the second is as fast as the first, the third seven times as fast."""
    root = tmp_path_factory.mktemp("series")
    for p2s5, factor in ((0, 1.0), (1, 1.0), (3, 7.0)):
        for number, of_replica in enumerate(SPREAD):
            folder = root / f"x{p2s5}" / f"g{number}" / "sweep"
            walks.write_sweep(folder, p2s5, factor * of_replica, 10 * p2s5 + number, (T,))
    return root


@pytest.fixture(scope="module")
def result(runs):
    paths = tuple(sorted(runs.glob("x*/g*/sweep")))
    return series.analyze(chosen(run=paths, output=runs / "pooled")), runs / "pooled"


def printed(found, width=120):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


def test_replicas_are_grouped_by_composition(result):
    found, _ = result
    assert [one.runs for one in found.compositions] == [
        [f"x{x}/g{n}" for n in range(3)] for x in (0, 1, 3)
    ]
    percents = [one.p2s5_mol_percent for one in found.compositions]
    assert percents == pytest.approx([0, 100 / 24, 300 / 24])
    assert found.compositions[0].name == "25Li2S-50LiI-25B2S3"
    for one in found.compositions:
        assert [group.temperature_K for group in one.groups] == [T]
        assert one.facts.replicas == 3
        assert one.facts.rate_K_per_ps == 300.0


def test_pooled_numbers_hold_the_truth(result):
    found, _ = result
    for one, factor in zip(found.compositions, (1.0, 1.0, 7.0), strict=True):
        group = one.groups[0]
        D = group.quantities["D_cm2_per_s"]
        assert D.replicas == 3
        assert D.kind == "log"
        low, high = D.ci95
        assert low < walks.truth(T, factor) * 1e-4 < high
        assert high / low < 4.0
        each = [of_run(run).temperatures[0] for run in one.runs for of_run in [reader(found)]]
        means = [row.D_cm2_per_s["Li"].mean for row in each]
        assert min(means) < D.mean < max(means)
        summed = sum(row.D_sigma_cm2_per_s.mean for row in each)
        tracer = sum(row.haven_ratio.mean * row.D_sigma_cm2_per_s.mean for row in each)
        assert group.quantities["haven_ratio"].mean == pytest.approx(tracer / summed)
        peak = group.quantities["first_peak_A.Li-S"]
        assert peak.kind == "plain"


def reader(found):
    def read(name):
        path = f"{found.runs[name]}/results.json"
        with open(path, encoding="utf-8") as file:
            return AnalyzeResult.model_validate_json(file.read())

    return read


def test_a_planted_sevenfold_difference_is_found_and_an_absent_one_is_not(result):
    found, _ = result
    ratios = {row.composition: row for row in found.ratios if row.quantity == "D_cm2_per_s"}
    same, faster = (ratios[one.name] for one in found.compositions[1:])
    assert not same.found
    assert same.ratio.ci95[0] < 1.0 < same.ratio.ci95[1]
    assert faster.found
    assert faster.ratio.ci95[0] < 7.0 < faster.ratio.ci95[1]
    assert faster.ratio.ci95[0] > 3.0
    seen = next(row for row in found.scatter if row.quantity == "D_cm2_per_s")
    assert seen.degrees == 6
    assert 1.0 < seen.smallest_ratio < seen.smallest_ratio_at_most
    assert seen.power_of_sevenfold > 0.99


def test_files(result):
    found, output = result
    for name in found.files.values():
        assert (output / name).stat().st_size > 100, name
    stored = json.loads((output / "series.json").read_text())
    assert SeriesResult.model_validate(stored) == found
    with (output / "series.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["P2S5_mol_percent"]) for row in rows] == pytest.approx([0, 4.16667, 12.5])
    D = found.compositions[2].groups[0].quantities["D_cm2_per_s"]
    assert float(rows[2]["D_cm2_per_s_low"]) == pytest.approx(D.ci95[0], rel=1e-4)
    assert rows[0]["Ea_eV"] == ""
    with (output / "replicas.csv").open() as file:
        each = [row for row in csv.DictReader(file) if row["quantity"] == "D_cm2_per_s"]
    assert len(each) == 9
    with (output / "pooled.csv").open() as file:
        assert any(row["quantity"] == "haven_ratio" for row in csv.DictReader(file))


@pytest.mark.parametrize("width", [80, 160])
def test_table_is_legible(result, width):
    text = printed(result[0], width)
    for word in ("12.5", "mS/cm", "not seen", "smallest", "sevenfold", "Ea: not given"):
        assert word in text
    assert "…" not in text
    assert "nan" not in text


def test_results_that_are_there_are_reused_unless_something_changed(result, runs, caplog, tmp_path):
    paths = tuple(sorted(runs.glob("x0/g*/sweep")))
    before = [(path / "results.json").stat().st_mtime_ns for path in paths]
    with caplog.at_level(logging.INFO):
        again = series.analyze(chosen(run=paths, output=tmp_path / "again"))
    assert caplog.text.count("reused") == 3
    assert [(path / "results.json").stat().st_mtime_ns for path in paths] == before
    first = result[0].compositions[0].groups[0].quantities
    quantities = again.compositions[0].groups[0].quantities
    assert quantities["D_cm2_per_s"] == first["D_cm2_per_s"]
    caplog.clear()
    dump = paths[0] / f"T{T}" / "trajectory.dump"
    walks.write_dump(dump, walks.elements(0), walks.truth(T), 99)
    with caplog.at_level(logging.INFO):
        series.analyze(chosen(run=paths, output=tmp_path / "again"))
    assert caplog.text.count("reused") == 2


def test_one_run_is_analysed_as_ever(runs, tmp_path):
    (path,) = runs.glob("x0/g1/sweep")
    found = series.analyze(chosen(run=(path,), output=tmp_path), dry_run=True)
    assert isinstance(found, AnalyzeResult)
    assert found.run == str(path)
    assert found.output == str(tmp_path)


def test_a_dry_run_writes_nothing(runs, tmp_path):
    paths = tuple(sorted(runs.glob("x3/g*/sweep")))
    found = series.analyze(chosen(run=paths, output=tmp_path / "none"), dry_run=True)
    assert len(found.inputs) == 3
    assert not (tmp_path / "none").exists()
    assert "would read" in printed(found)


def test_options_that_were_not_given_stay_unset(tmp_path):
    found = options(SeriesOptions, {"run": "a", "bond": []} | {"run": ["a", "b"]})
    one = found.of(tmp_path, None)
    assert "chain" not in one.model_fields_set
    assert one.run == tmp_path


@pytest.mark.parametrize(
    ("given", "message"),
    [(["a", "./a"], "each run once"), ([], "at least 1")],
)
def test_bad_runs_are_one_line(given, message):
    with pytest.raises(UsageError, match=message) as caught:
        options(SeriesOptions, {"run": given})
    assert "\n" not in str(caught.value)


def test_names_tell_runs_apart(tmp_path):
    def names(*ends):
        return series.names_of([tmp_path / end for end in ends])

    assert names("x0/g1/sweep", "x0/g2/sweep") == ["g1", "g2"]
    assert names("x0/g1/sweep", "x1/g1/sweep") == ["x0", "x1"]
    assert names("x0/g1/sweep", "x0/g2/sweep", "x1/g1/sweep") == ["x0/g1", "x0/g2", "x1/g1"]
    assert names("a.extxyz", "b.extxyz") == ["a", "b"]
    assert names("a.dump", "a.xyz") == ["a.dump", "a.xyz"]
    for end in ("x2.5", "x7.5"):  # folders: no suffix
        (tmp_path / end).mkdir()
    assert names("x2.5", "x7.5") == ["x2.5", "x7.5"]


# --- without trajectories ----------------------------------------------------------------------


def pooled(*replicas):
    result = SeriesResult(output="o", mobile="Li", charge_e=1.0, options={}, runs={})
    pool_runs.pool_all(result, replicas)
    return result


def test_replicas_that_do_not_diffuse_are_left_out_and_named():
    found = pooled(replica("a", 1e-5), replica("b", 1.2e-5), replica("c", 1e-8, diffusive=False))
    D = found.compositions[0].groups[0].quantities["D_cm2_per_s"]
    assert D.replicas == 2
    assert "not diffusive" in D.missing["c"]
    assert "cages" in D.missing["c"]
    assert "two replicas" in D.reason
    density = found.compositions[0].groups[0].quantities["density_g_cm3"]
    assert density.replicas == 3
    found.files["json"] = "series.json"
    assert "1 of 3 replicas without D: c: not diffusive" in printed(found).replace("\n", " ")


def test_activation_energies_of_replicas_are_pooled():
    energies = (0.28, 0.30, 0.35)
    D = (1e-5, 3e-5, 2e-6)
    rows = [replica(n, d, e) for n, d, e in zip("abc", D, energies, strict=True)]
    line = pooled(*rows).compositions[0].arrhenius
    assert line.reported == "pooled"
    Ea = line.number("Ea_eV")
    # Equal errors: Student's.
    assert Ea.mean == pytest.approx(np.mean(energies))
    half = 4.30265 * np.std(energies, ddof=1) / np.sqrt(3)
    assert Ea.ci95 == pytest.approx((Ea.mean - half, Ea.mean + half), rel=1e-4)
    # The line through the pooled D has the same slope, since all have all temperatures; its
    # interval holds the offset between replicas, which is the same at all temperatures.
    whole = line.of_pooled_D["Ea_eV"]
    assert whole.mean == pytest.approx(np.mean(energies), abs=1e-6)
    assert whole.ci95[1] - whole.ci95[0] > 10 * half


def test_runs_of_one_temperature_each_share_a_line():
    kelvins = (600.0, 700.0, 800.0)
    rows = [
        replica(f"{K:g}{n}", 1e-5 * f, kelvins=(K,))
        for K in kelvins
        for n, f in zip("ab", (1, 1.1), strict=True)
    ]
    line = pooled(*rows).compositions[0].arrhenius
    assert line.reported == "of_pooled_D"
    assert line.number("Ea_eV").mean == pytest.approx(0.3, abs=1e-6)
    n = 10 / 1000.0
    expected = line.number("D_300K_cm2_per_s").mean * n * 1e24 * 1.602176634e-19**2
    expected /= 1.380649e-23 * 300.0 * 1e-3
    assert line.number("sigma_NE_300K_mS_per_cm").mean == pytest.approx(expected, rel=1e-6)


def test_no_line_leads_through_the_fast_glasses_of_a_temperature():
    kelvins = (600.0, 700.0, 800.0)
    rows = [replica(f"a{K:g}", 1e-5, kelvins=(K,)) for K in kelvins]
    rows.append(replica("b600", 1e-7, kelvins=(600.0,), diffusive=False))
    line = pooled(*rows).compositions[0].arrhenius
    assert not line.of_pooled_D
    assert "2 diffusive temperature(s)" in line.of_pooled_D_reason
    assert line.of_pooled_D_reason.endswith("where a replica has no D are left out")


def test_compositions_of_one_rounded_name_are_told_apart():
    found = pooled(replica("a", 1e-5), replica("b", 7e-5, elements={"Li": 40, "P": 20, "S": 71}))
    assert len({one.name for one in found.compositions}) == 2
    ratios = [row.ratio.mean for row in found.ratios if row.quantity == "D_cm2_per_s"]
    assert np.abs(np.log(ratios)) == pytest.approx([np.log(7.0)] * 3)


def test_doubts_about_replicas_are_told():
    rows = [
        replica("a", 1e-5, glass_sha256="one", model_sha256="m"),
        replica("b", 1e-5, glass_sha256="one", model_sha256="n"),
        replica("c", 1e-5, elements={}),
    ]
    warnings = " ".join(series._doubts(rows))
    assert "a and b start from one glass" in warnings
    assert "pooled with other models" in warnings
    assert "c: composition unknown" in warnings


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (
            {"Li": 42, "B": 20, "P": 4, "S": 52, "I": 18},
            {"Li2S": 1200 / 42, "LiI": 1800 / 42, "B2S3": 1000 / 42, "P2S5": 200 / 42},
        ),
        ({"Li": 3, "P": 1, "S": 4}, {"Li2S": 75.0, "P2S5": 25.0}),
        ({"Li": 2, "Si": 1, "S": 3}, {"Li2S": 50.0, "SiS2": 50.0}),
        ({"Li": 1, "S": 1}, None),
        ({"B": 2, "I": 6}, None),
        ({"Li": 4, "P": 2, "S": 6}, None),
        ({"Li": 1, "P": 1, "S": 3}, {"Li2S": 50.0, "P2S5": 50.0}),
        ({"Na": 3, "P": 1, "S": 4}, None),
        ({}, None),
    ],
)
def test_elements_as_salts(elements, expected):
    found = composition.mol_percent(elements)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("name", ["a.extxyz", "XDATCAR", "named.dump", "typed.dump"])
def test_elements_come_from_the_first_frame(tmp_path, name):
    atoms = ase.Atoms("Li3PS4", positions=np.arange(24.0).reshape(8, 3) % 7, cell=[9] * 3, pbc=True)
    path = tmp_path / name
    if name == "a.extxyz":
        ase.io.write(path, [atoms, atoms])
    elif name == "XDATCAR":
        ase.io.write(path, [atoms, atoms], format="vasp-xdatcar")
    else:
        walks.write_dump(path, list(atoms.symbols), 0.1, 1, frames=2)
    if name == "typed.dump":
        text = path.read_text().replace("id element", "id type")
        for number, symbol in enumerate(("Li", "P", "S"), start=1):
            text = text.replace(f" {symbol} ", f" {number} ")
        path.write_text(text)
    found = run_facts.element_counts([path], tmp_path, ("Li", "P", "S"))
    assert found == {"Li": 3, "P": 1, "S": 4}
    assert run_facts.element_counts([tmp_path / "gone"], tmp_path / "none") == {}


def test_a_motif_that_a_composition_lacks_is_a_share_of_zero():
    group = GroupRecord(temperature_K=T, runs=["a"], time_ps=1.0, quantities={})
    assert group.number("formers.PS4") is None
    share = PooledRecord(mean=1.0, replicas=1, kind="plain", between=None, within=None)
    group.quantities["formers.network"] = share
    assert group.number("formers.PS4").mean == 0.0
    assert group.number("qn.P.0") is None


def test_shares_that_a_replica_does_not_list_are_zero_there():
    share = Quantity(Estimate(mean=0.3), "plain")
    other = Quantity(Estimate(mean=0.9), "plain")
    found = grouped({"a": {"formers.PS4": share}, "b": {"formers.network": other}, "c": {}})
    assert found["formers.PS4"]["b"].estimate.mean == 0.0
    # No motifs were looked for in the third.
    assert found["formers.PS4"]["c"].estimate.mean is None
