"""Frames on their way to a data set: their keys, how they are stored and read.

A frame is an extended XYZ record. Its ``info`` holds ``frame_id`` (unique: source and step),
``trajectory`` (frames of one are never split between sets), ``split``, ``temperature`` (K: the
thermostat's target, of our decks the momentary one; strained frames have none) and, where it has
labels, ``REF_energy`` (eV), ``REF_stress`` (eV/Å3, Voigt, tension positive, as in ASE) and array
``REF_forces`` (eV/Å): the keys that MACE reads.
"""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import ase
import ase.io
import numpy as np

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError

ID = "frame_id"
TRAJECTORY = "trajectory"
SPLIT = "split"
TEMPERATURE = "temperature"
STEP = "step"
ENERGY, FORCES, STRESS = "REF_energy", "REF_forces", "REF_stress"

DECIMALS = 5
"""Positions (Å) and forces (eV/Å) are stored to as many: labels are computed at what is stored."""


def write_frames(path: Path, frames: Sequence[ase.Atoms]) -> None:
    """Write frames as extended XYZ, compressed where the name ends in .xz or .gz; atomic.

    Parameters
    ----------
    path : Path
        The file.
    frames : sequence of ase.Atoms
        Info and arrays are kept, calculators are not.

    Raises
    ------
    UsageError
        Where it can't be written.
    """
    text = io.StringIO()
    for atoms in frames:
        bare = atoms.copy()
        bare.calc = None
        ase.io.write(text, bare, format="extxyz")
    manifest.write_atomic(path, _compress(path, text.getvalue().encode()))


def read_frames(path: Path) -> list[ase.Atoms]:
    """Read frames that :func:`write_frames` wrote, or any other extended XYZ.

    Raises
    ------
    UsageError
        Where the file can't be read or ends within a frame; the line names the frame.
    """
    try:
        text = _decompress(path).decode()
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as err:
        raise UsageError(f"{path}: {err}; expected an extended XYZ file, whole") from err
    frames: list[ase.Atoms] = []
    reader = ase.io.iread(io.StringIO(text), index=":", format="extxyz")
    while True:
        try:
            frames.append(_untouched(next(reader)))
        except StopIteration:
            return frames
        except Exception as err:
            raise UsageError(
                f"{path}: frame {len(frames)}: {err}; the file is cut short or no extended XYZ"
            ) from err


def whole_frames(path: Path) -> list[ase.Atoms]:
    """Read what is whole of a trajectory that is still being written, or was cut off.

    Parameters
    ----------
    path : Path
        Extended XYZ, not compressed; may be missing.
    """
    frames: list[ase.Atoms] = []
    if not path.is_file():
        return frames
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    at = 0
    while at < len(lines) and lines[at].strip().isdigit():
        end = at + int(lines[at]) + 2
        if end > len(lines) or not lines[end - 1].endswith("\n"):
            break
        block = io.StringIO("".join(lines[at:end]))
        frames.append(_untouched(ase.io.read(block, format="extxyz")))
        at = end
    return frames


def append_frame(path: Path, atoms: ase.Atoms) -> None:
    """Append one frame to a trajectory, in one write."""
    text = io.StringIO()
    bare = atoms.copy()
    bare.calc = None
    ase.io.write(text, bare, format="extxyz")
    with manifest.writing(path), path.open("a", encoding="utf-8") as stream:
        stream.write(text.getvalue())


def rounded(atoms: ase.Atoms) -> ase.Atoms:
    """Return a copy with positions as they are stored, wrapped into the cell."""
    copy: ase.Atoms = atoms.copy()
    copy.wrap()
    copy.positions = np.round(copy.positions, DECIMALS)
    copy.set_cell(np.round(copy.cell.array, 2 * DECIMALS - 2))
    return copy


def has_labels(atoms: ase.Atoms) -> bool:
    """Tell whether a frame carries energy, forces and stress."""
    return ENERGY in atoms.info and STRESS in atoms.info and FORCES in atoms.arrays


def counted(number: int, verb: str = "") -> str:
    """Write so many frames, and what they do: ``1 frame waits``, ``2 frames wait``."""
    noun, end = ("frame", "s") if number == 1 else ("frames", "")
    return f"{number} {noun} {verb}{end}" if verb else f"{number} {noun}"


def _untouched(found: ase.Atoms | list[ase.Atoms]) -> ase.Atoms:
    atoms = cast(ase.Atoms, found)
    # ASE moves what it takes for results into a calculator.
    atoms.calc = None
    return atoms


def _compress(path: Path, content: bytes) -> bytes:
    if path.suffix == ".xz":
        return lzma.compress(content)
    return gzip.compress(content, mtime=0) if path.suffix == ".gz" else content


def _decompress(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    return gzip.decompress(content) if path.suffix == ".gz" else content
