"""The structure part of ``analyze`` on a glass made by hand: what is in it is known exactly."""

import csv
import json

import ase
import ase.io
import numpy as np
import pytest
from rich.console import Console

from lbpsi_driver import analyze_structure
from lbpsi_driver.analyze import analyze
from lbpsi_driver.config import AnalyzeOptions, UsageError, options
from lbpsi_driver.report import figures
from lbpsi_driver.report.results import AnalyzeResult

LENGTH = 20.0
FRAMES = 24
TETRAHEDRON = 2.05 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
TRIANGLE = 1.8 * np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [-0.5, -np.sqrt(0.75), 0]])
STRAIGHT = 2 * TETRAHEDRON[0]
PS4_AT, P2S7_AT, BS3_AT = np.full(3, 4.0), np.full(3, 12.0), np.array([4.0, 14.0, 5.0])
ELEMENTS = np.array(["P"] * 3 + ["B"] + ["S"] * 14 + ["Li"] * 10 + ["I"])


def images():
    """PS4, P2S7 with a straight bridge and BS3, all at rest, and Li that walk."""
    rng = np.random.default_rng(1)
    formers = np.array([PS4_AT, P2S7_AT, P2S7_AT + STRAIGHT, BS3_AT])
    second = P2S7_AT + STRAIGHT - TETRAHEDRON[1:]
    sulfur = np.vstack([PS4_AT + TETRAHEDRON, P2S7_AT + TETRAHEDRON, second, BS3_AT + TRIANGLE])
    lithium = rng.random((10, 3)) * LENGTH
    for _ in range(FRAMES):
        lithium = lithium + rng.normal(0, 0.3, lithium.shape)
        positions = np.vstack([formers, sulfur, lithium, [[17.0, 4.0, 17.0]]])
        yield ase.Atoms(ELEMENTS, positions, cell=[LENGTH] * 3, pbc=True)


def chosen(run, output, **values):
    given = {
        "motifs": False,
        "hopping": False,
        "temperature": 500.0,
        "timestep": 100.0,
        "com": "none",
    }
    quick = {"sq_max": 6.0, "sq_bin": 0.1, "sq_vectors": 240, "rdf_bin": 0.1}
    return AnalyzeOptions(run=run, output=output, **{**given, **quick, **values})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("glass") / "glass.extxyz"
    ase.io.write(path, list(images()))
    return path


@pytest.fixture(scope="module")
def result(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    return analyze(chosen(run, output)), output


def columns(path):
    with path.open() as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, np.array(rows, float).T, strict=True))


def printed(found, width=120):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


def test_angles_and_shells(result):
    row = result[0].temperatures[0]
    tetrahedral = np.degrees(np.arccos(-1 / 3))
    angles = row.bond_angles
    assert angles.triples["S-P-S"].mean_deg.mean == pytest.approx(tetrahedral, abs=1e-3)
    assert angles.triples["S-P-S"].number == 3 * 6
    assert angles.triples["P-S-P"].mean_deg.mean == pytest.approx(180.0, abs=0.1)
    assert angles.units.keys() == {"PS4", "BS3"}
    assert angles.units["BS3"].mean_deg.mean == pytest.approx(120.0, abs=1e-3)
    assert angles.units["BS3"].deviation_deg == pytest.approx(0.0, abs=1e-3)
    for pair, number, length in (("P-S", 4, 2.05), ("B-S", 3, 1.8)):
        first = row.rdf.plateaus[pair][0]
        assert first.flat
        assert (first.value, first.rise) == (pytest.approx(number), pytest.approx(0.0))
        assert length < first.range_A[0] < length + 0.4


def test_speciation_and_sizes(result):
    row = result[0].temperatures[0]
    phosphorus, boron = row.qn.formers["P"], row.qn.formers["B"]
    assert (phosphorus.number, boron.number) == (3, 1)
    assert [share.mean for share in phosphorus.qn[:2]] == pytest.approx([1 / 3, 2 / 3])
    assert boron.qn[0].mean == 1.0
    assert [(e.qn, e.en, e.through_S, e.direct) for e in phosphorus.environments] == [
        (1, 0, ["P"], []),
        (0, 0, [], []),
    ]
    assert phosphorus.homopolar.mean == 0.0
    anions = row.networks
    assert anions.number_averaged.mean == pytest.approx(4 / 3)
    assert anions.weight_averaged.mean == pytest.approx((1 + 1 + 2 * 2) / 4)
    assert anions.largest_share.mean == pytest.approx(2 / 4)
    assert anions.percolating_share.mean == 0.0
    assert anions.rings_per_former == {}
    assert anions.reason is None


