"""What the rest relies on of any test broker, embedded or in a container."""

import uuid

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import NewTopic

from agents.admin_client import admin_client

pytestmark = pytest.mark.integration


def test_a_topic_that_nobody_declared_does_not_come_into_being(kafka: str) -> None:
    name = f"never-{uuid.uuid4().hex}"
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": kafka, "message.timeout.ms": 3000})
    producer.produce(name, b"x", on_delivery=lambda error, _message: failures.append(error))
    assert producer.flush(30) == 0
    assert failures[0] is not None
    assert name not in admin_client({"bootstrap.servers": kafka}).list_topics(timeout=10).topics


def test_a_record_of_one_mebibyte_passes_and_one_of_three_does_not(kafka: str) -> None:
    name = f"large-{uuid.uuid4().hex}"
    admin = admin_client({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(timeout=30)
    producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": 5_000_000, "message.timeout.ms": 20_000})
    outcomes: dict[int, object] = {}
    for size in (1 << 20, 3 << 20):
        producer.produce(
            name, bytes(size), on_delivery=lambda error, _message, size=size: outcomes.update({size: error})
        )
        producer.flush(30)
    assert outcomes[1 << 20] is None
    assert outcomes[3 << 20] is not None
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": name, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([name])
        message = consumer.poll(30)
        assert message is not None
        if message.error():
            raise KafkaException(message.error())
        assert len(message.value()) == 1 << 20
    finally:
        consumer.close()
