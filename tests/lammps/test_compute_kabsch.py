"""compute kabsch against the kernels, every step, on several ranks and through restarts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import glass
import numpy as np
import pytest
from glass import ELEMENTS, Frame, Rotations, deck, dump, frames, succeed

from conftest import Lmp
from lbpsi_driver import _kernels

HOLD = 3
STEPS = 40
ROWS = _kernels.N_FORMER_CLASSES
COMPUTES = f"""
compute m all motif elements {ELEMENTS}
compute k all kabsch m hold {HOLD}
fix nve all nve
"""
RUN = f"{COMPUTES}fix t all ave/time 1 1 1 c_k[*] mode vector file t.txt\n"


def same(columns: np.ndarray, wanted: np.ndarray, where: object = "") -> None:
    """States exactly, reals to 1e-8 degrees and Å; no axes where next to nothing turned."""
    np.testing.assert_array_equal(columns[:, 6], wanted[:, 6], err_msg=str(where))
    turned = wanted[:, 0] > 1e-3
    np.testing.assert_allclose(columns[~turned, :2], wanted[~turned, :2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(columns[turned, :5], wanted[turned, :5], rtol=0, atol=1e-8)
    np.testing.assert_allclose(columns[:, 5], wanted[:, 5], rtol=0, atol=1e-8)


def same_table(table: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(table[:, [0, 4, 5, 6]], wanted[:, [0, 4, 5, 6]])
    # ave/time writes six digits
    np.testing.assert_allclose(table[:, 1:4], wanted[:, 1:4], rtol=1e-5, atol=1e-4)


def follow(
    seen: Iterable[Frame], members: np.ndarray | None = None, hold: int = HOLD
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Columns and array of each step from the kernels."""
    wanted, units = {}, None
    for frame in seen:
        units = units or Rotations(frame, hold=hold, members=members)
        wanted[frame.step] = units.next(frame, glass.motifs(frame))
    return wanted


@pytest.mark.mpi
@pytest.mark.parametrize("tilted", [False, True], ids=["orthogonal", "triclinic"])
def test_every_step_of_a_hot_run(tmp_path: Path, lmp: Lmp, tilted: bool) -> None:
    data = glass.make_glass(tilted=tilted, kelvin=1000.0).write(tmp_path / "data")
    alone: dict[int, Frame] = {}
    for ranks in 1, 2, 4:
        body = f"""
            group half id 1:100
            compute h half kabsch m hold 1
            fix t all ave/time 1 1 1 c_k[*] mode vector file t.txt
            fix h all ave/time 1 1 1 c_h[*] mode vector file h.txt
            {dump("c_k[*] c_h[*]", "d")}
            thermo 1
            thermo_style custom step c_m[8] c_k[8][1] c_h[8][6]
            run {STEPS}
        """
        body = COMPUTES + body.replace("            ", "")
        succeed(lmp(deck(data, body), ranks=ranks))
        seen = {frame.step: frame for frame in frames(tmp_path / "d.dump")}
        alone = alone or seen
        members = next(iter(seen.values())).ids <= 100
        history = [alone[step] for step in seen]
        whole, part = follow(history), follow(history, members, hold=1)
        for step, frame in seen.items():
            same(frame.values[:, :7], whole[step][0], (ranks, step))
            same(frame.values[:, 7:], part[step][0], (ranks, step))
            same_table(glass.table(tmp_path / "t.txt", ROWS)[step], whole[step][1])
            same_table(glass.table(tmp_path / "h.txt", ROWS)[step], part[step][1])
        if ranks == 1:
            tables = np.array([table for _, table in whole.values()])
            assert tables[-1, :, 5].sum() >= 3
            assert tables[10, :, 0].sum() >= 3, tables.sum(axis=1)
            assert tables[:, :, 4].sum() > 0


