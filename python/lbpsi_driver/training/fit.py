"""``train fit``: a MACE model of labelled frames, by MACE's own ``mace_run_train``.

The folder gets the exact configuration (``mace.yaml``), what it reads (``inputs``) and writes
(``mace``), the model, ``fit.json`` and the learning curve.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import ase
import ase.io
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from pydantic import BaseModel
from rich.table import Table

from lbpsi_driver import manifest, parallel, potential, progress
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import dataset, e0s, losses
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.mace_config import (
    E0S,
    FOUNDATION,
    INPUTS,
    REPLAY,
    REPLAY_VALID,
    TRAIN,
    VALID,
    configuration,
)
from lbpsi_driver.training.mace_run import CONFIG, WORK, Outcome, Training
from lbpsi_driver.training.options import FitOptions

RESULT, CURVE = "fit.json", "losses.png"
OWNS = (WORK, RESULT, CURVE, "*.model")
"""What a run leaves; ``inputs`` and ``mace.yaml`` a dry run leaves too."""

ARCHITECTURE = (
    "channels",
    "max_L",
    "correlation",
    "max_ell",
    "interactions",
    "cutoff",
    "bessel",
    "radial",
    "repulsion",
)
"""Options of a model from scratch; a foundation has these already."""

REPLAY_GAP = 0.5
"""eV/atom: a foundation that is further off its own data has not been fitted to it."""

_REPLAY_CHECKED = 32

logger = logging.getLogger(__name__)


class Errors(BaseModel):
    """RMSE on the frames of a set: eV/atom, eV/Å, eV/Å3 (None where the loss has none)."""

    frames: int
    energy: float
    forces: float
    stress: float | None = None


class FitResult(BaseModel):
    """Result of ``train fit``.

    Attributes
    ----------
    model : Path
        The MACE ``.model`` of the best epoch: of the least loss of the validation frames.
    sha256 : str
        Its hash.
    parameters : int
        Numbers that were fitted.
    epochs, best_epoch : int
        How many ran, and which the model is of, from 1.
    ended : {'epochs', 'patience'}
        Why it ended.
    seconds_per_epoch : float
        Median, s.
    train, valid : Errors
        RMSE of the best epoch.
    data_sha256 : dict of str to str
        Hash of each data file, by its path.
    foundation, foundation_sha256 : str or None
        What it was started from.
    elements : list of str
        Elements of the model.
    e0s : dict of str to float
        Energies of lone atoms, eV.
    curve : Path
        The learning curve.
    """

    model: Path
    sha256: str
    parameters: int
    epochs: int
    best_epoch: int
    ended: Literal["epochs", "patience"]
    seconds_per_epoch: float
    train: Errors
    valid: Errors
    data_sha256: dict[str, str]
    foundation: str | None
    foundation_sha256: str | None
    elements: list[str]
    e0s: dict[str, float]
    curve: Path

    def table(self) -> Table:
        """Lay the result out for the terminal; the columns carry their units."""
        title = (
            f"{self.model}: best of {self.epochs} epochs is {self.best_epoch}, by the loss of the"
            " validation frames"
        )
        table = Table(title=title)
        table.add_column("set")
        for column in ("frames", "energy / meV/atom", "force / meV/Å", "stress / meV/Å3"):
            table.add_column(column, justify="right")
        for name, errors in (("train", self.train), ("valid", self.valid)):
            stress = "-" if errors.stress is None else f"{1e3 * errors.stress:.2f}"
            table.add_row(
                name,
                str(errors.frames),
                f"{1e3 * errors.energy:.1f}",
                f"{1e3 * errors.forces:.0f}",
                stress,
            )
        return table


def fit(options: FitOptions, *, dry_run: bool = False) -> FitResult | None:
    """Fit a MACE model, from a foundation or from scratch; an interrupted fit goes on.

    Parameters
    ----------
    options : FitOptions
        Data, architecture or foundation, hyper-parameters and folder.
    dry_run : bool
        Write the configuration and the frames of the fit, and stop.

    Returns
    -------
    FitResult or None
        None after a dry run.

    Raises
    ------
    UsageError
        Bad options or data, a folder of another configuration, or a fit that failed.
    """
    _refuse_contradictions(options)
    source = None if options.foundation is None else e0s.find(options.foundation)
    inputs = _inputs(options, source)
    if dry_run:
        manifest.refuse_conflict(
            options.output, "fit", options, force=options.force, inputs=inputs, owns=OWNS
        )
        _lay_out(options, source)
        logger.info(
            "written: %s: %s and the frames in %s; nothing was fitted",
            options.output,
            CONFIG,
            INPUTS,
        )
        return None
    run = manifest.open_run(
        options.output, "fit", options, force=options.force, inputs=inputs, owns=OWNS
    )
    if run.finished is not None:
        return FitResult.model_validate(run.finished)
    # An earlier start has paid for the E0s already.
    sets, energies = _lay_out(options, source, run.record.get("e0s"))
    hashes = {str(path): manifest.sha256(path) for path in options.data}
    frames = {name: len(one.atoms) for name, one in sets.items()}
    run.note(data_sha256=hashes, frames=frames, e0s=energies)
    with manifest.writing(options.output):
        (options.output / WORK).mkdir(exist_ok=True)
    training = Training(
        options.output,
        options.name,
        options.seed,
        options.epochs,
        options.patience,
        options.stage_two,
        options.threads or parallel.usable_cores(),
    )
    with progress.count("fit", options.epochs, training.begin()) as advance:
        outcome = training.carry_out(lambda one: advance(f"epochs: {one.text}"))
    result = _result(options, source, sets, energies, hashes, outcome)
    manifest.write_atomic(options.output / RESULT, result.model_dump_json(indent=1) + "\n")
    run.finish(result.model_dump(mode="json"))
    return result


def _refuse_contradictions(options: FitOptions) -> None:
    if options.stage_two is not None and options.stage_two >= options.epochs:
        raise UsageError(
            f"--stage-two {options.stage_two}: stage two must begin before --epochs"
            f" {options.epochs} end"
        )
    if options.foundation is None:
        for name in ("replay", "foundation_head", "keep_elements"):
            if getattr(options, name):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag}: goes with a foundation; give --foundation or leave it")
        if options.e0s == "keep":
            raise UsageError("--e0s keep: keeps a foundation's; give --foundation, or refit")
        return
    if options.multihead and options.replay is None:
        raise UsageError(
            "--multihead replays the foundation's own data beside ours: give it with --replay"
            " FILE, or --no-multihead to fine-tune on our data alone"
        )
    if not options.multihead and options.replay is not None:
        raise UsageError("--replay: goes with --multihead; leave one of both")
    if options.multihead and options.loss != "universal":
        raise UsageError(f"--loss {options.loss}: MACE's multihead fits know 'universal' only")
    for name in sorted(options.model_fields_set & set(ARCHITECTURE)):
        logger.warning(
            "--%s has no effect: a fine-tuned model keeps its foundation's value",
            name.replace("_", "-"),
        )


def _inputs(options: FitOptions, source: Path | None) -> dict[str, Path]:
    inputs = {"data": options.data[0]}
    inputs |= {f"data {number}": path for number, path in enumerate(options.data[1:], 2)}
    if source is not None:
        inputs["foundation"] = source
    if options.replay is not None:
        inputs["replay"] = options.replay
    return inputs


def _lay_out(
    options: FitOptions, source: Path | None, energies: dict[str, float] | None = None
) -> tuple[dict[str, dataset.Frames], dict[str, float]]:
    """Check the data and write all that MACE reads; the sets of frames and the E0s."""
    start = None if source is None else e0s.foundation(source, options.foundation_head)
    sets = _sets(options, None if start is None else start.elements)
    replayed = _replayed(options, start)
    folder = options.output
    with manifest.writing(folder):
        (folder / INPUTS).mkdir(parents=True, exist_ok=True)
    for path, atoms in {TRAIN: sets["train"].atoms, VALID: sets["valid"].atoms, **replayed}.items():
        store.write_frames(folder / path, [_bare(one) for one in atoms])
    if energies is None:
        others = [one for atoms in replayed.values() for one in atoms]
        energies = _lone_atoms(options, sets, start, others)
    if start is not None:
        # The replayed data keep the energies that the foundation has.
        e0s.write(start, folder / FOUNDATION, {} if options.multihead else energies, options.dtype)
    numbered = {atomic_numbers[symbol]: energy for symbol, energy in energies.items()}
    manifest.write_atomic(folder / E0S, json.dumps(numbered, indent=1) + "\n")
    made = configuration(options, None if start is None else start.head)
    # JSON values are YAML values
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in made.items()]
    head = f"# in this folder: python -m mace.cli.run_train --config {CONFIG}\n"
    manifest.write_atomic(folder / CONFIG, head + "".join(lines))
    return sets, energies


def _sets(options: FitOptions, known: Sequence[str] | None) -> dict[str, dataset.Frames]:
    """Read, check and divide the data; test frames are checked, and left out of the fit."""
    joined = dataset.read(options.data)
    if not joined.atoms:
        raise UsageError(f"{', '.join(map(str, options.data))}: no frames")
    dataset.check(joined.atoms, known, joined.names, options.doubts)
    divided = dataset.split(joined, options.valid, options.seed)
    sets = {name: divided.of_split(name) for name in ("train", "valid")}
    if known is None:
        dataset.refuse_unlearned_elements(sets["valid"], sets["train"].elements)
    if len(sets["train"].atoms) < options.batch:
        raise UsageError(
            f"--batch {options.batch}: larger than the training set of"
            f" {store.counted(len(sets['train'].atoms))};"
            " give more, or a smaller batch"
        )
    return sets


def _replayed(options: FitOptions, start: e0s.Foundation | None) -> dict[str, list[ase.Atoms]]:
    """Read the foundation's own data, labelled by our keys or ASE's; a tenth is for validation."""
    if options.replay is None or start is None:
        return {}
    try:
        found = ase.io.read(options.replay, index=":", parallel=False)
    except Exception as err:
        raise UsageError(f"--replay {options.replay}: {err}; expected labelled frames") from err
    frames = [_labelled(atoms) for atoms in found]
    names = [f"{options.replay}: frame {number}" for number in range(len(frames))]
    dataset.check(frames, start.elements, names, options.doubts)
    if len(frames) < 2:
        raise UsageError(
            f"--replay {options.replay}: {store.counted(len(frames))}; expected two or more"
        )
    some = frames[:: max(1, len(frames) // _REPLAY_CHECKED)]
    sizes = np.array([len(atoms) for atoms in some])
    labels = np.array([atoms.info[store.ENERGY] for atoms in some])
    gap = float(np.median(np.abs(e0s.energies(start, some) - labels) / sizes))
    if gap > REPLAY_GAP:
        raise UsageError(
            f"--replay {options.replay}: its energies are {gap:.1f} eV/atom off the foundation's;"
            " give frames of the data that it was fitted to, or label them with it"
        )
    order = np.random.default_rng(options.seed).permutation(len(frames))
    held = max(1, len(frames) // 10)
    return {
        REPLAY: [frames[i] for i in order[held:]],
        REPLAY_VALID: [frames[i] for i in order[:held]],
    }


def _labelled(atoms: ase.Atoms) -> ase.Atoms:
    if atoms.calc is not None and not store.has_labels(atoms):
        results = atoms.calc.results
        for key, name in ((store.ENERGY, "energy"), (store.STRESS, "stress")):
            if name in results:
                atoms.info[key] = results[name]
        if "forces" in results:
            atoms.arrays[store.FORCES] = results["forces"]
    atoms.calc = None
    return atoms


def _bare(atoms: ase.Atoms) -> ase.Atoms:
    """Return a copy with labels alone: other keys (config_type, …) mean something to MACE."""
    copy = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.info = {key: atoms.info[key] for key in (store.ENERGY, store.STRESS)}
    copy.arrays[store.FORCES] = atoms.arrays[store.FORCES]
    return copy


def _lone_atoms(
    options: FitOptions,
    sets: dict[str, dataset.Frames],
    start: e0s.Foundation | None,
    others: Sequence[ase.Atoms],
) -> dict[str, float]:
    """Return the E0s by element: of the data, and of what else the model will know."""
    frames = sets["train"].atoms
    wanted = {
        z for atoms in (*frames, *sets["valid"].atoms, *others) for z in atoms.numbers.tolist()
    }
    if start is not None and options.keep_elements:
        wanted |= set(start.numbers)
    numbers = sorted(wanted)
    counts = dataset.compositions(frames, numbers)
    labels = np.array([float(atoms.info[store.ENERGY]) for atoms in frames])
    own = dict(zip(start.numbers, start.e0s, strict=True)) if start is not None else {}
    given = np.array([own.get(number, 0.0) for number in numbers])
    if options.e0s == "keep":
        found = given
    elif options.e0s == "refit" and start is not None:
        logger.info("refitting E0s: the foundation's energies of %s", store.counted(len(frames)))
        interaction = e0s.energies(start, frames) - counts @ given
        found = e0s.least_squares(counts, labels - interaction, given)
    else:
        _warn_undetermined(counts)
        alike = np.full(len(numbers), np.mean(labels / counts.sum(axis=1)))
        found = e0s.least_squares(counts, labels, alike)
    return {chemical_symbols[z]: float(e) for z, e in zip(numbers, found, strict=True)}


def _warn_undetermined(counts: NDArray[np.float64]) -> None:
    """Say that compositions leave energies of lone atoms open, but for what neutrality does."""
    rank, elements = int(np.linalg.matrix_rank(counts)), counts.shape[1]
    if elements > 1 and (rank == 1 or rank < elements - 1):
        logger.warning(
            "E0s: the data has %s of %d elements, which leave the energies of lone atoms open: the"
            " model can't compare compositions; add frames of others, or of lone atoms in a large"
            " cell, or start from a --foundation, whose E0s are then refitted (e0s = 'refit')",
            "one composition" if rank == 1 else f"only {rank} independent compositions",
            elements,
        )


def _result(
    options: FitOptions,
    source: Path | None,
    sets: dict[str, dataset.Frames],
    energies: dict[str, float],
    hashes: dict[str, str],
    outcome: Outcome,
) -> FitResult:
    target = options.output / f"{options.name}.model"
    manifest.write_atomic(target, outcome.model.read_bytes())
    model = potential.read_model(target)
    curve = options.output / CURVE
    losses.draw(curve, outcome.epochs, options.batch, options.stage_two)
    best = outcome.best
    return FitResult(
        model=target,
        sha256=manifest.sha256(target),
        parameters=potential.parameters(model),
        epochs=len(outcome.epochs),
        best_epoch=best.number,
        ended="patience" if outcome.patience else "epochs",
        seconds_per_epoch=float(np.median([one.seconds for one in outcome.epochs])),
        train=Errors(frames=len(sets["train"].atoms), **outcome.errors),
        valid=Errors(
            frames=len(sets["valid"].atoms),
            energy=best.energy,
            forces=best.forces,
            stress=best.stress,
        ),
        data_sha256=hashes,
        foundation=options.foundation,
        foundation_sha256=None if source is None else manifest.sha256(source),
        elements=[chemical_symbols[int(number)] for number in model.atomic_numbers],
        e0s=energies,
        curve=curve,
    )
