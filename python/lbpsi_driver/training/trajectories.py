"""The trajectory of one source of ``train sample``: run, go on with, read back.

Its folder has ``trajectory.extxyz``, ``stopped`` (one line) where it ended early, and ``done``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

import ase
import ase.io
import numpy as np

from lbpsi_driver import history, manifest, structure
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import deck_runs, md, vasp, vasp_md
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.calculators import LabelError, Worker, WorkerCalculator
from lbpsi_driver.training.options import (
    FileSource,
    MDSource,
    QuenchSource,
    SampleOptions,
    Source,
    Split,
    StrainSource,
)

RAW = "trajectory.extxyz"
START = "start.extxyz"
VASP = "vasp"
QUENCH = "quench"
DONE = "done"
STOPPED = "stopped"


def run(
    source: Source,
    options: SampleOptions,
    folder: Path,
    watch: Callable[[ase.Atoms], None] | None = None,
) -> None:
    """Make the trajectory of one source in its folder, or go on with it.

    Parameters
    ----------
    source : Source
        What to run.
    options : SampleOptions
        Model, reference and time step.
    folder : Path
        The source's own.
    watch : callable, optional
        Gets each frame of dynamics in ASE once it is stored; ends them by a ``md.RunawayError``.

    Raises
    ------
    UsageError
        Bad input, a full disk, a trajectory that waits for VASP. One that ran away is no error: it
        keeps its frames, and says so in ``stopped``.
    """
    with manifest.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if (folder / DONE).exists():
        return
    if (folder / STOPPED).exists():
        manifest.write_atomic(folder / DONE, "")
        return
    if isinstance(source, MDSource) and _is_vasps(source, options):
        _read_vasp(source, options, folder)
    elif isinstance(source, MDSource):
        _run_md(source, options, folder, watch)
    elif isinstance(source, QuenchSource):
        _run_quench(source, options, folder)
    elif isinstance(source, StrainSource):
        _strain(source, folder)
    else:
        _take(source, folder)
    manifest.write_atomic(folder / DONE, "")


def has_frames(folder: Path) -> bool:
    """Tell whether anything has been run in a source's folder, in LAMMPS or VASP too."""
    made = [folder / RAW, folder / QUENCH / history.TRAJECTORY]
    made += [path for name in ("OUTCAR", "vasprun.xml") for path in (folder / VASP).rglob(name)]
    return any(path.is_file() and path.stat().st_size for path in made)


def sane_frames(folder: Path) -> list[ase.Atoms]:
    """Read a source's frames; of one that stopped those before it ran away.

    Parameters
    ----------
    folder : Path
        The source's own.

    Returns
    -------
    list of ase.Atoms
        Up to the first one where atoms have fallen into each other or the volume has left
        ``md.VOLUME_LIMITS``; empty where it stopped before its first frame.
    """
    if not (folder / STOPPED).is_file():
        return store.read_frames(folder / RAW)
    frames = store.whole_frames(folder / RAW)
    for number, frame in enumerate(frames):
        if not _is_sane(frame, frames[0].get_volume()):
            return frames[:number]
    return frames


def _is_sane(atoms: ase.Atoms, volume: float) -> bool:
    low, high = md.VOLUME_LIMITS
    if not np.isfinite(atoms.positions).all() or not low < atoms.get_volume() / volume < high:
        return False
    return md.contact(atoms) is None


def _stop(folder: Path, reason: Exception) -> None:
    manifest.write_atomic(folder / STOPPED, " ".join(str(reason).split()) + "\n")


def _run_md(
    source: MDSource,
    options: SampleOptions,
    folder: Path,
    watch: Callable[[ase.Atoms], None] | None,
) -> None:
    path = folder / RAW
    done = store.whole_frames(path)
    # A frame that was cut off must not be followed by others.
    store.write_frames(path, done)
    atoms = (
        done[-1].copy()
        if done
        else structure.read_cell(deck_runs.start_cell(source, folder / "build"))
    )
    start = int(atoms.info[store.STEP]) if done else -source.minimise
    volume = float(done[0].info["start_volume"]) if done else atoms.get_volume()
    every = _steps_between(source, options)

    def record(now: ase.Atoms, step: int, temperature: float) -> None:
        if done and step <= int(done[-1].info[store.STEP]):
            return
        frame = now.copy()
        frame.info = {
            store.ID: f"{source.name}/{step}",
            store.TRAJECTORY: source.name,
            store.STEP: step,
            store.TEMPERATURE: temperature,
            "start_volume": volume,
        }
        store.append_frame(path, frame)
        if watch is not None:
            watch(frame)

    with _calculator(source.calculator, options, atoms) as calculator:
        atoms.calc = calculator
        try:
            if start < 0:
                md.relax(atoms, -start, record)
            md.run(
                atoms,
                source.segment,
                timestep_fs=options.timestep,
                every=every,
                seed=source.seed,
                record=record,
                start=max(start, 0),
                volume=volume,
            )
        except (md.RunawayError, LabelError) as err:
            _stop(folder, err)


