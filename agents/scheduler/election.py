"""Who leads: the member of a consumer group that owns the one partition of workers.status (design §5)."""

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from agents.bus import consumer
from pipeline.settings import Settings

log = structlog.stdlib.get_logger(__name__)

GROUP = "jobstream-scheduler"
#: Heartbeats within a session.
_BEATS = 4


class Election:
    """Membership in the group; reads nothing. `poll` must be called more often than every session."""

    def __init__(self, settings: Settings) -> None:
        self.leads = False
        self._topic = settings.topology.status.name
        group = settings.topology.name(GROUP)
        session_ms = settings.scheduler.session_ms
        self._member = consumer(
            settings,
            group,
            group,
            **{
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": session_ms // _BEATS,
                # one that no longer polls loses the lead as soon as one that is dead
                "max.poll.interval.ms": session_ms,
                # a standby that comes doesn't take the lead from the one that has it
                "partition.assignment.strategy": "cooperative-sticky",
            },
        )
        self._stand()

    def poll(self) -> bool:
        """Let the group change its mind, and return whether this member leads.

        Raises KafkaException where the group can never take this member.
        """
        message = self._member.poll(0)
        error = None if message is None else message.error()
        if error is not None:
            if error.fatal() or error.code() in (
                KafkaError.GROUP_AUTHORIZATION_FAILED,
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
                KafkaError.INVALID_SESSION_TIMEOUT,
            ):
                raise KafkaException(error)
            log.warning("the group says", error=error.str())
        return self.leads

    def stand_again(self) -> None:
        """Give the lead up, and stand for the next election."""
        self.leads = False
        self._member.unsubscribe()
        self._stand()

    def close(self) -> None:
        """Leave the group, so that a standby leads at once."""
        self.leads = False
        self._member.close()

    def _stand(self) -> None:
        self._member.subscribe([self._topic], on_assign=self._elected, on_revoke=self._deposed, on_lost=self._deposed)

    def _elected(self, member: Consumer, partitions: list[TopicPartition]) -> None:
        member.incremental_assign(partitions)
        if partitions:
            member.pause(partitions)
            self.leads = True

    def _deposed(self, member: Consumer, partitions: list[TopicPartition]) -> None:
        member.incremental_unassign(partitions)
        if partitions:
            self.leads = False
