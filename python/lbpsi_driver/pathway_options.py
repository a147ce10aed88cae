"""The option model of ``pathways``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lbpsi_driver.config import POSITIONAL, CutoffOptions, NonNegative, Positive


class PathwaysOptions(CutoffOptions):
    """Options of ``pathways``: paths of ions with the units along them, and an anion cut out."""

    file: Path = Field(
        description="a trajectory (LAMMPS dump, extxyz, XDATCAR), or for --anion a cell",
        json_schema_extra=POSITIONAL,
    )
    output: Path = Field(Path("runs/pathways"), description="folder for extxyz and pictures")
    mobile: str = Field("Li", description="the ion whose paths are wanted")
    motif: str | None = Field(
        None, description="class of the ions at the start, as in P2S7; default: any"
    )
    number: int = Field(1, ge=0, description="how many ions, the most mobile ones of the class")
    slowest: bool = Field(False, description="the least mobile ones instead")
    start: NonNegative = Field(0.0, description="where in the run the paths start, ps")
    time: Positive | None = Field(None, description="length of the paths, ps; default: to the end")
    frames: int = Field(400, ge=2, description="most frames of a path, evenly over it")
    radius: Positive = Field(5.0, description="largest distance of a unit's former from a path, Å")
    anion: str | None = Field(
        None, description="an anion to cut out with the ions around it, as in P2S7(4-)"
    )
    which: int = Field(0, ge=0, description="which anion of that name, from 0")
    frame: int = Field(-1, description="frame of the anion, from 0, or from the end where negative")
    anion_radius: Positive = Field(
        3.5, description="largest distance of an ion from an atom of the anion, Å"
    )
    timestep: Positive | None = Field(
        None,
        description="time per MD step of a foreign dump, between frames of extxyz or XDATCAR, fs",
    )
    elements: tuple[str, ...] = Field(
        (), description="elements of types 1, 2, … where a dump does not name them"
    )
