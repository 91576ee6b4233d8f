"""What the facts say while it happens: each job's course, read from jobs.events by a thread of its own."""

import threading
import time
from collections import Counter
from collections.abc import Iterable

from agents.registry import codec
from ops.reading.log import Log
from pipeline.messages.fact import Fact
from pipeline.settings import Settings
from pipeline.statuses import REFUSALS, Status

#: What a job ends in, but for an explicit retry.
ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.DEDUPED, Status.REVOKED})


class Watch:
    """Safe to ask from any thread. Facts that came twice are counted and not kept."""

    def __init__(self, settings: Settings) -> None:
        self._codec = codec(settings)
        self._log = Log(settings)
        events = settings.topology.events
        self._log.follow(events, dict.fromkeys(range(events.partitions), 0))
        self._lock = threading.Lock()
        self._courses: dict[str, dict[int, tuple[str, int]]] = {}
        self._jobs: dict[str, set[str]] = {}
        self.repeated = 0
        self.facts = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join(30)
        self._log.close()

    def jobs_of(self, submission_id: str) -> list[str]:
        """The jobs of a submission that the ledger has taken."""
        with self._lock:
            return sorted(self._jobs.get(submission_id, ()))

    def statuses(self, job: str) -> list[str]:
        """The statuses that a job went through, without what was refused of it."""
        with self._lock:
            course = self._courses.get(job, {})
            return [course[seq][0] for seq in sorted(course) if course[seq][0] not in REFUSALS]

    def last(self, job: str) -> str:
        """A job's status, empty for one that is unknown."""
        return (self.statuses(job) or [""])[-1]

    def attempts(self, job: str, status: str) -> list[int]:
        """The attempts of which facts of this status are."""
        with self._lock:
            course = self._courses.get(job, {})
            return [course[seq][1] for seq in sorted(course) if course[seq][0] == status]

    def open(self, submissions: Iterable[str]) -> list[str]:
        """The submissions that were not taken, or one of whose jobs has not ended."""
        left = []
        for one in submissions:
            jobs = self.jobs_of(one)
            if not jobs or any(self.last(job) not in ENDED for job in jobs):
                left.append(one)
        return left

    def counts(self) -> Counter[str]:
        """How many facts of each status there are."""
        with self._lock:
            return Counter(status for course in self._courses.values() for status, _ in course.values())

    @property
    def jobs(self) -> int:
        return len(self._courses)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                message = self._log.poll(0.2)
            except OSError:
                time.sleep(0.5)
                continue
            if message is None:
                continue
            try:
                fact = Fact.of(self._codec.decode("fact", message.value()))
            except ValueError:
                # planted: the sink is to bury it
                continue
            self._take(fact)

    def _take(self, fact: Fact) -> None:
        with self._lock:
            self.facts += 1
            course = self._courses.setdefault(fact.job_id, {})
            if fact.seq in course:
                self.repeated += 1
                return
            course[fact.seq] = (str(fact.status), fact.attempt)
            self._jobs.setdefault(fact.submission_id, set()).add(fact.job_id)
