"""What follows a `MemoryBus`: its facts, and the output of its jobs. Whoever changes either notifies `changed`."""

import threading
import time
from collections import deque
from collections.abc import Callable, Container
from typing import Self

from pipeline.messages.fact import Fact
from pipeline.messages.log import LogChunk


class News:
    """Facts of some families, or of all, as they come; `leave` is called when nobody follows any more."""

    def __init__(
        self, changed: threading.Condition, keys: Container[bytes] | None, leave: Callable[["News"], None]
    ) -> None:
        self._changed = changed
        self._keys = keys
        self._leave = leave
        self._facts: deque[Fact] = deque()

    def put(self, fact: Fact) -> None:
        """Add a fact, if it is of those families."""
        if self._keys is None or fact.family.encode() in self._keys:
            self._facts.append(fact)

    def next(self, timeout: float) -> Fact | None:
        """Return the next fact, None where none came within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._facts), timeout)
            return self._facts.popleft() if self._facts else None

    def close(self) -> None:
        """Follow no more."""
        with self._changed:
            self._leave(self)


class Chunks:
    """A job's output from its first chunk on."""

    def __init__(self, changed: threading.Condition, chunks: list[LogChunk]) -> None:
        self._changed = changed
        self._chunks = chunks
        self._position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def end(self) -> int:
        """Return how many chunks there are by now."""
        with self._changed:
            return len(self._chunks)

    def reached(self, end: int) -> bool:
        """Say whether so many were read."""
        return self._position >= end

    def next(self, timeout: float) -> LogChunk | None:
        """Return the next chunk, None where none came within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._position >= len(self._chunks):
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    return None
            self._position += 1
            return self._chunks[self._position - 1]
