"""``compare``: the numbers of an analysed run beside a paper's, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ase.data import atomic_masses, atomic_numbers
from pydantic import ValidationError

from lbpsi_driver import composition, run_facts
from lbpsi_driver.config import UsageError
from lbpsi_driver.manifest import write_atomic, writing
from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.papers import Paper, Row, read_paper
from lbpsi_driver.protocol_differences import differences
from lbpsi_driver.report.compare_results import COMPARE, COMPARE_CSV, CompareResult, CompareRow
from lbpsi_driver.report.elastic_results import ELASTIC, ElasticResult
from lbpsi_driver.report.quantities import TRANSPORT, at_temperature, of_run
from lbpsi_driver.report.results import RESULTS, AnalyzeResult
from lbpsi_driver.report.run_facts import RunFacts, fractions
from lbpsi_driver.report.series_results import SERIES, CompositionRecord, RatioRecord, SeriesResult
from lbpsi_driver.series import read_results
from lbpsi_driver.series_options import CompareOptions
from lbpsi_driver.units import G_PER_CM3_PER_AMU_PER_A3

SAME_COMPOSITION = 0.01
"""Largest difference of an atomic fraction between a run and a row that are compared."""

_SAME_K = 1.0
_GAIN = "gain_by_P2S5"
_MODULI = ("B_GPa", "G_GPa", "E_GPa", "nu")
_NOT_COMPUTED = {
    "second_peak_A": "results hold the first peak alone; the curve is in rdf_*.csv",
    "softness_accuracy": "softness is not computed",
    "softness_pearson": "softness is not computed",
    "neb_path_A": "paths of nudged elastic bands are not computed",
}


@dataclass(frozen=True)
class Ours:
    """Numbers of one composition, by temperature and for all of them.

    Attributes
    ----------
    facts : RunFacts
        Its atoms and protocol.
    at : dict of float to dict
        Numbers by temperature, K, and key.
    whole : dict of str to Estimate
        Numbers that have no temperature.
    gains : dict of (str, float) to Estimate
        Ratio to the glass without P2S5, by quantity and temperature.
    strain : float or None
        Of elastic constants.
    """

    facts: RunFacts
    at: dict[float, dict[str, Estimate]] = field(default_factory=dict)
    whole: dict[str, Estimate] = field(default_factory=dict)
    gains: dict[tuple[str, float], Estimate] = field(default_factory=dict)
    strain: float | None = None


def compare(options: CompareOptions, *, dry_run: bool = False) -> CompareResult:
    """Lay our numbers beside a paper's.

    Parameters
    ----------
    options : CompareOptions
        Folder of results, the paper's name, and where to write.
    dry_run : bool
        Write nothing.

    Returns
    -------
    CompareResult
        Also in ``compare.json`` and ``compare.csv`` in the output folder.

    Raises
    ------
    UsageError
        One line: no such paper, no results there, results of another version.
    """
    paper = read_paper(options.paper)
    folder = options.run.parent if options.run.is_file() else options.run
    found = read_results(folder)
    elastic = _read_elastic(folder)
    if found is None and elastic is None:
        raise UsageError(
            f"compare {options.run}: no {SERIES}, {RESULTS} or {ELASTIC} in it; "
            "run analyze or elastic first, or give the folder that they wrote to"
        )
    ours = _ours(found) + ([] if elastic is None else [_of_elastic(folder, elastic)])
    charge = None if found is None else found.charge_e
    scale = 1.0 if charge is None else (paper.charge_e / charge) ** 2
    output = options.output or folder
    names = {SeriesResult: SERIES, AnalyzeResult: RESULTS}
    sources = [] if found is None else [str(folder / names[type(found)])]
    result = CompareResult(
        run=str(options.run),
        output=str(output),
        paper=options.paper,
        title=paper.title,
        source=paper.source,
        sources=sources + ([] if elastic is None else [str(folder / ELASTIC)]),
        our_charge_e=charge,
        charge_e=paper.charge_e,
        rows=[_row(row, paper, ours, scale) for row in paper.rows],
    )
    if dry_run:
        return result
    result.files = {"json": COMPARE, "csv": COMPARE_CSV}
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        write_atomic(output / COMPARE_CSV, result.csv())
        write_atomic(output / COMPARE, result.model_dump_json(indent=1) + "\n")
    return result


def _row(row: Row, paper: Paper, ours: list[Ours], scale: float) -> CompareRow:
    """Find our number for a row and lay it beside."""
    protocol = paper.protocol(row)
    one, number, kelvin = _find(row, protocol.composition, ours)
    if row.key.startswith("sigma"):
        number = number.scaled(scale)
    low, high = row.value if isinstance(row.value, tuple) else (row.value, row.value)
    middle = 0.5 * (low + high)
    known = number.mean is not None
    ends = number.ci95
    return CompareRow(
        key=row.key,
        label=row.label,
        unit=row.unit,
        composition=protocol.composition,
        temperature_K=row.temperature_K,
        ours=number,
        our_temperature_K=kelvin,
        paper=row.value,
        ratio=number.mean / middle if number.mean is not None and middle > 0.0 else None,
        difference=None if number.mean is None else number.mean - middle,
        inside=None if ends is None else ends[0] <= high and low <= ends[1],
        differences=differences(row, protocol, one.facts, one.strain, kelvin)
        if one is not None and known
        else [],
        paper_protocol=protocol.label,
        where=row.where,
        reason=None if known else number.reason or "no number",
    )


def _find(
    row: Row, wanted: str | None, ours: list[Ours]
) -> tuple[Ours | None, Estimate, float | None]:
    """Our number for a row, whose it is and at which temperature; else why there is none."""
    family = row.key.partition(".")[0]
    if family in _NOT_COMPUTED:
        return None, _without(_NOT_COMPUTED[family]), None
    fitting = [one for one in ours if wanted is None or is_composition(one.facts, wanted)]
    if wanted is not None:  # of a series, the nearest one
        fitting.sort(key=lambda one: _apart(one.facts, wanted))
    if not fitting:
        names = ", ".join(dict.fromkeys(one.facts.name for one in ours))
        return None, _without(f"another composition: {wanted} there, {names} here"), None
    reasons = []
    for one in fitting:
        number, kelvin = _number(row, one)
        if number.mean is not None:
            return one, number, kelvin
        reasons.append(number.reason or "no number")
    return None, _without("; ".join(dict.fromkeys(reasons))), None


def _number(row: Row, one: Ours) -> tuple[Estimate, float | None]:
    """Our number for a row from one composition, and its temperature."""
    key, family = row.key, row.key.partition(".")[0]
    if key in _MODULI and one.strain is None:
        return _without("no elastic run: give the folder of elastic"), None
    if family.startswith("model_rmse"):
        return _of_card(key, one.facts.model), None
    if key == "cell_A" and (packed := one.whole.get("quench_density_g_cm3")) is not None:
        return _edge(packed, row, one.facts), None
    if key in one.whole:
        return one.whole[key], None
    if key == "quench_density_g_cm3":
        return _without("no history of a quench in the run or beside its cell"), None
    if row.temperature_K is None or (not one.at and not one.gains):
        return _without("not in the results of this folder"), None
    if family == _GAIN:
        return _gain(key.partition(".")[2], row.temperature_K, one)
    nearest = min(one.at, key=lambda T: abs(T - (row.temperature_K or 0.0)))
    if key in TRANSPORT and abs(nearest - row.temperature_K) > _SAME_K:
        return _without(f"no run at {row.temperature_K:g} K"), None
    numbers = one.at[nearest]
    if key == "cell_A":
        return _edge(numbers["density_g_cm3"], row, one.facts), nearest
    for name in (key, _turned(key)):
        if name in numbers:
            return numbers[name], nearest
    if any(name.partition(".")[0] == family for name in numbers):
        if family in ("qn", "en", "environment"):
            return Estimate(mean=0.0, reason="none in the run"), nearest
        return _without("none in the run"), nearest
    return _without("not analysed in this run"), nearest


def _turned(key: str) -> str:
    """Name the same pair the other way round."""
    family, _, pair = key.partition(".")
    first, _, second = pair.partition("-")
    return f"{family}.{second}-{first}" if family == "first_peak_A" else key


def _gain(quantity: str, wanted_K: float, one: Ours) -> tuple[Estimate, float | None]:
    kelvins = [T for name, T in one.gains if name == quantity]
    if not kelvins:
        why = "needs pooled runs of this glass and of one without P2S5, both diffusive"
        return _without(why), None
    nearest = min(kelvins, key=lambda T: abs(T - wanted_K))
    return one.gains[quantity, nearest], nearest


def _edge(density: Estimate, row: Row, facts: RunFacts) -> Estimate:
    """Edge of the paper's cube at our density."""
    if density.mean is None or not facts.elements:
        return _without(density.reason or "composition unknown")
    number = int(match[0]) if (match := re.search(r"\d+(?=-atom)", row.label)) else facts.atoms
    shares = fractions(facts.elements)
    mass = sum(atomic_masses[atomic_numbers[symbol]] * share for symbol, share in shares.items())

    def edge(rho: float) -> float:
        volume = float(mass) * (number or 0) * G_PER_CM3_PER_AMU_PER_A3 / rho
        return float(volume ** (1.0 / 3.0))

    ends = density.ci95
    ci95 = None if ends is None or ends[0] <= 0.0 else (edge(ends[1]), edge(ends[0]))
    return Estimate(mean=edge(density.mean), ci95=ci95, reason=density.reason)


