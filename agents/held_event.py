"""A Faust event that nothing acknowledges but we (design §7)."""

from typing import Any

import faust
from faust.types import EventT, StreamT


class HeldEvent(faust.Event):  # type: ignore[misc]  # Faust is untyped here
    """An event that holds one more reference to its message than Faust knows of.

    Faust acknowledges by itself in more places than `noack()` switches off: an event that was fetched before a
    rebalance and is skipped after it, a decoding error, a cancelled agent. Each gives up Faust's own reference only,
    so the offset can be committed after `acknowledge` alone. An app uses it by `Event=HeldEvent`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.message.incref()


async def acknowledge(stream: StreamT, event: EventT) -> None:
    """Say that the event is applied; its offset is committed with the next commit. Call it in the partition's order."""
    event.message.refcount = 1
    await stream.ack(event)
