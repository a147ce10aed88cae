"""ML-IAP unified models without torch, for what does not depend on MACE."""

import numpy as np


class Spring:
    """Harmonic springs between all pairs nearer than the cutoff: E = k/2 (r - r0)^2 a pair."""

    element_types = ("Li", "S")
    rcutfac = 1.5
    k, r0 = 0.7, 2.0

    def compute_forces(self, data):
        rij = np.asarray(data.rij)
        r = np.linalg.norm(rij, axis=1)
        half = 0.25 * self.k * (r - self.r0) ** 2  # the pair shows up from both its ends
        np.add.at(np.asarray(data.eatoms), data.pair_i, half)
        data.energy = half.sum()
        data.update_pair_forces((0.5 * self.k * (r - self.r0) / r)[:, None] * rij)


class FailsOnOneRank(Spring):
    """Fails on the rank that owns the fewest atoms' worth of luck: the one named in the file."""

    def __init__(self, rank):
        self.rank = rank

    def compute_forces(self, data):
        import os

        if int(os.environ.get("PMI_RANK", "0")) == self.rank:
            raise ValueError("planned failure")
        super().compute_forces(data)


class NoPotential:
    """Lacks what the protocol asks for."""
