"""An audit's rows on disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rocksdict import Options, Rdict


class DiskStore:
    """Rows of bytes by key, in the order of their keys."""

    def __init__(self, folder: Path) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._rows = Rdict(str(folder), options)

    def close(self) -> None:
        """Let go of the files."""
        self._rows.close()

    def get(self, key: bytes) -> bytes | None:
        """Return a row, None where there is none."""
        value: bytes | None = self._rows.get(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Write a row."""
        self._rows[key] = value

    def delete(self, key: bytes) -> None:
        """Delete a row."""
        self._rows.delete(key)

    def rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin so."""
        for key, value in self._rows.items(from_key=prefix):
            if not key.startswith(prefix):
                return
            yield key, value


@contextmanager
def disk_store() -> Iterator[DiskStore]:
    """Yield an empty store in a temporary folder (TMPDIR says where), which goes with it."""
    with tempfile.TemporaryDirectory(prefix="jobstream-replay-") as folder:
        store = DiskStore(Path(folder) / "rows")
        try:
            yield store
        finally:
            store.close()
