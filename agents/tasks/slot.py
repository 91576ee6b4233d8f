"""A thread that takes one task after the other."""

import logging
import threading
import time
from collections.abc import Callable

from agents.tasks.handling import Handling, UnreadableError
from agents.tasks.outputs import OutputError
from agents.tasks.share_source import FATAL
from agents.tasks.source import Taken, TaskSource
from pipeline.tasks.outcome import End

log = logging.getLogger(__name__)

#: s that a take waits, and so how soon an idle slot stops
_TAKE = 0.5
#: s of a lock's end that belong to saying what came of a task
LOCK_MARGIN = 5.0
#: s before anything is tried again that failed
_PAUSE = 1.0


class Stopping:
    """Whether to stop, and since when running functions are to end too."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._end = float("inf")

    def ask(self, grace: float) -> None:
        """Take nothing more, and end in `grace` seconds what runs; asked again, the earlier end counts."""
        self._end = min(self._end, time.monotonic() + grace)
        self.asked.set()

    @property
    def now(self) -> bool:
        """Whether what runs is to end."""
        return time.monotonic() >= self._end


class Slot:
    """Takes from a source of its own and handles what comes, until stopping; `run` is the thread's."""

    def __init__(self, opened: Callable[[], TaskSource], handling: Handling, stopping: Stopping) -> None:
        self._opened = opened
        self._handling = handling
        self._stopping = stopping

    def run(self) -> None:
        """Take and handle; a source that fails is replaced by a new one."""
        while not self._stopping.asked.is_set():
            source = self._opened()
            try:
                while not self._stopping.asked.is_set():
                    self._one(source)
            except FATAL as error:
                log.warning("a new source of tasks is needed: %s", error)
                self._stopping.asked.wait(_PAUSE)
            finally:
                self._close(source)

    def _one(self, source: TaskSource) -> None:
        taken = source.take(_TAKE)
        if taken is None:
            return
        over = None if source.lock is None else time.monotonic() + source.lock - LOCK_MARGIN

        def watch() -> End | None:
            if not source.held() or (over is not None and time.monotonic() > over):
                return End.LOST
            return End.STOPPED if self._stopping.now else None

        done = False
        try:
            done = self._handled(taken, watch)
        except (OutputError, UnreadableError, OSError) as error:
            log.error("%s[%d]@%d is given back: %s", taken.topic, taken.partition, taken.offset, error)
            self._stopping.asked.wait(_PAUSE)
        except FATAL:
            raise
        except Exception:
            # given back, it is counted, and a dead letter before long: one record must not end all workers in turn
            log.exception("%s[%d]@%d", taken.topic, taken.partition, taken.offset)
        if not (source.accept() if done else source.release()):
            log.warning("%s[%d]@%d was no longer this worker's", taken.topic, taken.partition, taken.offset)

    def _handled(self, taken: Taken, watch: Callable[[], End | None]) -> bool:
        """Handle it once it can be read. Meanwhile it stays in hand: each time that it is given back counts."""
        while True:
            try:
                return self._handling.handle(taken, watch)
            except UnreadableError as error:
                log.warning("%s[%d]@%d waits: %s", taken.topic, taken.partition, taken.offset, error)
                if self._stopping.asked.wait(_PAUSE) or watch() is not None:
                    raise

    @staticmethod
    def _close(source: TaskSource) -> None:
        try:
            source.close()
        except FATAL as error:
            log.warning("a source of tasks was not closed in order: %s", error)
