"""The rows of a partition's three tables on disk, each with the value that its changelog has."""

from collections.abc import Iterator

from agents.orchestrator.row import BACKING_KEY, FORGOTTEN_KEY, OWN_KEYS, POLICY_KEY, body_of, offset_of, pack
from ops.replaying.store import DiskStore
from pipeline.ledger.document import Document
from pipeline.ledger.state import Family

FAMILIES, DOCUMENTS, ACTIVE = "families", "documents", "active"


class LedgerRows:
    """Rows by table and key in one space of a store, so that several can share it."""

    def __init__(self, store: DiskStore, space: str) -> None:
        self._store = store
        self._space = space

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value, None where there is none."""
        return self._store.get(self._prefix(table) + key)

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write a row; None deletes it."""
        if value is None:
            self._store.delete(self._prefix(table) + key)
        else:
            self._store.put(self._prefix(table) + key, value)

    def rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and value of a table's rows in the order of their keys, without those that are no family's."""
        prefix = self._prefix(table)
        for key, value in self._store.rows(prefix):
            own = key[len(prefix) :]
            if table != FAMILIES or own not in OWN_KEYS:
                yield own, value

    def rows_from(self, table: str, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and value of the rows whose keys begin so."""
        prefix = self._prefix(table)
        for found, value in self._store.rows(prefix + key):
            yield found[len(prefix) :], value

    @property
    def policy(self) -> bytes | None:
        """The row of the partition's policy."""
        return self.get(FAMILIES, POLICY_KEY)

    @property
    def backing(self) -> bytes | None:
        """The row that says what the tables stand on."""
        return self.get(FAMILIES, BACKING_KEY)

    @property
    def forgotten(self) -> int:
        """The inbox offset up to which families without a row are gone, -1 where none is."""
        return max(-1, offset_of(self.get(FAMILIES, FORGOTTEN_KEY)))

    def _prefix(self, table: str) -> bytes:
        return f"{self._space}/{table}/".encode()


class FoldedRows:
    """What a fold keeps (`pipeline.replay.rows.Rows`), written as the orchestrator writes it.

    `offset` is to be set to that of each message before it is applied.
    """

    def __init__(self, rows: LedgerRows) -> None:
        self.offset = -1
        self._rows = rows

    def family(self, family: str) -> Family | None:
        """Return a family's state, None where there is no row."""
        value = self._rows.get(FAMILIES, family.encode())
        return None if value is None else Family.load(body_of(value))

    def keep_family(self, family: Family) -> None:
        """Write a family's rows; of an empty one, delete them and remember up to where."""
        key = family.id.encode()
        self._rows.put(ACTIVE, key, pack(family.offset, b"") if family.jobs else None)
        if not family.is_empty:
            self._rows.put(FAMILIES, key, pack(family.offset, family.dump()))
        elif self._rows.get(FAMILIES, key) is not None:
            self._rows.put(FAMILIES, key, None)
            self._rows.put(FAMILIES, FORGOTTEN_KEY, pack(family.offset, b""))

    def document(self, job_id: str) -> Document | None:
        """Return a job's document, None where there is none."""
        value = self._rows.get(DOCUMENTS, job_id.encode())
        return None if value is None else Document.load(body_of(value))

    def keep_document(self, job_id: str, document: Document | None) -> None:
        """Write a job's document; None deletes it."""
        value = None if document is None else pack(self.offset, document.dump())
        self._rows.put(DOCUMENTS, job_id.encode(), value)
