"""Small frames labelled by a Lennard-Jones reference, as a data set of several trajectories."""

from __future__ import annotations

import ase
import numpy as np
from ase.build import bulk
from ase.calculators.lj import LennardJones

COMPOSITIONS = (("S", "I", "Li", "Li"), ("S", "S", "P", "Li"), ("Li", "I", "I", "B"))
LONE_EV = {"Li": -1.0, "B": -3.0, "P": -2.5, "S": -2.0, "I": -0.5}


def frames(number: int = 24, trajectories: int = 6, seed: int = 0) -> list[ase.Atoms]:
    """Frames of 8 atoms, 0.9 to 1.2 times a volume; every trajectory has one composition."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(number):
        run = i % trajectories
        atoms = bulk("Li", "bcc", a=3.3, cubic=True) * (2, 2, 1)
        atoms.symbols[:] = 2 * COMPOSITIONS[run % len(COMPOSITIONS)]
        atoms.set_cell(atoms.cell * np.cbrt(rng.uniform(0.9, 1.2)), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.06, atoms.positions.shape)
        label(atoms)
        atoms.info |= {
            "frame_id": f"run{run}/{i}",
            "trajectory": f"run{run}",
            "split": ("train", "train", "train", "train", "valid", "test")[run],
            "temperature": 600.0,
        }
        made.append(atoms)
    return made


def label(atoms: ase.Atoms) -> None:
    """Label a frame, in place."""
    atoms.calc = LennardJones(sigma=2.7, epsilon=0.15, rc=5.5, smooth=True)
    energy = atoms.get_potential_energy() + sum(LONE_EV[symbol] for symbol in atoms.symbols)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms.calc = None
    atoms.info |= {"REF_energy": energy, "REF_stress": stress}
    atoms.arrays["REF_forces"] = forces
