"""Tasks as tasks.events tells of them. Calls raise `ops.reading.log.BrokerError` where Kafka can't be reached."""

import time
from collections.abc import Iterator
from typing import Self

from confluent_kafka import Message

from agents.registry import codec
from ops.reading.log import Log
from pipeline.codec import DecodeError
from pipeline.messages.task import TaskFact
from pipeline.partitioning import partition_of
from pipeline.settings import Settings


class TaskReader:
    """Reads facts of tasks; each is paired with the broker's time of it (ms)."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topology.task_events
        self._codec = codec(settings)
        self._log = Log(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def of_task(self, task_id: str) -> list[tuple[int, TaskFact]]:
        """Return a task's facts in the order of the log, repeats included."""
        key = task_id.encode()
        found = self._log.read(self._topic, partition_of(task_id, self._topic.partitions))
        return [one for message in found if message.key() == key and (one := self._decoded(message)) is not None]

    def newest(self, since_ms: int) -> list[tuple[int, TaskFact]]:
        """Return the newest fact of each task that anything was told of since then, the last told first."""
        latest: dict[str, tuple[int, TaskFact]] = {}
        for told, fact in self._since(since_ms):
            known = latest.get(fact.task_id)
            if known is None or fact.seq >= known[1].seq:
                latest[fact.task_id] = (told, fact)
        return sorted(latest.values(), key=lambda one: one[0], reverse=True)

    def follow(self, task_id: str) -> None:
        """Begin to follow the task's partition: `next` then returns what is told from now on."""
        number = partition_of(task_id, self._topic.partitions)
        self._log.follow(self._topic, self._log.ends(self._topic, [number]))

    def next(self, task_id: str, timeout: float) -> TaskFact | None:
        """Return the next fact of the task, None where none came within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (message := self._log.poll(max(0.0, deadline - time.monotonic()))) is not None:
            found = self._decoded(message) if message.key() == task_id.encode() else None
            if found is not None:
                return found[1]
        return None

    def _since(self, since_ms: int) -> Iterator[tuple[int, TaskFact]]:
        numbers = range(self._topic.partitions)
        for number, start in self._log.since(self._topic, list(numbers), since_ms).items():
            for message in self._log.read(self._topic, number, start):
                if (one := self._decoded(message)) is not None:
                    yield one

    def _decoded(self, message: Message) -> tuple[int, TaskFact] | None:
        try:
            return message.timestamp()[1], TaskFact.of(self._codec.decode("task_fact", message.value()))
        except (DecodeError, TypeError):
            return None
