"""``python -m MODULE`` as a fork of the tests' process, which has imported torch and MACE.

What MACE does is the same; the seconds that each start of it takes are saved.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import runpy
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbpsi_driver.mliap import import_mace, import_torch
from lbpsi_driver.training import mace_run, pool


class Process:
    """As much of ``subprocess.Popen`` as ``mace_run`` needs."""

    def __init__(self, command: list[str], **settings: Any) -> None:
        assert command[:2] == [sys.executable, "-m"]
        self._process = start(_module, command[2:], settings)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int | None:
        self._process.join()
        return self.returncode


def start(function: Callable[..., None], *arguments: Any) -> Any:
    """Call a function in a fork."""
    process = multiprocessing.get_context("fork").Process(target=_call, args=(function, arguments))
    process.start()
    return process


def _call(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # More threads than one would wait for those that a fork has not.
    import_torch().set_num_threads(1)
    function(*arguments)


def _module(arguments: list[str], settings: dict[str, Any]) -> None:
    settings["preexec_fn"]()
    os.chdir(settings["cwd"])
    os.environ.update(settings["env"])
    os.dup2(settings["stdout"].fileno(), 1)
    os.dup2(settings["stdout"].fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    logging.getLogger().handlers.clear()
    import_torch().set_default_dtype(import_torch().float32)
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def maces() -> Iterator[None]:
    """Let the fits of this process and of its forks run MACE so."""
    import_mace()
    names = {"Popen": Process, "DEVNULL": subprocess.DEVNULL, "STDOUT": subprocess.STDOUT}
    with pytest.MonkeyPatch.context() as change:
        change.setattr(mace_run, "subprocess", types.SimpleNamespace(**names))
        yield


@contextlib.contextmanager
def pools() -> Iterator[None]:
    """Let jobs run one after the other in this process, where an error of one ends them all."""

    def call(
        _verb: str, function: Callable[..., Any], jobs: dict[str, tuple[Any, ...]], _workers: int
    ) -> dict[str, pool.Outcome]:
        return {name: pool.Outcome(function(*job)) for name, job in jobs.items()}

    with pytest.MonkeyPatch.context() as change:
        change.setattr(pool, "run", call)
        yield
