"""Task workers as processes on a real broker."""

import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from agents.worker.exits import Exit
from pipeline.codec import Codec
from pipeline.messages.task import Task
from tests.conftest import TASK_SOURCE, needs_share_groups
from tests.integration.task_bench import QUEUE, TaskBench, Worker, alive
from tests.waiting import until


@pytest.fixture
def bench(kafka: str, tmp_path: Path) -> Iterator[TaskBench]:
    made = TaskBench(kafka, tmp_path)
    yield made
    made.close()


def both_work(bench: TaskBench) -> None:
    """Wait until each worker has run a task: then all are members of the share group."""
    names = {f"w{number}" for number in range(1, len(bench.workers) + 1)}

    def seen() -> bool:
        bench.submit("sleep", 0.2)
        return {fact.worker for fact in bench.facts() if fact.worker} == names

    until(seen, 60, 0.3, "each worker takes a task")
    until(lambda: all_ended(bench), 60, 0.2, "no task is left")


def all_ended(bench: TaskBench) -> bool:
    facts = bench.facts()
    ended = {fact.task_id for fact in facts if fact.status in {"task-succeeded", "task-failed"}}
    # submit() tells no fact: each is known from its start on
    return {fact.task_id for fact in facts} == ended


def test_what_functions_do_is_told(bench: TaskBench) -> None:
    """One worker, one of each kind of end."""
    bench.worker(result_kib=16)
    good = bench.submit("where", trace={"traceparent": "00-a"}, submitted_by="me", type="a kind")
    retried = bench.submit("fail_until", 3)
    failing = bench.submit("fail", "by design", max_attempts=1, keep=True)
    large = bench.submit("large", 50_000)
    slow = bench.submit("spawn", bench.home, time_limit=2, max_attempts=1)
    refused = bench.submit("os.system", "touch /tmp/never")
    longer = bench.submit("echo", time_limit=600)
    bench.send_raw(b"\x00\x01 no task")
    bench.send_raw(None)
    text = {"function": "echo", "args": [7], "type": "from elsewhere"}
    for number in range(5):
        bench.publisher.send(bench.topology.tasks(QUEUE), b"", orjson.dumps(text | {"kwargs": {"n": number}}), 0)

    done = bench.until_fact(good, "task-succeeded")
    said = orjson.loads(done.result or "")
    assert (said["task"]["id"], said["task"]["attempt"], said["task"]["queue"]) == (good, 1, QUEUE)
    assert said["task"]["trace"] == {"traceparent": "00-a"}
    assert said["task"]["facts"]["hostname"]
    assert said["environment"]["JOBSTREAM_TASK_ATTEMPT"] == "1"
    assert "JOBSTREAM_KAFKA" not in said["environment"]
    assert (done.type, done.submitted_by, done.worker, done.deliveries) == ("a kind", "me", "w1", 1)
    assert done.ended_at >= done.started_at > done.queued_at - 60_000
    assert orjson.loads(done.facts)["processorcount"] >= 1

    assert bench.until_fact(retried, "task-succeeded").result == "3"
    assert bench.statuses(retried) == [
        ("started", 1), ("retried", 1), ("started", 2), ("retried", 2), ("started", 3), ("succeeded", 3),
    ]  # fmt: skip
    facts = bench.facts(retried)
    first, second = (facts[number + 1].started_at - facts[number].ended_at for number in (1, 3))
    assert first >= 290
    assert second >= 590
    assert facts[1].retry_at - facts[1].ended_at < facts[3].retry_at - facts[3].ended_at
    assert facts[-1].queued_at == facts[0].queued_at
    assert [fact.seq for fact in facts] == sorted({fact.seq for fact in facts})

    failed = bench.until_fact(failing, "task-failed")
    assert (failed.error, failed.short_error) == ("RuntimeError: by design", "RuntimeError: by design")
    assert "about to fail" in (failed.output or "")
    assert (Path(failed.directory) / "evidence").read_text() == "why it failed"

    cut = bench.until_fact(large, "task-succeeded")
    assert (cut.result, cut.result_size) == (None, 50_002)

    assert bench.until_fact(slow, "task-failed").error == "time limit of 2 s exceeded"
    pids = [int(pid) for pid in (bench.home / "pids").read_text().split()]
    assert not any(alive(pid) for pid in pids)

    assert "os.system" in (bench.until_fact(refused, "task-failed").error or "")
    assert bench.statuses(refused) == [("failed", 1)]
    assert "JOBSTREAM_TASKS__LOCK_MS" in (bench.until_fact(longer, "task-failed").error or "")

    # of what waits in batches a share group's taker sends each again, alone, which is a fact too
    whole = 3 if TASK_SOURCE == "share" else 2
    until(lambda: sum(fact.type == "from elsewhere" for fact in bench.facts()) == 5 * whole, what="all have ended")
    others = [fact for fact in bench.facts() if fact.type == "from elsewhere" and fact.status == "task-succeeded"]
    assert {orjson.loads(fact.result or "")["kwargs"]["n"] for fact in others} == set(range(5))
    assert all(fact.task_id.startswith(bench.topology.tasks(QUEUE).name) for fact in others)

    dead = bench.dead()
    assert len(dead) == 6
    assert (b"\x00\x01 no task", True) in [(value, "not a task" in reason) for value, reason in dead]
    bytes_of = {
        Task.of(Codec().decode("task", value)).task_id: reason
        for value, reason in dead
        if (value or b"")[:1] == b"\xc3"
    }
    assert bytes_of[failing] == "RuntimeError: by design"
    assert set(bytes_of) == {failing, slow, refused, longer}
    assert bench.left_over() == []


