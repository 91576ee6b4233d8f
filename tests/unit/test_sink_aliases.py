"""Which aliases are given again; Elasticsearch is played here, and real in the sink's own tests."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agents.sink import aliases
from agents.sink.aliases import Aliases


def given(batches: list[list[tuple[str, str]]]) -> list[int]:
    """Give batches of aliases, and return how many each request had, and how many are remembered in the end."""
    asked: list[int] = []

    async def update_aliases(*, actions: list[dict[str, Any]]) -> None:
        asked.append(len(actions))

    made = Aliases(SimpleNamespace(indices=SimpleNamespace(update_aliases=update_aliases)))  # type: ignore[arg-type]
    for batch in batches:
        asyncio.run(made.give(batch))
    return [*asked, len(made._given)]


def test_an_alias_that_was_given_is_not_given_again_soon() -> None:
    assert given([[("a", "x"), ("a", "x"), ("a", "y")], [("a", "x")], [("b", "x"), ("a", "y")]]) == [2, 1, 3]


def test_those_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "_MOST", 10)
    assert given([[("a", f"{number}")] for number in range(25)])[-1] == 5
