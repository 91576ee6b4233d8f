"""The brokers' time, as far as the records that were read tell it."""

import time
from collections.abc import Callable


class LogClock:
    """Steady, and never ahead of the newest LogAppendTime plus what passed since: no local clock is believed."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: int | None = None

    def saw(self, stamp: int) -> None:
        """Take a record's LogAppendTime (ms)."""
        ahead = stamp - self._steady()
        if stamp > 0 and (self._ahead is None or ahead > self._ahead):
            self._ahead = ahead

    def now(self) -> int | None:
        """Return ms since the epoch, None before any record was read."""
        return None if self._ahead is None else self._steady() + self._ahead

    def _steady(self) -> int:
        return int(self._monotonic() * 1000)
