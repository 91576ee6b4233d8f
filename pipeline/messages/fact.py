"""A fact: an event that the ledger accepted and numbered (design §2, §4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.messages.plain import plain


@dataclass(frozen=True, slots=True)
class Fact:
    """One event of a job.

    `seq` counts from 1 without gaps; `time` is ms by the broker's clock; `document` is the job's whole
    status document as JSON (spec §3.2); where it came from says `inbox_…` and what follows, so that it can be replayed.
    `traceparent` and `tracestate` are its submission's, where that brought any.
    """

    job_id: str
    family: str
    submission_id: str
    payload_hash: str
    seq: int
    status: str
    attempt: int
    time: int
    document: str
    inbox_partition: int
    inbox_offset: int
    index: int
    code_version: str
    reason: str | None = None
    error: str | None = None
    short_error: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return plain(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**record)
