"""A fact of a task as what is written to the index: the task's document."""

from typing import Any

import orjson

from pipeline.index.documents import Action, Plan, iso
from pipeline.index.names import ID_LIMIT, tasks_index
from pipeline.messages.task import TaskFact

_FIELDS = (
    "status",
    "seq",
    "attempt",
    "max_attempts",
    "deliveries",
    "type",
    "function",
    "queue",
    "args",
    "kwargs",
    "submitted_by",
    "result",
    "result_size",
    "error",
    "short_error",
    "traceback",
    "output",
    "directory",
    "trace",
)


def plan(fact: TaskFact, time_ms: int, prefix: str = "") -> Plan:
    """Return the one write that a fact leads to; what can't be indexed is said in `refused`.

    The document is in the index of the day that its task was queued on; its id is the task's, its version `seq`: any
    order, any repetition. `time_ms` is the broker's time of the fact.
    """
    if not fact.task_id or len(fact.task_id.encode()) > ID_LIMIT or fact.seq < 0:
        return Plan((), ("the fact's task id or seq is none",))
    try:
        index = f"{prefix}{tasks_index(fact.queued_at)}"
        return Plan((Action(index, fact.task_id, orjson.dumps(_document(fact, time_ms)), fact.seq),))
    except (ValueError, OverflowError, OSError) as error:
        return Plan((), (str(error),))


def _document(fact: TaskFact, time_ms: int) -> dict[str, Any]:
    document = {name: getattr(fact, name) for name in _FIELDS}
    times = {
        "time_queued": fact.queued_at,
        "time_start": fact.started_at,
        "time_end": fact.ended_at,
        "retry_at": fact.retry_at,
    }
    document |= {
        "resource": "task",
        "uuid": fact.task_id,
        "@timestamp": iso(time_ms),
        "celery_hostname": fact.worker,
        "facts": orjson.loads(fact.facts) if fact.facts else None,
        **{name: iso(value) for name, value in times.items() if value},
    }
    if fact.ended_at:
        document["duration"] = (fact.ended_at - fact.started_at) / 1000
    return {name: value for name, value in document.items() if value not in (None, "", {})}
