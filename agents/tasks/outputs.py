"""What a task worker writes: facts, next attempts, tasks on their way to their queue, dead letters. All are awaited."""

from collections.abc import Mapping
from concurrent.futures import Future

from agents.bus import Delivered, DeliveryError, Publisher
from agents.dead_letters import DeadLetters
from agents.registry import RegistryError
from agents.tasks.source import Taken
from pipeline.codec import Codec
from pipeline.messages import cloud_event
from pipeline.messages.task import ALONE, DELAY, QUEUE, Task, TaskFact
from pipeline.partitioning import partition_of
from pipeline.settings import Settings

#: s that the broker may take to store a record: longer than its restart
DELIVERY_TIMEOUT = 60.0


class OutputError(Exception):
    """A record could not be written: what it was about is not acknowledged, and is done again."""


class Outputs:
    """Writes for one process; safe to use from any thread.

    Each call returns once the broker has the record, or raises OutputError. Each record goes in a batch of its own:
    share groups hand out whole batches.
    """

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._topology = settings.topology
        self._codec = codec
        name = self._topology.name("jobstream-tasks-outputs")
        self._publisher = Publisher(
            settings,
            name,
            **{"batch.num.messages": 1, "linger.ms": 0, "message.timeout.ms": int(DELIVERY_TIMEOUT * 1000)},
        )
        self._dead = DeadLetters(self._publisher, self._topology)

    def fact(self, fact: TaskFact) -> None:
        """Tell what happened to a task."""
        topic = self._topology.task_events
        value = self._encoded("task_fact", fact)
        number, headers = partition_of(fact.task_id, topic.partitions), cloud_event.of_task_fact(fact, topic.name)
        _await(self._publisher.send(topic, fact.task_id, value, number, headers))

    def enqueue(self, task: Task, queue: str) -> Delivered:
        """Put a task into its queue."""
        return self.forward(task.task_id, self._encoded("task", task), queue)

    def forward(self, task_id: str, value: bytes, queue: str) -> Delivered:
        """Put an encoded task into its queue."""
        topic = self._topology.tasks(queue)
        number = partition_of(task_id, topic.partitions)
        return _await(self._publisher.send(topic, task_id, value, number, [ALONE]))

    def later(self, task: Task, queue: str, delay_ms: int) -> None:
        """Have an attempt wait for its time; the same attempt again replaces it."""
        headers = [(DELAY, str(delay_ms).encode()), (QUEUE, queue.encode())]
        value = self._encoded("task", task)
        _await(self._publisher.send(self._topology.task_retries, waiting_key(task), value, 0, headers))

    def no_longer(self, key: str) -> None:
        """Say that what waited under the key is in its queue."""
        _await(self._publisher.send(self._topology.task_retries, key, None, 0))

    def bury(self, taken: Taken, reason: str) -> None:
        """Write a dead letter: the record's bytes, and why."""
        record = (taken.topic, taken.partition, taken.offset, taken.timestamp, taken.key, taken.value)
        _await(self._dead.send(*record, reason))

    def close(self) -> None:
        """Let go of the broker."""
        self._publisher.close(1.0)

    def _encoded(self, name: str, message: Task | TaskFact) -> bytes:
        try:
            return self._codec.encode(name, message.record())
        except (OSError, RegistryError) as error:
            raise OutputError(f"schema registry: {error}") from error


def waiting_key(task: Task) -> str:
    """Return the key of an attempt on tasks.retry."""
    return f"{task.task_id}/{task.attempt}"


def header(headers: Mapping[str, bytes], name: str) -> str:
    """Return a header as text, empty where it is missing."""
    return headers.get(name, b"").decode(errors="replace")


def _await(future: "Future[Delivered]") -> Delivered:
    try:
        return future.result(2 * DELIVERY_TIMEOUT)
    except (DeliveryError, TimeoutError) as error:
        raise OutputError(str(error) or "the broker doesn't answer") from error
