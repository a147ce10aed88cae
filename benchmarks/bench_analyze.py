"""``analyze`` of 500 ps of a glass of 1088 atoms: against a plain MDAnalysis and ASE script.

    python benchmarks/bench_analyze.py [--frames 5000] [--blocks N] [--quick] [--json]

The dump is made here: a packed cell of 136 atoms, copied to 1088, whose atoms vibrate and whose Li
hop, a frame every 0.1 ps, as ``mod.trajectory`` writes it. Both sides are processes with one thread
that start, read the file, write their numbers and end; they take turns (A B A B …).

- *ours without hopping*: ``python -m lbpsi_driver analyze --no-structure --no-hopping``, against
  *script*: ``analyze_peers.py`` without the parts of ``--hopping``. Ours gives all that the script
  gives, and besides it the classes of the Li, MSD, D and survival by class, intervals of all
  numbers, CSV and figures;
- *ours with hopping*: ``analyze --no-structure``, against *all of the script*, ``--hopping``: the
  class of each Li, MSD by class, van Hove functions, alpha2, density on a grid and hops, too. Ours
  gives besides these residence times, rotations near hops with a null model, intervals, a surface.

The script runs once a turn; its docstring says how it has each number, and the parts of
``--hopping``, which it times itself, are taken away for the first line.

The run fails where they disagree (``agree`` says by how much they may). ``--motif-frames N`` has
the script find motifs and rotations in the first N frames only and scales that part of its time, a
loop over frames, to all of them; the output says so.

Then all of ``analyze``, with S(Q), rings and the rest, for what it costs, and our peak memory on a
trajectory ``--longer`` times as long over that on this one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from harness import Row, compare, conditions, report
from lbpsi_driver import structure
from lbpsi_driver.config import BuildOptions

PACKAGES = ("lbpsi-driver", "numpy", "scipy", "ase", "MDAnalysis", "tidynamics")
COPIES = (2, 2, 2)
SPACING_PS, TEMPERATURE_K = 0.1, 700.0
VIBRATION, VIBRATION_LI = 0.08, 0.25
"""Root mean square along each axis, Å."""
MEMORY_PS = 0.3
HOP, HOPS_PER_PS = 3.5, 0.025
CHUNK = 250
QUICK_FRAMES = 500

Answer = dict[str, Any]


# --- the trajectory ------------------------------------------------------------------------------


class Glass:
    """Positions of a glass at 700 K, a chunk of frames at a time."""

    def __init__(self, folder: Path) -> None:
        structure.build(BuildOptions(output=folder))
        self.atoms = structure.read_cell(folder / "data.lammps").repeat(COPIES)
        self._mobile = self.atoms.symbols == "Li"
        self._rng = np.random.default_rng(3)
        self._sites = self.atoms.positions.copy()
        self._decay = float(np.exp(-SPACING_PS / MEMORY_PS))
        self._vibration = self._rng.normal(size=self._sites.shape)

    def next(self, frames: int) -> np.ndarray:
        """Return the next frames, unwrapped, shape (frames, atoms, 3)."""
        shape = (frames, *self._sites.shape)
        noise = self._rng.normal(0.0, np.sqrt(1.0 - self._decay**2), shape)
        start = self._decay * self._vibration[None]
        moved, _ = lfilter([1.0], [1.0, -self._decay], noise, axis=0, zi=start)
        self._vibration = moved[-1].copy()
        moved *= np.where(self._mobile, VIBRATION_LI, VIBRATION)[:, None]
        lithium = np.flatnonzero(self._mobile)
        number = self._rng.poisson(HOPS_PER_PS * SPACING_PS * frames * len(lithium))
        hops = np.zeros((frames, len(lithium), 3))
        when, who, axis = (self._rng.integers(0, n, number) for n in hops.shape)
        np.add.at(hops, (when, who, axis), self._rng.choice([-HOP, HOP], number))
        walked = np.cumsum(hops, axis=0)
        moved += self._sites
        moved[:, lithium] += walked
        self._sites[lithium] += walked[-1]
        return moved


def write_dump(path: Path, frames: int) -> None:
    """Write so many frames, wrapped, with image flags; the same ones first, however many."""
    glass = Glass(path.parent / "cell")
    sides = glass.atoms.cell.lengths()
    bounds = "".join(f"0 {side:.16e}\n" for side in sides)
    names = [f"{i} {symbol} " for i, symbol in enumerate(glass.atoms.symbols, 1)]
    row = "{}{:.8g} {:.8g} {:.8g} {} {} {}\n".format
    with path.open("w", encoding="ascii") as file:
        for first in range(0, frames, CHUNK):
            positions = glass.next(CHUNK)[: frames - first]
            images = np.floor(positions / sides).astype(int)
            wrapped = positions - images * sides
            for step, (at, image) in enumerate(zip(wrapped, images, strict=True), first):
                file.write(
                    f"ITEM: TIMESTEP\n{100 * step}\nITEM: NUMBER OF ATOMS\n{len(names)}\n"
                    f"ITEM: BOX BOUNDS pp pp pp\n{bounds}ITEM: ATOMS id element x y z ix iy iz\n"
                )
                file.write("".join(map(row, names, *at.T.tolist(), *image.T.tolist())))


# --- processes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a process took: time to its end and of the processor, s, and peak memory, MB."""

    seconds: float
    processor: float
    megabytes: float
    said: str


