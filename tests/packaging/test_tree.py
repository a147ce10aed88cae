"""Rules of the tree that no linter knows: which way imports point, one version, listed sources."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lbpsi_driver import __version__
from lbpsi_driver.verbs import VERBS

ROOT = Path(__file__).parents[2]
CPP = ROOT / "cpp"
PACKAGE = ROOT / "python" / "lbpsi_driver"

MODULES = sorted(PACKAGE.rglob("*.py"))
HEADERS_AND_SOURCES = sorted(path for path in CPP.rglob("*") if path.suffix in {".h", ".cpp"})
LISTS = sorted([ROOT / "CMakeLists.txt", *CPP.rglob("CMakeLists.txt")])

# Folders of cpp/ that each may include from, itself apart.
ALLOWED = {
    "core": set(),
    "mliap": {"core"},
    "lammps": {"core", "mliap"},
    "kokkos": {"core", "lammps"},
    "bindings": {"core"},
}
HOSTS = {
    "LAMMPS": re.compile(r"lammps/"),
    "MPI": re.compile(r"mpi\.h"),
    "Kokkos": re.compile(r"Kokkos_|.*_kokkos\.h|kokkos\w*\.h"),
    "Python": re.compile(r"Python\.h|pybind11/"),
}
# The hosts whose types each folder may know.
KNOWS = {
    "core": set(),
    "mliap": {"Python"},
    "lammps": {"LAMMPS", "MPI"},
    "kokkos": {"LAMMPS", "MPI", "Kokkos"},
    "bindings": {"Python"},
}
DOORS = {"lammps": "engine.py", "mpi4py": "parallel.py"}
EXTRAS = {"torch", "mace", "e3nn", "sevenn", "dftd3"}
MOST_LINES = 500
# Headers that the build makes, and the folder of cpp/ that they belong to.
MADE = {"lbpsi/table_data.h": "core"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- C++ ---------------------------------------------------------------------------------------


def includes(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the opening mark, ``<`` or a quote, and the name of each include."""
    yield from re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(), re.M)


def own_folder(path: Path, name: str) -> str | None:
    """The folder of cpp/ that an include leads to; None where it leads out of cpp/."""
    for base in (path.parent, CPP / "core" / "include"):
        found = (base / name).resolve()
        if found.is_file() and found.is_relative_to(CPP):
            return found.relative_to(CPP).parts[0]
    return MADE.get(name)


def test_every_folder_of_cpp_has_its_rule():
    assert {path.relative_to(CPP).parts[0] for path in HEADERS_AND_SOURCES} <= set(ALLOWED)


@pytest.mark.parametrize("path", HEADERS_AND_SOURCES, ids=relative)
def test_includes_point_one_way(path):
    folder = path.relative_to(CPP).parts[0]
    for mark, name in includes(path):
        target = own_folder(path, name)
        if target is not None:
            assert target in ALLOWED[folder] | {folder}, f"{folder} must not include {name}"
            continue
        for host, pattern in HOSTS.items():
            if host not in KNOWS[folder]:
                assert not pattern.match(name), f"{folder} must not know {host} ({name})"
        # what is quoted and not ours is LAMMPS's: its headers lie in a folder given to the compiler
        assert mark == "<" or "LAMMPS" in KNOWS[folder], f"{folder} must not know {name}"
        if folder == "core":
            assert re.fullmatch(r"\w+", name), f"{name}: standard headers only"


def test_plugin_shares_one_header_with_its_python_half():
    """More would be code in two binaries, one of which may meet no Python."""
    shared = {
        name
        for path in (CPP / "lammps").iterdir()
        for _, name in includes(path)
        if name.startswith("../mliap/")
    }
    assert shared == {"../mliap/model.h"}


def test_headers_are_guarded():
    for path in HEADERS_AND_SOURCES:
        if path.suffix == ".h":
            guards = re.findall(r"^#ifndef (\w+_H)\n#define \1$", path.read_text(), re.M)
            assert len(guards) == 1, f"{relative(path)} needs one include guard"


