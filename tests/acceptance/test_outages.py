"""Parts that are away for several leases while jobs run: time stands still for the leases, and nobody is expired.

JOBSTREAM_LONG=1 takes the default settings, and minutes.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.cluster import Plan
from pipeline.statuses import Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, lines, site_at, tallied
from tests.asked import LONG
from tests.waiting import until

#: s: 2 leases and more; a lease has 6 s in the quick case, 60 s by default
OUTAGES = (
    {"orchestrator": 120.0, "gate": 120.0, "kafka": 60.0}
    if LONG
    else {"orchestrator": 20.0, "gate": 20.0, "kafka": 13.0}
)
SLOTS = 6

pytestmark = pytest.mark.timeout(900 if LONG else 300)


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    sections = {} if LONG else QUICK_LEASES
    sections = {**sections, "worker": {**sections.get("worker", {}), "slots": SLOTS}}
    with site_at(servers_home / "outages", Plan(workers=1, **NO_SEARCH), sections) as site:
        yield site


@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_of_several_leases_expires_no_job_and_all_complete_after(
    site: Site, name: str, tmp_path: Path
) -> None:
    seconds = OUTAGES[name]
    # of the running ones two end during the outage and the others after; two more wait
    lengths = [seconds / 2] * 2 + [seconds + 6] * (SLOTS - 2) + [1.0] * 2
    files = [tmp_path / str(number) for number in range(len(lengths))]
    payloads = [tallied(*each) for each in zip(files, lengths, strict=True)]
    jobs = site.submit(*payloads[:SLOTS])
    site.await_status(jobs, Status.STARTED)
    until(lambda: all(map(lines, files[:SLOTS])), SOON, what="all slots are busy")
    jobs += site.submit(*payloads[SLOTS:])
    site.cluster.stop(name)
    over = time.monotonic() + seconds
    until(lambda: time.monotonic() > over, seconds + 5, what="the outage is over")
    assert [len(lines(file)) for file in files[:2]] == [2, 2], "jobs went on during the outage"
    site.cluster.start(name)
    site.await_status(jobs, Status.COMPLETED, timeout=2 * SOON)
    assert {job: site.facts.statuses(job) for job in jobs if site.facts.course(job) != WHOLE} == {}
    assert {tuple(lines(file)) for file in files} == {("begun", "ended")}
    assert site.facts.contradictions == []
