"""Labelled frames as a data set: joined from files, checked, split by trajectory.

The checks refuse what a fit would swallow in silence and answer with a bad potential.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import label_units, stress_sign, stress_units
from lbpsi_driver.training.frames import ENERGY, FORCES, ID, SPLIT, STRESS, TRAJECTORY
from lbpsi_driver.training.options import Doubts
from lbpsi_driver.training.pair_fit import fit_pairs

SPLITS = ("train", "valid", "test")

DUPLICATE_A = 1e-3
"""Atoms of two frames that are no further apart, Å, make them one frame."""

_FEWEST = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frames:
    """Labelled frames of one or several files.

    Attributes
    ----------
    atoms : tuple of ase.Atoms
        The frames, files one after the other.
    names : tuple of str
        How messages call each: file, index in it, and its id.
    """

    atoms: tuple[ase.Atoms, ...]
    names: tuple[str, ...]

    @property
    def elements(self) -> list[str]:
        """Elements of all frames, by atomic number."""
        numbers = {number for atoms in self.atoms for number in atoms.numbers.tolist()}
        return [ase.data.chemical_symbols[number] for number in sorted(numbers)]

    def of_split(self, split: str) -> Frames:
        """Return the frames of ``train``, ``valid`` or ``test``."""
        chosen = [i for i, atoms in enumerate(self.atoms) if atoms.info.get(SPLIT) == split]
        return Frames(tuple(self.atoms[i] for i in chosen), tuple(self.names[i] for i in chosen))


def read(paths: Sequence[Path]) -> Frames:
    """Read and join files of labelled frames; one without trajectories is its file's.

    Raises
    ------
    UsageError
        A file that can't be read or is cut short.
    """
    joined, names = [], []
    for path in paths:
        for number, atoms in enumerate(store.read_frames(path)):
            atoms.info.setdefault(TRAJECTORY, path.name)
            joined.append(atoms)
            names.append(_name(atoms, number, f"{path}: "))
    return Frames(tuple(joined), tuple(names))


def check(
    frames: Sequence[ase.Atoms],
    elements: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    doubts: Doubts = "refuse",
) -> None:
    """Refuse labelled frames that a model must not be fitted to or judged by.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        With labels, as ``training/frames.py`` names them.
    elements : sequence of str, optional
        Elements that the model knows.
    names : sequence of str, optional
        How messages call each frame; default: by its index.
    doubts : {'refuse', 'warn'}
        What to do about units and signs of stress that are only unlikely: physics may be odd.

    Raises
    ------
    UsageError
        One line that names the frame, what is wrong and how to mend it: labels that are missing
        or not finite, an element that the model lacks, frames or ids that are there twice, a
        trajectory in two splits, energies or forces in other units than those of most frames,
        energies or stresses in other units than forces, forces that nothing has in eV/Å, or
        forces or a stress of the wrong sign.
    """
    called = list(names or (_name(atoms, number) for number, atoms in enumerate(frames)))
    for atoms, name in zip(frames, called, strict=True):
        _refuse_bad_labels(atoms, name)
        _refuse_unknown(atoms, name, elements)
    _refuse_duplicates(frames, called)
    _refuse_divided_trajectories(frames, called)
    try:
        _refuse_unlikely(frames, called)
    except UsageError as err:
        if doubts == "refuse":
            raise UsageError(f"{err}; or --doubts warn, if they are right all the same") from err
        logger.warning("%s", err)


def _refuse_unlikely(frames: Sequence[ase.Atoms], names: Sequence[str]) -> None:
    if len(frames) < _FEWEST:
        if frames:
            logger.info("too few frames (%d) to check units and signs", len(frames))
        return
    counts = compositions(frames)
    label_units.refuse_odd_frames(frames, counts, names)
    pairs = fit_pairs(frames)
    stresses = np.array([stress_of(atoms) for atoms in frames])
    falls = 0.0
    if pairs is None:
        logger.info("too many elements to check units and signs by a pair potential")
    else:
        label_units.refuse_unlike_forces(frames, counts, names, pairs)
        stress_units.refuse_other_units(frames, stresses, names, pairs)
        falls = label_units.downhill(frames, counts, pairs)
    label_units.refuse_absurd_forces(frames, names)
    stress_sign.refuse_wrong(frames, counts, stresses, names, pairs, falls)


def refuse_unlearned_elements(valid: Frames, elements: Sequence[str]) -> None:
    """Refuse frames for validation that hold an element which no training frame holds.

    Raises
    ------
    UsageError
        One line that names the frame and the element.
    """
    for atoms, name in zip(valid.atoms, valid.names, strict=True):
        if lacking := sorted(set(atoms.symbols) - set(elements)):
            held = ", ".join(lacking)
            raise UsageError(
                f"{name}: is for validation and holds {held}, but no training frame holds {held}:"
                f" give the trajectories their split, some with {held} split=train, or add"
                " trajectories"
            )


def split(frames: Frames, share: float, seed: int) -> Frames:
    """Give each frame its split; trajectories that name none are drawn, never single frames.

    Parameters
    ----------
    frames : Frames
        Frames with a trajectory, and maybe a split.
    share : float
        Share of the frames that are for validation where none are yet.
    seed : int
        Seed of the draw.

    Returns
    -------
    Frames
        Copies, each with a split.

    Raises
    ------
    UsageError
        An unknown split, or too few trajectories to divide.
    """
    given: dict[str, str] = {}
    for atoms, name in zip(frames.atoms, frames.names, strict=True):
        if SPLIT not in atoms.info:
            continue
        if atoms.info[SPLIT] not in SPLITS:
            raise UsageError(f"{name}: split={atoms.info[SPLIT]}; one of: {', '.join(SPLITS)}")
        given[str(atoms.info[TRAJECTORY])] = str(atoms.info[SPLIT])
    sizes: dict[str, int] = defaultdict(int)
    for atoms in frames.atoms:
        sizes[str(atoms.info[TRAJECTORY])] += 1
    chosen = {name: given.get(name, "train") for name in sizes}
    if "valid" not in chosen.values():
        free = [name for name, where in chosen.items() if where == "train"]
        chosen |= dict.fromkeys(_drawn(free, sizes, share, seed), "valid")
    if "train" not in chosen.values():
        raise UsageError("no frame is for training; give split=train to some in the data")
    copies = [atoms.copy() for atoms in frames.atoms]
    for atoms in copies:
        atoms.info[SPLIT] = chosen[str(atoms.info[TRAJECTORY])]
    return Frames(tuple(copies), frames.names)


def stress_of(atoms: ase.Atoms) -> NDArray[np.float64]:
    """Return the labelled stress, stored in six components or nine; Voigt, eV/Å3."""
    stress = np.asarray(atoms.info[STRESS], dtype=float)
    if stress.shape == (6,):
        return stress
    return np.asarray(full_3x3_to_voigt_6_stress(stress.reshape(3, 3)))


def compositions(
    frames: Sequence[ase.Atoms], numbers: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Count the atoms of each element.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        F frames.
    numbers : sequence of int, optional
        Atomic numbers that are counted; default: all that occur, in order.

    Returns
    -------
    ndarray, shape (F, E)
        Numbers of atoms.
    """
    if numbers is None:
        numbers = np.unique(np.concatenate([atoms.numbers for atoms in frames])).tolist()
    return np.array([[np.sum(atoms.numbers == z) for z in numbers] for atoms in frames], float)


