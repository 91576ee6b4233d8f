"""What a fold keeps: families and documents, as the ledger's tables do."""

from typing import Protocol

from pipeline.ledger.document import Document
from pipeline.ledger.state import Family


class Rows(Protocol):
    """The rows of one partition. A long log's don't fit into memory: whoever folds one brings rows on disk."""

    def family(self, family: str) -> Family | None:
        """Return a family's state, None where there is no row."""

    def keep_family(self, family: Family) -> None:
        """Write a family's row; of an empty one, delete it."""

    def document(self, job_id: str) -> Document | None:
        """Return a job's document, None where there is none."""

    def keep_document(self, job_id: str, document: Document | None) -> None:
        """Write a job's document; None deletes it."""


class MemoryRows:
    """Rows in memory: for the few families of a history."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._documents: dict[str, Document] = {}

    def family(self, family: str) -> Family | None:
        """Return a family's state, None where there is no row."""
        return self._families.get(family)

    def keep_family(self, family: Family) -> None:
        """Write a family's row; of an empty one, delete it."""
        if family.is_empty:
            self._families.pop(family.id, None)
        else:
            self._families[family.id] = family

    def document(self, job_id: str) -> Document | None:
        """Return a job's document, None where there is none."""
        return self._documents.get(job_id)

    def keep_document(self, job_id: str, document: Document | None) -> None:
        """Write a job's document; None deletes it."""
        if document is None:
            self._documents.pop(job_id, None)
        else:
            self._documents[job_id] = document
