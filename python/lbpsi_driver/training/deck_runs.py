"""Cells that our LAMMPS decks start from, and the frames that they leave."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import ase
import numpy as np

from lbpsi_driver import history, structure
from lbpsi_driver.config import UsageError
from lbpsi_driver.observables import trajectory as reader
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.options import Cell

STAGE = "stage"
"""Key of a frame's ``info``: the stage of the deck that it is of."""


def start_cell(cell: Cell, folder: Path) -> Path:
    """Return the file of a cell, packed where it names none."""
    if cell.data is not None:
        return cell.data
    with _in_words_of_the_run_file():
        return structure.build(cell.build_options(folder)).files["data"]


def elements_of(cell: Cell) -> set[str]:
    """Return the elements of a cell before anything is packed.

    Raises
    ------
    UsageError
        A file that can't be read, a composition that can't be made.
    """
    if cell.data is None:
        with _in_words_of_the_run_file():
            return set(structure.plan(cell.build_options(Path())).elements)
    if not cell.data.is_file():
        raise UsageError(f"data = {cell.data}: no such file")
    return set(structure.read_cell(cell.data).symbols)


def write_packing(cell: Cell, folder: Path) -> None:
    """Write the inputs of a cell's packing, where it is to be packed."""
    if cell.data is None:
        with _in_words_of_the_run_file():
            structure.build(cell.build_options(folder), dry_run=True)


@contextlib.contextmanager
def _in_words_of_the_run_file() -> Iterator[None]:
    """Turn flags of ``build`` in its errors into what a cell in the run file has for them."""
    try:
        yield
    except UsageError as err:
        text = str(err).replace(" or raise --rounding", " or count building units with units")
        text = text.replace("lower --density or --tolerance", "lower density")
        text = text.replace("with --tolerance", "at a tolerance of")
        text = text.replace("--tolerance", "a tolerance of")
        text = re.sub(r"--(composition|units|atoms|density) (?=\S+:|\d)", r"\1 = ", text)
        raise UsageError(re.sub(r"--(composition|units|atoms|density)", r"\1", text)) from err


def read_frames(folder: Path, timestep_fs: float, name: str) -> list[ase.Atoms]:
    """Read the frames that a deck left, with the stage and the momentary temperature of each.

    Parameters
    ----------
    folder : Path
        Run folder of the deck.
    timestep_fs : float
        Its time step, fs.
    name : str
        Name of the trajectory, part of each frame's id.

    Returns
    -------
    list of ase.Atoms
        Rounded as frames are stored, momenta and calculators aside; none of a deck that stopped
        before its first row of ``history.dat``.
    """
    path = folder / history.TRAJECTORY
    if not path.is_file() or path.stat().st_size == 0:
        return []
    rows = history.read_history(folder)
    if not len(rows.step):
        return []
    run = reader.read_lammps_dump(path, timestep_fs)
    frames = []
    for number, time in enumerate(run.times_ps):
        step = round(1e3 * time / timestep_fs)
        # A row at the end of a stage belongs to it, and so does a frame of that step.
        row = min(int(np.searchsorted(rows.step, step)), len(rows.step) - 1)
        atoms = ase.Atoms(
            run.elements, cell=run.cells[number], scaled_positions=run.fractional[number], pbc=True
        )
        atoms = store.rounded(atoms)
        atoms.info = {
            store.ID: f"{name}/{step}",
            store.TRAJECTORY: name,
            store.STEP: step,
            store.TEMPERATURE: float(rows.temperature[row]),
            STAGE: str(rows.stage[row]),
        }
        frames.append(atoms)
    return frames
