"""A LAMMPS with KOKKOS as ``doctor --kokkos`` sees it: what it says, loads and computes.

Nothing is guessed from how it was built: the ``lmp`` itself is run, and its answers are read.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lbpsi_driver import engine, potential, structure
from lbpsi_driver.config import UsageError
from lbpsi_driver.machine import (
    DECK,
    FORCES_LIMIT_S,
    LAUNCH_LIMIT_S,
    Forces,
    Machine,
    SkipError,
    execute,
    last_line,
    need_loaded_model,
    read_forces,
)

KK_PLUGIN = "lbpsikkplugin.so"
STYLES = ("kabsch/kk", "motif/kk", "msd/motif/kk")
"""Our computes on the device."""
MODULES = ("torch", "mace", "lammps.mliap")
"""What the Python inside LAMMPS needs for ``pair_style mliap unified``."""
LAUNCHERS = ("mpirun", "srun")

_PACKAGE = ("kokkos", "newton", "on", "neigh", "half")
_GPU_APIS = ("CUDA", "HIP", "SYCL")
_TRIAL_LIMIT_S = 2 * FORCES_LIMIT_S
_REPLICAS = "2 2 1"


@dataclass(frozen=True)
class Help:
    """What ``lmp -h`` says.

    Attributes
    ----------
    name : str
        Release as LAMMPS writes it, as ``4 Feb 2025``.
    release : int
        The same as a number, as 20250204; 0 where it is no date.
    packages : frozenset of str
        Installed packages.
    apis : tuple of str
        What Kokkos runs on, as CUDA, OpenMP, Serial; none without KOKKOS.
    kokkos : str
        Version of Kokkos.
    mpi : str
        The MPI that it is linked to.
    """

    name: str
    release: int
    packages: frozenset[str]
    apis: tuple[str, ...]
    kokkos: str
    mpi: str

    @property
    def on_gpu(self) -> bool:
        """Whether its Kokkos runs on GPUs."""
        return any(api in _GPU_APIS for api in self.apis)


def read_help(text: str) -> Help:
    """Read what ``lmp -h`` printed.

    Raises
    ------
    ValueError
        Where it is not the help of LAMMPS.
    """
    name = re.search(r"Massively Parallel Simulator - (\d+ \w+ \d{4})(.*)", text)
    packages = re.search(r"^Installed packages:\s+(.*?)\n\s*\n", text, re.MULTILINE | re.DOTALL)
    if name is None or packages is None:
        raise ValueError("not the help of LAMMPS")
    apis = re.search(r"^KOKKOS package API:(.*)$", text, re.MULTILINE)
    kokkos = re.search(r"^Kokkos library version:\s*(\S+)", text, re.MULTILINE)
    mpi = re.search(r"^(MPI v.*)$", text, re.MULTILINE)
    try:
        release = int(datetime.strptime(name[1], "%d %b %Y").strftime("%Y%m%d"))
    except ValueError:
        release = 0
    return Help(
        name=(name[1] + name[2]).strip(),
        release=release,
        packages=frozenset(packages[1].split()),
        apis=tuple(apis[1].split()) if apis else (),
        kokkos=kokkos[1] if kokkos else "",
        mpi=" ".join(mpi[1].split()) if mpi else "an MPI that it does not name",
    )


@dataclass(frozen=True)
class Probe:
    """What an ``lmp`` has in its process when it has started.

    Attributes
    ----------
    error : str
        Why it could not be started; nothing else holds then.
    computes : frozenset of str
        Compute styles, those of plugins among them.
    files : tuple of Path
        Executable and libraries in its memory.
    refusal : tuple of str
        Why the plugin was not loaded, and how that is mended; empty strings where it was.
    in_tree : bool
        Whether LAMMPS has the styles in its own tree, beside those of the plugin.
    python : dict
        ``version`` and ``prefix`` of the Python in it, and by name of a module its version or
        ``{"error": why it can't be imported}``; empty without PYTHON.
    """

    error: str = ""
    computes: frozenset[str] = frozenset()
    files: tuple[Path, ...] = ()
    refusal: tuple[str, str] = ("", "")
    in_tree: bool = False
    python: dict[str, Any] = field(default_factory=dict)

    @property
    def library(self) -> Path | None:
        """The shared library that holds LAMMPS; None where the executable does."""
        return next((path for path in self.files if path.name.startswith("liblammps")), None)

    @property
    def kokkos_is_shared(self) -> bool:
        """Whether a plugin can share the Kokkos of this LAMMPS."""
        if self.library is None:
            return False
        apart = any(path.name.startswith("libkokkoscore") for path in self.files)
        return apart or _holds(self.library, b"Kokkos10initialize")


def _holds(library: Path, symbol: bytes) -> bool:
    with library.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
        return m.find(symbol) >= 0


@dataclass(frozen=True)
class Memory:
    """Peak of memory of one rank.

    Attributes
    ----------
    atoms : int
        Atoms in its cell.
    used, total : float
        Its peak, and what there is on the GPU or else on the node, bytes.
    """

    atoms: int
    used: float
    total: float


@dataclass(frozen=True)
class Trial:
    """One start of ``pair_style mliap unified``: its forces and its memory at two sizes.

    Attributes
    ----------
    output : str
        All that LAMMPS wrote.
    forces : Forces or None
        None where it failed.
    memory : tuple of Memory
        By ascending number of atoms.
    """

    output: str
    forces: Forces | None = None
    memory: tuple[Memory, ...] = ()


_PROBE_DECK = """
info styles compute
shell "cat /proc/$PPID/maps"
"""

# No blank lines: they would end the definition.
_PYTHON_DECK = '''
python lbpsi_probe here """
def lbpsi_probe():
    import importlib, json, sys
    found = {{"version": sys.version.split()[0], "prefix": sys.prefix}}
    for name in {modules}:
        try:
            module = importlib.import_module(name)
            found[name] = str(getattr(module, "__version__", "there"))
        except BaseException as err:
            found[name] = {{"error": type(err).__name__ + ": " + str(err)}}
    if isinstance(found["torch"], str):
        found["cuda"] = bool(sys.modules["torch"].cuda.is_available())
    print("LBPSI python " + json.dumps(found), flush=True)
"""
python lbpsi_probe invoke
'''

# Outside torch there are Kokkos's arrays and the context of CUDA, which mem_get_info knows of.
_MEMORY_DECK = '''
python lbpsi_memory here """
def lbpsi_memory(atoms):
    import json, os, resource
    if {on_gpu}:
        from torch import cuda
        free, total = cuda.mem_get_info()
        used = cuda.max_memory_allocated() + total - free - cuda.memory_reserved()
    else:
        used = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    print("LBPSI memory " + json.dumps([atoms, used, total]), flush=True)
""" input 1 v_lbpsi_atoms format i
variable lbpsi_atoms equal atoms
python lbpsi_memory invoke
undump forces
replicate {replicas}
run 0
python lbpsi_memory invoke
'''

_MPI_DECK = """
print "LBPSI ranks $(extract_setting(world_size):%.0f)"
"""


@dataclass(frozen=True)
class KokkosLammps:
    """The LAMMPS with KOKKOS as one call of ``doctor`` sees it.

    Attributes
    ----------
    machine : Machine
        The options, the scratch folder and the model.
    environment : mapping of str to str
        Variables that LAMMPS runs with: those of before this process imports MACE, which sets some
        that a job would then lack.
    """

    machine: Machine
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @cached_property
    def lmp(self) -> Path:
        """The ``lmp`` to check.

        Raises
        ------
        UsageError
            The one that is named is no program, or none on PATH has KOKKOS.
        """
        named = {"--lmp": self.machine.options.lmp, "LBPSI_KOKKOS_LMP": _from_environment("LMP")}
        for source, path in named.items():
            if path is not None:
                found = shutil.which(path)
                if found is None:
                    raise UsageError(f"{source} {path}: no such program; give an lmp with KOKKOS")
                return Path(found).absolute()
        for folder in os.get_exec_path():
            found = shutil.which("lmp", path=folder)
            if found is not None and "KOKKOS" in _packages(Path(found)):
                return Path(found).absolute()
        raise UsageError(
            "no lmp on PATH has the package KOKKOS; give one as --lmp FILE or LBPSI_KOKKOS_LMP,"
            " or load its module"
        )

    @cached_property
    def help(self) -> Help:
        """What it says about itself.

        Raises
        ------
        UsageError
            Where it does not run.
        """
        return _help_of(self.lmp)

    @cached_property
    def plugin(self) -> Path | None:
        """The plugin for it; None where none is named, as for styles in LAMMPS's own tree.

        Raises
        ------
        UsageError
            Where a plugin is named that is not there.
        """
        named = {
            "--plugin": self.machine.options.plugin,
            "LBPSI_KOKKOS_PLUGIN": _from_environment("PLUGIN"),
        }
        for source, path in named.items():
            if path is not None:
                file = path / KK_PLUGIN if path.is_dir() else path
                if not file.is_file() or file.name != KK_PLUGIN:
                    raise UsageError(f"{source} {path}: no {KK_PLUGIN} there; give its folder")
                return file.resolve()
        folders = os.environ.get("LAMMPS_PLUGIN_PATH", "").split(os.pathsep)
        files = (Path(folder) / KK_PLUGIN for folder in folders if folder)
        return next((file.resolve() for file in files if file.is_file()), None)

    @property
    def switches(self) -> tuple[str, ...]:
        """Switches of a run with KOKKOS, as the manual gives them."""
        on = ("g", "1") if self.help.on_gpu else ("t", "1")
        return ("-k", "on", *on, "-sf", "kk", "-pk", *_PACKAGE)

    @cached_property
    def probe(self) -> Probe:
        """What it has in its process; without Kokkos started, so that no GPU is needed."""
        deck = _PROBE_DECK
        if "PYTHON" in self.help.packages:
            modules = (*MODULES, "cupy") if "CUDA" in self.help.apis else MODULES
            deck += _PYTHON_DECK.format(modules=modules)
        done = self.run(deck, ())
        if "Compute styles:" not in done.stdout:
            return Probe(error=said(done))
        return read_probe(done.stdout, done.stdout + done.stderr)

    @cached_property
    def launcher(self) -> str | None:
        """What starts its ranks, with its own arguments.

        Raises
        ------
        UsageError
            Where one is named that is not there.
        """
        named = os.environ.get("LBPSI_KOKKOS_MPIRUN", "").strip()
        if named and not shutil.which(_words(named)[0]):
            raise UsageError(f"LBPSI_KOKKOS_MPIRUN {named}: no such program; give its path")
        return named or next(filter(shutil.which, LAUNCHERS), None)

    @cached_property
    def joined(self) -> subprocess.CompletedProcess[str]:
        """What it wrote when several ranks were started with Kokkos.

        Raises
        ------
        SkipError
            Where there is nothing that starts ranks.
        UsageError
            Where a launcher is named that is not there.
        """
        if self.launcher is None:
            raise SkipError(f"there is no {' or '.join(LAUNCHERS)} to start ranks with")
        launch = (*_words(self.launcher), "-n", str(self.machine.options.ranks))
        return self.run(_MPI_DECK, self.switches, launch=launch)

    @cached_property
    def model(self) -> Path:
        """The model as LAMMPS loads it, in the precision of the options."""
        source = potential.resolve(self.machine.options.model)
        if source.suffix == ".pt":
            return source
        need_loaded_model(self.machine)
        return self.machine.exported[self.machine.options.dtype]

    @cached_property
    def trial(self) -> Trial:
        """What ``pair_style mliap unified`` computes with the model, one rank."""
        folder, dtype = self.machine.folder, self.machine.options.dtype
        model = folder / "unified.pt"  # LAMMPS splits paths at blanks
        shutil.copyfile(self.model, model)
        cell = self.machine.cell
        deck = DECK.format(
            data=cell.name,
            dtype=dtype,
            pair=f"mliap unified {model.name} 0",
            elements=" ".join(structure.type_elements(structure.read_cell(cell))),
        )
        deck += _MEMORY_DECK.format(on_gpu=self.help.on_gpu, replicas=_REPLICAS)
        for left in (f"{dtype}.txt", f"{dtype}.dump"):
            (folder / left).unlink(missing_ok=True)
        try:
            done = self.run(deck, self.switches, limit_s=_TRIAL_LIMIT_S)
        except UsageError as err:
            return Trial(f"ERROR: {err}")
        if not (folder / f"{dtype}.txt").is_file():
            return Trial(done.stdout + done.stderr)
        rows = re.findall(r"^LBPSI memory (.*)$", done.stdout, re.MULTILINE)
        memory = tuple(Memory(*json.loads(row)) for row in rows)
        return Trial(done.stdout + done.stderr, read_forces(folder, dtype), memory)

    def run(
        self,
        deck: str,
        switches: Sequence[str],
        *,
        launch: Sequence[str] = (),
        limit_s: float = LAUNCH_LIMIT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a deck in the scratch folder, with the plugin and no other."""
        (self.machine.folder / "in.kokkos").write_text(deck, encoding="utf-8")
        command = [*launch, str(self.lmp), *switches, "-in", "in.kokkos", "-log", "none", "-nocite"]
        folder = str(self.plugin.parent) if self.plugin else ""
        environment = {**self.environment, "LAMMPS_PLUGIN_PATH": folder}
        return execute(
            command, limit_s=limit_s, folder=self.machine.folder, environment=environment
        )


def read_probe(styles: str, output: str) -> Probe:
    """Read what the deck of the probe wrote: on stdout, and on both streams."""
    block = re.search(r"^Compute styles:\s+(.*?)\n\s*\n", styles, re.MULTILINE | re.DOTALL)
    mapped = re.findall(r"^[\da-f]+-[\da-f]+ r\S+ .* (/\S.*)$", styles, re.MULTILINE)
    refused = re.search(rf"{KK_PLUGIN} not loaded: (.*?); (.*)", output)
    unopened = re.search(rf"Open of file (\S*{KK_PLUGIN}) failed: (.*)", output)
    refusal = (refused[1], refused[2].strip()) if refused else ("", "")
    if unopened:
        refusal = (f"it can't be opened: {unopened[2].strip()}", "")
    python = re.search(r"^LBPSI python (.*)$", styles, re.MULTILINE)
    return Probe(
        computes=frozenset(block[1].split()) if block else frozenset(),
        files=tuple(dict.fromkeys(map(Path, mapped))),
        refusal=refusal,
        in_tree=re.search(r"Overriding built-in compute style motif/kk", output) is not None,
        python=json.loads(python[1]) if python else {},
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return LAMMPS's error as one line, or else the last line that it wrote."""
    output = done.stdout + done.stderr
    return engine.explain(output) if "ERROR" in output else last_line(done)


def site_packages() -> str:
    """Return the folders that this Python has torch, MACE and this package in, for PYTHONPATH."""
    folders: dict[str, None] = {}
    for name in ("torch", "mace", "lbpsi_driver"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            folders[str(Path(spec.origin).parents[1])] = None
    return os.pathsep.join(folders)


def fits_this_python(python: Mapping[str, Any]) -> bool:
    """Whether LAMMPS's Python can use the packages of this one."""
    return str(python.get("version", "")).split(".")[:2] == [str(n) for n in sys.version_info[:2]]


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(f"LBPSI_KOKKOS_{name}")
    return Path(value) if value else None


def _words(launcher: str) -> list[str]:
    """Split a launcher from its arguments; a path with a blank may stand without quotes."""
    try:
        return [launcher] if shutil.which(launcher) else shlex.split(launcher)
    except ValueError as err:
        raise UsageError(f"LBPSI_KOKKOS_MPIRUN {launcher}: {err}; close it") from err


def _help_of(lmp: Path) -> Help:
    try:
        done = execute([str(lmp), "-h"], limit_s=LAUNCH_LIMIT_S)
    except OSError as err:
        raise UsageError(f"{lmp}: {err.strerror}; give an lmp that runs here") from err
    try:
        return read_help(done.stdout)
    except ValueError as err:
        raise UsageError(
            f"{lmp} -h ended with '{last_line(done)}'; load the modules that it was built with"
        ) from err


def _packages(lmp: Path) -> frozenset[str]:
    try:
        return _help_of(lmp).packages
    except UsageError:
        return frozenset()
