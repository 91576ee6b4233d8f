"""What a process keeps on its disk: the real `MergingTable` and `LedgerTables` over a store without RocksDB."""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from agents.changelog_reader import Change
from agents.orchestrator.merging_table import MergingTable
from agents.orchestrator.tables import LedgerTables
from pipeline.topology import ORCHESTRATOR_ID, TABLES, Topology
from tests.simulation.bus import Entry


class Database:
    """Sorted keys and values, as far as the tables use RocksDB."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = None
        self.wrote = lambda: None

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.wrote()
        if key not in self.rows:
            self._sorted = None
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        self.wrote()
        if self.rows.pop(key, None) is not None:
            self._sorted = None

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        self.wrote()
        self._sorted = None
        for key, value in rows.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        yield from list(self.rows.items())

    def keys(self, from_key: bytes) -> Iterator[bytes]:
        if self._sorted is None:
            self._sorted = sorted(self.rows)
        yield from self._sorted[bisect_left(self._sorted, from_key) :]


class Store:
    """One table's databases, and up to where each follows its changelog."""

    offset_key = b"__faust\0offset__"

    def __init__(self) -> None:
        self.databases: dict[int, Database] = {}
        self.offsets: dict[TP, int] = {}
        self.wrote = lambda: None

    def _db_for_partition(self, partition: int) -> Database:
        if partition not in self.databases:
            self.databases[partition] = Database()
            # looked up at each call: another life watches the same disk
            self.databases[partition].wrote = lambda: self.wrote()  # noqa: PLW0108
        return self.databases[partition]

    def persisted_offset(self, place: TP) -> int | None:
        return self.offsets.get(place)

    def set_persisted_offset(self, place: TP, offset: int) -> None:
        self.offsets[place] = offset

    def snapshot(self) -> tuple[dict[int, dict[bytes, bytes]], dict[TP, int]]:
        """What a crash of the whole machine may go back to."""
        return {number: dict(one.rows) for number, one in self.databases.items()}, dict(self.offsets)

    def restore(self, taken: tuple[dict[int, dict[bytes, bytes]], dict[TP, int]]) -> None:
        self.databases.clear()
        for number, rows in taken[0].items():
            self._db_for_partition(number).rows.update(rows)
        self.offsets = dict(taken[1])


class SimTable(MergingTable):
    """The real table, over a `Store` and without an app."""

    def __init__(self, name: str, store: Store) -> None:
        self._set_back = {}
        self._merging = threading.Lock()
        self._store_here = store
        self._topic = f"{ORCHESTRATOR_ID}-{name}-changelog"

    @property
    def data(self) -> Any:
        return self._store_here

    @property
    def changelog_topic_name(self) -> str:
        return self._topic

    def follow(self, partition: int, entries: list[Entry]) -> None:
        """Take over changelog records."""
        changes = [Change(one.offset, one.key, one.value, one.headers) for one in entries]
        if changes:
            self.take_over(TP(self._topic, partition), changes)

    def _get_rows(self, partition: int, keys: list[bytes]) -> Mapping[bytes, bytes | None]:
        return {key: self.get_row(partition, key) for key in keys}

    def _put_rows(self, partition: int, rows: Mapping[bytes, bytes | None], read_to: int | None) -> None:
        # in one piece, as RocksDB's batch is: a crash comes before all of it
        self._store_here._db_for_partition(partition).write(rows)
        if read_to is not None:
            self._store_here.set_persisted_offset(TP(self._topic, partition), read_to)

    def has_set_back(self, partition: int) -> bool:
        """Say whether it has read of rows that an older owner set back."""
        return bool(self._set_back.get(partition))

    def position(self, partition: int) -> int:
        """The first changelog offset that recovery has to read."""
        have = self._store_here.persisted_offset(TP(self._topic, partition))
        return 0 if have is None else have + 1


class Disk:
    """The three tables' stores of one process; they outlive it."""

    def __init__(self) -> None:
        self.stores = {name: Store() for name in TABLES}

    def tables(self, topology: Topology) -> tuple[LedgerTables, dict[str, SimTable]]:
        """Open the tables anew: what was set back is known in memory alone."""
        opened = {name: SimTable(name, self.stores[name]) for name in TABLES}
        app = SimpleNamespace(Table=lambda name, **_: opened[name])
        return LedgerTables(app, topology), opened

    def watch(self, wrote: Any) -> None:
        for store in self.stores.values():
            store.wrote = wrote

    def wipe(self) -> None:
        self.stores = {name: Store() for name in TABLES}

    def snapshot(self) -> dict[str, Any]:
        return {name: store.snapshot() for name, store in self.stores.items()}

    def restore(self, taken: dict[str, Any]) -> None:
        for name, one in taken.items():
            self.stores[name].restore(one)
