"""What a batch of an inbox partition's records has decided so far, before any of it is written."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from agents.orchestrator.outputs import Output
from agents.orchestrator.tables import Row
from pipeline.ledger.document import Document
from pipeline.ledger.state import Family


@dataclass(slots=True)
class Batch:
    """Records that are applied together: the families' last states are written once."""

    outputs: list[Output] = field(default_factory=list)
    #: rows that are to be written before the families, and after them
    before: list[Row] = field(default_factory=list)
    after: list[Row] = field(default_factory=list)
    families: dict[str, Family] = field(default_factory=dict)
    documents: dict[str, Document | None] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    #: inbox offset of the last deletion of each document, also of one that was made again since
    dropped: dict[str, int] = field(default_factory=dict)
    ticked: bool = False

    @property
    def deleted(self) -> dict[int, list[str]]:
        """The job ids of the documents that go, by the inbox offset of their deletion."""
        found: dict[int, list[str]] = {}
        for job_id, offset in self.dropped.items():
            if self.documents[job_id] is None:
                found.setdefault(offset, []).append(job_id)
        return found

    def drop(self, job_ids: Iterable[str], offset: int) -> None:
        """Have the message at `offset` delete these documents."""
        for job_id in job_ids:
            self.documents[job_id] = None
            self.dropped[job_id] = offset
