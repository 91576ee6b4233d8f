"""An installation on the oldest release of Kafka that is supported. All of it: JOBSTREAM_TEST_KAFKA=3.9 with any tests.

Tasks go by a consumer group there: brokers before 4.2 have no share groups that could be relied on.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.admin import describe
from ops.cli import exits
from ops.cluster import Plan
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, lines, site_at, tallied
from tests.asked import only_where_asked_for
from tests.waiting import until

pytestmark = only_where_asked_for("older-broker")


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    sections = {
        **QUICK_LEASES,
        "embedded": {"kafka_release": "3.9"},
        "topics": {"task_partitions": 2},
        "tasks": {"source": "group", "session_ms": 6000},
    }
    with site_at(servers_home / "older", Plan(workers=1, task_workers=1, **NO_SEARCH), sections) as site:
        yield site


def test_the_broker_has_every_topic_with_every_setting_as_it_should_be(site: Site) -> None:
    assert "kafka_2.13-3.9" in " ".join(site.process("kafka").cmdline())
    states = describe(site.settings)
    assert {one.topic.name: (one.misfit, one.differing) for one in states if one.misfit or one.differing} == {}
    assert all(one.partitions for one in states)


def test_jobs_complete_once_though_the_orchestrator_is_killed(site: Site, tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(4)]
    jobs = site.submit(*(tallied(file, 4) for file in files))
    until(lambda: any(map(lines, files)), SOON, what="a job runs")
    site.kill("orchestrator", 9)
    site.cluster.start("orchestrator")
    site.await_status(jobs, Status.COMPLETED, timeout=2 * SOON)
    assert {job: site.facts.statuses(job) for job in jobs if site.facts.course(job) != WHOLE} == {}
    assert {tuple(lines(file)) for file in files} == {("begun", "ended")}
    assert site.facts.contradictions == []


def test_a_task_is_called_by_a_member_of_a_consumer_group(site: Site) -> None:
    done = site.cli("task", "submit", "echo", "--arg", "3", "--wait", "-o", "json")
    assert done.returncode == exits.OK, done.stderr
    assert '"task-succeeded"' in done.stdout


def test_the_log_holds(site: Site) -> None:
    (job,) = site.submit({"_command": "true"})
    site.await_status([job], Status.COMPLETED)
    done = site.cli("audit", timeout=2 * SOON)
    assert done.returncode == exits.OK, done.stdout + done.stderr
