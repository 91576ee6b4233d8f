"""What the ledger remembers of a family: its unfinished jobs, and stubs of the finished ones (design §4)."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

import orjson

from pipeline.identity import asked_of
from pipeline.messages.inbox import Source
from pipeline.statuses import BLOCKING, Status

#: Finished jobs that a family remembers at most; what blocks is dropped last.
MAX_STUBS = 256
#: Workers that a job avoids at most; the newest count.
MAX_AVOID = 5


class Phase(StrEnum):
    """Where an unfinished job is."""

    #: Its run record is out, and no holder has it.
    WAITING = "waiting"
    #: A holder has a lease on its attempt, started or not.
    LEASED = "leased"
    #: Its next attempt waits for a back-off to end.
    BACKOFF = "backoff"


@dataclass(frozen=True, slots=True)
class Job:
    """An unfinished job. Times in ms; `run` is what its `started` report said, as far as facts repeat it."""

    submission_id: str
    queue: str
    priority: int
    queued_at: int
    since: int
    status: Status = Status.QUEUED
    phase: Phase = Phase.WAITING
    attempt: int = 1
    seq: int = 0
    holder: str = ""
    claim_id: str = ""
    started_at: int = 0
    due: int = 0
    permitted: bool = False
    retries: int = 0
    free: int = 0
    time_limit: int | None = None
    avoid: tuple[str, ...] = ()
    run: dict[str, Any] = field(default_factory=dict)
    #: MiB that a retry gave it; 0: what its document says
    memory_mib: int = 0
    #: what its last counted failure fell under, and how many retries that allows
    cause: str = ""
    most: int = 0
    #: who reported the failure that made this attempt follow
    failed_by: str = ""

    @property
    def blocks(self) -> bool:
        """Whether a new submission of the family is a duplicate of it: a retry pending counts as queued."""
        return True

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Build it from its JSON."""
        values["status"] = Status(values["status"])
        values["phase"] = Phase(values["phase"])
        values["avoid"] = tuple(values["avoid"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Stub:
    """A finished job, as far as dedup, redelivery, late reports and an explicit retry need it; `time` in ms.

    `queue` and `memory_mib` are what the job ended with where that isn't what its document says.
    """

    submission_id: str
    status: Status
    seq: int
    attempt: int
    time: int
    holder: str = ""
    queue: str = ""
    memory_mib: int = 0

    @property
    def blocks(self) -> bool:
        """Whether a new submission of the family is a duplicate of it."""
        return self.status in BLOCKING

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Build it from its JSON."""
        values["status"] = Status(values["status"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Family:
    """All jobs with one payload hash.

    `offset` is the inbox offset up to which messages are included, `sources` the highest offset applied
    from each source log (`Source.key`), so that a forwarded record that comes twice is applied once.
    """

    id: str
    offset: int = -1
    payload_hash: str = ""
    sources: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    done: dict[str, Stub] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing needs to be remembered of it any longer."""
        return not self.jobs and not self.done

    def knows(self, job_id: str) -> bool:
        """Say whether this job was submitted before, by whichever record of its submission."""
        if job_id in self.jobs or job_id in self.done:
            return True
        asked = asked_of(job_id)
        return any(asked_of(name) == asked for name in (*self.jobs, *self.done))

    def has_applied(self, source: Source | None) -> bool:
        """Say whether this source record was applied before; an offset without a topic's id counts for any."""
        if source is None:
            return False
        return source.offset <= max(self.sources.get(source.key, -1), self.sources.get(source.log, -1))

    def blocking(self, submission_id: str) -> str | None:
        """Return the job that makes a new submission a duplicate: the oldest, and never a sibling's."""
        candidates: Iterable[tuple[str, Job | Stub]] = (*self.done.items(), *self.jobs.items())
        blocking = [name for name, job in candidates if job.blocks and job.submission_id != submission_id]
        return blocking[0] if blocking else None

    def at(self, offset: int, source: Source | None) -> Self:
        """Return the family with a message included; a repeat takes no source back."""
        if source is None or self.has_applied(source):
            return replace(self, offset=offset)
        others = {key: past for key, past in self.sources.items() if key.partition("/")[0] != source.log}
        return replace(self, offset=offset, sources={**others, source.key: source.offset})

    def with_job(self, job_id: str, job: Job) -> Self:
        """Return the family with this unfinished job added or replaced."""
        done = self.done
        if job_id in done:
            done = {name: stub for name, stub in done.items() if name != job_id}
        return replace(self, jobs={**self.jobs, job_id: job}, done=done)

    def with_stub(self, job_id: str, stub: Stub) -> Self:
        """Return the family with this job finished; the oldest stubs that block nothing make room."""
        jobs = {name: job for name, job in self.jobs.items() if name != job_id}
        done = {**self.done, job_id: stub}
        while len(done) > MAX_STUBS:
            done.pop(next((name for name, old in done.items() if not old.blocks), next(iter(done))))
        return replace(self, jobs=jobs, done=done)

    def without_stubs_before(self, time: int) -> tuple[Self, list[str]]:
        """Return the family without stubs older than `time` (ms), and the ids that were dropped."""
        old = [name for name, stub in self.done.items() if stub.time < time]
        if not old:
            return self, []
        return replace(self, done={name: stub for name, stub in self.done.items() if name not in old}), old

    def dump(self) -> bytes:
        """Return the table's value."""
        return orjson.dumps(self)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read the table's value; raises ValueError, KeyError or TypeError for anything else."""
        values = orjson.loads(data)
        values["jobs"] = {name: Job.of(job) for name, job in values["jobs"].items()}
        values["done"] = {name: Stub.of(stub) for name, stub in values["done"].items()}
        return cls(**values)
