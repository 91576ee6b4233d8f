"""One agent as a detached process: it outlives whoever started it, and is found again by its home and arguments."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from ops.cluster.process_status import ProcessStatus

#: bytes of a log beyond which the next start puts it aside as `NAME.log.1`
LOG_LIMIT = 16 << 20
_POLL = 0.05
_MODULE = "ops.cli.main"


class AgentProcess:
    """The agent `name` of the installation in `home`, run as `jobstream --home HOME COMMAND… OPTIONS…`.

    A pid alone proves nothing, pids are reused: only a process that shows this home and command is taken for the agent,
    with whatever options it was started. Its pid is in HOME/run/NAME.pid; where that file is stale or missing, the
    process is searched for.
    """

    def __init__(self, home: Path, name: str, command: Sequence[str], options: Sequence[str] = ()) -> None:
        self.home = home.resolve()
        self.name = name
        self._identity = ["-m", _MODULE, "--home", str(self.home), *command]
        self._options = list(options)
        self._pid_file = self.home / "run" / f"{name}.pid"
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def log(self) -> Path:
        """What the agent prints."""
        return self.home / "logs" / f"{self.name}.log"

    def start(self, environment: Mapping[str, str]) -> int:
        """Start the agent in a session of its own and return its pid; one that runs already is left alone."""
        running = self.find()
        if running is not None:
            return running.pid
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._put_aside()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        # -P: a folder `ops` below the current one must not be taken for ours
        command = [sys.executable, "-P", *self._identity, *self._options]
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._remember(self._child.pid)
        return self._child.pid

    def find(self) -> psutil.Process | None:
        """Return the agent's process, None where it doesn't run."""
        if self._child is not None:
            if self._child.poll() is None:
                # known by its pid, which nobody else gets until we asked: what has just begun shows no arguments
                return psutil.Process(self._child.pid)
            self._child = None
        recorded = self._recorded()
        if recorded is not None:
            return recorded
        found = next((process for pid in psutil.pids() if (process := self._mine(pid))), None)
        if found is not None:
            self._remember(found.pid)
        return found

    def status(self, kind: str) -> ProcessStatus:
        """Look at the process."""
        process = self.find()
        if process is not None:
            # it may end while it is looked at
            with contextlib.suppress(psutil.Error):
                memory, since = process.memory_info().rss, process.create_time()
                return ProcessStatus(self.name, kind, True, process.pid, "", memory, since, self.log)
        return ProcessStatus(self.name, kind, False, None, "", 0, None, self.log)

    def stop(self, timeout: float) -> bool:
        """End the agent with SIGTERM, with SIGKILL after `timeout` seconds; return whether it ran."""
        process = self.find()
        if process is None:
            self._pid_file.unlink(missing_ok=True)
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            if not self._ended(process, timeout):
                process.kill()
                self._ended(process, 10.0)
        self._pid_file.unlink(missing_ok=True)
        return True

    def wait(self, timeout: float) -> bool:
        """Wait until the process has ended, `timeout` seconds at most; return whether it has."""
        process = self.find()
        return process is None or self._ended(process, timeout)

    def tail(self, lines: int = 15) -> list[str]:
        """Return the last lines that this start printed."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start if self._log_start <= size else 0, size - 64 * 1024))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def _ended(self, process: psutil.Process, timeout: float) -> bool:
        if self._child is not None and self._child.pid == process.pid:
            # its main thread may be a zombie while others still end: only the kernel tells when all have
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout)
            return self._child.poll() is not None
        # by pid and creation time: a process that is ending shows no command line for a moment
        deadline = time.monotonic() + timeout
        while _lives(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def _put_aside(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_LIMIT:
                self.log.replace(self.log.with_name(f"{self.log.name}.1"))

    def _remember(self, pid: int) -> None:
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._pid_file.with_suffix(f".{os.getpid()}")
        fresh.write_text(str(pid))
        fresh.replace(self._pid_file)

    def _recorded(self) -> psutil.Process | None:
        try:
            return self._mine(int(self._pid_file.read_text()))
        except (OSError, ValueError):
            return None

    def _mine(self, pid: int) -> psutil.Process | None:
        try:
            process = psutil.Process(pid)
            # a zombie has ended; its parent just has not asked yet
            alive = process.status() != psutil.STATUS_ZOMBIE
            arguments = process.cmdline()
        except (psutil.Error, ValueError, OverflowError):
            return None
        # after the interpreter and its -P
        return process if alive and arguments[2 : 2 + len(self._identity)] == self._identity else None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
