"""A crew of workers: frames in parallel, a worker that dies started once more for its frame."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase

from lbpsi_driver import manifest
from lbpsi_driver.config import UsageError
from lbpsi_driver.training.calculators import LabelError, Worker, WorkerError
from lbpsi_driver.training.options import Reference


@dataclass(frozen=True)
class Task:
    """A frame to label.

    Attributes
    ----------
    number : int
        Its place in the file.
    frame_id, digest : str
        Its name, and that of its content.
    atoms : ase.Atoms
        The frame.
    """

    number: int
    frame_id: str
    digest: str
    atoms: ase.Atoms


Reply = tuple[Task, dict[str, Any] | str, dict[str, str | None]]
"""A frame, its label or the reason why it has none, and the versions of the reference."""


class Crew:
    """Workers and a thread for each, which feeds it frames one after the other.

    Parameters
    ----------
    reference : Reference
        What they run.
    tasks : sequence of Task
        The frames.
    folder : Path
        Where each has a folder of its own.
    number : int
        How many workers at most.
    """

    def __init__(
        self, reference: Reference, tasks: Sequence[Task], folder: Path, number: int
    ) -> None:
        self._reference = reference
        # Each element with the first frame that has it.
        pairs = ((symbol, task) for task in reversed(tasks) for symbol in set(task.atoms.symbols))
        self._elements = dict(pairs)
        self._folder = folder
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._replies: queue.SimpleQueue[Reply | UsageError] = queue.SimpleQueue()
        self._workers: dict[int, Worker] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._number = min(number, len(tasks))
        self._total = len(tasks)
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), daemon=True)
            for number in range(self._number)
        ]

    def replies(self) -> Generator[Reply]:
        """Yield each frame with its label or the reason why there is none.

        Raises
        ------
        UsageError
            A worker that can't start, or a frame with an element that the reference lacks.
        """
        for thread in self._threads:
            thread.start()
        try:
            for _ in range(self._total):
                reply = self._replies.get()
                if isinstance(reply, UsageError):
                    raise reply
                yield reply
        except BaseException:
            # Nobody waits for the frames that are under way.
            self._end(Worker.kill)
            self._leave_no_empty_folders()
            raise
        self._end(Worker.close)

    def _end(self, how: Callable[[Worker], None]) -> None:
        with self._lock:
            self._stopped.set()
            workers = list(self._workers.values())
        for worker in workers:
            how(worker)
        for thread in self._threads:
            thread.join(timeout=10)

    def _leave_no_empty_folders(self) -> None:
        """Leave nothing of workers that never started: their reference may be another next time."""
        for folder in (*(self._folder / str(n) for n in range(self._number)), self._folder):
            with suppress(OSError):
                folder.rmdir()

    def _start(self, number: int) -> Worker:
        folder = self._folder / str(number)
        with manifest.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        worker = Worker(self._reference, folder)
        with self._lock:
            self._workers[number] = worker
            if self._stopped.is_set():
                worker.kill()
        worker.start()
        for symbol, task in self._elements.items():
            try:
                worker.refuse_unknown([symbol])
            except UsageError as err:
                raise UsageError(f"frame {task.number} ({task.frame_id}): {err}") from err
        return worker

    def _serve(self, number: int) -> None:
        worker: Worker | None = None
        try:
            while not self._stopped.is_set():
                try:
                    task = self._tasks.get_nowait()
                except queue.Empty:
                    return
                worker = self._evaluate(worker, number, task)
        except UsageError as err:
            self._replies.put(err)
        except Exception as err:  # a thread's exception is nobody's otherwise
            self._replies.put(UsageError(f"worker {number}: {type(err).__name__}: {err}"))

    def _evaluate(self, worker: Worker | None, number: int, task: Task) -> Worker:
        """Label a frame; return the worker that did, or died over it."""
        found: dict[str, Any] | str = ""
        for _ in range(2):
            if worker is None or not worker.alive:
                worker = self._start(number)
            try:
                found = worker.evaluate(task.atoms)
                break
            except LabelError as err:
                found = str(err)
                break
            except WorkerError as err:
                if self._stopped.is_set():
                    return worker
                found = f"the worker died twice: {err}"
        assert worker is not None
        self._replies.put((task, found, worker.versions))
        return worker
