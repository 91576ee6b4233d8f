"""Datasets' documents that did not fit into a report: read from datasets.published, where the fact says."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition

from agents.bus import CALL_TIMEOUT, consumer
from agents.sink.unavailable import UnavailableError
from pipeline.codec import Codec, DecodeError
from pipeline.messages.dataset import DatasetPublished
from pipeline.settings import Settings

#: Seconds that reading one job's events may take; then it is begun anew.
READ_TIMEOUT = 60.0


class Announced:
    """Reads the events of one attempt; one call at a time."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._client: Consumer | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def __call__(self, job_id: str, attempt: int, places: Mapping[int, tuple[int, int]]) -> list[Any]:
        """Return the documents of an attempt's events between the offsets of each partition, both included.

        Raises UnavailableError where the brokers don't give them, ValueError for a record that is no event.
        """
        topic = self._settings.topology.datasets.name
        if self._client is None:
            self._client = consumer(self._settings, "sink-datasets")
        found: dict[str, Any] = {}
        try:
            for partition, (first, last) in places.items():
                for value in self._read(self._client, TopicPartition(topic, partition, first), last):
                    event = DatasetPublished.of(self._codec.decode("dataset", value))
                    if (event.job_id, event.attempt) == (job_id, attempt):
                        found[event.dataset_id] = event.document
        except KafkaException as error:
            raise UnavailableError(f"{topic}: {error}") from error
        except (DecodeError, TypeError) as error:
            raise ValueError(f"{topic}: {error}") from error
        finally:
            self._client.unassign()
        # an event that was too large has no document: what is None is refused alone
        return [orjson.loads(text) if text else None for text in found.values()]

    def _read(self, client: Consumer, place: TopicPartition, last: int) -> list[bytes | None]:
        client.assign([place])
        deadline = time.monotonic() + READ_TIMEOUT
        values: list[bytes | None] = []
        start, end = client.get_watermark_offsets(place, timeout=CALL_TIMEOUT)
        last = min(last, end - 1)
        if last < max(start, place.offset):
            return values
        while time.monotonic() < deadline:
            message = client.poll(0.5)
            if message is None or message.error() is not None:
                continue
            if message.offset() <= last:
                values.append(message.value())
            if message.offset() >= last:
                return values
        raise UnavailableError(f"{place.topic}[{place.partition}] was not read up to {last} in {READ_TIMEOUT:.0f} s")
