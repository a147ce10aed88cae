"""A calculator in a process of its own: run as a script by the interpreter that has its packages.

The teachers and DFT codes need environments of their own (SevenNet and MACE want different e3nn),
so this file imports ASE and NumPy and nothing of this project. It reads one JSON object a line from
standard input and answers each with one line on what was standard output when it started; anything
that a calculator prints goes to standard error.

First line: ``{"kind", "model", "dispersion", "calculator", "arguments", "command"}``; answer:
``{"ready": versions}`` or ``{"error": text}``. Then frames: ``{"numbers", "positions", "cell",
"pbc"}``; answer: ``{"energy": eV, "forces": eV/Å, "stress": eV/Å3 in Voigt order}`` or
``{"error": text}``. Energies are free energies where a calculator smears occupations.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
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


class Reference:
    """Any ASE calculator that gives energy, forces and stress.

    Parameters
    ----------
    order : dict
        The first line.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._calculator = with_dispersion(order) if order.get("dispersion") else bare(order)
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
    module, _, name = order["calculator"].partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


def with_dispersion(order: dict[str, Any]) -> Any:
    """Make it with D3(BJ) for PBE added.

    References
    ----------
    S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011), doi:10.1002/jcc.21759.
    """
    from ase.calculators.mixing import SumCalculator
    from dftd3.ase import DFTD3

    return SumCalculator([bare(order), DFTD3(method="PBE", damping="d3bj")])


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
    except Exception as err:
        say({"error": one_line(f"{type(err).__name__}: {err}")})
        return
    say({"ready": reference.versions})
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
