"""What reports do: the current attempt's holder is believed, everybody else is refused and told to stop (design §4)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from pipeline.ledger.case import Case
from pipeline.ledger.document import run_fields
from pipeline.ledger.leases import failed, give_up
from pipeline.ledger.state import Job, Phase, Stub
from pipeline.messages import report as kinds
from pipeline.messages.command import PERMIT, Command
from pipeline.messages.inbox import Report
from pipeline.shortening import short_error
from pipeline.statuses import REFUSED, Status
from pipeline.submission.numbers import check_depth

_ENDS = {kinds.COMPLETED: Status.COMPLETED, kinds.FAILED: Status.FAILED}


def reported(case: Case, report: Report) -> None:
    """Apply a report of the current holder; a repeat of what was accepted is nothing, any other is refused."""
    job = case.family.jobs.get(report.job_id)
    if job is None or (job.phase, job.attempt, job.holder) != (Phase.LEASED, report.attempt, report.holder):
        if not _repeats(case.family.done.get(report.job_id) or job, report):
            _refuse(case, report, job)
        return
    handler = _HANDLERS.get(report.kind)
    if handler is None:
        case.refuse(report.job_id, REFUSED, f"unknown kind of report: {report.kind[:40]}")
    else:
        handler(case, report, job, _result(report))


def _refuse(case: Case, report: Report, job: Job | None) -> None:
    reason = f"{report.kind} of attempt {report.attempt} by {report.holder}: "
    reason += "unknown or finished" if job is None else f"attempt {job.attempt} is {job.phase}"
    case.refuse(report.job_id, REFUSED, reason)
    # a hand-back ends the attempt by itself
    if report.kind != kinds.RELEASE:
        case.stop(report.holder, report.job_id, report.attempt, "not the current attempt")


def _repeats(known: Stub | Job | None, report: Report) -> bool:
    """Say whether the report says again how its attempt ended: the job's last, or the one before a retry."""
    if isinstance(known, Job):
        failed_before = (known.attempt - 1, known.failed_by, kinds.FAILED)
        return bool(known.failed_by) and (report.attempt, report.holder, report.kind) == failed_before
    ended = _ENDS.get(report.kind)
    return known is not None and (known.attempt, known.holder, known.status) == (report.attempt, report.holder, ended)


def _result(report: Report) -> dict[str, Any]:
    """Return what the worker reports; what is wrong with it where it can't be read, so that the attempt ends at least.

    Texts nest no deeper here than in submissions: what nests deeper could be read, and not be written again.
    """
    try:
        result = orjson.loads(report.result)
        if not isinstance(result, dict):
            raise ValueError("it is no JSON object")
        check_depth(result)
    except ValueError as problem:
        error = f"the worker's result can't be read: {str(problem)[:200]}"
        return {"error": error, "short_error": short_error(error), "category": "unreadable", "reason": error}
    # what follows is for the ledger to say
    result.pop("retry", None)
    return result


def _started(case: Case, report: Report, job: Job, result: Mapping[str, Any]) -> None:
    if job.status is Status.STARTED:
        return
    job = replace(job, started_at=case.time, run=run_fields(result))
    case.keep(report.job_id, case.record(report.job_id, job, Status.STARTED, result))


def _completed(case: Case, report: Report, job: Job, result: Mapping[str, Any]) -> None:
    case.finish(report.job_id, job, Status.COMPLETED, result, str(result.get("category") or ""))


def _failed(case: Case, report: Report, job: Job, result: Mapping[str, Any]) -> None:
    failed(case, report.job_id, job, result)


def _released(case: Case, report: Report, job: Job, result: Mapping[str, Any]) -> None:
    give_up(case, report.job_id, job, f"released by its worker: {str(result.get('reason', 'no reason'))[:200]}")


def _publishing(case: Case, report: Report, job: Job, result: Mapping[str, Any]) -> None:
    if job.status is not Status.STARTED:
        case.refuse(report.job_id, REFUSED, "publish before the start")
        return
    case.keep(report.job_id, replace(job, permitted=True))
    case.command(Command(PERMIT, report.holder, report.job_id, report.attempt))


_HANDLERS: dict[str, Callable[[Case, Report, Job, Mapping[str, Any]], None]] = {
    kinds.STARTED: _started,
    kinds.COMPLETED: _completed,
    kinds.FAILED: _failed,
    kinds.RELEASE: _released,
    kinds.PUBLISH: _publishing,
}
