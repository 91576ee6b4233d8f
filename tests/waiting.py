"""Waiting for a condition with a time-out: what tests use instead of sleeping."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: by what all time-outs are multiplied: 1 suits an idle machine of 2 cores
PATIENCE = float(os.environ.get("JOBSTREAM_TEST_PATIENCE", "1"))


def until(
    condition: Callable[[], T], timeout: float = 30.0, interval: float = 0.05, what: str | Callable[[], object] = ""
) -> T:
    """Return the first truthy value of `condition`; raise AssertionError after `timeout` seconds, times PATIENCE.

    `what` is waited for, in words, or tells how things stand when the time is over.
    """
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            told = what() if callable(what) else what or condition
            raise AssertionError(f"not within {timeout} s: {told}; last value: {value!r}")
        time.sleep(interval)
