"""Both ways of taking tasks, on a real broker: a record is one taker's until it is accepted, given back, or lost."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from agents.admin import _create, await_leaders, client
from agents.bus import Publisher
from agents.tasks.group_source import GroupSource
from agents.tasks.share_group import ShareGroupError, configure
from agents.tasks.share_source import ShareSource, group_of
from agents.tasks.source import Taken, TaskSource
from pipeline.settings import Settings
from tests.conftest import needs_share_groups
from tests.waiting import PATIENCE, until

QUEUE = "q"
#: A process that takes a record and never says anything of it.
TAKER = """
import sys, time
from pipeline.settings import Settings
from agents.tasks.group_source import GroupSource
from agents.tasks.share_source import ShareSource
source = ShareSource(Settings(), "q", 60_000) if sys.argv[1] == "share" else GroupSource(Settings(), "q")
while (taken := source.take(0.5)) is None: pass
print(taken.offset, flush=True)
while True: source.held(); time.sleep(0.1)
"""


class Bench:
    """A queue of a test's own, and the sources that it opened."""

    def __init__(self, kafka: str, home: Path, kind: str) -> None:
        self.kind = kind
        prefix = f"{uuid4().hex[:8]}."
        partitions = 1 if kind == "share" else 2
        self.settings = Settings(
            home=home,
            kafka={"bootstrap": kafka},
            topics={"prefix": prefix, "task_queues": (QUEUE,), "task_partitions": partitions},
            tasks={"session_ms": 6000},
        )
        admin = client(self.settings)
        self.topic = self.settings.topology.tasks(QUEUE)
        _create(admin, [self.topic], 1)
        await_leaders(admin, [self.topic])
        if kind == "share":
            configure(admin, group_of(self.settings, QUEUE), 60_000)
        self.publisher = Publisher(self.settings, "test", **{"batch.num.messages": 1})
        self.open: list[TaskSource] = []

    def source(self) -> TaskSource:
        made: TaskSource = (
            ShareSource(self.settings, QUEUE, 60_000) if self.kind == "share" else GroupSource(self.settings, QUEUE)
        )
        self.open.append(made)
        return made

    def send(self, *values: bytes) -> None:
        for number, value in enumerate(values):
            self.publisher.send(self.topic, b"key", value, number % self.topic.partitions, [("alone", b"1")]).result(30)

    def close(self) -> None:
        for source in self.open:
            source.close()
        self.publisher.close()


@pytest.fixture(params=[pytest.param("share", marks=needs_share_groups), "group"])
def bench(request: pytest.FixtureRequest, kafka: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(kafka, tmp_path, request.param)
    yield made
    made.close()


def take(source: TaskSource, timeout: float = 30.0) -> Taken:
    return until(lambda: source.take(0.5), timeout, 0.0, "a record")


def test_a_record_is_taken_as_it_was_sent_and_comes_never_again_once_accepted(bench: Bench) -> None:
    bench.send(b"\x00any bytes", b"second")
    source = bench.source()
    first = take(source)
    assert (first.key, first.deliveries, first.headers) == (b"key", 1, {"alone": b"1"})
    assert first.topic == bench.topic.name
    assert first.timestamp > 1_700_000_000_000
    assert source.held()
    assert source.accept()
    second = take(source)
    assert {first.value, second.value} == {b"\x00any bytes", b"second"}
    assert source.accept()
    source.close()
    bench.open.remove(source)
    bench.send(b"third", b"fourth")
    later = bench.source()
    for _ in range(2):
        assert take(later).value in {b"third", b"fourth"}
        assert later.accept()


def test_a_record_that_is_released_comes_again_and_is_counted(bench: Bench) -> None:
    bench.send(b"one")
    source = bench.source()
    for deliveries in (1, 2, 3):
        assert take(source).deliveries == deliveries
        assert source.release()
    assert take(source).deliveries == 4
    assert source.accept()


def test_a_record_in_hand_is_nobody_elses_and_other_records_do_not_wait_for_it(bench: Bench) -> None:
    holder, other = bench.source(), bench.source()

    def both_joined() -> bool:
        # each polls as a slot does that has nothing to do
        bench.send(b"warm", b"warm")
        for source in (holder, other):
            if source.take(0.5) is not None:
                source.accept()
                seen.add(source)
        return len(seen) == 2

    seen: set[TaskSource] = set()
    until(both_joined, 60, 0.0, "both members take records")
    for source in (holder, other):
        while source.take(0.5 * PATIENCE) is not None:
            source.accept()
    bench.send(*[b"%d" % number for number in range(8)])
    held = take(holder)
    # a share group's other records are all for whoever asks; a partition's are not
    wanted = 7 if bench.kind == "share" else 4
    found = []
    while len(found) < wanted:
        found.append(take(other).value)
        other.accept()
        assert holder.held()
    assert other.take(1.0) is None
    assert held.value not in found
    assert holder.accept()


@pytest.mark.parametrize("how", ["close", "kill"])
def test_what_a_taker_leaves_behind_comes_again_and_is_counted(bench: Bench, how: str) -> None:
    bench.send(b"one")
    if how == "close":
        source = bench.source()
        take(source)
        source.close()
        bench.open.remove(source)
    else:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKER, bench.kind], env=bench.settings.environment(), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"0"
        process.kill()
        process.communicate()
    again = bench.source()
    found = take(again, 60)
    assert (found.value, found.deliveries) == (b"one", 2)
    assert again.accept()


@needs_share_groups
def test_a_lock_that_the_broker_does_not_allow_is_refused_with_what_to_do(kafka: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka={"bootstrap": kafka})
    with pytest.raises(ShareGroupError, match=r"group\.share\.max\.record\.lock\.duration\.ms"):
        configure(client(settings), "g-too-long", 36_000_000)


@needs_share_groups
def test_what_holds_for_a_share_group_is_what_was_asked_for(kafka: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka={"bootstrap": kafka})
    found = configure(client(settings), f"g-{uuid4().hex}", 45_000)
    assert (found.lock_ms, found.delivery_limit) == (45_000, 10)
    assert found.deliveries(5) == 5
    assert found.deliveries(50) == 8
