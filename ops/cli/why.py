"""`jobstream why`: what a job waits for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import line, print_json
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from pipeline.messages.fact import Fact


def why(
    ctx: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")],
    output: Output = None,
) -> None:
    """Say what a job waits for, and how many go before it; of one that doesn't wait, what it does instead.

    \b
    Examples:
      jobstream why 3f2a-9c1b
    """
    from ops.reading.facts import FactReader, status_of
    from ops.reading.waiting import why_it_waits

    known = settings()
    with FactReader(known) as reader:
        facts = reader.of_job(job_id)
    if not facts:
        raise CliError(f"{job_id}: there is no such job", exits.NOT_FOUND)
    last = facts[-1]
    waits = why_it_waits(known, job_id, last.attempt)
    answer: dict[str, Any] = {"job_id": job_id, "status": status_of(last), "attempt": last.attempt}
    answer |= {"waits": waits is not None, "reason": waits.reason if waits else _instead(last)}
    if waits is not None:
        answer["before"] = waits.before
    if json_wanted(ctx, output):
        print_json(answer)
        return
    line(f"{job_id}  {answer['status']}, attempt {last.attempt}: {answer['reason']}")
    if waits is not None:
        line(f"{waits.before} before it" if waits.before else "the next of its kind")


def _instead(fact: "Fact") -> str:
    from ops.reading.facts import document_of, status_of

    document = document_of(fact)
    match status_of(fact):
        case "job-queued":
            return "granted to a worker that has not started it yet, or waits out a back-off"
        case "job-started":
            return f"runs on {document.get('celery_hostname') or 'a worker'}"
        case "job-deduped":
            return f"duplicate of {document.get('dedup_job')}"
        case _:
            return str(document.get("error") or "it has ended")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(why)
