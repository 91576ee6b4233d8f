"""The broker's time as far as a worker can know it: from the stamps that its own records were given."""

from collections import deque

#: Records that the estimate rests on: enough for one quick delivery among them, few enough to follow a clock that
#: was put right.
_OBSERVATIONS = 8


class BrokerClock:
    """Tells the age of a record by the broker's stamps and the local monotonic clock, never by the time of day.

    A record that was sent at `sent` and stamped `stamp` says that the broker's clock is at most `stamp - sent` ahead:
    so ages are never told too small by more than the clocks' drift, and too large by one delivery at most.
    """

    def __init__(self) -> None:
        self._ahead: deque[int] = deque(maxlen=_OBSERVATIONS)

    def observe(self, sent: int, stamp: int) -> None:
        """Learn from an own record that was sent at `sent` (local ms); a stamp below 0 tells nothing."""
        if stamp >= 0:
            self._ahead.append(stamp - sent)

    def age(self, stamp: int, now: int) -> int | None:
        """Return how old (ms) a record with this stamp is at most; None before the first observation."""
        if not self._ahead or stamp < 0:
            return None
        return max(0, now + min(self._ahead) - stamp)
