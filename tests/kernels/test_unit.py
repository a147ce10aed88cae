"""References of units: breaks, returns, exchanges, and the state that travels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lbpsi_driver import _kernels

TETRAHEDRON = 2.05 / np.sqrt(3) * np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
AROUND = np.radians([0.0, 120.0, 240.0])
PLANAR = 1.83 * np.stack([np.cos(AROUND), np.sin(AROUND), 0 * AROUND], axis=1)
NONE, WHOLE, BROKEN, INVERTED = (
    int(getattr(_kernels.UnitState, name)) for name in ("none", "whole", "broken", "inverted")
)


def arguments(*units, pyramid=None):
    """Ligands of each unit, a dict of id and vector, as the kernel takes them."""
    ids = [i for unit in units for i in sorted(unit)]
    vectors = [unit[i] for unit in units for i in sorted(unit)]
    start = np.cumsum([0, *(len(unit) for unit in units)])
    apex = np.zeros(len(units), bool) if pyramid is None else np.array(pyramid)
    return start, np.array(ids, dtype=np.int64), np.array(vectors).reshape(-1, 3), apex


def unit(ids, vectors=TETRAHEDRON, rotation=None):
    turned = vectors if rotation is None else rotation.apply(vectors)
    return dict(zip(ids, turned, strict=False))


def states(units, sets, **more):
    """State and exchanges of a single unit after each of the sets."""
    found = [units.update(*arguments(one, **more)) for one in sets]
    return [int(f["state"][0]) for f in found], [int(f["exchanges"][0]) for f in found]


A, B, C = [3, 5, 8, 9], [3, 5, 8, 11], [3, 5, 8, 12]


# --- rotations of whole units --------------------------------------------------------------------


def test_rows_are_those_of_the_kernels():
    """State, angle, axis, residual of many units at once, ragged in their number of ligands."""
    rng = np.random.default_rng(1)
    shapes = [
        TETRAHEDRON,
        PLANAR,
        PLANAR,
        np.vstack([TETRAHEDRON, PLANAR])[:5],
        np.vstack([TETRAHEDRON, PLANAR])[:6],
    ]
    pyramid = [False, False, True, False, False]
    references = [v + 0.05 * rng.normal(size=v.shape) for v in shapes]
    turns = Rotation.random(len(shapes), random_state=2)
    current = [
        r.apply(v) + 0.03 * rng.normal(size=v.shape) for r, v in zip(turns, references, strict=True)
    ]
    units = _kernels.UnitReferences(len(shapes), 3)
    ids = [np.arange(len(v)) * 7 + i for i, v in enumerate(shapes)]
    named = [dict(zip(i, v, strict=True)) for i, v in zip(ids, references, strict=True)]
    first = units.update(*arguments(*named, pyramid=pyramid))
    assert (first["state"] == WHOLE).all()
    for name in ("angle", "reduced", "axis", "residual", "exchanges"):
        assert not first[name].any()
    named = [dict(zip(i, v, strict=True)) for i, v in zip(ids, current, strict=True)]
    found = units.update(*arguments(*named, pyramid=pyramid))
    assert (found["state"] == WHOLE).all()
    for i, (p, q) in enumerate(zip(references, current, strict=True)):
        expected, rssd = Rotation.align_vectors(q, p)
        assert found["angle"][i] == pytest.approx(expected.magnitude(), abs=1e-8)
        rotvec = found["angle"][i] * found["axis"][i]
        np.testing.assert_allclose(rotvec, expected.as_rotvec(), atol=1e-7)
        assert found["residual"][i] == pytest.approx(rssd / np.sqrt(len(p)), abs=1e-7)
        alone = _kernels.kabsch(p[None], q[None])["quaternion"]
        np.testing.assert_array_equal(found["quaternion"][i], alone[0])
        least = _kernels.reduced_angle(alone, p[None], np.array([pyramid[i]]))[0]
        assert found["reduced"][i] == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("angle", [1e-7, 0.3, 3.0, np.pi - 1e-7])
def test_axis(angle):
    axis = np.array([2.0, -1.0, 2.0]) / 3
    units = _kernels.UnitReferences(1, 2)
    units.update(*arguments(unit(A)))
    turned = unit(A, rotation=Rotation.from_rotvec(angle * axis))
    found = units.update(*arguments(turned))
    assert found["angle"][0] == pytest.approx(angle, abs=1e-10)
    np.testing.assert_allclose(found["axis"][0], axis, atol=1e-8)


def test_mirror_image_has_no_rotation():
    units = _kernels.UnitReferences(1, 2)
    units.update(*arguments(unit(A)))
    swapped = unit(A, TETRAHEDRON[[1, 0, 2, 3]], Rotation.random(random_state=3))
    found = units.update(*arguments(swapped))
    assert found["state"][0] == INVERTED
    for name in ("angle", "reduced", "axis"):
        assert not found[name].any()
    assert found["residual"][0] > 1.0
    np.testing.assert_array_equal(found["quaternion"], [[1, 0, 0, 0]])


# --- breaks and exchanges ------------------------------------------------------------------------


def test_first_unit_is_the_reference():
    sets = [{}, unit([4]), unit(range(7), np.eye(7, 3) + 1), unit(A), unit(A)]
    assert states(_kernels.UnitReferences(1, 1), sets) == (
        [NONE, NONE, NONE, WHOLE, WHOLE],
        [0] * 5,
    )


def test_return_of_a_ligand_is_no_exchange():
    sets = [unit(A), unit(A[:3]), unit(B), unit(B), unit(A), unit(B), unit(B), unit(A)]
    expected = [WHOLE, BROKEN, BROKEN, BROKEN, WHOLE, BROKEN, BROKEN, WHOLE]
    assert states(_kernels.UnitReferences(1, 3), sets) == (expected, [0] * 8)


def test_broken_unit_keeps_its_reference():
    """A unit that comes back is measured from where it was before it broke."""
    units = _kernels.UnitReferences(1, 5)
    turn = Rotation.from_rotvec([0, 0, 0.4])
    units.update(*arguments(unit(A)))
    broken = units.update(*arguments(unit(B, rotation=turn)))
    for name in ("angle", "reduced", "axis", "residual"):
        assert not broken[name].any()
    assert units.update(*arguments(unit(A, rotation=turn)))["angle"][0] == pytest.approx(0.4)


@pytest.mark.parametrize("hold", [1, 2, 4])
def test_exchange_after_hold(hold):
    """One exchange however long it took; from there on the new ligands are measured."""
    units = _kernels.UnitReferences(1, hold)
    turn = Rotation.from_rotvec([0.7, 0, 0])
    found, counted = states(units, [unit(A)] + [unit(B, rotation=turn)] * (hold + 2))
    assert found == [WHOLE] + [BROKEN] * (hold - 1) + [WHOLE] * 3
    assert counted == [0] * hold + [1] * 3
    still = units.update(*arguments(unit(B, rotation=turn)))
    assert not still["angle"].any()
    on = Rotation.from_rotvec([0.2, 0, 0]) * turn
    assert units.update(*arguments(unit(B, rotation=on)))["angle"][0] == pytest.approx(0.2)
    assert states(units, [unit(A)] * hold) == (
        [BROKEN] * (hold - 1) + [WHOLE],
        [1] * (hold - 1) + [2],
    )


def test_new_sets_must_hold_in_a_row():
    sets = [unit(A), unit(B), unit(C), unit(B), unit(A[:3]), unit(B), unit(B)]
    assert states(_kernels.UnitReferences(1, 2), sets) == (
        [WHOLE] + [BROKEN] * 5 + [WHOLE],
        [0] * 6 + [1],
    )


@pytest.mark.parametrize("other", [A[:3], A[:1], [], [*A, 20], list(range(30, 40))])
def test_other_size_is_never_the_reference(other):
    vectors = np.random.default_rng(4).normal(size=(10, 3))
    units = _kernels.UnitReferences(1, 2)
    sets = [unit(A), *[unit(other, vectors)] * 6, unit(A)]
    assert states(units, sets) == ([WHOLE] + [BROKEN] * 6 + [WHOLE], [0] * 8)


def test_look_counts_nothing():
    units, unseen = _kernels.UnitReferences(1, 2), _kernels.UnitReferences(1, 2)
    for one in [unit(A), unit(B), unit(A), unit(B)]:
        for _ in range(3):
            units.look(*arguments(unit(B)))
        now = units.update(*arguments(one))
        plain = unseen.update(*arguments(one))
        again = units.look(*arguments(one))
        for name, values in now.items():
            np.testing.assert_array_equal(values, plain[name])
            np.testing.assert_array_equal(values, again[name])
    assert _kernels.UnitReferences(1, 1).look(*arguments(unit(A)))["state"][0] == NONE


POOL = [[1, 2, 3], [1, 2, 4], [1, 2, 5], [1, 2], [1, 2, 3, 4], [6], []]
histories = st.lists(st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6]), max_size=40)


def by_history(history, hold):
    """Number of exchanges and state after each evaluation, from all sets so far."""
    reference, since, exchanges, told = None, 0, 0, []
    for t, ids in enumerate(history):
        last = history[max(since, t - hold + 1) : t + 1]
        if reference is None:
            reference, since = (ids, t + 1) if len(ids) >= 3 else (None, t + 1)
        elif ids != reference and len(ids) == len(reference) and last == [ids] * hold:
            reference, since, exchanges = ids, t + 1, exchanges + 1
        state = NONE if reference is None else WHOLE if ids == reference else BROKEN
        told.append((state, exchanges))
    return told


def test_two_in_line_are_no_unit():
    """A turn about their line can't be told from noise."""
    units = _kernels.UnitReferences(1, 2)
    rng = np.random.default_rng(8)
    for _ in range(5):
        line = np.array([[1.85, 0, 0], [-1.85, 0, 0]]) + 0.05 * rng.normal(size=(2, 3))
        found = units.update(*arguments(dict(zip(A[:2], line, strict=True))))
        assert found["state"][0] == NONE
        assert not found["angle"].any()


