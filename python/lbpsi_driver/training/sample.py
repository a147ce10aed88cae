"""``train sample``: trajectories of a cell, and well-spread frames from them.

Each source is a folder ``sources/NAME`` with its trajectory, so that an interrupted run goes on
where it was, and another selection needs no other trajectories; the selection is
``frames.extxyz.xz``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import ase
import numpy as np
from numpy.typing import NDArray

from lbpsi_driver import manifest, parallel, potential
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import (
    calculators,
    deck_runs,
    models,
    pool,
    selection,
    settings,
    trajectories,
    vasp_md,
)
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.options import (
    FileSource,
    MDSource,
    QuenchSource,
    SampleOptions,
    Source,
    Split,
    StrainSource,
)
from lbpsi_driver.training.sample_result import FIGURE, FRAMES, SOURCES, SampleResult, result_of
from lbpsi_driver.training.trajectories import DONE, RAW, STOPPED

VERB = "sample"
CLAIM = "source.json"
OWNS = (FRAMES, FIGURE)
KEPT = (store.ID, store.TRAJECTORY, store.SPLIT, store.TEMPERATURE, store.STEP)

logger = logging.getLogger(__name__)


def sample(options: SampleOptions, *, dry_run: bool = False) -> SampleResult | None:
    """Run the trajectories of all sources and select well-spread frames from them.

    Frames are split by trajectory: of the `split` that the source gives, else drawn; strained
    frames go where their parent's trajectory goes. Of each set as many are selected as is its
    share of all frames, farthest points in the descriptors of the model (doi:10.1016/
    0304-3975(85)90224-5). An interrupted run goes on where it was; with ``force`` a source that
    has changed is run anew, the others are kept.

    Parameters
    ----------
    options : SampleOptions
        Sources, model, numbers and folder.
    dry_run : bool
        Check the sources, write the inputs of their packings and stop.

    Returns
    -------
    SampleResult or None
        None after a dry run.

    Raises
    ------
    UsageError
        Sources that contradict each other or need what is not there, a folder that belongs to
        another configuration, a trajectory that failed.
    """
    check(options)
    inputs = {"model": models.mace_file(options.model)}
    folder = options.output
    if dry_run:
        manifest.refuse_conflict(
            folder, VERB, options, force=options.force, inputs=inputs, owns=OWNS
        )
        for one in options.source:
            if isinstance(one, MDSource | QuenchSource):
                with _naming(one):
                    deck_runs.write_packing(one, folder / SOURCES / one.name / "build")
        logger.info("written: %s: inputs of packings; nothing was run", folder)
        return None
    run = manifest.open_run(folder, VERB, options, force=options.force, inputs=inputs, owns=OWNS)
    if run.finished is not None:
        result = SampleResult.model_validate(run.finished)
        if manifest.is_whole(folder / FRAMES, result.sha256):
            return result
    _claim_sources(options, folder / SOURCES, manifest.sha256(inputs["model"]))
    _refuse_unknown_elements(options, inputs["model"])
    run_sources(options, folder / SOURCES)
    result = _select(options, folder, manifest.sha256(inputs["model"]))
    run.finish(result.model_dump(mode="json"))
    return result


def check(options: SampleOptions) -> None:
    """Refuse sources that can't be run, before anything is.

    Raises
    ------
    UsageError
        One line that names the source: a name that is there twice, parents that are none, a
        missing file, a reference that is needed and not given, a bad option of `quench`.
    """
    names = [one.name for one in options.source]
    for one in options.source:
        if names.count(one.name) > 1:
            raise UsageError(f"source {one.name}: the name is there twice; give each its own")
    plain = [one.name for one in options.source if not isinstance(one, StrainSource)]
    for one in options.source:
        with _naming(one):
            _check_source(one, plain, options)


def run_sources(options: SampleOptions, folder: Path) -> None:
    """Make all trajectories, several at a time; those that others are made of come first.

    Parameters
    ----------
    options : SampleOptions
        Sources and number of workers.
    folder : Path
        Where each has its folder.

    Raises
    ------
    UsageError
        The first source that failed, after the others have ended.
    """
    workers = options.workers or parallel.usable_cores()
    jobs = {one.name: (one, options, folder / one.name) for one in options.source}
    left = {
        one.name: jobs[one.name]
        for one in options.source
        if not isinstance(one, StrainSource) and not (folder / one.name / DONE).exists()
    }
    for name, outcome in pool.run("sample", trajectories.run, left, workers).items():
        if outcome.error is not None:
            raise UsageError(f"source {name}: {outcome.error}")
        if (folder / name / STOPPED).is_file():
            reason = (folder / name / STOPPED).read_text(encoding="utf-8").strip()
            logger.warning("source %s stopped, its frames are kept: %s", name, reason)
    for one in options.source:
        if isinstance(one, StrainSource):
            with _naming(one):
                trajectories.run(*jobs[one.name])


def described(folder: Path, options: SampleOptions, name: str) -> None:
    """Compute the descriptors of a source's frames once, into ``name`` in its folder."""
    frames = trajectories.sane_frames(folder)
    calculator = models.mace_calculator([options.model], dtype=options.dtype, device=options.device)
    models.refuse_unknown(calculator, {symbol for frame in frames for symbol in frame.symbols})
    stream = io.BytesIO()
    rows = models.descriptors(calculator, [store.rounded(frame) for frame in frames])
    np.save(stream, rows.astype(np.float32))
    manifest.write_atomic(folder / name, stream.getvalue())


