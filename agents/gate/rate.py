"""How many submissions of one sender may go on: the rest waits in its topic, and nobody else waits for it."""

import threading
import time
from collections.abc import Callable

#: Seconds of its rate that a sender may use at once after it was quiet.
_BURST = 10.0


class Rate:
    """An allowance that grows by `per_second`, up to a burst; safe to use from several threads."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second * _BURST)
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at = self._most, clock()

    @property
    def allowance(self) -> int:
        """How many may go on now."""
        with self._lock:
            self._grow()
            return max(0, int(self._left))

    def count(self, number: int) -> None:
        """Say that so many went on; more than were allowed are taken off what comes."""
        with self._lock:
            self._grow()
            self._left -= number

    def _grow(self) -> None:
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
