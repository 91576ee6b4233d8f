"""The end of a Faust app's recovery, in an order that loses nothing.

Faust 0.15.3 lets the stream's partitions deliver, seeks them to what is committed, and then empties the streams'
queues: what arrives between the seek and the emptying is never read again, and what comes behind it is committed over
it (related: faust-streaming issues 216 and 221). On a busy machine that takes half a second after each start and
rebalance. And a fetch that is under way looks at the very set of partitions that Faust pauses and resumes: once that is
empty it brings records of any partition, which Faust drops, as they come from one that is paused.
"""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any

import structlog
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

log = structlog.stdlib.get_logger(__name__)


class SteadyConsumer(Consumer):  # type: ignore[misc]  # Faust is untyped here
    """Fetches from the partitions that were active when the fetch began, and from no others."""

    async def _getmany(self, active_partitions: AbstractSet[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 (Faust's)
        wanted = None if active_partitions is None else frozenset(active_partitions)
        return await super()._getmany(wanted, timeout)


class OrderedRecovery(Recovery):  # type: ignore[misc]  # Faust is untyped here
    """Seeks while the stream's partitions are paused; they deliver once the queues have been emptied."""

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Let the streams go on: the tables are complete."""
        await self.app.on_rebalance_complete.send()
        self._set_recovery_ended()
        ended = [
            asyncio.ensure_future(
                table.on_recovery_completed(self.actives_for_table[table], self.standbys_for_table[table])
            )
            for table in self.tables.values()
        ]
        if ended:
            await asyncio.wait(ended)
        await self._go_on(generation_id)

    async def _resume_streams(self, generation_id: int = 0) -> None:
        """Let the streams go on: there are no tables to recover."""
        await self.app.on_rebalance_complete.send()
        await self._go_on(generation_id)

    async def _go_on(self, generation_id: int) -> None:
        app, consumer = self.app, self.app.consumer
        if app.consumer_generation_id != generation_id:
            log.warning("another rebalance came before this one's end")
            return
        assignment = consumer.assignment()
        if assignment:
            await self._wait(consumer.perform_seek(), timeout=app.conf.broker_request_timeout)
        self.completed.set()
        # from here to the fetcher nothing else may run: see above
        app.flow_control.resume()
        consumer.resume_partitions({tp for tp in assignment if not self._is_changelog_tp(tp)})
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        if not app.assignor.assigned_standbys():
            self.tables.on_standbys_ready()
        app.on_rebalance_end()


class OrderedTableManager(TableManager):  # type: ignore[misc]  # Faust is untyped here
    """A table manager whose recovery ends in that order."""

    _recovery: Any

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made when it is first asked for."""
        if self._recovery is None:
            self._recovery = OrderedRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