@contextlib.contextmanager
def _naming(source: Source) -> Iterator[None]:
    """Say which source an error is about."""
    try:
        yield
    except UsageError as err:
        raise UsageError(f"source {source.name}: {err}") from err


def _check_source(source: Source, parents: Sequence[str], options: SampleOptions) -> None:
    if isinstance(source, StrainSource):
        for name in source.of:
            if name not in parents:
                known = ", ".join(parents) or "none"
                raise UsageError(f"of = {name}: no trajectory of that name; there is: {known}")
        return
    if isinstance(source, FileSource):
        if not source.path.is_file():
            raise UsageError(f"path = {source.path}: no such file")
        return
    deck_runs.elements_of(source)
    if isinstance(source, QuenchSource):
        source.quench_options(Path(), Path(), options)
        return
    length = sum(one.time for one in source.segment)
    if source.every > length:
        raise UsageError(f"every = {source.every:g} ps: its segments last {length:g} ps in all")
    if source.calculator == "reference":
        if "reference" not in options.model_fields_set:
            raise UsageError("calculator = reference: give the table [train.reference]")
        if options.reference.kind == "vasp":
            vasp_md.refuse_ramps(source.segment)


def _refuse_unknown_elements(options: SampleOptions, model: Path) -> None:
    """Refuse cells that the model, or the reference that drives, can't describe; run nothing yet.

    Raises
    ------
    UsageError
        One line that names the source, or a reference that can't start.
    """
    cells = [
        one
        for one in options.source
        if isinstance(one, MDSource | QuenchSource)
        and not trajectories.has_frames(options.output / SOURCES / one.name)
    ]
    if not cells:
        return
    known = potential.known_elements(model)
    driven = [one for one in cells if isinstance(one, MDSource) and one.calculator == "reference"]
    elements = {one.name: deck_runs.elements_of(one) for one in cells}
    for one in cells:
        lacking = sorted(elements[one.name] - set(known))
        if lacking:
            raise UsageError(
                f"source {one.name}: --model {options.model}: has no {lacking[0]}; it knows"
                f" {', '.join(known)}"
            )
    if driven and options.reference.kind != "vasp":
        with calculators.Worker(options.reference) as worker:
            for one in driven:
                with _naming(one):
                    worker.refuse_unknown(elements[one.name])


