import asyncio
from pathlib import Path

import orjson
import pytest

from agents.worker.actor import Actor
from agents.worker.crew import RESTARTS, Crew
from agents.worker.identity import Seat, TakenError
from agents.worker.permission import Permission
from agents.worker.rack import UnderWay
from agents.worker.work import Assignment, MayPublish, Started, WorkResult
from pipeline.containers.stop import Level, Stop
from pipeline.identity import is_newer
from pipeline.messages.command import GRANT, PERMIT, Command
from pipeline.messages.report import COMPLETED, FAILED, PUBLISH, RELEASE, STARTED
from tests.unit.worker_bench import AWAY, OFFER, TOO_LARGE, bench, eventually


async def succeeds(assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
    started({"pid": 7})
    return WorkResult(True, {"job_info": {"status": 0}})


async def ends_when_stopped(assignment: Assignment, stop: Stop, started: Started, _: MayPublish) -> WorkResult:
    started({})
    await stop.beyond(Level.NONE)
    return WorkResult(False, {"error": "stopped"})


async def ignores_its_stop(assignment: Assignment, stop: Stop, started: Started, _: MayPublish) -> WorkResult:
    started({})
    await asyncio.Event().wait()
    raise AssertionError


async def breaks(assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
    raise RuntimeError("a defect")


async def asks(assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
    return WorkResult(await may_publish(), {})


async def brings_much(assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
    return WorkResult(True, {"products": ["x" * 100] * 1000})


async def test_reports_are_sent_again_in_order_until_the_broker_takes_them() -> None:
    async with bench(succeeds) as made:
        made.publisher.errors = [AWAY] * 5
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED, COMPLETED])
        await eventually(lambda: len(made.holdings) == 0)


async def test_the_result_waits_for_the_delivery_of_the_started_report_and_keeps_its_lease() -> None:
    async with bench(succeeds) as made:
        made.publisher.held_kind = STARTED
        made.grant()
        await eventually(lambda: made.publisher.waiting)
        assert made.kinds() == [STARTED]
        assert made.holdings.heartbeats(lambda job: 0)
        made.publisher.answer()
        await eventually(lambda: made.kinds() == [STARTED, COMPLETED])


async def test_a_result_that_the_broker_refuses_is_reported_as_failed_without_it() -> None:
    async with bench(brings_much) as made:
        made.publisher.held_kind = STARTED
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED])
        made.publisher.errors = [TOO_LARGE]
        made.publisher.answer()
        await eventually(lambda: len(made.kinds()) == 2)
        assert made.kinds() == [STARTED, FAILED]
        assert "refused" in orjson.loads(made.publisher.reports[-1].result)["error"]


async def test_what_never_said_that_it_started_is_reported_started_before_it_failed() -> None:
    async with bench(breaks) as made:
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED, FAILED])
        assert orjson.loads(made.publisher.reports[-1].result)["category"] == "worker"


async def test_a_grant_without_a_readable_document_is_handed_back() -> None:
    async with bench(succeeds) as made:
        made.grant("fa-1", document=None)
        made.grant("fb-1", document="[1]")
        await eventually(lambda: made.kinds("fa-1") == [RELEASE] and made.kinds("fb-1") == [RELEASE])


async def test_a_stopped_attempt_says_nothing_more_and_frees_its_slot() -> None:
    async with bench(ends_when_stopped) as made:
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED])
        made.stop()
        await eventually(lambda: len(made.holdings) == 0)
        assert made.kinds() == [STARTED]


async def test_work_that_ignores_its_stop_is_cancelled_in_the_end() -> None:
    async with bench(ignores_its_stop, stop_patience=0.01) as made:
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED])
        made.stop()
        await eventually(lambda: len(made.holdings) == 0)


async def test_permission_is_asked_again_until_it_is_given() -> None:
    async with bench(succeeds) as made:
        under_way = UnderWay(Command(GRANT, OFFER.holder, "fa-1", 1, token="t", lease_ms=60_000))
        made.holdings.grant(under_way.command, 0, 0)
        started = asyncio.get_running_loop().create_future()
        started.set_result(True)
        permission = Permission(made.reporter, made.rack, under_way, lambda: started, ask_again=0.005)
        asking = asyncio.create_task(permission.ask())
        await eventually(lambda: made.kinds().count(PUBLISH) >= 3)
        under_way.permitted.set()
        assert await asking


async def test_permission_is_given_up_when_nobody_ever_answers() -> None:
    async with bench(succeeds) as made:
        under_way = UnderWay(Command(GRANT, OFFER.holder, "fa-1", 1, token="t", lease_ms=60_000))
        made.holdings.grant(under_way.command, 0, 0)
        started = asyncio.get_running_loop().create_future()
        started.set_result(True)
        assert not await Permission(made.reporter, made.rack, under_way, lambda: started, give_up=0.01).ask()


async def test_a_permit_lets_the_attempt_publish() -> None:
    async with bench(asks) as made:
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED, PUBLISH])
        made.rack.heed(Command(PERMIT, OFFER.holder, "fa-1", 1), 0)
        await eventually(lambda: made.kinds() == [STARTED, PUBLISH, COMPLETED])


async def test_a_stop_while_the_question_is_under_way_does_not_disturb_later_deliveries() -> None:
    async with bench(asks) as made:
        made.publisher.held_kind = PUBLISH
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED, PUBLISH])
        made.stop()
        await eventually(lambda: len(made.holdings) == 0)
        made.publisher.answer()
        made.grant("fb-1")
        await eventually(lambda: made.kinds("fb-1") == [STARTED, PUBLISH])


async def test_a_leaving_worker_hands_back_what_it_stopped() -> None:
    async with bench(ends_when_stopped) as made:
        made.grant()
        await eventually(lambda: made.kinds() == [STARTED])
        made.rack.leave()
        made.rack.stop_all(Level.TERM)
        await asyncio.wait_for(made.rack.emptied(), 10)
        assert made.kinds() == [STARTED, RELEASE]


async def test_statuses_of_quick_changes_are_shared() -> None:
    async with bench(ends_when_stopped) as made:
        await eventually(lambda: made.publisher.statuses)
        for _ in range(50):
            made.rack.drain(True)
            made.rack.drain(False)
        await eventually(lambda: len(made.publisher.statuses) >= 2)
        assert len(made.publisher.statuses) < 5
        assert made.publisher.statuses[-1].accepting


async def test_an_actor_that_fails_is_started_again_and_given_up_when_it_keeps_failing() -> None:
    class Failing(Actor):
        lives = 0

        async def act(self) -> None:
            type(self).lives += 1
            raise RuntimeError("again")

    gave_up = asyncio.Event()
    crew = Crew(gave_up.set, Failing())
    await crew.start()
    try:
        await asyncio.wait_for(gave_up.wait(), 60)
        assert RESTARTS <= Failing.lives <= RESTARTS + 2
    finally:
        await crew.stop()


def test_a_seat_is_taken_once_and_free_again_after_its_holder(tmp_path: Path) -> None:
    seat = Seat(tmp_path, "w1")
    with pytest.raises(TakenError, match="w1"):
        Seat(tmp_path, "w1")
    Seat(tmp_path, "w2").leave()
    seat.leave()
    Seat(tmp_path, "w1").leave()


def test_a_later_process_is_newer_even_if_the_clock_was_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    first = Seat(tmp_path, "w1")
    first.leave()
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    second = Seat(tmp_path, "w1")
    second.leave()
    assert is_newer(second.holder, first.holder)
