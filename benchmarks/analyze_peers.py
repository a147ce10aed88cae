"""Peer of ``bench_analyze``: a plain script, as one writes it with MDAnalysis, ASE and SciPy.

    python benchmarks/analyze_peers.py DUMP --temperature 700 [--motif-frames N]

It reads the dump into memory, takes the drift out, and gives

- the MSD of each element by ``EinsteinMSD`` with FFTs, D by a line through 5 % to 25 % of the run,
  the conductivity from the MSD of the sum of the Li likewise, and that of Nernst and Einstein;
- g(r) of each pair and its coordination numbers by ``InterRDF``, of the frames that ours takes;
- the class of each former by ASE's neighbour list and loops (``motif_peers``), in each frame;
- the rotation of each unit since the first frame by SciPy's ``align_vectors``, a unit at a time;
- with ``--hopping`` what the hopping part of ``analyze`` gives, intervals and null model apart: the
  class of each Li, that of the nearest former by ``capped_distance``, in each frame, and the MSD of
  the Li by class, of all and of those that have kept it, at lags even in their logarithm; van Hove
  functions, self part by ``histogram``, distinct part by ``capped_distance`` from at most 100
  origins a lag; alpha2 at the same lags as the MSD by class; the density on a grid by ``histogram``
  and ``gaussian_filter``; hops by running windows (``uniform_filter1d``, ``maximum_filter1d``).

All loops but those over frames, formers and lags are NumPy's. One line of JSON: the numbers, and
the seconds of each part.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations_with_replacement
from typing import Any

import MDAnalysis as mda  # noqa: N813 - its own documentation has this name
import numpy as np
import tidynamics
from ase import Atoms
from MDAnalysis.analysis.msd import EinsteinMSD
from MDAnalysis.analysis.rdf import InterRDF
from MDAnalysis.lib.distances import capped_distance
from scipy import constants
from scipy.ndimage import gaussian_filter, maximum_filter1d, uniform_filter1d
from scipy.signal import find_peaks
from scipy.spatial.transform import Rotation

import motif_peers

MOBILE = "Li"
CUTOFF, BIN = 8.0, 0.05
RDF_FRAMES = 100
FIT = (0.05, 0.25)
"""First and last lag of the line, in parts of the run."""
CM2_PER_S = 1e-4
LAGS_PS = (1.0, 10.0, 100.0)
VAN_HOVE_BIN, ORIGINS = 0.1, 100
VOXEL, SMOOTHING = 0.4, 0.5
HOP_WINDOW_PS, OVER_CAGE = 2.0, 10.0


class Clock:
    """Seconds by part, by the clock and of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter(), time.process_time()
        yield
        spent = time.perf_counter() - start[0], time.process_time() - start[1]
        self.seconds[part] = self.seconds.get(part, 0.0) + spent[0]
        self.processor[part] = self.processor.get(part, 0.0) + spent[1]


def read(dump: str, spacing_ps: float) -> mda.Universe:
    """Read all frames, unwrapped, and take out the drift of the centre of mass."""
    kind = {"format": "LAMMPSDUMP", "topology_format": "LAMMPSDUMP"}
    universe = mda.Universe(dump, **kind, dt=spacing_ps, unwrap_images=True)
    universe.transfer_to_memory()
    positions = universe.trajectory.get_array()
    masses = universe.atoms.masses / universe.atoms.masses.sum()
    positions -= np.einsum("fij,i->fj", positions, masses)[:, None, :]
    return universe


def slope(msd: np.ndarray, spacing_ps: float) -> float:
    """Slope of a line through the MSD, Å2/ps."""
    first, last = (int(part * len(msd)) for part in FIT)
    lags = np.arange(first, last) * spacing_ps
    return float(np.polyfit(lags, msd[first:last], 1)[0])


