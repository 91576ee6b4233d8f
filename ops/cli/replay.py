"""`jobstream replay`: what happened, once more, by the ledger's own code over what the log recorded."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import print_json
from ops.cli.replay_index import index
from ops.cli.replay_submissions import submissions
from ops.cli.session import Output, json_wanted, settings
from ops.cli.times import TIME, time_of

if TYPE_CHECKING:
    from pipeline.replay.history import History
    from pipeline.replay.recorded import Recorded

replay = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Replay what the log recorded: step through a job, check the code against the past, send again, index again.",
    epilog="Example: jobstream replay job 3f2a-9c1b",
)

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]
File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="From `jobstream replay export`; - is stdin. No server.")
]


@replay.command("job")
def job_(
    ctx: typer.Context,
    job_id: Annotated[str | None, typer.Argument(metavar="JOB_ID", help="The job; by default the file's.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="OFFSET|TIME", help=f"Up to this inbox offset, or this time. {TIME}")
    ] = None,
    step: Annotated[bool, typer.Option("--step", help="Stop after each: Enter goes on, s shows the state.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also what was about other jobs of its family.")] = False,
    file: File = None,
    output: Output = None,
) -> None:
    """Show what each message of the inbox did to a job: the change of its state, what went out, and refusals with why.

    With -o json one object a line, with the state before and after.

    \b
    Examples:
      jobstream replay job 3f2a-9c1b
      jobstream replay job 3f2a-9c1b --until 2026-11-28T03:12Z --step
      jobstream replay job --file history.json -o json
    """
    from ops.cli.replay_steps import Shown
    from pipeline.replay.job import record_of, steps

    as_json = json_wanted(ctx, output)
    if step and (as_json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise CliError("--step needs a terminal, and no -o json", exits.USAGE)
    wanted = _until(until)
    history = _history(job_id, file)
    _warn(history)
    if as_json:
        for one in steps(history, wanted):
            if everything or one.concerns_job:
                print_json(record_of(one), indent=False)
        return
    shown = Shown(history, everything=everything, stop=step)
    for one in steps(history, wanted):
        if not shown.show(one):
            return
    shown.close()


@replay.command("export")
def export(job_id: JobId) -> None:
    """Write a job's history to standard output: all of the log that concerns it, for --file of the other commands.

    It holds the job's payload and results as they are: look through it before you hand it on.

    \b
    Examples:
      jobstream replay export 3f2a-9c1b > history.json
      jobstream replay job --file history.json
    """
    history = _history(job_id, None)
    _warn(history)
    sys.stdout.write(history.dump().decode())
    sys.stdout.flush()


@replay.command("verify")
def verify(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help=f"Only what came from then on. {TIME}")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only what came before.")] = None,
    partition: Annotated[
        list[int] | None, typer.Option("--partition", min=0, help="Only this one of the inbox; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Jobs that differ which are shown.")] = 20,
    file: File = None,
    output: Output = None,
) -> None:
    """Check today's code against the past: fold the recorded inbox, and compare with the facts that were recorded.

    Exit code 1 if a fact of any job is not as recorded; the first of each job is shown. What can't be judged, as where
    retention took the inbox's beginning, is counted by why, and never called equal. Run it before an upgrade goes live.

    \b
    Examples:
      jobstream replay verify
      jobstream replay verify --from 2d --partition 3
      jobstream replay verify --file history.json
    """
    from ops.cli.reading_progress import reading
    from ops.cli.verdicts import show
    from ops.replaying import histories
    from ops.replaying.verifying import verify as verdicts
    from ops.replaying.verifying import verify_history

    as_json = json_wanted(ctx, output)
    if file is not None:
        found = [verify_history(histories.from_file(file))]
    else:
        known = settings()
        _check_partitions(partition, known.topology.inbox_partitions)
        span = (time_of(since, "--from"), time_of(until, "--to"))
        with reading() as tell:
            found = list(verdicts(known, partition or None, *span, tell))
    if not show(found, limit, as_json=as_json):
        raise typer.Exit(exits.FAILED)


replay.command("submissions")(submissions)
replay.command("index")(index)


def _check_partitions(wanted: list[int] | None, count: int) -> None:
    for number in wanted or ():
        if number >= count:
            raise CliError(f"--partition {number}: the inbox has {count}, from 0 on", exits.USAGE)


def _history(job_id: str | None, file: Path | None) -> "History":
    from ops.cli.reading_progress import reading
    from ops.replaying import histories

    if file is not None:
        history = histories.from_file(file)
        if job_id not in (None, history.job_id):
            raise CliError(f"{file} is the history of {history.job_id}", exits.USAGE)
        return history
    if job_id is None:
        raise CliError("JOB_ID or --file FILE is needed", exits.USAGE)
    with reading() as tell:
        found = histories.from_log(settings(), job_id, tell)
    if found is None:
        raise CliError(f"{job_id}: there is no such job", exits.NOT_FOUND)
    return found


def _warn(history: "History") -> None:
    if not history.is_whole:
        say(
            f"jobstream: the inbox begins at offset {history.begins}: what came before is gone, "
            "and what follows may differ for it"
        )


def _until(text: str | None) -> "Callable[[Recorded], bool] | None":
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        offset = int(text)
        return lambda record: record.offset <= offset
    last = time_of(text, "--until") or 0
    return lambda record: record.timestamp <= last


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(replay, name="replay")
