"""Sampling dynamics on Lennard-Jones argon: ensembles, ramps, continuation, runaways."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from lbpsi_driver.training import md
from lbpsi_driver.training.options import Segment

# Rahman's argon; the melting point at 1 bar is 84 K, that of the liquid's density 1.37 g/cm3.
ARGON = {"sigma": 3.405, "epsilon": 0.010323, "rc": 7.0, "smooth": True}


def argon(repeat: int = 2, a: float = 5.7) -> ase.Atoms:
    atoms = bulk("Ar", "fcc", a=a, cubic=True).repeat(repeat)
    atoms.calc = LennardJones(**ARGON)
    return atoms


def run(atoms: ase.Atoms, *segments: Segment, **more) -> list[tuple[int, float, ase.Atoms]]:
    seen = []

    def record(now: ase.Atoms, step: int, temperature: float) -> None:
        seen.append((step, temperature, now.copy()))

    settings = {"timestep_fs": 5.0, "every": 5, "seed": 1, "record": record} | more
    md.run(atoms, segments, **settings)
    return seen


def test_constant_volume_holds_the_temperature():
    atoms = argon()
    seen = run(atoms, Segment(time=5, temperature=(80, 80), volume=(1, 1)))
    assert [step for step, _, _ in seen] == list(range(5, 1001, 5))
    temperatures = np.array([frame.get_temperature() for _, _, frame in seen])[20:]
    # means of blocks that are longer than the thermostat's memory tell the error of the mean
    blocks = temperatures.reshape(-1, 15).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert error < 4
    assert temperatures.mean() == pytest.approx(80, abs=3 * error)
    # kinetic energy of 3N coordinates fluctuates by (2/3N)^1/2
    assert temperatures.std() == pytest.approx(80 * np.sqrt(2 / 96), rel=0.35)
    assert {frame.get_volume() for _, _, frame in seen} == {seen[0][2].get_volume()}


def test_pressure_compresses_the_liquid():
    volumes = {}
    for pressure in (1.0, 5000.0):
        melt = Segment(time=0.5, temperature=(300, 100), volume=(1, 1))
        liquid = Segment(time=1.5, temperature=(100, 100), pressure=pressure)
        seen = run(argon(), melt, liquid)
        volumes[pressure] = np.mean([frame.get_volume() for _, _, frame in seen[-40:]]) / 32
    # 1.31 g/cm3 at 100 K and 1 bar, where a small cell fluctuates; at 5 kbar a quarter denser
    assert volumes[1.0] == pytest.approx(50.6, rel=0.15)
    assert 0.65 < volumes[5000.0] / volumes[1.0] < 0.88


def test_ramps_end_where_they_should():
    atoms = argon()
    start = atoms.get_volume()
    seen = run(
        atoms,
        Segment(time=0.1, temperature=(50, 50), volume=(1, 1)),
        Segment(time=0.5, temperature=(50, 90), volume=(1, 1.3)),
    )
    volume = {step: frame.get_volume() / start for step, _, frame in seen}
    target = {step: temperature for step, temperature, _ in seen}
    assert max(volume) == 120
    assert (volume[20], target[20]) == (pytest.approx(1), pytest.approx(50))
    assert (volume[70], target[70]) == (pytest.approx(1.15), pytest.approx(70))
    assert (volume[120], target[120]) == (pytest.approx(1.3), pytest.approx(90))
    assert atoms.get_volume() == pytest.approx(1.3 * start)
    # the lattice is scaled with its atoms
    last = seen[-1][2]
    assert last.get_scaled_positions().std() == pytest.approx(
        argon().get_scaled_positions().std(), rel=0.1
    )


def test_goes_on_where_it_was():
    segments = (
        Segment(time=0.1, temperature=(50, 50), volume=(1, 1)),
        Segment(time=0.2, temperature=(50, 90), volume=(1, 1.2)),
    )
    whole = run(argon(), *segments)
    volume = argon().get_volume()
    for stop in (5, 20, 35, 60):
        step, _, atoms = whole[stop // 5 - 1]
        assert step == stop
        atoms.calc = LennardJones(**ARGON)
        momenta = atoms.get_momenta().copy()
        rest = run(atoms, *segments, start=stop, volume=volume)
        assert [one[:2] for one in rest] == [one[:2] for one in whole[stop // 5 :]]
        if rest:
            # neither new velocities nor a jump of the cell
            assert np.corrcoef(rest[0][2].get_momenta().ravel(), momenta.ravel())[0, 1] > 0.5
            assert [f.get_volume() for *_, f in rest] == pytest.approx(
                [f.get_volume() for *_, f in whole[stop // 5 :]]
            )


def test_the_seed_fixes_the_run():
    segment = Segment(time=0.1, temperature=(80, 80), volume=(1, 1))
    first, again, other = (run(argon(), segment, seed=seed)[-1][2] for seed in (1, 1, 2))
    assert (first.positions == again.positions).all()
    assert not np.allclose(first.positions, other.positions)


def test_steps_are_whole_chunks():
    segments = [Segment(time=time, temperature=(1, 1)) for time in (0.001, 0.1, 0.1013, 2)]
    assert md.steps_of(segments, 2.0) == [5, 50, 50, 1000]
    assert md.steps_of(segments, 0.5) == [5, 200, 205, 4000]


def test_a_force_that_explodes_ends_it_with_the_frames_before():
    seen: list[int] = []
    with pytest.raises(md.RunawayError, match=r"force of \d+ eV/Å at step \d+; .*left what it"):
        run(
            argon(),
            Segment(time=0.2, temperature=(50, 50), volume=(1, 1)),
            Segment(time=2, temperature=(5e6, 5e6), volume=(1, 1)),
            record=lambda atoms, step, target: seen.append(step),
        )
    assert seen[:8] == list(range(5, 41, 5))
    assert len(seen) < 20


class Unknowing(LennardJones):
    """A calculator that has no number where it was not trained."""

    def calculate(self, *arguments, **more):
        super().calculate(*arguments, **more)
        if self.atoms.get_volume() > 1500:
            self.results["forces"] = self.results["forces"] * np.nan


def test_forces_that_are_no_numbers_end_it():
    atoms = argon()
    atoms.calc = Unknowing(**ARGON)
    with pytest.raises(md.RunawayError, match="force of nan"):
        run(atoms, Segment(time=1, temperature=(50, 50), volume=(1, 1.5)))


@pytest.mark.parametrize(
    ("volume", "what"), [((1.0, 3.2), "boiled off"), ((1.0, 0.45), "collapsed")]
)
def test_a_volume_that_is_no_glass_ends_it(volume, what):
    atoms = argon(a=6.5)
    with pytest.raises(md.RunawayError, match=rf"times the starting volume at step \d+; .*{what}"):
        run(atoms, Segment(time=0.5, temperature=(10, 10), volume=volume))


def test_relaxing_takes_an_overlap_apart():
    atoms = argon()
    atoms.positions[1] = atoms.positions[0] + [2.2, 0.3, 0.1]
    before = np.linalg.norm(atoms.get_forces(), axis=1).max()
    seen = []
    md.relax(atoms, 60, lambda now, step, kelvin: seen.append((step, now.get_potential_energy())))
    after = np.linalg.norm(atoms.get_forces(), axis=1).max()
    assert before > 1 > md.RELAXED >= after
    assert [step for step, _ in seen][:2] == [-60, -57]
    assert seen[0][1] > seen[-1][1]


def test_relaxing_ends_where_atoms_fall_into_each_other():
    atoms = argon()
    atoms.positions[1] = atoms.positions[0] + [0.9, 0.0, 0.0]
    with pytest.raises(md.RunawayError, match="Ar fell into each other at step -10"):
        md.relax(atoms, 10)


def test_volume_and_pressure_are_not_both_held():
    from lbpsi_driver.config import UsageError, options

    given = {"time": 1, "temperature": (300, 300), "volume": (1, 1)}
    with pytest.raises(UsageError, match="volume and pressure are given; leave volume out") as told:
        options(Segment, given | {"pressure": 1.0})
    assert "\n" not in str(told.value)
    assert options(Segment, given).volume == (1, 1)
