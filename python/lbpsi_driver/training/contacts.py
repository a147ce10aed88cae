"""Shortest distances, first peaks and coordination: the model's frames beside the reference's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ase
import numpy as np
from ase.neighborlist import neighbor_list
from pydantic import BaseModel, ConfigDict

from lbpsi_driver import progress
from lbpsi_driver.observables import rdf
from lbpsi_driver.observables.trajectory import Trajectory
from lbpsi_driver.training import frames as store
from lbpsi_driver.training import short_range

REACH_A = 4.0
"""Shortest distances are looked for up to here, Å; first peaks and their minima to twice that."""

BIN_A = 0.05
NEAR_K = 100.0
"""Frames of the reference are compared within as many K of the model's own temperature."""

_SHELL = 1.45
"""The first minimum of g(r) is looked for up to as many times the first peak's distance."""


class Coordination(BaseModel):
    """First shell of a pair, as in ``P-S``: S around P.

    Attributes
    ----------
    first_peak_A, reference_first_peak_A : float or None
        First peak of g(r), Å.
    within_A : float or None
        First minimum of g(r), the reference's where there is one: the shell's edge, Å.
    neighbours, reference_neighbours : float or None
        Mean number of neighbours within it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_peak_A: float | None
    reference_first_peak_A: float | None
    within_A: float | None
    neighbours: float | None
    reference_neighbours: float | None


class Structure(BaseModel):
    """First shells of one cell.

    Attributes
    ----------
    frames, reference_frames : int
        How many frames each side has.
    pairs : dict of str to Coordination
        By pair, in both directions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int
    reference_frames: int
    pairs: dict[str, Coordination]


def shortest(frames: Sequence[ase.Atoms], title: str = "") -> dict[str, float | None]:
    """Shortest distance of each pair of elements over frames, Å; None beyond ``REACH_A``.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Any compositions.
    title : str
        What progress calls them.
    """
    found: dict[str, float | None] = {}
    with progress.count(f"distances {title}".rstrip(), len(frames)) as advance:
        for atoms in frames:
            symbols = np.array(atoms.get_chemical_symbols())
            first, second, distance = neighbor_list("ijd", atoms, REACH_A)
            for a, b in short_range.pairs_of(symbols.tolist()):
                own = distance[(symbols[first] == a) & (symbols[second] == b)]
                old = found.setdefault(f"{a}-{b}", None)
                if len(own):
                    found[f"{a}-{b}"] = min(float(own.min()), np.inf if old is None else old)
            advance("")
    return {pair: found[pair] for pair in sorted(found)}


def like(frames: Sequence[ase.Atoms], atoms: ase.Atoms, temperature: float) -> list[ase.Atoms]:
    """Return the frames of the same atoms within ``NEAR_K`` of a temperature.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labelled frames; one without a temperature is left out.
    atoms : ase.Atoms
        Whose formula they must have.
    temperature : float
        K.
    """
    formula = atoms.get_chemical_formula()
    return [
        one
        for one in frames
        if one.get_chemical_formula() == formula
        and abs(float(one.info.get(store.TEMPERATURE, np.inf)) - temperature) <= NEAR_K
    ]


def structure(frames: Sequence[ase.Atoms], reference: Sequence[ase.Atoms]) -> Structure:
    """Compare first shells.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The model's, all of one formula, at least one.
    reference : sequence of ase.Atoms
        The reference's, of the same formula; may be empty.
    """
    own = rdf.radial_distributions(_trajectory(frames), 2 * REACH_A, BIN_A)
    other = (
        rdf.radial_distributions(_trajectory(reference), 2 * REACH_A, BIN_A) if reference else None
    )
    pairs = {}
    for directed in own.coordination:
        pair = directed if directed in own.g else "-".join(reversed(directed.split("-")))
        judge = other if other is not None and other.first_peak_A[pair] is not None else own
        edge = _shell_edge(judge, pair)
        pairs[directed] = Coordination(
            first_peak_A=own.first_peak_A[pair],
            reference_first_peak_A=None if other is None else other.first_peak_A[pair],
            within_A=edge,
            neighbours=_neighbours(own, directed, edge),
            reference_neighbours=None if other is None else _neighbours(other, directed, edge),
        )
    return Structure(frames=len(frames), reference_frames=len(reference), pairs=pairs)


def _trajectory(frames: Sequence[ase.Atoms]) -> Trajectory:
    """Take frames of one formula for a trajectory; atoms are put in order of their elements."""
    ordered = [atoms[np.argsort(atoms.numbers, kind="stable")] for atoms in frames]
    cells = np.array([atoms.cell.array for atoms in ordered])
    return Trajectory(
        fractional=np.array([atoms.get_scaled_positions() for atoms in ordered]),
        cells=cells,
        origins=np.zeros((len(ordered), 3)),
        times_ps=np.arange(len(ordered), dtype=np.float64),
        elements=np.array(ordered[0].get_chemical_symbols()),
    )


def _shell_edge(found: rdf.RadialDistributions, pair: str) -> float | None:
    """Where g(r) is least between its first peak and what may be its second, Å."""
    peak = found.first_peak_A[pair]
    if peak is None:
        return None
    behind = np.flatnonzero((found.r_A > peak) & (found.r_A <= _SHELL * peak))
    if len(behind) == 0:
        return None
    values = found.g[pair][behind]
    # Of a gap's many zeros the middle one: neither shell's tail is cut.
    lowest = np.flatnonzero(values <= values.min() + 1e-9)
    return float(found.r_A[behind[lowest[len(lowest) // 2]]])


def _neighbours(found: rdf.RadialDistributions, directed: str, edge: float | None) -> float | None:
    if edge is None or directed not in found.coordination or edge > found.r_A[-1]:
        return None
    # n(r) counts to the upper edge of each bin.
    return float(np.interp(edge, found.r_A + BIN_A / 2, found.coordination[directed]))


def shorter(
    own: Mapping[str, float | None], reference: Mapping[str, float | None], share: float
) -> list[str]:
    """Return the pairs that come closer than a share of what the reference's frames hold."""
    close = []
    for pair, distance in own.items():
        known = reference.get(pair)
        if distance is not None and known is not None and distance < share * known:
            close.append(pair)
    return close