def run(command: list[str]) -> Cost:
    """Run a process with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=errors, env={**os.environ, **threads}, text=True
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, errors):
            file.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with\n{errors.read()[-2000:]}")
        spent = usage.ru_utime + usage.ru_stime
        return Cost(seconds, spent, usage.ru_maxrss / 1024, out.read())


def ours(dump: Path, *options: str) -> tuple[Cost, Answer]:
    """``analyze``, and the record of its run."""
    output = dump.with_suffix(".analysis")
    about = ["--run", str(dump), "--output", str(output), "--timestep", "1"]
    about += ["--temperature", f"{TEMPERATURE_K:g}"]
    cost = run([sys.executable, "-m", "lbpsi_driver", "analyze", *about, *options])
    result = json.loads((output / "results.json").read_text(encoding="utf-8"))
    return cost, result["temperatures"][0]


def script(dump: Path, frames: int, motif_frames: int) -> tuple[Cost, Cost, Answer]:
    """Run the plain script: without the parts of hopping, with them.

    The time of its loops over frames is scaled where they are cut short.
    """
    peer = Path(__file__).with_name("analyze_peers.py")
    about = ["--spacing", f"{SPACING_PS:g}", "--temperature", f"{TEMPERATURE_K:g}"]
    about += ["--motif-frames", str(motif_frames), "--hopping"]
    cost = run([sys.executable, str(peer), str(dump), *about])
    answer: Answer = json.loads(cost.said.splitlines()[-1])
    scale = frames / motif_frames
    plain, every = [], []
    for clock, spent in (("seconds", cost.seconds), ("processor", cost.processor)):
        parts = answer[clock]
        plain.append(spent - parts["by class"] - parts["hopping"] + (scale - 1.0) * parts["motifs"])
        every.append(plain[-1] + scale * parts["by class"] + parts["hopping"])
    return Cost(*plain, cost.megabytes, ""), Cost(*every, cost.megabytes, ""), answer


# --- agreement -----------------------------------------------------------------------------------


def agree(record: Answer, answer: Answer, whole: bool) -> list[str]:
    """Return what differs by more than definitions allow.

    D comes from other lags on both sides; the sum of the Li is a single path, hence its interval.
    Without `whole`, motifs are of other frames.
    """
    apart = []

    def check(name: str, mine: float | None, other: float | None, most: float) -> None:
        if mine is None or other is None or not abs(mine - other) <= most:
            apart.append(f"{name}: {mine} and {other}")

    tracer, other = record["D_cm2_per_s"]["Li"]["mean"], answer["D_cm2_per_s"]
    check("D", tracer, other, 0.15 * other)
    mine, other = record["sigma_NE_mS_per_cm"]["mean"], answer["sigma_NE_mS_per_cm"]
    check("sigma_NE over D", mine / tracer, other / answer["D_cm2_per_s"], 1e-3 * mine / tracer)
    collective = record["D_sigma_cm2_per_s"]
    low, high = collective["ci95"] or (np.nan, np.nan)
    check("D_sigma", collective["mean"], answer["D_sigma_cm2_per_s"], high - low)
    for pair, peak in answer["first_peak_A"].items():
        first = record["rdf"]["first_peak_A"][pair]
        # Li that hop anywhere smear their peaks: there a peak is one by its height only
        if None not in (peak, first) or "Li" not in pair:
            check(f"first peak of {pair}", first, peak, 0.06)
    for name, share in answer["shares"].items():
        found = record["motifs"]["classes"].get(name, {}).get("fraction_of_formers") or {}
        check(f"share of {name}", found.get("mean"), share, 1e-9 if whole else 0.02)
    for name, angle in answer["angles_deg"].items():
        found = record["motifs"]["classes"].get(name, {}).get("rotation") or {}
        mean = (found.get("angle_deg") or {}).get("mean")
        check(f"rotation of {name}", mean, angle, 0.02 * angle if whole else 0.2 * angle)
    for name, share in answer["li_shares"].items():
        found = record["motifs"]["classes"].get(name, {}).get("fraction_of_mobile") or {}
        check(f"Li at {name}", found.get("mean"), share, 1e-5 if whole else 0.05)
    return apart


def agree_on_hopping(record: Answer, answer: Answer, output: Path, whole: bool) -> list[str]:
    """Return what differs in the parts of ``--hopping``: single precision there, double here."""
    apart = []

    def check(name: str, mine: np.ndarray, other: Any, most: float) -> None:
        theirs = np.asarray(other, dtype=np.float64)
        if mine.shape != theirs.shape or not (np.abs(mine - theirs) <= most).all():
            apart.append(f"{name}: {mine} and {theirs}")

    def table(name: str) -> np.ndarray:
        return np.genfromtxt(
            output / f"{name}_run.csv", delimiter=",", names=True, deletechars="", replace_space=" "
        )

    check("beyond", np.array(record["van_hove"]["beyond_share"]), answer["beyond_share"], 1e-5)
    check("alpha2", table("alpha2")["alpha2"], answer["alpha2"], 1e-3)
    distinct = table("van_hove_distinct")
    curves = np.array([distinct[name] for name in distinct.dtype.names[2:]])
    check("distinct part", curves, answer["distinct"], 0.02)
    density = record["ion_density"]["threshold_per_A3"]
    check("density", np.array(density), answer["density_of_visited"], 0.01 * density)
    number = record["hops"]["number"]
    check("hops", np.array(number), answer["hops"], 0.01 * number)
    if whole:
        by_class = table("msd_motif")
        row = by_class[np.argmin(np.abs(by_class["lag_ps"] - answer["li_msd_lag"] * SPACING_PS))]
        for name, pair in answer["li_msd"].items():
            mine = np.array([row[f"msd_{name}_A2"], row[f"survivors_msd_{name}_A2"]])
            check(f"MSD of Li at {name}", mine, pair, 1e-3)
    return apart


# --- the table -----------------------------------------------------------------------------------


def faster(name: str, sides: list[list[float]], goal: str = "") -> Row:
    """How many times as fast ours is: the script's time over ours."""
    row = compare(name, sides[1], sides[0])
    return Row(name, "s", row.peer, row.value, row.ratio, row.low, row.high, goal)


