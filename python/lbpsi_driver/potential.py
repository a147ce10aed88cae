"""Potentials: find a model by name or path, and export it for LAMMPS.

A MACE ``.model`` becomes the ML-IAP ``.pt`` that ``pair_style mliap/py`` (stock LAMMPS) and
``pair_style mliap unified`` (LAMMPS with KOKKOS) both load.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from lbpsi_driver import manifest
from lbpsi_driver.config import PotentialOptions, UsageError
from lbpsi_driver.mliap import MLIAPError, import_mace, import_torch, load


def shipped() -> dict[str, Path]:
    """Return the models that are package data, by name."""
    folder = Path(str(resources.files("lbpsi_driver") / "data" / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.model"))}


def resolve(model: str, given: str = "--model", expected: str = "a .model or .pt file") -> Path:
    """Return the file of a model given by a shipped name or by a path.

    Parameters
    ----------
    model : str
        Name or path.
    given : str
        How the user gave it, for messages: a flag, or a key of the run file with `` =``.
    expected : str
        What kinds of file the caller takes, for messages.

    Raises
    ------
    UsageError
        Where it is neither.
    """
    known = shipped()
    if model in known:
        return known[model]
    path = Path(model)
    if path.is_file():
        return path.resolve()
    raise UsageError(
        f"{given} {model}: neither a file nor a shipped model ({', '.join(known)}); give {expected}"
    )


def card(model: str) -> dict[str, Any]:
    """Return the card beside a model: what it was trained on and how far to trust it.

    Returns
    -------
    dict
        The content of ``NAME.json`` beside the model. ``trust`` is ``unknown`` where it does not
        say or there is none.

    Raises
    ------
    UsageError
        No such model, or a card that is no JSON object.
    """
    path = resolve(model).with_suffix(".json")
    if not path.is_file():
        return {"name": Path(model).stem, "trust": "unknown"}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise UsageError(f"{path.name} is no JSON ({err}); write the model's card again") from err
    if not isinstance(loaded, dict):
        raise UsageError(f"{path.name} is no JSON object; write the model's card again")
    return {"trust": "unknown"} | loaded


def heads(path: Path) -> list[str]:
    """Return the heads of a MACE ``.model``, in its order.

    Raises
    ------
    UsageError
        Where the file is no MACE model.
    """
    return _heads(read_model(path))


def known_elements(path: Path) -> list[str]:
    """Return the elements that a MACE ``.model`` knows, by atomic number.

    Raises
    ------
    UsageError
        Where the file is no MACE model.
    """
    return [chemical_symbols[int(number)] for number in read_model(path).atomic_numbers]


def read_model(path: Path, given: str = "--model") -> Any:
    """Return a MACE model on the CPU, as its file holds it; loading runs code from the file.

    Parameters
    ----------
    path : Path
        The file.
    given : str
        As for :func:`resolve`.

    Raises
    ------
    UsageError
        Where the file is no MACE model.
    """
    torch = import_torch()
    import_mace()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as err:
        # What torch and pickle say of half a file or of another kind of file means nothing here.
        told = isinstance(err, ImportError | OSError)
        reason = f" ({str(err).splitlines()[0]})" if told else ", or one that was cut off"
        raise UsageError(
            f"{given} {path}: not a MACE model{reason}; give a whole .model of MACE's"
        ) from err
    if not hasattr(model, "interactions"):
        raise UsageError(f"{given} {path}: a {type(model).__name__}, not a MACE .model")
    return model


def parameters(model: Any) -> int:
    """Return how many numbers of a MACE model are fitted."""
    return sum(one.numel() for one in model.parameters())


def _heads(model: Any) -> list[str]:
    # Models of before there were heads have none by name.
    return list(getattr(model, "heads", None) or ["Default"])


@contextmanager
def default_dtype(dtype: str) -> Iterator[None]:
    """Make a precision torch's default for a while: MACE's buffers and calculators follow it."""
    torch = import_torch()
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


CUEQ_PACKAGES = ("cuequivariance", "cuequivariance_torch", "cuequivariance_ops_torch")
"""Modules that a model with cuEquivariance's kernels needs where it is exported and run."""


