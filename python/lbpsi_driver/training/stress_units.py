"""Units of labelled stresses, told by the pair potential that resembles the labelled forces.

It gives stresses of which no label was used. Their deviators have the size of the labelled ones
within a factor of two, while kbar, GPa or a virial that is not divided by the volume are off by 20
and more. Forces leave the pressure open, so traces are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase import units

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.training.frames import STRESS, TRAJECTORY
from lbpsi_driver.training.pair_fit import PairFit

STRESS_UNITS = {
    "bar": units.bar,
    "kbar": 1e3 * units.bar,
    "GPa": units.GPa,
    "kcal/mol/Å3": units.kcal / units.mol,
    "Hartree/Bohr3": units.Hartree / units.Bohr**3,
    "Rydberg/Bohr3": units.Rydberg / units.Bohr**3,
}
"""Units that stresses are found in by mistake, eV/Å3."""

USUAL, LEAST, MOST = 1.3, 0.2, 8.0
"""How much larger labelled deviators are than those of the pair potential, and what is doubted.

In 2040 frames of sulfide glasses, melts and salts, and in 150 random parts of them of 8 frames or
more, the ratio of the medians was 0.8 to 2.4, all in one system of units.
"""

FEWEST = 8

_NEAR = 2.5


def refuse_other_units(
    frames: Sequence[ase.Atoms], stresses: Floats, names: Sequence[str], pairs: PairFit
) -> None:
    """Refuse stresses in other units than the forces, in all frames or in a trajectory.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F labelled frames.
    stresses : ndarray, shape (F, 6)
        Labelled stresses, Voigt.
    names : sequence of str
        How messages call each frame.
    pairs : PairFit
        Of these frames.

    Raises
    ------
    UsageError
        One line that names the first of the frames, the factor and the units that it looks like.
        What has no deviator in labels or forces passes.
    """
    found, expected = (
        np.linalg.norm(deviator(given), axis=1) for given in (stresses, pairs.stresses)
    )
    runs = np.array([str(atoms.info.get(TRAJECTORY, "")) for atoms in frames])
    parts = [np.flatnonzero(runs == run) for run in dict.fromkeys(runs.tolist())]
    known = np.median(expected)
    overlaps = np.sum(deviator(stresses) * deviator(pairs.stresses), axis=1)
    for own in (np.arange(len(frames)), *parts):
        # A trajectory that is at rest beside others tells nothing.
        if len(own) < FEWEST or np.median(expected[own]) < 0.1 * known or known <= 0:
            continue
        factor = float(np.median(found[own]) / np.median(expected[own]))
        if factor == 0 or LEAST < factor < MOST:
            continue
        volume = float(np.median([frames[number].get_volume() for number in own.tolist()]))
        turned = bool(np.sum(overlaps[own]) < 0)
        if advice := _advice(factor / USUAL, volume, turned):
            more = f" and {len(own) - 1} more" if len(own) > 1 else ""
            raise UsageError(
                f"{names[int(own[0])]}{more}: their {STRESS} is {factor / USUAL:.2g} times what the"
                f" forces lead to expect; {advice}"
            )


def _advice(factor: float, volume: float, turned: bool) -> str:
    """Name the units that a factor looks like, nearest first; several may be near each other."""
    sign = -1 if turned else 1
    ways = {
        name: (unit, f"multiply it by {sign * unit:.6g}") for name, unit in STRESS_UNITS.items()
    }
    ways["a virial in eV"] = (1 / volume, f"divide it by {'minus ' if turned else ''}the volume")
    gaps = {name: abs(np.log(factor * unit)) for name, (unit, _) in ways.items()}
    near = sorted((name for name in gaps if gaps[name] < np.log(_NEAR)), key=lambda one: gaps[one])
    shown = " or ".join(f"{name} ({ways[name][1]})" for name in near)
    return f"it looks like {shown}; expected eV/Å3, tension positive" if near else ""


def deviator(stresses: Floats) -> Floats:
    """Take a third of the trace out of stresses, shape (F, 6)."""
    rest = stresses.copy()
    rest[:, :3] -= rest[:, :3].mean(axis=1, keepdims=True)
    return rest
