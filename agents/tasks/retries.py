"""Puts attempts into their queue when their time has come.

tasks.retry is compacted and small: what waits is what has no tombstone. Of the workers one reads it, by the consumer
group of its one partition; whoever takes over reads it from the start. An attempt is in its queue before its tombstone
is written, so that a crash between puts it there twice, and never not at all.
"""

import heapq
import logging
import time
from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from agents.bus import CALL_TIMEOUT, consumer
from agents.fetching import Fetching
from agents.tasks.outputs import OutputError, Outputs, header
from agents.tasks.source import Taken
from pipeline.messages.task import DELAY, QUEUE
from pipeline.settings import Settings

log = logging.getLogger(__name__)

#: The consumer group, and what readiness asks for.
GROUP = "jobstream-task-worker"
#: bytes of attempts that wait in memory; what comes beyond stays on the broker meanwhile
MEMORY = 64 << 20
#: s between two tries to write
_PAUSE = 1.0
_POLL = 0.25
#: Digits that a delay has at most.
_DIGITS = 12


class Waiting:
    """Attempts by the time when each is due (ms since the epoch)."""

    def __init__(self) -> None:
        self.size = 0
        self._by_key: dict[str, tuple[float, Taken]] = {}
        self._heap: list[tuple[float, str]] = []

    def put(self, key: str, due: float, taken: Taken) -> None:
        """Add one; a later one of the same key replaces it."""
        self.remove(key)
        self._by_key[key] = (due, taken)
        self.size += len(taken.value or b"")
        heapq.heappush(self._heap, (due, key))

    def remove(self, key: str) -> None:
        """Remove one, if it is there."""
        if (found := self._by_key.pop(key, None)) is not None:
            self.size -= len(found[1].value or b"")

    def due(self, now: float) -> tuple[str, Taken] | None:
        """Return what is due first, None where nothing is due; it stays."""
        while self._heap:
            when, key = self._heap[0]
            found = self._by_key.get(key)
            if found is None or found[0] != when:
                heapq.heappop(self._heap)
                continue
            return (key, found[1]) if when <= now else None
        return None


class Retries:
    """One worker's reader of tasks.retry; `run` in a thread until `stop` says so."""

    def __init__(self, settings: Settings, outputs: Outputs) -> None:
        self._settings = settings
        self._topic = settings.topology.task_retries
        self._outputs = outputs
        self._waiting = Waiting()
        self._end: int | None = None
        self._paused = False
        self._stopping = False

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stopping = True

    def run(self) -> None:
        """Move what is due, until stopped."""
        while not self._stopping:
            client = self._client()
            try:
                self._follow(client)
            except KafkaException as error:
                log.warning("tasks.retry: %s", error)
                time.sleep(_PAUSE)
            finally:
                client.close()

    def _client(self) -> Consumer:
        name = self._settings.topology.name(GROUP)
        session = self._settings.tasks.session_ms
        own = {"session.timeout.ms": session, "heartbeat.interval.ms": session // 3}
        client = consumer(self._settings, name, name, **own)
        client.subscribe([self._topic.name], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        return client

    def _assigned(self, client: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._forget()
        if partitions:
            place = TopicPartition(self._topic.name, 0)
            low, high = client.get_watermark_offsets(place, timeout=CALL_TIMEOUT)
            # an empty log has no position to be reached
            self._end = high if low < high else 0
        for one in partitions:
            one.offset = OFFSET_BEGINNING
        client.assign(list(partitions))

    def _revoked(self, client: Consumer, _partitions: Sequence[TopicPartition]) -> None:
        self._forget()
        client.unassign()

    def _forget(self) -> None:
        self._waiting, self._end, self._paused = Waiting(), None, False

    def _follow(self, client: Consumer) -> None:
        fetching = Fetching(client)
        while not self._stopping:
            message = client.poll(_POLL)
            if message is not None and message.error() is None:
                self._read(message)
            elif not self._paused and fetching.has_stopped():
                raise KafkaException("the consumer has stopped fetching")
            self._set_pace(client, fetching)
            if self._end is not None and (self._paused or _position(client, self._topic.name) >= self._end):
                self._move()

    def _read(self, message: Message) -> None:
        key = (message.key() or b"").decode(errors="replace")
        if message.value() is None:
            self._waiting.remove(key)
            return
        # a header may lack a value
        headers = {name: value or b"" for name, value in message.headers() or ()}
        time_ms = message.timestamp()[1]
        place = (message.topic(), message.partition(), message.offset(), time_ms)
        taken = Taken(*place, message.key(), message.value(), 1, headers)
        self._waiting.put(key, time_ms + _delay(header(headers, DELAY)), taken)

    def _set_pace(self, client: Consumer, fetching: Fetching) -> None:
        full = self._waiting.size > MEMORY
        if full != self._paused and self._end is not None:
            place = [TopicPartition(self._topic.name, 0)]
            (client.pause if full else client.resume)(place)
            fetching.look_anew()
            self._paused = full

    def _move(self) -> None:
        while not self._stopping and (found := self._waiting.due(time.time() * 1000)) is not None:
            key, taken = found
            try:
                self._put(key, taken)
            except OutputError as error:
                log.warning("task %s stays on tasks.retry for now: %s", key, error)
                time.sleep(_PAUSE)
                return
            self._waiting.remove(key)

    def _put(self, key: str, taken: Taken) -> None:
        queue = header(taken.headers, QUEUE)
        if queue in self._settings.topology.task_queues:
            self._outputs.forward(key.rpartition("/")[0], taken.value or b"", queue)
        else:
            self._outputs.bury(taken, f"there is no task queue {queue!r} (JOBSTREAM_TOPICS__TASK_QUEUES)")
        self._outputs.no_longer(key)


def _delay(text: str) -> int:
    """Return the ms of a header, 0 where it is none: whoever wrote it, one record must not end all workers."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def _position(client: Consumer, topic: str) -> int:
    (place,) = client.position([TopicPartition(topic, 0)])
    return int(place.offset) if place.offset >= 0 else 0
