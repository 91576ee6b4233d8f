"""A bound for calls that have a time-out of their own and don't always keep it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

#: Seconds beyond the call's own time-out.
_GRACE = 2.0


def bounded(call: Callable[[], T], timeout: float) -> T:
    """Return what the call returns; raise what it raises, or TimeoutError soon after `timeout` seconds.

    librdkafka's metadata request (2.16) waits without end where a broker that is only just starting drops the answer.
    Who is not waited for any longer is left behind in a daemon thread.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # handed on to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name="bounded", daemon=True).start()
    return future.result(timeout + _GRACE)