def _of_card(key: str, model: str | None) -> Estimate:
    """Error of the potential from its card."""
    if model is None:
        return _without("the model of this run is unknown")
    # The import is heavy, and only these rows need it.
    from lbpsi_driver import potential

    try:
        errors = potential.card(model).get("errors", {})
    except UsageError:
        return _without(f"the model {model} is not at hand")
    if isinstance(errors, Mapping):
        for kind in ("paper_test", "held_out"):
            if (name := key.replace("model_rmse", kind)) in errors:
                why = f"{kind} of the model's card, against its own reference: no interval"
                return Estimate(mean=float(errors[name]), reason=why)
    return _without(f"the card of {Path(model).stem} doesn't say")


def _without(reason: str) -> Estimate:
    return Estimate(mean=None, reason=reason)


def is_composition(facts: RunFacts, wanted: str) -> bool:
    """Tell whether a run is of a composition, given as mol % of salts or a formula.

    A run of unknown composition passes: the row then says so.
    """
    return not facts.elements or _apart(facts, wanted) <= SAME_COMPOSITION


def _apart(facts: RunFacts, wanted: str) -> float:
    """Largest difference of an atomic fraction from that wanted; 1 where it isn't known."""
    if not facts.elements:
        return 1.0
    target, own = fractions_of(wanted), fractions(facts.elements)
    return max(
        abs(target.get(symbol, 0.0) - own.get(symbol, 0.0)) for symbol in target.keys() | own.keys()
    )


