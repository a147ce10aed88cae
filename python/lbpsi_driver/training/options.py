"""Options of the stages of ``train``; tables ``[train]`` and ``[train.sample]`` … of a run file.

A key of ``[train]`` itself holds for each stage that has an option of its name. Tables within
tables (sources, the reference) are given in the file alone; everything else is a flag too.
Relative paths are relative to the working directory, in the file too, as for all verbs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from lbpsi_driver.config import (
    DEFAULT_COMPOSITION,
    FILE_ONLY,
    BuildOptions,
    Dtype,
    NonNegative,
    Options,
    Positive,
    PotentialOptions,
    QuenchOptions,
    UsageError,
    options,
    underscored,
)

Split = Literal["train", "valid", "test"]
ReferenceKind = Literal["vasp", "cp2k", "sevennet", "mace", "ase"]
Doubts = Literal["refuse", "warn"]
Device = Literal["cpu", "cuda"]

_TRUTH = {"t", "f", "true", "false"}


def _is_a_word(name: str) -> str:
    """Refuse what extended XYZ would read back as a number or a truth value."""
    try:
        float(name)
    except ValueError:
        if name.lower() not in _TRUTH:
            return name
    raise ValueError("must be a word, no number or truth value")


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$"), AfterValidator(_is_a_word)]
"""Name of a source: of its folder, and the first part of each of its frames' ids."""


class Segment(Options):
    """A stretch of a sampling trajectory."""

    time: Positive = Field(description="length, ps")
    temperature: tuple[Positive, Positive] = Field(description="at its start and end, K")
    volume: tuple[Positive, Positive] | None = Field(
        None, description="at its start and end, times the starting volume; default: NPT"
    )
    pressure: float = Field(1.0, description="pressure where no volume is given, bar")

    @model_validator(mode="after")
    def _volume_or_pressure(self) -> Segment:
        if self.volume is not None and "pressure" in self.model_fields_set:
            raise ValueError(
                "volume and pressure are given; leave volume out to hold the pressure, or pressure"
                " to set the volume"
            )
        return self


