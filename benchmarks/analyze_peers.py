"""Peer of ``bench_analyze``: a plain script, as one writes it with MDAnalysis, ASE and SciPy.

    python benchmarks/analyze_peers.py DUMP --temperature 700 [--motif-frames N]

It reads the dump into memory, takes the drift out, and gives

- the MSD of each element by ``EinsteinMSD`` with FFTs, D by a line through 5 % to 25 % of the run,
  the conductivity from the MSD of the sum of the Li likewise, and that of Nernst and Einstein;
- g(r) of each pair and its coordination numbers by ``InterRDF``, of the frames that ours takes;
- the class of each former by ASE's neighbour list and loops (``motif_peers``), in each frame;
- the rotation of each unit since the first frame by SciPy's ``align_vectors``, a unit at a time.

One line of JSON: the numbers, and the seconds of each part.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations_with_replacement
from typing import Any

import MDAnalysis as mda  # noqa: N813 - its own documentation has this name
import numpy as np
import tidynamics
from ase import Atoms
from MDAnalysis.analysis.msd import EinsteinMSD
from MDAnalysis.analysis.rdf import InterRDF
from scipy import constants
from scipy.signal import find_peaks
from scipy.spatial.transform import Rotation

import motif_peers

MOBILE = "Li"
CUTOFF, BIN = 8.0, 0.05
RDF_FRAMES = 100
FIT = (0.05, 0.25)
"""First and last lag of the line, in parts of the run."""
CM2_PER_S = 1e-4


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
        self.seconds[part] = time.perf_counter() - start[0]
        self.processor[part] = time.process_time() - start[1]


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


def motifs(universe: mda.Universe, frames: int) -> dict[str, Any]:
    """Mean share of each class, and mean rotation of its units since the first frame."""
    symbols, cell = list(universe.atoms.elements), universe.dimensions
    shares: Counter[str] = Counter()
    angles: dict[str, list[float]] = defaultdict(list)
    references: dict[int, tuple[list[int], np.ndarray, np.ndarray]] = {}
    for positions in universe.trajectory.get_array()[:frames].astype(np.float64):
        glass = motif_peers.Glass(Atoms(symbols, positions, cell=cell, pbc=True))
        turned = defaultdict(list)
        for i in glass.formers:
            name = motif_peers.former_class(glass, i)
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
    return {
        "shares": dict(shares),
        "angles_deg": {name: float(np.mean(found)) for name, found in angles.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dump")
    parser.add_argument("--spacing", type=float, default=0.1, help="of the frames, ps")
    parser.add_argument("--temperature", type=float, default=700.0, help="K")
    parser.add_argument("--motif-frames", type=int, help="only the first so many have motifs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    clock = Clock()
    with clock.of("read"):
        universe = read(args.dump, args.spacing)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "transport": lambda: transport(universe, args.spacing, args.temperature),
        "structure": lambda: structure(universe),
        "motifs": lambda: motifs(universe, args.motif_frames or universe.trajectory.n_frames),
    }
    found: dict[str, Any] = {}
    for part, work in parts.items():
        with clock.of(part):
            found |= work()
    print(json.dumps(found | {"seconds": clock.seconds, "processor": clock.processor}))


if __name__ == "__main__":
    main()
