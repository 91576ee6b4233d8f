"""`jobstream get`, `list` and `events`: jobs, and what happened to them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import duration, line, listing, moment, pairs, print_json, table
from ops.cli.selector import Query, full_status, job_query
from ops.cli.session import Format, Output, format_of, json_wanted, settings

if TYPE_CHECKING:
    from agents.index_reader import JobQuery
    from ops.reading.job import Attempt

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]


def get(
    ctx: typer.Context,
    job_id: Annotated[str | None, typer.Argument(metavar="JOB_ID", help="The job.")] = None,
    query: Query = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="With --query: jobs at most, the last changed.")] = 50,
    output: Output = None,
) -> None:
    """Show a job: its current document, and its attempts where it had several.

    From Elasticsearch; from the log where that is behind or away, which is then said on standard error. With --query
    all jobs that fit, from Elasticsearch alone: a list of documents as JSON or YAML.

    \b
    Examples:
      jobstream get 3f2a-9c1b
      jobstream get 3f2a-9c1b -o json
      jobstream get --query status=failed,tag=nightly,since=1d -o yaml
    """
    from ops.reading.job import attempts, current

    if (job_id is None) == (not query):
        raise CliError("either a JOB_ID or --query NAME=VALUE is needed", exits.USAGE)
    wanted = format_of(ctx, output)
    if job_id is None:
        _get_all(query or [], limit, wanted)
        return
    known = settings()
    found = current(known, job_id)
    if found is None:
        raise CliError(f"{job_id}: there is no such job", exits.NOT_FOUND)
    if found.note:
        say(f"jobstream: from {found.source}: {found.note}")
    match wanted:
        case Format.JSON | Format.YAML:
            print_json(found.document)
        case Format.NAME:
            line(job_id)
        case _:
            _show(found.document)
            _show_attempts(attempts(known, found))


def _get_all(query: list[str], limit: int, wanted: Format) -> None:
    documents = _found(job_query(query), limit)
    if wanted in (Format.TABLE, Format.WIDE):
        for number, document in enumerate(documents):
            if number:
                line("")
            _show(document)
        if not documents:
            say("no such jobs")
        return
    listing(wanted, documents, _ids(documents), (), ())


def list_(
    ctx: typer.Context,
    status: Annotated[str | None, typer.Option(help="As in job-failed; failed will do.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Job type.")] = None,
    queue: Annotated[str | None, typer.Option(help="Queue.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag.")] = None,
    query: Query = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Jobs at most, the last changed first.")] = 50,
    output: Output = None,
) -> None:
    """List jobs, the last changed first; from Elasticsearch, which is about a second behind.

    \b
    Examples:
      jobstream list --status failed --limit 10
      jobstream list --query type=hillshade,label.site=alps,since=2h -o wide
      jobstream list --type hillshade -o json
    """
    full = None if status is None else full_status(status)
    picked = job_query(query or ())
    picked = replace(
        picked,
        status=full or picked.status,
        type=type_ or picked.type,
        queue=queue or picked.queue,
        tag=tag or picked.tag,
    )
    documents = _found(picked, limit)
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
            document.get("category"),
            document.get("celery_hostname"),
            (document.get("job") or {}).get("priority"),
            ", ".join(map(str, document.get("tags") or [])),
            document.get("submission_id"),
        )
        for document in documents
    ]
    columns = ("job", "type", "status", "attempt", "queue", "queued", "took", "error")
    wide = ("category", "worker", "priority", "tags", "submission")
    wanted = format_of(ctx, output)
    listing(wanted, documents, _ids(documents), (*columns, *wide), rows, "no such jobs", more=len(wide))


def _found(wanted: "JobQuery", limit: int) -> list[dict[str, Any]]:
    from agents.index_reader import IndexReader
    from ops.reading.job import patient

    with IndexReader(patient(settings())) as index:
        return index.find(wanted, limit)


def _ids(documents: list[dict[str, Any]]) -> list[str]:
    return [str(document.get("job_id")) for document in documents]


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


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(get)
    app.command("list")(list_)
    app.command()(events)
