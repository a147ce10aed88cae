"""Pooling of analysed runs: replicas of a composition, ratios between compositions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lbpsi_driver.analyze_diffusion import ROOM_K
from lbpsi_driver.observables.arrhenius import arrhenius
from lbpsi_driver.observables.conductivity import nernst_einstein
from lbpsi_driver.observables.pooling import (
    Pooled,
    Scatter,
    pool,
    pooled_ratio,
    power_to_find,
    ratio_of,
    scatter_of,
    smallest_ratio,
)
from lbpsi_driver.observables.trajectory import Floats
from lbpsi_driver.report.quantities import (
    ARRHENIUS,
    OF_SIGMA,
    Quantity,
    at_temperature,
    bounds_of,
    grouped,
    of_run,
)
from lbpsi_driver.report.results import AnalyzeResult, TemperatureRecord
from lbpsi_driver.report.run_facts import RunFacts
from lbpsi_driver.report.series_results import (
    SEVENFOLD,
    CompositionRecord,
    GroupRecord,
    PooledRecord,
    RatioRecord,
    ScatterRecord,
    SeriesArrhenius,
    SeriesResult,
)

COMPARED = ("D_cm2_per_s", "sigma_NE_mS_per_cm", "sigma_mS_per_cm")
"""Quantities whose ratios between compositions are given."""

Numbers = dict[str, dict[float | None, dict[str, Quantity]]]
"""Quantities by run, temperature and key."""


@dataclass(frozen=True)
class Replica:
    """An analysed run."""

    name: str
    result: AnalyzeResult
    facts: RunFacts


def numbers_of(replicas: Sequence[Replica]) -> Numbers:
    """List the quantities of each run by temperature."""
    return {
        one.name: {
            row.temperature_K: at_temperature(row, one.result.mobile)
            for row in one.result.temperatures
        }
        for one in replicas
    }


def diffusive_points(replicas: Sequence[Replica]) -> dict[str, list[tuple[float, float]]]:
    """List temperature, K, and D, cm2/s, of each run where it is diffusive."""
    return {
        name: [
            (T, D)
            for T, found in by_temperature.items()
            if T is not None and (D := found["D_cm2_per_s"].estimate.mean) is not None
        ]
        for name, by_temperature in numbers_of(replicas).items()
    }


def pool_all(result: SeriesResult, replicas: Sequence[Replica]) -> None:
    """Enter compositions, scatter and ratios into the result.

    Parameters
    ----------
    result : SeriesResult
        Its lists are filled.
    replicas : sequence of Replica
        All runs.
    """
    compositions: dict[str, list[Replica]] = {}
    for one in replicas:
        compositions.setdefault(one.facts.formula or f"? {one.name}", []).append(one)
    found = [_composition(group, result.charge_e) for group in compositions.values()]
    result.compositions = sorted(
        found, key=lambda one: (one.p2s5_mol_percent is None, one.p2s5_mol_percent or 0.0, one.name)
    )
    _tell_apart(result.compositions)
    numbers = numbers_of(replicas)
    kelvins = sorted({T for one in numbers.values() for T in one if T is not None})
    for key in COMPARED:
        for T in kelvins:
            _compare(result, numbers, key, T)


def _composition(replicas: Sequence[Replica], charge_e: float) -> CompositionRecord:
    """Pool the replicas of one composition."""
    numbers = numbers_of(replicas)
    kelvins = dict.fromkeys(T for one in numbers.values() for T in one)
    groups = []
    for T in sorted(kelvins, key=lambda T: (T is None, T or 0.0)):
        there = {name: found[T] for name, found in numbers.items() if T in found}
        times = [_row(one, T).time_ps for one in replicas if one.name in there]
        groups.append(
            GroupRecord(
                temperature_K=T,
                runs=list(there),
                time_ps=float(np.mean(times)),
                quantities=_pooled(there),
            )
        )
    whole = {one.name: of_run(one.result) for one in replicas}
    quench = {
        name: {key: one for key, one in found.items() if key.startswith("quench_")}
        for name, found in whole.items()
    }
    facts = replicas[0].facts
    return CompositionRecord(
        name=facts.name if facts.elements else f"unknown: {replicas[0].name}",
        formula=facts.formula,
        p2s5_mol_percent=facts.p2s5_mol_percent,
        facts=facts.model_copy(update=_shared(replicas)),
        runs=[one.name for one in replicas],
        groups=groups,
        quantities=_pooled(quench),
        arrhenius=_arrhenius(replicas, groups, charge_e),
    )


def _tell_apart(compositions: Sequence[CompositionRecord]) -> None:
    """Add the formula to names that rounded mol % give to two compositions."""
    counts = Counter(one.name for one in compositions)
    for one in compositions:
        if counts[one.name] > 1:
            one.name = f"{one.name} ({one.formula})"


def _row(replica: Replica, T: float | None) -> TemperatureRecord:
    return next(row for row in replica.result.temperatures if row.temperature_K == T)


def _shared(replicas: Sequence[Replica]) -> dict[str, object]:
    """Temperatures of any replica with their mean times, and how many glasses there are."""
    times: dict[float, list[float]] = {}
    for one in replicas:
        for T, time in zip(one.facts.temperatures_K, one.facts.times_ps, strict=True):
            times.setdefault(T, []).append(time)
    glasses = {one.facts.glass_sha256 or one.name for one in replicas}
    return {
        "temperatures_K": sorted(times),
        "times_ps": [float(np.mean(times[T])) for T in sorted(times)],
        "replicas": len(glasses),
    }


def _pooled(runs: Mapping[str, dict[str, Quantity]]) -> dict[str, PooledRecord]:
    """Pool each quantity over the replicas."""
    records = {}
    for key, by_run in grouped(runs).items():
        kind = next(iter(by_run.values())).kind
        estimates = {name: one.estimate for name, one in by_run.items()}
        found = pool(estimates, kind, bounds_of(key))
        if key == "haven_ratio":
            found = _haven_ratio(found, runs)
        records[key] = PooledRecord.of(found, kind)
    return records


def _haven_ratio(found: Pooled, runs: Mapping[str, dict[str, Quantity]]) -> Pooled:
    """Take the ratio of pooled D and D_σ instead of a mean of ratios."""
    tracer, summed = {}, {}
    for name, quantities in runs.items():
        ratio = quantities["haven_ratio"].estimate.mean
        D_sigma = quantities["D_sigma_cm2_per_s"].estimate.mean
        if ratio is not None and D_sigma is not None:
            tracer[name], summed[name] = ratio * D_sigma, D_sigma
    if len(summed) < 2:
        return found
    return replace(found, estimate=pooled_ratio(tracer, summed))


def _arrhenius(
    replicas: Sequence[Replica], groups: Sequence[GroupRecord], charge_e: float
) -> SeriesArrhenius:
    """Pool the replicas' own lines, and fit one through the pooled D."""
    in_motion = {one.name: of_run(one.result) for one in replicas if one.result.temperatures}
    pooled = {
        key: record for key, record in _pooled(in_motion).items() if not key.startswith("quench_")
    }
    if not pooled:  # quenches alone
        reason = "no run at a temperature"
        nothing = PooledRecord.of(pool({}, "linear"), "linear")
        pooled = dict.fromkeys((*ARRHENIUS, *OF_SIGMA), nothing)
        return SeriesArrhenius(reported="pooled", pooled=pooled, of_pooled_D_reason=reason)
    at = {
        T: group.quantities["D_cm2_per_s"]
        for group in groups
        if (T := group.temperature_K) is not None
    }
    # Where the slow glasses have no D, the mean is that of the fast ones: no point of the line.
    known = {T: D for T, D in at.items() if D.mean is not None and not D.missing}
    fit = arrhenius(list(known), list(known.values()))
    if isinstance(fit, str):
        if any(D.mean is not None and D.missing for D in at.values()):
            fit += "; temperatures where a replica has no D are left out"
        return SeriesArrhenius(reported="pooled", pooled=pooled, of_pooled_D_reason=fit)
    rows = [row for one in replicas for row in one.result.temperatures if row.temperature_K]
    nearest = min(abs((row.temperature_K or 0.0) - ROOM_K) for row in rows)
    density = np.mean(
        [
            row.n_mobile / row.volume_A3
            for row in rows
            if abs((row.temperature_K or 0.0) - ROOM_K) == nearest
        ]
    )
    room = fit.at(ROOM_K)
    of_pooled_D = {
        "Ea_eV": fit.Ea_eV,
        "prefactor_cm2_per_s": fit.prefactor,
        "D_300K_cm2_per_s": room,
        "sigma_NE_300K_mS_per_cm": nernst_einstein(room, float(density), charge_e, ROOM_K),
    }
    enough = pooled["Ea_eV"].replicas >= min(2, len(in_motion))
    return SeriesArrhenius(
        reported="pooled" if enough else "of_pooled_D", pooled=pooled, of_pooled_D=of_pooled_D
    )


