"""Items of many writers, taken in batches by one reader."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Batcher(Generic[T]):
    """A bounded queue that is emptied in batches; their order is the order of `put`.

    A batch is ready when it has `size` items, or `linger` seconds after the reader found the first. Cancelling
    `put` or `take` loses nothing that was put.
    """

    def __init__(self, size: int, linger: float) -> None:
        self._size = size
        self._linger = linger
        self._items: deque[T] = deque()
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, item: T) -> None:
        """Add an item; waits while two batches are waiting."""
        while len(self._items) >= 2 * self._size:
            self._room.clear()
            await self._room.wait()
        self._items.append(item)
        self._some.set()
        if len(self._items) >= self._size:
            self._full.set()

    async def take(self) -> list[T]:
        """Wait for the next batch and return it; it has at least one item."""
        await self._some.wait()
        if self._linger and not self._full.is_set():
            try:
                async with asyncio.timeout(self._linger):
                    await self._full.wait()
            except TimeoutError:
                pass
        batch = [self._items.popleft() for _ in range(min(self._size, len(self._items)))]
        if not self._items:
            self._some.clear()
        if len(self._items) < self._size:
            self._full.clear()
        self._room.set()
        return batch
