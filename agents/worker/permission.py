"""Asks the ledger whether an attempt may make its products visible (design §4, publishing)."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from agents.worker.rack import Rack, UnderWay
from agents.worker.reporting import Reporter
from pipeline.containers.stop import Level
from pipeline.crash_points import here
from pipeline.messages.report import PUBLISH

log = logging.getLogger(__name__)

#: Seconds until an unanswered question is asked again: the first time, and at most.
ASK_AGAIN, ASK_AGAIN_MOST = 3.0, 30.0
#: Seconds after which the attempt gives up: longer than any outage that leases outlive should last.
GIVE_UP = 3600.0


class Permission:
    """The question of one attempt."""

    def __init__(
        self,
        reporter: Reporter,
        rack: Rack,
        under_way: UnderWay,
        after: Callable[[], Awaitable[bool]],
        ask_again: float = ASK_AGAIN,
        give_up: float = GIVE_UP,
    ) -> None:
        self._ask_again = ask_again
        self._give_up = give_up
        self._reporter = reporter
        self._rack = rack
        self._under_way = under_way
        self._after = after

    async def ask(self) -> bool:
        """Return True once the ledger permits it; False if the attempt is to stop, or nobody answers for GIVE_UP s."""
        asking = asyncio.ensure_future(self._until_permitted())
        stopped = asyncio.ensure_future(self._under_way.stop.beyond(Level.NONE))
        try:
            await asyncio.wait({asking, stopped}, timeout=self._give_up, return_when=asyncio.FIRST_COMPLETED)
            return asking.done() and asking.result() and not stopped.done()
        finally:
            asking.cancel()
            stopped.cancel()

    async def _until_permitted(self) -> bool:
        pause = self._ask_again
        if not await self._after():
            return False
        here("worker.permission-due")
        while await self._reporter.deliver(
            self._under_way.report(PUBLISH), lambda: self._rack.is_ours(self._under_way)
        ):
            here("worker.permission-asked")
            asked = time.monotonic()
            try:
                async with asyncio.timeout(pause):
                    await self._under_way.permitted.wait()
                return True
            except TimeoutError:
                waited = time.monotonic() - asked
                log.info("job %s, attempt %d: no answer on publishing for %.0f s", *self._under_way.key, waited)
                pause = min(2 * pause, ASK_AGAIN_MOST)
        return False
