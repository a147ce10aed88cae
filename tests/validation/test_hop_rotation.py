"""Rotations around hops: planted couplings found, absent ones not, turning units followed."""

import numpy as np
import pytest
from ase.geometry import get_distances
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from lbpsi_driver.config import DEFAULT_HOLD, UsageError
from lbpsi_driver.observables.hop_rotation import Pairs, UnitTurns, coupling, near, unit_turns
from lbpsi_driver.observables.hops import Hops, detect_hops
from lbpsi_driver.observables.motif_series import motif_series
from lbpsi_driver.observables.trajectory import Trajectory

SPACING = 0.1  # ps
HALF = 5
WINDOW = 2 * HALF * SPACING
TETRAHEDRON = 2.05 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
N_UNITS, N_IONS = 20, 30


def hops_at(ion, point, length, n_ions=N_IONS):
    order = np.lexsort((point, ion))
    ion, point = np.asarray(ion)[order], np.asarray(point)[order]
    zeros = np.zeros((len(ion), 3))
    return Hops(
        ion=ion,
        point=point,
        time_ps=(point - 0.5) * SPACING,
        start_A=zeros,
        end_A=zeros + 3.0,
        functional_A2=np.full(len(ion), 9.0),
        cage_A2=0.1,
        threshold_A2=1.0,
        window_ps=WINDOW,
        n_ions=n_ions,
        watched_ps=((HALF - 1) * SPACING, (length - HALF) * SPACING),
    )


