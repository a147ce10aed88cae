"""Result of ``train sample``: the selected frames and where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import ase
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from lbpsi_driver import manifest
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.options import SampleOptions
from lbpsi_driver.training.trajectories import STOPPED
from lbpsi_driver.units import density_g_per_cm3

FRAMES = "frames.extxyz.xz"
FIGURE = "selection.png"
SOURCES = "sources"


class SampledSource(BaseModel):
    """What came of one source.

    Attributes
    ----------
    name, kind : str
        As in the run file.
    raw : int
        Frames of its trajectory, without those after it ran away.
    selected : dict of str to int
        Selected frames of each set: ``train``, ``valid``, ``test``.
    temperature : tuple of float or None
        Least and largest temperature of the raw frames, K; None where they name none.
    density : tuple of float or None
        Least and largest density, g/cm3; None without frames.
    stopped : str or None
        Why the trajectory ended early.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    raw: int
    selected: dict[str, int]
    temperature: tuple[float, float] | None
    density: tuple[float, float] | None
    stopped: str | None


class SampleResult(BaseModel):
    """Result of ``train sample``: the selected frames and where they came from.

    Attributes
    ----------
    frames : int
        How many are selected.
    splits : dict of str to int
        How many of them for each set.
    sources : tuple of SampledSource
        Where they came from.
    file, figure : Path
        The frames, and a figure of them among all.
    sha256 : str or None
        Of that file: one that was cut off is made again.
    """

    model_config = ConfigDict(frozen=True)

    frames: int
    splits: dict[str, int]
    sources: tuple[SampledSource, ...]
    file: Path
    figure: Path
    sha256: str | None = None

    def table(self) -> Table:
        """Lay the result out for the terminal; the columns carry their units."""
        counts = ", ".join(f"{number} {split}" for split, number in self.splits.items())
        table = Table(title=f"{self.frames} frames ({counts}) in {self.file}")
        table.add_column("source")
        for column in ("frames", "selected", "for", "T / K", "ρ / g/cm3"):
            table.add_column(column, justify="right")
        table.add_column("stopped")
        for one in self.sources:
            table.add_row(
                one.name,
                str(one.raw),
                str(sum(one.selected.values())),
                ", ".join(one.selected) or "-",
                _range(one.temperature, 0),
                _range(one.density, 2),
                one.stopped or "-",
            )
        return table


def result_of(
    options: SampleOptions,
    folder: Path,
    raw: Mapping[str, Sequence[ase.Atoms]],
    chosen: Sequence[tuple[str, ase.Atoms]],
) -> SampleResult:
    """Sum up a selection that has been written.

    Parameters
    ----------
    options : SampleOptions
        The sources.
    folder : Path
        Where the selection is.
    raw : mapping of str to sequence of ase.Atoms
        All frames by the name of their source.
    chosen : sequence of (str, ase.Atoms)
        The selected ones, each with the name of its source.
    """
    sources = []
    for one in options.source:
        frames = raw[one.name]
        temperatures = [f.info[store.TEMPERATURE] for f in frames if store.TEMPERATURE in f.info]
        densities = [density_g_per_cm3(f.get_masses().sum(), f.get_volume()) for f in frames]
        stopped = folder / SOURCES / one.name / STOPPED
        sources.append(
            SampledSource(
                name=one.name,
                kind=one.kind,
                raw=len(frames),
                selected=_counts(frame for name, frame in chosen if name == one.name),
                temperature=_extremes(temperatures),
                density=_extremes(densities),
                stopped=stopped.read_text(encoding="utf-8").strip() if stopped.is_file() else None,
            )
        )
    return SampleResult(
        frames=len(chosen),
        splits=_counts(frame for _, frame in chosen),
        sources=tuple(sources),
        file=folder / FRAMES,
        sha256=manifest.sha256(folder / FRAMES),
        figure=folder / FIGURE,
    )


def _counts(frames: Iterable[ase.Atoms]) -> dict[str, int]:
    found = [frame.info[store.SPLIT] for frame in frames]
    return {split: found.count(split) for split in ("train", "valid", "test") if split in found}


def _extremes(values: Sequence[float]) -> tuple[float, float] | None:
    return (float(min(values)), float(max(values))) if len(values) else None


def _range(limits: tuple[float, float] | None, digits: int) -> str:
    if limits is None:
        return "-"
    low, high = (f"{value:.{digits}f}" for value in limits)
    return low if low == high else f"{low}-{high}"
