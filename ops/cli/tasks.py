"""`jobstream task`: light Python functions on task workers; `jobstream task-worker` is in `agents`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import ago, line, listing, moment, pairs, print_json, table
from ops.cli.session import Output, format_of, json_wanted, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.messages.task import TaskFact

task = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Light Python functions, called by task workers: submit them, and look at them.\n\n"
    "\b\nExamples:\n  jobstream task submit echo --arg hello --wait\n  jobstream task list",
)
_STATUSES = ("task-queued", "task-started", "task-retried", "task-succeeded", "task-failed")


@task.command()
def submit(
    ctx: typer.Context,
    function: Annotated[str, typer.Argument(help="Name on the workers' list: an entry point, or a dotted name.")],
    arg: Annotated[list[str] | None, typer.Option("--arg", "-a", help="An argument: JSON if it is, else text.")] = None,
    kwarg: Annotated[
        list[str] | None, typer.Option("--kwarg", "-k", metavar="NAME=VALUE", help="A keyword argument, likewise.")
    ] = None,
    kwargs: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with keyword arguments, a JSON object; - is stdin.")
    ] = None,
    queue: Annotated[str, typer.Option(help="Task queue.")] = "default",
    type_: Annotated[str, typer.Option("--type", help="What it is for; by default the function's name.")] = "",
    time_limit: Annotated[float | None, typer.Option(min=0.001, help="Seconds that the function may take.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=20, help="Attempts until it is given up.")] = None,
    task_id: Annotated[str | None, typer.Option(help="Own id.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep its directory for a while if it fails.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; exit code 1 if it fails.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait; by default without end.")] = None,
    output: Output = None,
) -> None:
    """Have a function called by a task worker, and say under which id.

    It is called at least once: if a worker dies, another one begins it again. With --wait its result is printed.

    \b
    Examples:
      jobstream task submit echo --arg hello --kwarg n=3 --wait
      jobstream task submit sleep --arg 2.5 --max-attempts 1
      jobstream task submit site.rules.evaluate --kwargs dataset.json --queue rules -o json
    """
    import orjson

    from ops.cli.payload import value_of
    from ops.reading.tasks import TaskReader
    from ops.tasking import TaskError, await_final
    from ops.tasking import submit as submit_task
    from pipeline.messages.task import Task

    known = settings()
    made = Task(
        function=function,
        task_id=_new_id() if task_id is None else task_id,
        type=type_,
        args=orjson.dumps([value_of(one) for one in arg or ()]).decode(),
        kwargs=orjson.dumps(_kwargs(kwarg or [], kwargs)).decode(),
        time_limit=time_limit,
        max_attempts=max_attempts,
        submitted_by=_user(),
        keep=keep,
        trace=_trace(),
    )
    as_json = json_wanted(ctx, output)
    with TaskReader(known) as reader:
        try:
            reader.follow(made.task_id)
            submit_task(known, made, queue)
        except TaskError as error:
            raise CliError(str(error), exits.USAGE) from error
        if not wait:
            _print({"task_id": made.task_id, "queue": queue, "status": "task-queued"}, as_json, made.task_id)
            return
        last = await_final(reader, made.task_id, timeout)
    if last is None:
        raise CliError(f"task {made.task_id} has not ended within {timeout:g} s", exits.TIMEOUT)
    _print(_document(last), as_json, _end_of(last))
    if last.status != "task-succeeded":
        raise CliError(f"task {made.task_id} failed: {last.error}", exits.FAILED)


@task.command("list")
def list_(
    ctx: typer.Context,
    status: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(_STATUSES)}.")] = None,
    function: Annotated[str | None, typer.Option(help="Only of this function.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="Of which anything was told in these last hours.")] = 24.0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the last told first.")] = 50,
    output: Output = None,
) -> None:
    """List tasks as they stand, from tasks.events.

    \b
    Examples:
      jobstream task list
      jobstream task list --status task-failed --hours 168 -o json
    """
    from ops.reading.tasks import TaskReader

    wanted = {one if one.startswith("task-") else f"task-{one}" for one in status or ()}
    if unknown := sorted(wanted - set(_STATUSES)):
        raise CliError(f"{', '.join(unknown)}: a status is one of {', '.join(_STATUSES)}", exits.USAGE)
    with TaskReader(settings()) as reader:
        newest = reader.newest(int((time.time() - hours * 3600) * 1000))
    found = [
        (told, one)
        for told, one in newest
        if (not wanted or one.status in wanted) and function in (None, one.function) and queue in (None, one.queue)
    ][:limit]
    rows = [
        (
            *(one.task_id, one.function, one.queue, one.status, one.attempt, ago(told), one.worker, one.short_error),
            *(one.type, one.submitted_by),
        )
        for told, one in found
    ]
    columns = ("task", "function", "queue", "status", "attempt", "since", "worker", "error", "type", "by")
    records, ids = [_document(one) for _, one in found], [one.task_id for _, one in found]
    listing(format_of(ctx, output), records, ids, columns, rows, "no tasks", more=2)


@task.command()
def show(
    ctx: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="TASK_ID", help="The task.")],
    output: Output = None,
) -> None:
    """Show a task: how it stands, and what happened to it, from tasks.events.

    \b
    Examples:
      jobstream task show 7d0a5e1c-92cf-4c5f-8a39-1d6f3c0f7a11
      jobstream task show TASK_ID -o json
    """
    from ops.reading.tasks import TaskReader

    with TaskReader(settings()) as reader:
        facts = reader.of_task(task_id)
    if not facts:
        raise CliError(f"{task_id}: there is no such task", exits.NOT_FOUND)
    _, newest = max(facts, key=lambda one: one[1].seq)
    history = [(told, one) for told, one in sorted(facts, key=lambda one: one[0])]
    if json_wanted(ctx, output):
        print_json({**_document(newest), "history": [{"time": moment(told), **_brief(one)} for told, one in history]})
        return
    pairs((name, value) for name, value in _document(newest).items() if name not in {"facts", "traceback", "output"})
    line("")
    rows = [(moment(told), one.status, one.attempt, one.deliveries, one.worker, one.error) for told, one in history]
    table(("time", "status", "attempt", "delivery", "worker", "error"), rows)
    for name in ("traceback", "output"):
        if text := getattr(newest, name):
            line(f"\n{name}:", clean=False)
            for one in text.splitlines():
                line(one)


def _new_id() -> str:
    import uuid

    return str(uuid.uuid4())


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()[:200]
    except (OSError, KeyError):
        return ""


def _trace() -> dict[str, str]:
    import os

    return {name: os.environ[name.upper()] for name in ("traceparent", "tracestate") if name.upper() in os.environ}


def _kwargs(given: list[str], file: str | None) -> dict[str, Any]:
    from ops.cli.payload import read_payload, value_of

    values = {} if file is None else read_payload(file)
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise CliError(f"--kwarg {one!r}: name=value is needed", exits.USAGE)
        values[name] = value_of(value)
    return values


def _document(fact: TaskFact) -> dict[str, Any]:
    """Return a fact's fields that say something, JSON as what it is and times readable."""
    import orjson

    found = fact.record()
    for name in ("result", "facts", "args", "kwargs"):
        if text := found[name]:
            try:
                found[name] = orjson.loads(text)
            except orjson.JSONDecodeError:
                # it was long, and is cut
                found[name] = text
    for name in ("queued_at", "started_at", "ended_at", "retry_at"):
        found[name] = moment(found[name]) if found[name] else None
    return {name: value for name, value in found.items() if value not in (None, "", {}, 0) or name == "result"}


def _brief(fact: TaskFact) -> Mapping[str, Any]:
    names = ("status", "attempt", "deliveries", "worker", "error", "seq")
    return {name: getattr(fact, name) for name in names}


def _end_of(fact: TaskFact) -> str:
    if fact.status != "task-succeeded":
        return f"{fact.task_id}  {fact.status}"
    if fact.result is None:
        return f"{fact.task_id}  {fact.status}  a result of {fact.result_size} bytes, which is too long to be kept"
    return f"{fact.task_id}  {fact.status}  {fact.result}"


def _print(document: Mapping[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        print_json(document)
    else:
        line(text)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(task, name="task")
