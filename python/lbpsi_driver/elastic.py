"""``elastic``: elastic tensor and moduli of the glass at rest, by ``lammps_inputs/elastic.in``.

Each replica is relaxed, strained by a little in six directions and both signs, and its ions are
relaxed again each time; the slope of the stress is its elastic tensor. The moduli are those of the
isotropic body, their interval comes from the replicas alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import constants

from lbpsi_driver import dynamics, engine, history, manifest, parallel, structure
from lbpsi_driver.config import ElasticOptions, UsageError
from lbpsi_driver.observables import elasticity
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.report.elastic_results import (
    ELASTIC,
    ElasticReplica,
    ElasticResult,
    ModuliEstimate,
    ModuliRecord,
)

VERB = "elastic"
DECK = "elastic.in"
FINAL = "data.relaxed"
STRAINS = "strains.dat"
OWNS = (
    ELASTIC,
    *(f"replica*/{pattern}" for pattern in engine.OUTPUTS),
    *(f"replica*/{name}" for name in (STRAINS, "reference.dump", f"{FINAL}*")),
)

GIVEN, REFERENCE = "relaxing", "reference"
STATES = (REFERENCE, *(name + sign for name in elasticity.DIRECTIONS for sign in "+-"))
"""States of a cell, in the order of the deck."""

MOST_MISFIT = 0.2
"""Share of a change of stress that may be left over before it is told of."""
MOST_CHANGE = 0.05
"""Change of the density by relaxing, as a fraction, before it is told of."""
_SAME_SHARE = 0.01
_ANEW = "remove {} and run the same command again"
_COLUMNS = 16
_GPA_PER_BAR = constants.bar / constants.giga

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _State:
    """A row of ``strains.dat``: cell (vectors as rows, Å), stress (GPa), largest force (eV/Å)."""

    name: str
    cell: Floats
    stress: Floats
    force: float


def elastic(options: ElasticOptions, *, dry_run: bool = False) -> ElasticResult | None:
    """Strain relaxed cells and fit their elastic tensors; goes on at the strain it had reached.

    Every rank calls it; replicas share the ranks out. The protocol is that of Table 3 of Zhou et
    al., "Machine learning force field for lithium sulfide glassy electrolytes" (paper 001, section
    2.3), at rest instead of in motion: strains of 1 %, averages of Voigt, Reuss and Hill.

    Parameters
    ----------
    options : ElasticOptions
        Cells, strain, tolerances, model and run folder.
    dry_run : bool
        Write the decks, the cells and the commands that run them, and stop.

    Returns
    -------
    ElasticResult or None
        On rank 0, unless ``dry_run``.

    Raises
    ------
    UsageError
        Bad input, cells that are no replicas of each other, a folder that belongs to another
        configuration, or, after the others have ended, a run that went wrong.
    """
    # Collective, so before rank 0 goes ahead alone.
    threads = options.threads or parallel.threads_per_rank()
    if dry_run:
        parallel.on_root(lambda: _lay_out_dry(options, threads))
        return None
    # Only rank 0 holds the manifest.
    opened: list[manifest.Run] = []

    def begin() -> dict[str, engine.DeckRun] | None:
        run = manifest.open_run(**_claim(options))
        opened.append(run)
        finals = (folder / FINAL for folder in _folders(options).values())
        whole = all(map(engine.is_whole, finals)) and (options.output / ELASTIC).is_file()
        return None if run.finished is not None and whole else _lay_out(options, threads)

    decks = parallel.on_root(begin)
    if decks is not None:
        dynamics.run_all(VERB, decks)
        for run in opened:
            result = collect(options)
            manifest.write_atomic(options.output / ELASTIC, result.model_dump_json(indent=2) + "\n")
            run.finish(result.model_dump(mode="json"))
    return ElasticResult.model_validate(opened[0].finished) if opened else None


def collect(options: ElasticOptions) -> ElasticResult:
    """Make the result of replicas whose decks have ended.

    Parameters
    ----------
    options : ElasticOptions
        Options of the run.

    Returns
    -------
    ElasticResult
        Tensors, moduli and their intervals.

    Raises
    ------
    UsageError
        A run folder that lacks a state.
    """
    replicas = [
        _replica(data, folder)
        for data, folder in zip(options.data, _folders(options).values(), strict=True)
    ]
    tensors = np.array([one.C_GPa for one in replicas])
    every = [[elasticity.over_replicas(tensors[:, i, j]) for j in range(6)] for i in range(6)]
    intervals = [[one.ci95 for one in row if one.ci95 is not None] for row in every]
    found = [elasticity.averages(tensor) for tensor in tensors]
    pooled = {
        average: ModuliEstimate(
            **{
                key: elasticity.over_replicas(
                    [getattr(getattr(one, average), key) for one in found]
                )
                for key in ModuliEstimate.model_fields
            }
        )
        for average in ("voigt", "reuss", "hill")
    }
    warnings = [line for one in replicas for line in _doubts(one, options)]
    for line in warnings:
        logger.warning("%s", line)
    mean = tensors.mean(axis=0)
    return ElasticResult(
        output=options.output,
        strain=options.strain,
        moduli=pooled,
        anisotropy=elasticity.over_replicas([one.anisotropy for one in found]),
        density_g_cm3=elasticity.over_replicas([one.density_g_cm3 for one in replicas]),
        C_GPa=mean.tolist(),
        C_ci95_GPa=intervals if all(len(row) == 6 for row in intervals) else None,
        of_mean_tensor=_moduli(elasticity.averages(mean)),
        replicas=replicas,
        warnings=warnings,
    )


def read_states(folder: Path) -> list[_State]:
    """Read ``strains.dat``, the reference first; of a repeated state the last row counts.

    Parameters
    ----------
    folder : Path
        Folder of a replica.

    Raises
    ------
    UsageError
        Where a state is missing.
    """
    path = folder / STRAINS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = {state.name: state for line in lines if (state := _parse(line))}
    missing = [name for name in STATES if name not in found]
    if missing:
        raise UsageError(f"{path}: no {', '.join(missing)}; {_ANEW.format(folder)}")
    return [found[name] for name in STATES]


def _parse(line: str) -> _State | None:
    words = line.split()
    if len(words) != _COLUMNS or words[1] not in STATES:
        return None
    try:
        lx, ly, lz, xy, xz, yz, *pressure, _energy, force = map(float, words[2:])
    except ValueError:
        return None
    cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
    xx, yy, zz, p_xy, p_xz, p_yz = (-_GPA_PER_BAR * p for p in pressure)
    stress = elasticity.from_voigt(np.array([xx, yy, zz, p_yz, p_xz, p_xy]))
    return _State(words[1], cell, stress, force)


def _replica(data: Path, folder: Path) -> ElasticReplica:
    states = read_states(folder)
    reference, strained = states[0], states[1:]
    tensor = elasticity.elastic_tensor(
        reference.cell,
        reference.stress,
        np.array([one.cell for one in strained]),
        np.array([one.stress for one in strained]),
    )
    worst = int(np.argmax(tensor.misfit))
    restless = max(states, key=lambda one: one.force)
    averages = elasticity.averages(tensor.C_GPa)
    stiffness = elasticity.least_stiffness(tensor.C_GPa)
    rows = history.read_history(folder)
    given, density = (rows.mean("density", stage) for stage in (GIVEN, REFERENCE))
    if given is None or density is None:
        raise UsageError(f"{folder / history.HISTORY}: no densities; {_ANEW.format(folder)}")
    return ElasticReplica(
        data=data,
        folder=folder,
        C_GPa=tensor.C_GPa.tolist(),
        asymmetry_GPa=tensor.asymmetry_GPa,
        least_stiffness_GPa=stiffness,
        stable=stiffness > 0.0,
        stress_GPa=elasticity.to_voigt(reference.stress).tolist(),
        density_g_cm3=density,
        given_density_g_cm3=given,
        misfit=(strained[worst].name, float(tensor.misfit[worst])),
        force_eV_per_A=(restless.name, restless.force),
        moduli=_moduli(averages),
        anisotropy=_finite(averages.anisotropy),
    )


def _moduli(averages: elasticity.Averages) -> dict[str, ModuliRecord]:
    return {
        name: ModuliRecord(**{key: _finite(value) for key, value in asdict(moduli).items()})
        for name in ("voigt", "reuss", "hill")
        for moduli in [getattr(averages, name)]
    }


def _finite(value: float) -> float | None:
    """JSON knows no NaN."""
    return float(value) if np.isfinite(value) else None


def _doubts(one: ElasticReplica, options: ElasticOptions) -> list[str]:
    """List what speaks against the numbers of a replica."""
    where, lines = one.folder.name, []
    state, force = one.force_eV_per_A
    if force > options.relax_force:
        lines.append(
            f"{where}: {state}: a force of {force:.2g} eV/Å is left, more than --relax-force"
            f" {options.relax_force:g}; raise --relax-steps"
        )
    bar = max(map(abs, one.stress_GPa)) / _GPA_PER_BAR
    if options.relax_cell and bar > options.relax_pressure:
        lines.append(
            f"{where}: a stress of {bar:.3g} bar is left in the cell, more than --relax-pressure"
            f" {options.relax_pressure:g}; C is that of the stressed cell"
        )
    change = one.density_g_cm3 / one.given_density_g_cm3 - 1.0
    if abs(change) > MOST_CHANGE:
        lines.append(
            f"{where}: relaxing changed the density by {100 * change:+.0f} %: another solid than"
            " was given; anneal it longer, or keep its cell with --no-relax-cell"
        )
    state, misfit = one.misfit
    if misfit > MOST_MISFIT:
        lines.append(
            f"{where}: {state}: {100 * misfit:.0f} % of the change of stress is not linear: atoms"
            " rearranged, or the strain is large; try a smaller --strain"
        )
    if not one.stable:
        lines.append(
            f"{where}: not stable: C has the eigenvalue {one.least_stiffness_GPa:.3g} GPa; no"
            " Reuss or Hill average"
        )
    return lines


def _folders(options: ElasticOptions) -> dict[str, Path]:
    """Folder of each replica, by the name that messages give it."""
    numbers = range(1, len(options.data) + 1)
    return {f"replica {number}": options.output / f"replica{number}" for number in numbers}


def _claim(options: ElasticOptions) -> dict[str, Any]:
    """Collect what the manifest compares with what is in the folder."""
    first, *others = options.data
    inputs = dynamics.input_files(options, first)
    inputs |= {f"data, replica {number}": path for number, path in enumerate(others, 2)}
    return {
        "folder": options.output,
        "verb": VERB,
        "options": options,
        "force": options.force,
        "inputs": inputs,
        "owns": OWNS,
    }


def _lay_out_dry(options: ElasticOptions, threads: int) -> None:
    manifest.refuse_conflict(**_claim(options))
    _lay_out(options, threads)
    logger.info("written: %s: decks, forces and run.sh; nothing was run", options.output)


def _lay_out(options: ElasticOptions, threads: int) -> dict[str, engine.DeckRun]:
    """Write inputs, decks and the commands that run them; return the decks by replica."""
    cells = [structure.read_cell(path) for path in options.data]
    elements = [structure.type_elements(atoms) for atoms in cells]
    _refuse_unlike(options.data, [list(atoms.symbols) for atoms in cells])
    with manifest.writing(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
    known = list(dict.fromkeys(element for cell in elements for element in cell))
    forces = dynamics.forces(options, options.output, known, threads)
    numbers = ("strain", "relax_force", "relax_pressure", "relax_steps")
    shared = {name: f"{getattr(options, name):.12g}" for name in numbers}
    shared["relax_cell"] = "yes" if options.relax_cell else "no"
    folders = _folders(options)
    sizes = parallel.group_sizes(parallel.size(), len(cells))
    runs = {}
    for number, (name, folder) in enumerate(folders.items()):
        with manifest.writing(folder):
            folder.mkdir(exist_ok=True)
        structure.write_data(folder / dynamics.DATA, cells[number])
        variables = {"data": dynamics.DATA, "elements": " ".join(elements[number])}
        for key, value in forces.items():
            outside = key in ("model", "potential")
            variables[key] = os.path.relpath(options.output / value, folder) if outside else value
        runs[name] = engine.DeckRun(DECK, folder.resolve(), variables | shared, FINAL)
        runs[name].write(sizes[number % len(sizes)])
    return runs


def _refuse_unlike(paths: Sequence[Path], symbols: Sequence[Sequence[str]]) -> None:
    """Refuse cells that are no independent replicas: the interval would mean nothing."""
    seen: dict[str, Path] = {}
    for path, atoms in zip(paths, symbols, strict=True):
        digest = manifest.sha256(path)
        if digest in seen:
            raise UsageError(f"--data {path}: the same cell as {seen[digest]}; give each once")
        seen[digest] = path
        for element in sorted({*symbols[0], *atoms}):
            first, other = (cell.count(element) / len(cell) for cell in (symbols[0], atoms))
            if abs(first - other) > _SAME_SHARE:
                raise UsageError(
                    f"--data {path}: {100 * other:.1f} % of its atoms are {element}, and"
                    f" {100 * first:.1f} % in {paths[0]}; expected replicas of one composition"
                )
