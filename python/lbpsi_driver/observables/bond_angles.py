"""Distributions of bond angles, by the three elements and by the unit at the centre.

Bonds are those of the motifs: the cutoffs of ``data/motifs.toml``. A distribution is a density per
degree, p(angle) with the integral of p over 0 to 180 degrees 1; the sine of the angle is left in,
so that directions without any preference give p = (pi/360) sin(angle). Divided by that it tells
the preference itself: :meth:`AngleDistribution.preference`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.estimate import Estimate, mean_of_series
from lbpsi_driver.observables.motifs import Motifs, iterate
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

_STRAIGHT_DEG = 180.0


@dataclass(frozen=True)
class AngleDistribution:
    """Angles of one kind; B bins.

    Attributes
    ----------
    density_per_deg : ndarray, shape (B,)
        p(angle), 1/degree; its integral is 1.
    number : float
        Angles in a frame, on average.
    mean_deg : Estimate
        Mean over the frames of their mean angles, degrees.
    deviation_deg : float
        Standard deviation of the angles, degrees.
    """

    density_per_deg: Floats
    number: float
    mean_deg: Estimate
    deviation_deg: float

    @property
    def preference(self) -> Floats:
        """Density over that of directions without preference, 1 where there is none; (B,)."""
        bins = len(self.density_per_deg)
        edges = np.linspace(0.0, np.pi, bins + 1)
        # the mean of (pi/360) sin over each bin
        isotropic = -np.diff(np.cos(edges)) * bins / (2.0 * _STRAIGHT_DEG)
        ratio: Floats = self.density_per_deg / isotropic
        return ratio


@dataclass(frozen=True)
class BondAngles:
    """Angles between the bonds of a trajectory; B bins.

    Attributes
    ----------
    angle_deg : ndarray, shape (B,)
        Centres of the bins, degrees.
    triples : dict of str to AngleDistribution
        By end, centre and end, ends in alphabetical order: ``S-P-S``, ``B-S-P``.
    units : dict of str to AngleDistribution
        S-X-S by the unit of the former X: ``BS3``, ``BS4``.
    """

    angle_deg: Floats
    triples: dict[str, AngleDistribution]
    units: dict[str, AngleDistribution]


def bond_angles(
    trajectory: Trajectory, bin_deg: float = 1.0, *, bonds: Mapping[str, float] | None = None
) -> BondAngles:
    """Distributions of the angles between the bonds of an atom, of formers and of S alike.

    Parameters
    ----------
    trajectory : Trajectory
        Frames; at most :data:`lbpsi_driver.observables.trajectory.MOST_FRAMES` of them are used.
    bin_deg : float
        Bin width, degrees; a whole number of bins makes up 180.
    bonds : mapping of str to float, optional
        As in :func:`lbpsi_driver.observables.motifs.find_motifs`.

    Returns
    -------
    BondAngles
        Kinds that no frame has are left out.

    Raises
    ------
    UsageError
        A bin that 180 degrees isn't a multiple of, no former, an element without motifs.
    """
    bins = number_of_bins(bin_deg)
    triples: defaultdict[str, _Angles] = defaultdict(lambda: _Angles(bins))
    units: defaultdict[str, _Angles] = defaultdict(lambda: _Angles(bins))
    frames = trajectory.spread()
    for motifs in iterate(frames, bonds=bonds):
        centre, ends, degrees = angles_of(motifs)
        for name, chosen in _by_triple(motifs, centre, ends).items():
            triples[name].add(degrees[chosen])
        for name, chosen in _by_unit(motifs, centre, ends).items():
            units[name].add(degrees[chosen])
    angle = (np.arange(bins, dtype=np.float64) + 0.5) * (_STRAIGHT_DEG / bins)
    return BondAngles(
        angle,
        {name: triples[name].distribution(frames.n_frames) for name in sorted(triples)},
        {name: units[name].distribution(frames.n_frames) for name in sorted(units)},
    )


def number_of_bins(bin_deg: float) -> int:
    """Bins of a width, degrees, that make up 180.

    Raises
    ------
    UsageError
        No whole number of them does.
    """
    bins = round(_STRAIGHT_DEG / bin_deg) if bin_deg > 0.0 else 0
    if bins < 2 or abs(bins * bin_deg - _STRAIGHT_DEG) > 1e-6:
        raise UsageError(f"bin of {bin_deg:g} degrees: expected a part of 180, as 1 or 2.5")
    return bins


def angles_of(motifs: Motifs) -> tuple[Integers, Integers, Floats]:
    """All angles between two bonds of one atom, each once.

    Parameters
    ----------
    motifs : Motifs
        Of a structure.

    Returns
    -------
    centre : ndarray of int, shape (A,)
        The atom, an index.
    ends : ndarray of int, shape (A, 2)
        The atoms at the other ends, indices.
    degrees : ndarray, shape (A,)
        The angle, degrees.
    """
    i = motifs.bond_i
    rest = motifs.bond_start[i + 1] - np.arange(len(i)) - 1
    first = np.repeat(np.arange(len(i)), rest)
    # places in each run of pairs: 1, 2, … bonds after the first
    runs = np.cumsum(rest) - rest
    second = first + 1 + np.arange(len(first)) - np.repeat(runs, rest)
    a, b = motifs.bond_d[first], motifs.bond_d[second]
    # The cosine alone is blunt near 0 and 180 degrees.
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    degrees = np.degrees(np.arctan2(sine, np.einsum("ij,ij->i", a, b)))
    return i[first], np.stack([motifs.bond_j[first], motifs.bond_j[second]], axis=1), degrees


def _by_triple(motifs: Motifs, centre: Integers, ends: Integers) -> dict[str, NDArray[np.bool_]]:
    symbols, types = motifs.species.symbols, motifs.species.types
    outer = np.sort(types[ends], axis=1)
    return {
        f"{symbols[a]}-{symbols[c]}-{symbols[b]}": (
            (types[centre] == c) & (outer[:, 0] == a) & (outer[:, 1] == b)
        )
        for a, c, b in set(zip(outer[:, 0], types[centre], outer[:, 1], strict=True))
    }


def _by_unit(motifs: Motifs, centre: Integers, ends: Integers) -> dict[str, NDArray[np.bool_]]:
    species = motifs.species
    inside = species.former[species.types[centre]] & species.sulfur[species.types[ends]].all(axis=1)
    kinds = set(
        zip(species.types[centre[inside]], motifs.coordination[centre[inside]], strict=True)
    )
    return {
        f"{species.symbols[t]}S{n}": (
            inside & (species.types[centre] == t) & (motifs.coordination[centre] == n)
        )
        for t, n in kinds
    }


class _Angles:
    """Sums over the angles of one kind."""

    def __init__(self, bins: int) -> None:
        self.counts = np.zeros(bins)
        self.sum = self.square = 0.0
        self.means: list[float] = []

    def add(self, degrees: Floats) -> None:
        """Add the angles of a frame, one or more."""
        bins = len(self.counts)
        # 180 degrees themselves belong to the last bin
        place = np.minimum((degrees * (bins / _STRAIGHT_DEG)).astype(np.int64), bins - 1)
        self.counts += np.bincount(place, minlength=bins)
        self.sum += float(degrees.sum())
        self.square += float(np.square(degrees).sum())
        self.means.append(float(degrees.mean()))

    def distribution(self, n_frames: int) -> AngleDistribution:
        """Normalise."""
        number = float(self.counts.sum())
        return AngleDistribution(
            self.counts / number * (len(self.counts) / _STRAIGHT_DEG),
            number / n_frames,
            mean_of_series(np.array(self.means)),
            float(np.sqrt(max(0.0, self.square / number - (self.sum / number) ** 2))),
        )
