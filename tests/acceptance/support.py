"""One installation as an operator has it: made by `ops.cluster`, asked by the command line, judged by its facts."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from agents.registry import codec
from ops.cluster import Cluster, Plan
from ops.reading.log import Log
from ops.submitting import Submission, Submitter
from pipeline.codec import DecodeError
from pipeline.messages.fact import Fact
from pipeline.settings import EmbeddedSettings, Settings, TopicSettings
from pipeline.statuses import REFUSED, Status
from tests.conftest import KAFKA_RELEASE
from tests.waiting import until

NO_SEARCH = {"elasticsearch": False, "sink": False}
#: leases of 6 s, so that outages of several leases are short; the ratios are those of the defaults
QUICK_LEASES: Mapping[str, Mapping[str, Any]] = {
    "ledger": {"lease_ms": 6000, "tick_ms": 500, "session_ms": 6000, "retry_backoff_ms": 200},
    "gate": {"session_ms": 6000},
    "scheduler": {"session_ms": 6000, "silence_ms": 3000, "claim_retry_ms": 3000, "view_ms": 500},
    "worker": {"heartbeat_ms": 1500, "status_ms": 500},
}
#: what a job that ran once, undisturbed, has been through
WHOLE = [Status.QUEUED, Status.STARTED, Status.COMPLETED]
ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.REVOKED, Status.DEDUPED})
#: s for what takes a second on a quiet machine
SOON = 60.0
_TALLY = 'echo begun >>"$1"; sleep "$2"; echo ended >>"$1"'
_NUMBERS = itertools.count()


@dataclass
class History:
    """All facts of an installation by job and `seq`; a repeat that differs, or a gap, is kept as a contradiction."""

    facts: dict[str, dict[int, Fact]] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    #: the jobs of each submission, by its id
    submissions: dict[str, list[str]] = field(default_factory=dict)

    def add(self, fact: Fact) -> None:
        if fact.job_id not in self.facts:
            self.submissions.setdefault(fact.submission_id, []).append(fact.job_id)
        known = self.facts.setdefault(fact.job_id, {})
        if fact.seq not in known and fact.seq != len(known) + 1:
            self.contradictions.append(f"{fact.job_id}: {fact.status} is fact {fact.seq} and came after {len(known)}")
        before = known.setdefault(fact.seq, fact)
        if before != fact:
            self.contradictions.append(f"{fact.job_id}: fact {fact.seq} is both {_told(before)} and {_told(fact)}")

    def of(self, job_id: str) -> list[Fact]:
        """The job's facts that changed it, in their order."""
        facts = self.facts.get(job_id, {})
        return [facts[seq] for seq in sorted(facts) if facts[seq].status != REFUSED]

    def statuses(self, job_id: str) -> list[str]:
        return [fact.status for fact in self.of(job_id)]

    def course(self, job_id: str) -> list[str]:
        """The job's statuses, in which an attempt that was handed back before it began only goes on waiting.

        That happens to what was granted for a slot that was to be free at once and was not: on a busy machine, often.
        """
        statuses = self.statuses(job_id)
        waits_on = (Status.QUEUED, Status.QUEUED)
        return statuses[:1] + [now for before, now in itertools.pairwise(statuses) if (before, now) != waits_on]


