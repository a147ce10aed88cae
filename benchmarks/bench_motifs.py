"""``motifs`` on a trajectory: against ASE + networkx, and against cluster analyses of its frames.

    python benchmarks/bench_motifs.py [--model NAME] [--quick] [--json]

Each is a process of its own with one thread, and they take turns (A B A B …) on the same dump, as
``mod.trajectory`` writes it: 1088 and 17408 atoms, copies of a relaxed cell of 136, every atom
0.1 Å (root mean square) off its place at random in every frame. A number is the median over blocks,
ms a frame.

- *ours*: ``lbpsi_driver.motifs.motifs`` with ``all``, from the file to its list of dictionaries;
- *ASE + networkx*: ``ase.io.iread`` and ``motif_peers.count``, the same dictionaries; the run fails
  where anything in them differs, in any frame;
- *freud*, *OVITO*: frames in memory, and only the components of anions, of all that ours finds;
  their number must be ours. Left out where the package isn't installed.

The floor is each byte of the dump read and each coordinate of it written once, at the speed of a
copy. The other cost of a frame, its text turned into numbers, has no floor that a machine tells.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

import md_worker
import motif_peers
from harness import (
    REPLY,
    Row,
    Worker,
    WorkerError,
    compare,
    conditions,
    machine_rates,
    report,
    take_turns,
)
from lbpsi_driver import structure
from lbpsi_driver.config import DEFAULT_MODEL, MotifsOptions
from lbpsi_driver.motifs import motifs
from lbpsi_driver.observables.motif_summary import summarise
from lbpsi_driver.observables.motifs import MotifFinder
from lbpsi_driver.observables.trajectory import read

PACKAGES = ("lbpsi-driver", "numpy", "ase", "networkx")
CLUSTERS = {"freud": "freud-analysis", "ovito": "ovito"}
COPIES = {1088: (2, 2, 2), 17408: (4, 4, 8)}
FRAMES = {1088: 104, 17408: 8}
NOISE = 0.1
BLOCKS = 5
BYTES_A_POSITION = 3 * 8

Answer = dict[str, Any]


# --- frames --------------------------------------------------------------------------------------


def write_dump(path: Path, cell: Path, copies: tuple[int, int, int], frames: int) -> None:
    """Write frames of random displacements, atoms by id, wrapped, as ``mod.trajectory``."""
    atoms = structure.read_cell(cell).repeat(copies)
    sides = atoms.cell.lengths()
    if not np.allclose(atoms.cell.array, np.diag(sides)):
        raise SystemExit(f"{cell}: expected an orthogonal cell")
    bounds = "".join(f"0 {side:.16e}\n" for side in sides)
    rng = np.random.default_rng(3)
    with path.open("w", encoding="ascii") as file:
        for step in range(frames):
            moved = atoms.positions + rng.normal(0.0, NOISE / np.sqrt(3), (len(atoms), 3))
            images = np.floor(moved / sides).astype(int)
            file.write(
                f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n"
                f"ITEM: BOX BOUNDS pp pp pp\n{bounds}ITEM: ATOMS id element x y z ix iy iz\n"
            )
            rows = zip(atoms.symbols, (moved - images * sides).tolist(), images, strict=True)
            file.writelines(
                f"{i} {symbol} {x:.8g} {y:.8g} {z:.8g} {u} {v} {w}\n"
                for i, (symbol, (x, y, z), (u, v, w)) in enumerate(rows, 1)
            )


# --- what is measured ----------------------------------------------------------------------------


def clock(action: Callable[[], Any]) -> tuple[float, Any]:
    """Time an action, ms."""
    start = time.perf_counter()
    result = action()
    return 1e3 * (time.perf_counter() - start), result


class Ours:
    """The verb, and its analysis of a trajectory in memory."""

    def __init__(self, dump: Path) -> None:
        self._dump = dump
        self._trajectory = read(dump, 1.0)

    def run(self) -> Answer:
        """Measure once."""
        whole, result = clock(lambda: motifs(MotifsOptions(file=self._dump, all=True)))
        analysis, _ = clock(self._analyse)
        atoms, nbytes = len(self._trajectory.elements), self._dump.stat().st_size
        moved = nbytes + BYTES_A_POSITION * atoms * len(result.frames)
        floor = 1e3 * moved / machine_rates(moved)["bytes_per_s"]
        components = [
            sum(frame["anions"].values()) + sum(frame["free"].values()) for frame in result.frames
        ]
        return {
            "whole": whole,
            "analysis": analysis,
            "floor": floor,
            "components": components,
            "digests": digests([as_counted(frame) for frame in result.frames]),
        }

    def _analyse(self) -> None:
        frames = self._trajectory
        finder = MotifFinder(frames.elements, ids=frames.ids)
        for fractional, cell in zip(frames.fractional, frames.cells, strict=True):
            summarise(finder.find(fractional @ cell, cell))


class Script:
    """ASE and networkx."""

    def __init__(self, dump: Path) -> None:
        self._dump = dump

    def run(self) -> Answer:
        """Measure once."""
        spent, frames = [], []

        def script() -> None:
            for atoms in ase.io.iread(self._dump, index=":", format="lammps-dump-text"):
                milliseconds, counted = clock(lambda atoms=atoms: motif_peers.count(atoms))
                spent.append(milliseconds)
                frames.append(counted)

        whole, _ = clock(script)
        return {"whole": whole, "analysis": sum(spent), "digests": digests(frames)}


class Clusters:
    """Components by freud or OVITO."""

    def __init__(self, dump: Path, peer: str) -> None:
        frames = ase.io.read(dump, index=":", format="lammps-dump-text")
        self._frames = len(frames)
        self._peer = {"freud": motif_peers.Freud, "ovito": motif_peers.Ovito}[peer](frames)

    def run(self) -> Answer:
        """Measure once."""
        spent, found = clock(lambda: [self._peer.components(t) for t in range(self._frames)])
        return {"analysis": spent, "components": found}


def as_counted(frame: Any) -> dict[str, Any]:
    """Give a summary of ours in the form of the script's: rows of ``neighbours`` as a counter."""
    tables = {
        element: Counter(
            {
                (row["qn"], row["en"], tuple(row["through_S"]), tuple(row["direct"])): row["count"]
                for row in rows
            }
        )
        for element, rows in frame["neighbours"].items()
    }
    return {key: value for key, value in frame.items() if key != "frame"} | {"neighbours": tables}


