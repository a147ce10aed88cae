"""The reference's word on frames that a validation made: by the label stage, in a folder a part."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import ase

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.options import LabelOptions, ValidateOptions

FRAMES = "frames.extxyz.xz"
LABELS = "label"
LABELLED = "labelled.extxyz.xz"

logger = logging.getLogger(__name__)


def relabel(frames: Sequence[ase.Atoms], folder: Path, options: ValidateOptions) -> list[ase.Atoms]:
    """Label frames with the reference; an interrupted call goes on frame by frame.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        With a ``frame_id`` each.
    folder : Path
        Where they and their labels are kept.
    options : ValidateOptions
        The reference and the number of workers.

    Returns
    -------
    list of ase.Atoms
        Those that the reference has a result for, in their order, with all of their info.

    Raises
    ------
    UsageError
        A reference that can't run, or one that has a result for no frame.
    """
    if not frames:
        return []
    with manifest.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / FRAMES
    if not path.exists():
        store.write_frames(path, frames)
    # The import is of a stage's whole machinery, and most callers of this module need none of it.
    from lbpsi_driver.training.label import label

    result = label(
        LabelOptions(
            data=path,
            output=folder / LABELS,
            reference=options.reference,
            workers=options.workers,
        )
    )
    if result is not None and result.waiting:
        raise UsageError(
            f"{folder / LABELS}: the reference has yet to give {store.counted(result.waiting)}; run"
            f" {result.next}, then the same command again"
        )
    file = folder / LABELS / LABELLED
    found = {one.info[store.ID]: one for one in store.read_frames(file) if store.has_labels(one)}
    known = [frame for frame in frames if frame.info[store.ID] in found]
    if not known:
        raise UsageError(f"{folder / LABELS}: the reference has a result for none of its frames")
    if len(known) < len(frames):
        logger.warning(
            "%s: no result of the reference for %d of %d frames; they are set aside there",
            folder,
            len(frames) - len(known),
            len(frames),
        )
    return [_with_labels(frame, found[frame.info[store.ID]]) for frame in known]


def _with_labels(frame: ase.Atoms, labelled: ase.Atoms) -> ase.Atoms:
    """Copy the labels alone: what a frame is, its maker knows better."""
    copy: ase.Atoms = frame.copy()
    copy.info |= {key: labelled.info[key] for key in (store.ENERGY, store.STRESS)}
    copy.arrays[store.FORCES] = labelled.arrays[store.FORCES]
    return copy
