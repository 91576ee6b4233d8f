"""The orchestrator's Faust app: which partitions it owns, and the loop that applies their records."""

import asyncio
import contextlib
import os
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import faust
import structlog

from agents.bus import Publisher
from agents.faust_worker import app_folder, die, faust_app
from agents.held_event import acknowledge
from agents.orchestrator import backing
from agents.orchestrator.backing import LostTablesError
from agents.orchestrator.guard import StallGuard
from agents.orchestrator.inbox_identity import Bounds, WrongInboxError, check, inbox_bounds, inbox_id
from agents.orchestrator.merging_table import MergingTable
from agents.orchestrator.outputs import Outputs, RefusedError
from agents.orchestrator.partition import Partition, Record
from agents.orchestrator.policy import policy_of
from agents.orchestrator.row import Backing
from agents.orchestrator.tables import LedgerTables
from agents.orchestrator.ticker import tick
from pipeline.codec import Codec
from pipeline.crash_points import here
from pipeline.messages.inbox import Inbox, PolicySet
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

#: Records that are applied together at most: their deliveries are awaited once.
_BATCH = 100
#: Small buffers: there is a database for each table and partition, and a family is small.
_ROCKSDB = {
    "write_buffer_size": 2 * 1024 * 1024,
    "max_write_buffer_number": 2,
    "block_cache_size": 2 * 1024 * 1024,
    "max_open_files": 64,
    # bits a key: whether a key is new must not cost a look into each file
    "bloom_filter_size": 10,
}
#: Seconds between two commits: what the gate's pace sees of the ledger's.
_COMMIT_INTERVAL = 0.1


