"""Options of how ions hop; fields of ``config.AnalysisOptions``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class HoppingFields(BaseModel):
    """Van Hove functions, density on a grid, hops, and what turns near them."""

    hopping: bool = Field(
        True,
        description="van Hove functions, density of the mobile ion on a grid, hops and rotations "
        "near them; D and conductivities stay",
    )
    van_hove_lags: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 10.0, 100.0), min_length=1, description="lags of the van Hove functions, ps"
    )
    van_hove_cutoff: float = Field(8.0, gt=0, description="their largest distance, Å")
    van_hove_bin: float = Field(0.1, gt=0, description="their bin width, Å")
    density_voxel: float = Field(0.4, gt=0, description="longest edge of the grid's voxels, Å")
    density_smoothing: float = Field(
        0.5, ge=0, description="standard deviation of the Gaussian over the density, Å; 0: none"
    )
    density_share: float = Field(
        0.9, gt=0, lt=1, description="share of the ions' time that the visited volume holds"
    )
    hop_window: float = Field(
        2.0, gt=0, description="time that places before and after a hop are averaged over, ps"
    )
    hop_threshold: float | None = Field(
        None, gt=0, description="least hop functional of a hop, Å2; default: 10 times the cage's"
    )
    rotation_radius: float = Field(
        5.0, gt=0, description="largest distance of a unit from a hop near it, Å"
    )
    draws: int = Field(999, ge=19, description="draws of the null model of hops and rotations")
