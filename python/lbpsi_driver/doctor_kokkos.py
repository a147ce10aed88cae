"""Checks of a LAMMPS with KOKKOS: ``doctor --kokkos``.

Each is one function, as in :mod:`lbpsi_driver.doctor`; what the ``lmp`` is and does,
:class:`lbpsi_driver.machine_kokkos.KokkosLammps` finds out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lbpsi_driver import engine, potential, structure
from lbpsi_driver.config import UsageError
from lbpsi_driver.doctor import CHECKS as GENERAL
from lbpsi_driver.doctor import Checks, Finding, compare
from lbpsi_driver.machine import NO_MODEL, Forces, Machine, SkipError, need_loaded_model, quiet
from lbpsi_driver.machine_kokkos import (
    KK_PLUGIN,
    MODULES,
    STYLES,
    Help,
    KokkosLammps,
    Probe,
    fits_this_python,
    said,
    site_packages,
)
from lbpsi_driver.mliap import MLIAPError, import_torch, load

NEEDED = {
    "KOKKOS": "-D PKG_KOKKOS=on",
    "ML-IAP": "-D PKG_ML-IAP=on -D PKG_ML-SNAP=on -D MLIAP_ENABLE_PYTHON=on",
    "PYTHON": "-D PKG_PYTHON=on",
    "PLUGIN": "-D PKG_PLUGIN=on",
}
"""Packages that LAMMPS must have, and what of its configuration brings them."""

OLDEST_RELEASE = 20250204
"""The first release of LAMMPS that the styles on the device are written for."""

CUEQ_ENERGY_EV_PER_ATOM = 1e-4
CUEQ_FORCE_EV_PER_A = 1e-3
"""Largest differences of a model with cuEquivariance's kernels from the plain one in float32."""

MEMORY_SHARE = 0.9
"""Share of the memory from which on a run is at risk."""

_AS_PLUGIN = (
    "cmake -S . -B build -D LBPSI_KOKKOS=ON -D LAMMPS_SOURCE_DIR=<tree> -D LAMMPS_BUILD_DIR=<build>"
    f" in a checkout, and give the {KK_PLUGIN} that it makes as --plugin"
)
_IN_TREE = (
    "in a checkout: cmake -S . -B build -D LBPSI_KOKKOS=IN_TREE -D LAMMPS_SOURCE_DIR=<tree>,"
    " cmake --install build, then compile LAMMPS again"
)
_EXPORT = "python -m lbpsi_driver train export --model FILE.model"
_PYTHON_OF_MLIAP = "configure LAMMPS with -D MLIAP_ENABLE_PYTHON=on (it needs Cython)"

_GPU_AWARE = (
    (r"Turning off GPU-aware MPI", "load an MPI that was built with CUDA or ROCm (Open MPI)"),
    (r"Spectrum MPI '-gpu' flag", 'jsrun --smpiargs="-gpu"'),
    (r"MV2_USE_CUDA", "export MV2_USE_CUDA=1"),
    (
        r"Detected MPICH\. Disabling",
        "export MPICH_GPU_SUPPORT_ENABLED=1, where this MPICH was built with GPU support",
    ),
    (
        r"cannot determine if this is the case",
        "'-pk kokkos gpu/aware off' if runs end in segmentation faults",
    ),
)
"""Warnings by which LAMMPS tells that GPUs don't exchange directly, and what mends each."""

_TRIAL = (
    (
        r"Weights only load failed",
        "torch no longer loads what this LAMMPS loads without asking",
        "export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 in your jobs: it runs code from the model file",
    ),
    (
        r"GPU requested but tensor is on CPU",
        "the model was exported to run on GPUs alone, and this Kokkos runs on none",
        f"{_EXPORT}, which allows both",
    ),
    (
        r"wrong index for variant",
        "this LAMMPS fails to exchange features in float64",
        "--dtype float32, or a later release of LAMMPS",
    ),
    (
        r"cupy' is not defined|No module named 'cupy",
        "no cupy in the Python of LAMMPS",
        "pip install cupy-cuda12x (or as your CUDA is) into it",
    ),
    (
        r"requires ML-IAP with python support|No module named 'mliap_unified_couple",
        "its ML-IAP is without Python",
        _PYTHON_OF_MLIAP,
    ),
    (
        r"(?i)(?:CUDA|HIP) out of memory|bad alloc|Cannot allocate memory",
        "out of memory with 256 atoms",
        "end what else runs there, or take a smaller model",
    ),
)
"""Ways in which pair_style mliap unified fails: its words, ours, and the mending."""


