"""What a device needs of the core: headers that stand alone, and rules of one atom that suffice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lbpsi_driver import _kernels

ROOT = Path(__file__).parents[2]
HEADERS = ROOT / "cpp" / "core" / "include" / "lbpsi"
SOURCE = Path(__file__).with_name("on_device.cpp")
# What of the standard library a GPU compiler has in functions of its own.
INCLUDED = {"cmath", "cstddef", "cstdint", "cstring"}
CALLED = {"sqrt", "fabs", "atan2", "int64_t", "uint64_t", "size_t", "memcpy"}
SYMBOLS = ["Li", "B", "P", "S", "I"]
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
SIDE, HOLD = 21.0, 2
UNIT_COLUMNS = ("angle", "reduced", "axis", "residual", "state")
MOTIF_COLUMNS = ("unit", "coordination", "qn", "en", "cls", "anion", "anion_atoms")


def includes(text: str, mark: str) -> list[str]:
    return re.findall(rf'^#include {mark}([^>"]+)[>"]', text, re.M)


def device_headers() -> Iterator[Path]:
    """The headers that the source needs, and those that these need."""
    todo, seen = includes(SOURCE.read_text(), '"'), set()
    while todo:
        name = todo.pop().removeprefix("lbpsi/")
        if name in seen or name == "table_data.h":
            continue
        seen.add(name)
        yield HEADERS / name
        todo += includes((HEADERS / name).read_text(), '"')


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of headers with the one that the build makes."""
    folder = tmp_path_factory.mktemp("include")
    motifs = ROOT / "python" / "lbpsi_driver" / "data" / "motifs.toml"
    script = ROOT / "cmake" / "motif_table.py"
    made = folder / "lbpsi" / "table_data.h"
    subprocess.run([sys.executable, script, motifs, made], check=True)
    return folder


def build(compiler: list[str], table: Path, *options: str) -> None:
    folders = [f"-I{HEADERS.parent}", f"-I{table}"]
    # compilers do not go with the library that sanitizers are loaded from
    clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [*compiler, "-std=c++17", *folders, *options],
        capture_output=True,
        text=True,
        check=False,
        env=clean,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def program(table: Path) -> Path:
    """The source, built without what a device does not have."""
    compiler = os.environ.get("CXX", "").split() or [shutil.which("c++") or ""]
    if not compiler[0]:
        pytest.skip("needs a C++ compiler: c++, or the one that CXX names")
    output = table / "on_device"
    strict = ("-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti", "-O1")
    build(compiler, table, *strict, str(SOURCE), "-o", str(output))
    return output


def test_functions_call_nothing_that_only_a_host_has():
    headers = list(device_headers())
    marked = {
        path for path in HEADERS.iterdir() if re.search("^ *LBPSI_HD ", path.read_text(), re.M)
    }
    assert set(headers) == marked | {HEADERS / "hd.h"}
    for path in headers:
        text = re.sub(r"//.*", "", path.read_text())
        assert set(includes(text, "<")) <= INCLUDED, path.name
        assert set(re.findall(r"std::(\w+)", text)) <= CALLED, path.name
        assert not re.search(r"\b(throw|try|new|delete|virtual|static_assert)\b", text), path.name


