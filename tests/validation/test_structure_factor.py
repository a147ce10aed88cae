"""S(Q) of gases and crystals in closed form, by a plain sum, and by the transform of g(r)."""

from itertools import product

import numpy as np
import pytest
from ase.build import bulk

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.rdf import radial_distributions
from lbpsi_driver.observables.structure_factor import (
    PartialStructureFactors,
    TotalStructureFactor,
    _reciprocal_vectors,
    first_sharp_peak,
    neutron,
    partial_structure_factors,
    weighted,
    xray,
)
from lbpsi_driver.observables.trajectory import Trajectory

TRICLINIC = np.array([[14.0, 0, 0], [4.0, 15.0, 0], [-3.0, 5.0, 16.0]])
ALL = 10**7


def make(fractional, cells, elements):
    frames = len(fractional)
    times = np.arange(frames) * 1.0
    cells = np.broadcast_to(cells, (frames, 3, 3)).astype(float)
    return Trajectory(np.array(fractional), cells, np.zeros((frames, 3)), times, np.array(elements))


def gas(frames, elements, cell, breathing=0.0, seed=1):
    rng = np.random.default_rng(seed)
    cells = cell * (1 + breathing * rng.normal(size=(frames, 1, 1)))
    return make(rng.random((frames, len(elements), 3)), cells, elements)


def plain_sum(trajectory, Q_max, bin_per_A):
    """All vectors of a frame and all pairs, one at a time; sums by shell."""
    elements = trajectory.elements
    symbols, counts = np.unique(elements, return_counts=True)
    shells = round(Q_max / bin_per_A)
    number, length = np.zeros(shells), np.zeros(shells)
    sums = {f"{a}-{b}": np.zeros(shells) for a in symbols for b in symbols if a <= b}
    for s, cell in zip(trajectory.fractional, trajectory.cells, strict=True):
        reciprocal = 2 * np.pi * np.linalg.inv(cell).T
        for hkl in product(range(-14, 15), repeat=3):
            q = np.array(hkl) @ reciprocal
            Q = np.sqrt(q @ q)
            if Q == 0 or shells * bin_per_A <= Q:
                continue
            assert max(map(abs, hkl)) < 14
            shell = int(Q / bin_per_A)
            wave = np.exp(1j * (s @ cell) @ q)
            amplitude = {a: wave[elements == a].sum() for a in symbols}
            number[shell] += 1
            length[shell] += Q
            for pair, sum_ in sums.items():
                a, b = pair.split("-")
                sum_[shell] += (amplitude[a] * np.conj(amplitude[b])).real
    n, of = len(elements), dict(zip(symbols, counts / len(elements), strict=True))
    held = number > 0
    S = {}
    for pair, sum_ in sums.items():
        a, b = pair.split("-")
        S[pair] = 1 + sum_[held] / number[held] / (n * of[a] * of[b]) - (a == b) / of[a]
    return length[held] / number[held], S


def test_equals_a_plain_sum_over_changing_triclinic_cells():
    trajectory = gas(2, ["B"] * 4 + ["P"] + ["S"] * 7, 0.45 * TRICLINIC, breathing=0.03, seed=3)
    found = partial_structure_factors(trajectory, 6.0, 0.25, vectors=ALL)
    Q, S = plain_sum(trajectory, 6.0, 0.25)
    np.testing.assert_allclose(found.Q_per_A, Q, rtol=1e-12)
    assert found.S.keys() == S.keys()
    for pair, values in S.items():
        np.testing.assert_allclose(found.S[pair], values, atol=1e-4)
    np.testing.assert_allclose(found.S["P-P"], 1.0, atol=1e-4)  # one P has no other


@pytest.mark.parametrize("cell", [16.0 * np.eye(3), TRICLINIC], ids=["cubic", "triclinic"])
def test_ideal_gas_is_one(cell):
    trajectory = gas(100, ["Li"] * 60 + ["S"] * 40, cell, breathing=0.02)
    found = partial_structure_factors(trajectory, 10.0, 0.1, vectors=2000)
    for pair in ("Li-Li", "Li-S", "S-S"):
        assert np.average(found.S[pair], weights=found.vectors) == pytest.approx(1.0, abs=0.01)


