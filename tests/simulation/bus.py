"""The broker: topics with partitions, LogAppendTime, outages; and producers whose records are late, or lost in a crash.

Order within a partition is kept, across partitions it isn't.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from confluent_kafka import KafkaError

from agents.bus import Delivered, DeliveryError, Headers, Outcome
from pipeline.topic import Topic
from tests.simulation.timeline import Timeline

#: ms that a record waits in a producer before it is given up.
MESSAGE_TIMEOUT = 300_000


@dataclass(slots=True)
class Entry:
    offset: int
    time: int
    key: bytes
    value: bytes | None
    headers: Headers


Observer = Callable[[int, Entry], None]


class Log:
    """One partition; what compaction removed is None."""

    def __init__(self) -> None:
        self.entries: list[Entry | None] = []

    @property
    def end(self) -> int:
        return len(self.entries)

    def read(self, start: int, most: int = 1 << 30) -> list[Entry]:
        return [entry for entry in self.entries[start : start + most] if entry is not None]

    def compact(self, before: int) -> None:
        """Keep the last entry of each key among those that are older than `before` (ms)."""
        last: dict[bytes, int] = {entry.key: entry.offset for entry in self.entries if entry is not None}
        for offset, entry in enumerate(self.entries):
            if entry is not None and entry.time < before and last[entry.key] != offset:
                self.entries[offset] = None


class Bus:
    """All topics; `up` is false during an outage, and then nothing is written or read."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.up = True
        self._down_since = 0
        #: how long (ms) the last outage was
        self.outage = 0
        self.topics: dict[str, list[Log]] = {}
        self.ids: dict[str, str] = {}
        #: told of each record at once, in the broker: they check
        self.observers: dict[str, list[Observer]] = {}
        #: told of each record as readers are: when it can be fetched
        self.readers: dict[str, list[Observer]] = {}
        self._waiting: list[Callable[[], Any]] = []
        self.stamp = 0
        #: ms by which the broker's clock is off
        self.skew = 0

    def create(self, name: str, partitions: int) -> None:
        self.topics[name] = [Log() for _ in range(partitions)]
        self.ids[name] = f"{len(self.ids):08d}-{name}"

    def log(self, name: str, partition: int) -> Log:
        return self.topics[name][partition]

    def append(self, name: str, partition: int, key: bytes, value: bytes | None, headers: Headers = ()) -> Entry:
        log = self.topics[name][partition]
        self.stamp = self.timeline.now + self.skew
        entry = Entry(log.end, self.stamp, key, value, headers)
        log.entries.append(entry)
        for observer in self.observers.get(name, ()):
            observer(partition, entry)
        for reader in self.readers.get(name, ()):
            reader(partition, entry)
        return entry

    def go_down(self) -> None:
        self.up = False
        self._down_since = self.timeline.now

    def come_up(self) -> None:
        self.up = True
        self.outage = self.timeline.now - self._down_since
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def when_up(self, action: Callable[[], Any]) -> None:
        """Do it now, or when the outage ends."""
        if self.up:
            action()
        else:
            self._waiting.append(action)


@dataclass(slots=True)
class _Queued:
    topic: str
    key: bytes
    value: bytes | None
    partition: int
    delivered: Callable[[Outcome], None]
    headers: Headers
    at: int


class Producer:
    """One process's producer: a queue for each partition, flushed some ms later.

    `hold` keeps everything back (the process is paused, or cut off alone), `crash` delivers a part of what is queued
    and forgets the rest, `slow` (ms) is how long the first flush after an outage takes at most.
    """

    def __init__(self, bus: Bus, random: Random, latency: int = 6, twice: float = 0.0) -> None:
        self.bus = bus
        self.slow = 0
        self._random = random
        self._latency = latency
        self._twice = twice
        self._queues: dict[tuple[str, int], deque[_Queued]] = {}
        self._planned: set[tuple[str, int]] = set()
        self._held = False
        self._dead = False

    def produce(
        self,
        topic: Topic,
        key: str | bytes,
        value: bytes | None,
        partition: int,
        delivered: Callable[[Outcome], None],
        headers: Headers = (),
    ) -> None:
        """The interface of `agents.bus.Publisher`."""
        if self._dead:
            return
        place = (topic.name, partition)
        key = key.encode() if isinstance(key, str) else key
        queue = self._queues.setdefault(place, deque())
        queue.append(_Queued(topic.name, key, value, partition, delivered, headers, self.bus.timeline.now))
        self._plan(place)

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        for place, queue in self._queues.items():
            if queue:
                self._plan(place)

    def crash(self) -> None:
        """Die: of each partition's queue a beginning is still delivered, and nobody hears of it."""
        self._dead = True
        if self._held or not self.bus.up:
            return
        for queue in self._queues.values():
            for one in list(queue)[: self._random.randint(0, len(queue))]:
                self.bus.append(one.topic, one.partition, one.key, one.value, one.headers)

    def _plan(self, place: tuple[str, int]) -> None:
        if place not in self._planned:
            self._planned.add(place)
            self.bus.timeline.after(self._random.randint(1, self._latency), lambda: self._flush(place))

    def _flush(self, place: tuple[str, int]) -> None:
        if not self.bus.up and not self._dead:
            self.bus.when_up(lambda: self.bus.timeline.after(self._back_off(), lambda: self._flush(place)))
            return
        self._planned.discard(place)
        if self._held or self._dead:
            return
        queue = self._queues[place]
        told: list[tuple[_Queued, Outcome]] = []
        while queue:
            one = queue.popleft()
            if self.bus.timeline.now - one.at > MESSAGE_TIMEOUT:
                told.append((one, DeliveryError(KafkaError(KafkaError._MSG_TIMED_OUT))))
                continue
            entry = self.bus.append(one.topic, one.partition, one.key, one.value, one.headers)
            if self._twice and self._random.random() < self._twice:
                self.bus.append(one.topic, one.partition, one.key, one.value, one.headers)
            told.append((one, Delivered(one.partition, entry.offset, entry.time)))
        self.bus.timeline.after(self._random.randint(1, self._latency), lambda: self._tell(told))

    def _back_off(self) -> int:
        # the waits between tries double, so that the last one is no longer than all before it: than the outage
        longest = min(self.slow, self.bus.outage)
        return self._random.randint(longest * 3 // 4, longest)

    def _tell(self, told: list[tuple[_Queued, Outcome]]) -> None:
        if self._held:
            self.bus.timeline.after(50, lambda: self._tell(told))
            return
        for one, outcome in told:
            if not self._dead:
                one.delivered(outcome)


def ignore(outcome: Any) -> None:
    """Hear of a delivery and do nothing."""
