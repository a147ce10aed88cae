"""Output in VASP's format, written here: no VASP ran. Labels are those of a toy calculator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.calculators.lj import LennardJones
from ase.units import GPa

NELM = 200


def labels_of(atoms) -> dict:
    bare = atoms.copy()
    bare.calc = LennardJones(sigma=2.7, epsilon=0.15, rc=5.5, smooth=True)
    return {
        "energy": bare.get_potential_energy(),
        "forces": bare.get_forces(),
        "stress": bare.get_stress(),
    }


def write_xml(folder: Path, *, steps: int = 12) -> None:
    """Write vasprun.xml of the folder's POSCAR; kB and the sign of VASP (compression positive)."""
    atoms = ase.io.read(folder / "POSCAR", parallel=False)
    write_dynamics(folder, [atoms], steps=steps)


def write_dynamics(folder: Path, frames: Sequence[ase.Atoms], *, steps: int = 2) -> None:
    """Write vasprun.xml of dynamics: a calculation of some electronic steps for each frame."""
    first = frames[0]
    species = "".join(f"<rc><c>{symbol:2s}</c><c>1</c></rc>\n" for symbol in first.symbols)
    (folder / "vasprun.xml").write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<generator>'
        '<i name="program" type="string">vasp </i>'
        '<i name="version" type="string">6.3.0  </i></generator>\n'
        '<kpoints><varray name="kpointlist" ><v> 0.0 0.0 0.0 </v></varray>'
        '<varray name="weights" ><v> 1.0 </v></varray></kpoints>\n'
        f'<parameters><i type="int" name="NELM"> {NELM} </i></parameters>\n'
        f'<atominfo><atoms> {len(first)} </atoms><array name="atoms" ><set>\n{species}</set>'
        "</array></atominfo>\n"
        + _structure(first, ' name="initialpos" ')
        + "\n"
        + "".join(_calculation(atoms, steps) for atoms in frames)
        + _structure(frames[-1], ' name="finalpos" ')
        + "\n</modeling>\n"
    )


def _calculation(atoms: ase.Atoms, steps: int) -> str:
    found = labels_of(atoms)
    voigt = -found["stress"] / (0.1 * GPa)
    kilobar = voigt[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    energy = "".join(
        f'<i name="{name}"> {value:.8f} </i>'
        for name, value in (
            ("e_fr_energy", found["energy"]),
            ("e_wo_entrp", found["energy"] + 0.02),
            ("e_0_energy", found["energy"] + 0.01),
        )
    )
    step = f"<scstep><energy>{energy}</energy></scstep>\n"
    return (
        f"<calculation>\n{steps * step}{_structure(atoms)}\n{_rows('forces', found['forces'])}"
        f"{_rows('stress', kilobar)}<energy>{energy}</energy>\n</calculation>\n"
    )


def _structure(atoms: ase.Atoms, name: str = "") -> str:
    return (
        f"<structure{name}><crystal>{_rows('basis', atoms.cell.array)}</crystal>"
        f"{_rows('positions', atoms.get_scaled_positions())}</structure>"
    )


def _rows(name: str, values) -> str:
    lines = "".join(f"<v> {x:.8f} {y:.8f} {z:.8f} </v>\n" for x, y, z in values)
    return f'<varray name="{name}" >\n{lines}</varray>\n'


def write_outcar(folder: Path, *, converged: bool = True) -> None:
    """Write OUTCAR of the folder's POSCAR."""
    atoms = ase.io.read(folder / "POSCAR", parallel=False)
    found = labels_of(atoms)
    xx, yy, zz, yz, xz, xy = -found["stress"] / (0.1 * GPa)
    kinds = list(dict.fromkeys(atoms.symbols))
    counts = [list(atoms.symbols).count(kind) for kind in kinds]
    potcar = "".join(f" POTCAR:    PAW_PBE {kind} 01Jan2000\n" for kind in kinds)
    lattice = "".join(
        "   " + " ".join(f"{x:14.9f}" for x in [*row, *inverse]) + "\n"
        for row, inverse in zip(atoms.cell.array, np.linalg.inv(atoms.cell.array).T, strict=True)
    )
    table = "".join(
        "   "
        + "".join(f"{x:13.5f}" for x in place)
        + "  "
        + "".join(f"{x:14.6f}" for x in force)
        + "\n"
        for place, force in zip(atoms.positions, found["forces"], strict=True)
    )
    end = "aborting loop because EDIFF is reached" if converged else "aborting loop EDIFF not met"
    dashes = " " + 83 * "-" + "\n"
    (folder / "OUTCAR").write_text(
        " vasp.6.3.0 20Jan22 (build) gamma-only\n"
        + potcar
        + potcar
        + "   ISPIN  =      1    spin polarized calculation?\n"
        + f"   ions per type =  {' '.join(map(str, counts))}\n"
        + "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of"
        + " bands    NBANDS=      4\n"
        + " k-points in reciprocal lattice and weights: Gamma\n"
        + "   0.00000000  0.00000000  0.00000000       1.000\n"
        + "------------------------ Iteration    1(   1)  ----------------------------\n"
        + f"------------------------ {end} ----------------------------------------\n"
        + "  in kB  "
        + " ".join(f"{x:11.5f}" for x in (xx, yy, zz, xy, yz, xz))
        + "\n"
        + "      direct lattice vectors                 reciprocal lattice vectors\n"
        + lattice
        + "\n POSITION                                       TOTAL-FORCE (eV/Angst)\n"
        + dashes
        + table
        + dashes
        + "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  "
        + 51 * "-"
        + "\n"
        + f"  free  energy   TOTEN  =  {found['energy']:18.8f} eV\n\n"
        + f"  energy  without entropy= {found['energy'] + 0.02:16.8f}  energy(sigma->0) ="
        + f" {found['energy'] + 0.01:16.8f}\n\n"
        + " General timing and accounting informations for this job:\n"
    )
