"""VASP as a reference: a folder a frame, written for a cluster and read when it has run.

Settings are those of ``data/vasp.toml``. In each folder ``frame.json`` says which frame it is of
and in which order POSCAR has the atoms.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.io.vasp import write_vasp
from numpy.typing import NDArray

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import settings
from lbpsi_driver.training.calculators import LabelError, overtime

KEYS = {"command": str, "incar": dict, "sampling": dict, "potcar": dict}
COMMAND = "vasp_gam"
POTENTIALS = "VASP_PP_PATH"
FRAME = "frame.json"
OUTPUT = "vasp.out"
SCRIPT = "run.sh"
KPOINTS = "Gamma only\n0\nGamma\n1 1 1\n0 0 0\n"

_MOVED = 1e-3
"""Å: VASP's output must be that of this frame; OUTCAR has five decimals."""

_GRACE_S = 5.0
"""Time that a launcher has to end its processes before it is killed."""

_LOOK_S = 0.2

OUTCAR_END = "General timing and accounting informations for this job"
_OUTCAR_CONVERGED = "aborting loop because EDIFF is reached"


class NotReadyError(Exception):
    """VASP has not run in a folder, or not to its end: one line that says which."""


def write_inputs(folder: Path, atoms: ase.Atoms, digest: str, own: Path | None) -> None:
    """Write INCAR, KPOINTS, POSCAR and POTCAR, or a list of what POTCAR needs.

    Parameters
    ----------
    folder : Path
        The frame's own; made where it is missing.
    atoms : ase.Atoms
        The frame.
    digest : str
        Of the frame; a folder that has it already is left as it is.
    own : Path or None
        The user's settings in place of the shipped ones.

    Raises
    ------
    UsageError
        Bad settings, a POTCAR that is not under ``$VASP_PP_PATH``, no place to write.
    """
    table = settings.load("vasp", own, KEYS)
    order = order_of(atoms)
    names = potentials(table, atoms)
    with manifest.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if _frame_of(folder).get("digest") == digest:
            if not (folder / "POTCAR").is_file():
                write_potcar(folder, names)
            return
        for old in (FRAME, OUTPUT, "OUTCAR", "vasprun.xml"):
            (folder / old).unlink(missing_ok=True)
    write_poscar(folder, atoms)
    manifest.write_atomic(folder / "INCAR", incar(table["incar"]))
    manifest.write_atomic(folder / "KPOINTS", KPOINTS)
    write_potcar(folder, names)
    # Last, so that a folder that has it is whole.
    facts = {"frame_id": atoms.info.get("frame_id"), "digest": digest, "order": order.tolist()}
    manifest.write_atomic(folder / FRAME, json.dumps(facts) + "\n")


def order_of(atoms: ase.Atoms) -> NDArray[np.int64]:
    """Return the indices of the atoms in the order of POSCAR: by element."""
    return np.argsort(atoms.get_chemical_symbols(), kind="stable")


def write_poscar(folder: Path, atoms: ase.Atoms) -> None:
    """Write POSCAR, its atoms in the order of :func:`order_of`."""
    with manifest.writing(folder), (folder / "POSCAR").open("w", encoding="ascii") as stream:
        write_vasp(stream, atoms[order_of(atoms)], direct=False)


def potentials(table: dict[str, Any], atoms: ase.Atoms) -> list[str]:
    """Return the names of the potentials that POTCAR is joined of, from ``[potcar]``."""
    elements = dict.fromkeys(atoms[order_of(atoms)].get_chemical_symbols())
    return [table["potcar"].get(element, element) for element in elements]


def incar(values: dict[str, Any]) -> str:
    """Format INCAR.

    Parameters
    ----------
    values : dict
        Tags; booleans become ``.TRUE.`` and ``.FALSE.``, lists are joined by blanks.
    """

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return f".{str(value).upper()}."
        return " ".join(map(text, value)) if isinstance(value, list) else str(value)

    return "".join(f"{tag} = {text(value)}\n" for tag, value in values.items())


