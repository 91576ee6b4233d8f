"""Locks on files that may be removed while others wait for them; the kernel frees them when their holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.inputs.patience import Patience

#: Seconds between two tries at a lock that somebody else holds: first, and at most.
_FIRST, _LONGEST = 0.02, 0.5


@contextmanager
def held(path: Path, patience: Patience) -> Iterator[int]:
    """Hold the exclusive lock of a file, made with its folder if need be, and yield its descriptor.

    Threads of one process exclude each other too. Raises as `Patience.check` does while it waits, OSError if the file
    can't be made.
    """
    pause = _FIRST
    while (handle := try_lock(path)) is None:
        patience.wait(pause)
        pause = min(2 * pause, _LONGEST)
    try:
        yield handle
    finally:
        os.close(handle)


def try_lock(path: Path, create: bool = True) -> int | None:
    """Return the descriptor of a file that is now locked; None if somebody else holds it, or it isn't there."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            if not create:
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if _is_at(handle, path):
            return handle
        # whoever held it before removed it: what is locked is a file that nobody else will find
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)
