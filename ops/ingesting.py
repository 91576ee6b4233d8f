"""Publishing a directory's products from the command line: files, documents, events; all or none of them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.announcing import Announcer
from agents.bus import Publisher
from agents.dataset_index import DatasetIndex
from agents.orphans import Orphans
from agents.registry import codec
from agents.stores import product_store
from pipeline.datasets import rules as dataset_rules
from pipeline.datasets.errors import StoreUnavailable
from pipeline.datasets.extractors import Extractors
from pipeline.datasets.ingest import Ingest
from pipeline.datasets.marker import Marker
from pipeline.datasets.staging import Published
from pipeline.datasets.store import Store
from pipeline.settings import Settings

#: Seconds that the brokers get to take the events.
EVENTS_TIMEOUT = 30.0


def planned(settings: Settings, directory: Path, datasets_file: Path) -> Ingest:
    """Find and recognise a directory's products; writes nothing. Raises DatasetError, OSError."""
    extractors = Extractors(settings.worker.extractors, settings.worker.processor_timeout)
    return Ingest.of(directory, dataset_rules.load(datasets_file), extractors)


def store_to_look_at(settings: Settings) -> Store | None:
    """The store, unless looking at it would make it."""
    there = settings.product_bucket is not None or settings.product_store.exists()
    return product_store(settings) if there else None


def ingest(settings: Settings, plan: Ingest, *, force: bool) -> Published:
    """Publish what is planned, index it, and say so on datasets.published.

    Index and brokers come last, while the products can still be taken back. Raises DatasetError, OSError,
    IndexUnavailableError, IndexRefusedError; then nothing of it is visible or indexed.
    """
    with DatasetIndex(settings) as index:
        index.check()

        def tell(documents: Sequence[Mapping[str, Any]], marker: Marker) -> None:
            written = index.put(documents, marker.job_id, marker.attempt, time.time_ns() // 1_000_000)
            try:
                asyncio.run(_announce(settings, documents, marker))
            except BaseException as error:
                written.undo_for(error)
                raise

        return plan.publish(product_store(settings), tell, force, Orphans(settings))


async def _announce(settings: Settings, documents: Sequence[Mapping[str, Any]], marker: Marker) -> None:
    timeout = {"message.timeout.ms": int(EVENTS_TIMEOUT * 1000)}
    publisher = await asyncio.to_thread(Publisher, settings, "ingest", **timeout)
    try:
        announcer = Announcer(publisher, codec(settings), settings.topology)
        until = time.monotonic() + EVENTS_TIMEOUT
        who = (marker.job_id, marker.attempt, marker.payload_hash)
        if await announcer.announce(documents, *who, lambda: time.monotonic() < until) is None:
            raise StoreUnavailable("Kafka did not take all events: nothing was published, but some were perhaps said")
    finally:
        await asyncio.to_thread(publisher.close, 1.0)
