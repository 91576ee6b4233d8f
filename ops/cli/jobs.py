"""`jobstream jobs`: job types: registering, looking at, and checking them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import ago, line, listing, pairs, print_json
from ops.cli.session import Output, format_of, json_wanted, settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.jobtypes.files import Extra, Read
    from pipeline.jobtypes.job_type import JobType
    from pipeline.jobtypes.problems import Problem

jobs = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Register job types, look at them, check and try them.\n\n"
    "\b\nExamples:\n  jobstream jobs register hello.json\n  jobstream jobs list",
)

Files = Annotated[
    list[Path],
    typer.Argument(help="Job types: JSON files, pairs of job-spec.json.NAME and hysds-io.json.NAME, or folders."),
]
Version = Annotated[str | None, typer.Option("--version", help="Version of the types, where their files have none.")]
Image = Annotated[str | None, typer.Option(help="Container image that their jobs run in.")]
ImageUrl = Annotated[str | None, typer.Option("--image-url", help="Where workers get the image from.")]
Queue = Annotated[str | None, typer.Option(help="Queue of their jobs.")]
Params = Annotated[
    list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter, as for submit.")
]
Name = Annotated[str, typer.Argument(help="Job type: job-NAME:VERSION, or NAME where it has one version.")]


@jobs.command()
def register(
    ctx: typer.Context,
    files: Files,
    version: Version = None,
    image: Image = None,
    image_url: ImageUrl = None,
    queue: Queue = None,
    output: Output = None,
) -> None:
    """Register job types; one of the same name and version is replaced.

    Nothing is registered if anything is wrong with any of them. Jobs that were submitted before stay as they are.

    \b
    Examples:
      jobstream jobs register hello.json
      jobstream jobs register docker/job-spec.json.hello docker/hysds-io.json.hello --version v1.0 --image hello:v1.0
    """
    types = _loaded(files, _extra(version, image, image_url, queue))
    from ops.registering import register as register_types

    done = register_types(settings(), types)
    if json_wanted(ctx, output):
        print_json([{"id": one.id, "queue": one.queue, "state": state} for one, state in done])
        return
    for one, state in done:
        line(f"{one.id}  {state}  queue {one.queue}")


@jobs.command("list")
def list_(ctx: typer.Context, output: Output = None) -> None:
    """List the registered job types.

    \b
    Examples:
      jobstream jobs list
      jobstream jobs list -o wide
    """
    from ops.registering import registered

    entries = registered(settings()).values()
    records = [{**_summary(one.job_type), "id": one.id, "time": one.time, "error": one.error} for one in entries]
    rows = []
    for one in entries:
        of = _summary(one.job_type)
        limits = f"{of['soft_time_limit']}/{of['time_limit']}" if of else ""
        names = ", ".join(of.get("params", ())) or one.error
        row = (one.id, of.get("queue"), of.get("image") or "", limits, names, ago(one.time))
        rows.append((*row, of.get("disk_usage"), of.get("command")))
    columns = ("type", "queue", "image", "limits (s)", "parameters", "registered", "disk", "command")
    ids = [one.id for one in entries]
    listing(format_of(ctx, output), records, ids, columns, rows, "no job types are registered", more=2)


@jobs.command()
def show(name: Name) -> None:
    """Print the whole of a registered job type, as JSON that `register` takes.

    \b
    Examples:
      jobstream jobs show job-hello:v1.0 > hello.json
    """
    from ops.registering import registered

    found = registered(settings())
    entry = found[_one(found, name)]
    if entry.job_type is None:
        raise CliError(f"{entry.id} can't be used as it is registered: {entry.error}")
    print_json(entry.job_type.raw)


@jobs.command()
def validate(
    ctx: typer.Context,
    files: Files,
    version: Version = None,
    image: Image = None,
    image_url: ImageUrl = None,
    queue: Queue = None,
    output: Output = None,
) -> None:
    """Check job types, and files called job_worker.json, without registering anything; needs no server.

    Everything that is wrong is said, with its place in the file, and the exit code is 2.

    \b
    Examples:
      jobstream jobs validate docker --version v1.0
      jobstream jobs validate hello.json -o json
    """
    checked = _checked(files, _extra(version, image, image_url, queue))
    if json_wanted(ctx, output):
        print_json(checked)
    else:
        for one in checked:
            _tell(one)
        if not checked:
            say("no job types there")
    if not checked or not all(one["valid"] for one in checked):
        raise typer.Exit(exits.USAGE)


@jobs.command()
def resolve(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Registered job type, or a file with one.")],
    param: Params = None,
    payload: Annotated[str | None, typer.Option(metavar="FILE", help="The payload; - is stdin.")] = None,
    output: Output = None,
) -> None:
    """Say what a submission would run: its command, inputs and context; nothing is submitted.

    \b
    Examples:
      jobstream jobs resolve job-hello:v1.0 -p name=world
      jobstream jobs resolve hello.json --payload payload.json -o json
    """
    from ops.cli.payload import payload_of
    from pipeline.jobtypes.problems import InvalidError
    from pipeline.jobtypes.resolve import resolve as resolved

    job_type = _loaded([Path(name)], None)[0] if Path(name).is_file() else _registered(name)
    try:
        made = resolved(job_type, payload_of(param or (), payload))
    except InvalidError as error:
        raise _refusal(error.problems) from None
    if json_wanted(ctx, output):
        print_json({"id": job_type.id, "queue": job_type.queue, "argv": list(made.argv), "params": dict(made.params)})
        return
    urls = " ".join(one["url"] for one in made.localize_urls)
    pairs([("type", job_type.id), ("queue", job_type.queue), ("command", shlex.join(made.argv)), ("inputs", urls)])


@jobs.command()
def remove(name: Name) -> None:
    """Forget a registered job type; jobs that it made stay as they are.

    \b
    Examples:
      jobstream jobs remove job-hello:v1.0
    """
    from ops.registering import registered
    from ops.registering import remove as remove_type

    known = settings()
    found = _one(registered(known), name)
    remove_type(known, found)
    line(f"{found}  removed")


def _loaded(files: list[Path], extra: Extra | None) -> list[JobType]:
    """Return the types, all of them valid; what could be better is said beside the output."""
    from pipeline.jobtypes import job_type
    from pipeline.jobtypes.files import load
    from pipeline.jobtypes.problems import InvalidError

    try:
        types = load(files, extra)
    except InvalidError as error:
        raise _refusal(error.problems) from None
    if not types:
        raise CliError("no job types there", exits.USAGE)
    for one in types:
        for advice in job_type.advice(one.raw):
            say(f"{one.id}: {advice}")
    return types


def _refusal(problems: Iterable[Problem]) -> CliError:
    lines = [str(one) for one in problems]
    return CliError("\n  ".join([f"{len(lines)} problem{'s' if len(lines) > 1 else ''}:", *lines]), exits.USAGE)


def _extra(version: str | None, image: str | None, image_url: str | None, queue: str | None) -> Extra:
    from pipeline.jobtypes.files import Extra

    return Extra(version=version, image=image, image_url=image_url, queue=queue)


def _registered(name: str) -> JobType:
    from ops.registering import registered

    found = registered(settings())
    entry = found[_one(found, name)]
    if entry.job_type is None:
        raise CliError(f"{entry.id} can't be used as it is registered: {entry.error}")
    return entry.job_type


def _one(entries: Iterable[str], name: str) -> str:
    from ops.registering import named

    found = named(entries, name)
    if not found:
        raise CliError(f"{name}: no such job type; `jobstream jobs list` shows them", exits.NOT_FOUND)
    if len(found) > 1:
        raise CliError(f"{name} has several versions: {', '.join(found)}", exits.USAGE)
    return found[0]


def _summary(job_type: JobType | None) -> dict[str, Any]:
    if job_type is None:
        return {}
    spec = job_type.spec
    return {
        "name": job_type.name,
        "version": job_type.version,
        "queue": job_type.queue,
        "image": job_type.container.get("name"),
        "command": shlex.join(spec.command),
        "params": [param.name for param in spec.params],
        "disk_usage": spec.disk_usage,
        "soft_time_limit": spec.soft_time_limit,
        "time_limit": spec.time_limit,
    }


def _checked(paths: list[Path], extra: Extra) -> list[dict[str, Any]]:
    from pipeline.jobtypes.files import read

    workers = [path for path in paths if path.name.startswith("job_worker.json")]
    types = [path for path in paths if path not in workers]
    return [*(_of_read(one) for one in read(types, extra)), *map(_of_worker, workers)]


def _of_read(one: Read) -> dict[str, Any]:
    return {
        "id": one.made().id if not one.problems else None,
        "files": [str(file) for file in one.files],
        "valid": not one.problems,
        "problems": [problem.record() for problem in one.problems],
        "advice": one.advice,
    }


def _of_worker(path: Path) -> dict[str, Any]:
    import orjson

    from pipeline.jobtypes import check
    from pipeline.jobtypes.problems import Problem

    try:
        raw = orjson.loads(path.read_bytes())
        problems = check.problems(check.Kind.JOB_WORKER, raw, path.name)
    except orjson.JSONDecodeError as error:
        raw, problems = {}, [Problem(path.name, "$", f"no JSON: {error}", "a JSON object")]
    return {
        "id": None,
        "files": [str(path)],
        "valid": not problems,
        "problems": [problem.record() for problem in problems],
        "advice": [] if problems else check.unread(check.Kind.JOB_WORKER, raw, path.name),
    }


def _tell(one: dict[str, Any]) -> None:
    files = ", ".join(one["files"])
    line(f"{files}: {'ok' if one['valid'] else 'invalid'}{'  ' + one['id'] if one['id'] else ''}")
    for problem in one["problems"]:
        line(f"  {problem['document']}: {problem['path']}: found {problem['found']}, expected {problem['expected']}")
    for advice in one["advice"]:
        line(f"  advice: {advice}")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(jobs, name="jobs")
