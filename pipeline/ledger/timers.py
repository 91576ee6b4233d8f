"""What happens when a timer runs out. Each looks at the state again: the message may be late or repeated."""

from dataclasses import replace
from typing import Any

from pipeline.ledger.case import Case
from pipeline.ledger.forgetting import forget
from pipeline.ledger.leases import after_loss, failed, give_up, wait_again
from pipeline.ledger.state import Job, Phase
from pipeline.messages.inbox import Due
from pipeline.retry_rules import TIME_LIMIT, WORKER_LOST
from pipeline.shortening import short_error
from pipeline.statuses import Status

#: Kinds of timers.
LEASE, RETRY, LIMIT, REPUBLISH, FORGET = "lease", "retry", "limit", "republish", "forget"


def ran_out(case: Case, due: Due) -> None:
    """Apply a timer to the attempt it was set for; to any other attempt it means nothing.

    `FORGET` is of no attempt: it names a finished job, or the family alone.
    """
    if due.kind == FORGET:
        forget(case, due)
        return
    job = case.family.jobs.get(due.job_id)
    if job is None or job.attempt != due.attempt:
        return
    if due.kind == LEASE and job.phase is Phase.LEASED:
        _lease_expired(case, due.job_id, job)
    elif due.kind == RETRY and job.phase is Phase.BACKOFF:
        most = job.most or case.policy.max_attempts - 1
        wait_again(case, due.job_id, job, f"retry {job.retries} of {most}" + (f" ({job.cause})" if job.cause else ""))
    elif due.kind == LIMIT and job.phase is Phase.LEASED:
        error = f"ran past its time limit of {job.time_limit} s, and its worker did not end it"
        case.stop(job.holder, due.job_id, job.attempt, "time limit")
        failed(case, due.job_id, job, {"error": error, "short_error": short_error(error), "category": TIME_LIMIT})
    elif due.kind == REPUBLISH and job.phase is Phase.WAITING:
        case.wait(due.job_id, job)


def _lease_expired(case: Case, job_id: str, job: Job) -> None:
    error = f"no heartbeat from {job.holder} within {case.policy.lease_ms} ms"
    started = job.status
    holder, attempt = job.holder, job.attempt
    follows = after_loss(case, job_id, job)
    result: dict[str, Any] = {"error": error, "short_error": short_error(error), "category": WORKER_LOST}
    reason = WORKER_LOST
    if follows is not None:
        result["retry"], reason = follows.record(), f"{WORKER_LOST}; {follows.told}"
    job = case.record(job_id, job, Status.OFFLINE, result, reason)
    case.stop(holder, job_id, attempt, "lease expired")
    if started is Status.QUEUED:
        # never started: what follows is free, and the job counts as queued throughout
        job = replace(job, status=Status.QUEUED)
    give_up(case, job_id, job, "worker lost")
