"""g(r) of an ideal gas, of crystals, and against MDAnalysis on the same frames."""

import numpy as np
import pytest
from ase.build import bulk
from MDAnalysis.lib.distances import capped_distance, self_capped_distance

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.rdf import first_peak, radial_distributions
from lbpsi_driver.observables.trajectory import Trajectory

TRICLINIC = np.array([[14.0, 0, 0], [4.0, 15.0, 0], [-3.0, 5.0, 16.0]])


def make(fractional, cells, elements):
    frames = len(fractional)
    return Trajectory(
        np.asarray(fractional),
        np.asarray(cells),
        np.zeros((frames, 3)),
        np.arange(frames) * 1.0,
        np.array(elements),
    )


def gas(frames, elements, cell, breathing=0.0, seed=1):
    rng = np.random.default_rng(seed)
    cells = cell * (1 + breathing * rng.normal(size=(frames, 1, 1)))
    return make(rng.random((frames, len(elements), 3)), cells, elements)


@pytest.mark.parametrize("cell", [13.0 * np.eye(3), TRICLINIC], ids=["cubic", "triclinic"])
def test_ideal_gas_is_one(cell):
    trajectory = gas(150, ["Li"] * 80 + ["S"] * 20, cell, breathing=0.03)
    found = radial_distributions(trajectory, 6.0, 0.5)
    for pair in ("Li-Li", "Li-S", "S-S"):
        np.testing.assert_allclose(np.average(found.g[pair], weights=found.r_A**2), 1, atol=0.03)
    volume = np.mean(trajectory.volumes_A3)
    expected = 20 / volume * 4 / 3 * np.pi * found.cutoff_A**3
    np.testing.assert_allclose(found.coordination["Li-S"][-1], expected, rtol=0.05)
    ratio = found.coordination["S-Li"] / np.maximum(found.coordination["Li-S"], 1e-12)
    np.testing.assert_allclose(ratio[4:], 4.0)


def test_coordination_numbers_of_rock_salt():
    atoms = bulk("LiCl", "rocksalt", a=5.13, cubic=True) * (3, 3, 3)
    trajectory = make([atoms.get_scaled_positions()] * 2, [atoms.cell.array] * 2, atoms.symbols)
    found = radial_distributions(trajectory, 7.0, 0.05)
    assert found.first_peak_A["Cl-Li"] == pytest.approx(5.13 / 2, abs=0.03)
    assert found.first_peak_A["Cl-Cl"] == pytest.approx(5.13 / np.sqrt(2), abs=0.03)

    def neighbours(pair, r):
        return found.coordination[pair][int(r / 0.05) - 1]

    assert neighbours("Li-Cl", 3.0) == pytest.approx(6)
    assert neighbours("Cl-Li", 3.0) == pytest.approx(6)
    assert neighbours("Cl-Cl", 4.0) == pytest.approx(12)
    assert neighbours("Li-Li", 5.5) == pytest.approx(18)


def test_equals_mdanalysis_on_triclinic_frames():
    """Pair counts of both, frame by frame, in a cell that LAMMPS would have flipped."""
    trajectory = gas(6, ["B"] * 15 + ["S"] * 30, TRICLINIC, breathing=0.02, seed=4)
    skewed = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])
    flipped = make(
        trajectory.fractional @ np.rint(np.linalg.inv(skewed)),
        skewed @ trajectory.cells,
        trajectory.elements,
    )
    found = radial_distributions(flipped, 6.0, 0.25)
    edges = np.arange(len(found.r_A) + 1) * 0.25
    counts = {"B-S": np.zeros(len(found.r_A)), "S-S": np.zeros(len(found.r_A))}
    for s, cell in zip(trajectory.fractional, trajectory.cells, strict=True):
        a, b, c = np.linalg.norm(cell, axis=1)
        angles = [
            np.degrees(
                np.arccos(cell[i] @ cell[j] / np.linalg.norm(cell[i]) / np.linalg.norm(cell[j]))
            )
            for i, j in ((1, 2), (0, 2), (0, 1))
        ]
        box = np.array([a, b, c, *angles], dtype=np.float32)
        xyz = (s % 1.0 @ cell).astype(np.float32)
        _, far = capped_distance(xyz[:15], xyz[15:], edges[-1], box=box)
        counts["B-S"] += np.histogram(far, edges)[0] / 15 / 6
        _, far = self_capped_distance(xyz[15:], edges[-1], box=box)
        counts["S-S"] += 2 * np.histogram(far, edges)[0] / 30 / 6
    for pair, values in counts.items():
        np.testing.assert_allclose(found.coordination[pair], np.cumsum(values), atol=0.02)


def test_cutoff_is_what_the_cell_allows():
    found = radial_distributions(gas(3, ["Li"] * 20, 9.0 * np.eye(3)), 8.0, 0.1)
    assert found.cutoff_A == pytest.approx(4.4)
    with pytest.raises(UsageError, match="--rdf-bin"):
        radial_distributions(gas(3, ["Li"] * 20, 9.0 * np.eye(3)), 8.0, 4.0)


def test_single_atom_of_an_element_has_no_like_pairs():
    found = radial_distributions(gas(5, ["Li"] * 20 + ["P"], 9.0 * np.eye(3)), 4.0, 0.1)
    assert not found.g["P-P"].any()
    assert found.first_peak_A["P-P"] is None


def test_first_peak_is_found_between_bins():
    r = (np.arange(160) + 0.5) * 0.05
    g = 6 * np.exp(-(((r - 2.037) / 0.15) ** 2)) + 1 / (1 + np.exp(-(r - 4) / 0.3))
    assert first_peak(r, g) == pytest.approx(2.037, abs=0.01)
    assert first_peak(r, np.ones_like(r)) is None
