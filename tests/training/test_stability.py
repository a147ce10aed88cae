"""Parts of a validation on potentials whose answer is known in closed form."""

import logging
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from scipy.optimize import brentq

from lbpsi_driver.config import QuenchOptions, UsageError
from lbpsi_driver.training import (
    contacts,
    deck_runs,
    energy_volume,
    own_runs,
    parity,
    short_range,
    stability,
)
from lbpsi_driver.training import frames as store

DATA = Path(__file__).parents[1] / "data"
QUICK = {
    "data": DATA / "lj.data",
    "potential": DATA / "lj.in",
    "rate": 1800,
    "hold": 0.5,
    "equilibrate": 0.5,
    "motifs": False,
}
LJ = {"sigma": 2.3, "epsilon": 0.05, "rc": 6.0, "smooth": True}


class Leaky(Calculator):
    """No forces, and an energy that rises by a fixed amount an atom at each call."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, rise: float) -> None:
        super().__init__()
        self.rise, self.calls = rise, 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = self.rise * self.calls * len(self.atoms)
        self.calls += 1
        self.results = {"energy": energy, "forces": np.zeros((len(self.atoms), 3))}


def buckingham(r):
    return 8000.0 * np.exp(-r / 0.25) - 200.0 / r**6


def buckingham_force(r):
    return 32000.0 * np.exp(-r / 0.25) - 1200.0 / r**7


class Buckingham(Calculator):
    """Two atoms: repulsion that an attraction overcomes at short range."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        axis = self.atoms.get_distance(0, 1, mic=True, vector=True)
        r = np.linalg.norm(axis)
        push = buckingham_force(r) * axis / r
        self.results = {
            "energy": buckingham(r),
            "forces": np.array([-push, push]),
            "stress": np.zeros(6),
        }


def test_drift_is_the_slope_of_the_total_energy():
    atoms = bulk("Cu", cubic=True)
    found = stability.nve(atoms, Leaky(2e-4), temperature=300, time_ps=0.5, timestep_fs=2, seed=1)
    # one call a step of 0.002 ps
    assert found.drift_eV_per_atom_per_ps == pytest.approx(2e-4 / 0.002)
    assert found.fluctuation_eV_per_atom == pytest.approx(0.0, abs=1e-9)
    assert found.temperature_K == pytest.approx(300)
    assert found.stopped is None
    assert found.time_ps == pytest.approx(0.5)
    assert not atoms.has("momenta")


def test_a_sound_potential_drifts_little_and_a_coarse_step_is_seen():
    atoms = bulk("Ar", "fcc", 3.6, cubic=True) * (2, 2, 2)
    fine = stability.nve(
        atoms, LennardJones(**LJ), temperature=300, time_ps=0.5, timestep_fs=1, seed=1
    )
    coarse = stability.nve(
        atoms, LennardJones(**LJ), temperature=300, time_ps=4, timestep_fs=40, seed=1
    )
    assert abs(fine.drift_eV_per_atom_per_ps) < 1e-4
    assert fine.stopped is None
    assert fine.fluctuation_eV_per_atom < coarse.fluctuation_eV_per_atom


def test_exploding_dynamics_is_stopped_and_said():
    atoms = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 0.9]], cell=[9, 9, 9], pbc=True)
    found = stability.nve(
        atoms, LennardJones(**LJ), temperature=300, time_ps=0.1, timestep_fs=1, seed=1
    )
    assert "eV/Å at step 0" in found.stopped
    assert found.drift_eV_per_atom_per_ps is None


def predicted(frames, calculator):
    return parity.predict(frames, calculator)


