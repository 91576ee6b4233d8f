"""Facts of a task, built in one place."""

from typing import Any

from pipeline.messages.task import Task, TaskFact
from pipeline.shortening import cut_text, short_error
from pipeline.tasks.outcome import Outcome
from pipeline.tasks.status import TaskStatus, seq_of

#: Characters of a fact's texts: it goes into a record and an index, and the task's own record has the rest.
ARGUMENTS, ERROR, TRACEBACK = 4096, 4096, 16_384


def fact(task: Task, queue: str, status: TaskStatus, **more: Any) -> TaskFact:
    """Return a fact; `more` are further fields. Long arguments are cut."""
    return TaskFact(
        task_id=task.task_id,
        seq=seq_of(task.attempt, status),
        status=str(status),
        attempt=task.attempt,
        type=task.type or task.function,
        function=task.function,
        queue=queue,
        args=cut_text(task.args, ARGUMENTS),
        kwargs=cut_text(task.kwargs, ARGUMENTS),
        queued_at=task.queued_at,
        submitted_by=task.submitted_by,
        trace=dict(task.trace),
        **more,
    )


def ended(outcome: Outcome) -> dict[str, Any]:
    """Return the fields that tell how a call ended."""
    return {"result": outcome.result, "result_size": outcome.result_size, **failed(outcome.error), **_said(outcome)}


def failed(error: str) -> dict[str, Any]:
    """Return the fields of an error; none where there is none."""
    return {"error": cut_text(error, ERROR), "short_error": short_error(error)} if error else {}


def _said(outcome: Outcome) -> dict[str, Any]:
    traceback = outcome.traceback[-TRACEBACK:]
    return {"traceback": traceback or None, "output": outcome.output or None}
