"""Blocking calls off the event loop, each in a daemon thread of its own.

The loop's executor has few threads and is joined at exit: calls that last as long as a job would fill it, and one that
never returns would keep the process from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return or raise what the function does. A cancelled wait leaves the thread running; its result is dropped."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = function(*args, **kwargs)
        except BaseException as caught:
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            # The loop was closed in the meantime: nobody waits for the result.
            return

    threading.Thread(target=body, name=getattr(function, "__name__", "call"), daemon=True).start()
    return await future
