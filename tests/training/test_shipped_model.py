"""The shipped model can be made again: its card names the data here, and the configs are sound."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_mace

from lbpsi_driver import cli, manifest, potential
from lbpsi_driver.training import card, dataset
from lbpsi_driver.training import fit as fit_module

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "lbpsi_small"
MODEL = potential.resolve(tiny_mace.SHIPPED)
CARD = json.loads(MODEL.with_suffix(".json").read_text(encoding="utf-8"))
FITS = sorted(EXAMPLE.glob("fit*.toml"))
ITERATIONS = sorted(EXAMPLE.glob("iter*.toml"))


def options_of(stage: str, file: Path, *flags: str) -> Any:
    """Options as the command line takes them from a run file."""
    options, _ = cli._resolve(cli._parse(["train", stage, "--config", str(file), *flags]))
    return options


def test_card_is_of_this_model() -> None:
    assert CARD["model_sha256"] == manifest.sha256(MODEL)
    assert card.describe(MODEL).items() <= CARD.items()
    assert MODEL.stat().st_size < 5e6


def test_data_are_those_of_the_card() -> None:
    made = {path.name: manifest.sha256(path) for path in EXAMPLE.glob("*.extxyz.xz")}
    assert CARD["data_sha256"] | CARD["dft"]["data_sha256"] == made
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 20e6


def test_data_are_enough_and_split_by_trajectory() -> None:
    joined = dataset.read(sorted(EXAMPLE.glob("iter*.extxyz.xz")))
    dataset.check(joined.atoms, CARD["elements"], joined.names)
    splits = Counter(str(one.info["split"]) for one in joined.atoms)
    assert splits["train"] >= 1500
    assert set(splits) == {"train", "valid", "test"}
    sets: dict[str, set[str]] = {}
    for one in joined.atoms:
        sets.setdefault(str(one.info["trajectory"]), set()).add(str(one.info["split"]))
    assert all(len(names) == 1 for names in sets.values())


@pytest.mark.parametrize("file", FITS, ids=lambda file: file.stem)
def test_fits_read_what_is_here(file: Path) -> None:
    for data in options_of("fit", file).data:
        assert (EXAMPLE.parents[1] / data).is_file()


@pytest.mark.parametrize("file", ITERATIONS, ids=lambda file: file.stem)
def test_iterations_are_sound_configurations(file: Path) -> None:
    assert options_of("sample", file).source
    assert options_of("label", file).reference.kind == "sevennet"


def test_first_fit_would_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(EXAMPLE.parents[1])
    options = options_of("fit", EXAMPLE / "fit0.toml", "--output", str(tmp_path / "fit"))
    assert fit_module.fit(options, dry_run=True) is None