def _steps_between(source: MDSource, options: SampleOptions) -> int:
    return md.CHUNK_STEPS * max(1, round(1e3 * source.every / options.timestep / md.CHUNK_STEPS))


def _is_vasps(source: MDSource, options: SampleOptions) -> bool:
    return source.calculator == "reference" and options.reference.kind == "vasp"


def _read_vasp(source: MDSource, options: SampleOptions, folder: Path) -> None:
    """Write VASP's inputs, or read what it has run."""
    start = folder / START
    if not start.is_file():
        store.write_frames(start, [_relaxed(source, options, folder)])
    atoms = store.read_frames(start)[0]
    command = vasp_md.write(
        folder / VASP, atoms, source, options.timestep, reference=options.reference
    )
    try:
        frames = vasp_md.read(
            folder / VASP, atoms, source, options.timestep, _steps_between(source, options)
        )
    except vasp.NotReadyError as err:
        raise UsageError(f"{err}; next: {command}; then the same command again") from err
    store.write_frames(folder / RAW, frames)


def _relaxed(source: MDSource, options: SampleOptions, folder: Path) -> ase.Atoms:
    """Return the cell without the contacts of its packing: a model's steps cost VASP none."""
    atoms = structure.read_cell(deck_runs.start_cell(source, folder / "build"))
    if source.minimise:
        with _calculator("model", options, atoms) as calculator:
            atoms.calc = calculator
            md.relax(atoms, source.minimise)
    return ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)


@contextlib.contextmanager
def _calculator(which: str, options: SampleOptions, atoms: ase.Atoms) -> Iterator[Any]:
    if which == "reference":
        with Worker(options.reference) as worker:
            worker.refuse_unknown(atoms.symbols)
            yield WorkerCalculator(worker)
        return
    from lbpsi_driver.training import models

    calculator = models.mace_calculator([options.model], dtype=options.dtype, device=options.device)
    models.refuse_unknown(calculator, atoms.symbols)
    yield calculator


def _run_quench(source: QuenchSource, options: SampleOptions, folder: Path) -> None:
    from lbpsi_driver import engine, quench

    path = folder / QUENCH / history.TRAJECTORY
    data = deck_runs.start_cell(source, folder / "build")
    wanted = source.quench_options(data, path.parent, options)
    ran_away: engine.RunawayError | None = None
    try:
        quench.quench(wanted)
    except engine.RunawayError as err:
        ran_away = err
    frames = deck_runs.read_frames(path.parent, wanted.timestep, source.name)
    store.write_frames(folder / RAW, frames)
    # The frames up to a melt that boils off are those the next model most needs.
    if ran_away is not None:
        _stop(folder, ran_away)


def _take(source: FileSource, folder: Path) -> None:
    try:
        if ".extxyz" in source.path.suffixes:
            found = store.read_frames(source.path)[:: source.every]
        else:
            every = f"::{source.every}"
            found = cast("list[ase.Atoms]", ase.io.read(source.path, index=every, parallel=False))
    except UsageError:
        raise
    except Exception as err:
        raise UsageError(f"path = {source.path}: {' '.join(str(err).split())}") from err
    for number, frame in enumerate(found):
        _refuse_bad(frame, f"path = {source.path}: frame {number * source.every}")
        frame.pbc = True
        frame.calc = None
        known = (store.TRAJECTORY, store.SPLIT, store.TEMPERATURE)
        frame.info = {store.TRAJECTORY: source.name} | {
            key: frame.info[key] for key in known if key in frame.info
        }
        frame.info |= {
            store.ID: f"{source.name}/{number * source.every}",
            store.STEP: number * source.every,
        }
    store.write_frames(folder / RAW, found)


def _refuse_bad(atoms: ase.Atoms, where: str) -> None:
    if atoms.cell.rank < 3:
        raise UsageError(f"{where} has no cell")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise UsageError(f"{where} has positions or a cell that are not finite; leave it out")
    split = atoms.info.get(store.SPLIT)
    if split is not None and split not in get_args(Split):
        raise UsageError(f"{where} is for '{split}'; expected {', '.join(get_args(Split))}")


def _strain(source: StrainSource, folder: Path) -> None:
    parents = [frame for name in source.of for frame in sane_frames(folder.parent / name)]
    if not parents:
        raise UsageError(f"of = {', '.join(source.of)}: no frame is there to be strained")
    rng = np.random.default_rng(source.seed)
    made = []
    for number, parent in enumerate(rng.choice(len(parents), source.frames)):
        old = parents[parent]
        frame = ase.Atoms(old.numbers, old.positions, cell=old.cell, pbc=True)
        scale = np.cbrt(rng.uniform(*source.volume))
        strain = np.triu(rng.normal(0.0, source.shear, (3, 3)), 1)
        frame.set_cell(scale * frame.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        frame.positions += rng.normal(0.0, source.rattle, frame.positions.shape)
        # The parent's trajectory: a strained twin of a test frame is no training frame.
        frame.info = old.info | {store.ID: f"{source.name}/{number}"}
        # It is of no ensemble, whose structure it could be compared with.
        frame.info.pop(store.TEMPERATURE, None)
        made.append(frame)
    store.write_frames(folder / RAW, made)
