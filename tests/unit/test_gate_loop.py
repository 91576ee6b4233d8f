"""What the gate's loop knows of the topics that it reads."""

from types import SimpleNamespace
from typing import Any

import pytest

from agents.gate import loop
from agents.gate.loop import Loop
from agents.gate.record import Incoming

REPORTS, CONTROL = "jobs.reports", "jobs.control"


def _record(topic: str, offset: int) -> Incoming:
    return Incoming(topic, 0, offset, 0, None, b"")


def test_a_topic_that_was_made_anew_leaves_the_others_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {REPORTS: "r1", CONTROL: "c1"}
    monkeypatch.setattr(loop, "topic_ids", lambda settings, topics: dict(known))
    monkeypatch.setattr(loop.offsets, "starts", lambda client, topic, numbers: dict.fromkeys(numbers, 0))
    one: Any = SimpleNamespace(
        name="gate", _settings=None, _topics=[REPORTS, CONTROL], _ids={}, _seen={}, _persist=lambda ask: ask(),
        _watched=SimpleNamespace(find=set), _go_back=lambda client, place: None,
    )  # fmt: skip
    client: Any = SimpleNamespace(assignment=lambda: [SimpleNamespace(topic=REPORTS, partition=0)])

    def ids(*records: Incoming) -> list[str]:
        return [record.topic_id for record in Loop._identified(one, records)]

    assert ids(_record(REPORTS, 7), _record(CONTROL, 3)) == ["r1", "c1"]
    known[REPORTS] = "r2"
    Loop._begin_anew(one, client, {REPORTS})
    assert ids(_record(CONTROL, 4)) == ["c1"]
    assert ids(_record(REPORTS, 0)) == ["r2"]
