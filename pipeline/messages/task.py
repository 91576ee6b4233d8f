"""A task, and what happened to it: on tasks.<queue>, tasks.retry and tasks.events."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import orjson

from pipeline.messages.plain import plain

#: The header of a record that was sent in a batch of its own: a share group hands out whole batches.
ALONE = ("alone", b"1")
#: The header of a record on tasks.retry: ms after its own time until it may be taken; and the queue that it goes to.
DELAY, QUEUE = "delay", "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One attempt of a function to call; `args` and `kwargs` are JSON, `time_limit` is in s, `queued_at` in ms.

    The id stays the same over all attempts. `queued_at` is 0 in the first record, whose own time it is.
    """

    function: str
    task_id: str = ""
    type: str = ""
    args: str = "[]"
    kwargs: str = "{}"
    time_limit: float | None = None
    attempt: int = 1
    max_attempts: int | None = None
    submitted_by: str = ""
    queued_at: int = 0
    keep: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return plain(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record; in JSON, `args` and `kwargs` may be written out. Raises TypeError."""
        fields = dict(record)
        for name in ("args", "kwargs"):
            value = fields.pop(name, None)
            if value is not None:
                fields[name] = value if isinstance(value, str) else orjson.dumps(value).decode()
        return cls(**fields)

    def following(self) -> Self:
        """Return the next attempt."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFact:
    """What happened to a task; the newest `seq` says how it stands, in whatever order facts come, and however often.

    `queued_at` and `retry_at` are ms by the broker's clock, `started_at` and `ended_at` by the worker's.
    """

    task_id: str
    seq: int
    status: str
    attempt: int
    max_attempts: int = 0
    deliveries: int = 0
    type: str = ""
    function: str = ""
    queue: str = ""
    args: str = ""
    kwargs: str = ""
    queued_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    retry_at: int = 0
    worker: str = ""
    facts: str = ""
    result: str | None = None
    result_size: int = 0
    error: str | None = None
    short_error: str | None = None
    traceback: str | None = None
    output: str | None = None
    directory: str = ""
    submitted_by: str = ""
    trace: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return plain(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**record)