def _lammps(machine: Machine) -> Finding:
    known = machine.kokkos.help
    found = f"{machine.kokkos.lmp}: LAMMPS {known.name}, {known.mpi}"
    if not known.apis:
        mend = "give an lmp with KOKKOS as --lmp, or leave --kokkos out for that of pip"
        return Finding("fail", f"{found}: without KOKKOS", mend)
    found += f"; Kokkos {known.kokkos} on {', '.join(known.apis)}"
    if known.release < OLDEST_RELEASE:
        return Finding("warn", found, "take LAMMPS of 4 Feb 2025 or later, as the styles do")
    return Finding("ok", found)


def _help(machine: Machine) -> Help:
    try:
        return machine.kokkos.help
    except UsageError as err:
        raise SkipError("there is no lmp to look at") from err


def _kokkos(machine: Machine) -> tuple[KokkosLammps, Help]:
    known = _help(machine)
    if not known.apis:
        raise SkipError("this LAMMPS is without KOKKOS")
    return machine.kokkos, known


def _probe(machine: Machine) -> Probe:
    _help(machine)
    try:
        probe = machine.kokkos.probe
    except UsageError as err:
        raise SkipError("the plugin that is named is not there") from err
    if probe.error:
        raise UsageError(f"it does not start: {probe.error}")
    return probe


def _packages(machine: Machine) -> Finding:
    known = _help(machine)
    missing = [name for name in NEEDED if name not in known.packages]
    if missing == ["PLUGIN"] and set(STYLES) <= _probe(machine).computes:
        missing = []
    if missing:
        return Finding(
            "fail",
            f"this LAMMPS is without {', '.join(missing)}",
            f"configure it with {' '.join(NEEDED[name] for name in missing)} and compile it again",
        )
    return Finding("ok", ", ".join(sorted(known.packages & set(NEEDED))))


def _way(machine: Machine) -> Finding:
    kokkos, _ = _kokkos(machine)
    probe = _probe(machine)
    if not probe.files:
        raise SkipError("it does not show what is in its process: a LAMMPS without command shell")
    if probe.kokkos_is_shared:
        return Finding("ok", f"in {probe.library}: a plugin fits, -D LBPSI_KOKKOS=ON")
    where = f"Kokkos is inside the executable {probe.files[0]}, no plugin is made for that"
    mend = f"{_IN_TREE}; or configure LAMMPS with -D BUILD_SHARED_LIBS=on"
    if not set(STYLES) <= probe.computes:
        return Finding("fail", f"{where}: the in-tree way applies", mend)
    if kokkos.plugin in probe.files:
        loaded = f"{where}: {kokkos.plugin.name} was loaded, but the in-tree way applies"
        return Finding("warn", loaded, mend)
    return Finding("ok", f"{where}; the styles are compiled into this LAMMPS")


def _plugin(machine: Machine) -> Finding:
    kokkos, known = _kokkos(machine)
    plugin = kokkos.plugin  # where it is named and missing, that is this check's finding
    probe = _probe(machine)
    missing = [style for style in STYLES if style not in probe.computes]
    if not missing:
        found, tree = f"compute {', '.join(STYLES)}, from", "the tree of this LAMMPS"
        if plugin is not None and (probe.in_tree or any(probe.refusal)):
            mend = "leave the plugin out: unset --plugin, LBPSI_KOKKOS_PLUGIN, LAMMPS_PLUGIN_PATH"
            return Finding("warn", f"{found} {tree}, and {plugin} besides", mend)
        return Finding("ok", f"{found} {plugin or tree}")
    none = f"no compute {', '.join(missing)}"
    build = _AS_PLUGIN if probe.kokkos_is_shared else _IN_TREE
    if plugin is None:
        return Finding("fail", f"{none}: no {KK_PLUGIN} is named nor in LAMMPS_PLUGIN_PATH", build)
    if "PLUGIN" not in known.packages:
        raise SkipError("this LAMMPS is without PLUGIN, and loads none")
    why, mend = probe.refusal
    return Finding("fail", f"{none}: {plugin}: {why or 'the reason is unknown'}", mend or build)