def _claim_sources(options: SampleOptions, folder: Path, model: str) -> None:
    """Store what each trajectory is made of; refuse, or set aside, one made of something else."""
    for source in options.source:
        wanted = _made_of(source, options, model)
        path = folder / source.name / CLAIM
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != wanted:
            # One that failed before its first frame is corrected, and nothing is lost.
            if not options.force and trajectories.has_frames(path.parent):
                raise UsageError(
                    f"{path.parent} holds the trajectory of another source {source.name}; name this"
                    " one otherwise, give another --output, or --force to run it anew"
                )
            manifest.set_aside(folder, [source.name])
        elif not path.is_file() and (path.parent / RAW).is_file():
            logger.warning("%s has no record of how it was made; taken as it is", path.parent)
        with manifest.writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_atomic(path, json.dumps(wanted, indent=1) + "\n")


def _made_of(source: Source, options: SampleOptions, model: str) -> dict[str, Any]:
    # The set that frames are for is no part of how they are made; of files the content counts.
    made: dict[str, Any] = source.model_dump(
        mode="json", exclude={"split", "data", "path", "parents"}
    )
    if isinstance(source, MDSource | QuenchSource):
        made["timestep"] = options.timestep
        if isinstance(source, QuenchSource) or source.calculator == "model":
            made |= {"model": model, "dtype": options.dtype}
        else:
            files = settings.files_of(options.reference)
            values = manifest.physics(options.reference.model_dump(mode="json"), files)
            made["reference"] = values | {key: manifest.sha256(path) for key, path in files.items()}
            if options.reference.kind == "vasp" and source.minimise:
                made["model"] = model
    if isinstance(source, StrainSource):
        parents = [one for one in options.source if one.name in source.of]
        made["of"] = [_made_of(parent, options, model) for parent in parents]
        return made
    path = source.path if isinstance(source, FileSource) else source.data
    return made | ({} if path is None else {"sha256": manifest.sha256(path)})


def _select(options: SampleOptions, folder: Path, model: str) -> SampleResult:
    """Choose among the frames of all sources; write them and their figure."""
    own = {one.name: folder / SOURCES / one.name for one in options.source}
    parents = {one.name for one in options.source if isinstance(one, FileSource) and one.parents}
    raw = {
        name: [] if name in parents else trajectories.sane_frames(path)
        for name, path in own.items()
    }
    if not any(raw.values()):
        raise UsageError(f"no source has a frame; {folder / SOURCES}/*/{STOPPED} tell why")
    name = f"descriptors-{model[:12]}-{options.dtype}.npy"
    jobs = {one: (path, options, name) for one, path in own.items() if raw[one]}
    missing = {one: job for one, job in jobs.items() if not _has(own[one] / name, len(raw[one]))}
    workers = options.workers or parallel.usable_cores()
    for one, outcome in pool.run("describe", described, missing, workers).items():
        if outcome.error is not None:
            raise UsageError(f"source {one}: {outcome.error}")
    pooled = [(one, frame) for one in jobs for frame in raw[one]]
    origins = [one for one, _ in pooled]
    frames = [store.rounded(frame) for _, frame in pooled]
    rows = np.concatenate([np.load(own[one] / name) for one in jobs])
    _split(options, frames, origins)
    chosen = _choose(options, frames, rows)
    _warn_of_sets([frames[index] for index in chosen])
    store.write_frames(folder / FRAMES, [_clean(frames[index]) for index in chosen])
    with manifest.writing(folder / FIGURE):
        selection.plot(folder / FIGURE, rows, origins, chosen)
    unseen = [one for one in jobs if one not in {origins[index] for index in chosen}]
    if unseen:
        logger.warning(
            "no frame of %s is selected: others are farther apart; give more --frames",
            ", ".join(unseen),
        )
    return result_of(options, folder, raw, [(origins[i], frames[i]) for i in chosen])


def _has(path: Path, frames: int) -> bool:
    """Tell whether a file of descriptors has those of so many frames."""
    return path.is_file() and len(np.load(path, mmap_mode="r")) == frames


