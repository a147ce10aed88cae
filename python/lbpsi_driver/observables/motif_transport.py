"""Displacements of the mobile ion by motif: MSD and tracer D of the ions of each class.

An ion's class is that of its nearest former (:mod:`lbpsi_driver.observables.motifs`). Two
definitions, over all time origins:

- *class at the origin*: each displacement belongs to the class that its ion has where it starts.
  Summed over classes these are all displacements. Where ions exchange freely between classes, each
  forgets where it started, and D of every class tends to the one long-time value: only at lags
  shorter than the exchange does this definition tell classes apart;
- *survivors*: only displacements during which the ion has its class at every frame. An ion that
  hops often leaves its class by it, so that survivors are the ones that stay, and their D is biased
  low; the surviving fraction says how much is left.

A class counts as many independent displacements as its share of all origins gives it: time that
ions spend in it over the lag. Lags with fewer than
:data:`lbpsi_driver.observables.estimate.LEAST_INDEPENDENT` of them are left out of D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import lbpsi_driver._kernels as _kernels
from lbpsi_driver.observables.diffusion import (
    LEAST_LAGS,
    TracerDiffusion,
    diffusion_of,
    too_few_frames,
    without_D,
)
from lbpsi_driver.observables.estimate import LEAST_INDEPENDENT
from lbpsi_driver.observables.motif_series import N_FORMER_CLASSES, Classes
from lbpsi_driver.observables.motifs import CLASS_NAMES
from lbpsi_driver.observables.msd import LagStatistics, frame_pairs, log_lags, with_origins
from lbpsi_driver.observables.paths import Positions, atom_blocks
from lbpsi_driver.observables.spool import columns
from lbpsi_driver.observables.trajectory import Floats, Integers

N_CLASSES = len(CLASS_NAMES)
"""Classes of an ion: those of formers, halide and none."""


@dataclass(frozen=True)
class Populations:
    """Share of the formers in each class against time; R rows.

    Attributes
    ----------
    time_ps : ndarray, shape (R,)
        Times, ps.
    temperature_K : ndarray, shape (R,)
        Temperatures, K; NaN where they aren't known.
    fractions : ndarray, shape (R, 11)
        Shares.
    source : str
        Where they come from, as ``motifs.dat``.
    """

    time_ps: Floats
    temperature_K: Floats
    fractions: Floats
    source: str

    def table(self) -> dict[str, Floats]:
        """Give the columns of a CSV file."""
        columns = {"time_ps": self.time_ps, "temperature_K": self.temperature_K}
        return columns | {
            f"fraction_{name}": self.fractions[:, place]
            for place, name in enumerate(CLASS_NAMES[:N_FORMER_CLASSES])
        }


@dataclass(frozen=True)
class Displacements:
    """Squared displacements at L lags, by class; C classes.

    Attributes
    ----------
    number : ndarray of int, shape (L, C)
        Displacements: pairs of an ion and an origin.
    msd_A2 : ndarray, shape (L, C)
        Their mean squares, Å2; NaN where there are none.
    variance_A4 : ndarray, shape (L, C)
        Variances of the squares, Å4.
    """

    number: Integers
    msd_A2: Floats
    variance_A4: Floats


@dataclass(frozen=True)
class ClassDisplacements:
    """Squared displacements by class in both definitions.

    Attributes
    ----------
    lags_ps : ndarray, shape (L,)
        Lags, ps.
    origin : Displacements
        By class at the origin.
    survivors : Displacements
        Of ions that had that class at every frame since.
    independent : ndarray, shape (L,)
        Independent displacements that one displacement is worth: time of the run over lag and
        origins.
    """

    lags_ps: Floats
    origin: Displacements
    survivors: Displacements
    independent: Floats

    @property
    def surviving(self) -> Floats:
        """Fraction of the displacements in which the class held, NaN without any, shape (L, C)."""
        with np.errstate(invalid="ignore"):
            fraction: Floats = self.survivors.number / self.origin.number
        return fraction

    def statistics(self, code: int, *, survivors: bool = False) -> LagStatistics:
        """Statistics of a class, for :mod:`lbpsi_driver.observables.diffusion`.

        Parameters
        ----------
        code : int
            The class, from 1.
        survivors : bool
            Of the survivors only.

        Returns
        -------
        LagStatistics
            At the lags at which the class has displacements.
        """
        chosen = self.survivors if survivors else self.origin
        number = chosen.number[:, code - 1]
        there = number > 0
        return LagStatistics(
            self.lags_ps[there],
            chosen.msd_A2[there, code - 1],
            chosen.variance_A4[there, code - 1],
            (number * self.independent)[there],
        )


def class_displacements(
    positions: Positions,
    classes: Classes,
    spacing_ps: float,
    index: Integers | None = None,
    lags: Integers | None = None,
) -> ClassDisplacements:
    """Squared displacements of ions by class, over all time origins.

    Parameters
    ----------
    positions : ndarray or Paths, shape (F, N, 3)
        Unwrapped, drift-free positions of the ions, Å.
    classes : ndarray or Stored of int8, shape (F, N)
        Their classes, 1 to 13.
    spacing_ps : float
        Spacing of the time grid, ps.
    index : ndarray of int, shape (F,), optional
        Grid point of each frame; default 0, 1, …
    lags : ndarray of int, shape (L,), optional
        Lags in points of the grid; default: about even in their logarithm, to half the run.

    Returns
    -------
    ClassDisplacements
        At the lags that any two frames are apart.
    """
    index = np.arange(len(positions)) if index is None else index
    lags = log_lags(int(index[-1]) // 2) if lags is None else lags
    there, number = with_origins(index, lags)
    at_origin, of_survivors = np.zeros((2, len(there), 3, N_CLASSES))
    for chosen, block in atom_blocks(positions):
        block = np.ascontiguousarray(block)
        of_block = np.ascontiguousarray(columns(classes, np.arange(chosen.start, chosen.stop)))
        until = _held_until(of_block)
        for k, (_, start, stop) in enumerate(frame_pairs(index, there)):
            moments = _kernels.squares_by_class(block, start, stop, of_block, until)
            at_origin[k] += moments[0]
            of_survivors[k] += moments[1]
    return ClassDisplacements(
        np.asarray(there * spacing_ps, dtype=np.float64),
        _displacements(at_origin),
        _displacements(of_survivors),
        index[-1] / (there * number),
    )


def class_diffusion(stats: LagStatistics, n_frames: int) -> TracerDiffusion:
    """Tracer diffusion coefficient of the ions of a class.

    Parameters
    ----------
    stats : LagStatistics
        Of the class: :meth:`ClassDisplacements.statistics`.
    n_frames : int
        Frames of the run.

    Returns
    -------
    TracerDiffusion
        As :func:`lbpsi_driver.observables.diffusion.tracer_diffusion`, from the lags with enough
        independent displacements; without D, and with a reason, where they are too few.
    """
    few = too_few_frames(n_frames)
    if few is not None:
        return without_D(few)
    scarce = np.flatnonzero(stats.independent < LEAST_INDEPENDENT)
    end = int(scarce[0]) if len(scarce) else len(stats.lags_ps)
    if end < LEAST_LAGS:
        return without_D(
            f"too few ions: fewer than {LEAST_INDEPENDENT:g} independent displacements at all but "
            f"{end} lag(s)"
        )
    kept = LagStatistics(
        stats.lags_ps[:end], stats.msd_A2[:end], stats.variance_A4[:end], stats.independent[:end]
    )
    found = diffusion_of(kept, seed=None)
    if found.reason is None or end == len(stats.lags_ps):
        return found
    cut = f"too few ions for lags above {kept.lags_ps[-1]:.3g} ps"
    return TracerDiffusion(
        found.D_cm2_per_s,
        found.ci95_cm2_per_s,
        found.window,
        found.diffusive,
        f"{found.reason}; {cut}",
    )


def survival_time_ps(found: ClassDisplacements, code: int) -> float | None:
    """First lag at which fewer than 1/e of a class's ions have held it, ps; None if none is."""
    gone = np.flatnonzero(found.surviving[:, code - 1] < np.exp(-1.0))
    return float(found.lags_ps[gone[0]]) if len(gone) else None


def _held_until(classes: Classes) -> Integers:
    """Last frame up to which each ion keeps the class that it has, shape (F, N)."""
    last = np.arange(len(classes))[:, None]
    until = np.full(classes.shape, len(classes) - 1)
    until[:-1] = np.where(classes[:-1] != classes[1:], last[:-1], len(classes) - 1)
    return np.minimum.accumulate(until[::-1], axis=0)[::-1].copy()


def _displacements(moments: Floats) -> Displacements:
    number, total, squares = moments.transpose(1, 0, 2)
    with np.errstate(invalid="ignore"):
        mean = total / number
        variance = np.maximum(squares / number - mean**2, 0.0)
    return Displacements(np.rint(number).astype(np.int64), mean, variance)