def _python(machine: Machine) -> Finding:
    known = _help(machine)
    if "PYTHON" not in known.packages:
        raise SkipError("this LAMMPS is without PYTHON")
    python = _probe(machine).python
    if not python:
        mend = "'lmp' with 'python NAME here' must work: see the manual on the package PYTHON"
        return Finding("fail", "the Python of this LAMMPS runs nothing", mend)
    name = f"Python {python['version']} of {python['prefix']}, inside LAMMPS"
    missing = {one: python[one]["error"] for one in python if isinstance(python[one], dict)}
    missing.pop("mace" if machine.options.potential else "", None)
    if missing:
        module, why = next(iter(missing.items()))
        return Finding("fail", f"{name}: no {module} ({why})", _bring(module, python))
    if known.on_gpu and not python["cuda"]:
        mend = "run doctor on a node with a GPU, or install a torch for its driver into that Python"
        return Finding("fail", f"{name}: its torch {python['torch']} sees no GPU", mend)
    return Finding("ok", f"{name}: torch {python['torch']}, mace {python['mace']}")


def _bring(module: str, python: dict[str, Any]) -> str:
    """Say how the Python inside LAMMPS comes to a module."""
    if module == "lammps.mliap":
        return "make install-python in the folder that LAMMPS was compiled in"
    if module in MODULES and fits_this_python(python):
        return f"export PYTHONPATH={site_packages()} in your jobs, for the packages of this Python"
    package = {"mace": "mace-torch", "cupy": "cupy-cuda12x"}.get(module, module)
    return f"{python['prefix']}/bin/python3 -m pip install {package}"


def _mpi(machine: Machine) -> Finding:
    kokkos, known = _kokkos(machine)
    ranks = machine.options.ranks
    if "STUBS" in known.mpi:
        mend = "configure LAMMPS with -D BUILD_MPI=on for more ranks than one"
        return Finding("warn" if ranks == 1 else "fail", "it was built without MPI", mend)
    done = kokkos.joined
    seen = re.findall(r"^LBPSI ranks (\d+)", done.stdout, re.MULTILINE)
    if done.returncode == 0 and seen == [str(ranks)]:
        return Finding("ok", f"{kokkos.launcher} joins {ranks} ranks of it, with Kokkos on")
    mend = f"put the mpirun of {known.mpi} first on PATH, or name it as LBPSI_KOKKOS_MPIRUN"
    if len(seen) > 1:
        found = f"{kokkos.launcher} makes {len(seen)} worlds of one rank: it is of another MPI"
        return Finding("fail", found, mend)
    found = f"{kokkos.launcher} -n {ranks} can't start it with {' '.join(kokkos.switches)}"
    mend = f"run doctor on a node as your jobs get, with its modules loaded; {mend}"
    return Finding("fail", f"{found} ({said(done)})", mend)


def _gpu_aware(machine: Machine) -> Finding:
    kokkos, known = _kokkos(machine)
    if not known.on_gpu:
        raise SkipError(f"this Kokkos runs on {', '.join(known.apis)}: no GPU exchanges anything")
    if machine.options.ranks == 1:
        raise SkipError("one rank exchanges nothing; give --ranks 2")
    done = kokkos.joined
    if "LBPSI ranks" not in done.stdout:
        raise SkipError("its ranks don't start")
    output = done.stdout + done.stderr
    for pattern, mend in _GPU_AWARE:
        told = re.search(rf"^WARNING: (.*{pattern}.*)", output, re.MULTILINE)
        if told:
            said_so = re.sub(r"\s*\(\S+:\d+\)", "", told[1]).strip()
            found = f"LAMMPS says '{said_so}': each exchange may go through the host"
            return Finding("warn", found, mend)
    return Finding("ok", f"on: {known.mpi} exchanges from GPU to GPU")


class Exported(NamedTuple):
    """What a model file for LAMMPS holds besides its weights."""

    dtype: str
    devices: tuple[str, ...]
    cueq: bool
    allow_cpu: bool
    force_cpu: bool


def read_exported(file: Path) -> Exported:
    """Read how a model was exported for ``pair_style mliap unified``.

    Parameters
    ----------
    file : Path
        An ML-IAP ``.pt``. Loading runs code from the file.

    Raises
    ------
    MLIAPError
        Where it is none, or can't be loaded here.
    """
    load(str(file))  # refuses what is no model, in our words
    torch = import_torch()
    devices: dict[str, None] = {}

    def note(storage: Any, location: str) -> Any:
        devices[location] = None
        return storage

    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        model = torch.load(file, map_location=note, weights_only=False)
    parts = model.model.modules() if hasattr(model, "model") else ()
    config = getattr(model, "config", None)
    return Exported(
        dtype=str(getattr(model, "dtype", "unknown")).removeprefix("torch."),
        devices=tuple(devices),
        cueq=any(type(part).__module__.startswith("cuequivariance") for part in parts),
        allow_cpu=getattr(config, "allow_cpu", True),
        force_cpu=getattr(config, "force_cpu", False),
    )


