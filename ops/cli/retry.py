"""`jobstream retry`: jobs that have ended, once more, by their ids or by what the index says of them."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.caller import user
from ops.cli import exits
from ops.cli.control import ask
from ops.cli.errors import CliError, say
from ops.cli.output import duration, line, print_json, table
from ops.cli.selector import Query, job_query
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from agents.index_reader import JobQuery
    from ops.retrying import Wish
    from pipeline.settings import Settings

#: Jobs between two lines that say how far it is, where nobody reads in a terminal.
_TOLD = 100
#: s before a job is forgotten in which it isn't asked for any more: the request takes a while.
_MARGIN = 600.0


def retry(
    ctx: typer.Context,
    job_id: Annotated[list[str] | None, typer.Argument(metavar="JOB_ID", help="The jobs.")] = None,
    query: Query = None,
    queue: Annotated[str | None, typer.Option(help="Run them in this queue, which must be declared.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Even if such a job waits, runs or has completed.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only if this was its last attempt; of one job.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the job.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=9_999, help="With --query: jobs at most, the last changed.")] = 1000,
    rate: Annotated[int, typer.Option(min=1, max=200, help="With --query: jobs a second at most.")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --query: only list them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --query: don't ask.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for answers.")] = 10.0,
    output: Output = None,
) -> None:
    """Run jobs that have ended once more, as their next attempt.

    By --query, of failed ones if no status is named, it may be broken off and repeated: no job runs twice for it. The
    index is about a second behind, so what it says is checked again for each job; what the ledger has forgotten, by
    default after 8 days, is left out. Exit code 1 if one is refused, 4 if there is none of an id.

    \b
    Examples:
      jobstream retry 3f2a-9c1b --queue large
      jobstream retry --query type=hillshade,category=out-of-memory,since=2h --dry-run
      jobstream retry --query status=failed,queue=small --queue large --yes
    """
    if bool(job_id) == bool(query):
        raise CliError("either JOB_IDs or --query NAME=VALUE is needed", exits.USAGE)
    if attempt is not None and (query or len(job_id or ()) != 1):
        raise CliError("--attempt goes with one JOB_ID", exits.USAGE)
    wanted = None if query is None else _query(query, force)
    known = settings()
    if queue is not None:
        _check_declared(known, queue)
    arguments: dict[str, Any] = {"force": True} if force else {}
    arguments |= {} if queue is None else {"queue": queue}
    arguments |= {} if attempt is None else {"attempt": attempt}
    if wanted is None:
        ask(ctx, "retry", job_id or [], reason, arguments, timeout, output)
        return
    found = _found(known, wanted, limit)
    as_json = json_wanted(ctx, output)
    if dry_run or not found:
        _list(found, as_json)
        return
    if not yes and not _agreed(len(found), queue):
        raise CliError("nothing was retried")
    _retry(known, found, reason, arguments, rate, timeout, as_json)


def _query(texts: list[str], force: bool) -> JobQuery:
    wanted = job_query(texts)
    status = wanted.status or "job-failed"
    if status in ("job-queued", "job-started", "job-offline"):
        raise CliError(f"{status}: only jobs that have ended can be retried", exits.USAGE)
    if status == "job-completed" and not force:
        raise CliError("jobs that completed are retried with --force only", exits.USAGE)
    return replace(wanted, status=status)


def _check_declared(known: Settings, queue: str) -> None:
    from ops.reading.queues import queue_settings

    if queue not in queue_settings(known):
        raise CliError(f"{queue}: no such queue; `jobstream queues declare {queue}` makes it", exits.NOT_FOUND)


def _found(known: Settings, wanted: JobQuery, limit: int) -> list[Wish]:
    from agents.index_reader import IndexReader
    from ops.reading.job import patient
    from ops.retrying import wishes

    with IndexReader(patient(known)) as index:
        found, more = wishes(index, _remembered(known, wanted), limit)
    if more:
        say(f"jobstream: more than {limit} fit; these are the last changed: repeat it, or give --limit")
    return found


def _remembered(known: Settings, wanted: JobQuery) -> JobQuery:
    """Return the query without jobs that the ledger has forgotten: it answers nothing of them, and all would wait."""
    window = known.ledger.window_ms / 1000
    first = time.time() - window + min(_MARGIN, window / 10)
    if wanted.since is not None and wanted.since < first:
        say(
            f"jobstream: jobs that ended more than {duration(window)} ago are forgotten (ledger.window_ms), and left "
            "out: submit them again"
        )
    return replace(wanted, since=max(first, wanted.since or 0))


def _list(found: list[Wish], as_json: bool) -> None:
    if as_json:
        print_json([{"job_id": w.job_id, "status": w.status, "attempt": w.attempt, "type": w.type} for w in found])
        return
    rows = [(w.job_id, w.type, w.status, w.attempt, w.error) for w in found]
    table(("job", "type", "status", "attempt", "error"), rows, "no such jobs")


def _agreed(count: int, queue: str | None) -> bool:
    where = f" in {queue}" if queue else ""
    if not sys.stdin.isatty():
        raise CliError(f"{count} jobs would be retried{where}: add --yes, or --dry-run to see them", exits.USAGE)
    return typer.confirm(f"Retry {count} jobs{where}?", err=True)


def _retry(
    known: Settings, found: list[Wish], reason: str, arguments: dict[str, Any], rate: int, timeout: float, as_json: bool
) -> None:
    from ops.retrying import Outcome, retry_all

    counts: Counter[str] = Counter()
    try:
        for wish, outcome, fact in retry_all(known, found, user(), reason, arguments, rate, timeout):
            counts[outcome] += 1
            detail = "" if fact is None else fact.reason or ""
            if as_json:
                attempt = wish.attempt if fact is None else fact.attempt
                print_json(
                    {"job_id": wish.job_id, "outcome": outcome, "attempt": attempt, "reason": detail}, indent=False
                )
            elif outcome is Outcome.RETRIED and fact is not None:
                line(f"{wish.job_id}  {fact.status}  attempt {fact.attempt}")
            elif outcome is Outcome.REFUSED:
                say(f"jobstream: {wish.job_id}: {detail or 'refused'}")
            if counts.total() % _TOLD == 0 and counts.total() < len(found):
                say(f"{counts.total()} of {len(found)}")
    finally:
        say(_summary(counts, len(found)))
    if counts[Outcome.NOT_YET]:
        raise CliError("not all are answered: `jobstream status` says whether the orchestrator runs", exits.TIMEOUT)
    if counts[Outcome.REFUSED]:
        raise typer.Exit(exits.FAILED)


def _summary(counts: Counter[str], whole: int) -> str:
    told = [f"{count} {outcome}" for outcome, count in counts.items()]
    left = whole - counts.total()
    return f"{', '.join(told) or 'none retried'}" + (f", {left} not asked" if left else "") + f" of {whole}"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(retry)
