"""`jobstream submit` and `jobstream hash`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError
from ops.cli.output import line, print_json
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from pipeline.messages.trace import Trace

#: s until a submission that nobody took is left to itself
TAKEN_TIMEOUT = 10.0

Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="Put into the payload: JSON if it is JSON, else text."),
]
Payload = Annotated[str | None, typer.Option(metavar="FILE", help="File with the payload, a JSON object; - is stdin.")]


def submit(
    ctx: typer.Context,
    job_type: Annotated[str, typer.Argument(help="Type of the job, as in job:NAME or NAME.")],
    param: Params = None,
    payload: Payload = None,
    queue: Annotated[str | None, typer.Option(help="Queue; by default the job type's.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 is most urgent.")] = None,
    tag: Annotated[str | None, typer.Option(help="A word to find the job by.")] = None,
    no_dedup: Annotated[bool, typer.Option("--no-dedup", help="Run it even if such a job waits, runs or ran.")] = False,
    time_limit: Annotated[int | None, typer.Option(min=1, help="Seconds after which it is killed.")] = None,
    soft_time_limit: Annotated[int | None, typer.Option(min=1, help="Seconds after which it is asked to end.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image to run in.")] = None,
    retry: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='Rules for retries, as {"exit:75": {"attempts": 3}}; or false: none.'),
    ] = None,
    submission_id: Annotated[str | None, typer.Option(help="Own id: sent twice, it makes the same jobs.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit with the job's exit status.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help=f"Seconds to wait; {TAKEN_TIMEOUT:.0f} by default, with --wait without end."),
    ] = None,
    output: Output = None,
) -> None:
    """Submit a job, and say which job it became.

    The submission is in Kafka once this says so; exit code 3 then means that nobody has taken it yet. The trace context
    in TRACEPARENT and TRACESTATE goes with it.

    \b
    Examples:
      jobstream submit hillshade --param tile=N46E008 --param zoom=12
      jobstream submit job:align:v2 --payload payload.json --priority 7 --wait
      echo '{"a": 1}' | jobstream submit sum --payload - -o json
    """
    from ops.cli.payload import payload_of
    from ops.cli.submission_run import SubmissionRun
    from ops.submitting import Submission

    options: dict[str, Any] = {
        "job_queue": queue,
        "priority": priority,
        "tag": tag,
        "enable_dedup": not no_dedup,
        "time_limit": time_limit,
        "soft_time_limit": soft_time_limit,
        "container_image_name": image,
        "retry": None if retry is None else _rules(retry),
    }
    named = {} if submission_id is None else {"submission_id": submission_id}
    submission = Submission(job_type, payload_of(param or (), payload), options=options, trace=_trace(), **named)
    as_json = json_wanted(ctx, output)
    with SubmissionRun(settings(), submission, as_json=as_json) as run:
        taken = run.send(known_id=submission_id is not None, timeout=_taken_timeout(wait, timeout))
        if taken is None:
            raise CliError(
                f"submission {submission.submission_id} is in Kafka, not yet taken: `jobstream status` says "
                "whether the orchestrator runs; sent again with --submission-id it makes the same jobs",
                exits.TIMEOUT,
            )
        code = run.wait(taken, timeout) if wait else exits.OK
    if code:
        raise typer.Exit(code)


def _trace() -> Trace:
    """Return the trace context that this process was started in, as tracing tools hand it over."""
    from pipeline.messages.trace import Trace

    return Trace.of(os.environ.get("TRACEPARENT", ""), os.environ.get("TRACESTATE", ""))


def _rules(text: str) -> str:
    """Return rules for retries as the submission carries them; raises CliError for what the gate would refuse."""
    from pipeline.retry_rules import checked

    try:
        checked(json.loads(text))
    except ValueError as error:
        raise CliError(f"--retry: {error}", exits.USAGE) from error
    return text


def _taken_timeout(wait: bool, timeout: float | None) -> float | None:
    """Return how long to wait for the first fact (s), None for without end."""
    if timeout is not None:
        return timeout
    return None if wait else TAKEN_TIMEOUT


def hash_(ctx: typer.Context, param: Params = None, payload: Payload = None, output: Output = None) -> None:
    """Print the payload hash: jobs with the same one are duplicates of each other.

    \b
    Examples:
      jobstream hash --payload payload.json
      jobstream hash --param tile=N46E008 --param zoom=12
    """
    from ops.cli.payload import payload_of
    from pipeline.identity import payload_hash

    if payload is None and not param:
        raise CliError("--payload FILE or --param NAME=VALUE is needed", exits.USAGE)
    value = payload_hash(payload_of(param or (), payload))
    if json_wanted(ctx, output):
        print_json({"payload_hash": value})
    else:
        line(value)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(submit)
    app.command("hash")(hash_)
