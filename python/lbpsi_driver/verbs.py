"""The verbs of the command line: one a stage, in the order of the help."""

from __future__ import annotations

from dataclasses import dataclass

from lbpsi_driver import config, pathway_options, series_options
from lbpsi_driver.config import Options
from lbpsi_driver.training import options as training


@dataclass(frozen=True)
class Verb:
    """A stage as a command.

    Attributes
    ----------
    name : str
        The command, and the function's name.
    options : type of Options
        The model of its options.
    summary : str
        One line of help.
    examples : tuple of str
        Command lines for the help.
    module : str
        Where the function lives, in this package.
    parallel : bool
        Whether all ranks of an MPI run take part, not the first alone.
    group : str
        The command that it is a stage of, as ``train``; empty where it stands alone.
    dry_run : str
        What ``--dry-run`` does.
    """

    name: str
    options: type[Options]
    summary: str
    examples: tuple[str, ...]
    module: str
    parallel: bool = False
    group: str = ""
    dry_run: str = "write the inputs and stop"

    @property
    def command(self) -> str:
        """What follows the program's name: ``quench``, ``train fit``."""
        return f"{self.group} {self.name}".strip()


_RUN = "python -m lbpsi_driver"

GROUPS = {"train": "Fit a MACE model to a reference: frames, labels, fit, validation, export."}
"""Commands that have stages, and their line of help."""

_DRY_RUNS = {
    "sample": "check the sources, write the inputs of their packings and stop",
    "label": "say how many frames are left, with VASP write their inputs, and stop",
    "fit": "write the configuration and the frames of the fit and stop",
    "validate": "check the input, say what would be run and labelled, and stop",
    "export": "check the model and the folder and stop",
    "loop": "check the sources and the folder and stop",
}

