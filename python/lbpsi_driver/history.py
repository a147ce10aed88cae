"""``history.dat`` and its companions: what a deck leaves while it runs, read back and cut.

The decks write ``history.dat`` (a row every ``thermo_every``), ``schedule.dat`` (a line a stage)
and ``trajectory.dump``, and every ``motif_every`` a row of ``motifs.dat`` and a block of
``rotations.dat`` and ``msd_motif.dat``, which :mod:`lbpsi_driver.motif_history` reads. After a
crash they may be ahead of the restart file that is gone on from.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

HISTORY = "history.dat"
SCHEDULE = "schedule.dat"
TRAJECTORY = "trajectory.dump"
MOTIFS = "motifs.dat"
ROTATIONS = "rotations.dat"
MSD_MOTIF = "msd_motif.dat"
MOTIF_FILES = (MOTIFS, ROTATIONS, MSD_MOTIF)

_TAIL_BYTES = 4096
_FRAME = b"ITEM: TIMESTEP\n"


@dataclass(frozen=True)
class Row:
    """One row of ``history.dat``: step, ps, K, g/cm3, bar, Å3, eV and the stage's name."""

    step: int
    time: float
    temperature: float
    density: float
    pressure: float
    volume: float
    potential_energy: float
    stage: str


@dataclass(frozen=True)
class History:
    """Columns of ``history.dat``, one entry a row; units as in :class:`Row`."""

    step: npt.NDArray[np.int64]
    time: npt.NDArray[np.float64]
    temperature: npt.NDArray[np.float64]
    density: npt.NDArray[np.float64]
    pressure: npt.NDArray[np.float64]
    volume: npt.NDArray[np.float64]
    potential_energy: npt.NDArray[np.float64]
    stage: npt.NDArray[np.str_]

    def mean(self, column: str, stage: str) -> float | None:
        """Average a column over a stage; None where the stage has no rows."""
        chosen = self.stage == stage
        return float(np.mean(getattr(self, column)[chosen])) if chosen.any() else None


def read_history(folder: Path) -> History:
    """Read ``history.dat`` of a run folder, also of one that was resumed by hand.

    Rows come in order of their steps; of a repeated step the last wins, a torn row is left out.

    Parameters
    ----------
    folder : Path
        The run folder.

    Returns
    -------
    History
        Its columns, empty where there is no file.
    """
    path = folder / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    by_step = {row.step: row for line in lines if (row := _parse(line))}
    rows = [by_step[step] for step in sorted(by_step)]
    return History(
        step=np.array([row.step for row in rows], dtype=np.int64),
        time=np.array([row.time for row in rows], dtype=np.float64),
        temperature=np.array([row.temperature for row in rows], dtype=np.float64),
        density=np.array([row.density for row in rows], dtype=np.float64),
        pressure=np.array([row.pressure for row in rows], dtype=np.float64),
        volume=np.array([row.volume for row in rows], dtype=np.float64),
        potential_energy=np.array([row.potential_energy for row in rows], dtype=np.float64),
        stage=np.array([row.stage for row in rows], dtype=np.str_),
    )


def last_row(folder: Path) -> Row | None:
    """Last whole row of ``history.dat`` without reading the rest; None where there is none."""
    try:
        with (folder / HISTORY).open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    return next((row for line in reversed(lines) if (row := _parse(line))), None)


def last_step(folder: Path) -> int | None:
    """Step at which the deck ends, from the head of ``schedule.dat``; None before it is written."""
    try:
        with (folder / SCHEDULE).open(encoding="utf-8") as stream:
            return int(stream.readline().rpartition("last_step")[2])
    except (OSError, ValueError):
        return None


def rewind(folder: Path, step: int) -> None:
    """Cut what was written after a restart file, so that a continuation writes nothing twice.

    Rows after ``step`` go; frames, blocks and stage lines from ``step`` on go too, since LAMMPS
    writes those of the step it starts from. At the deck's last step nothing is left to run and
    nothing is written again, so that the last frame and the last blocks stay.

    Parameters
    ----------
    folder : Path
        The run folder.
    step : int
        Step of the restart file that the run goes on from.
    """
    again = step + 1 if step == last_step(folder) else step
    _cut_lines(folder / HISTORY, 0, step + 1)
    _cut_lines(folder / MOTIFS, 0, step + 1)
    # No stage begins at the last step, so that here its line needs no exception.
    _cut_lines(folder / SCHEDULE, 1, step)
    _cut_frames(folder / TRAJECTORY, again)
    for name in (ROTATIONS, MSD_MOTIF):
        _cut_blocks(folder / name, again)


def _parse(line: str) -> Row | None:
    words = line.split()
    if len(words) != 8 or words[0].startswith("#"):
        return None
    try:
        time, temperature, density, pressure, volume, energy = map(float, words[1:7])
        return Row(int(words[0]), time, temperature, density, pressure, volume, energy, words[7])
    except ValueError:
        return None


def _cut_lines(path: Path, column: int, step: int) -> None:
    """Truncate a text file at its first torn line or line whose ``column`` is at least ``step``."""
    if not path.is_file():
        return
    kept = 0
    with path.open("rb") as stream:
        for line in stream:
            words = line.split()
            if not line.endswith(b"\n"):
                break
            if not line.startswith(b"#") and (len(words) <= column or int(words[column]) >= step):
                break
            kept += len(line)
    os.truncate(path, kept)


def _cut_frames(path: Path, step: int) -> None:
    """Truncate a dump at its first frame of at least ``step``; frames are sought from the end."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        end = len(text)
        while (start := text.rfind(_FRAME, 0, end)) >= 0:
            number = text[start + len(_FRAME) : start + len(_FRAME) + 24].partition(b"\n")
            if number[1] and int(number[0]) < step:
                break
            end = start
        kept = end if start >= 0 else 0
    os.truncate(path, kept)


def _cut_blocks(path: Path, step: int) -> None:
    """Truncate a file of ``fix ave/time mode vector`` at its first torn block or one of `step` on.

    A block is a line with its step and its number of rows, and the rows.
    """
    if not path.is_file():
        return
    kept = place = rows = 0
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            place += len(line)
            if rows > 0:
                rows -= 1
            elif not line.startswith(b"#"):
                first, number = map(int, line.split())
                if first >= step:
                    break
                rows = number
            if rows == 0:
                kept = place
    os.truncate(path, kept)
