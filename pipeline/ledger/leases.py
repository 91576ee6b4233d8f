"""Claims, grants, and every way in which an attempt is given up (design §4)."""

from dataclasses import replace

from pipeline.identity import worker_of
from pipeline.ledger.case import Case
from pipeline.ledger.state import MAX_AVOID, Job, Phase
from pipeline.messages.command import GRANT, Command, Reference
from pipeline.messages.inbox import Claim
from pipeline.messages.run import GRANTED
from pipeline.statuses import Status
from pipeline.topology import COMMAND_DOCUMENT_LIMIT


def claimed(case: Case, claim: Claim) -> None:
    """Grant the attempt where it waits and is current; every other claim is answered too, by a refusal.

    The same claim again, while its lease has not started, gets the same answer again: the first may be lost.
    """
    job = case.family.jobs.get(claim.job_id)
    if job is None or job.attempt != claim.attempt:
        case.refuse_claim(claim.queue, claim.job_id, claim.attempt, claim.holder, claim.claim_id)
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
    text: str | None = document.run_document(job.attempt)
    reference = None
    if text is not None and len(text) > COMMAND_DOCUMENT_LIMIT:
        text, reference = None, Reference(document.partition, document.offset)
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

    Before the start it costs nothing until `free_releases` are used up; after it, it counts as a retry, with
    back-off after a lost lease. Out of retries, the job fails.
    """
    started = job.status is not Status.QUEUED
    worker = worker_of(job.holder)
    avoid = (*(name for name in job.avoid if name != worker), worker)[-MAX_AVOID:]
    counts = started or job.free >= case.policy.free_releases
    retries = job.retries + counts
    if retries >= case.policy.max_attempts:
        case.fail(job_id, job, f"gave up after {job.attempt} attempts; the last: {reason}", "worker-lost")
        return
    job = replace(
        job,
        attempt=job.attempt + 1,
        avoid=avoid,
        retries=retries,
        free=job.free + (not counts),
        holder="",
        claim_id="",
        started_at=0,
        permitted=False,
        run={},
    )
    if counts:
        due = case.at.timestamp + case.policy.backoff(retries)
        case.keep(job_id, replace(job, phase=Phase.BACKOFF, due=due))
    else:
        wait_again(case, job_id, job, reason)


def wait_again(case: Case, job_id: str, job: Job, reason: str) -> None:
    """Put the job's next attempt on its run topic, with a fact that says why."""
    job = replace(job, phase=Phase.WAITING, due=0, since=case.time)
    job = case.record(job_id, job, Status.QUEUED, reason=reason)
    case.keep(job_id, job)
    case.wait(job_id, job)
