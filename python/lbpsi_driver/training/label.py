"""``train label``: energies, forces and stress of frames, computed with the reference.

Each label is a line of ``labels.jsonl`` as soon as it is there, with digests of its frame and of
itself: a line that is damaged, or of a frame that has changed, is not used. At the end they are
``labelled.extxyz.xz``, and ``set_aside.json`` lists the frames that have no label; without that
file they are tried again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import ase
import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from lbpsi_driver import manifest, parallel, progress
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import settings, vasp
from lbpsi_driver.training.calculators import LabelError
from lbpsi_driver.training.crew import Crew, Task
from lbpsi_driver.training.options import LabelOptions, Reference

VERB = "label"
LINES = "labels.jsonl"
LABELLED = "labelled.extxyz.xz"
SET_ASIDE = "set_aside.json"
WORKERS = "workers"
VASP = "vasp"
OWNS = (LINES, LABELLED, SET_ASIDE, WORKERS, VASP)

HOPELESS = 10
"""So many failures before the first label are the reference's fault, not the frames'."""

_SHOWN = 3

logger = logging.getLogger(__name__)


class SetAside(BaseModel):
    """A frame that the reference has no result for, and why."""

    model_config = ConfigDict(frozen=True)

    frame_id: str
    reason: str


class LabelResult(BaseModel):
    """Result of ``train label``.

    Attributes
    ----------
    frames, labelled, waiting : int
        Number of all frames, of those with labels, and of those that VASP has yet to run.
    set_aside : tuple of SetAside
        Frames that the reference has no result for.
    references : tuple of str
        Code or model and versions, each once.
    file : Path or None
        The labelled frames; None while there are none.
    sha256 : str or None
        Of that file: one that was cut off is made again.
    next : str or None
        The command to run next, where frames wait.
    """

    model_config = ConfigDict(frozen=True)

    frames: int
    labelled: int
    waiting: int = 0
    set_aside: tuple[SetAside, ...] = ()
    references: tuple[str, ...] = ()
    file: Path | None = None
    sha256: str | None = None
    next: str | None = None

    def table(self) -> Table:
        """Lay the result out for the terminal."""
        table = Table(title="Labels")
        for column in ("frames", "labelled", "set aside", "waiting"):
            table.add_column(column, justify="right")
        table.add_column("file")
        numbers = (self.frames, self.labelled, len(self.set_aside), self.waiting)
        table.add_row(*map(str, numbers), str(self.file or "-"))
        lines = [f"reference: {text}" for text in self.references]
        lines += [f"set aside: {one.frame_id}: {one.reason}" for one in self.set_aside[:_SHOWN]]
        if len(self.set_aside) > _SHOWN:
            lines.append(f"… {len(self.set_aside) - _SHOWN} more in {SET_ASIDE}")
        lines += [f"next: {self.next}; then label again"] if self.next else []
        table.caption = "\n".join(lines)
        table.caption_justify = "left"
        return table


def label(options: LabelOptions, *, dry_run: bool = False) -> LabelResult | None:
    """Label frames with the reference, several at a time; go on where it was interrupted.

    A run that has come to its end is not run again; delete ``set_aside.json`` to have the frames
    tried again that have no label.

    Parameters
    ----------
    options : LabelOptions
        Frames, reference, workers and folder.
    dry_run : bool
        Say how many are left; with VASP write its inputs as well.

    Returns
    -------
    LabelResult or None
        None after a dry run of another reference than VASP.

    Raises
    ------
    UsageError
        Bad input, a folder of another configuration, a reference that can't start, or one that has
        no result for any frame.
    """
    folder = options.output
    inputs = _inputs(options)
    if dry_run and options.reference.kind != "vasp":
        manifest.refuse_conflict(
            folder, VERB, options, force=options.force, inputs=inputs, owns=OWNS
        )
        tasks = _tasks(options)
        number = len(tasks) - len(_stored(folder / LINES, tasks))
        logger.info("%s: %d of %d frames are left to label", options.data, number, len(tasks))
        return None
    run = manifest.open_run(folder, VERB, options, force=options.force, inputs=inputs, owns=OWNS)
    if run.finished is not None and (folder / SET_ASIDE).is_file():
        result = LabelResult.model_validate(run.finished)
        if manifest.is_whole(folder / LABELLED, result.sha256):
            return result
    tasks = _tasks(options)
    outcome = _Outcome(folder / LINES, _stored(folder / LINES, tasks, mend=True))
    left = [task for task in tasks if task.frame_id not in outcome.labels]
    if options.reference.kind == "vasp":
        _label_by_vasp(options, left, outcome, dry_run=dry_run)
    else:
        _label_by_workers(options, left, outcome)
    result = _gather(folder, tasks, outcome)
    if not result.waiting:
        run.finish(result.model_dump(mode="json"))
    return result


def digest_of(atoms: ase.Atoms) -> str:
    """Digest of what a label depends on: elements, positions and cell to 1e-8 Å.

    Returns
    -------
    str
        SHA-256 in hex.
    """
    numbers = np.ascontiguousarray(atoms.numbers, dtype="<i8")
    # + 0.0: minus zero is zero.
    places = np.round(np.vstack([atoms.positions, atoms.cell.array]), 8) + 0.0
    content = numbers.tobytes() + places.astype("<f8").tobytes() + bytes(atoms.pbc.tolist())
    return hashlib.sha256(content).hexdigest()


def describe(reference: Reference, versions: dict[str, str | None]) -> str:
    """One line that says what labels were computed with.

    Parameters
    ----------
    reference : Reference
        Code or model.
    versions : dict
        Of the packages that it consists of.
    """
    what: str = reference.kind
    if reference.kind in ("sevennet", "mace"):
        what += f" {Path(reference.model).name}" + (" + D3(BJ)" if reference.dispersion else "")
        if "model" in (files := settings.files_of(reference)):
            what += f" sha256:{manifest.sha256(files['model'])[:12]}"
    elif reference.kind == "ase":
        what += f" {reference.calculator}" + (" + D3(BJ)" if reference.dispersion else "")
    else:
        path = settings.path_of(reference.kind, reference.settings)
        what += f" settings {path.name if reference.settings else 'shipped'}"
        what += f" sha256:{manifest.sha256(path)[:12]}"
    if reference.arguments:
        what += f" {json.dumps(reference.arguments, sort_keys=True)}"
    return ", ".join([what, *(f"{name} {found}" for name, found in versions.items() if found)])


def _inputs(options: LabelOptions) -> dict[str, Path]:
    files = settings.files_of(options.reference)
    return {"data": options.data} | {f"reference.{key}": path for key, path in files.items()}


def _tasks(options: LabelOptions) -> list[Task]:
    tasks = []
    seen: dict[str, int] = {}
    for number, atoms in enumerate(store.read_frames(options.data)):
        frame_id = str(atoms.info.setdefault(store.ID, f"{options.data.name}/{number}"))
        atoms.info.setdefault(store.TRAJECTORY, options.data.name)
        if frame_id in seen:
            raise UsageError(
                f"{options.data}: frame {number} has the frame_id {frame_id} of frame"
                f" {seen[frame_id]}; give each its own"
            )
        seen[frame_id] = number
        tasks.append(Task(number, frame_id, digest_of(atoms), atoms))
    if not tasks:
        raise UsageError(f"{options.data}: no frames; expected an extended XYZ file")
    return tasks


# --- the file of labels -------------------------------------------------------------------------


def _seal(line: dict[str, Any]) -> str:
    """Digest of a line, without its own."""
    content = {key: value for key, value in line.items() if key != "label"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    if not isinstance(line, dict) or line.get("label") != _seal(line):
        return None
    return line


def _stored(path: Path, tasks: Sequence[Task], *, mend: bool = False) -> dict[str, dict[str, Any]]:
    """Labels in the file that are whole and of the present frames, by frame_id.

    ``mend`` writes the file anew where lines are not to be used: a torn one must not be followed.
    """
    if not path.is_file():
        return {}
    wanted = {task.frame_id: task.digest for task in tasks}
    used: dict[str, dict[str, Any]] = {}
    content = path.read_text(encoding="utf-8", errors="replace")
    lines = content.splitlines()
    for number, text in enumerate(lines, 1):
        line = _parse(text)
        if line is None:
            logger.warning("%s: line %d is damaged; its frame is labelled anew", path, number)
        elif wanted.get(line["frame_id"]) != line["frame"]:
            logger.warning(
                "%s: line %d: frame %s is another by now; it is labelled anew",
                path,
                number,
                line["frame_id"],
            )
        else:
            used[line["frame_id"]] = line
    if mend and (len(used) < len(lines) or not content.endswith("\n")):
        manifest.write_atomic(path, "".join(json.dumps(line) + "\n" for line in used.values()))
    return used


def _line(task: Task, found: dict[str, Any], reference: str) -> dict[str, Any]:
    """Lay a label out as it is stored.

    Raises
    ------
    LabelError
        A number that is none, or arrays of another shape.
    """
    forces, stress = np.asarray(found["forces"]), np.asarray(found["stress"])
    if forces.shape != (len(task.atoms), 3) or stress.shape != (6,):
        raise LabelError(
            f"forces of shape {forces.shape} and stress of {stress.shape} for"
            f" {len(task.atoms)} atoms; expected ({len(task.atoms)}, 3) and (6,)"
        )
    for name, value in (("energy", found["energy"]), ("forces", forces), ("stress", stress)):
        if not np.isfinite(value).all():
            raise LabelError(f"{name} that is not finite")
    line = {
        "frame_id": task.frame_id,
        "frame": task.digest,
        "energy": float(found["energy"]),
        # + 0.0: minus zero is zero.
        "forces": (np.round(forces, store.DECIMALS) + 0.0).tolist(),
        "stress": stress.tolist(),
        "reference": reference,
    }
    return line | {"label": _seal(line)}


def _append(path: Path, line: dict[str, Any]) -> None:
    with manifest.writing(path), path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


# --- labelling ----------------------------------------------------------------------------------


class _Outcome:
    """What came of the frames, by their ids; stores each label at once."""

    def __init__(self, path: Path, labels: dict[str, dict[str, Any]]) -> None:
        self._path = path
        self.labels = labels
        self.failed: dict[str, str] = {}
        self.waiting: dict[str, str] = {}
        self.next: str | None = None

    def keep(self, task: Task, found: dict[str, Any], reference: str) -> None:
        try:
            line = _line(task, found, reference)
        except LabelError as err:
            self.fail(task, str(err))
            return
        _append(self._path, line)
        self.labels[task.frame_id] = line

    def fail(self, task: Task, reason: str) -> None:
        self.failed[task.frame_id] = reason
        logger.warning("%s: set aside: %s", task.frame_id, reason)


def _workers(options: LabelOptions) -> int:
    share = max(1, parallel.usable_cores() // options.reference.threads)
    return options.workers or share


def _label_by_workers(options: LabelOptions, left: Sequence[Task], outcome: _Outcome) -> None:
    with ExitStack() as stack:
        advance = stack.enter_context(progress.count("label", len(left)))
        crew = Crew(options.reference, left, options.output / WORKERS, _workers(options))
        replies = crew.replies()
        # An interruption of the body must end the workers too.
        stack.callback(replies.close)
        for task, found, versions in replies:
            if isinstance(found, dict):
                outcome.keep(task, found, describe(options.reference, versions))
            else:
                outcome.fail(task, str(found))
            if len(outcome.failed) >= HOPELESS and not outcome.labels:
                raise UsageError(
                    f"the first {HOPELESS} frames all failed: {outcome.failed[task.frame_id]};"
                    " see to [train.reference]"
                )
            advance(f"{len(outcome.failed)} set aside" if outcome.failed else task.frame_id)


def _label_by_vasp(
    options: LabelOptions, left: Sequence[Task], outcome: _Outcome, *, dry_run: bool
) -> None:
    reference = options.reference
    root = options.output / VASP
    places = {task.frame_id: root / f"{task.number:05d}" for task in left}
    for task in left:
        vasp.write_inputs(places[task.frame_id], task.atoms, task.digest, reference.settings)

    execute = None if dry_run else reference.command
    stopped = threading.Event()

    def see(task: Task) -> Callable[[], None]:
        """Run and read one frame; what to do with the outcome, in the main thread."""
        folder = places[task.frame_id]
        try:
            if execute:
                vasp.run(folder, execute, stopped=stopped, minutes=reference.timeout)
            found = vasp.read(folder, task.atoms, task.digest)
        except LabelError as err:
            reason = f"{err}; see {folder}"
            return lambda: outcome.fail(task, reason)
        except vasp.NotReadyError as err:
            why = str(err)
            return lambda: outcome.waiting.update({task.frame_id: why})
        told = describe(reference, {"vasp": found["version"]})
        return lambda: outcome.keep(task, found, told)

    seen = _each(left, see, _workers(options), stopped)
    with progress.count("label", len(left)) as advance, closing(seen):
        for store_it, task in seen:
            store_it()
            advance(task.frame_id)
    if outcome.waiting:
        outcome.next = vasp.write_script(root, reference.settings)


def _each(
    tasks: Sequence[Task], work: Callable[[Task], Any], number: int, stopped: threading.Event
) -> Generator[tuple[Any, Task]]:
    """Yield results as they come, from threads that wait for programs until ``stopped`` is set."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    pool = ThreadPoolExecutor(number)
    try:
        futures = {pool.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            yield future.result(), futures[future]
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


# --- the result ---------------------------------------------------------------------------------


def _gather(folder: Path, tasks: Sequence[Task], outcome: _Outcome) -> LabelResult:
    """Write the frames with labels and the list of those that have none.

    Raises
    ------
    UsageError
        Where all frames failed.
    """
    labels = outcome.labels
    failed = [
        SetAside(frame_id=task.frame_id, reason=outcome.failed[task.frame_id])
        for task in tasks
        if task.frame_id in outcome.failed
    ]
    rows = [one.model_dump() for one in failed]
    manifest.write_atomic(folder / SET_ASIDE, json.dumps(rows, indent=1) + "\n")
    if len(failed) == len(tasks):
        raise UsageError(
            f"all {store.counted(len(tasks))} failed, the first ({failed[0].frame_id}) because:"
            f" {failed[0].reason}; see {folder / SET_ASIDE}"
        )
    labelled = [
        _labelled(task.atoms, labels[task.frame_id]) for task in tasks if task.frame_id in labels
    ]
    if labelled:
        store.write_frames(folder / LABELLED, labelled)
    waiting = len(tasks) - len(labelled) - len(failed)
    for reason, number in _counted(outcome.waiting.values()):
        logger.info("%s: %s", store.counted(number, "wait"), reason)
    return LabelResult(
        frames=len(tasks),
        labelled=len(labelled),
        waiting=waiting,
        set_aside=tuple(failed),
        references=tuple(sorted({labels[key]["reference"] for key in labels})),
        file=folder / LABELLED if labelled else None,
        sha256=manifest.sha256(folder / LABELLED) if labelled else None,
        next=outcome.next,
    )


def _counted(reasons: Iterable[str]) -> list[tuple[str, int]]:
    every = list(reasons)
    return [(reason, every.count(reason)) for reason in dict.fromkeys(every)]


def _labelled(atoms: ase.Atoms, line: dict[str, Any]) -> ase.Atoms:
    bare = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    kept = (store.ID, store.TRAJECTORY, store.SPLIT, store.TEMPERATURE)
    bare.info = {key: atoms.info[key] for key in kept if key in atoms.info}
    bare.info |= {
        store.ENERGY: line["energy"],
        store.STRESS: np.array(line["stress"]),
        "reference": line["reference"],
    }
    bare.arrays[store.FORCES] = np.array(line["forces"])
    return bare
