"""A lock between processes, held on a file."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.embedded.errors import EmbeddedError

#: seconds between two tries; a waiting process costs next to nothing
_INTERVAL = 0.1


@contextmanager
def file_lock(path: Path, timeout: float, what: str) -> Iterator[None]:
    """Hold the lock on `path`, waiting up to `timeout` seconds for another process to leave it.

    The kernel releases it when its holder ends, however that happens, so there are no stale locks. The file stays
    behind: removing it would let two processes hold locks on two files of one name. Raises EmbeddedError, which names
    the holder's pid, on time-out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC is Python's default: a server that is started under the lock does not inherit it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, path, timeout, what)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
                raise EmbeddedError(
                    f"{what}: another process (pid {holder}) has held {path} for {timeout:.0f} s; "
                    "wait for it or end it, then try again"
                ) from busy
            time.sleep(_INTERVAL)
        else:
            return