def _refuse_own_potential(machine: Machine) -> None:
    if machine.options.potential is not None:
        raise SkipError(NO_MODEL)


def _model_file(machine: Machine) -> Finding:
    _refuse_own_potential(machine)
    kokkos, known = _kokkos(machine)
    given = potential.resolve(machine.options.model).suffix == ".pt"
    try:
        exported = read_exported(kokkos.model)
    except MLIAPError as err:
        mend = "export it again from its .model, with the mace-torch that is to run it"
        return Finding("fail", str(err), mend)
    kernels = "with cuEquivariance" if exported.cueq else "without cuEquivariance"
    found = (
        f"{'' if given else 'as exported here: '}{exported.dtype}, {kernels},"
        f" tensors on {', '.join(exported.devices)}"
    )
    for bad, why, mend in _misfits(exported, known):
        if bad:
            return Finding("fail", f"{found}: {why}", mend)
    if exported.dtype != machine.options.dtype:
        return Finding("warn", found, f"{_EXPORT} --dtype {machine.options.dtype}")
    return Finding("ok", found)


def _misfits(file: Exported, known: Help) -> Iterator[tuple[bool, str, str]]:
    """List what of an exported model can't run on a LAMMPS: whether, why, and the mending."""
    own = f"this Kokkos runs on {', '.join(known.apis)}"
    cuda = any(device.startswith("cuda") for device in file.devices)
    mend = f"unset MACE_FORCE_CPU and {_EXPORT}: the file keeps what was set then"
    yield known.on_gpu and file.force_cpu, "made for the CPU (MACE_FORCE_CPU)", mend
    if known.on_gpu:
        return
    yield file.cueq, f"its kernels are CUDA's and {own}", f"{_EXPORT}, without --cueq"
    yield cuda, f"its tensors lie on a GPU and {own}", _EXPORT
    needs_gpu = not (file.allow_cpu or file.force_cpu)
    why = f"it refuses the CPU (made without MACE_ALLOW_CPU) and {own}"
    yield needs_gpu, why, f"{_EXPORT}, which allows both"


def _need_trial(machine: Machine) -> KokkosLammps:
    _refuse_own_potential(machine)
    kokkos, known = _kokkos(machine)
    for package in ("ML-IAP", "PYTHON"):
        if package not in known.packages:
            raise SkipError(f"this LAMMPS is without {package}")
    python = _probe(machine).python
    if not python or any(isinstance(python[name], dict) for name in MODULES):
        raise SkipError("the Python inside LAMMPS lacks what it needs")
    try:
        _ = kokkos.model
    except UsageError as err:
        raise SkipError("the model can't be loaded") from err
    return kokkos


def _agreement(machine: Machine) -> Finding:
    kokkos = _need_trial(machine)
    dtype = machine.options.dtype
    trial = kokkos.trial
    if trial.forces is None:
        python = kokkos.probe.python
        where = f"in Python {python['version']} of {python['prefix']}"
        for pattern, why, mend in _TRIAL:
            if re.search(pattern, trial.output):
                return Finding("fail", f"pair_style mliap unified {where}: {why}", mend)
        return Finding("fail", f"pair_style mliap unified {where}: {_reason(trial.output)}", _ALONE)
    if potential.resolve(machine.options.model).suffix == ".pt":
        finding = compare({dtype: trial.forces}, {dtype: _forces_of_file(kokkos)})
        return finding._replace(found=f"of the .pt without LAMMPS, {finding.found}")
    return compare({dtype: trial.forces}, {dtype: machine.ase_forces[dtype]})


_ALONE = "'pair_style mliap unified FILE.pt 0' must run in that lmp by itself"


def _reason(output: str) -> str:
    """Return the last exception of Python, which says more than LAMMPS's error after it."""
    raised = re.findall(r"^((?:\w+\.)*\w*(?:Error|Exception)\b: .*)$", output, re.MULTILINE)
    return raised[-1] if raised else engine.explain(output)


