"""What people are shown of the scheduler: each queue at a glance, and why a job still waits."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.identity import attempt_key
from pipeline.scheduling.match import Scheduler
from pipeline.scheduling.waiting import Bucket, Head

#: First jobs that a queue's view names.
HEADS = 10


@dataclass(slots=True)
class QueueView:
    """One queue: how many wait and run, since when the oldest waits (ms), the first jobs, needs that nobody meets."""

    queue: str
    paused: bool
    depth: int = 0
    oldest: int | None = None
    running: int = 0
    unmet: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, Any]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return what is written as JSON."""
        return {name: getattr(self, name) for name in QueueView.__slots__}

    def waits_since(self, since: int) -> None:
        """Count a job that waits since then."""
        self.oldest = since if self.oldest is None else min(self.oldest, since)


@dataclass(frozen=True, slots=True)
class Why:
    """Why an attempt still waits, and how many of its queue go before it."""

    reason: str
    before: int


def queue_views(scheduler: Scheduler) -> dict[str, QueueView]:
    """Return the view of each declared queue; looks at heads and buckets, at no job behind them."""
    running = scheduler.running.count(scheduler.live())
    views = {
        name: QueueView(name, settings.paused, running=running[name]) for name, settings in scheduler.queues.items()
    }
    first: dict[str, list[Head]] = {}
    for bucket in scheduler.waiting.buckets():
        view = views[bucket.queue]
        view.depth += bucket.depth
        for head in scheduler.waiting.heads(bucket):
            view.waits_since(head.since)
            first.setdefault(bucket.queue, []).append(head)
        why_not = scheduler.why_not(bucket)
        if why_not:
            view.unmet.append({"needs": bucket.needs.record(), "count": bucket.depth, "why": why_not})
    for name, view in views.items():
        for claim in scheduler.claims.of_queue(name):
            view.waits_since(claim.since)
        view.heads = [_head(head) for head in sorted(first.get(name, []))[:HEADS]]
        view.unmet.sort(key=lambda unmet: str(unmet["needs"]))
    return views


def why(scheduler: Scheduler, job_id: str, attempt: int) -> Why | None:
    """Say what a waiting attempt waits for, None for one that does not wait; looks at every waiting job."""
    key = attempt_key(job_id, attempt)
    bucket = scheduler.waiting.bucket_of(key)
    return None if bucket is None else Why(_reason(scheduler, key, bucket), scheduler.waiting.before(key))


def _reason(scheduler: Scheduler, key: str, bucket: Bucket) -> str:
    if scheduler.queues[bucket.queue].paused:
        return f"queue {bucket.queue} is paused"
    if key in scheduler.claims:
        return "claimed for a worker; the ledger has not answered yet"
    why_not = scheduler.why_not(bucket)
    if why_not:
        return why_not
    return "every worker that can run it is busy, or others go first"


def _head(head: Head) -> dict[str, Any]:
    job_id, _, attempt = head.key.rpartition("/")
    return {"job_id": job_id, "attempt": int(attempt), "since": head.since, "rank": head.rank}
