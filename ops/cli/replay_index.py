"""`jobstream replay index`: the index once more from the log, and whether the live one is the same."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import line, print_json, table
from ops.cli.session import Output, json_wanted, settings
from ops.cli.times import TIME, time_of

if TYPE_CHECKING:
    from ops.replaying.indexing import Compared, Rebuilt

_PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_KINDS = ("job_status", "job_events", "grq")


def index(
    ctx: typer.Context,
    into: Annotated[str, typer.Option(metavar="PREFIX", help="Before each index's name; not that of the live ones.")],
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help=f"Only facts from then on. {TIME}")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only facts from before.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Say what of the live index is otherwise.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Documents that differ which are shown.")] = 20,
    output: Output = None,
) -> None:
    """Build Elasticsearch documents from jobs.events, beside the live index, by the code of the sink.

    Begun anew it writes the same. With --compare, exit code 1 if a live document is missing or another one; those of
    facts that came meanwhile are counted as newer. The indices stay until you delete them.

    \b
    Examples:
      jobstream replay index --into rebuilt- --compare
      jobstream replay index --into rebuilt- --from 2d --to 1d
    """
    from agents.logging import configure
    from ops.cli.reading_progress import reading
    from ops.replaying.indexing import compare as compared_with
    from ops.replaying.indexing import rebuild

    known = settings()
    if not _PREFIX.fullmatch(into):
        raise CliError(f"--into {into!r}: small letters, digits, dots, _ and - are needed, at most 40", exits.USAGE)
    if into == known.sink.index_prefix:
        raise CliError(f"--into {into!r} is the live index: another prefix is needed", exits.USAGE)
    first, last = time_of(since, "--from"), time_of(until, "--to")
    # the sink's code logs what it waits for
    configure(known.model_copy(update={"log_level": "WARNING"}), "replay")
    with reading() as tell:
        rebuilt = rebuild(known, into, first, last, tell)
        compared = compared_with(known, into, whole=rebuilt.is_whole, tell=tell) if compare else None
    if json_wanted(ctx, output):
        print_json(_record(rebuilt, compared))
    else:
        _show(rebuilt, compared, limit)
    if compared is not None and not compared.is_equal:
        raise typer.Exit(exits.FAILED)


def _record(rebuilt: "Rebuilt", compared: "Compared | None") -> dict[str, Any]:
    told: dict[str, Any] = {
        "facts": rebuilt.facts,
        "documents": rebuilt.documents,
        "refused": dict(rebuilt.refused),
    }
    if compared is not None:
        told["compared"] = {
            "is_equal": compared.is_equal,
            "equal": dict(compared.equal),
            "differ": dict(compared.differ),
            "missing": dict(compared.missing),
            "newer": dict(compared.newer),
            "only_live": dict(compared.only_live),
            "documents": [{"index": one.index, "id": one.id, "fields": list(one.fields)} for one in compared.unlike],
        }
    return told


def _show(rebuilt: "Rebuilt", compared: "Compared | None", limit: int) -> None:
    line(f"{rebuilt.facts:,} facts, {rebuilt.documents:,} writes")
    for why, count in rebuilt.refused.most_common(limit):
        line(f"refused {count:,} times: {why}")
    if compared is None:
        return
    rows = [
        (
            kind,
            compared.equal[kind],
            compared.differ[kind],
            compared.missing[kind],
            compared.newer[kind],
            compared.only_live[kind],
        )
        for kind in _KINDS
    ]
    table(("index", "equal", "differ", "missing", "newer", "only live"), rows)
    for one in compared.unlike[:limit]:
        line(f"{one.index}/{one.id}: {', '.join(one.fields[:12]) or 'not in the live index'}")
