"""Orchestrators of a benchmark's own: real processes, each with a home, to kill and to start again."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.bench.errors import BenchError
from ops.cluster.agent_process import AgentProcess
from pipeline.settings import Settings

_POLL = 0.05
#: Seconds that an orchestrator may take to own its partitions.
_PATIENCE = 900.0


class Orchestrator:
    """One process without a gate; its home, and so its tables, outlive it."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.home = settings.home / "orchestrators" / name
        self._settings = settings
        self._process = AgentProcess(self.home, "orchestrator", ["orchestrator"], ["--no-gate"])
        self._read = 0

    def start(self) -> float:
        """Start it, and return when (monotonic)."""
        log = self._process.log
        self._read = log.stat().st_size if log.exists() else 0
        begun = time.monotonic()
        home = self._settings.model_copy(update={"home": self.home})
        self._process.start(home.environment())
        return begun

    def lines(self) -> list[dict[str, Any]]:
        """Return what it logged since it was started last."""
        with self._process.log.open("rb") as file:
            file.seek(self._read)
            return [json.loads(line) for line in file.read().splitlines(keepends=True) if line.endswith(b"}\n")]

    def await_line(self, event: str, wanted: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """Wait for a line of its log; raises BenchError where it ends before."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = [line for line in self.lines() if line.get("event") == event and wanted(line)]
            if found:
                return found[-1]
            if self._process.find() is None:
                raise BenchError(f"an orchestrator ended: {self._process.tail(3)}")
            if time.monotonic() > deadline:
                raise BenchError(f"no {event!r} in {self._process.log} within {_PATIENCE:.0f} s")
            time.sleep(_POLL)

    def kill(self) -> float:
        """Kill it with SIGKILL, and return when (monotonic)."""
        process = self._process.find()
        if process is None:
            raise BenchError("the orchestrator does not run")
        killed = time.monotonic()
        process.kill()
        self._process.wait(10.0)
        return killed

    def stop(self) -> None:
        """End it in order."""
        self._process.stop(20.0)

    def lose_disk(self) -> None:
        """Delete its tables."""
        shutil.rmtree(self.home / "faust", ignore_errors=True)

    def cpu_seconds(self) -> float:
        """Return the processor time that it has taken since it was started: what doesn't depend on other load."""
        process = self._process.find()
        if process is None:
            raise BenchError("the orchestrator does not run")
        times = process.cpu_times()
        return round(times.user + times.system, 1)

    def table_bytes(self) -> int:
        """Return how much its tables take."""
        return size_of(self.home / "faust")


def size_of(folder: Path, pattern: str = "*") -> int:
    """Return the bytes of the files below a folder; those that go meanwhile don't count."""
    total = 0
    for path in folder.rglob(pattern):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


@contextmanager
def orchestrators(settings: Settings, names: Sequence[str]) -> Iterator[list[Orchestrator]]:
    """Have orchestrators, none of them started, and stop what runs of them in the end."""
    made = [Orchestrator(settings, name) for name in names]
    try:
        yield made
    finally:
        for one in made:
            one.stop()
