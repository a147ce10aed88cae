"""pair_style mliap/py against ASE's MACECalculator, one rank against two, cost of the interface.

    python benchmarks/bench_mliap_py.py [--dtype float64] [--threads N] [--quick] [--json]

Three measurements, each of workers that take turns (A B A B …) in one run; a number is the median
over blocks of MD steps, a ratio is that of two medians, and beside it stand the least and greatest
ratio of neighbouring blocks. Start-up, the loading of the model and the first steps, in which
TorchScript optimises, are left out.

**Step.** NVE with 1 fs from the same relaxed, warm cell of glass, in LAMMPS and in ASE
(``MACECalculator`` as it comes, with the neighbour list that it makes, and ``VelocityVerlet``); the
same model file, dtype and threads. Both make energy and virial at each step. Both walk the same
trajectory: the run fails where their energies part by more than 1 meV/atom.

**Ranks.** The same in LAMMPS on one and on two ranks with one thread each.

**Interface.** A step of LAMMPS on one rank is split into

- *model*: the forward call of MACE's wrapper, which makes energies and forces by autograd, without
  the exchange of features that it calls back;
- *interface, MACE's part*: ``LAMMPS_MLIAP_MACE.compute_forces`` around that call: the batch of
  tensors, conversions to the model's dtype and back, the sum of energies;
- *interface, ours*: the rest of LAMMPS's ``Pair`` time: rows and pairs gathered from the neighbour
  list, the check that all ranks have pairs, the step into Python, the exchange of features (packing
  and LAMMPS's communication), pair forces taken over, forces, energy and virial tallied;
- *LAMMPS*: all outside ``Pair``: neighbour lists, ghosts, integration, thermo output.

The interface is the second and the third. Its floor is what our part can't avoid: each array read
or written once at the speed of a copy, or its operations at the speed of a product of matrices,
whichever is longer, both measured in the same process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Row, Worker, WorkerError, compare, conditions, report, take_turns
from lbpsi_driver.config import DEFAULT_MODEL
from lbpsi_driver.parallel import mpiexec

WORKER = Path(__file__).with_name("md_worker.py")
PACKAGES = ("lbpsi-driver", "lammps", "mace-torch", "torch", "ase", "mpich")
APART_EV = 1e-3


@dataclass(frozen=True)
class Effort:
    """Steps of a block, by atoms, and how many blocks of each worker."""

    steps: Mapping[int, int]
    blocks: int
    warm_up: int


FULL = Effort({136: 50, 1088: 10}, blocks=7, warm_up=10)
QUICK = Effort({136: 3, 1088: 2}, blocks=2, warm_up=2)


class Bench:
    """The three measurements on one set of cells and one model."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self._folder = folder
        self._model = ["--model", args.model, "--dtype", args.dtype]
        self._threads: int = args.threads
        self._effort = QUICK if args.quick else FULL
        with Worker([sys.executable, str(WORKER), "prepare", str(folder), *self._model]) as made:
            made.reply()

    def _worker(
        self, role: str, atoms: int, *more: str, ranks: int = 1, threads: int | None = None
    ) -> Worker:
        count = threads or self._threads
        launch = [] if ranks == 1 else [str(mpiexec()), "-n", str(ranks)]
        command = [sys.executable, str(WORKER), role, str(self._folder), *self._model, *more]
        command += ["--atoms", str(atoms), "--threads", str(count)]
        command += ["--warm-up", str(self._effort.warm_up)]
        return Worker([*launch, *command], threads=count)

    def _measure(self, atoms: int, *workers: Worker) -> list[list[dict[str, Any]]]:
        with ExitStack() as stack:
            for worker in workers:
                stack.enter_context(worker)
            return take_turns(workers, steps=self._effort.steps[atoms], blocks=self._effort.blocks)

    def step(self, atoms: int) -> Row:
        """Time a step against ASE's."""
        ours, ase = self._measure(atoms, self._worker("lammps", atoms), self._worker("ase", atoms))
        for a, b in zip(ours, ase, strict=True):
            apart = abs(a["energy"] - b["energy"]) / atoms
            if not apart < APART_EV:
                raise SystemExit(f"{atoms} atoms: LAMMPS and ASE are {apart:.2g} eV/atom apart")
        name = f"step, {atoms} atoms, against ASE"
        return compare(name, per_step(ours), per_step(ase), goal="<= 1.0")

    def ranks(self) -> Row:
        """Time one rank against two."""
        one, two = self._measure(
            1088,
            self._worker("lammps", 1088, threads=1),
            self._worker("lammps", 1088, ranks=2, threads=1),
        )
        name = "step, 1088 atoms, 1 rank against 2"
        return compare(name, per_step(one), per_step(two), goal=">= 1.6")

    def interface(self) -> list[Row]:
        """Split a step into model, interface and LAMMPS."""
        (replies,) = self._measure(1088, self._worker("lammps", 1088, "--profile"))
        parts = {name: [split(reply)[name] for reply in replies] for name in split(replies[0])}
        whole = parts.pop("step")
        rows = [
            compare("interface in a step, 1088 atoms", parts["interface"], whole, goal="<= 0.03"),
            compare("  MACE's part of it", parts["mace"], whole),
            compare("  ours", parts["ours"], whole),
            compare("model in a step", parts["model"], whole),
            compare("LAMMPS outside Pair in a step", parts["lammps"], whole),
        ]
        least = [floor(reply)["ms"] for reply in replies]
        moved = floor(replies[-1])
        name = f"ours / floor ({moved['bytes'] / 1e6:.1f} MB, {moved['flops'] / 1e6:.1f} Mflop)"
        return [*rows, compare(name, parts["ours"], least)]


