"""Reads statuses, settings and the run topics of declared queues, and knows when it has read them up."""

import time
from typing import Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as Record

from agents.admin import client
from agents.bus import consumer
from agents.fetching import Fetching
from agents.scheduler.clock import LogClock
from agents.scheduler.offsets import LogEnds
from agents.scheduler.records import Reader
from agents.topic_ids import TopicIds
from pipeline.codec import Codec
from pipeline.scheduling.message import CaughtUp, Message, QueueLost, QueueSettings
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

#: Records that are folded before the next match.
BATCH = 1000
#: Seconds until a declared queue whose topic isn't there is looked for again.
_LOOK_AGAIN = 1.0
#: Queues whose logs are looked at, whether they are still fetched: each look costs a call for each.
_LOOKED_AT = 32
#: Statuses older than this tell nothing that counts (ms).
_STATUS_HISTORY_MS = 60_000

#: The log that was read is gone; another may stand, or come, under its name.
_GONE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._AUTO_OFFSET_RESET,
    }
)


class FeedError(Exception):
    """A topic without which there is no scheduling is gone or closed; a new process may find another."""


class Feed:
    """A consumer by `assign()`, in no group; `reachable` is false while no broker answers."""

    def __init__(self, settings: Settings, codec: Codec, clock: LogClock) -> None:
        self.reachable = True
        self._topology = settings.topology
        self._clock = clock
        self._reader = Reader(self._topology, codec, sealing=settings.security.sealing)
        self._settings = settings
        self._consumer = self._new_consumer()
        admin = client(settings, "jobstream-scheduler-topics")
        self._ends = LogEnds(settings)
        self._fetching = self._looks()
        self._ids = TopicIds(admin)
        self._status = self._topology.status.name
        self._base = frozenset({self._status, self._topology.settings.name})
        self._next: dict[str, int] = {}
        self._goals: dict[str, int] = {}
        self._announced: set[str] = set()
        self._missing: set[str] = set()
        self._look_at = 0.0
        try:
            self._begin()
        except BaseException:
            # who tries again makes a new one
            self.close()
            raise

    def poll(self, timeout: float) -> list[Message]:
        """Return what came, and which queues are now read up; waits `timeout` seconds where nothing is there.

        Raises FeedError, and OSError where the registry is needed and can't be reached.
        """
        self._add_queues()
        messages = [message for topic in self._ids.gone() for message in self._lose(topic, "replaced or deleted")]
        first = self._consumer.poll(timeout)
        if first is None:
            if self._fetching.has_stopped():
                self._replace_consumer()
            return [*messages, *self._caught_up()]
        for record in (first, *self._consumer.consume(BATCH - 1, timeout=0)):
            messages.extend(self._take(record))
        return [*messages, *self._caught_up()]

    def ask_ends(self) -> int:
        """Ask where all logs end: queues are caught up when they were read to there; return the statuses' end.

        Raises OSError where the brokers don't answer.
        """
        ends = self._ends.of(set(self._next))
        self._goals = ends
        self._announced.clear()
        return ends[self._status]

    def close(self) -> None:
        """Close the clients."""
        self._consumer.close()
        self._ends.close()

    def _begin(self) -> None:
        missing = self._base - self._ids.find(self._base)
        if missing:
            raise FeedError(f"no such topic: {', '.join(sorted(missing))}")
        start = self._ends.since(self._status, int(time.time() * 1000) - _STATUS_HISTORY_MS)
        self._goals = self._ends.of(self._base)
        self._next = dict.fromkeys(self._base, 0) | {self._status: start}
        self._consumer.assign(
            [TopicPartition(topic, 0, start if topic == self._status else OFFSET_BEGINNING) for topic in self._base]
        )

    def _new_consumer(self) -> Consumer:
        own: dict[str, Any] = {"enable.partition.eof": True, "auto.offset.reset": "error", "error_cb": self._on_error}
        return consumer(self._settings, self._topology.name("jobstream-scheduler-feed"), **own)

    def _replace_consumer(self) -> None:
        log.warning("the consumer has stopped fetching, and is replaced")
        self._consumer.close()
        self._consumer = self._new_consumer()
        self._fetching = self._looks()
        self._consumer.assign([TopicPartition(topic, 0, read) for topic, read in self._next.items()])

    def _looks(self) -> Fetching:
        return Fetching(self._consumer, places=self._places, asker=self._ends.client)

    def _places(self) -> list[TopicPartition]:
        """Return up to where the logs are read: the workers' and the settings, and those of some queues."""
        queues = sorted(self._next.keys() - self._base)[:_LOOKED_AT]
        return [TopicPartition(topic, 0, self._next[topic]) for topic in (*sorted(self._base), *queues)]

    def _take(self, record: Record) -> list[Message]:
        topic = record.topic()
        if record.error() is not None:
            return self._take_error(record)
        if topic not in self._next:
            return []
        self.reachable = True
        self._next[topic] = record.offset() + 1
        self._clock.saw(record.timestamp()[1])
        message = self._reader.message(record)
        if isinstance(message, QueueSettings):
            self._follow(message)
        return [] if message is None else [message]

    def _take_error(self, record: Record) -> list[Message]:
        error, topic = record.error(), record.topic()
        if error.code() == KafkaError._PARTITION_EOF:
            # a compacted log's last offsets may hold nothing: only this tells that they were passed
            if topic in self._next:
                self._next[topic] = max(self._next[topic], record.offset())
            return []
        if error.code() in _GONE and topic in self._next:
            return self._lose(topic, error.str())
        if error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise FeedError(f"{topic}: {error.str()}")
        log.warning("the broker says", topic=topic, error=error.str())
        return []

    def _lose(self, topic: str, why: str) -> list[Message]:
        """Give up what was read of a topic that is gone; a queue's is looked for anew."""
        queue = self._topology.queue_of(topic)
        if queue is None:
            raise FeedError(f"{topic}: {why}")
        log.warning("the run topic is gone", queue=queue, why=why)
        self._drop(queue)
        self._missing.add(queue)
        return [QueueLost(queue)]

    def _follow(self, settings: QueueSettings) -> None:
        topic = self._topology.run(settings.queue).name
        if not settings.declared:
            self._missing.discard(settings.queue)
            self._drop(settings.queue)
        elif topic not in self._next and settings.queue not in self._missing:
            self._missing.add(settings.queue)
            self._look_at = 0.0

    def _drop(self, queue: str) -> None:
        topic = self._topology.run(queue).name
        self._announced.discard(queue)
        self._goals.pop(topic, None)
        self._ids.forget(topic)
        if self._next.pop(topic, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(topic, 0)])

    def _add_queues(self) -> None:
        if not self._missing or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_AGAIN
        topics = {self._topology.run(queue).name: queue for queue in self._missing}
        try:
            ends = self._ends.of(self._ids.find(topics))
        except OSError as error:
            log.warning("queues wait to be read", queues=len(topics), error=str(error))
            return
        self._goals |= ends
        self._next |= dict.fromkeys(ends, 0)
        self._missing -= {topics[topic] for topic in ends}
        if ends:
            self._consumer.incremental_assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in sorted(ends)])

    def _caught_up(self) -> list[Message]:
        if not self._goals:
            return []
        read = {topic for topic, goal in self._goals.items() if self._next[topic] >= goal}
        if not self._base.isdisjoint(self._goals.keys() - read):
            return []
        for topic in read:
            del self._goals[topic]
        queues = {queue for topic in self._next if (queue := self._topology.queue_of(topic)) is not None}
        behind = {self._topology.queue_of(topic) for topic in self._goals}
        new = sorted(queues - behind - self._announced)
        self._announced.update(new)
        return [CaughtUp(queue) for queue in new]

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.reachable = False
