"""The tables as an orchestrator recovers them: changelogs merged by the offset that each value includes."""

from pathlib import Path

from rocksdict import AccessType, Options, Rdict

from agents.orchestrator.row import takes_over
from ops.ledger.rows import LedgerRows
from ops.reading.log import Log
from ops.replaying.reading import Tell, records, silent
from pipeline.topic import Topic
from pipeline.topology import TABLES, Topology

#: Faust's key for the changelog offset that a local store includes.
_FAUST_OFFSET = b"__faust\0offset__"


class StoreError(OSError):
    """A local store can't be read; the text says why."""


def merge(
    log: Log, topology: Topology, number: int, rows: LedgerRows, store: Path | None = None, tell: Tell = silent
) -> None:
    """Read a partition's tables into `rows`: its changelogs, or a local store and what of them lies behind it.

    Raises BrokerError where Kafka or a topic isn't there, StoreError where the store can't be read.
    """
    for table, topic in zip(TABLES, topology.changelogs(), strict=True):
        start = 0 if store is None else _copy(store, table, number, rows)
        _merge(log, topic, table, number, rows, start, tell)


def merge_families(log: Log, topology: Topology, number: int, rows: LedgerRows, tell: Tell = silent) -> None:
    """Read the families' changelog alone."""
    _merge(log, topology.changelogs()[0], TABLES[0], number, rows, 0, tell)


def _merge(log: Log, topic: Topic, table: str, number: int, rows: LedgerRows, start: int, tell: Tell) -> None:
    low, end = log.bounds(topic, number)
    for message in records(log, topic, number, max(start, low), end, tell):
        key, value = message.key(), message.value()
        if takes_over(rows.get(table, key), value, message.headers()):
            rows.put(table, key, value)


def _copy(store: Path, table: str, number: int, rows: LedgerRows) -> int:
    """Copy a local store's rows; return the changelog offset from which on an orchestrator would read."""
    path = store / f"{table}-{number}.db"
    if not path.is_dir():
        raise StoreError(f"{path}: no such store; --store wants the folder that holds {table}-{number}.db")
    try:
        database = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
    except Exception as error:  # rocksdict knows no class of its own
        raise StoreError(f"{path} can't be opened: {error}") from error
    try:
        for key, value in database.items():
            if key != _FAUST_OFFSET:
                rows.put(table, key, value)
        persisted = database.get(_FAUST_OFFSET)
    finally:
        database.close()
    return 0 if persisted is None else int(persisted) + 1
