"""Dynamics by VASP itself: a folder a segment, written for a cluster and read when all have run.

Thousands of steps that each start anew would waste VASP's extrapolation of the wavefunctions, so
VASP runs a segment by its own integrator. Settings are ``[incar]`` of ``data/vasp.toml`` with
``[sampling]`` over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ase
import ase.io
import numpy as np

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import md, settings, vasp
from lbpsi_driver.training.options import MDSource, Reference, Segment

_KILOBAR = 1e-3


def refuse_ramps(segments: Sequence[Segment]) -> None:
    """Refuse segments whose volume changes while they run: VASP has no such dynamics.

    Raises
    ------
    UsageError
        Names the volumes.
    """
    for one in segments:
        if one.volume is not None and one.volume[0] != one.volume[1]:
            raise UsageError(
                f"volume = [{one.volume[0]:g}, {one.volume[1]:g}]: VASP holds the volume or the"
                " pressure; give several segments of constant volume, or leave volume out"
            )


def tags(segment: Segment, steps: int, timestep_fs: float) -> dict[str, Any]:
    """Return the tags of INCAR that a segment sets.

    Parameters
    ----------
    segment : Segment
        Temperatures (K) of the ramp, and the pressure (bar) where it names no volume.
    steps : int
        Its length.
    timestep_fs : float
        Time step, fs.
    """
    shared = {"NSW": steps, "POTIM": timestep_fs}
    shared |= {"TEBEG": segment.temperature[0], "TEEND": segment.temperature[1]}
    if segment.volume is not None:
        return shared | {"ISIF": 2}
    return shared | {"ISIF": 3, "PSTRESS": _KILOBAR * segment.pressure}


def write(
    folder: Path, atoms: ase.Atoms, source: MDSource, timestep_fs: float, reference: Reference
) -> str:
    """Write the inputs of all segments and the script that runs them one after the other.

    What has been written before is left as it is, but for a POTCAR that was missing.

    Parameters
    ----------
    folder : Path
        Of the segments' folders ``1``, ``2``, …
    atoms : ase.Atoms
        The cell to start from.
    source : MDSource
        Its segments.
    timestep_fs : float
        Time step, fs.
    reference : Reference
        Settings, and the command that the script runs by default.

    Returns
    -------
    str
        The command that runs them.

    Raises
    ------
    UsageError
        Bad settings, a POTCAR that is not under ``$VASP_PP_PATH``, no place to write.
    """
    table = settings.load("vasp", reference.settings, vasp.KEYS)
    names = vasp.potentials(table, atoms)
    steps = md.steps_of(source.segment, timestep_fs)
    command = f"sh {folder / vasp.SCRIPT}"
    if (folder / vasp.SCRIPT).is_file():
        for number in range(1, len(steps) + 1):
            if not (folder / str(number) / "POTCAR").is_file():
                vasp.write_potcar(folder / str(number), names)
        return command
    for number, (segment, length) in enumerate(zip(source.segment, steps, strict=True), 1):
        own = folder / str(number)
        with manifest.writing(own):
            own.mkdir(parents=True, exist_ok=True)
        values = table["incar"] | table["sampling"] | tags(segment, length, timestep_fs)
        friction = values.get("LANGEVIN_GAMMA")
        if isinstance(friction, int | float):
            values["LANGEVIN_GAMMA"] = [friction] * len(names)
        manifest.write_atomic(own / "INCAR", vasp.incar(values))
        manifest.write_atomic(own / "KPOINTS", vasp.KPOINTS)
        vasp.write_potcar(own, names)
    first = atoms.copy()
    if source.segment[0].volume is not None:
        scale = np.cbrt(source.segment[0].volume[0])
        first.set_cell(first.cell * scale, scale_atoms=True)
    vasp.write_poscar(folder / "1", first)
    run = reference.command or table.get("command", vasp.COMMAND)
    manifest.write_atomic(folder / vasp.SCRIPT, _script(source.segment, atoms, run))
    return command


def _script(segments: Sequence[Segment], atoms: ase.Atoms, command: str) -> str:
    # A negative number in POSCAR's second line is the volume that the cell is scaled to.
    volumes = [one.volume and f"-{one.volume[0] * atoms.get_volume():.8f}" for one in segments]
    calls = [f"segment {number} '{volume or ''}'" for number, volume in enumerate(volumes, 1)]
    return f"""#!/bin/sh
# VASP in each segment that has no whole output, each from the end of the one before;
# VASP='mpirun -n 32 vasp_gam' runs it otherwise.
cd "$(dirname "$0")" || exit 1
segment() {{
    grep -qs "{vasp.OUTCAR_END}" "$1/OUTCAR" && return
    [ -f "$1/POTCAR" ] || {{ echo "$1: no POTCAR, see POTCAR.spec" >&2; exit 1; }}
    if [ "$1" -gt 1 ]; then
        sed "${{2:+2s/.*/$2/}}" "$(($1 - 1))/CONTCAR" > "$1/POSCAR" || exit 1
    fi
    (cd "$1" && ${{VASP:-{command}}} > {vasp.OUTPUT} 2>&1)
    grep -qs "{vasp.OUTCAR_END}" "$1/OUTCAR" || {{ echo "$1: VASP failed" >&2; exit 1; }}
}}
""" + "".join(f"{call}\n" for call in calls)


def read(
    folder: Path, atoms: ase.Atoms, source: MDSource, timestep_fs: float, every: int
) -> list[ase.Atoms]:
    """Read the frames of all segments from their vasprun.xml.

    Parameters
    ----------
    folder : Path
        As of :func:`write`.
    atoms : ase.Atoms
        The cell that they started from.
    source : MDSource
        Its segments.
    timestep_fs : float
        Time step, fs.
    every : int
        Steps between two frames.

    Returns
    -------
    list of ase.Atoms
        In the order of the start's atoms, with step and target temperature (K); no labels.

    Raises
    ------
    vasp.NotReadyError
        A segment that has not run to its end.
    UsageError
        Output that can't be read, or is of other atoms.
    """
    back = np.argsort(vasp.order_of(atoms))
    found = []
    begin = 0
    lengths = md.steps_of(source.segment, timestep_fs)
    for number, (segment, length) in enumerate(zip(source.segment, lengths, strict=True), 1):
        # VASP's first step is where the segment starts, the last of the one before.
        for index, frame in enumerate(_steps(folder / str(number), length)):
            step = begin + index
            if step % every:
                continue
            if len(frame) != len(atoms) or (frame.numbers[back] != atoms.numbers).any():
                raise UsageError(f"{folder / str(number)}: VASP's output is of other atoms")
            target = float(np.interp(index / length, (0, 1), segment.temperature))
            bare = ase.Atoms(
                atoms.numbers, positions=frame.positions[back], cell=frame.cell, pbc=True
            )
            bare.info = {
                store.ID: f"{source.name}/{step}",
                store.TRAJECTORY: source.name,
                store.STEP: step,
                store.TEMPERATURE: target,
            }
            found.append(bare)
        begin += length
    return found


def _steps(folder: Path, steps: int) -> list[ase.Atoms]:
    xml = folder / "vasprun.xml"
    if not vasp.contains(xml, "</modeling>"):
        raise vasp.NotReadyError(f"{folder}: VASP has not run to its end")
    try:
        read = ase.io.read(xml, index=":", format="vasp-xml", parallel=False)
    except Exception as err:
        raise UsageError(f"{xml} can't be read: {' '.join(str(err).split())}") from err
    found = cast("list[ase.Atoms]", read)
    if len(found) < steps:
        raise UsageError(
            f"{xml}: {len(found)} of {steps} steps; delete the output in {folder} and run it again"
        )
    return found[:steps]
