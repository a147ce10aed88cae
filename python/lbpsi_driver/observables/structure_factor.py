"""Partial and total S(Q) straight from the positions, and the first sharp diffraction peak.

The amplitude of an element at a reciprocal vector of the (triclinic) cell is the sum of exp(i q r)
over its atoms, each frame with the vectors of its own cell. Nothing is truncated, unlike in the
transform of g(r). Partials are those of Faber and Ziman, 1 where there is no order:

    S_ab(Q) = 1 + <A_a A_b*> / (N c_a c_b) - delta_ab / c_a,

which is 1 + rho times the integral of 4 pi r² (g_ab - 1) sin(Qr)/(Qr). Totals weight them with
scattering lengths or form factors w, here those of periodictable:

    F(Q) = sum of c_a c_b w_a w_b (S_ab(Q) - 1),    S(Q) = 1 + F(Q) / (sum of c_a w_a)².

References
----------
T. E. Faber and J. M. Ziman, Philos. Mag. 11, 153 (1965), doi:10.1080/14786436508211931.
R. Zhou, K. Luo, S. W. Martin, Q. An, "A Machine Learning Force Field for Lithium Sulfide Glassy
Electrolytes", section 2.4: their total is F(Q) with the lengths of neutrons, in fm².
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray
from scipy.signal import find_peaks

from lbpsi_driver.config import UsageError
from lbpsi_driver.observables.trajectory import Floats, Integers, Trajectory

FSDP_RANGE_PER_A = (0.5, 2.0)
"""Where the first sharp diffraction peak is looked for, 1/Å."""
_SMOOTHING_PER_A = 0.1
_STANDS_OUT = 3.0
# A block of phases that stays in a core's cache is four times as fast as one that doesn't.
_VECTORS_AT_ONCE = 64
_ATOMS_AT_ONCE = 2048


@dataclass(frozen=True)
class PartialStructureFactors:
    """Faber-Ziman S(Q) of a trajectory; B shells that hold reciprocal vectors.

    Attributes
    ----------
    Q_per_A : ndarray, shape (B,)
        Mean length of the vectors of each shell, 1/Å.
    S : dict of str to ndarray
        S_ab(Q) by pair, elements in alphabetical order, as in ``B-S``.
    fractions : dict of str to float
        Share of each element among the atoms.
    vectors : ndarray, shape (B,)
        Distinct vectors in each shell, q and -q taken for one: how many independent values a
        frozen structure gives.
    """

    Q_per_A: Floats
    S: dict[str, Floats]
    fractions: dict[str, float]
    vectors: Floats


@dataclass(frozen=True)
class TotalStructureFactor:
    """S(Q) as a diffraction experiment sees it; B shells.

    Attributes
    ----------
    Q_per_A : ndarray, shape (B,)
        Mean length of the vectors of each shell, 1/Å.
    S : ndarray, shape (B,)
        1 + F / (mean weight)².
    F : ndarray, shape (B,)
        Sum of c_a c_b w_a w_b (S_ab - 1): fm² of neutrons, squared electrons of X-rays.
    error : ndarray, shape (B,)
        Standard error of S of one frozen structure, whose intensities scatter from vector to
        vector as much as they are high.
    vectors : ndarray, shape (B,)
        Distinct vectors in each shell.
    weights : dict of str to ndarray
        Scattering length, fm, or form factor, electrons, of each element at each Q.
    """

    Q_per_A: Floats
    S: Floats
    F: Floats
    error: Floats
    vectors: Floats
    weights: dict[str, Floats]


@dataclass(frozen=True)
class SharpPeak:
    """The first sharp diffraction peak.

    Attributes
    ----------
    Q_per_A : float or None
        Position, 1/Å; None where no peak stands out of the scatter.
    S : float or None
        Height of the smoothed curve there.
    reason : str or None
        Why there is none.
    """

    Q_per_A: float | None
    S: float | None = None
    reason: str | None = None


def partial_structure_factors(
    trajectory: Trajectory,
    Q_max_per_A: float = 15.0,
    bin_per_A: float = 0.05,
    *,
    vectors: int = 5000,
    seed: int = 1,
) -> PartialStructureFactors:
    """Faber-Ziman S(Q) of all pairs of elements, each frame in its own (triclinic) cell.

    A shell takes all of its vectors where they are few; of a shell that has more, each frame draws
    others at random, uniform over directions.

    Parameters
    ----------
    trajectory : Trajectory
        Frames; at most :data:`lbpsi_driver.observables.trajectory.MOST_FRAMES` of them are used.
    Q_max_per_A : float
        Largest Q, 1/Å.
    bin_per_A : float
        Width of a shell, 1/Å.
    vectors : int
        Vectors in a shell, over all frames: the scatter of S of a liquid is S/sqrt(vectors).
    seed : int
        Seed of the draws.

    Returns
    -------
    PartialStructureFactors
        Averages over vectors and frames, of the shells that hold any vector.

    Raises
    ------
    UsageError
        A shell as wide as the range, no vectors asked for, a cell too small for any vector.
    """
    shells = number_of_shells(Q_max_per_A, bin_per_A)
    if vectors < 1:
        raise UsageError(f"{vectors} vectors in a shell: expected 1 or more")
    frames = trajectory.spread()
    basis = np.rint(minkowski_reduce(frames.mean_cell)[1])
    back, cells = np.linalg.inv(basis), basis @ frames.cells
    symbols, types = np.unique(frames.elements, return_inverse=True)
    member = np.eye(len(symbols), dtype=np.float32)[types]
    sums = _Sums(symbols.tolist(), np.bincount(types), bin_per_A, shells)
    rng = np.random.default_rng(seed)
    share = -(-vectors // frames.n_frames)
    for fractional, cell in zip(frames.fractional, cells, strict=True):
        hkl, lengths = _reciprocal_vectors(cell, bin_per_A, shells, share, rng)
        sums.add(lengths, _amplitudes(fractional @ back % 1.0, hkl, member))
    if not sums.number.any():
        raise UsageError(
            f"no reciprocal vector up to {Q_max_per_A:g} 1/Å: the cell is too small for S(Q); "
            "raise the largest Q or use a supercell"
        )
    volume = float(np.abs(np.linalg.det(cells)).mean())
    return sums.averages(frames.n_frames, _population(volume, bin_per_A, shells))


def number_of_shells(Q_max_per_A: float, bin_per_A: float) -> int:
    """Shells of a width up to the largest Q, 1/Å.

    Raises
    ------
    UsageError
        Fewer than two.
    """
    shells = int(round(Q_max_per_A / bin_per_A, 6)) if bin_per_A > 0.0 else 0
    if shells < 2:
        raise UsageError(
            f"S(Q) bin {bin_per_A:g} 1/Å: expected at most half of the largest Q, "
            f"{Q_max_per_A:g} 1/Å"
        )
    return shells


def neutron(
    partials: PartialStructureFactors, isotopes: Mapping[str, int] | None = None
) -> TotalStructureFactor:
    """Total S(Q) of neutrons, with the coherent scattering lengths of periodictable.

    Parameters
    ----------
    partials : PartialStructureFactors
        From :func:`partial_structure_factors`.
    isotopes : mapping of str to int, optional
        Mass number of elements that aren't of natural composition, as ``{"Li": 7, "B": 11}``.

    Returns
    -------
    TotalStructureFactor
        Absorption (the imaginary part of the length, as of natural B) is left out.

    Raises
    ------
    UsageError
        An isotope without a known length, a composition whose mean length is zero.
    """
    isotopes = isotopes or {}
    lengths = {
        symbol: scattering_length(symbol, isotopes.get(symbol)) for symbol in partials.fractions
    }
    shape = len(partials.Q_per_A)
    return weighted(partials, {symbol: np.full(shape, b) for symbol, b in lengths.items()})


def scattering_length(symbol: str, isotope: int | None = None) -> float:
    """Look up the bound coherent scattering length of neutrons, fm.

    Parameters
    ----------
    symbol : str
        The element.
    isotope : int, optional
        Mass number; None: natural composition.

    Raises
    ------
    UsageError
        No such element or isotope, or none whose length is known.
    """
    import periodictable

    try:
        element = periodictable.elements.symbol(symbol)
        source = element if isotope is None else element[isotope]
    except ValueError as err:
        raise UsageError(f"isotope of {symbol}: no such element") from err
    except KeyError as err:
        raise UsageError(f"isotope {isotope} of {symbol}: there is none") from err
    length = source.neutron.b_c
    if length is None:
        raise UsageError(f"{source}: no neutron scattering length is known; choose an isotope")
    return float(length)


def xray(partials: PartialStructureFactors) -> TotalStructureFactor:
    """Total S(Q) of X-rays, with the form factors of neutral atoms of periodictable.

    They are the fits of Waasmaier and Kirfel, Acta Cryst. A51, 416 (1995),
    doi:10.1107/S0108767394013292; anomalous dispersion is left out.

    Parameters
    ----------
    partials : PartialStructureFactors
        From :func:`partial_structure_factors`.

    Returns
    -------
    TotalStructureFactor
        S and F; the mean form factor falls with Q.
    """
    import periodictable

    weights = {
        symbol: np.asarray(getattr(periodictable, symbol).xray.f0(partials.Q_per_A), np.float64)
        for symbol in partials.fractions
    }
    return weighted(partials, weights)


def weighted(
    partials: PartialStructureFactors, weights: Mapping[str, Floats]
) -> TotalStructureFactor:
    """Total S(Q) with weights of one's own.

    Parameters
    ----------
    partials : PartialStructureFactors
        From :func:`partial_structure_factors`.
    weights : mapping of str to ndarray, shape (B,)
        Of each element at each Q.

    Returns
    -------
    TotalStructureFactor
        S and F.

    Raises
    ------
    UsageError
        A composition whose mean weight is zero: S(Q) is undefined then.
    """
    shares = {symbol: c * weights[symbol] for symbol, c in partials.fractions.items()}
    mean = np.sum(list(shares.values()), axis=0)
    square = np.sum([share * weights[symbol] for symbol, share in shares.items()], axis=0)
    if (mean**2 <= 1e-12 * square).any():
        raise UsageError("the mean scattering length is zero: S(Q) isn't defined; use partials")
    F = np.zeros(len(partials.Q_per_A))
    for pair, S in partials.S.items():
        a, b = pair.split("-")
        F += (1.0 if a == b else 2.0) * shares[a] * shares[b] * (S - 1.0)
    error = (F + square) / mean**2 / np.sqrt(partials.vectors)
    total = 1.0 + F / mean**2
    return TotalStructureFactor(partials.Q_per_A, total, F, error, partials.vectors, dict(weights))


def first_sharp_peak(
    total: TotalStructureFactor, between_per_A: tuple[float, float] = FSDP_RANGE_PER_A
) -> SharpPeak:
    """Find the peak of S(Q) at the lowest Q that stands out of the scatter.

    S(Q) is smoothed by a Gaussian of 0.1 1/Å, shells weighted by their vectors; a peak counts when
    its prominence is three standard errors of the smoothed curve.

    Parameters
    ----------
    total : TotalStructureFactor
        From :func:`neutron` or :func:`xray`.
    between_per_A : tuple of float
        Where to look, 1/Å.

    Returns
    -------
    SharpPeak
        Its position, to 0.01 1/Å, and height.
    """
    low, high = between_per_A
    margin = 3.0 * _SMOOTHING_PER_A
    first_Q = max(low - margin, float(total.Q_per_A[0]))
    Q = 0.01 * np.arange(np.ceil(100.0 * first_Q), 100.0 * (high + margin))
    kernel = np.exp(-0.5 * ((Q[:, None] - total.Q_per_A) / _SMOOTHING_PER_A) ** 2) * total.vectors
    S, error = np.full((2, len(Q)), np.nan)
    norm = kernel.sum(axis=1)
    near = norm > 1e-3
    S[near] = kernel[near] @ total.S / norm[near]
    error[near] = np.sqrt(kernel[near] ** 2 @ total.error**2) / norm[near]
    S, error, Q = S[near], error[near], Q[near]
    tops, found = find_peaks(S, prominence=0.0)
    clear = found["prominences"] > _STANDS_OUT * error[tops]
    clear &= (Q[tops] >= low) & (Q[tops] <= high)
    if not clear.any():
        return SharpPeak(None, reason=f"no peak stands out between {low:g} and {high:g} 1/Å")
    first = int(tops[clear][0])
    return SharpPeak(round(float(Q[first]), 2), float(S[first]))


class _Sums:
    """Sums over vectors and frames by shell."""

    def __init__(
        self, symbols: list[str], counts: NDArray[np.intp], bin_per_A: float, shells: int
    ) -> None:
        self.symbols, self.counts = symbols, counts
        self.bin, self.shells = bin_per_A, shells
        self.number, self.length = np.zeros(shells), np.zeros(shells)
        places = range(len(symbols))
        self.products = {
            pair: np.zeros(shells) for pair in combinations_with_replacement(places, 2)
        }

    def add(self, lengths: Floats, amplitudes: NDArray[np.complex128]) -> None:
        """Add the vectors of a frame."""
        shell = (lengths / self.bin).astype(np.int64)
        self.number += np.bincount(shell, minlength=self.shells)
        self.length += np.bincount(shell, lengths, self.shells)
        for (a, b), sums in self.products.items():
            product = (amplitudes[:, a] * amplitudes[:, b].conj()).real
            sums += np.bincount(shell, product, self.shells)

    def averages(self, n_frames: int, population: Floats) -> PartialStructureFactors:
        """Normalise the sums of shells that hold any vector."""
        held = self.number > 0
        number, n = self.number[held], int(self.counts.sum())
        S = {}
        for (a, b), sums in self.products.items():
            of_pair = sums[held] / number * n / (self.counts[a] * self.counts[b])
            self_term = n / self.counts[a] if a == b else 0.0
            S[f"{self.symbols[a]}-{self.symbols[b]}"] = 1.0 + of_pair - self_term
        shares = (self.counts / n).tolist()
        distinct = np.minimum(number, np.maximum(number / n_frames, population[held]))
        fractions = dict(zip(self.symbols, shares, strict=True))
        return PartialStructureFactors(self.length[held] / number, S, fractions, distinct)


def _population(volume_A3: float, bin_per_A: float, shells: int) -> Floats:
    """Reciprocal vectors to expect in each shell, q and -q taken for one."""
    edges = np.arange(shells + 1) * bin_per_A
    expected: Floats = np.diff(edges**3) * (2.0 * np.pi / 3.0) * volume_A3 / (2.0 * np.pi) ** 3
    return expected


def _reciprocal_vectors(
    cell: Floats, bin_per_A: float, shells: int, share: int, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    """Choose all vectors of the first shells and a share of the others.

    A vector drawn uniformly from a shell's volume and rounded to the next of the lattice prefers no
    direction, and needs no list of all vectors. Returns indices (V, 3) and lengths (V,), 1/Å.
    """
    volume = abs(float(np.linalg.det(cell)))
    complete = int(np.searchsorted(_population(volume, bin_per_A, shells), share, side="right"))
    least = complete * bin_per_A
    inner = np.repeat(np.arange(complete, shells), share)
    radius = np.cbrt(inner**3 + rng.random(len(inner)) * (3 * inner * (inner + 1) + 1))
    direction = rng.normal(size=(len(inner), 3))
    drawn = direction * (radius * bin_per_A / np.linalg.norm(direction, axis=1))[:, None]
    sampled = np.unique(_half(np.rint(drawn @ cell.T / (2.0 * np.pi))), axis=0)
    reciprocal = 2.0 * np.pi * np.linalg.inv(cell).T
    kept, lengths = [], []
    for hkl, low, high in (
        (_grid(cell, least), 0.0, least),
        (sampled, least, shells * bin_per_A),
    ):
        length = np.linalg.norm(hkl @ reciprocal, axis=1)
        inside = (length > 0.0) & (length >= low) & (length < high)
        kept.append(hkl[inside])
        lengths.append(length[inside])
    return np.concatenate(kept).astype(np.int64), np.concatenate(lengths)


def _half(hkl: Floats) -> Floats:
    """Turn vectors into the half-space whose first index that isn't zero is positive."""
    first = np.where(hkl[:, 0] != 0, hkl[:, 0], np.where(hkl[:, 1] != 0, hkl[:, 1], hkl[:, 2]))
    turned: Floats = np.where(first[:, None] < 0, -hkl, hkl)
    return turned


