import asyncio
from types import SimpleNamespace

import pytest

from agents.worker import heartbeat
from agents.worker.crew import Crew
from agents.worker.heartbeat import Heart
from pipeline.messages.report import HEARTBEAT, WorkerReport
from pipeline.topology import Topology
from tests.unit.test_worker_actors import ignores_its_stop
from tests.unit.worker_bench import AWAY, Bench, bench, eventually


def beats(made: Bench) -> list[WorkerReport]:
    return [report for report in made.publisher.reports if report.kind == HEARTBEAT]


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[None]:
    """What is put into it makes the next beat fall due; time alone makes none."""
    told: asyncio.Queue[None] = asyncio.Queue()

    async def told_to(_: float) -> None:
        await told.get()

    monkeypatch.setattr(heartbeat, "asyncio", SimpleNamespace(create_task=asyncio.create_task, sleep=told_to))
    return told


async def test_a_beat_that_falls_due_while_the_last_one_is_under_way_follows_it_and_lists_what_was_granted_since(
    due: asyncio.Queue[None],
) -> None:
    async with bench(ignores_its_stop) as made:
        made.publisher.held_kind = HEARTBEAT
        made.grant("fa-1")
        crew = Crew(made.gave_up.set, Heart(made.reporter, Topology(inbox_partitions=1), made.holdings, 15.0))
        await crew.start()
        await eventually(lambda: beats(made))
        made.grant("fa-2")
        due.put_nowait(None)
        await eventually(due.empty)
        assert len(beats(made)) == 1
        made.publisher.answer()
        await eventually(lambda: len(beats(made)) == 2)
        assert [[shown.job_id for shown in beat.attempts] for beat in beats(made)] == [["fa-1"], ["fa-1", "fa-2"]]
        await crew.stop()


async def test_one_beat_follows_however_many_fell_due_and_none_where_none_did(due: asyncio.Queue[None]) -> None:
    async with bench(ignores_its_stop) as made:
        made.publisher.held_kind = HEARTBEAT
        made.grant("fa-1")
        crew = Crew(made.gave_up.set, Heart(made.reporter, Topology(inbox_partitions=1), made.holdings, 15.0))
        await crew.start()
        for _ in range(5):
            due.put_nowait(None)
        await eventually(due.empty)
        made.publisher.answer()
        await eventually(lambda: len(beats(made)) == 2)
        due.put_nowait(None)
        await eventually(lambda: len(beats(made)) == 3)
        await crew.stop()


async def test_the_next_beat_comes_after_one_that_was_not_delivered(due: asyncio.Queue[None]) -> None:
    async with bench(ignores_its_stop) as made:
        made.grant("fa-1")
        await eventually(made.kinds)
        made.publisher.errors = [AWAY]
        crew = Crew(made.gave_up.set, Heart(made.reporter, Topology(inbox_partitions=1), made.holdings, 15.0))
        await crew.start()
        due.put_nowait(None)
        await eventually(lambda: len(beats(made)) == 1)
        await crew.stop()
