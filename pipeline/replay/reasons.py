"""Why a message did nothing, or got a refusal: in words, from the state that it met."""

from pipeline.ledger.decision import Decision
from pipeline.ledger.state import Family, Job
from pipeline.messages.inbox import Body, Claim, Due, Inbox, OutputRefused, Rejected, Report, Submitted
from pipeline.messages.run import REFUSED, RESULT_HEADER
from pipeline.statuses import REFUSALS


def why(before: Family, message: Inbox, decision: Decision) -> str:
    """Return why the message was refused or changed nothing; "" where it did what it says."""
    source = message.source
    if source is not None and before.has_applied(source):
        return f"a repeat: {source.topic} {source.partition}/{source.offset} was applied before"
    refusals = [fact.reason or "" for fact in decision.facts if fact.status in REFUSALS]
    if refusals:
        return refusals[0]
    if any(dict(one.headers).get(RESULT_HEADER) == REFUSED for one in decision.dispatches):
        return _claim_refused(before, message.body)
    if decision.facts or decision.dispatches or decision.commands or decision.documents:
        return ""
    return "" if _is_changed(before, decision.family) else _nothing(before, message.body)


def _is_changed(before: Family, after: Family) -> bool:
    return (before.jobs, before.done) != (after.jobs, after.done)


def _claim_refused(before: Family, body: Body) -> str:
    if not isinstance(body, Claim):
        return ""
    job = before.jobs.get(body.job_id)
    if job is None:
        return f"the job is {_state(before, body.job_id)}"
    if job.attempt != body.attempt:
        return f"attempt {job.attempt} is the current one"
    return f"attempt {job.attempt} is {job.phase}{_by(job)}"


def _nothing(before: Family, body: Body) -> str:
    match body:
        case Submitted():
            return "the same submission again: its jobs are known"
        case Rejected():
            return "the same submission again: its job is known"
        case Due():
            return _stale(before, body)
        case Report():
            return f"says again that attempt {body.attempt} {body.kind}"
        case OutputRefused():
            return f"the job is {_state(before, body.job_id)}"
        case _:
            job = before.jobs.get(getattr(body, "job_id", ""))
            return "nothing to do" if job is None else f"nothing to do: attempt {job.attempt} is {job.phase}"


def _stale(before: Family, due: Due) -> str:
    job = before.jobs.get(due.job_id)
    if due.kind == "forget":
        return "nothing is old enough to be forgotten"
    if job is None:
        return f"too late: the job is {_state(before, due.job_id)}"
    if job.attempt != due.attempt:
        return f"too late: attempt {job.attempt} is the current one"
    return f"too late: attempt {job.attempt} is {job.phase}{_by(job)}"


def _state(family: Family, job_id: str) -> str:
    stub = family.done.get(job_id)
    return f"already {stub.status}" if stub is not None else "unfinished" if job_id in family.jobs else "unknown"


def _by(job: Job) -> str:
    return f" by {job.holder}" if job.holder else ""
