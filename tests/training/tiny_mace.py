"""MACE models of no use but small, quick and of any number of heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lbpsi_driver.config import DEFAULT_MODEL
from lbpsi_driver.mliap import import_mace, import_torch

SHIPPED = DEFAULT_MODEL
"""Name of the model that is used where none is given."""


def write(
    path: Path,
    *,
    numbers: Sequence[int],
    seed: int = 1,
    heads: Sequence[str] = (),
    scale: float = 1.0,
) -> Path:
    """Save a model with random weights, and E0s that tell its heads apart.

    Its forces are some ``scale`` meV/Å.
    """
    torch = import_torch()
    import_mace()
    from e3nn import o3
    from mace import modules

    heads = list(heads) or ["Default"]
    torch.manual_seed(seed)
    model = modules.ScaleShiftMACE(
        r_max=4.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=1,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps("4x0e"),
        MLP_irreps=o3.Irreps("4x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=-np.arange(1.0, len(heads) * len(numbers) + 1).reshape(len(heads), -1),
        avg_num_neighbors=8.0,
        atomic_numbers=list(numbers),
        correlation=1,
        radial_MLP=[8],
        radial_type="bessel",
        atomic_inter_scale=[scale] * len(heads),
        atomic_inter_shift=[0.0] * len(heads),
        heads=heads,
    )
    torch.save(model.float(), path)
    return path
