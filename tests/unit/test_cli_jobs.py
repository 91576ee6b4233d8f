"""`jobstream jobs` and `jobstream run` as far as no server is needed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import ops.templates
from ops.cli import exits
from ops.cli.main import app
from tests.unit.jobtypes_support import document
from tests.waiting import until

TEMPLATE = Path(ops.templates.__file__).parent / "job_type.json"
NOWHERE = {"JOBSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1", "JOBSTREAM_CONFIG": "/nonexistent.toml"}


def cli(*words: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), input=stdin, env=NOWHERE)


def write(folder: Path, name: str, value: Any) -> Path:
    (folder / name).write_text(json.dumps(value))
    return folder / name


def test_valid_types_are_named(tmp_path: Path) -> None:
    result = cli("jobs", "validate", TEMPLATE, write(tmp_path, "job_worker.json", {"configs": []}), "-o", "json")
    assert result.exit_code == exits.OK, result.output
    of_type, of_worker = json.loads(result.stdout)
    assert (of_type["id"], of_type["valid"], of_type["problems"]) == ("job-hello:v1.0", True, [])
    assert of_worker["valid"] is True


def test_every_problem_of_every_file_is_said_and_the_exit_code_is_2(tmp_path: Path) -> None:
    raw = document({"name": "a", "type": "colour"})
    del raw["job_spec"]["time_limit"]
    wrong = write(tmp_path, "wrong.json", raw)
    worker = write(tmp_path, "job_worker.json", {"configs": [{"type": "a"}]})
    result = cli("jobs", "validate", wrong, worker, TEMPLATE)
    assert result.exit_code == exits.USAGE
    for said in (
        "wrong.json: $.job_spec.time_limit: found nothing, expected a whole number of seconds",
        'wrong.json: $.hysds_io.params[0].type: found "colour", expected one of text, number',
        "job_worker.json: $.configs[0].command: found nothing",
        f"{TEMPLATE}: ok  job-hello:v1.0",
    ):
        assert said in result.stdout


@pytest.mark.parametrize("command", ["validate", "register"])
def test_a_file_that_is_not_there_or_a_folder_without_types_is_exit_code_2(tmp_path: Path, command: str) -> None:
    assert cli("jobs", command, tmp_path / "none.json").exit_code == exits.USAGE
    assert cli("jobs", command, tmp_path).exit_code == exits.USAGE


def test_nothing_is_registered_where_anything_is_wrong(tmp_path: Path) -> None:
    result = cli("jobs", "register", TEMPLATE, write(tmp_path, "wrong.json", {}))
    assert result.exit_code == exits.USAGE
    assert "wrong.json: $.job_spec: found nothing" in result.stderr


def test_a_type_in_a_file_can_be_tried() -> None:
    result = cli("jobs", "resolve", TEMPLATE, "-p", "name=a b", "-p", "inputs=s3://x", "-o", "json")
    assert result.exit_code == exits.OK, result.output
    made = json.loads(result.stdout)
    assert made["argv"] == ["/bin/echo", "hello", "a b", "1.0"]
    assert made["params"]["localize_urls"] == [{"url": "s3://x"}]
    refused = cli("jobs", "resolve", TEMPLATE, "-p", "nam=x")
    assert refused.exit_code == exits.USAGE
    assert "$.payload.nam: found an unknown parameter" in refused.stderr


def run(folder: Path, job: Any, *more: str | Path) -> Result:
    places = ("--home", folder / "home", "--work-dir", folder / "work")
    return cli("run", "-", *places, *more, stdin=json.dumps(job))


def submission(command: str) -> dict[str, Any]:
    return {"job_type": "job:any", "payload": {"_command": command}}


def test_a_job_runs_without_a_server_and_its_work_directory_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, submission("echo hello"), "-o", "json")
    assert result.exit_code == exits.OK, result.output
    answer = json.loads(result.stdout)
    directory = Path(answer["work_dir"])
    assert directory.is_relative_to(tmp_path / "work")
    assert (directory / "_stdout.txt").read_text() == "hello\n"
    assert (directory / ".done").exists()
    assert (answer["status"], answer["exit_code"]) == ("job-completed", 0)


def test_the_exit_code_is_the_jobs_own(tmp_path: Path) -> None:
    result = run(tmp_path, submission("sh -c 'echo why >&2; exit 7'"))
    assert result.exit_code == 7
    assert "work directory: " in result.stdout
    assert "job-failed  exit code 7" in result.stdout
    assert "why" in result.stderr


def test_a_submission_of_a_registered_type_runs_what_the_type_says(tmp_path: Path) -> None:
    job = {"job_type": "job-hello:v1.0", "payload": {"name": "$HOME `id`"}}
    answer = json.loads(run(tmp_path, job, "--job-type", TEMPLATE, "-o", "json").stdout)
    assert (Path(answer["work_dir"]) / "_stdout.txt").read_text() == "hello $HOME `id` 1.0\n"
    # and once more, from what that run left
    again = run(tmp_path, json.loads((Path(answer["work_dir"]) / "_job.json").read_text()), "-o", "json")
    assert again.exit_code == exits.OK, again.output
    assert (Path(json.loads(again.stdout)["work_dir"]) / "_stdout.txt").read_text() == "hello $HOME `id` 1.0\n"


def test_a_jobs_command_may_come_from_a_workers_configuration(tmp_path: Path) -> None:
    entry = {"type": "any", "command": {"path": "/bin/echo", "options": ["-n"], "arguments": ["$word"]}}
    config = write(tmp_path, "job_worker.json", {"configs": [entry]})
    job = {"type": "any", "params": {"word": ["a", "b"]}}
    answer = json.loads(run(tmp_path, job, "--job-worker", config, "-o", "json").stdout)
    assert (Path(answer["work_dir"]) / "_stdout.txt").read_text() == "a b"
    other = run(tmp_path, {**job, "type": "other"}, "--job-worker", config)
    assert other.exit_code == 1
    assert "no command for job type 'other'" in other.stderr


def test_the_noop_engine_runs_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, submission("/nonexistent"), "--engine", "noop").exit_code == exits.OK


@pytest.mark.parametrize(
    ("job", "more", "said"),
    [
        ({}, (), "a submission has a job_type"),
        ({"job_type": "x"}, (), "payload"),
        (submission("true"), ("--engine", "none"), "no engine 'none'"),
        (submission("true"), ("--job-worker", "/nonexistent.json"), "no job_worker.json"),
        ({"job_type": "job-hello:v1.0", "payload": {}}, ("--job-type", TEMPLATE), "$.payload.name: found nothing"),
    ],
)
def test_what_can_not_run_is_one_line_and_exit_code_2(tmp_path: Path, job: Any, more: Any, said: str) -> None:
    result = run(tmp_path, job, *more)
    assert result.exit_code == exits.USAGE, result.output
    assert said in result.stderr


def test_an_interrupt_ends_the_job_and_closes_its_directory(tmp_path: Path) -> None:
    job = write(tmp_path, "job.json", submission("sleep 300"))
    words = ["run", str(job), "--home", str(tmp_path / "home"), "--work-dir", str(tmp_path / "work"), "-o", "json"]
    code = "from ops.cli.main import main; main()"
    running = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, env=os.environ | NOWHERE)
    until(lambda: list((tmp_path / "work").rglob("_pid")), what="the command's pid")
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=30)
    answer = json.loads(output)
    assert running.returncode == answer["exit_code"] != 0
    assert answer["status"] == "job-revoked"
    assert (Path(answer["work_dir"]) / ".done").exists()
