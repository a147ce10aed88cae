"""What decks write of motifs: read back, cut at a resume, asked for where there are any."""

import numpy as np
import pytest
from lj_runs import DATA, kill_when, run

from lbpsi_driver import engine, history, motif_history
from lbpsi_driver.config import QuenchOptions, SweepOptions, UsageError
from lbpsi_driver.observables import motif_transport
from lbpsi_driver.observables.motif_series import motif_series
from lbpsi_driver.observables.trajectory import read
from lbpsi_driver.quench import quench


def write_motifs(folder, steps, head=None):
    rows = [motif_history.header() if head is None else head, "# rows of a start or a restart"]
    rows += [f"{n} {n / 1000} {300 + n} " + " ".join(map(str, range(11))) for n in steps]
    (folder / "motifs.dat").write_text("\n".join(rows) + "\n")


def write_blocks(path, steps, rows, columns, value=float):
    text = ["# title", "# step rows", "# columns"]
    for step in steps:
        text.append(f"{step} {rows}")
        text += [
            " ".join([str(row + 1), *(f"{value(step) + column:g}" for column in range(columns))])
            for row in range(rows)
        ]
    path.write_text("\n".join(text) + "\n")


def write_all(folder, steps):
    write_motifs(folder, steps)
    write_blocks(folder / "rotations.dat", steps, 11, 6)
    write_blocks(folder / "msd_motif.dat", steps, 13, 7)


def steps_of(folder):
    readers = (motif_history.read_motifs, motif_history.read_rotations, motif_history.read_msd)
    return [found.step.tolist() if (found := read(folder)) else None for read in readers]


def test_values(tmp_path):
    write_all(tmp_path, [100, 200, 300])
    rows = motif_history.read_motifs(tmp_path)
    assert rows.time_ps.tolist() == [0.1, 0.2, 0.3]
    assert rows.temperature_K.tolist() == [400, 500, 600]
    assert rows.counts[2].tolist() == list(range(11))
    assert rows.fractions.sum(axis=1) == pytest.approx(1.0)
    assert rows.between(0.2, 0.3).step.tolist() == [200, 300]
    blocks = motif_history.read_msd(tmp_path)
    assert blocks.values.shape == (3, 13, 7)
    assert blocks.values[1, 4].tolist() == [200, 201, 202, 203, 204, 205, 206]
    assert blocks.between(150, 300).step.tolist() == [200, 300]


def test_of_a_repeated_step_the_last_wins_and_torn_ends_are_left_out(tmp_path):
    write_all(tmp_path, [100, 200])
    for name, more in {
        "motifs.dat": "100 0.1 999 " + "1 " * 11 + "\n300 0.3 4 1",
        "rotations.dat": "100 11\n"
        + "".join(f"{row} 7 7 7 7 7 7\n" for row in range(1, 12))
        + "300 11\n1 0 0 0 0 0 0\n2 0 0",
    }.items():
        with (tmp_path / name).open("a") as file:
            file.write(more)
    rows = motif_history.read_motifs(tmp_path)
    assert rows.step.tolist() == [100, 200]
    assert rows.temperature_K[0] == 999
    blocks = motif_history.read_rotations(tmp_path)
    assert blocks.step.tolist() == [100, 200]
    assert (blocks.values[0] == 7).all()


def test_a_row_whose_last_number_may_be_cut_is_left_out(tmp_path):
    """24 formers in the last class would read as 2."""
    write_motifs(tmp_path, [100])
    with (tmp_path / "motifs.dat").open("a") as file:
        file.write("200 0.2 500 " + "0 " * 10 + "2")
    assert motif_history.read_motifs(tmp_path).step.tolist() == [100]


@pytest.mark.parametrize("tail", ["", "500", "500 11\n1 0 0 0", "500 11\n1 0 0 0 0 0 0 0\n"])
def test_rewind_cuts_all_files(tmp_path, tail):
    (tmp_path / "schedule.dat").write_text("# stage begin_step | last_step 400\n")
    for restart, rows, blocks in ((200, [100, 200], [100]), (250, [100, 200], [100, 200])):
        write_all(tmp_path, [100, 200, 300, 400])
        for name in history.MOTIF_FILES:
            with (tmp_path / name).open("a") as file:
                file.write(tail)
        history.rewind(tmp_path, restart)
        assert steps_of(tmp_path) == [rows, blocks, blocks]
        kept = (tmp_path / "rotations.dat").read_text().splitlines()
        assert len(kept) == 3 + 12 * len(blocks)