def per_step(replies: list[dict[str, Any]]) -> list[float]:
    return [1e3 * reply["seconds"] / reply["steps"] for reply in replies]


def split(reply: Mapping[str, Any]) -> dict[str, float]:
    """Attribute the time of a block: milliseconds a step."""
    times = reply["parts"]
    seconds = {
        "step": reply["seconds"],
        "model": times["forward"] - times["exchange"],
        "mace": times["compute"] - times["forward"] - times["update"],
        "ours": reply["pair"] - times["compute"] + times["exchange"] + times["update"],
        "lammps": reply["seconds"] - reply["pair"],
    }
    seconds["interface"] = seconds["mace"] + seconds["ours"]
    return {name: 1e3 * value / reply["steps"] for name, value in seconds.items()}


def floor(reply: Mapping[str, Any]) -> dict[str, float]:
    """Count what the interface must move and compute in a step, and how long that takes."""
    n = reply["counts"]
    natoms, ntotal, npairs, listed = n["natoms"], n["ntotal"], n["npairs"], n["listed"]
    forward, reverse = n["forward"] / n["calls"], n["reverse"] / n["calls"]
    nbytes = (
        4 * listed  # neighbour list, read
        + (24 + 8 + 8) * ntotal  # positions read, elements and atom of each row written
        + (8 + 8 + 24) * npairs  # i, j, rij written …
        + (8 + 8 + 24) * npairs  # … and read again for the virial
        + 3 * 24 * npairs  # pair forces read, written, read again for the sum
        + 48 * ntotal  # forces read and written
        + 2 * 8 * natoms  # energies of atoms
        + forward * (natoms + ntotal)  # owned rows read, all rows written
        + reverse * (ntotal + ntotal)  # all rows read, all rows written
    )
    flops = (
        8 * listed  # a vector and its square
        + 6 * npairs  # added to i, subtracted from j
        + 30 * npairs  # six terms of the virial, symmetrised and summed
        + reverse / n["itemsize"] * (ntotal - natoms)  # ghost rows added to their owners
    )
    rates = reply["rates"]
    seconds = max(nbytes / rates["bytes_per_s"], flops / rates["flops_per_s"])
    return {"bytes": nbytes, "flops": flops, "ms": 1e3 * seconds}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or MACE .model file")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=int, default=1, help="of each process (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: its numbers are noise")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    where = conditions(PACKAGES) | {"dtype": args.dtype, "threads": args.threads}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            bench = Bench(Path(folder), args)
            rows = [bench.step(136), bench.step(1088), bench.ranks(), *bench.interface()]
        except WorkerError as err:
            raise SystemExit(str(err)) from None
    where["load at the end"] = round(os.getloadavg()[0], 2)
    print(report(rows, where, as_json=args.json))


if __name__ == "__main__":
    main()