class Cell(Options):
    """A cell to start from: packed, or read."""

    composition: str | None = Field(
        None, description=f"mol % of the salts; default: {DEFAULT_COMPOSITION}"
    )
    units: str | None = Field(
        None, description="numbers of building units instead, as in Li=42,S=12,I=18,B2S3=10"
    )
    atoms: int = Field(136, ge=2, description="atoms of a packed cell (with units they follow)")
    density: Positive = Field(2.3, description="density of a packed cell, g/cm3")
    data: Path | None = Field(None, description="a cell to read instead")
    seed: int = Field(1, ge=1, description="seed of packing and velocities")

    @model_validator(mode="after")
    def _one_cell(self) -> Cell:
        given = [name for name in ("composition", "units", "data") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; give one of them")
        return self

    def build_options(self, output: Path) -> BuildOptions:
        """Return the options that ``build`` packs this cell with."""
        what: dict[str, Any] = {"units": self.units} if self.units else {"atoms": self.atoms}
        if not self.units:
            what["composition"] = self.composition or DEFAULT_COMPOSITION
        return BuildOptions(density=self.density, seed=self.seed, output=output, **what)


class MDSource(Cell):
    """Frames of Langevin dynamics with the reference or a model, in ASE; with VASP, its own."""

    kind: Literal["md"]
    name: Name = Field(description="name of the trajectory, part of each frame's id")
    split: Split | None = Field(None, description="which set its frames are for; default: drawn")
    calculator: Literal["reference", "model"] = Field("model", description="what drives it")
    minimise: int = Field(
        100, ge=0, description="steps of minimisation before; those of VASP's cell by the model"
    )
    segment: tuple[Segment, ...] = Field(min_length=1, description="its stretches, in order")
    every: Positive = Field(0.05, description="interval of frames, ps")


class QuenchSource(Cell):
    """Frames of a melt-quench by our LAMMPS decks."""

    kind: Literal["quench"]
    name: Name = Field(description="name of the trajectory, part of each frame's id")
    split: Split | None = Field(None, description="which set its frames are for; default: drawn")
    quench: dict[str, Any] = Field(default={}, description="options of `quench`")

    def quench_options(self, data: Path, output: Path, sampling: SampleOptions) -> QuenchOptions:
        """Return the options that ``quench`` runs this source with.

        Raises
        ------
        UsageError
            An option of `quench` that it lacks, of a bad value, or that the source itself sets.
        """
        fixed = {"data": data, "output": output, "seed": self.seed, "replicas": 1}
        given = underscored(self.quench)
        if twice := sorted(fixed.keys() & given.keys()):
            raise UsageError(f"quench.{twice[0]}: the source itself sets it; leave it out")
        same = ("model", "dtype", "device", "timestep")
        shared = {name: getattr(sampling, name) for name in same}
        values = shared | {"motifs": False} | given | fixed
        return options(QuenchOptions, values, dict.fromkeys(given, "quench"))


class StrainSource(Options):
    """Frames of other sources, strained and rattled."""

    kind: Literal["strain"]
    name: Name = Field(description="name of the set, part of each frame's id")
    of: tuple[str, ...] = Field(min_length=1, description="names of sources above it")
    frames: int = Field(ge=1, description="how many")
    volume: tuple[Positive, Positive] = Field((0.9, 1.6), description="range, times the parent's")
    shear: NonNegative = Field(0.03, description="standard deviation of each strain component")
    rattle: NonNegative = Field(0.03, description="standard deviation of displacements, Å")
    seed: int = Field(1, ge=1, description="seed")


class FileSource(Options):
    """Frames that are there already."""

    kind: Literal["file"]
    name: Name = Field(description="name of the set, part of each frame's id")
    split: Split | None = Field(None, description="which set its frames are for; default: drawn")
    path: Path = Field(
        description="anything ASE reads; trajectories and splits that its frames name are kept"
    )
    every: int = Field(1, ge=1, description="take one frame of so many")
    parents: bool = Field(
        False, description="they are there to be strained, and not to be selected themselves"
    )

    @model_validator(mode="after")
    def _parents_say_their_own_split(self) -> FileSource:
        if self.parents and self.split is not None:
            raise ValueError("split and parents: strained frames are for what their file says")
        return self


Source = Annotated[MDSource | QuenchSource | StrainSource | FileSource, Field(discriminator="kind")]


class Reference(Options):
    """What labels are computed with; table ``[train.reference]``."""

    kind: ReferenceKind = Field("sevennet", description="which code or model")
    model: str = Field("7net-l3i5", description="name or path of a SevenNet or MACE model")
    dispersion: bool | None = Field(
        None,
        description="add D3(BJ) for PBE to a model's energies; default: for sevennet alone",
    )
    calculator: str | None = Field(
        None, description="for kind `ase`: module:class of an ASE calculator"
    )
    arguments: dict[str, Any] = Field(default={}, description="keywords of the calculator")
    settings: Path | None = Field(
        None, description="for vasp and cp2k: a TOML file of settings in place of the shipped one"
    )
    python: Path | None = Field(
        None, description="interpreter of the environment that holds it; default: this one"
    )
    command: str | None = Field(
        None, description="for vasp and cp2k: the command that runs it; vasp: none writes inputs"
    )
    threads: int = Field(1, ge=1, description="threads of each worker")
    timeout: Positive | None = Field(
        None, description="longest time for a frame, minutes; default: no limit"
    )

    @model_validator(mode="before")
    @classmethod
    def _dispersion_of_kind(cls, given: Any) -> Any:
        # Decided here, so that a run compares by what it does and not by who said so.
        if not isinstance(given, dict) or given.get("dispersion") is not None:
            return given
        return given | {"dispersion": given.get("kind", "sevennet") not in ("mace", "ase")}

    @model_validator(mode="after")
    def _dispersion_can_be_left_out(self) -> Reference:
        if self.kind in ("vasp", "cp2k") and not self.dispersion:
            raise ValueError(
                f"dispersion = false: that of kind '{self.kind}' is in its settings; give a file of"
                " settings without it"
            )
        return self

    @model_validator(mode="after")
    def _calculator_is_named(self) -> Reference:
        if self.kind == "ase" and (self.calculator is None or ":" not in self.calculator):
            raise ValueError("kind 'ase' needs calculator = 'module:class'")
        return self


class ReferenceOptions(Options):
    """Options of the stages that run the reference."""

    reference: Reference = Field(
        Reference(), description="what labels are computed with", json_schema_extra=FILE_ONLY
    )
    workers: int | None = Field(None, ge=1, description="processes at a time; default: one a core")
    force: bool = Field(False, description="accept a changed configuration in an old folder")


class SampleOptions(ReferenceOptions):
    """Options of ``train sample``: trajectories -> well-spread frames."""

    source: tuple[Source, ...] = Field(
        min_length=1, description="where frames come from", json_schema_extra=FILE_ONLY
    )
    output: Path = Field(Path("runs/train/sample"), description="folder")
    seed: int = Field(1, ge=1, description="seed of every choice that is drawn")
    model: str = Field(
        PotentialOptions.model_fields["model"].default,
        description="the model that drives and describes",
    )
    dtype: Dtype = Field("float32", description="precision of that model")
    device: Device = Field("cpu", description="where that model runs")
    timestep: Positive = Field(1.0, description="time step of sampling, fs")
    frames: int = Field(300, ge=1, description="frames to select in all")
    nearest: NonNegative = Field(
        0.0,
        description="least distance between selected frames in units of the descriptors' spread",
    )
    valid: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="share of trajectories for validation while fitting"
    )
    test: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="share of trajectories for the independent test"
    )


