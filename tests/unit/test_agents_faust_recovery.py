"""Where an owner begins to read, once its tables are recovered."""

from faust.types import TP

from agents.faust_recovery import set_back

ONE, TWO = TP("inbox", 0), TP("inbox", 1)


def test_the_only_owner_begins_where_it_is_committed() -> None:
    assert set_back({ONE: 7, TWO: None}, {ONE: 7, TWO: None}) == {}


def test_what_a_successor_committed_meanwhile_is_read_again() -> None:
    assert set_back({ONE: 7, TWO: 3}, {ONE: 9, TWO: 3}) == {ONE: 7}


def test_where_nothing_was_committed_before_all_is_read() -> None:
    assert set_back({ONE: None}, {ONE: 9}) == {ONE: 0}


def test_a_partition_that_is_no_longer_assigned_is_sought_all_the_same() -> None:
    assert set_back({ONE: 7}, {}) == {ONE: 7}
