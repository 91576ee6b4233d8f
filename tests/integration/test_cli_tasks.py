"""`jobstream task` against a real broker and a task worker."""

import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from ops.cli import exits
from ops.cli.main import app
from tests.integration.task_bench import HERE, QUEUE, TaskBench

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def bench(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskBench]:
    made = TaskBench(kafka, tmp_path_factory.mktemp("home"), slots=2)
    made.worker("w1")
    yield made
    made.close()


@pytest.fixture
def cli(bench: TaskBench) -> Cli:
    environment = bench.settings.environment() | {"TRACEPARENT": "00-trace"}
    return lambda *words: CliRunner().invoke(app, ["task", *words], env=environment)


def submit(cli: Cli, *words: str) -> Result:
    return cli("submit", *words, "--queue", QUEUE)


def test_waiting_ends_with_the_result(cli: Cli) -> None:
    result = submit(
        cli, "echo", "-a", "3", "-a", "text", "-k", 'n={"a": null}', "--type", "mine", "--wait", "-o", "json"
    )
    assert result.exit_code == exits.OK, result.output
    said = json.loads(result.stdout)
    assert said["result"] == {"args": [3, "text"], "kwargs": {"n": {"a": None}}}
    assert (said["status"], said["type"], said["trace"]) == ("task-succeeded", "mine", {"traceparent": "00-trace"})


def test_waiting_for_one_that_fails_is_exit_code_1_and_says_why(cli: Cli) -> None:
    failed = submit(cli, f"{HERE}.fail", "-a", "by design", "--max-attempts", "1", "--wait")
    assert failed.exit_code == exits.FAILED
    assert "RuntimeError: by design" in failed.stderr
    refused = submit(cli, "os.system", "-a", "true", "--wait")
    assert refused.exit_code == exits.FAILED
    assert "not on this worker's list" in refused.stderr


def test_one_that_has_not_ended_in_time_is_exit_code_3_and_goes_on(cli: Cli, bench: TaskBench) -> None:
    result = submit(cli, "sleep", "-a", "3", "--task-id", "slow", "--wait", "--timeout", "0.2")
    assert result.exit_code == exits.TIMEOUT
    bench.until_fact("slow", "task-succeeded")


def test_a_task_is_shown_with_its_history_and_listed_as_it_stands(cli: Cli, bench: TaskBench) -> None:
    assert submit(cli, f"{HERE}.fail_until", "-a", "2", "--task-id", "twice").exit_code == exits.OK
    bench.until_fact("twice", "task-succeeded")
    shown = json.loads(cli("show", "twice", "-o", "json").stdout)
    assert (shown["status"], shown["attempt"], shown["result"]) == ("task-succeeded", 2, 2)
    told = {(one["status"], one["attempt"]) for one in shown["history"]}
    assert told >= {("task-queued", 1), ("task-started", 1), ("task-retried", 1), ("task-succeeded", 2)}
    assert "not in attempt 1" in cli("show", "twice").stdout
    listed = json.loads(cli("list", "--status", "succeeded", "-o", "json").stdout)
    assert ("twice", "task-succeeded") in [(one["task_id"], one["status"]) for one in listed]
    assert "twice" not in cli("list", "--status", "task-failed").stdout
    assert cli("list", "--status", "lost").exit_code == exits.USAGE
    assert cli("show", "nonesuch").exit_code == exits.NOT_FOUND


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["echo", "--queue", "nowhere"], "no task queue"),
        (["echo", "--queue", QUEUE, "--task-id", "a/b"], "task_id"),
        (["echo", "--queue", QUEUE, "-k", "novalue"], "name=value"),
        (["echo", "--queue", QUEUE, "-a", "x" * 300_000], "256 KiB"),
    ],
)
def test_what_can_be_no_task_is_exit_code_2(cli: Cli, words: list[str], said: str) -> None:
    result = cli("submit", *words)
    assert result.exit_code == exits.USAGE, result.output
    assert said in result.stderr
