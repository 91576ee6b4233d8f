"""The ledger's decision: `decide(family, message, …)`, pure, and the same for the same log (design §4)."""

from pipeline.ledger.carrying import carried
from pipeline.ledger.case import Case, Documents
from pipeline.ledger.control import controlled
from pipeline.ledger.decision import At, Decision
from pipeline.ledger.leases import claimed
from pipeline.ledger.policy import Policy
from pipeline.ledger.reports import reported
from pipeline.ledger.state import Family
from pipeline.ledger.submissions import rejected, submitted
from pipeline.ledger.timers import ran_out
from pipeline.messages.inbox import (
    Carried,
    Claim,
    Control,
    Due,
    Heartbeat,
    Inbox,
    OutputRefused,
    PolicySet,
    Rejected,
    Report,
    Submitted,
    Tick,
)


def decide(family: Family, message: Inbox, at: At, policy: Policy, documents: Documents) -> Decision:
    """Return the family after the message and what must be published before it is written.

    `at` must lie beyond `family.offset`. A source record that was applied before changes nothing but the
    offset. Ticks, heartbeats and policies concern no family: they are the clock's (`pipeline.ledger.clock`).
    """
    case = Case(family, message, at, policy, documents)
    if not family.has_applied(message.source):
        _apply(case, message)
    if case.family.is_empty:
        # it has no row: what it remembered would count within a batch, and be gone for whoever reads it in two
        case.decision.family = Family(family.id, at.offset)
    return case.decision


def _apply(case: Case, message: Inbox) -> None:
    match message.body:
        case Submitted() as body:
            submitted(case, body)
        case Rejected() as body:
            rejected(case, body)
        case Claim() as body:
            claimed(case, body)
        case Report() as body:
            reported(case, body)
        case Control() as body:
            controlled(case, body)
        case Due() as body:
            ran_out(case, body)
        case OutputRefused() as body:
            _output_refused(case, body)
        case Carried() as body:
            carried(case, body)
        case Tick() | Heartbeat() | PolicySet():
            pass


def _output_refused(case: Case, refused: OutputRefused) -> None:
    job = case.family.jobs.get(refused.job_id)
    if job is not None:
        if job.holder:
            case.stop(job.holder, refused.job_id, job.attempt, "output refused")
        case.fail(refused.job_id, job, f"the broker refused a record for {refused.topic}: {refused.error}", "output")
