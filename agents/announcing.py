"""Says on datasets.published what was published."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agents.bus import Delivered, DeliveryError, Publisher
from agents.worker.delivery import delivered
from pipeline.codec import Codec
from pipeline.messages import cloud_event
from pipeline.messages.dataset import DatasetPublished, dataset_published
from pipeline.partitioning import partition_of
from pipeline.topology import Topology

log = logging.getLogger(__name__)

#: Seconds between two tries to deliver an event; librdkafka itself tries for minutes within each.
RETRY_PAUSE = 1.0

#: The first and the last offset by partition, as text for JSON, between which events are.
Places = dict[str, tuple[int, int]]


class Announcer:
    """Sends events, one a dataset, in the partition of the dataset's id."""

    def __init__(
        self, publisher: Publisher, codec: Codec, topology: Topology, retry_pause: float = RETRY_PAUSE
    ) -> None:
        self._publisher = publisher
        self._codec = codec
        self._topology = topology
        self._retry_pause = retry_pause

    def learn(self) -> None:
        """Ask a registry for the schema now, not when a job waits. Raises OSError."""
        self._codec.encode("dataset", DatasetPublished("", "", "", "", "", "", "", 0, "", "").record())

    async def announce(
        self,
        documents: Iterable[Mapping[str, Any]],
        job_id: str,
        attempt: int,
        payload_hash: str,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Places | None:
        """Return where they are once the broker has an event for each document; None if `wanted` says to give up.

        However long the broker is away, it is tried again; one that is too large goes without its document.
        """
        events = [dataset_published(document, job_id, attempt, payload_hash) for document in documents]
        places: Places = {}
        for one in await asyncio.gather(*(self._deliver(event, wanted) for event in events)):
            if one is None:
                return None
            first, last = places.get(str(one.partition), (one.offset, one.offset))
            places[str(one.partition)] = (min(first, one.offset), max(last, one.offset))
        return places

    async def send(self, event: DatasetPublished) -> Delivered:
        """Send an event once; raises DeliveryError."""
        topic = self._topology.datasets
        value = self._codec.encode("dataset", event.record())
        number = partition_of(event.dataset_id, topic.partitions)
        headers = cloud_event.of_dataset(event, topic.name)
        return await delivered(self._publisher, topic, event.dataset_id, value, number, headers)

    async def _deliver(self, event: DatasetPublished, wanted: Callable[[], bool]) -> Delivered | None:
        while True:
            try:
                return await self.send(event)
            except DeliveryError as error:
                if error.refused and event.document:
                    log.error("dataset %s: event refused (%s): sent without its document", event.dataset_id, error)
                    event = event.without_document()
                    continue
                log.warning("dataset %s: event not delivered yet: %s", event.dataset_id, error)
            await asyncio.sleep(self._retry_pause)
            if not wanted():
                return None
