"""A function in a process of its own: what it is given, how it ends, and that nothing is left of it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from pipeline.messages.task import Task
from pipeline.tasks.check import Rules, check
from pipeline.tasks.child import OUTPUT, Child, Watch, environment
from pipeline.tasks.folders import TaskFolders
from pipeline.tasks.outcome import End, Outcome
from tests.waiting import until

HERE = "tests.task_functions"
PROJECT = Path(__file__).resolve().parents[2]
NAMES = ("echo", "sleep", "nothing", "os.getcwd", *(f"{HERE}.{name}" for name in (
    "where", "fail", "spawn", "vanish", "large", "chatter", "nowhere", "mark"
)))  # fmt: skip
RULES = Rules(functions=NAMES, time_limit=60, longest=600, max_attempts=3, most_attempts=20)


WORKER = """
import sys
from pathlib import Path
from pipeline.messages.task import Task
from pipeline.tasks.check import Rules, check
from pipeline.tasks.child import Child
folder, name = Path(sys.argv[1]), "tests.task_functions.mark"
rules = Rules(functions=(name,), time_limit=600, longest=600, max_attempts=1, most_attempts=1)
child = Child("w", folder / "runs", grace=1, result_limit=10, environment={"PYTHONPATH": str(Path.cwd())})
child.run(check(Task(function=name, task_id="t", args=sys.argv[2]), rules), {}, folder, lambda: None)
"""


@pytest.fixture
def folders(tmp_path: Path) -> TaskFolders:
    return TaskFolders(tmp_path / "work", "w1", keep=60)


@pytest.fixture
def child(folders: TaskFolders, monkeypatch: pytest.MonkeyPatch) -> Child:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("JOBSTREAM_TOKEN_KEY", "secret")
    return Child("w1", folders.records, grace=0.3, result_limit=1000, environment=environment())


def run(
    child: Child, folders: TaskFolders, name: str, *args: Any, watch: Watch = lambda: None, limit: float = 60
) -> Outcome:
    task = Task(function=name, task_id="t-1", args=orjson.dumps(args).decode(), time_limit=limit)
    return child.run(check(task, RULES), {"id": "t-1", "attempt": 1}, folders.create(task), watch)


def test_a_function_gets_its_arguments_and_its_result_comes_back(child: Child, folders: TaskFolders) -> None:
    outcome = run(child, folders, "echo", 1, {"a": "§"})
    assert outcome.end is End.RETURNED
    assert orjson.loads(outcome.result or "") == {"args": [1, {"a": "§"}], "kwargs": {}}
    assert outcome.result_size == len((outcome.result or "").encode())


def test_it_is_told_of_its_task_and_finds_a_directory_of_its_own_and_a_clean_environment(
    child: Child, folders: TaskFolders
) -> None:
    said = orjson.loads(run(Child("w1", folders.records, grace=1, result_limit=10**6, environment=environment()),
                            folders, f"{HERE}.where").result or "")  # fmt: skip
    assert said["task"] == {"id": "t-1", "attempt": 1}
    assert Path(said["cwd"]).parent == folders.records.parent
    assert said["here"] == ["left"]
    assert (said["environment"]["JOBSTREAM_TASK_ID"], said["environment"]["HOME"]) == ("t-1", said["cwd"])
    assert "JOBSTREAM_TOKEN_KEY" not in said["environment"]


def test_an_error_is_told_with_its_traceback_and_what_was_printed(child: Child, folders: TaskFolders) -> None:
    outcome = run(child, folders, f"{HERE}.fail", "by design")
    assert (outcome.end, outcome.error) == (End.FAILED, "RuntimeError: by design")
    assert "raise RuntimeError" in outcome.traceback
    assert outcome.output.startswith("about to fail")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"{HERE}.vanish", "its process ended with exit code 7 without an answer"),
        (f"{HERE}.nowhere", "nowhere"),
        ("nothing", "no entry point nothing in jobstream.tasks"),
    ],
)
def test_what_gives_no_answer_has_failed(child: Child, folders: TaskFolders, name: str, said: str) -> None:
    outcome = run(child, folders, name)
    assert outcome.end is End.FAILED
    assert said in outcome.error


def test_a_large_result_is_left_out_and_its_size_said(child: Child, folders: TaskFolders) -> None:
    outcome = run(child, folders, f"{HERE}.large", 50_000_000)
    assert (outcome.end, outcome.result, outcome.result_size) == (End.RETURNED, None, 50_000_002)


def test_the_end_of_what_it_prints_is_kept_however_much_that_is(child: Child, folders: TaskFolders) -> None:
    outcome = run(child, folders, f"{HERE}.chatter", 5_000_000)
    assert outcome.end is End.RETURNED
    assert len(outcome.output) == OUTPUT
    assert outcome.output.endswith("the end")


def test_its_time_over_all_its_processes_end_also_those_that_left_its_group(
    child: Child, folders: TaskFolders, tmp_path: Path
) -> None:
    outcome = run(child, folders, f"{HERE}.spawn", str(tmp_path), limit=3)
    assert (outcome.end, outcome.error) == (End.FAILED, "time limit of 3 s exceeded")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)
    assert not list(folders.records.iterdir())


@pytest.mark.parametrize("end", [End.STOPPED, End.LOST])
def test_it_ends_when_the_watcher_says_so(child: Child, folders: TaskFolders, end: End) -> None:
    started = time.monotonic()
    outcome = run(child, folders, "sleep", 100, watch=lambda: end if time.monotonic() > started + 0.5 else None)
    assert outcome.end is end


def test_a_function_does_not_outlive_its_worker(tmp_path: Path) -> None:
    arguments = orjson.dumps([str(tmp_path), "x", 600]).decode()
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), arguments], cwd=PROJECT)
    until(lambda: (tmp_path / "notes").exists() or worker.poll() is not None, what="the function's beginning")
    (function,) = psutil.Process(worker.pid).children()
    worker.kill()
    worker.wait()
    gone, _ = psutil.wait_procs([function], timeout=20)
    assert gone == [function]


def test_several_run_at_once(child: Child, folders: TaskFolders) -> None:
    ends: list[Outcome] = []
    threads = [threading.Thread(target=lambda: ends.append(run(child, folders, "echo", os.getpid()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.end for one in ends] == [End.RETURNED] * 4


def test_directories_are_cleared_and_what_was_kept_goes_with_its_time(tmp_path: Path) -> None:
    folders = TaskFolders(tmp_path, "w1", keep=0.0)
    first, second = folders.create(Task(function="f", task_id="a")), folders.create(Task(function="f", task_id="a"))
    (first / "file").write_text("x")
    kept = folders.keep(second)
    folders.clear()
    assert not first.exists()
    assert kept.exists()
    folders.sweep()
    assert not kept.exists()
