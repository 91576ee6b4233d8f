"""Calls that don't keep their own time-out are left behind."""

import threading

import pytest

from agents import bounded as module
from agents.bounded import bounded


def test_a_result_and_an_error_are_handed_on() -> None:
    assert bounded(lambda: 7, 1.0) == 7
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 1.0)


def test_a_call_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.0)
    never = threading.Event()
    with pytest.raises(TimeoutError):
        bounded(never.wait, 0.05)
    never.set()
