"""Which worker gets a job."""

import pytest

from pipeline.scheduling.message import Now, WorkerSettings
from tests.unit.scheduling_cases import START, claimed, claims, granted, leading, run, status


def test_the_worker_with_the_most_free_slots_gets_the_job() -> None:
    scheduler = leading()
    scheduler.apply(status("a", slots=1), status("b", slots=3), status("c", slots=2))
    jobs = [run(f"j{number}", since=number) for number in range(6)]
    assert [worker for _, worker in claimed(scheduler.apply(*jobs))] == ["b", "b", "c", "a", "b", "c"]


def test_a_busy_worker_holds_nothing_back_from_an_idle_one() -> None:
    scheduler = leading()
    scheduler.apply(status("busy", slots=2, held=("x/1", "y/1")), status("idle", slots=2))
    assert claimed(scheduler.apply(run("a"), run("b"))) == [("a", "idle"), ("b", "idle")]


def test_a_slot_that_will_be_free_at_once_is_given_after_all_that_are_free() -> None:
    scheduler = leading()
    scheduler.apply(status("busy", slots=2, held=("x/1", "y/1"), ahead=2), status("idle", slots=1))
    jobs = [run(f"j{number}", since=number) for number in range(4)]
    assert [worker for _, worker in claimed(scheduler.apply(*jobs))] == ["idle", "busy", "busy"]


def test_a_worker_that_has_idle_slots_left_comes_before_one_with_more_to_grant() -> None:
    scheduler = leading()
    scheduler.apply(status("mixed", slots=3, held=("x/1", "y/1"), ahead=2), status("idle", slots=2))
    jobs = [run(f"j{number}", since=number) for number in range(5)]
    assert [worker for _, worker in claimed(scheduler.apply(*jobs))] == ["idle", "mixed", "idle", "mixed", "mixed"]


@pytest.mark.parametrize(
    ("needs", "lacking", "offering"),
    [
        ({"labels": {"site": "x"}}, {"labels": {"site": "y"}}, {"labels": {"site": "x", "more": "z"}}),
        ({"engine": "docker"}, {"engines": ("process",)}, {"engines": ("process", "docker")}),
        ({"memory_mib": 2000}, {"memory": 1999}, {"memory": 2000}),
        ({"disk_mib": 2000}, {"disk": 1999}, {"disk": 2000}),
        ({"gpus": 2}, {"gpus": 1}, {"gpus": 2}),
        ({}, {"queues": ("other",)}, {"queues": ("other", "q")}),
        ({}, {"accepting": False}, {"accepting": True}),
        ({}, {"slots": 0}, {"slots": 1}),
    ],
)
def test_a_job_goes_only_to_a_worker_that_offers_what_it_needs(needs: dict, lacking: dict, offering: dict) -> None:
    scheduler = leading()
    assert scheduler.apply(run("a", **needs), status("lacking", **lacking)) == []
    assert claimed(scheduler.apply(status("offering", **offering))) == [("a", "offering")]


def test_a_worker_whose_offer_grows_gets_the_job_that_waited_for_it() -> None:
    scheduler = leading()
    assert scheduler.apply(run("a", gpus=1), status()) == []
    assert claimed(scheduler.apply(status(gpus=1))) == [("a", "w")]


def test_a_worker_to_avoid_does_not_get_the_job_while_another_could() -> None:
    scheduler = leading()
    scheduler.apply(status("bad", slots=9), status("good", held=("x/1",)))
    assert scheduler.apply(run("a", avoid=("bad",))) == []
    assert claimed(scheduler.apply(status("good"))) == [("a", "good")]


def test_a_worker_to_avoid_gets_the_job_where_no_other_could_ever_run_it() -> None:
    scheduler = leading()
    scheduler.apply(status("bad", gpus=1), status("good", gpus=0))
    assert claimed(scheduler.apply(run("a", gpus=1, avoid=("bad",)))) == [("a", "bad")]


def test_a_worker_to_avoid_gets_the_job_when_the_last_other_falls_silent() -> None:
    scheduler = leading()
    scheduler.apply(status("good", held=("x/1",)), status("bad"))
    assert scheduler.apply(run("a", avoid=("bad",))) == []
    later = START + 15_001
    assert claimed(scheduler.apply(status("bad", time=later), Now(later))) == [("a", "bad")]


def test_a_draining_worker_gets_nothing_until_it_drains_no_more() -> None:
    scheduler = leading()
    scheduler.apply(WorkerSettings("w", True), status())
    assert scheduler.apply(run("a")) == []
    assert claimed(scheduler.apply(WorkerSettings("w", False))) == [("a", "w")]