def test_hole_of_a_buckingham_pair_is_found_where_its_force_vanishes():
    cell = ase.Atoms("PS", [[1, 1, 1], [1, 1, 3.2]], cell=[20, 20, 20], pbc=True)
    frames = [one for one in short_range.frames([cell], 60) if one.info[short_range.PAIR] == "P-S"]
    places = {one.info[short_range.PLACE] for one in frames}
    assert places == {"alone", "in_cell"}
    root = brentq(buckingham_force, 1.1, 1.8)
    keys = (parity.ENERGY, parity.FORCES)
    for place in sorted(places):
        scan = [one for one in frames if one.info[short_range.PLACE] == place]
        found = short_range.compare(predicted(scan, Buckingham()), keys, False)
        assert not found.repels
        assert found.hole_A == pytest.approx(root, abs=1e-3)
        start = buckingham(found.distance_A[-1])
        near = [buckingham(r) for r in found.distance_A if r > root]
        assert found.barrier_eV == pytest.approx(buckingham(root) - min(near), abs=0.01)
        assert found.energy_eV[0] == pytest.approx(
            buckingham(found.distance_A[0]) - start, rel=1e-4
        )
        assert found.reference_hole_A is None


def test_a_repulsive_pair_passes_and_the_reference_stands_beside_it():
    cell = ase.Atoms("PS", [[1, 1, 1], [1, 1, 3.2]], cell=[20, 20, 20], pbc=True)
    scan = [one for one in short_range.frames([cell], 20) if one.info[short_range.PAIR] == "P-S"]
    scan = [one for one in scan if one.info[short_range.PLACE] == "alone"]
    for atoms in scan[1:]:
        copy = predicted([atoms], Buckingham())[0]
        atoms.info[store.ENERGY] = copy.info[parity.ENERGY]
        atoms.info[store.STRESS] = copy.info[parity.STRESS]
        atoms.arrays[store.FORCES] = copy.arrays[parity.FORCES]
    found = short_range.compare(
        predicted(scan, LennardJones(**LJ)), (parity.ENERGY, parity.FORCES), True
    )
    assert found.repels
    assert found.hole_A is None
    assert found.reference_hole_A is not None
    assert found.reference_energy_eV[0] is None
    assert found.reference_energy_eV[-1] == 0.0


def test_energy_and_pressure_against_volume_are_those_of_the_potential():
    atoms = bulk("Ar", "fcc", 3.7, cubic=True)
    frames = energy_volume.scaled(atoms, (0.9, 1.4), 6, "cell1")
    ratios = [one.info[energy_volume.RATIO] for one in frames]
    assert ratios == pytest.approx([0.9, 1.0, 1.1, 1.2, 1.3, 1.4])
    assert [one.get_volume() for one in frames] == pytest.approx(
        [ratio * atoms.get_volume() for ratio in ratios]
    )
    frames = predicted(frames, LennardJones(**LJ))
    for one in frames:
        own = one.copy()
        own.calc = LennardJones(**(LJ | {"epsilon": 0.08}))
        one.info[store.ENERGY] = own.get_potential_energy() - 3.0
        one.info[store.STRESS] = own.get_stress()
        one.arrays[store.FORCES] = own.get_forces()
    found = energy_volume.compare(frames)
    energies = np.array([one.info[parity.ENERGY] for one in frames]) / len(atoms)
    apart = 1e3 * (1.6 - 1.0) * (energies - energies[1])
    worst = np.abs(apart).argmax()
    assert found.largest_deviation_meV_per_atom == pytest.approx(np.abs(apart).max(), rel=1e-6)
    assert found.at_volume_ratio == ratios[worst]
    # pressure is minus the slope of the energy
    volumes = np.array(found.volume_A3_per_atom)
    slope = (energies[3] - energies[1]) / (volumes[3] - volumes[1])
    assert found.model_pressure_MPa[2] == pytest.approx(-slope / (1e6 * units.Pascal), rel=0.1)
    assert energy_volume.compare([frames[0]]) is None