@pytest.mark.mpi
def test_restart_equals_an_uninterrupted_run(tmp_path: Path, lmp: Lmp) -> None:
    """From 2 ranks to 1 and 4, with references, exchanges so far, and sets not yet held long."""
    data = glass.make_glass(tilted=True).write(tmp_path / "data")
    first = deck(data, f"{RUN}{dump('c_k[*]', 'd')}run 18\nwrite_restart half\nrun 12")
    succeed(lmp(first, ranks=2))
    whole = {frame.step: frame for frame in frames(tmp_path / "d.dump")}
    table = glass.table(tmp_path / "t.txt", ROWS)
    assert table[18][:, 5].sum() > 0
    assert table[30][:, 5].sum() > table[18][:, 5].sum()
    wanted = follow(whole.values())
    for step, frame in whole.items():
        same(frame.values, wanted[step][0], step)

    for ranks in 1, 4:
        # runs of no step, and another number of the step, count no evaluation either
        again = f"""
            {COMPUTES}
            thermo_style custom step c_k[8][1]
            run 0
            run 0
            reset_timestep 0
            run 0
            fix t all ave/time 1 1 1 c_k[*] mode vector file t.txt
            {dump("c_k[*] c_m[*]", "d")}
            run 12
        """
        text = deck("", again, read="read_restart half").replace("boundary p p p", "")
        succeed(lmp(text, ranks=ranks))
        resumed = list(frames(tmp_path / "d.dump"))
        assert [frame.step for frame in resumed] == list(range(13))
        tables = glass.table(tmp_path / "t.txt", ROWS)
        for frame in resumed:
            step = frame.step + 18
            same(frame.values[:, :7], whole[step].values, (ranks, step))
            wanted = glass.motif_columns(glass.motifs(frame))
            np.testing.assert_array_equal(frame.values[:, 7:], wanted)
            same_table(tables[frame.step], table[step])


def crafted(folder: Path, body: str) -> str:
    """A deck of a PS4 (ids 1 to 5) and a S apart (6) at rest, a BS3 (7 to 10) and a Li (11)."""
    corner, far = np.array([5.0, 5.0, 5.0]), np.array([14.0, 14.0, 14.0])
    places = np.vstack(
        [
            corner,
            corner + 2.05 * glass.TETRAHEDRON,
            [10.0, 5.0, 5.0],
            far,
            far + 1.82 * glass.TRIANGLE,
            [10.0, 2.0, 16.0],
        ]
    )
    types = np.array([glass.P, *[glass.S] * 5, glass.B, *[glass.S] * 3, glass.LI])
    cell = glass.Glass(20.0 * np.eye(3), types, places, np.zeros_like(places))
    # whole, mean, broken, exchanges of class PS4
    show = (
        'print "SHOWN $(c_k[8][1]:%.0f) $(c_k[8][2]:%.9f) $(c_k[8][5]:%.0f) $(c_k[8][6]:%.0f)"'
        " append shown.txt"
    )
    head = f"""
        group p id 1:5
        group last id 5
        group spare id 6
        compute m all motif elements {ELEMENTS}
        compute k all kabsch m hold 3
        thermo_style custom step c_k[8][1] c_k[8][2] c_k[8][5] c_k[8][6]
        thermo 1
    """
    return deck(cell.write(folder / "data"), head + body.replace("SHOW", show))


def shown(folder: Path) -> list[list[float]]:
    lines = (folder / "shown.txt").read_text().splitlines()
    return [[float(word) for word in line.split()[1:]] for line in lines]


def test_a_configuration_counts_once(tmp_path: Path, lmp: Lmp) -> None:
    """A set that holds is exchanged after three evaluations, whatever else reads the compute."""
    body = """
        run 0
        displace_atoms p rotate 5.0 5.0 5.0 0 0 1 30.0
        run 0
        SHOW
        displace_atoms last move 6.0 0.0 0.0
        run 0
        SHOW
        displace_atoms spare move -5.0 1.3 1.3
        run 0
        SHOW
        run 0
        dump x all custom 1 x.dump id c_k[1] c_k[7]
        run 0
        fix a all ave/time 1 1 1 c_k[1] c_k[6] mode vector
        run 0
        SHOW
        run 1
        SHOW
        unfix a
        undump x
        reset_timestep 700
        run 0
        reset_timestep 0
        run 0
        SHOW
        run 1
        SHOW
        displace_atoms all rotate 5.0 5.0 5.0 1 0 0 20.0
        run 0
        SHOW
    """
    succeed(lmp(crafted(tmp_path, body)))
    seen = shown(tmp_path)
    whole, gone, new, read, second, renamed, third, turned = seen
    assert whole == [1, pytest.approx(30.0, abs=1e-7), 0, 0]
    assert gone[3] == 0
    for row in new, read, second, renamed:
        assert row == [0, 0, 1, 0]
    assert third == [1, pytest.approx(0.0, abs=1e-6), 0, 1]
    assert turned == [1, pytest.approx(20.0, abs=1e-7), 0, 1]