def test_a_killed_workers_task_is_completed_by_another_and_its_function_has_ended(bench: TaskBench) -> None:
    first = bench.worker("w1")
    task = bench.submit("mark", bench.home, "long", 6)
    began = bench.until_noted("begin long 1")
    first.kill()
    bench.worker("w2")
    done = bench.until_fact(task, "task-succeeded", 90)
    assert (done.worker, done.deliveries, done.attempt) == ("w2", 2, 1)
    assert [said for _, said in bench.notes()] == ["begin long 1", "begin long 1", "end long 1"]
    assert bench.notes()[1][0] > began
    # what it left is removed when it comes again
    assert len(bench.left_over()) == 1
    bench.worker("w1")
    until(lambda: bench.left_over() == [], what="the killed worker's directory is removed")


def test_a_task_whose_worker_dies_each_time_is_given_up_before_the_broker_would_drop_it(bench: TaskBench) -> None:
    task = bench.submit("mark", bench.home, "deadly", 15)
    for number in range(1, 3):
        worker = bench.worker("w1", max_deliveries=2)
        until(lambda count=number: len(bench.notes()) == count, 60, what="it is begun")  # type: ignore[misc]
        worker.kill()
    bench.worker("w1", max_deliveries=2)
    assert "begun 2 times" in (bench.until_fact(task, "task-failed").error or "")
    assert len(bench.notes()) == 2
    assert ["begun 2 times" in reason for _, reason in bench.dead()] == [True]


@needs_share_groups
def test_two_workers_share_a_queue_and_neither_idles_while_tasks_wait(bench: TaskBench) -> None:
    bench.worker("w1")
    bench.worker("w2")
    both_work(bench)
    tasks = [bench.submit("sleep", 3 if number == 0 else 0.5) for number in range(7)]
    facts = [bench.until_fact(task, "task-succeeded") for task in tasks]
    by_worker = {name: [fact for fact in facts if fact.worker == name] for name in ("w1", "w2")}
    assert all(by_worker.values())
    # six short ones beside a long one: nobody's tasks waited for the long one's end
    assert sorted(len(one) for one in by_worker.values())[0] <= 3
    starts = sorted(fact.started_at for fact in facts)
    assert starts[1] - starts[0] < 1000
    gaps = [later.started_at - before.ended_at for one in by_worker.values() for before, later in pairwise(one)]
    assert max(gaps) < 1000


