"""CloudEvents 1.0 in Kafka's binary mode: the headers of what happened, so that any reader of such events can route it.

They follow from the record alone: whoever writes a fact again writes the same bytes. The value stays what it is.
"""

from datetime import UTC, datetime

from pipeline.messages.dataset import DatasetPublished
from pipeline.messages.fact import Fact
from pipeline.messages.task import TaskFact
from pipeline.messages.trace import TRACEPARENT, TRACESTATE, Trace

Headers = list[tuple[str, bytes]]

VERSION = "1.0"
#: Avro, however the value says by which schema: in a single object's or in a registry's way.
CONTENT_TYPE = "application/avro"
#: Before a type: whose events these are.
_OURS = "jobstream."


def of_fact(fact: Fact, topic: str) -> Headers:
    """Return the headers of a job's fact; its id is that of the fact in the index."""
    made = _headers(f"{fact.job_id}-{fact.seq}", topic, fact.status, fact.job_id, fact.time)
    return made + _traced(Trace.of(fact.traceparent, fact.tracestate))


def of_task_fact(fact: TaskFact, topic: str) -> Headers:
    """Return the headers of a task's fact; its time is the last that the fact knows."""
    time = fact.ended_at or fact.started_at or fact.queued_at
    made = _headers(f"{fact.task_id}-{fact.seq}", topic, fact.status, fact.task_id, time)
    return made + _traced(Trace.of(fact.trace.get(TRACEPARENT), fact.trace.get(TRACESTATE)))


def of_dataset(event: DatasetPublished, topic: str) -> Headers:
    """Return the headers of a dataset's announcement, which knows no time of its own."""
    return _headers(event.event_id, topic, "dataset-published", event.dataset_id)


def _headers(name: str, topic: str, kind: str, subject: str, time: int = 0) -> Headers:
    told = {
        "ce_specversion": VERSION,
        "ce_id": name,
        "ce_source": f"/jobstream/{topic}",
        "ce_type": _OURS + kind,
        "ce_time": _moment(time) if time else "",
        "ce_subject": subject,
        "content-type": CONTENT_TYPE,
    }
    return [(name, text.encode()) for name, text in told.items() if text]


def _traced(trace: Trace) -> Headers:
    return [(name, text.encode()) for name, text in trace.record().items()]


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{time % 1000:03d}Z"
