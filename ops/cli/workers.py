"""`jobstream workers`: who runs jobs, and draining one."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import ago, line, listing
from ops.cli.session import Output, format_of, settings
from pipeline.holding.holdings import DRAINING

if TYPE_CHECKING:
    from ops.reading.workers import WorkerRow

workers = typer.Typer(rich_markup_mode=None, invoke_without_command=True)

Worker = Annotated[str, typer.Argument(metavar="ID", help="The worker's id.")]


@workers.callback()
def _default(ctx: typer.Context, output: Output = None) -> None:
    """List workers; drain, resume one.

    \b
    Examples:
      jobstream workers
      jobstream workers drain node-7 --reason "new disk"
    """
    if ctx.invoked_subcommand is None:
        list_(ctx, output)


@workers.command("list")
def list_(ctx: typer.Context, output: Output = None) -> None:
    """List the workers that said something within the last hour.

    \b
    Examples:
      jobstream workers list -o json
    """
    from ops.reading.workers import worker_rows

    rows = worker_rows(settings())
    cells = [
        (
            row.status.worker_id,
            _state(row),
            f"{len(row.status.attempts)}/{row.status.slots}",
            ",".join(row.status.queues),
            ",".join(row.status.engines),
            f"{row.status.memory_mib} MiB",
            row.status.gpus or "",
            row.status.host,
            ago(row.seen),
            row.reason,
            f"{row.status.disk_mib} MiB",
            ",".join(f"{name}={value}" for name, value in row.status.labels.items()),
            row.status.holder,
        )
        for row in rows
    ]
    titles = ("worker", "state", "busy", "queues", "engine", "memory", "gpus", "host", "seen", "why")
    wide = ("disk", "labels", "holder")
    records, ids = [_record(row) for row in rows], [row.status.worker_id for row in rows]
    listing(format_of(ctx, output), records, ids, (*titles, *wide), cells, "no workers", more=len(wide))


@workers.command()
def drain(worker_id: Worker, reason: Annotated[str, typer.Option(help="Why.")] = "") -> None:
    """Give a worker no more jobs; those that it runs go on.

    \b
    Examples:
      jobstream workers drain node-7 --reason "new disk"
    """
    from ops.reading.workers import set_draining, worker_rows

    known = settings()
    if worker_id not in {row.status.worker_id for row in worker_rows(known)}:
        raise CliError(f"{worker_id}: no worker of that id was heard of within the last hour", exits.NOT_FOUND)
    set_draining(known, worker_id, reason, draining=True)
    line(f"{worker_id} drains")


@workers.command()
def resume(worker_id: Worker) -> None:
    """Give a worker jobs again.

    \b
    Examples:
      jobstream workers resume node-7
    """
    from ops.reading.workers import draining_workers, set_draining

    known = settings()
    if worker_id not in draining_workers(known):
        raise CliError(f"{worker_id} does not drain", exits.NOT_FOUND)
    set_draining(known, worker_id, "", draining=False)
    line(f"{worker_id} gets jobs again")


def _state(row: "WorkerRow") -> str:
    if row.silent:
        return "silent"
    if row.apart or row.status.reason.startswith("protocol"):
        return "incompatible"
    if row.draining:
        return "draining"
    if row.status.accepting:
        return "up"
    return "draining" if row.status.reason.startswith(DRAINING) else "stopping"


def _record(row: "WorkerRow") -> dict[str, Any]:
    return row.status.record() | {
        "state": _state(row),
        "draining": row.draining,
        "seen": row.seen,
        "reason": row.reason,
    }


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(workers, name="workers")
