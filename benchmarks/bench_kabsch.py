"""Rotations of units: our kernel against SciPy's loop and against a NumPy batch of SVDs.

    python benchmarks/bench_kabsch.py [--units N] [--ligands K] [--noise Å] [--quick] [--json]

Each is a process of its own with one thread, and they take turns (A B A B …) on the same units:
tetrahedra by default (K vectors of random directions otherwise), turned at random, with noise on
both sets. A block goes once over so many units; a number is the median over blocks, in ns a unit.

- *ours*: ``_kernels.kabsch`` through the binding: quaternions, angles, residuals, inversions;
- *align_vectors*: ``scipy.spatial.transform.Rotation.align_vectors`` in a loop, and the angle;
- *SVDs*: ``numpy.linalg.svd`` of all covariances at once, determinants mended, the angle.

The run fails where their angles differ by more than 1e-6 rad. The floor is what ours can't avoid:
each array read or written once at the speed of a copy, or its operations at the speed of a product
of matrices, whichever is longer, both measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

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
from lbpsi_driver import _kernels

PACKAGES = ("lbpsi-driver", "numpy", "scipy")
APART_RAD = 1e-6
BOND = 2.05
TETRAHEDRON = BOND / np.sqrt(3) * np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
NEWTON_STEPS = 4
COMPARED = 100

Angles = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Effort:
    """Units of a block: of ours and the SVDs, and of the loop, a hundred times slower; blocks."""

    batch: int
    loop: int
    blocks: int


FULL = Effort(batch=100_000, loop=2_000, blocks=9)
QUICK = Effort(batch=2_000, loop=100, blocks=2)


# --- what is measured ----------------------------------------------------------------------------


def sets(units: int, ligands: int, noise: float) -> tuple[Angles, Angles]:
    """Make reference and current vectors; the first units are the same however many there are."""
    rng = np.random.default_rng(1)
    ideal = TETRAHEDRON
    if ligands != len(TETRAHEDRON):
        ideal = rng.normal(size=(ligands, 3))
        ideal *= BOND / np.linalg.norm(ideal, axis=1, keepdims=True)
    turned = Rotation.from_quat(rng.normal(size=(units, 4))).as_matrix().transpose(0, 2, 1)
    jolts = np.random.default_rng(2).normal(size=(units, 2, ligands, 3))
    reference = ideal + noise * jolts[:, 0]
    return reference, reference @ turned + noise * jolts[:, 1]


def by_kernel(reference: Angles, current: Angles) -> Angles:
    angles: Angles = _kernels.kabsch(reference, current)["angle"]
    return angles


def by_loop(reference: Angles, current: Angles) -> Angles:
    pairs = zip(reference, current, strict=True)
    return np.array([Rotation.align_vectors(q, p)[0].magnitude() for p, q in pairs])


def by_svd(reference: Angles, current: Angles) -> Angles:
    """Kabsch (1976): R = U diag(1, 1, det(U V^T)) V^T of the covariance, q by p."""
    covariance = current.transpose(0, 2, 1) @ reference
    u, _, vt = np.linalg.svd(covariance)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    r = u @ vt
    trace = np.trace(r, axis1=1, axis2=2)
    across = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]])
    return np.arctan2(np.linalg.norm(across, axis=0), trace - 1)


METHODS: dict[str, Callable[[Angles, Angles], Angles]] = {
    "ours": by_kernel,
    "align_vectors": by_loop,
    "svd": by_svd,
}


def serve(args: argparse.Namespace) -> None:
    """Answer each line ``run N`` with the time of one pass over the first N units."""
    method = METHODS[args.role]
    reference, current = sets(args.units, args.ligands, args.noise)
    method(reference[:100], current[:100])
    print(REPLY + json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        units = int(line.split()[1])
        p, q = reference[:units], current[:units]
        start = time.perf_counter()
        angles = method(p, q)
        seconds = time.perf_counter() - start
        answer = {"ns": 1e9 * seconds / units, "angles": angles[:COMPARED].tolist()}
        if args.role == "ours":
            answer["floor"] = floor(units, args.ligands)
        print(REPLY + json.dumps(answer), flush=True)


# --- the floor -----------------------------------------------------------------------------------


def counts(ligands: int) -> dict[str, int]:
    """Bytes and floating-point operations of one unit; a division or root counts as one."""
    flops = (
        (18 + 12) * ligands  # nine products and two squares, summed
        + 11  # two roots, a product, nine divisions in one
        + 20  # Horn's matrix
        + 18 + 17 + 36 + 11  # its polynomial: squares, determinant of S, minors, their sum
        + 12 * NEWTON_STEPS
        + 4 + 36 + 50  # the adjugate: shift, minors, ten entries
        + 13 + 7  # its column normalised, the polynomial's sign
        + 30 + 24 * ligands  # rotation matrix, and what it leaves of each vector
        + 10 + 20  # root, angle
    )  # fmt: skip
    return {"flops": flops, "bytes": 2 * 24 * ligands + 8 * (4 + 1 + 1) + 1}


def floor(units: int, ligands: int) -> float:
    """Least time of one unit on this core, ns."""
    needed = counts(ligands)
    rates = machine_rates(units * needed["bytes"])
    return 1e9 * max(needed["bytes"] / rates["bytes_per_s"], needed["flops"] / rates["flops_per_s"])


# --- the table -----------------------------------------------------------------------------------


def measure(args: argparse.Namespace, peer: str, units: int, blocks: int) -> list[Any]:
    """Let ours and a peer take turns on so many units, and return the replies of both."""
    more = ["--units", str(units), "--ligands", str(args.ligands), "--noise", str(args.noise)]
    command = [sys.executable, __file__, *more]
    with (
        Worker([*command, "--role", "ours"]) as ours,
        Worker([*command, "--role", peer]) as theirs,
    ):
        mine, others = take_turns([ours, theirs], steps=units, blocks=blocks)
    apart = np.subtract(mine[-1]["angles"], others[-1]["angles"])
    if not abs(apart).max() < APART_RAD:
        raise SystemExit(f"{peer}: angles are {abs(apart).max():.2g} rad apart")
    return [mine, others]


def speed_up(name: str, replies: list[Any], goal: str) -> Row:
    """How many times faster ours is: the peer's time over ours."""
    ours, theirs = ([reply["ns"] for reply in side] for side in replies)
    row = compare(name, theirs, ours, unit="ns", goal=goal)
    return Row(name, "ns", row.peer, row.value, row.ratio, row.low, row.high, goal)