def write_script(folder: Path, own: Path | None) -> str:
    """Write the script that runs VASP in each folder that has no whole output.

    Parameters
    ----------
    folder : Path
        The folder of all frames' folders.
    own : Path or None
        The user's settings.

    Returns
    -------
    str
        The command that runs it.
    """
    command = settings.load("vasp", own, KEYS).get("command", COMMAND)
    script = f"""#!/bin/sh
# VASP in each folder that has no whole output; VASP='mpirun -n 32 vasp_gam' runs it otherwise.
cd "$(dirname "$0")" || exit 1
for frame in */; do
    grep -qs "{OUTCAR_END}" "$frame/OUTCAR" && continue
    [ -f "$frame/POTCAR" ] || {{ echo "$frame: no POTCAR, see POTCAR.spec" >&2; exit 1; }}
    (cd "$frame" && ${{VASP:-{command}}} > {OUTPUT} 2>&1) || echo "$frame: VASP failed" >&2
done
"""
    manifest.write_atomic(folder / SCRIPT, script)
    return f"sh {folder / SCRIPT}"


def run(
    folder: Path, command: str, *, stopped: threading.Event, minutes: float | None = None
) -> None:
    """Run VASP in a frame's folder, if there is no whole output.

    Parameters
    ----------
    folder : Path
        With all inputs.
    command : str
        For the shell.
    stopped : threading.Event
        Ends it once it is set.
    minutes : float, optional
        Longest time that it may take; default: any.

    Raises
    ------
    LabelError
        No POTCAR, or VASP did not come to its end in time.
    """
    if is_whole(folder):
        return
    if not (folder / "POTCAR").is_file():
        raise LabelError(f"no POTCAR; put one there as POTCAR.spec says, or set ${POTENTIALS}")
    with (folder / OUTPUT).open("wb") as stream:
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # With what it starts in turn it can be ended at once.
            process_group=0,
        )
    _wait(process, stopped, minutes)
    if not is_whole(folder):
        lines = (folder / OUTPUT).read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        raise LabelError(f"VASP ended with code {process.returncode} before its end: {last}")


