"""An orchestrator's process: the real Partition, Outputs, tables, ticker and inbox check, as its Faust app drives them.

What is modelled is Faust itself: assignments, recovery from the changelog, standbys, fetching, commits.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random

from faust.types import TP

from agents import faust_recovery
from agents.bus import Outcome
from agents.orchestrator.inbox_identity import check
from agents.orchestrator.outputs import Outputs
from agents.orchestrator.partition import LostRecordsError, Partition, Record
from agents.orchestrator.ticker import tick
from pipeline.codec import Codec
from pipeline.ledger.policy import Policy
from pipeline.messages.inbox import Inbox, PolicySet
from pipeline.topology import TABLES, Topology
from tests.simulation.bus import Bus, Entry, Producer
from tests.simulation.group import Group
from tests.simulation.loop import SimLoop
from tests.simulation.oracle import ViolationError
from tests.simulation.stores import Disk
from tests.simulation.timeline import Actor, Timeline
from tests.simulation.watch import Watch

BATCH = 100


class CrashError(BaseException):
    """The process dies here: nothing catches it."""


class Owner(Actor):
    """One process; its disk outlives it, unless its store is in memory."""

    def __init__(
        self, name: str, timeline: Timeline, random: Random, bus: Bus, watch: Watch, codec: Codec, topology: Topology,
        policy: Policy, key: bytes,
    ) -> None:  # fmt: skip
        super().__init__(name, timeline, random)
        self.bus = bus
        self.watch = watch
        self.topology = topology
        self.policy = policy
        self.disk = Disk()
        self.in_memory = False
        self.applied = 0
        self.group: Group
        self.committed: list[int] = []
        #: side effects until it dies; below zero: it doesn't
        self.fuse = -1
        #: changelog records until it stands still with them in hand, and for how long
        self.stall, self.stall_ms = -1, 0
        self.stalls = lambda: None
        #: the kind of topic, or the key, of which it hears a delivery, and what befalls it then
        self.waits_for = ""
        self.befalls: Callable[[], None] = lambda: None
        #: it dies as soon as it has read that an older owner set a row back, before it can write that again
        self.dies_finding = False
        #: ms by which its own clock is off
        self.skew = 0
        #: the next fetch loses a record, as Faust once did
        self.loses = False
        self.problems: list[str] = []
        self._codec = codec
        self._key = key
        self._snapshot = None
        bus.readers.setdefault(topology.inbox.name, []).append(self._arrived)
        for table, changelog in zip(TABLES, topology.changelogs(), strict=True):
            bus.readers.setdefault(changelog.name, []).append(
                lambda partition, entry, table=table: self._changelogged(table, partition, entry)
            )

    def start(self) -> None:
        self.begin_life()
        self.fuse = self.stall = -1
        self.waits_for = ""
        if self.in_memory:
            self.disk.wipe()
        self.disk.watch(self._effect)
        self.tables, self.opened = self.disk.tables(self.topology)
        self.producer = Producer(self.bus, self.random)
        self.loop = SimLoop(self)
        self.loop.failed = self._failed
        outer = self

        class Counting:
            def produce(self, topic, key, value, partition, delivered, headers=()):  # type: ignore[no-untyped-def]
                outer._effect()
                if topic.name.endswith("-changelog"):
                    outer._stand_still()
                heard = outer._met(f"{topic.name} {key!r}", delivered)
                outer.producer.produce(topic, key, value, partition, heard, headers)

        self.outputs = Outputs(
            Counting(), self._codec, self.topology, self._key, sealing=self.policy.sealing,  # type: ignore[arg-type]
        )  # fmt: skip
        self.locks = [asyncio.Lock() for _ in range(self.topology.inbox_partitions)]
        self.owned: dict[int, Partition] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.news = [asyncio.Event() for _ in range(self.topology.inbox_partitions)]
        self.standby: dict[tuple[str, int], int] = {}
        self.generation = 0
        self.group.join(self)

    def crash(self) -> None:
        """Die at once, as by kill -9."""
        if self.alive:
            self.producer.crash()
            self.end_life()
            self.group.missed(self)

    def pause(self) -> None:
        if self.alive and not self.paused:
            super().pause()
            self.producer.hold()
            self.group.missed(self)

    def resume(self) -> None:
        if self.alive and self.paused:
            self.producer.release()
            if self.random.random() < 0.5:
                # what it had in hand still goes out, and then the real guard ends it
                self._backlog.clear()
                self.after(20, self.crash)
                self.paused = False
                return
            super().resume()
            if self.alive and self.name not in self.group.joined:
                # for a while it goes on as if nothing had happened: a zombie
                self.after(self.random.choice([0, 200, 3000, 15_000]), lambda: self.group.join(self))

    def keep_snapshot(self) -> None:
        self._snapshot = self.disk.snapshot()

    def lose_power(self) -> None:
        """Die with the whole machine: the disk goes back to what was kept of it."""
        self.crash()
        if self._snapshot is not None:
            self.disk.restore(self._snapshot)

    def assigned(self, partitions: tuple[int, ...], generation: int) -> None:
        """Hear of an assignment, once the process is let."""
        self.do(self.life, lambda: self._assigned(partitions, generation))

    def _assigned(self, partitions: tuple[int, ...], generation: int) -> None:
        if generation < self.generation:
            return
        self.generation = generation
        self.owned.clear()
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()
        self.standby = {place: at for place, at in self.standby.items() if place[1] not in partitions}
        for number in range(self.topology.inbox_partitions):
            if number in partitions:
                self.tasks.append(self.loop.create_task(self._own(number, generation)))
            elif self.random.random() < 0.5:
                for table in TABLES:
                    self.standby[table, number] = self.opened[table].position(number)

    async def _own(self, number: int, generation: int) -> None:
        await self._when_up()
        before = self._position(number)
        read = await self._recover(number)
        async with self.locks[number]:
            partition = Partition(number, self.tables, self.outputs, self._codec, self._guard)
            await partition.recover()
            self.watch.begins(number, read)
            await self._when_up()
            stored = self.tables.policy(number)
            check(number, stored[0] if stored else None, "inbox", partition.highest, self._inbox(number).end)
            if stored is None or stored[1] != self.policy:
                message = Inbox("", PolicySet("inbox", self.policy.json()))
                await self.outputs.publish([self.outputs.inbox(message, number)], number)
            self.owned[number] = partition
        after = self._position(number)
        begin = after | faust_recovery.set_back(before, after)
        self.tasks.append(self.loop.create_task(tick(partition, self.outputs, self.name)))
        await self._consume(number, partition, generation, *begin.values())

    def _position(self, number: int) -> dict[TP, int]:
        return {TP(self.topology.inbox.name, number): self.committed[number]}

    async def _recover(self, number: int) -> dict[str, int]:
        """Follow the changelogs to their ends; return where each was."""
        await self._when_up()
        read = {}
        for table, changelog in zip(TABLES, self.topology.changelogs(), strict=True):
            log = self.bus.log(changelog.name, number)
            at, end = self.opened[table].position(number), log.end
            while at < end:
                upto = min(end, at + self.random.choice([1, 7, 50, 1000]))
                self._follow(table, number, log.read(at, upto - at))
                at = upto
                await asyncio.sleep(0.001)
                await self._when_up()
            read[table] = end
        return read

    async def _consume(self, number: int, partition: Partition, generation: int, position: int) -> None:
        log = self._inbox(number)
        news = self.news[number]
        while True:
            await self._when_up()
            entries = log.read(position, self.random.choice([1, 3, BATCH]))
            if not entries:
                news.clear()
                await news.wait()
                continue
            if self.loses and len(entries) > 2:
                # never the first: where a life begins the seek says, and nothing else can
                self.loses = False
                del entries[self.random.randrange(1, len(entries) - 1)]
            async with self.locks[number]:
                if self.owned.get(number) is not partition:
                    return
                await partition.apply([Record(one.offset, one.time, one.key, one.value or b"") for one in entries])
                self.applied += len(entries)
                position = entries[-1].offset + 1
                self._commit_soon(number, position, generation)

    def _commit_soon(self, number: int, position: int, generation: int) -> None:
        def commit() -> None:
            if self.group.may_commit(self, number, generation) and self.bus.up:
                self.committed[number] = max(self.committed[number], position)

        # what is acknowledged is true from now on, however late it is said to the broker
        self.watch.commit(number, position)
        self.after(self.random.choice([0, 100, 3000]), commit)

    async def _when_up(self) -> None:
        while not self.bus.up:  # noqa: ASYNC110  # the broker tells nobody when it is back
            await asyncio.sleep(0.25)

    def _inbox(self, number: int):  # type: ignore[no-untyped-def]
        return self.bus.log(self.topology.inbox.name, number)

    def _arrived(self, partition: int, entry: Entry) -> None:
        if self.alive and partition in self.owned and not self.news[partition].is_set():
            self.after(self.random.randint(1, 4), self.news[partition].set)

    def _changelogged(self, table: str, partition: int, entry: Entry) -> None:
        if self.alive and self.standby.get((table, partition)) is not None:
            self.after(self.random.randint(1, 400), lambda: self._stand_by(table, partition))

    def _stand_by(self, table: str, partition: int) -> None:
        at = self.standby.get((table, partition))
        if at is None:
            return
        name = f"jobstream-orchestrator-{table}-changelog"
        entries = self.bus.log(name, partition).read(at)
        if entries:
            self.standby[table, partition] = entries[-1].offset + 1
            with suppress(CrashError):
                self._follow(table, partition, entries)

    def _follow(self, table: str, partition: int, entries: list[Entry]) -> None:
        self.opened[table].follow(partition, entries)
        if self.dies_finding and self.opened[table].has_set_back(partition):
            self.dies_finding = False
            self.crash()
            raise CrashError

    def _guard(self) -> None:
        """Where the real one looks whether the process stood still; here it doesn't, so that zombies act."""

    def _stand_still(self) -> None:
        if self.stall >= 0 and self.alive:
            self.stall -= 1
            if self.stall < 0:
                self.stalls()

    def _met(self, named: str, delivered: Callable[[Outcome], None]) -> Callable[[Outcome], None]:
        """Have what it waits for befall it as soon as it could hear of this delivery, but before it does."""

        life = self.life

        def heard(outcome: Outcome) -> None:
            if self.waits_for and self.waits_for in named:
                self.waits_for = ""
                self.befalls()
            self.do(life, lambda: delivered(outcome))

        return heard

    def _effect(self) -> None:
        if self.fuse < 0 or not self.alive:
            return
        self.fuse -= 1
        if self.fuse < 0:
            self.crash()
            raise CrashError

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, CrashError):
            return
        if isinstance(error, ViolationError) or not isinstance(error, Exception):
            raise error
        if not isinstance(error, LostRecordsError):
            self.problems.append(f"{type(error).__name__}: {error}")
        self.crash()
