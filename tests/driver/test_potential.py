"""Models: the shipped one, cards, and exports: heads, and what a full disk leaves behind."""

from __future__ import annotations

import importlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lbpsi_driver import machine, manifest, potential
from lbpsi_driver.config import DEFAULT_MODEL, DoctorOptions, PotentialOptions, UsageError
from lbpsi_driver.mliap import import_torch

pytestmark = pytest.mark.mace
pytest.importorskip("mace", reason="needs the [mace] extra")

ELEMENTS = ["Li", "B", "P", "S", "I"]


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory) -> Path:
    """The shipped model under two names of heads; enough to see which one is exported."""
    torch = import_torch()
    source = potential.resolve(DEFAULT_MODEL)
    model = torch.load(source, map_location="cpu", weights_only=False)
    model.heads = ["pbe", "scan"]
    path = tmp_path_factory.mktemp("model") / "two.model"
    torch.save(model, path)
    return path


def head_of(exported: Path) -> int:
    model = import_torch().load(exported, map_location="cpu", weights_only=False)
    return int(model.model.head)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_one_line_and_leaves_the_old_model(tmp_path):
    target = tmp_path / "model.pt"
    target.write_bytes(b"old")
    with file_size_limit(100_000), pytest.raises(UsageError) as caught:
        potential.export(potential.resolve(DEFAULT_MODEL), target)
    assert str(caught.value).startswith(f"cannot write {target}: File too large; free some space")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.pt": b"old"}


@pytest.mark.parametrize(("head", "number"), [(None, 1), ("pbe", 0), ("scan", 1)])
def test_head_of_the_options_is_exported(two_heads, tmp_path, head, number):
    options = PotentialOptions(model=str(two_heads), head=head)
    assert head_of(potential.prepare(options, tmp_path, ELEMENTS)) == number
    assert potential.heads(two_heads) == ["pbe", "scan"]


def test_unknown_head_is_one_line_that_names_the_heads(two_heads, tmp_path):
    options = PotentialOptions(model=str(two_heads), head="b3lyp")
    with pytest.raises(UsageError, match=r"--head b3lyp: .*; one of: pbe, scan$"):
        potential.prepare(options, tmp_path, ELEMENTS)
    assert not list(tmp_path.iterdir())


def test_exported_model_has_no_heads_to_choose_from(exported, tmp_path):
    options = PotentialOptions(model=str(exported["float32"]), head="Default")
    with pytest.raises(UsageError, match=r"--head Default: .*give the \.model"):
        potential.prepare(options, tmp_path, ELEMENTS)


@pytest.mark.parametrize(("head", "number"), [(None, 1), ("pbe", 0)])
def test_doctor_compares_one_head_with_itself(two_heads, tmp_path, monkeypatch, head, number):
    asked = []

    def calculator(*_files, **keywords):
        asked.append(keywords["head"])
        raise InterruptedError

    calculators = importlib.import_module("mace.calculators")
    monkeypatch.setattr(calculators, "MACECalculator", calculator)
    examined = machine.Machine(DoctorOptions(model=str(two_heads), head=head), tmp_path)
    assert [head_of(path) for path in examined.exported.values()] == [number, number]
    with pytest.raises(InterruptedError):
        _ = examined.ase_forces
    assert asked == [potential.heads(two_heads)[number]]


def test_unknown_element_and_no_model(tmp_path):
    with pytest.raises(UsageError, match=r"does not know Na of the cell; it knows .*Li"):
        potential.prepare(PotentialOptions(), tmp_path, ["Li", "Na"])
    (tmp_path / "text.model").write_text("no model")
    options = PotentialOptions(model=str(tmp_path / "text.model"))
    with pytest.raises(UsageError, match="not a MACE model"):
        potential.prepare(options, tmp_path, ELEMENTS)


def test_the_default_is_shipped_with_a_card_of_this_very_file():
    source = potential.resolve(PotentialOptions().model)
    assert source == potential.shipped()[DEFAULT_MODEL]
    card = potential.card(DEFAULT_MODEL)
    assert card["name"] == DEFAULT_MODEL
    assert card["model_sha256"] == manifest.sha256(source)
    assert card["elements"] == potential.known_elements(source)
    assert card["trust"] not in ("", "unknown", "plumbing")
    number = potential.parameters(potential.read_model(source))
    assert f"{number} parameters" in card["architecture"]


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, {"name": "mine", "trust": "unknown"}),
        ('{"limits": "cold only"}', {"limits": "cold only", "trust": "unknown"}),
        ('{"trust": "toy"}', {"trust": "toy"}),
        ("{", r"^mine\.json is no JSON \(.*\); write the model's card again$"),
        ("[]", r"^mine\.json is no JSON object; write the model's card again$"),
    ],
)
def test_a_card_says_how_far_to_trust_or_is_refused(tmp_path, card, expected):
    model = tmp_path / "mine.model"
    model.write_bytes(b"\0")
    if card is not None:
        model.with_suffix(".json").write_text(card)
    if isinstance(expected, dict):
        assert potential.card(str(model)) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            potential.card(str(model))
