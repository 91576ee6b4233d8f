"""How an orchestrator, and who works beside it, begins: what is asked again, what is refused, what a rebalance ends."""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents import generations
from agents.admin import TopicError
from agents.orchestrator import app, backing, main
from agents.orchestrator.app import Orchestrator
from agents.orchestrator.inbox_identity import Bounds
from agents.patience import patiently
from agents.scheduler import main as scheduler
from pipeline.settings import Settings
from pipeline.topology import TABLES
from tests.unit.partition_support import Owner


def _answers(*answers: object) -> Any:
    left = list(answers)

    def ask(*_: object) -> object:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def test_what_the_broker_does_not_say_at_once_is_asked_again_and_what_it_refuses_is_not() -> None:
    assert patiently(_answers(OSError("busy"), 7), 30) == 7
    with pytest.raises(OSError, match="busy"):
        patiently(_answers(OSError("busy"), 7), -1)
    with pytest.raises(TopicError):
        patiently(_answers(TopicError("no such topic"), 7), 30)


def test_the_changelogs_ids_are_asked_for_again_where_the_broker_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(token_key="k")
    ids = {topic.name: f"id of {topic.name}" for topic in settings.topology.changelogs()}
    monkeypatch.setattr(backing, "topic_ids", _answers(OSError("no leader"), ids))
    assert list(backing.changelog_ids(settings)) == list(TABLES)


def test_a_gate_that_can_not_start_leaves_no_publisher_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    publisher = SimpleNamespace(close=lambda: closed.append(True))
    monkeypatch.setattr(main, "Publisher", lambda *_, **__: publisher)
    monkeypatch.setattr(main.generations, "check", lambda _: None)
    monkeypatch.setattr(main, "configure", lambda *_: None)
    monkeypatch.setattr(main, "codec", lambda _: None)
    monkeypatch.setattr(app, "Orchestrator", lambda *_: SimpleNamespace(app=None))
    monkeypatch.setattr(main, "_start_gate", _answers(OSError("no broker")))
    with pytest.raises(OSError, match="no broker"):
        main.run(Settings(token_key="k"))
    assert closed == [True]


def test_a_scheduler_of_an_older_inbox_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "configure", lambda *_: None)
    monkeypatch.setattr(scheduler.signal, "signal", lambda *_: None)
    monkeypatch.setattr(scheduler, "check_ready", lambda _: None)
    monkeypatch.setattr(generations, "generations", lambda _: {2: SimpleNamespace(number=2, partitions=4,
                                                                                  fact_partitions=2)})  # fmt: skip
    monkeypatch.setattr(scheduler, "Agent", _answers())
    assert scheduler.run(Settings(token_key="k")) == scheduler.EXIT_UNREADY


def test_a_scheduler_that_is_told_to_end_while_it_waits_for_the_broker_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[int, Callable[..., None]] = {}
    asked: list[bool] = []

    def unanswered(_: Settings) -> None:
        asked.append(True)
        told[signal.SIGTERM]()
        raise OSError("no leader")

    monkeypatch.setattr(scheduler, "configure", lambda *_: None)
    monkeypatch.setattr(scheduler.signal, "signal", told.__setitem__)
    monkeypatch.setattr(scheduler, "check_ready", lambda _: None)
    monkeypatch.setattr(generations, "generations", unanswered)
    assert scheduler.run(Settings(token_key="k")) == 0
    assert asked == [True]


@pytest.mark.parametrize("lost_at", ["recovering", "announcing", "never"])
def test_an_owner_that_loses_its_partitions_while_it_begins_does_not_own_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_at: str
) -> None:
    owner = Owner(tmp_path)
    settings = Settings(token_key="k")
    name = settings.topology.inbox.name
    one = Orchestrator.__new__(Orchestrator)
    assignor = SimpleNamespace(assigned_actives=lambda: [TP(name, 0)])
    vars(one).update(
        settings=settings, app=SimpleNamespace(assignor=assignor), _topology=settings.topology, _turn=0, _owned={},
        _tasks=[], _locks=defaultdict(asyncio.Lock), _reached={}, _tables=owner.tables, _outputs=owner.outputs,
        _codec=None, _guard=SimpleNamespace(check=lambda: None), _announced=True, _verify=lambda *_: None,
        _owner="o",
    )  # fmt: skip
    monkeypatch.setattr(app, "inbox_bounds", lambda _: {0: Bounds(0, 9, 0)})
    monkeypatch.setattr(backing, "changelog_ids", lambda _: {})
    recover = app.Partition.recover
    begun: list[str] = []

    async def recovering(partition: Any) -> None:
        await recover(partition)
        if lost_at == "recovering":
            await one._on_revoked(None)

    async def marking(*_: object) -> None:
        begun.append("marks")

    async def announcing(_number: int) -> None:
        if lost_at == "announcing":
            await one._on_revoked(None)

    monkeypatch.setattr(app.Partition, "recover", recovering)
    vars(one).update(_mark=marking, _announce_policy=announcing)

    async def begin() -> None:
        await one._on_recovered(None)
        for task in one._tasks:
            task.cancel()

    asyncio.run(begin())
    assert list(one._owned) == ([0] if lost_at == "never" else [])
    assert begun == ([] if lost_at == "recovering" else ["marks"])
    assert len(one._tasks) == (lost_at == "never")