def test_sources_are_listed_one_by_one():
    for file in LISTS:
        text = re.sub(r"#.*", "", file.read_text())
        assert not re.search(r"\bfile\s*\(\s*GLOB|\baux_source_directory", text), relative(file)
        assert "march=native" not in text
        assert "fast-math" not in text
    listed = {
        (file.parent / name).resolve()
        for file in LISTS
        for name in re.findall(r"[\w./-]+\.cpp\b", file.read_text())
    }
    assert {path for path in HEADERS_AND_SOURCES if path.suffix == ".cpp"} == listed


# --- Python ------------------------------------------------------------------------------------


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def in_type_checking(tree: ast.Module) -> set[ast.AST]:
    blocks = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    )
    return {inner for block in blocks for part in block.body for inner in ast.walk(part)}


def imported(path: Path, *, on_import: bool = False) -> set[str]:
    """Dotted names that a module imports, by statement or ``import_module("…")``.

    With ``on_import`` those only that come in with the module itself, not in a function later.
    """
    tree = parsed(path)
    skipped = in_type_checking(tree)
    if on_import:
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        skipped |= {i for f in ast.walk(tree) if isinstance(f, functions) for i in ast.walk(f)}
    return {name for node in ast.walk(tree) if node not in skipped for name in names_in(node)}


def names_in(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "absolute imports only"
        assert node.module is not None
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        first = node.args[0]
        if isinstance(first, ast.Constant):
            return [str(first.value)]
    return []


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_each_host_has_one_door(library, door):
    users = {relative(path) for path in MODULES if library in tops(imported(path))}
    assert users == {f"python/lbpsi_driver/{door}"}


def test_torch_comes_in_when_it_is_needed():
    """A plain install has none of the extras, so that no module may import one by itself."""
    users = {path.name: tops(imported(path, on_import=True)) & EXTRAS for path in MODULES}
    assert not {name: found for name, found in users.items() if found}


def test_entry_point_and_package_import_the_standard_library_only():
    for name in ("__init__.py", "_plugin.py"):
        assert tops(imported(PACKAGE / name)) <= sys.stdlib_module_names, name


def test_the_worker_of_a_reference_knows_nothing_of_this_package():
    """Another interpreter runs it by its path, in an environment that has the reference alone."""
    path = PACKAGE / "training" / "worker.py"
    assert "lbpsi_driver" not in tops(imported(path))
    assert tops(imported(path, on_import=True)) <= sys.stdlib_module_names


def test_options_of_training_import_no_library_but_pydantic():
    """The command line's help is made from them."""
    found = tops(imported(PACKAGE / "training" / "options.py"))
    assert found <= sys.stdlib_module_names | {"lbpsi_driver", "pydantic"}


def test_observables_and_report_know_no_stage_and_no_host():
    """They take arrays and files, so that they serve trajectories that nobody here wrote."""
    stages = {verb.module for verb in VERBS.values()} | {"cli", "engine", "parallel", "verbs"}
    forbidden = {f"lbpsi_driver.{stage}" for stage in stages}
    for path in MODULES:
        if path.parent.name in {"observables", "report"}:
            assert not imported(path) & forbidden, relative(path)


def test_nothing_imports_the_command_line():
    users = {path.name for path in MODULES if "lbpsi_driver.cli" in imported(path)}
    assert users == {"__main__.py"}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_short(path):
    lines = path.read_text().count("\n")
    assert lines <= MOST_LINES


# --- the version -------------------------------------------------------------------------------


def test_version_stands_in_one_place():
    pattern = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    folders = [ROOT / "python", CPP, ROOT / "cmake", ROOT / "lammps_inputs", ROOT / ".ci"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [ROOT / name for name in ("CMakeLists.txt", "pyproject.toml", "Makefile")]
    texts = [p for p in files if p.suffix in {"", ".py", ".h", ".cpp", ".cmake", ".toml", ".txt"}]
    holders = {relative(path) for path in texts if pattern.search(path.read_text(errors="ignore"))}
    assert holders == {"python/lbpsi_driver/__init__.py"}