def test_rewind_to_the_last_step_keeps_the_last_blocks(tmp_path):
    (tmp_path / "schedule.dat").write_text("# stage begin_step | last_step 400\n")
    write_all(tmp_path, [100, 200, 300, 400])
    history.rewind(tmp_path, 400)
    assert steps_of(tmp_path) == [[100, 200, 300, 400]] * 3


def test_missing_and_empty_files(tmp_path):
    assert steps_of(tmp_path) == [None, None, None]
    history.rewind(tmp_path, 100)
    write_all(tmp_path, [])
    assert steps_of(tmp_path) == [None, None, None]


def test_classes_of_another_version_are_refused(tmp_path):
    write_motifs(tmp_path, [100], motif_history.header().replace("7:P2S7", "7:PS4"))
    with pytest.raises(UsageError, match=r"column '7:PS4' where '7:P2S7'.*--no-motifs"):
        motif_history.read_motifs(tmp_path)


@pytest.mark.parametrize(
    ("elements", "wanted", "expected"),
    [
        (["Li", "B", "P", "S", "I"], True, "yes"),
        (["Li", "B", "P", "S", "I"], False, "no"),
        (["Li", "I"], True, "no"),
        (["Li", "B", "O"], True, "no"),
    ],
)
def test_decks_are_asked_for_motifs_where_there_are_any(elements, wanted, expected):
    options = QuenchOptions(motifs=wanted, motif_every=0.25)
    variables = motif_history.variables(options, elements)
    assert variables == {"motifs": expected, "motif_every": "0.25"}


def test_decks_get_the_cutoffs():
    options = SweepOptions(bond=("B-S=2.5", "P-P=2.4"), chain=8)
    variables = motif_history.variables(options, ["B", "P", "S"])
    assert variables["motif_keywords"] == "bond B S 2.5 bond P P 2.4 chain 8"


def test_why_elements_have_no_motifs():
    assert "no network former" in motif_history.absent(["Li", "I"])
    assert "O" in motif_history.absent(["Li", "B", "O"])
    assert motif_history.absent(np.array(["S", "Ge"]).tolist()) is None


@pytest.fixture(scope="module")
def glass(tmp_path_factory, cell):
    """A cell that a short quench of a Lennard-Jones stand-in has left."""
    folder = tmp_path_factory.mktemp("glass")
    quick = {"rate": 1800, "hold": 0.1, "equilibrate": 0.2, "pressure": 2e4, "motif_every": 0.05}
    quench(QuenchOptions(data=cell, output=folder, potential=DATA / "lj_glass.in", **quick))
    assert motif_history.read_motifs(folder).step[-1] == history.last_step(folder)
    return folder / "data.quenched"


def test_killed_in_production_it_goes_on_from_its_origins(tmp_path, glass):
    """What the killed and resumed deck says of displacements is what its frames say."""
    options = {
        "data": glass,
        "potential": DATA / "lj_glass.in",
        "output": tmp_path,
        "pressure": 2e4,
    }
    options |= {"temperatures": (500,), "equilibrate": 0.2, "time": 4}
    folder = tmp_path / "T500"

    def beyond(step):
        return lambda: (row := history.last_row(folder)) is not None and row.step > step

    for step in (1000, 2500):
        kill_when("sweep", options, beyond(step))
        assert engine.newest_restart(folder).step > 200
    done = run("sweep", options)
    assert done.returncode == 0, done.stderr
    wanted = list(range(200, 4201, 100))
    assert motif_history.read_motifs(folder).step.tolist() == list(range(100, 4201, 100))
    for name, rows in (("rotations.dat", 11), ("msd_motif.dat", 13)):
        lines = (folder / name).read_text().splitlines()
        heads = [line.split() for line in lines if not line.startswith("#")][:: rows + 1]
        assert heads == [[str(step), str(rows)] for step in wanted]

    trajectory = read(folder / "trajectory.dump", 1.0)
    ions = trajectory.indices("Li")
    paths = trajectory.paths(ions)
    series = motif_series(trajectory, ions)
    whole = np.array([len(wanted) - 1])
    found = motif_transport.class_displacements(paths, series.ions, 0.1, lags=whole)
    last = motif_history.read_msd(folder).values[-1]
    assert last[:, 0].tolist() == found.origin.number[0].tolist()
    assert last[:, 5].tolist() == found.survivors.number[0].tolist()
    assert last[:, 1] == pytest.approx(np.nan_to_num(found.origin.msd_A2[0]), rel=1e-3)
    turned = motif_history.read_rotations(folder).values
    assert turned == pytest.approx(series.rotations, rel=1e-3, abs=2e-3)
