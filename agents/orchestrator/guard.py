"""Ends a process that stood still: its partitions may have another owner by now (design §4)."""

import asyncio
import time

from agents.faust_worker import die

_BEAT = 0.25


class StallGuard:
    """Watches the event loop from `begin` on; `check` comes before every side effect.

    A process that was paused (SIGSTOP, a frozen machine) for longer than half its session time-out must not act on
    what it still has in memory. Both the loop's beat and `check` look: whichever runs first after the pause ends it.
    """

    def __init__(self, session_ms: int) -> None:
        self._limit = session_ms / 2000
        self._last = 0.0
        self.begin()

    def begin(self) -> None:
        """Count from now on: what went before was no standstill."""
        self._last = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(_BEAT)
            self.check()
            self._last = time.monotonic()

    def check(self) -> None:
        """End the process with exit code 1 where the loop stood still for too long."""
        gap = time.monotonic() - self._last
        if gap > self._limit:
            die("the event loop stood still for longer than half the session", seconds=round(gap, 1))
