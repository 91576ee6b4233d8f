"""What an audit remembers of a job, and of a family: rows of a store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pipeline.audit.store import Store, Table
from pipeline.statuses import ATTEMPT_FAILED, Status

#: After these facts the job waits for its next attempt, and counts as queued.
BETWEEN_ATTEMPTS = frozenset({Status.OFFLINE, ATTEMPT_FAILED})
#: A job in one of these makes a submission of its family a duplicate.
OCCUPYING = BETWEEN_ATTEMPTS | {Status.QUEUED, Status.STARTED, Status.COMPLETED}
#: Nothing follows these but an explicit retry.
ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.DEDUPED, Status.REVOKED})


@dataclass(slots=True)
class Life:
    """A job as its facts told it so far; `seq` 0 before the first. `digests` are of the facts from `first` on.

    `offset` is the inbox's of the last fact, `changed` of the last that changed the job and records no refusal.
    """

    seq: int = 0
    first: int = 1
    status: str = ""
    attempt: int = 0
    holder: str = ""
    submission_id: str = ""
    time: int = 0
    offset: int = -1
    changed: int = -1
    refused_at: int = -1
    digests: list[str] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether only an explicit retry may follow."""
        return self.status in ENDED

    @property
    def is_known(self) -> bool:
        """Whether a fact told the job's status and attempt: one that records a refusal may tell the next attempt's."""
        return self.status != ""

    def digest(self, seq: int) -> str | None:
        """Return the digest of a fact that was seen, None where it was not."""
        index = seq - self.first
        return self.digests[index] if 0 <= index < len(self.digests) else None

    def add_digest(self, seq: int, digest: str) -> None:
        """Remember the next fact's digest; after a gap only those behind it are known."""
        if seq != self.first + len(self.digests):
            self.first, self.digests = seq, []
        self.digests.append(digest)


class Lives:
    """The lives of a partition's jobs, and for each family the jobs that occupy it."""

    def __init__(self, partition: int, store: Store) -> None:
        self._jobs = Table(store, f"job/{partition}")
        self._families = Table(store, f"family/{partition}")

    def of(self, job_id: str) -> Life:
        """Return a job's life, a new one where nothing was told of it yet."""
        row = self._jobs.get(job_id)
        return Life() if row is None else Life(**row)

    def keep(self, family: str, job_id: str, life: Life) -> None:
        """Write a job's life, and whether it occupies its family."""
        self._jobs.put(job_id, {name: getattr(life, name) for name in Life.__slots__})
        occupants = self._families.get(family) or {}
        now = [life.submission_id, life.status, life.time] if life.status in OCCUPYING else None
        if occupants.get(job_id) == now:
            return
        others = {name: known for name, known in occupants.items() if name != job_id}
        self._families.put(family, others if now is None else {**others, job_id: now})

    def occupants(self, family: str) -> "list[Occupant]":
        """Return the jobs that occupy a family."""
        return [Occupant.of(name, known) for name, known in (self._families.get(family) or {}).items()]


@dataclass(frozen=True, slots=True)
class Occupant:
    """A job that occupies its family since `time` (ms) with this status."""

    job_id: str
    submission_id: str
    status: str
    time: int

    @classmethod
    def of(cls, job_id: str, known: Sequence[Any]) -> Self:
        """Build it from a row."""
        return cls(job_id, str(known[0]), str(known[1]), int(known[2]))