def _compare(result: SeriesResult, numbers: Numbers, key: str, T: float) -> None:
    """Enter the scatter of replicas at a temperature, and each composition's ratio."""
    logs = {one.name: _logs(one, numbers, key, T) for one in result.compositions}
    there = {name: values for name, values in logs.items() if len(values)}
    scatter = scatter_of(list(there.values()))
    if not there:
        return
    reference, *others = there
    if scatter is not None:
        result.scatter.append(_scatter(key, T, scatter, there))
    for name in others:
        ratio = ratio_of(there[name], there[reference], scatter)
        found = None if ratio.ci95 is None else not ratio.ci95[0] <= 1.0 <= ratio.ci95[1]
        result.ratios.append(
            RatioRecord(
                quantity=key,
                temperature_K=T,
                composition=name,
                reference=reference,
                ratio=ratio,
                found=found,
            )
        )


def _scatter(key: str, T: float, scatter: Scatter, there: Mapping[str, Floats]) -> ScatterRecord:
    """Say what the fewest replicas of a composition would show against the reference."""
    counts = [len(values) for values in there.values()]
    replicas = (counts[0], min(counts[1:], default=counts[0]))
    # The test has the degrees of all compositions; one alone is judged with a second one like it.
    degrees = scatter.degrees if len(counts) > 1 else None
    return ScatterRecord(
        quantity=key,
        temperature_K=T,
        sd_ln=scatter.sd,
        sd_ln_ci95=scatter.ci95,
        degrees=scatter.degrees,
        replicas=replicas,
        smallest_ratio=smallest_ratio(scatter.sd, replicas, degrees),
        smallest_ratio_at_most=smallest_ratio(scatter.ci95[1], replicas, degrees),
        power_of_sevenfold=power_to_find(SEVENFOLD, scatter.sd, replicas, degrees),
    )


def _logs(one: CompositionRecord, numbers: Numbers, key: str, T: float) -> Floats:
    """Natural logarithms of a quantity of the replicas that have it."""
    found = [
        numbers[run][T][key].estimate.mean for run in one.runs if key in numbers[run].get(T, {})
    ]
    return np.log([value for value in found if value is not None and value > 0.0])
