"""What a client knows of a submission's jobs, whatever the order in which it hears of it."""

import json
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import NoReturn

import pytest

from ops.client import errors
from ops.client.tracker import Tracker
from pipeline.identity import job_id
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Inbox, NewJob, Submitted
from pipeline.messages.needs import Needs
from pipeline.statuses import CONTROL_REFUSED, Status

FAMILY = "f" * 20
ONE, TWO = f"{FAMILY}-one", f"{FAMILY}-two"


def fact(job: str, seq: int, status: str, submission: str = "s1", **said: str) -> Fact:
    document = json.dumps({"status": status, "job": {}, **said})
    return Fact(job, FAMILY, submission, "h", seq, status, 1, seq, document, 0, 0, 0, "1")


class Log:
    """Facts of a family, and a submission that made jobs `ONE` and `TWO`."""

    def __init__(self, *facts: Fact) -> None:
        self.facts = facts

    def of_job(self, job_id: str) -> list[Fact]:
        return [one for one in self.facts if one.job_id == job_id]

    def of_family(self, family: str) -> Sequence[Fact]:
        return self.facts

    def follow(self, families: Sequence[str] | None = None, only: Container[bytes] | None = None) -> NoReturn:
        raise AssertionError("nobody follows here")

    def cause(self, fact: Fact) -> Inbox:
        jobs = tuple(NewJob(job, "q", "c", 0, Needs(), "{}") for job in (ONE, TWO))
        return Inbox(FAMILY, Submitted("s1", "h", True, jobs))


def tracker(*past: Fact) -> Tracker:
    made = Tracker(Log(*past), FAMILY, "s1")
    if past:
        made.has_a_past()
    return made


def test_a_fact_that_comes_twice_counts_once() -> None:
    known = tracker()
    for seq, status in ((1, Status.QUEUED), (2, Status.STARTED), (1, Status.QUEUED), (2, Status.STARTED)):
        known.add(fact(ONE, seq, status))
    assert [one.seq for one in known.history] == [1, 2]
    assert known.latest[ONE].status == Status.STARTED


def test_what_comes_before_the_past_is_read_comes_after_it() -> None:
    known = tracker(fact(ONE, 1, Status.QUEUED), fact(TWO, 1, Status.QUEUED), fact(ONE, 2, Status.STARTED))
    known.add(fact(ONE, 2, Status.STARTED))
    known.add(fact(ONE, 3, Status.COMPLETED))
    assert known.drive(known.taken(), 1) == [ONE, TWO]
    assert [(one.job_id, one.seq) for one in known.history] == [(ONE, 1), (TWO, 1), (ONE, 2), (ONE, 3)]


def test_all_jobs_of_a_submission_are_waited_for() -> None:
    known = tracker()
    known.add(fact(ONE, 1, Status.QUEUED))
    with pytest.raises(errors.NotYetError, match="in part"):
        known.drive(known.taken(), 0.01)
    known.add(fact(TWO, 1, Status.QUEUED))
    assert known.drive(known.taken(), 1) == [ONE, TWO]
    known.add(fact(ONE, 2, Status.COMPLETED))
    with pytest.raises(errors.NotYetError, match="not ended"):
        known.drive(known.ended(lambda _: None), 0.01)
    known.add(fact(TWO, 2, Status.FAILED))
    assert [one.status for one in known.drive(known.ended(lambda _: None), 1)] == [Status.COMPLETED, Status.FAILED]


def test_another_submission_of_the_same_id_is_not_taken_for_this_one() -> None:
    known = tracker()
    known.add(replace(fact("e-one", 1, Status.QUEUED), family="e"))
    with pytest.raises(errors.NotYetError, match="not taken"):
        known.drive(known.taken(), 0.01)
    known.add(fact(ONE, 1, Status.QUEUED))
    known.add(fact(TWO, 1, Status.QUEUED))
    assert known.drive(known.taken(), 1) == [ONE, TWO]
    assert {one.family for one in known.history} == {FAMILY}


def test_of_jobs_that_one_submission_made_twice_the_last_are_waited_for() -> None:
    old, new, other = (job_id(FAMILY, "s1", "h", "c", queue, life) for queue, life in
                       (("q", "aaaaaa"), ("q", "bbbbbb"), ("r", "cccccc")))  # fmt: skip

    class Again(Log):
        def cause(self, fact: Fact) -> Inbox:
            # the message that made `other` asked once more for what `new` is
            again = job_id(FAMILY, "s1", "h", "c", "q", "cccccc")
            made = {old: [old], new: [new], other: [again, other]}[fact.job_id]
            return Inbox(FAMILY, Submitted("s1", "h", True, tuple(NewJob(j, "q", "c", 0, Needs(), "{}") for j in made)))

    for past, wanted in (([old, new], [new]), ([old, new, other], [new, other])):
        known = Tracker(Again(*(fact(job, 1, Status.QUEUED) for job in past)), FAMILY, "s1")
        known.has_a_past()
        assert known.drive(known.taken(), 1) == wanted


def test_a_refusal_is_seen_and_changes_nothing() -> None:
    known = tracker()
    known.add(fact(ONE, 1, Status.QUEUED))
    known.add(fact(ONE, 2, CONTROL_REFUSED))
    assert [one.seq for one in known.history] == [1, 2]
    assert known.latest[ONE].seq == 1


def test_an_error_of_the_listener_ends_the_wait() -> None:
    known = tracker()
    known.fail(errors.ClosedError())
    with pytest.raises(errors.ClosedError):
        known.drive(known.taken(), 5)
