"""A run record: an attempt that waits (design §3, §5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.identity import attempt_key
from pipeline.messages.needs import Needs
from pipeline.messages.plain import plain

#: Headers of the tombstone that answers a claim.
RESULT_HEADER, HOLDER_HEADER, CLAIM_HEADER = "result", "holder", "claim_id"
#: Values of the result header; the last says that the attempt ended its wait without any claim.
GRANTED, REFUSED, WITHDRAWN = "granted", "refused", "withdrawn"


@dataclass(frozen=True, slots=True)
class Run:
    """What waits; `since` (ms) and `priority` give its rank, `max_wait` (ms) bounds an unmet need."""

    job_id: str
    attempt: int
    seq: int
    queue: str
    priority: int
    since: int
    job_type: str
    needs: Needs
    max_wait: int | None = None

    @property
    def key(self) -> str:
        """The record's key on its run topic."""
        return attempt_key(self.job_id, self.attempt)

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {**plain(self), "needs": self.needs.record()}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**{**record, "needs": Needs.of(record["needs"])})
