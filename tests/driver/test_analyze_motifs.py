"""The motif part of ``analyze`` on a glass made by hand: what is in it is known exactly."""

import csv
import json

import numpy as np
import pytest
from rich.console import Console

from lbpsi_driver import analyze_motifs, motif_history
from lbpsi_driver.analyze import analyze
from lbpsi_driver.config import AnalyzeOptions, UsageError
from lbpsi_driver.observables.diffusion import TracerDiffusion
from lbpsi_driver.report.results import AnalyzeResult

LENGTH = 24.0
SPACING = 0.1  # ps
FRAMES = 200
TURN = 25.0  # degrees
TETRAHEDRON = 2.05 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
CORNERS = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)]) / np.sqrt(3)
PS4_AT, P2S7_AT, FAR = np.full(3, 5.0), np.full(3, 14.0), np.array([5.0, 5.0, 17.0])
HOP = 0.12  # sigma of a step of the Li at P2S7 along each axis, Å


def turned(vectors, degrees):
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return vectors @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def p2s7():
    bridge = 2.05 * np.array([1, 1, 1]) / np.sqrt(3)
    first = TETRAHEDRON
    second = 2 * bridge - TETRAHEDRON
    return np.array([[0, 0, 0], 2 * bridge]), np.vstack([first, second[1:]])


def frame(t, rng, walk):
    """PS4 that turns after the first frame, P2S7 that stays, Li around both, one LiI."""
    formers, sulfur = p2s7()
    ps4 = PS4_AT + turned(TETRAHEDRON, TURN if t else 0.0)
    around_ps4 = PS4_AT + 3.4 * CORNERS + rng.normal(0, 0.05, (8, 3))
    around_p2s7 = P2S7_AT + 3.4 * CORNERS + walk
    return np.vstack(
        [around_ps4, around_p2s7, FAR, PS4_AT, P2S7_AT + formers, ps4, P2S7_AT + sulfur, FAR + 2.0]
    )


ELEMENTS = ["Li"] * 17 + ["P"] * 3 + ["S"] * 11 + ["I"]


def write_dump(path):
    rng = np.random.default_rng(1)
    walk, text = np.zeros((8, 3)), []
    for t in range(FRAMES):
        positions = frame(t, rng, walk)
        # Li stay within reach of their formers.
        walk = np.clip(walk + rng.normal(0, HOP, walk.shape), -0.4, 0.4)
        text.append(f"ITEM: TIMESTEP\n{1000 + 100 * t}\nITEM: NUMBER OF ATOMS\n{len(ELEMENTS)}\n")
        text.append("ITEM: BOX BOUNDS pp pp pp\n" + f"0 {LENGTH}\n" * 3)
        text.append("ITEM: ATOMS id element x y z ix iy iz\n")
        text += [
            f"{n} {element} {x:.8g} {y:.8g} {z:.8g} 0 0 0\n"
            for n, (element, (x, y, z)) in enumerate(zip(ELEMENTS, positions, strict=True), 1)
        ]
    path.parent.mkdir(parents=True)
    path.write_text("".join(text))


