"""A consumer that has stopped fetching, told from one that has nothing to fetch."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from agents import fetching
from agents.admin import apply, declare_queue
from agents.bus import Publisher, consumer
from agents.fetching import Fetching
from agents.gate.gate import Gate
from agents.gate.loop import Loop
from agents.scheduler.clock import LogClock
from agents.scheduler.feed import Feed
from pipeline.codec import Codec
from pipeline.messages.inbox import Submitted
from pipeline.scheduling.message import CaughtUp
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


def test_a_look_at_many_idle_partitions_does_not_wait_for_each_ones_fetch(client: Consumer, settings: Settings) -> None:
    assert read(client) is False
    asker = consumer(settings, "fetching", settings.topology.name("fetching"))
    looks = Fetching(client, 0.0, asker=asker)
    # three partitions: each would keep the question waiting for half a second
    assert shortest(looks) < 0.6
    asker.close()


def test_a_scheduler_looks_after_many_idle_queues_without_standing_still(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PATIENCE", 0.0)
    publisher = Publisher(settings, "fetching")
    for number in range(6):
        declare_queue(settings, f"q{number}", publisher=publisher)
    publisher.close(5)
    feed = Feed(settings, Codec(), LogClock())
    caught_up: list[CaughtUp] = []

    def has_read_all() -> bool:
        caught_up.extend(one for one in feed.poll(0.05) if isinstance(one, CaughtUp))
        return len(caught_up) == 6

    until(has_read_all, what="all queues are read up")
    assert min(timed(lambda: feed.poll(0.05)) for _ in range(4)) < 1.5
    feed.close()


def shortest(looks: Fetching) -> float:
    return min(timed(looks.has_stopped) for _ in range(4))


def timed(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun
