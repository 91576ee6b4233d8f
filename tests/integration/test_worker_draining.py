"""A worker process that fails what it runs, on a real broker; the test plays the ledger."""

import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.reading.workers import draining_workers, set_draining, worker_rows
from pipeline.identity import token
from pipeline.messages.command import GRANT, Command
from pipeline.messages.report import COMPLETED, FAILED, RELEASE
from pipeline.protocol import OWN, Protocol
from tests.integration.worker_support import KEY, WORKER, Ledger, ledger
from tests.waiting import until

FAILS: dict[str, Any] = {"params": {"duration": "no number"}}
SAID = "3 of the last 3 runs failed"


@pytest.fixture
def played(kafka: str, tmp_path: Path) -> Iterator[Ledger]:
    with ledger(kafka, tmp_path, f"t{uuid.uuid4().hex[:8]}.") as playing:
        yield playing


def is_over(played: Ledger, job: str) -> bool:
    return job in {one.job_id for status in played.statuses for one in status.ended}


def fail(played: Ledger, holder: str, *jobs: str) -> None:
    """Have jobs fail one after the other."""
    for job in jobs:
        played.grant(holder, job, FAILS)
        played.report(job, FAILED)
        # its one slot is free only then: what is granted before is handed back
        until(partial(is_over, played, job), what=f"{job} is listed as ended")


def test_a_worker_that_only_fails_drains_until_it_is_resumed_and_a_restart_changes_nothing(played: Ledger) -> None:
    few = {"slots": 1, "drain_failures": 3, "drain_runs": 3}
    with played.worker(**few) as process:
        holder = played.holder(process)
        fail(played, holder, "fa-1", "fb-1", "fc-1")
        assert "msg" not in played.result("fb-1", FAILED)
        (said,) = played.result("fc-1", FAILED)["msg"]
        assert said.startswith(f"{WORKER} drains itself: {SAID}")
        assert SAID in played.status(lambda status: not status.accepting).reason
        played.grant(holder, "fd-1")
        assert SAID in played.result("fd-1", RELEASE)["reason"]
        until(lambda: draining_workers(played.settings), what="the record on jobs.settings")
        assert draining_workers(played.settings)[WORKER].startswith(SAID)
        process.kill()
    with played.worker(**few) as process:
        holder = played.holder(process)
        assert SAID in played.statuses[-1].reason
        (row,) = worker_rows(played.settings)
        assert row.draining
        assert row.reason.startswith(SAID)
        set_draining(played.settings, WORKER, "", draining=False)
        assert played.status(lambda status: status.accepting).reason == ""
        fail(played, holder, "fe-1", "ff-1")
        played.grant(holder, "fg-1")
        played.report("fg-1", COMPLETED)


def test_a_resumed_worker_begins_to_count_anew(played: Ledger) -> None:
    with played.worker(slots=1, drain_failures=2, drain_runs=2) as process:
        holder = played.holder(process)
        fail(played, holder, "fa-1", "fb-1")
        until(lambda: draining_workers(played.settings), what="the record on jobs.settings")
        set_draining(played.settings, WORKER, "", draining=False)
        played.status(lambda status: status.accepting)
        fail(played, holder, "fc-1")
        assert played.status().accepting
        fail(played, holder, "fd-1")
        played.status(lambda status: not status.accepting)


def test_a_worker_takes_no_jobs_from_an_orchestrator_that_it_does_not_understand(played: Ledger) -> None:
    newer = Protocol(OWN.speaks + 2, OWN.speaks + 1, "9.0.0")
    with played.worker() as process:
        holder = played.holder(process)
        played.speak(newer)
        assert "upgrade the worker" in played.status(lambda status: not status.accepting).reason
        (row,) = worker_rows(played.settings)
        assert row.reason == played.statuses[-1].reason
        shown = token(KEY.encode(), "fa-1", 1, holder)
        played.tell(Command(GRANT, holder, "fa-1", 1, token=shown, lease_ms=60_000, document="{}"), newer)
        assert "upgrade the worker" in played.result("fa-1", RELEASE)["reason"]
        assert process.log.read_text().count("takes no jobs: protocol") == 1
        played.speak(OWN)
        assert played.status(lambda status: status.accepting).reason == ""
        played.grant(holder, "fb-1")
        played.report("fb-1", COMPLETED)
