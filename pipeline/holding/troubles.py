"""Whether a worker should drain itself, from how its last runs ended (spec §3.6)."""

from collections import deque
from dataclasses import dataclass

#: Failures that tell nothing about the worker: what can't be run anywhere, its own memory limit, a stop.
_NOT_THE_WORKERS = frozenset({"cannot-run", "out-of-memory", "stopped"})


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`failures` of the last `runs` runs within `window_ms` are too many; with 0 none ever are."""

    failures: int
    runs: int
    window_ms: int

    def of_slots(self, slots: int) -> "Tolerance":
        """Return the same share of at least as many runs as there are slots: one bad batch may fill them all."""
        runs = max(self.runs, slots)
        return Tolerance(-(-self.failures * runs // self.runs), runs, self.window_ms)


class Troubles:
    """The last runs of a worker.

    By a share of runs and not of time, so that jobs that take an hour to fail count like those that take a second; a
    success now and then hides nothing.
    """

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self._runs: deque[tuple[int, str]] = deque(maxlen=tolerance.runs)

    def completed(self, now: int) -> None:
        """Count a success at `now` (ms)."""
        self._runs.append((now, ""))

    def failed(self, category: str, now: int) -> str:
        """Count a failure, unless it is the job's own; return why the worker should drain, empty if it shouldn't."""
        if category in _NOT_THE_WORKERS or not self._tolerance.failures:
            return ""
        self._runs.append((now, category or "unknown"))
        while self._runs[0][0] < now - self._tolerance.window_ms:
            self._runs.popleft()
        failures = [category for _, category in self._runs if category]
        if len(failures) < self._tolerance.failures:
            return ""
        kinds = ", ".join(sorted(set(failures)))
        seconds = (now - self._runs[0][0]) / 1000
        return f"{len(failures)} of the last {len(self._runs)} runs failed within {seconds:.0f} s ({kinds})"

    def forget(self) -> None:
        """Begin anew."""
        self._runs.clear()
