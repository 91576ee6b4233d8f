"""Chunks of a job's logs from jobs.logs."""

import time
from collections.abc import Sequence
from typing import Self

from confluent_kafka import Message

from agents.registry import codec
from ops.reading.log import Log
from pipeline.codec import DecodeError
from pipeline.messages.fact import Fact
from pipeline.messages.log import LogChunk
from pipeline.settings import Settings
from pipeline.statuses import Status

#: ms before the fact that an attempt started in which its first chunk may lie.
_MARGIN_MS = 60_000


class LogReader:
    """Follows a job's chunks, old ones first. Raises `ops.reading.log.BrokerError` where Kafka can't be reached."""

    def __init__(self, settings: Settings, job_id: str, since_ms: int) -> None:
        """Begin with the chunks that came at `since_ms` by the broker's clock."""
        self._topic = settings.topology.logs
        topology = settings.topology
        self._partition = topology.fact_partition(topology.job_partition(job_id))
        self._prefix = f"{job_id}/".encode()
        self._codec = codec(settings)
        self._log = Log(settings)
        self._position = self._log.since(self._topic, [self._partition], since_ms)[self._partition]
        self._log.follow(self._topic, {self._partition: self._position})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def end(self) -> int:
        """Return where the partition ends now."""
        return self._log.ends(self._topic, [self._partition])[self._partition]

    def reached(self, end: int) -> bool:
        """Say whether all before that offset was read."""
        return self._position >= end

    def next(self, timeout: float) -> LogChunk | None:
        """Return the job's next chunk, None where none came within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            message = self._log.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                return None
            self._position = (message.offset() or 0) + 1
            if (message.key() or b"").startswith(self._prefix) and (chunk := self._decoded(message)) is not None:
                return chunk
            if time.monotonic() > deadline:
                return None

    def _decoded(self, message: Message) -> LogChunk | None:
        try:
            return LogChunk.of(self._codec.decode("log", message.value()))
        except (DecodeError, KeyError, TypeError, ValueError):
            return None


def newest_attempt(facts: Sequence[Fact]) -> int:
    """Return the newest attempt that started, else the newest."""
    started = [fact.attempt for fact in facts if fact.status == Status.STARTED]
    return max(started or [fact.attempt for fact in facts])


def began(facts: Sequence[Fact], attempt: int) -> int:
    """Return a time (ms) that no chunk of the attempt came before, late enough not to read a day of others' logs."""
    started = [fact.time for fact in facts if fact.attempt == attempt and fact.status == Status.STARTED]
    return max(0, min(started or [fact.time for fact in facts]) - _MARGIN_MS)
