"""The configuration of ``mace_run_train``, and what the files are called that it names."""

from __future__ import annotations

from typing import Any

from lbpsi_driver.training import frames as store
from lbpsi_driver.training.mace_run import WORK
from lbpsi_driver.training.options import FitOptions

INPUTS = "inputs"
TRAIN, VALID = f"{INPUTS}/train.extxyz", f"{INPUTS}/valid.extxyz"
REPLAY, REPLAY_VALID = f"{INPUTS}/replay.extxyz", f"{INPUTS}/replay_valid.extxyz"
E0S = f"{INPUTS}/e0s.json"
FOUNDATION = f"{INPUTS}/foundation.model"


def configuration(options: FitOptions, head: str | None = None) -> dict[str, Any]:
    """Return the arguments of ``mace_run_train``; files are named as they are in the folder.

    Parameters
    ----------
    options : FitOptions
        Every hyper-parameter.
    head : str, optional
        Head of the foundation.

    Returns
    -------
    dict
        By the names of MACE 0.3.16.
    """
    made: dict[str, Any] = {
        "name": options.name,
        "seed": options.seed,
        "work_dir": WORK,
        "train_file": TRAIN,
        "valid_file": VALID,
        "energy_key": store.ENERGY,
        "forces_key": store.FORCES,
        "stress_key": store.STRESS,
        "E0s": E0S,
        "device": options.device,
        "default_dtype": options.dtype,
        "batch_size": options.batch,
        "valid_batch_size": options.batch,
        "num_workers": 0,
        "max_num_epochs": options.epochs,
        "patience": options.patience,
        "lr": options.rate,
        "loss": options.loss,
        "energy_weight": options.energy_weight,
        "forces_weight": options.forces_weight,
        "stress_weight": options.stress_weight,
        "error_table": "PerAtomRMSE",
        "plot": False,
        "save_cpu": True,
        "keep_checkpoints": True,
        "save_all_checkpoints": True,
        "restart_latest": True,
    }
    if options.decay is None:
        made |= {"scheduler": "ReduceLROnPlateau", "scheduler_patience": options.plateau}
    else:
        made |= {"scheduler": "ExponentialLR", "lr_scheduler_gamma": options.decay}
    if options.average is not None:
        made |= {"ema": True, "ema_decay": options.average}
    if options.stage_two is not None:
        made |= {
            "start_stage_two": options.stage_two,
            "stage_two_lr": options.stage_two_rate,
            "stage_two_energy_weight": options.stage_two_energy_weight,
            "stage_two_forces_weight": options.forces_weight,
            "stage_two_stress_weight": options.stress_weight,
        }
    if options.foundation is None:
        return made | _architecture(options)
    return made | _continuation(options, head)


def _architecture(options: FitOptions) -> dict[str, Any]:
    return {
        "model": "MACE",
        "num_channels": options.channels,
        "max_L": options.max_L,
        "correlation": options.correlation,
        "max_ell": options.max_ell,
        "num_interactions": options.interactions,
        "r_max": options.cutoff,
        "num_radial_basis": options.bessel,
        "radial_MLP": str(list(options.radial)),
        **({"pair_repulsion": True} if options.repulsion else {}),
    }


def _continuation(options: FitOptions, head: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "foundation_model": FOUNDATION,
        "foundation_head": head,
        "foundation_model_elements": options.keep_elements,
        "multiheads_finetuning": options.multihead,
    }
    if options.multihead:
        # Without the last, MACE would put a rate and an average of its own in place of ours.
        made |= {
            "pt_train_file": REPLAY,
            "pt_valid_file": REPLAY_VALID,
            "force_mh_ft_lr": True,
        }
    return made
