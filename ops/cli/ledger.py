"""`jobstream ledger`: whether the ledger's tables are right, and the tables written anew from the inbox."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import line, print_json, table
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from ops.ledger.differences import Difference, TableVerdict

ledger = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check the ledger's tables against the inbox, and write them anew from it.",
    epilog="Example: jobstream ledger verify",
)

#: Fields of one row that are shown.
_FIELDS = 8


@ledger.command("verify")
def verify(
    ctx: typer.Context,
    partition: Annotated[
        list[int] | None, typer.Option("--partition", help="Only this partition of the inbox; repeatable.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Judge what an orchestrator would recover with this local store (HOME/faust/…/v1/tables); "
            "nobody may have it open.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows that are shown.")] = 20,
    output: Output = None,
) -> None:
    """Fold the inbox, and compare with the tables as an orchestrator would recover them from their changelogs.

    Exit code 1 if a row differs. It changes nothing and may run beside everything else; what it reads is kept below
    TMPDIR for as long as it runs. Families with jobs from before the inbox begins are counted as not judged.

    \b
    Examples:
      jobstream ledger verify
      jobstream ledger verify --partition 3 -o json
    """
    from ops.cli.reading_progress import reading
    from ops.ledger.verifying import verify as verdicts_of

    known = settings()
    wrong = [number for number in partition or () if not 0 <= number < known.topology.inbox_partitions]
    if wrong:
        raise CliError(f"the inbox has no partition {wrong[0]}, but {known.topology.inbox_partitions}", exits.USAGE)
    with reading() as tell:
        verdicts = list(verdicts_of(known, partition or None, store, tell))
    if json_wanted(ctx, output):
        print_json({"equal": not _differ(verdicts), "partitions": [one.record() for one in verdicts]})
    else:
        _show(verdicts, limit)
    if _differ(verdicts):
        raise typer.Exit(exits.FAILED)


@ledger.command("rebuild")
def rebuild(
    ctx: typer.Context,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where the changelogs hold tables: they are deleted.")
    ] = False,
    lose_past: Annotated[
        bool,
        typer.Option(
            "--lose-past",
            help="Also where jobs are from before the inbox begins: they are left out. Unfinished ones never end, and "
            "what was completed may run again.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and fold, and write nothing.")] = False,
    output: Output = None,
) -> None:
    """Write the ledger's tables anew from the inbox: after a changelog topic was deleted, emptied or found wrong.

    Stop all orchestrators first. Nothing is touched before all is checked and folded; what was broken off is to be run
    again, and until then no orchestrator starts. Local stores are removed by their orchestrators when those start.

    \b
    Examples:
      jobstream ledger rebuild --dry-run
      jobstream ledger rebuild
    """
    from ops.cli.reading_progress import reading
    from ops.ledger.rebuilding import rebuild as rebuilt_by

    with reading() as tell:
        done = rebuilt_by(
            settings(),
            replace=replace,
            lose_past=lose_past,
            dry_run=dry_run,
            tell=tell,
            say=lambda text: say(f"jobstream: {text}"),
        )
    if json_wanted(ctx, output):
        print_json(done.record())
        return
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(done.rows.items())) or "no rows"
    line(f"{'would write' if dry_run else 'written'}: {counts}")
    for why, count in done.left_out.items():
        line(f"left out: {count:,} families: {why}")
    if done.undecided:
        line(f"{done.undecided:,} messages of the inbox are not decided yet: an orchestrator goes on with them")


@ledger.command("move")
def move(
    ctx: typer.Context,
    partitions: Annotated[int, typer.Option("--partitions", min=2, help="Partitions of the new inbox.")],
    output: Output = None,
) -> None:
    """Make a new inbox with more partitions, and carry over what the ledger knows; prints the settings to go on with.

    Stop workers, scheduler, gate and orchestrators first, in this order, so that all is forwarded and decided:
    submissions wait in jobs.submit. Run it with the present settings. What was broken off is to be run again.

    \b
    Examples:
      jobstream ledger move --partitions 8
    """
    from agents.generations import variables
    from ops.cli.reading_progress import reading
    from ops.ledger.moving import move as moved_by

    with reading() as tell:
        done = moved_by(settings(), partitions, tell=tell, say=lambda text: say(f"jobstream: {text}"))
    if json_wanted(ctx, output):
        print_json(done.record())
        return
    if done.before:
        line(f"generation {done.generation.number} was there already")
    else:
        line(f"carried over: {done.families:,} families, {done.documents:,} documents")
    line("to be set for all processes before they start again:")
    for one in variables(done.generation):
        line(f"  {one}")


def _differ(verdicts: "list[TableVerdict]") -> bool:
    return any(one.differing.total() for one in verdicts)


def _show(verdicts: "list[TableVerdict]", limit: int) -> None:
    differences = [one for verdict in verdicts for one in verdict.differences]
    for one in differences[:limit]:
        _show_difference(one)
    more = sum(verdict.differing.total() for verdict in verdicts) - min(limit, len(differences))
    if more > 0:
        line(f"… and {more:,} rows more (--limit; -o json has 1,000 a partition)")
    table(("partition", "messages", "rows equal", "rows that differ", "not judged"), [_row(one) for one in verdicts])
    for verdict in verdicts:
        for note in verdict.notes:
            say(f"jobstream: partition {verdict.partition}: {note}")


def _row(verdict: "TableVerdict") -> tuple[Any, ...]:
    unjudged = ", ".join(f"{count}: {why}" for why, count in sorted(verdict.unjudged.items()))
    counts = (verdict.equal.total(), verdict.differing.total())
    return (verdict.partition, verdict.messages, *counts, unjudged or "0")


def _show_difference(one: "Difference") -> None:
    from ops.cli.verdicts import value_of

    offsets = f"tables {_offset(one.tables_offset)}, inbox {_offset(one.fold_offset)}"
    line(f"{one.table} {one.key}  partition {one.partition}, {offsets}: {one.kind}")
    for change in one.changes[:_FIELDS]:
        line(f"    {change.path}: {value_of(change.before)} → {value_of(change.after)}")
    if len(one.changes) > _FIELDS:
        line(f"    … and {len(one.changes) - _FIELDS} fields more (-o json)")


def _offset(offset: int | None) -> str:
    return "–" if offset is None else str(offset)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(ledger, name="ledger")
