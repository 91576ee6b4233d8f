"""Submissions under load, and what the log says became of them."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from agents.bus import Delivered
from ops.reading.facts import Follower
from ops.submitting import Submission, Submitter
from pipeline.statuses import Status

#: Every job of the benchmark is of this type, and waits in the queue of that name.
JOB_TYPE = "bench-noop"


@dataclass(slots=True)
class Lives:
    """When jobs were submitted, started and completed: ms by the broker's clock, by submission id."""

    submitted: dict[str, int] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    completed: dict[str, int] = field(default_factory=dict)
    ended_otherwise: list[str] = field(default_factory=list)

    def latencies(self, moments: dict[str, int]) -> list[int]:
        """Return the ms from submission to these moments, smallest first."""
        return sorted(at - self.submitted[name] for name, at in moments.items() if name in self.submitted)

    def take(self, follower: Follower, timeout: float) -> bool:
        """Take one fact; return whether one came within `timeout` seconds."""
        fact = follower.next(timeout)
        if fact is None:
            return False
        if fact.status == Status.STARTED:
            self.started.setdefault(fact.submission_id, fact.time)
        elif fact.status == Status.COMPLETED:
            self.completed[fact.submission_id] = fact.time
        elif fact.status != Status.QUEUED:
            self.ended_otherwise.append(f"{fact.job_id}: {fact.status} {fact.error or fact.reason or ''}")
        return True


def submissions(tag: str, count: int, duration: float = 0.0) -> Iterator[Submission]:
    """Yield submissions of jobs that take `duration` seconds and run nothing; no two have one payload."""
    for number in range(count):
        payload = {"tag": tag, "number": number, "duration": duration}
        yield Submission(JOB_TYPE, payload, f"{tag}-{number}")


def send_all(submitter: Submitter, tag: str, count: int, duration: float = 0.0) -> dict[str, "Future[Delivered]"]:
    """Send as fast as the client takes them; return the deliveries by submission id."""
    return {one.submission_id: submitter.send(one) for one in submissions(tag, count, duration)}


def send_steadily(submitter: Submitter, tag: str, count: int, rate: float) -> Iterator[tuple[str, "Future[Delivered]"]]:
    """Yield each submission's delivery as it is sent, `rate` a second; the caller may do other things in between."""
    begun = time.monotonic()
    for number, one in enumerate(submissions(tag, count)):
        while time.monotonic() < begun + number / rate:
            yield "", Future()
        yield one.submission_id, submitter.send(one)


def percentile(ordered: list[int], share: float) -> float:
    """Return the value below which `share` of the ordered values lie; nan of none."""
    if not ordered:
        return float("nan")
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])
