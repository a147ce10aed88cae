"""The verbs of the command line: one a stage, in the order of the help."""

from __future__ import annotations

from dataclasses import dataclass

from lbpsi_driver import config
from lbpsi_driver.config import Options


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
    """

    name: str
    options: type[Options]
    summary: str
    examples: tuple[str, ...]
    module: str
    parallel: bool = False


_RUN = "python -m lbpsi_driver"

VERBS = {
    verb.name: verb
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
            "analyze",
            config.AnalyzeOptions,
            "Turn trajectories into observables.",
            (
                f"{_RUN} analyze --run runs/sweep",
                f"{_RUN} analyze --run runs/sweep --charge Li=0.882 --json",
                f"{_RUN} analyze --run XDATCAR --timestep 2 --temperature 600",
            ),
            "analyze",
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
        ),
        Verb(
            "doctor",
            config.DoctorOptions,
            "Check this machine and say how to mend what fails.",
            (f"{_RUN} doctor", f"{_RUN} doctor --model my.model --dtype float64"),
            "doctor",
        ),
    )
}
