"""Cells: pack building units with Packmol, read and write LAMMPS data files."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.io import read as ase_read
from ase.io import write as ase_write
from ase.io.lammpsdata import read_lammps_data, write_lammps_data
from pydantic import BaseModel, ConfigDict
from scipy.spatial import KDTree

from lbpsi_driver import composition, manifest, motif_history
from lbpsi_driver.config import BuildOptions, UsageError
from lbpsi_driver.observables.motif_summary import summarise
from lbpsi_driver.observables.motifs import find_motifs
from lbpsi_driver.units import cell_volume, density_g_per_cm3

if TYPE_CHECKING:
    from rich.table import Table

DATA = "data.lammps"
EXTXYZ = "structure.extxyz"
OWNS = (DATA, EXTXYZ)
PACKMOL_FOLDER = "packmol"
PACKMOL_INPUT = "packmol.inp"

_LARGEST_SEED = 2**31 - 1
# Packmol gives up after this many loops: a cell that packs at all does so in a few, one that is
# too dense would keep it busy for minutes.
_PACKMOL_LOOPS = 60
# Packmol calls a packing solved with a small violation left (its `precision`).
_PACKMOL_SLACK_A = 0.05
_MASS_SLACK_AMU = 0.5
_SAME_DISTANCE_A = 1e-6
_MEND_HOMOPOLAR = "a short melt keeps some; fewer: larger --tolerance, lower --density"


class BuildResult(BaseModel):
    """What ``build`` made.

    Attributes
    ----------
    counts : dict of str to int
        Numbers of the packed ions and molecular units.
    elements : dict of str to int
        Numbers of atoms of each element, in the order of the LAMMPS atom types.
    mol_percent : dict of str to float
        Realised composition, mol % of the salts.
    atoms : int
        Atoms in the cell.
    density : float
        Density, g/cm3.
    box : tuple of float
        Lengths of the cubic box, Å.
    homopolar : dict of str to int
        Bonds between formers, and between S, that the packing has by chance, as ``S-S``.
    files : dict of str to Path
        What was written: ``data``, ``extxyz`` and ``packmol``; the last alone after a dry run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts: dict[str, int]
    elements: dict[str, int]
    mol_percent: dict[str, float]
    atoms: int
    density: float
    box: tuple[float, float, float]
    homopolar: dict[str, int] = {}
    files: dict[str, Path]

    def table(self) -> Table:
        """Render the result for a terminal."""
        from rich.table import Table

        table = Table("quantity", "value", title="build")
        realised = "  ".join(f"{salt} {share:.2f}" for salt, share in self.mol_percent.items())
        table.add_row("packed", "  ".join(f"{name} {n}" for name, n in self.counts.items()))
        table.add_row("composition, mol %", realised)
        table.add_row("atoms", str(self.atoms))
        table.add_row("density, g/cm3", f"{self.density:.4f}")
        table.add_row("box, Å", " x ".join(f"{length:.4f}" for length in self.box))
        if self.homopolar:
            found = "  ".join(f"{pair} {n}" for pair, n in self.homopolar.items())
            table.add_row("homopolar bonds", f"{found}\n{_MEND_HOMOPOLAR}")
        for name, path in self.files.items():
            table.add_row(name, str(path))
        return table


def build(options: BuildOptions, *, dry_run: bool = False) -> BuildResult:
    """Pack a cell of a given composition, size and density at random.

    The same options and seed give the same cell. A finished folder is not packed again.

    Parameters
    ----------
    options : BuildOptions
        What to build and where to write it.
    dry_run : bool
        Write Packmol's input and stop.

    Returns
    -------
    BuildResult
        Numbers of units, realised composition, box and files.

    Raises
    ------
    UsageError
        A composition that can't be made, a density that can't be packed, a folder that can't be
        written or that holds another configuration.

    References
    ----------
    L. Martínez et al., J. Comput. Chem. 30, 2157 (2009), doi:10.1002/jcc.21224.
    """
    folder = options.output
    planned = plan(options)
    if dry_run:
        manifest.refuse_conflict(folder, "build", options, force=options.force, owns=OWNS)
        _write_packmol_input(folder, planned, options)
        return planned.model_copy(update={"files": {"packmol": planned.files["packmol"]}})
    run = manifest.open_run(folder, "build", options, force=options.force, owns=OWNS)
    if run.finished is not None and all(path.exists() for path in planned.files.values()):
        return BuildResult.model_validate({**run.finished, "files": planned.files})
    _write_packmol_input(folder, planned, options)
    _run_packmol(folder / PACKMOL_FOLDER, options)
    atoms = _packed_cell(folder / PACKMOL_FOLDER, planned)
    _check_contacts(atoms, options)
    atoms.positions %= planned.box[0]
    write_data(folder / DATA, atoms)
    text = io.StringIO()
    ase_write(text, atoms, format="extxyz")
    manifest.write_atomic(folder / EXTXYZ, text.getvalue())
    result = planned.model_copy(update={"homopolar": _homopolar(atoms)})
    run.finish(result.model_dump(mode="json"))
    return result


