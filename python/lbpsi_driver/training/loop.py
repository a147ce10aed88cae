"""``train loop``: active learning by a committee.

Iteration ``k`` has the folder ``iter-kk`` with its committee (``member-1``, …), ``explore``,
``selected.extxyz.xz``, ``label`` and, once it has ended, ``iteration.json``. Each step has a folder
that it goes on in, so the loop goes on wherever it was interrupted. The last iteration explores and
labels nothing: its committee has learned all labels, and its shares say how far that led.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np

from lbpsi_driver import manifest, potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import explore, models, sample
from lbpsi_driver.training import fit as fitting
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import label as labelling
from lbpsi_driver.training.committee import Committee
from lbpsi_driver.training.loop_result import End, Iteration, LoopResult, plot
from lbpsi_driver.training.options import FitOptions, LabelOptions, LoopOptions

RESULT = "loop.json"
FIGURE = "deviations.png"
RECORD = "iteration.json"
SELECTED = "selected.extxyz.xz"
_OF_A_START = frozenset(
    {
        *fitting.ARCHITECTURE,
        "foundation",
        "foundation_head",
        "multihead",
        "replay",
        "keep_elements",
        "e0s",
        "epochs",
        "rate",
        "stage_two",
    }
)
"""Options of a fit that a refit from a member does not share."""
OWNS = ("iter-*", RESULT, FIGURE)

logger = logging.getLogger(__name__)


def loop(options: LoopOptions, *, dry_run: bool = False) -> LoopResult | None:
    """Explore, select what the committee disagrees about, label, refit; until it agrees.

    A frame is a candidate where its maximum force deviation lies between ``lower`` and ``upper``,
    0.2 and 0.4 eV/Å in section 2.2 of the paper on Li2S-SiS2-P2S5. The loop has converged when
    both the share of candidates and that of failed frames are under ``share``: a committee that
    fails everywhere has no candidates either. It ends too where the budget of labels or the
    iterations end, or where no candidate is left that has no label. Data with frames for validation
    keeps these for all iterations; without, each fit draws them anew.

    Parameters
    ----------
    options : LoopOptions
        Committee, sources, bounds and budget.
    dry_run : bool
        Check the sources and the folder, and stop.

    Returns
    -------
    LoopResult or None
        Unless ``dry_run``.

    Raises
    ------
    UsageError
        Bad input, a folder of another configuration, or a step that failed; the same command goes
        on with what was done.

    References
    ----------
    Y. Zhang et al., Comput. Phys. Commun. 253, 107206 (2020), doi:10.1016/j.cpc.2020.107206.
    """
    claim = _claim(options)
    _refuse_bad_members(options)
    sample.check(explore.sample_options(options, 1))
    if options.fit.foundation is not None and not options.models:
        logger.warning(
            "all members start from one foundation model: they differ by their seeds alone, and"
            " their deviation is a lower bound of the error"
        )
    if dry_run:
        manifest.refuse_conflict(**claim)
        return None
    run = manifest.open_run(**claim)
    if run.finished is not None:
        return LoopResult.model_validate(run.finished)
    done: list[Iteration] = []
    while not done or done[-1].ended is None:
        done.append(_iterate(options, done))
        result = _report(options, done)
    run.finish(result.model_dump(mode="json"))
    return result


def _claim(options: LoopOptions) -> dict[str, Any]:
    """Collect what the manifest compares: files by content, nothing that changes no result."""
    if not options.data and not options.models:
        raise UsageError("--data is missing: give labelled frames, or a committee with --models")
    if len(options.models) == 1:
        raise UsageError("--models: a committee of one; give at least two models, or --data")
    inputs = {f"data {number}": path for number, path in enumerate(options.data, 1)}
    for number, model in enumerate(options.models, 1):
        inputs[f"models {number}"] = models.mace_file(str(model), "--models")
    # Each fit gets data of its own.
    fit = options.fit.model_copy(update={"data": ()})
    update = {"data": (), "models": (), "fit": fit}
    return {
        "folder": options.output,
        "verb": "loop",
        "options": options.model_copy(update=update),
        "force": options.force,
        "inputs": inputs,
        "owns": OWNS,
    }


def _refuse_bad_members(options: LoopOptions) -> None:
    """Refuse a committee that can't be asked, before a source is blamed for it."""
    members = _models(options, 1) if options.models else ()
    for number, path in enumerate(members):
        potential.read_model(path, "--models")
        if path in members[:number]:
            raise UsageError(
                f"--models {options.models[number]}: is there twice, and never disagrees with"
                " itself; give models of several seeds"
            )