def glass(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """PS4 and bare atoms of all kinds at random: types with some left out, positions."""
    rng = np.random.default_rng(seed)
    types, positions = [], []
    for centre in rng.uniform(0, SIDE, (25, 3)):
        types += [2, 3, 3, 3, 3]
        positions += [centre, *(centre + 2.05 * TETRAHEDRON + rng.normal(0, 0.05, (4, 3)))]
    types += list(rng.choice(5, 300, p=[0.3, 0.2, 0.05, 0.35, 0.1]))
    positions += list(rng.uniform(0, SIDE, (300, 3)))
    chosen = np.array(types, dtype=np.int32)
    chosen[rng.random(len(chosen)) < 0.03] = -1
    return chosen, np.array(positions)


def trajectory() -> tuple[np.ndarray, list[np.ndarray]]:
    """Types and five frames: units that stay, break, swap an S with another, and invert."""
    types, positions = glass(5)
    rng = np.random.default_rng(6)
    frames = [positions]
    for _ in range(4):
        frames.append(frames[-1] + rng.normal(0, 0.07, positions.shape))
    for frame in frames[2:]:
        frame[1:50:10], frame[6:50:10] = frame[6:50:10].copy(), frame[1:50:10].copy()
    for unit in frames[-1][50:100].reshape(-1, 5, 3):
        unit[1:] = 2 * unit[0] - unit[1:]
    return types, frames


def expected(
    frames: list[np.ndarray], types: np.ndarray
) -> tuple[list[np.ndarray], list[float], np.ndarray]:
    """The same from the kernels: columns and sum over bonds of each frame, table of the last."""
    n = len(types)
    ids = np.arange(1, n + 1)
    units = _kernels.UnitReferences(n, HOLD)
    columns, sums, classes = [], [], []
    for positions in frames:
        found = _kernels.find_motifs(positions, SIDE * np.eye(3), types, SYMBOLS, ids)
        former = np.isin(types, (1, 2))
        kinds = types[found["bond_j"]]
        owner = np.repeat(np.arange(n), np.diff(found["bond_start"]))
        ligand = former[owner] & (kinds == 3)
        start = np.concatenate([[0], np.cumsum(np.bincount(owner[ligand], minlength=n))])
        pyramid = np.bincount(owner[former[owner] & former[found["bond_j"]]], minlength=n) > 0
        turned = units.update(start, ids[found["bond_j"][ligand]], found["bond_d"][ligand], pyramid)
        for name in "angle", "reduced":
            turned[name] = np.degrees(turned[name])
        columns.append(
            np.column_stack(
                [found[name] for name in MOTIF_COLUMNS]
                + [turned[name] for name in (*UNIT_COLUMNS, "exchanges")]
            )
        )
        squares = (found["bond_d"] ** 2) @ [1.0, 2.0, 3.0]
        sums.append(float((1 + ids[found["bond_j"]] % 13) @ squares))
        classes.append(np.where(found["cls"] == 0, 13, found["cls"]))
    held = np.all(np.array(classes) == classes[0], axis=0)
    table = _kernels.displacements_by_class(classes[0], frames[-1] - frames[0], held)
    return columns, sums, table


def test_sweeps_over_atoms_give_what_the_kernels_give(program: Path):
    types, frames = trajectory()
    lines = []
    for frame in frames:
        lines.append(f"{len(types)} {SIDE}")
        lines += [
            f"{t} " + " ".join(map(repr, x.tolist())) for t, x in zip(types, frame, strict=True)
        ]
    done = subprocess.run(
        [program], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True
    )
    rows = done.stdout.splitlines()
    columns, sums, table = expected(frames, types)
    # the test is worth nothing where nothing happens
    assert len(np.unique(columns[0][:, 4])) > 8
    assert set(columns[-1][:, 13]) == {0, 1, 2, 3}
    assert columns[-1][:, 14].max() == 1
    n, prints = len(types), []
    for k, wanted in enumerate(columns):
        *atoms, last = rows[k * (n + 1) : (k + 1) * (n + 1)]
        mine = np.array([row.split() for row in atoms], dtype=float)
        exact = [*range(7), 13, 14]
        np.testing.assert_array_equal(mine[:, exact], wanted[:, exact])
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-9)
        prints.append(last.split())
    assert len({atoms for atoms, _ in prints}) == len(frames)
    np.testing.assert_allclose([float(bonds) for _, bonds in prints], sums, rtol=1e-12)
    mine = np.array([row.split() for row in rows[len(columns) * (n + 1) :]], dtype=float)
    np.testing.assert_allclose(mine, table, rtol=1e-10, atol=1e-12)


def test_a_gpu_compiler_takes_them(table: Path):
    nvcc = shutil.which("nvcc")
    if not nvcc:
        pytest.skip("needs nvcc")
    # a call of a function of the host is a warning only
    strict = ("-Werror", "all-warnings", "-x", "cu", "-ptx")
    build([nvcc], table, *strict, str(SOURCE), "-o", str(table / "on_device.ptx"))
