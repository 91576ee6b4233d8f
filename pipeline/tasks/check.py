"""Whether a task may run at all: its names, its arguments, its bounds, and the operator's list."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.messages.task import Task
from pipeline.topic import KIB

#: A task id is part of a directory's name.
TASK_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+=-]{0,199}")
#: Characters of other names.
_NAME = 200
#: The greatest attempt, and the latest time (ms).
_ATTEMPTS, _TIME = 1000, 10**13
#: bytes of a task's arguments; larger inputs travel by reference
ARGUMENTS_LIMIT = 256 * KIB
#: entries of a task's trace headers, and characters of each
_TRACE, _TRACE_TEXT = 16, 1024


class InvalidTaskError(ValueError):
    """The task can't run here, and no repetition cures it; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a worker allows. Times are in s.

    A task without a time limit of its own gets `time_limit`; none may be above `longest`. `functions` is the operator's
    list: names of entry points, or dotted names.
    """

    functions: tuple[str, ...]
    time_limit: float
    longest: float
    max_attempts: int
    most_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A task that may run, with everything settled."""

    task: Task
    args: list[Any]
    kwargs: dict[str, Any]
    time_limit: float
    max_attempts: int


def check(task: Task, rules: Rules) -> Call:
    """Return what to call of a task that is `named`; raises InvalidTaskError.

    A message never decides which code may run: the list does.
    """
    if task.function not in rules.functions:
        raise InvalidTaskError(f"function {task.function!r} is not on this worker's list (JOBSTREAM_TASKS__FUNCTIONS)")
    if len(task.args.encode()) + len(task.kwargs.encode()) > ARGUMENTS_LIMIT:
        raise InvalidTaskError(f"the arguments have more than {ARGUMENTS_LIMIT // KIB} KiB: pass a reference to them")
    args, kwargs = _json(task.args, "args", list), _json(task.kwargs, "kwargs", dict)
    limit = rules.time_limit if task.time_limit is None else _number(task.time_limit, "time_limit")
    if not 0 < limit <= rules.longest:
        raise InvalidTaskError(
            f"a time limit of {limit:g} s is not possible: a record is held for {rules.longest:g} s at most"
            " (JOBSTREAM_TASKS__LOCK_MS)"
        )
    attempts = rules.max_attempts if task.max_attempts is None else task.max_attempts
    if type(attempts) is not int or not 1 <= attempts <= rules.most_attempts:
        raise InvalidTaskError(f"max_attempts is no number from 1 to {rules.most_attempts}")
    return Call(task=task, args=args, kwargs=kwargs, time_limit=limit, max_attempts=attempts)


def named(task: Task) -> Task:
    """Return the task, of which facts can be told; raises InvalidTaskError where a field has a wrong type or length."""
    if not isinstance(task.task_id, str) or not TASK_ID.fullmatch(task.task_id):
        raise InvalidTaskError(f"task_id {str(task.task_id)[:_NAME]!r} is none: {TASK_ID.pattern}")
    for name in ("function", "type", "submitted_by"):
        value = getattr(task, name)
        if not isinstance(value, str) or len(value) > _NAME:
            raise InvalidTaskError(f"{name} is no text of at most {_NAME} characters")
    if type(task.attempt) is not int or not 1 <= task.attempt <= _ATTEMPTS or type(task.keep) is not bool:
        raise InvalidTaskError(f"attempt is no number from 1 to {_ATTEMPTS}, or keep neither true nor false")
    if type(task.queued_at) is not int or not 0 <= task.queued_at <= _TIME:
        raise InvalidTaskError("queued_at is no time in ms")
    trace = task.trace
    if not isinstance(trace, Mapping) or len(trace) > _TRACE:
        raise InvalidTaskError(f"trace is no object of at most {_TRACE} entries")
    if not all(isinstance(value, str) and len(name) + len(value) <= _TRACE_TEXT for name, value in trace.items()):
        raise InvalidTaskError("trace holds something else than short texts")
    return task


def _json(text: str, name: str, kind: type) -> Any:
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise InvalidTaskError(f"{name} is no JSON: {error}"[:500]) from error
    if not isinstance(value, kind):
        raise InvalidTaskError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTaskError(f"{name} is no number")
    return float(value)
