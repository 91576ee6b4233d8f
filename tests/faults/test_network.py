"""A broker that is restarted, killed, far away, cut off or silent: jobs go on, and our own outage expires nobody."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from ops.cluster import AgentProcess, Plan
from ops.embedded.ports import LOOPBACK
from ops.reading.workers import set_draining
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, lines, site_at, tallied
from tests.asked import LONG
from tests.faults.network import Network, network
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

pytestmark = pytest.mark.timeout(1800 if LONG else 300)

SLOTS = 6
#: s of an outage, half of it cut off and half of it silent: more than two leases of 6 s; of the default's 60 s. After
#: 300 s a client gives a record up, and an orchestrator that has one under way ends and has to be started again
OUTAGE = 240.0 if LONG else 14.0
#: s that a record takes to the broker, and its answer back
LATENCY = 0.15
LONER = "worker-9"


@pytest.fixture(scope="module")
def net(servers_home: Path) -> Iterator[Network]:
    with network(servers_home / "network") as net:
        yield net


@pytest.fixture(scope="module")
def site(servers_home: Path, net: Network) -> Iterator[Site]:
    kafka = {"bootstrap": f"{LOOPBACK}:{net.agents.port}"}
    own = {} if LONG else QUICK_LEASES
    worker = {**own.get("worker", {}), "slots": SLOTS, "datasets_file": RULES}
    sections = {**own, "worker": worker, "kafka": kafka}
    with site_at(servers_home / "network", Plan(kafka=False, workers=1, **NO_SEARCH), sections) as site:
        yield site


def jobs_that_take(site: Site, folder: Path, *lengths: float) -> dict[str, Path]:
    """Submit jobs that say in a file of their own each time that they begin and end."""
    files = [folder / f"{length}-{number}" for number, length in enumerate(lengths)]
    payloads = [tallied(file, length) for file, length in zip(files, lengths, strict=True)]
    return dict(zip(site.submit(*payloads), files, strict=True))


def each_ran_once(site: Site, jobs: dict[str, Path], timeout: float = 3 * SOON) -> None:
    all_complete(site, jobs, timeout)
    assert {job: site.facts.statuses(job) for job in jobs if site.facts.course(job) != WHOLE} == {}
    assert {tuple(lines(file)) for file in jobs.values()} == {("begun", "ended")}


def pass_by(seconds: float) -> None:
    over = time.monotonic() + seconds
    until(lambda: time.monotonic() > over, seconds + 5, what="time passes")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_ends_in_mid_run_and_comes_back_loses_nothing(
    site: Site, net: Network, number: signal.Signals, tmp_path: Path
) -> None:
    jobs = jobs_that_take(site, tmp_path, *[0.5] * 20)
    until(lambda: site.count(Status.COMPLETED, jobs) >= 4, SOON, what="some are completed")
    if number == signal.SIGKILL:
        pid = net.broker.status().pid
        assert pid is not None
        os.kill(pid, number)
    net.broker.stop()
    assert site.count(Status.COMPLETED, jobs) < len(jobs)
    net.broker.start()
    each_ran_once(site, jobs)


def test_jobs_run_over_a_slow_network_whose_connections_break_again_and_again(
    site: Site, net: Network, tmp_path: Path
) -> None:
    net.agents.latency = LATENCY
    try:
        jobs = jobs_that_take(site, tmp_path, *[0.5] * 24)
        for enough in (4, 10, 16):
            until(lambda: site.count(Status.COMPLETED, jobs) >= enough, 2 * SOON, what=f"{enough} are completed")  # noqa: B023
            net.agents.cut()
            net.agents.mend()
        each_ran_once(site, jobs)
    finally:
        net.agents.latency = 0.0


def test_a_broker_that_is_cut_off_and_then_silent_for_leases_expires_no_job(
    site: Site, net: Network, tmp_path: Path
) -> None:
    # some end while it is away, the others after
    jobs = jobs_that_take(site, tmp_path, *[OUTAGE / 2] * 2, *[OUTAGE + 4] * (SLOTS - 2))
    site.await_status(jobs, Status.STARTED)
    until(lambda: all(map(lines, jobs.values())), SOON, what="all run")
    try:
        net.agents.cut()
        pass_by(OUTAGE / 2)
        net.agents.mend()
        net.agents.freeze()
        pass_by(OUTAGE / 2)
        ended = [file for file in jobs.values() if file.name.startswith(str(OUTAGE / 2))]
        assert {tuple(lines(file)) for file in ended} == {("begun", "ended")}, "jobs went on meanwhile"
        # what was silent is gone for good, as where a machine died: new connections are taken
        net.agents.cut()
    finally:
        net.agents.mend()
    each_ran_once(site, jobs)


@contextmanager
def loner(site: Site, net: Network) -> Iterator[AgentProcess]:
    """A worker that reaches the broker by a relay of its own."""
    agent = AgentProcess(site.home, LONER, ["worker", "--id", LONER])
    bootstrap = {"JOBSTREAM_KAFKA__BOOTSTRAP": f"{LOOPBACK}:{net.alone.port}"}
    agent.start({**site.settings.environment(), **bootstrap})
    try:
        yield agent
    finally:
        assert agent.stop(2 * SOON)


def test_a_worker_that_alone_is_cut_off_is_expired_and_its_completion_and_its_publish_are_refused(
    site: Site, net: Network, tmp_path: Path
) -> None:
    go, files = tmp_path / "go", [tmp_path / "plain", tmp_path / "product"]
    folders = ("nothing", PRODUCT)
    with loner(site, net):
        set_draining(site.settings, "worker-1", "spare", draining=True)
        jobs = site.submit(*[waiting_for(go, file, folder) for file, folder in zip(files, folders, strict=True)])
        until(lambda: all(map(lines, files)), SOON, what="the commands run")
        site.await_status(jobs, Status.STARTED)
        assert {holder_of(site, job) for job in jobs} == {LONER}
        net.alone.cut()
        try:
            set_draining(site.settings, "worker-1", "", draining=False)
            until(lambda: all(lines(file).count("begun") == 2 for file in files), 2 * SOON, what="the next ones run")
            go.touch()
            all_complete(site, jobs)
            until(lambda: all(lines(file).count("ended") == 2 for file in files), SOON, what="all commands have ended")
        finally:
            net.alone.mend()
        for job, kind in zip(jobs, ("completed", "publish"), strict=True):
            facts = site.facts.of(job)
            assert [(fact.status, fact.attempt) for fact in facts] == LOST_AND_FOUND
            assert holder_of(site, job) == "worker-1"
            late = until(partial(refused, site, job), 2 * SOON, what="what it says in the end is refused")
            # one that waited for its permission in vain may have given its attempt up meanwhile
            said = late[0].reason or ""
            assert any(f"{word} of attempt 1 by {LONER}" in said for word in (kind, "failed"))
        assert published(site, jobs[1]) == [2]
        assert copies(site) == 1
        lets_go(site, LONER)
    nothing_is_violated(site)
