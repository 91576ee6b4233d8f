"""Tasks by a share group (KIP-932): the broker locks each record for its taker, and counts deliveries."""

import logging
from typing import Any

from confluent_kafka import AcknowledgeType, IllegalStateException, KafkaException, Message, ShareConsumer

from agents.bus import CALL_TIMEOUT, client_config
from agents.tasks.source import Taken
from pipeline.settings import Settings

log = logging.getLogger(__name__)

#: ms beyond a lock that a consumer may go without a poll: it polls again only when its function has ended
_POLL_MARGIN = 120_000


class ShareSource:
    """See TaskSource. The group must have been configured before; `lock_ms` is what holds there."""

    whole_batches = True

    def __init__(self, settings: Settings, queue: str, lock_ms: int) -> None:
        self.lock: float | None = lock_ms / 1000
        self._held: Message | None = None
        config: dict[str, Any] = client_config(settings, settings.topology.name(f"jobstream-tasks-{queue}")) | {
            "group.id": group_of(settings, queue),
            "share.acknowledgement.mode": "explicit",
            "max.poll.records": 1,
            "max.poll.interval.ms": lock_ms + _POLL_MARGIN,
            "fetch.wait.max.ms": 500,
            "fetch.message.max.bytes": 2_097_152,
            # it says at each start that it is a preview
            "log_level": 3,
        }
        self._client = ShareConsumer(config)
        self._client.subscribe([settings.topology.tasks(queue).name])

    def take(self, timeout: float) -> Taken | None:
        """See TaskSource."""
        for message in self._client.poll(timeout):
            if message.error() is not None:
                log.warning("share group: %s", message.error())
            elif self._held is None:
                self._held = message
            else:
                # the bound of one record is the client's best effort
                self._client.acknowledge(message, AcknowledgeType.RELEASE)
        return None if self._held is None else _taken(self._held)

    def held(self) -> bool:
        """See TaskSource: nobody tells that a lock has ended, only its time does."""
        return self._held is not None

    def accept(self) -> bool:
        """See TaskSource."""
        return self._acknowledge(AcknowledgeType.ACCEPT)

    def release(self) -> bool:
        """See TaskSource."""
        return self._acknowledge(AcknowledgeType.RELEASE)

    def close(self) -> None:
        """See TaskSource."""
        self._client.close()

    def _acknowledge(self, kind: AcknowledgeType) -> bool:
        assert self._held is not None
        message, self._held = self._held, None
        try:
            self._client.acknowledge(message, kind)
            answers = self._client.commit_sync(CALL_TIMEOUT)
        except IllegalStateException as error:
            log.warning("%s[%d]@%d: %s", message.topic(), message.partition(), message.offset(), error)
            return False
        failed = [answer for answer in answers.values() if answer is not None]
        for answer in failed:
            log.warning("%s[%d]@%d: %s", message.topic(), message.partition(), message.offset(), answer)
        # none at all: the client has let go of the record by itself
        return bool(answers) and not failed


def group_of(settings: Settings, queue: str) -> str:
    """Return the name of a queue's share group."""
    return settings.topology.name(f"jobstream-tasks-{queue}")


def _taken(message: Message) -> Taken:
    return Taken(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.delivery_count() or 1,
        dict(message.headers() or ()),
    )


#: What a call may raise where nothing but another source helps.
FATAL = (KafkaException, IllegalStateException)