def chosen(run, **values):
    return AnalyzeOptions(
        run=run, timestep=1.0, rdf_bin=0.2, com="none", structure=False, hopping=False, **values
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("glass")
    write_dump(root / "T500" / "trajectory.dump")
    return root


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    return analyze(chosen(folder, output=tmp_path_factory.mktemp("out")))


def printed(found):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


def test_populations_from_the_frames(found):
    record = found.temperatures[0].motifs
    assert record.populations.source == "trajectory"
    assert list(record.classes) == ["P2S7", "PS4", "halide"]
    ps4, p2s7, halide = (record.classes[name] for name in ("PS4", "P2S7", "halide"))
    assert (ps4.code, p2s7.code, halide.code) == (8, 7, 12)
    assert ps4.fraction_of_formers.mean == pytest.approx(1 / 3)
    assert ps4.fraction_of_formers.ci95 is None
    assert "never changes" in ps4.fraction_of_formers.reason
    assert p2s7.fraction_of_formers.mean == pytest.approx(2 / 3)
    assert halide.fraction_of_formers is None
    assert [row.fraction_of_mobile.mean for row in (ps4, p2s7, halide)] == pytest.approx(
        [8 / 17, 8 / 17, 1 / 17]
    )


def test_rotations_from_the_frames(found):
    record = found.temperatures[0].motifs
    assert record.rotations_source == "trajectory"
    ps4, p2s7 = record.classes["PS4"].rotation, record.classes["P2S7"].rotation
    assert ps4.angle_deg.mean == pytest.approx(TURN, abs=1e-4)
    assert ps4.rms_deg == pytest.approx(TURN, abs=1e-4)
    assert ps4.broken_fraction.mean == 0
    assert ps4.exchanges == 0
    assert p2s7.angle_deg.mean == pytest.approx(0.0, abs=1e-3)
    # the first of the frames of the first window stands as it was, the others are turned
    share = 1.0 / round(0.1 * FRAMES)
    late = np.radians(TURN)
    before = np.arctan2((1 - share) * np.sin(late), share + (1 - share) * np.cos(late))
    assert ps4.averaged_deg == pytest.approx(TURN - np.degrees(before), abs=1e-3)
    assert ps4.libration_deg == pytest.approx(0.0, abs=1e-3)
    assert p2s7.averaged_deg == pytest.approx(0.0, abs=1e-3)
    assert record.classes["halide"].rotation is None


def test_msd_by_class(found):
    record = found.temperatures[0].motifs
    with open(f"{found.output}/{record.msd.file}") as file:
        rows = list(csv.DictReader(file))
    first = {name: float(value) for name, value in rows[0].items()}
    assert first["lag_ps"] == pytest.approx(SPACING)
    assert first["msd_PS4_A2"] == pytest.approx(6 * 0.05**2, rel=0.1)
    assert first["surviving_PS4"] == 1
    assert first["survivors_msd_PS4_A2"] == pytest.approx(first["msd_PS4_A2"])
    assert first["msd_halide_A2"] == pytest.approx(0, abs=1e-9)
    rattling = record.classes["PS4"]
    for D in (rattling.D_cm2_per_s, rattling.D_survivors_cm2_per_s):
        assert not D.diffusive
        assert D.reason
    assert "don't move" in record.classes["halide"].D_cm2_per_s.reason


def test_records_files_and_table(found):
    with open(f"{found.output}/results.json") as file:
        content = json.load(file)
    assert AnalyzeResult.model_validate(content) == found
    for key in ("motifs", "rotation", "D by motif", "D_survivors", "survival_time"):
        assert content["definitions"][key]
    wanted = {"motifs_T500", "msd_motif_T500", "populations", "msd_motif", "rotation"}
    assert wanted <= found.files.keys()
    for name in found.files.values():
        with open(f"{found.output}/{name}", "rb") as file:
            assert len(file.read()) > 100
    text = printed(found)
    for word in ("by motif", "PS4", "P2S7", "halide", "33.3", "66.7", "25"):
        assert word in text
    assert "( ): of a run or a motif that is not diffusive" in text


def test_a_class_of_a_run_that_is_not_diffusive_is_not_either():
    """Few ions with wide intervals would pass where all ions together don't."""
    passes = TracerDiffusion(1e-6, (1e-7, 2e-6), None, True, None)
    fails = TracerDiffusion(1e-6, (9e-7, 1.1e-6), None, False, "sub-diffusive")
    judged = analyze_motifs._judged(passes, fails)
    assert (judged.diffusive, judged.reason) == (False, "of all ions: sub-diffusive")
    assert judged.D_cm2_per_s == 1e-6
    assert analyze_motifs._judged(passes, passes) is passes
    nothing = TracerDiffusion(None, None, None, False, "run too short")
    unknown = analyze_motifs._judged(passes, nothing)
    assert (unknown.D_cm2_per_s, unknown.reason) == (None, "of all ions: run too short")
    assert analyze_motifs._judged(nothing, fails) is nothing
    assert analyze_motifs._judged(fails, passes) is fails


def write_run_files(folder, steps):
    rows = [motif_history.header()]
    rows += [f"{n} {n / 1000} 500 0 0 0 0 0 0 1 {1 + n % 200 // 100} 0 0 0" for n in steps]
    (folder / "motifs.dat").write_text("\n".join(rows) + "\n")
    blocks = []
    for step in steps:
        angle = 0 if step == 1000 else 40
        blocks.append(f"{step} 11")
        blocks += [
            f"{code} 2 {angle / 2} {angle} {angle} 2 3" if code == 8 else f"{code} 0 0 0 0 0 0"
            for code in range(1, 12)
        ]
    (folder / "rotations.dat").write_text("\n".join(blocks) + "\n")


def test_what_the_deck_wrote_comes_first(tmp_path):
    write_dump(tmp_path / "T500" / "trajectory.dump")
    last = 1000 + 100 * (FRAMES - 1)
    # Rows of the equilibration, before the first frame, don't count.
    write_run_files(tmp_path / "T500", [100, 300, 500, *range(1000, last + 1, 100)])
    record = analyze(chosen(tmp_path)).temperatures[0].motifs
    assert record.populations.source == "motifs.dat"
    assert record.rotations_source == "rotations.dat"
    # One or two PS4 beside one P2S7, in turn.
    assert record.classes["PS4"].fraction_of_formers.mean == pytest.approx((1 / 2 + 2 / 3) / 2)
    rotation = record.classes["PS4"].rotation
    assert rotation.angle_deg.mean == pytest.approx(20)
    assert rotation.rms_deg == pytest.approx(40)
    assert rotation.broken_fraction.mean == pytest.approx(0.5)
    assert rotation.exchanges == 3


def test_cutoffs_of_the_run_unless_others_are_given(tmp_path):
    """P2S7 whose P-S are no bonds but for two; what the deck wrote had the cutoffs of its run."""
    write_dump(tmp_path / "T500" / "trajectory.dump")
    write_run_files(tmp_path / "T500", range(1000, 1000 + 100 * FRAMES, 100))
    record = {"bond": ["P-S=1.9"], "timestep": 1.0}
    (tmp_path / "manifest.json").write_text(json.dumps({"runs": {"sweep": {"options": record}}}))
    of_run = analyze(chosen(tmp_path, output=tmp_path / "a")).temperatures[0].motifs
    assert of_run.populations.source == "motifs.dat"
    # no P has its S: ions are beside others
    assert of_run.classes["other"].fraction_of_mobile.mean == pytest.approx(16 / 17)
    other = chosen(tmp_path, output=tmp_path / "b", bond=("P-S=2.6",))
    given = analyze(other).temperatures[0].motifs
    assert given.populations.source == given.rotations_source == "trajectory"
    assert given.classes["PS4"].fraction_of_mobile.mean == pytest.approx(8 / 17)


def test_files_of_another_time_are_passed_over(tmp_path):
    write_dump(tmp_path / "T500" / "trajectory.dump")
    write_run_files(tmp_path / "T500", range(900000, 910000, 100))
    record = analyze(chosen(tmp_path)).temperatures[0].motifs
    assert record.populations.source == record.rotations_source == "trajectory"


def test_quench(tmp_path):
    rows = [f"{n} {n / 1000} 300 2.0 1 900 -50 {'heat' if n < 1000 else 'cool'}"
            for n in range(10, 2010, 10)]  # fmt: skip
    (tmp_path / "history.dat").write_text("\n".join(rows) + "\n")
    write_run_files(tmp_path, range(100, 2001, 100))
    found = analyze(AnalyzeOptions(run=tmp_path))
    shares = found.quench.motifs.fraction_of_formers
    assert shares.keys() == {"P2S7", "PS4"}
    # Steps 1000 to 2000: six with one PS4, five with two.
    assert shares["PS4"].mean == pytest.approx((6 / 2 + 5 * 2 / 3) / 11)
    assert {"motifs", "motifs_figure"} <= found.files.keys()
    assert (tmp_path / "motifs.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "motifs.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 20
    assert float(table[0]["time_ps"]) == 0.1
    assert float(table[0]["temperature_K"]) == 500
    assert float(table[0]["fraction_P2S7"]) == pytest.approx(1 / 3, rel=1e-4)
    assert "formers in stage cool: P2S7" in printed(found)
    without = analyze(AnalyzeOptions(run=tmp_path, output=tmp_path / "none", motifs=False))
    assert without.quench.motifs is None


def test_other_classes_are_refused_in_one_line(folder, tmp_path):
    write_dump(tmp_path / "T500" / "trajectory.dump")
    (tmp_path / "T500" / "motifs.dat").write_text("# step time_ps temp_K 1:PS4\n")
    with pytest.raises(UsageError, match="--no-motifs") as error:
        analyze(chosen(tmp_path))
    assert "\n" not in str(error.value)


def test_elements_without_motifs_say_why(tmp_path):
    write_dump(tmp_path / "T500" / "trajectory.dump")
    path = tmp_path / "T500" / "trajectory.dump"
    path.write_text(path.read_text().replace(" P ", " O "))
    found = analyze(chosen(tmp_path))
    assert "element O" in found.temperatures[0].motifs.reason
    assert "T500: no motifs: element O" in printed(found)
    assert "msd_motif" not in found.files
