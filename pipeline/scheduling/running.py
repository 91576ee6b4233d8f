"""Grants that were seen: statuses don't say which queue an attempt came from."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

#: Grants of ended attempts that may be kept beside as many as run.
_SLACK = 1000


class Granted(NamedTuple):
    """Which queue an attempt came from, and which worker it went to."""

    queue: str
    worker_id: str


class Running:
    """Granted attempts by run key; those that are no longer live are dropped when there are too many."""

    def __init__(self) -> None:
        self._granted: dict[str, Granted] = {}
        self._limit = _SLACK

    def add(self, key: str, granted: Granted, live: Callable[[], Iterable[str]]) -> None:
        """Remember a grant; `live` gives all attempts that are held or on their way, when room is needed."""
        self._granted[key] = granted
        if len(self._granted) > self._limit:
            known = self._granted
            self._granted = {key: known[key] for key in live() if key in known}
            self._limit = 2 * len(self._granted) + _SLACK

    def pop(self, key: str) -> Granted | None:
        """Take out the grant of an attempt that is over, None where it was not seen."""
        return self._granted.pop(key, None)

    def count(self, live: Iterable[str]) -> Counter[str]:
        """Return how many of the live attempts came from each queue, as far as their grants were seen."""
        return Counter(self._granted[key].queue for key in live if key in self._granted)