def digests(frames: list[dict[str, Any]]) -> dict[str, str]:
    """Give a hash of each entry of the summaries, over all frames, whatever its order."""

    def plain(value: Any) -> str:
        if isinstance(value, dict):
            return repr(sorted((repr(key), plain(held)) for key, held in value.items()))
        return repr(value)

    keys = sorted({key for frame in frames for key in frame})
    return {
        key: hashlib.sha256(
            "\n".join(plain(frame.get(key)) for frame in frames).encode()
        ).hexdigest()
        for key in keys
    }


def serve(role: str, dump: Path) -> None:
    """Answer each line ``run N`` with one pass over the dump."""
    if role == "ours":
        worker: Ours | Script | Clusters = Ours(dump)
    elif role == "script":
        worker = Script(dump)
    else:
        worker = Clusters(dump, role)
    print(REPLY + json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        print(REPLY + json.dumps(worker.run()), flush=True)


# --- the table -----------------------------------------------------------------------------------


def measure(dump: Path, peer: str, blocks: int) -> tuple[list[Answer], list[Answer]]:
    """Let ours and a peer take turns on a dump, see that they agree, and return their replies."""
    command = [sys.executable, __file__, "--dump", str(dump), "--role"]
    with Worker([*command, "ours"]) as ours, Worker([*command, peer]) as theirs:
        mine, others = take_turns([ours, theirs], steps=1, blocks=blocks)
    for entry in ("digests", "components"):
        if entry in others[-1] and mine[-1][entry] != others[-1][entry]:
            raise SystemExit(f"{dump.name}: {peer} disagrees: {apart(mine[-1], others[-1])}")
    return mine, others


def apart(mine: Answer, others: Answer) -> str:
    """Say what differs."""
    if "digests" not in others:
        return f"{others['components']} components, ours {mine['components']}"
    one, other = mine["digests"], others["digests"]
    return ", ".join(key for key in one | other if one.get(key) != other.get(key))


def times(replies: list[Answer], what: str, frames: int) -> list[float]:
    return [reply[what] / frames for reply in replies]


def speed_up(
    name: str, sides: tuple[list[Answer], list[Answer]], what: str, frames: int, goal: str = ""
) -> Row:
    """How many times the frames a second of the peer: its time over ours."""
    mine, others = (times(side, what, frames) for side in sides)
    row = compare(name, others, mine, goal=goal)
    return Row(name, "ms", row.peer, row.value, row.ratio, row.low, row.high, goal)


def rows(folder: Path, quick: bool) -> list[Row]:
    """Write the dumps and measure on them."""
    blocks, table, whole = 2 if quick else BLOCKS, [], {}
    for atoms, copies in COPIES.items():
        frames = 2 if quick else FRAMES[atoms]
        dump = folder / f"{atoms}.dump"
        write_dump(dump, md_worker.cell_file(folder, 136), copies, frames)
        script = measure(dump, "script", blocks)
        whole[atoms] = times(script[0], "whole", frames)
        name = f"faster than ASE + networkx, {atoms} atoms"
        table.append(speed_up(name, script, "whole", frames, ">= 20"))
        table.append(speed_up("  without reading", script, "analysis", frames))
        for peer in filter(find_spec, CLUSTERS):
            clusters = measure(dump, peer, blocks)
            table.append(speed_up(f"  than {peer}'s clusters alone", clusters, "analysis", frames))
        floor = times(script[0], "floor", frames)
        table.append(compare("  whole / floor (bytes copied)", whole[atoms], floor))
    small, large = (
        [1e3 * milliseconds / atoms for milliseconds in whole[atoms]] for atoms in whole
    )
    table.append(compare("an atom at 17408 / at 1088", large, small, unit="µs", goal="<= 1.5"))
    return table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="relaxes the cell")
    parser.add_argument("--quick", action="store_true", help="a smoke test: its numbers are noise")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    parser.add_argument("--role", choices=["ours", "script", *CLUSTERS], help=argparse.SUPPRESS)
    parser.add_argument("--dump", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.role:
        serve(args.role, args.dump)
        return
    packages = [*PACKAGES, *(package for name, package in CLUSTERS.items() if find_spec(name))]
    where = conditions(packages) | {"threads": 1}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        md_worker.prepare(folder, args.model, "float32")
        try:
            table = rows(folder, args.quick)
        except WorkerError as err:
            raise SystemExit(str(err)) from None
    where["load at the end"] = round(os.getloadavg()[0], 2)
    print(report(table, where, as_json=args.json))


if __name__ == "__main__":
    main()
