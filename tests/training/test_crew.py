"""What a crew refuses before its first frame, and what it leaves behind then: nothing."""

from __future__ import annotations

from pathlib import Path

import ase
import pytest
import tiny_mace

from lbpsi_driver.config import UsageError
from lbpsi_driver.training import frames as store
from lbpsi_driver.training.label import label
from lbpsi_driver.training.options import LabelOptions

LENNARD_JONES = {
    "kind": "ase",
    "calculator": "ase.calculators.lj:LennardJones",
    "arguments": {"sigma": 2.0, "epsilon": 0.1, "rc": 5.0, "smooth": True},
}


def options(folder: Path, reference: dict) -> LabelOptions:
    path = folder / "frames.extxyz"
    if not path.exists():
        frames = [ase.Atoms("LiS", [[0, 0, 0], [0, 0, 2.5]], cell=[6] * 3, pbc=True)] * 3
        frames = [frame.copy() for frame in frames]
        frames[1].symbols[0] = "Ge"
        for number, frame in enumerate(frames):
            frame.info = {store.ID: f"melt/{number}", store.TRAJECTORY: "melt"}
        store.write_frames(path, frames)
    return LabelOptions(data=path, output=folder / "out", reference=reference, workers=2)


@pytest.mark.mace
def test_an_element_that_the_reference_lacks_is_refused_before_any_label(tmp_path):
    pytest.importorskip("mace", reason="needs the [mace] extra")
    model = str(tiny_mace.write(tmp_path / "tiny.model", numbers=[3, 16]))
    with pytest.raises(UsageError) as caught:
        label(options(tmp_path, {"kind": "mace", "model": model}))
    assert str(caught.value).startswith("frame 1 (melt/1): the reference (mace ")
    assert "has no Ge: it knows Li, S" in str(caught.value)
    assert not (tmp_path / "out" / "labels.jsonl").exists()


def test_a_reference_that_never_started_may_be_another_next_time(tmp_path):
    misspelt = LENNARD_JONES | {"calculator": "ase.calculators.lj:LenardJones"}
    with pytest.raises(UsageError, match=r"did you mean LennardJones\?$"):
        label(options(tmp_path, misspelt))
    assert not (tmp_path / "out" / "workers").exists()
    assert label(options(tmp_path, LENNARD_JONES)).labelled == 3
    # one that has labelled is another configuration
    with pytest.raises(UsageError, match="--reference"):
        label(options(tmp_path, LENNARD_JONES | {"arguments": {"sigma": 2.1}}))
