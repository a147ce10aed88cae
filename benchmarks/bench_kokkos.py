"""The /kk computes: one thread against the plain computes, two against one, a share of MACE.

    python benchmarks/bench_kokkos.py --lmp FILE --plugin FILE [--quick] [--json]

``lmp`` has KOKKOS; it and the plugin may be named by ``LBPSI_KOKKOS_LMP`` and
``LBPSI_KOKKOS_PLUGIN`` instead, as for the tests. It runs as a process of its own, on one rank, or
on ``--ranks N`` of ``LBPSI_KOKKOS_MPIRUN``. A relaxed, warm glass of 1088 atoms and copies of it:
1088, 17408 and 69632 atoms, with a GPU 1088, 8704 and 69632.

**Cost of a compute.** The atoms swing on springs about where they started, so that each evaluation
meets other positions and lists stay as they are. Blocks of steps without computes, with motif, with
kabsch too, and with all three take turns in one process, each compute evaluated at each step for
its global result, which travels to the host and so waits for the device. A compute costs what its
block takes more than the one before. Processes of the two sides take turns; a number is the median
over processes of medians over rounds.

**Plain** is the same ``lmp`` without KOKKOS; with a GPU the plain computes run beside what is on
the device (pair style, integration), and what they drag to the host and back counts as theirs.

**Share of a step.** All three every 10 steps, against 10 steps of ``mliap unified`` with the
shipped model. Here the time is what LAMMPS's breakdown books on fixes, with and without: a
difference of whole steps would drown in those of MACE. With a GPU it counts also what the device
had still to do by then.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import md_worker
from harness import Row, compare, conditions, report
from lbpsi_driver import machine_kokkos, structure
from lbpsi_driver.config import DEFAULT_MODEL
from lbpsi_driver.mliap import import_torch

COPIES = {1088: "1 1 1", 8704: "2 2 2", 17408: "2 2 4", 69632: "4 4 4"}
EVERY = 10
# Steps before a block: a run that begins anew builds lists and grows arrays.
SETTLING = 3
# One number of each, for which it makes all of its global result.
COMPUTES = {"motif": "c_motif[1]", "kabsch": "c_kabsch[1][1]", "msd_motif": "c_msd_motif[1][1]"}
ALL = "all three"
PACKAGES = ("lbpsi-driver", "mace-torch", "torch")
PACKAGE = "-pk kokkos newton on neigh half"


@dataclass(frozen=True)
class Side:
    """One of the two sides of a ratio: switches of ``lmp``, and whose computes."""

    switches: str = ""
    plain_computes: bool = False


@dataclass(frozen=True)
class Effort:
    """Steps of a block, rounds of blocks in a process, processes of each side."""

    steps: Mapping[int, int]
    mace_steps: Mapping[int, int]
    rounds: int
    turns: int


FULL = Effort(
    {1088: 200, 8704: 60, 17408: 40, 69632: 10}, {1088: 10, 8704: 10, 69632: 5}, rounds=4, turns=5
)
QUICK = Effort(
    {1088: 10, 8704: 5, 17408: 5, 69632: 4}, {1088: 4, 8704: 4, 69632: 4}, rounds=2, turns=2
)


class Lammps:
    """An ``lmp`` with KOKKOS and the plugin, in a folder with a glass and a model."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self._folder = folder
        self._command = [args.lmp]
        if args.ranks > 1:
            self._command[:0] = [*shlex.split(args.mpirun), "-n", str(args.ranks)]
        self._plugins = str(Path(args.plugin).resolve().parent) if args.plugin else ""
        self.help = read_help(args.lmp)
        self.effort = QUICK if args.quick else FULL

    @property
    def on_gpu(self) -> bool:
        """Whether its Kokkos runs on a GPU."""
        return self.help.on_gpu

    def kokkos(self, threads: int = 1, *, plain_computes: bool = False) -> Side:
        """All of the run in Kokkos, but for the computes where they are to be plain."""
        on = "g 1" if self.on_gpu else f"t {threads}"
        return Side(f"-k on {on} -sf kk {PACKAGE}", plain_computes)

    def log(self, side: Side, deck: str) -> str:
        """Run a deck and return its log."""
        (self._folder / "in.bench").write_text(deck, encoding="utf-8")
        done = subprocess.run(
            [*self._command, *side.switches.split(), "-in", "in.bench", "-nocite"],
            cwd=self._folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment(self._plugins),
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{self._command[-1]}: {machine_kokkos.said(done)}")
        return (self._folder / "log.lammps").read_text(encoding="utf-8")

    def setup(self, side: Side, atoms: int, pair: str) -> str:
        """Return the head of a deck: a glass, a pair style and the computes."""
        cell = md_worker.cell_file(self._folder, 1088)
        elements = structure.type_elements(structure.read_cell(cell))
        coefficients = {"mliap": " ".join(elements), "lj/cut": "0.0 1.0"}.get(pair.split()[0], "")
        suffix = ("suffix off", "suffix on") if side.plain_computes else ("", "")
        return f"""
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
            group mobile type {elements.index("Li") + 1}
            {suffix[0]}
            compute motif all motif elements {" ".join(elements)}
            compute kabsch all kabsch motif
            compute msd_motif mobile msd/motif motif
            {suffix[1]}
        """ + "".join(f"variable {name} equal {one}\n" for name, one in COMPUTES.items())

    def pair_without_forces(self) -> str:
        """Return a pair style of MACE's cutoff: a step costs little and stays on the device."""
        return "lj/cut 5.0" if self.on_gpu else "zero 5.0 full"

    def evaluations(self, side: Side, atoms: int) -> dict[str, float]:
        """Time the computes in a process of its own, ms an evaluation."""
        steps, rounds = self.effort.steps[atoms], self.effort.rounds
        deck = self.setup(side, atoms, self.pair_without_forces())
        deck += "fix springs all spring/self 20.0\n"
        deck += round_of_blocks(range(len(COMPUTES) + 1), steps) * (rounds + 1)
        loops = loop_times(self.log(side, deck), steps)
        kinds = len(COMPUTES) + 1
        assert len(loops) == kinds * (rounds + 1)
        # the first round warms up
        blocks = [loops[kinds * k : kinds * (k + 1)] for k in range(1, rounds + 1)]
        per_step = [[1e3 * block / steps for block in row] for row in blocks]
        found = {
            name: median(row[k + 1] - row[k] for row in per_step) for k, name in enumerate(COMPUTES)
        }
        return {**found, ALL: median(row[-1] - row[0] for row in per_step)}

    def turns(self, atoms: int, *sides: Side) -> list[dict[str, list[float]]]:
        """Measure sides in turn, A B A B: costs by compute, one for each process."""
        runs = [[self.evaluations(side, atoms) for side in sides] for _ in range(self.effort.turns)]
        return [
            {name: [costs[name] for costs in of_side] for name in of_side[0]}
            for of_side in zip(*runs, strict=True)
        ]

    def share_of_step(self, atoms: int) -> Row:
        """Measure all three every :data:`EVERY` steps against that many steps of MACE."""
        side, steps = self.kokkos(), self.effort.mace_steps[atoms]
        deck = self.setup(side, atoms, f"mliap unified {md_worker.model_file(self._folder)} 0")
        blocks = round_of_blocks((0, len(COMPUTES)), steps, post="yes")
        log = self.log(side, deck + blocks * (self.effort.rounds + 1))
        # of blocks without and with, after the first two, which warm up
        loops = loop_times(log, steps)[2::2]
        fixes = [float(time) for time in re.findall(r"^Modify +\|[^|]*\| *(\S+)", log, re.M)]
        bare, asked = fixes[2::2], fixes[3::2]
        evaluation = [1e3 * (b - a) / steps for a, b in zip(bare, asked, strict=True)]
        stretch = [1e3 * EVERY * loop / steps for loop in loops]
        name = f"{ALL} every {EVERY} steps, {atoms} atoms, / MACE"
        return compare(name, evaluation, stretch, goal="<= 0.01")


def round_of_blocks(counts: Sequence[int], steps: int, post: str = "no") -> str:
    """Blocks of steps, each with so many of the computes evaluated at each step."""
    lines = []
    for count in counts:
        # one fix: at each, LAMMPS lets go of what computes have found for the one before
        asked = " ".join(f"v_{name}" for name in list(COMPUTES)[:count])
        lines += [f"fix ask all ave/time 1 1 1 {asked}"] if asked else []
        lines += [f"run {SETTLING} post no", f"run {steps} pre no post {post}"]
        lines += ["unfix ask"] if asked else []
    return "\n".join([*lines, ""])


def loop_times(log: str, steps: int) -> list[float]:
    """Of the runs of so many steps, s."""
    found = re.findall(r"^Loop time of (\S+) on .* for (\d+) steps", log, re.M)
    return [float(time) for time, ran in found if int(ran) == steps]


def environment(plugins: str) -> dict[str, str]:
    """LAMMPS finds the plugin, its Python torch and MACE, and unpickles a model of ours."""
    return {
        "OMP_PROC_BIND": "false",
        **os.environ,
        "LAMMPS_PLUGIN_PATH": plugins,
        "PYTHONPATH": machine_kokkos.site_packages(),
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "OMP_NUM_THREADS": "1",
    }


def title(name: str) -> str:
    return name.replace("_", "/")


def rows_of(
    ours: dict[str, list[float]], peers: dict[str, list[float]], of: str, goals: Mapping[str, str]
) -> list[Row]:
    """Set the costs of two sides against each other, compute by compute."""
    return [
        compare(f"{title(name)}, {of}", ours[name], peers[name], goal=goals.get(name, ""))
        for name in ours
    ]


def growth(costs: Mapping[int, dict[str, list[float]]]) -> list[Row]:
    """Set an atom of the largest cell against one of the smallest, µs, compute by compute."""
    least, most = min(costs), max(costs)
    if least == most:
        return []

    def per_atom(atoms: int, name: str) -> list[float]:
        return [1e3 * cost / atoms for cost in costs[atoms][name]]

    return [
        compare(
            f"{title(name)}, an atom of {most} / of {least}",
            per_atom(most, name),
            per_atom(least, name),
            unit="µs",
        )
        for name in costs[least]
    ]


def on_cores(lammps: Lammps, sizes: Sequence[int]) -> list[Row]:
    """Measure one thread against the plain computes, two threads against one; share of MACE."""
    rows: list[Row] = []
    single: dict[int, dict[str, list[float]]] = {}
    for atoms in sizes:
        one, plain, two = lammps.turns(atoms, lammps.kokkos(1), Side(), lammps.kokkos(2))
        single[atoms] = one
        rows += rows_of(one, plain, f"{atoms} atoms, /kk / plain", dict.fromkeys(one, "<= 1.1"))
        rows += rows_of(one, two, f"{atoms} atoms, 1 thread / 2", {})
    return [*rows, *growth(single), lammps.share_of_step(min(sizes))]


def on_gpu(lammps: Lammps, sizes: Sequence[int]) -> list[Row]:
    """Measure the plain computes against those on the device; shares of MACE; growth."""
    rows: list[Row] = []
    device: dict[int, dict[str, list[float]]] = {}
    for atoms in sizes:
        plain, ours = lammps.turns(atoms, lammps.kokkos(plain_computes=True), lammps.kokkos())
        device[atoms] = ours
        goals = {ALL: ">= 5"} if atoms == max(COPIES) else {}
        rows += rows_of(plain, ours, f"{atoms} atoms, plain / kk", goals)
    return [*rows, *growth(device), *(lammps.share_of_step(atoms) for atoms in sizes)]


def read_help(lmp: str) -> machine_kokkos.Help:
    """Return what the ``lmp`` says of itself; one line and the end where it can't be used."""
    try:
        done = subprocess.run([lmp, "-h"], capture_output=True, text=True, check=False)
        told = machine_kokkos.read_help(done.stdout)
    except (OSError, ValueError) as err:
        why = getattr(err, "strerror", None) or err
        raise SystemExit(f"--lmp {lmp}: {why}; give an lmp with KOKKOS that runs here") from err
    if not told.apis:
        raise SystemExit(f"--lmp {lmp}: LAMMPS {told.name} without KOKKOS; give one with it")
    return told


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given = {name: os.environ.get(f"LBPSI_KOKKOS_{name}") for name in ("LMP", "PLUGIN", "MPIRUN")}
    parser.add_argument("--lmp", default=given["LMP"], help="an lmp with KOKKOS")
    parser.add_argument(
        "--plugin", default=given["PLUGIN"], help="lbpsikkplugin.so; none where lmp has the styles"
    )
    parser.add_argument("--mpirun", default=given["MPIRUN"] or "mpirun", help="that lmp's mpirun")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--atoms", type=int, nargs="+", choices=COPIES, help="sizes")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or MACE .model file")
    parser.add_argument("--quick", action="store_true", help="a smoke test: its numbers are noise")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    args = parser.parse_args()
    if not args.lmp:
        raise SystemExit("no lmp with KOKKOS; give one as --lmp FILE or LBPSI_KOKKOS_LMP")
    if args.plugin and not Path(args.plugin).is_file():
        raise SystemExit(f"--plugin {args.plugin}: no such file; give an lbpsikkplugin.so")
    return args


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        lammps = Lammps(folder, args)
        import_torch()
        where: dict[str, Any] = conditions(PACKAGES)
        where["lammps"] = lammps.help.name
        where["kokkos"] = f"{lammps.help.kokkos} ({' '.join(lammps.help.apis)})"
        where["ranks"] = args.ranks
        md_worker.prepare(folder, args.model, "float32")
        if lammps.on_gpu:
            rows = on_gpu(lammps, args.atoms or (1088, 8704, 69632))
        else:
            rows = on_cores(lammps, args.atoms or (1088, 17408, 69632))
    where["load at the end"] = round(os.getloadavg()[0], 2)
    print(report(rows, where, as_json=args.json))


if __name__ == "__main__":
    main()
