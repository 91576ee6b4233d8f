"""How long a worker's runs took, by job type: what says when a slot will probably be free."""

from collections import OrderedDict, deque

#: Runs of a type that are remembered, those needed to expect anything, and types that are remembered.
_RUNS, _ENOUGH, _TYPES = 8, 3, 256


class Durations:
    """The last runs of each job type on this worker (ms)."""

    def __init__(self, longest_ms: int) -> None:
        """Of types that take longer than `longest_ms` nothing is expected: there is nothing to gain."""
        self._longest = longest_ms
        self._types: OrderedDict[str, deque[int]] = OrderedDict()

    def ran(self, job_type: str, duration_ms: int) -> None:
        """Note a run."""
        runs = self._types.setdefault(job_type, deque(maxlen=_RUNS))
        runs.append(duration_ms)
        self._types.move_to_end(job_type)
        while len(self._types) > _TYPES:
            self._types.popitem(last=False)

    def expected(self, job_type: str) -> int | None:
        """Return how long the next run takes at most, as far as the last ones tell; None where they don't."""
        runs = self._types.get(job_type, ())
        longest = max(runs, default=0)
        return longest if len(runs) >= _ENOUGH and longest <= self._longest else None
