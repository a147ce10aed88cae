"""Which frames to keep of many, and for what: farthest points, splits by trajectory, shares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lbpsi_driver.training.options import Split

_ROUNDING = 1e-6
"""A component that varies by less of its largest value is constant: float32 tells no more."""

_OTHERS: dict[str, Any] = {"s": 4, "alpha": 0.3, "linewidths": 0}
_SELECTED: dict[str, Any] = {"s": 14, "edgecolors": "black", "linewidths": 0.4}


def standardised(descriptors: ArrayLike) -> NDArray[np.float64]:
    """Scale each component to zero mean and unit spread, and all so that frames spread by 1.

    Parameters
    ----------
    descriptors : array_like, shape (F, D)
        One row a frame.

    Returns
    -------
    ndarray, shape (F, D')
        Without the components that are constant, over √D': the root mean square distance of a
        frame to the mean is 1, so distances of sets of other D compare.

    Raises
    ------
    ValueError
        No table of finite numbers.
    """
    rows = np.asarray(descriptors, dtype=float)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"descriptors of shape {rows.shape}: expected (F, D), finite")
    if len(rows) == 0:
        return rows
    spread = rows.std(axis=0)
    varies = spread > _ROUNDING * np.abs(rows).max(axis=0)
    scale = spread[varies] * np.sqrt(max(1, varies.sum()))
    scaled: NDArray[np.float64] = (rows[:, varies] - rows[:, varies].mean(axis=0)) / scale
    return scaled


def farthest_points(
    descriptors: ArrayLike, count: int, *, first: Sequence[int] = (), nearest: float = 0.0
) -> NDArray[np.int64]:
    """Select frames one by one, each the farthest from all that are selected before it.

    Distances are those of :func:`standardised` descriptors. Deterministic: of equal distances the
    lowest index wins. Takes O(F · count · D).

    Parameters
    ----------
    descriptors : array_like, shape (F, D)
        One row a frame.
    count : int
        How many to select in all, ``first`` included.
    first : sequence of int
        Frames that are selected before any other, as those that have labels already; they lead the
        result. Default: the frame nearest to the mean.
    nearest : float
        Stop when the farthest frame left is nearer than this to one that is selected, in units of
        the root mean square distance of a frame to the mean.

    Returns
    -------
    ndarray, shape (n,)
        Indices in the order of selection, n at most ``min(count, F)`` (all of ``first`` at least).

    Raises
    ------
    ValueError
        Descriptors that are no table of finite numbers, or ``first`` beyond it or twice.

    References
    ----------
    T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985), doi:10.1016/0304-3975(85)90224-5.
    """
    rows = standardised(descriptors)
    chosen = [int(index) for index in first]
    if len(set(chosen)) < len(chosen) or not all(0 <= index < len(rows) for index in chosen):
        raise ValueError(f"first = {chosen}: expected distinct indices below {len(rows)}")
    distance = np.full(len(rows), np.inf)
    for index in chosen:
        _approach(distance, rows, index)
    while len(chosen) < min(count, len(rows)):
        if chosen:
            index = int(distance.argmax())
            if distance[index] < nearest:
                break
        else:
            index = int(np.linalg.norm(rows, axis=1).argmin())
        chosen.append(index)
        _approach(distance, rows, index)
    return np.array(chosen, dtype=np.int64)


def _approach(distance: NDArray[np.float64], rows: NDArray[np.float64], index: int) -> None:
    """Note that a frame is selected: others may be nearer to it than to those before."""
    np.minimum(distance, np.linalg.norm(rows - rows[index], axis=1), out=distance)
    distance[index] = -np.inf  # never again, even where a twin of it is all that is left


def draw_splits(
    given: Mapping[str, Split | None], *, valid: float, test: float, seed: int
) -> dict[str, Split]:
    """Draw which set each trajectory is for, where that is not given.

    The number of trajectories of a set is the nearest to its share of all of them, at least one,
    those given counted; one is left for training, and validation comes before the test. The order
    of drawing depends on the seed and the names alone, so that one more trajectory moves few.

    Parameters
    ----------
    given : mapping of str to str or None
        ``train``, ``valid``, ``test`` or None by the name of the trajectory.
    valid, test : float
        Shares of the trajectories.
    seed : int
        Seed.

    Returns
    -------
    dict of str to str
        The set of each trajectory, in the order given.
    """
    drawn = [name for name, split in given.items() if split is None]
    drawn.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    spare = len(drawn) - ("train" not in given.values())
    splits: dict[str, Split] = {name: split or "train" for name, split in given.items()}
    shares: tuple[tuple[Split, float], ...] = (("valid", valid), ("test", test))
    for which, share in shares:
        wanted = max(1, round(share * len(given))) if share else 0
        wanted -= sum(split == which for split in given.values())
        for name in drawn[: max(0, min(wanted, spare))]:
            splits[name] = which
            drawn = drawn[1:]
            spare -= 1
    return splits


def shares_of(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Share a number out by sizes, by largest remainders; nobody gets more than its size.

    Parameters
    ----------
    total : int
        What is shared out.
    sizes : mapping of str to int
        How much each could take.

    Returns
    -------
    dict of str to int
        They sum to ``total``, or to the sum of the sizes where that is less.
    """
    whole = sum(sizes.values())
    total = min(total, whole)
    exact = {name: total * size / max(1, whole) for name, size in sizes.items()}
    shares = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def plot(path: Path, descriptors: ArrayLike, sources: Sequence[str], chosen: Sequence[int]) -> None:
    """Draw frames in their first two principal components, those selected on top.

    Parameters
    ----------
    path : Path
        The figure, in the format of its ending.
    descriptors : array_like, shape (F, D)
        One row a frame.
    sources : sequence of str
        Source of each frame, by colour.
    chosen : sequence of int
        Indices of the selected frames.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    rows = standardised(descriptors)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    points = np.zeros((len(rows), 2))
    points[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    selected = np.zeros(len(rows), dtype=bool)
    selected[list(chosen)] = True
    names = list(dict.fromkeys(sources))
    figure = Figure(figsize=(5.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        own = np.array([source == name for source in sources])
        colour = colormaps["tab20"](number % 20)
        for shown, style in ((own & ~selected, _OTHERS), (own & selected, _SELECTED)):
            label = name if style is _SELECTED else None
            axes.scatter(points[shown, 0], points[shown, 1], color=colour, label=label, **style)
    axes.set_xlabel("first principal component of the descriptors (spread 1)")
    axes.set_ylabel("second")
    axes.legend(fontsize="x-small", ncols=1 + len(names) // 16, title="black edge: selected")
    figure.savefig(path, dpi=150)
