"""Attempts that are granted for a slot that will be free at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents.worker.work import Assignment, MayPublish, Started, WorkResult
from pipeline.containers.stop import Stop
from pipeline.holding.holdings import NO_SLOT
from pipeline.messages.report import COMPLETED, RELEASE, STARTED
from tests.unit.worker_bench import Bench, bench, eventually

SHORT = '{"type": "short", "params": {}}'


class Gated:
    """Runs that end at once until `shut`, and then when they are let go."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.shut = False

    async def run(self, assignment: Assignment, stop: Stop, started: Started, _: MayPublish) -> WorkResult:
        started({})
        if self.shut:
            await self.gates.setdefault(assignment.job_id, asyncio.Event()).wait()
        return WorkResult(True, {})


@asynccontextmanager
async def two_slots_in_use(ahead_ms: int = 100) -> AsyncIterator[tuple[Bench, Gated]]:
    """Have jobs fa-1 and fb-1 run, of a type whose last three runs were short."""
    work = Gated()
    async with bench(work.run, ahead_ms) as made:
        for number in range(3):
            made.grant(f"f{number}-1", SHORT)
            await eventually(lambda job=f"f{number}-1": made.kinds(job) == [STARTED, COMPLETED])
        await eventually(lambda: len(made.holdings) == 0)
        work.shut = True
        made.grant("fa-1", SHORT)
        made.grant("fb-1", SHORT)
        await eventually(lambda: len(work.gates) == 2)
        yield made, work


async def test_the_next_attempt_waits_on_the_worker_and_begins_when_a_slot_is_free() -> None:
    async with two_slots_in_use() as (made, work):
        await eventually(lambda: made.publisher.statuses[-1].ahead == 2)
        made.grant("fc-1", SHORT)
        assert len(made.holdings) == 3
        assert made.kinds("fc-1") == []
        work.gates["fa-1"].set()
        await eventually(lambda: made.kinds("fc-1") == [STARTED])
        await eventually(lambda: made.publisher.statuses[-1].ahead == 2)


async def test_what_waits_for_a_run_that_takes_longer_is_handed_back() -> None:
    async with two_slots_in_use() as (made, work):
        made.grant("fc-1", SHORT)
        made.grant("fd-1", SHORT)
        await eventually(lambda: made.kinds("fc-1") == made.kinds("fd-1") == [RELEASE])
        assert NO_SLOT in made.publisher.reports[-1].result
        await eventually(lambda: made.publisher.statuses[-1].ahead == 0)
        work.gates["fa-1"].set()
        await eventually(lambda: made.kinds("fa-1") == [STARTED, COMPLETED])
        assert made.kinds("fc-1") == [RELEASE]


async def test_a_worker_that_leaves_hands_back_what_waits_at_once() -> None:
    async with two_slots_in_use() as (made, work):
        made.grant("fc-1", SHORT)
        made.rack.leave()
        assert len(made.holdings) == 2
        await eventually(lambda: made.kinds("fc-1") == [RELEASE])
        for gate in work.gates.values():
            gate.set()
        await made.rack.emptied()


async def test_no_slot_is_offered_early_where_that_is_not_wanted() -> None:
    async with two_slots_in_use(ahead_ms=0) as (made, _):
        assert not any(under_way.timers for under_way in made.rack._under_way.values())
        made.grant("fc-1", SHORT)
        await eventually(lambda: made.kinds("fc-1") == [RELEASE])
