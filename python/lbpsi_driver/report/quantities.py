"""One name for each number of a run: what is pooled over replicas and compared with papers.

A key is the name in ``results.json``, with the pair, class or former after a dot:
``density_g_cm3``, ``plateau.P-S.1``, ``formers.PS4``, ``qn.P.0``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.observables.pooling import Kind
from lbpsi_driver.report.motif_results import MotifRecord
from lbpsi_driver.report.results import AnalyzeResult, TemperatureRecord
from lbpsi_driver.report.structure_results import CurveRecord, QnRecord

TRANSPORT = (
    "D_cm2_per_s",
    "sigma_NE_mS_per_cm",
    "sigma_mS_per_cm",
    "D_sigma_cm2_per_s",
    "haven_ratio",
)
"""Numbers that are no result of a run that isn't diffusive."""

ARRHENIUS: dict[str, Kind] = {
    "Ea_eV": "linear",
    "prefactor_cm2_per_s": "log",
    "D_300K_cm2_per_s": "log",
    "sigma_NE_300K_mS_per_cm": "log",
}
"""Numbers of the line of ln D against 1/T."""

OF_SIGMA: dict[str, Kind] = {
    "Ea_sigma_eV": "linear",
    "sigma_300K_mS_per_cm": "log",
}
"""Numbers of the line of ln(sigma T)."""

SHARES = ("formers.", "mobile.", "qn.", "en.", "homopolar.", "environment.", "percolating_share")
"""Beginnings of the keys of shares, between 0 and 1."""

NOT_DIFFUSIVE = "not diffusive: no transport coefficient"
_NONE_THERE = "none in the run"
_PLATEAUS = 2


@dataclass(frozen=True)
class Quantity:
    """A number of a run and how replicas of it are pooled."""

    estimate: Estimate
    kind: Kind


def is_share(key: str) -> bool:
    """Tell whether a key is that of a share."""
    return key.startswith(SHARES)


def bounds_of(key: str) -> tuple[float, float]:
    """Least and largest value of a quantity."""
    if is_share(key):
        return 0.0, 1.0
    return (-np.inf if key.startswith("Ea_") else 0.0), np.inf


def absent(key: str) -> Estimate:
    """Give what a replica has of a quantity that it doesn't list: no such motif."""
    if is_share(key):
        return Estimate(mean=0.0, reason=_NONE_THERE)
    return Estimate(mean=None, reason=_NONE_THERE)


def unit_of(key: str) -> str:
    """Give the unit of a key as a report prints it; empty for shares and ratios."""
    for ending, unit in {
        "_g_cm3": "g/cm³",
        "_cm2_per_s": "cm²/s",
        "_mS_per_cm": "mS/cm",
        "_eV_per_A": "eV/Å",
        "_eV": "eV",
        "_per_A": "1/Å",
        "_GPa": "GPa",
        "_A": "Å",
        "_deg": "°",
    }.items():
        if key.partition(".")[0].endswith(ending):
            return unit
    return ""


def at_temperature(row: TemperatureRecord, mobile: str) -> dict[str, Quantity]:
    """Numbers of one run at one temperature.

    Parameters
    ----------
    row : TemperatureRecord
        Its record.
    mobile : str
        The mobile ion.

    Returns
    -------
    dict of str to Quantity
        By key; those of transport without a value where the run isn't diffusive.
    """
    found = {"density_g_cm3": Quantity(row.density_g_cm3, "linear")} | _transport(row, mobile)
    if row.motifs is not None:
        found |= _motifs(row.motifs)
    found |= _curves(row.rdf)
    if row.structure_factor is not None:
        for key in ("fsdp_neutron_per_A", "fsdp_xray_per_A"):
            peak: Estimate | None = getattr(row.structure_factor, key)
            if peak is not None:
                found[key] = Quantity(peak, "plain")
    if row.networks is not None:
        for key in ("number_averaged", "weight_averaged", "percolating_share"):
            size: Estimate | None = getattr(row.networks, key)
            if size is not None:
                found[key] = Quantity(size, "plain")
    if row.bond_angles is not None:
        for triple, angle in row.bond_angles.triples.items():
            found[f"angle_deg.{triple}"] = Quantity(angle.mean_deg, "linear")
    if row.qn is not None:
        found |= _speciation(row.qn)
    return found


