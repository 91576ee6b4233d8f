"""The line itself: order, bounds, memory."""

import gc
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.messages.needs import Needs
from pipeline.messages.run import Run
from pipeline.scheduling.waiting import Waiting
from tests.unit.scheduling_cases import partition_of

#: 10^6 jobs in 350 MiB
BYTES_A_JOB = 350 * 2**20 / 10**6


def waits(number: int, priority: int = 0, since: int = 0, memory: int = 0, *, attempt: int = 1) -> Run:
    family = f"{number:020x}"
    return Run(f"{family}-0123456789ab", attempt, 1, "q", priority, since, "type", Needs(memory_mib=memory))


def test_a_hundred_thousand_waiting_jobs_cost_at_most_350_bytes_each() -> None:
    waiting = Waiting(3_600_000, partition_of)
    gc.collect()
    tracemalloc.start()
    for number in range(100_000):
        waiting.add(waits(number, number % 10, 1_700_000_000_000 + number, number % 3))
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(waiting) == 100_000
    assert used / 100_000 < BYTES_A_JOB


def test_what_left_the_line_leaves_no_bytes_behind() -> None:
    waiting = Waiting(3_600_000, partition_of)
    tracemalloc.start()
    for number in range(20_000):
        waiting.add(waits(number, since=number, memory=number % 500))
        if number >= 10:
            waiting.remove(waits(number - 10).key)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 200_000
    assert len(list(waiting.buckets())) == 10


def test_a_line_whose_records_are_written_again_and_again_stays_short() -> None:
    waiting = Waiting(1, partition_of)
    for round_ in range(1000):
        for number in range(5):
            waiting.add(waits(number, since=round_))
    assert sum(lane.size() for bucket in waiting.buckets() for lane in bucket.lanes.values()) < 100


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "take", "give back"]),
            st.integers(0, 9),
            st.integers(0, 3),
            st.integers(0, 3),
            st.frozensets(st.integers(0, 3)),
        ),
        max_size=60,
    )
)
def test_the_head_is_the_smallest_rank_whatever_came_and_went(
    steps: list[tuple[str, int, int, int, frozenset[int]]],
) -> None:
    waiting = Waiting(2, partition_of)
    expected: dict[str, int] = {}
    taken: dict[str, int] = {}
    for step, number, priority, since, slow in steps:
        run = Run(f"{number % 4}-{number}", 1, 1, "q", priority, since, "type", Needs())
        if step == "add" and run.key not in taken:
            waiting.add(run)
            expected[run.key] = since - 2 * priority
        elif step == "remove":
            waiting.remove(run.key)
            expected.pop(run.key, None)
            taken.pop(run.key, None)
        elif step == "take":
            for bucket in waiting.buckets():
                head = waiting.head(bucket, slow)
                if head is not None:
                    waiting.take(head)
                    taken[head.key] = expected.pop(head.key)
        elif step == "give back" and run.key in taken:
            waiting.give_back(run.key)
            expected[run.key] = taken.pop(run.key)
        heads = [waiting.head(bucket, slow) for bucket in waiting.buckets()]
        found = [(head.rank, head.key) for head in heads if head is not None]
        fast = [(rank, key) for key, rank in expected.items() if int(key[0]) not in slow]
        assert found == ([min(fast)] if fast else [])
        assert sum(bucket.depth for bucket in waiting.buckets()) == len(expected) + len(taken) == len(waiting)
