"""Tasks from Python: submitting them, and hearing what became of them."""

import time
from dataclasses import replace

from agents.registry import codec
from agents.tasks.outputs import Outputs
from ops.reading.tasks import TaskReader
from pipeline.messages.task import Task, TaskFact
from pipeline.settings import Settings
from pipeline.tasks.check import ARGUMENTS_LIMIT, InvalidTaskError, named
from pipeline.tasks.facts import fact
from pipeline.tasks.status import FINAL, TaskStatus


class TaskError(ValueError):
    """There can be no such task; the text says why."""


def submit(settings: Settings, task: Task, queue: str) -> None:
    """Put a task into its queue and tell so; raises TaskError, OutputError.

    The same id again is the same task: the function is called again, and its facts replace the earlier ones.
    """
    if queue not in settings.topology.task_queues:
        known = ", ".join(settings.topology.task_queues)
        raise TaskError(f"there is no task queue {queue!r}, but {known} (JOBSTREAM_TOPICS__TASK_QUEUES)")
    try:
        named(task)
    except InvalidTaskError as error:
        raise TaskError(str(error)) from error
    if len(task.args.encode()) + len(task.kwargs.encode()) > ARGUMENTS_LIMIT:
        raise TaskError(f"the arguments have more than {ARGUMENTS_LIMIT // 1024} KiB: pass a reference to them")
    outputs = Outputs(settings, codec(settings))
    try:
        delivered = outputs.enqueue(task, queue)
        outputs.fact(fact(replace(task, queued_at=delivered.timestamp), queue, TaskStatus.QUEUED))
    finally:
        outputs.close()


def await_final(reader: TaskReader, task_id: str, timeout: float | None) -> TaskFact | None:
    """Return the last fact of a task, None where `timeout` seconds (None: without end) were not enough.

    `reader` must have followed the task since before it was submitted.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while deadline is None or time.monotonic() < deadline:
        wait = 1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic()))
        found = reader.next(task_id, wait)
        if found is not None and found.status in FINAL:
            return found
    return None
