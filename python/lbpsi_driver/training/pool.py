"""Independent jobs in processes of their own, which end when this one does."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lbpsi_driver import parallel, progress
from lbpsi_driver.config import UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Result of a job, or the one line that says why there is none."""

    result: Any = None
    error: str | None = None


def run(
    verb: str, function: Callable[..., Any], jobs: Mapping[str, tuple[Any, ...]], workers: int
) -> dict[str, Outcome]:
    """Call a function for each job, several at a time; Ctrl-C ends them all at once.

    A job that failed is logged at once and doesn't count as done in the progress.

    Parameters
    ----------
    verb : str
        For the progress.
    function : callable
        Importable; gets the arguments of a job.
    jobs : mapping of str to tuple
        Arguments by the name of the job.
    workers : int
        Processes at a time; they share the cores that this one may use.

    Returns
    -------
    dict of str to Outcome
        In the order of the jobs.
    """
    if not jobs:
        return {}
    workers = min(workers, len(jobs))
    threads = max(1, parallel.usable_cores() // workers)
    others = set(multiprocessing.active_children())
    executor = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (threads,)
    )
    outcomes = {}
    try:
        names = {executor.submit(function, *job): name for name, job in jobs.items()}
        with progress.count(verb, len(jobs)) as advance:
            for future in concurrent.futures.as_completed(names):
                name = names[future]
                outcomes[name] = _outcome(future)
                if outcomes[name].error is None:
                    advance(name)
                else:
                    # The others may take hours yet.
                    logger.error("%s %s failed: %s", verb, name, outcomes[name].error)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    executor.shutdown()
    return {name: outcomes[name] for name in jobs}


def _outcome(future: concurrent.futures.Future[Any]) -> Outcome:
    error = future.exception()
    if error is None:
        return Outcome(future.result())
    if isinstance(error, concurrent.futures.BrokenExecutor):
        return Outcome(error="a process was killed, out of memory perhaps: give fewer --workers")
    text = " ".join(str(error).split())
    known = isinstance(error, UsageError)
    return Outcome(error=text if known else f"{type(error).__name__}: {text}")


def _begin(threads: int) -> None:
    """Prepare a process: its share of the cores, no progress beside the parent's, its end."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ[progress.VARIABLE] = "off"
    # The parent speaks for all.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End with the parent: the run that goes on with its work must be the only one to write."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
