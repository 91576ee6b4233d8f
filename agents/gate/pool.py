"""A pool of threads that can be left behind with what never returns."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class Pool(Generic[T]):
    """Runs calls in daemon threads, first come, first served.

    `concurrent.futures` would wait for its threads at the end of the process, for one that hangs as well: a gate with a
    hanging job creator could never be stopped.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = queue.SimpleQueue()
        self._threads = threads
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> "Future[T]":
        """Run a call as soon as a thread is free."""
        future: Future[T] = Future()
        self._calls.put((future, lambda: call(*arguments, **named)))
        return future

    def leave(self) -> None:
        """Cancel the calls that have not begun, and let each thread end after the one that it runs."""
        try:
            while (waiting := self._calls.get_nowait()) is not None:
                waiting[0].cancel()
        except queue.Empty:
            pass
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (taken := self._calls.get()) is not None:
            future, call = taken
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
