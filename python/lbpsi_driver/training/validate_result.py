"""Result of ``train validate`` for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lbpsi_driver.report.records import digits
from lbpsi_driver.training.parity import Errors


class CellOutcome(BaseModel):
    """What came of one cell.

    Attributes
    ----------
    formula : str
        Its atoms.
    melt_quench, npt : str
        ``held``, ``not run``, or why it was stopped.
    quenched_density_g_cm3, npt_density_g_cm3 : float or None
        Mean densities after the quench, and of the NPT run.
    drift_meV_per_atom_per_ps : float or None
        Drift of the energy at constant volume in float64.
    energy_volume_meV_per_atom : float or None
        Largest deviation of energy against volume.
    """

    model_config = ConfigDict(frozen=True)

    formula: str
    melt_quench: str
    npt: str
    quenched_density_g_cm3: float | None
    npt_density_g_cm3: float | None
    drift_meV_per_atom_per_ps: float | None
    energy_volume_meV_per_atom: float | None


class PairOutcome(BaseModel):
    """What came of one pair of elements: least distances in Å, and where each scan attracts."""

    model_config = ConfigDict(frozen=True)

    shortest_A: float | None
    reference_shortest_A: float | None
    hole_alone_A: float | None
    hole_in_cell_A: float | None
    repels: bool | None


class ValidateResult(BaseModel):
    """Result of ``train validate``: the numbers that count; the card has all of them.

    Attributes
    ----------
    name : str
        Name of the model.
    card : Path
        Its card.
    trust : str
        How far it was tested.
    sets : dict of str to Errors
        Errors on each set of frames.
    cells : dict of str to CellOutcome
        By the cell's name.
    pairs : dict of str to PairOutcome
        By pair of elements.
    limits : str
        Checks that it failed.
    not_tested : tuple of str
        What was switched off, or had nothing to compare with.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    card: Path
    trust: str
    sets: dict[str, Errors]
    cells: dict[str, CellOutcome]
    pairs: dict[str, PairOutcome]
    limits: str
    not_tested: tuple[str, ...]

    @classmethod
    def of(cls, card: Mapping[str, Any], parts: Mapping[str, Any], path: Path) -> ValidateResult:
        """Take from a card and the parts what a terminal shows."""
        return cls(
            name=card["name"],
            card=path,
            trust=card["trust"],
            sets={name: Errors(**found) for name, found in _sets(parts)},
            cells={name: _cell(name, run, parts) for name, run in parts["dynamics"].items() if run},
            pairs=_pairs(parts),
            limits=card["limits"],
            not_tested=tuple(card["not_tested"]),
        )

    def table(self) -> Group:
        """Lay the result out for the terminal; the columns carry their units."""
        tables = [_error_table(self.sets), _cell_table(self.cells), _pair_table(self.pairs)]
        shown = [table for table in tables if table.row_count]
        remarks = [f"{self.name}: {self.trust}", f"limits: {self.limits}"]
        if self.not_tested:
            remarks.append(f"not tested: {'; '.join(self.not_tested)}")
        return Group(*shown, *map(Text, [*remarks, f"card: {self.card}"]))