def _name(atoms: ase.Atoms, number: int, prefix: str = "") -> str:
    own = f" ({atoms.info[ID]})" if ID in atoms.info else ""
    return f"{prefix}frame {number}{own}"


def _drawn(free: list[str], sizes: dict[str, int], share: float, seed: int) -> list[str]:
    """Draw trajectories until they hold the share of the frames; at least one, never all."""
    if len(free) < 2:
        raise UsageError(
            "no frame is for validation, and there are not two trajectories to divide: a frame's"
            " neighbours in time must not be in the other set; give frames of another trajectory,"
            " or split=train and split=valid in the data"
        )
    wanted = share * sum(sizes[name] for name in free)
    drawn: list[str] = []
    for name in np.random.default_rng(seed).permutation(sorted(free))[:-1]:
        drawn.append(str(name))
        if sum(sizes[one] for one in drawn) >= wanted:
            break
    return drawn


def _refuse_bad_labels(atoms: ase.Atoms, name: str) -> None:
    missing = [
        key
        for key, found in (
            (ENERGY, ENERGY in atoms.info),
            (FORCES, FORCES in atoms.arrays),
            (STRESS, STRESS in atoms.info),
        )
        if not found
    ]
    if missing:
        raise UsageError(f"{name}: has no {', '.join(missing)}; label it or leave it out")
    if np.size(atoms.info[STRESS]) not in (6, 9) or np.shape(atoms.arrays[FORCES])[1:] != (3,):
        raise UsageError(
            f"{name}: {STRESS} has {np.size(atoms.info[STRESS])} components and {FORCES} the shape"
            f" {np.shape(atoms.arrays[FORCES])}; expected 6 or 9, and three an atom"
        )
    parts = {
        "positions": atoms.positions,
        "cell": atoms.cell.array,
        ENERGY: atoms.info[ENERGY],
        FORCES: atoms.arrays[FORCES],
        STRESS: atoms.info[STRESS],
    }
    for key, values in parts.items():
        if not np.all(np.isfinite(np.asarray(values, dtype=float))):
            raise UsageError(f"{name}: {key} is not finite; label it again or leave it out")
    if not abs(atoms.cell.volume) > 0:
        raise UsageError(f"{name}: has no cell, so its stress means nothing; leave it out")


