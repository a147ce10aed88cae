"""Energies of lone atoms (E0s), and what a foundation model brings to them.

Two references differ by constants for each element, hundreds of eV between all-electron-like and
pseudopotential energies. A fit must get them as E0s, or the network spends itself on learning them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from lbpsi_driver import manifest, potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.mliap import import_mace, import_torch

LIKE_MACE = "ScaleShiftMACE"
_BATCH = 8


@dataclass(frozen=True)
class Foundation:
    """A model to start from.

    Attributes
    ----------
    path : Path
        Its ``.model``.
    head : str
        Which of its heads is continued.
    numbers : tuple of int
        Atomic numbers that it knows.
    e0s : tuple of float
        That head's energies of lone atoms, eV, in their order.
    """

    path: Path
    head: str
    numbers: tuple[int, ...]
    e0s: tuple[float, ...]

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements that it knows."""
        return [chemical_symbols[number] for number in self.numbers]


def find(name: str) -> Path:
    """Return the file of a foundation model: a path, one of ours, or one of MACE's by name.

    Parameters
    ----------
    name : str
        A path; a shipped model's name; a name that MACE knows (small, medium-mpa-0, …), which is
        downloaded once to MACE's cache. ``mace:small`` is always MACE's.

    Raises
    ------
    UsageError
        No such model, an ambiguous name, or one that can't be downloaded.
    """
    ours = potential.shipped()
    path = Path(name)
    if path.is_file():
        return path.resolve()
    import_torch()
    import_mace()
    from mace.calculators.foundations_models import download_mace_mp_checkpoint, mace_mp_names

    known = [one for one in mace_mp_names if one]
    plain = name.removeprefix("mace:")
    if name in ours and name in known:
        raise UsageError(
            f"--foundation {name}: a shipped model and one of MACE's; write mace:{name} or"
            f" {ours[name]}"
        )
    if name in ours:
        return ours[name]
    if plain not in known:
        raise UsageError(
            f"--foundation {name}: neither a file, nor a shipped model ({', '.join(ours)}), nor"
            f" one of MACE's ({', '.join(known)})"
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return Path(download_mace_mp_checkpoint(plain))
    except Exception as err:
        raise UsageError(
            f"--foundation {name}: needs a download, which failed ({err}); fetch the .model where"
            " there is a network and give its path"
        ) from err


def foundation(path: Path, head: str | None = None) -> Foundation:
    """Look into a foundation model.

    Parameters
    ----------
    path : Path
        A MACE ``.model``. Loading runs code from the file.
    head : str, optional
        Which of its heads; default: its last.

    Raises
    ------
    UsageError
        No MACE model that ``mace_run_train`` can continue, or no such head.
    """
    known = potential.heads(path)
    if head is not None and head not in known:
        raise UsageError(
            f"--foundation-head {head}: {path.name} has no such head; one of: {', '.join(known)}"
        )
    model = potential.read_model(path, "--foundation")
    if type(model).__name__ != LIKE_MACE:
        raise UsageError(
            f"--foundation {path.name}: a {type(model).__name__}, and MACE continues a"
            f" {LIKE_MACE} only; give another"
        )
    chosen = head or known[-1]
    energies = np.atleast_2d(model.atomic_energies_fn.atomic_energies.numpy().astype(float))
    return Foundation(
        path,
        chosen,
        tuple(int(number) for number in model.atomic_numbers),
        tuple(energies[known.index(chosen)].tolist()),
    )


def energies(start: Foundation, frames: Sequence[ase.Atoms]) -> NDArray[np.float64]:
    """Evaluate a foundation's energies of frames.

    Parameters
    ----------
    start : Foundation
        The model and its head.
    frames : sequence of ase.Atoms
        Of elements that it knows.

    Returns
    -------
    ndarray, shape (F,)
        Energies, eV, lone atoms included; in float64.
    """
    torch = import_torch()
    from mace import data
    from mace.tools import AtomicNumberTable, torch_geometric

    model = potential.read_model(start.path, "--foundation").double().eval()
    table = AtomicNumberTable(list(start.numbers))
    heads = potential.heads(start.path)
    keys = data.KeySpecification(info_keys={}, arrays_keys={})
    found: list[float] = []
    with potential.default_dtype("float64"):
        for first in range(0, len(frames), _BATCH):
            graphs = [
                data.AtomicData.from_config(
                    data.config_from_atoms(atoms, keys, head_name=start.head),
                    z_table=table,
                    cutoff=float(model.r_max),
                    heads=heads,
                )
                for atoms in frames[first : first + _BATCH]
            ]
            batch = torch_geometric.Batch.from_data_list(graphs).to_dict()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                answer = model(batch, compute_force=False)
            found.extend(answer["energy"].tolist())
    return np.array(found)


def least_squares(
    counts: NDArray[np.float64],
    leftover: NDArray[np.float64],
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit energies of lone atoms to what a model's interaction energy leaves over.

    Salts are neutral, so that their compositions never tell all elements apart: of all solutions
    the one nearest to ``start`` is taken.

    Parameters
    ----------
    counts : ndarray, shape (F, E)
        Atoms of each element.
    leftover : ndarray, shape (F,)
        Labels less the interaction energy, eV.
    start : ndarray, shape (E,)
        E0s to stay near, eV.

    Returns
    -------
    ndarray, shape (E,)
        E0s, eV, of least squares an atom.
    """
    sizes = counts.sum(axis=1)
    missing = (leftover - counts @ start) / sizes
    change = np.linalg.lstsq(counts / sizes[:, None], missing, rcond=1e-8)[0]
    return np.asarray(start + change)


def write(start: Foundation, target: Path, e0s: Mapping[str, float], dtype: str) -> None:
    """Write a foundation with other E0s.

    MACE 0.3.16 copies all of a foundation whose elements are those of the data, its E0s among
    them, over those that it was told.

    Parameters
    ----------
    start : Foundation
        The model and its head; its other heads keep theirs.
    target : Path
        The ``.model`` to write.
    e0s : mapping of str to float
        By element, eV; of elements that it lacks the foundation's stay.
    dtype : {'float32', 'float64'}
        Precision of the fit, and so of the energies.
    """
    torch = import_torch()
    model = potential.read_model(start.path, "--foundation").to(getattr(torch, dtype))
    table = model.atomic_energies_fn.atomic_energies
    row = table[potential.heads(start.path).index(start.head)] if table.ndim > 1 else table
    for place, element in enumerate(start.elements):
        row[place] = e0s.get(element, float(row[place]))
    content = io.BytesIO()
    torch.save(model, content)
    manifest.write_atomic(target, content.getvalue())
