"""The records of ``elastic``: what ``elastic.json`` holds, and their tables for a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lbpsi_driver import __version__
from lbpsi_driver.observables.elasticity import DIRECTIONS
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.report.records import Record, digits

ELASTIC = "elastic.json"

DEFINITIONS = {
    "C": "stress-strain coefficients at the stress of the reference, ions relaxed, 0 K; order "
    "xx, yy, zz, yz, xz, xy; least squares over both signs of six strains",
    "asymmetry": "largest |C_ij - C_ji|/2 before C was made symmetric",
    "least_stiffness": "least eigenvalue of C; positive: the cell is stable (Born)",
    "misfit": "largest share of a change of stress that C leaves over",
    "voigt": "uniform strain: upper bound",
    "reuss": "uniform stress: lower bound",
    "hill": "B and G: means of Voigt and Reuss; E = 9BG/(3B + G), nu = (3B - 2G)/(6B + 2G)",
    "anisotropy": "universal index 5 G_V/G_R + B_V/B_R - 6",
    "moduli": "means of the replicas' own moduli; of_mean_tensor: moduli of the mean C, whose "
    "bounds are closer, since replicas differ in their axes",
    "ci95": "95 % interval of the mean over replicas, Student's; nothing else is in it",
}


class ModuliRecord(Record):
    """Moduli in one average; None where a cell is unstable."""

    B_GPa: float | None
    G_GPa: float | None
    E_GPa: float | None
    nu: float | None


class ModuliEstimate(Record):
    """Moduli in one average, over the replicas."""

    B_GPa: Estimate
    G_GPa: Estimate
    E_GPa: Estimate
    nu: Estimate


class ElasticReplica(Record):
    """Elastic tensor of one cell, and how far to trust it; keys end in their unit.

    `stress_GPa` (positive in tension) and `density_g_cm3` are those of the reference,
    `given_density_g_cm3` that before it was relaxed; `misfit` and `force_eV_per_A` are the largest
    of all states, by the state's name.
    """

    data: Path
    folder: Path
    C_GPa: list[list[float]]
    asymmetry_GPa: float
    least_stiffness_GPa: float
    stable: bool
    stress_GPa: list[float]
    density_g_cm3: float
    given_density_g_cm3: float
    misfit: tuple[str, float]
    force_eV_per_A: tuple[str, float]
    moduli: dict[str, ModuliRecord]
    anisotropy: float | None


class ElasticResult(Record):
    """Result of ``elastic``: what ``elastic.json`` holds.

    Attributes
    ----------
    moduli : dict of str to ModuliEstimate
        By average: ``voigt``, ``reuss``, ``hill``.
    C_GPa, C_ci95_GPa : list of list
        Mean tensor and its intervals, None with fewer than three replicas.
    of_mean_tensor : dict of str to ModuliRecord
        Moduli of that tensor.
    replicas : list of ElasticReplica
        In the order of `data`.
    warnings : list of str
        What a reader of the numbers should know.
    """

    verb: str = "elastic"
    version: str = __version__
    output: Path
    strain: float
    temperature_K: float = 0.0
    moduli: dict[str, ModuliEstimate]
    anisotropy: Estimate
    density_g_cm3: Estimate
    C_GPa: list[list[float]]
    C_ci95_GPa: list[list[tuple[float, float]]] | None
    of_mean_tensor: dict[str, ModuliRecord]
    replicas: list[ElasticReplica]
    warnings: list[str]
    definitions: dict[str, str] = DEFINITIONS

    def table(self) -> Group:
        """Lay the result out for the terminal: moduli, mean tensor, remarks."""
        number = len(self.replicas)
        title = f"Elastic moduli at 0 K, {number} replica{'s' if number > 1 else ''}"
        table = Table(title=title, box=SIMPLE_HEAD)
        for head in ("", "Hill", "Voigt", "Reuss"):
            table.add_column(head, justify="right" if head else "left")
        for key, name in {
            "B_GPa": "B / GPa",
            "G_GPa": "G / GPa",
            "E_GPa": "E / GPa",
            "nu": "ν",
        }.items():
            found = [getattr(self.moduli[average], key) for average in ("hill", "voigt", "reuss")]
            table.add_row(name, *map(_show, found))
        tensor = Table(title="C / GPa, mean", box=SIMPLE_HEAD)
        for head in ("", *DIRECTIONS):
            tensor.add_column(head, justify="right")
        for name, row in zip(DIRECTIONS, self.C_GPa, strict=True):
            tensor.add_row(name, *(f"{round(value, 2) + 0.0:.2f}" for value in row))
        return Group(table, tensor, *map(Text, self._lines()))

    def _lines(self) -> list[str]:
        stress = max(max(map(abs, one.stress_GPa)) for one in self.replicas)
        reason = self.moduli["hill"].B_GPa.reason
        return [
            f"ρ {_show(self.density_g_cm3)} g/cm³, universal anisotropy {_show(self.anisotropy)}, "
            f"stress of the reference up to {stress:.2g} GPa",
            *([f"B, G, E, ν: {reason}"] if reason else []),
            *(f"warning: {warning}" for warning in self.warnings),
            f"written: {self.output / ELASTIC}",
        ]


def _show(estimate: Estimate) -> str:
    """Write number and interval in a line."""
    if estimate.mean is None or estimate.ci95 is None:
        return digits(estimate.mean)
    return f"{digits(estimate.mean)} ({digits(estimate.ci95[0])} to {digits(estimate.ci95[1])})"
