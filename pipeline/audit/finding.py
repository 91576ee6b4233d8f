"""What an audit finds: violations by check, jobs that are still open, and what it could not judge."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Violations, and open jobs, that are kept with their details; all are counted.
KEPT = 1000


class Check(StrEnum):
    """What must hold; the text says it in a table."""

    TAKEN = "each record of jobs.submit went into the inbox, or to the dead letters"
    ENDS = "each accepted submission has facts, and ends or is open"
    ONE_COMPLETION = "a job completes once, or again after an explicit retry"
    ONE_LEASE = "an attempt has one holder, and a job one attempt at a time"
    SEQ = "facts of a job are numbered from 1 without gaps"
    ABSORBING = "what has ended changes no more, but for an explicit retry"
    DEDUP_ADMITS = "no job waits beside one of its family that waits, runs or has completed"
    DEDUP_BLOCKS = "a duplicate names a job of its family that waits, runs or has completed"
    REFUSED = "what was refused changed nothing"
    EQUAL = "facts of one job and number are equal"
    CAUSED = "each fact comes from a message about its job, in the order of the inbox"

    @property
    def short(self) -> str:
        """The check's name in results."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be; `offset` is the inbox's (of `TAKEN`: of jobs.submit), -1 where there is none."""

    check: Check
    job_id: str
    partition: int
    offset: int
    detail: str

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "check": self.check.short,
            "job_id": self.job_id,
            "partition": self.partition,
            "offset": self.offset,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Open:
    """A job that has not ended; `since` is the time of its last fact (ms)."""

    job_id: str
    status: str
    attempt: int
    since: int

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"job_id": self.job_id, "status": self.status, "attempt": self.attempt, "since": self.since}


@dataclass(slots=True)
class Findings:
    """All that was found, summed over partitions; `judged` counts how often each check was made."""

    messages: int = 0
    facts: int = 0
    repeats: int = 0
    jobs: int = 0
    open_count: int = 0
    judged: Counter[Check] = field(default_factory=Counter)
    violated: Counter[Check] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    open: list[Open] = field(default_factory=list)

    def violation(self, violation: Violation) -> None:
        """Add a violation."""
        self.violated[violation.check] += 1
        if len(self.violations) < KEPT:
            self.violations.append(violation)

    def still_open(self, job: Open) -> None:
        """Add a job that has not ended."""
        self.open_count += 1
        if len(self.open) < KEPT:
            self.open.append(job)