def test_totals_are_the_weighted_partials(result):
    found, output = result
    row = found.temperatures[0]
    table = columns(output / row.structure_factor.file)
    lengths = row.structure_factor.scattering_lengths_fm
    assert lengths["S"] == pytest.approx(2.85, abs=0.05)
    assert lengths["Li"] == pytest.approx(-1.9, abs=0.1)
    shares = {a: np.mean(a == ELEMENTS) for a in np.unique(ELEMENTS)}
    F = sum(
        shares[a] * shares[b] * lengths[a] * lengths[b] * (table[f"S_{min(a, b)}-{max(a, b)}"] - 1)
        for a in shares
        for b in shares
    )
    mean = sum(c * lengths[a] for a, c in shares.items())
    np.testing.assert_allclose(table["F_neutron_fm2"], F, atol=1e-3)
    np.testing.assert_allclose(table["S_neutron"], 1 + F / mean**2, atol=1e-3)
    for peak in (row.structure_factor.fsdp_neutron_per_A, row.structure_factor.fsdp_xray_per_A):
        assert peak.reason
        assert peak.mean is None or 0.5 <= peak.mean <= 2.0
    assert table["Q_per_A"][-1] == pytest.approx(5.95, abs=0.05)
    assert table["vectors"].min() >= 1


def test_isotopes_change_what_neutrons_see_and_progress_is_told(
    result, run, tmp_path, monkeypatch, capsys
):
    _, output = result
    monkeypatch.setenv("LBPSI_PROGRESS", "plain")
    found = analyze(chosen(run, tmp_path, isotope=("Li=6", "B=11")))
    lines = capsys.readouterr().err.splitlines()
    assert "6/6 glass Q^n" in lines[-1]
    assert any("S(Q)" in line for line in lines)
    lengths = found.temperatures[0].structure_factor.scattering_lengths_fm
    assert lengths["Li"] == pytest.approx(2.1, abs=0.3)
    assert lengths["B"] == pytest.approx(6.65, abs=0.1)
    natural, other = columns(output / "sq_glass.csv"), columns(tmp_path / "sq_glass.csv")
    np.testing.assert_array_equal(natural["S_xray"], other["S_xray"])
    assert np.abs(natural["S_neutron"] - other["S_neutron"]).max() > 0.1


def test_curves_are_normalised(result):
    _, output = result
    angles = columns(output / "angles_glass.csv")
    assert angles.keys() >= {"angle_deg", "p_S-P-S_per_deg", "p_BS3_per_deg"}
    for name, density in angles.items():
        if name != "angle_deg":
            assert density.sum() == pytest.approx(1.0, abs=1e-4)
    networks = columns(output / "networks_glass.csv")
    assert len(networks["time_ps"]) == FRAMES
    assert networks.keys() >= {"weight_averaged", "percolating_share", "percolating_3d"}
    sizes = columns(output / "anion_sizes_glass.csv")
    np.testing.assert_allclose(sizes["formers"], [1, 2])
    np.testing.assert_allclose(sizes["share_of_formers"], [0.5, 0.5])
    shares = columns(output / "qn_glass.csv")
    assert shares["time_ps"][1] == pytest.approx(0.1)
    for prefix in ("P_Q", "P_E", "B_Q", "B_E"):
        total = sum(values for name, values in shares.items() if name.startswith(prefix))
        np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_json_holds_the_result_and_figures_are_there(result):
    found, output = result
    content = json.loads((output / "results.json").read_text())
    assert AnalyzeResult.model_validate(content) == found
    assert {"fsdp", "plateaus", "qn", "networks"} <= content["definitions"].keys()
    for kind in ("sq", "sq_partial", "coordination", "bond_angles", "anion_sizes", "qn"):
        name = found.files[f"{kind}_figure"]
        assert (output / name).read_bytes().startswith(b"\x89PNG"), name
    for name in found.files.values():
        assert (output / name).stat().st_size > 0, name


@pytest.mark.parametrize("width", [80, 160])
def test_table_is_legible(result, width):
    text = printed(result[0], width)
    assert "109.5±0" in text
    assert "33/67" in text
    assert "4.00" in text
    assert "nan" not in text
    assert "…" not in text.replace("Q⁰/Q¹/…", "")


