"""An event loop in virtual time, so that the orchestrator's real coroutines run inside of a simulation."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from tests.simulation.timeline import Actor


class SimLoop(asyncio.AbstractEventLoop):
    """Runs what is ready when its actor is let; once the actor's life ends, nothing of it ever runs again."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self._life = actor.life
        self._ready: deque[asyncio.Handle] = deque()
        self._planned = False
        self._error: BaseException | None = None
        self.failed: Callable[[BaseException], None] = lambda error: None

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        if not self._planned:
            self._planned = True
            self.actor.after(0, self._pump)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.actor.after(max(0, round((when - self.time()) * 1000)), lambda: self._ripe(handle))
        return handle

    def time(self) -> float:
        return self.actor.now / 1000

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **_: Any) -> "asyncio.Task[Any]":  # type: ignore[override]
        task = asyncio.Task(coro, loop=self)
        task.add_done_callback(self._done)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._error = context.get("exception")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _ripe(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled():
            self._ready.append(handle)
            self._pump()

    def _pump(self) -> None:
        self._planned = True
        asyncio._set_running_loop(self)
        try:
            while self._ready and self.actor.life == self._life and self.actor.alive:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                if self._error is not None:
                    raise self._error
        finally:
            asyncio._set_running_loop(None)
            self._planned = False

    def _done(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failed(task.exception())  # type: ignore[arg-type]
