"""Analysed runs made up of records alone, and options of a quick analysis."""

import numpy as np

from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.pool_runs import Replica
from lbpsi_driver.report.records import DiffusionRecord
from lbpsi_driver.report.results import AnalyzeResult, ArrheniusRecord, TemperatureRecord
from lbpsi_driver.report.run_facts import RunFacts
from lbpsi_driver.report.structure_results import CurveRecord
from lbpsi_driver.series_options import SeriesOptions


def chosen(**values):
    quick = {"motifs": False, "structure": False, "hopping": False, "rdf_bin": 0.2}
    return SeriesOptions(**{**quick, **values})


def number(mean, width=0.1, reason=None):
    if mean is None:
        return Estimate(mean=None, reason=reason)
    return Estimate(mean=mean, ci95=(mean / (1 + width), mean * (1 + width)), reason=reason)


def replica(name, D, Ea=0.3, diffusive=True, kelvins=(600.0, 700.0, 800.0), **facts):
    """A run made up of records alone, D by temperature on a line."""
    rows = []
    for K in kelvins:
        factor = np.exp(-Ea / 8.617333e-5 * (1 / K - 1 / 700.0))
        found = number(D * factor)
        window = {"loglog_slope": 1.0, "loglog_slope_ci95": None, "window_ps": None}
        rows.append(
            TemperatureRecord(
                label=f"T{K:g}",
                temperature_K=K,
                frames=10,
                time_ps=100.0,
                n_mobile=10,
                volume_A3=1000.0,
                density_g_cm3=number(2.4, 0.01),
                msd=CurveRecord(file="msd.csv"),
                rdf=CurveRecord(file="rdf.csv"),
                D_cm2_per_s={
                    "Li": DiffusionRecord(
                        mean=found.mean,
                        ci95=found.ci95,
                        reason=None if diffusive else "cages",
                        diffusive=diffusive,
                        **window,
                    )
                },
                sigma_NE_mS_per_cm=found,
                sigma_mS_per_cm=found,
                D_sigma_cm2_per_s=found,
                haven_ratio=number(1.0),
                collective_window_ps=None,
            )
        )
    line = ArrheniusRecord(reason="no line")
    if diffusive and len(kelvins) > 2:
        line = ArrheniusRecord(
            Ea_eV=Estimate(mean=Ea, ci95=(Ea - 0.02, Ea + 0.02)),
            prefactor_cm2_per_s=number(1e-3),
            D_300K_cm2_per_s=number(D * 1e-3),
            sigma_NE_300K_mS_per_cm=number(1.0),
        )
    about = {"run": name, "output": name, "mobile": "Li", "charge_e": 1.0, "options": {}}
    found = AnalyzeResult(**about, inputs=[], temperatures=rows, arrhenius=line)
    facts = {"temperatures_K": list(kelvins), "times_ps": [100.0] * len(kelvins)} | facts
    made = {"elements": {"Li": 4, "P": 2, "S": 7}, "mol_percent": {"Li2S": 66.7, "P2S5": 33.3}}
    return Replica(name, found, RunFacts(**{**made, **facts}))