def of_run(result: AnalyzeResult) -> dict[str, Quantity]:
    """Numbers of a run over its temperatures, and of its quench."""
    fit, of_sigma = result.arrhenius, result.arrhenius_sigma
    numbers: dict[str, tuple[Estimate | None, str | None]] = {
        key: (getattr(fit, key), fit.reason) for key in ARRHENIUS
    }
    numbers["Ea_sigma_eV"] = of_sigma.Ea_eV, of_sigma.reason
    numbers["sigma_300K_mS_per_cm"] = of_sigma.sigma_300K_mS_per_cm, of_sigma.reason
    found = {
        key: Quantity(number or Estimate(mean=None, reason=reason or "not given"), kind)
        for key, kind in (ARRHENIUS | OF_SIGMA).items()
        for number, reason in [numbers[key]]
    }
    if result.quench is not None:
        found["quench_density_g_cm3"] = Quantity(result.quench.density_g_cm3, "linear")
    return found


def _transport(row: TemperatureRecord, mobile: str) -> dict[str, Quantity]:
    D = row.D_cm2_per_s[mobile]
    numbers: dict[str, Estimate] = {"D_cm2_per_s": D}
    numbers |= {key: getattr(row, key) for key in TRANSPORT[1:]}
    if not D.diffusive:
        why = NOT_DIFFUSIVE if D.reason is None else f"{NOT_DIFFUSIVE} ({D.reason})"
        numbers = {key: Estimate(mean=None, reason=why) for key in numbers}
    return {
        key: Quantity(Estimate(mean=one.mean, ci95=one.ci95, reason=one.reason), "log")
        for key, one in numbers.items()
    }


def _motifs(motifs: MotifRecord) -> dict[str, Quantity]:
    found = {}
    for name, row in motifs.classes.items():
        if row.fraction_of_formers is not None:
            found[f"formers.{name}"] = Quantity(row.fraction_of_formers, "plain")
        found[f"mobile.{name}"] = Quantity(row.fraction_of_mobile, "plain")
        if row.rotation is not None:
            found[f"rotation_deg.{name}"] = Quantity(row.rotation.angle_deg, "plain")
    return found


def _curves(rdf: CurveRecord) -> dict[str, Quantity]:
    found = {}
    for pair, peak in (rdf.first_peak_A or {}).items():
        reason = "no peak" if peak is None else "read off one curve of all frames: no interval"
        found[f"first_peak_A.{pair}"] = Quantity(Estimate(mean=peak, reason=reason), "plain")
    for pair, plateaus in (rdf.plateaus or {}).items():
        for place, plateau in enumerate(plateaus[:_PLATEAUS], start=1):
            kind = "flat" if plateau.flat else "subtle"
            reason = f"{kind}, {plateau.range_A[0]:.2f} to {plateau.range_A[1]:.2f} Å: no interval"
            number = Estimate(mean=plateau.value, reason=reason)
            found[f"plateau.{pair}.{place}"] = Quantity(number, "plain")
    return found


def _speciation(qn: QnRecord) -> dict[str, Quantity]:
    found: dict[str, Estimate] = {}
    for symbol, former in qn.formers.items():
        found |= {f"qn.{symbol}.{n}": share for n, share in enumerate(former.qn)}
        found |= {f"en.{symbol}.{n}": share for n, share in enumerate(former.en)}
        found[f"homopolar.{symbol}"] = former.homopolar
        for row in former.environments:
            key = environment_key(symbol, row.qn, row.en, row.through_S, row.direct)
            found[key] = row.fraction
    return {key: Quantity(share, "plain") for key, share in found.items()}


def environment_key(former: str, qn: int, en: int, through_S: list[str], direct: list[str]) -> str:
    """Key of a row of paper 001's Tables S1 and S2: ``environment.P.2.1.Si+Si.-``."""
    words = ["+".join(sorted(one)) or "-" for one in (through_S, direct)]
    return f"environment.{former}.{qn}.{en}.{words[0]}.{words[1]}"


def grouped(runs: Mapping[str, dict[str, Quantity]]) -> dict[str, dict[str, Quantity]]:
    """Turn runs of quantities into quantities of runs; what a run doesn't list is filled in.

    Parameters
    ----------
    runs : mapping of str to dict
        Quantities by key, by run.

    Returns
    -------
    dict of str to dict
        By key, then by run; shares that a run doesn't list are zero there, where it has any of
        that kind at all.
    """
    keys = dict.fromkeys(key for found in runs.values() for key in found)
    table: dict[str, dict[str, Quantity]] = {}
    for key in keys:
        kind = next(found[key].kind for found in runs.values() if key in found)
        family = key.partition(".")[0]
        table[key] = {}
        for run, found in runs.items():
            has_any = any(other.partition(".")[0] == family for other in found)
            filler = absent(key) if has_any else Estimate(mean=None, reason="not analysed")
            table[key][run] = found.get(key, Quantity(filler, kind))
    return table
