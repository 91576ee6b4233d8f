"""What becomes of a record: its facts come before it is done with, and a repeat is known again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.tasks.handling import Handling, Policy
from agents.tasks.outputs import OutputError
from agents.tasks.retries import Retries, Waiting
from agents.tasks.source import Taken
from pipeline.codec import Codec
from pipeline.messages.task import ALONE, Task
from pipeline.settings import Settings
from pipeline.tasks.check import Call, Rules
from pipeline.tasks.folders import TaskFolders
from pipeline.tasks.outcome import End, Outcome
from pipeline.tasks.verdict import Backoff

CODEC = Codec()
RULES = Rules(functions=("echo",), time_limit=30, longest=50, max_attempts=2, most_attempts=20)


class Written:
    """What was written, in order, instead of to a broker; `fails` names the call that fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails = ""

    def _add(self, *call: Any) -> None:
        if self.fails in call:
            raise OutputError("away")
        self.calls.append(call)

    def fact(self, fact: Any) -> None:
        self._add("fact", fact.status)

    def enqueue(self, task: Task, queue: str) -> None:
        self._add("enqueue", task.task_id)

    def later(self, task: Task, queue: str, delay: int) -> None:
        self._add("later", task.attempt, delay)

    def bury(self, taken: Taken, reason: str) -> None:
        self._add("bury", reason)


class Calls:
    """Ends each call as it is told, instead of in a process."""

    def __init__(self) -> None:
        self.outcome = Outcome(end=End.RETURNED, result="1")
        self.count = 0

    def run(self, call: Call, about: Any, folder: Path, watch: Any) -> Outcome:
        self.count += 1
        return self.outcome


class Bench:
    def __init__(self, home: Path, *, whole_batches: bool = True) -> None:
        self.written, self.calls = Written(), Calls()
        policy = Policy(
            rules=RULES,
            backoff=Backoff(1000, 60_000),
            max_deliveries=2,
            whole_batches=whole_batches,
            keep_failed=False,
        )
        made: dict[str, Any] = {"codec": CODEC, "outputs": self.written, "child": self.calls}
        self.handling = Handling("w", "q", policy, folders=TaskFolders(home, "w", 60), **made)

    def handle(self, taken: Taken) -> bool:
        return self.handling.handle(taken, lambda: None)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def record(
    offset: int = 5, deliveries: int = 1, headers: tuple[tuple[str, bytes], ...] = (ALONE,), **task: Any
) -> Taken:
    value = CODEC.encode("task", Task(**{"function": "echo", "task_id": "t"} | task).record())
    return Taken("tasks.q", 0, offset, 1000, b"t", value, deliveries, dict(headers))


def test_a_record_that_comes_again_after_its_acknowledgement_was_lost_is_not_run_again(bench: Bench) -> None:
    assert bench.handle(record())
    assert bench.handle(record(deliveries=2))
    assert bench.calls.count == 1
    # the same task in another record, or in a topic that was made anew, is another matter
    assert bench.handle(record(offset=6))
    assert bench.handle(replace(record(), timestamp=2000))
    assert bench.calls.count == 3


def test_a_record_that_was_given_back_is_run_again(bench: Bench) -> None:
    bench.calls.outcome = Outcome(end=End.STOPPED)
    assert not bench.handle(record())
    bench.calls.outcome = Outcome(end=End.RETURNED, result="1")
    assert bench.handle(record(deliveries=2))
    assert [call for call in bench.written.calls if call[0] == "fact"][-1] == ("fact", "task-succeeded")


def test_the_next_attempt_waits_before_it_is_told_and_the_last_ones_bytes_are_kept(bench: Bench) -> None:
    bench.calls.outcome = Outcome(end=End.FAILED, error="no")
    assert bench.handle(record())
    assert [call[:2] for call in bench.written.calls] == [
        ("fact", "task-started"),
        ("later", 2),
        ("fact", "task-retried"),
    ]
    bench.written.calls.clear()
    assert bench.handle(record(offset=6, attempt=2))
    assert bench.written.calls == [("fact", "task-started"), ("fact", "task-failed"), ("bury", "no")]


