"""How a run was made, from what it left: its first frame or cell, and the manifests of the way.

A sweep's manifest names the cell that it started from; beside that lies the quench's. Whatever is
not there, as for a trajectory that somebody else made, stays unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import ase.io

from lbpsi_driver import composition, structure
from lbpsi_driver.config import UsageError
from lbpsi_driver.manifest import stored_record
from lbpsi_driver.observables.trajectory import is_trajectory
from lbpsi_driver.report.results import AnalyzeResult
from lbpsi_driver.report.run_facts import RunFacts

CELLS = ("data.quenched", "data.final", "data.start", "data.lammps")
_ATOMS = "ITEM: ATOMS"
_NUMBER = "ITEM: NUMBER OF ATOMS"


def facts_of(result: AnalyzeResult, elements: Sequence[str] = ()) -> RunFacts:
    """Collect what is known of an analysed run.

    Parameters
    ----------
    result : AnalyzeResult
        Its results; files that they name may be gone.
    elements : sequence of str
        Symbols of LAMMPS types where a dump does not name them.

    Returns
    -------
    RunFacts
        With the atoms of its first frame or of its cell.
    """
    run = Path(result.run)
    folder = run if run.is_dir() else run.parent
    counts = element_counts(map(Path, result.inputs), folder, elements)
    sweep = stored_record(folder, "sweep") or stored_record(folder.parent, "sweep")
    quench = stored_record(folder, "quench") or stored_record(folder.parent, "quench")
    data = sweep.get("options", {}).get("data")
    if data is not None:
        beside = (Path(data).parent, folder / Path(data).parent)
        found = (
            stored_record(place, "quench") or stored_record(place.parent, "quench")
            for place in beside
        )
        quench = next((record for record in found if record), quench)
    made = sweep or quench
    melted: Mapping[str, Any] = quench.get("options", {})
    digests = made.get("configuration", {}).get("sha256", {})
    rows = [row for row in result.temperatures if row.temperature_K is not None]
    return RunFacts(
        elements=counts,
        mol_percent=composition.mol_percent(counts),
        temperatures_K=[row.temperature_K or 0.0 for row in rows],
        times_ps=[row.time_ps for row in rows],
        high_K=melted.get("high"),
        rate_K_per_ps=melted.get("rate"),
        hold_ps=melted.get("hold"),
        equilibrate_ps=melted.get("equilibrate"),
        model=_model(made.get("options", {})),
        model_sha256=digests.get("model") or digests.get("potential"),
        glass_sha256=sweep.get("configuration", {}).get("sha256", {}).get("data"),
    )


def elastic_facts(folder: Path, cells: Sequence[Path]) -> RunFacts:
    """Collect what is known of a run of ``elastic``.

    Parameters
    ----------
    folder : Path
        Its run folder.
    cells : sequence of Path
        The cells that it strained; those that are gone are passed over.
    """
    made = stored_record(folder, "elastic")
    quench = next(
        (record for cell in cells if (record := stored_record(cell.parent, "quench"))), {}
    )
    melted = quench.get("options", {})
    there = [cell for cell in cells if cell.is_file()]
    counts = _of_cell(there[0]) if there else Counter[str]()
    return RunFacts(
        elements=_ordered(counts),
        mol_percent=composition.mol_percent(counts),
        high_K=melted.get("high"),
        rate_K_per_ps=melted.get("rate"),
        hold_ps=melted.get("hold"),
        equilibrate_ps=melted.get("equilibrate"),
        model=_model(made.get("options", {})),
        replicas=len(cells),
    )


def element_counts(
    inputs: Iterable[Path], folder: Path, elements: Sequence[str] = ()
) -> dict[str, int]:
    """Count the atoms of a run by element.

    Parameters
    ----------
    inputs : iterable of Path
        What it was analysed from.
    folder : Path
        Its folder, where a cell may lie.
    elements : sequence of str
        Symbols of LAMMPS types where a dump does not name them.

    Returns
    -------
    dict of str to int
        In the order of LAMMPS types; empty where nothing tells.
    """
    for path in inputs:
        if path.is_file() and is_trajectory(path):
            return _ordered(_of_frame(path, elements))
    for place in (folder, folder.parent):
        for name in CELLS:
            if (place / name).is_file():
                return _ordered(_of_cell(place / name))
    return {}


def _of_frame(path: Path, elements: Sequence[str]) -> Counter[str]:
    """Atoms in the first frame, without the other ones."""
    with path.open(encoding="utf-8", errors="replace") as file:
        if not file.readline().startswith("ITEM:"):
            try:
                return Counter(next(ase.io.iread(path, index=0)).symbols)
            except Exception as err:  # ASE's readers raise whatever their parsers do
                reason = " ".join(str(err).split())
                raise UsageError(f"{path}: can't read its first frame: {reason}") from err
        number = 0
        for line in file:
            if line.startswith(_NUMBER):
                number = int(next(file))
            if line.startswith(_ATOMS):
                columns = line.split()[2:]
                rows = [row.split() for row in islice(file, number)]
                break
        else:
            return Counter()
    if "element" in columns:
        return Counter(row[columns.index("element")] for row in rows)
    return Counter(elements[int(row[columns.index("type")]) - 1] for row in rows)


def _of_cell(path: Path) -> Counter[str]:
    return Counter(structure.read_cell(path).symbols)


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    """By LAMMPS type, other elements by symbol."""
    order = {symbol: place for place, symbol in enumerate(composition.unit_table().type_order)}
    symbols = sorted(counts, key=lambda symbol: (order.get(symbol, len(order)), symbol))
    return {symbol: counts[symbol] for symbol in symbols}


def _model(options: Mapping[str, Any]) -> str | None:
    chosen = options.get("potential") or options.get("model")
    return None if chosen is None else str(chosen)
