"""A part of what an attempt prints, as it comes: on jobs.logs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.messages.plain import plain

#: Why bytes before a chunk were not sent: faster than the rate, beyond the attempt's limit, or no broker took them.
RATE, LIMIT, BROKER = "rate", "limit", "broker"


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of one stream of an attempt, from `offset` on in the whole stream; cut anywhere.

    `seq` counts an attempt's chunks from 1, in the order that the streams were read in. `missing` bytes before `offset`
    were not sent, because of `why`; a gap that no chunk explains was lost with its worker. A chunk without data says
    that the attempt runs, and how far the stream has come; `last`, that the stream ended.
    """

    job_id: str
    attempt: int
    stream: str
    seq: int
    offset: int
    data: bytes
    missing: int = 0
    why: str = ""
    last: bool = False
    worker: str = ""

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return plain(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**record)
