"""When to look whether a waiting job has waited too long for what no worker offers."""

from heapq import heappop, heappush


class Deadlines:
    """Run keys by the time of the next look; only jobs with a `max_wait` are kept."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, bool]] = []

    def add(self, key: str, at: int, *, unmet: bool = False) -> None:
        """Look at a job at this time (ms); `unmet` says that the last look found no worker for it."""
        heappush(self._heap, (at, key, unmet))

    def due(self, now: int) -> list[tuple[str, bool]]:
        """Take out the jobs to look at now, each with its `unmet`."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            _, key, unmet = heappop(self._heap)
            due.append((key, unmet))
        return due
