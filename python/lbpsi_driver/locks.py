"""A run's folder against other processes, and against an operating system that refuses."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lbpsi_driver.config import UsageError

_LOCK_PATIENCE_S = 5.0
_locks: dict[Path, IO[str]] = {}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one line that says how to mend it."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            mend = "free some space and run the same command again; finished parts are kept"
        else:
            mend = "give a folder you can write with --output"
        raise UsageError(f"cannot write {path}: {err.strerror}; {mend}") from err


def keep_others_out(folder: Path, verb: str) -> None:
    """Make the folder; keep a second process out of it until this one ends, however it ends."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = (folder / f".{verb}.lock").resolve()
    if path in _locks:
        return
    with writing(folder):
        stream = path.open("a")
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as err:
            if time.monotonic() > deadline:
                stream.close()
                raise UsageError(
                    f"{folder} is in use by another {verb}; wait for it or give another --output"
                ) from err
            time.sleep(0.1)
        except OSError:
            # Some network file systems know no locks; the run is still sound without.
            break
    _locks[path] = stream


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Change the manifest while no other process does; the folder itself is what is locked."""
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems know no locks: then two writers at once are left to luck.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
