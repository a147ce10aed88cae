"""A committee of models: where its members' forces part, none of them is to be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.training.models import mace_calculator


def force_deviation(forces: ArrayLike) -> float:
    """Return the largest standard deviation of an atom's force over the members.

    ε = max_i √⟨‖F_i − ⟨F_i⟩‖²⟩, averages over the members (divided by their number M).

    Parameters
    ----------
    forces : array_like, shape (M, N, 3)
        Forces of each member on each atom, eV/Å.

    Returns
    -------
    float
        Deviation, eV/Å; NaN where a force is NaN.

    Raises
    ------
    ValueError
        Another shape, or fewer than two members.

    References
    ----------
    Y. Zhang et al., Comput. Phys. Commun. 253, 107206 (2020), doi:10.1016/j.cpc.2020.107206.
    """
    members = np.asarray(forces, dtype=float)
    if members.ndim != 3 or members.shape[2] != 3 or len(members) < 2 or members.shape[1] < 1:
        raise ValueError(f"forces of shape {members.shape}: expected (M, N, 3) with M at least 2")
    variance = np.square(members - members.mean(axis=0)).sum(axis=2).mean(axis=0)
    return float(np.sqrt(variance.max()))


class Committee:
    """Several MACE models that are asked about the same frames.

    Each has a calculator of its own: cutoffs and lists of elements may differ.

    Parameters
    ----------
    models : sequence of str
        Shipped names or paths of MACE ``.model`` files, at least two.
    dtype : {'float32', 'float64'}
        Precision.
    device : {'cpu', 'cuda'}
        Where they run.

    Raises
    ------
    UsageError
        Fewer than two, or one that is no MACE model.
    """

    def __init__(
        self, models: Sequence[str], *, dtype: str = "float32", device: str = "cpu"
    ) -> None:
        if len(models) < 2:
            raise UsageError(f"a committee of {len(models)}: give at least two models")
        self.members = [mace_calculator([one], dtype=dtype, device=device) for one in models]

    def evaluate(self, atoms: ase.Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each member says of a frame.

        Parameters
        ----------
        atoms : ase.Atoms
            The frame; its own calculator is left alone.

        Returns
        -------
        energies : ndarray, shape (M,)
            Energies, eV.
        forces : ndarray, shape (M, N, 3)
            Forces, eV/Å.
        """
        energies, forces = [], []
        for calculator in self.members:
            bare = atoms.copy()
            bare.calc = calculator
            energies.append(bare.get_potential_energy())
            forces.append(bare.get_forces())
        return np.array(energies, dtype=float), np.array(forces, dtype=float)

    def deviation(self, atoms: ase.Atoms) -> float:
        """Return the :func:`force_deviation` of a frame, eV/Å."""
        return force_deviation(self.evaluate(atoms)[1])
