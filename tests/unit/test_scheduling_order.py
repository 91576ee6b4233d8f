"""Which waiting job goes first."""

from pipeline.scheduling.message import Now, QueueSettings
from pipeline.scheduling.rules import Rules
from tests.unit.scheduling_cases import START, claimed, claims, granted, leading, refused, run, status, withdrawn

HOUR = Rules().priority_step_ms


def test_the_job_that_waited_longest_goes_first() -> None:
    scheduler = leading()
    scheduler.apply(run("b", since=2), run("a", since=3), run("c", since=1))
    assert claimed(scheduler.apply(status(slots=2))) == [("c", "w"), ("b", "w")]


def test_a_higher_priority_goes_first() -> None:
    scheduler = leading()
    scheduler.apply(run("low", since=1), run("high", since=2, priority=1))
    assert claimed(scheduler.apply(status())) == [("high", "w")]


def test_a_job_that_waited_one_step_longer_goes_before_the_next_priority() -> None:
    scheduler = leading()
    scheduler.apply(run("new", priority=1, since=START), run("old", priority=0, since=START - HOUR - 1))
    assert claimed(scheduler.apply(status())) == [("old", "w")]


def test_of_equal_ranks_the_smaller_key_goes_first() -> None:
    scheduler = leading()
    scheduler.apply(run("b"), run("a"), run("c", priority=1, since=START + HOUR))
    assert claimed(scheduler.apply(status(slots=3))) == [("a", "w"), ("b", "w"), ("c", "w")]


def test_a_small_job_starts_while_a_larger_one_that_waited_longer_does_not_fit() -> None:
    scheduler = leading()
    scheduler.apply(run("large", since=1, memory_mib=2000), run("small", since=2, memory_mib=100))
    assert claimed(scheduler.apply(status(slots=2, memory=1000))) == [("small", "w")]


def test_the_large_job_goes_first_once_it_fits() -> None:
    scheduler = leading()
    scheduler.apply(run("large", since=1, memory_mib=900), run("small", since=2, memory_mib=100))
    scheduler.apply(status(slots=1, memory=500))
    scheduler.apply(run("small2", since=3, memory_mib=100))
    assert claimed(scheduler.apply(status("big", slots=1, memory=1000))) == [("large", "big")]


def test_jobs_of_all_queues_compete_by_rank() -> None:
    scheduler = leading("p", "q")
    scheduler.apply(run("1-a", queue="p", since=2), run("1-b", queue="q", since=1))
    assert claimed(scheduler.apply(status())) == [("1-b", "w")]


def test_a_record_written_again_changes_the_priority() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    scheduler.apply(run("b", since=2, priority=5))
    assert claimed(scheduler.apply(status(slots=5))) == [("b", "w"), ("a", "w")]


def test_a_record_written_again_is_claimed_once() -> None:
    scheduler = leading()
    scheduler.apply(run("a"), run("a"))
    first = scheduler.apply(status(slots=5))
    assert claimed(first) == [("a", "w")]
    assert scheduler.apply(run("waits too", gpus=1), run("a"), run("a", priority=3)) == []


def test_a_job_whose_record_is_gone_is_not_claimed() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2))
    (claim,) = claims(scheduler.apply(status("x", slots=1)))
    scheduler.apply(withdrawn(claim))
    assert "a/1" not in scheduler.waiting


def test_what_was_granted_is_not_claimed_again() -> None:
    scheduler = leading()
    scheduler.apply(run("a"))
    (claim,) = claims(scheduler.apply(status(slots=3)))
    assert scheduler.apply(granted(claim), Now(START + 60_000)) == []


def test_a_ghost_record_is_claimed_refused_and_thereby_cleared() -> None:
    scheduler = leading()
    scheduler.apply(run("a"))
    (claim,) = claims(scheduler.apply(status(slots=3)))
    scheduler.apply(granted(claim))
    (ghost,) = claims(scheduler.apply(run("a")))
    assert ghost.claim_id != claim.claim_id
    assert scheduler.apply(refused(ghost)) == []
    assert len(scheduler.waiting) == 0


def test_a_paused_queue_gives_no_claims_and_goes_on_when_resumed() -> None:
    scheduler = leading()
    scheduler.apply(QueueSettings("q", paused=True), run("a"))
    assert scheduler.apply(status()) == []
    assert claimed(scheduler.apply(QueueSettings("q"))) == [("a", "w")]


def test_a_queue_that_is_no_longer_declared_is_forgotten() -> None:
    scheduler = leading()
    scheduler.apply(run("a"), QueueSettings("q", declared=False))
    assert len(scheduler.waiting) == 0
    assert scheduler.apply(run("b"), status()) == []


def test_forgetting_a_queue_frees_what_its_claims_reserved() -> None:
    scheduler = leading("p", "q")
    scheduler.apply(run("1-a", queue="p", since=1), run("1-b", since=2))
    scheduler.apply(status())
    assert claimed(scheduler.apply(QueueSettings("p", declared=False))) == [("1-b", "w")]


def test_no_claims_go_to_a_partition_whose_oldest_claim_is_older_than_2_s() -> None:
    scheduler = leading()
    scheduler.apply(run("1-a", since=1))
    (slow,) = claims(scheduler.apply(status(slots=9)))
    scheduler.apply(run("1-z", since=2, queue="none"), Now(START + 2001))
    assert claimed(scheduler.apply(run("1-b", since=1), run("2-c", since=3), run("1-d", since=2))) == [("2-c", "w")]
    assert claimed(scheduler.apply(granted(slow))) == [("1-b", "w"), ("1-d", "w")]


def test_a_partition_is_not_slow_before_2_s() -> None:
    scheduler = leading()
    scheduler.apply(run("1-a"), status(slots=9))
    assert claimed(scheduler.apply(Now(START + 2000), run("1-b"))) == [("1-b", "w")]


def test_jobs_put_aside_for_a_slow_partition_can_still_be_withdrawn() -> None:
    scheduler = leading()
    scheduler.apply(run("1-a", since=1))
    (slow,) = claims(scheduler.apply(status(slots=9)))
    scheduler.apply(Now(START + 2001))
    scheduler.apply(run("1-b", since=1), run("1-c", since=2))
    scheduler.apply(withdrawn(claims([slow])[0].__class__("1-b", 1, "q", "", "")))
    assert claimed(scheduler.apply(refused(slow))) == [("1-c", "w")]
