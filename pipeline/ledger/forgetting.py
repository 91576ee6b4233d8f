"""What the ledger forgets of finished jobs: their documents first, their stubs after the window (decision 007)."""

from pipeline.ledger.case import Case
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.inbox import Due


def family_expires(family: Family, policy: Policy) -> int | None:
    """Return from when on (ms) a stub of the family can be forgotten, None while it has none; an empty one at once."""
    if family.is_empty:
        return 0
    times = [stub.time for stub in family.done.values()]
    return min(times) + policy.window_ms if times else None


def document_expires(family: Family, job_id: str, policy: Policy) -> int | None:
    """Return from when on (ms) a job's document can be forgotten, None while the job is unfinished.

    At once where the family knows no such job: a crash left the document behind.
    """
    if job_id in family.jobs:
        return None
    stub = family.done.get(job_id)
    return 0 if stub is None else stub.time + min(policy.document_ms, policy.window_ms)


def forget(case: Case, due: Due) -> None:
    """Drop the stubs that are older than the window, and the named job's document where its time is over.

    Looks at the state anew: what is not due by the time of this message stays.
    """
    now = case.at.timestamp
    expires = document_expires(case.family, due.job_id, case.policy)
    case.decision.family, dropped = case.family.without_stubs_before(now - case.policy.window_ms + 1)
    case.forget_documents([*dropped, *([due.job_id] if expires is not None and expires <= now else [])])