def rows(folder: Path, args: argparse.Namespace) -> tuple[list[Row], str]:
    """Write the dumps and measure on them: the table, and the script's seconds by part."""
    frames, parts = args.frames, args.motif_frames or args.frames
    dump = folder / "run.dump"
    write_dump(dump, frames)
    plain: tuple[list[Cost], list[Cost]] = ([], [])
    every: tuple[list[Cost], list[Cost]] = ([], [])
    for _ in range(args.blocks):
        cost, record = ours(dump, "--no-structure", "--no-hopping")
        plain[0].append(cost)
        of_plain, of_every, answer = script(dump, frames, parts)
        plain[1].append(of_plain)
        every[1].append(of_every)
        cost, with_hopping = ours(dump, "--no-structure")
        every[0].append(cost)
    apart = agree(record, answer, parts == frames)
    output = dump.with_suffix(".analysis")
    apart += agree_on_hopping(with_hopping, answer, output, parts == frames)
    if apart:
        raise SystemExit("they disagree:\n" + "\n".join(apart))
    table = []
    for title, sides in (("without hopping", plain), ("with hopping", every)):
        name = f"times as fast as the script {title}, {frames} frames"
        wall = [[cost.seconds for cost in side] for side in sides]
        table.append(faster(name, wall, ">= 10"))
        processor = [[cost.processor for cost in side] for side in sides]
        table.append(faster("  in processor time", processor))
    memory = [[cost.megabytes for cost in side] for side in every]
    table.append(compare("peak memory", *memory, unit="MB"))
    whole = [ours(dump)[0] for _ in range(args.blocks)]
    without = [cost.seconds for cost in every[0]]
    table.append(compare("with structure / without", [c.seconds for c in whole], without, unit="s"))
    if args.longer > 1:
        dump.unlink()
        write_dump(dump, args.longer * frames)
        long = ours(dump, "--no-structure")[0]
        name = f"peak memory, {args.longer} times as long / once"
        table.append(compare(name, [long.megabytes], memory[0][-1:], unit="MB", goal="<= 1.2"))
    spent = ", ".join(f"{part} {t:.3g}" for part, t in answer["seconds"].items())
    return table, spent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=5000, help="0.1 ps apart (5000)")
    parser.add_argument("--motif-frames", type=int, help="frames of the script's motifs (all)")
    parser.add_argument("--blocks", type=int, default=2, help="turns (2)")
    parser.add_argument("--longer", type=int, default=4, help="length for memory (4; 1: without)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: its numbers are noise")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    args = parser.parse_args()
    if args.quick:
        args.frames, args.blocks = QUICK_FRAMES, 1
    if args.frames < 100 or not 1 <= (args.motif_frames or 1) <= args.frames:
        parser.error("--frames: 100 or more; --motif-frames: 1 to that number")
    return args


def main() -> None:
    args = arguments()
    where = conditions(PACKAGES) | {"threads": 1}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        table, spent = rows(Path(name), args)
    where["load at the end"] = round(os.getloadavg()[0], 2)
    where["script's parts (s)"] = spent
    if args.motif_frames not in (None, args.frames):
        where["script's motifs"] = f"{args.motif_frames} of {args.frames} frames, time scaled"
    print(report(table, where, as_json=args.json))


if __name__ == "__main__":
    main()