class Site:
    """A running installation. `facts` reads on at each look; nothing here waits without a bound."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.settings = cluster.settings
        self.home = cluster.home
        #: Records of jobs.events that are no facts; tests of poison write some.
        self.unreadable = 0
        # what an outage looks like from here is no news
        self.submitter = Submitter(self.settings, **{"log_level": 0})
        self._codec = codec(self.settings)
        self._history = History()
        self._log = Log(self.settings)
        events = self.settings.topology.events
        self._log.follow(events, dict.fromkeys(range(events.partitions), 0))

    def close(self) -> None:
        self.submitter.close()
        self._log.close()

    # -- clients

    def cli(self, *arguments: str, stdin: str = "", timeout: float = SOON) -> "subprocess.CompletedProcess[str]":
        """Run `jobstream` as an operator does, who knows no more than the installation's home."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBSTREAM_")}
        return subprocess.run(
            [sys.executable, "-P", "-m", "ops.cli.main", "--home", str(self.home), *arguments],
            env=environment,
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def told(self, *arguments: str) -> Any:
        """Return what a command that succeeds says as JSON."""
        done = self.cli(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return orjson.loads(done.stdout)

    def submit(self, *payloads: Mapping[str, Any], job_type: str = "sum", **options: Any) -> list[str]:
        """Submit one job a payload, no two of which are duplicates; return the job ids once all are taken."""
        unlike = [{**payload, "number": next(_NUMBERS)} for payload in payloads]
        submissions = [Submission(job_type, payload, options=options) for payload in unlike]
        for sent in [self.submitter.send(submission) for submission in submissions]:
            sent.result(SOON)
        return [self.job_of(submission.submission_id) for submission in submissions]

    def send_job(self, payload: Mapping[str, Any], submission_id: str, job_type: str = "sum") -> str:
        """Submit without waiting until the submission is taken; return its id."""
        self.submitter.send(Submission(job_type, payload, submission_id)).result(SOON)
        return submission_id

    def send(self, value: bytes | None, key: str = "any") -> tuple[int, int]:
        """Put bytes on jobs.submit; return their partition and offset."""
        publisher = self.submitter._publisher
        delivered = publisher.send(self.settings.topology.submit, key, value, 0).result(SOON)
        return delivered.partition, delivered.offset

    # -- what came of it

    @property
    def facts(self) -> History:
        """All facts so far; where more and more come, those of a second."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and (message := self._log.poll(0.02)) is not None:
            try:
                self._history.add(Fact.of(self._codec.decode("fact", message.value())))
            except DecodeError:
                self.unreadable += 1
        return self._history

    def job_of(self, submission_id: str) -> str:
        """Return the one job of a submission once the ledger has taken it."""
        if submission_id not in self._history.submissions:
            until(lambda: self.jobs_of(submission_id), SOON, what=f"{submission_id} is taken")
        return self._history.submissions[submission_id][0]

    def jobs_of(self, submission_id: str) -> list[str]:
        return self.facts.submissions.get(submission_id, [])

    def await_status(self, jobs: Iterable[str], *wanted: str, timeout: float = SOON) -> None:
        """Wait until each job's last fact has one of these statuses."""
        left = set(jobs)

        def all_there() -> bool:
            history = self.facts
            left.difference_update(
                [job for job in left if history.statuses(job)[-1:] and _last(history, job) in wanted]
            )
            return not left

        what = f"jobs become {', '.join(wanted)}"
        try:
            until(all_there, timeout, what=what)
        except AssertionError as late:
            shown = {job: self.facts.statuses(job) for job in sorted(left)[:10]}
            raise AssertionError(f"{what}: {len(left)} are not within {timeout} s: {shown}") from late

    def count(self, status: str, jobs: Iterable[str]) -> int:
        """Return how many of the jobs were ever in this status."""
        history = self.facts
        return sum(status in history.statuses(job) for job in jobs)

    def document(self, job: str) -> dict[str, Any]:
        """The job's current status document."""
        return document(self.facts.of(job)[-1])

    def waiting(self, queue: str) -> int:
        """How many jobs the scheduler says wait in a queue."""
        return sum(row["depth"] for row in self.told("queues") if row["queue"] == queue)

    # -- its processes

    def kill(self, name: str, number: int) -> None:
        self.cluster.kill(name, number)

    def process(self, name: str) -> psutil.Process:
        pid = self.cluster.pid(name)
        assert pid is not None, f"{name} does not run"
        return psutil.Process(pid)


def _told(fact: Fact) -> str:
    place = f"{fact.inbox_partition}/{fact.inbox_offset}.{fact.index}"
    return f"{fact.status} of attempt {fact.attempt} at {fact.time}, from {place} ({fact.reason or fact.error or ''})"


def _last(history: History, job: str) -> str:
    return history.statuses(job)[-1]


def document(fact: Fact) -> dict[str, Any]:
    return dict(orjson.loads(fact.document))


def tallied(file: Path, seconds: float) -> dict[str, Any]:
    """A payload whose job says in a file when it begins and ends: how often it really ran."""
    return {"_command": f"sh -c '{_TALLY}' tally $file $seconds", "file": str(file), "seconds": seconds}


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@contextmanager
def site_at(home: Path, plan: Plan, sections: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[Site]:
    """An installation with these sections of settings, on free ports, up inside and gone after."""
    known = sections or {}
    ports = dict.fromkeys(("kafka_port", "controller_port", "elasticsearch_port", "transport_port"), 0)
    heaps = {"kafka_heap_mib": 384, "elasticsearch_heap_mib": 384}
    embedded = EmbeddedSettings(**{**ports, **heaps, "workers": plan.workers, "kafka_release": KAFKA_RELEASE})
    settings = Settings(home=home, embedded=embedded, topics=TopicSettings())
    for name, values in known.items():
        section = getattr(settings, name)
        settings = settings.model_copy(update={name: section.model_validate({**section.model_dump(), **values})})
    with running(settings, plan) as site:
        yield site


@contextmanager
def running(settings: Settings, plan: Plan) -> Iterator[Site]:
    """An installation with these settings, up inside and gone after."""
    with Cluster(settings, plan) as cluster:
        site = Site(cluster)
        try:
            yield site
        finally:
            site.close()


def all_of(condition: Callable[[str], bool], jobs: Sequence[str]) -> list[str]:
    """Return the jobs for which the condition doesn't hold: none, where all is well."""
    return [job for job in jobs if not condition(job)]