def _folder(options: LoopOptions, number: int) -> Path:
    return options.output / f"iter-{number:02d}"


def _iterate(options: LoopOptions, done: Sequence[Iteration]) -> Iteration:
    """Run one iteration, or go on with it; return its record."""
    number = len(done) + 1
    folder = _folder(options, number)
    if (folder / RECORD).is_file():
        record = Iteration.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))
        # The folder may have been moved since.
        return record.model_copy(update={"models": _models(options, number)})
    _fit_all(options, done)
    committee = tuple(map(str, _models(options, number)))
    explored = explore.explore(options, number, committee, folder / "explore")
    sorts = explore.classify(explored.deviations, options.lower, options.upper)
    counts = {sort: len(indices) for sort, indices in sorts.items()}
    known = explored.deviations[np.isfinite(explored.deviations)]
    record = Iteration(
        number=number,
        models=tuple(map(Path, committee)),
        frames=len(explored.frames),
        stopped=explored.stopped,
        median=float(np.median(known)) if len(known) else None,
        largest=float(known.max()) if len(known) else None,
        **counts,
    )
    logger.info("iteration %d: %s", number, _shares(record))
    ended = _end(options, record, done)
    if ended is None:
        candidates = [explored.frames[index] for index in sorts["candidate"]]
        record = record.model_copy(update=_learn(options, done, committee, candidates))
    else:
        record = record.model_copy(update={"ended": ended})
    manifest.write_atomic(folder / RECORD, record.model_dump_json(indent=1) + "\n")
    return record


def _models(options: LoopOptions, number: int) -> tuple[Path, ...]:
    """Return where the committee of an iteration is."""
    if number == 1 and options.models:
        return tuple(models.mace_file(str(model), "--models") for model in options.models)
    names = [f"member-{one}" for one in range(1, (len(options.models) or options.committee) + 1)]
    return tuple(_folder(options, number) / name / f"{name}.model" for name in names)


def _fit_all(options: LoopOptions, done: Sequence[Iteration]) -> None:
    """Fit the committee to all labels so far: anew at first, then on from the members before."""
    if not done and options.models:
        return
    for member, path in enumerate(_models(options, len(done) + 1)):
        parent = done[-1].models[member] if done else None
        fitting.fit(_fit_options(options, path.parent, member, parent, done))


def _fit_options(
    options: LoopOptions, folder: Path, member: int, parent: Path | None, done: Sequence[Iteration]
) -> FitOptions:
    """Return the options that a member is fitted with."""
    given: dict[str, Any] = {key: getattr(options.fit, key) for key in options.fit.model_fields_set}
    given |= {
        "data": _data(options, done),
        "output": folder,
        "name": folder.name,
        "seed": options.fit.seed + member,
        "force": False,
    }
    # Replay is of the foundation's own data: such a member starts from the foundation each time.
    replayed = options.fit.foundation is not None and options.fit.multihead
    if parent is None or replayed:
        return FitOptions(**given)
    own = {key: value for key, value in given.items() if key not in _OF_A_START}
    # A committee from elsewhere may be of another reference.
    foreign = bool(options.models) and len(done) == 1
    return FitOptions(
        **own,
        foundation=str(parent),
        multihead=False,
        keep_elements=True,
        e0s=options.fit.e0s if foreign else "keep",
        epochs=options.epochs_more,
        rate=options.rate_more,
    )


def _data(options: LoopOptions, done: Sequence[Iteration]) -> tuple[Path, ...]:
    """Return the labelled files so far."""
    learned = [
        _folder(options, one.number) / "label" / labelling.LABELLED for one in done if one.labelled
    ]
    return (*options.data, *learned)


