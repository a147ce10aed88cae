"""``train validate``: how far a model can be trusted, measured and written on its card.

Each part stores its result as ``parts/NAME.json`` in the folder, so that an interrupted run goes on
with the part it was at; frames with the model's results beside the reference's are
``NAME.extxyz.xz``, and the card is ``card.json``.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import ase

from lbpsi_driver import manifest, progress, structure
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import (
    card,
    contacts,
    dataset,
    deck_runs,
    energy_volume,
    md,
    models,
    own_runs,
    parity,
    short_range,
    stability,
)
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.options import Cell, ValidateOptions
from lbpsi_driver.training.relabel import relabel
from lbpsi_driver.training.validate_result import ValidateResult

CARD = "card.json"
PARTS = "parts"
CELLS = "cells"
LABELS = "labels"
OWNS = (CARD, PARTS, CELLS, LABELS, "*.extxyz.xz", "*.png")

CLOSER = 0.9
"""A pair that comes closer than this share of the labelled frames' least distance is a limit."""

RELAX_STEPS = 200

logger = logging.getLogger(__name__)


def validate(options: ValidateOptions, *, dry_run: bool = False) -> ValidateResult | None:
    """Measure a model against its reference and write its card; an interrupted run goes on.

    The test of frames drawn from the model's own NPT run and of frames that it was not trained on
    is that of the SI of An, "Corner-Sharing PS4-BS4 Modes Facilitate Fast Ion Conduction",
    section 4.

    Parameters
    ----------
    options : ValidateOptions
        Model, labelled frames, reference, cells, and how much of each part.
    dry_run : bool
        Check what is given, say what would be done and how long the runs are, and stop.

    Returns
    -------
    ValidateResult or None
        None where ``dry_run``.

    Raises
    ------
    UsageError
        Bad input, a folder of another configuration, or a reference that can't run.
    """
    model = models.mace_file(str(options.model))
    claim: dict[str, Any] = {
        "folder": options.output,
        "verb": "validate",
        "options": options,
        "force": options.force,
        "inputs": _inputs(options, model),
        "owns": OWNS,
    }
    if dry_run:
        manifest.refuse_conflict(**claim)
        _Validation(options, model).say_what_is_due()
        return None
    run = manifest.open_run(**claim)
    if run.finished is None:
        run.finish(_Validation(options, model).carry_out().model_dump(mode="json"))
    return ValidateResult.model_validate(run.finished)


def _inputs(options: ValidateOptions, model: Path) -> dict[str, Path]:
    """Files that the result depends on; the first of several goes by the option's own name."""
    files = {"model": model}
    files |= {f"data {n}" if n else "data": path for n, path in enumerate(options.data)}
    for number, cell in enumerate(options.cell):
        if cell.data is not None:
            if not cell.data.is_file():
                raise UsageError(f"cell[{number}]: data = {cell.data}: no such file")
            files[f"cell {number + 1}"] = cell.data
    return files


