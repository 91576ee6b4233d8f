"""What operators ask, and what the scheduler says of a job that nobody can take."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from pipeline.ledger.case import Case
from pipeline.ledger.state import Job, Phase, Stub
from pipeline.messages import control as actions
from pipeline.messages.inbox import Control
from pipeline.statuses import CONTROL_REFUSED, Status
from pipeline.topology import QUEUE_NAME

#: Asked by the scheduler alone: the job waited longer than its `max_wait` for a worker that can take it.
EXPIRE = "expire"


def controlled(case: Case, control: Control) -> None:
    """Apply an operator's request to an unfinished or finished job; what can't be done is a fact that says why."""
    arguments = _arguments(control)
    job = case.family.jobs.get(control.job_id)
    stub = case.family.done.get(control.job_id)
    if job is not None and control.action in _ON_JOBS:
        _ON_JOBS[control.action](case, control, job, arguments)
    elif stub is not None and control.action == actions.RETRY:
        _retry(case, control, stub, arguments)
    else:
        state = "unfinished" if job is not None else f"already {stub.status}" if stub is not None else "unknown"
        case.refuse(control.job_id, CONTROL_REFUSED, f"{control.action[:40]}: the job is {state}")


def _arguments(control: Control) -> Mapping[str, Any]:
    try:
        arguments = orjson.loads(control.arguments)
    except orjson.JSONDecodeError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _why(control: Control) -> str:
    by = f" by {control.by[:80]}" if control.by else ""
    return f"{control.action}{by}" + (f": {control.reason[:200]}" if control.reason else "")


def _revoke(case: Case, control: Control, job: Job, arguments: Mapping[str, Any]) -> None:
    if job.permitted:
        case.refuse(control.job_id, CONTROL_REFUSED, "revoke: its products are being published")
        return
    case.withdraw(control.job_id, job)
    if job.phase is Phase.LEASED:
        case.stop(job.holder, control.job_id, job.attempt, "revoked")
    error = _why(control)
    case.finish(control.job_id, job, Status.REVOKED, {"error": error, "short_error": "revoked"}, error)


def _reprioritise(case: Case, control: Control, job: Job, arguments: Mapping[str, Any]) -> None:
    priority = arguments.get("priority")
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 9:
        case.refuse(control.job_id, CONTROL_REFUSED, "reprioritise: the priority must be 0 to 9")
        return
    job = replace(job, priority=priority)
    if job.phase is Phase.WAITING:
        job = case.record(control.job_id, job, Status.QUEUED, reason=_why(control))
        case.wait(control.job_id, job)
    case.keep(control.job_id, job)


def _republish(case: Case, control: Control, job: Job, arguments: Mapping[str, Any]) -> None:
    if job.phase is Phase.WAITING:
        case.wait(control.job_id, job)


def _expire(case: Case, control: Control, job: Job, arguments: Mapping[str, Any]) -> None:
    # said of one attempt: another may be waiting by now
    if job.phase is Phase.WAITING and arguments.get("attempt") in (None, job.attempt):
        case.withdraw(control.job_id, job)
        case.fail(
            control.job_id, job, control.reason[:500] or "no worker could take it within its max_wait", "max-wait"
        )


def _retry(case: Case, control: Control, stub: Stub, arguments: Mapping[str, Any]) -> None:
    """Make the next attempt of a job that has ended: in `queue`, and only where `attempt` was its last, if given.

    A request that names the attempt can be repeated: it never runs a job again that has gone on since.
    """
    others = replace(case.family, done={k: v for k, v in case.family.done.items() if k != control.job_id})
    blocking = others.blocking(stub.submission_id)
    if stub.blocks:
        blocking = control.job_id
    queue, wanted = arguments.get("queue"), arguments.get("attempt")
    if wanted not in (None, stub.attempt):
        case.refuse(control.job_id, CONTROL_REFUSED, f"retry: attempt {stub.attempt} was its last, not {wanted}")
    elif queue is not None and not (isinstance(queue, str) and QUEUE_NAME.fullmatch(queue)):
        case.refuse(control.job_id, CONTROL_REFUSED, f"retry: {str(queue)[:80]!r} is no queue name")
    elif blocking is not None and arguments.get("force") is not True:
        case.refuse(control.job_id, CONTROL_REFUSED, f"retry: {blocking} blocks it; force it to run all the same")
    elif case.full is not None:
        case.refuse(control.job_id, CONTROL_REFUSED, f"retry: {case.full}")
    elif not case.has_document(control.job_id):
        case.refuse(
            control.job_id, CONTROL_REFUSED, f"retry: a job that is {stub.status} kept no document; submit again"
        )
    else:
        document = case.document(control.job_id)
        job = Job(
            stub.submission_id,
            queue or stub.queue or document.queue,
            document.priority,
            document.queued_at,
            case.time,
            attempt=stub.attempt + 1,
            seq=stub.seq,
            time_limit=document.time_limit,
            memory_mib=stub.memory_mib,
        )
        job = case.record(control.job_id, job, Status.QUEUED, reason=_why(control))
        case.keep(control.job_id, job)
        case.wait(control.job_id, job)


_ON_JOBS: dict[str, Callable[[Case, Control, Job, Mapping[str, Any]], None]] = {
    actions.REVOKE: _revoke,
    actions.REPRIORITISE: _reprioritise,
    actions.REPUBLISH: _republish,
    EXPIRE: _expire,
}