def test_a_worker_that_falls_silent_gets_nothing_until_it_speaks_again() -> None:
    scheduler = leading()
    scheduler.apply(status())
    later = START + 15_001
    assert scheduler.apply(Now(later)) == []
    assert scheduler.apply(run("a")) == []
    assert claimed(scheduler.apply(status(time=later))) == [("a", "w")]


def test_a_worker_is_silent_by_the_logs_time_when_others_go_on_speaking() -> None:
    scheduler = leading()
    scheduler.apply(
        status("dead", slots=9, time=START), status("alive", held=("x/1",), time=START + 15_001), Now(START)
    )
    assert scheduler.apply(Now(START + 1), run("a")) == []


def test_a_brokers_clock_that_is_set_back_silences_nobody_who_speaks() -> None:
    scheduler = leading()
    scheduler.apply(status("w", time=START + 3_600_000), status("w", time=START))
    assert claimed(scheduler.apply(run("a"))) == [("a", "w")]


def test_a_dead_worker_does_not_outlive_a_clock_that_was_set_back() -> None:
    scheduler = leading()
    scheduler.apply(status("dead", slots=9, time=START + 3_600_000), status("alive", slots=1, time=START))
    scheduler.apply(Now(START + 15_001), status("alive", time=START + 15_001), Now(START + 15_002))
    assert claimed(scheduler.apply(run("a"), run("b"))) == [("a", "alive")]


def test_of_one_worker_id_only_the_newest_holder_counts() -> None:
    scheduler = leading()
    scheduler.apply(status(start=20), status(start=3, slots=9))
    (claim,) = claims(scheduler.apply(run("a"), run("b")))
    assert claim.holder == "w:20:r"


def handed_back(times: int) -> list[int]:
    """Return how long the only worker rests after each of so many jobs that it handed back at once."""
    scheduler = leading()
    now = START
    rests = []
    for attempt in range(1, times + 1):
        avoid = ("w",) if attempt > 1 else ()
        (claim,) = claims(scheduler.apply(run(f"a{attempt}", since=now), status(time=now)))
        scheduler.apply(granted(claim, time=now))
        assert scheduler.apply(status(time=now, ended=(f"a{attempt}/1",))) == []
        waits = run(f"a{attempt}", 2, since=now, avoid=("w",), time=now)
        assert scheduler.apply(waits) == [], avoid
        handed_back_at = now
        while not (again := claims(scheduler.apply(Now(now), status(time=now)))):
            now += 500
        rests.append(now - handed_back_at)
        scheduler.apply(granted(again[0], time=now), status(time=now, ended=(f"a{attempt}/2",)))
    return rests


def test_a_worker_that_hands_jobs_back_rests_twice_as_long_each_time() -> None:
    assert handed_back(8) == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]


def test_the_only_worker_rests_each_time_it_hands_the_same_job_back() -> None:
    scheduler = leading()
    (claim,) = claims(scheduler.apply(run("a"), status()))
    for attempt, rest in [(2, 1000), (3, 2000), (4, 4000)]:
        scheduler.apply(granted(claim, time=scheduler.now))
        assert scheduler.apply(run("a", attempt, avoid=("w",), time=scheduler.now), status(time=scheduler.now)) == []
        now = scheduler.now + rest
        assert scheduler.apply(status(time=now - 1), Now(now - 1)) == []
        (claim,) = claims(scheduler.apply(status(time=now), Now(now)))


def test_many_jobs_lost_at_once_count_as_one_loss() -> None:
    scheduler = leading()
    jobs = [run(f"j{number}") for number in range(8)]
    lost = claims(scheduler.apply(*jobs, status(slots=8)))
    scheduler.apply(*(granted(claim) for claim in lost))
    again = [run(claim.job_id, 2, avoid=("w",)) for claim in lost]
    assert scheduler.apply(*again, status(slots=8)) == []
    assert len(scheduler.apply(Now(START + 1000))) == 8


def test_a_retry_after_a_failure_rests_nobody() -> None:
    scheduler = leading()
    (claim,) = claims(scheduler.apply(run("a"), status()))
    scheduler.apply(granted(claim), status(ended=("a/1",)))
    assert claimed(scheduler.apply(run("a", 2))) == [("a", "w")]


def test_a_worker_silent_for_an_hour_is_forgotten() -> None:
    scheduler = leading()
    scheduler.apply(status())
    scheduler.apply(Now(START + 15_001), Now(START + 3_600_001))
    assert list(scheduler.fleet.workers()) == []


def test_the_order_of_workers_does_not_grow_with_their_statuses() -> None:
    scheduler = leading()
    for number in range(2000):
        scheduler.apply(status(slots=1 + number % 7))
    assert len(scheduler.fleet._order) < 100
