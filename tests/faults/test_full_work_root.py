"""A work root's disk that becomes full while jobs run: they fail or wait with a reason, and others go on."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.cluster import Plan
from ops.reading.workers import worker_rows
from pipeline.statuses import ATTEMPT_FAILED, Status
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, WHOLE, Site, document, lines, site_at, tallied
from tests.faults.disks import NEEDS_ROOT, filled, small_disk
from tests.faults.support import PRODUCT, RULES, all_complete, copies, nothing_is_violated, waiting_for
from tests.waiting import until

pytestmark = [pytest.mark.timeout(300), NEEDS_ROOT]

WORKER = "worker-1"
NO_ROOM = "No space left on device"
#: Why a job is handed back.
SHORT = "disk: 4 MiB are needed, and 10 % of 32 MiB have to stay free; 0 MiB are"
#: Fills its directory's disk and fails for that, the first time.
_FILLS = 'echo begun >>"$1"; if [ ! -e "$2" ]; then touch "$2"; cat /dev/zero >filler || exit 28; fi; echo ended >>"$1"'


def filling(file: Path) -> dict[str, Any]:
    once = str(file.with_suffix(".once"))
    return {"_command": f"sh -c '{_FILLS}' fill $file $once", "file": str(file), "once": once}


@pytest.fixture(scope="module")
def disk(servers_home: Path) -> Iterator[Path]:
    with small_disk(servers_home / "full-work" / "disk", "32m") as disk:
        yield disk


@pytest.fixture(scope="module")
def site(servers_home: Path, disk: Path) -> Iterator[Site]:
    sections = {
        **QUICK_LEASES,
        "ledger": {**QUICK_LEASES["ledger"], "retries": {"command-failed": {"attempts": 2}}},
        "worker": {**QUICK_LEASES["worker"], "slots": 2, "datasets_file": RULES, "root": disk / "work"},
    }
    with site_at(servers_home / "full-work", Plan(workers=1, **NO_SEARCH), sections) as site:
        yield site


def is_well(site: Site, pid: int, disk: Path) -> None:
    """The same process takes jobs, and there is room again once the next of them has asked for it."""
    all_complete(site, site.submit(tallied(site.home / "next", 0.0)))
    assert site.process(WORKER).pid == pid
    (row,) = worker_rows(site.settings)
    assert not row.draining
    usage = shutil.disk_usage(disk)
    assert usage.free > 0.8 * usage.total
    nothing_is_violated(site)


def test_a_job_that_fills_the_disk_fails_for_that_is_tried_again_and_those_beside_it_end(
    site: Site, disk: Path, tmp_path: Path
) -> None:
    pid, go = site.process(WORKER).pid, tmp_path / "go"
    beside, file = tmp_path / "beside", tmp_path / "fills"
    (other,) = site.submit(waiting_for(go, beside, "nothing"))
    site.await_status([other], Status.STARTED)
    (job,) = site.submit(filling(file))
    site.await_status([job], Status.COMPLETED)
    go.touch()
    all_complete(site, [job, other])
    facts = site.facts.of(job)
    assert [(fact.status, fact.attempt) for fact in facts] == [
        *((status, 1) for status in (Status.QUEUED, Status.STARTED, ATTEMPT_FAILED)),
        *((status, 2) for status in WHOLE),
    ]
    failed = document(facts[2])
    assert (failed["category"], failed["retry"]["rule"]) == ("command-failed", "command-failed")
    assert NO_ROOM in failed["traceback"]
    assert not Path(failed["job"]["job_info"]["job_dir"]).exists()
    assert lines(file) == ["begun", "begun", "ended"]
    is_well(site, pid, disk)


def test_what_would_run_on_a_full_disk_waits_and_what_runs_already_ends(site: Site, disk: Path, tmp_path: Path) -> None:
    pid, go = site.process(WORKER).pid, tmp_path / "go"
    beside, waits = tmp_path / "beside", tmp_path / "waits"
    (running,) = site.submit(waiting_for(go, beside, "nothing"))
    until(lambda: lines(beside), SOON, what="it runs")
    with filled(disk):
        (waiting,) = site.submit({**tallied(waits, 0.0), "_disk_usage": "4MB"})
        until(lambda: SHORT in (site.facts.of(waiting)[-1].reason or ""), SOON, what="it is handed back")
        go.touch()
        site.await_status([running], Status.COMPLETED)
        assert lines(waits) == []
    all_complete(site, [waiting, running])
    assert [(fact.status, fact.attempt) for fact in site.facts.of(waiting)][:2] == [
        (Status.QUEUED, 1),
        (Status.QUEUED, 2),
    ]
    assert lines(waits) == ["begun", "ended"]
    (product,) = site.submit(waiting_for(go, tmp_path / "product", PRODUCT))
    all_complete(site, [product])
    assert copies(site) == 1
    is_well(site, pid, disk)
