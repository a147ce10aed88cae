"""How a run's protocol differs from a paper's, as short phrases: ours first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbpsi_driver.papers import Protocol, Row
from lbpsi_driver.report.run_facts import RunFacts

_NEAR = 0.05
_OF_LINES = ("Ea_eV", "Ea_sigma_eV", "prefactor_cm2_per_s")
_QUENCH = {
    "rate_K_per_ps": ("quenched at {} K/ps, not {}", "quench unknown"),
    "high_K": ("melt at {} K, not {}", None),
    "hold_ps": ("{} ps in the melt, not {}", None),
    "equilibrate_ps": ("{} ps of equilibration, not {}", None),
}


def differences(
    row: Row,
    protocol: Protocol,
    facts: RunFacts,
    strain: float | None = None,
    kelvin: float | None = None,
) -> list[str]:
    """List what differs, in a few words each; numbers within 5 % count as the same.

    Parameters
    ----------
    row : Row
        The paper's number.
    protocol : Protocol
        How the paper came by it.
    facts : RunFacts
        How our run was made.
    strain : float, optional
        Of our elastic constants.
    kelvin : float, optional
        Temperature of our number, K.
    """
    found = [] if facts.elements else ["our composition unknown"]
    if row.key.startswith("model_rmse"):
        return [*_of_model(protocol.model, facts.model), *_note(row)]
    if protocol.kind == "experiment":
        found.append(f"measured; ours simulated, {_number(facts.atoms)} atoms")
        if facts.rate_K_per_ps is not None:
            found.append(f"ours quenched at {facts.rate_K_per_ps:g} K/ps")
        return [*found, *_temperature(row, kelvin), *_note(row)]
    if protocol.kind == "AIMD":
        found.append("AIMD there")
    if protocol.atoms is not None and facts.atoms != protocol.atoms:
        found.append(f"{_number(facts.atoms)} atoms, not {protocol.atoms}")
    found += _temperature(row, kelvin)
    if protocol.kind == "static":
        if protocol.strain is not None and strain is not None and _apart(strain, protocol.strain):
            found.append(f"strain {100.0 * strain:g} %, not {100.0 * protocol.strain:g} %")
        if protocol.strain is not None:
            found.append("ours at rest (0 K)")
    else:
        found += _line(row, protocol, facts)
        found += _time(row, protocol, facts, kelvin)
    found += _quench(protocol, facts)
    if protocol.replicas is not None and facts.replicas != protocol.replicas:
        found.append(
            f"{facts.replicas} replica{'s' * (facts.replicas > 1)}, not {protocol.replicas}"
        )
    return [*found, *_of_model(protocol.model, facts.model), *_note(row)]


def _temperature(row: Row, kelvin: float | None) -> list[str]:
    if kelvin is None or row.temperature_K is None or not _apart(kelvin, row.temperature_K):
        return []
    return [f"at {kelvin:g} K, not {row.temperature_K:g}"]


def _line(row: Row, protocol: Protocol, facts: RunFacts) -> list[str]:
    """Temperatures of an Arrhenius line, where the number is read off one."""
    on_a_line = row.key in _OF_LINES or "_300K_" in row.key
    if not on_a_line or not protocol.temperatures_K or not facts.temperatures_K:
        return []
    ours, theirs = _range(facts.temperatures_K), _range(protocol.temperatures_K)
    return [] if ours == theirs else [f"{ours} K, not {theirs}"]


def _time(row: Row, protocol: Protocol, facts: RunFacts, kelvin: float | None) -> list[str]:
    """Length of the run that the number is from; of a line, of all its runs."""
    if protocol.time_ps is None or not facts.times_ps:
        return []
    by_temperature = dict(zip(facts.temperatures_K, facts.times_ps, strict=True))
    times = facts.times_ps if kelvin is None else [by_temperature.get(kelvin, facts.times_ps[0])]
    if not any(_apart(time, protocol.time_ps) for time in times):
        return []
    return [f"{_range(times)} ps, not {protocol.time_ps:g}"]


def _quench(protocol: Protocol, facts: RunFacts) -> list[str]:
    found = []
    for name, (phrase, unknown) in _QUENCH.items():
        ours, theirs = getattr(facts, name), getattr(protocol, name)
        if theirs is None:
            continue
        if ours is None:
            found += [unknown] if unknown else []
        elif _apart(ours, theirs):
            found.append(phrase.format(f"{ours:g}", f"{theirs:g}"))
    return found


def _of_model(theirs: str | None, ours: str | None) -> list[str]:
    if theirs is None:
        return []
    name = "unknown" if ours is None else Path(ours).stem
    short = theirs.partition(" (")[0]
    return [] if name == short else [f"model {name}, not {short}"]


def _note(row: Row) -> list[str]:
    return [] if row.note is None else [row.note]


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.4g}" if not _apart(low, high) else f"{low:.4g}-{high:.4g}"


def _apart(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) > _NEAR * max(abs(ours), abs(theirs))


def _number(value: int | None) -> str:
    return "unknown" if value is None else str(value)