def test_without_formers_the_rest_is_there(tmp_path):
    frames = [atoms[[a.symbol in ("Li", "S") for a in atoms]] for atoms in images()]
    ase.io.write(tmp_path / "a.extxyz", frames)
    found = analyze(chosen(tmp_path / "a.extxyz", tmp_path / "out"))
    row = found.temperatures[0]
    assert row.structure_factor.reason is None
    assert "S-S" in row.rdf.plateaus
    assert row.qn.reason == row.networks.reason == row.bond_angles.reason
    assert f"a: bond angles, anion sizes and rings, Q^n: {row.qn.reason}" in printed(found, 200)
    assert "sq_figure" in found.files
    assert "qn_figure" not in found.files


def test_a_cell_too_small_for_a_vector_says_so(run, tmp_path):
    found = analyze(chosen(run, tmp_path, sq_max=0.2))
    row = found.temperatures[0]
    assert "too small for S(Q)" in row.structure_factor.reason
    assert "too small for S(Q)" in printed(found, 200)
    assert row.qn.formers
    assert "sq_glass" not in found.files


@pytest.fixture(scope="module")
def broken(run, tmp_path_factory):
    """An analysis with bond angles and a figure that break, and no neutrons and no rings."""
    whole = analyze_structure.networks

    def breaks(*_args, **_kwargs):
        raise ValueError("no\nsense")

    def undefined(*_args):
        raise UsageError("the mean scattering length is zero")

    def without_rings(*args, longest_ring, **kwargs):
        if longest_ring:
            raise UsageError("rings in an anion of 20000 atoms")
        return whole(*args, longest_ring=0, **kwargs)

    output = tmp_path_factory.mktemp("broken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analyze_structure, "bond_angles", breaks)
        patch.setattr(analyze_structure.structure_figures, "qn", breaks)
        patch.setattr(analyze_structure, "neutron", undefined)
        patch.setattr(analyze_structure, "networks", without_rings)
        return analyze(chosen(run, output)), output


def test_what_breaks_does_not_lose_the_others(broken):
    found, output = broken
    row = found.temperatures[0]
    assert row.bond_angles.reason == "ValueError: no sense"
    assert "glass: bond angles: ValueError: no sense" in printed(found, 200)
    assert row.qn.formers["P"].number == 3
    assert {"sq_figure", "anion_sizes_figure", "qn_glass", "results"} <= found.files.keys()
    assert not {"angles_glass", "bond_angles_figure", "qn_figure"} & found.files.keys()
    assert AnalyzeResult.model_validate_json((output / "results.json").read_text()) == found


def test_sizes_of_anions_without_rings_where_rings_fail(broken):
    record = broken[0].temperatures[0].networks
    assert record.number_averaged.mean == pytest.approx(4 / 3)
    assert record.reason == "rings in an anion of 20000 atoms"


def test_a_weight_that_vanishes_leaves_partials_and_x_rays(broken):
    found, output = broken
    record = found.temperatures[0].structure_factor
    assert record.reason == "neutrons: the mean scattering length is zero"
    assert record.fsdp_neutron_per_A is None
    assert record.fsdp_xray_per_A is not None
    table = columns(output / record.file)
    assert "S_neutron" not in table
    assert table.keys() >= {"S_xray", "S_P-S"}


def test_switched_off(run, tmp_path):
    found = analyze(chosen(run, tmp_path, structure=False))
    row = found.temperatures[0]
    assert row.structure_factor is row.bond_angles is row.networks is row.qn is None
    assert row.rdf.plateaus is None
    assert not any("figure" in name or "sq" in name for name in found.files)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sq_bin": 4.0}, "at most half of the largest Q"),
        ({"angle_bin": 7.0}, "part of 180"),
        ({"longest_ring": 2}, "longest ring 2"),
        ({"isotope": ["Li=2"]}, "isotope 2 of Li: there is none"),
        ({"isotope": ["Lx=7"]}, "isotope of Lx: no such element"),
        ({"isotope": ["Li"]}, "--isotope Li: .*as in Li=7"),
        ({"sq_vectors": 0}, "--sq-vectors 0"),
    ],
)
def test_bad_options_are_refused_before_the_work(run, tmp_path, values, expected):
    given = {"run": run, "output": tmp_path / "out", "timestep": 1.0, "sq_max": 6.0, **values}
    with pytest.raises(UsageError, match=expected) as error:
        analyze(options(AnalyzeOptions, given))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_axes_are_named_once_a_row_and_column():
    """Below the last panel of each column, also where the last row is not full."""
    _, panels = figures.grid(6, width=2.0, height=2.0, columns=4, same_x=True)
    figures.label_outer(panels, "r", "g")
    assert [axes.get_xlabel() for axes in panels] == ["", "", "r", "r", "r", "r"]
    assert [axes.get_ylabel() for axes in panels] == ["g", "", "", "", "g", ""]
    numbered = [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels]
    assert numbered == [False, False, True, True, True, True]
