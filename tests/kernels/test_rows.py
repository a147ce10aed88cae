"""Rows of a dump as numbers: against Python's own words and floats, whole and damaged."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpsi_driver import _kernels

LABELS = ["Li", "P", "S"]
COLUMNS, LABEL = 5, 1
TEXT = "1 Li 0.25 -3.5e-3 7\n2 S 1e2 12345678.9 -1\n3 P 0 4.9406564584124654e-324 0\n"


def by_words(text: str, rows: int, wanted: list[int]) -> np.ndarray | None:
    """The same with str.split and float; None where a line or word isn't as it should be."""
    lines = text.split("\n")
    if lines.pop() or len(lines) != rows:
        return None
    table = [line.split() for line in lines]
    if any(len(row) != COLUMNS for row in table):
        return None
    try:
        return np.array(
            [
                [LABELS.index(row[k]) if k == LABEL else float(row[k]) for k in wanted]
                for row in table
            ]
        )
    except ValueError:
        return None


def parse(text: str, rows: int, wanted: list[int], label: int = LABEL) -> np.ndarray | None:
    return _kernels.parse_rows(text.encode(), rows, COLUMNS, wanted, label, LABELS)


@pytest.mark.parametrize("wanted", [[0, 1, 2, 3, 4], [4, 1, 0], [3]])
def test_numbers_are_those_of_python_to_the_last_bit(wanted):
    np.testing.assert_array_equal(parse(TEXT, 3, wanted), by_words(TEXT, 3, wanted), strict=True)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_any_number_is_read_as_python_reads_it(numbers):
    for spell in (repr, "{:.8g}".format, "{:.3f}".format):
        text = f" 7\tS {' '.join(map(spell, numbers))} \n"
        assert parse(text, 1, [2, 3, 4]).tolist() == by_words(text, 1, [2, 3, 4]).tolist()


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_damaged_text_is_refused_or_read_as_python_reads_it(data):
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        stop = min(len(text), at + data.draw(st.integers(0, 4)))
        text = text[:at] + data.draw(st.text("019.eE+- \t\n\rLiSPx\0", max_size=3)) + text[stop:]
    wanted = [0, 1, 2, 3, 4]
    parsed, expected = parse(text, 3, wanted), by_words(text, 3, wanted)
    if parsed is not None:
        np.testing.assert_array_equal(parsed, expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "4 P 1 2 3\n",
        TEXT.replace("2 S", "2 Cl"),
        TEXT.replace("12345678.9", "12345.6.9"),
        TEXT.replace(" -1\n", "\n"),
        TEXT.replace(" -1\n", " -1 1\n"),
        TEXT.replace(" -1\n3", " 3"),
        TEXT.replace("1e2", "1e400"),
        TEXT.replace("1e2", "two"),
    ],
)
def test_what_is_damaged_is_not_read(text):
    assert parse(text, 3, [0, 1, 2, 3, 4]) is None


def test_a_word_that_nobody_wants_may_be_anything():
    assert parse(TEXT.replace("1e2", "two"), 3, [0, 1]).tolist() == [[1, 0], [2, 2], [3, 1]]


def test_types_are_numbers():
    text = TEXT.replace("Li", "1").replace("S", "3").replace("P", "2")
    assert parse(text, 3, [1], label=-1).tolist() == [[1], [3], [2]]


@pytest.mark.parametrize("column", [-1, COLUMNS])
def test_a_column_that_is_not_there(column):
    with pytest.raises(ValueError, match=f"wanted holds column {column}; expected 0 to 4"):
        parse(TEXT, 3, [0, column])


@given(st.integers(0, 4), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_rows_are_counted(width, n, seed):
    table = np.random.default_rng(seed).integers(-2, 2, (n, width)) * 2**40
    rows, counts = _kernels.count_rows(table)
    expected = sorted(Counter(map(tuple, table.tolist())).items())
    assert list(zip(map(tuple, rows.tolist()), counts.tolist(), strict=True)) == expected
    assert rows.shape == (len(expected), width)
