"""The whole flow where attempts fail: by rules of the installation and of the job, in real containers."""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from ops.cluster import Plan
from pipeline.statuses import ATTEMPT_FAILED, Status
from tests.acceptance.support import NO_SEARCH, SOON, Site, document, site_at

RULES = {
    "exit:75": {"attempts": 3, "backoff_ms": 500, "avoid": False},
    "out-of-memory": {"attempts": 3, "memory_factor": 2, "backoff_ms": 100},
}
LEDGER = {"retries": RULES, "retry_memory_mib": 512, "tick_ms": 200}
#: What an attempt that failed, and is followed by another, has been through.
FAILED_ONCE = [Status.QUEUED, Status.STARTED, ATTEMPT_FAILED]
WHOLE = [Status.QUEUED, Status.STARTED, Status.COMPLETED]
#: Fails as EX_TEMPFAIL until its third attempt.
THIRD_TIME = """sh -c 'grep -q "attempt.: *3" _job.json || exit 75'"""


@pytest.fixture(scope="module")
def site(servers_home: Path, docker_engine: docker.DockerClient) -> Iterator[Site]:
    plan = Plan(workers=1, engine="docker", **NO_SEARCH)
    with site_at(servers_home / "retries", plan, {"ledger": LEDGER}) as site:
        yield site


def submitted(site: Site, image: str, command: str, **options: object) -> str:
    wanted = {"container_image_name": image, **options}
    (job,) = site.submit({"_command": command}, job_type="retried", **wanted)
    site.await_status([job], Status.COMPLETED, Status.FAILED, timeout=3 * SOON)
    return job


def test_a_command_that_asks_for_another_try_succeeds_at_its_third(site: Site, busybox_image: str) -> None:
    job = submitted(site, busybox_image, THIRD_TIME)
    assert site.facts.course(job) == [*FAILED_ONCE, *FAILED_ONCE, *WHOLE]
    failed = [fact for fact in site.facts.of(job) if fact.status == ATTEMPT_FAILED]
    followed = [fact for fact in site.facts.of(job) if str(fact.reason).startswith("retry ")]
    assert [document(fact)["job"]["job_info"]["status"] for fact in failed] == [75, 75]
    assert [document(fact)["retry"]["number"] for fact in failed] == [1, 2]
    # 500 and 1000 ms, each up to a fifth shorter
    waits = [after.time - before.time for before, after in zip(failed, followed, strict=True)]
    assert waits[0] >= 400 and waits[1] >= 800
    shown = site.cli("get", job).stdout.splitlines()
    assert [line.split()[1] for line in shown[-3:]] == [ATTEMPT_FAILED, ATTEMPT_FAILED, Status.COMPLETED]
    told = site.cli("events", job, "-o", "json").stdout.splitlines()
    assert {json.loads(line)["attempt"] for line in told} == {1, 2, 3}


def test_a_command_that_ran_out_of_memory_gets_more_until_it_fits(site: Site, busybox_image: str) -> None:
    needs = json.dumps({"memory_mib": 48})
    job = submitted(site, busybox_image, "dd if=/dev/zero of=/dev/null bs=120M count=1", needs=needs)
    assert site.facts.course(job) == [*FAILED_ONCE, *FAILED_ONCE, *WHOLE]
    failed = [document(fact) for fact in site.facts.of(job) if fact.status == ATTEMPT_FAILED]
    assert [one["job"]["job_info"]["memory_limit_mib"] for one in failed] == [48, 96]
    assert [one["retry"]["memory_mib"] for one in failed] == [96, 192]
    assert site.document(job)["job"]["needs"]["memory_mib"] == 192


def test_a_job_that_wants_no_retry_gets_none_and_is_told_so(site: Site, busybox_image: str) -> None:
    job = submitted(site, busybox_image, "sh -c 'exit 75'", retry="false")
    assert site.facts.course(job) == [Status.QUEUED, Status.STARTED, Status.FAILED]
    assert "not to be tried again" in site.document(job)["retry"]["why"]
    retried = site.cli("retry", job, "--attempt", "1")
    assert retried.returncode == 0, retried.stderr
    again = site.cli("retry", job, "--attempt", "1")
    assert again.returncode == 1
