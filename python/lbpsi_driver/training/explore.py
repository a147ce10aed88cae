"""Exploration of one iteration of ``train loop``: trajectories, and where the committee parts.

Each source is a folder with its trajectory, as in ``train sample``, and ``deviations.json`` with
the maximum force deviation of each frame. A trajectory in ASE is watched while it runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from lbpsi_driver import manifest, parallel
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import md, models, pool, selection, trajectories
from lbpsi_driver.training.committee import Committee
from lbpsi_driver.training.options import (
    FileSource,
    LoopOptions,
    SampleOptions,
    Source,
    StrainSource,
)

DEVIATIONS = "deviations.json"
SEEDS_APART = 1000
"""Seeds of a source in one iteration and the next differ by as much."""


@dataclass(frozen=True)
class Explored:
    """What the committee said of the frames of all sources.

    Attributes
    ----------
    frames : list of ase.Atoms
        In the order of the sources.
    deviations : ndarray, shape (F,)
        Maximum force deviation, eV/Å; NaN for frames after a trajectory ran away.
    stopped : dict of str to str
        Why trajectories ended early, by the name of the source.
    """

    frames: list[ase.Atoms]
    deviations: NDArray[np.float64]
    stopped: dict[str, str]


class Watch:
    """Ends a trajectory where the committee parts.

    Parameters
    ----------
    committee : Committee
        Who is asked.
    stop : float
        Deviation beyond which no further frame is worth its time, eV/Å.

    Attributes
    ----------
    seen : dict of str to float
        Deviations by the frame's id, eV/Å.
    """

    def __init__(self, committee: Committee, stop: float) -> None:
        self._committee = committee
        self._stop = stop
        self.seen: dict[str, float] = {}

    def __call__(self, frame: ase.Atoms) -> None:
        """Ask about a frame.

        Raises
        ------
        RunawayError
            Where the deviation passes ``stop`` or is no number.
        """
        deviation = self._committee.deviation(frame)
        self.seen[str(frame.info[store.ID])] = deviation
        if not deviation <= self._stop:
            raise md.RunawayError(
                f"force deviation of {deviation:.2f} eV/Å at step {frame.info[store.STEP]}, beyond"
                f" stop = {self._stop:g}"
            )


def explore(options: LoopOptions, number: int, committee: Sequence[str], folder: Path) -> Explored:
    """Run all sources with the first member, and ask all members about the frames.

    Parameters
    ----------
    options : LoopOptions
        Sources, time step, `stop`.
    number : int
        Of the iteration, from 1; each has other seeds.
    committee : sequence of str
        Paths of the members.
    folder : Path
        Where each source has its folder; what is there is gone on with.

    Raises
    ------
    UsageError
        The first source that failed, after the others have ended.
    """
    wanted = sample_options(options, number, committee[0])
    for late in (False, True):
        jobs = {
            one.name: (one, wanted, tuple(committee), options.stop, folder / one.name)
            for one in wanted.source
            if isinstance(one, StrainSource) is late
            and not (folder / one.name / DEVIATIONS).is_file()
        }
        workers = options.workers or parallel.usable_cores()
        for name, outcome in pool.run("explore", explore_source, jobs, workers).items():
            if outcome.error is not None:
                raise UsageError(f"source {name}: {outcome.error}")
    return read(folder, [one.name for one in wanted.source])


def sample_options(options: LoopOptions, number: int, model: str | None = None) -> SampleOptions:
    """Return the options that sources of an iteration are run with, by a member if it is known."""
    given: dict[str, Any] = {} if model is None else {"model": model}
    if "reference" in options.model_fields_set:
        given["reference"] = options.reference
    return SampleOptions(
        source=tuple(_reseeded(one, number) for one in options.source),
        dtype=options.dtype,
        device=options.device,
        timestep=options.timestep,
        **given,
    )


def _reseeded(source: Source, number: int) -> Source:
    if isinstance(source, FileSource):
        return source
    return source.model_copy(update={"seed": source.seed + SEEDS_APART * (number - 1)})


def explore_source(
    source: Source, options: SampleOptions, committee: Sequence[str], stop: float, folder: Path
) -> None:
    """Run one source and write the deviations of its frames; called in a process of its own."""
    asked = Committee(committee, dtype=options.dtype, device=options.device)
    watch = Watch(asked, stop)
    trajectories.run(source, options, folder, watch)
    models.refuse_unknown(asked.members[0], _elements(folder), "--models")
    deviations = {}
    for frame in trajectories.sane_frames(folder):
        name = str(frame.info[store.ID])
        found = watch.seen[name] if name in watch.seen else asked.deviation(frame)
        deviations[name] = found if np.isfinite(found) else None
    manifest.write_atomic(folder / DEVIATIONS, json.dumps(deviations, indent=1) + "\n")


def _elements(folder: Path) -> set[str]:
    return {
        symbol
        for frame in store.whole_frames(folder / trajectories.RAW)
        for symbol in frame.symbols
    }


def read(folder: Path, names: Sequence[str]) -> Explored:
    """Read what :func:`explore` left of sources, all their frames.

    Parameters
    ----------
    folder : Path
        Where each source has its folder.
    names : sequence of str
        The sources.
    """
    frames: list[ase.Atoms] = []
    deviations: list[float] = []
    stopped = {}
    for name in names:
        own = folder / name
        known = json.loads((own / DEVIATIONS).read_text(encoding="utf-8"))
        for frame in store.whole_frames(own / trajectories.RAW):
            frames.append(frame)
            found = known.get(str(frame.info[store.ID]))
            deviations.append(np.nan if found is None else found)
        if (own / trajectories.STOPPED).is_file():
            stopped[name] = (own / trajectories.STOPPED).read_text(encoding="utf-8").strip()
    return Explored(frames, np.array(deviations, dtype=float), stopped)


def classify(
    deviations: NDArray[np.float64], lower: float, upper: float
) -> dict[str, NDArray[np.int64]]:
    """Sort frames by their deviation, as the concurrent learning of the paper does.

    Parameters
    ----------
    deviations : ndarray, shape (F,)
        Maximum force deviations, eV/Å.
    lower, upper : float
        A candidate's lie from ``lower`` up to, not including, ``upper``.

    Returns
    -------
    dict of str to ndarray
        Indices of the ``accurate``, the ``candidate`` and the ``failed``; every frame is in one.
        A NaN has failed.

    References
    ----------
    Y. Zhang et al., Comput. Phys. Commun. 253, 107206 (2020), doi:10.1016/j.cpc.2020.107206.
    """
    accurate = deviations < lower
    candidate = ~accurate & (deviations < upper)
    sorts = {"accurate": accurate, "candidate": candidate, "failed": ~(accurate | candidate)}
    return {name: np.flatnonzero(chosen) for name, chosen in sorts.items()}


def select(
    candidates: Sequence[ase.Atoms], labelled: Sequence[ase.Atoms], count: int, calculator: object
) -> list[int]:
    """Choose candidates that lie far from each other and from what has labels already.

    Parameters
    ----------
    candidates : sequence of ase.Atoms
        As they will be labelled.
    labelled : sequence of ase.Atoms
        Frames with labels; a candidate that is one of them is never chosen.
    count : int
        At most as many.
    calculator : mace.calculators.MACECalculator
        It describes.

    Returns
    -------
    list of int
        Indices of candidates, in their order.
    """
    known = {_content(frame) for frame in labelled}
    fresh: dict[bytes, int] = {}
    for index, frame in enumerate(candidates):
        if (content := _content(frame)) not in known:
            fresh.setdefault(content, index)
    left = list(fresh.values())
    if len(left) <= count:
        return left
    frames = [*labelled, *(candidates[index] for index in left)]
    rows = models.descriptors(calculator, frames)
    first = range(len(labelled))
    chosen = selection.farthest_points(rows, len(first) + count, first=first)[len(first) :]
    return sorted(left[index - len(first)] for index in chosen.tolist())


def _content(atoms: ase.Atoms) -> bytes:
    frame = store.rounded(atoms)
    return b"".join(part.tobytes() for part in (frame.numbers, frame.positions, frame.cell.array))


def renamed(atoms: ase.Atoms, number: int, sources: Sequence[Source]) -> ase.Atoms:
    """Return a frame to be labelled: its ids name the iteration, so that they are unique.

    Parameters
    ----------
    atoms : ase.Atoms
        A frame of a source.
    number : int
        Of the iteration.
    sources : sequence of Source
        They may name the set that a trajectory's frames are for; else it is the frame's own, or
        the training set.
    """
    splits = {one.name: getattr(one, "split", None) for one in sources}
    name, trajectory = str(atoms.info[store.ID]), str(atoms.info[store.TRAJECTORY])
    # A strained frame goes where its parent's trajectory goes.
    given = splits.get(trajectory) or splits.get(name.rpartition("/")[0])
    frame = store.rounded(atoms)
    kept = (store.STEP, store.TEMPERATURE)
    frame.info = {key: atoms.info[key] for key in kept if key in atoms.info} | {
        store.ID: f"iter-{number:02d}/{name}",
        store.TRAJECTORY: f"iter-{number:02d}/{trajectory}",
        store.SPLIT: given or str(atoms.info.get(store.SPLIT, "train")),
    }
    return frame