@pytest.mark.parametrize("fails", ["task-started", "later", "task-retried"])
def test_what_can_not_be_written_is_not_done(bench: Bench, fails: str) -> None:
    bench.calls.outcome = Outcome(end=End.FAILED, error="no")
    bench.written.fails = fails
    with pytest.raises(OutputError):
        bench.handle(record())
    bench.written.fails = ""
    assert bench.handle(record(deliveries=2))
    assert bench.written.calls[-1] == ("fact", "task-retried")


def test_what_is_begun_too_often_is_given_up_and_if_even_that_fails_its_bytes_are_kept(bench: Bench) -> None:
    assert bench.handle(record(deliveries=3))
    assert [call[0] for call in bench.written.calls] == ["fact", "bury"]
    assert bench.calls.count == 0
    bench.written.fails = "task-failed"
    with pytest.raises(OutputError):
        bench.handle(record(offset=6, deliveries=3))
    assert bench.handle(record(offset=6, deliveries=4))
    assert [call[0] for call in bench.written.calls] == ["fact", "bury", "bury"]


def test_a_record_of_a_batch_is_sent_again_alone_where_batches_go_to_one_taker(bench: Bench, tmp_path: Path) -> None:
    assert bench.handle(record(headers=()))
    assert bench.written.calls == [("enqueue", "t"), ("fact", "task-queued")]
    other = Bench(tmp_path, whole_batches=False)
    assert other.handle(record(headers=()))
    assert other.calls.count == 1


def test_what_waits_is_due_in_the_order_of_its_times_once_and_not_after_its_tombstone() -> None:
    waiting = Waiting()
    for key, due in (("b", 30.0), ("a", 20.0), ("c", 40.0), ("gone", 10.0)):
        waiting.put(key, due, record())
    waiting.put("b", 50.0, record())
    waiting.remove("gone")
    found = []
    for now in (19.0, 60.0, 60.0, 60.0, 60.0):
        if (one := waiting.due(now)) is not None:
            found.append(one[0])
            waiting.remove(one[0])
    assert found == ["a", "c", "b"]
    assert waiting.size == 0


class Forwarded:
    """What was moved to its queue, instead of to a broker."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def forward(self, task_id: str, value: bytes, queue: str) -> None:
        self.ids.append(task_id)

    def bury(self, taken: Taken, reason: str) -> None:
        self.ids.append(f"buried: {reason}")

    def no_longer(self, key: str) -> None:
        pass


class Message:
    """A record on tasks.retry."""

    def __init__(self, key: str, headers: list[tuple[str, bytes | None]] | None) -> None:
        self._key, self._headers = key, headers

    def key(self) -> bytes:
        return self._key.encode()

    def value(self) -> bytes:
        return b"any"

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000

    def topic(self) -> str:
        return "tasks.retry"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0


@pytest.mark.parametrize("delay", [None, b"", b"soon", b"-1", "\u00b2".encode(), b"9" * 5000])
def test_a_delay_that_is_none_is_no_delay_and_ends_no_worker(delay: bytes | None) -> None:
    outputs = Forwarded()
    retries = Retries(Settings(), outputs)  # type: ignore[arg-type]
    retries._read(Message("t-1/2", [("delay", delay), ("queue", b"default")]))  # type: ignore[arg-type]
    retries._read(Message("t-2/2", [("delay", b"5"), ("queue", None)]))  # type: ignore[arg-type]
    retries._read(Message("t-3/2", None))  # type: ignore[arg-type]
    retries._move()
    assert outputs.ids[0] == "t-1"
    assert [one.startswith("buried: there is no task queue ''") for one in outputs.ids[1:]] == [True, True]
