"""Live progress of running decks with an ETA, from the ``history.dat`` that each of them writes.

A thread on rank 0 reads the last rows; the runs know nothing of it. On a terminal it is a live
display, elsewhere a plain line every 10 %. ``LBPSI_PROGRESS=plain|live|off`` chooses otherwise.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from lbpsi_driver import history
from lbpsi_driver.config import UsageError

Mode = Literal["plain", "live", "off"]

VARIABLE = "LBPSI_PROGRESS"
_INTERVAL_S = 0.5
_PLAIN_STEP = 0.1


class _Display(Protocol):
    def update(self, name: str, fraction: float, text: str) -> None: ...

    def close(self) -> None: ...


class _Live:
    def __init__(self, verb: str, names: list[str]) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
        )
        label = {name: f"{verb} {name}".rstrip() for name in names}
        self._ids: dict[str, TaskID] = {
            name: self._progress.add_task(label[name], total=1.0, text="waiting") for name in names
        }
        self._progress.start()
        # Ctrl-C ends the process at once and must not leave a terminal without a cursor.
        console.show_cursor(True)

    def update(self, name: str, fraction: float, text: str) -> None:
        self._progress.update(self._ids[name], completed=fraction, text=text)

    def close(self) -> None:
        self._progress.stop()


class _Plain:
    def __init__(self, verb: str, names: list[str]) -> None:
        self._verb = verb
        self._shown = dict.fromkeys(names, -1)

    def update(self, name: str, fraction: float, text: str) -> None:
        reached = int(fraction / _PLAIN_STEP + 1e-9)
        if reached > self._shown[name]:
            self._shown[name] = reached
            label = f"{self._verb} {name}".rstrip()
            print(f"{label}: {100 * fraction:.0f} % {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class _Watched:
    """One run folder: how far it is and how fast it goes since it was first seen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: tuple[float, int] | None = None

    def look(self) -> tuple[float, str] | None:
        """Fraction done and a line of text; None before the deck has written anything."""
        row, last = history.last_row(self._folder), history.last_step(self._folder)
        if row is None or not last:
            return None
        now = time.monotonic()
        if self._first is None or row.step < self._first[1]:
            self._first = (now, row.step)
        text = f"{row.stage} {row.temperature:.0f} K {row.density:.2f} g/cm3"
        done = row.step - self._first[1]
        if row.step < last and done > 0:
            left = (last - row.step) * (now - self._first[0]) / done
            text += f", {clock(left)} left"
        return min(1.0, row.step / last), text


def clock(seconds: float) -> str:
    """Format a duration in s as ``h:mm:ss``."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"


def mode() -> Mode:
    """Return how progress is shown: ``LBPSI_PROGRESS``, else by whether stderr is a terminal.

    Raises
    ------
    UsageError
        Where the variable is set to anything else.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "":
        return "live" if sys.stderr.isatty() else "plain"
    if chosen not in ("plain", "live", "off"):
        raise UsageError(f"{VARIABLE}={chosen}: expected plain, live or off")
    return chosen  # type: ignore[return-value]


@contextmanager
def watch(verb: str, folders: Mapping[str, Path], *, here: bool = True) -> Iterator[None]:
    """Show the progress of decks while the body runs them.

    Parameters
    ----------
    verb : str
        What is running, as ``sweep``.
    folders : mapping of str to Path
        Run folder of each deck by the name to show; the name may be empty for a single one.
    here : bool
        Whether this rank shows it; the others pass False.

    Raises
    ------
    UsageError
        Where ``LBPSI_PROGRESS`` is bad.
    """
    chosen = mode() if here and folders else "off"
    if chosen == "off":
        yield
        return
    names = list(folders)
    display: _Display = _Live(verb, names) if chosen == "live" else _Plain(verb, names)
    watched = {name: _Watched(folder) for name, folder in folders.items()}
    stop = threading.Event()

    def show() -> None:
        for name, one in watched.items():
            seen = one.look()
            if seen is not None:
                display.update(name, *seen)

    def loop() -> None:
        while not stop.wait(_INTERVAL_S):
            show()

    thread = threading.Thread(target=loop, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        show()
        display.close()


@contextmanager
def count(verb: str, total: int, before: int = 0) -> Iterator[Callable[[str], None]]:
    """Show how many of a number of parts are done; the body calls what it gets after each.

    Parameters
    ----------
    verb : str
        What is running, as ``label``.
    total : int
        How many parts there are.
    before : int
        How many were done by an earlier start.

    Yields
    ------
    callable
        Takes a line of text to show beside the bar.

    Raises
    ------
    UsageError
        Where ``LBPSI_PROGRESS`` is bad.
    """
    chosen = mode()
    if chosen == "off" or total == 0:
        yield lambda text: None
        return
    display: _Display = _Live(verb, [""]) if chosen == "live" else _Plain(verb, [""])
    begun = time.monotonic()
    done = before

    def advance(text: str) -> None:
        nonlocal done
        done += 1
        left = (total - done) * (time.monotonic() - begun) / (done - before)
        display.update("", done / total, f"{done}/{total} {text}, {clock(left)} left")

    try:
        yield advance
    finally:
        display.close()
