"""Writing many records with few of them under way, each awaited."""

from collections import deque
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from agents.bus import DELIVERY_TIMEOUT_MS, Delivered, Headers, Publisher
from pipeline.settings import Settings
from pipeline.topic import Topic

#: Records under way at most.
_UNDER_WAY = 2000


class Writer:
    """Sends records; `settle` awaits all of them, and so does the end of the block. Raises DeliveryError."""

    def __init__(self, settings: Settings) -> None:
        self._publisher = Publisher(settings, settings.topology.name("jobstream-ledger"))
        self._under_way: deque[Future[Delivered]] = deque()
        self.written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._publisher.close()

    def send(self, topic: Topic, key: str | bytes, value: bytes | None, partition: int, headers: Headers = ()) -> None:
        """Send a record; raises DeliveryError for one that was sent before."""
        self._under_way.append(self._publisher.send(topic, key, value, partition, headers))
        self.written += 1
        while len(self._under_way) > _UNDER_WAY:
            self._await_first()

    def settle(self) -> None:
        """Wait until all that was sent is delivered."""
        while self._under_way:
            self._await_first()

    def _await_first(self) -> None:
        self._under_way.popleft().result(DELIVERY_TIMEOUT_MS / 1000 + 10)
