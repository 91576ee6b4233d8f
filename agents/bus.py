"""Kafka clients as the agents use them: explicit partitions, awaited deliveries, bounded waits."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.settings import Settings
from pipeline.topic import Topic
from pipeline.topology import UNUSED_GROUP

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes]]

#: Seconds that a call to the broker may take.
CALL_TIMEOUT = 15.0
#: ms after which an undelivered record counts as failed: longer than a broker's restart.
DELIVERY_TIMEOUT_MS = 300_000

#: No retry cures these: the record itself, or the topic, is what is refused.
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.POLICY_VIOLATION,
    }
)


class DeliveryError(Exception):
    """The broker did not take a record; `refused` says that no retry would cure it."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.code: int = error.code()
        self.refused = self.code in REFUSALS


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where a record went, and the broker's time for it (ms; -1 where it told none)."""

    partition: int
    offset: int
    timestamp: int


#: How the delivery of a record ended.
Outcome = Delivered | DeliveryError


def client_config(settings: Settings, client_id: str) -> dict[str, Any]:
    """Return what every client needs: brokers, id, security; back-offs short enough for a restarting broker."""
    return {
        "bootstrap.servers": settings.kafka.bootstrap,
        # the pid tells a process from one that was killed and stays in its group for a while
        "client.id": f"{client_id}-{os.getpid()}",
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 3000,
        "socket.keepalive.enable": True,
        "log_level": 3,
        **settings.kafka.librdkafka(),
    }


class Publisher:
    """An idempotent producer whose deliveries are futures, heard in its own thread; safe to use from any thread."""

    #: Whether it has that thread.
    served = True

    def __init__(self, settings: Settings, client_id: str, **overrides: Any) -> None:
        config = client_config(settings, client_id) | {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "compression.type": "lz4",
            "message.max.bytes": 2_097_152,
            "message.timeout.ms": DELIVERY_TIMEOUT_MS,
            "queue.buffering.max.messages": 100_000,
        }
        self._producer = Producer(config | overrides)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if self.served:
            self._thread = threading.Thread(target=self._serve, name=f"{client_id}-deliveries", daemon=True)
            self._thread.start()

    def send(
        self, topic: Topic, key: str | bytes, value: bytes | None, partition: int, headers: Headers = ()
    ) -> "Future[Delivered]":
        """Queue a record (a tombstone where the value is None); the future ends with Delivered or DeliveryError.

        Blocks while the local queue is full, for DELIVERY_TIMEOUT_MS at most.
        """
        future: Future[Delivered] = Future()

        def delivered(outcome: Outcome) -> None:
            if isinstance(outcome, DeliveryError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.produce(topic, key, value, partition, delivered, headers)
        return future

    def produce(
        self,
        topic: Topic,
        key: str | bytes,
        value: bytes | None,
        partition: int,
        delivered: Callable[[Outcome], None],
        headers: Headers = (),
    ) -> None:
        """Queue a record like `send`; `delivered` is called with the outcome, in the thread that hears of it."""

        def called_back(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                delivered(DeliveryError(error))
            else:
                delivered(Delivered(message.partition(), message.offset(), message.timestamp()[1]))

        deadline = time.monotonic() + DELIVERY_TIMEOUT_MS / 1000
        while True:
            try:
                self._producer.produce(
                    topic.name, value, key, partition=partition, headers=list(headers) or None, on_delivery=called_back
                )
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise
                self._producer.poll(0.05)
            except KafkaException as error:
                delivered(DeliveryError(error.args[0]))
                return

    def close(self, timeout: float = CALL_TIMEOUT) -> int:
        """Deliver what is queued; return how many records were still undelivered after `timeout` seconds."""
        left = int(self._producer.flush(timeout))
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout)
        return left

    def serve(self, timeout: float) -> None:
        """Hear of deliveries in this thread, for `timeout` seconds at most while there are none."""
        self._producer.poll(timeout)

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)


class UnservedPublisher(Publisher):
    """One without a thread: who produces calls `serve` now and then, and neither waits for the other."""

    served = False


def consumer(settings: Settings, client_id: str, group: str | None = None, **overrides: Any) -> Consumer:
    """Return a consumer that commits nothing by itself; without a group it is for `assign()` alone."""
    config = client_config(settings, client_id) | {
        # the client asks for its group's coordinator even where it joins none: a right that all have, to one name
        "group.id": group or settings.topology.name(UNUSED_GROUP),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        # a fetch is answered as soon as there is data: waiting longer costs no latency, and idle clients less
        "fetch.wait.max.ms": 500,
        "fetch.message.max.bytes": 2_097_152,
        "allow.auto.create.topics": False,
        "topic.metadata.refresh.interval.ms": 10_000,
    }
    return Consumer(config | overrides)


def end_offsets(client: Consumer, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """Return the end offset of each partition; raises KafkaException where the broker doesn't answer."""
    return {
        number: client.get_watermark_offsets(TopicPartition(topic, number), timeout=CALL_TIMEOUT)[1]
        for number in partitions
    }


def read_to_end(client: Consumer, topic: str, partitions: Sequence[int], timeout: float = 60.0) -> Iterator[Message]:
    """Yield every record from the start to the end offsets of now; raises TimeoutError after `timeout` seconds.

    Raises KafkaException where the topic may not be read.
    """
    bounds = {
        number: client.get_watermark_offsets(TopicPartition(topic, number), timeout=CALL_TIMEOUT)
        for number in partitions
    }
    left = {number: end for number, (start, end) in bounds.items() if start < end}
    client.assign([TopicPartition(topic, number, 0) for number in partitions])
    deadline = time.monotonic() + timeout
    while left:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic}: not read to its end within {timeout} s")
        message = client.poll(0.1)
        if message is not None and message.error() is None:
            yield message
        elif message is not None and message.error().code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaException(message.error())
        # not by the records' offsets: a compacted topic's last ones may hold nothing, and the position passes them
        for place in client.position([TopicPartition(topic, number) for number in left]):
            if place.offset >= left[place.partition]:
                del left[place.partition]
