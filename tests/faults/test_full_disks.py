"""A disk without room below the ledger's tables: said clearly, and nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.cluster import Plan
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, Site, lines, site_at, tallied
from tests.faults.disks import NEEDS_ROOT, filled, small_disk
from tests.faults.support import all_complete

pytestmark = [pytest.mark.timeout(300), NEEDS_ROOT]

NO_ROOM = "No space left on device"


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    home = servers_home / "full-disks"
    with (
        small_disk(home / "faust", "48m"),
        site_at(home, Plan(workers=1, **NO_SEARCH), QUICK_LEASES) as site,
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