def type_elements(atoms: Atoms) -> list[str]:
    """Elements in the order of their LAMMPS atom types: Li B P S I, then others.

    Parameters
    ----------
    atoms : ase.Atoms
        A cell.

    Returns
    -------
    list of str
        Element of type 1, 2, …; those present only.
    """
    return _in_type_order(set(atoms.symbols))


def write_data(path: Path, atoms: Atoms) -> None:
    """Write a LAMMPS data file: ``metal`` units, ``atom_style atomic``, elements beside the masses.

    A cell that isn't lower triangular is rotated to LAMMPS' convention. Velocities are written
    where the cell has any. The file appears at once or not at all.

    Parameters
    ----------
    path : Path
        The file.
    atoms : ase.Atoms
        A cell periodic in three directions; positions in Å, wrapped into the box with image flags.

    Raises
    ------
    UsageError
        A cell without volume, or a file that can't be written.
    """
    _check_cell(path, atoms)
    # Arrays such as a stale `type` would override the order of types.
    clean = _plain(atoms)
    text = io.StringIO()
    write_lammps_data(
        text,
        clean,
        specorder=type_elements(clean),
        masses=True,
        velocities="momenta" in clean.arrays,
        write_image_flags=True,
        units="metal",
        atom_style="atomic",
    )
    manifest.write_atomic(path, text.getvalue())


def read_cell(path: Path) -> Atoms:
    """Read a cell from a LAMMPS data file, extxyz, CIF or POSCAR.

    Parameters
    ----------
    path : Path
        The file. LAMMPS data is known by a name ``data.*`` or an ending ``.data``, ``.lmp`` or
        ``.lammps``; its elements come from the comments of ``Masses``, else from the masses.
        Of several frames the last is read.

    Returns
    -------
    ase.Atoms
        Atoms in the order of their ids, periodic in three directions, unwrapped by the file's image
        flags; Å and, where the file has velocities, ASE's velocity units.

    Raises
    ------
    UsageError
        A file that can't be read, has no cell or unknown elements, or isn't in ``metal`` units.
    """
    is_data = path.name.startswith("data.") or path.suffix in {".data", ".lmp", ".lammps"}
    try:
        path.open("rb").close()
    except OSError as err:
        raise UsageError(f"{path}: {err.strerror}; expected a cell, as build writes it") from err
    try:
        atoms = _read_data(path) if is_data else _read_foreign(path)
    except UsageError:
        raise
    except Exception as err:
        # ASE's readers raise anything from KeyError to StopIteration on a damaged file.
        reason = " ".join(str(err).split()) or type(err).__name__
        wanted = "a LAMMPS data file" if is_data else "extxyz, CIF or POSCAR"
        raise UsageError(f"{path}: expected {wanted}, could not read it: {reason}") from err
    _check_cell(path, atoms)
    return atoms


def _units_of(options: BuildOptions) -> dict[str, int]:
    given = options.model_fields_set
    if options.units is None:
        percent = composition.parse_mol_percent(options.composition)
        return composition.formula_units(percent, options.atoms, options.rounding)
    if "composition" in given:
        raise UsageError(
            f"--units {options.units}: --composition is given too; give one of the two"
        )
    units = composition.parse_units(options.units)
    atoms = sum(composition.element_counts(units).values())
    if "atoms" in given and options.atoms != atoms:
        raise UsageError(f"--atoms {options.atoms}: --units make {atoms} atoms; leave out --atoms")
    return units