class LabelOptions(ReferenceOptions):
    """Options of ``train label``: frames -> energies, forces, stress of the reference."""

    data: Path = Field(Path("runs/train/sample/frames.extxyz.xz"), description="frames to label")
    output: Path = Field(Path("runs/train/label"), description="folder")


class FitOptions(Options):
    """Options of ``train fit``: labels -> a MACE model, by MACE's own ``mace_run_train``."""

    data: tuple[Path, ...] = Field(
        (Path("runs/train/label/labelled.extxyz.xz"),),
        min_length=1,
        description="labelled frames; several files are joined",
    )
    output: Path = Field(Path("runs/train/fit"), description="folder")
    seed: int = Field(1, ge=1, description="seed of every choice that is drawn")
    force: bool = Field(False, description="accept a changed configuration in an old folder")
    doubts: Doubts = Field(
        "refuse", description="what to do about labels whose units or signs are unlikely"
    )
    name: str = Field("fitted", description="name of the model")
    foundation: str | None = Field(
        None, description="model to start from: MACE's name (small, large, …), ours, or a path"
    )
    multihead: bool = Field(
        True, description="with a foundation: keep it by replaying its own data (needs --replay)"
    )
    replay: Path | None = Field(
        None, description="frames of the foundation's data set, labelled, for --multihead"
    )
    foundation_head: str | None = Field(
        None, description="head of a multihead foundation to start from; default: its last"
    )
    keep_elements: bool = Field(
        False, description="keep the foundation's elements that the data lacks"
    )
    valid: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share of frames for validation, by trajectory, where the data has none"
    )
    e0s: Literal["refit", "average", "keep"] = Field(
        "refit",
        description="energies of lone atoms: refit to what the foundation leaves over (without one:"
        " as average), least squares of the labels, or the foundation's",
    )
    channels: int = Field(32, ge=1, description="channels of a model from scratch")
    max_L: int = Field(0, ge=0, le=3, description="its equivariance")
    correlation: int = Field(3, ge=1, le=4, description="its correlation order")
    max_ell: int = Field(3, ge=1, le=4, description="its highest spherical harmonic")
    interactions: int = Field(2, ge=1, le=4, description="its layers")
    cutoff: Positive = Field(5.0, description="its cutoff, Å")
    bessel: int = Field(8, ge=1, description="its radial functions")
    radial: tuple[int, ...] = Field((64, 64, 64), description="widths of its radial network")
    repulsion: bool = Field(False, description="add MACE's ZBL pair repulsion")
    epochs: int = Field(200, ge=1, description="most epochs")
    patience: int = Field(50, ge=1, description="epochs without a better validation before it ends")
    batch: int = Field(4, ge=1, description="frames a step")
    rate: Positive = Field(0.01, description="learning rate; of a foundation rather 0.0001")
    decay: Positive | None = Field(
        None, description="factor on the rate each epoch; default: see --plateau"
    )
    plateau: int = Field(
        10, ge=1, description="epochs without a better validation before the rate falls by 0.8"
    )
    average: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        0.99, description="decay of the exponential moving average of the weights"
    )
    loss: Literal["weighted", "stress", "universal", "huber"] = Field(
        "universal", description="MACE's loss"
    )
    energy_weight: NonNegative = Field(1.0, description="weight of energies in the loss")
    forces_weight: NonNegative = Field(10.0, description="weight of forces")
    stress_weight: NonNegative = Field(10.0, description="weight of stress")
    stage_two: int | None = Field(
        None, ge=1, description="epoch from which energies weigh more (MACE's stage two)"
    )
    stage_two_energy_weight: NonNegative = Field(100.0, description="their weight then")
    stage_two_rate: Positive = Field(0.001, description="learning rate then")
    dtype: Dtype = Field("float32", description="precision of the fit")
    device: Device = Field("cpu", description="where it runs")
    threads: int | None = Field(None, ge=1, description="threads; default: all cores")


