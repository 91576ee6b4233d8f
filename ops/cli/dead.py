"""`jobstream dead`: what could not be handled: looking at it, sending it again, noting that it is dealt with."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.caller import user
from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import line, listing, moment, pairs, print_json
from ops.cli.selector import moment_of, selected
from ops.cli.session import Output, format_of, json_wanted, settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.burying import Told
    from ops.reading.dead import Letter, Letters, Wanted

dead = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Dead letters: records that could not be handled, with their bytes as they came.\n\n"
    "\b\nExamples:\n  jobstream dead list --since 2h\n  jobstream dead show 0-17",
)

_NAMES = ("topic", "reason", "since")
#: The exit code for what came of a letter.
_CODES = {
    "sent": exits.OK,
    "would-be-sent": exits.OK,
    "dropped": exits.OK,
    "refused": exits.FAILED,
    "dealt-with": exits.FAILED,
    "unknown": exits.NOT_FOUND,
}
LetterId = Annotated[str, typer.Argument(metavar="ID", help="The letter, as list shows it: 0-17.")]
Reason = Annotated[str, typer.Option("--why", help="Why; kept with the note.")]


@dead.command("list")
def list_(
    ctx: typer.Context,
    topic: Annotated[str | None, typer.Option(help="Topic that they came from, or its end: submit.")] = None,
    reason: Annotated[str | None, typer.Option(help="A part of the reason.")] = None,
    since: Annotated[str | None, typer.Option(help="30m, 2h, 3d ago, or a time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Letters at most, the newest first.")] = 50,
    all_: Annotated[bool, typer.Option("--all", help="Those too that were sent again or dropped.")] = False,
    output: Output = None,
) -> None:
    """List dead letters, the newest first, without those that are dealt with.

    \b
    Examples:
      jobstream dead list --topic submit --reason "schema id"
      jobstream dead list --all --since 1d -o json
    """
    from ops.reading.dead import Letters, notes

    known = settings()
    wanted = _wanted(topic, reason, since)
    done = notes(known)
    with Letters(known) as letters:
        found = list(islice(_open(letters, wanted, {} if all_ else done), limit))
    rows = []
    for letter in found:
        said = letter.record()
        place = f"{said['topic']} {said['partition']}@{said['offset']}"
        note = done.get(letter.id, {}).get("done") or (f"again of {letter.again_of}" if letter.again_of else "")
        rows.append((letter.id, moment(letter.time), place, letter.size, note, said["reason"]))
    records, ids = [letter.record(done.get(letter.id)) for letter in found], [letter.id for letter in found]
    columns = ("id", "time", "from", "bytes", "", "reason")
    listing(format_of(ctx, output), records, ids, columns, rows, "no dead letters")


@dead.command()
def show(
    ctx: typer.Context,
    letter_id: LetterId,
    raw: Annotated[bool, typer.Option("--raw", help="Write its bytes to standard output as they came.")] = False,
    output: Output = None,
) -> None:
    """Show a dead letter: where it came from, why, and how its bytes begin, secrets masked.

    \b
    Examples:
      jobstream dead show 0-17
      jobstream dead show 0-17 --raw > record.bin
    """
    from ops.reading.dead import notes

    known = settings()
    letter = _letter(letter_id)
    if raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.buffer.flush()
        return
    note = notes(known).get(letter.id)
    key = (letter.key or b"").decode(errors="replace")
    more = {"key": key, "headers": letter.shown_headers(), "preview": letter.preview()}
    if json_wanted(ctx, output):
        print_json(letter.record(note) | more)
        return
    said = letter.record()
    done = "" if note is None else f"{note.get('done')} {moment(note['time'])} by {note.get('by')} {note.get('reason')}"
    pairs(
        [
            ("letter", letter.id),
            ("time", moment(letter.time)),
            ("from", f"{said['topic']}, partition {letter.of_partition}, offset {letter.of_offset}"),
            ("reason", said["reason"]),
            ("again of", letter.again_of),
            ("dealt with", done.strip()),
            ("key", key),
            *((f"header {name}", value) for name, value in letter.shown_headers().items()),
            ("bytes", letter.size),
        ]
    )
    line(letter.preview())


@dead.command()
def retry(
    ctx: typer.Context,
    letter_id: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The letters.")] = None,
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", metavar="NAME=VALUE,…", help=f"Letters by {', '.join(_NAMES)}, as for list."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Those too that were sent again or dropped.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="With --query: letters at most, the newest.")] = 100,
    rate: Annotated[int, typer.Option(min=1, max=200, help="Letters a second at most.")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --query: don't ask.")] = False,
    why: Reason = "",
    output: Output = None,
) -> None:
    """Send submissions again, byte for byte, through jobs.submit; what still can't be read comes back as a letter.

    Sent twice, a submission makes its jobs once. Reports, requests, inbox records and facts can't be sent again: what
    to do instead is said. Exit code 1 if one can't be sent, 4 if there is none of an id.

    \b
    Examples:
      jobstream dead retry 0-17
      jobstream dead retry --query topic=submit,reason=registry,since=2h --yes
    """
    from ops.burying import Undertaker, send_all
    from ops.reading.dead import Letters, notes

    if bool(letter_id) == bool(query):
        raise CliError("either IDs or --query NAME=VALUE is needed", exits.USAGE)
    known = settings()
    named = selected(query or (), _NAMES)
    wanted = _wanted(named.get("topic"), named.get("reason"), named.get("since"))
    done = {} if force else notes(known)
    as_json = json_wanted(ctx, output)
    codes = []
    with Letters(known) as letters, Undertaker(known) as undertaker:
        ids = letter_id or [letter.id for letter in islice(_open(letters, wanted, done), limit)]
        if query and not dry_run and not yes and ids:
            _agree(len(ids))
        for told in send_all(letters, undertaker, ids, done, user(), why, rate=rate, dry_run=dry_run):
            codes.append(_CODES[told.outcome])
            _tell(as_json, told)
    if not ids:
        say("no dead letters")
    if any(codes):
        raise typer.Exit(next(code for code in codes if code))


@dead.command()
def drop(
    ctx: typer.Context,
    letter_id: Annotated[list[str], typer.Argument(metavar="ID...", help="The letters.")],
    why: Reason = "",
    output: Output = None,
) -> None:
    """Note that letters are dealt with: list shows them no more. Nothing is deleted.

    \b
    Examples:
      jobstream dead drop 0-17 0-18 --why "sender told"
    """
    from ops.burying import Told, Undertaker
    from ops.reading.dead import Letters

    known = settings()
    as_json = json_wanted(ctx, output)
    missing = False
    with Letters(known) as letters, Undertaker(known) as undertaker:
        for one, letter in letters.each(letter_id):
            if letter is not None:
                undertaker.drop(letter, user(), why)
            missing = missing or letter is None
            _tell(as_json, Told(one, "unknown" if letter is None else "dropped"))
    if missing:
        raise typer.Exit(exits.NOT_FOUND)


def _wanted(topic: str | None, reason: str | None, since: str | None) -> Wanted:
    from ops.reading.dead import Wanted

    return Wanted(topic, reason, None if since is None else int(moment_of(since) * 1000))


def _open(letters: Letters, wanted: Wanted, done: Mapping[str, Any]) -> Iterator[Letter]:
    return (letter for letter in letters.newest(wanted) if letter.id not in done)


def _letter(letter_id: str) -> Letter:
    from ops.reading.dead import Letters

    with Letters(settings()) as letters:
        found = letters.get(letter_id)
    if found is None:
        raise CliError(f"{letter_id}: there is no such dead letter", exits.NOT_FOUND)
    return found


def _agree(count: int) -> None:
    if not sys.stdin.isatty():
        raise CliError(f"{count} letters would be sent: add --yes, or --dry-run to see them", exits.USAGE)
    if not typer.confirm(f"Send {count} letters again?", err=True):
        raise CliError("nothing was sent")


def _tell(as_json: bool, told: Told) -> None:
    detail = told.detail or ("there is no such letter" if told.outcome == "unknown" else "")
    if as_json:
        print_json({"id": told.letter_id, "outcome": told.outcome, "detail": detail}, indent=False)
    elif _CODES[told.outcome]:
        say(f"jobstream: {told.letter_id}: {detail}")
    else:
        line(f"{told.letter_id}  {told.outcome}  {detail}".rstrip())


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(dead, name="dead")
