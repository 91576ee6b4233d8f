"""Registered job types on jobs.settings: one record each, whose key names it and whose value is the type's document."""

import orjson

from agents.bus import CALL_TIMEOUT, Publisher
from pipeline.jobtypes.job_type import JobType
from pipeline.settings import Settings

#: Before a type's id in the key of its record.
PREFIX = "jobtype/"


def key_of(type_id: str) -> str:
    """Return the key of a type on jobs.settings."""
    return f"{PREFIX}{type_id}"


def decoded(key: str, value: bytes) -> JobType:
    """Return the type that a record holds; raises InvalidError or ValueError for one that holds none."""
    job_type = JobType.of(orjson.loads(value))
    if key_of(job_type.id) != key:
        raise ValueError(f"{job_type.id} under the key {key[:200]}")
    return job_type


def publish(settings: Settings, job_type: JobType, publisher: Publisher) -> None:
    """Put a type in the place of what has its id; raises OSError where the broker takes no record, DeliveryError."""
    _put(settings, job_type.id, job_type.dump(), publisher)


def withdraw(settings: Settings, type_id: str, publisher: Publisher) -> None:
    """Forget a type; raises like `publish`."""
    _put(settings, type_id, None, publisher)


def _put(settings: Settings, type_id: str, value: bytes | None, publisher: Publisher) -> None:
    try:
        publisher.send(settings.topology.settings, key_of(type_id), value, 0).result(CALL_TIMEOUT)
    except TimeoutError as error:
        raise OSError(f"{type_id}: the broker took no record on jobs.settings in {CALL_TIMEOUT} s") from error