def test_scatter_of_a_frozen_structure():
    """One frame of an ideal gas, all vectors: S is 1, off by as much as is said."""
    trajectory = gas(1, ["Li"] * 60 + ["S"] * 40, TRICLINIC)
    total = xray(partial_structure_factors(trajectory, 10.0, 0.1, vectors=ALL))
    pulls = ((total.S - 1.0) / total.error)[total.Q_per_A > 1.0]
    assert np.sqrt(np.mean(pulls**2)) == pytest.approx(1.0, abs=0.2)


def dimers(d, frames=40, pairs=100):
    """P-S bonds of one length at random in a triclinic cell that breathes."""
    rng = np.random.default_rng(5)
    cells = TRICLINIC * (1 + 0.02 * rng.normal(size=(frames, 1, 1)))
    centre = rng.random((frames, pairs, 3))
    axis = rng.normal(size=(frames, pairs, 3))
    axis *= d / np.linalg.norm(axis, axis=2, keepdims=True)
    fractional = np.concatenate([centre, centre + axis @ np.linalg.inv(cells)], axis=1)
    return make(fractional, cells, ["P"] * pairs + ["S"] * pairs)


def test_gas_of_dimers_is_debye_s():
    """S_PS = 1 + 2 sin(Qd)/(Qd), as Debye has it, and S_PP = S_SS = 1."""
    found = partial_structure_factors(dimers(2.05), 12.0, 0.1, vectors=4000)
    expected = 1 + 2 * np.sinc(found.Q_per_A * 2.05 / np.pi)
    weights = found.vectors
    for pair, values in (("P-S", expected), ("P-P", 1.0), ("S-S", 1.0)):
        off = found.S[pair] - values
        assert np.sqrt(np.average(off**2, weights=weights)) < 0.04, pair
        assert abs(np.average(off, weights=weights)) < 0.005, pair
    # the oscillation itself is far larger than what is allowed
    assert np.sqrt(np.average((expected - 1.0) ** 2, weights=weights)) > 0.09


def test_transform_of_g_of_r_is_the_same():
    """By the formula of paper 001; there is nothing beyond the bond that a cutoff could miss."""
    trajectory = dimers(2.05)
    found = partial_structure_factors(trajectory, 6.0, 0.1, vectors=4000)
    rdf = radial_distributions(trajectory, 4.0, 0.02)
    density = len(trajectory.elements) / trajectory.volumes_A3.mean()
    r, Q = rdf.r_A, found.Q_per_A
    wave = 4 * np.pi * r**2 * np.sinc(np.outer(Q, r) / np.pi)
    # (g - 1) times the density, each frame in its own volume
    transformed = 1 + density * (wave @ (rdf.g["P-S"] - 1)) * 0.02
    away = Q > 1.5  # before, what is left of g - 1 far away counts
    np.testing.assert_allclose(transformed[away], found.S["P-S"][away], atol=0.15)
    assert np.ptp(found.S["P-S"][away]) > 0.5


def test_bragg_peaks_of_rock_salt():
    a, times = 5.13, 2
    atoms = bulk("LiCl", "rocksalt", a=a, cubic=True) * (times, times, times)
    trajectory = make([atoms.get_scaled_positions()], atoms.cell.array, atoms.symbols)
    found = partial_structure_factors(trajectory, 5.0, 0.02, vectors=ALL)
    shells: dict[int, list[tuple[float, float]]] = {}
    for hkl in product(range(-9, 10), repeat=3):
        Q = 2 * np.pi / (times * a) * np.linalg.norm(hkl)
        if 0 < Q < 5.0:
            parity = {index / times % 2 for index in hkl}
            like = 32**2 if parity in ({0.0}, {1.0}) else 0.0
            unlike = -like if parity == {1.0} else like
            shells.setdefault(int(Q / 0.02), []).append((like, unlike))
    expected = np.array([np.mean(shells[k], axis=0) for k in sorted(shells)]) / (64 * 0.25)
    np.testing.assert_allclose(found.S["Cl-Cl"], expected[:, 0] - 1, atol=0.01)
    np.testing.assert_allclose(found.S["Li-Li"], expected[:, 0] - 1, atol=0.01)
    np.testing.assert_allclose(found.S["Cl-Li"], expected[:, 1] + 1, atol=0.01)
    peaks = found.Q_per_A[found.S["Cl-Cl"] > 10]
    lines = np.sqrt([3, 4, 8, 11, 12, 16]) * 2 * np.pi / a
    np.testing.assert_allclose(peaks, lines, atol=0.01)