VERBS = {
    verb.command: verb
    for verb in (
        Verb(
            "build",
            config.BuildOptions,
            "Pack a cell of a given composition.",
            (
                f"{_RUN} build",
                f"{_RUN} build --composition 70Li2S-30P2S5 --atoms 204 --density 1.9",
                f"{_RUN} build --units Li=42,S=12,I=18,B2S3=10,P2S5=2 --seed 7",
            ),
            "structure",
        ),
        Verb(
            "quench",
            config.QuenchOptions,
            "Melt and quench a cell in LAMMPS.",
            (
                f"{_RUN} quench --data runs/build/data.lammps",
                f"{_RUN} quench --rate 90 --hold 2 --equilibrate 2 --relax 20",
                f"{_RUN} quench --data data.quenched --supercell 2,2,2 --output runs/big",
            ),
            "quench",
            parallel=True,
        ),
        Verb(
            "sweep",
            config.SweepOptions,
            "Run the quenched glass at several temperatures.",
            (
                f"{_RUN} sweep --temperatures 300,400,500,600 --time 500",
                f"{_RUN} sweep --config run.toml --dry-run",
                f"mpirun -n 4 {_RUN} sweep --temperatures 300,400,500,600",
            ),
            "sweep",
            parallel=True,
        ),
        Verb(
            "elastic",
            config.ElasticOptions,
            "Strain relaxed cells: elastic tensor, B, G, E and Poisson's ratio.",
            (
                f"{_RUN} elastic --data runs/quench/data.quenched",
                f"{_RUN} elastic --data g1/data.quenched --data g2/data.quenched --strain 0.005",
                f"mpirun -n 3 {_RUN} elastic --config run.toml",
            ),
            "elastic",
            parallel=True,
        ),
        Verb(
            "analyze",
            series_options.SeriesOptions,
            "Turn trajectories into observables; pool replicas, tabulate compositions.",
            (
                f"{_RUN} analyze --run runs/sweep",
                f"{_RUN} analyze --run runs/sweep --charge Li=0.882 --json",
                f"{_RUN} analyze --run XDATCAR --timestep 2 --temperature 600",
                f"{_RUN} analyze --run g1/sweep --run g2/sweep --run g3/sweep --output pooled",
            ),
            "series",
            dry_run="find the input, check the options and stop",
        ),
        Verb(
            "compare",
            series_options.CompareOptions,
            "Lay an analysed run beside a paper's numbers, row by row.",
            (
                f"{_RUN} compare runs/sweep --paper lbpsi",
                f"{_RUN} compare pooled --paper li_si_p_s --json",
                f"{_RUN} compare runs/elastic --paper li_si_p_s",
            ),
            "compare",
            dry_run="write nothing",
        ),
        Verb(
            "motifs",
            config.MotifsOptions,
            "Count units, anions, rings and environments in a structure.",
            (
                f"{_RUN} motifs runs/quench/data.quenched",
                f"{_RUN} motifs glass.extxyz --json --bond B-S=2.5 --chain 8",
                f"{_RUN} motifs runs/sweep/T300/trajectory.dump --all --json",
            ),
            "motifs",
            dry_run="check the options and stop",
        ),
        Verb(
            "rotations",
            config.RotationsOptions,
            "Follow the rotation of each unit along a trajectory.",
            (
                f"{_RUN} rotations runs/sweep/T300/trajectory.dump",
                f"{_RUN} rotations XDATCAR --reference 100 --window 50 --json",
            ),
            "rotations",
            dry_run="check the options and stop",
        ),
        Verb(
            "pathways",
            pathway_options.PathwaysOptions,
            "Cut out ions' paths with the units along them, or an anion.",
            (
                f"{_RUN} pathways runs/sweep/T600/trajectory.dump --motif P2S7 --number 3",
                f"{_RUN} pathways XDATCAR --timestep 2 --motif network --slowest --start 50",
                f"{_RUN} pathways glass.extxyz --timestep 1 --number 0 --anion 'P2S7(4-)'",
            ),
            "pathways",
            dry_run="check the options and stop",
        ),
        *(
            Verb(
                name,
                options,
                summary,
                tuple(examples),
                f"training.{name}",
                group="train",
                dry_run=_DRY_RUNS[name],
            )
            for name, options, summary, *examples in (
                (
                    "sample",
                    training.SampleOptions,
                    "Run trajectories and select well-spread frames.",
                    f"{_RUN} train sample --config run.toml",
                    f"{_RUN} train sample --config run.toml --frames 500 --workers 8",
                ),
                (
                    "label",
                    training.LabelOptions,
                    "Compute energies, forces and stress of frames with the reference.",
                    f"{_RUN} train label --config run.toml",
                    f"{_RUN} train label --config run.toml --data more.extxyz --output runs/more",
                ),
                (
                    "fit",
                    training.FitOptions,
                    "Fit a MACE model, from a foundation model or from scratch.",
                    f"{_RUN} train fit --foundation small --no-multihead --rate 0.0001",
                    f"{_RUN} train fit --config run.toml --epochs 100",
                ),
                (
                    "validate",
                    training.ValidateOptions,
                    "Measure a model against the reference and write its card.",
                    f"{_RUN} train validate --config run.toml",
                ),
                (
                    "export",
                    training.ExportOptions,
                    "Write a model as LAMMPS loads it, with its card and hash.",
                    f"{_RUN} train export --model fitted.model --elements Li,B,P,S,I",
                ),
                (
                    "loop",
                    training.LoopOptions,
                    "Sample, select by a committee, label and fit, again and again.",
                    f"{_RUN} train loop --config run.toml --budget 300",
                ),
            )
        ),
        Verb(
            "quickstart",
            config.QuickstartOptions,
            "Run the whole way on the default composition.",
            (
                f"{_RUN} quickstart",
                f"{_RUN} quickstart --protocol paper --model my.model --ranks 8",
            ),
            "quickstart",
            dry_run="write commands.sh and stop",
        ),
        Verb(
            "doctor",
            config.DoctorOptions,
            "Check this machine and say how to mend what fails.",
            (f"{_RUN} doctor", f"{_RUN} doctor --model my.model --dtype float64"),
            "doctor",
            dry_run="list the checks and run none",
        ),
    )
}
