"""`jobstream orchestrator`, `gate`, `scheduler`, `worker`, `task-worker`, `sink`: one agent in the foreground."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.cluster import Engine
from ops.cli.errors import CliError, say
from ops.cli.session import settings

if TYPE_CHECKING:
    from pipeline.settings import Settings


def orchestrator(
    no_gate: Annotated[bool, typer.Option("--no-gate", help="The gate runs as a process of its own.")] = False,
) -> None:
    """Run the ledger, and the gate in the same process, until Ctrl-C or SIGTERM.

    \b
    Examples:
      jobstream orchestrator
      jobstream orchestrator --no-gate
    """
    from agents.orchestrator.main import run

    raise typer.Exit(run(_settings(), gate=not no_gate))


def gate() -> None:
    """Run the gate alone: takes submissions, reports and control into the inbox.

    \b
    Examples:
      jobstream gate
    """
    from agents.gate.main import run

    raise typer.Exit(run(_settings()))


def scheduler() -> None:
    """Run a scheduler; of several one leads, the others stand by.

    \b
    Examples:
      jobstream scheduler
    """
    from agents.scheduler.main import run

    raise typer.Exit(run(_settings()))


def worker(
    id_: Annotated[str | None, typer.Option("--id", help="Name of the worker; by default the host's.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=1000, help="Jobs at once.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="What runs the jobs.")] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Queue whose jobs it takes; may be repeated. All: *")] = None,
) -> None:
    """Run a worker until Ctrl-C or SIGTERM; running jobs then get its grace.

    \b
    Examples:
      jobstream worker --id node-7 --slots 4
      jobstream worker --engine docker --queue hillshade --queue align
    """
    from agents.worker.main import run

    wanted = {
        "id": id_,
        "slots": slots,
        "engine": None if engine is None else engine.value,
        "queues": tuple(queue) if queue else None,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    raise typer.Exit(run(_with_worker(_settings(), given)))


def task_worker(
    id_: Annotated[str | None, typer.Option("--id", help="Name of the worker; by default the host's.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=64, help="Tasks of each queue at once.")] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Queue whose tasks it takes; may be repeated.")] = None,
    function: Annotated[
        list[str] | None, typer.Option(help="What tasks may call; may be repeated. Nothing else is called.")
    ] = None,
) -> None:
    """Run a task worker until Ctrl-C or SIGTERM; running functions then get its grace.

    \b
    Examples:
      jobstream task-worker --slots 4
      jobstream task-worker --id rules-1 --queue rules --function site.rules.evaluate
    """
    from agents.tasks.main import run

    wanted = {
        "id": id_,
        "slots": slots,
        "queues": tuple(queue) if queue else None,
        "functions": tuple(function) if function else None,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    raise typer.Exit(run(_with_tasks(_settings(), given)))


def sink() -> None:
    """Run a sink: writes facts and job documents to Elasticsearch.

    \b
    Examples:
      jobstream sink
    """
    from agents.sink.main import run

    raise typer.Exit(run(_settings()))


def _settings() -> "Settings":
    """Return the settings; arms the crash point that the environment asks for, if any."""
    from pipeline import crash_points

    try:
        armed = crash_points.arm(os.environ)
    except crash_points.UnknownPointError as error:
        raise CliError(str(error), exits.USAGE) from error
    if armed:
        say(f"jobstream: this process is to end at a crash point: {armed}")
    return settings()


def _with_worker(known: "Settings", wanted: dict[str, Any]) -> "Settings":
    from pipeline.settings import WorkerSettings

    # validated anew: an id from the command line is checked like one from a file
    worker_ = WorkerSettings.model_validate(known.worker.model_dump() | wanted)
    return known.model_copy(update={"worker": worker_})


def _with_tasks(known: "Settings", wanted: dict[str, Any]) -> "Settings":
    from pipeline.settings import TaskSettings

    tasks = TaskSettings.model_validate(known.tasks.model_dump() | wanted)
    return known.model_copy(update={"tasks": tasks})


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (orchestrator, gate, scheduler, worker, task_worker, sink):
        app.command()(command)
