"""``compare``: rows of the papers' files, and our numbers beside them."""

import csv
import json
import re

import numpy as np
import pytest
import walks
from replicas import chosen, number, replica
from rich.console import Console

from lbpsi_driver import papers, pool_runs, series
from lbpsi_driver.compare import compare, fractions_of, is_composition
from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.protocol_differences import differences
from lbpsi_driver.report.compare_results import CompareResult
from lbpsi_driver.report.elastic_results import ElasticReplica, ElasticResult, ModuliEstimate
from lbpsi_driver.report.quantities import unit_of
from lbpsi_driver.report.run_facts import RunFacts
from lbpsi_driver.report.series_results import SeriesResult
from lbpsi_driver.series_options import CompareOptions

LBPSI = {"Li": 42, "B": 20, "P": 4, "S": 52, "I": 18}
BARE = {"Li": 48, "B": 24, "S": 60, "I": 18}


def printed(found, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


def at(found, key, label=""):
    return next(row for row in found.rows if row.key == key and label in row.label)


# --- the papers' files -------------------------------------------------------------------------


@pytest.mark.parametrize("name", papers.known())
def test_papers_are_sound(name):
    paper = papers.read_paper(name)
    for row in paper.rows:
        assert row.protocol in paper.protocols, row.key
        assert row.where, row.key
        if isinstance(row.value, tuple):
            assert row.value[0] < row.value[1], row.key
        wanted = paper.protocol(row).composition
        assert wanted is None or sum(fractions_of(wanted).values()) == pytest.approx(1.0)
        has_unit = row.key.endswith(("_eV", "_per_s", "_per_cm", "_cm3", "_GPa"))
        if has_unit and row.unit not in ("", "times"):
            assert row.unit == unit_of(row.key), row.key
    keys = [(row.key, row.label, row.composition) for row in paper.rows]
    assert len(set(keys)) == len(keys)


def test_shares_of_a_paper_sum_to_one():
    paper = papers.read_paper("li_si_p_s")
    for family in (r"qn\.\w+", r"en\.\w+", r"environment\.\w+"):
        sums = {}
        for row in paper.rows:
            if match := re.match(family, row.key):
                where = (match[0], row.composition, row.protocol)
                sums[where] = sums.get(where, 0.0) + row.value
        assert len(sums) >= 2
        for where, total in sums.items():
            # A row of Table S2 that contradicts itself is left out: 3.6 %.
            least = 0.95 if where[0] == "environment.Si" else 0.995
            assert least <= total <= 1.005, where


def test_moduli_of_a_paper_agree_with_each_other():
    """E = 9BG/(3B + G): a slip in the copy of a table would show."""
    paper = papers.read_paper("li_si_p_s")
    ours = [row for row in paper.rows if row.protocol == "elastic"]
    for name in {row.composition for row in ours}:
        B, G, E = (
            next(row.value for row in ours if (row.key, row.composition) == (key, name))
            for key in ("B_GPa", "G_GPa", "E_GPa")
        )
        # The paper's E are means over glasses of their own E.
        assert pytest.approx(9 * B * G / (3 * B + G), rel=0.04) == E, name


# --- an analysed run ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the paper's glass at 300 K that walks with a known D."""
    folder = tmp_path_factory.mktemp("compare") / "g" / "sweep"
    symbols = [symbol for symbol, count in LBPSI.items() for _ in range(count)]
    walks.write_dump(folder / "T300" / "trajectory.dump", symbols, walks.truth(900), 5)
    walks.write_sweep(folder, 0, 1.0, 1, ())
    series.analyze(chosen(run=(folder,)))
    return folder


def test_our_numbers_stand_beside_the_papers(run):
    results = json.loads((run / "results.json").read_text())["temperatures"][0]
    found = compare(CompareOptions(run=run))
    D = at(found, "sigma_mS_per_cm", "eq. 2")
    # Our conductivity with the paper's charge.
    assert D.ours.mean == pytest.approx(results["sigma_mS_per_cm"]["mean"] * 0.882**2)
    assert D.ratio == pytest.approx(D.ours.mean / 10.36)
    assert D.inside == (D.ours.ci95[0] <= 10.36 <= D.ours.ci95[1])
    assert D.paper == 10.36
    assert "136 atoms, not 1088" in D.differences
    assert "49.5 ps, not 500" in D.differences
    assert "quenched at 300 K/ps, not 30" in D.differences
    assert "model lbpsi-small, not MACE-FT" in D.differences
    assert not any("replica" in phrase or "melt at" in phrase for phrase in D.differences)
    measured = at(found, "sigma_mS_per_cm", "measured")
    assert "measured; ours simulated, 136 atoms" in measured.differences
    edge = at(found, "cell_A")
    assert edge.ours.mean == pytest.approx(walks.LENGTH * 2, rel=0.01)
    assert edge.ours.ci95[0] < edge.ours.mean < edge.ours.ci95[1]
    assert edge.difference == pytest.approx(edge.ours.mean - 29.15)


def test_what_a_run_lacks_is_said(run):
    found = compare(CompareOptions(run=run))
    reasons = {row.key: row.reason for row in found.rows if row.ours.mean is None}
    assert "first peak alone" in reasons["second_peak_A.P-P"]
    assert "diffusive temperature" in reasons["Ea_eV"]
    assert "pooled runs" in reasons["gain_by_P2S5.sigma_mS_per_cm"]
    assert "not analysed" in reasons["plateau.P-S.1"]
    text = " ".join(printed(found).split())
    for reason in set(reasons.values()):
        assert " ".join(reason.split()) in text
    other = compare(CompareOptions(run=run, paper="li_si_p_s", output=run / "other"))
    assert {row.ours.mean for row in other.rows} == {None}
    assert "another composition: 67Li2S-33P2S5 there" in other.rows[0].reason
    softness = compare(CompareOptions(run=run, paper="softness", output=run / "other"))
    assert "another composition" in at(softness, "first_peak_A.P-S").reason
    assert at(softness, "softness_accuracy").reason == "softness is not computed"


def test_files_and_table(run, tmp_path):
    found = compare(CompareOptions(run=run, output=tmp_path / "new"))
    stored = json.loads((tmp_path / "new" / "compare.json").read_text())
    assert CompareResult.model_validate(stored) == found
    with (tmp_path / "new" / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows)
    assert rows[0]["where"] == "SI section 5"
    assert float(rows[0]["paper"]) == 29.15
    text = printed(found)
    assert "a: " in text
    assert "136 atoms, not 1088" in " ".join(text.split())
    assert "z = 1 e to the paper's 0.882 e" in " ".join(text.split())
    assert "nan" not in text


def test_a_dry_run_writes_nothing(run, tmp_path):
    compare(CompareOptions(run=run, output=tmp_path / "none"), dry_run=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("paper", "message"),
    [("nature", "expected lbpsi, li_si_p_s, lps_map, softness"), ("lbps", "did you mean lbpsi")],
)
def test_unknown_papers_end_in_one_line(run, paper, message):
    with pytest.raises(UsageError, match=message) as caught:
        compare(CompareOptions(run=run, paper=paper))
    assert "\n" not in str(caught.value)


def test_a_folder_without_results_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"no series.json, results.json or elastic.json.*analyze"):
        compare(CompareOptions(run=tmp_path))
    (tmp_path / "results.json").write_text('{"run": 1}')
    with pytest.raises(UsageError, match=r"not results of this version.*analyze again"):
        compare(CompareOptions(run=tmp_path))


