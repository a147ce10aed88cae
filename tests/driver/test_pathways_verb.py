"""``pathways``: the ion that goes furthest beside an anion, and that anion, as files."""

import json

import ase
import ase.io
import numpy as np
import pytest
from rich.console import Console

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.motif_summary import summarise
from lbpsi_driver.observables.motifs import find_motifs
from lbpsi_driver.observables.pathways import pathway
from lbpsi_driver.observables.trajectory import read
from lbpsi_driver.pathway_options import PathwaysOptions
from lbpsi_driver.pathways import PathwaysResult, pathways
from lbpsi_driver.verbs import VERBS

LENGTH = 22.0
FRAMES = 60
TETRAHEDRON = 2.05 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
PS4_AT, P2S7_AT = np.array([5.0, 5.0, 5.0]), np.array([13.0, 13.0, 13.0])
STRAIGHT = 2 * TETRAHEDRON[0]
ELEMENTS = ["P"] * 3 + ["S"] * 11 + ["Li"] * 4
STARTS = np.array([[8.4, 5, 5], [1.6, 5, 5], [16.4, 12.4, 13], [9.6, 13, 13.5]])


def frames():
    """Li 15 and 16 beside PS4, the second walks 2 Å; 17 and 18 beside P2S7, the first 4 Å."""
    rng = np.random.default_rng(2)
    second = P2S7_AT + STRAIGHT - TETRAHEDRON[1:]
    sulfur = np.vstack([PS4_AT + TETRAHEDRON, P2S7_AT + TETRAHEDRON, second])
    fixed = np.vstack([PS4_AT, P2S7_AT, P2S7_AT + STRAIGHT, sulfur])
    reach = np.array([0.0, 2.0, 4.0, 0.0])
    for part in np.linspace(0.0, 1.0, FRAMES):
        lithium = STARTS + part * reach[:, None] * np.array([0.0, 1.0, 0.0])
        positions = np.vstack([fixed, lithium]) + rng.normal(0, 0.02, (18, 3))
        yield ase.Atoms(ELEMENTS, positions, cell=[LENGTH] * 3, pbc=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("walk") / "walk.extxyz"
    ase.io.write(path, list(frames()))
    return path


def printed(found):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    return console.export_text()


def test_paths_beside_a_motif_and_the_anion(run, tmp_path):
    options = PathwaysOptions(
        file=run, output=tmp_path, motif="P2S7", number=2, timestep=100.0, anion="P2S7(4-)"
    )
    found = pathways(options)
    assert [path.ion_id for path in found.paths] == [17, 18]
    furthest = found.paths[0]
    assert furthest.motif == "P2S7"
    assert furthest.largest_A == pytest.approx(4.0, abs=0.2)
    assert furthest.units["P2S7"] == 2
    assert (furthest.frames, furthest.start_ps) == (FRAMES, 0.0)
    assert furthest.stop_ps == pytest.approx(5.9)
    pieces = ase.io.read(tmp_path / furthest.file, ":")
    assert len(pieces) == FRAMES
    moved = np.linalg.norm(pieces[-1].positions[0] - pieces[0].positions[0])
    assert moved == pytest.approx(furthest.largest_A, abs=0.2)
    anion = found.anion
    assert (anion.atoms, anion.ions, anion.endless, anion.of_that_name) == (9, 2, False, 1)
    alone = ase.io.read(tmp_path / anion.file)[:9]
    alone.set_cell([40.0] * 3)
    alone.pbc = True
    assert summarise(find_motifs(alone))["anions"] == {"P2S7(4-)": 1}
    for name in found.files:
        assert (tmp_path / name).stat().st_size > 0
        assert not name.endswith("png") or (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    content = (tmp_path / "pathways.json").read_text()
    assert PathwaysResult.model_validate_json(content) == found
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["runs"]["pathways"]["state"] == "finished"
    text = printed(found)
    assert "Li 17" in text
    assert "P2S7(4-)" in text


def test_span_slowest_and_any_motif(run, tmp_path):
    options = PathwaysOptions(
        file=run, output=tmp_path, timestep=100.0, start=1.0, time=2.0, frames=5, slowest=True
    )
    (path,) = pathways(options).paths
    assert path.ion_id in (15, 18)
    assert (path.start_ps, path.stop_ps) == pytest.approx((1.0, 3.0))
    assert path.frames == 5
    assert pathways(options.model_copy(update={"number": 9})).paths[-1].ion_id == 17


def test_frames_of_a_path_are_spread_over_the_run(run):
    trajectory = read(run, 100.0)
    times = [frame.info["time_ps"] for frame in pathway(trajectory, 16, most_frames=7).frames]
    assert times == pytest.approx(trajectory.spread(7).times_ps)


def test_an_anion_of_a_single_cell(tmp_path):
    ase.io.write(tmp_path / "cell.vasp", next(frames()))
    options = PathwaysOptions(
        file=tmp_path / "cell.vasp", output=tmp_path / "out", number=0, anion="PS4(3-)"
    )
    found = pathways(options)
    assert found.paths == []
    assert (found.anion.atoms, found.anion.ions) == (5, 2)


def test_bad_input_is_one_line(run, tmp_path):
    cases = {
        "--motif P9S9: expected one of P2S6(4-)": {"motif": "P9S9"},
        "give --anion": {"number": 0},
        "no such file": {"file": tmp_path / "none"},
        "--timestep": {"timestep": None},
        "--mobile Na: none in": {"mobile": "Na"},
        "no ion of class network: expected one of P2S7, PS4": {"motif": "network"},
        "no anion BS3": {"number": 0, "anion": "BS3(3-)"},
        "1 frame(s) from 5.9 ps on": {"start": 5.9},
    }
    for expected, values in cases.items():
        given = {"file": run, "output": tmp_path / "out", "timestep": 100.0, **values}
        with pytest.raises(UsageError) as error:
            pathways(PathwaysOptions(**given))
        assert expected in str(error.value)
        assert "\n" not in str(error.value)


def test_dry_run_writes_nothing_and_the_verb_is_there(run, tmp_path):
    options = PathwaysOptions(file=run, output=tmp_path / "out")
    assert pathways(options, dry_run=True) is None
    assert not (tmp_path / "out").exists()
    assert VERBS["pathways"].options is PathwaysOptions
