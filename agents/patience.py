"""Asking the broker again: one that is busy, or was just started, answers in a moment."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: s between two questions
_PAUSE = 0.2


def patiently(ask: Callable[[], T], seconds: float) -> T:
    """Return what `ask` returns; where it raises OSError it is asked again, and after `seconds` that is raised."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
