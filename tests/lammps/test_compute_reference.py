"""fix reference/atom alone carries the state of a compute: migration, sorting, restart files."""

from __future__ import annotations

from pathlib import Path

import glass
import numpy as np
import pytest
from glass import ELEMENTS, deck, dump, frames, succeed

from conftest import Lmp

COMPUTES = f"compute m all motif elements {ELEMENTS}\ncompute k all kabsch m\n"
MANY = 60  # numbers of a row: more than compute kabsch has
LAYOUT = {"first": "atom_modify sort 3 2.0", "processors": "processors 2 * *"}


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_state_travels_with_its_atoms(tmp_path: Path, lmp: Lmp, ranks: int) -> None:
    """A restart file goes through a run that has the fix and no compute."""
    data = glass.make_glass(kelvin=120.0).write(tmp_path / "data")
    layout = LAYOUT if ranks > 1 else {"first": LAYOUT["first"]}
    drift = "velocity all set 15 9 12 sum yes\n"
    body = f"{COMPUTES}{drift}fix nve all nve\nrun 2\nwrite_restart begun\nrun 24\n"
    succeed(lmp(deck(data, body + dump("c_k[*]", "whole") + "run 0", **layout), ranks=ranks))
    (whole,) = frames(tmp_path / "whole.dump")

    def resume(name: str, body: str) -> None:
        text = deck("", body, read=f"read_restart {name}", **layout)
        succeed(lmp(text.replace("boundary p p p", ""), ranks=ranks))

    carried = f"""
        fix k_reference all reference/atom {MANY}
        fix nve all nve
        neigh_modify every 1 delay 0 check no
        {dump("proc", "owners")}
        run 24
        write_restart carried
    """
    resume("begun", carried)
    owners = [frame.values[:, 0] for frame in frames(tmp_path / "owners.dump")]
    assert ranks == 1 or np.count_nonzero(owners[0] != owners[-1]) >= 30
    resume("carried", f"{COMPUTES}{dump('c_k[*]', 'carried')}run 0")
    (carried_on,) = frames(tmp_path / "carried.dump")
    np.testing.assert_allclose(carried_on.positions, whole.positions, rtol=0, atol=1e-9)
    turned = whole.values[:, 0] > 1.0
    assert np.count_nonzero(turned) >= 5
    assert np.count_nonzero(whole.values[:, 6] == 2) >= 1
    np.testing.assert_array_equal(carried_on.values[:, 6], whole.values[:, 6])
    np.testing.assert_allclose(carried_on.values, whole.values, rtol=0, atol=1e-8)
