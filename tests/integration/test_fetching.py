"""A consumer that has stopped fetching, told from one that has nothing to fetch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from agents import fetching
from agents.admin import apply
from agents.bus import Publisher, consumer
from agents.fetching import Fetching
from agents.gate.gate import Gate
from agents.gate.loop import Loop
from pipeline.messages.inbox import Submitted
from pipeline.settings import Settings
from tests.integration.gate_support import Site, settings_for
from tests.waiting import until


@pytest.fixture
def settings(kafka: str, tmp_path: Path) -> Settings:
    made = settings_for(kafka, tmp_path)
    apply(made)
    return made


@pytest.fixture
def client(settings: Settings) -> Iterator[Consumer]:
    one = consumer(settings, "fetching", settings.topology.name("fetching"))
    one.assign([TopicPartition(settings.topology.reports.name, number, 0) for number in range(3)])
    yield one
    one.close()


def produce(settings: Settings) -> None:
    publisher = Publisher(settings, "fetching")
    publisher.send(settings.topology.reports, b"key", b"any", 1).result(30)
    publisher.close(5)


def read(client: Consumer) -> bool:
    message = client.poll(0.05)
    return message is not None and message.error() is None


def test_a_consumer_with_nothing_to_fetch_has_not_stopped(client: Consumer, settings: Settings) -> None:
    looks = Fetching(client, 0.0)
    assert not any(looks.has_stopped() for _ in range(3))
    produce(settings)
    until(lambda: read(client), what="the record")
    assert not any(looks.has_stopped() for _ in range(3))


def test_one_that_is_behind_at_the_same_place_twice_has_stopped(client: Consumer, settings: Settings) -> None:
    client.pause(client.assignment())
    produce(settings)
    looks = Fetching(client, 0.0)
    assert [looks.has_stopped() for _ in range(2)] == [False, True]
    looks.look_anew()
    assert not looks.has_stopped()
    client.resume(client.assignment())
    until(lambda: read(client), what="the record")
    assert not looks.has_stopped()


def test_looks_are_apart(client: Consumer, settings: Settings) -> None:
    client.pause(client.assignment())
    produce(settings)
    looks = Fetching(client, 3600.0)
    assert not any(looks.has_stopped() for _ in range(3))


def test_the_gate_replaces_a_consumer_that_has_stopped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PATIENCE", 0.3)
    assigned = Loop._assigned
    deaf: list[str] = []

    def first_is_deaf(loop: Loop, client: Consumer, partitions: Any) -> None:
        assigned(loop, client, partitions)
        if loop.name.endswith("submit") and not deaf:
            deaf.append(loop.name)
            client.pause(partitions)

    monkeypatch.setattr(Loop, "_assigned", first_is_deaf)
    site = Site(settings)
    gate = Gate(settings, died=lambda: None)
    gate.start()
    try:
        until(lambda: deaf, what="a consumer that fetches nothing")
        site.submit({"job_type": "good", "payload": json.dumps({})}).result(30)
        until(lambda: len(site.bodies(Submitted)) == 1, what="the submission comes through")
    finally:
        gate.stop()
        site.close()
