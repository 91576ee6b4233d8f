"""`jobstream replay submissions`: a range of the past, sent again."""

import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import line, print_json, table
from ops.cli.session import Output, json_wanted, settings
from ops.cli.times import TIME, time_of

if TYPE_CHECKING:
    from ops.replaying.resubmitting import Sent


def submissions(
    ctx: typer.Context,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help=f"From then on. {TIME}")],
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to then.")],
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only jobs of this type; may be repeated.")
    ] = None,
    to_topic: Annotated[str | None, typer.Option(metavar="TOPIC", help="Where they are sent.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many a second.")] = None,
    mark: Annotated[str | None, typer.Option(help="Name of this replay; the same one makes the same jobs.")] = None,
    no_dedup: Annotated[bool, typer.Option("--no-dedup", help="Run them even if such jobs wait, run or ran.")] = False,
    common_only: Annotated[
        bool, typer.Option("--common-only", help="Only those of jobs.submit, whose senders nobody vouches for.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Even to the topic that they come from.")] = False,
    output: Output = None,
) -> None:
    """Send the submissions of a time again: under new ids, and marked as a replay.

    They go to another topic, of an installation that is there for it: its workers need JOBSTREAM_WORKER__REPLAYS=true,
    others end a marked job as failed without running it. What is a replay itself isn't sent again. What NAME sent by
    its own topic (topics.principals) goes to TOPIC.NAME.

    \b
    Examples:
      jobstream replay submissions --from 2026-11-27T00:00 --to 2026-11-28T00:00 --dry-run
      jobstream replay submissions --from 2d --to 1d --type hillshade --to-topic staging-jobs.submit --rate 5
    """
    from ops.cli.reading_progress import reading
    from ops.replaying.resubmitting import Sent, read, send, senders, targets
    from pipeline.messages.mark import MARK
    from pipeline.replay.resubmission import Resubmission, bare_types

    if dry_run == (to_topic is not None):
        raise CliError("either --to-topic TOPIC or --dry-run is needed", exits.USAGE)
    first, last = time_of(since, "--from") or 0, time_of(until, "--to") or 0
    if first >= last:
        raise CliError("--from must be before --to", exits.USAGE)
    name = mark or f"replay-{secrets.token_hex(4)}"
    if not MARK.fullmatch(name):
        raise CliError(f"--mark {name!r}: letters, digits, dots, _ and - are needed, at most 80", exits.USAGE)
    known, sent = settings(), Sent()
    by = senders(known, first, last, common_only=common_only)
    topics = None if to_topic is None else targets(known, to_topic, by, force=force)
    wanted = Resubmission(name, bare_types(type_ or ()), dedup=not no_dedup)
    try:
        with reading() as tell:
            found = read(known, wanted, by, first, last, sent, tell)
            if topics is None:
                for sender, one in found:
                    sent.add(sender, one)
            else:
                send(known, topics, found, sent, rate)
    except BaseException:
        if sent.count and topics is not None:
            say(f"jobstream: {sent.count} were sent as {name}: with --mark {name} none of them runs twice")
        raise
    _show(sent, name, to_topic, as_json=json_wanted(ctx, output))


def _show(sent: "Sent", mark: str, to_topic: str | None, *, as_json: bool) -> None:
    if as_json:
        told = {"mark": mark, "to_topic": to_topic, "sent": to_topic is not None, "count": sent.count}
        print_json(told | {"types": dict(sent.types), "senders": dict(sent.senders), "skipped": dict(sent.skipped)})
        return
    table(("type", "submissions"), sorted(sent.types.items()), "no such submissions")
    skipped = ", ".join(f"{count} {why}" for why, count in sorted(sent.skipped.items()))
    done = f"sent to {to_topic} as {mark}" if to_topic is not None else "would be sent"
    known = "".join(f", {count} of them as {name}'s" for name, count in sorted(sent.senders.items()))
    line(f"{sent.count} {done}{known}{f'; left out: {skipped}' if skipped else ''}")
