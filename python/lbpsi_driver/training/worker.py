"""A calculator in a process of its own: run as a script by the interpreter that has its packages.

The teachers and DFT codes need environments of their own (SevenNet and MACE want different e3nn),
so this file imports ASE and NumPy and nothing of this project. It reads one JSON object a line from
standard input and answers each with one line on what was standard output when it started; anything
that a calculator prints goes to standard error.

First line: ``{"kind", "model", "dispersion", "calculator", "arguments", "command"}``; answer:
``{"ready": versions, "elements": symbols or null}``, null where a calculator does not tell them, or
``{"error": text, "cause": "order", "package" or "other"}``. Then frames: ``{"numbers",
"positions", "cell", "pbc"}``; answer: ``{"energy": eV, "forces": eV/Å, "stress": eV/Å3 in Voigt
order}`` or ``{"error": text}``. Energies are free energies where a calculator smears occupations.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.metadata
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = {
    "sevennet": ("sevenn", "torch", "dftd3"),
    "mace": ("mace-torch", "torch", "dftd3"),
    "cp2k": ("ase",),
    "ase": ("ase",),
}
"""Whose versions are stored beside the labels, by kind of reference."""

CP2K_LABEL = "cp2k"


class OrderError(Exception):
    """The first line asks for what isn't there."""


class Reference:
    """Any ASE calculator that gives energy, forces and stress.

    Parameters
    ----------
    order : dict
        The first line.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        model = bare(order)
        self.elements = known_elements(model)
        self._calculator = with_dispersion(model) if order.get("dispersion") else model
        self.versions = {name: version(name) for name in PACKAGES[order["kind"]]}

    def evaluate(self, atoms: Any) -> dict[str, Any]:
        """Return the atoms' energy, forces and stress."""
        atoms.calc = self._calculator
        return results(atoms)


class CP2K:
    """CP2K by ASE's calculator, in a process a frame: no frame starts from another's density.

    CP2K 2023.1 answers with what it has where the SCF did not converge, with no more than a warning
    in its output; later releases stop. So the output has the last word.

    Parameters
    ----------
    order : dict
        The first line.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._command = order["command"]
        self._arguments = order["arguments"]
        self.elements: list[str] | None = None
        self.versions = {"cp2k": cp2k_version(self._command), "ase": version("ase")}

    def evaluate(self, atoms: Any) -> dict[str, Any]:
        """Return the atoms' energy, forces and stress; raise where the SCF did not converge."""
        from ase.calculators import cp2k

        output = Path(f"{CP2K_LABEL}.out")
        output.unlink(missing_ok=True)
        calculator = cp2k.CP2K(command=self._command, label=CP2K_LABEL, **self._arguments)
        atoms.calc = calculator
        try:
            found = results(atoms)
        except (AssertionError, ValueError, OSError) as err:
            # ASE's words for a shell that has ended.
            raise RuntimeError(cp2k_reason(output)) from err
        finally:
            # Its output is whole when it has ended.
            with contextlib.suppress(AssertionError, OSError):
                calculator.close()
        if not cp2k_converged(output):
            raise RuntimeError(cp2k_reason(output))
        return found


def results(atoms: Any) -> dict[str, Any]:
    """Ask a calculator: energy (eV), forces (eV/Å), stress (eV/Å3, xx yy zz yz xz xy)."""
    forces = atoms.get_forces().tolist()
    stress = atoms.get_stress(voigt=True).tolist()
    energy = atoms.calc.results.get("free_energy", atoms.get_potential_energy())
    return {"energy": float(energy), "forces": forces, "stress": stress}


def bare(order: dict[str, Any]) -> Any:
    """Make the ASE calculator that the first line asks for."""
    kind, arguments = order["kind"], order.get("arguments", {})
    if kind == "sevennet":
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(order["model"], **({"device": "cpu"} | arguments))
    if kind == "mace":
        from mace.calculators import MACECalculator

        # In float32 the energy of a cell is rounded to 0.1 meV.
        defaults = {"device": "cpu", "default_dtype": "float64"}
        return MACECalculator(model_paths=order["model"], **(defaults | arguments))
    return named(order["calculator"])(**arguments)


def named(calculator: str) -> Any:
    """Find a class by ``module:class``; what isn't there is told with what is close."""
    module, _, name = calculator.partition(":")
    asked = f"calculator = {calculator}: "
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as err:
        parent, _, last = str(err.name).rpartition(".")
        if not parent or not f"{module}.".startswith(f"{err.name}."):
            raise
        places = importlib.import_module(parent).__path__
        inside = [one.name for one in pkgutil.iter_modules(places)]
        raise OrderError(f"{asked}{parent} has no module {last}{close(last, inside)}") from err
    if not hasattr(home, name):
        classes = {key: one for key, one in vars(home).items() if isinstance(one, type)}
        own = [key for key, one in classes.items() if one.__module__ == module]
        raise OrderError(f"{asked}{module} has no {name}{close(name, own or list(classes))}")
    return getattr(home, name)


