"""The processes of a run on this host, found again by whoever comes after.

A record is written before the command starts and removed after its end, so that a worker killed at any moment leaves
enough to find its processes: by a random token in their environment (which also finds those that left the process
group), and by the process group while its leader is the very process that was started (a recycled pid is not).
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

#: The variable that carries the token.
TOKEN_VARIABLE = "JOBSTREAM_RUN"  # noqa: S105
#: How far apart two readings of one process's start time may be (seconds: the clock may be set in between).
_SAME_START = 2.0
#: Rounds of killing, and the pause between them: a process may fork while it is looked for.
_ROUNDS, _PAUSE = 40, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """Who runs what; `pid` is 0 and `born` 0.0 until the command was started."""

    token: str
    job: str
    attempt: int
    holder: str
    worker: str
    working_dir: str
    pid: int = 0
    born: float = 0.0

    def path(self, folder: Path) -> Path:
        """Return where the record is kept."""
        return folder / f"{self.token}.json"

    def write(self, folder: Path) -> None:
        """Write it so that a reader sees the old or the new one, whole."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path(folder).with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(self.path(folder))

    def remove(self, folder: Path) -> None:
        """Remove it; it may be gone."""
        self.path(folder).unlink(missing_ok=True)


def records(folder: Path) -> Iterator[ProcessRecord]:
    """Yield the records of a folder; one that can't be read is skipped."""
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            yield ProcessRecord(**json.loads(path.read_text()))


def born(pid: int) -> float:
    """Return when a process was started (seconds since 1970), 0.0 if it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def members(record: ProcessRecord) -> list[int]:
    """Return the pids of all processes of the run, zombies not counted."""
    group = record.pid if _leads(record) else None
    return [process.pid for process in psutil.process_iter() if _belongs(process, record.token, group)]


def kill_all(record: ProcessRecord) -> bool:
    """Send SIGKILL to all processes of the run until none is left; False if some survived about 2 s of it."""
    for _ in range(_ROUNDS):
        found = members(record)
        if not found:
            return True
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)
    return not members(record)


def _leads(record: ProcessRecord) -> bool:
    return record.pid > 0 and record.born > 0 and abs(born(record.pid) - record.born) < _SAME_START


def _belongs(process: psutil.Process, token: str, group: int | None) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if group is not None and os.getpgid(process.pid) == group:
            return True
        return process.environ().get(TOKEN_VARIABLE) == token
    except (psutil.Error, OSError):
        return False
