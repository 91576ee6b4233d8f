"""An inbox gets more partitions, as docs/operations.md says it, under a real gate, scheduler and workers with jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from agents.orchestrator.inbox_identity import inbox_bounds
from ops.cli import exits
from ops.cluster import Plan
from ops.replaying.auditing import audit
from pipeline.settings import TopicSettings
from pipeline.statuses import Status
from tests.acceptance.support import ENDED, NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, lines, running, site_at, tallied
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

PLAN = Plan(workers=2, **NO_SEARCH)
WORKERS, SLOTS = ("worker-1", "worker-2"), 2
#: s that jobs get when their worker is told to stop
GRACE = 3.0
_WAITS = 'echo begun >>"$1"; while [ ! -e "$2" ]; do sleep 0.1; done; echo ended >>"$1"'


@pytest.fixture
def site(servers_home: Path) -> Iterator[Site]:
    worker = {**QUICK_LEASES["worker"], "slots": SLOTS, "grace": GRACE, "kill_grace": 1.0}
    with site_at(servers_home / "partitions", PLAN, {**QUICK_LEASES, "worker": worker}) as site:
        yield site


@contextmanager
def moved(site: Site, told: dict[str, str]) -> Iterator[Site]:
    """The same installation, started with the settings that the move printed."""
    values = {name.removeprefix("JOBSTREAM_TOPICS__").lower(): int(value) for name, value in told.items()}
    settings = site.settings.model_copy(update={"topics": TopicSettings(**values)})
    with running(settings, PLAN) as after:
        yield after


def decided(site: Site) -> bool:
    return all(bounds.committed == bounds.end for bounds in inbox_bounds(site.settings).values())


def waits_for(go: Path, file: Path) -> dict[str, str]:
    return {"_command": f"sh -c '{_WAITS}' waits $file $go", "file": str(file), "go": str(go)}


def holds(site: Site) -> None:
    """The log holds, today's code says the same of it, and the tables are what it makes."""
    assert [one.record() for one in audit(site.settings).violations] == []
    for words in (("replay", "verify"), ("ledger", "verify")):
        done = site.cli(*words)
        assert done.returncode == exits.OK, done.stdout + done.stderr
    assert site.facts.contradictions == []


def test_an_inbox_gets_more_partitions_while_jobs_are_done_under_way_and_wait_and_each_ends_once(
    site: Site, tmp_path: Path
) -> None:
    go, stopping = tmp_path / "go", tmp_path / "stopping"
    files = {name: tmp_path / name for name in ("done", "short", "long", "waits", "late")}
    same = {"_command": "true", "kind": "same"}
    done = site.submit(*[tallied(files["done"], 0.0)] * 6)
    first = site.job_of(site.send_job(same, "first"))
    site.await_status([*done, first], Status.COMPLETED)
    long = site.submit(*[waits_for(go, files["long"])] * 2)
    short = site.submit(*[waits_for(stopping, files["short"])] * 2)
    site.await_status([*long, *short], Status.STARTED)
    waiting = site.submit(*[tallied(files["waits"], 0.0)] * 6)
    assert site.cli("ledger", "verify").returncode == exits.OK

    for name in WORKERS:
        site.process(name).terminate()
    stopping.touch()
    until(lambda: not any(map(site.cluster.pid, WORKERS)), SOON, what="the workers have ended")
    site.cluster.stop("scheduler")
    # the short ones used the grace, the long ones are handed back
    site.await_status(short, Status.COMPLETED)
    until(lambda: [site.facts.of(job)[-1].attempt for job in long] == [2, 2], SOON, what="they are handed back")
    site.cluster.stop("gate")
    late = [site.send_job({**tallied(files["late"], 0.0), "late": number}, f"late-{number}") for number in range(4)]
    until(partial(decided, site), SOON, what="the inbox is decided to its end")
    site.cluster.stop("orchestrator")
    told = site.told("ledger", "move", "--partitions", "4")
    assert (told["partitions"], told["families"]) == (4, len([*done, first, *long, *short, *waiting]))
    go.touch()

    with moved(site, told["settings"]) as after:
        assert after.settings.topology.inbox_partitions == 4
        jobs = [*done, first, *long, *short, *waiting, *(after.job_of(one) for one in late)]
        after.await_status(jobs, Status.COMPLETED, timeout=2 * SOON)
        again = after.job_of(after.send_job(same, "again"))
        after.await_status([again], *ENDED)
        assert (after.facts.statuses(again), after.document(again)["dedup_job"]) == ([Status.DEDUPED], first)
        facts = after.facts
        assert {job: facts.statuses(job) for job in jobs if facts.statuses(job).count(Status.COMPLETED) != 1} == {}
        assert {tuple(facts.course(job)) for job in jobs if job not in long} == {tuple(WHOLE)}
        runs = {name: (lines(file).count("begun"), lines(file).count("ended")) for name, file in files.items()}
        assert runs == {"done": (6, 6), "short": (2, 2), "long": (4, 2), "waits": (6, 6), "late": (4, 4)}
        holds(after)
        # what was before the move is still judged, with the settings of before
        assert [one.record() for one in audit(site.settings).violations] == []
