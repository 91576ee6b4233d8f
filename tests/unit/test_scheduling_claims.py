"""Claims: who may make them, and what becomes of those that nobody answers."""

from pipeline.scheduling.match import Scheduler
from pipeline.scheduling.message import (
    BecameLeader,
    CaughtUp,
    LostLeadership,
    Now,
    QueueLost,
    QueueSettings,
)
from pipeline.scheduling.rules import Rules
from tests.unit.scheduling_cases import (
    START,
    claimed,
    claims,
    granted,
    leading,
    partition_of,
    run,
    status,
)


def follower() -> Scheduler:
    scheduler = Scheduler("me", Rules(), partition_of)
    scheduler.apply(QueueSettings("q"), Now(START))
    return scheduler


def test_one_that_does_not_lead_claims_nothing() -> None:
    scheduler = follower()
    assert scheduler.apply(CaughtUp("q"), run("a"), status()) == []


def test_a_leader_claims_nothing_before_it_caught_up() -> None:
    scheduler = follower()
    assert scheduler.apply(BecameLeader(0), run("a"), status()) == []
    assert claimed(scheduler.apply(CaughtUp("q"))) == [("a", "w")]


def test_a_queue_that_is_still_being_read_does_not_hold_up_the_others() -> None:
    scheduler = follower()
    scheduler.apply(QueueSettings("new"), BecameLeader(0), CaughtUp("q"))
    assert claimed(scheduler.apply(run("b", queue="new", since=1), run("a", since=2), status(slots=2))) == [("a", "w")]


def test_a_status_from_before_the_election_gives_no_credit() -> None:
    scheduler = follower()
    scheduler.apply(run("a"), status(offset=9))
    assert scheduler.apply(BecameLeader(10), CaughtUp("q")) == []
    assert claimed(scheduler.apply(status(offset=10))) == [("a", "w")]


def test_losing_the_lead_stops_claims_at_once() -> None:
    scheduler = leading()
    scheduler.apply(status())
    assert scheduler.apply(LostLeadership(), run("a")) == []


def test_what_was_claimed_and_not_answered_is_claimed_anew_after_the_next_election() -> None:
    scheduler = leading()
    (old,) = claims(scheduler.apply(run("a"), status()))
    scheduler.apply(LostLeadership())
    (new,) = claims(scheduler.apply(BecameLeader(1), CaughtUp("q"), status("v", offset=1)))
    assert (new.job_id, new.holder) == ("a", "v:1:r")
    assert new.claim_id != old.claim_id


def test_an_unanswered_claim_is_sent_again_after_10_s_with_the_same_id_to_the_same_holder() -> None:
    scheduler = leading()
    first = scheduler.apply(run("a"), status())
    scheduler.apply(status("idle", slots=9))
    assert scheduler.apply(Now(START + 9_999)) == []
    assert scheduler.apply(Now(START + 10_000)) == first
    assert scheduler.apply(Now(START + 19_999)) == []
    assert scheduler.apply(Now(START + 20_000)) == first


def test_an_unanswered_claim_is_not_aimed_elsewhere_when_its_worker_falls_silent() -> None:
    scheduler = leading()
    first = scheduler.apply(run("a"), status())
    again = scheduler.apply(Now(START + 60_000), status("other", time=START + 60_000))
    assert again == first


def test_an_answered_claim_is_not_sent_again() -> None:
    scheduler = leading()
    (claim,) = claims(scheduler.apply(run("a"), status()))
    assert scheduler.apply(granted(claim), Now(START + 60_000)) == []


def test_claim_ids_are_never_used_twice() -> None:
    scheduler = leading()
    scheduler.apply(*(run(f"{number}-x") for number in range(20)))
    made = claims(scheduler.apply(status(slots=20)))
    assert len({claim.claim_id for claim in made}) == 20


def test_a_claim_names_the_attempt_its_queue_and_the_holder() -> None:
    scheduler = leading()
    (claim,) = claims(scheduler.apply(run("f-1", 3), status()))
    assert (claim.job_id, claim.attempt, claim.queue, claim.holder) == ("f-1", 3, "q", "w:1:r")


def test_a_run_topic_that_was_replaced_is_read_anew_before_its_jobs_are_claimed() -> None:
    scheduler = leading()
    scheduler.apply(run("ghost"))
    assert scheduler.apply(QueueLost("q"), status()) == []
    assert scheduler.apply(run("a")) == []
    assert claimed(scheduler.apply(CaughtUp("q"))) == [("a", "w")]
