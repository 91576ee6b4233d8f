"""One consumer over topics by `assign()`: reading a range, and following from the end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents.bounded import bounded
from agents.bus import consumer
from pipeline.settings import Settings
from pipeline.topic import Topic

#: s that a broker that nothing is known of may take to answer
REACH_TIMEOUT = 5.0
#: s between two tries
_RETRY = 0.1
#: records that are taken from the client at a time
_BATCH = 500

_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})

T = TypeVar("T")


class BrokerError(OSError):
    """Kafka can't be reached, or lacks a topic; the message says what to do."""


class NoTopicError(BrokerError):
    """The broker answers, and there is no such topic."""


class Log:
    """Reads topics without a group. Every call raises BrokerError where the broker doesn't answer in time.

    One that reads many ranges, and `follows` nothing, is not kept waiting at the end of each: a fetch for what may yet
    come holds up every other call for as long as it lasts.
    """

    def __init__(self, settings: Settings, client_id: str = "jobstream-reader", *, follows: bool = True) -> None:
        self._bootstrap = settings.kafka.bootstrap
        # the first call tells what is wrong, once; the client's own lines would say it ten times
        quiet: dict[str, Any] = {"enable.partition.eof": True, "log_level": 0, "error_cb": lambda _error: None}
        if not follows:
            quiet["fetch.wait.max.ms"] = 10
        self._client: Consumer = consumer(settings, settings.topology.name(client_id), **quiet)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the broker."""
        self._client.close()

    def require(self, topic: Topic) -> None:
        """Raise BrokerError unless the broker answers and has the topic, NoTopicError where there is none."""
        try:
            asked = bounded(lambda: self._client.list_topics(topic.name, timeout=REACH_TIMEOUT), REACH_TIMEOUT)
            found = asked.topics[topic.name]
        except (KafkaException, TimeoutError) as error:
            raise BrokerError(
                f"Kafka at {self._bootstrap} can't be reached: start it with `jobstream up`, or set "
                f"JOBSTREAM_KAFKA__BOOTSTRAP"
            ) from error
        if found.error is not None:
            # what may not be looked at may be there
            kind = NoTopicError if found.error.code() in _MISSING else BrokerError
            raise kind(f"Kafka at {self._bootstrap} has no {topic.name}: `jobstream topics apply` makes it")
        if len(found.partitions) != topic.partitions:
            raise BrokerError(
                f"{topic.name} has {len(found.partitions)} partitions, the settings say {topic.partitions}: "
                "set JOBSTREAM_TOPICS__* to what exists"
            )

    def ends(self, topic: Topic, partitions: Sequence[int]) -> dict[int, int]:
        """Return the end offset of each partition."""
        self.require(topic)
        return {number: self._bounds(topic, number)[1] for number in partitions}

    def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """Return the offset of the first record that a partition still has, and its end offset."""
        self.require(topic)
        return self._bounds(topic, partition)

    def read(
        self, topic: Topic, partition: int, start: int = 0, end: int | None = None, timeout: float = 300.0
    ) -> Iterator[Message]:
        """Yield the records from offset `start` up to `end` (by default the end of now), in order.

        Raises BrokerError where that takes longer than `timeout` seconds.
        """
        self.require(topic)
        low, high = self._bounds(topic, partition)
        start, end = max(start, low), high if end is None else min(end, high)
        if start >= end:
            return
        self._client.assign([TopicPartition(topic.name, partition, start)])
        deadline = time.monotonic() + timeout
        while True:
            for message in self._client.consume(_BATCH, timeout=0.1):
                if message.error() is not None:
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        return
                    continue
                if message.offset() >= end:
                    return
                yield message
                if message.offset() == end - 1:
                    return
            if time.monotonic() > deadline:
                raise BrokerError(f"{topic.name} was not read to its end within {timeout:.0f} s")

    def since(self, topic: Topic, partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        """Return the offset of each partition's first record at or after `time_ms`; its end where there is none."""
        self.require(topic)
        asked = [TopicPartition(topic.name, number, time_ms) for number in partitions]
        found = self._patiently(topic, lambda: self._client.offsets_for_times(asked, timeout=REACH_TIMEOUT))
        return {
            one.partition: one.offset if one.offset >= 0 else self._bounds(topic, one.partition)[1] for one in found
        }

    def follow(self, topic: Topic, starts: Mapping[int, int]) -> None:
        """Begin to follow the partitions from these offsets; `poll` then returns what comes."""
        self._client.assign([TopicPartition(topic.name, number, start) for number, start in starts.items()])

    def poll(self, timeout: float) -> Message | None:
        """Return the next record of what is followed, None where none came within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            message = self._client.poll(max(0.0, deadline - time.monotonic()))
            if message is None or message.error() is None:
                return message
            if time.monotonic() > deadline:
                return None

    def _bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        place = TopicPartition(topic.name, partition)
        low, high = self._patiently(topic, lambda: self._client.get_watermark_offsets(place, timeout=REACH_TIMEOUT))
        return int(low), int(high)

    def _patiently(self, topic: Topic, ask: Callable[[], T]) -> T:
        deadline = time.monotonic() + REACH_TIMEOUT
        while True:
            try:
                return ask()
            except KafkaException as error:
                # a topic that was just made, or a broker that just came, has its leaders a moment later
                if time.monotonic() > deadline:
                    raise _unanswered(topic, error) from error
                time.sleep(_RETRY)


def _unanswered(topic: Topic, error: KafkaException) -> BrokerError:
    return BrokerError(f"{topic.name}: {error.args[0].str()}")