def _split(options: SampleOptions, frames: Sequence[ase.Atoms], origins: Sequence[str]) -> None:
    """Write into each frame which set it is for: one for all frames of a trajectory."""
    by_source = {one.name: one for one in options.source}
    given: dict[str, Split | None] = {}
    inherited: dict[str, Split | None] = {}
    for frame, origin in zip(frames, origins, strict=True):
        trajectory, source = str(frame.info[store.TRAJECTORY]), by_source[origin]
        before = given.setdefault(trajectory, None)
        said = cast("Split | None", frame.info.get(store.SPLIT))
        if isinstance(source, StrainSource):
            # What its parent's file said counts where the parent itself is not here to say it.
            inherited[trajectory] = said
            continue
        named = source.split or said
        if before and named and before != named:
            raise UsageError(
                f"source {origin}: trajectory {trajectory} is for {before} and for {named}; give"
                " its sources the same split"
            )
        given[trajectory] = before or named
    given = {one: split or inherited.get(one) for one, split in given.items()}
    splits = selection.draw_splits(given, valid=options.valid, test=options.test, seed=options.seed)
    lacking = [
        split
        for split in ("valid", "test")
        if getattr(options, split) and split not in splits.values()
    ]
    if lacking:
        logger.warning(
            "no trajectory is left for %s%s: give more sources, or frames of their own as %s",
            " and ".join(lacking),
            _consequences(lacking, sum(split == "train" for split in splits.values())),
            " and ".join(f"split = '{split}'" for split in lacking),
        )
    for frame in frames:
        frame.info[store.SPLIT] = splits[str(frame.info[store.TRAJECTORY])]


def _consequences(lacking: Sequence[str], training: int) -> str:
    """Say which later stage refuses what lacks a set; ``fit`` draws one of several trajectories."""
    refused = ["train fit refuses these"] if "valid" in lacking and training < 2 else []
    refused += ["train validate refuses them as its test set"] if "test" in lacking else []
    return f" ({', '.join(refused)})" if refused else ""


def _choose(
    options: SampleOptions, frames: Sequence[ase.Atoms], rows: NDArray[np.floating[Any]]
) -> list[int]:
    """Farthest points within each set, twins left out; indices in the order of the frames."""
    first: dict[bytes, int] = {}
    for index, frame in enumerate(frames):
        content = (frame.numbers, frame.positions, frame.cell.array)
        first.setdefault(b"".join(part.tobytes() for part in content), index)
    members: dict[str, list[int]] = {}
    for index in first.values():
        members.setdefault(frames[index].info[store.SPLIT], []).append(index)
    sizes = {split: len(own) for split, own in members.items()}
    chosen = []
    for split, count in selection.shares_of(options.frames, sizes).items():
        own = np.array(members[split])
        chosen += own[selection.farthest_points(rows[own], count, nearest=options.nearest)].tolist()
    return sorted(chosen)


def _warn_of_sets(chosen: Sequence[ase.Atoms]) -> None:
    """Say what a fit to these would suffer from, before labels are paid for."""
    sets: dict[str, list[ase.Atoms]] = {}
    for frame in chosen:
        sets.setdefault(str(frame.info[store.SPLIT]), []).append(frame)
    learned = {symbol for frame in sets.get("train", []) for symbol in frame.symbols}
    for split in ("valid", "test"):
        held = {symbol for frame in sets.get(split, []) for symbol in frame.symbols}
        if lacking := ", ".join(sorted(held - learned)):
            logger.warning(
                "frames for %s hold %s, which no training frame holds: a fit from scratch could not"
                " learn it; give a source with %s split = 'train', or more sources",
                split,
                lacking,
                lacking,
            )
    counts = {split: len(sets.get(split, [])) for split in ("train", "valid")}
    if counts["valid"] > counts["train"]:
        logger.warning(
            "%s for validation and %d for training: give sources their split, or more sources",
            store.counted(counts["valid"]),
            counts["train"],
        )


def _clean(atoms: ase.Atoms) -> ase.Atoms:
    """Leave what a frame to be labelled needs."""
    frame = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    frame.info = {key: atoms.info[key] for key in KEPT if key in atoms.info}
    return frame