def _refuse_unknown(atoms: ase.Atoms, name: str, elements: Sequence[str] | None) -> None:
    unknown = sorted(set(atoms.symbols) - set(elements or atoms.symbols))
    if unknown:
        raise UsageError(
            f"{name}: holds {', '.join(unknown)}, which the model lacks; it knows"
            f" {', '.join(elements or ())}: leave the frame out or take another model"
        )


def _refuse_duplicates(frames: Sequence[ase.Atoms], names: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for number, atoms in enumerate(frames):
        if ID not in atoms.info:
            continue
        first = seen.setdefault(str(atoms.info[ID]), number)
        if first != number:
            raise UsageError(
                f"{names[number]}: has the {ID} of {names[first]}; give each source a name of its"
                " own, or leave one out"
            )
    for first, second in _pairs_alike(frames):
        raise UsageError(
            f"{names[second]}: has the atoms, cell and positions of {names[first]}; leave one out"
        )


def _pairs_alike(frames: Sequence[ase.Atoms]) -> Iterator[tuple[int, int]]:
    """Find frames that are the same but for whole cells; candidates come from a fingerprint."""
    by_atoms: dict[bytes, list[int]] = defaultdict(list)
    for number, atoms in enumerate(frames):
        by_atoms[atoms.numbers.tobytes()].append(number)
    for group in by_atoms.values():
        scaled = [frames[i].cell.scaled_positions(frames[i].positions) for i in group]
        waves = [np.exp(2j * np.pi * positions).mean(axis=0) for positions in scaled]
        prints = [
            np.concatenate([frames[i].cell.array.ravel(), wave.real, wave.imag])
            for i, wave in zip(group, waves, strict=True)
        ]
        for i, j in sorted(cKDTree(prints).query_pairs(10 * DUPLICATE_A)):
            apart = scaled[i] - scaled[j]
            apart -= np.round(apart)
            cells = frames[group[i]].cell.array, frames[group[j]].cell.array
            if (
                np.abs(cells[0] - cells[1]).max() < DUPLICATE_A
                and np.linalg.norm(apart @ cells[0], axis=1).max() < DUPLICATE_A
            ):
                yield group[i], group[j]


def _refuse_divided_trajectories(frames: Sequence[ase.Atoms], names: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for number, atoms in enumerate(frames):
        if SPLIT not in atoms.info or TRAJECTORY not in atoms.info:
            continue
        before = first.setdefault(str(atoms.info[TRAJECTORY]), number)
        if frames[before].info[SPLIT] != atoms.info[SPLIT]:
            raise UsageError(
                f"{names[number]}: is for {atoms.info[SPLIT]}, but {names[before]} of the same"
                f" trajectory {atoms.info[TRAJECTORY]} is for {frames[before].info[SPLIT]}; frames"
                " of a trajectory are too alike to be in two sets: give them one split"
            )
