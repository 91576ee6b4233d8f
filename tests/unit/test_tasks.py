"""Tasks without a broker: what may run, what follows from its end, and what is told of it."""

from itertools import pairwise
from typing import Any

import orjson
import pytest

from pipeline.codec import Codec, DecodeError
from pipeline.index.tasks import plan
from pipeline.messages.task import Task, TaskFact
from pipeline.tasks.check import ARGUMENTS_LIMIT, InvalidTaskError, Rules, check, named
from pipeline.tasks.facts import ARGUMENTS, ended, fact
from pipeline.tasks.outcome import End, Outcome
from pipeline.tasks.status import TaskStatus, seq_of
from pipeline.tasks.verdict import Backoff, Verdict, delay_ms, verdict

RULES = Rules(functions=("echo", "site.align"), time_limit=30, longest=50, max_attempts=3, most_attempts=20)
BACKOFF = Backoff(1000, 60_000)


def task(**changes: Any) -> Task:
    return Task(**{"function": "echo", "task_id": "t-1"} | changes)


def test_a_task_in_avro_or_json_is_the_same() -> None:
    codec = Codec()
    sent = task(args="[1,2]", kwargs='{"a":null}', time_limit=2.5, trace={"traceparent": "00-1"})
    assert Task.of(codec.decode("task", codec.encode("task", sent.record()))) == sent
    written = {**sent.record(), "args": [1, 2], "kwargs": {"a": None}}
    assert Task.of(codec.decode("task", orjson.dumps(written))) == sent


def test_what_is_no_task_is_refused_when_it_is_read() -> None:
    with pytest.raises(DecodeError):
        Codec().decode("task", b"\x00rubbish")
    with pytest.raises(TypeError):
        Task.of({"function": "echo", "sys_path": "/anywhere"})
    with pytest.raises(TypeError):
        Task.of({"args": []})


def test_a_task_that_says_nothing_gets_the_workers_bounds() -> None:
    call = check(task(args="[1]", kwargs='{"b": 2}'), RULES)
    assert (call.args, call.kwargs, call.time_limit, call.max_attempts) == ([1], {"b": 2}, 30.0, 3)
    own = check(task(time_limit=5, max_attempts=1), RULES)
    assert (own.time_limit, own.max_attempts) == (5.0, 1)


@pytest.mark.parametrize("name", ["os.system", "site", "site.align.more", "builtins.eval", "sleep", "", "echo "])
def test_a_function_that_is_not_on_the_list_never_runs(name: str) -> None:
    with pytest.raises(InvalidTaskError, match="not on this worker's list"):
        check(task(function=name), RULES)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"args": "{}"}, "args is a dict, not a list"),
        ({"kwargs": "[]"}, "kwargs is a list, not a dict"),
        ({"args": "[1"}, "args is no JSON"),
        ({"time_limit": 51}, "JOBSTREAM_TASKS__LOCK_MS"),
        ({"time_limit": 0}, "not possible"),
        ({"time_limit": float("nan")}, "not possible"),
        ({"time_limit": True}, "no number"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 21}, "max_attempts"),
        ({"args": f'["{"x" * ARGUMENTS_LIMIT}"]'}, "256 KiB"),
    ],
)
def test_what_can_not_run_says_why(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidTaskError, match=said):
        check(task(**changes), RULES)


@pytest.mark.parametrize(
    "changes",
    [
        {"task_id": ""},
        {"task_id": "../up"},
        {"task_id": "a/b"},
        {"task_id": "x" * 201},
        {"task_id": 3},
        {"function": None},
        {"type": "x" * 201},
        {"attempt": 0},
        {"attempt": 10**30},
        {"queued_at": -1},
        {"queued_at": 10**30},
        {"keep": 1},
        {"trace": [1]},
        {"trace": {"a": "x" * 2000}},
    ],
)
def test_a_task_whose_fields_can_not_be_told_of_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidTaskError):
        named(task(**changes))


def test_delays_grow_stay_below_the_longest_and_are_the_same_when_asked_again() -> None:
    delays = [delay_ms(BACKOFF, "t-1", attempt) for attempt in range(1, 200)]
    assert all(later > earlier for earlier, later in pairwise(delays[:6]))
    assert all(0.75 * 1000 <= delay <= 60_000 for delay in delays)
    assert delays == [delay_ms(BACKOFF, "t-1", attempt) for attempt in range(1, 200)]
    assert len({delay_ms(BACKOFF, f"t-{number}", 1) for number in range(100)}) > 20


def test_a_failure_is_tried_again_until_its_last_attempt() -> None:
    failed = Outcome(end=End.FAILED, error="no")
    said = [verdict(check(task(attempt=attempt), RULES), failed, BACKOFF) for attempt in (1, 2, 3, 4)]
    assert [one.status for one in said] == ["task-retried", "task-retried", "task-failed", "task-failed"]
    assert said[0].delay == delay_ms(BACKOFF, "t-1", 1)
    assert verdict(check(task(), RULES), Outcome(end=End.RETURNED), BACKOFF) == Verdict(TaskStatus.SUCCEEDED)


def test_facts_are_in_order_whatever_the_order_in_which_they_come() -> None:
    order = [seq_of(1, status) for status in ("task-queued", "task-started", "task-retried")]  # type: ignore[arg-type]
    order += [seq_of(2, TaskStatus.STARTED), seq_of(2, TaskStatus.SUCCEEDED)]
    assert order == sorted(set(order))


def test_a_tasks_document_is_in_the_index_of_the_day_it_was_queued_on() -> None:
    started = {"started_at": 1_790_000_001_000, "worker": "w"}
    made = fact(task(queued_at=1_790_000_000_000), "q", TaskStatus.STARTED, **started)
    ended_ = fact(task(queued_at=1_790_000_000_000), "q", TaskStatus.SUCCEEDED, **started, ended_at=1_790_000_003_500)
    (first,), (last,) = (plan(one, 1_790_100_000_000, "p-").actions for one in (made, ended_))
    assert {(one.index, one.id) for one in (first, last)} == {("p-task_status-2026.09.21", "t-1")}
    assert (first.version or 0) < (last.version or 0)
    document = orjson.loads(last.body)
    assert (document["status"], document["duration"]) == ("task-succeeded", 2.5)
    assert document["@timestamp"] == "2026-09-22T18:00:00.000Z"


@pytest.mark.parametrize("changes", [{"task_id": ""}, {"task_id": "x" * 600}, {"seq": -1}, {"queued_at": 10**18}])
def test_a_fact_that_has_no_place_in_the_index_says_so(changes: dict[str, Any]) -> None:
    made = TaskFact(**{"task_id": "t", "seq": 1, "status": "task-queued", "attempt": 1} | changes)
    assert plan(made, 0).actions == ()
    assert plan(made, 0).refused


def test_a_fact_cuts_what_is_long_and_can_be_written() -> None:
    outcome = Outcome(end=End.FAILED, error="e" * 10_000, traceback="t" * 100_000, output="o")
    made = fact(task(args=f'["{"x" * 9000}"]', type="t"), "q", TaskStatus.FAILED, **ended(outcome))
    assert len(made.args) < ARGUMENTS + 100
    assert len(made.error or "") < 5000
    assert made.short_error == "eeeeeeeeeeeeeeeeeeee.....eeeeeeeeee"
    codec = Codec()
    assert TaskFact.of(codec.decode("task_fact", codec.encode("task_fact", made.record()))) == made