@given(history=histories, hold=st.integers(1, 4), cut=st.integers(0, 40))
def test_any_history(history, hold, cut):
    """As told from the whole history; and packed half-way, the same future."""
    vectors = np.random.default_rng(5).normal(size=(4, 3))
    units, told = _kernels.UnitReferences(1, hold), []
    for t, k in enumerate(history):
        if t == cut:
            rows = units.packed()
            units = _kernels.UnitReferences.unpacked(rows, hold)
            assert units.packed() == rows
        found = units.update(*arguments(unit(POOL[k], vectors)))
        told.append((int(found["state"][0]), int(found["exchanges"][0])))
    assert told == by_history([POOL[k] for k in history], hold)


# --- state that travels --------------------------------------------------------------------------


def test_packed_state_has_the_same_future():
    """Angles too, to the last bit; ids as large as a double holds."""
    rng = np.random.default_rng(6)
    big = 2**53 - 5
    ids = [np.array([big, big + 1, big + 2, big + 3]), np.array([1, 2, 3])]
    shapes = [TETRAHEDRON, PLANAR]

    def frame(replaced=False):
        units = [
            dict(zip(i, v + 0.1 * rng.normal(size=v.shape), strict=True))
            for i, v in zip(ids, shapes, strict=True)
        ]
        if replaced:
            units[1][9] = units[1].pop(3)
        return arguments(*units, pyramid=[False, True])

    units = _kernels.UnitReferences(2, 3)
    for replaced in (False, False, True, True):
        units.update(*frame(replaced))
    copy = _kernels.UnitReferences.unpacked(units.packed(), 3)
    for replaced in (True, True, False, True):
        now = frame(replaced)
        ours, theirs = units.update(*now), copy.update(*now)
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name])
    assert ours["exchanges"].tolist() == [0, 1]


