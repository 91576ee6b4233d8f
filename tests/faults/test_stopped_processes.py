"""SIGSTOP for longer than a lease or a session, then SIGCONT: what was stopped comes too late, and nothing counts."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from ops.cluster import AgentProcess, Plan
from ops.reading.workers import set_draining
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, Site, lines, site_at, tallied
from tests.faults.support import (
    LOST_AND_FOUND,
    PRODUCT,
    RULES,
    all_complete,
    copies,
    holder_of,
    lets_go,
    nothing_is_violated,
    published,
    refused,
    waiting_for,
)
from tests.waiting import until

VICTIM, SPARE = "worker-1", "worker-2"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    worker = {**QUICK_LEASES["worker"], "slots": 2, "datasets_file": RULES}
    with site_at(servers_home / "stopped", Plan(workers=2, **NO_SEARCH), {**QUICK_LEASES, "worker": worker}) as site:
        yield site


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_of_a_worker_stopped_past_its_lease_nothing_counts_and_the_next_attempt_completes_and_publishes(
    site: Site, tmp_path: Path
) -> None:
    go, files = tmp_path / "go", [tmp_path / "plain", tmp_path / "product"]
    set_draining(site.settings, SPARE, "spare", draining=True)
    folders = ("nothing", PRODUCT)
    jobs = site.submit(*[waiting_for(go, file, folder) for file, folder in zip(files, folders, strict=True)])
    site.await_status(jobs, Status.STARTED)
    assert {holder_of(site, job) for job in jobs} == {VICTIM}
    until(lambda: all(map(lines, files)), SOON, what="the commands run")
    with stopped(site.process(VICTIM)):
        set_draining(site.settings, SPARE, "", draining=False)
        # what it runs goes on without it, and ends; its leases end too
        until(lambda: all(lines(file).count("begun") == 2 for file in files), SOON, what="the next attempts run")
        go.touch()
        site.await_status(jobs, Status.COMPLETED, timeout=2 * SOON)
        until(lambda: all(lines(file).count("ended") == 2 for file in files), SOON, what="all commands have ended")
    # it hears that it has lost them before or after it reports: what it reports is refused
    lets_go(site, VICTIM)
    for job in jobs:
        facts = site.facts.of(job)
        assert [(fact.status, fact.attempt) for fact in facts] == LOST_AND_FOUND
        assert holder_of(site, job) == SPARE
        assert {fact.attempt for fact in refused(site, job)} <= {2}
    assert published(site, jobs[1]) == [2]
    assert copies(site) == 1
    nothing_is_violated(site)


@pytest.mark.parametrize("name", ["orchestrator", "scheduler"])
def test_of_two_that_share_a_role_one_stopped_past_its_session_changes_nothing_when_it_goes_on(
    site: Site, name: str, tmp_path: Path
) -> None:
    first = site.process(name)
    files = [tmp_path / str(number) for number in range(24)]
    jobs = site.submit(*[tallied(file, 0.5) for file in files])
    until(partial(site.count, Status.COMPLETED, jobs), SOON, what="a job has completed")
    with second_of(site, name) as second:
        with stopped(first):
            all_complete(site, jobs)
        after = site.submit(*[tallied(tmp_path / f"after-{number}", 0.1) for number in range(8)])
        all_complete(site, after)
        assert second.find() is not None
    site.cluster.start(name)
    last = site.submit(*[tallied(tmp_path / f"last-{number}", 0.1) for number in range(4)])
    all_complete(site, last)
    ran = [*files, *(tmp_path / f"after-{number}" for number in range(8)), *(tmp_path / f"last-{n}" for n in range(4))]
    assert {tuple(lines(file)) for file in ran} == {("begun", "ended")}


@contextmanager
def second_of(site: Site, name: str) -> Iterator[AgentProcess]:
    """A second orchestrator or scheduler, with a home of its own."""
    home = site.home / f"second-{name}"
    agent = AgentProcess(home, name, [name], ["--no-gate"] if name == "orchestrator" else [])
    key = site.settings.key().decode()
    agent.start({**site.settings.environment(), "JOBSTREAM_HOME": str(home), "JOBSTREAM_TOKEN_KEY": key})
    try:
        yield agent
    finally:
        assert agent.stop(SOON)
