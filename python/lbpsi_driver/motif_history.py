"""What the decks write of motifs while they run, read back, and the variables that ask for it.

``motifs.dat`` holds a row every ``motif_every``: step, time, temperature and the number of formers
in each class. ``rotations.dat`` (by ``compute kabsch``) and ``msd_motif.dat`` (by ``compute
msd/motif``) hold a block as often, a row a class, counting from the start of the last stage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbpsi_driver.config import DynamicsOptions, UsageError, parse_bond
from lbpsi_driver.history import MOTIFS, MSD_MOTIF, ROTATIONS
from lbpsi_driver.observables.motif_series import N_FORMER_CLASSES
from lbpsi_driver.observables.motifs import CLASS_NAMES, MotifFinder
from lbpsi_driver.observables.trajectory import Floats, Integers

_FIRST_COLUMNS = ("step", "time_ps", "temp_K")
_ROTATION_COLUMNS = 6
_MSD_COLUMNS = 7

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MotifHistory:
    """Rows of ``motifs.dat``, in order of their steps; R rows.

    Attributes
    ----------
    step : ndarray of int, shape (R,)
        Steps.
    time_ps : ndarray, shape (R,)
        Times, ps.
    temperature_K : ndarray, shape (R,)
        Temperatures, K.
    counts : ndarray, shape (R, 11)
        Formers in each class of formers, in the order of the classes.
    """

    step: Integers
    time_ps: Floats
    temperature_K: Floats
    counts: Floats

    @property
    def fractions(self) -> Floats:
        """Share of the formers in each class, shape (R, 11)."""
        shares: Floats = self.counts / self.counts.sum(axis=1, keepdims=True)
        return shares

    def between(self, first_ps: float, last_ps: float) -> MotifHistory:
        """Choose the rows of a span of time, ends included."""
        slack = 1e-6 * max(1.0, abs(last_ps))
        kept = (self.time_ps >= first_ps - slack) & (self.time_ps <= last_ps + slack)
        return MotifHistory(
            self.step[kept], self.time_ps[kept], self.temperature_K[kept], self.counts[kept]
        )


@dataclass(frozen=True)
class Blocks:
    """Blocks of ``rotations.dat`` or ``msd_motif.dat``, in order of their steps; R blocks.

    Attributes
    ----------
    step : ndarray of int, shape (R,)
        Steps.
    values : ndarray, shape (R, C, K)
        A row a class, without its number; columns as in :func:`read_rotations` and
        :func:`read_msd`.
    """

    step: Integers
    values: Floats

    def between(self, first: int, last: int) -> Blocks:
        """Choose the blocks of a span of steps, ends included."""
        kept = (self.step >= first) & (self.step <= last)
        return Blocks(self.step[kept], self.values[kept])


def absent(elements: Iterable[str]) -> str | None:
    """Why a set of elements has no motifs; None where it has.

    Parameters
    ----------
    elements : iterable of str
        Chemical symbols.
    """
    try:
        MotifFinder(sorted(set(elements)))
    except UsageError as err:
        return str(err)
    return None


def variables(options: DynamicsOptions, elements: Sequence[str]) -> dict[str, str]:
    """Variables of the decks for motifs.

    Parameters
    ----------
    options : DynamicsOptions
        Options of the verb.
    elements : sequence of str
        Elements of the atom types.

    Returns
    -------
    dict of str to str
        `motifs` is no where the user wants none, or the elements have none.
    """
    why = absent(elements)
    if options.motifs and why is not None:
        logger.info("motifs are left out: %s", why)
    wanted = options.motifs and why is None
    asked = {"motifs": "yes" if wanted else "no", "motif_every": f"{options.motif_every:.12g}"}
    words = [f"bond {a} {b} {r:.12g}" for a, b, r in map(parse_bond, options.bond)]
    words += [] if options.chain is None else [f"chain {options.chain}"]
    return asked | ({"motif_keywords": " ".join(words)} if words else {})


def read_motifs(folder: Path) -> MotifHistory | None:
    """Read ``motifs.dat`` of a run folder, also of one that was resumed by hand.

    Of a repeated step the last row wins; a torn row is left out.

    Parameters
    ----------
    folder : Path
        The run folder.

    Returns
    -------
    MotifHistory or None
        None where there is no file, or no row in it.

    Raises
    ------
    UsageError
        Columns that are no classes of this version.
    """
    path = folder / MOTIFS
    if not path.is_file():
        return None
    rows: dict[int, list[float]] = {}
    width = len(_FIRST_COLUMNS) + N_FORMER_CLASSES
    for line in _whole_lines(path):
        words = line.split()
        if words[:2] == ["#", "step"]:
            _check_header(path, words[1:])
        elif len(words) == width and not line.startswith("#"):
            try:
                rows[int(words[0])] = [float(word) for word in words[1:]]
            except ValueError:
                continue
    if not rows:
        return None
    steps = sorted(rows)
    table = np.array([rows[step] for step in steps])
    return MotifHistory(np.array(steps), table[:, 0], table[:, 1], table[:, 2:])


def header() -> str:
    """First line of ``motifs.dat``: classes by code and name."""
    names = (
        f"{code}:{name.replace(' ', '_')}"
        for code, name in enumerate(CLASS_NAMES[:N_FORMER_CLASSES], start=1)
    )
    return " ".join(("#", *_FIRST_COLUMNS, *names))


def read_rotations(folder: Path) -> Blocks | None:
    """Read ``rotations.dat``, the rotations of units since the start of the last stage.

    Parameters
    ----------
    folder : Path
        The run folder.

    Returns
    -------
    Blocks or None
        Rows: the 11 classes of formers. Columns: units whose angle is known, mean, root mean square
        and largest angle in degrees, broken units, exchanges of ligands so far. None where there is
        no file, or no block in it.
    """
    return _read_blocks(folder / ROTATIONS, N_FORMER_CLASSES, _ROTATION_COLUMNS)


def read_msd(folder: Path) -> Blocks | None:
    """Read ``msd_motif.dat``, squared displacements since the start of production.

    Parameters
    ----------
    folder : Path
        The run folder.

    Returns
    -------
    Blocks or None
        Rows: all 13 classes. Columns: ions in the class at the origin, their MSD and its x, y and z
        in Å2, ions of them that have never left it, their MSD in Å2. None where there is no file,
        or no block in it.
    """
    return _read_blocks(folder / MSD_MOTIF, len(CLASS_NAMES), _MSD_COLUMNS)


def _whole_lines(path: Path) -> list[str]:
    """Lines of a file, without a last one whose end isn't written yet."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _check_header(path: Path, words: list[str]) -> None:
    wanted = header().split()[1:]
    for word, expected in zip([*words, *[""] * len(wanted)], wanted, strict=False):
        if word != expected:
            raise UsageError(
                f"{path}: column '{word}' where '{expected}' was expected: written by another "
                "version, whose classes differ; give --no-motifs"
            )


def _read_blocks(path: Path, rows: int, columns: int) -> Blocks | None:
    """Read whole blocks of a ``fix ave/time mode vector``; of a repeated step the last wins."""
    if not path.is_file():
        return None
    table = [line.split() for line in _whole_lines(path) if not line.startswith("#")]
    blocks: dict[int, list[list[float]]] = {}
    for place, words in enumerate(table):
        if len(words) != 2:
            continue
        block = table[place + 1 : place + 1 + rows]
        if len(block) == rows and all(len(row) == columns + 1 for row in block):
            blocks[int(words[0])] = [[float(word) for word in row[1:]] for row in block]
    if not blocks:
        return None
    steps = sorted(blocks)
    return Blocks(np.array(steps), np.array([blocks[step] for step in steps]))
