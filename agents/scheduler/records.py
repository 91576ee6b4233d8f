"""Kafka records to the scheduler's messages; what can't be read is logged and left out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
from confluent_kafka import Message as Record

from pipeline import protocol
from pipeline.codec import Codec, DecodeError, decode_json
from pipeline.identity import key_of
from pipeline.messages.run import CLAIM_HEADER, HOLDER_HEADER, RESULT_HEADER, Run
from pipeline.messages.status import WorkerStatus
from pipeline.protocol import Protocol, why_not
from pipeline.scheduling.message import Message, QueueSettings, RunGone, RunWaits, StatusSeen, WorkerSettings
from pipeline.topology import QUEUE_NAME, Topology

log = structlog.stdlib.get_logger(__name__)

_QUEUE, _WORKER = "queue/", "worker/"


class Reader:
    """Decodes by topic. OSError where a schema is unknown and the registry can't be reached."""

    def __init__(
        self, topology: Topology, codec: Codec, *, sealing: bool, warn: Callable[..., object] = log.warning
    ) -> None:
        """With `sealing` only workers get jobs that have a key; `warn` is told what is left out, and who."""
        self._warn = warn
        self._speaks = protocol.own(sealing)
        self._topology = topology
        self._codec = codec
        self._status = topology.status.name
        self._settings = topology.settings.name
        self._why_apart: dict[str, str] = {}

    def message(self, record: Record) -> Message | None:
        """Return what the record says, None where it says nothing that can be read."""
        topic = record.topic()
        try:
            if topic == self._status:
                return self._status_seen(record)
            if topic == self._settings:
                return _settings(_key(record), record.value())
            queue = self._topology.queue_of(topic)
            return None if queue is None else self._run(queue, record)
        except (DecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn("unreadable", topic=topic, offset=record.offset(), error=str(error)[:300])
            return None

    def _status_seen(self, record: Record) -> StatusSeen | None:
        if record.value() is None:
            return None
        reason = self._apart(record)
        status = WorkerStatus.of(self._codec.decode("status", record.value()))
        if self._speaks.seals and key_of(status.holder) is None:
            # whatever the headers say
            reason = reason or "sealing: the holder has no key"
        if reason:
            status = replace(status, accepting=False, reason=reason)
        return StatusSeen(status, record.timestamp()[1], record.offset())

    def _apart(self, record: Record) -> str:
        """Return why the worker is to get no jobs, "" where it speaks what is spoken here; say it once for each."""
        reason = why_not(Protocol.in_headers(record.headers()), self._speaks)
        if reason != self._why_apart.get(_key(record), ""):
            self._why_apart[_key(record)] = reason
            self._warn(
                "a worker gets no jobs" if reason else "a worker gets jobs again", worker=_key(record), why=reason
            )
        return reason

    def _run(self, queue: str, record: Record) -> RunWaits | RunGone:
        key, time = _key(record), record.timestamp()[1]
        if record.value() is None:
            headers = {name: (value or b"").decode() for name, value in record.headers() or ()}
            return RunGone(
                queue,
                key,
                time,
                headers.get(RESULT_HEADER, ""),
                headers.get(HOLDER_HEADER, ""),
                headers.get(CLAIM_HEADER, ""),
            )
        run = Run.of(self._codec.decode("run", record.value()))
        if run.key != key or run.queue != queue:
            raise ValueError(f"{run.key} of queue {run.queue} under the key {key}")
        return RunWaits(run, time)


def _key(record: Record) -> str:
    return str((record.key() or b"").decode())


def _settings(key: str, value: bytes | None) -> Message | None:
    settings: dict[str, Any] = {} if value is None else decode_json(value)
    if key.startswith(_WORKER):
        return WorkerSettings(key.removeprefix(_WORKER), settings.get("draining") is True)
    if not key.startswith(_QUEUE):
        return None
    queue = key.removeprefix(_QUEUE)
    if not QUEUE_NAME.fullmatch(queue):
        raise ValueError(f"{queue[:200]!r} is no queue name")
    return QueueSettings(queue, settings.get("declared") is True, settings.get("paused") is True)
