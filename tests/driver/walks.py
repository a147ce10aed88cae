"""Glasses whose Li walk with a known D, as folders that ``sweep`` leaves behind."""

import json

import numpy as np

from lbpsi_driver.units import BOLTZMANN_EV_PER_K

LENGTH = 12.0
SPACING_PS = 0.5
EA_EV = 0.25


def elements(p2s5):
    """Atoms of 6Li2S-(6-x)B2S3-12LiI-xP2S5."""
    return (
        ["Li"] * 24
        + ["B"] * (2 * (6 - p2s5))
        + ["P"] * (2 * p2s5)
        + ["S"] * (6 + 3 * (6 - p2s5) + 5 * p2s5)
        + ["I"] * 12
    )


def truth(temperature, factor=1.0):
    """D of the walkers, Å2/ps."""
    return factor * 6.0 * np.exp(-EA_EV / (BOLTZMANN_EV_PER_K * temperature))


def write_dump(path, symbols, D, seed, frames=100):
    """Li walks, the rest rattles; the centre of mass is that of the rest."""
    rng = np.random.default_rng(seed)
    mobile = np.array(symbols) == "Li"
    steps = rng.normal(size=(frames, len(symbols), 3)) * np.sqrt(2 * D * SPACING_PS)
    steps[:, ~mobile] = 0.0
    positions = rng.random((1, len(symbols), 3)) * LENGTH + np.cumsum(steps, axis=0)
    positions += rng.normal(0, 0.1, positions.shape)
    lengths = LENGTH * (1 + 0.005 * rng.normal(size=frames))
    text = []
    for t, (x, length) in enumerate(zip(positions, lengths, strict=True)):
        text.append(
            f"ITEM: TIMESTEP\n{500 * t}\nITEM: NUMBER OF ATOMS\n{len(symbols)}\n"
            "ITEM: BOX BOUNDS pp pp pp\n" + f"0 {length:.8g}\n" * 3
        )
        text.append("ITEM: ATOMS id element xu yu zu\n")
        scaled = x * length / LENGTH
        text += [
            f"{i + 1} {symbols[i]} {a:.6g} {b:.6g} {c:.6g}\n" for i, (a, b, c) in enumerate(scaled)
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(text))


def write_sweep(folder, p2s5, factor, seed, temperatures=(700, 800, 900), **made):
    """A sweep's folder with its manifest; `made` goes into the options of its quench."""
    symbols = elements(p2s5)
    for number, T in enumerate(temperatures):
        path = folder / f"T{T}" / "trajectory.dump"
        write_dump(path, symbols, truth(T, factor), 100 * seed + number)
    quench = folder.parent / "quench"
    quench.mkdir(parents=True, exist_ok=True)
    options = {"timestep": 1.0, "data": str(quench / "data.quenched"), "model": "lbpsi-small"}
    digest = {"data": f"glass of {folder.parent}", "model": "one"}
    record = {"options": options, "configuration": {"options": {}, "sha256": digest}}
    write_manifest(folder, "sweep", record)
    options = {"high": 1200.0, "rate": 300.0, "hold": 1.0, "equilibrate": 2.0, **made}
    write_manifest(quench, "quench", {"options": options})


def write_manifest(folder, verb, record):
    record = {"state": "finished", "configuration": {}, "commands": [], "result": None} | record
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "runs": {verb: record}}))
