"""`jobstream run`: one job, here and now, without any server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import line, print_json
from ops.cli.session import Output, json_wanted, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.worker.work import WorkResult
    from pipeline.jobtypes.job_type import JobType
    from pipeline.settings import Settings


def run(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="JOB.json", help="A submission or a job, as JSON; - is stdin.")],
    engine: Annotated[str | None, typer.Option(help="What runs it; by default as for workers.")] = None,
    work_dir: Annotated[
        Path | None, typer.Option("--work-dir", help="Root of the work directories; by default HOME/work.")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Data of the installation.", show_default=".jobstream")] = None,
    job_type: Annotated[
        list[Path] | None, typer.Option("--job-type", help="File or folder with job types that it may be of.")
    ] = None,
    job_worker: Annotated[
        Path | None, typer.Option("--job-worker", help="job_worker.json: commands by job type.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish its products, as JOBSTREAM_WORKER__DATASETS_FILE says.")
    ] = False,
    output: Output = None,
) -> None:
    """Run one job on this machine and wait for its end; exit with the job's exit status.

    The file is a submission (with a job_type), or a job as in the _job.json of a work directory. It gets an id of its
    own, and nothing is told to anybody. Ctrl-C asks it to end, a second one kills it.

    \b
    Examples:
      jobstream run job.json
      jobstream run submission.json --job-type hello.json --engine docker
      echo '{"job_type": "x", "payload": {"_command": "echo hello"}}' | jobstream run - --work-dir /tmp/work
    """
    known = _settings(home)
    job = _job(file, known, _types(job_type or []))
    from ops.running import local

    code = _run(local(known, engine, work_dir, job_worker, publish), job, as_json=json_wanted(ctx, output))
    if code:
        raise typer.Exit(code)


def _run(chosen: Settings, job: Mapping[str, Any], *, as_json: bool) -> int:
    from ops.running import exit_code
    from ops.running import run as run_here

    def begun(job_info: Mapping[str, Any]) -> None:
        if not as_json:
            line(f"work directory: {job_info.get('job_dir')}")

    try:
        result = run_here(chosen, job, begun)
    except ValueError as error:
        raise CliError(str(error), exits.USAGE) from None
    code = exit_code(result)
    _tell(job, result, code, as_json=as_json)
    return code


def _settings(home: Path | None) -> Settings:
    if home is not None:
        import os

        os.environ["JOBSTREAM_HOME"] = str(home)
    return settings()


def _types(paths: list[Path]) -> list[JobType]:
    from pipeline.jobtypes.files import load
    from pipeline.jobtypes.problems import InvalidError

    try:
        return load(paths)
    except InvalidError as error:
        raise CliError(str(error), exits.USAGE) from None


def _job(file: str, known: Settings, types: list[JobType]) -> dict[str, Any]:
    from ops.cli.payload import read_payload
    from ops.running import UnrunnableError, job_of
    from pipeline.submission.errors import CreatorsError, UnacceptableError

    try:
        return job_of(read_payload(file), known, types)
    except (UnrunnableError, UnacceptableError, CreatorsError) as error:
        raise CliError(f"{file}: {error}", exits.USAGE) from None


def _tell(job: Mapping[str, Any], result: WorkResult, code: int, *, as_json: bool) -> None:
    said = result.result
    info = said.get("job_info") or {}
    status = said.get("status") or ("job-completed" if result.completed else "job-failed")
    if as_json:
        print_json(
            {
                "job_id": job["job_id"],
                "status": status,
                "exit_code": code,
                "work_dir": info.get("job_dir"),
                "duration": info.get("duration"),
                "error": said.get("error"),
                "products": [one.get("id") for one in said.get("products") or []],
            }
        )
        return
    line(f"{job['job_id']}  {status}  exit code {code}  {info.get('duration', 0):.1f} s")
    for note in said.get("notes") or []:
        say(note)
    if said.get("error"):
        say(str(said.get("traceback") or said["error"]) if said.get("category") == "command-failed" else said["error"])


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)
