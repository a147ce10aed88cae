"""Squared displacements reduced by the kernel against plain NumPy."""

import numpy as np
import pytest

from lbpsi_driver import _kernels

N_CLASSES = 13
START, STOP = np.array([0, 2, 5, 1]), np.array([3, 9, 6, 11])


def paths():
    return np.cumsum(np.random.default_rng(4).normal(size=(12, 7, 3)), axis=0)


def squares(positions):
    return np.square(positions[STOP] - positions[START]).sum(axis=2)


def test_mean_and_variance_by_atom():
    mean, variance = _kernels.squares_by_atom(paths(), START, STOP)
    np.testing.assert_allclose(mean, squares(paths()).mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(variance, squares(paths()).var(axis=0), rtol=1e-12)


def test_variance_of_nearly_equal_displacements_is_not_lost():
    """A flight of 1e4 Å with a tremble: sums of fourth powers would leave rounding alone."""
    away = np.array([1e4, 1e4 + 1e-4, 1e4 - 1e-4, 1e4])
    positions = np.zeros((5, 1, 3))
    positions[1:, 0, 0] = away
    _, variance = _kernels.squares_by_atom(positions, np.zeros(4, dtype=int), np.arange(1, 5))
    assert variance[0] == pytest.approx(np.var(2e4 * (away - 1e4)), rel=1e-6)


def test_sums_by_class():
    rng = np.random.default_rng(5)
    classes = rng.integers(1, N_CLASSES + 1, (12, 7)).astype(np.int8)
    until = rng.integers(0, 12, (12, 7))
    found = _kernels.squares_by_class(paths(), START, STOP, classes, until)
    expected = np.zeros((2, 3, N_CLASSES))
    for start, stop, row in zip(START, STOP, squares(paths()), strict=True):
        for ion, square in enumerate(row):
            code = classes[start, ion] - 1
            for part in range(1 + (until[start, ion] >= stop)):
                expected[part, :, code] += 1.0, square, square**2
    assert expected[1, 0].sum() > 5
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        ([0], [12], "pair 0 has frame 12; expected 0 to 11"),
        ([0, -1], [1, 2], "pair 1 has frame -1; expected 0 to 11"),
        ([0, 1], [1], r"stop has shape \(1\); expected \(2\)"),
        ([], [], "start is empty; expected a pair of frames"),
    ],
)
def test_bad_pairs_are_one_line(start, stop, message):
    pairs = (np.array(ends, dtype=np.int64) for ends in (start, stop))
    with pytest.raises(ValueError, match=message):
        _kernels.squares_by_atom(paths(), *pairs)


def test_bad_classes_are_one_line():
    classes, until = np.ones((12, 7), dtype=np.int8), np.zeros((12, 7), dtype=np.int64)
    classes[3, 2] = 14
    with pytest.raises(ValueError, match="cls holds 14; expected 1 to 13"):
        _kernels.squares_by_class(paths(), START, STOP, classes, until)
    with pytest.raises(ValueError, match=r"until has shape \(11, 7\); expected \(12, 7\)"):
        _kernels.squares_by_class(paths(), START, STOP, classes * 0 + 1, until[1:])