def _sets(parts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    titles = {
        "independent": "independent test set",
        "own": "own NPT",
        "paper": "own NPT + independent",
        "quench": "own melt-quench",
    }
    for name, title in titles.items():
        part = parts[name]
        if part:
            yield title, part["all"]
            for group in ("by_cell", "by_cell_and_stage"):
                for member, found in part.get(group, {}).items():
                    yield f"{title}, {member}", found


def _cell(name: str, run: Mapping[str, Any], parts: Mapping[str, Any]) -> CellOutcome:
    quench, npt = run.get("melt-quench") or {}, run.get("NPT") or {}
    drift = ((parts["drift"] or {}).get(name) or {}).get("float64") or {}
    slope = drift.get("drift_eV_per_atom_per_ps")
    curve = (parts["energy_volume"] or {}).get(name) or {}
    return CellOutcome(
        formula=run["formula"],
        melt_quench=_how(quench),
        npt=_how(npt),
        quenched_density_g_cm3=quench.get("density_g_cm3"),
        npt_density_g_cm3=npt.get("density_g_cm3"),
        drift_meV_per_atom_per_ps=None if slope is None else 1e3 * slope,
        energy_volume_meV_per_atom=curve.get("largest_deviation_meV_per_atom"),
    )


def _how(run: Mapping[str, Any]) -> str:
    if not run:
        return "not run"
    return str(run["stopped"] or "held")


def _pairs(parts: Mapping[str, Any]) -> dict[str, PairOutcome]:
    least = (parts["contacts"] or {}).get("shortest_A", {})
    scans = {(one["pair"], one["place"]): one for one in parts["short_range"] or []}
    names = {pair for found in least.values() for pair in found} | {pair for pair, _ in scans}
    made = {}
    for pair in sorted(names):
        own = [least.get(key, {}).get(pair) for key in ("own_npt", "own_melt_quench")]
        own = [value for value in own if value is not None]
        found = {place: scans.get((pair, place)) for place in ("alone", "in_cell")}
        known = [one["repels"] for one in found.values() if one]
        holes = {place: one["hole_A"] if one else None for place, one in found.items()}
        made[pair] = PairOutcome(
            shortest_A=min(own, default=None),
            reference_shortest_A=least.get("reference", {}).get(pair),
            hole_alone_A=holes["alone"],
            hole_in_cell_A=holes["in_cell"],
            repels=all(known) if known else None,
        )
    return made


def _error_table(sets: Mapping[str, Errors]) -> Table:
    table = Table(title="Model minus reference: RMSE (MAE)")
    table.add_column("frames of")
    for column in ("number", "E / meV/atom", "F / meV/Å", "F by element", "stress / MPa"):
        table.add_column(column, justify="right")
    for name, one in sets.items():
        table.add_row(
            name,
            str(one.frames),
            f"{one.energy_rmse_meV_per_atom:.1f} ({one.energy_mae_meV_per_atom:.1f})",
            f"{one.force_rmse_meV_per_A:.0f} ({one.force_mae_meV_per_A:.0f})",
            " ".join(
                f"{element} {value:.0f}" for element, value in one.force_rmse_by_element.items()
            ),
            f"{one.stress_rmse_MPa:.0f} ({one.stress_mae_MPa:.0f})",
        )
    return table


def _cell_table(cells: Mapping[str, CellOutcome]) -> Table:
    table = Table(title="Dynamics of the model itself")
    for column in ("cell", "atoms", "melt-quench", "NPT"):
        table.add_column(column)
    for column in (
        "ρ quenched / g/cm3",
        "ρ NPT / g/cm3",
        "drift / meV/atom/ps",
        "E(V) off by / meV/atom",
    ):
        table.add_column(column, justify="right")
    for name, one in cells.items():
        table.add_row(
            name,
            one.formula,
            one.melt_quench,
            one.npt,
            digits(one.quenched_density_g_cm3),
            digits(one.npt_density_g_cm3),
            digits(one.drift_meV_per_atom_per_ps),
            digits(one.energy_volume_meV_per_atom),
        )
    return table


def _pair_table(pairs: Mapping[str, PairOutcome]) -> Table:
    table = Table(title="Pairs")
    table.add_column("pair")
    for column in (
        "shortest / Å",
        "reference's / Å",
        "attracts alone / Å",
        "attracts in cell / Å",
        "repels",
    ):
        table.add_column(column, justify="right")
    verdict = {True: "yes", False: "NO", None: "-"}
    for pair, one in pairs.items():
        distances = (
            one.shortest_A,
            one.reference_shortest_A,
            one.hole_alone_A,
            one.hole_in_cell_A,
        )
        table.add_row(pair, *map(digits, distances), verdict[one.repels])
    return table
