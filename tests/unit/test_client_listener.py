"""What a client's one thread of facts does while others begin to wait."""

import threading
from collections.abc import Container, Sequence
from typing import Any
from weakref import WeakSet

import pytest

from ops.client.listener import Listener
from ops.client.tracker import Tracker
from pipeline.messages.fact import Fact


class Log:
    """Nothing is told; what a listener wants to hear of is kept."""

    only: Container[bytes]

    def __init__(self) -> None:
        self._never = threading.Event()

    def follow(self, families: Sequence[str] | None = None, only: Container[bytes] | None = None) -> "Log":
        assert only is not None
        self.only = only
        return self

    def next(self, timeout: float) -> Fact | None:
        self._never.wait(timeout)
        return None

    def close(self) -> None: ...


class Walked(WeakSet[Any]):
    """As a set is whose members become more while somebody goes through them, until they are `settled`."""

    settled = False

    def __iter__(self) -> Any:
        if not self.settled:
            raise RuntimeError("Set changed size during iteration")
        return super().__iter__()


def test_whether_anybody_waits_for_a_family_can_be_asked_while_others_begin_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.client.listener.WeakSet", Walked)
    log: Any = Log()
    listener = Listener(log)
    waiting = Tracker(log, "one", "s1")
    listener.add(waiting)
    assert b"one" in log.only
    assert b"two" not in log.only
    del waiting
    assert b"one" not in log.only
    monkeypatch.setattr(Walked, "settled", True)
    listener.close()