def plan(options: BuildOptions) -> BuildResult:
    """Work out everything about a cell but its positions, and write nothing.

    Parameters
    ----------
    options : BuildOptions
        What to build and where it would be written.

    Raises
    ------
    UsageError
        A composition that can't be made.
    """
    units = _units_of(options)
    counts = composition.element_counts(units)
    mass = sum(atomic_masses[atomic_numbers[symbol]] * n for symbol, n in counts.items())
    volume = cell_volume(mass, options.density)
    length = float(np.cbrt(volume))
    folder = options.output
    return BuildResult(
        counts=composition.packed_units(units),
        elements={symbol: counts[symbol] for symbol in _in_type_order(set(counts))},
        mol_percent=composition.mol_percent(counts) or {},
        atoms=sum(counts.values()),
        density=density_g_per_cm3(mass, length**3),
        box=(length, length, length),
        files={
            "data": folder / DATA,
            "extxyz": folder / EXTXYZ,
            "packmol": folder / PACKMOL_FOLDER / PACKMOL_INPUT,
        },
    )


def _in_type_order(symbols: set[str]) -> list[str]:
    first = composition.unit_table().type_order
    return [s for s in first if s in symbols] + sorted(symbols - set(first))


def _starting_geometry(formula: str) -> Atoms:
    unit = composition.unit_table().units[formula]
    if unit.symbols:
        return Atoms(unit.symbols, unit.positions)
    return Atoms(formula, [(0.0, 0.0, 0.0)])


def _write_packmol_input(folder: Path, planned: BuildResult, options: BuildOptions) -> None:
    inputs = folder / PACKMOL_FOLDER
    length = planned.box[0]
    lines = [
        f"tolerance {options.tolerance:g}",
        "filetype xyz",
        "output packed.xyz",
        # Packmol reads a 32-bit integer.
        f"seed {1 + (options.seed - 1) % _LARGEST_SEED}",
        f"nloop {_PACKMOL_LOOPS}",
        f"pbc {length:.8f} {length:.8f} {length:.8f}",
    ]
    with manifest.writing(inputs):
        inputs.mkdir(parents=True, exist_ok=True)
    for formula, number in planned.counts.items():
        lines += ["", f"structure {formula}.xyz", f"  number {number}", "end structure"]
        text = io.StringIO()
        ase_write(text, _starting_geometry(formula), format="xyz", comment=formula)
        manifest.write_atomic(inputs / f"{formula}.xyz", text.getvalue())
    manifest.write_atomic(inputs / PACKMOL_INPUT, "\n".join(lines) + "\n")


def _run_packmol(folder: Path, options: BuildOptions) -> None:
    log = folder / "packmol.log"
    with manifest.writing(log):
        # A packing left by another density would pass for this one.
        (folder / "packed.xyz").unlink(missing_ok=True)
    with manifest.writing(log), log.open("w") as out, (folder / PACKMOL_INPUT).open() as inp:
        # The launcher of the installed package, so that no PATH is needed.
        command = [sys.executable, "-m", "packmol.cli"]
        done = subprocess.run(command, cwd=folder, stdin=inp, stdout=out, stderr=out, check=False)
    text = log.read_text(encoding="utf-8", errors="replace")
    if done.returncode == 0 and "Success!" in text:
        return
    if "ENDED WITHOUT PERFECT PACKING" in text:
        raise UsageError(
            f"--density {options.density:g}: Packmol found no packing with --tolerance"
            f" {options.tolerance:g}; lower --density or --tolerance (see {log})"
        )
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")
    raise UsageError(
        f"Packmol failed ({last}); see {log}, or install it again: pip install packmol"
    )


def _packed_cell(folder: Path, planned: BuildResult) -> Atoms:
    packed = cast(Atoms, ase_read(folder / "packed.xyz", format="xyz"))
    sizes = [
        sum(composition.elements_of(formula).values())
        for formula, number in planned.counts.items()
        for _ in range(number)
    ]
    atoms = Atoms(packed.symbols, packed.positions, cell=planned.box, pbc=True)
    atoms.arrays["unit"] = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    return atoms


