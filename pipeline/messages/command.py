"""What the ledger tells a holder (workers.commands)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.messages.plain import plain

#: Run this attempt: carries the document (or a reference), the token and the lease.
GRANT = "grant"
#: End this attempt and start it never again.
STOP = "stop"
#: Products may be made visible.
PERMIT = "permit"


@dataclass(frozen=True, slots=True)
class Reference:
    """The inbox record that holds a document too large for a command."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `document` is the run document as JSON, `lease_ms` how long a grant is good without heartbeats.

    With a `reference` the run document is there, and `document` what goes over it, if anything. Of a `sealed` grant
    document and token are in the seal, for its holder alone (`pipeline.sealing`).
    """

    kind: str
    holder: str
    job_id: str
    attempt: int
    claim_id: str = ""
    token: str = ""
    lease_ms: int = 0
    reason: str = ""
    document: str | None = None
    reference: Reference | None = None
    sealed: bytes | None = None

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {**plain(self), "reference": None if self.reference is None else plain(self.reference)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        reference = record.get("reference")
        return cls(**{**record, "reference": Reference(**reference) if reference else None})