def _learn(
    options: LoopOptions,
    done: Sequence[Iteration],
    committee: Sequence[str],
    candidates: Sequence[ase.Atoms],
) -> dict[str, Any]:
    """Select among the candidates, label them, and see how wrong the committee was."""
    number = len(done) + 1
    folder = _folder(options, number)
    if not (folder / SELECTED).is_file():
        count = min(options.labels, options.budget - _spent(done))
        frames = [explore.renamed(frame, number, options.source) for frame in candidates]
        labelled = [frame for path in _data(options, done) for frame in store.read_frames(path)]
        describing = models.mace_calculator(
            [committee[0]], dtype=options.dtype, device=options.device
        )
        chosen = explore.select(frames, labelled, count, describing)
        store.write_frames(folder / SELECTED, [frames[index] for index in chosen])
    selected = store.read_frames(folder / SELECTED)
    if not selected:
        return {"ended": "no candidates"}
    wanted = LabelOptions(
        data=folder / SELECTED,
        output=folder / "label",
        reference=options.reference,
        workers=options.workers,
    )
    outcome = labelling.label(wanted)
    if outcome is not None and outcome.waiting:
        raise UsageError(
            f"iteration {number}: {store.counted(outcome.waiting, 'wait')} for the reference; next:"
            f" {outcome.next}; then the same command goes on"
        )
    labelled = store.read_frames(wanted.output / labelling.LABELLED)
    asked = Committee(committee, dtype=options.dtype, device=options.device)
    return {
        "selected": len(selected),
        "labelled": len(labelled),
        **_errors(asked, labelled),
    }


def _errors(committee: Committee, labelled: Sequence[ase.Atoms]) -> dict[str, float]:
    """Compare the committee's mean with new labels: meV/atom and meV/Å, root mean squares."""
    energies, forces = [], []
    for frame in labelled:
        energy, force = (found.mean(axis=0) for found in committee.evaluate(frame))
        energies.append((energy - frame.info[store.ENERGY]) / len(frame))
        forces.append((force - frame.arrays[store.FORCES]).ravel())
    if not energies:
        return {}
    return {
        "energy_rmse": 1e3 * float(np.sqrt(np.mean(np.square(energies)))),
        "forces_rmse": 1e3 * float(np.sqrt(np.mean(np.square(np.concatenate(forces))))),
    }


def _converged(options: LoopOptions, record: Iteration) -> bool:
    open_shares = (record.share("candidate"), record.share("failed"))
    return record.frames > 0 and max(open_shares) < options.share


def _spent(done: Sequence[Iteration]) -> int:
    """Count what the reference was asked to label."""
    return sum(one.selected for one in done)


def _end(options: LoopOptions, record: Iteration, done: Sequence[Iteration]) -> End | None:
    """Say whether the loop ends with this iteration, before it labels, and why."""
    if _converged(options, record):
        return "converged"
    if record.candidate == 0:
        return "no candidates"
    if _spent(done) >= options.budget:
        return "budget"
    return "iterations" if record.number >= options.iterations else None


def _shares(record: Iteration) -> str:
    shares = ", ".join(
        f"{100 * record.share(sort):.0f} % {sort}" for sort in ("accurate", "candidate", "failed")
    )
    stopped = f"; stopped: {', '.join(record.stopped)}" if record.stopped else ""
    return f"{store.counted(record.frames)}, {shares}{stopped}"


def _in_words(options: LoopOptions, last: Iteration) -> str:
    shares = _shares(last)
    if last.ended == "converged":
        return f"converged: candidates and failed frames under {100 * options.share:g} % ({shares})"
    if last.ended == "no candidates":
        return (
            f"not converged, and no candidate without a label is left ({shares}): explore colder or"
            " for shorter times, start from more data, or raise --upper"
        )
    if last.ended is None:
        return f"goes on ({shares})"
    what = "budget of labels" if last.ended == "budget" else "iterations"
    return f"not converged at the end of the {what} ({shares})"


def _report(options: LoopOptions, done: Sequence[Iteration]) -> LoopResult:
    """Write ``loop.json`` and the figure of what is done."""
    names = [one.name for one in options.source]
    explored = [explore.read(_folder(options, one.number) / "explore", names) for one in done]
    figure = options.output / FIGURE
    with manifest.writing(figure):
        plot([one.deviations.tolist() for one in explored], options.lower, options.upper, figure)
    result = LoopResult(
        ended=done[-1].ended,
        reason=_in_words(options, done[-1]),
        iterations=tuple(done),
        models=done[-1].models,
        data=_data(options, done),
        figure=figure,
    )
    content = json.dumps(result.model_dump(mode="json"), indent=1, ensure_ascii=False)
    manifest.write_atomic(options.output / RESULT, content + "\n")
    return result
