"""Tasks by a consumer group, for brokers without share groups: a partition is its taker's while a function runs."""

import logging
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from agents.bus import CALL_TIMEOUT, consumer
from agents.fetching import Fetching
from agents.tasks.source import Taken
from pipeline.settings import Settings

log = logging.getLogger(__name__)


class GroupSource:
    """See TaskSource. How often a record was handed out is counted in the metadata of the committed offset."""

    whole_batches = False
    lock: float | None = None

    def __init__(self, settings: Settings, queue: str) -> None:
        self._held: Message | None = None
        self._lost = False
        name = settings.topology.name(f"jobstream-tasks-{queue}-group")
        self._client: Consumer = consumer(
            settings,
            name,
            name,
            # others go on while one joins
            **{
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": settings.tasks.session_ms,
                "heartbeat.interval.ms": settings.tasks.session_ms // 3,
            },
        )
        self._client.subscribe(
            [settings.topology.tasks(queue).name],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )
        self._fetching = Fetching(self._client)

    def take(self, timeout: float) -> Taken | None:
        """See TaskSource."""
        message = self._client.poll(timeout)
        if message is None:
            if self._fetching.has_stopped():
                raise KafkaException("the consumer has stopped fetching")
            return None
        if message.error() is not None:
            log.warning("consumer group: %s", message.error())
            return None
        self._held, self._lost = message, False
        self._client.pause(self._client.assignment())
        try:
            deliveries = self._deliveries(message)
        except KafkaException as error:
            # a rebalance is under way, or the brokers are away: it comes again
            log.warning("%s[%d]@%d: %s", message.topic(), message.partition(), message.offset(), error)
            self.release()
            return None
        self._commit(message, message.offset(), str(deliveries))
        return Taken(
            message.topic(),
            message.partition(),
            message.offset(),
            message.timestamp()[1],
            message.key(),
            message.value(),
            deliveries,
            dict(message.headers() or ()),
        )

    def held(self) -> bool:
        """See TaskSource."""
        message = self._client.poll(0)
        if message is not None and message.error() is None:
            # fetched before the partition was paused: it comes again
            self._client.seek(TopicPartition(message.topic(), message.partition(), message.offset()))
        return self._held is not None and not self._lost

    def accept(self) -> bool:
        """See TaskSource."""
        message = self._let_go()
        return not self._lost and self._commit(message, message.offset() + 1, "")

    def release(self) -> bool:
        """See TaskSource."""
        message = self._let_go()
        if not self._lost:
            self._client.seek(TopicPartition(message.topic(), message.partition(), message.offset()))
        return not self._lost

    def close(self) -> None:
        """See TaskSource."""
        self._client.close()

    def _let_go(self) -> Message:
        assert self._held is not None
        message, self._held = self._held, None
        self._client.resume(self._client.assignment())
        self._fetching.look_anew()
        return message

    def _deliveries(self, message: Message) -> int:
        (place,) = self._client.committed([TopicPartition(message.topic(), message.partition())], timeout=CALL_TIMEOUT)
        counted = place.metadata or ""
        return int(counted) + 1 if place.offset == message.offset() and counted.isdigit() else 1

    def _commit(self, message: Message, offset: int, metadata: str) -> bool:
        place = TopicPartition(message.topic(), message.partition(), offset, metadata)
        try:
            self._client.commit(offsets=[place], asynchronous=False)
        except KafkaException as error:
            log.warning("%s[%d]@%d: %s", message.topic(), message.partition(), message.offset(), error)
            return False
        return True

    def _assigned(self, client: Consumer, partitions: Sequence[TopicPartition]) -> None:
        client.incremental_assign(partitions)
        if self._held is not None:
            client.pause(partitions)

    def _revoked(self, client: Consumer, partitions: Sequence[TopicPartition]) -> None:
        held = self._held
        if held is not None and any(
            (one.topic, one.partition) == (held.topic(), held.partition()) for one in partitions
        ):
            self._lost = True
        client.incremental_unassign(partitions)
