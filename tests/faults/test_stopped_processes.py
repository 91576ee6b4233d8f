"""SIGSTOP for longer than a lease or a session, then SIGCONT: what was stopped comes too late, and nothing counts."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from ops.cluster import AgentProcess, Plan
from ops.reading.workers import set_draining
from pipeline.crash_points import VARIABLE
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, Site, document, lines, site_at, tallied
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
    publishers,
    refused,
    waiting_for,
)
from tests.waiting import until

VICTIM, SPARE = "worker-1", "worker-2"
#: A second job's product of the same name would be refused for that.
OTHER_PRODUCT = PRODUCT.replace("tile7", "tile8")

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


@contextmanager
def armed(site: Site, worker: str, point: str) -> Iterator[AgentProcess]:
    """A worker that stops itself at a point."""
    agent = AgentProcess(site.home, worker, ["worker", "--id", worker])
    agent.start({**site.settings.environment(), VARIABLE: f"{point}:1:stop"})
    try:
        yield agent
    finally:
        process = agent.find()
        if process is not None:
            process.send_signal(signal.SIGCONT)
        assert agent.stop(SOON)


def stands_still(agent: AgentProcess) -> bool:
    process = agent.find()
    return process is not None and process.status() == psutil.STATUS_STOPPED


def goes_on(agent: AgentProcess) -> None:
    process = agent.find()
    assert process is not None
    process.send_signal(signal.SIGCONT)


def test_a_job_whose_workers_are_stopped_as_they_ask_to_publish_and_as_they_report_publishes_and_completes_once(
    site: Site, tmp_path: Path
) -> None:
    """Whichever comes first: both have come too late when they go on, each with the very next thing that it does."""
    go, file, before = tmp_path / "go", tmp_path / "product", copies(site)
    go.touch()
    points = {"worker-8": "worker.permission-due", "worker-9": "worker.report-due"}
    for name in (VICTIM, SPARE):
        set_draining(site.settings, name, "spare", draining=True)
    with ExitStack() as stack:
        agents = {name: stack.enter_context(armed(site, name, point)) for name, point in points.items()}
        (job,) = site.submit(waiting_for(go, file, OTHER_PRODUCT))
        until(lambda: any(map(stands_still, agents.values())), SOON, what="one stands still")
        until(lambda: all(map(stands_still, agents.values())), SOON, what="both stand still")
        set_draining(site.settings, SPARE, "", draining=False)
        site.await_status([job], Status.COMPLETED, timeout=2 * SOON)
        for agent in agents.values():
            goes_on(agent)
        late = until(lambda: len(found := refused(site, job)) == len(points) and found, SOON, what="both are refused")
        for name in points:
            lets_go(site, name)
    set_draining(site.settings, VICTIM, "", draining=False)
    facts = site.facts.of(job)
    assert [fact.status for fact in facts].count(Status.COMPLETED) == 1
    assert (facts[-1].status, facts[-1].attempt, holder_of(site, job)) == (Status.COMPLETED, 3, SPARE)
    said = sorted((fact.reason or "").partition(":")[0] for fact in late)
    held = {fact.attempt: document(fact)["celery_hostname"] for fact in facts if fact.status == Status.STARTED}
    attempts = {name: attempt for attempt, name in held.items()}
    assert said == [
        f"completed of attempt {attempts['worker-9']} by worker-9",
        f"publish of attempt {attempts['worker-8']} by worker-8",
    ]
    assert lines(file) == ["begun", "ended"] * 3
    # the one that was permitted before it was stopped had published: that is gone
    assert published(site, job) == [attempts["worker-9"], 3]
    assert copies(site) == before + 1
    assert publishers(site, job) == [3]
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
