"""The end of a file that a job may have put anything in place of."""

import os
import stat
from pathlib import Path


def tail(path: Path, limit: int) -> bytes:
    """Return at most `limit` last bytes of a file; nothing if it is gone or no regular one (a symlink, a FIFO)."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return b""
        return os.pread(file, limit, max(0, status.st_size - limit))
    except OSError:
        return b""
    finally:
        os.close(file)