def transport(universe: mda.Universe, spacing_ps: float, temperature: float) -> dict[str, Any]:
    """MSD of each element, D, both conductivities."""
    curves = {
        str(e): EinsteinMSD(universe, select=f"element {e}", fft=True).run().results.timeseries
        for e in np.unique(universe.atoms.elements)
    }
    ions = universe.select_atoms(f"element {MOBILE}").indices
    total = universe.trajectory.get_array()[:, ions].astype(np.float64).sum(axis=1)
    tracer = slope(curves[MOBILE], spacing_ps) / 6.0 * CM2_PER_S
    collective = slope(tidynamics.msd(total), spacing_ps) / (6.0 * len(ions)) * CM2_PER_S
    density = len(ions) / float(universe.dimensions[:3].prod()) * 1e30
    factor = density * constants.e**2 / (constants.k * temperature) * 1e-4 * 10.0
    return {
        "msd_end": {element: float(msd[len(msd) // 4]) for element, msd in curves.items()},
        "D_cm2_per_s": tracer,
        "D_sigma_cm2_per_s": collective,
        "sigma_NE_mS_per_cm": tracer * factor,
        "sigma_mS_per_cm": collective * factor,
    }


def structure(universe: mda.Universe) -> dict[str, Any]:
    """First peak of each g(r), and coordination numbers up to the end of it."""
    last = universe.trajectory.n_frames - 1
    number = min(RDF_FRAMES, last + 1)
    frames = np.linspace(0, last, number).astype(int).tolist()
    bins = round(CUTOFF / BIN)
    groups = {
        str(e): universe.select_atoms(f"element {e}") for e in np.unique(universe.atoms.elements)
    }
    peaks, coordination = {}, {}
    for a, b in combinations_with_replacement(groups, 2):
        alone = {"exclusion_block": (1, 1)} if a == b else {}
        rdf = InterRDF(groups[a], groups[b], nbins=bins, range=(0.0, CUTOFF), **alone)
        results = rdf.run(frames=frames).results
        tops, _ = find_peaks(results.rdf, height=1.0, prominence=0.5)
        peaks[f"{a}-{b}"] = float(results.bins[tops[0]]) if len(tops) else None
        running = np.cumsum(results.count) / number
        coordination[f"{a}-{b}"] = (running / len(groups[a])).tolist()
        coordination[f"{b}-{a}"] = (running / len(groups[b])).tolist()
    return {"first_peak_A": peaks, "coordination": coordination}


def motifs(universe: mda.Universe, frames: int) -> tuple[dict[str, Any], list[dict[int, str]]]:
    """Mean share of each class, mean rotation of its units since the first frame; all classes."""
    symbols, cell = list(universe.atoms.elements), universe.dimensions
    shares: Counter[str] = Counter()
    angles: dict[str, list[float]] = defaultdict(list)
    references: dict[int, tuple[list[int], np.ndarray, np.ndarray]] = {}
    named = []
    for positions in universe.trajectory.get_array()[:frames].astype(np.float64):
        glass = motif_peers.Glass(Atoms(symbols, positions, cell=cell, pbc=True))
        turned = defaultdict(list)
        named.append({i: motif_peers.former_class(glass, i) for i in glass.formers})
        for i, name in named[-1].items():
            shares[name] += 1.0 / (frames * len(glass.formers))
            held = sorted(glass.sulfurs[i])
            if i not in references and len(held) >= 3:
                vectors = positions[held] - positions[i]
                images = -np.rint(vectors / cell[:3]) * cell[:3]
                references[i] = held, images, vectors + images
            elif i in references and held == references[i][0]:
                _, images, reference = references[i]
                now = positions[held] - positions[i] + images
                turn = Rotation.align_vectors(now, reference)[0].magnitude()
                turned[name].append(np.degrees(turn))
        for name, found in turned.items():
            angles[name].append(float(np.mean(found)))
    means = {name: float(np.mean(found)) for name, found in angles.items()}
    return {"shares": dict(shares), "angles_deg": means}, named


def lags_of(frames: int) -> np.ndarray:
    """Lags even in their logarithm, up to half the run."""
    return np.unique(np.geomspace(1, max(1, (frames - 1) // 2), 64).round().astype(int))


def by_class(universe: mda.Universe, named: list[dict[int, str]]) -> dict[str, Any]:
    """Class of each Li, that of its nearest former, and the MSD by class and by survivors."""
    names = [*(row["name"] for row in motif_peers.TABLE["class"]), ""]
    ions = universe.select_atoms(f"element {MOBILE}").indices
    every = universe.trajectory.get_array()[: len(named)]
    classes = np.full((len(named), len(ions)), len(names) - 1)
    for row, positions, formers in zip(classes, every, named, strict=True):
        centres = np.array(list(formers))
        codes = np.array([names.index(name) for name in formers.values()])
        pairs, far = capped_distance(
            positions[ions], positions[centres], motif_peers.REACH, box=universe.dimensions
        )
        order = np.argsort(far)[::-1]
        row[pairs[order, 0]] = codes[pairs[order, 1]]
    held = np.full(classes.shape, len(classes) - 1)
    for t in range(len(classes) - 2, -1, -1):
        held[t] = np.where(classes[t] == classes[t + 1], held[t + 1], t)
    paths = every[:, ions].astype(np.float64)
    lags = lags_of(len(paths))
    msd = np.full((2, len(lags), len(names)), np.nan)
    for k, lag in enumerate(lags.tolist()):
        squares = np.square(paths[lag:] - paths[:-lag]).sum(axis=2)
        origin = classes[:-lag]
        survives = held[:-lag] >= np.arange(lag, len(paths))[:, None]
        for kept, rows in zip((np.ones_like(survives), survives), msd[:, k], strict=True):
            number = np.bincount(origin[kept], minlength=len(names))
            total = np.bincount(origin[kept], squares[kept], len(names))
            rows[number > 0] = total[number > 0] / number[number > 0]
    tenth = int(np.searchsorted(lags, 10))
    share = np.bincount(classes.ravel(), minlength=len(names)) / classes.size
    return {
        "li_shares": {n: float(s) for n, s in zip(names, share, strict=True) if n and s > 0},
        "li_msd": {
            n: [float(msd[0, tenth, c]), float(msd[1, tenth, c])]
            for c, n in enumerate(names)
            if n and share[c] > 0.01
        },
        "li_msd_lag": int(lags[tenth]),
    }


def hopping(universe: mda.Universe, spacing_ps: float) -> dict[str, Any]:
    """Van Hove functions, alpha2, density on a grid, hops."""
    ions = universe.select_atoms(f"element {MOBILE}").indices
    paths = universe.trajectory.get_array()[:, ions].astype(np.float64)
    box, edges = universe.dimensions, np.arange(round(CUTOFF / VAN_HOVE_BIN) + 1) * VAN_HOVE_BIN
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    density = (len(ions) - 1) / float(box[:3].prod())
    beyond, distinct = [], []
    for lag in (round(lag / spacing_ps) for lag in LAGS_PS):
        if lag > (len(paths) - 1) // 2:
            break
        far = np.linalg.norm(paths[lag:] - paths[:-lag], axis=2)
        beyond.append(1.0 - np.histogram(far, edges)[0].sum() / far.size)
        counts = np.zeros(len(shells))
        origins = np.linspace(0, len(far) - 1, min(ORIGINS, len(far))).astype(int)
        for t in origins.tolist():
            now, before = (paths[at].astype(np.float32) for at in (t + lag, t))
            pairs, far_apart = capped_distance(before, now, CUTOFF, box=box)
            others = pairs[:, 0] != pairs[:, 1]
            counts += np.histogram(far_apart[others], edges)[0]
        distinct.append(counts / (len(origins) * len(ions) * shells * density))
    alpha2 = []
    for lag in lags_of(len(paths)).tolist():
        squares = np.square(paths[lag:] - paths[:-lag]).sum(axis=2)
        alpha2.append(0.6 * np.square(squares).mean() / squares.mean() ** 2 - 1.0)
    return {
        "beyond_share": [float(part) for part in beyond],
        "distinct": [values.tolist() for values in distinct],
        "alpha2": [float(value) for value in alpha2],
    } | {"density_of_visited": ion_density(paths, box[:3]), "hops": hops(paths, spacing_ps)}


def ion_density(paths: np.ndarray, sides: np.ndarray) -> float:
    """Density, 1/A3, above which the Li spend 90 % of their time."""
    voxels = np.ceil(sides / VOXEL).astype(int)
    places = np.floor(paths / sides % 1.0 * voxels).astype(int).reshape(-1, 3).T
    inside = np.minimum(places, voxels[:, None] - 1)
    flat = np.bincount(np.ravel_multi_index(tuple(inside), voxels), minlength=voxels.prod())
    each = float(np.prod(sides / voxels))
    grid = flat.reshape(voxels) / (len(paths) * each)
    smooth = gaussian_filter(grid, SMOOTHING / (sides / voxels), mode="wrap")
    sorted_down = np.sort(smooth.ravel())[::-1]
    enough = np.searchsorted(np.cumsum(sorted_down), 0.9 * sorted_down.sum())
    return float(sorted_down[enough])


def hops(paths: np.ndarray, spacing_ps: float) -> int:
    """Find hops as peaks of the functional of Candelier et al. over the median; how many."""
    half = round(HOP_WINDOW_PS / spacing_ps / 2.0)
    paths = paths - paths.mean(axis=0)
    about = {"size": half, "axis": 0, "origin": -(half // 2)}
    mean = uniform_filter1d(paths, **about)[: len(paths) - half + 1]
    squares = uniform_filter1d(np.square(paths).sum(axis=2), **about)[: len(paths) - half + 1]
    deviation = np.maximum(squares - np.square(mean).sum(axis=2), 0.0)
    jump = np.square(mean[half:] - mean[:-half]).sum(axis=2)
    p = np.sqrt((deviation[:-half] + jump) * (deviation[half:] + jump))
    largest = maximum_filter1d(p, 2 * half + 1, axis=0, mode="constant")
    return int(((p == largest) & (p >= OVER_CAGE * np.median(p[::half]))).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dump")
    parser.add_argument("--spacing", type=float, default=0.1, help="of the frames, ps")
    parser.add_argument("--temperature", type=float, default=700.0, help="K")
    parser.add_argument("--motif-frames", type=int, help="only the first so many have motifs")
    parser.add_argument("--hopping", action="store_true", help="Li by class, van Hove, hops, too")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    clock = Clock()
    with clock.of("read"):
        universe = read(args.dump, args.spacing)
    found: dict[str, Any] = {}
    with clock.of("transport"):
        found |= transport(universe, args.spacing, args.temperature)
    with clock.of("structure"):
        found |= structure(universe)
    with clock.of("motifs"):
        of_formers, named = motifs(universe, args.motif_frames or universe.trajectory.n_frames)
        found |= of_formers
    if args.hopping:
        with clock.of("by class"):
            found |= by_class(universe, named)
        with clock.of("hopping"):
            found |= hopping(universe, args.spacing)
    print(json.dumps(found | {"seconds": clock.seconds, "processor": clock.processor}))


if __name__ == "__main__":
    main()
