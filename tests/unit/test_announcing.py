"""Events of published datasets."""

import asyncio
from typing import Any

import orjson
from confluent_kafka import KafkaError

from agents.announcing import Announcer, Places
from agents.bus import Delivered, DeliveryError
from pipeline.codec import Codec
from pipeline.messages.dataset import DatasetPublished
from pipeline.partitioning import partition_of
from pipeline.topology import Topology

TOPOLOGY = Topology(inbox_partitions=3)


class Bus:
    """A publisher that takes records as it is told to."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.taken: list[tuple[str, int, DatasetPublished]] = []
        self.headers: list[dict[str, bytes]] = []

    def produce(self, topic: Any, key: str, value: bytes, partition: int, delivered: Any, headers: Any = ()) -> None:
        assert topic == TOPOLOGY.datasets
        if self.errors:
            delivered(DeliveryError(KafkaError(self.errors.pop(0))))
            return
        self.headers.append(dict(headers))
        self.taken.append((key, partition, DatasetPublished.of(Codec().decode("dataset", value))))
        delivered(Delivered(partition, len(self.taken), 0))


def document(name: str) -> dict[str, Any]:
    return {"id": name, "dataset": "TILE", "ipath": "demo::data/TILE", "system_version": "v1.0", "metadata": {"a": 1}}


async def announce(bus: Bus, *names: str, wanted: bool = True) -> Places | None:
    announcer = Announcer(bus, Codec(), TOPOLOGY, retry_pause=0)  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        return await announcer.announce(map(document, names), "fam-1", 2, "hash", lambda: wanted)


async def test_each_dataset_is_one_event_in_the_partition_of_its_id() -> None:
    bus = Bus()
    places = await announce(bus, "T-1", "T-2")
    assert places == {str(partition): (number, number) for number, (_, partition, _) in enumerate(bus.taken, 1)}
    assert [(key, event.event_id) for key, _, event in bus.taken] == [("T-1", "fam-1/2/T-1"), ("T-2", "fam-1/2/T-2")]
    for key, partition, event in bus.taken:
        assert partition == partition_of(key, 3)
        assert orjson.loads(event.document) == document(key)
        assert (event.index, event.job_type) == ("grq_v1.0_tile", "dataset:demo::data/TILE")


async def test_an_event_is_a_cloud_event_that_has_the_same_id_however_often_it_is_sent() -> None:
    bus = Bus()
    assert await announce(bus, "T-1")
    assert await announce(bus, "T-1")
    first, second = bus.headers
    assert first == second
    assert (first["ce_id"], first["ce_type"], first["ce_subject"]) == (
        b"fam-1/2/T-1",
        b"jobstream.dataset-published",
        b"T-1",
    )


async def test_an_event_is_sent_until_the_broker_has_it() -> None:
    bus = Bus(KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT)
    assert await announce(bus, "T-1")
    assert len(bus.taken) == 1


async def test_an_event_that_is_too_large_goes_without_its_document() -> None:
    bus = Bus(KafkaError.MSG_SIZE_TOO_LARGE)
    assert await announce(bus, "T-1")
    assert bus.taken[0][2].document == ""


async def test_an_attempt_that_is_no_longer_ours_says_nothing_more() -> None:
    bus = Bus(KafkaError._TRANSPORT)
    assert await announce(bus, "T-1", wanted=False) is None
    assert bus.taken == []
