"""Farthest-point selection against a search of all distances, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbpsi_driver.training import selection


def by_search(rows, count, first, nearest):
    """The definition, pair by pair: the most distant of the nearest, over and over."""
    spread = [column.std() for column in rows.T]
    scaled = [(column - column.mean()) / s for column, s in zip(rows.T, spread, strict=True) if s]
    points = np.array(scaled).T / np.sqrt(len(scaled))
    chosen = list(first) or [min(range(len(points)), key=lambda i: np.sum(points[i] ** 2))]
    while len(chosen) < min(count, len(points)):
        gap = {
            i: min(float(np.sqrt(((points[i] - points[j]) ** 2).sum())) for j in chosen)
            for i in range(len(points))
            if i not in chosen
        }
        farthest = max(gap, key=gap.__getitem__)
        if gap[farthest] < nearest:
            break
        chosen.append(farthest)
    return chosen


@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(3, 25),
    width=st.integers(1, 6),
    count=st.integers(1, 30),
    known=st.integers(0, 3),
    nearest=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_search_of_all_pairs(seed, frames, width, count, known, nearest):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(frames, width)) * rng.uniform(0.01, 100, width) + 7
    first = rng.permutation(frames)[:known].tolist()
    found = selection.farthest_points(rows, count, first=first, nearest=nearest)
    assert found.tolist() == by_search(rows, count, first, nearest)


def test_a_line_by_hand():
    # the mean is 4.4: 4 lies nearest, 12 is the farthest from it, then 0, then 2 (2 from 0 and 4)
    line = np.array([[0.0], [2.0], [4.0], [4.0], [12.0]])
    assert selection.farthest_points(line, 4).tolist() == [2, 4, 0, 1]
    assert selection.farthest_points(line, 9).tolist() == [2, 4, 0, 1, 3]
    assert selection.farthest_points(line, 9, nearest=1e-9).tolist() == [2, 4, 0, 1]
    assert selection.farthest_points(line, 3, first=[1]).tolist() == [1, 4, 0]


def test_units_of_a_component_do_not_matter():
    rows = np.random.default_rng(3).normal(size=(40, 3))
    scaled = rows * [1e-3, 1.0, 1e4] + [0.0, -5.0, 2.0]
    found = selection.farthest_points(scaled, 10, nearest=0.5)
    assert found.tolist() == selection.farthest_points(rows, 10, nearest=0.5).tolist()


def test_a_component_that_is_rounding_alone_does_not_count():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(30, 2))
    noise = np.float32(50) * (1 + 1e-7 * rng.normal(size=(30, 1)))
    found = selection.farthest_points(np.hstack([rows, noise, np.zeros((30, 1))]), 12)
    assert found.tolist() == selection.farthest_points(rows, 12).tolist()


def test_nearest_is_in_units_of_the_spread():
    rows = np.random.default_rng(5).normal(size=(300, 7)) * 42
    points = selection.standardised(rows)
    assert np.sqrt((points**2).sum(axis=1).mean()) == pytest.approx(1)
    kept = points[selection.farthest_points(rows, 300, nearest=0.8)]
    gaps = np.linalg.norm(kept[:, None] - kept[None], axis=2)[~np.eye(len(kept), dtype=bool)]
    assert 10 < len(kept) < 300
    assert gaps.min() >= 0.8
    # nothing that was left out lies farther than that from what was kept
    assert np.linalg.norm(points[:, None] - kept[None], axis=2).min(axis=1).max() < 0.8


def test_spreads_more_than_chance():
    rng = np.random.default_rng(6)
    rows = np.vstack([rng.normal(size=(990, 4)), rng.normal(size=(10, 4)) + 9])
    assert (selection.farthest_points(rows, 20) >= 990).sum() >= 2


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), np.zeros((4, 0)), np.ones((4, 3))])
def test_frames_without_differences(empty):
    assert selection.farthest_points(empty, 2).tolist() == [0, 1][: len(empty)]
    assert len(selection.farthest_points(empty, 9, nearest=0.1)) == min(1, len(empty))


@pytest.mark.parametrize(
    ("rows", "first", "message"),
    [
        (np.zeros(3), (), r"shape \(3,\)"),
        (np.array([[np.nan]]), (), "finite"),
        (np.eye(3), (3,), r"first = \[3\].*below 3"),
        (np.eye(3), (1, 1), "distinct"),
    ],
)
def test_bad_input(rows, first, message):
    with pytest.raises(ValueError, match=message):
        selection.farthest_points(rows, 2, first=first)


# --- splits and shares -------------------------------------------------------------------------


@given(
    names=st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=40, unique=True),
    fixed=st.dictionaries(st.integers(0, 39), st.sampled_from(["train", "valid", "test"])),
    shares=st.tuples(st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.1, 0.3])),
    seed=st.integers(1, 99),
)
def test_splits_keep_their_promises(names, fixed, shares, seed):
    given_ = {name: fixed.get(number) for number, name in enumerate(names)}
    valid, test = shares
    splits = selection.draw_splits(given_, valid=valid, test=test, seed=seed)
    assert list(splits) == names
    assert all(splits[name] == split for name, split in given_.items() if split)
    drawn = [name for name, split in given_.items() if split is None]
    if drawn:
        assert "train" in splits.values()
    counts = {which: list(splits.values()).count(which) for which in ("valid", "test")}
    stated = {which: list(given_.values()).count(which) for which in ("valid", "test")}
    for which, share in (("valid", valid), ("test", test)):
        wanted = max(1, round(share * len(names))) if share else 0
        assert counts[which] <= max(wanted, stated[which])
    if len(drawn) >= 26:  # there are enough to draw from
        for which, share in (("valid", valid), ("test", test)):
            wanted = max(1, round(share * len(names))) if share else 0
            assert counts[which] == max(wanted, stated[which])


def test_splits_follow_the_seed_and_not_the_order():
    names = {f"t{number}": None for number in range(20)}
    shares = {"valid": 0.2, "test": 0.2}
    first = selection.draw_splits(names, seed=1, **shares)
    assert selection.draw_splits(dict(reversed(names.items())), seed=1, **shares) == first
    others = [selection.draw_splits(names, seed=seed, **shares) for seed in range(2, 6)]
    assert all(other != first for other in others)
    more = selection.draw_splits(names | {"new": None}, seed=1, **shares)
    assert sum(more[name] != split for name, split in first.items()) <= 2


def test_few_trajectories_are_for_training_then_validation():
    def splits(number):
        given_ = dict.fromkeys("abcd"[:number])
        return sorted(selection.draw_splits(given_, valid=0.1, test=0.1, seed=1).values())

    assert [splits(number) for number in (1, 2, 3)] == [
        ["train"], ["train", "valid"], ["test", "train", "valid"]
    ]  # fmt: skip
    mixed = {"a": "train", "b": None}
    assert selection.draw_splits(mixed, valid=0.1, test=0.1, seed=1)["b"] == "valid"


@given(
    total=st.integers(0, 100),
    sizes=st.dictionaries(st.sampled_from("abcde"), st.integers(0, 40), max_size=5),
)
def test_shares_are_fair(total, sizes):
    shares = selection.shares_of(total, sizes)
    whole = sum(sizes.values())
    assert sum(shares.values()) == min(total, whole)
    for name, share in shares.items():
        assert 0 <= share <= sizes[name]
        assert abs(share - min(total, whole) * sizes[name] / max(1, whole)) < 1


def test_the_figure_shows_each_source(tmp_path):
    rows = np.random.default_rng(1).normal(size=(30, 4))
    path = tmp_path / "a.svg"
    selection.plot(path, rows, ["melt"] * 20 + ["strained"] * 10, [0, 5, 25])
    text = path.read_text()
    assert "<!-- melt -->" in text
    assert "<!-- strained -->" in text
    selection.plot(tmp_path / "b.png", np.ones((3, 4)), ["a", "b", "c"], [0])
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
