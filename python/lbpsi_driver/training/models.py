"""MACE models in ASE: one or a committee, and the descriptors of their atoms."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from lbpsi_driver import potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.mliap import import_mace, import_torch


def mace_file(model: str, given: str = "--model") -> Path:
    """Return the MACE ``.model`` of a shipped name or a path.

    Raises
    ------
    UsageError
        Where it is neither, or a ``.pt`` of LAMMPS.
    """
    path = potential.resolve(model, given, expected="a .model file")
    if path.suffix == ".pt":
        raise UsageError(f"{given} {model}: exported already; give the .model that it is from")
    return path


def mace_calculator(
    models: Sequence[str], *, dtype: str = "float32", head: str | None = None, device: str = "cpu"
) -> Any:
    """Return a MACE calculator; with several models a committee, whose mean it gives.

    Parameters
    ----------
    models : sequence of str
        Shipped names or paths of MACE ``.model`` files with the same cutoff.
    dtype : {'float32', 'float64'}
        Precision.
    head : str, optional
        Head of a multihead model; default: its last.
    device : {'cpu', 'cuda'}
        Where it runs.

    Raises
    ------
    UsageError
        No such model, no MACE model, no such head, or no such device.
    """
    torch = import_torch()
    import_mace()
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA GPU here; give --device cpu")
    from mace.calculators import MACECalculator

    paths = [mace_file(model) for model in models]
    known = potential.heads(paths[0])
    if head is not None and head not in known:
        raise UsageError(f"--head {head}: {paths[0].name} has no such head; one of: {known}")
    logging.getLogger().setLevel(logging.WARNING)  # it logs each choice at the root
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MACECalculator(
            model_paths=[str(path) for path in paths],
            device=device,
            default_dtype=dtype,
            head=head or known[-1],
        )


def refuse_unknown(calculator: Any, elements: Iterable[str], given: str = "--model") -> None:
    """Refuse elements that a MACE calculator has no weights for.

    Parameters
    ----------
    calculator : mace.calculators.MACECalculator
        As :func:`mace_calculator` makes it.
    elements : iterable of str
        Chemical symbols.
    given : str
        The flag that gave it, for messages.

    Raises
    ------
    UsageError
        One line that names the first of them and what the model knows.
    """
    known = [chemical_symbols[number] for number in sorted(calculator.z_table.zs)]
    lacking = sorted(set(elements) - set(known))
    if lacking:
        raise UsageError(
            f"the model has no {lacking[0]}: it knows {', '.join(known)}; give another {given}"
        )


def descriptors(calculator: Any, frames: Sequence[ase.Atoms]) -> NDArray[np.float64]:
    """Describe frames by the mean and spread of MACE's invariant features of each element.

    Parameters
    ----------
    calculator : mace.calculators.MACECalculator
        Its first model describes.
    frames : sequence of ase.Atoms
        Any composition of the elements that the model knows.

    Returns
    -------
    ndarray, shape (F, D)
        One row a frame; an element that a frame lacks has zeros.
    """
    elements = list(calculator.z_table.zs)
    rows = []
    for atoms in frames:
        features = calculator.get_descriptors(atoms, invariants_only=True)
        # Of a committee there is a list.
        first = features[0] if isinstance(features, list) else features
        features = np.asarray(first).reshape(len(atoms), -1)
        row = np.zeros((len(elements), 2, features.shape[1]))
        for at, number in enumerate(elements):
            own = features[atoms.numbers == number]
            if len(own):
                row[at] = own.mean(axis=0), own.std(axis=0)
        rows.append(row.ravel())
    return np.array(rows).reshape(len(frames), -1)
