"""An actor: one loop under a supervisor that starts it again should it fail."""

import time
from abc import abstractmethod

from mode import Service


class Actor(Service):  # type: ignore[misc]
    """A mode service with one coroutine; an exception that escapes it is a crash, which the supervisor sees."""

    #: mode logs each start and stop at this level.
    mundane_level = "debug"

    @abstractmethod
    async def act(self) -> None:
        """Do the actor's work until it is stopped (by cancellation); called again after a crash."""

    @Service.task  # type: ignore[untyped-decorator]
    async def _main(self) -> None:
        await self.act()


def now_ms() -> int:
    """Return ms of a clock that never jumps and goes on while the machine sleeps, as leases do."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