def test_each_frame_has_its_own_vectors():
    """A crystal that swells has the lines of both of its lattices, each where it belongs."""
    small = bulk("Si", "sc", a=2.5, cubic=True) * (5, 5, 5)
    scaled = small.get_scaled_positions()
    trajectory = make([scaled] * 2, [small.cell.array, 1.1 * small.cell.array], small.symbols)
    found = partial_structure_factors(trajectory, 3.0, 0.02, vectors=ALL)
    lines = found.Q_per_A[found.S["Si-Si"] > 3]
    np.testing.assert_allclose(lines, [2 * np.pi / 2.75, 2 * np.pi / 2.5], atol=0.01)


def test_basis_of_the_lattice_does_not_matter():
    trajectory = gas(2, ["B"] * 15 + ["S"] * 30, TRICLINIC, breathing=0.02, seed=4)
    skewed = np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]])
    other = make(
        trajectory.fractional @ np.rint(np.linalg.inv(skewed)) + [3, 0, -7],
        skewed @ trajectory.cells,
        trajectory.elements,
    )
    found, again = (
        partial_structure_factors(t, 5.0, 0.1, vectors=ALL) for t in (trajectory, other)
    )
    np.testing.assert_allclose(again.Q_per_A, found.Q_per_A)
    for pair, values in found.S.items():
        np.testing.assert_allclose(again.S[pair], values, atol=1e-3)


def test_drawn_vectors_prefer_no_direction():
    rng = np.random.default_rng(2)
    hkl, lengths = _reciprocal_vectors(TRICLINIC, 0.05, 300, 50, rng)
    q = hkl @ (2 * np.pi * np.linalg.inv(TRICLINIC).T)
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), lengths)
    both = {tuple(row) for row in hkl.tolist()} | {tuple(row) for row in (-hkl).tolist()}
    assert len(both) == 2 * len(hkl)  # all distinct, q and -q not both
    number = np.bincount((lengths / 0.05).astype(int), minlength=300)
    assert number[200:].min() > 25
    assert number[200:].max() < 80
    far = q[lengths > 5.0] / lengths[lengths > 5.0, None]
    np.testing.assert_allclose(far.T @ far / len(far), np.eye(3) / 3, atol=0.015)


def test_draws_agree_with_all_vectors():
    """Of one frozen structure; a seed gives the same draws again."""
    trajectory = gas(1, ["Li"] * 60 + ["S"] * 40, TRICLINIC, seed=6)
    full = partial_structure_factors(trajectory, 8.0, 0.2, vectors=ALL)
    some = [partial_structure_factors(trajectory, 8.0, 0.2, vectors=300, seed=s) for s in (1, 1, 2)]
    np.testing.assert_array_equal(some[0].S["Li-S"], some[1].S["Li-S"])
    assert (some[0].S["Li-S"] != some[2].S["Li-S"]).any()
    whole = full.Q_per_A < 2.5  # few vectors: all of them, whatever the seed
    np.testing.assert_allclose(some[2].S["S-S"][whole], full.S["S-S"][whole], atol=1e-4)
    total, reference = xray(some[0]), xray(full)
    pulls = (total.S - reference.S)[~whole] / total.error[~whole]
    assert np.sqrt(np.mean(pulls**2)) < 1.3
    assert (some[0].vectors <= full.vectors + 1).all()


def flat(**fractions):
    pairs = [f"{a}-{b}" for a in fractions for b in fractions if a <= b]
    S = {pair: np.array([1.0, 2.0 + k]) for k, pair in enumerate(pairs)}
    return PartialStructureFactors(np.array([0.5, 3.0]), S, fractions, np.array([100.0, 400.0]))