def turns_of(angle):
    angle = np.array(angle, dtype=np.float32)
    angle[:HALF] = angle[len(angle) - HALF + 1 :] = np.nan
    n = angle.shape[1]
    element = np.where(np.arange(n) < n // 2, "P", "B")
    return UnitTurns(np.arange(n), element, angle, HALF, SPACING)


def noise(length, rng, n_units=N_UNITS):
    """Correlated angular displacements; units differ in how much they turn."""
    smooth = gaussian_filter1d(rng.normal(size=(length, n_units)), 3.0, axis=0, mode="wrap")
    return np.abs(smooth) * rng.uniform(2.0, 20.0, n_units) / 0.3


def model(seed, length=400, together=False, kick=0.0):
    """Hops of each ion near units of its own; with a kick the units turn at them."""
    rng = np.random.default_rng(seed)
    number = rng.integers(1, 4, N_IONS)
    ion = np.repeat(np.arange(N_IONS), number)
    point = rng.integers(HALF, length - HALF, len(ion))
    if together:
        times = rng.integers(HALF, length - HALF, 4)
        point = times[rng.integers(0, 4, len(ion))]
    hops = hops_at(ion, point, length)
    # All ions of a cluster share their units.
    homes = rng.integers(0, N_UNITS, (N_IONS, 2))
    if together:
        homes[:] = homes[0]
    pairs = Pairs(np.repeat(np.arange(len(ion)), 2), homes[hops.ion].ravel())
    angle = noise(length, rng)
    angle[hops.point[pairs.hop], pairs.unit] += kick
    return turns_of(angle), hops, pairs


@pytest.mark.parametrize("null", ["together", "each", "units"])
def test_planted_coupling_is_found(null):
    found = coupling(*model(1, kick=8.0), null=null)
    assert found.p_value <= 0.01
    low, high = found.excess_deg.ci95
    assert low < 8.0 < high
    assert low > 0.0
    assert found.angle_deg > found.null_deg[1] > found.expected_deg > found.null_deg[0]
    assert found.angle_deg - found.expected_deg == pytest.approx(found.excess_deg.mean)
    top = found.delays_ps[np.nanargmax(found.profile_deg)]
    assert top == 0.0


def test_fewer_rotations_near_hops_are_found_too():
    turns, hops, pairs = model(2)
    turns.angle_deg[hops.point[pairs.hop], pairs.unit] *= 0.3
    found = coupling(turns, hops, pairs)
    assert found.p_value <= 0.01
    assert found.excess_deg.ci95[1] < 0.0


@pytest.mark.parametrize(
    ("null", "together"), [("together", False), ("together", True), ("each", False)]
)
def test_absent_coupling_is_found_at_the_level_only(null, together):
    """200 repeats at 5 %: between 2 and 20 in 99.8 of 100 cases."""
    p = [
        coupling(*model(1000 + seed, 160, together), null=null, draws=79).p_value
        for seed in range(200)
    ]
    assert 2 <= np.sum(np.array(p) <= 0.05) <= 20
    assert 0.4 < np.mean(p) < 0.6


def test_hops_together_are_no_evidence_each():
    """Why all hops are shifted together: taken one by one, a chance meeting counts many times."""
    p = [
        coupling(*model(2000 + seed, 160, True), null="each", draws=79).p_value
        for seed in range(60)
    ]
    assert np.mean(np.array(p) <= 0.05) > 0.2


def test_mobile_units_are_no_coupling():
    """Hops near units that turn much at all times: only the exchange of units sees that."""
    rng = np.random.default_rng(3)
    angle = noise(800, rng) * 0.1
    angle[:, :3] *= 20.0
    ion = np.repeat(np.arange(N_IONS), 3)
    hops = hops_at(ion, rng.integers(HALF, 800 - HALF, len(ion)), 800)
    pairs = Pairs(np.arange(len(ion)), rng.integers(0, 3, len(ion)))
    by_null = {null: coupling(turns_of(angle), hops, pairs, null=null) for null in
               ("together", "units")}  # fmt: skip
    assert by_null["together"].p_value > 0.05
    assert by_null["units"].p_value < 0.05


def test_statistic_spelt_out():
    turns, hops, pairs = model(4)
    turns.angle_deg[100:140, 3] = np.nan
    found = coupling(turns, hops, pairs, null="together", draws=5000)
    means = {}
    for hop, unit in zip(pairs.hop, pairs.unit, strict=True):
        value = turns.angle_deg[hops.point[hop], unit]
        if np.isfinite(value):
            means.setdefault(hop, []).append(value)
    assert found.hops == len(means)
    assert found.pairs == sum(map(len, means.values()))
    assert found.angle_deg == pytest.approx(np.mean([np.mean(v) for v in means.values()]), rel=1e-5)
    # Fewer shifts than draws: each once, none within a window.
    assert found.draws == 400 - 2 * HALF + 1 - 4 * HALF - 1


def test_too_little_gives_a_reason():
    turns, hops, pairs = model(5)
    few = coupling(turns, hops, Pairs(pairs.hop[:6], pairs.unit[:6]))
    assert few.p_value is None
    assert "3 hops with units near them" in few.excess_deg.reason
    none = coupling(turns, hops, Pairs(pairs.hop[:0], pairs.unit[:0]))
    assert none.hops == 0
    short = coupling(*model(6, length=4 * HALF + 6))
    assert "too short to shift" in short.excess_deg.reason


def glass(length, seed, rotations=None, jumps=None, breathing=0.0):
    """Eight PS4 on a grid, each with an Li; units turn about z by rotations[unit](t)."""
    rng = np.random.default_rng(seed)
    cell = np.array([[20.0, 0, 0], [4.0, 20.0, 0], [-2.0, 3.0, 20.0]])
    centres = np.stack(np.meshgrid(*[[0.2, 0.7]] * 3), axis=-1).reshape(-1, 3)
    cells = cell * (1 + breathing * rng.normal(size=(length, 1, 1)))
    fractional = np.empty((length, 48, 3))
    for t in range(length):
        inverse = np.linalg.inv(cells[t])
        for k, centre in enumerate(centres):
            angle = rotations[t, k] if rotations is not None else 0.0
            shake = Rotation.from_rotvec(rng.normal(size=3) * 0.05)
            s = (shake * Rotation.from_rotvec([0, 0, np.radians(angle)])).apply(TETRAHEDRON)
            fractional[t, 5 * k] = centre
            fractional[t, 5 * k + 1 : 5 * k + 5] = centre + s @ inverse
            moved = jumps[t, k] if jumps is not None else 0.0
            li = np.array([3.4 + moved, 0, 0]) + rng.normal(size=3) * 0.1
            fractional[t, 40 + k] = centre + li @ inverse
    times = np.arange(length) * SPACING
    elements = np.array(["P", "S", "S", "S", "S"] * 8 + ["Li"] * 8)
    return Trajectory(fractional, cells, np.zeros((length, 3)), times, elements)


def turns_along(trajectory, window=WINDOW, hold=DEFAULT_HOLD, elements=None):
    paths = motif_series(trajectory, np.empty(0, dtype=int), hold=hold).units
    return unit_turns(trajectory, paths, window, elements=elements)


def test_turning_units_are_followed():
    rotations = np.zeros((60, 8))
    rotations[30:, 2] = 40.0
    rotations[20:, 5] = 100.0
    rotations[40:, 5] = 250.0
    trajectory = glass(60, 7, rotations, breathing=0.01)
    found = turns_along(trajectory)
    assert found.former.tolist() == list(range(0, 40, 5))
    assert found.angle_deg.shape == (60, 8)
    assert np.isnan(found.angle_deg[:HALF]).all()
    assert np.isfinite(found.angle_deg[HALF : 60 - HALF + 1]).all()
    assert np.isnan(found.angle_deg[60 - HALF + 1 :]).all()
    for point, unit, angle in ((30, 2, 40.0), (20, 5, 100.0), (40, 5, 150.0)):
        assert found.angle_deg[point, unit] == pytest.approx(angle, abs=3.0)
    # Librations of 5 degrees root mean square, averaged over half-windows.
    assert np.nanmean(found.angle_deg[:, 0]) < 5.0
    kept = np.delete(np.arange(60), [12, 13, 33, 47])
    missing = turns_along(trajectory.at(kept))
    assert missing.angle_deg.shape == (60, 8)
    assert missing.angle_deg[30, 2] == pytest.approx(40.0, abs=3.0)


def test_units_that_exchange_s_have_no_angle():
    trajectory = glass(60, 8)
    swapped = trajectory.fractional.copy()
    swapped[30:, [1, 6]] = swapped[30:, [6, 1]]
    trajectory = Trajectory(
        swapped, trajectory.cells, trajectory.origins, trajectory.times_ps, trajectory.elements
    )
    found = turns_along(trajectory, hold=3)
    assert np.isnan(found.angle_deg[30, :2]).all()
    assert np.isfinite(found.angle_deg[HALF:26, :2]).all()
    assert np.isfinite(found.angle_deg[40 : 60 - HALF + 1, :2]).all()
    assert np.isfinite(found.angle_deg[30, 2:]).all()


def test_end_to_end():
    """Ions that hop when their unit turns, from coordinates."""
    rng = np.random.default_rng(9)
    rotations, jumps = np.zeros((260, 8)), np.zeros((260, 8))
    for k in range(8):
        for t, sign in ((30 + 5 * k, 1), (120 + 7 * k, -1)):
            rotations[t:, k] += 25.0
            jumps[t:, k] += sign * 2.5
        rotations[int(rng.integers(200, 240)) :, k] += 25.0
    trajectory = glass(260, 10, rotations, jumps)
    ions = trajectory.indices("Li")
    hops = detect_hops(trajectory.positions()[:, ions], SPACING, window_ps=WINDOW)
    assert len(hops.ion) == 16
    turns = turns_along(trajectory, elements=["P"])
    pairs = near(trajectory, ions, hops, turns.former)
    assert pairs.hop.tolist() == list(range(16))
    assert pairs.unit.tolist() == hops.ion.tolist()
    found = coupling(turns, hops, pairs)
    assert found.p_value <= 0.02
    assert found.excess_deg.mean == pytest.approx(25.0, abs=5.0)


@pytest.mark.parametrize("radius", [4.0, 5.0], ids=["one image", "several images"])
def test_near_units_against_ase(radius):
    rng = np.random.default_rng(11)
    length, cell = 30, np.array([[11.0, 0, 0], [4.0, 12.0, 0], [-3.0, 5.0, 13.0]])
    cells = cell * (1 + 0.03 * rng.normal(size=(length, 1, 1)))
    fractional = rng.random((length, 16, 3)) + rng.integers(-2, 3, (length, 16, 3))
    fractional[:, 10:] = fractional[0, 10:] + 0.001 * rng.normal(size=(length, 6, 3))
    elements = np.array(["P"] * 10 + ["Li"] * 6)
    trajectory = Trajectory(
        fractional, cells, np.zeros((length, 3)), np.arange(length) * SPACING, elements
    )
    hops = hops_at([0, 0, 3, 5], [7, 20, 9, 15], length, n_ions=6)
    found = near(trajectory, trajectory.indices("Li"), hops, np.arange(10), radius_A=radius)
    expected = []
    for k, (ion, t) in enumerate(zip(hops.ion, hops.point, strict=True)):
        middle = fractional[t - 1 : t + 1, 10 + ion].mean(axis=0) @ cells[t]
        _, far = get_distances(middle[None], fractional[t, :10] @ cells[t], cells[t], True)
        expected += [(k, unit) for unit in np.flatnonzero(far[0] <= radius)]
    assert list(zip(found.hop, found.unit, strict=True)) == expected
    assert len(expected) > 2


def test_bad_input_is_one_line():
    trajectory = glass(30, 12)
    with pytest.raises(UsageError, match=r"window 9 ps: expected 0\.2 ps to 3 ps"):
        turns_along(trajectory, 9.0)
    with pytest.raises(UsageError, match="no units of B: one of: P"):
        turns_along(trajectory, elements=["B"])
    with pytest.raises(UsageError, match="positive distance"):
        near(trajectory, np.arange(40, 48), hops_at([0], [9], 30), np.arange(8), radius_A=0.0)
