"""The processes of a run on this host, found again by whoever comes after.

A record is written before the command starts and removed after its end, so that a worker killed at any moment leaves
enough to find its processes: by a random token in their environment (which also finds those that left the process
group), and by the process group while its leader is the very process that was started (a recycled pid is not).
"""

import contextlib
import functools
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

#: The variable that carries the token.
TOKEN_VARIABLE = "JOBSTREAM_RUN"  # noqa: S105
_PROC = "/proc"
#: Seconds of killing, and the pause where only dying ones are found.
_PATIENCE, _PAUSE = 2.0, 0.01
#: Looks in a row without a find that are believed: where there never was one, and after some.
_SURE, _SURE_AFTER_FINDS = 3, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """Who runs what; `pid` is 0 and `born` empty until the command was started."""

    token: str
    job: str
    attempt: int
    holder: str
    worker: str
    working_dir: str
    pid: int = 0
    born: str = ""

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


def born(pid: int) -> str:
    """Return what tells a process from any other that had its pid before or gets it later: the boot, and the clock
    tick of its start. Empty if it is gone."""
    stat = _stat(pid)
    return f"{_boot()}/{stat[19]}" if stat else ""


def members(record: ProcessRecord, strangers: set[int]) -> Iterator[int]:
    """Yield the pids of all processes of the run, zombies not counted, each as soon as it is found.

    The youngest come first, as far as pids tell: one that begins another and ends may be gone an instant later.
    `strangers` are passed over; those that certainly aren't of the run are added, so that another look is quick.
    """
    group = record.pid if record.pid > 0 and record.born and record.born == born(record.pid) else None
    pids = sorted((int(entry) for entry in os.listdir(_PROC) if entry.isdigit()), reverse=True)  # noqa: PTH208
    for pid in pids:
        if pid == os.getpid() or pid in strangers:
            continue
        belongs = _belongs(pid, record.token, group)
        if belongs:
            yield pid
        elif belongs is False:
            strangers.add(pid)


def kill_all(record: ProcessRecord) -> bool:
    """Send SIGKILL to all processes of the run until none is left; False if some survived about 2 s of it.

    None is left when several looks in a row have found none: a run may be a chain of processes, each of which lives no
    longer than a look takes.
    """
    deadline = time.monotonic() + _PATIENCE
    known: set[int] = set()
    strangers: set[int] = set()
    empty = 0
    while empty < (_SURE_AFTER_FINDS if known else _SURE):
        found = set()
        for pid in members(record, strangers):
            found.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        empty = 0 if found else empty + 1
        if found and time.monotonic() > deadline:
            return False
        if found and found <= known:
            time.sleep(_PAUSE)
        known |= found
    return True


def _belongs(pid: int, token: str, group: int | None) -> bool | None:
    """Say whether a process is of the run; None if that can't be told of it now."""
    try:
        if group is not None and os.getpgid(pid) == group:
            return _stat(pid)[:1] not in ([], ["Z"]) or None
        with open(f"{_PROC}/{pid}/environ", "rb") as file:  # noqa: PTH123
            # A zombie has none, and neither has one that becomes another program at this moment.
            variables = file.read()
    except OSError:
        return None
    return f"{TOKEN_VARIABLE}={token}".encode() in variables.split(b"\0") if variables else None


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process from its state on (proc(5)); empty if it is gone."""
    try:
        text = Path(f"{_PROC}/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # The second field, a name in brackets, may hold anything.
    return text.rpartition(")")[2].split()


@functools.cache
def _boot() -> str:
    return Path(f"{_PROC}/sys/kernel/random/boot_id").read_text().strip()
