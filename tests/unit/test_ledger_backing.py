"""Tables that can't be what the ledger has decided are refused, and a local store of other changelogs goes."""

import json
from pathlib import Path

import pytest

from agents.orchestrator.backing import LostTablesError, check, fit_local_store
from agents.orchestrator.partition import LostRecordsError, Partition
from agents.orchestrator.row import Backing, offset_of, pack, takes_over
from pipeline.messages.inbox import Heartbeat
from tests.unit.partition_support import CODEC, Owner

IDS = {"families": "a", "documents": "b", "active": "c"}


@pytest.mark.parametrize(
    ("backing", "empty", "decided", "why"),
    [
        (None, True, 1, "the tables are empty"),
        (Backing(IDS, whole=False), True, 0, "was broken off"),
        (Backing({**IDS, "documents": "z"}), False, 9, "the changelog of documents was made anew"),
        (Backing({**IDS, "families": "y", "active": "z"}), True, 9, "the changelog of families, active was made anew"),
    ],
)
def test_tables_that_are_not_whole_are_refused(backing: Backing | None, empty: bool, decided: int, why: str) -> None:
    with pytest.raises(LostTablesError, match=why):
        check(0, backing, IDS, empty=empty, decided=decided)


@pytest.mark.parametrize(
    ("backing", "empty", "decided"),
    [(None, True, 0), (None, False, 9), (Backing(IDS), False, 9), (Backing(IDS), True, 9)],
    ids=["a first start", "tables of before", "tables", "rebuilt before there was a policy"],
)
def test_others_are_not(backing: Backing | None, empty: bool, decided: int) -> None:
    check(0, backing, IDS, empty=empty, decided=decided)


def test_what_tables_stand_on_is_read_as_it_was_written_and_the_later_of_two_counts() -> None:
    one, other = Backing(IDS, whole=False), Backing(IDS)
    assert (Backing.of(one.value()), Backing.of(other.value())) == (one, other)
    assert takes_over(one.value(), other.value(), ())
    assert offset_of(one.value()) == -1


def test_a_tombstone_that_includes_less_takes_nothing_over() -> None:
    assert not takes_over(pack(5, b""), None, [("offset", b"4")])
    assert takes_over(pack(5, b""), None, [("offset", b"5")])
    assert takes_over(pack(5, b""), None, None)


def test_a_local_store_stays_while_its_changelogs_do_and_goes_when_one_is_made_anew(tmp_path: Path) -> None:
    fit_local_store(tmp_path / "a", IDS)
    row = tmp_path / "a" / "v1" / "tables" / "families-0.db"
    row.mkdir(parents=True)
    fit_local_store(tmp_path / "a", IDS)
    assert row.exists()
    fit_local_store(tmp_path / "a", {**IDS, "active": "d"})
    assert not row.exists()
    assert json.loads((tmp_path / "a" / "changelogs.json").read_text()) == {**IDS, "active": "d"}


@pytest.mark.parametrize("mark", [None, "", "{", "[]"])
def test_a_local_store_that_does_not_say_what_it_is_of_goes(tmp_path: Path, mark: str | None) -> None:
    row = tmp_path / "v1" / "tables" / "families-0.db"
    row.mkdir(parents=True)
    if mark is not None:
        (tmp_path / "changelogs.json").write_text(mark)
    fit_local_store(tmp_path, IDS)
    assert not row.exists()


def test_a_life_whose_very_first_record_is_missing_ends_before_it_applies_anything(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.submit("a")
    job = owner.submit("b")
    outputs = owner.partition._outputs
    owner.partition = Partition(0, owner.tables, outputs, CODEC, lambda: None, 2)
    later = owner.append("", Heartbeat("w1:1:a", ()), 10)
    missing = owner.append("", Heartbeat("w1:1:a", ()), 10)
    with pytest.raises(LostRecordsError, match="3 came where 2 was to come"):
        owner.apply([missing])
    owner.apply([owner.log[1], later, missing])
    assert owner.partition.reached == 4
    assert job in owner.tables.documents_after(0, "", 9)
