"""Where an audit keeps what it has seen: as many rows as there are jobs and messages."""

from collections.abc import Iterator
from typing import Any, Protocol

import orjson


class Store(Protocol):
    """Rows of bytes by key, in the order of their keys; as large as the log, so on disk for a long one."""

    def get(self, key: bytes) -> bytes | None:
        """Return a row, None where there is none."""

    def put(self, key: bytes, value: bytes) -> None:
        """Write a row."""

    def rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin so."""


class MemoryStore:
    """A store for short logs."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return a row, None where there is none."""
        return self._rows.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Write a row."""
        self._rows[key] = value

    def rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows whose keys begin so."""
        for key in sorted(key for key in self._rows if key.startswith(prefix)):
            yield key, self._rows[key]


class Table:
    """JSON rows of one kind in a store."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._prefix = name.encode() + b"/"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a row, None where there is none."""
        value = self._store.get(self._prefix + key.encode())
        return None if value is None else orjson.loads(value)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Write a row."""
        self._store.put(self._prefix + key.encode(), orjson.dumps(value))

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield all rows."""
        for key, value in self._store.rows(self._prefix):
            yield key[len(self._prefix) :].decode(), orjson.loads(value)