def test_weights_of_neutrons():
    """Lengths of paper 001 (Li -1.90, P 5.13, S 2.85 fm) in its own formula, and isotopes."""
    partials = flat(Li=0.5, P=0.1, S=0.4)
    total = neutron(partials)
    for symbol, length in {"Li": -1.90, "P": 5.13, "S": 2.85}.items():
        assert total.weights[symbol] == pytest.approx(length, abs=0.05)
    b = {symbol: float(values[0]) for symbol, values in total.weights.items()}
    c = partials.fractions
    F = sum(
        c[i] * c[j] * b[i] * b[j] * (partials.S["-".join(sorted((i, j)))] - 1) for i in c for j in c
    )
    np.testing.assert_allclose(total.F, F)
    mean = sum(c[i] * b[i] for i in c)
    np.testing.assert_allclose(total.S, 1 + F / mean**2)
    enriched = neutron(flat(B=0.5, S=0.5), {"B": 11})
    assert enriched.weights["B"] == pytest.approx(6.65, abs=0.05)
    assert neutron(flat(B=0.5, S=0.5)).weights["B"] == pytest.approx(5.30, abs=0.05)


def test_weights_of_x_rays():
    partials = flat(Li=0.5, S=0.5)
    total = xray(partials)
    near = xray(PartialStructureFactors(np.array([1e-6]), {}, {"S": 1.0}, np.ones(1)))
    assert near.weights["S"] == pytest.approx(16.0, abs=0.01)
    assert total.weights["S"][1] < total.weights["S"][0] < 16.0
    one = flat(S=1.0)
    np.testing.assert_allclose(xray(one).S, one.S["S-S"])
    np.testing.assert_allclose(neutron(one).S, one.S["S-S"])


def curve(seed, height, position=1.37, width=0.25):
    """A peak before a principal one, with the scatter of its vectors."""
    rng = np.random.default_rng(seed)
    Q = 0.3 + 0.05 * np.arange(60)
    S = 0.4 + height * np.exp(-(((Q - position) / width) ** 2))
    S += 1.2 * np.exp(-(((Q - 2.6) / 0.3) ** 2))
    vectors = 40.0 * Q**2 + 3
    error = S / np.sqrt(vectors)
    return TotalStructureFactor(Q, S + error * rng.normal(size=60), S - 1, error, vectors, {})


def test_first_sharp_peak_is_found():
    found = [first_sharp_peak(curve(seed, 1.2)) for seed in range(30)]
    at = np.array([peak.Q_per_A for peak in found], dtype=float)
    assert np.isfinite(at).all()
    assert np.mean(at) == pytest.approx(1.37, abs=0.02)
    assert np.std(at) < 0.05
    assert np.mean([peak.S for peak in found]) == pytest.approx(1.6, rel=0.15)


def test_scatter_is_no_sharp_peak():
    """No peak but the principal one, beyond the range: seldom is one made up."""
    found = [first_sharp_peak(curve(seed, 0.0)) for seed in range(60)]
    assert sum(peak.Q_per_A is not None for peak in found) <= 6
    assert any("no peak stands out" in (peak.reason or "") for peak in found)


def test_bad_input_ends_in_one_line():
    trajectory = gas(1, ["Li"] * 3, 2.0 * np.eye(3))
    with pytest.raises(UsageError, match="too small"):
        partial_structure_factors(trajectory, 3.0, 0.1)
    for width in (0.0, -1.0, 2.0):
        with pytest.raises(UsageError, match="bin"):
            partial_structure_factors(trajectory, 3.0, width)
    with pytest.raises(UsageError, match="vectors"):
        partial_structure_factors(trajectory, 3.0, 0.1, vectors=0)
    with pytest.raises(UsageError, match="isotope 2 of Li"):
        neutron(flat(Li=1.0), {"Li": 2})
    opposite = {"Li": np.full(2, -2.0), "S": np.full(2, 2.0)}
    with pytest.raises(UsageError, match="zero"):
        weighted(flat(Li=0.5, S=0.5), opposite)