def _check_contacts(atoms: Atoms, options: BuildOptions) -> None:
    """Refuse a cell where two units, or a unit and its own image, overlap.

    The molecules must be whole, so that only an image is nearer than the atom itself.
    """
    length = atoms.cell[0, 0]
    tree = KDTree(atoms.positions % length, boxsize=length)
    cutoff = max(options.tolerance - _PACKMOL_SLACK_A, 0.0)
    first, second = tree.query_pairs(cutoff, output_type="ndarray").T
    vector = atoms.positions[second] - atoms.positions[first]
    nearest = np.linalg.norm(vector - length * np.rint(vector / length), axis=1)
    unit = atoms.arrays["unit"]
    through_wall = np.linalg.norm(vector, axis=1) > nearest + _SAME_DISTANCE_A
    overlapping = (unit[first] != unit[second]) | through_wall
    if overlapping.any():
        raise UsageError(
            f"--density {options.density:g}: units {nearest[overlapping].min():.2f} Å apart,"
            f" expected --tolerance {options.tolerance:g}; lower --density or --tolerance"
        )


def _homopolar(atoms: Atoms) -> dict[str, int]:
    """Count the bonds of formers to formers and of S to S; none of elements without motifs."""
    if motif_history.absent(atoms.symbols) is not None:
        return {}
    found = summarise(find_motifs(atoms))
    return found["homopolar"] | ({"S-S": found["S-S"]} if "S-S" in found else {})


def _read_data(path: Path) -> Atoms:
    text = path.read_text(encoding="utf-8")
    units = re.search(r"units = (\w+)", text.splitlines()[0] if text else "")
    if units is not None and units[1] != "metal":
        raise UsageError(f"{path}: units {units[1]}: expected metal; write it again in metal units")
    text = re.sub(r"^(Atoms\s*#\s*\w+)/kk\b", r"\1", text, count=1, flags=re.MULTILINE)
    return _plain(read_lammps_data(io.StringIO(text), Z_of_type=_type_numbers(path, text)))


def _type_numbers(path: Path, text: str) -> dict[int, int]:
    """Atomic number of each type, from the comments of Masses, else from the masses."""
    section = re.search(r"^Masses\b.*\n\s*\n((?:[ \t]*\d+[ \t].*(?:\n|\Z))+)", text, re.MULTILINE)
    if section is None:
        raise UsageError(f"{path}: no Masses section, expected one that tells the elements")
    numbers = {}
    for line in section[1].splitlines():
        values, _, comment = line.partition("#")
        kind, mass = values.split()[:2]
        symbol = comment.split()[0] if comment.split() else ""
        number = atomic_numbers.get(symbol) or int(np.argmin(np.abs(atomic_masses - float(mass))))
        if (
            abs(atomic_masses[number] - float(mass)) > _MASS_SLACK_AMU
            and symbol not in atomic_numbers
        ):
            raise UsageError(
                f"{path}: type {kind}, mass {mass}: expected an element's mass in amu;"
                " write the element as a comment, as in '1 6.94 # Li'"
            )
        numbers[int(kind)] = number
    return numbers


def _read_foreign(path: Path) -> Atoms:
    with warnings.catch_warnings():
        # ASE warns of CIF details that no simulation needs.
        warnings.simplefilter("ignore")
        # ASE reads collectively once mpi4py is imported, and one rank reads alone here.
        atoms = cast(Atoms, ase_read(path, index=-1, parallel=False))
    occupancy = atoms.info.get("occupancy", {})
    if any(len(site) > 1 or min(site.values()) < 1 for site in occupancy.values()):
        raise UsageError(f"{path}: partly occupied sites, expected whole atoms; order the cell")
    return _plain(atoms)


def _plain(atoms: Atoms) -> Atoms:
    """Keep what a simulation starts from: elements, positions, cell, masses, momenta."""
    return Atoms(
        list(atoms.symbols),
        atoms.positions,
        cell=atoms.cell,
        pbc=True,
        masses=atoms.get_masses(),
        momenta=atoms.arrays.get("momenta"),
    )


def _check_cell(path: Path, atoms: Atoms) -> None:
    if len(atoms) == 0 or atoms.cell.volume < 1e-6:
        raise UsageError(f"{path}: no atoms or no cell, expected a periodic cell with atoms")
    if 0 in atoms.numbers:
        raise UsageError(f"{path}: an atom of element X, expected elements; name them in the file")
