"""Changelogs are read to their ends, by another client where one has gone deaf."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents import changelog_reader
from agents.changelog_reader import Change, ChangelogReader
from pipeline.settings import Settings

LOG = TP("changelog", 0)


def _record(offset: int) -> Any:
    return SimpleNamespace(
        error=lambda: None, topic=lambda: LOG.topic, partition=lambda: 0, offset=lambda: offset,
        key=lambda: b"k", value=lambda: b"v", headers=lambda: None,
    )  # fmt: skip


class Client:
    """Has these records to give, and is deaf after."""

    def __init__(self, offsets: Sequence[int]) -> None:
        self._offsets = list(offsets)
        self.assigned: list[int] = []
        self.closed = False

    def assign(self, places: Sequence[Any]) -> None:
        self.assigned = [place.offset for place in places]

    def consume(self, count: int, linger: float) -> list[Any]:
        given, self._offsets = self._offsets, []
        return [_record(offset) for offset in given]

    def close(self) -> None:
        self.closed = True


def test_where_a_client_has_gone_deaf_another_reads_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [Client([3, 4]), Client([]), Client([5, 6])]
    made = iter(clients)
    monkeypatch.setattr(changelog_reader, "consumer", lambda *_, **__: next(made))
    monkeypatch.setattr(changelog_reader, "_PATIENCE", 0.01)
    taken: list[int] = []

    def take_over(_: TP, changes: list[Change]) -> None:
        taken.extend(change.offset for change in changes)

    assert ChangelogReader(Settings(), take_over).read({LOG: (3, 7)})
    assert taken == [3, 4, 5, 6]
    assert [one.assigned for one in clients] == [[3], [5], [5]]
    assert all(one.closed for one in clients)
