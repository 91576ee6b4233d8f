"""Clients of a broker with TLS and passwords: who is who they say is let in, nobody else, and nobody in clear."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer

from agents import admin
from agents.bus import Publisher, client_config, consumer, read_to_end
from pipeline.settings import KafkaSettings, Settings
from tests.certificates import Authority
from tests.integration.secured_kafka import ADMIN, SecuredKafka


@pytest.fixture(scope="module")
def broker(servers_home: Path) -> Iterator[SecuredKafka]:
    server = SecuredKafka(servers_home / "secured", [])
    server.start()
    yield server
    server.wipe()


def reaches(kafka: KafkaSettings) -> bool:
    """Whether a client with these settings gets an answer within two seconds."""
    client = Producer({**client_config(Settings(kafka=kafka), "test"), "log_level": 0})
    try:
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def test_records_go_and_come_over_tls(broker: SecuredKafka, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka=broker.kafka(ADMIN))
    admin.apply(settings)
    publisher = Publisher(settings, "test")
    publisher.send(settings.topology.view, "key", b"value", 0).result(20)
    publisher.close()
    client = consumer(settings, "test")
    assert [message.value() for message in read_to_end(client, settings.topology.view.name, [0])] == [b"value"]
    client.close()


def test_a_password_may_be_given_as_such(broker: SecuredKafka) -> None:
    known = broker.kafka(ADMIN).model_copy(update={"password_file": None})
    assert reaches(KafkaSettings(**{**known.model_dump(), "password": broker.password(ADMIN)}))


@pytest.mark.parametrize(
    "wrong", [{"password": "another"}, {"user": "nobody"}, {"security": "PLAINTEXT"}, {"security": "SSL"}]
)
def test_who_shows_no_valid_password_gets_no_answer(broker: SecuredKafka, wrong: dict[str, str]) -> None:
    assert not reaches(KafkaSettings(**{**broker.kafka(ADMIN).model_dump(), **wrong}))


def test_a_broker_whose_certificate_is_of_another_authority_is_not_believed(
    broker: SecuredKafka, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "another authority")
    assert not reaches(broker.kafka(ADMIN).model_copy(update={"ca_file": other.file}))
