"""What a table takes over from its changelog, and how far it says that it has read it (design §4)."""

import asyncio
import threading
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from faust.types import TP

from agents.bus import DeliveryError
from agents.changelog_reader import Change
from agents.orchestrator.merging_table import MergingTable
from agents.orchestrator.row import pack
from pipeline.ledger.state import Family
from tests.unit.partition_support import Owner, tables


@pytest.fixture
def table(tmp_path: Path) -> MergingTable:
    return tables(tmp_path, "rocksdb")._families


def _take_over(table: MergingTable, *changes: Change) -> None:
    table.take_over(TP(table.changelog_topic_name, 0), changes)


def _persisted(table: MergingTable) -> int | None:
    return table.data.persisted_offset(TP(table.changelog_topic_name, 0))


def test_what_includes_less_than_the_row_sets_nothing_back(table: MergingTable) -> None:
    _take_over(table, Change(0, b"k", pack(7, b"new")), Change(1, b"k", pack(3, b"old")))
    assert table.get_row(0, b"k") == pack(7, b"new")
    assert table.set_back(0) == {b"k": pack(7, b"new")}


def test_a_tombstone_counts_by_the_offset_that_it_includes(table: MergingTable) -> None:
    late = [("offset", b"3")]
    _take_over(table, Change(0, b"k", pack(7, b"new")), Change(1, b"k", None, late))
    assert table.get_row(0, b"k") == pack(7, b"new")
    _take_over(table, Change(2, b"k", None, [("offset", b"8")]))
    assert table.get_row(0, b"k") is None


def test_what_was_set_back_is_read_again_after_a_restart_until_it_is_written_again(table: MergingTable) -> None:
    _take_over(table, Change(0, b"k", pack(7, b"new")))
    assert _persisted(table) == 0
    _take_over(table, Change(1, b"k", pack(3, b"old")), Change(2, b"j", pack(4, b"x")))
    _take_over(table, Change(3, b"i", pack(5, b"x")))
    assert _persisted(table) == 0
    # looked at, but not yet written: the process may end in between, or go on as a standby
    assert table.set_back(0)
    table.delivered(0, 4)
    _take_over(table, Change(4, b"h", pack(6, b"x")))
    assert _persisted(table) == 0
    table.written_again(0)
    _take_over(table, Change(5, b"g", pack(7, b"x")))
    assert _persisted(table) == 5


def test_once_another_has_written_it_again_nothing_holds_the_offset_back(table: MergingTable) -> None:
    _take_over(table, Change(0, b"k", pack(7, b"new")), Change(1, b"k", pack(3, b"old")))
    assert _persisted(table) is None
    _take_over(table, Change(2, b"k", pack(7, b"new")))
    assert _persisted(table) == 2


def test_what_was_set_back_is_written_again_before_anything_is_applied(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "rocksdb")
    job = owner.submit("h")
    families = owner.tables._families
    key = job.partition("-")[0].encode()
    row = families.get_row(0, key)
    _take_over(families, Change(9, key, pack(-1, b"stale")))
    asyncio.run(owner.partition.recover())
    log = owner.publisher.records["jobstream-orchestrator-families-changelog"]
    assert log[-1][:2] == (key, row)
    assert families.set_back(0) == {}


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_records_of_one_key_in_one_batch_are_merged_one_after_the_other(tmp_path: Path, store: str) -> None:
    table = tables(tmp_path, store)._families
    changes = [
        Change(0, b"k", pack(5, b"first")),
        Change(1, b"k", None, [("offset", b"6")]),
        Change(2, b"k", pack(7, b"again")),
        Change(3, b"k", pack(4, b"stale")),
        Change(4, b"gone", pack(5, b"x")),
        Change(5, b"gone", None, [("offset", b"9")]),
    ]
    table.take_over(TP(table.changelog_topic_name, 0), changes)
    assert (table.get_row(0, b"k"), table.get_row(0, b"gone")) == (pack(7, b"again"), None)
    assert table.set_back(0) == {b"k": pack(7, b"again")}


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_an_emptied_partition_has_no_rows_and_was_read_up_to_nowhere(tmp_path: Path, store: str) -> None:
    table = tables(tmp_path, store)._families
    changelog = TP(table.changelog_topic_name, 0)
    table.take_over(changelog, [Change(4, b"k", pack(7, b"x")), Change(5, b"\xff\xffk", pack(7, b"x"))])
    table.take_over(TP(table.changelog_topic_name, 1), [Change(1, b"k", pack(7, b"other"))])
    table.empty(0)
    assert list(table.rows(0)) == []
    assert table.persisted_offset(changelog) is None
    assert table.get_row(1, b"k") == pack(7, b"other")


def test_an_owner_that_ends_while_it_writes_them_again_leaves_them_to_the_next(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "rocksdb")
    key = owner.submit("h").partition("-")[0].encode()
    families = owner.tables._families
    _take_over(families, Change(9, key, pack(-1, b"stale")))
    owner.publisher.refuses = lambda topic, value: KafkaError._MSG_TIMED_OUT
    with pytest.raises(DeliveryError):
        asyncio.run(owner.partition.recover())
    assert key in families.set_back(0)


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_an_owner_s_late_row_does_not_set_back_what_its_standby_has_read_of_the_successor(
    tmp_path: Path, store: str
) -> None:
    made = tables(tmp_path, store)
    table = made._families
    changelog = TP(table.changelog_topic_name, 0)
    late, gone = made.family_row(0, Family("f", 3)), made._row(table, "families", 0, b"g", 3, None)
    successor = made.family_row(0, Family("f", 9)).value
    table.take_over(changelog, [Change(0, b"f", successor), Change(1, b"g", pack(9, b"kept"))])
    late.write()
    gone.write()
    assert (table.get_row(0, b"f"), table.get_row(0, b"g")) == (successor, pack(9, b"kept"))
    # the broker has it, behind the successor's
    table.take_over(changelog, [Change(2, b"f", late.value)])
    assert table.set_back(0) == {b"f": successor}


def test_a_row_that_is_written_while_the_changelog_is_merged_is_not_lost(
    table: MergingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.put_row(0, b"k", pack(3, b"old"))
    looked, write = table._get_rows, threading.Thread(target=table.merge_row, args=(0, b"k", pack(7, b"new"), 7))

    def interrupted(partition: int, keys: list[bytes]) -> object:
        found = looked(partition, keys)
        write.start()
        write.join(0.2)
        return found

    monkeypatch.setattr(table, "_get_rows", interrupted)
    table.take_over(TP(table.changelog_topic_name, 0), [Change(0, b"k", pack(3, b"old"))])
    write.join()
    assert table.get_row(0, b"k") == pack(7, b"new")