# --- pooled runs and elastic -------------------------------------------------------------------


def write_series(folder, gain, kelvins=(300.0, 400.0, 500.0)):
    """Two compositions, with and without P2S5, three replicas each."""
    runs = [
        replica(f"{name}{n}", 1e-4 * f * times, kelvins=kelvins, elements=elements, **salts)
        for name, elements, times, salts in (
            ("with", LBPSI, gain, {"mol_percent": {"Li2S": 95.2, "P2S5": 4.8}}),
            ("without", BARE, 1.0, {"mol_percent": {"Li2S": 100.0}}),
        )
        for n, f in enumerate((0.9, 1.0, 1.1))
    ]
    result = SeriesResult(output="o", mobile="Li", charge_e=0.882, options={}, runs={})
    pool_runs.pool_all(result, runs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "series.json").write_text(result.model_dump_json())
    return result


@pytest.mark.parametrize(("gain", "inside"), [(7.0, True), (1.0, False)])
def test_the_sevenfold_question(tmp_path, gain, inside):
    result = write_series(tmp_path, gain)
    found = compare(CompareOptions(run=tmp_path))
    row = at(found, "gain_by_P2S5.sigma_mS_per_cm")
    assert row.ours.mean == pytest.approx(gain)
    assert row.inside == inside
    assert row.deviation.startswith("x ")
    assert row.our_temperature_K == 300.0
    pooled = result.compositions[1].groups[0].quantities["sigma_mS_per_cm"]
    assert at(found, "sigma_mS_per_cm", "eq. 2").ours.mean == pytest.approx(pooled.mean)
    assert at(found, "Ea_eV").ours.mean == pytest.approx(0.3)
    assert "3 replicas, not 1" in at(found, "Ea_eV").differences


def test_hot_runs_are_compared_where_a_line_leads_to_room_temperature(tmp_path):
    write_series(tmp_path, 7.0, kelvins=(600.0, 700.0, 800.0))
    found = compare(CompareOptions(run=tmp_path))
    assert at(found, "sigma_mS_per_cm", "eq. 2").reason == "no run at 300 K"
    gain = at(found, "gain_by_P2S5.D_cm2_per_s")
    assert gain.ours.mean == pytest.approx(7.0)
    assert "at 600 K, not 300" in gain.differences
    line = at(found, "sigma_NE_300K_mS_per_cm")
    assert line.ours.mean is not None
    assert "600-800 K, not 300-600" in line.differences


