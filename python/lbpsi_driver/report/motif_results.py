"""The records of motifs in ``results.json``, and their table for a terminal."""

from __future__ import annotations

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lbpsi_driver.observables.estimate import Estimate
from lbpsi_driver.report.records import DiffusionRecord, Record, digits

MOTIF_DEFINITIONS = {
    "motifs": "class of a former, exclusive; of an ion that of its nearest former within 5 Å, else "
    "halide or none; cutoffs and order in data/motifs.toml",
    "fraction_of_formers": "formers in the class over all formers, mean in time",
    "fraction_of_mobile": "mobile ions in the class over all mobile ions, mean in time",
    "D by motif": "as D, of displacements that start in the class; where ions exchange freely it "
    "tends to one value for all classes at long lags. Independent displacements are those of the "
    "class; lags with fewer than 10 of them are left out. kinisi's posterior in closed form, not "
    "sampled. Not diffusive where the run isn't",
    "D_survivors": "as D by motif, of ions whose class is the same at every frame since the "
    "origin; biased low, since an ion that hops far leaves its class",
    "survival_time": "first lag at which fewer than 1/e of the ions have had their class at every "
    "frame since the origin; none where it isn't reached",
    "rotation": "Kabsch angle of whole units (three S or more) since the start of production "
    "(quench: of its last stage), from the trajectory since its first frame that isn't skipped; "
    "mean in time of the mean over units. It holds librations of 9 to 15 degrees. Broken: units "
    "with other S than the reference; exchanges: new sets of S that have held until the end, of "
    "the units in the class then",
    "averaged": "Kabsch angle from units averaged over the first tenth of the frames to those over "
    "the last: what is left of the rotation without librations; mean over units",
    "libration": "root mean square Kabsch angle of the frames of the last tenth from their "
    "average; mean over units",
}


class RotationRecord(Record):
    """Rotation of the units of a class since the reference."""

    angle_deg: Estimate
    rms_deg: float | None
    largest_deg: float | None
    averaged_deg: float | None
    libration_deg: float | None
    broken_fraction: Estimate
    exchanges: int


class ClassRecord(Record):
    """Formers and mobile ions of one class."""

    code: int
    fraction_of_formers: Estimate | None
    fraction_of_mobile: Estimate
    D_cm2_per_s: DiffusionRecord
    D_survivors_cm2_per_s: DiffusionRecord
    survival_time_ps: float | None
    rotation: RotationRecord | None = None


class MotifCurveRecord(Record):
    """Where a curve by class is, and what it is made from."""

    file: str
    source: str


class MotifRecord(Record):
    """Motifs of one run by class; a reason instead where it has none."""

    populations: MotifCurveRecord | None = None
    msd: MotifCurveRecord | None = None
    rotations_source: str | None = None
    classes: dict[str, ClassRecord] = Field(default_factory=dict)
    reason: str | None = None


class QuenchMotifRecord(Record):
    """Populations along a quench, and their means in its last stage."""

    file: str
    fraction_of_formers: dict[str, Estimate]

    def summary(self) -> str:
        """List the classes with their share in a line."""
        parts = (f"{name} {_percent(share)} %" for name, share in self.fraction_of_formers.items())
        return ", ".join(parts)


def motif_table(runs: dict[str, MotifRecord], mobile: str) -> Table | None:
    """Lay out populations, D and rotation by class; None where no run has motifs.

    Parameters
    ----------
    runs : dict of str to MotifRecord
        By temperature or label.
    mobile : str
        Symbol of the mobile ion.
    """
    table = Table(title="by motif", box=SIMPLE_HEAD)
    table.add_column("T\nK", justify="right")
    table.add_column("motif")
    heads = ["formers\n%", f"{mobile}\n%", f"D({mobile})\n1e-7 cm²/s"]
    for head in (*heads, "rota-\ntion °", "libra-\ntion °"):
        table.add_column(head, justify="right", overflow="fold")
    for label, run in runs.items():
        for place, (name, row) in enumerate(run.classes.items()):
            table.add_row(
                label if place == 0 else "",
                name,
                _percent(row.fraction_of_formers),
                _percent(row.fraction_of_mobile),
                _diffusion(row.D_cm2_per_s),
                *_rotation(row.rotation),
            )
    return table if table.row_count else None


def _percent(share: Estimate | None) -> str:
    return "-" if share is None or share.mean is None else f"{100.0 * share.mean:.3g}"


def _rotation(found: RotationRecord | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return digits(found.angle_deg.mean), digits(found.libration_deg)


def _diffusion(D: DiffusionRecord) -> str:
    text = digits(D.scaled(1e7).mean)
    if D.mean is None:
        return text
    if D.ci95 is not None:
        low, high = D.scaled(1e7).ci95 or (0.0, 0.0)
        text += f" {digits(low)} – {digits(high)}"
    return text if D.diffusive else f"({text})"