def test_told_to_stop_a_worker_lets_a_function_finish_within_its_grace(bench: TaskBench) -> None:
    worker = bench.worker(grace=30)
    task = bench.submit("mark", bench.home, "short", 2)
    bench.until_noted("begin short 1")
    waiting = bench.submit("echo")
    worker.stop()
    assert worker.exit_code() == Exit.OK
    assert bench.statuses(task) == [("started", 1), ("succeeded", 1)]
    assert bench.statuses(waiting) == []
    bench.worker("w2")
    assert bench.until_fact(waiting, "task-succeeded").deliveries == 1


def test_beyond_its_grace_a_function_is_ended_and_its_task_given_back(bench: TaskBench) -> None:
    worker = bench.worker(grace=0.5)
    task = bench.submit("mark", bench.home, "long", 6)
    bench.until_noted("begin long 1")
    worker.stop(signal.SIGINT)
    asked = time.monotonic()
    assert worker.exit_code() == Exit.OK
    assert time.monotonic() - asked < 30
    assert [said for _, said in bench.notes()] == ["begin long 1"]
    assert bench.left_over() == []
    bench.worker("w2")
    done = bench.until_fact(task, "task-succeeded")
    assert (done.attempt, done.deliveries) == (1, 2)


def test_a_retry_waits_for_its_time_though_its_worker_is_gone(bench: TaskBench) -> None:
    worker = bench.worker("w1", retry_backoff_ms=3000)
    task = bench.submit("fail_until", 2)
    failed = bench.until_fact(task, "task-retried")
    worker.kill()
    bench.worker("w2")
    bench.until_fact(task, "task-succeeded")
    started = next(fact for fact in bench.facts(task) if fact.attempt == 2)
    assert started.started_at >= failed.retry_at - 100


def test_a_function_whose_worker_stood_still_beyond_its_lock_is_not_taken_for_done(bench: TaskBench) -> None:
    worker = bench.worker("w1", lock_ms=15_000, time_limit=5)
    task = bench.submit("mark", bench.home, "still", 1)
    bench.until_noted("begin still 1")
    worker.stop(signal.SIGSTOP)
    until(lambda: bench.notes()[-1][1] == "end still 1", what="the function's end")
    other = bench.worker("w2", lock_ms=15_000, time_limit=5)
    assert bench.until_fact(task, "task-succeeded").worker == "w2"
    worker.stop(signal.SIGCONT)
    until(lambda: worker.logged("given back: LOST"), what="it notices")
    other.kill()
    again = bench.submit("echo")
    assert bench.until_fact(again, "task-succeeded").worker == "w1"
    assert bench.statuses(task) == [("started", 1), ("started", 1), ("succeeded", 1)]


def test_a_consumer_group_does_the_same_where_there_are_no_share_groups(kafka: str, tmp_path: Path) -> None:
    bench = TaskBench(kafka, tmp_path, source="group")
    try:
        first = bench.worker("w1")
        task = bench.submit("mark", bench.home, "long", 5)
        bench.until_noted("begin long 1")
        first.kill()
        bench.worker("w2")
        done = bench.until_fact(task, "task-succeeded", 90)
        assert (done.worker, done.deliveries) == ("w2", 2)
        retried = bench.submit("fail_until", 2)
        assert bench.until_fact(retried, "task-succeeded").attempt == 2
        refused = bench.submit("os.system", "true")
        bench.until_fact(refused, "task-failed")
    finally:
        bench.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"time_limit": 25}, "JOBSTREAM_TASKS__LOCK_MS of at least 30500"),
        ({"queues": ("other",)}, "no task queue other"),
    ],
)
def test_settings_that_would_run_tasks_twice_or_never_are_refused(
    bench: TaskBench, changes: dict[str, object], said: str
) -> None:
    section = bench.settings.tasks.model_copy(update=changes)
    worker = Worker(bench.settings.model_copy(update={"tasks": section}), bench.home / "refused.log")
    assert worker.exit_code() == Exit.MISCONFIGURED
    assert worker.logged(said)


def test_a_second_process_of_the_same_worker_is_refused(bench: TaskBench) -> None:
    bench.worker("w1")
    task = bench.submit("echo")
    bench.until_fact(task, "task-succeeded")
    assert bench.worker("w1").exit_code() == Exit.TAKEN