class _Validation:
    """The parts of one validation, each made once."""

    def __init__(self, options: ValidateOptions, model: Path) -> None:
        self.options = options
        self.folder = options.output
        self._read: dict[str, dict[str, list[ase.Atoms]]] = {}
        self.model = model
        self.elements = card.describe(model)["elements"]
        joined = dataset.read(options.data)
        dataset.check(joined.atoms, self.elements, joined.names, options.doubts)
        self.labelled = list(joined.atoms)
        self.test = list(joined.of_split("test").atoms)
        if options.independent_frames and not self.test:
            files = ", ".join(map(str, options.data)) or "no --data"
            raise UsageError(
                f"{files}: no frame of split 'test'; give labelled frames of the test set, or"
                " --independent-frames 0"
            )
        self.names = [f"cell{number}" for number in range(1, len(options.cell) + 1)]
        own_runs.check(options, self.model.name, self.elements)

    def say_what_is_due(self) -> None:
        """Log how much there is to do."""
        logger.info(
            "%s: test set of %d frames, at most %d labels of %s",
            self.model.name,
            len(self.test),
            own_runs.labels_due(self.options),
            card.labels(self.options.reference),
        )
        for name, cell in zip(self.names, self.options.cell, strict=True):
            parts = own_runs.times_due(self.options, cell)
            logger.info(
                "%s: %g ps of MD by the model: %s",
                name,
                sum(parts.values()),
                ", ".join(f"{what} {time:g}" for what, time in parts.items()) or "none",
            )

    def carry_out(self) -> ValidateResult:
        """Make all parts, the figures and the card."""
        from lbpsi_driver.training import figures

        with manifest.writing(self.folder):
            (self.folder / PARTS).mkdir(parents=True, exist_ok=True)
        if not (self.folder / LABELS).exists():
            own_runs.refuse_reference(self.options)
        parts: dict[str, Any] = {"frames": self.counts()}
        for name in (
            "dynamics",
            "independent",
            "own",
            "paper",
            "quench",
            "contacts",
            "drift",
            "energy_volume",
            "short_range",
            "set_aside",
        ):
            parts[name] = self._part(name, getattr(self, name))
        drawn = []
        sets = {name: self._frames(name) for name in ("independent", "own", "quench")}
        sets = {name: frames for name, frames in sets.items() if frames}
        if sets:
            figures.parity(sets, self.folder / "parity.png")
            drawn.append("parity.png")
        if curves := _models(energy_volume.EnergyVolume, parts["energy_volume"]):
            figures.energy_volume(curves, self.folder / "energy_volume.png")
            drawn.append("energy_volume.png")
        if scans := [short_range.Compression(**one) for one in parts["short_range"] or []]:
            figures.short_range(scans, self.folder / "short_range.png")
            drawn.append("short_range.png")
        content = card.make(self.options, parts, drawn, list(self.options.data))
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
        manifest.write_atomic(self.folder / CARD, text + "\n")
        return ValidateResult.of(content, parts, self.folder / CARD)

    def _part(self, name: str, make: Callable[[], Any]) -> Any:
        path = self.folder / PARTS / f"{name}.json"
        if not path.exists():
            manifest.write_atomic(path, json.dumps(make(), indent=1) + "\n")
        return json.loads(path.read_text(encoding="utf-8"))

    def _frames(self, name: str) -> list[ase.Atoms]:
        path = self.folder / f"{name}.extxyz.xz"
        return store.read_frames(path) if path.exists() else []

    @cached_property
    def calculator(self) -> Any:
        """The model in ASE."""
        return self._calculator(self.options.dtype)

    def _calculator(self, dtype: str) -> Any:
        options = self.options
        return models.mace_calculator(
            [str(self.model)], dtype=dtype, head=options.head, device=options.device
        )

    def _predicted(self, name: str, frames: Callable[[], Sequence[ase.Atoms]]) -> list[ase.Atoms]:
        """Return frames with labels and the model's results, stored in the folder."""
        path = self.folder / f"{name}.extxyz.xz"
        if not path.exists() and (wanted := frames()):
            store.write_frames(path, parity.predict(wanted, self.calculator, name))
        # Read even what was written now: an interrupted run must find the same numbers.
        return self._frames(name)

    @cached_property
    def _labels(self) -> dict[str, ase.Atoms]:
        """What the reference has a result for, by frame.

        One call for all parts, so that its workers start once.
        """
        wanted = [*self._own_frames(), *self._quench_frames(), *self._volume_frames()]
        if self.options.labels_short_range:
            wanted += self._pair_frames()
        found = relabel(wanted, self.folder / LABELS, self.options)
        return {str(one.info[store.ID]): one for one in found}

    def _relabelled(self, frames: Sequence[ase.Atoms]) -> list[ase.Atoms]:
        known = self._labels
        return [known[one.info[store.ID]] for one in frames if one.info[store.ID] in known]

    def _own_frames(self) -> list[ase.Atoms]:
        number, seed = self.options.own_frames, self.options.seed
        runs = self._run_frames("NPT").values() if number else ()
        return [one for run in runs for one in own_runs.draw(run, number, seed)]

    def _quench_frames(self) -> list[ase.Atoms]:
        number = self.options.quench_frames
        runs = self._run_frames("melt-quench").values() if number else ()
        return [one for run in runs for one in own_runs.spread(run, number)]

    def _volume_frames(self) -> list[ase.Atoms]:
        options = self.options
        cells = self._glasses().items() if options.volume_points else ()
        scaled = (
            energy_volume.scaled(atoms, options.volumes, options.volume_points, name)
            for name, atoms in cells
        )
        return [one for cell in scaled for one in cell]

    def _pair_frames(self) -> list[ase.Atoms]:
        """Press each pair of elements together, once, in the first cell that holds it."""
        points = self.options.short_range_points
        return short_range.frames(list(self._glasses().values()), points) if points else []

    def counts(self) -> str:
        """Say what the labelled frames are."""
        splits = Counter(str(one.info.get(store.SPLIT, "no split")) for one in self.labelled)
        kinds = Counter(parity.composition(one) for one in self.labelled)
        each = ", ".join(f"{number} {name}" for name, number in sorted(splits.items()))
        return f"{len(self.labelled)} labelled ({each}) of {len(kinds)} compositions"

    def independent(self) -> Any:
        """Errors on the test set."""
        if not self.options.independent_frames:
            return None
        frames = self._predicted("independent", lambda: self.test)
        return {
            "all": parity.errors(frames).model_dump(),
            "by_trajectory": _dump(parity.grouped(frames, parity.trajectory)),
            "by_composition": _dump(parity.grouped(frames, parity.composition)),
        }

    def dynamics(self) -> Any:
        """Melt-quench and NPT of each cell by the model itself."""
        found = {}
        for name, cell in zip(self.names, self.options.cell, strict=True):
            found[name] = self._run_cell(cell, self.folder / CELLS / name)
        return found

    def _run_cell(self, cell: Cell, folder: Path) -> dict[str, Any]:
        options = self.options
        if not own_runs.wants_cells(options):
            return {}
        start = deck_runs.start_cell(cell, folder / "build")
        atoms = structure.read_cell(start)
        models.refuse_unknown(self.calculator, atoms.symbols)
        made: dict[str, Any] = {"formula": atoms.get_chemical_formula()}
        if options.quench_frames or cell.data is None:
            wanted = own_runs.quench_options(options, cell, start, folder / "quench")
            run = own_runs.melt_quench(wanted)
            made["melt-quench"] = self._stored(run)
            glass = run.final
        else:
            glass = self._relaxed(atoms, folder)
        made["glass"] = None if glass is None else str(glass.relative_to(self.folder))
        if options.own_frames and glass is not None:
            npt = own_runs.npt(own_runs.npt_options(options, cell, glass, folder / "npt"))
            made["NPT"] = self._stored(npt)
        return made

    def _stored(self, run: own_runs.Dynamics) -> dict[str, Any]:
        """Dump an outcome with paths from the folder on, so that the folder can be moved."""
        paths = {"folder": run.folder, "final": run.final}
        inside = {key: str(p.relative_to(self.folder)) if p else None for key, p in paths.items()}
        stopped = None if run.stopped is None else run.stopped.replace(f"{self.folder}/", "")
        return run.model_dump() | inside | {"stopped": stopped}

    def _relaxed(self, atoms: ase.Atoms, folder: Path) -> Path:
        """Minimise a cell that was given, so that dynamics starts from no contact."""
        path = folder / "data.relaxed"
        if not path.exists():
            with manifest.writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            atoms.calc = self.calculator
            md.relax(atoms, RELAX_STEPS)
            atoms.calc = None
            structure.write_data(path, atoms)
        return path

    def _glasses(self) -> dict[str, ase.Atoms]:
        """Return the quenched or relaxed cell of each cell that has one, by name."""
        runs = self._part("dynamics", self.dynamics)
        files = {name: run.get("glass") for name, run in runs.items()}
        found = {
            name: store.rounded(structure.read_cell(self.folder / file))
            for name, file in files.items()
            if file
        }
        for atoms in found.values():
            atoms.info = {}
            atoms.arrays = {key: atoms.arrays[key] for key in ("numbers", "positions")}
        return found

    def _run_frames(self, what: str) -> dict[str, list[ase.Atoms]]:
        """Read the frames of each cell's own ``melt-quench`` or ``NPT``."""
        if what not in self._read:
            runs = self._part("dynamics", self.dynamics).items()
            self._read[what] = {
                name: self._frames_of(name, what, self.folder / run[what]["folder"])
                for name, run in runs
                if what in run
            }
        return self._read[what]

    def _frames_of(self, name: str, what: str, folder: Path) -> list[ase.Atoms]:
        frames = deck_runs.read_frames(folder, self.options.timestep, f"{name}/{what}")
        for atoms in frames:
            atoms.info[own_runs.CELL] = name
        return frames

    def own(self) -> Any:
        """Errors on frames drawn from the model's own NPT."""
        found = self._predicted("own", lambda: self._relabelled(self._own_frames()))
        if not found:
            return None
        return {
            "all": parity.errors(found).model_dump(),
            "by_cell": _dump(parity.grouped(found, lambda one: str(one.info[own_runs.CELL]))),
        }

    def paper(self) -> Any:
        """Errors on the own frames together with some of the test set."""
        own = self._frames("own")
        some = own_runs.draw(
            self._frames("independent"), self.options.independent_frames, self.options.seed
        )
        return {"all": parity.errors([*own, *some]).model_dump()} if own and some else None

    def quench(self) -> Any:
        """Errors on frames of each stage of the model's own melt-quenches."""
        found = self._predicted("quench", lambda: self._relabelled(self._quench_frames()))
        if not found:
            return None

        def stage(atoms: ase.Atoms) -> str:
            return str(atoms.info[deck_runs.STAGE])

        def cell(atoms: ase.Atoms) -> str:
            return str(atoms.info[own_runs.CELL])

        return {
            "all": parity.errors(found).model_dump(),
            "by_cell": _dump(parity.grouped(found, cell)),
            "by_stage": _dump(parity.grouped(found, stage)),
            "by_cell_and_stage": _dump(
                parity.grouped(found, lambda one: f"{cell(one)} {stage(one)}")
            ),
        }

    def contacts(self) -> Any:
        """Shortest distances and first shells, the model's frames beside the labelled ones."""
        npt, quench = self._run_frames("NPT"), self._run_frames("melt-quench")
        wanted = self.options.reference_trajectories
        reference = [f for f in self.labelled if not wanted or parity.trajectory(f) in wanted]
        if wanted and not reference:
            raise UsageError(f"reference_trajectories = {', '.join(wanted)}: --data has none")
        sets = {
            "own_npt": [one for run in npt.values() for one in run],
            "own_melt_quench": [one for run in quench.values() for one in run],
            "reference": reference,
        }
        least = {name: contacts.shortest(frames, name) for name, frames in sets.items()}
        close = {
            pair
            for name in ("own_npt", "own_melt_quench")
            for pair in contacts.shorter(least[name], least["reference"], CLOSER)
        }
        shells = {}
        for name, frames in npt.items():
            if frames:
                own = self.options.own_temperature
                same = contacts.like(reference, frames[0], own)
                shells[name] = contacts.structure(frames, same).model_dump()
        return {
            "shortest_A": least,
            "closer_than_the_reference": sorted(close),
            "coordination": shells,
        }

    def drift(self) -> Any:
        """Drift of the energy of each cell at constant volume, in both precisions."""
        options = self.options
        if not options.drift_time:
            return None
        runs = self._part("dynamics", self.dynamics)
        found: dict[str, Any] = {}
        for name, atoms in self._glasses().items():
            final = (runs[name].get("NPT") or {}).get("final")
            start = structure.read_cell(self.folder / final) if final else atoms
            found[name] = {}
            for dtype in ("float64", "float32"):
                _, number = stability.samples(options.drift_time, options.timestep)
                with progress.count(f"NVE {name} {dtype}", number) as advance:
                    found[name][dtype] = stability.nve(
                        start,
                        self._calculator(dtype),
                        temperature=options.own_temperature,
                        time_ps=options.drift_time,
                        timestep_fs=options.timestep,
                        seed=options.seed,
                        advance=advance,
                    ).model_dump()
        return found

    def energy_volume(self) -> Any:
        """Energy against volume of each cell."""
        found: dict[str, list[ase.Atoms]] = {}
        frames = self._predicted("energy_volume", lambda: self._relabelled(self._volume_frames()))
        for atoms in frames:
            found.setdefault(parity.trajectory(atoms), []).append(atoms)
        curves = {name: energy_volume.compare(members) for name, members in found.items()}
        return {name: None if one is None else one.model_dump() for name, one in curves.items()}

    def short_range(self) -> Any:
        """Pairs of elements pressed together."""
        asked = self.options.labels_short_range

        def frames() -> list[ase.Atoms]:
            labels = self._labels if asked else {}
            return [labels.get(str(one.info[store.ID]), one) for one in self._pair_frames()]

        scans: dict[str, list[ase.Atoms]] = {}
        for atoms in self._predicted("short_range", frames):
            scans.setdefault(parity.trajectory(atoms), []).append(atoms)
        keys = (parity.ENERGY, parity.FORCES)
        return [short_range.compare(one, keys, asked).model_dump() for one in scans.values()]

    def set_aside(self) -> Any:
        """Count the frames of each kind that the reference was asked about and has no result for.

        They are often those where the model strayed, so that the errors above are too kind.
        """
        kinds = {
            "its own NPT": self._own_frames(),
            "its own melt-quench": self._quench_frames(),
            "energy against volume": self._volume_frames(),
        }
        if self.options.labels_short_range:
            kinds["pairs pressed together"] = self._pair_frames()
        lost = {name: len(asked) - len(self._relabelled(asked)) for name, asked in kinds.items()}
        return {name: number for name, number in lost.items() if number}


def _dump(groups: dict[str, parity.Errors]) -> dict[str, Any]:
    return {name: found.model_dump() for name, found in groups.items()}


def _models(model: Any, stored: dict[str, Any] | None) -> dict[str, Any]:
    return {name: model(**one) for name, one in (stored or {}).items() if one is not None}
