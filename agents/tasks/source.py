"""The seam: where tasks come from, one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Taken:
    """A record in hand; `timestamp` is the broker's (ms), `deliveries` how often it was handed out, this time too."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    deliveries: int
    headers: Mapping[str, bytes] = field(default_factory=dict)


class TaskSource(Protocol):
    """One queue's records, for one thread. At most one is in hand, and nobody else gets it meanwhile.

    A source that is closed, or whose process dies, gives back what is in hand: it is handed out again, with
    `deliveries` one more. So is one that is held for longer than the lock. A call raises KafkaException or
    IllegalStateException where nothing but another source helps.
    """

    #: Whether records that were sent in one batch all go to one taker.
    whole_batches: bool
    #: s that a record in hand is ours at least; None: as long as `held` says.
    lock: float | None

    def take(self, timeout: float) -> Taken | None:
        """Return the next record, None where none came within `timeout` seconds; none may be in hand."""

    def held(self) -> bool:
        """Say whether the record in hand is still ours, as far as that is known; to be asked often."""

    def accept(self) -> bool:
        """Say that the record in hand needs nobody any more. False: somebody else may have got it meanwhile."""

    def release(self) -> bool:
        """Give the record in hand back, to be handed out again at once. False as with `accept`."""

    def close(self) -> None:
        """Give back what is in hand, and leave."""
