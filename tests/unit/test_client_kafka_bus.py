"""What a client asks of a real installation before it sends anything."""

from typing import NoReturn, Self

import pytest

from ops.client import Client, UnreachableError
from ops.reading.log import BrokerError
from pipeline.settings import KafkaSettings, Settings, TopicSettings
from pipeline.topic import Topic


class Refusing:
    """A log that names the topic that it was asked for."""

    def __init__(self, settings: Settings) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def require(self, topic: Topic) -> NoReturn:
        raise BrokerError(f"asked for {topic.name}")


@pytest.mark.parametrize(("name", "topic"), [("alice", "jobs.submit.alice"), (None, "jobs.submit")])
def test_a_client_asks_for_the_topic_that_it_writes_since_it_may_see_no_other(
    monkeypatch: pytest.MonkeyPatch, name: str | None, topic: str
) -> None:
    monkeypatch.setattr("ops.client.kafka_bus.Log", Refusing)
    settings = Settings(kafka=KafkaSettings(submit_as=name), topics=TopicSettings(principals=("alice",)))
    with Client(settings) as client, pytest.raises(UnreachableError, match=f"asked for {topic}$"):
        client.submit_many([])
