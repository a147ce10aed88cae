"""cmake -D LBPSI_KOKKOS: what it asks for, what it takes over from a build of LAMMPS, in-tree."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CMAKE = shutil.which("cmake")
pytestmark = pytest.mark.skipif(CMAKE is None, reason="no cmake on PATH")

CACHE = """
CMAKE_HOME_DIRECTORY:INTERNAL={tree}/cmake
CMAKE_CXX_COMPILER:FILEPATH={compiler}
PKG_KOKKOS:BOOL=ON
PKG_PLUGIN:BOOL=ON
BUILD_SHARED_LIBS:BOOL=ON
"""
DEFINES = '-DLAMMPS_BIGBIG -DLMP_KOKKOS -DNAME="\\"a b\\"" -Dlammps_EXPORTS'
INCLUDES = "-I{tree}/src -I{tree}/src/KOKKOS -isystem /opt/mpi/include"
FLAGS = "-O2 -fPIC -fopenmp -std=c++20"
MAKE_RULES = f"""# made by CMake
CXX_DEFINES = {DEFINES}

CXX_INCLUDES = {INCLUDES}

CXX_FLAGS = {FLAGS}
"""
NINJA_RULES = f"""
build CMakeFiles/kokkoscore.dir/a.cpp.o: CXX_COMPILER /a.cpp
  DEFINES = -DOTHER
  FLAGS = -O0
  INCLUDES = -I/other

build CMakeFiles/lammps.dir/{{tree}}/src/lammps.cpp.o: CXX_COMPILER /lammps.cpp || order
  DEFINES = {DEFINES}
  DEP_FILE = CMakeFiles/lammps.dir/lammps.cpp.o.d
  FLAGS = {FLAGS}
  INCLUDES = {INCLUDES}

build CMakeFiles/lmp.dir/main.cpp.o: CXX_COMPILER /main.cpp
  FLAGS = -O1
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The little of a LAMMPS source tree that is looked at."""
    (tmp_path / "lammps" / "src").mkdir(parents=True)
    (tmp_path / "lammps" / "cmake").mkdir()
    (tmp_path / "lammps/src/lammps.h").touch()
    (tmp_path / "lammps/src/version.h").write_text('#define LAMMPS_VERSION "10 Sep 2025"\n')
    return tmp_path / "lammps"


@pytest.fixture
def built(tree: Path) -> Path:
    """And of a folder that it was compiled in."""
    folder = tree / "build"
    (folder / "CMakeFiles" / "lammps.dir").mkdir(parents=True)
    compiler = shutil.which("c++") or "c++"
    (folder / "CMakeCache.txt").write_text(CACHE.format(tree=tree, compiler=compiler))
    (folder / "CMakeFiles/lammps.dir/flags.make").write_text(MAKE_RULES.format(tree=tree))
    return folder


def configure(folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    given = [f"-D{key}={value}" for key, value in settings.items()]
    return subprocess.run(
        [str(CMAKE), "-S", ROOT, "-B", folder / "out", "-G", "Unix Makefiles", *given],
        capture_output=True,
        text=True,
        check=False,
    )


def error(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of its error."""
    assert result.returncode != 0
    lines = re.findall(r"LBPSI_KOKKOS: .*", result.stderr)
    assert len(lines) == 1, result.stderr
    return lines[0]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_errors_are_one_line(tmp_path: Path, tree: Path, built: Path) -> None:
    def ask(**settings: object) -> str:
        return error(configure(tmp_path, LBPSI_KOKKOS="ON", **settings))

    typed = error(configure(tmp_path, LBPSI_KOKKOS="INTREE"))
    assert typed == "LBPSI_KOKKOS: INTREE; expected ON, OFF or IN_TREE"
    assert "Give -D LAMMPS_SOURCE_DIR=" in ask()
    nowhere = tmp_path / "nowhere"
    assert f"{nowhere} is no LAMMPS source tree" in ask(LAMMPS_SOURCE_DIR=nowhere)
    here = {"LAMMPS_SOURCE_DIR": tree / "src"}
    assert "Give -D LAMMPS_BUILD_DIR=" in ask(**here)
    assert f"{tree} holds no CMakeCache.txt" in ask(**here, LAMMPS_BUILD_DIR=tree)
    here["LAMMPS_BUILD_DIR"] = built
    cache = built / "CMakeCache.txt"
    whole = cache.read_text()
    for old, new, expected in (
        (f"{tree}/cmake", "/elsewhere/cmake", "is a build of /elsewhere/cmake, not of"),
        ("PKG_KOKKOS:BOOL=ON", "PKG_KOKKOS:BOOL=OFF", "configure it with -D PKG_KOKKOS=on"),
        ("PKG_PLUGIN:BOOL=ON\n", "", "configure it with -D PKG_PLUGIN=on"),
        ("LIBS:BOOL=ON", "LIBS:BOOL=OFF", "or put the styles into its tree: -D LBPSI_KOKKOS=IN_"),
    ):
        edit(cache, old, new)
        assert expected in ask(**here)
        cache.write_text(whole)
    rules = built / "CMakeFiles/lammps.dir/flags.make"
    edit(rules, "-fopenmp", "-extended-lambda -arch=sm_80")
    assert "CMAKE_CXX_COMPILER=<bin/nvcc_wrapper of that Kokkos>" in ask(**here)
    rules.write_text("CXX_FLAGS = -O2\n")
    assert "do not tell how lammps is compiled" in ask(**here)
    rules.unlink()
    assert "Unix Makefiles or Ninja" in ask(**here)
    (tree / "src/version.h").write_text("#define LAMMPS_VERSION 4\n")
    assert 'a date as "4 Feb 2025" was expected' in ask(**here)