def close(word: str, known: list[str]) -> str:
    """Name the nearest of the known words, or else some of them."""
    public = sorted(one for one in known if not one.startswith("_"))
    near = difflib.get_close_matches(word, public, n=1)
    near += [one for one in public if one.startswith(word)]
    if near:
        return f"; did you mean {near[0]}?"
    return f"; it has {', '.join(public[:10])}" if public else ""


def known_elements(calculator: Any) -> list[str] | None:
    """Elements that a calculator knows, where it tells them as those of MACE and SevenNet do."""
    from ase.data import chemical_symbols

    numbers = getattr(getattr(calculator, "z_table", None), "zs", None)
    if numbers is None and isinstance(getattr(calculator, "type_map", None), dict):
        numbers = calculator.type_map
    return None if numbers is None else [chemical_symbols[int(n)] for n in sorted(numbers)]


def with_dispersion(calculator: Any) -> Any:
    """Add D3(BJ) for PBE to a calculator.

    References
    ----------
    S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011), doi:10.1002/jcc.21759.
    """
    from ase.calculators.mixing import SumCalculator
    from dftd3.ase import DFTD3

    return SumCalculator([calculator, DFTD3(method="PBE", damping="d3bj")])


def cp2k_version(command: str) -> str:
    """Release of CP2K that a command line runs.

    Parameters
    ----------
    command : str
        As ``cp2k.psmp --shell``; a launcher may stand before it.
    """
    words = [word for word in shlex.split(command) if word not in ("-s", "--shell")]
    done = subprocess.run(
        [*words, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    found = re.search(r"CP2K version\s+(\S+)", done.stdout)
    if not found:
        raise RuntimeError(f"`{command}` runs no CP2K: {one_line(done.stderr or done.stdout)}")
    return found[1]


def cp2k_converged(output: Path) -> bool:
    """Tell from its output whether CP2K's SCF converged."""
    text = output.read_text(errors="replace") if output.is_file() else ""
    failed = "NOT converged" in text or "FAILED to converge" in text
    return not failed and bool(re.search(r"SCF (run|loop) converged", text))


def cp2k_reason(output: Path) -> str:
    """Say in one line why CP2K has no result: its last complaint."""
    text = output.read_text(errors="replace") if output.is_file() else ""
    if "NOT converged" in text or "FAILED to converge" in text:
        return "CP2K: the SCF did not converge"
    # A complaint stands in a box of asterisks beside a picture, and is broken into lines.
    found = re.search(r"\[ABORT\](.*?)\*{20}", text, re.DOTALL)
    words = found[1].replace("*", " ").split() if found else []
    said = " ".join(word for word in words if word.strip("O/\\|_-"))
    return f"CP2K stopped: {said or 'no reason given'}"


def answer(reference: Reference | CP2K, frame: dict[str, Any]) -> dict[str, Any]:
    """Evaluate one frame.

    Parameters
    ----------
    reference : Reference or CP2K
        Who evaluates.
    frame : dict
        Numbers, positions (Å), cell (Å), pbc.

    Returns
    -------
    dict
        Energy (eV), forces (eV/Å), stress (eV/Å3, xx yy zz yz xz xy); or ``error``.
    """
    from ase import Atoms

    try:
        return reference.evaluate(Atoms(**frame))
    except Exception as err:
        return {"error": one_line(f"{type(err).__name__}: {err}")}


def main() -> None:
    """Answer until standard input ends."""
    # A script's folder comes first: what lies beside this file must not pass for other packages.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [place for place in sys.path if place != here]
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    order = json.loads(sys.stdin.readline())
    try:
        reference: Reference | CP2K = CP2K(order) if order["kind"] == "cp2k" else Reference(order)
    except OrderError as err:
        say({"error": one_line(str(err)), "cause": "order"})
        return
    except Exception as err:
        cause = "package" if isinstance(err, ImportError) else "other"
        say({"error": one_line(f"{type(err).__name__}: {err}"), "cause": cause})
        return
    say({"ready": reference.versions, "elements": reference.elements})
    for line in sys.stdin:
        say(answer(reference, json.loads(line)))


def one_line(text: str) -> str:
    """Join lines."""
    return " ".join(text.split())


def version(package: str) -> str | None:
    """Version of an installed package; None where it has none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
