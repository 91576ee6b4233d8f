"""A share group's settings, which workers put on the broker before they join it (KIP-932)."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from agents.admin import TopicError, result
from agents.bus import CALL_TIMEOUT

LOCK, LIMIT, RESET = "share.record.lock.duration.ms", "share.delivery.count.limit", "share.auto.offset.reset"
#: Deliveries after which the broker drops a record: as many as a broker allows by default, and its own default.
_WANTED_LIMIT, _DEFAULT_LIMIT = 10, 5
#: Deliveries that are left for saying that a record was given up.
_SPARE = 2


class ShareGroupError(ValueError):
    """The broker has no share groups, or not with these settings; the text says what to do."""


@dataclass(frozen=True, slots=True)
class ShareGroup:
    """What holds on the broker: ms of a lock, and the delivery after which it drops a record without a word."""

    lock_ms: int
    delivery_limit: int

    def deliveries(self, wanted: int) -> int:
        """Return how often a record may be begun so that the broker drops none."""
        return max(1, min(wanted, self.delivery_limit - _SPARE))


def configure(admin: AdminClient, group: str, lock_ms: int) -> ShareGroup:
    """Have the group hold records for `lock_ms` and begin with the oldest; return what holds then.

    Raises ShareGroupError where the broker refuses, OSError where it can't be reached.
    """
    try:
        _alter(admin, group, {RESET: "earliest", LOCK: str(lock_ms)})
    except TopicError as error:
        raise ShareGroupError(
            f"the broker doesn't take a lock of {lock_ms} ms for share group {group}: {error}. Set "
            "group.share.max.record.lock.duration.ms on the brokers, a shorter JOBSTREAM_TASKS__LOCK_MS, or, where "
            "brokers are older than 4.2, JOBSTREAM_TASKS__SOURCE=group"
        ) from error
    # some brokers have no such setting of a group, or allow less; what holds is asked for below
    with suppress(TopicError):
        _alter(admin, group, {LIMIT: str(_WANTED_LIMIT)})
    found = _described(admin, group)
    lock, limit = found.get(LOCK), found.get(LIMIT)
    if lock is None or int(lock) < lock_ms:
        raise ShareGroupError(f"share group {group} holds records for {lock} ms instead of {lock_ms}")
    return ShareGroup(int(lock), int(limit) if limit else _DEFAULT_LIMIT)


def _alter(admin: AdminClient, group: str, values: dict[str, str]) -> None:
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in values.items()]
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
    for future in _asked(lambda: admin.incremental_alter_configs([resource], request_timeout=CALL_TIMEOUT)):
        result(future)


def _described(admin: AdminClient, group: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.GROUP, group)
    (future,) = _asked(lambda: admin.describe_configs([resource], request_timeout=CALL_TIMEOUT))
    return {name: entry.value for name, entry in result(future).items()}


def _asked(call: "Callable[[], dict[Any, Future[Any]]]") -> "list[Future[Any]]":
    try:
        return list(call().values())
    except KafkaException as error:
        raise OSError(str(error)) from error
