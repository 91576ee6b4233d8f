"""A Faust table whose changelog is merged, never believed (design §4).

Nothing fences an old owner: a paused process that wakes up may write stale changelog records after the new owner's.
Every value therefore starts with the inbox offset that it includes, and tombstones carry it in a header; recovery
and standby keep, per key, what has the greater offset. Where a smaller one came later, the greater one is written to
the changelog again, because compaction would keep only the last.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from typing import Any, cast

from faust.tables.table import Table
from faust.types import TP
from rocksdict import WriteBatch

from agents.changelog_reader import Change
from agents.orchestrator.row import offset_of, takes_over


class MergingTable(Table):  # type: ignore[misc]  # Faust is untyped here
    """Rows of bytes by partition and key, in RocksDB or in memory; each partition's rows are its own.

    The shell writes the changelog itself (`records` of what it `put`), so that it can await the delivery.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_back: dict[int, dict[bytes, bytes]] = {}
        #: Held from the look at what is stored until what takes its place is: changelogs are read in a thread.
        self._merging = threading.Lock()

    def get_row(self, partition: int, key: bytes) -> bytes | None:
        """Return the stored value, None where there is no row."""
        if self._is_rocksdb:
            return cast("bytes | None", self.data._db_for_partition(partition).get(key))
        return cast("bytes | None", self.data.data.get(_memory_key(partition, key)))

    def put_row(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Store a value, or delete the row."""
        if self._is_rocksdb:
            database = self.data._db_for_partition(partition)
            if value is None:
                database.delete(key)
            else:
                database.put(key, value)
        elif value is None:
            self.data.data.pop(_memory_key(partition, key), None)
        else:
            self.data.data[_memory_key(partition, key)] = value

    def merge_row(self, partition: int, key: bytes, value: bytes | None, offset: int) -> None:
        """Store a value that includes this offset, or delete the row, unless what is stored includes more.

        A batch may outlast its owner's time: its rows come after those of a successor, which the standby has read.
        """
        with self._merging:
            if offset >= offset_of(self.get_row(partition, key)):
                self.put_row(partition, key, value)

    def rows(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and stored value of every row of a partition."""
        if self._is_rocksdb:
            for key, value in self.data._db_for_partition(partition).items():
                if key != self.data.offset_key:
                    yield key, value
        else:
            start = _memory_key(partition, b"")
            for key, value in list(self.data.data.items()):
                if key.startswith(start):
                    yield key[len(start) :], value

    def keys_after(self, partition: int, key: bytes, count: int) -> list[bytes]:
        """Return the first `count` keys behind `key`, in order; a store in memory, always small, is looked through."""
        if self._is_rocksdb:
            found = self.data._db_for_partition(partition).keys(from_key=key + b"\0")
            return list(islice((one for one in found if one != self.data.offset_key), count))
        return nsmallest(count, (one for one, _ in self.rows(partition) if one > key))

    def delivered(self, partition: int, offset: int) -> None:
        """Advance the persisted offset over an own write, only while no other writer's record lies between."""
        if not self._is_rocksdb:
            return
        changelog = TP(self.changelog_topic_name, partition)
        have = self.data.persisted_offset(changelog)
        if offset == (0 if have is None else have + 1):
            self.data.set_persisted_offset(changelog, offset)

    def take_over(self, changelog: TP, changes: Sequence[Change]) -> None:
        """Take over records of a changelog, each only where it includes at least as much as what is here.

        The rows and how far they were read are written in one piece. While rows are set back the persisted offset stays
        before the records that did it: what is known of them is in memory alone, and a process that ends before they
        are written again must leave it to the next to find them.
        """
        partition = changelog.partition
        offset = max(change.offset for change in changes)
        with self._merging:
            fresh = self._merged(partition, changes)
            self._put_rows(partition, fresh, None if self._set_back.get(partition) else offset)

    def _merged(self, partition: int, changes: Sequence[Change]) -> dict[bytes, bytes | None]:
        """Return the rows that changes write, and note those that they set back."""
        known = self._get_rows(partition, list({change.key for change in changes}))
        fresh: dict[bytes, bytes | None] = {}
        for change in changes:
            stored = fresh[change.key] if change.key in fresh else known[change.key]
            if stored is not None and not takes_over(stored, change.value, change.headers):
                self._set_back.setdefault(partition, {})[change.key] = stored
                continue
            self._set_back.get(partition, {}).pop(change.key, None)
            fresh[change.key] = change.value
        return fresh

    def empty(self, partition: int) -> None:
        """Delete all rows of a partition, and how far they were read."""
        self._set_back.pop(partition, None)
        if self._is_rocksdb:
            database = self.data._db_for_partition(partition)
            database.delete_range(b"", b"\xff" * 256)
        else:
            for key, _ in self.rows(partition):
                self.put_row(partition, key, None)

    def set_back(self, partition: int) -> dict[bytes, bytes]:
        """Return the rows whose last changelog record includes less than the row: to be written again."""
        rows = self._set_back.get(partition, {})
        return {key: value for key, value in rows.items() if self.get_row(partition, key) == value}

    def written_again(self, partition: int) -> None:
        """Hear that the broker has them; until then a task that is cancelled must leave them to the next one."""
        self._set_back.pop(partition, None)

    def _get_rows(self, partition: int, keys: list[bytes]) -> Mapping[bytes, bytes | None]:
        if not self._is_rocksdb:
            return {key: self.get_row(partition, key) for key in keys}
        return dict(zip(keys, self.data._db_for_partition(partition).get(keys), strict=True))

    def _put_rows(self, partition: int, rows: Mapping[bytes, bytes | None], read_to: int | None) -> None:
        if not self._is_rocksdb:
            for key, value in rows.items():
                self.put_row(partition, key, value)
            return
        batch = WriteBatch(raw_mode=True)
        for key, value in rows.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if read_to is not None:
            batch.put(self.data.offset_key, str(read_to).encode())
        self.data._db_for_partition(partition).write(batch)

    @property
    def _is_rocksdb(self) -> bool:
        return hasattr(self.data, "_db_for_partition")


def _memory_key(partition: int, key: bytes) -> bytes:
    return b"%d/" % partition + key