def refuse_cueq() -> None:
    """Refuse cuEquivariance where it can't run.

    Raises
    ------
    UsageError
        Where there is no CUDA GPU or a package is missing.
    """
    if not import_torch().cuda.is_available():
        raise UsageError(
            "--cueq: torch sees no CUDA GPU here; export on the machine that will run the model,"
            " or leave --cueq out"
        )
    missing = [name for name in CUEQ_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--cueq: no {', '.join(missing)} here; pip install cuequivariance-torch"
            " cuequivariance-ops-torch-cu12 (or -cu13, as torch's CUDA), or leave --cueq out"
        )


def export(
    path: Path,
    target: Path,
    *,
    dtype: str = "float32",
    head: str | None = None,
    cueq: bool = False,
) -> None:
    """Write a MACE ``.model`` as the ML-IAP ``.pt`` that LAMMPS loads.

    Parameters
    ----------
    path : Path
        A MACE model as ``mace_run_train`` saves it. Loading runs code from the file.
    target : Path
        The ``.pt`` to write; replaced in one step.
    dtype : {"float32", "float64"}
        Precision of the exported model.
    head : str, optional
        Head of a multihead model; default: its last.
    cueq : bool
        Use cuEquivariance's kernels: such a model runs on CUDA GPUs alone.

    Raises
    ------
    UsageError
        Where the file is no MACE model or has no such head, the target can't be written, or
        cuEquivariance is wanted and can't run here.
    """
    model = read_model(path)
    known = _heads(model)
    if head is not None and head not in known:
        raise UsageError(f"--head {head}: {path.name} has no such head; one of: {', '.join(known)}")

    torch, mace = import_torch(), import_mace()
    with default_dtype(dtype):
        model = model.to(getattr(torch, dtype)).eval()
        if cueq:
            model = _with_cueq(model)
        wrapped = mace.LAMMPS_MLIAP_MACE(model, **({"head": head} if head else {}))
    # The file keeps whether a LAMMPS with KOKKOS may run it without a GPU; MACE would forbid it.
    wrapped.config.allow_cpu = not cueq
    # On a full disk torch.save raises a RuntimeError of its own and leaves half a file.
    content = io.BytesIO()
    torch.save(wrapped, content)
    manifest.write_atomic(target, content.getvalue())


def _with_cueq(model: Any) -> Any:
    refuse_cueq()
    convert = importlib.import_module("mace.cli.convert_e3nn_cueq")
    # As mace_create_lammps_model does: for CPU, since the fused convolution knows no ghost atoms.
    return convert.run(model, device="cpu").eval()


def prepare(options: PotentialOptions, folder: Path, elements: Sequence[str]) -> Path:
    """Put the ML-IAP ``.pt`` of a run into its folder.

    Parameters
    ----------
    options : PotentialOptions
        Which model, which of its heads, in which precision.
    folder : Path
        The run folder.
    elements : sequence of str
        Elements of the cell, which the model must know.

    Returns
    -------
    Path
        ``model.pt`` in the folder; an ML-IAP ``.pt`` that the user gave is used where it lies.

    Raises
    ------
    UsageError
        No such model, no MACE model, no such head, or an element that it does not know.
    """
    source = resolve(options.model)
    if source.suffix == ".pt" and options.head is not None:
        raise UsageError(
            f"--head {options.head}: {source.name} was exported with one head; give the .model"
        )
    target = source if source.suffix == ".pt" else folder / "model.pt"
    try:
        if target != source:
            export(source, target, dtype=options.dtype, head=options.head)
        known = load(str(target)).elements
    except MLIAPError as err:
        raise UsageError(f"--model {options.model}: {err}") from err
    unknown = [element for element in elements if element not in known]
    if unknown:
        raise UsageError(
            f"--model {options.model}: does not know {', '.join(unknown)} of the cell; "
            f"it knows {', '.join(known)}"
        )
    return target
