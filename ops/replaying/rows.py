"""Rows of a fold on disk: a long log's families don't fit into memory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rocksdict import Options, Rdict

from pipeline.ledger.document import Document
from pipeline.ledger.state import Family

_FAMILY, _DOCUMENT, _NAME = b"f", b"d", b"n"


class DiskRows:
    """Families, documents and a set of names, in a database that lives as long as it is used."""

    def __init__(self, folder: Path) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._rows = Rdict(str(folder), options)

    def close(self) -> None:
        """Let go of the files."""
        self._rows.close()

    def family(self, family: str) -> Family | None:
        """Return a family's state, None where there is no row."""
        value = self._rows.get(_FAMILY + family.encode())
        return None if value is None else Family.load(value)

    def keep_family(self, family: Family) -> None:
        """Write a family's row; of an empty one, delete it."""
        self._put(_FAMILY + family.id.encode(), None if family.is_empty else family.dump())

    def document(self, job_id: str) -> Document | None:
        """Return a job's document, None where there is none."""
        value = self._rows.get(_DOCUMENT + job_id.encode())
        return None if value is None else Document.load(value)

    def keep_document(self, job_id: str, document: Document | None) -> None:
        """Write a job's document; None deletes it."""
        self._put(_DOCUMENT + job_id.encode(), None if document is None else document.dump())

    def add(self, name: str) -> None:
        """Put a name into the set."""
        self._rows[_NAME + name.encode()] = b""

    def __contains__(self, name: object) -> bool:
        return self._rows.get(_NAME + str(name).encode()) is not None

    def _put(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._rows.delete(key)
        else:
            self._rows[key] = value


@contextmanager
def disk_rows() -> Iterator[DiskRows]:
    """Yield empty rows in a temporary folder (TMPDIR says where), which goes with them."""
    with tempfile.TemporaryDirectory(prefix="jobstream-replay-") as folder:
        rows = DiskRows(Path(folder) / "rows")
        try:
            yield rows
        finally:
            rows.close()
