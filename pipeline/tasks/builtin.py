"""Functions to try tasks with; entry points of `jobstream.tasks`."""

import time
from typing import Any


def echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what it was given."""
    return {"args": list(args), "kwargs": kwargs}


def sleep(seconds: float) -> float:
    """Wait; return how long that was to be (s)."""
    time.sleep(seconds)
    return seconds
