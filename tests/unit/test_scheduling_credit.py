"""What a worker can still be given."""

import pytest

from pipeline.messages.run import GRANTED
from pipeline.scheduling.message import BecameLeader, CaughtUp, LostLeadership, Now, RunGone, WorkerSettings
from tests.unit.scheduling_cases import START, Q, claimed, claims, granted, leading, refused, run, status


def test_a_worker_gets_as_many_jobs_as_it_has_slots() -> None:
    scheduler = leading()
    scheduler.apply(*(run(f"j{number}") for number in range(5)))
    assert len(scheduler.apply(status(slots=3))) == 3


def test_slots_that_are_held_are_not_given_again() -> None:
    scheduler = leading()
    scheduler.apply(run("a"), run("b"))
    assert len(scheduler.apply(status(slots=2, held=("x/1",)))) == 1


@pytest.mark.parametrize(
    ("needs", "offer"),
    [
        ({"memory_mib": 600}, {"memory": 1000}),
        ({"disk_mib": 600}, {"disk": 1000}),
        ({"gpus": 1}, {"gpus": 1}),
    ],
)
def test_memory_disk_and_gpus_are_given_once(needs: dict[str, int], offer: dict[str, int]) -> None:
    scheduler = leading()
    scheduler.apply(run("a", **needs), run("b", **needs))
    assert len(scheduler.apply(status(slots=5, **offer))) == 1  # type: ignore[arg-type]


def test_a_refused_claim_frees_its_credit_at_once() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status()))
    assert claimed(scheduler.apply(refused(claim))) == [("b", "w")]


def test_a_grant_counts_until_a_status_lists_it_as_held() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status()))
    assert scheduler.apply(granted(claim)) == []
    assert scheduler.apply(status(time=START + 1000)) == []
    assert scheduler.apply(status(time=START + 2000, held=("a/1",))) == []
    assert claimed(scheduler.apply(status(time=START + 3000))) == [("b", "w")]


def test_a_grant_counts_until_a_status_lists_it_as_ended() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status()))
    scheduler.apply(granted(claim))
    assert claimed(scheduler.apply(status(time=START + 1, ended=("a/1",)))) == [("b", "w")]


def test_a_claim_listed_before_its_answer_was_read_is_counted_once() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status(slots=1)))
    scheduler.apply(status(slots=1, held=("a/1",)))
    scheduler.apply(status(slots=2, held=("a/1",)))
    assert len(scheduler.claims) == 2
    (worker,) = scheduler.fleet.workers()
    assert worker.account.free.slots == 0
    scheduler.apply(granted(claim))
    assert worker.account.free.slots == 0


def test_an_attempt_that_ended_long_before_its_grant_was_read_reserves_nothing() -> None:
    scheduler = leading()
    scheduler.apply(run("a"))
    (claim,) = claims(scheduler.apply(status()))
    scheduler.apply(status(ended=("a/1",)), status())
    assert claimed(scheduler.apply(granted(claim), run("b"))) == [("b", "w")]


def test_a_grant_that_never_arrived_is_given_up_when_statuses_did_not_list_it_for_30_s() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status()))
    scheduler.apply(granted(claim, time=START))
    assert scheduler.apply(status(time=START + 29_999)) == []
    assert claimed(scheduler.apply(status(time=START + 30_000))) == [("b", "w")]


def test_a_second_answer_to_a_claim_that_was_sent_twice_frees_nothing() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status()))
    assert scheduler.apply(granted(claim)) == []
    assert scheduler.apply(refused(claim)) == []


def test_another_schedulers_grant_counts_too() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1, memory_mib=500), status())
    scheduler.apply(LostLeadership())
    scheduler.apply(RunGone(Q, "a/1", START, GRANTED, "w:1:r", "other-1"))
    scheduler.apply(BecameLeader(5), CaughtUp(Q), run("b", since=2))
    assert scheduler.apply(status(slots=2, offset=5)) != []
    (worker,) = scheduler.fleet.workers()
    assert worker.account.free.memory_mib == 500


def test_another_schedulers_grant_that_no_status_listed_for_5_s_counts_no_more() -> None:
    scheduler = leading()
    scheduler.apply(status(time=START))
    scheduler.apply(RunGone(Q, "a/1", START - 5000, GRANTED, "w:1:r", "other-1"))
    assert claimed(scheduler.apply(run("b"))) == [("b", "w")]


def test_a_claim_lost_to_another_scheduler_frees_its_credit() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    scheduler.apply(status("w1"))
    assert claimed(scheduler.apply(RunGone(Q, "a/1", START, GRANTED, "w2:1:r", "other-1"))) == [("b", "w1")]


def test_a_job_that_waits_again_holds_nothing_of_its_last_worker() -> None:
    scheduler = leading()
    scheduler.apply(run("a", memory_mib=900))
    (claim,) = claims(scheduler.apply(status(slots=2)))
    scheduler.apply(granted(claim))
    scheduler.apply(run("a", 2, memory_mib=900, queue="q"))
    (worker,) = scheduler.fleet.workers()
    assert len(scheduler.claims) == 1
    assert worker.account.free.memory_mib == 100


def test_a_worker_that_holds_more_than_it_offers_gets_nothing() -> None:
    scheduler = leading()
    assert scheduler.apply(run("a"), status(slots=1, held=("x/1", "y/1"))) == []


def test_a_restarted_worker_owes_nothing_for_its_old_holder() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status(start=1)))
    (second,) = claims(scheduler.apply(status(start=2)))
    assert (claim.holder, second.holder) == ("w:1:r", "w:2:r")
    assert scheduler.apply(refused(claim)) == []


def test_a_restarted_worker_reserves_nothing_for_a_grant_to_its_old_holder() -> None:
    scheduler = leading()
    scheduler.apply(status(start=2), RunGone(Q, "a/1", START, GRANTED, "w:1:r", "other-1"))
    assert claimed(scheduler.apply(run("b"))) == [("b", "w")]


def test_draining_keeps_what_is_claimed_counted() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2), status())
    scheduler.apply(WorkerSettings("w", True), Now(START + 1))
    assert scheduler.apply(WorkerSettings("w", False)) == []
