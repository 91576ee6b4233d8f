"""A worker on a cluster where workers may not write settings drains itself all the same."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from confluent_kafka import KafkaError

from agents.bus import DeliveryError, Outcome, Publisher
from agents.worker.draining import Warden
from agents.worker.work import WorkResult
from pipeline.holding.troubles import Tolerance
from pipeline.topic import Topic
from pipeline.topology import Topology
from tests.unit.worker_bench import bench, eventually


class Refusing:
    """Takes nothing, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def produce(
        self, _topic: Topic, _key: str, _value: bytes, _at: int, delivered: Callable[[Outcome], None], _headers: Any
    ) -> None:
        self.asked += 1
        delivered(DeliveryError(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))


async def _never(*_: Any) -> WorkResult:
    raise AssertionError("nothing is granted")


async def test_its_status_says_that_it_drains_and_the_broker_is_asked_once() -> None:
    publisher = Refusing()
    async with bench(_never) as made:
        warden = Warden(cast(Publisher, publisher), Topology(), made.rack, Tolerance(1, 1, 60_000))
        reason = warden.count(WorkResult(False, {"category": "command-failed"}))
        assert reason
        await eventually(lambda: publisher.asked == 1 and warden._telling is not None and warden._telling.done())
        await asyncio.sleep(0)
        assert publisher.asked == 1
        assert made.holdings.draining
