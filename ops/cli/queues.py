"""`jobstream queues`: what waits, and declaring, pausing, resuming."""

import re
from typing import Annotated

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import ago, line, listing
from ops.cli.session import Output, format_of, settings

queues = typer.Typer(rich_markup_mode=None, invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="Queue: a-z, 0-9, dot, hyphen, underscore; 80 characters at most.")]


@queues.callback()
def _default(ctx: typer.Context, output: Output = None) -> None:
    """List queues; declare, pause, resume one.

    \b
    Examples:
      jobstream queues
      jobstream queues pause hillshade
    """
    if ctx.invoked_subcommand is None:
        list_(ctx, output)


@queues.command("list")
def list_(ctx: typer.Context, output: Output = None) -> None:
    """List the queues: how many jobs wait, since when, how many run.

    Numbers are the scheduler's, of a few seconds ago; none where it never ran.

    \b
    Examples:
      jobstream queues list -o json
    """
    from ops.reading.queues import queue_rows

    rows = queue_rows(settings())
    cells = [
        (
            row.queue,
            row.depth,
            row.running,
            ago(row.oldest) if row.oldest is not None else "",
            "paused" if row.paused else "",
            "; ".join(f"{one.get('count')}: {one.get('why')}" for one in row.unmet),
        )
        for row in rows
    ]
    columns = ("queue", "waiting", "running", "oldest", "", "nobody can take")
    records, names = [row.record() for row in rows], [row.queue for row in rows]
    listing(format_of(ctx, output), records, names, columns, cells, "no queues are declared")


@queues.command()
def declare(name: Name) -> None:
    """Declare a queue: make its topic, and tell the schedulers and workers.

    \b
    Examples:
      jobstream queues declare hillshade
    """
    from agents.admin import declare_queue
    from ops.reading.queues import queue_settings

    _check(name)
    known = settings()
    if name in queue_settings(known):
        line(f"{name} is declared already")
        return
    declare_queue(known, name)
    line(f"{name} declared")


@queues.command()
def pause(name: Name) -> None:
    """Let no more jobs of a queue start; those that run go on, new ones wait.

    \b
    Examples:
      jobstream queues pause hillshade
    """
    _set_paused(name, paused=True)


@queues.command()
def resume(name: Name) -> None:
    """Let jobs of a queue start again.

    \b
    Examples:
      jobstream queues resume hillshade
    """
    _set_paused(name, paused=False)


def _set_paused(name: str, *, paused: bool) -> None:
    from agents.admin import declare_queue
    from ops.reading.queues import queue_settings

    _check(name)
    known = settings()
    if name not in queue_settings(known):
        raise CliError(f"{name}: no such queue; `jobstream queues declare {name}` makes it", exits.NOT_FOUND)
    declare_queue(known, name, paused=paused)
    line(f"{name} {'paused' if paused else 'resumed'}")


def _check(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9._-]{1,80}", name):
        raise CliError(f"{name!r} is no queue name: a-z, 0-9, dot, hyphen, underscore; 80 at most", exits.USAGE)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(queues, name="queues")