def rows(args: argparse.Namespace) -> list[Row]:
    effort = QUICK if args.quick else FULL
    batch = args.units or effort.batch
    loop = measure(args, "align_vectors", min(effort.loop, batch), effort.blocks)
    svd = measure(args, "svd", batch, effort.blocks)
    needed = counts(args.ligands)
    name = f"ours / floor ({needed['bytes']} B, {needed['flops']} flop a unit)"
    ours = [reply["ns"] for reply in svd[0]]
    return [
        speed_up(f"faster than align_vectors, {args.ligands} vectors", loop, ">= 100"),
        speed_up(f"faster than a batch of SVDs, {batch} units", svd, ">= 10"),
        compare(name, ours, [reply["floor"] for reply in svd[0]], unit="ns"),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=0, help="of a block (default: 100000)")
    parser.add_argument("--ligands", type=int, default=4, help="vectors of a unit (default: 4)")
    parser.add_argument("--noise", type=float, default=0.1, help="Å a coordinate (default: 0.1)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: its numbers are noise")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    parser.add_argument("--role", choices=METHODS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.role:
        serve(args)
        return
    where = conditions(PACKAGES) | {"noise": args.noise, "threads": 1}
    try:
        table = rows(args)
    except WorkerError as err:
        raise SystemExit(str(err)) from None
    where["load at the end"] = round(os.getloadavg()[0], 2)
    print(report(table, where, as_json=args.json))


if __name__ == "__main__":
    main()
