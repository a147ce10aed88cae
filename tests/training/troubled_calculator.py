"""A Lennard-Jones reference that fails where the frame says so, in each way that one can fail.

The first atom's element is the cue; ``log`` gets a line for each evaluation.
"""

import os
import time
from pathlib import Path

from ase.calculators.lj import LennardJones

RAISES, NOT_A_NUMBER, DIES, DIES_ONCE, CHATTERS, HANGS = "Na", "K", "Rb", "Cs", "Be", "Mg"


class Troubled(LennardJones):
    """See above."""

    def __init__(self, log, wait=0.0):
        super().__init__(sigma=2.7, epsilon=0.15, rc=5.5, smooth=True)
        self._log = Path(log)
        self._wait = wait

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        first = atoms.symbols[0]
        seen = self._log.read_text().split() if self._log.exists() else []
        with self._log.open("a") as stream:
            stream.write(f"{first}\n")
        time.sleep(self._wait)
        if first == RAISES:
            raise ValueError("no such thing\nas sodium")
        if first == DIES or (first == DIES_ONCE and DIES_ONCE not in seen):
            print("out of luck", file=os.sys.stderr, flush=True)
            os._exit(3)
        if first == HANGS:
            time.sleep(600)
        if first == CHATTERS:
            os.write(2, b"no text: \xff\n")
            print('{"energy": 0}', flush=True)
        super().calculate(atoms, list(properties), list(system_changes))
        if first == NOT_A_NUMBER:
            self.results["free_energy"] = float("nan")
