"""Bookkeeping of displacements against the readers' undo_flips and plain NumPy."""

import numpy as np
import pytest

from lbpsi_driver import _kernels
from lbpsi_driver.observables.trajectory import undo_flips

N_CLASSES = 13
SKEW = np.array([[8.0, 0.0, 0.0], [1.5, 9.0, 0.0], [-1.0, 2.0, 10.0]])


def sheared(frames=61):
    """A smooth series of cells that breathe and shear, and the same as LAMMPS flips them."""
    smooth, flipped = [], []
    for t, tilt in enumerate(np.linspace(0.0, 18.0, frames)):
        cell = np.array([[8.0, 0, 0], [tilt, 9.0, 0], [0.4 * tilt, 0.7 * tilt, 10.0]])
        cell *= 1 + 0.02 * np.sin(t)
        p = -round(cell[2, 1] / cell[1, 1])
        c = cell[2] + p * cell[1]
        m, n = -round(cell[1, 0] / cell[0, 0]), -round(c[0] / cell[0, 0])
        smooth.append(cell)
        flipped.append(np.array([[1, 0, 0], [m, 1, 0], [n, p, 1]]) @ cell)
    return np.array(smooth), np.array(flipped)


def test_cells_are_continuous_through_flips_and_their_mean_runs():
    smooth, flipped = sheared()
    assert np.abs(np.diff(flipped, axis=0)).max() > 5.0  # it does flip
    history = _kernels.OriginHistory(0, flipped[0])
    for t in range(1, len(flipped)):
        assert not history.evaluate(10 * t, flipped[t])
        np.testing.assert_allclose(history.continuous_cell, smooth[t], atol=1e-12)
        np.testing.assert_allclose(history.mean_cell, smooth[: t + 1].mean(axis=0), atol=1e-12)


def test_flips_are_undone_as_the_readers_do():
    rng = np.random.default_rng(11)
    cells = []
    for t in range(200):
        flip = np.eye(3, dtype=int)
        i, j = rng.permutation(3)[:2]
        flip[i, j] = rng.integers(-2, 3) if t else 0
        cells.append(flip @ SKEW @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))))
    cells = np.array(cells)
    expected = undo_flips(cells) @ cells
    history = _kernels.OriginHistory(0, cells[0])
    for t in range(1, len(cells)):
        history.evaluate(t, cells[t])
        np.testing.assert_allclose(history.continuous_cell, expected[t], rtol=1e-12, atol=1e-9)


def test_a_step_counts_once():
    history = _kernels.OriginHistory(5, SKEW)
    history.evaluate(5, SKEW)
    for _ in range(3):
        history.evaluate(7, 1.1 * SKEW)
    np.testing.assert_allclose(history.mean_cell, 1.05 * SKEW, rtol=1e-14)


def test_origin_is_renewed_from_the_next_step_on():
    scale = {0: 1.0, 4: 1.1, 9: 1.2, 10: 1.3, 13: 1.4, 20: 1.5, 22: 1.6}
    history = _kernels.OriginHistory(0, SKEW)
    seen, origin = [1.0], 0
    for step, factor in list(scale.items())[1:]:
        renewed = history.evaluate(step, factor * SKEW, 10)
        assert renewed == (step in (13, 22))
        if renewed:
            seen, origin = seen[-1:], {13: 10, 22: 20}[step]
        seen.append(factor)
        assert history.is_next_origin == (step - origin >= 10)
        np.testing.assert_allclose(history.mean_cell, np.mean(seen) * SKEW, rtol=1e-14)
        again = _kernels.OriginHistory.unpack(history.pack())
        assert not again.evaluate(step, factor * SKEW, 10)
        assert again.pack() == history.pack()


def test_an_origin_keeps_its_age_when_steps_are_numbered_anew():
    history = _kernels.OriginHistory(1000, SKEW)
    history.evaluate(1006, SKEW, 10)
    history.evaluate(0, SKEW, 10)
    history.evaluate(3, SKEW, 10)
    assert not history.is_next_origin
    history.evaluate(4, SKEW, 10)
    assert history.is_next_origin
    assert history.evaluate(5, SKEW, 10)


def test_cells_that_cannot_be_followed_are_refused():
    history = _kernels.OriginHistory(0, SKEW)
    with pytest.raises(ValueError, match=r"no small strain .*; evaluate more often") as error:
        history.evaluate(1, 2.6 * SKEW)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="volume"):
        history.evaluate(1, np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"cell has shape \(2, 3\)"):
        history.evaluate(1, SKEW[:2])
    with pytest.raises(ValueError, match="length 3; expected 31"):
        _kernels.OriginHistory.unpack([1.0, 2.0, 3.0])


def test_table_by_class_is_what_loops_give():
    rng = np.random.default_rng(2)
    cls = rng.integers(1, N_CLASSES, 200)  # the last class stays empty
    moved = rng.normal(0, 3, (200, 3))
    holds = rng.random(200) < 0.4
    holds[cls == 3] = False
    table = _kernels.displacements_by_class(cls, moved, holds)
    assert table.shape == (N_CLASSES, 7)
    for code, row in enumerate(table, start=1):
        mine = [i for i in range(200) if cls[i] == code]
        kept = [i for i in mine if holds[i]]
        assert row[0] == len(mine)
        assert row[5] == len(kept)
        for k in range(3):
            mean = sum(moved[i][k] ** 2 for i in mine) / len(mine) if mine else 0.0
            assert row[2 + k] == pytest.approx(mean, rel=1e-13)
        assert row[1] == pytest.approx(row[2:5].sum(), rel=1e-13)
        kept_mean = sum((moved[i] ** 2).sum() for i in kept) / len(kept) if kept else 0.0
        assert row[6] == pytest.approx(kept_mean, rel=1e-13)


def test_table_refuses_what_is_no_class():
    for bad in (0, N_CLASSES + 1):
        with pytest.raises(ValueError, match=rf"cls of atom 2 is {bad}; expected 1 to 13"):
            _kernels.displacements_by_class([1, bad], np.zeros((2, 3)), [True, True])
    with pytest.raises(ValueError, match="displacements has shape"):
        _kernels.displacements_by_class([1, 2], np.zeros((3, 3)), [True, True])
