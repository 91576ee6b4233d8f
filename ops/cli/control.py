"""`jobstream revoke`; and what operators ask of jobs by their ids, and what came of it."""

import getpass
import json
import time
from typing import Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import say
from ops.cli.output import line, print_json
from ops.cli.session import Output, json_wanted, settings

Jobs = Annotated[list[str], typer.Argument(metavar="JOB_ID...", help="The jobs.")]
Timeout = Annotated[float, typer.Option(min=0, help="Seconds to wait for the answers.")]
_CODES = {"done": exits.OK, "refused": exits.FAILED, "unknown": exits.NOT_FOUND, "not-yet": exits.TIMEOUT}


def revoke(
    ctx: typer.Context,
    job_id: Jobs,
    reason: Annotated[str, typer.Option(help="Why; kept with the job.")] = "",
    timeout: Timeout = 10.0,
    output: Output = None,
) -> None:
    """Stop jobs: those that wait never start, those that run are ended.

    Exit code 1 if one is refused (it has ended already), 4 if there is none.

    \b
    Examples:
      jobstream revoke 3f2a-9c1b --reason "wrong input"
    """
    ask(ctx, "revoke", job_id, reason, {}, timeout, output)


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
    from ops.controlling import Controller
    from pipeline.messages.control import ControlRequest

    as_json = json_wanted(ctx, output)
    codes = []
    with Controller(settings(), job_ids) as controller:
        by, extra = user(), json.dumps(arguments)
        asked = [controller.ask(ControlRequest(action, job_id, by, reason, extra)) for job_id in job_ids]
        deadline = time.monotonic() + timeout
        for request in asked:
            answer, fact = controller.answer(request, max(0.0, deadline - time.monotonic()))
            codes.append(_CODES[answer])
            detail = (fact.reason or "") if fact is not None else ""
            if as_json:
                known = {"job_id": request.job_id, "action": action, "answer": answer.value, "reason": detail}
                print_json(known | ({"status": fact.status, "attempt": fact.attempt} if fact else {}), indent=False)
            elif codes[-1] == exits.OK and fact is not None:
                line(f"{request.job_id}  {fact.status}  attempt {fact.attempt}")
            else:
                say(f"jobstream: {request.job_id}: {_told(answer, detail)}")
    if any(codes):
        raise typer.Exit(next(code for code in codes if code))


def _told(answer: str, detail: str) -> str:
    match answer:
        case "refused":
            return detail or "refused"
        case "unknown":
            return "there is no such job"
        case _:
            return "the request is in Kafka, not yet applied: `jobstream status` says whether the orchestrator runs"


def user() -> str:
    """Return who asks, "" where that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # a user without a name, as in some containers
        return ""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(revoke)
