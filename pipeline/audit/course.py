"""What may follow what in a job's life, by its facts and the messages that they come from."""

from pipeline.audit.causes import Cause, Causes
from pipeline.audit.finding import Check
from pipeline.audit.life import Life
from pipeline.messages.fact import Fact
from pipeline.messages.report import RELEASE
from pipeline.statuses import ATTEMPT_FAILED, Status


def course_problem(fact: Fact, life: Life, cause: Cause | None) -> tuple[Check, str | None]:
    """Return which check a change of status is a matter of, and what is wrong with it; None where nothing is.

    Where the message is not known any more, a retry is taken for one by what it does: the next attempt waits.
    """
    check = Check.ONE_COMPLETION if fact.status == Status.COMPLETED else Check.ABSORBING
    if not life.has_ended:
        return check, None
    retried = fact.status == Status.QUEUED and fact.attempt == life.attempt + 1
    if retried and (cause is None or cause.is_retry):
        return check, None
    return check, f"it was {life.status} by attempt {life.attempt}, and nobody asked for a retry"


def attempts_problem(fact: Fact, life: Life, causes: Causes) -> str | None:
    """Return what is wrong with the attempt that a fact is of: one ends before the next begins."""
    later = fact.attempt - life.attempt
    if life.has_ended:
        return None
    if later not in {0, 1}:
        return f"attempt {fact.attempt} came after {life.attempt}"
    if fact.status in {Status.STARTED, Status.COMPLETED, Status.OFFLINE, ATTEMPT_FAILED} and later == 1:
        return f"attempt {fact.attempt} was never said to wait"
    if later == 0 and life.status == ATTEMPT_FAILED:
        return f"attempt {fact.attempt} had failed already"
    if fact.status == Status.STARTED and life.status == Status.STARTED:
        return f"attempt {fact.attempt} had started already"
    if fact.status == Status.QUEUED and later == 0 and life.status != Status.QUEUED:
        return f"attempt {fact.attempt} waits again: it was {life.status}"
    if later == 1 and life.status == Status.STARTED and not _was_given_up(fact, life, causes):
        return f"attempt {life.attempt} was neither lost nor handed back by {life.holder}"
    return None


def holder_problem(fact: Fact, life: Life, cause: Cause | None, holder: str, granted: str) -> str | None:
    """Return what is wrong with who a fact is by: the one who was granted the attempt, and started it."""
    if cause is None or not cause.kind.startswith("report/") or cause.kind == f"report/{RELEASE}":
        return None
    known = life.holder if life.status == Status.STARTED and fact.attempt == life.attempt else ""
    if cause.attempt != fact.attempt:
        return f"a report on attempt {cause.attempt} made a fact of attempt {fact.attempt}"
    if holder and cause.holder != holder:
        return f"a report of {cause.holder} made a fact of {holder}"
    for other in (known, granted):
        if other and cause.holder != other:
            return f"a report of {cause.holder} was believed, and {other} has attempt {fact.attempt}"
    return None


def _was_given_up(fact: Fact, life: Life, causes: Causes) -> bool:
    return life.changed < causes.begins or causes.released(fact.job_id, life.attempt, life.holder)
