"""Rotations of units against SciPy, and reduced angles against all permutations of ligands."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lbpsi_driver import _kernels

AROUND = np.radians([0.0, 120.0, 240.0])


def trigonal(angle_deg, length):
    """Three vectors at an angle from +z."""
    s, c = np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))
    return length * np.stack([s * np.cos(AROUND), s * np.sin(AROUND), np.full(3, c)], axis=1)


TETRAHEDRON = 2.05 / np.sqrt(3) * np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
PLANAR = trigonal(90, 1.83)
PYRAMID = trigonal(107, 2.05)
BENT = np.array([[1.8, 0, 0], [-0.6, 1.75, 0]])
OCTAHEDRON = 2.4 * np.vstack([np.eye(3), -np.eye(3)])
UNITS = {
    "tetrahedron": TETRAHEDRON,
    "swapped": TETRAHEDRON[[1, 0, 2, 3]],
    "planar": PLANAR,
    "pyramid": PYRAMID,
    "bent": BENT,
    "bipyramid": np.vstack([PLANAR, [[0, 0, 2.1], [0, 0, -2.1]]]),
    "octahedron": OCTAHEDRON,
}
each_unit = pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)


def rotate(rotations, sets):
    """Turn sets, one each or the same for all."""
    return sets @ rotations.as_matrix().transpose(0, 2, 1)


def quaternions(rotations):
    return rotations.as_quat()[:, [3, 0, 1, 2]]


def rotations(found):
    return Rotation.from_quat(found["quaternion"][:, [1, 2, 3, 0]])


def noisy(unit, n, sigma, seed):
    rng = np.random.default_rng(seed)
    return unit + sigma * rng.normal(size=(n, *unit.shape)), rng


# --- the best rotation ---------------------------------------------------------------------------


@each_unit
@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.25])
def test_equals_align_vectors(unit, sigma):
    reference, rng = noisy(unit, 60, sigma, seed=1)
    current = rotate(Rotation.random(60, random_state=2), reference)
    current += sigma * rng.normal(size=current.shape)
    found = _kernels.kabsch(reference, current)
    turned = rotations(found)
    for i, (p, q) in enumerate(zip(reference, current, strict=True)):
        expected, rssd = Rotation.align_vectors(q, p)
        assert (turned[i] * expected.inv()).magnitude() < 1e-8
        assert found["angle"][i] == pytest.approx(expected.magnitude(), abs=1e-8)
        assert found["residual"][i] * np.sqrt(len(unit)) == pytest.approx(rssd, abs=1e-7)


def test_unrelated_sets():
    """Where nothing fits, eigenvalues come close and Newton starts far off."""
    rng = np.random.default_rng(3)
    reference, current = rng.normal(size=(2, 400, 4, 3))
    found = _kernels.kabsch(reference, current)
    turned = rotations(found)
    for i, (p, q) in enumerate(zip(reference, current, strict=True)):
        expected, rssd = Rotation.align_vectors(q, p)
        assert found["residual"][i] * 2 == pytest.approx(rssd, rel=1e-9)
        u, s, vt = np.linalg.svd(q.T @ p)
        gap = s[1] + s[2] * np.linalg.det(u @ vt)
        assert (turned[i] * expected.inv()).magnitude() * gap < 1e-10


angles = st.one_of(
    st.floats(0, np.pi),
    st.floats(1e-12, 1e-6),
    st.floats(1e-12, 1e-6).map(lambda small: np.pi - small),
    st.sampled_from([0.0, np.pi, 2 * np.pi / 3, np.pi / 2]),
)
directions = st.tuples(*3 * [st.floats(-1, 1)]).filter(lambda v: np.linalg.norm(v) > 0.1)


@given(angle=angles, direction=directions, name=st.sampled_from(sorted(UNITS)))
@example(angle=1e-9, direction=(0.3, -0.2, 0.9), name="tetrahedron")
@example(angle=np.pi - 1e-9, direction=(0.3, -0.2, 0.9), name="tetrahedron")
@example(angle=np.pi, direction=(0.0, 0.0, 1.0), name="planar")
def test_rotation_comes_back(angle, direction, name):
    rotation = Rotation.from_rotvec(angle * np.array([direction]) / np.linalg.norm(direction))
    found = _kernels.kabsch(UNITS[name][None], rotate(rotation, UNITS[name]))
    assert found["angle"][0] == pytest.approx(angle, abs=1e-10)
    assert (rotations(found) * rotation.inv()).magnitude()[0] < 1e-10
    assert found["quaternion"][0, 0] >= 0
    assert found["residual"][0] < 1e-13
    assert not found["inverted"][0]


@each_unit
def test_unmoved_unit_is_exactly_still(unit):
    reference, _ = noisy(unit, 50, 0.1, seed=4)
    found = _kernels.kabsch(reference, reference)
    assert not found["angle"].any()
    assert not found["residual"].any()


@pytest.mark.parametrize(("bend", "tolerance"), [(0.3, 1e-12), (0.1, 1e-11), (1e-2, 1e-9)])
def test_almost_collinear(bend, tolerance):
    """Two vectors almost opposite fix a rotation as well as rounding allows, eps / bend^2."""
    unit = 1.9 * np.array([[1.0, 0, 0], [-np.cos(bend), np.sin(bend), 0]])
    expected = Rotation.random(500, random_state=5)
    found = _kernels.kabsch(np.broadcast_to(unit, (500, 2, 3)), rotate(expected, unit))
    assert (rotations(found) * expected.inv()).magnitude().max() < tolerance
    assert found["residual"].max() < 1e-11


@pytest.mark.parametrize("signs", [(1, -1), (1, 1, -1)])
def test_collinear_turns_least(signs):
    """Spin about the line is free: what comes back is the rotation that takes line to line."""
    rng = np.random.default_rng(6)
    lines = rng.normal(size=(2, 200, 1, 3))
    p, q = lines / np.linalg.norm(lines, axis=-1, keepdims=True)
    factors = np.array(signs)[None, :, None] * 1.9
    found = _kernels.kabsch(p * factors, q * factors)
    across = np.linalg.norm(np.cross(p, q), axis=-1)[:, 0]
    np.testing.assert_allclose(found["angle"], np.arctan2(across, (p * q).sum(-1)[:, 0]), atol=1e-7)
    assert found["residual"].max() < 1e-7
    assert not found["inverted"].any()
    flipped = _kernels.kabsch(p * factors, -p * factors)
    np.testing.assert_allclose(flipped["angle"], np.pi, atol=1e-7)


def test_no_vectors_turn_nothing():
    found = _kernels.kabsch(np.zeros((1, 3, 3)), PLANAR[None])
    np.testing.assert_array_equal(found["quaternion"], [[1, 0, 0, 0]])
    assert found["residual"][0] == pytest.approx(1.83)
    assert not found["inverted"][0]


@pytest.mark.parametrize("scale", [1e-90, 0.7, 1e90])
def test_longer_bonds_are_no_rotation(scale):
    expected = Rotation.random(100, random_state=7)
    found = _kernels.kabsch(
        np.broadcast_to(TETRAHEDRON, (100, 4, 3)), rotate(expected, scale * TETRAHEDRON)
    )
    assert (rotations(found) * expected.inv()).magnitude().max() < 1e-10
    np.testing.assert_allclose(found["residual"], abs(scale - 1) * 2.05, rtol=1e-10)


@each_unit
def test_frame_of_reference_has_no_part(unit):
    """Both sets turned: the same angle and residual, the axis turned along."""
    reference, rng = noisy(unit, 100, 0.1, seed=8)
    current = rotate(Rotation.random(100, random_state=9), reference)
    current += 0.1 * rng.normal(size=current.shape)
    view = Rotation.random(100, random_state=10)
    here = _kernels.kabsch(reference, current)
    there = _kernels.kabsch(rotate(view, reference), rotate(view, current))
    np.testing.assert_allclose(there["angle"], here["angle"], atol=1e-12)
    np.testing.assert_allclose(there["residual"], here["residual"], atol=1e-12)
    turned = view * rotations(here) * view.inv()
    assert (rotations(there) * turned.inv()).magnitude().max() < 1e-10


# --- mirror images -------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [TETRAHEDRON, PYRAMID], ids=["tetrahedron", "pyramid"])
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_mirror_image_is_inverted(unit, sigma):
    """By inversion, and by two ligands that changed places, however it is turned besides."""
    reference, rng = noisy(unit, 3000, sigma, seed=11)
    turned = rotate(Rotation.random(3000, random_state=12), unit)
    order = [1, 0, *range(2, len(unit))]
    mirrored = -turned if len(unit) == 3 else turned[:, order]
    mirrored = mirrored + sigma * rng.normal(size=mirrored.shape)
    assert _kernels.kabsch(reference, mirrored)["inverted"].all()
    assert not _kernels.kabsch(reference, turned + sigma * rng.normal(size=turned.shape))[
        "inverted"
    ].any()


def test_umbrella_of_a_plane_is_no_inversion():
    """B through the plane of S, to as much as 0.35 Å on either side, with noise of bonds."""
    rng = np.random.default_rng(13)
    sets = PLANAR + [0.07, 0.07, 0] * rng.normal(size=(2, 20000, 3, 3))
    sets[..., 2] = rng.uniform(-0.35, 0.35, size=(2, 20000, 1))
    found = _kernels.kabsch(*sets)
    assert not found["inverted"].any()
    assert np.degrees(found["angle"].max()) < 25


def test_margin_is_the_ratio_of_improper_to_proper():
    """The same ratio from singular values, on heights that lie to both sides of 1.12."""
    rng = np.random.default_rng(14)
    heights = rng.uniform(0.2, 0.7, size=(2, 3000))
    reference, current = (
        np.concatenate([PLANAR[None, :, :2].repeat(3000, 0), h[:, None, None].repeat(3, 1)], axis=2)
        for h in (heights[0], -heights[1])
    )
    s = np.linalg.svd(np.einsum("nka,nkb->nab", reference, current), compute_uv=False)
    ratio = s.sum(axis=1) / (s[:, 0] + s[:, 1] - s[:, 2])
    clear = abs(ratio - 1.12) > 1e-9
    assert clear.sum() > 2990
    assert 0.2 < (ratio > 1.12).mean() < 0.8
    inverted = _kernels.kabsch(reference, current)["inverted"]
    np.testing.assert_array_equal(inverted[clear], (ratio > 1.12)[clear])


def test_rotations_of_distorted_units_are_never_inverted():
    for unit in UNITS.values():
        reference, rng = noisy(unit, 3000, 0.1, seed=15)
        current = rotate(Rotation.random(3000, random_state=16), reference)
        assert not _kernels.kabsch(reference, current + 0.07 * rng.normal(size=current.shape))[
            "inverted"
        ].any()


# --- the reduced angle ---------------------------------------------------------------------------


def symmetry_rotations(ideal):
    """Proper rotations that permute the vertices, by trying all permutations."""
    found = []
    for order in permutations(range(len(ideal))):
        rotation, rssd = Rotation.align_vectors(ideal[list(order)], ideal)
        if rssd < 1e-7:
            found.append(rotation)
    return Rotation.concatenate(found)


def oracle(rotation, ideal, reference):
    """Least angle over the operations of the best-fitting labelling of the ideal unit.

    Vertices alone are fitted, from their own centres: the plane of three S is the frame's, whatever
    the former's height over it.
    """
    corners = ideal - ideal.mean(axis=0)
    fits = [
        Rotation.align_vectors(reference - reference.mean(axis=0), corners[list(order)])
        for order in permutations(range(len(ideal)))
    ]
    frame = min(fits, key=lambda fit: fit[1])[0]
    return min((rotation * frame * g * frame.inv()).magnitude() for g in symmetry_rotations(ideal))


KINDS = {
    "T": (TETRAHEDRON, False),
    "T, other labels": (TETRAHEDRON[[2, 1, 0, 3]], False),
    "D3": (PLANAR, False),
    "C3": (PYRAMID, False),
    "C3, apex known": (PLANAR, True),
}
each_kind = pytest.mark.parametrize(("unit", "pyramid"), KINDS.values(), ids=KINDS)


def operations(unit, pyramid):
    return symmetry_rotations(PYRAMID if pyramid else unit)


def test_groups_have_their_order():
    sizes = [len(operations(*kind)) for kind in KINDS.values()]
    assert sizes == [len(Rotation.create_group(g)) for g in ("T", "T", "D3", "C3", "C3")]


@each_kind
@pytest.mark.parametrize("sigma", [0.0, 0.05])
@pytest.mark.filterwarnings("ignore:Optimal rotation is not uniquely:UserWarning")
def test_reduced_angle_equals_all_permutations(unit, pyramid, sigma):
    reference, _ = noisy(unit, 25, sigma, seed=17)
    reference = rotate(Rotation.random(25, random_state=18), reference)
    turned = Rotation.random(25, random_state=19)
    found = _kernels.reduced_angle(quaternions(turned), reference, np.full(25, pyramid))
    ideal = PYRAMID if pyramid else unit
    expected = [oracle(turned[i], ideal, reference[i]) for i in range(25)]
    np.testing.assert_allclose(found, expected, atol=1e-10)


@each_kind
def test_jumps_are_told_from_librations(unit, pyramid):
    """A jump of 120 or 180 deg with a libration on top: the libration is what is left."""
    rng = np.random.default_rng(20)
    view = Rotation.random(random_state=21)
    reference = view.apply(unit)
    for jump in operations(unit, pyramid):
        axes = rng.normal(size=(40, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        size = np.concatenate([[0.0, 1e-9, 1e-6], np.radians(rng.uniform(1, 25, 37))])
        libration = Rotation.from_rotvec(size[:, None] * axes)
        current = rotate(libration, view.apply(jump.apply(unit)))
        found = _kernels.kabsch(np.broadcast_to(reference, current.shape), current)
        sets = np.broadcast_to(reference, current.shape)
        least = _kernels.reduced_angle(found["quaternion"], sets, np.full(40, pyramid))
        np.testing.assert_allclose(least, size, atol=1e-10)
        assert (found["angle"] > jump.magnitude() - size - 1e-9).all()


def test_flip_of_a_plane_is_a_jump_and_of_a_pyramid_is_not():
    flip = np.array([[0.0, 1, 0, 0]])
    assert _kernels.reduced_angle(flip, PLANAR[None], np.array([False]))[0] < 1e-12
    assert _kernels.reduced_angle(flip, PLANAR[None], np.array([True]))[0] == pytest.approx(np.pi)
    assert _kernels.reduced_angle(flip, PYRAMID[None], np.array([False]))[0] == pytest.approx(np.pi)


@each_unit
def test_reduced_angle_is_never_larger(unit):
    reference, _ = noisy(unit, 500, 0.1, seed=22)
    turned = Rotation.random(500, random_state=23)
    found = _kernels.reduced_angle(quaternions(turned), reference, np.zeros(500, dtype=bool))
    assert (found <= turned.magnitude() + 1e-12).all()
    if len(unit) not in (3, 4):
        np.testing.assert_allclose(found, turned.magnitude(), atol=1e-12)


@each_kind
def test_reduced_angle_does_not_see_the_frame_of_reference(unit, pyramid):
    reference, _ = noisy(unit, 200, 0.08, seed=24)
    apex = np.full(200, pyramid)
    turned = Rotation.random(200, random_state=25)
    view = Rotation.random(200, random_state=26)
    here = _kernels.reduced_angle(quaternions(turned), reference, apex)
    there = _kernels.reduced_angle(
        quaternions(view * turned * view.inv()), rotate(view, reference), apex
    )
    np.testing.assert_allclose(there, here, atol=1e-12)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((np.zeros((2, 4)), np.zeros((2, 4, 3))), r"reference has shape \(2, 4\)"),
        ((np.zeros((2, 4, 3)), np.zeros((2, 3, 3))), r"current .*\(2, 3, 3\).*\(2, 4, 3\)"),
        ((np.zeros((2, 1, 3)), np.zeros((2, 1, 3))), "1 vectors a unit; expected at least 2"),
        ((np.full((1, 2, 3), np.nan), np.zeros((1, 2, 3))), "reference .*not finite"),
        ((np.zeros((1, 2, 3)), np.full((1, 2, 3), np.inf)), "current .*not finite"),
    ],
)
def test_refuses(arguments, told):
    with pytest.raises(ValueError, match=told) as error:
        _kernels.kabsch(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("quaternion", "pyramid", "told"),
    [
        (np.zeros((1, 3)), np.zeros(1, bool), "quaternion has shape"),
        (np.full((1, 4), np.nan), np.zeros(1, bool), "quaternion .*not finite"),
        (np.zeros((1, 4)), np.zeros(2, bool), "pyramid has shape"),
    ],
)
def test_reduced_angle_refuses(quaternion, pyramid, told):
    with pytest.raises(ValueError, match=told):
        _kernels.reduced_angle(quaternion, PLANAR[None], pyramid)


def test_no_units():
    found = _kernels.kabsch(np.zeros((0, 4, 3)), np.zeros((0, 4, 3)))
    assert found["quaternion"].shape == (0, 4)
    assert found["angle"].shape == (0,)
