"""One record, from its bytes to what comes of it."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from agents.registry import RegistryError
from agents.tasks.outputs import Outputs
from agents.tasks.source import Taken
from pipeline.codec import Codec, DecodeError
from pipeline.messages.task import ALONE, Task
from pipeline.tasks.check import Call, InvalidTaskError, Rules, check, named
from pipeline.tasks.child import Child
from pipeline.tasks.facts import ended, fact, failed
from pipeline.tasks.folders import TaskFolders
from pipeline.tasks.outcome import End, Outcome
from pipeline.tasks.status import TaskStatus
from pipeline.tasks.verdict import Backoff, verdict
from pipeline.work.facts import host_facts

log = logging.getLogger(__name__)

Watch = Callable[[], End | None]

#: Records that this process has seen to, and that it knows again if their acknowledgement was lost.
_REMEMBERED = 200


class UnreadableError(Exception):
    """A schema registry is needed and can't be reached: the record is to wait, and nothing was done with it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a worker does with what it takes; `whole_batches` is its source's."""

    rules: Rules
    backoff: Backoff
    max_deliveries: int
    whole_batches: bool
    keep_failed: bool


class Handling:
    """Handles the records of one queue; safe to use from several threads.

    What comes of a record is written, and that awaited, before the caller acknowledges it: whatever a crash cuts short
    is done again by whoever gets the record next.
    """

    def __init__(
        self,
        worker: str,
        queue: str,
        policy: Policy,
        *,
        codec: Codec,
        outputs: Outputs,
        child: Child,
        folders: TaskFolders,
    ) -> None:
        self._worker = worker
        self._queue = queue
        self._policy = policy
        self._codec = codec
        self._outputs = outputs
        self._child = child
        self._folders = folders
        self._concluded: deque[Taken] = deque(maxlen=_REMEMBERED)

    def handle(self, taken: Taken, watch: Watch) -> bool:
        """Do what the record asks for; return whether it needs nobody any more, else it is to be released.

        `watch` is asked often while a function runs. Raises OutputError where that can't be written, UnreadableError.
        """
        # the deliveries differ: a broker that was away has forgotten who held what
        if any(_same(taken, one) for one in tuple(self._concluded)):
            return True
        done = self._conclude_or_release(taken, watch)
        if done:
            self._concluded.append(replace(taken, value=None, headers={}))
        return done

    def _conclude_or_release(self, taken: Taken, watch: Watch) -> bool:
        if taken.deliveries > self._policy.max_deliveries + 1:
            # what gave it up before came to nothing: only its bytes count now
            self._outputs.bury(taken, f"delivered {taken.deliveries} times, and even giving it up failed")
            return True
        try:
            task = self._task(taken)
        except InvalidTaskError as error:
            log.warning("%s[%d]@%d is no task: %s", taken.topic, taken.partition, taken.offset, error)
            self._outputs.bury(taken, str(error))
            return True
        if self._policy.whole_batches and ALONE not in taken.headers.items():
            return self._send_alone(task)
        if taken.deliveries > self._policy.max_deliveries:
            why = f"begun {taken.deliveries - 1} times, and its worker never lived to say how it ended"
            return self._give_up(taken, task, why)
        try:
            call = check(task, self._policy.rules)
        except InvalidTaskError as error:
            return self._give_up(taken, task, str(error))
        return self._run(taken, call, watch)

    def _task(self, taken: Taken) -> Task:
        try:
            task = Task.of(self._codec.decode("task", taken.value))
        except (DecodeError, TypeError) as error:
            raise InvalidTaskError(f"not a task: {error}") from error
        except (OSError, RegistryError) as error:
            raise UnreadableError(str(error)) from error
        own = task.task_id or f"{taken.topic}-{taken.partition}-{taken.offset}"
        return named(replace(task, task_id=own, queued_at=task.queued_at or taken.timestamp))

    def _send_alone(self, task: Task) -> bool:
        """Send it again, alone: the others of its batch would wait in this worker's hands, their locks running."""
        self._outputs.enqueue(task, self._queue)
        self._tell(task, TaskStatus.QUEUED)
        return True

    def _give_up(self, taken: Taken, task: Task, reason: str, **more: Any) -> bool:
        log.warning("task %s attempt %d: %s", task.task_id, task.attempt, reason)
        self._tell(task, TaskStatus.FAILED, deliveries=taken.deliveries, **{**failed(reason), **more})
        self._outputs.bury(taken, reason)
        return True

    def _run(self, taken: Taken, call: Call, watch: Watch) -> bool:
        task = call.task
        facts = {
            "worker": self._worker,
            "max_attempts": call.max_attempts,
            "deliveries": taken.deliveries,
            "facts": orjson.dumps(host_facts(), default=str).decode(),
            "started_at": int(time.time() * 1000),
        }
        self._tell(task, TaskStatus.STARTED, **facts)
        if watch() is not None:
            return False
        folder = self._folders.create(task)
        kept = ""
        try:
            outcome = self._child.run(call, self._about(call, str(folder)), folder, watch)
            if outcome.end in {End.STOPPED, End.LOST}:
                log.warning("task %s attempt %d: given back: %s", task.task_id, task.attempt, outcome.end.name)
                return False
            if outcome.end is End.FAILED and (task.keep or self._policy.keep_failed):
                kept = str(self._folders.keep(folder))
        finally:
            self._folders.remove(folder)
        facts |= {"ended_at": int(time.time() * 1000), "directory": kept}
        return self._conclude(taken, call, outcome, facts)

    def _conclude(self, taken: Taken, call: Call, outcome: Outcome, facts: dict[str, Any]) -> bool:
        task = call.task
        said = verdict(call, outcome, self._policy.backoff)
        told = {**facts, **ended(outcome)}
        if said.status is TaskStatus.FAILED:
            del told["deliveries"]
            return self._give_up(taken, task, outcome.error, **told)
        if said.status is TaskStatus.RETRIED:
            told["retry_at"] = facts["ended_at"] + said.delay
            self._outputs.later(task.following(), self._queue, said.delay)
        self._tell(task, said.status, **told)
        return True

    def _about(self, call: Call, folder: str) -> Mapping[str, Any]:
        task = call.task
        return {
            "id": task.task_id,
            "attempt": task.attempt,
            "max_attempts": call.max_attempts,
            "type": task.type or task.function,
            "queue": self._queue,
            "directory": folder,
            "time_limit": call.time_limit,
            "worker": self._worker,
            "facts": host_facts(),
            "trace": dict(task.trace),
        }

    def _tell(self, task: Task, status: TaskStatus, **more: Any) -> None:
        self._outputs.fact(fact(task, self._queue, status, **more))


def _same(one: Taken, other: Taken) -> bool:
    """Whether it is the same record; in a topic that was made anew, offsets begin anew."""
    return (one.offset, one.timestamp, one.partition) == (other.offset, other.timestamp, other.partition)
