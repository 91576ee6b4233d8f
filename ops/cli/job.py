"""`jobstream get`, `list` and `events`: jobs, and what happened to them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import duration, line, moment, pairs, print_json, table
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from ops.reading.job import Attempt

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]


def get(ctx: typer.Context, job_id: JobId, output: Output = None) -> None:
    """Show a job: its current document, and its attempts where it had several.

    From Elasticsearch; from the log where that is behind or away, which is then said on standard error.

    \b
    Examples:
      jobstream get 3f2a-9c1b
      jobstream get 3f2a-9c1b -o json
    """
    from ops.reading.job import attempts, current

    known = settings()
    found = current(known, job_id)
    if found is None:
        raise CliError(f"{job_id}: there is no such job", exits.NOT_FOUND)
    if found.note:
        say(f"jobstream: from {found.source}: {found.note}")
    if json_wanted(ctx, output):
        print_json(found.document)
    else:
        _show(found.document)
        _show_attempts(attempts(known, found))


def list_(
    ctx: typer.Context,
    status: Annotated[str | None, typer.Option(help="As in job-failed; failed will do.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Job type.")] = None,
    queue: Annotated[str | None, typer.Option(help="Queue.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Jobs at most, the last changed first.")] = 50,
    output: Output = None,
) -> None:
    """List jobs, the last changed first; from Elasticsearch, which is about a second behind.

    \b
    Examples:
      jobstream list --status failed --limit 10
      jobstream list --type hillshade -o json
    """
    from agents.index_reader import IndexReader, JobQuery
    from ops.reading.job import patient

    wanted = JobQuery(status=None if status is None else full_status(status), type=type_, queue=queue, tag=tag)
    with IndexReader(patient(settings())) as index:
        documents = index.find(wanted, limit)
    if json_wanted(ctx, output):
        print_json(documents)
        return
    rows = [
        (
            document.get("job_id"),
            document.get("type"),
            document.get("status"),
            document.get("attempt"),
            _info(document).get("job_queue"),
            _info(document).get("time_queued"),
            _took(document),
            document.get("short_error"),
        )
        for document in documents
    ]
    table(("job", "type", "status", "attempt", "queue", "queued", "took", "error"), rows, "no such jobs")


def events(
    ctx: typer.Context,
    job_id: JobId,
    documents: Annotated[bool, typer.Option("--documents", help="With the job's document after each.")] = False,
    output: Output = None,
) -> None:
    """Show all that happened to a job, in order: one JSON object a line with -o json.

    \b
    Examples:
      jobstream events 3f2a-9c1b
      jobstream events 3f2a-9c1b -o json --documents
    """
    from ops.cli.watch import fact_record
    from ops.reading.facts import FactReader

    with FactReader(settings()) as reader:
        facts = reader.of_job(job_id)
    if not facts:
        raise CliError(f"{job_id}: there is no such job", exits.NOT_FOUND)
    if json_wanted(ctx, output):
        for fact in facts:
            print_json(fact_record(fact, document=documents), indent=False)
        return
    rows = [
        (
            fact.seq,
            moment(fact.time),
            fact.status,
            fact.attempt,
            fact.reason,
            fact.short_error,
            f"{fact.inbox_partition}/{fact.inbox_offset}.{fact.index}",
        )
        for fact in facts
    ]
    table(("seq", "time", "status", "attempt", "reason", "error", "inbox"), rows)


def _show(document: dict[str, Any]) -> None:
    job, info = document.get("job") or {}, _info(document)
    pairs(
        [
            ("job", document.get("job_id")),
            ("type", document.get("type")),
            ("status", document.get("status")),
            ("attempt", document.get("attempt")),
            ("queue", info.get("job_queue")),
            ("priority", job.get("priority")),
            ("tags", ", ".join(map(str, document.get("tags") or []))),
            ("submission", document.get("submission_id")),
            ("payload hash", document.get("payload_hash")),
            ("queued", info.get("time_queued")),
            ("started", info.get("time_start")),
            ("ended", info.get("time_end")),
            ("took", _took(document)),
            ("exit status", info.get("status")),
            ("worker", document.get("celery_hostname")),
            ("host", info.get("execute_node")),
            ("work directory", info.get("job_dir")),
            ("duplicate of", document.get("dedup_job")),
            ("error", document.get("error")),
            ("category", document.get("category")),
            ("retry", _follows(document.get("retry"))),
            (
                "products",
                ", ".join(_products(document)),
            ),
        ]
    )
    params = job.get("params")
    if params:
        line("params")
        for name, value in params.items():
            line(f"  {name} = {value}")


def _follows(retry: Any) -> str:
    if not isinstance(retry, dict):
        return ""
    if not retry.get("follows"):
        return f"none: {retry.get('why')}"
    return f"{retry.get('number')} of {retry.get('most')} ({retry.get('rule')}), from {retry.get('due')} on"


def _show_attempts(found: "list[Attempt]") -> None:
    if found:
        line("attempts")
        rows = [(one.number, one.status, one.time, one.worker, one.reason) for one in found]
        table(("attempt", "status", "since", "worker", "reason"), rows)


def _info(document: dict[str, Any]) -> dict[str, Any]:
    info = (document.get("job") or {}).get("job_info")
    return info if isinstance(info, dict) else {}


def _products(document: dict[str, Any]) -> list[str]:
    return [str(one.get("id")) for one in document.get("products") or [] if isinstance(one, dict)]


def _took(document: dict[str, Any]) -> str:
    seconds = _info(document).get("duration")
    return duration(seconds) if isinstance(seconds, int | float) else ""


def full_status(text: str) -> str:
    """Return the status in full: `failed` is `job-failed`. Raises CliError for one that there isn't."""
    from pipeline.statuses import Status

    full = text if text.startswith("job-") else f"job-{text}"
    known = [status.value for status in Status]
    if full not in known:
        raise CliError(f"--status {text!r}: one of {', '.join(known)} is needed", exits.USAGE)
    return full


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(get)
    app.command("list")(list_)
    app.command()(events)
