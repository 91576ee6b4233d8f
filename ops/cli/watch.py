"""`jobstream watch`: facts as they come."""

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import is_terminal, line, moment, print_json, rich_table
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.reading.facts import FactReader, Follower
    from pipeline.messages.fact import Fact

#: Jobs that a terminal shows at a time: the last that something happened to.
_SHOWN = 30
_COLUMNS = ("time", "job", "type", "status", "attempt", "detail")


def watch(
    ctx: typer.Context,
    job_id: Annotated[list[str] | None, typer.Argument(metavar="[JOB_ID]...", help="Only these jobs.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which to stop; by default none.")] = None,
    output: Output = None,
) -> None:
    """Follow what happens to jobs, until Ctrl-C; with job ids until they have ended.

    In a terminal a table with the last of each job, else a line for each fact.

    \b
    Examples:
      jobstream watch
      jobstream watch 3f2a-9c1b -o json
    """
    from ops.reading.facts import FactReader
    from pipeline.identity import family_of_job

    as_json = json_wanted(ctx, output)
    wanted = list(dict.fromkeys(job_id or ()))
    deadline = None if timeout is None else time.monotonic() + timeout
    families = [family_of_job(one) for one in wanted] or None
    with FactReader(settings()) as reader, reader.follow(families) as follower:
        first = _first(reader, wanted)
        if is_terminal() and not as_json:
            ended = _in_a_table(follower, first, wanted, deadline)
        else:
            ended = _follow(follower, first, wanted, deadline, _print_json if as_json else _print_line)
    if wanted and not ended:
        raise CliError(f"not ended within {timeout:.0f} s", exits.TIMEOUT)


def _first(reader: "FactReader", wanted: list[str]) -> "list[Fact]":
    """Return the newest fact of each job that was asked for."""
    facts = {job_id: reader.of_job(job_id) for job_id in wanted}
    missing = [job_id for job_id, known in facts.items() if not known]
    if missing:
        raise CliError(f"{', '.join(missing)}: there is no such job", exits.NOT_FOUND)
    return [known[-1] for known in facts.values()]


def _follow(
    follower: "Follower",
    first: "list[Fact]",
    wanted: list[str],
    deadline: float | None,
    show: "Callable[[Fact], None]",
) -> bool:
    """Show facts until all that are wanted have ended, and return True; False at the deadline."""
    from ops.submitting import is_final

    latest: dict[str, Fact] = {}

    def note(fact: "Fact") -> None:
        if wanted:
            latest[fact.job_id] = fact
        show(fact)

    for fact in first:
        note(fact)
    while not wanted or not all(is_final(fact) for fact in latest.values()):
        left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
        if left <= 0:
            return False
        new = follower.next(left)
        if new is not None and _concerns(new, wanted, latest):
            note(new)
    return True


def _concerns(fact: "Fact", wanted: list[str], latest: "dict[str, Fact]") -> bool:
    return not wanted or (fact.job_id in latest and fact.seq > latest[fact.job_id].seq)


def _in_a_table(follower: "Follower", first: "list[Fact]", wanted: list[str], deadline: float | None) -> bool:
    from rich.live import Live

    rows: OrderedDict[str, tuple[str, ...]] = OrderedDict()
    with Live(rich_table(_COLUMNS, []), auto_refresh=False) as live:

        def show(fact: "Fact") -> None:
            rows[fact.job_id] = _row(fact)
            rows.move_to_end(fact.job_id)
            if len(rows) > max(_SHOWN, len(wanted)):
                rows.popitem(last=False)
            live.update(rich_table(_COLUMNS, rows.values()), refresh=True)

        return _follow(follower, first, wanted, deadline, show)


def _row(fact: "Fact") -> tuple[str, ...]:
    from ops.reading.facts import document_of

    detail = fact.short_error or fact.reason or ""
    return (
        moment(fact.time),
        fact.job_id,
        str(document_of(fact).get("type") or ""),
        fact.status,
        str(fact.attempt),
        detail,
    )


def _print_line(fact: "Fact") -> None:
    line("  ".join(cell for cell in _row(fact) if cell))


def _print_json(fact: "Fact") -> None:
    print_json(fact_record(fact), indent=False)


def fact_record(fact: "Fact", *, document: bool = False) -> dict[str, object]:
    """Return a fact as `events` and `watch` print it."""
    from ops.reading.facts import document_of

    record: dict[str, object] = {
        "job_id": fact.job_id,
        "seq": fact.seq,
        "status": fact.status,
        "attempt": fact.attempt,
        "time": moment(fact.time),
        "reason": fact.reason,
        "error": fact.error,
        "submission_id": fact.submission_id,
        "provenance": {
            "inbox_partition": fact.inbox_partition,
            "inbox_offset": fact.inbox_offset,
            "index": fact.index,
            "code_version": fact.code_version,
        },
    }
    return record | ({"document": document_of(fact)} if document else {})


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watch)
