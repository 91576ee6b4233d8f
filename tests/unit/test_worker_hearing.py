"""What a worker hears of an orchestrator that began before it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from agents.worker import commands
from agents.worker.commands import Drain, Ear, Met
from pipeline.codec import Codec
from pipeline.protocol import SETTING, Protocol
from pipeline.settings import Settings

OLDER, NEWER = Protocol(7, 6, "old"), Protocol(9, 8, "new")


def _record(key: str, value: object) -> Any:
    return SimpleNamespace(key=key.encode, value=lambda: orjson.dumps(value))


@pytest.fixture
def ear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ear:
    known = [_record(SETTING, OLDER.setting), _record("worker/w1", {"draining": True}), _record(SETTING, NEWER.setting)]

    def read(*_: object) -> Iterator[Any]:
        yield from known

    monkeypatch.setattr(commands, "read_to_end", read)
    monkeypatch.setattr(commands, "end_offsets", lambda client, topic, numbers: dict.fromkeys(numbers, 0))
    client = SimpleNamespace(position=lambda places: [SimpleNamespace(offset=3)], assign=lambda places: None)
    monkeypatch.setattr(commands, "consumer", lambda settings, name: client)
    return Ear(Settings(home=tmp_path), Codec(), "w1:1:a")


def test_what_the_orchestrator_said_before_is_heard_before_anything_else(ear: Ear) -> None:
    assert ear.open() == Drain(True)
    assert next(ear._batches()) == [Met(NEWER)]


def test_a_worker_that_has_to_ask_twice_hears_it_all_the_same(ear: Ear) -> None:
    ear.open()
    ear.open()
    assert next(ear._batches()) == [Met(NEWER)]
