"""Where logs end: asked of the brokers through a client that nobody else uses."""

from collections.abc import Iterable

from confluent_kafka import KafkaException, TopicPartition

from agents import offsets
from agents.bus import consumer
from pipeline.settings import Settings

#: Seconds that an answer may take: less than a session.
ANSWER_TIMEOUT = 4.0


class LogEnds:
    """All topics have one partition. Calls raise OSError where the brokers don't answer."""

    def __init__(self, settings: Settings) -> None:
        #: Fetches nothing, so that it is answered at once.
        self.client = consumer(settings, settings.topology.name("jobstream-scheduler-ends"))

    def of(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the end offset of each topic."""
        return {topic: offsets.ends(self.client, topic, [0])[0] for topic in topics}

    def since(self, topic: str, time_ms: int) -> int:
        """Return the offset of the topic's first record at or after a time, its end where there is none."""
        try:
            (found,) = self.client.offsets_for_times([TopicPartition(topic, 0, time_ms)], timeout=ANSWER_TIMEOUT)
        except KafkaException as error:
            raise OSError(f"{topic}: {error.args[0].str()}") from error
        if found.error is not None:
            raise OSError(f"{topic}: {found.error.str()}")
        return int(found.offset) if found.offset >= 0 else self.of([topic])[topic]

    def close(self) -> None:
        """Close the client."""
        self.client.close()
