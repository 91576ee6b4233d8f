"""Orchestrators that are restarted one after the other, under jobs whose leases are short."""

import time
from typing import Any

from ops.bench.errors import BenchError
from ops.bench.installation import say
from ops.bench.load import submissions
from ops.bench.orchestrators import Orchestrator
from ops.reading.facts import FactReader
from ops.submitting import Submitter
from pipeline.settings import Settings
from pipeline.statuses import Status

#: Seconds that the jobs run, and that their facts are waited for beyond.
_DURATION, _PATIENCE = 90.0, 180.0


def measure(settings: Settings, one: Orchestrator, two: Orchestrator, jobs: int, rounds: int = 2) -> dict[str, Any]:
    """Restart each of two orchestrators `rounds` times while jobs run; return what became of the jobs and their leases.

    Ends with the second one stopped.
    """
    tag = f"upgrade-{time.time_ns()}"
    with FactReader(settings) as reader, reader.follow() as follower, Submitter(settings) as submitter:
        two.start()
        for each in (one, two):
            each.await_line("stands by")
        for submission in submissions(tag, jobs, _DURATION):
            submitter.send(submission)
        seen: dict[str, list[str]] = {}
        attempts: set[int] = set()

        def read_until(status: str, deadline: float) -> None:
            while sum(status in statuses for statuses in seen.values()) < jobs:
                fact = follower.next(1.0)
                if fact is not None and fact.submission_id.startswith(tag):
                    seen.setdefault(fact.job_id, []).append(fact.status)
                    attempts.add(fact.attempt)
                if time.monotonic() > deadline:
                    raise BenchError(f"not all of {jobs} jobs are {status}: {seen}")

        read_until(Status.STARTED, time.monotonic() + _PATIENCE)
        begun = time.monotonic()
        stood_still = []
        for number in range(rounds):
            for name, each in (("a", one), ("b", two)):
                say(f"upgrade: restart {number + 1} of {name}")
                stopped = time.monotonic()
                each.stop()
                each.start()
                each.await_line("stands by")
                stood_still.append(round(time.monotonic() - stopped, 1))
        restarted = round(time.monotonic() - begun, 1)
        read_until(Status.COMPLETED, time.monotonic() + _DURATION + _PATIENCE)
    two.stop()
    others = [one for statuses in seen.values() for one in statuses if one not in _WHOLE]
    return {
        "jobs": jobs,
        "lease_s": settings.ledger.lease_ms / 1000,
        "restarts": 2 * rounds,
        "restarts_s": restarted,
        "each_s": stood_still,
        "expired": others.count(Status.OFFLINE),
        "other_facts": others,
        "attempts": sorted(attempts),
        "while_running": restarted < _DURATION,
    }


_WHOLE = (Status.QUEUED, Status.STARTED, Status.COMPLETED)
