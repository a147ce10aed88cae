"""``train export``: a MACE ``.model`` as LAMMPS loads it, with its card and hash.

``NAME.pt`` is what ``pair_style mliap/py`` and ``pair_style mliap unified`` load, ``NAME.json`` its
card and ``NAME.sha256`` what ``sha256sum -c`` checks. The file that was written is loaded again and
compared with ASE's calculator of the ``.model`` in float64 before the card says so.
"""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from pydantic import BaseModel
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lbpsi_driver import __version__, machine, manifest, potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.mliap import LoadedModel, MLIAPError, import_torch, load
from lbpsi_driver.training.models import mace_calculator, mace_file
from lbpsi_driver.training.options import ExportOptions

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Largest difference from ASE in float64, relative to the largest value of the quantity."""
CUEQ_TOLERANCE = 1e-6
"""With cuEquivariance, whose conversion changes the basis of the weights (2e-8 in float64)."""

_FEW_ELEMENTS = 5
_WIDTH = 77
_PACKAGES = ("torch", "mace-torch", *(name.replace("_", "-") for name in potential.CUEQ_PACKAGES))

logger = logging.getLogger(__name__)


class ExportResult(BaseModel):
    """Result of ``train export``: what was written and how LAMMPS loads it.

    Attributes
    ----------
    name : str
        Name of the files.
    folder : Path
        Where they are.
    model : Path
        The MACE ``.model`` that it was made from.
    head, dtype, device : str
        Which of its heads, its precision, and where it is to run.
    cueq : bool
        Whether it uses cuEquivariance's kernels.
    elements : tuple of str
        Elements that it knows.
    cutoff : float
        Radius of its neighbor list, Å.
    parameters : int
        How many numbers were fitted.
    sha256 : dict of str to str
        Hashes of the files, the ``.model`` among them.
    differences : dict of str to float
        Largest difference of energy, forces and stress from ASE's calculator in float64, relative
        to the largest value.
    trust : str
        What the card says about it.
    """

    name: str
    folder: Path
    model: Path
    head: str
    dtype: str
    device: str
    cueq: bool
    elements: tuple[str, ...]
    cutoff: float
    parameters: int
    sha256: dict[str, str]
    differences: dict[str, float]
    trust: str

    @property
    def file(self) -> Path:
        """The model for LAMMPS."""
        return self.folder / f"{self.name}.pt"

    @property
    def card(self) -> Path:
        """The card beside it."""
        return self.folder / f"{self.name}.json"

    @property
    def lines(self) -> dict[str, tuple[str, ...]]:
        """Lines of a LAMMPS input, by the kind of LAMMPS; elements in the order of the types."""
        coefficients = f"pair_coeff * * {' '.join(self.elements)}"
        quoted = f'"{self.file}"' if " " in str(self.file) else str(self.file)
        return {
            "LAMMPS with this plugin": (
                f"pair_style mliap/py {quoted} device {self.device}",
                coefficients,
            ),
            "LAMMPS with KOKKOS": (f"pair_style mliap unified {quoted} 0", coefficients),
        }

    def table(self) -> Group:
        """Lay the result out for the terminal, with the lines to put into a LAMMPS input."""
        table = Table(title="Exported model", show_header=False)
        table.add_column()
        table.add_column(overflow="fold")
        kernels = ", cuEquivariance" if self.cueq else ""
        table.add_row("file", str(self.file))
        table.add_row("card", f"{self.card} (trust: {self.trust})")
        table.add_row("sha256", self.sha256[self.file.name])
        table.add_row("made for", f"{self.device}, {self.dtype}{kernels}")
        table.add_row("head", self.head)
        table.add_row("elements", " ".join(self.elements))
        table.add_row("cutoff", f"{self.cutoff:g} Å")
        table.add_row("parameters", f"{self.parameters}")
        found = ", ".join(f"{name} {value:.0e}" for name, value in self.differences.items())
        table.add_row("largest difference from ASE in float64", f"{found} of the largest value")
        lines = [
            line
            for kind, own in self.lines.items()
            for line in (f"# {kind}, units metal, newton on, elements of types 1, 2, …", *own)
        ]
        text = "\n".join(_broken(line) for line in lines)
        return Group(table, Text(text, overflow="fold"))


def _broken(line: str) -> str:
    """Break a line of a LAMMPS input with LAMMPS's own sign, before the terminal breaks it."""
    parts = textwrap.wrap(
        line,
        _WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return " &\n".join(parts)


def export(options: ExportOptions, *, dry_run: bool = False) -> ExportResult | None:
    """Write a model for LAMMPS with its card and hash, and check what was written.

    Parameters
    ----------
    options : ExportOptions
        The model, its head, precision, device and the elements that it must know.
    dry_run : bool
        Check the model and the folder, and stop.

    Returns
    -------
    ExportResult or None
        Unless ``dry_run``.

    Raises
    ------
    UsageError
        No MACE ``.model``, no such head, an element that it does not know, cuEquivariance or a GPU
        that is not there, a folder of another configuration, or a written file that gives other
        forces than the model.
    """
    source = mace_file(str(options.model))
    name = _name(options, source)
    claim: dict[str, Any] = {
        "folder": options.output,
        "verb": "export",
        "options": options,
        "force": options.force,
        "inputs": {"model": source} | ({"card": options.card} if options.card else {}),
        "owns": [f"{name}{suffix}" for suffix in (".pt", ".json", ".sha256")],
    }
    _refuse(options, source)
    if dry_run:
        manifest.refuse_conflict(**claim)
        return None
    run = manifest.open_run(**claim)
    if run.finished is not None:
        old = ExportResult.model_validate(run.finished | {"folder": options.output})
        if old.device == options.device and _is_whole(old):
            return old
    result = _write(options, source, name)
    run.finish(result.model_dump(mode="json"))
    return result


def _name(options: ExportOptions, source: Path) -> str:
    name = options.name or source.stem
    if Path(name).name != name:
        raise UsageError(f"--name {name}: expected a name without a folder; give that as --output")
    return name


def _refuse(options: ExportOptions, source: Path) -> None:
    """Refuse what can be refused before anything is written."""
    known = potential.known_elements(source)
    unknown = [element for element in options.elements if element not in known]
    if unknown:
        raise UsageError(
            f"--elements: {source.name} does not know {', '.join(unknown)}; it knows"
            f" {', '.join(known)}: fit it to frames that hold {', '.join(unknown)}"
        )
    if options.cueq and options.device != "cuda":
        raise UsageError("--cueq: its kernels are CUDA's; add --device cuda or leave --cueq out")
    if options.cueq:
        potential.refuse_cueq()


def _is_whole(result: ExportResult) -> bool:
    files = (result.file, result.card)
    return all(
        path.is_file() and manifest.sha256(path) == result.sha256.get(path.name) for path in files
    )


def _write(options: ExportOptions, source: Path, name: str) -> ExportResult:
    file = options.output / f"{name}.pt"
    card = _read_card(options, source)
    potential.export(source, file, dtype=options.dtype, head=options.head, cueq=options.cueq)
    ran_on = _check_device(options)
    try:
        loaded = load(str(file), device=ran_on)
    except MLIAPError as err:
        raise UsageError(str(err)) from err
    head = options.head or potential.heads(source)[-1]
    result = ExportResult(
        name=name,
        folder=options.output,
        model=source,
        head=head,
        dtype=options.dtype,
        device=options.device,
        cueq=options.cueq,
        elements=tuple(loaded.elements),
        cutoff=loaded.cutoff,
        parameters=potential.parameters(potential.read_model(source)),
        sha256={one.name: manifest.sha256(one) for one in (source, file)},
        differences=_compare(loaded, source, head, options),
        trust=str(card.get("trust", "unknown")),
    )
    facts = _facts(result, ran_on)
    card |= {"name": name, "trust": result.trust, "elements": loaded.elements, "export": facts}
    manifest.write_atomic(result.card, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    result.sha256[result.card.name] = manifest.sha256(result.card)
    sums = [f"{result.sha256[one.name]}  {one.name}\n" for one in (result.file, result.card)]
    manifest.write_atomic(file.with_suffix(".sha256"), "".join(sums))
    return result


def _facts(result: ExportResult, ran_on: str) -> dict[str, Any]:
    """Collect what the card says about the export."""
    shared = {"head", "dtype", "device", "cueq", "parameters", "sha256"}
    return {
        "model": result.model.name,
        "cutoff_A": result.cutoff,
        **result.model_dump(mode="json", include=shared),
        "checked": {
            "against": "ASE's MACECalculator of the .model in float64",
            "on": ran_on,
            "largest_relative_differences": result.differences,
        },
        "versions": {"lbpsi_driver": __version__}
        | {package: machine.installed_version(package) for package in _PACKAGES},
    }


def _check_device(options: ExportOptions) -> str:
    """Where the check runs: without cuEquivariance the file is the same for CPU and GPU."""
    if options.device == "cuda" and not import_torch().cuda.is_available():
        logger.warning("--device cuda: torch sees no CUDA GPU here, so the check runs on the CPU")
        return "cpu"
    return options.device


def _read_card(options: ExportOptions, source: Path) -> dict[str, Any]:
    """Read the card that was given, or that lies beside the ``.model``."""
    path = options.card or source.with_suffix(".json")
    if options.card is None and not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise UsageError(f"--card {path}: {err}; expected the JSON card of train validate") from err
    if not isinstance(card, dict):
        raise UsageError(f"--card {path}: expected a JSON object, the card of train validate")
    return card


def _compare(
    loaded: LoadedModel, source: Path, head: str, options: ExportOptions
) -> dict[str, float]:
    """Evaluate one cell by the written file and by ASE; refuse what differs beyond rounding."""
    usual = [one for one in machine.USUAL_ELEMENTS if one in loaded.elements]
    atoms = machine.lattice(options.elements or usual or loaded.elements[:_FEW_ELEMENTS])
    with potential.default_dtype("float64"), machine.quiet():
        atoms.calc = mace_calculator([str(source)], dtype="float64", head=head)
        reference = machine.Forces(
            atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        )
    with potential.default_dtype(options.dtype):
        differences = evaluate(loaded, atoms).differences(reference)
    largest, limit = max(differences.values()), TOLERANCE[options.dtype]
    if options.cueq:
        limit = max(limit, CUEQ_TOLERANCE)
    if not largest < limit:
        raise UsageError(
            f"{source.name}: exported in {options.dtype} it differs from ASE in float64 by"
            f" {largest:.0e} of the largest value, expected under {limit:.0e}; try --dtype float64"
            f"{', or without --cueq' if options.cueq else ''}"
        )
    return differences


class PeriodicData:
    """ML-IAP's unified data for one process without ghosts: an image of an atom is that atom.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic; small cells are fine, pairs are listed with all images.
    elements : sequence of str
        Elements of the model, in its order.
    cutoff : float
        Of the pairs, Å.
    """

    def __init__(self, atoms: ase.Atoms, elements: Sequence[str], cutoff: float) -> None:
        self.pair_i, self.pair_j, self.rij = neighbor_list("ijD", atoms, cutoff)
        self.nlocal = self.nlistatoms = self.ntotal = len(atoms)
        self.npairs = len(self.pair_i)
        self.elems = np.array([list(elements).index(symbol) for symbol in atoms.symbols])
        self.eatoms = np.zeros(len(atoms))
        self.energy = 0.0
        self.pair_forces = np.zeros((self.npairs, 3))

    def forward_exchange(self, source: Any, target: Any, _width: int) -> None:
        """Copy features of atoms to their ghosts: there are none."""
        target.copy_(source)

    def reverse_exchange(self, source: Any, target: Any, _width: int) -> None:
        """Add gradients of ghosts to their atoms: there are none."""
        target.copy_(source)

    def update_pair_forces_gpu(self, pair_forces: Any) -> None:
        """Take the force of each pair on its first atom, eV/Å."""
        self.pair_forces = pair_forces.detach().cpu().numpy()


def evaluate(model: LoadedModel, atoms: ase.Atoms) -> machine.Forces:
    """Evaluate a model for LAMMPS without LAMMPS.

    Parameters
    ----------
    model : LoadedModel
        What ``mliap.load`` gave.
    atoms : ase.Atoms
        Periodic, of elements that it knows.

    Returns
    -------
    Forces
        Energy (eV), forces (eV/Å) and stress (eV/Å3) in ASE's sign and order.
    """
    data = PeriodicData(atoms, model.elements, model.cutoff)
    model.compute(data)
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, data.pair_i, data.pair_forces)
    np.subtract.at(forces, data.pair_j, data.pair_forces)
    # dE/d(strain): the force of a pair on its first atom is dE/dr_ij.
    strain = data.rij.T @ data.pair_forces / atoms.get_volume()
    return machine.Forces(data.energy, forces, full_3x3_to_voigt_6_stress(strain))
