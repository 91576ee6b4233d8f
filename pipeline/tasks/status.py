"""Statuses of a task (spec §9), and their order."""

from enum import StrEnum


class TaskStatus(StrEnum):
    """What a fact says happened to a task."""

    #: Its first record is in its queue.
    QUEUED = "task-queued"
    #: A worker calls its function.
    STARTED = "task-started"
    #: It failed, and another attempt follows.
    RETRIED = "task-retried"
    #: Its function returned. Final.
    SUCCEEDED = "task-succeeded"
    #: It failed for good; its record is on jobs.dead. Final.
    FAILED = "task-failed"


#: Nothing follows these.
FINAL = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED})

_ORDER = {status: number for number, status in enumerate(TaskStatus, start=1)}


def seq_of(attempt: int, status: TaskStatus) -> int:
    """Return the number of a fact among those of its task: the same for a repeat, greater for what comes after.

    >>> seq_of(1, TaskStatus.STARTED) < seq_of(1, TaskStatus.RETRIED) < seq_of(2, TaskStatus.STARTED)
    True
    """
    return attempt * 10 + _ORDER[status]
