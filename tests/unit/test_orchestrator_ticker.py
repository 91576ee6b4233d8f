"""The ticker: what comes of a tick that the broker doesn't take."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from agents.orchestrator.outputs import RefusedError
from agents.orchestrator.ticker import tick
from pipeline.ledger.policy import Policy
from pipeline.messages.report import WorkerReport
from pipeline.topic import Topic
from tests.unit.partition_support import CODEC, TOPOLOGY, Owner


async def _ticked(owner: Owner, codes: list[int | None]) -> list[WorkerReport]:
    """Let it tick, with these answers of the broker, one to each tick; return those that were taken."""
    left = iter(codes)
    taken = asyncio.Event()

    def answer(topic: Topic, _: bytes | None) -> int | None:
        code = next(left, None) if topic == TOPOLOGY.reports else None
        if code is None:
            taken.set()
        return code

    owner.publisher.refuses = answer
    ticking = asyncio.create_task(tick(owner.partition, owner.outputs, "o"))
    waiting = asyncio.create_task(taken.wait())
    await asyncio.wait({ticking, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    if ticking.done():
        waiting.cancel()
        ticking.result()
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    return [WorkerReport.of(CODEC.decode("report", value)) for _, value, _ in owner.publisher.records["jobs.reports"]]


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    owner = Owner(tmp_path)
    owner.partition.clock.follow(Policy(tick_ms=1))
    owner.submit("h")
    return owner


def test_a_tick_that_a_broker_was_away_for_is_followed_by_one_that_is_marked(owner: Owner) -> None:
    timed_out = KafkaError._MSG_TIMED_OUT
    (first,) = asyncio.run(_ticked(owner, [timed_out, timed_out, None]))
    assert (first.resumed, first.previous) == (True, -1)


def test_a_tick_that_is_refused_for_good_ends_it(owner: Owner) -> None:
    with pytest.raises(RefusedError):
        asyncio.run(_ticked(owner, [KafkaError.TOPIC_AUTHORIZATION_FAILED, None]))