def test_first_shell_and_shortest_distance_of_rock_salt():
    atoms = bulk("LiI", "rocksalt", 6.0, cubic=True) * (3, 3, 3)
    frames = []
    for seed in range(3):
        one = atoms.copy()
        one.rattle(0.02, seed=seed)
        one.info[store.TEMPERATURE] = 300.0 + 200.0 * seed
        frames.append(one)
    least = contacts.shortest(frames)
    distances = [one.get_all_distances(mic=True) for one in frames]
    lithium = atoms.numbers == 3
    assert least["I-Li"] == pytest.approx(
        min(one[lithium][:, ~lithium].min() for one in distances), abs=1e-9
    )
    assert least["Li-Li"] is None  # 4.24 Å
    near = contacts.like(frames, atoms, 350.0)
    assert near == frames[:1]
    found = contacts.structure(frames, near)
    shell = found.pairs["Li-I"]
    assert (found.frames, found.reference_frames) == (3, 1)
    assert shell.first_peak_A == pytest.approx(3.0, abs=0.05)
    assert shell.neighbours == pytest.approx(6.0)
    assert found.pairs["I-Li"].reference_neighbours == pytest.approx(6.0)
    assert found.pairs["Li-Li"].neighbours == pytest.approx(12.0)
    assert contacts.shorter({"I-Li": 2.0, "Li-Li": None}, {"I-Li": 2.5}, 0.9) == ["I-Li"]


def test_frames_of_a_quench_carry_their_stages_and_are_spread_over_them(tmp_path):
    options = QuenchOptions(**(QUICK | {"output": tmp_path, "dump_every": 0.05}))
    run = own_runs.melt_quench(options)
    assert run.stopped is None
    assert run.final == tmp_path / "data.quenched"
    assert run.lost_atoms == 0
    frames = deck_runs.read_frames(tmp_path, options.timestep, "cell1/melt-quench")
    ends = {}
    for line in (tmp_path / "schedule.dat").read_text().splitlines()[1:]:
        stage, begin, end = line.split()[:3]
        ends[stage] = (int(begin), int(end))
    for one in frames[1:]:
        begin, end = ends[one.info[deck_runs.STAGE]]
        assert begin < one.info[store.STEP] <= end
    chosen = own_runs.spread(frames, 10)
    assert [one.info[deck_runs.STAGE] for one in chosen] == [
        stage for stage in ("warm", "heat", "hold", "cool", "equilibrate") for _ in range(2)
    ]
    assert len({one.info[store.ID] for one in chosen}) == 10
    assert own_runs.spread(frames, 10 * len(frames)) == frames
    drawn = own_runs.draw(frames, 5, 3)
    assert [one.info[store.ID] for one in drawn] == [
        one.info[store.ID] for one in own_runs.draw(frames, 5, 3)
    ]
    assert len(drawn) == 5


def test_a_full_disk_is_no_outcome(tmp_path):
    own = tmp_path / "lj.in"
    # The guard's limit, MB: of two values of an index variable the first counts.
    own.write_text((DATA / "lj.in").read_text() + "variable guard_disk index 1e12\n")
    folder = tmp_path / "run"
    options = QuenchOptions(**(QUICK | {"output": folder, "potential": own}))
    with pytest.raises(UsageError, match="MB of disk left: free some space"):
        own_runs.melt_quench(options)
    assert (folder / "history.dat").stat().st_size > 0
    assert not (folder / "stopped").exists()


def test_a_run_that_boils_off_is_an_outcome(tmp_path, caplog):
    options = QuenchOptions(
        **(QUICK | {"output": tmp_path, "potential": DATA / "lj_boils.in", "hold": 20})
    )
    with caplog.at_level(logging.WARNING):
        run = own_runs.melt_quench(options)
    assert "the density fell" in run.stopped
    assert run.final is None
    assert deck_runs.read_frames(tmp_path, options.timestep, "x")
    rows = (tmp_path / "history.dat").stat().st_mtime_ns
    assert own_runs.melt_quench(options) == run
    assert (tmp_path / "history.dat").stat().st_mtime_ns == rows
