"""What the tests of faults share: their judge, and what they look at."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ops.reading.log import Log
from ops.reading.workers import worker_rows
from ops.replaying.auditing import audit
from pipeline.datasets.marker import MARKER
from pipeline.messages.fact import Fact
from pipeline.statuses import REFUSED, Status
from tests.acceptance.support import SOON, Site, document
from tests.conftest import PROJECT
from tests.waiting import until

RULES = PROJECT / "ops" / "templates" / "datasets.json"
PRODUCT = "EXAMPLE-20260102-tile7"
#: Says that it began, waits for a file, makes a product, says that it ended.
_WORK = (
    'echo begun >>"$2"; while [ ! -e "$3" ]; do sleep 0.1; done; '
    '[ "$1" = nothing ] || { mkdir "$1" && echo 42 >"$1/answer.txt" && '
    'echo \'{"version": "v1.0"}\' >"$1/$1.dataset.json"; }; echo ended >>"$2"'
)

#: Status and attempt of each fact of a job whose first worker was lost while it ran.
LOST_AND_FOUND = [
    (Status.QUEUED, 1),
    (Status.STARTED, 1),
    (Status.OFFLINE, 1),
    (Status.QUEUED, 2),
    (Status.STARTED, 2),
    (Status.COMPLETED, 2),
]


def nothing_is_violated(site: Site) -> None:
    """Have the audit judge the whole log; and what a reader of all facts noticed."""
    found = audit(site.settings)
    assert [one.record() for one in found.violations] == []
    assert found.jobs > 0, "an audit that saw nothing judges nothing"
    assert site.facts.contradictions == []


def all_complete(site: Site, jobs: Iterable[str], timeout: float = 2 * SOON) -> None:
    """Wait until all jobs are completed, each of them once, and have the log judged."""
    known = list(jobs)
    site.await_status(known, Status.COMPLETED, timeout=timeout)
    assert {site.facts.statuses(job).count(Status.COMPLETED) for job in known} == {1}
    nothing_is_violated(site)


def holder_of(site: Site, job: str) -> str:
    """Return the id of the worker that the job's newest fact names."""
    return str(document(site.facts.of(job)[-1])["celery_hostname"])


def refused(site: Site, job: str) -> list[Fact]:
    """Return the job's facts that say that a report was refused."""
    return [fact for _, fact in sorted(site.facts.facts.get(job, {}).items()) if fact.status == REFUSED]


def pids(site: Site) -> Mapping[str, int | None]:
    """Return the process of each part of the installation: one that died and nobody started again is None."""
    return {name: site.cluster.pid(name) for name in site.cluster.names}


def waiting_for(go: Path, file: Path, folder: str) -> dict[str, Any]:
    """A payload whose job ends once `go` is there; it leaves a product of that name, or nothing."""
    return {"_command": f"sh -c {json.dumps(_WORK)} work {folder} $file $go", "file": str(file), "go": str(go)}


def published(site: Site, job: str) -> list[int]:
    """Return the attempts of a job that announced a product."""
    topic = site.settings.topology.datasets
    with Log(site.settings) as log:
        events = [
            site._codec.decode("dataset", message.value())
            for number in range(topic.partitions)
            for message in log.read(topic, number)
        ]
    return [event["attempt"] for event in events if event["job_id"] == job]


def copies(site: Site) -> int:
    """Return how many products are visible."""
    return len(list(site.settings.product_store.rglob("answer.txt")))


def publishers(site: Site, job: str) -> list[int]:
    """Return which attempts of a job the visible products say that they are of."""
    visible = site.settings.product_store.rglob("answer.txt")
    markers = [json.loads(path.with_name(MARKER).read_text()) for path in visible]
    return [marker["attempt"] for marker in markers if marker["job_id"] == job]


def lets_go(site: Site, worker: str) -> None:
    """Wait until a worker that came back holds nothing of what it held."""
    since = time.time() * 1000

    def empty() -> bool:
        rows = [row for row in worker_rows(site.settings) if row.status.worker_id == worker]
        return any(row.seen > since and not row.status.attempts for row in rows)

    until(empty, SOON, 0.3, f"{worker} lets go")