@pytest.mark.parametrize("rules", ["make", "ninja"])
def test_compiled_as_lammps_was(tmp_path: Path, tree: Path, built: Path, rules: str) -> None:
    if rules == "ninja":
        (built / "CMakeFiles/lammps.dir/flags.make").unlink()
        (built / "build.ninja").write_text(NINJA_RULES.format(tree=tree))
    done = configure(tmp_path, LBPSI_KOKKOS="ON", LAMMPS_SOURCE_DIR=tree, LAMMPS_BUILD_DIR=built)
    assert done.returncode == 0, done.stderr
    assert "LAMMPS 10 Sep 2025 with KOKKOS" in done.stdout
    target = tmp_path / "out/cpp/kokkos/CMakeFiles/lbpsikkplugin.dir"
    made = (target / "flags.make").read_text()
    flags = re.search(r"CXX_FLAGS = (.*)", made)[1]
    assert re.search(r"-O2 -fPIC -fopenmp -std=c\+\+20 ", flags)
    assert re.findall(r"-std=\S+|-O\d", flags) == ["-O2", "-std=c++20"]
    assert "-DLAMMPS_BIGBIG" in flags
    assert "lammps_EXPORTS" not in made
    assert "-DOTHER" not in made
    assert 'NAME=\\"a b\\"' in flags
    for include in (tree / "src", tree / "src/KOKKOS", "/opt/mpi/include"):
        assert f"-isystem {include}" in made
    assert "-DLBPSI_LAMMPS_RELEASE=20250910" in made
    # neither LAMMPS nor Kokkos nor MPI nor Python is linked
    link = (target / "link.txt").read_text()
    assert not re.search(r"-l(?!dl\b)\w|liblammps|kokkos\w*\.(a|so\b)|libmpi|python", link), link


def test_sources_go_into_the_tree(tmp_path: Path, tree: Path) -> None:
    done = configure(tmp_path, LBPSI_KOKKOS="IN_TREE", LAMMPS_SOURCE_DIR=tree)
    assert done.returncode == 0, done.stderr
    install = [str(CMAKE), "--install", tmp_path / "out"]
    subprocess.run(install, check=True, capture_output=True)
    src = tree / "src"
    table = src / "lbpsi" / "table_data.h"
    made = table.read_text()
    # sources of a newer checkout come with its table, without another cmake -S
    table.write_text("stale")
    subprocess.run(install, check=True, capture_output=True)
    assert table.read_text() == made
    new = {path for path in src.rglob("*.*") if path.name not in ("lammps.h", "version.h")}
    outside = {path.name for path in new if path.parent == src}
    assert all("lbpsi" in name for name in outside)
    # every source is compiled once, by a file of src/ itself, and finds what it includes
    compiled = set()
    for path in src.glob("lbpsi_*.cpp"):
        (inner,) = re.findall(r'#include "(.*)"', path.read_text())
        compiled.add(src / inner)
    assert compiled == {path for path in (src / "lbpsi").rglob("*.cpp")}
    assert {"motif.cpp", "compute_motif.cpp", "fix_halo_kokkos.cpp"} <= {p.name for p in compiled}
    assert not any("plugin" in path.name or "mliap" in path.name for path in new)
    names = {path.name for path in new}
    for path in new:
        for name in re.findall(r'#include "((?:\.\./|lbpsi/).*)"', path.read_text()):
            base = src if name.startswith("lbpsi/") else path.parent
            assert (base / name).is_file(), (path, name)
            assert Path(name).name in names
    styles = "".join((src / name).read_text() for name in ("compute_lbpsi.h", "fix_lbpsi.h"))
    for plugin in (ROOT / "cpp/lammps/plugin.cpp", ROOT / "cpp/kokkos/plugin_kokkos.cpp"):
        for category, name in re.findall(r'\{"(compute|fix)", "([\w/]+)"', plugin.read_text()):
            assert f"{category.title()}Style({name}," in styles
