"""`jobstream revoke`; and what operators ask of jobs by their ids, and what came of it."""

import json
import sys
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from ops.caller import user
from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import line, listing, print_json
from ops.cli.selector import Query, job_query
from ops.cli.session import Output, format_of, json_wanted, settings

Timeout = Annotated[float, typer.Option(min=0, help="Seconds to wait for the answers.")]
#: Jobs that are asked for at a time.
_PORTION = 100
ENDED = ("job-completed", "job-failed", "job-deduped", "job-revoked")
_CODES = {
    "done": exits.OK,
    "refused": exits.FAILED,
    "unknown": exits.NOT_FOUND,
    "forgotten": exits.NOT_FOUND,
    "not-yet": exits.TIMEOUT,
}


def revoke(
    ctx: typer.Context,
    job_id: Annotated[list[str] | None, typer.Argument(metavar="JOB_ID", help="The jobs.")] = None,
    query: Query = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the job.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=9_999, help="With --query: jobs at most, the last changed.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --query: only list them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --query: don't ask.")] = False,
    timeout: Timeout = 10.0,
    output: Output = None,
) -> None:
    """Stop jobs: those that wait never start, those that run are ended.

    By --query those that have not ended. The index is about a second behind: what has ended since is refused, and what
    came since is not among them. Exit code 1 if one is refused (it has ended already), 4 if there is none.

    \b
    Examples:
      jobstream revoke 3f2a-9c1b --reason "wrong input"
      jobstream revoke --query type=hillshade,tag=nightly --dry-run
      jobstream revoke --query queue=small,status=queued --yes
    """
    if bool(job_id) == bool(query):
        raise CliError("either JOB_IDs or --query NAME=VALUE is needed", exits.USAGE)
    if query:
        found = _unfinished(query, limit)
        if dry_run or not found:
            rows = [(one.get("job_id"), one.get("type"), one.get("status"), one.get("attempt")) for one in found]
            ids = [str(one.get("job_id")) for one in found]
            listing(format_of(ctx, output), found, ids, ("job", "type", "status", "attempt"), rows, "no such jobs")
            return
        agree(len(found), "revoke", yes)
        job_id = [str(one["job_id"]) for one in found]
    # in portions, so that each is answered before more is asked
    portions = _portions(job_id or [])
    codes = [_asked(ctx, "revoke", one, reason, {}, timeout, output, known=bool(query)) for one in portions]
    if any(codes):
        raise typer.Exit(next(code for code in codes if code))


def _unfinished(query: list[str], limit: int) -> list[dict[str, Any]]:
    from agents.index_reader import IndexReader
    from ops.reading.job import patient

    wanted = job_query(query)
    if wanted.status in ENDED:
        raise CliError(f"{wanted.status}: only jobs that have not ended can be revoked", exits.USAGE)
    with IndexReader(patient(settings())) as index:
        found = index.find(replace(wanted, unfinished=True), limit + 1)
    if len(found) > limit:
        say(f"jobstream: more than {limit} fit; these are the last changed: repeat it, or give --limit")
    return found[:limit]


def _portions(job_ids: list[str]) -> list[list[str]]:
    return [job_ids[start : start + _PORTION] for start in range(0, len(job_ids), _PORTION)]


def agree(count: int, what: str, yes: bool) -> None:
    """Have the operator agree to what is done to many jobs; raises CliError where he doesn't."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{count} jobs to {what}: add --yes, or --dry-run to see them", exits.USAGE)
    if not typer.confirm(f"{what.capitalize()} {count} jobs?", err=True):
        raise CliError(f"nothing was done: {what} was not confirmed")


def ask(
    ctx: typer.Context,
    action: str,
    job_ids: list[str],
    reason: str,
    arguments: dict[str, Any],
    timeout: float,
    output: Output,
) -> None:
    """Ask for an action on each job and print the answers; exits with the code of the first that is not done."""
    code = _asked(ctx, action, job_ids, reason, arguments, timeout, output)
    if code:
        raise typer.Exit(code)


def _asked(
    ctx: typer.Context,
    action: str,
    job_ids: list[str],
    reason: str,
    arguments: dict[str, Any],
    timeout: float,
    output: Output,
    *,
    known: bool = False,
) -> int:
    """See `ask`; return the code. `known` spares the look for each job into the log."""
    from ops.controlling import Controller
    from pipeline.messages.control import ControlRequest

    as_json = json_wanted(ctx, output)
    codes = []
    with Controller(settings(), job_ids) as controller:
        by, extra = user(), json.dumps(arguments)
        requests = [ControlRequest(action, job_id, by, reason, extra) for job_id in job_ids]
        asked = [controller.ask(request, known=known) for request in requests]
        deadline = time.monotonic() + timeout
        for request in asked:
            answer, fact = controller.answer(request, max(0.0, deadline - time.monotonic()))
            codes.append(_CODES[answer])
            detail = (fact.reason or "") if fact is not None else ""
            if as_json:
                told = {"job_id": request.job_id, "action": action, "answer": answer.value, "reason": detail}
                print_json(told | ({"status": fact.status, "attempt": fact.attempt} if fact else {}), indent=False)
            elif codes[-1] == exits.OK and fact is not None:
                line(f"{request.job_id}  {fact.status}  attempt {fact.attempt}")
            else:
                say(f"jobstream: {request.job_id}: {_told(answer, detail)}")
    return next((code for code in codes if code), exits.OK)


def _told(answer: str, detail: str) -> str:
    match answer:
        case "refused":
            return detail or "refused"
        case "unknown":
            return "there is no such job"
        case "forgotten":
            return "it ended longer ago than the ledger remembers (ledger.window_ms): submit it again"
        case _:
            return "the request is in Kafka, not yet applied: `jobstream status` says whether the orchestrator runs"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(revoke)
