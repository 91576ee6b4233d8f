"""Who this process is: its holder name, unique and newer than any before it on this machine."""

import fcntl
import os
import secrets
import time
from pathlib import Path


class TakenError(Exception):
    """A process with this worker id runs on this machine already."""


class Seat:
    """The one place that a worker id has on a machine: a locked file, which also remembers the last start.

    The lock ends with the process, however it ends.
    """

    def __init__(self, home: Path, worker: str, mark: str | None = None) -> None:
        """Take the place; `mark` ends the holder's name, where it isn't to be a random number."""
        folder = home / "workers"
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / f"{worker}.holder", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            taken = os.pread(self._file, 200, 0).decode(errors="replace")
            os.close(self._file)
            raise TakenError(f"worker {worker!r} runs on this machine already: {taken}") from error
        self.holder = self._sit(worker, mark or secrets.token_hex(4))

    def leave(self) -> None:
        """Give the place up."""
        os.close(self._file)

    def _sit(self, worker: str, mark: str) -> str:
        _, last, _ = [*os.pread(self._file, 200, 0).decode(errors="replace").split(":"), "", "", ""][:3]
        # a clock that was put back must not make this process older than the one before it
        start = max(int(time.time() * 1000), int(last) + 1 if last.isdigit() else 0)
        holder = f"{worker}:{start}:{mark}"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, holder.encode(), 0)
        return holder