def test_a_gain_is_taken_where_all_replicas_have_a_d(tmp_path):
    salts = {"with": {"Li2S": 95.2, "P2S5": 4.8}, "without": {"Li2S": 100.0}}
    runs = [
        replica(f"{name}{n}", 1e-4 * f, kelvins=(300.0, 500.0), elements=elements, mol_percent=of)
        for (name, of), elements in zip(salts.items(), (LBPSI, BARE), strict=True)
        for n, f in enumerate((0.9, 1.1))
    ]
    slow = {"diffusive": False, "elements": LBPSI, "mol_percent": salts["with"]}
    runs.append(replica("slow", 1e-6, kelvins=(300.0,), **slow))
    result = SeriesResult(output="o", mobile="Li", charge_e=0.882, options={}, runs={})
    pool_runs.pool_all(result, runs)
    (tmp_path / "series.json").write_text(result.model_dump_json())
    found = compare(CompareOptions(run=tmp_path))
    assert at(found, "gain_by_P2S5.D_cm2_per_s").our_temperature_K == 500.0


def test_elastic_runs(tmp_path):
    replicas = [
        ElasticReplica(
            data=tmp_path / "data.quenched",
            folder=tmp_path / f"replica{n}",
            C_GPa=np.eye(6).tolist(),
            asymmetry_GPa=0.0,
            least_stiffness_GPa=1.0,
            stable=True,
            stress_GPa=[0.0] * 6,
            density_g_cm3=1.9,
            given_density_g_cm3=1.9,
            misfit=("xx", 0.0),
            force_eV_per_A=("xx", 0.0),
            moduli={},
            anisotropy=0.0,
        )
        for n in range(2)
    ]
    keys = {"B_GPa": 18.0, "G_GPa": 8.0, "E_GPa": 21.0, "nu": 0.3}
    moduli = ModuliEstimate(**{key: number(value) for key, value in keys.items()})
    result = ElasticResult(
        output=tmp_path,
        strain=0.02,
        moduli={"hill": moduli},
        anisotropy=Estimate(mean=0.0),
        density_g_cm3=number(1.9),
        C_GPa=np.eye(6).tolist(),
        C_ci95_GPa=None,
        of_mean_tensor={},
        replicas=replicas,
        warnings=[],
    )
    (tmp_path / "elastic.json").write_text(result.model_dump_json())
    # The glass: 75Li2S-25P2S5.
    (tmp_path / "data.quenched").write_text(
        "of Li3PS4\n\n8 atoms\n3 atom types\n\n0 8 xlo xhi\n0 8 ylo yhi\n0 8 zlo zhi\n\n"
        "Masses\n\n1 6.94 # Li\n2 30.974 # P\n3 32.06 # S\n\nAtoms # atomic\n\n"
        + "".join(f"{n + 1} {t} {n} 0 0\n" for n, t in enumerate((1, 1, 1, 2, 3, 3, 3, 3)))
    )
    found = compare(CompareOptions(run=tmp_path, paper="li_si_p_s"))
    row = next(
        row for row in found.rows if row.key == "B_GPa" and row.composition == "75Li2S-25P2S5"
    )
    assert row.ours.mean == 18.0
    assert row.paper == 18.61
    assert row.inside
    assert "strain 2 %, not 1 %" in row.differences
    assert "ours at rest (0 K)" in row.differences
    assert "2 replicas, not 5" in row.differences
    assert "elastic" not in (row.reason or "")


# --- parts -------------------------------------------------------------------------------------


def test_compositions_as_fractions():
    assert fractions_of("Li3PS4") == pytest.approx({"Li": 3 / 8, "P": 1 / 8, "S": 4 / 8})
    assert fractions_of("75Li2S-25P2S5") == pytest.approx(fractions_of("Li3PS4"))
    assert fractions_of("LiP0.5S2")["P"] == pytest.approx(0.5 / 3.5)
    paper = "30Li2S-25B2S3-45LiI-5P2S5"
    assert is_composition(RunFacts(elements=LBPSI), paper)
    assert not is_composition(RunFacts(elements=BARE), paper)
    assert is_composition(RunFacts(), paper)


def test_the_same_protocol_has_no_differences():
    paper = papers.read_paper("lbpsi")
    row = next(row for row in paper.rows if row.key == "Ea_eV")
    theirs = paper.protocol(row)
    same = RunFacts(
        elements={symbol: 8 * count for symbol, count in LBPSI.items()},
        temperatures_K=list(theirs.temperatures_K),
        times_ps=[500.0] * 4,
        high_K=1200.0,
        rate_K_per_ps=30.0,
        hold_ps=10.0,
        equilibrate_ps=30.0,
        model="MACE-FT",
    )
    assert differences(row, theirs, same) == []
    unknown = differences(row, theirs, RunFacts())
    assert "our composition unknown" in unknown
    assert "unknown atoms, not 1088" in unknown
    assert "quench unknown" in unknown