class ValidateOptions(ReferenceOptions):
    """Options of ``train validate``: how far a model can be trusted, as a card."""

    model: Path = Field(
        Path("runs/train/fit/fitted.model"), description="a MACE .model, or a shipped model's name"
    )
    head: str | None = Field(None, description="its head; default: the last")
    dtype: Dtype = Field("float32", description="precision of the model")
    device: Device = Field("cpu", description="where the model runs")
    name: str | None = Field(None, description="name on the card; default: the file's")
    licence: str | None = Field(None, description="licence of the model, for its card")
    data: tuple[Path, ...] = Field(
        (Path("runs/train/label/labelled.extxyz.xz"),),
        description="labelled frames; those of the independent test set are taken",
    )
    doubts: Doubts = Field(
        "refuse", description="what to do about labels whose units or signs are unlikely"
    )
    output: Path = Field(Path("runs/train/validate"), description="folder")
    seed: int = Field(1, ge=1, description="seed of every choice that is drawn")
    cell: tuple[Cell, ...] = Field(
        (Cell(),),
        description="cells whose own NPT and melt-quench are sampled and labelled",
        json_schema_extra=FILE_ONLY,
    )
    timestep: Positive = Field(1.0, description="time step of all dynamics, fs")
    own_frames: int = Field(
        100, ge=0, description="frames of each cell's NPT by the model itself to label; 0: no NPT"
    )
    own_time: Positive = Field(200.0, description="length of that NPT, ps")
    own_temperature: Positive = Field(600.0, description="its temperature, K")
    npt: dict[str, Any] = Field(
        default={}, description="options of `sweep` for that NPT", json_schema_extra=FILE_ONLY
    )
    independent_frames: int = Field(
        50, ge=0, description="frames of the test set that join the own ones; 0: no test set"
    )
    quench: dict[str, Any] = Field(
        default={},
        description="options of `quench` for the melt-quench whose frames are labelled",
        json_schema_extra=FILE_ONLY,
    )
    quench_frames: int = Field(
        50, ge=0, description="frames of each cell's melt-quench by the model itself to label"
    )
    volumes: tuple[Positive, Positive] = Field(
        (0.85, 1.8), description="range of energy against volume, times the cell's"
    )
    volume_points: int = Field(12, ge=0, description="how many volumes, 1 apart; 0: none")
    drift_time: NonNegative = Field(2.0, description="length of the NVE runs, ps; 0: none")
    short_range_points: int = Field(
        16, ge=0, description="distances at which each pair is pressed together; 0: none"
    )
    short_range_labels: bool | None = Field(
        None, description="label these too; default: where the reference is no DFT code"
    )
    reference_trajectories: tuple[str, ...] = Field(
        (),
        description="trajectories in data that the reference ran itself, to compare distances and"
        " coordination with; default: all",
    )

    @model_validator(mode="after")
    def _volumes_ascend(self) -> ValidateOptions:
        if not self.volumes[0] < self.volumes[1]:
            raise ValueError("volumes: the first must be below the second")
        return self

    @property
    def labels_short_range(self) -> bool:
        """Whether the reference sees the pairs that are pressed together."""
        if self.short_range_labels is None:
            return self.reference.kind not in ("vasp", "cp2k")
        return self.short_range_labels