def _grid(cell: Floats, Q: float) -> Floats:
    """All indices of the half-space that may be shorter than Q."""
    h, k, l = np.floor(Q * np.linalg.norm(cell, axis=1) / (2.0 * np.pi) + 1e-9)  # noqa: E741
    axes = (np.arange(0.0, h + 1), np.arange(-k, k + 1), np.arange(-l, l + 1))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    kept: Floats = grid[(_half(grid) == grid).all(axis=1)]
    return kept


def _amplitudes(
    fractional: Floats, hkl: Integers, member: NDArray[np.float32]
) -> NDArray[np.complex128]:
    """Sum exp(i q r) over the atoms of each element; shape (V, E)."""
    total = np.zeros((len(hkl), member.shape[1]), dtype=np.complex128)
    for start in range(0, len(fractional), _ATOMS_AT_ONCE):
        atoms = slice(start, start + _ATOMS_AT_ONCE)
        positions, columns = fractional[atoms].T, member[atoms]
        for at in range(0, len(hkl), _VECTORS_AT_ONCE):
            some = slice(at, at + _VECTORS_AT_ONCE)
            turns = hkl[some].astype(np.float64) @ positions
            turns -= np.rint(turns)  # single precision is enough for what is left
            angle = turns.astype(np.float32) * np.float32(2.0 * np.pi)
            total[some].real += np.cos(angle) @ columns
            total[some].imag += np.sin(angle) @ columns
    return total
