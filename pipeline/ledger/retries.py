"""Whether a failed attempt is followed by another, when, and with how much memory: a look at rules, without effect."""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.ledger.document import Document, iso
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Job
from pipeline.retry_rules import ATTEMPTS, BACKOFF_MS, FACTOR, OUT_OF_MEMORY, WORKER_LOST, names_for

_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as far as rules ask: `memory_mib` is the limit that it ran under, 0 where unknown."""

    category: str
    exit_code: int | None = None
    memory_mib: int = 0

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Self:
        """Build it from what a worker reports; whatever is not as it should be is unknown."""
        info = result.get("job_info")
        info = info if isinstance(info, Mapping) else {}
        code, memory = info.get("status"), info.get("memory_limit_mib")
        return cls(str(result.get("category") or "")[:_LONGEST_NAME], _whole(code) or None, _whole(memory))


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt that follows: `number` of `most` retries by the rule `name`; `due` in ms; 0 MiB: as before."""

    name: str
    number: int
    most: int
    attempt: int
    due: int
    avoid: bool
    memory_mib: int = 0

    @property
    def told(self) -> str:
        """How a fact's reason says it."""
        memory = f" with {self.memory_mib} MiB" if self.memory_mib else ""
        return f"retry {self.number} of {self.most} at {iso(self.due)}{memory}"

    def record(self) -> dict[str, Any]:
        """Return how a status document says it."""
        said = {"follows": True, "attempt": self.attempt, "due": iso(self.due), "number": self.number}
        memory = {"memory_mib": self.memory_mib} if self.memory_mib else {}
        return {**said, "most": self.most, "rule": self.name, **memory}


@dataclass(frozen=True, slots=True)
class NoRetry:
    """Nothing follows, and why."""

    why: str

    @property
    def told(self) -> str:
        """How a fact's reason says it."""
        return f"no retry: {self.why}"

    def record(self) -> dict[str, Any]:
        """Return how a status document says it."""
        return {"follows": False, "why": self.why}


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    attempts: int
    backoff_ms: int
    backoff_max_ms: int
    avoid: bool
    memory_factor: float


def next_retry(policy: Policy, document: Document, job: Job, failure: Failure, now: int) -> Retry | NoRetry:
    """Return what follows a counted failure of the job's attempt, at `now` (ms)."""
    if not policy.retry:
        return NoRetry("retries are switched off (ledger.retry)")
    own = document.body.get("retry")
    if own is False:
        return NoRetry("the job says that it is not to be tried again")
    rule = _rule(policy, own if isinstance(own, Mapping) else {}, failure)
    if rule is None:
        return NoRetry(f"there is no rule for {failure.category or 'a failure without a category'}")
    number = job.retries + 1
    if number >= rule.attempts:
        used = "its only attempt is" if rule.attempts == 1 else f"all {rule.attempts} attempts are"
        return NoRetry(f"{used} used ({rule.name})")
    memory = _memory(policy, rule, document, job, failure)
    if isinstance(memory, NoRetry):
        return memory
    due = now + _delay(policy, rule, number, job, document.job_id)
    return Retry(rule.name, number, rule.attempts - 1, job.attempt + 1, due, rule.avoid, memory)


def _rule(policy: Policy, own: Mapping[str, Any], failure: Failure) -> _Rule | None:
    """Return the rule for a failure: the job's own over the installation's over the defaults, field by field."""
    known: Mapping[str, Mapping[str, Any]] = {WORKER_LOST: {}, **policy.retries}
    theirs, name = _found(known, failure)
    mine, own_name = _found(own, failure)
    if theirs is None and mine is None:
        return None
    base = {"attempts": policy.max_attempts, **(theirs or {})}
    attempts = min(_field(mine, base, "attempts", ATTEMPTS), max(base["attempts"], policy.retry_attempts_limit))
    longest = {"backoff_ms": policy.retry_backoff_ms, "backoff_max_ms": policy.retry_backoff_max_ms, **base}
    factor = (mine or {}).get("memory_factor", base.get("memory_factor", 1))
    avoid = (mine or {}).get("avoid", base.get("avoid", True))
    return _Rule(
        own_name or name,
        max(1, attempts),
        _field(mine, longest, "backoff_ms", BACKOFF_MS),
        _field(mine, longest, "backoff_max_ms", BACKOFF_MS),
        avoid is not False,
        min(max(float(factor), 1.0), FACTOR) if isinstance(factor, int | float) else 1.0,
    )


def _found(rules: Mapping[str, Any], failure: Failure) -> tuple[Mapping[str, Any] | None, str]:
    for name in names_for(rules, failure.category, failure.exit_code):
        if isinstance(rules[name], Mapping):
            return rules[name], name
    return None, ""


def _field(mine: Mapping[str, Any] | None, theirs: Mapping[str, Any], name: str, most: int) -> int:
    value = (mine or {}).get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        value = theirs[name]
    return min(int(value), most)


def _delay(policy: Policy, rule: _Rule, number: int, job: Job, job_id: str) -> int:
    """Return the ms before a retry: doubled with each, and spread so that what failed together isn't tried together."""
    whole = min(rule.backoff_max_ms, rule.backoff_ms << min(number - 1, 30))
    spread = whole * min(policy.retry_jitter_percent, 100) // 100
    return whole - zlib.crc32(f"{job_id}/{job.attempt}".encode()) % (spread + 1)


def _memory(policy: Policy, rule: _Rule, document: Document, job: Job, failure: Failure) -> int | NoRetry:
    """Return the MiB of the next attempt, 0 where it keeps what this one had."""
    if failure.category != OUT_OF_MEMORY or rule.memory_factor <= 1:
        return 0
    had = failure.memory_mib or job.memory_mib or _whole(document.needs.get("memory_mib"))
    if not had:
        return 0
    if had >= policy.retry_memory_mib:
        most = f"{policy.retry_memory_mib} MiB is the most that retries may ask for (ledger.retry_memory_mib)"
        return NoRetry(f"it had {had} MiB, and {most}")
    return min(math.ceil(had * rule.memory_factor), policy.retry_memory_mib)


def _whole(value: object) -> int:
    """Return a whole number above 0, 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0
