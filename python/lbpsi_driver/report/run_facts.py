"""The record of how a run was made: its atoms and its protocol, None where that isn't known."""

from __future__ import annotations

from math import gcd

from pydantic import Field

from lbpsi_driver.report.records import Record


class RunFacts(Record):
    """What a run is of, and how its glass was made.

    Attributes
    ----------
    elements : dict of str to int
        Atoms by element, in the order of LAMMPS types.
    mol_percent : dict of str to float or None
        mol % of the salts; None where the elements aren't those of neutral salts.
    temperatures_K, times_ps : list of float
        Of each run in motion.
    high_K, rate_K_per_ps, hold_ps, equilibrate_ps : float or None
        Melt temperature, cooling rate and times of the last quench.
    model, model_sha256 : str or None
        The potential by the name or path that it was given.
    glass_sha256 : str or None
        The cell that the run started from.
    replicas : int
        Independent glasses.
    """

    elements: dict[str, int] = Field(default_factory=dict)
    mol_percent: dict[str, float] | None = None
    temperatures_K: list[float] = Field(default_factory=list)
    times_ps: list[float] = Field(default_factory=list)
    high_K: float | None = None
    rate_K_per_ps: float | None = None
    hold_ps: float | None = None
    equilibrate_ps: float | None = None
    model: str | None = None
    model_sha256: str | None = None
    glass_sha256: str | None = None
    replicas: int = 1

    @property
    def atoms(self) -> int | None:
        """Atoms in the cell."""
        return sum(self.elements.values()) or None

    @property
    def formula(self) -> str:
        """Elements in their smallest whole numbers, as in Li21B10P2S26I9."""
        shared = gcd(*self.elements.values()) if self.elements else 1
        parts = ((symbol, count // shared) for symbol, count in self.elements.items())
        return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in parts)

    @property
    def name(self) -> str:
        """Composition in mol % of the salts, as in 75Li2S-25P2S5, else the formula."""
        if self.mol_percent is None:
            return self.formula or "unknown composition"
        return "-".join(f"{amount:.3g}{salt}" for salt, amount in self.mol_percent.items())

    @property
    def p2s5_mol_percent(self) -> float | None:
        """Share of P2S5, mol %; None where the elements aren't those of neutral salts."""
        return None if self.mol_percent is None else self.mol_percent.get("P2S5", 0.0)


def fractions(elements: dict[str, int]) -> dict[str, float]:
    """Atomic fraction of each element."""
    total = sum(elements.values())
    return {symbol: count / total for symbol, count in elements.items()}
