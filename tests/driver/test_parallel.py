import os
import subprocess
import sys

import pytest

from lbpsi_driver import parallel
from lbpsi_driver.config import UsageError


@pytest.mark.parametrize(
    ("ranks", "tasks", "sizes"),
    [(1, 4, [1]), (2, 4, [1, 1]), (4, 4, [1] * 4), (5, 3, [2, 2, 1]), (8, 1, [8])],
)
def test_ranks_are_shared_out(ranks, tasks, sizes):
    assert parallel.group_sizes(ranks, tasks) == sizes


def test_one_rank_runs_all_and_keeps_errors_apart():
    def work(task, comm):
        assert comm.Get_size() == 1
        if task == "bad":
            raise UsageError("no good")
        return task.upper()

    outcomes = parallel.run_all(["a", "bad", "c"], work)
    assert [one.result for one in outcomes] == ["A", None, "C"]
    assert isinstance(outcomes[1].error, UsageError)
    assert str(outcomes[1].error) == "no good"


def test_no_tasks():
    assert parallel.run_all([], lambda task, comm: task) == []


def test_threads_follow_the_share(monkeypatch):
    parallel.threads_per_rank.cache_clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert parallel.threads_per_rank() == 3
    parallel.threads_per_rank.cache_clear()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert parallel.threads_per_rank() >= 1
    parallel.threads_per_rank.cache_clear()


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("300000 100000", 3), ("50000 100000", 1), ("max 100000", 8), ("", 8), (None, 8)],
)
def test_a_container_grants_fewer_cores_than_it_shows(monkeypatch, tmp_path, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(parallel, "_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert parallel.usable_cores() == cores
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    parallel.threads_per_rank.cache_clear()
    assert parallel.threads_per_rank() == cores
    parallel.threads_per_rank.cache_clear()


SCRIPT = """
from lbpsi_driver import parallel
from lbpsi_driver.config import UsageError
def work(task, comm):
    if task == 1:
        raise UsageError("task 1 failed")
    return comm.allreduce(1)
outcomes = parallel.run_all(range(3), work)
if outcomes is not None:
    print([(one.number, one.result, one.error and str(one.error)) for one in outcomes])
def refuse():
    raise UsageError("said once")
try:
    parallel.on_root(refuse)
except UsageError as err:
    print(err)
"""


@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "sizes"), [(2, (1, 1)), (4, (2, 1))])
def test_groups_under_mpi(ranks, sizes):
    done = subprocess.run(
        [str(parallel.mpiexec()), "-n", str(ranks), sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = [(0, sizes[0], None), (1, None, "task 1 failed"), (2, sizes[1], None)]
    assert done.stdout.splitlines() == [str(expected), "said once"]


@pytest.mark.mpi
def test_a_bug_on_one_rank_ends_all():
    script = (
        "from lbpsi_driver import parallel\n"
        "def work(task, comm):\n    return 1 / task\n"
        "parallel.run_all([1, 0], work)\n"
    )
    done = subprocess.run(
        [str(parallel.mpiexec()), "-n", "2", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr
