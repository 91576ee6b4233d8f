"""A job's immutable part, and the status document that facts carry (spec §3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import orjson

from pipeline.identity import task_id, worker_of
from pipeline.ledger.state import Job
from pipeline.messages.inbox import NewJob
from pipeline.messages.mark import mark_in
from pipeline.messages.needs import Needs
from pipeline.messages.trace import Trace
from pipeline.statuses import Status

#: Fields of a worker's result that stand at the top of the status document, not in `job_info`.
RESULT_FIELDS = (
    "error",
    "short_error",
    "traceback",
    "signum",
    "msg",
    "msg_details",
    "celery_hostname",
    "products",
    "products_at",
    "triaged",
    "category",
    "retry",
)
#: Fields of a worker's result that belong to the job.
JOB_FIELDS = ("container_image_id", "context")
#: What of a `started` report the ledger keeps, so that later facts of the attempt can repeat it.
RUN_FIELDS = ("time_start", "cmd_start", "pid", "job_dir", "job_url", "execute_node")
_RUN_FIELD_LENGTH = 160


@dataclass(frozen=True, slots=True)
class Document:
    """What a submission said about a job, written once; `body` is the `job` of spec §3.2, times in ms.

    `partition` and `offset` name the inbox record it came in, where a worker finds a large one.
    """

    job_id: str
    submission_id: str
    payload_hash: str
    dedup: bool
    queued_at: int
    queue: str
    priority: int
    needs: dict[str, Any]
    body: dict[str, Any]
    partition: int
    offset: int
    time_limit: int | None = None
    max_wait: int | None = None

    @classmethod
    def new(cls, job: NewJob, submission: tuple[str, str, bool], time: int, place: tuple[int, int]) -> Self:
        """Build it for a new job of a submission (id, payload hash, dedup) queued at `time`."""
        submission_id, payload_hash, dedup = submission
        body = orjson.loads(job.body)
        if not isinstance(body, dict):
            raise ValueError(f"the body of {job.job_id} is no JSON object")
        return cls(
            job.job_id,
            submission_id,
            payload_hash,
            dedup,
            time,
            job.queue,
            job.priority,
            job.needs.record(),
            body,
            *place,
            job.time_limit,
            job.max_wait,
        )

    @property
    def job_type(self) -> str:
        """The job's type, `unknown` where the submission named none."""
        return str(self.body.get("type") or "unknown")

    @property
    def replay(self) -> str:
        """The mark of a job whose submission was sent again from the past, "" for any other."""
        return mark_in(self.body)

    @property
    def trace(self) -> Trace:
        """The trace context that the job's submission brought."""
        return Trace.within(self.body)

    def needs_of(self, job: Job) -> Needs:
        """Return what the job asks of a worker now: with what it avoids, and the memory that a retry gave it."""
        needs = Needs.of(self.needs).avoiding(job.avoid)
        return replace(needs, memory_mib=max(needs.memory_mib, job.memory_mib)) if job.memory_mib else needs

    def dump(self) -> bytes:
        """Return the table's value."""
        return orjson.dumps(self)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read the table's value."""
        return cls(**orjson.loads(data))

    def changes(self, job: Job) -> dict[str, Any]:
        """Return what goes over `body` because of what happened since: another queue, more memory (decision 022).

        Objects in it go over objects, field by field. `grown` is the memory of a retry, which no option lowers.
        """
        made: dict[str, Any] = {}
        if job.memory_mib:
            made["needs"] = {"memory_mib": self.needs_of(job).memory_mib}
            made["grown"] = {"memory_mib": job.memory_mib}
        if job.queue != self.queue:
            made["job_info"] = {"job_queue": job.queue}
        return made

    def run_document(self, job: Job) -> str:
        """Return what a holder needs to run the job's attempt, as JSON."""
        body = over(self.body, self.changes(job))
        return orjson.dumps(
            {
                **body,
                "job_id": self.job_id,
                "job_info": {**body.get("job_info", {}), **self._queued()},
                "attempt": job.attempt,
                "task_id": task_id(self.job_id, job.attempt),
                "submission_id": self.submission_id,
                "payload_hash": self.payload_hash,
            }
        ).decode()

    def status_document(self, job: Job, status: Status, time: int, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole status document of the job at its state; `result` is what a worker or the ledger adds."""
        task = task_id(self.job_id, job.attempt)
        reported = result.get("job_info")
        body = over(self.body, self.changes(job))
        info = {
            **body.get("job_info", {}),
            **self._queued(),
            **job.run,
            **(reported if isinstance(reported, dict) else {}),
        }
        inner = {
            **body,
            "job_id": self.job_id,
            "task_id": task,
            "retry_count": job.attempt - 1,
            "priority": job.priority,
            "delivery_info": {"routing_key": job.queue, "priority": job.priority, "redelivered": job.attempt > 1},
            "job_info": info,
            **{name: result[name] for name in JOB_FIELDS if result.get(name) is not None},
        }
        tags = [tag for tag in (self.body.get("tag"), *(self.body.get("tags") or ())) if tag]
        extra = {
            name: result[name] for name in (*RESULT_FIELDS, "dedup_job", "dedup_msg") if result.get(name) is not None
        }
        holder = {"holder": job.holder, "celery_hostname": worker_of(job.holder)} if job.holder else {}
        return {
            "uuid": task,
            "job_id": self.job_id,
            "payload_id": self.submission_id,
            "submission_id": self.submission_id,
            "payload_hash": self.payload_hash,
            "dedup": self.dedup,
            "status": status,
            "attempt": job.attempt,
            "seq": job.seq,
            "resource": "job",
            "type": self.job_type,
            "@version": "1",
            "@timestamp": iso(time),
            **({"tags": list(dict.fromkeys(tags))} if tags else {}),
            **holder,
            **extra,
            "job": inner,
        }

    def _queued(self) -> dict[str, str]:
        return {"time_queued": iso(self.queued_at), "index": f"job_status-{iso(self.queued_at)[:10].replace('-', '.')}"}


def over(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's body with changes over it; an object goes over an object field by field."""

    def one(old: Any, new: Any) -> Any:
        return {**old, **new} if isinstance(old, Mapping) and isinstance(new, Mapping) else new

    return {**body, **{name: one(body.get(name), new) for name, new in changes.items()}}


def iso(time: int) -> str:
    """Return ms since the epoch as ISO 8601 in UTC with microseconds and `Z` (spec §1.6).

    >>> iso(1764000000123)
    '2025-11-24T16:00:00.123000Z'
    """
    moment = datetime.fromtimestamp(time // 1000, UTC).replace(tzinfo=None, microsecond=time % 1000 * 1000)
    return moment.isoformat(timespec="microseconds") + "Z"


def run_fields(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ledger keeps of a `started` report, bounded."""
    info = result.get("job_info")
    if not isinstance(info, dict):
        return {}
    return {
        name: value
        for name, value in info.items()
        if name in RUN_FIELDS and isinstance(value, (str, int, float)) and len(str(value)) <= _RUN_FIELD_LENGTH
    }
