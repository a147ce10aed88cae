"""Settings and files of references.

The shipped settings of the DFT codes are ``data/vasp.toml`` and ``data/cp2k.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from lbpsi_driver import potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.training.options import Reference


def path_of(code: str, own: Path | None) -> Path:
    """Return the file of a code's settings: the user's own, or else the shipped one."""
    return own or Path(str(resources.files("lbpsi_driver") / "data" / f"{code}.toml"))


def files_of(reference: Reference) -> dict[str, Path]:
    """Return the files that labels depend on, by the reference's key for them.

    A model's is also that of a shipped name, behind which there may be another some day; SevenNet's
    names stand for files of a package, whose version is told beside the label.

    Raises
    ------
    UsageError
        No such model of MACE.
    """
    files = {} if reference.settings is None else {"settings": reference.settings}
    if reference.kind == "mace":
        files["model"] = potential.resolve(reference.model, "[train.reference] model =")
    elif reference.kind == "sevennet" and Path(reference.model).is_file():
        files["model"] = Path(reference.model)
    return files


def load(code: str, own: Path | None, keys: Mapping[str, type]) -> dict[str, Any]:
    """Read the settings of a code.

    Parameters
    ----------
    code : {'vasp', 'cp2k'}
        Whose shipped table is read where the user names none.
    own : Path or None
        The user's file in place of it.
    keys : mapping of str to type
        The keys that it may have, and what each must be; tables (``dict``) must be there.

    Raises
    ------
    UsageError
        A file that can't be read or is no TOML, a key that is none of ``keys``, a value of
        another type.
    """
    path = path_of(code, own)
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UsageError(
            f"[train.reference] settings = {path}: {err.strerror}; give a TOML file like the"
            f" shipped {code}.toml"
        ) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError(f"[train.reference] settings = {path}: {err}") from err
    for key in settings.keys() | {key for key, kind in keys.items() if kind is dict}:
        if key not in keys or not _is(settings.get(key), keys[key]):
            wanted = f"{keys[key].__name__}" if key in keys else f"one of {', '.join(keys)}"
            raise UsageError(f"[train.reference] settings = {path}: {key}: expected {wanted}")
    return settings


def _is(value: Any, kind: type) -> bool:
    """Tell whether a value is of a type; a whole number is a number too."""
    return isinstance(value, int | float if kind is float else kind)
