"""What a submission does: jobs that wait, duplicates, and jobs that failed before they began (design §4 "Dedup")."""

from dataclasses import replace

import orjson

from pipeline.ledger.case import Case
from pipeline.ledger.document import Document
from pipeline.ledger.state import Job, Phase
from pipeline.messages.inbox import NewJob, Rejected, Submitted
from pipeline.shortening import short_error
from pipeline.statuses import Status


def submitted(case: Case, message: Submitted) -> None:
    """Take each job of the submission that is new; the same submission again is a redelivery and does nothing."""
    family = replace(case.family, payload_hash=case.family.payload_hash or message.payload_hash)
    family, dropped = family.without_stubs_before(case.time - case.policy.window_ms)
    case.decision.family = family
    case.forget_documents(dropped)
    original = family.blocking(message.submission_id) if message.dedup else None
    for new in message.jobs:
        if not family.knows(new.job_id):
            _take(case, message, new, original)


def _take(case: Case, message: Submitted, new: NewJob, original: str | None) -> None:
    submission = (message.submission_id, message.payload_hash, message.dedup)
    document = Document.new(new, submission, case.time, (case.at.partition, case.at.offset))
    job = Job(message.submission_id, new.queue, new.priority, case.time, case.time, time_limit=new.time_limit)
    # the fact's document is built from it, also where the job ends at once and nothing needs it later
    case.remember(document)
    if original is not None:
        _duplicate(case, new.job_id, job, original)
        del case.decision.documents[new.job_id]
    elif case.full is not None:
        case.fail(new.job_id, job, case.full, "family-full")
    else:
        job = case.record(new.job_id, job, Status.QUEUED)
        case.keep(new.job_id, job)
        case.wait(new.job_id, job)


def _duplicate(case: Case, job_id: str, job: Job, original: str) -> None:
    known = case.family.jobs.get(original) or case.family.done[original]
    result = {"dedup_job": original, "dedup_msg": f"duplicate of {original} ({known.status})"}
    case.finish(job_id, job, Status.DEDUPED, result, f"duplicate of {original}")


def rejected(case: Case, message: Rejected) -> None:
    """Record a submission that could not be accepted as a failed job, with what is wrong with it."""
    if case.family.knows(message.job_id):
        return
    case.decision.family = replace(case.family, payload_hash=case.family.payload_hash or message.payload_hash)
    body = orjson.loads(message.body)
    body = body if isinstance(body, dict) else {}
    document = Document(
        message.job_id,
        message.submission_id,
        message.payload_hash,
        True,
        case.time,
        str(body.get("job_info", {}).get("job_queue") or "") if isinstance(body.get("job_info"), dict) else "",
        0,
        {},
        body,
        case.at.partition,
        case.at.offset,
    )
    case.remember(document)
    job = Job(message.submission_id, document.queue, 0, case.time, case.time, phase=Phase.BACKOFF)
    result = {"error": message.error, "short_error": short_error(message.error), "category": "rejected"}
    case.finish(message.job_id, job, Status.FAILED, result, "rejected")
    del case.decision.documents[message.job_id]
