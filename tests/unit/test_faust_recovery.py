"""What an owner that begins believes of the tables on its disk."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.exceptions import ConsistencyError
from faust.types import TP

from agents.faust_recovery import OrderedRecovery

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
