"""What facts say of jobs from before the inbox begins: what a fold of what is left can't know."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from ops.reading.facts import FINAL, status_of
from ops.reading.log import Log
from ops.replaying.reading import Tell, silent
from ops.replaying.recorded_facts import RecordedFacts, span
from ops.replaying.store import DiskStore
from pipeline.ledger.state import Family
from pipeline.messages.fact import Fact
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Last:
    """A job's last fact."""

    seq: int
    status: str
    time: int

    def counts(self, forgotten_before: int) -> bool:
        """Say whether the ledger has something to remember of the job: it is unfinished, or ended not long ago."""
        return self.status not in FINAL or self.time >= forgotten_before


class Past:
    """The families of one partition that have facts from before the inbox begins, and their jobs' last facts.

    `is_known` is False where jobs.events doesn't reach back to before the inbox: then any family may have a past.
    """

    def __init__(self, store: DiskStore, number: int) -> None:
        self._store = store
        self._prefix = f"past/{number}/"
        self.is_known = True
        #: time of the newest fact (ms)
        self.now = 0

    def read(self, settings: Settings, log: Log, number: int, begins: int, decided: int, tell: Tell = silent) -> None:
        """Read jobs.events; facts of inbox offsets from `decided` on are left out."""
        where = span(settings, log, number)
        first = None
        for fact in RecordedFacts(settings, log, number).read(where.partition, where.first, where.end, tell):
            first = fact.inbox_offset if first is None else first
            if fact.inbox_offset < decided:
                self._take(fact, begins)
        self.is_known = where.is_whole or (first is not None and first < begins)

    def __contains__(self, family: str) -> bool:
        return not self.is_known or self._store.get(self._key(family)) is not None

    def families(self) -> Iterator[tuple[str, dict[str, Last]]]:
        """Yield each family with its jobs' last facts."""
        prefix = self._prefix.encode()
        for key, value in self._store.rows(prefix):
            yield (
                key[len(prefix) :].decode(),
                {job: Last(place[1], status, time) for job, (place, status, time) in orjson.loads(value).items()},
            )

    def _take(self, fact: Fact, begins: int) -> None:
        self.now = max(self.now, fact.time)
        known = self._store.get(self._key(fact.family))
        if known is None and fact.inbox_offset >= begins:
            return
        jobs = {} if known is None else orjson.loads(known)
        place = [fact.inbox_offset, fact.seq]
        # an old owner's repeats come late
        if fact.job_id not in jobs or jobs[fact.job_id][0] <= place:
            jobs[fact.job_id] = [place, status_of(fact), fact.time]
        self._store.put(self._key(fact.family), orjson.dumps(jobs))

    def _key(self, family: str) -> bytes:
        return f"{self._prefix}{family}".encode()


def is_as_recorded(family: Family | None, jobs: dict[str, Last], forgotten_before: int) -> bool:
    """Say whether a folded family has all jobs that count, at their last facts, and no others."""
    counted = {job for job, last in jobs.items() if last.counts(forgotten_before)}
    if family is None:
        return not counted
    folded = {
        **{job: one.seq for job, one in family.jobs.items()},
        **{job: one.seq for job, one in family.done.items()},
    }
    return counted <= folded.keys() and all(job in jobs and jobs[job].seq == seq for job, seq in folded.items())
