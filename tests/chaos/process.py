"""One agent as a process that dies: started armed or not, waited for, and its log at hand."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.crash_points import VARIABLE


@dataclass
class Process:
    """An agent by its command; `start` and what follows are called by one thread, `signal` by any."""

    name: str
    command: list[str]
    home: Path
    log: Path
    environment: Mapping[str, str]
    begun: float = 0.0
    #: Where in the log this start begins.
    offset: int = 0
    _child: "subprocess.Popen[bytes] | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, armed: str = "") -> None:
        """Start it, with a crash point armed where one is given."""
        assert self.code is not None or self._child is None, f"{self.name} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        self.offset = self.log.stat().st_size if self.log.exists() else 0
        environment = {name: value for name, value in self.environment.items() if name != VARIABLE}
        command = [sys.executable, "-P", "-m", "ops.cli.main", "--home", str(self.home), *self.command]
        with self.log.open("ab") as output:
            child = subprocess.Popen(
                command,
                env=environment | ({VARIABLE: armed} if armed else {}) | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.begun = time.monotonic()
        with self._lock:
            self._child = child

    @property
    def code(self) -> int | None:
        """Its exit code, minus the signal's number; None while it runs, and before the first start."""
        return None if self._child is None else self._child.poll()

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def stood_still(self) -> bool:
        """Whether it got no processor for so long that it ended itself, as an orchestrator must (design §4)."""
        return self.code == 1 and self.said("stood still for longer than half the session")

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; say whether it still ran."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                return False
            os.kill(self._child.pid, number)
            return True

    def wait(self, timeout: float) -> int | None:
        """Wait until it ends; return its exit code, None where it still runs."""
        assert self._child is not None, f"{self.name} was never started"
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def said(self, text: str) -> bool:
        """Say whether this start's log has a text."""
        return text in self.output()

    def output(self, limit: int = 4 << 20) -> str:
        """What this start wrote, its end where that is long."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.offset, size - limit))
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 40) -> str:
        """The last lines of its log, of earlier starts too."""
        if not self.log.exists():
            return "(no log)"
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (64 << 10)))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
