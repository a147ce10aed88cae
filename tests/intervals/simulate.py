"""Runs whose answer is known in closed form: walks, series, telegraphs, hops.

Every function draws from the generator it is given; lengths are in Å, times in ps.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.signal import lfilter

from lbpsi_driver.observables.hops import Hops
from lbpsi_driver.observables.trajectory import Trajectory

Rng = np.random.Generator
CM2_PER_S = 1e-4
"""1 Å2/ps in cm2/s."""


# --- series --------------------------------------------------------------------------------------


def ar1(rng: Rng, correlation: float, shape: tuple[int, ...]) -> np.ndarray:
    """Stationary AR(1) series along the first axis: mean 0, variance 1."""
    noise = rng.normal(size=shape) * np.sqrt(1.0 - correlation**2)
    noise[0] = rng.normal(size=shape[1:])
    return lfilter([1.0], [1.0, -correlation], noise, axis=0)


def relaxation(rng: Rng, length: float, spacing: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Ornstein-Uhlenbeck process; length and spacing in correlation times."""
    return ar1(rng, float(np.exp(-spacing)), (round(length / spacing), *shape))


def ringing(rng: Rng, length: float, spacing: float) -> np.ndarray:
    """Underdamped noise, as under a barostat: three periods in a decay time; mean 0."""
    decay, turn = np.exp(-spacing), 2.0 * np.pi * 3.0 * spacing
    feedback = [1.0, -2.0 * decay * np.cos(turn), decay**2]
    lead = round(20.0 / spacing)
    return lfilter([1.0], feedback, rng.normal(size=lead + round(length / spacing)))[lead:]


def telegraph(rng: Rng, share: float, lifetime: float, shape: tuple[int, int]) -> np.ndarray:
    """Units that turn on and off, share of the time on; lifetime: correlation time in frames."""
    forget = 1.0 - np.exp(-1.0 / lifetime)
    state = np.empty(shape)
    state[0] = rng.random(shape[1]) < share
    for t in range(1, shape[0]):
        drawn = rng.random(shape[1]) < share
        state[t] = np.where(rng.random(shape[1]) < forget, drawn, state[t - 1])
    return state


def breathing(volumes: np.ndarray) -> Trajectory:
    """Four Li at rest in a cube of these volumes, 1 ps a frame."""
    count = len(volumes)
    return Trajectory(
        fractional=np.zeros((count, 4, 3)),
        cells=np.eye(3) * np.cbrt(volumes)[:, None, None],
        origins=np.zeros((count, 3)),
        times_ps=np.arange(count, dtype=float),
        elements=np.array(["Li"] * 4),
    )


# --- walks, shape (frames, ions, 3) --------------------------------------------------------------


def walk(
    rng: Rng,
    D: float | np.ndarray,
    spacing: float,
    frames: int,
    ions: int,
    *,
    memory: float = 0.0,
    cage: float = 0.2,
) -> np.ndarray:
    """Random walk of ions that also rattle about their places.

    Successive steps are correlated by `memory`: above zero the ions persist (Ornstein-Uhlenbeck
    velocities, which live -spacing/ln(memory)), below zero they turn back. D is exact either way:
    the variance of a step times (1 + memory)/(1 - memory), over twice the spacing.
    """
    step = np.sqrt(2.0 * D * spacing * (1.0 - memory) / (1.0 + memory))
    steps = ar1(rng, memory, (frames, ions, 3)) * np.reshape(step, (-1, 1))
    return np.cumsum(steps, axis=0) + rng.normal(0.0, cage, (frames, ions, 3))


def together(
    rng: Rng, D: float, spacing: float, frames: int, ions: int, haven: float, memory: float = 0.0
) -> np.ndarray:
    """Walkers with any two correlated alike, so that D over D_sigma is `haven`."""
    between = (1.0 / haven - 1.0) / (ions - 1)
    covariance = np.full((ions, ions), between) + np.eye(ions) * (1.0 - between)
    steps = walk(rng, D, spacing, frames, ions, memory=memory, cage=0.0)
    return np.einsum("ij,fjk->fik", np.linalg.cholesky(covariance), steps)


def groups(rng: Rng, D: float, spacing: float, frames: int, number: int, size: int) -> np.ndarray:
    """Groups of ions that move as one: Haven ratio 1/size."""
    return np.repeat(walk(rng, D, spacing, frames, number, cage=0.0), size, axis=1)


def trapped(rng: Rng, deviation: float, life: float, frames: int, ions: int) -> np.ndarray:
    """Ornstein-Uhlenbeck particles about their sites; the MSD levels off at 6 deviation²."""
    return deviation * relaxation(rng, frames / life, 1.0 / life, (ions, 3))


def hopping(
    rng: Rng, per_frame: float, length: float, frames: int, ions: int, *, cage: float = 0.4
) -> np.ndarray:
    """Ions that vibrate and hop at random along the axes: D = rate length²/6."""
    counts = rng.poisson(per_frame, (frames, ions))
    path = np.zeros((frames, ions, 3))
    for number in range(1, int(counts.max()) + 1):
        frame, ion = np.nonzero(counts >= number)
        axis = rng.integers(0, 3, len(frame))
        np.add.at(path, (frame, ion, axis), length * rng.choice([-1.0, 1.0], len(frame)))
    return np.cumsum(path, axis=0) + rng.normal(0.0, cage, path.shape)


def alpha2_of_hopping(frames: float, per_frame: float, length: float, cage: float) -> float:
    """Non-Gaussian parameter of :func:`hopping` at a lag.

    Mean of n random steps of length a to the fourth power: n a^4 + 5/3 n(n - 1) a^4, n being
    Poisson's; vibrations add a Gaussian of variance 2 cage² along each axis.
    """
    mean, s2 = per_frame * frames, 2.0 * cage**2
    second = mean * length**2
    fourth = (mean + 5.0 / 3.0 * mean**2) * length**4
    whole = fourth + 10.0 * second * s2 + 15.0 * s2**2
    return 0.6 * whole / (second + 3.0 * s2) ** 2 - 1.0


def peak_of_hopping(per_frame: float, length: float, cage: float) -> float:
    """Largest non-Gaussian parameter of :func:`hopping` at any lag."""
    found = minimize_scalar(
        lambda log: -alpha2_of_hopping(np.exp(log), per_frame, length, cage),
        bounds=(np.log(0.1), np.log(1e4)),
        method="bounded",
    )
    return float(-found.fun)


# --- hops ----------------------------------------------------------------------------------------


def poisson_hops(rng: Rng, per_ps: float, ions: int, time: float) -> Hops:
    """Hops of independent ions, found without error, as ``detect_hops`` hands them over."""
    counts = rng.poisson(per_ps * time, ions)
    ion = np.repeat(np.arange(ions), counts)
    times = np.concatenate([np.sort(rng.uniform(0.0, time, n)) for n in counts])
    ends = rng.normal(0.0, 1.5, (len(ion), 3))
    return Hops(
        ion=ion,
        point=np.rint(times).astype(np.int64),
        time_ps=times,
        start_A=np.zeros((len(ion), 3)),
        end_A=ends,
        functional_A2=np.ones(len(ion)),
        cage_A2=0.1,
        threshold_A2=0.5,
        window_ps=1.0,
        n_ions=ions,
        watched_ps=(0.0, time),
    )