def fractions_of(wanted: str) -> dict[str, float]:
    """Atomic fractions of a composition such as 75Li2S-25P2S5 or Li38P24S79."""
    counts: dict[str, float] = {}
    if re.match(r"\d", wanted):
        for salt, amount in composition.parse_mol_percent(wanted).items():
            for symbol, number in composition.elements_of(salt).items():
                counts[symbol] = counts.get(symbol, 0.0) + amount * number
    else:
        for symbol, number in re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", wanted):
            counts[symbol] = counts.get(symbol, 0.0) + float(number or 1.0)
    total = sum(counts.values())
    return {symbol: count / total for symbol, count in counts.items()}


def _ours(found: AnalyzeResult | SeriesResult | None) -> list[Ours]:
    if found is None:
        return []
    if isinstance(found, SeriesResult):
        return [_of_composition(one, found) for one in found.compositions]
    at = {
        row.temperature_K: {
            key: one.estimate for key, one in at_temperature(row, found.mobile).items()
        }
        for row in found.temperatures
        if row.temperature_K is not None
    }
    elements: Iterable[str] = found.options.get("elements", ())
    facts = run_facts.facts_of(found, tuple(elements))
    return [Ours(facts, at, {key: one.estimate for key, one in of_run(found).items()})]


def _of_composition(one: CompositionRecord, found: SeriesResult) -> Ours:
    bare = {other.name for other in found.compositions if other.p2s5_mol_percent == 0.0}
    rows = [r for r in found.ratios if r.composition == one.name and r.reference in bare]
    # A mean of the fast glasses alone is compared only where there is no other.
    rows = [row for row in rows if _all_replicas(row, found)] or rows
    gains = {(row.quantity, row.temperature_K): row.ratio for row in rows}
    at = {
        group.temperature_K: dict[str, Estimate](group.quantities)
        for group in one.groups
        if group.temperature_K is not None
    }
    lines = {key: one.arrhenius.number(key) for key in one.arrhenius.pooled}
    return Ours(one.facts, at, {**lines, **one.quantities}, gains)


def _all_replicas(ratio: RatioRecord, found: SeriesResult) -> bool:
    """Tell whether each replica of both compositions has the quantity at that temperature."""
    return not any(
        group.quantities[ratio.quantity].missing
        for one in found.compositions
        if one.name in (ratio.composition, ratio.reference)
        for group in one.groups
        if group.temperature_K == ratio.temperature_K
    )


def _read_elastic(folder: Path) -> ElasticResult | None:
    path = folder / ELASTIC
    if not path.is_file():
        return None
    try:
        return ElasticResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as err:
        why = " ".join(str(err).split())[:120]
        raise UsageError(f"{path}: not results of this version ({why}); run elastic again") from err


def _of_elastic(folder: Path, found: ElasticResult) -> Ours:
    facts = run_facts.elastic_facts(folder, [one.data for one in found.replicas])
    moduli = {key: getattr(found.moduli["hill"], key) for key in _MODULI}
    return Ours(facts, whole=moduli, strain=found.strain)