def test_mirror_image_minimize_rerun_and_another_reference(tmp_path: Path, lmp: Lmp) -> None:
    places = 5.0 + 2.05 * glass.TETRAHEDRON[[1, 0]]
    swap = [f"set atom {k} x {x} y {y} z {z}" for k, (x, y, z) in enumerate(places, 2)]
    back = [f"set atom {k} x {x} y {y} z {z}" for k, (x, y, z) in enumerate(places[::-1], 2)]
    body = f"""
        dump x all custom 1 x.dump id type x y z
        run 0
        displace_atoms p rotate 5.0 5.0 5.0 0 0 1 10.0
        minimize 0.0 1e-8 3 10
        SHOW
        undump x
        uncompute k
        compute k all kabsch m
        run 0
        SHOW
        rerun x.dump dump x y z
        SHOW
        uncompute k
        compute k all kabsch m
        rerun x.dump dump x y z
        SHOW
        uncompute k
        {"; ".join(back)}
        compute k all kabsch m
        run 0
        {"; ".join(swap)}
        run 0
        print "MIRROR $(c_k[8][1]:%.0f) $(c_k[8][5]:%.0f) $(c_k[8][7]:%.0f)"
    """.replace("; set", "\n        set")
    out = succeed(lmp(crafted(tmp_path, body)))
    # the dump has six digits
    angles = [row[1] for row in shown(tmp_path)]
    assert angles == pytest.approx([10.0, 0.0, 0.0, 10.0], abs=1e-3)
    assert "MIRROR 0 0 1" in out


DYNAMIC = "group b dynamic all every 1 var v"
M = f"compute m all motif elements {ELEMENTS}\n"
BAD = {
    "compute k all kabsch": "nothing where the ID of a compute motif was expected",
    "compute k all kabsch x\nrun 0": "x is no compute; expected the ID of a compute motif",
    "compute k all kabsch thermo_pe\nrun 0": "thermo_pe is a compute pe; expected",
    f"{M}compute k all kabsch m hold": "hold needs a number",
    f"{M}compute k all kabsch m hold 0": "hold 0 must be at least 1",
    f"{M}compute k all kabsch m hold two": "integer .* instead of 'two'",
    f"{M}compute k all kabsch m held 2": "unknown keyword held; use hold",
    f"{M}group li type 1\ncompute k li kabsch m\nrun 0": "kabsch: group li has no former",
    f"{M}{DYNAMIC}\ncompute k b kabsch m\nrun 0": "group b is dynamic; use a static",
    f"{M}compute k all kabsch m\nunfix k_reference\nrun 0": "fix k_reference is gone",
    f"{M}compute k all kabsch m\nrun 1\nuncompute m\nrun 1": "m is no compute",
    f'{M}compute k all kabsch m\nprint "$(c_k[1][1])"': "before initialization",
    f'{M}compute k all kabsch m\nrun 1\nuncompute m\nprint "$(c_k[1][1])"': "m is no compute",
    f'{M}compute k all kabsch m\nrun 1\nwrite_restart r\nprint "$(c_k[1][1])"': "use run 0 before",
}


def test_errors_are_one_line(tmp_path: Path, lmp: Lmp) -> None:
    data = glass.make_glass((3, 2, 2)).write(tmp_path / "data")
    decks = [deck(data, f"variable v atom id<9\n{body}") for body in BAD]
    for text, found, pattern in zip(decks, glass.errors(decks, lmp), BAD.values(), strict=True):
        line = (found.strip().splitlines() or [""])[0]
        assert line.startswith("ERROR"), (text[-200:], found)
        assert re.search(pattern, line), (text[-200:], found)
