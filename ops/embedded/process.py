"""Server processes that outlive whoever started them.

A pid alone proves nothing: pids are reused, and a pid file can outlive a reboot. So each server carries a mark on its
command line, the folder that it serves, and only a Java process that shows the mark is ever signalled. The two
conditions are checked apart from each other: a mistake in one must not end somebody else's processes.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

#: a JVM ignores properties that it does not know, so the mark costs nothing
_MARK = "-Djobstream.server="


def mark(folder: Path) -> str:
    """Return the command-line argument that says: this process serves `folder`."""
    return f"{_MARK}{folder.resolve()}"


def marked(pid: int, folder: Path) -> psutil.Process | None:
    """Return the process `pid` if it serves `folder`, else None: ended, or somebody else's by now."""
    try:
        process = psutil.Process(pid)
        # a zombie has ended; its parent just has not asked yet
        alive = process.status() != psutil.STATUS_ZOMBIE
        return process if alive and mark(folder) in process.cmdline() else None
    except (psutil.Error, ValueError, OverflowError):
        return None


def find(folder: Path) -> list[psutil.Process]:
    """Return all live processes that serve `folder`, the eldest first."""
    candidates = [one.pid for one in psutil.process_iter(["name"]) if one.info["name"] == "java"]
    found = [process for pid in candidates if (process := marked(pid, folder))]
    return sorted(found, key=lambda one: (one.create_time(), one.pid))


def end(folder: Path, timeout: float) -> int:
    """End all processes that serve `folder`; return how many there were.

    They get SIGTERM, and SIGKILL when `timeout` seconds were not enough. A killed server loses nothing that it had
    acknowledged: both kinds recover from their logs.
    """
    processes = find(folder)
    _signal(processes, kill=False)
    _gone, alive = psutil.wait_procs(processes, timeout=timeout)
    # a launcher may have started its server meanwhile: look again
    alive = [*alive, *(one for one in find(folder) if one not in alive)]
    _signal(alive, kill=True)
    psutil.wait_procs(alive, timeout=10)
    return len(processes)


def _signal(processes: Sequence[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() != "java":
                raise RuntimeError(f"pid {process.pid} is {process.name()}, not a server: nothing was signalled")
            process.kill() if kill else process.terminate()


def resident_bytes(processes: Sequence[psutil.Process]) -> int:
    """Return the memory that the processes hold together."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def uptime(processes: Sequence[psutil.Process]) -> float:
    """Return the seconds since the eldest of the processes began; 0 without processes."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            return max(0.0, time.time() - process.create_time())
    return 0.0
