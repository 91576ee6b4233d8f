"""Asking the broker again: one that is busy, or was just started, answers in a moment."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

T = TypeVar("T")

#: s between two questions
_PAUSE = 0.2

log = structlog.stdlib.get_logger(__name__)


def patiently(ask: Callable[[], T], seconds: float, ended: threading.Event | None = None) -> T:
    """Return what `ask` returns; where it raises OSError it is asked again, and after `seconds` that is raised.

    Once `ended` is set it isn't asked again either.
    """
    deadline = time.monotonic() + seconds
    over = threading.Event() if ended is None else ended
    said = ""
    while True:
        try:
            return ask()
        except OSError as error:
            if over.is_set() or time.monotonic() > deadline:
                raise
            if said != str(error):
                said = str(error)
                log.warning("asking the broker again", error=said)
            over.wait(_PAUSE)
