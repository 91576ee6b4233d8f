"""How much of its slots' time a worker's commands run in: real servers and agents, short jobs, one queue."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.bench.errors import BenchError
from ops.cluster.installation import Cluster
from ops.reading.facts import FactReader, Follower, document_of
from ops.submitting import Submission, Submitter
from pipeline.statuses import Status

#: Hears what is being done.
Say = Callable[[str], None]
#: Seconds without any fact after which a measurement gives up.
_SILENCE = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """When a command ran, in seconds since the epoch; with a container, its making and its start count in."""

    start: float
    end: float


def measure(
    cluster: Cluster, slots: int, jobs: int, duration: float, options: Mapping[str, Any], say: Say
) -> dict[str, Any]:
    """Submit jobs that sleep at once, and return how busy the slots were from the first start to the last end.

    `use` counts the time of the commands as the engine sees it, `use_by_job` only the seconds that each job sleeps.
    As many jobs as twice the slots run before, uncounted: from them the worker learns how long this type takes. Raises
    BenchError for a job that does not complete, or after a minute without any news.
    """
    _run(cluster, "warm-up", 2 * slots, duration, options)
    say(f"{jobs} jobs of {duration:g} s at once, {slots} slots")
    ran = _run(cluster, "counted", jobs, duration, options)
    span = max(one.end for one in ran) - min(one.start for one in ran)
    busy = sum(one.end - one.start for one in ran)
    return {
        "slots": slots,
        "jobs": jobs,
        "seconds": round(span, 2),
        "use": round(busy / (slots * span), 4),
        "use_by_job": round(jobs * duration / (slots * span), 4),
    }


def _run(cluster: Cluster, name: str, count: int, duration: float, options: Mapping[str, Any]) -> list[Ran]:
    settings, tag = cluster.settings, f"{name}-{time.time_ns()}"
    # a client that outlives its broker would say so on standard error, after the last line
    quiet = {"log_level": 0}
    with FactReader(settings) as reader, reader.follow() as follower, Submitter(settings, **quiet) as submitter:
        for number in range(count):
            payload = {"_command": f"sleep {duration:g}", "tag": tag, "number": number}
            submitter.send(Submission("bench-sleep", payload, f"{tag}-{number}", options))
        return _ran(follower, tag, count)


def _ran(follower: Follower, tag: str, count: int) -> list[Ran]:
    ran: list[Ran] = []
    while len(ran) < count:
        fact = follower.next(_SILENCE)
        if fact is None:
            raise BenchError(f"no news for {_SILENCE:.0f} s; completed: {len(ran)} of {count}")
        if not fact.submission_id.startswith(tag) or fact.status in (Status.QUEUED, Status.STARTED):
            continue
        if fact.status != Status.COMPLETED:
            raise BenchError(f"{fact.job_id}: {fact.status} {fact.error or fact.reason or ''}")
        info = document_of(fact)["job"]["job_info"]
        start = datetime.fromisoformat(info["cmd_start"]).timestamp()
        ran.append(Ran(start, start + float(info["cmd_duration"])))
    return ran
