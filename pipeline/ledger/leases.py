"""Claims, grants, and every way in which an attempt is given up (design §4)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from pipeline.identity import key_of, worker_of
from pipeline.ledger.case import Case
from pipeline.ledger.retries import Failure, NoRetry, Retry, next_retry
from pipeline.ledger.state import MAX_AVOID, Job, Phase
from pipeline.messages.command import GRANT, Command, Reference
from pipeline.messages.inbox import Claim
from pipeline.messages.run import GRANTED
from pipeline.retry_rules import WORKER_LOST
from pipeline.statuses import ATTEMPT_FAILED, Status
from pipeline.topology import COMMAND_DOCUMENT_LIMIT


def claimed(case: Case, claim: Claim) -> None:
    """Grant the attempt where it waits and is current; every other claim is answered too, by a refusal.

    One for a holder that no grant can be sealed to, where they are, costs the attempt, as if that had handed it back.
    The same claim again, while its lease has not started, gets the same answer again: the first may be lost.
    """
    job = case.family.jobs.get(claim.job_id)
    if job is None or job.attempt != claim.attempt:
        case.refuse_claim(claim.queue, claim.job_id, claim.attempt, claim.holder, claim.claim_id)
    elif job.phase is Phase.WAITING and case.policy.sealing and key_of(claim.holder) is None:
        case.refuse_claim(claim.queue, claim.job_id, claim.attempt, claim.holder, claim.claim_id)
        give_up(case, claim.job_id, replace(job, holder=claim.holder), f"{claim.holder} has no key to seal a grant to")
    elif job.phase is Phase.WAITING:
        job = replace(job, phase=Phase.LEASED, holder=claim.holder, claim_id=claim.claim_id)
        case.keep(claim.job_id, job)
        _grant(case, claim, job)
    elif (job.holder, job.claim_id, job.status) == (claim.holder, claim.claim_id, Status.QUEUED):
        _grant(case, claim, job)
    else:
        case.refuse_claim(claim.queue, claim.job_id, claim.attempt, claim.holder, claim.claim_id)


def _grant(case: Case, claim: Claim, job: Job) -> None:
    document = case.document(claim.job_id)
    text: str | None = document.run_document(job)
    reference = None
    # what is sealed must not lie in the inbox for every worker to read
    if text is not None and len(text) > COMMAND_DOCUMENT_LIMIT and not case.policy.sealing:
        changes = document.changes(job)
        text = orjson.dumps(changes).decode() if changes else None
        reference = Reference(document.partition, document.offset)
    case.command(
        Command(
            GRANT,
            claim.holder,
            claim.job_id,
            job.attempt,
            claim.claim_id,
            lease_ms=case.policy.lease_ms,
            document=text,
            reference=reference,
        )
    )
    case.answer(job.queue, claim.job_id, job.attempt, GRANTED, claim.holder, claim.claim_id)


def give_up(case: Case, job_id: str, job: Job, reason: str) -> None:
    """Make the next attempt of a job whose holder lost or returned its lease; it never waits twice as the same.

    Before the start it costs nothing until `free_releases` are used up; after it, it counts as a retry by the rule for
    lost workers, with its back-off. Where no retry follows, the job fails.
    """
    follows = after_loss(case, job_id, job)
    if isinstance(follows, NoRetry):
        error = f"gave up after {job.attempt} attempts; the last: {reason}"
        case.fail(job_id, job, error, WORKER_LOST, {"retry": follows.record()})
    elif follows is None:
        wait_again(case, job_id, replace(_next(job, avoid=True), free=job.free + 1), reason)
    else:
        _back_off(case, job_id, job, follows)


def after_loss(case: Case, job_id: str, job: Job) -> Retry | NoRetry | None:
    """Return what follows where the job's holder lost or returned its lease; None: the attempt costs nothing."""
    if job.status is Status.QUEUED and job.free < case.policy.free_releases:
        return None
    return _look(case, job_id, job, Failure(WORKER_LOST))


def failed(case: Case, job_id: str, job: Job, result: Mapping[str, Any]) -> None:
    """End the attempt as failed: the job with it, or a retry follows by the rule for such a failure (decision 022).

    The fact says which, and why; an attempt that another follows is no end of its job, and its fact is no `job-failed`.
    """
    failure = Failure.of(result)
    follows = _look(case, job_id, job, failure)
    reason = "; ".join(said for said in (failure.category, follows.told) if said)
    result = {**result, "retry": follows.record()}
    if isinstance(follows, NoRetry):
        case.finish(job_id, job, Status.FAILED, result, reason)
    else:
        job = case.record(job_id, job, Status.QUEUED, result, reason, ATTEMPT_FAILED)
        _back_off(case, job_id, job, follows, failed_by=job.holder)


def wait_again(case: Case, job_id: str, job: Job, reason: str) -> None:
    """Put the job's next attempt on its run topic, with a fact that says why."""
    job = replace(job, phase=Phase.WAITING, due=0, since=case.time)
    job = case.record(job_id, job, Status.QUEUED, reason=reason)
    case.keep(job_id, job)
    case.wait(job_id, job)


def _look(case: Case, job_id: str, job: Job, failure: Failure) -> Retry | NoRetry:
    return next_retry(case.policy, case.document(job_id), job, failure, case.at.timestamp)


def _back_off(case: Case, job_id: str, job: Job, retry: Retry, failed_by: str = "") -> None:
    following = replace(
        _next(job, avoid=retry.avoid),
        phase=Phase.BACKOFF,
        due=retry.due,
        retries=retry.number,
        cause=retry.name,
        most=retry.most,
        memory_mib=retry.memory_mib or job.memory_mib,
        failed_by=failed_by,
    )
    case.keep(job_id, following)


def _next(job: Job, *, avoid: bool) -> Job:
    """Return the job with its next attempt, which nobody holds yet."""
    worker = worker_of(job.holder)
    avoided = (*(name for name in job.avoid if name != worker), worker)[-MAX_AVOID:] if avoid else job.avoid
    return replace(
        job,
        attempt=job.attempt + 1,
        avoid=avoided,
        holder="",
        claim_id="",
        started_at=0,
        permitted=False,
        run={},
        failed_by="",
    )