def _wait(
    process: subprocess.Popen[bytes], stopped: threading.Event, minutes: float | None
) -> None:
    deadline = np.inf if minutes is None else time.monotonic() + 60 * minutes
    while process.poll() is None:
        if stopped.wait(_LOOK_S) or time.monotonic() > deadline:
            _end(process)
            if minutes is not None and not stopped.is_set():
                raise LabelError(f"VASP: {overtime(minutes)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=_GRACE_S)
    # A launcher that has ended may have left processes.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(folder: Path, atoms: ase.Atoms, digest: str) -> dict[str, Any]:
    """Read a frame's energy, forces and stress, from vasprun.xml or else OUTCAR.

    The energy is VASP's free energy (TOTEN), that whose derivatives the forces are.

    Parameters
    ----------
    folder : Path
        The frame's own.
    atoms : ase.Atoms
        The frame.
    digest : str
        Of the frame.

    Returns
    -------
    dict
        Energy (eV), forces (eV/Å) in the frame's order, stress (eV/Å3, Voigt, tension positive)
        and the ``version`` of VASP.

    Raises
    ------
    NotReadyError
        VASP has not run, or not to its end.
    LabelError
        It did not converge, or what is there is not of this frame.
    """
    facts = _frame_of(folder)
    if facts.get("digest") != digest:
        raise NotReadyError("its inputs are not written")
    xml, outcar = folder / "vasprun.xml", folder / "OUTCAR"
    if contains(xml, "</modeling>"):
        _refuse_unconverged_xml(xml)
        found = _parse(xml, "vasp-xml")
    elif contains(outcar, OUTCAR_END):
        if _OUTCAR_CONVERGED not in outcar.read_text(errors="replace"):
            raise LabelError("VASP: the electronic steps did not converge (OUTCAR)")
        found = _parse(outcar, "vasp-out")
    else:
        there = [path.name for path in (xml, outcar) if path.is_file()]
        raise NotReadyError(f"{' and '.join(there)} cut short" if there else "VASP has not run")
    label = _in_order(found, atoms, np.array(facts["order"]))
    return label | {"version": _version(xml if xml.is_file() else outcar)}


def _in_order(found: ase.Atoms, atoms: ase.Atoms, order: Any) -> dict[str, Any]:
    forces = np.empty((len(atoms), 3))
    if len(found) != len(atoms) or (found.numbers != atoms.numbers[order]).any():
        raise LabelError("VASP's output is of other atoms than the frame's")
    shift = (found.positions - atoms.positions[order]) @ np.linalg.inv(atoms.cell.array)
    moved = np.abs((shift - np.round(shift)) @ atoms.cell.array).max()
    if max(moved, np.abs(found.cell.array - atoms.cell.array).max()) > _MOVED:
        raise LabelError(f"VASP's output is of another frame: positions differ by {moved:.3f} Å")
    values = found.calc.results
    if not {"free_energy", "forces", "stress"} <= values.keys() or values["stress"] is None:
        raise LabelError("VASP's output lacks energy, forces or stress (ISIF = 2 gives stress)")
    forces[order] = values["forces"]
    return {
        "energy": float(values["free_energy"]),
        "forces": forces,
        "stress": np.array(values["stress"]),
    }


def _parse(path: Path, form: str) -> ase.Atoms:
    try:
        found = ase.io.read(path, index=-1, format=form, parallel=False)
    except Exception as err:
        raise LabelError(f"{path.name} can't be read: {' '.join(str(err).split())}") from err
    if not isinstance(found, ase.Atoms) or found.calc is None:
        raise LabelError(f"{path.name} has no results")
    return found


def _refuse_unconverged_xml(path: Path) -> None:
    text = path.read_text(errors="replace")
    limit = re.search(r'<i[^>]*name="NELM"[^>]*>\s*(\d+)', text)
    steps = text.rpartition("<calculation>")[2].count("<scstep>")
    # VASP writes no word of convergence here: at the limit it is not known to have converged.
    if limit is None or steps >= int(limit[1]):
        raise LabelError(f"VASP: not converged in {steps} electronic steps (NELM)")


def _version(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read(2000)
    found = re.search(r'name="version"[^>]*>\s*([^\s<]+)|^\s*vasp\.(\S+)', head, re.MULTILINE)
    return next(filter(None, found.groups())) if found else "of unknown version"


def write_potcar(folder: Path, names: list[str]) -> None:
    """Join POTCAR, or write a list of what it needs where ``$VASP_PP_PATH`` is not set.

    Raises
    ------
    UsageError
        A potential that is not there, no place to write.
    """
    root = os.environ.get(POTENTIALS)
    if not root:
        listed = "".join(f"potpaw_PBE/{name}/POTCAR\n" for name in names)
        head = f"# POTCAR is these, joined in this order (or set {POTENTIALS} and label again):\n"
        manifest.write_atomic(folder / "POTCAR.spec", head + listed)
        return
    content = b""
    for name in names:
        path = Path(root) / "potpaw_PBE" / name / "POTCAR"
        if not path.is_file():
            raise UsageError(
                f"{POTENTIALS}={root}: no potpaw_PBE/{name}/POTCAR in it; name another in [potcar]"
                " of [train.reference] settings"
            )
        content += path.read_bytes()
    manifest.write_atomic(folder / "POTCAR", content)
    (folder / "POTCAR.spec").unlink(missing_ok=True)


def _frame_of(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / FRAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts


def is_whole(folder: Path) -> bool:
    """Tell whether VASP has come to its end in a folder."""
    xml, outcar = folder / "vasprun.xml", folder / "OUTCAR"
    return contains(xml, "</modeling>") or contains(outcar, OUTCAR_END)


def contains(path: Path, mark: str) -> bool:
    """Tell whether a file is there and has a text."""
    return path.is_file() and mark in path.read_text(errors="replace")