class ExportOptions(Options):
    """Options of ``train export``: a MACE ``.model`` -> the ML-IAP ``.pt`` of LAMMPS."""

    model: Path = Field(
        Path("runs/train/fit/fitted.model"), description="a MACE .model, or a shipped model's name"
    )
    output: Path = Field(Path("runs/train/export"), description="folder of model, card and hash")
    name: str | None = Field(None, description="name of the files; default: the model's")
    head: str | None = Field(None, description="head of a multihead model; default: its last")
    dtype: Dtype = Field("float32", description="precision of the exported model")
    device: Device = Field("cpu", description="where it will run")
    cueq: bool = Field(False, description="use cuEquivariance's kernels (CUDA)")
    elements: tuple[str, ...] = Field((), description="elements that it must know")
    card: Path | None = Field(None, description="a card of `validate` to put beside it")
    force: bool = Field(False, description="accept a changed configuration in an old folder")


class LoopOptions(ReferenceOptions):
    """Options of ``train loop``: sample, select by a committee, label, fit, again."""

    output: Path = Field(Path("runs/train/loop"), description="folder, a subfolder an iteration")
    seed: int = Field(1, ge=1, description="seed of every choice that is drawn")
    data: tuple[Path, ...] = Field((), description="labelled frames to begin with")
    models: tuple[Path, ...] = Field((), description="committee to begin with; default: fitted")
    source: tuple[Source, ...] = Field(
        min_length=1, description="what explores", json_schema_extra=FILE_ONLY
    )
    fit: FitOptions = Field(
        FitOptions(), description="how each member is fitted", json_schema_extra=FILE_ONLY
    )
    committee: int = Field(4, ge=2, description="members")
    lower: Positive = Field(0.2, description="least force deviation of a candidate, eV/Å")
    upper: Positive = Field(
        0.4, description="largest, eV/Å; beyond it frames are not to be trusted"
    )
    stop: Positive = Field(2.0, description="deviation at which a trajectory is ended, eV/Å")
    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="share of candidates under which it has converged"
    )
    labels: int = Field(50, ge=1, description="most labels an iteration")
    budget: int = Field(500, ge=1, description="most labels in all, failed ones too")
    iterations: int = Field(
        10, ge=1, description="most iterations; the last explores and labels nothing"
    )
    epochs_more: int = Field(20, ge=1, description="epochs of a refit from the last iteration")
    rate_more: Positive = Field(0.001, description="learning rate of such a refit")
    timestep: Positive = Field(1.0, description="time step of exploration, fs")
    dtype: Dtype = Field("float32", description="precision of exploration")
    device: Device = Field("cpu", description="where the committee runs")

    @field_validator("upper", "stop")
    @classmethod
    def _bounds_rise(cls, value: float, info: Any) -> float:
        below = {"upper": "lower", "stop": "upper"}[info.field_name]
        if below in info.data and value <= info.data[below]:
            raise ValueError(f"must be above {below} ({info.data[below]:g} eV/Å)")
        return value
