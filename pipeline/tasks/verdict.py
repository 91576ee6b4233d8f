"""What follows from the end of a call: success, another attempt after a while, or a dead letter."""

import hashlib
from dataclasses import dataclass

from pipeline.tasks.check import Call
from pipeline.tasks.outcome import End, Outcome
from pipeline.tasks.status import TaskStatus

#: Doublings that are counted: beyond them any first delay is above any longest one.
_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between attempts (ms): the first, which doubles with each, and the longest."""

    first: int
    longest: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the task becomes; `delay` is ms until the next attempt of one that is retried."""

    status: TaskStatus
    delay: int = 0


def verdict(call: Call, outcome: Outcome, backoff: Backoff) -> Verdict:
    """Return what a call that RETURNED or FAILED leads to."""
    if outcome.end is End.RETURNED:
        return Verdict(TaskStatus.SUCCEEDED)
    if call.task.attempt >= call.max_attempts:
        return Verdict(TaskStatus.FAILED)
    return Verdict(TaskStatus.RETRIED, delay_ms(backoff, call.task.task_id, call.task.attempt))


def delay_ms(backoff: Backoff, task_id: str, attempt: int) -> int:
    """Return the delay after an attempt (ms): doubled with each, up to a quarter shorter, the same however often asked.

    Tasks that failed together so come again apart, and a redelivered record makes the same retry.
    """
    whole = min(backoff.longest, backoff.first << min(attempt - 1, _DOUBLINGS))
    share = hashlib.sha256(f"{task_id}/{attempt}".encode()).digest()[0] / 255
    return round(whole * (1 - share / 4))
