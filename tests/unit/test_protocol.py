"""Who understands whom, and what each side does with one that it doesn't."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from agents.scheduler.records import Reader
from agents.worker.work import Assignment, MayPublish, Started, WorkResult
from pipeline.codec import Codec
from pipeline.containers.stop import Level, Stop
from pipeline.messages.report import COMPLETED, RELEASE, STARTED
from pipeline.messages.status import WorkerStatus
from pipeline.protocol import OWN, Protocol, why_not
from pipeline.scheduling.message import StatusSeen
from pipeline.topology import Topology
from tests.unit.worker_bench import OFFER, bench, eventually

NEWER = Protocol(OWN.speaks + 2, OWN.speaks + 1, "9.0.0")
NEWER_THAT_UNDERSTANDS = Protocol(OWN.speaks + 1, OWN.oldest)


@pytest.mark.parametrize(
    ("one", "other", "understand"),
    [
        ((1, 1), (1, 1), True),
        ((2, 1), (1, 1), True),
        ((3, 2), (1, 1), False),
        ((3, 2), (2, 2), True),
        ((2, 2), (4, 2), True),
        ((2, 2), (4, 3), False),
    ],
)
def test_both_sides_must_speak_what_the_other_understands(
    one: tuple[int, int], other: tuple[int, int], understand: bool
) -> None:
    assert Protocol(*one).understands(Protocol(*other)) is understand
    assert Protocol(*other).understands(Protocol(*one)) is understand


def test_who_says_nothing_speaks_the_first_version_and_who_says_nonsense_none() -> None:
    assert Protocol.in_headers(None) == Protocol(1, 1)
    assert Protocol.in_headers([("other", b"x"), NEWER.header]) == NEWER
    for nonsense in (b"2", b"a/b", b"", None, b"1/1 "):
        assert not Protocol.in_headers([(OWN.header[0], nonsense)]).understands(OWN)
    assert Protocol.in_setting(NEWER.setting) == NEWER


def test_the_older_side_is_the_one_to_upgrade() -> None:
    assert "upgrade the worker" in why_not(OWN, NEWER)
    assert "upgrade the orchestrator" in why_not(NEWER, OWN)
    assert why_not(OWN, NEWER_THAT_UNDERSTANDS) == ""


def _seen(reader: Reader, topology: Topology, value: bytes, headers: Sequence[tuple[str, Any]] | None) -> Any:
    record = SimpleNamespace(
        topic=lambda: topology.status.name,
        key=lambda: b"w1",
        value=lambda: value,
        headers=lambda: headers,
        timestamp=lambda: (1, 5),
        offset=lambda: 3,
    )
    return reader.message(record)  # type: ignore[arg-type]


def test_the_scheduler_gives_nothing_to_a_worker_that_speaks_otherwise() -> None:
    topology, codec = Topology(), Codec()
    reader = Reader(topology, codec, sealing=False)
    value = codec.encode("status", OFFER.record())
    for headers in (None, [OWN.header], [NEWER_THAT_UNDERSTANDS.header]):
        assert _seen(reader, topology, value, headers) == StatusSeen(OFFER, 5, 3)
    apart: WorkerStatus = _seen(reader, topology, value, [NEWER.header]).status
    assert (apart.accepting, apart.worker_id) == (False, "w1")
    assert "upgrade the orchestrator" in apart.reason
    # a schema that isn't known here
    assert _seen(reader, topology, b"\xc3\x01" + bytes(20), [NEWER.header]) is None


async def _runs(assignment: Assignment, stop: Stop, started: Started, _: MayPublish) -> WorkResult:
    started({})
    await stop.beyond(Level.NONE)
    return WorkResult(False, {"error": "stopped"})


async def _succeeds(assignment: Assignment, stop: Stop, started: Started, _: MayPublish) -> WorkResult:
    started({})
    return WorkResult(True, {})


async def test_a_worker_that_meets_a_newer_orchestrator_says_so_hands_grants_back_and_lets_jobs_run() -> None:
    async with bench(_runs) as made:
        made.grant("fa-1")
        await eventually(lambda: made.kinds("fa-1") == [STARTED])
        made.rack.meet(NEWER)
        made.grant("fb-1")
        await eventually(lambda: made.kinds("fb-1") == [RELEASE])
        await eventually(lambda: made.publisher.statuses and not made.publisher.statuses[-1].accepting)
        assert "upgrade the worker" in made.publisher.statuses[-1].reason
        assert "upgrade the worker" in made.publisher.reports[-1].result
        assert made.kinds("fa-1") == [STARTED]


async def test_a_worker_takes_jobs_again_once_an_orchestrator_is_understood() -> None:
    async with bench(_succeeds) as made:
        made.rack.meet(NEWER)
        made.rack.meet(NEWER_THAT_UNDERSTANDS)
        made.grant("fa-1")
        await eventually(lambda: made.kinds("fa-1") == [STARTED, COMPLETED])