class Orchestrator:
    """Owns inbox partitions through Faust and applies their records with `pipeline.ledger`."""

    def __init__(self, settings: Settings, codec: Codec, publisher: Publisher) -> None:
        self.settings = settings
        self._topology = settings.topology
        self._codec = codec
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns() // 1_000_000}"
        self._outputs = Outputs(publisher, codec, self._topology, settings.key(), sealing=settings.security.sealing)
        self._guard = StallGuard(settings.ledger.session_ms)
        self._watched = False
        self._announced = False
        #: Counts assignments and their ends: a start of owning that was overtaken by another goes no further.
        self._turn = 0
        self._owned: dict[int, Partition] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        #: The offset after the last record that this process applied, by partition: its commit may be under way.
        self._reached: dict[int, int] = {}
        self._inbox_id = inbox_id(settings)
        self._changelogs = backing.changelog_ids(settings)
        rocksdb = settings.ledger.store == "rocksdb"
        if rocksdb:
            backing.fit_local_store(app_folder(settings, self._topology.ledger_id), self._changelogs)
        self.app = faust_app(
            settings,
            self._topology.ledger_id,
            session_ms=settings.ledger.session_ms,
            instance=settings.ledger.instance,
            broker_commit_interval=_COMMIT_INTERVAL,
            Table=MergingTable,
            table_standby_replicas=settings.ledger.standbys,
            store="rocksdb://?driver=rocksdict" if rocksdb else "memory://",
        )
        options = {"options": _ROCKSDB} if rocksdb else {}
        self._tables = LedgerTables(self.app, self._topology, **options)
        self._wire()

    def _wire(self) -> None:
        app = self.app
        inbox = app.topic(self._topology.inbox.name, key_type=bytes, value_type=bytes)
        app.agent(inbox, name="ledger", isolated_partitions=True, concurrency=1)(self._ledger)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        app.on_rebalance_complete.connect(self._on_recovered, weak=False)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)

    async def _ledger(self, stream: faust.StreamT[bytes]) -> None:
        async for events in _batches(stream):
            number = events[0].message.partition
            async with self._locks[number]:
                partition = self._owned.get(number)
                if partition is None:
                    # lost since they were fetched: the new owner reads them again
                    continue
                self._guard.check()
                here("ledger.taken")
                await partition.apply([_record(event) for event in events])
                self._reached[number] = partition.reached or 0
                self._guard.check()
                here("ledger.applied")
                for event in events:
                    await acknowledge(stream, event)
                    here("ledger.one-acknowledged")
                here("ledger.acknowledged")

    async def _on_assigned(self, _sender: Any, *_: Any, **__: Any) -> None:
        """Watch the loop from the first assignment on.

        An app's own tasks begin after the tables' recovery, and may do so after the first message: a recovery that took
        longer than half the session would be taken for a standstill, at each start anew.
        """
        if not self._watched:
            self._watched = True
            self._guard.begin()
            self.app.add_future(self._guard.run())

    async def _on_revoked(self, _sender: Any, revoked: Any = None, **_: Any) -> None:
        self._turn += 1
        self._owned.clear()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def _on_recovered(self, _sender: Any, **_: Any) -> None:
        await self._on_revoked(None)
        turn = self._turn
        name = self._topology.inbox.name
        numbers = sorted(tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic == name)
        bounds = await asyncio.to_thread(inbox_bounds, self.settings)
        ids = await asyncio.to_thread(backing.changelog_ids, self.settings)
        for number in numbers:
            # a batch that is still under way over a rebalance is in the tables before they are read
            async with self._locks[number]:
                if self._turn != turn:
                    return
                here("ledger.recovering")
                begins = max(bounds[number].begins, self._reached.get(number, 0))
                partition = Partition(number, self._tables, self._outputs, self._codec, self._guard.check, begins)
                await partition.recover()
                if self._turn != turn:
                    # lost meanwhile: whoever begins after this one recovers anew
                    return
                here("ledger.recovered")
                self._verify(partition, bounds[number], ids)
                await self._mark(number, ids)
                await self._announce_policy(number)
                here("ledger.owning")
                if self._turn != turn:
                    return
                self._owned[number] = partition
            self._tasks.append(asyncio.create_task(self._tick(partition)))
        await self._announce_protocol()
        log.info("owns partitions", partitions=numbers, jobs=sum(p.clock.unfinished for p in self._owned.values()))

    def _verify(self, partition: Partition, bounds: Bounds, ids: dict[str, str]) -> None:
        number, stored = partition.number, self._tables.policy(partition.number)
        known = self._tables.backing(number)
        try:
            if ids != self._changelogs:
                raise LostTablesError("a changelog was made anew while this process started; start it again")
            backing.check(number, known, ids, empty=stored is None, decided=bounds.committed or 0)
            check(number, stored[0] if stored else None, self._inbox_id, partition.highest, bounds.end)
        except (WrongInboxError, LostTablesError) as error:
            die(f"refusing to start: {error}")
        if bounds.committed is not None and bounds.committed < bounds.first:
            log.error(
                "the inbox has lost records that were never decided",
                partition=number,
                decided=bounds.committed,
                begins=bounds.first,
            )

    async def _mark(self, number: int, ids: dict[str, str]) -> None:
        """Have the tables say what they stand on, so that a changelog that is made anew is noticed."""
        if self._tables.backing(number) is None:
            row = self._tables.backing_row(number, Backing(ids))
            row.write()
            await self._outputs.back([row])

    async def _announce_policy(self, number: int) -> None:
        wanted = policy_of(self.settings)
        stored = self._tables.policy(number)
        if stored is None or stored[1] != wanted:
            message = Inbox("", PolicySet(self._inbox_id, wanted.json()))
            await self._outputs.publish([self._outputs.inbox(message, number)], number)

    async def _announce_protocol(self) -> None:
        if self._announced:
            return
        try:
            await self._outputs.publish([self._outputs.announcement()], 0)
            self._announced = True
        except RefusedError as error:
            # commands say it too
            log.warning("workers are not told which protocol is spoken here", error=str(error))

    async def _tick(self, partition: Partition) -> None:
        try:
            await tick(partition, self._outputs, self._owner)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            die("a tick could not be produced", error)


async def _batches(stream: faust.StreamT[bytes]) -> AsyncIterator[list[faust.EventT[bytes]]]:
    """Yield what has arrived, without waiting for more than the first event."""
    queue = stream.channel.queue
    async with contextlib.aclosing(stream.noack().events()) as events:
        async for event in events:
            batch = [event]
            while len(batch) < _BATCH and not queue.empty():
                following = await anext(events, None)
                if following is None:
                    # stopped meanwhile: nothing of this is applied or acknowledged, and all is read again
                    return
                batch.append(following)
            yield batch


def _record(event: faust.EventT[bytes]) -> Record:
    message = event.message
    return Record(message.offset, round(message.timestamp * 1000), message.key, message.value)
