"""How many submissions may go on: so few that reports don't wait long behind them, enough to keep the ledger busy."""

from collections import deque
from collections.abc import Mapping

#: Messages a partition that may always lie there, however slow the ledger seems: it may just have had nothing to do.
_FLOOR = 64
#: Seconds over which the ledger's rate is taken.
_WINDOW = 2.0


class Pace:
    """What the looks at the inbox come to; pure, times are seconds of any one clock.

    `limit` is in messages a partition, `delay` in seconds of the ledger's work: the smaller of the two counts. A look
    sees what was committed, so `delay` must be longer than looks and commits are apart, or the rate would fall with
    each look.
    """

    def __init__(self, limit: int, delay: float) -> None:
        self._limit = limit
        self._delay = delay
        self._seen: deque[tuple[float, int]] = deque()
        self._partitions = 1
        self._room = 0.0
        self.idle = False

    def look(self, now: float, committed: Mapping[int, int], ends: Mapping[int, int]) -> None:
        """Take what the broker said: by partition, the offsets that the ledger committed, and the log's ends."""
        self._partitions = max(1, len(ends))
        worst = max((end - committed.get(number, 0) for number, end in ends.items()), default=0)
        self.idle = worst == 0
        self._room = self._allowed(now, sum(committed.values())) - worst

    def allowance(self, forwarded: int) -> int:
        """Return how many messages may still go on after `forwarded` since the last look; nothing before the first."""
        return max(0, int(self._room * self._partitions) - forwarded)

    def _allowed(self, now: float, applied: int) -> float:
        """Return how many messages may lie in a partition."""
        if self._seen and applied < self._seen[-1][1]:
            # the topic was made anew
            self._seen.clear()
        self._seen.append((now, applied))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (applied - before) / (now - began) / self._partitions if now > began else 0.0
        return min(self._limit, max(_FLOOR, rate * self._delay))
