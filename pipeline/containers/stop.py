"""A request to end a run, which can only grow more urgent."""

import asyncio
from enum import IntEnum


class Level(IntEnum):
    """How urgently."""

    #: Go on.
    NONE = 0
    #: SIGTERM, and SIGKILL after the grace.
    TERM = 1
    #: SIGKILL now.
    KILL = 2


class Stop:
    """Shared by who may ask for the end of a run and the engine that runs it; for one event loop."""

    def __init__(self) -> None:
        self.level = Level.NONE
        self.reason = ""
        self._changed = asyncio.Event()

    def request(self, level: Level = Level.TERM, reason: str = "") -> None:
        """Ask for the end; a level below the one already asked for changes nothing. The first reason stays."""
        if level <= self.level:
            return
        self.reason = self.reason or reason
        self.level = level
        self._changed.set()
        self._changed = asyncio.Event()

    async def beyond(self, level: Level) -> Level:
        """Wait until more than this level is asked for, and return what is."""
        while self.level <= level:
            await self._changed.wait()
        return self.level
