"""The whole flow with real containers: what runs in them, how they end, what they may not do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from ops.cluster import Plan
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, SOON, WHOLE, Site, site_at
from tests.waiting import until


@pytest.fixture(scope="module")
def site(servers_home: Path, docker_engine: docker.DockerClient) -> Iterator[Site]:
    with site_at(servers_home / "containers", Plan(workers=1, engine="docker", **NO_SEARCH)) as site:
        yield site


@pytest.fixture
def run(site: Site, busybox_image: str) -> Any:
    def run(command: str, *ends: str, **options: Any) -> str:
        wanted = {"container_image_name": busybox_image, **options}
        (job,) = site.submit({"_command": command}, job_type="contained", **wanted)
        site.await_status([job], *ends, timeout=2 * SOON)
        return job

    return run


def test_a_command_runs_in_its_image_and_its_output_is_kept(site: Site, run: Any) -> None:
    job = run("sh -c 'echo out; echo err >&2; ls -d /bin/busybox'", Status.COMPLETED)
    assert site.facts.statuses(job) == WHOLE
    info = site.document(job)["job"]["job_info"]
    assert info["status"] == 0
    assert (Path(info["job_dir"]) / "_stdout.txt").read_text().splitlines() == ["out", "/bin/busybox"]
    assert (Path(info["job_dir"]) / "_stderr.txt").read_text() == "err\n"
    assert site.document(job)["job"]["container_image_id"].startswith("sha256:")


def test_a_failing_command_fails_its_job_with_its_exit_code(site: Site, run: Any) -> None:
    job = run("sh -c 'exit 7'", Status.FAILED)
    assert site.document(job)["job"]["job_info"]["status"] == 7


def test_a_container_past_its_limit_is_ended(site: Site, run: Any) -> None:
    job = run("sleep 600", Status.FAILED, soft_time_limit=2, time_limit=310)
    assert "time limit" in str(site.facts.of(job)[-1].error)


def test_a_job_has_no_network_no_root_and_no_way_to_write_its_image(site: Site, run: Any) -> None:
    job = run("sh -c 'ls /sys/class/net; id -u; touch /bin/x 2>&1 || echo denied'", Status.COMPLETED)
    seen = (Path(site.document(job)["job"]["job_info"]["job_dir"]) / "_stdout.txt").read_text().splitlines()
    assert seen[0] == "lo"
    assert seen[1] != "0"
    assert seen[-1] == "denied"


def test_a_revoked_job_loses_its_container(site: Site, run: Any, docker_engine: docker.DockerClient) -> None:
    job = run("sleep 600", Status.STARTED)
    assert site.cli("revoke", job).returncode == 0
    site.await_status([job], Status.REVOKED)

    def gone() -> bool:
        return not docker_engine.containers.list(
            all=True, ignore_removed=True, filters={"label": f"jobstream.job={job}"}
        )

    until(gone, SOON, what="the container is gone")


def test_an_image_that_is_not_there_fails_the_job_and_says_so(site: Site, run: Any) -> None:
    job = run("true", Status.FAILED, container_image_name="jobstream/absent:9")
    assert "jobstream/absent:9" in str(site.facts.of(job)[-1].error)
