"""What an owner that begins believes of the tables on its disk, and where it begins to read."""

import asyncio
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.exceptions import ConsistencyError
from faust.tables.recovery import ServiceStopped
from faust.types import TP

from agents.faust_recovery import OrderedRecovery, OrderedTableManager, set_back

ONE, TWO = TP("inbox", 0), TP("inbox", 1)

LOG = TP("changelog", 0)


class Table:
    def __init__(self) -> None:
        self.emptied: list[int] = []

    def empty(self, partition: int) -> None:
        self.emptied.append(partition)


def _spans(bounds: tuple[int, int], have: int | None, first_since: int) -> tuple[tuple[int, int], list[int]]:
    """Return what would be read of a log with these bounds, whose records from `first_since` on are new."""
    table = Table()
    recovery: Any = SimpleNamespace(tp_to_table={LOG: table}, _too_old=OrderedRecovery._too_old)
    reader = SimpleNamespace(
        bounds=lambda places: {LOG: bounds}, first_since=lambda places, time: dict.fromkeys(places, first_since)
    )
    spans = OrderedRecovery._spans(recovery, reader, {LOG}, {} if have is None else {LOG: have})  # type: ignore[arg-type]
    return spans[LOG], table.emptied


def test_a_table_is_read_on_from_where_it_was_read_to() -> None:
    assert _spans((0, 100), 39, first_since=40) == ((40, 100), [])
    assert _spans((50, 100), 39, first_since=40) == ((50, 100), [])
    assert _spans((10, 100), None, first_since=40) == ((10, 100), [])


def test_a_table_that_may_have_missed_tombstones_is_emptied_and_read_from_the_start() -> None:
    assert _spans((3, 100), 39, first_since=41) == ((3, 100), [0])
    assert _spans((0, 100), 0, first_since=100) == ((0, 100), [0])


def test_a_table_that_has_all_is_believed_however_old_it_is() -> None:
    assert _spans((0, 100), 99, first_since=100) == ((100, 100), [])


def test_a_table_that_has_more_than_its_changelog_ends_the_process() -> None:
    with pytest.raises(ConsistencyError):
        _spans((0, 100), 100, first_since=0)


def test_tables_are_registered_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async def begun() -> list[str]:
        manager: Any = faust.App("t", broker="kafka://localhost:1", TableManager=OrderedTableManager).tables
        done: list[str] = []

        async def noted(what: str) -> None:
            done.append(what)

        monkeypatch.setattr(manager, "sleep", lambda seconds: noted(f"slept {seconds}"))
        monkeypatch.setattr(manager, "_update_channels", lambda: noted("registered"))
        monkeypatch.setattr(manager.recovery, "start", lambda: noted("recovery"))
        await manager.on_start()
        return done

    assert asyncio.run(begun()) == ["registered", "recovery"]


async def _waiting(*, stopped: bool) -> None:
    app = faust.App("t", broker="kafka://localhost:1", TableManager=OrderedTableManager)
    recovery: Any = app.tables.recovery
    if stopped:
        recovery.set_shutdown()
        recovery._stopped.set()
    await recovery._wait(asyncio.Event().wait(), timeout=0.01)


def test_a_broker_that_does_not_answer_in_time_is_no_stop() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(_waiting(stopped=False))


def test_a_stop_ends_the_waiting_in_peace() -> None:
    with pytest.raises(ServiceStopped):
        asyncio.run(_waiting(stopped=True))


def test_the_only_owner_begins_where_it_is_committed() -> None:
    assert set_back({ONE: 7, TWO: None}, {ONE: 7, TWO: None}) == {}


def test_what_a_successor_committed_meanwhile_is_read_again() -> None:
    assert set_back({ONE: 7, TWO: 3}, {ONE: 9, TWO: 3}) == {ONE: 7}


def test_where_nothing_was_committed_before_all_is_read() -> None:
    assert set_back({ONE: None}, {ONE: 9}) == {ONE: 0}


def test_a_partition_that_is_no_longer_assigned_is_sought_all_the_same() -> None:
    assert set_back({ONE: 7}, {}) == {ONE: 7}
