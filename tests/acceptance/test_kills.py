"""kill -9 in mid-run, and what a supervisor does: each process is started again, and every job ends completed, once."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.cluster import Plan
from pipeline.messages.fact import Fact
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, document, lines, site_at, tallied
from tests.waiting import until

WORKERS, SLOTS = 2, 4
VICTIM = "worker-1"


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    sections = {**QUICK_LEASES, "worker": {**QUICK_LEASES["worker"], "slots": SLOTS}}
    with site_at(servers_home / "kills", Plan(workers=WORKERS, **NO_SEARCH), sections) as site:
        yield site


def submit_tallied(site: Site, folder: Path, count: int, seconds: float) -> dict[str, Path]:
    """Submit jobs that say in a file of their own each time that they begin and end."""
    files = [folder / str(number) for number in range(count)]
    return dict(zip(site.submit(*[tallied(file, seconds) for file in files]), files, strict=True))


def kill_in_mid_run(site: Site, name: str, jobs: dict[str, Path]) -> None:
    """Kill a process once a few more jobs have completed and others run; start it again as a supervisor would."""
    enough = site.count(Status.COMPLETED, jobs) + 4
    until(lambda: site.count(Status.COMPLETED, jobs) >= enough, 2 * SOON, what=f"{enough} jobs are completed")
    site.kill(name, signal.SIGKILL)
    assert site.count(Status.COMPLETED, jobs) < len(jobs), "killed after the end: nothing was shown"
    site.cluster.start(name)


def everything_ended_well(site: Site, jobs: dict[str, Path]) -> None:
    site.await_status(jobs, Status.COMPLETED, timeout=3 * SOON)
    history = site.facts
    assert {history.statuses(job).count(Status.COMPLETED) for job in jobs} == {1}
    assert history.contradictions == []
    assert site.told("audit")["holds"]
    assert site.told("replay", "verify")["equal"]


@pytest.mark.parametrize("name", ["orchestrator", "scheduler", "gate"])
def test_after_kill_9_of_an_agent_every_job_completes_and_none_ran_twice(site: Site, name: str, tmp_path: Path) -> None:
    jobs = submit_tallied(site, tmp_path, 40, 0.7)
    kill_in_mid_run(site, name, jobs)
    everything_ended_well(site, jobs)
    assert [site.facts.statuses(job) for job in jobs if site.facts.course(job) != WHOLE] == []
    assert {tuple(lines(file)) for file in jobs.values()} == {("begun", "ended")}


def test_the_jobs_of_a_worker_that_was_killed_run_again_and_no_others(site: Site, tmp_path: Path) -> None:
    jobs = submit_tallied(site, tmp_path, 24, 2.0)
    until(lambda: site.count(Status.COMPLETED, jobs) >= 4 and is_busy(site, jobs), SOON, what="it is busy")
    site.kill(VICTIM, signal.SIGKILL)
    site.cluster.start(VICTIM)
    everything_ended_well(site, jobs)
    lost = {job for job in jobs if was_lost(site, job)}
    assert 1 <= len(lost) <= SLOTS
    starts = {job: site.facts.statuses(job).count(Status.STARTED) for job in jobs}
    assert {job for job, count in starts.items() if count > 1} == lost
    assert {starts[job] for job in lost} == {2}
    assert {tuple(lines(jobs[job])) for job in jobs.keys() - lost} == {("begun", "ended")}
    assert {lines(jobs[job]).count("begun") for job in lost} == {2}


def is_busy(site: Site, jobs: dict[str, Path]) -> bool:
    """Whether each of the victim's slots runs a job, by what the facts say and by what the jobs themselves do."""
    last = {job: site.facts.of(job)[-1] for job in jobs}
    held = [job for job, fact in last.items() if fact.status == Status.STARTED and is_of_victim(fact)]
    return len(held) == SLOTS and all(lines(jobs[job]) == ["begun"] for job in held)


def was_lost(site: Site, job: str) -> bool:
    """Whether an attempt ran on the victim and had no result: the job whose result was on its way is not lost."""
    ended = {fact.attempt for fact in site.facts.of(job) if fact.status == Status.COMPLETED}
    begun = {fact.attempt for fact in site.facts.of(job) if fact.status == Status.STARTED and is_of_victim(fact)}
    return begun - ended != set()


def is_of_victim(fact: Fact) -> bool:
    return bool(document(fact)["celery_hostname"] == VICTIM)
