"""When a run is told to end: limits, requested stops, and the way from SIGTERM to SIGKILL.

`Deadlines` is pure (time is an argument); `supervise` applies it to a run.
"""

import asyncio
import math
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from pipeline.containers.outcome import Exit, TimedOut
from pipeline.containers.stop import Level, Stop

#: Seconds between repeated SIGKILLs, and after which a run that doesn't end is given up.
KILL_AGAIN, GIVE_UP = 5.0, 60.0


class Act(IntEnum):
    """What to do to a run now."""

    NOTHING = 0
    TERMINATE = 1
    KILL = 2
    GIVE_UP = 3


class Controllable(Protocol):
    """What supervision needs of a run."""

    async def wait(self) -> Exit:
        """Return once it ended."""

    async def terminate(self) -> None:
        """Send SIGTERM to all of it."""

    async def kill(self) -> None:
        """Send SIGKILL to all of it."""


@dataclass(slots=True)
class Deadlines:
    """The limits of one run, all times in seconds on one monotonic clock; inf where there is none."""

    soft: float
    hard: float
    grace: float
    timed_out: TimedOut | None = None
    stopped: bool = False
    _kill_at: float = math.inf
    _give_up_at: float = math.inf
    _softened: bool = field(default=False)

    @classmethod
    def of(cls, start: float, soft: float | None, hard: float | None, grace: float) -> "Deadlines":
        """Build them for a run that began at `start`."""
        return cls(
            soft=math.inf if soft is None else start + soft,
            hard=math.inf if hard is None else start + hard,
            grace=grace,
        )

    def look(self, now: float, asked: Level) -> Act:
        """Say what is due now; the answer counts as done."""
        terminate = self._heed(now, asked) | self._check_limits(now)
        if now >= self._give_up_at:
            return Act.GIVE_UP
        if now >= self._kill_at:
            self._kill_at = now + KILL_AGAIN
            self._give_up_at = min(self._give_up_at, now + GIVE_UP)
            return Act.KILL
        return Act.TERMINATE if terminate else Act.NOTHING

    def next(self) -> float:
        """Return when `look` may have something new to say, if nothing is asked for before; inf if never."""
        soft = math.inf if self._softened else self.soft
        hard = math.inf if self.timed_out == "hard" else self.hard
        return min(soft, hard, self._kill_at, self._give_up_at)

    def _heed(self, now: float, asked: Level) -> bool:
        if asked == Level.KILL and self._give_up_at == math.inf:
            self._kill_at = min(self._kill_at, now)
        if asked == Level.NONE or self.stopped:
            return False
        self.stopped = True
        self._kill_at = min(self._kill_at, now + self.grace)
        return True

    def _check_limits(self, now: float) -> bool:
        if now >= self.hard and self.timed_out != "hard":
            self.timed_out = "hard"
            self._kill_at = min(self._kill_at, now)
        if now < self.soft or self._softened:
            return False
        self._softened = True
        self.timed_out = self.timed_out or "soft"
        if self.hard == math.inf:
            self._kill_at = min(self._kill_at, now + self.grace)
        return True


async def supervise(run: Controllable, deadlines: Deadlines, stop: Stop) -> Exit | None:
    """Return the run's exit, or None if it did not end for `GIVE_UP` seconds after a SIGKILL.

    A signal that can't be sent (the engine doesn't answer) is not an error here: SIGKILL is repeated.
    """
    exit_ = asyncio.ensure_future(run.wait())
    try:
        while not exit_.done():
            seen = stop.level
            act = deadlines.look(time.monotonic(), seen)
            if act is Act.GIVE_UP:
                return None
            await _apply(run, act)
            escalation = asyncio.ensure_future(stop.beyond(seen))
            pause = deadlines.next() - time.monotonic()
            timeout = None if pause == math.inf else max(pause, 0.0)
            await asyncio.wait({exit_, escalation}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            escalation.cancel()
        return exit_.result()
    finally:
        exit_.cancel()


async def _apply(run: Controllable, act: Act) -> None:
    if act is Act.NOTHING:
        return
    try:
        await (run.terminate() if act is Act.TERMINATE else run.kill())
    except Exception:
        return
