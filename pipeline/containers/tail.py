"""The end of a file that a job may have put anything in place of."""

import os
import stat
from pathlib import Path


def tail(path: Path, limit: int) -> bytes:
    """Return at most `limit` last bytes of a file; nothing if it is gone or no regular one (a symlink, a FIFO)."""
    return _end(path, limit)[0]


def tail_text(path: Path, limit: int) -> str:
    """Return the same as text, after a line that says how many bytes come before it, if there are any."""
    data, before = _end(path, limit)
    text = data.decode(errors="replace")
    return f"[… {before} bytes before]\n{text}" if before else text


def _end(path: Path, limit: int) -> tuple[bytes, int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b"", 0
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return b"", 0
        before = max(0, status.st_size - limit)
        return os.pread(file, limit, before), before
    except OSError:
        return b"", 0
    finally:
        os.close(file)