def test_fresh_units_pack_nothing():
    assert _kernels.UnitReferences(2, 3).packed() == [[], []]
    for row in ([], [0.0], [0.0] * 35):
        units = _kernels.UnitReferences.unpacked([row], 1)
        assert units.update(*arguments(unit(A)))["state"][0] == WHOLE


def test_rows_may_be_padded():
    units = _kernels.UnitReferences(1, 3)
    states(units, [unit(A), unit(B)])
    (row,) = units.packed()
    assert len(row) <= 35
    padded = _kernels.UnitReferences.unpacked([row + [0.0] * (35 - len(row))], 3)
    assert padded.packed() == [row]


@pytest.mark.parametrize(
    ("place", "value"), [(0, 7.0), (0, 1.0), (0, np.nan), (1, 2.0), (2, -1.0), (3, 5.0), (5, 1e30)]
)
def test_damaged_rows_are_refused(place, value):
    units = _kernels.UnitReferences(1, 3)
    states(units, [unit(A), unit(B)])
    (row,) = units.packed()
    damaged = row.copy()
    damaged[place] = value
    for wrong in (damaged, row[:-1]):
        with pytest.raises(ValueError, match="packed unit"):
            _kernels.UnitReferences.unpacked([wrong], 3)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({0: np.array([0, 4, 4])}, "start has shape"),
        ({0: np.array([0, 3])}, "start does not rise"),
        ({0: np.array([1, 4])}, "start does not rise"),
        ({1: np.array(A[::-1])}, "not sorted"),
        ({1: np.array(A[:3])}, "vectors has shape|start does not rise"),
        ({2: np.full((4, 3), np.nan)}, "not finite"),
        ({2: np.zeros((4, 2))}, "vectors has shape"),
        ({3: np.zeros(2, bool)}, "pyramid has shape"),
    ],
)
def test_refuses(change, told):
    given = [change.get(k, value) for k, value in enumerate(arguments(unit(A)))]
    units = _kernels.UnitReferences(1, 2)
    for call in (units.update, units.look):
        with pytest.raises(ValueError, match=told) as error:
            call(*given)
        assert "\n" not in str(error.value)
    assert units.packed() == [[]]


@pytest.mark.parametrize(
    ("n", "hold", "told"), [(1, 0, "hold 0"), (1, -3, "hold -3"), (-1, 1, "-1 units")]
)
def test_refuses_numbers(n, hold, told):
    with pytest.raises(ValueError, match=told):
        _kernels.UnitReferences(n, hold)