def _forces_of_file(kokkos: KokkosLammps, file: Path | None = None, device: str = "cpu") -> Forces:
    # It is slow to load, as all of the training's modules
    from lbpsi_driver.training.export import evaluate

    torch = import_torch()
    threads = torch.get_num_threads()
    with potential.default_dtype(kokkos.machine.options.dtype), quiet():
        model = load(str(file or kokkos.model), device=device, threads=threads)
        return evaluate(model, structure.read_cell(kokkos.machine.cell))


def _cueq(machine: Machine) -> Finding:
    need_loaded_model(machine)
    try:
        potential.refuse_cueq()
    except UsageError as err:
        raise SkipError(str(err).removeprefix("--cueq: ").partition(";")[0]) from err
    options, file = machine.options, machine.folder / "cueq.pt"
    source = potential.resolve(options.model)
    potential.export(source, file, dtype=options.dtype, head=options.head, cueq=True)
    plain = _forces_of_file(machine.kokkos, device="cuda")
    fast = _forces_of_file(machine.kokkos, file, device="cuda")
    energy = abs(fast.energy - plain.energy) / len(plain.forces)
    force = float(abs(fast.forces - plain.forces).max())
    found = (
        f"with its kernels the model differs by {1000 * energy:.2g} meV/atom and at most"
        f" {1000 * force:.2g} meV/Å, in {options.dtype}"
    )
    if energy <= CUEQ_ENERGY_EV_PER_ATOM and force <= CUEQ_FORCE_EV_PER_A:
        return Finding("ok", found)
    return Finding("fail", found, "export this model without --cueq")


def _memory(machine: Machine) -> Finding:
    kokkos = _need_trial(machine)
    if kokkos.trial.forces is None:
        raise SkipError("pair_style mliap unified does not run")
    if len(kokkos.trial.memory) < 2:
        mend = "end what else runs there, or take a smaller model"
        return Finding("fail", f"not measured: {_reason(kokkos.trial.output)}", mend)
    small, large = kokkos.trial.memory
    atoms = machine.options.atoms
    per_atom = (large.used - small.used) / (large.atoms - small.atoms)
    needed, total = small.used + per_atom * (atoms - small.atoms), large.total
    where = "the GPU" if kokkos.help.on_gpu else "the node"
    found = (
        f"{atoms} atoms on one rank: about {needed / 1e9:.3g} GB of {total / 1e9:.3g} GB of {where}"
        f" (measured: {small.used / 1e9:.3g} GB with {small.atoms} atoms and"
        f" {large.used / 1e9:.3g} GB with {large.atoms}: {per_atom / 1e6:.2g} MB an atom)"
    )
    if needed <= MEMORY_SHARE * total:
        return Finding("ok", found)
    most = int(large.atoms + (MEMORY_SHARE * total - large.used) / max(per_atom, 1.0))
    if most < 1:
        return Finding("warn", found, "end what else runs there, or take a smaller model")
    mend = f"at most {most} atoms a rank, each with a GPU of its own"
    if not kokkos.help.on_gpu:
        mend = f"at most {most} atoms a node"
    return Finding("warn", found, mend)


CHECKS: Checks = {
    "python": GENERAL["python"],
    "LAMMPS": ("the release, MPI and Kokkos of this LAMMPS", _lammps),
    "packages": (f"that LAMMPS has {', '.join(NEEDED)}", _packages),
    "Kokkos": ("whether a plugin can share LAMMPS's Kokkos, or the in-tree way applies", _way),
    "plugin": (f"that LAMMPS has compute {', '.join(STYLES)}", _plugin),
    "embedded Python": ("torch and MACE in the Python inside LAMMPS", _python),
    "MPI": ("that ranks of this LAMMPS join in one world, with Kokkos on", _mpi),
    "GPU-aware MPI": ("that ranks exchange from GPU to GPU", _gpu_aware),
    "torch": GENERAL["torch"],
    "model": GENERAL["model"],
    "model file": ("that the exported model fits this LAMMPS", _model_file),
    "mliap unified": ("energy, forces and stress of the model in LAMMPS", _agreement),
    "cuEquivariance": ("the model with cuEquivariance against without", _cueq),
    "float32 vs float64": GENERAL["float32 vs float64"],
    "memory": ("the memory that the atoms need", _memory),
    "folder": GENERAL["folder"],
}
"""Every check of a machine whose LAMMPS has KOKKOS."""
