"""Rows of a fold on disk: a long log's families don't fit into memory."""

from ops.replaying.store import DiskStore
from pipeline.ledger.document import Document
from pipeline.ledger.state import Family

_FAMILY, _DOCUMENT, _NAME = b"family/", b"document/", b"name/"


class DiskRows:
    """Families, documents and a set of names in a store."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store

    def family(self, family: str) -> Family | None:
        """Return a family's state, None where there is no row."""
        value = self._store.get(_FAMILY + family.encode())
        return None if value is None else Family.load(value)

    def keep_family(self, family: Family) -> None:
        """Write a family's row; of an empty one, delete it."""
        self._put(_FAMILY + family.id.encode(), None if family.is_empty else family.dump())

    def document(self, job_id: str) -> Document | None:
        """Return a job's document, None where there is none."""
        value = self._store.get(_DOCUMENT + job_id.encode())
        return None if value is None else Document.load(value)

    def keep_document(self, job_id: str, document: Document | None) -> None:
        """Write a job's document; None deletes it."""
        self._put(_DOCUMENT + job_id.encode(), None if document is None else document.dump())

    def add(self, name: str) -> None:
        """Put a name into the set."""
        self._store.put(_NAME + name.encode(), b"")

    def __contains__(self, name: object) -> bool:
        return self._store.get(_NAME + str(name).encode()) is not None

    def _put(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._store.delete(key)
        else:
            self._store.put(key, value)
