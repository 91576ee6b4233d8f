"""A Faust app's recovery: tables read in bulk, and then an end in an order that loses nothing.

The tables of what this process owns are read up to their changelogs' ends before the streams go on; those that it is a
standby for are read on and on, beside the loop, until the next rebalance (decision 025).

Faust 0.15.3 lets the stream's partitions deliver, seeks them to what is committed, and then empties the streams'
queues: what arrives between the seek and the emptying is never read again, and what comes behind it is committed over
it (related: faust-streaming issues 216 and 221). On a busy machine that takes half a second after each start and
rebalance. And a fetch that is under way looks at the very set of partitions that Faust pauses and resumes: once that is
empty it brings records of any partition, which Faust drops, as they come from one that is paused.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import structlog
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsistencyError
from faust.tables.manager import TableManager
from faust.tables.recovery import E_PERSISTED_OFFSET, RebalanceAgain, Recovery, ServiceStopped
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from mode import Service

from agents.changelog_reader import Change, ChangelogReader
from pipeline.topic import TOMBSTONES_MS

log = structlog.stdlib.get_logger(__name__)


def set_back(before: Mapping[TP, int | None], after: Mapping[TP, int | None]) -> dict[TP, int]:
    """Return where to read from, of those partitions that reading must not begin with what is committed now.

    `before` was committed before the changelogs' ends were asked for, so that what lies before it is in the tables:
    nothing is acknowledged earlier than that. What was committed since is perhaps not: an owner that stood still for a
    session recovers what it no longer owns, and is then told its successor's position. Reading more again is harmless.
    """
    return {tp: offset or 0 for tp, offset in before.items() if after.get(tp) != offset}


class SteadyConsumer(Consumer):  # type: ignore[misc]  # Faust is untyped here
    """Fetches from the partitions that were active when the fetch began, and from no others."""

    #: What the last seek went to.
    sought: Mapping[TP, int | None]

    async def committed_of(self, partitions: Iterable[TP]) -> dict[TP, int | None]:
        """Return what is committed of each partition, as the broker has it now; None where nothing is."""
        return dict(await self._thread.call_thread(self._committed_of, list(partitions)))

    async def _committed_of(self, partitions: list[TP]) -> dict[TP, int | None]:
        client = self._thread._ensure_consumer()
        return {tp: await client.committed(tp) for tp in partitions}

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek, and remember where to."""
        found = await super().seek_to_committed()
        self.sought = {TP(tp.topic, tp.partition): offset for tp, offset in found.items()}
        return self.sought

    async def _getmany(self, active_partitions: AbstractSet[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 (Faust's)
        wanted = None if active_partitions is None else frozenset(active_partitions)
        return await super()._getmany(wanted, timeout)


class OrderedRecovery(Recovery):  # type: ignore[misc]  # Faust is untyped here
    """Reads tables in bulk; seeks while the stream is paused, which goes on once the queues have been emptied."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reader: ChangelogReader | None = None
        self._reading: asyncio.Future[Any] | None = None
        self._is_halted = False
        #: What was committed of the streams' partitions before the changelogs' ends were asked for.
        self._before: Mapping[TP, int | None] = {}

    async def halt(self) -> None:
        """End the reading; when this returns none touches the tables any more, until the next recovery begins."""
        self._halt()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Have the reading end: a rebalance begins."""
        self._halt()
        super().on_partitions_revoked(revoked)

    def _halt(self) -> None:
        self._is_halted = True
        if self._reader is not None:
            self._reader.halt()

    async def on_stop(self) -> None:
        """End the reading with the service."""
        await self.halt()
        await super().on_stop()

    @Service.task  # type: ignore[untyped-decorator]
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):
                break
            self.signal_recovery_start.clear()
            self._is_halted = False
            try:
                await self._recover(self._generation_id)
            except (RebalanceAgain, IllegalStateError):
                continue
            except ServiceStopped:
                break

    @Service.task  # type: ignore[untyped-decorator]
    async def _slurp_changelogs(self) -> None:
        """Take nothing: the changelogs stay paused for the app's own consumer."""

    @Service.task  # type: ignore[untyped-decorator]
    async def _publish_stats(self) -> None:
        """Say nothing: the reader does."""

    async def _recover(self, generation_id: int) -> None:
        if not self.tables:
            await self._resume_streams(generation_id)
            return
        self._set_recovery_started()
        begun = time.monotonic()
        # as the reading does, this waits for a broker that is away
        await self._wait(self._note_committed())
        read = await self._read(set(self.active_tps), self.active_offsets)
        if read is None:
            raise RebalanceAgain
        log.info("read the changelogs", records=read, seconds=round(time.monotonic() - begun, 1))
        await self.on_recovery_completed(generation_id)
        await self._follow(set(self.standby_tps), self.standby_offsets)

    async def _wait(self, coro: Any, timeout: float | None = None) -> None:  # noqa: ASYNC109 (Faust's)
        """Wait for it; raises RebalanceAgain, ServiceStopped, or TimeoutError, which ends the process.

        Faust takes one for the other: after a time-out the recovery would end as if the service was stopped, and the
        process would keep its partitions and do nothing.
        """
        try:
            await super()._wait(coro, timeout=timeout)
        except ServiceStopped:
            if self.should_stop or self.crashed:
                raise
            raise TimeoutError(f"the broker has not answered for {timeout} s") from None

    async def _note_committed(self) -> None:
        consumer = self.app.consumer
        streams = [tp for tp in consumer.assignment() if not self._is_changelog_tp(tp)]
        self._before = await consumer.committed_of(streams)

    async def _read(self, places: set[TP], offsets: dict[TP, int]) -> int | None:
        """Bring the tables of these partitions up to date; return how many records that took, None if broken off."""
        reader = self._begin_reading()
        spans = await self._in_thread(self._spans, reader, places, offsets)
        if not await self._in_thread(reader.read, spans):
            return None
        for tp, (_, end) in spans.items():
            # one by one: a Counter's update adds
            offsets[tp] = end - 1
        return reader.count

    async def _follow(self, places: set[TP], offsets: dict[TP, int]) -> None:
        """Keep the tables of these partitions up to date until halted."""
        if not places:
            return
        reader = self._begin_reading()
        spans = await self._in_thread(self._spans, reader, places, offsets)
        if not await self._in_thread(reader.read, spans):
            raise RebalanceAgain
        log.info("stands by", partitions=sorted({tp.partition for tp in places}), records=reader.count)
        await self._in_thread(reader.follow, {tp: max(begin, end) for tp, (begin, end) in spans.items()})

    def _begin_reading(self) -> ChangelogReader:
        if self._is_halted:
            raise RebalanceAgain
        self._reader = ChangelogReader(self.app.settings, self._take_over)
        return self._reader

    async def _in_thread(self, work: Any, *args: Any) -> Any:
        """Return what the work returns; raises RebalanceAgain or ServiceStopped where it was not to end in peace."""
        self._reading = asyncio.ensure_future(asyncio.to_thread(work, *args))
        await self._wait(asyncio.shield(self._reading))
        return self._reading.result()

    def _spans(self, reader: ChangelogReader, places: set[TP], offsets: dict[TP, int]) -> dict[TP, tuple[int, int]]:
        """Return what is to be read of each; raises ConsistencyError where the tables have more than the changelog."""
        bounds = reader.bounds(places)
        for tp, (_, end) in bounds.items():
            have = offsets.get(tp)
            if have is not None and have >= end:
                raise ConsistencyError(E_PERSISTED_OFFSET.format(tp, have, end - 1))
        known = {tp: -1 if (have := offsets.get(tp)) is None else have for tp in bounds}
        for tp in self._too_old(reader, bounds, known):
            log.warning("a table is too old to be believed, and is read from the start", table=str(tp))
            self.tp_to_table[tp].empty(tp.partition)
            known[tp] = -1
        return {tp: (max(begin, known[tp] + 1), end) for tp, (begin, end) in bounds.items()}

    @staticmethod
    def _too_old(reader: ChangelogReader, bounds: dict[TP, tuple[int, int]], known: dict[TP, int]) -> list[TP]:
        """Return whose tables were away for longer than tombstones are kept: they may hold what was deleted meanwhile.

        An unfinished job among it would run again. What compaction took away makes a table look older than it is: that
        costs a reading from the start, and nothing else.
        """
        behind = {tp for tp, (_, end) in bounds.items() if 0 <= known[tp] < end - 1}
        since = reader.first_since(behind, time.time_ns() // 1_000_000 - TOMBSTONES_MS // 2)
        return [tp for tp, first in since.items() if known[tp] + 1 < first]

    def _take_over(self, tp: TP, changes: list[Change]) -> None:
        self.tp_to_table[tp].take_over(tp, changes)

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
            for tp, offset in set_back(self._before, consumer.sought).items():
                log.warning("committed by somebody else meanwhile", partition=str(tp), read_from=offset)
                await self._wait(consumer.seek(tp, offset), timeout=app.conf.broker_request_timeout)
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
    """A table manager whose recovery reads and ends like that."""

    _recovery: Any

    async def on_start(self) -> None:
        """Begin at once: Faust waits a second for tables that are declared late, and ours are before it starts."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()

    async def on_rebalance(self, *args: Any, **kwargs: Any) -> None:
        """Open and close tables only when nothing reads into them."""
        await self.recovery.halt()
        await super().on_rebalance(*args, **kwargs)

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made when it is first asked for."""
        if self._recovery is None:
            self._recovery = OrderedRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
