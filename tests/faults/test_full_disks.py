"""Disks without room, below the ledger's tables and below the work directories: said clearly, and nothing is lost."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.cluster import Plan
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, lines, site_at, tallied
from tests.faults.support import all_complete, nothing_is_violated
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system"),
]

NO_ROOM = "No space left on device"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes; it is gone afterwards, whatever happens."""
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "jobstream-test", folder], check=True, timeout=30
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=30)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No byte is left on the disk inside."""
    filler = disk / "filler"
    fill(filler)
    try:
        yield
    finally:
        filler.unlink()


def fill(filler: Path) -> None:
    with filler.open("ab", buffering=0) as file:
        for block in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(block)) == block:
                    pass
            except OSError:
                continue


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    home = servers_home / "full-disks"
    worker = {**QUICK_LEASES["worker"], "slots": 4, "root": home / "work"}
    # a worker without room hands jobs back, and rests longer each time
    ledger = {**QUICK_LEASES["ledger"], "free_releases": 0, "max_attempts": 1}
    with (
        small_disk(home / "faust", "48m"),
        small_disk(home / "work", "32m"),
        site_at(home, Plan(workers=1, **NO_SEARCH), {**QUICK_LEASES, "ledger": ledger, "worker": worker}) as site,
    ):
        yield site


def test_an_orchestrator_whose_disk_is_full_ends_and_goes_on_where_it_stood_once_there_is_room(
    site: Site, tmp_path: Path
) -> None:
    files = [tmp_path / str(number) for number in range(16)]
    jobs = site.submit(*[tallied(file, 0.2) for file in files[:4]])
    all_complete(site, jobs)
    agent = site.cluster.agent("orchestrator")
    with filled(site.home / "faust"):
        sent = [site.send_job(tallied(file, 0.2), f"full-{number}") for number, file in enumerate(files[4:])]
        assert agent.wait(SOON), "it ends"
        assert NO_ROOM in agent.log.read_text(errors="replace")
    site.cluster.start("orchestrator")
    jobs += [site.job_of(submission) for submission in sent]
    all_complete(site, jobs)
    assert {tuple(lines(file)) for file in files} == {("begun", "ended")}


def test_jobs_on_a_full_work_disk_fail_with_the_reason_and_run_again_once_there_is_room(
    site: Site, tmp_path: Path
) -> None:
    worker = site.cluster.pid("worker-1")
    files = [tmp_path / str(number) for number in range(4)]
    with filled(site.settings.work_root):
        jobs = site.submit(*[tallied(file, 0.2) for file in files])
        site.await_status(jobs, Status.FAILED)
        assert [job for job in jobs if NO_ROOM not in site.document(job)["error"]] == []
        assert site.cluster.pid("worker-1") == worker
        nothing_is_violated(site)
    for job in jobs:
        assert site.cli("retry", job).returncode == 0
    all_complete(site, jobs)
    assert {tuple(site.facts.course(job)[-2:]) for job in jobs} == {tuple(WHOLE[1:])}
    assert site.cluster.pid("worker-1") == worker
    until(lambda: all(lines(file)[-1:] == ["ended"] for file in files), SOON, what="all ran")
