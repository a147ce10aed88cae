"""CP2K as a reference: keywords of ASE's calculator, from ``data/cp2k.toml`` or the user's file."""

from __future__ import annotations

from typing import Any

from ase.units import Rydberg

from lbpsi_driver.training import settings
from lbpsi_driver.training.options import Reference

_KEYS = {"command": str, "cutoff_Ry": float, "calculator": dict}


def order(reference: Reference) -> dict[str, Any]:
    """Return the command and the calculator's keywords; ``arguments`` of the reference win.

    Parameters
    ----------
    reference : Reference
        Of kind ``cp2k``.

    Returns
    -------
    dict
        ``command`` and ``arguments``, as the worker takes them.

    Raises
    ------
    UsageError
        A settings file that can't be read, or with keys that are none.
    """
    table = settings.load("cp2k", reference.settings, _KEYS)
    keywords = dict(table["calculator"])
    if "cutoff_Ry" in table:
        keywords["cutoff"] = table["cutoff_Ry"] * Rydberg
    return {
        "command": reference.command or table.get("command", "cp2k.psmp --shell"),
        "arguments": keywords | reference.arguments,
    }
