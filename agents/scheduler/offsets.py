"""Where logs end: asked of the brokers for many topics at once."""

from collections.abc import Iterable

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from agents.admin import result

#: Seconds that an answer may take: less than a session.
ANSWER_TIMEOUT = 4.0


class LogEnds:
    """All topics have one partition. OSError where the brokers don't answer, TopicError where they refuse."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    def of(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the end offset of each topic."""
        return self._ask(dict.fromkeys(topics, OffsetSpec.latest()))

    def since(self, topic: str, time_ms: int) -> int:
        """Return the offset of the topic's first record at or after a time, its end where there is none."""
        found = self._ask({topic: OffsetSpec.for_timestamp(time_ms)})[topic]
        return found if found >= 0 else self.of([topic])[topic]

    def _ask(self, specs: dict[str, OffsetSpec]) -> dict[str, int]:
        if not specs:
            return {}
        wanted = {TopicPartition(topic, 0): spec for topic, spec in specs.items()}
        answers = self._admin.list_offsets(wanted, request_timeout=ANSWER_TIMEOUT)
        return {one.topic: int(result(future).offset) for one, future in answers.items()}
