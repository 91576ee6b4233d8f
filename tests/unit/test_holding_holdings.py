from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.holding.holdings import DRAINING, LEAVING, NO_SLOT, STALE, Holdings, Phase, Verdict
from pipeline.messages.command import GRANT, Command
from pipeline.messages.status import Ended, Running, WorkerStatus

OFFER = WorkerStatus("w1", "w1:1:ab", 0, slots=2, memory_mib=1000, disk_mib=500, gpus=1)
LEASE = 60_000


def grant_of(job: str = "f-1", attempt: int = 1, lease: int = LEASE) -> Command:
    return Command(GRANT, OFFER.holder, job, attempt, "c1", token=f"token of {job}", lease_ms=lease)


def holding(*jobs: str, slots: int = 2) -> Holdings:
    holdings = Holdings(replace(OFFER, slots=slots))
    for job in jobs:
        assert holdings.grant(grant_of(job), age=0, now=0).verdict is Verdict.START
    return holdings


def test_a_fresh_grant_starts_and_is_held_from_then_on() -> None:
    holdings = holding("f-1")
    assert holdings.phase("f-1", 1) is Phase.WAITING
    assert holdings.begin("f-1", 1, now=5).verdict is Verdict.START
    assert holdings.phase("f-1", 1) is Phase.RUNNING


def test_a_repeated_grant_starts_nothing_while_held_and_after_the_end() -> None:
    holdings = holding("f-1")
    assert holdings.grant(grant_of("f-1"), age=0, now=1).verdict is Verdict.IGNORE
    holdings.end("f-1", 1, now=2)
    assert holdings.grant(grant_of("f-1"), age=0, now=3).verdict is Verdict.IGNORE
    assert len(holdings) == 0


def test_an_attempt_begins_once() -> None:
    holdings = holding("f-1")
    holdings.begin("f-1", 1, now=1)
    assert holdings.begin("f-1", 1, now=2).verdict is Verdict.IGNORE


def test_the_next_attempt_of_a_job_is_another_one() -> None:
    holdings = holding("f-1")
    holdings.end("f-1", 1, now=2)
    assert holdings.grant(grant_of("f-1", attempt=2), age=0, now=3).verdict is Verdict.START


def test_a_stop_before_its_grant_prevents_the_start() -> None:
    holdings = holding()
    assert not holdings.stop("f-1", 1, now=0)
    assert holdings.grant(grant_of("f-1"), age=0, now=1).verdict is Verdict.IGNORE


def test_a_stop_between_grant_and_begin_prevents_the_start() -> None:
    holdings = holding("f-1")
    assert holdings.stop("f-1", 1, now=0)
    assert holdings.begin("f-1", 1, now=1).verdict is Verdict.IGNORE


def test_a_stopped_attempt_takes_room_until_it_ended_but_is_kept_alive_no_more() -> None:
    holdings = holding("f-1")
    holdings.begin("f-1", 1, now=0)
    assert holdings.stop("f-1", 1, now=1)
    assert holdings.heartbeats(lambda job: 0) == {}
    assert [running.job_id for running in holdings.status(1).attempts] == ["f-1"]
    holdings.end("f-1", 1, now=2)
    assert holdings.status(2).attempts == ()


def test_an_orphan_is_listed_as_ended_and_never_started() -> None:
    holdings = holding()
    holdings.found_orphan("f-1", 1, now=0)
    assert holdings.status(0).ended == (Ended("f-1", 1),)
    assert holdings.grant(grant_of("f-1"), age=0, now=1).verdict is Verdict.IGNORE


def test_a_grant_older_than_its_lease_is_handed_back() -> None:
    decision = holding().grant(grant_of(), age=LEASE + 1, now=0)
    assert (decision.verdict, decision.reason) == (Verdict.RELEASE, STALE)


def test_a_grant_of_unknown_age_is_handed_back() -> None:
    assert holding().grant(grant_of(), age=None, now=0).verdict is Verdict.RELEASE


def test_an_attempt_that_grew_older_than_its_lease_before_it_began_is_handed_back() -> None:
    holdings = Holdings(OFFER)
    holdings.grant(grant_of(), age=1000, now=10)
    assert holdings.begin("f-1", 1, now=10 + LEASE - 1000 + 1).reason == STALE


def test_a_grant_without_a_free_slot_is_handed_back_and_listed_as_ended() -> None:
    holdings = holding("f-1", "f-2")
    decision = holdings.grant(grant_of("f-3"), age=0, now=0)
    assert (decision.verdict, decision.reason) == (Verdict.RELEASE, NO_SLOT)
    assert holdings.status(0).ended == (Ended("f-3", 1),)


def test_what_was_handed_back_is_not_started_by_a_repeat() -> None:
    holdings = holding("f-1", "f-2")
    holdings.grant(grant_of("f-3"), age=0, now=0)
    holdings.end("f-1", 1, now=1)
    assert holdings.grant(grant_of("f-3"), age=0, now=2).verdict is Verdict.IGNORE


def test_a_draining_worker_hands_grants_back_and_goes_on_with_what_it_holds() -> None:
    holdings = holding("f-1")
    holdings.drain(True)
    assert holdings.grant(grant_of("f-2"), age=0, now=0).reason == DRAINING
    assert holdings.begin("f-1", 1, now=0).verdict is Verdict.START
    assert not holdings.status(0).accepting
    holdings.drain(False)
    assert holdings.status(0).accepting


def test_a_leaving_worker_begins_nothing() -> None:
    holdings = holding("f-1")
    holdings.leave()
    assert holdings.begin("f-1", 1, now=0).reason == LEAVING
    assert holdings.grant(grant_of("f-2"), age=0, now=0).reason == LEAVING
    assert not holdings.accepting


def test_heartbeats_list_attempts_by_partition_from_the_grant_on_with_their_tokens() -> None:
    holdings = holding("a-1", "b-1")
    holdings.begin("b-1", 1, now=1)
    beats = holdings.heartbeats(lambda job: 3 if job.startswith("a") else 5)
    assert {p: [(s.job_id, s.attempt, s.token) for s in shown] for p, shown in beats.items()} == {
        3: [("a-1", 1, "token of a-1")],
        5: [("b-1", 1, "token of b-1")],
    }


def test_an_attempt_whose_needs_are_not_known_yet_reserves_all_that_is_left() -> None:
    holdings = holding("f-1", "f-2")
    holdings.reserve("f-1", 1, {"memory_mib": 300, "disk_mib": 100, "gpus": 1})
    assert holdings.status(0).attempts == (Running("f-1", 1, 300, 100, 1), Running("f-2", 1, 700, 400, 0))


def test_needs_of_another_shape_reserve_nothing() -> None:
    holdings = holding("f-1")
    holdings.reserve("f-1", 1, {"memory_mib": "much", "disk_mib": -1, "gpus": 2**40})
    assert holdings.status(0).attempts == (Running("f-1", 1),)


def test_an_ended_attempt_is_listed_for_half_a_minute() -> None:
    holdings = holding("f-1")
    holdings.end("f-1", 1, now=1000)
    assert holdings.status(31_000).ended == (Ended("f-1", 1),)
    assert holdings.status(31_001).ended == ()


def test_each_ended_attempt_is_listed_once_at_least_however_many_there_are() -> None:
    holdings = holding(slots=1)
    for number in range(200):
        holdings.grant(grant_of(f"f-{number}"), age=0, now=0)
        holdings.end(f"f-{number}", 1, now=0)
    assert len(holdings.status(0).ended) == 200
    assert [ended.job_id for ended in holdings.status(0).ended] == [f"f-{n}" for n in range(168, 200)]


def test_each_change_that_a_status_shows_raises_the_revision() -> None:
    holdings = holding()
    seen = [holdings.revision]
    for change in (
        lambda: holdings.grant(grant_of(), age=0, now=0),
        lambda: holdings.reserve("f-1", 1, {}),
        lambda: holdings.end("f-1", 1, now=0),
        lambda: holdings.drain(True),
        holdings.leave,
    ):
        change()
        seen.append(holdings.revision)
    assert seen == sorted(set(seen))


STEPS = st.lists(
    st.tuples(st.sampled_from(["grant", "stop", "begin", "end", "orphan"]), st.integers(0, 5), st.integers(0, 90_000)),
    max_size=60,
)


@given(STEPS)
def test_whatever_comes_nothing_starts_twice_nor_after_its_stop_nor_beyond_the_slots(steps: list) -> None:
    holdings, now = Holdings(OFFER), 0
    begun: set[str] = set()
    forbidden: set[str] = set()
    for kind, number, pause in steps:
        job, now = f"f-{number}", now + pause // 40
        match kind:
            case "grant":
                holdings.grant(grant_of(job), age=pause, now=now)
            case "stop":
                holdings.stop(job, 1, now)
                forbidden.add(job)
            case "begin":
                if holdings.begin(job, 1, now).verdict is Verdict.START:
                    assert job not in begun | forbidden
                    begun.add(job)
            case "end":
                holdings.end(job, 1, now)
            case "orphan":
                if holdings.phase(job, 1) is None:
                    holdings.found_orphan(job, 1, now)
                    forbidden.add(job)
        assert len(holdings) <= OFFER.slots
        listed = {shown.job_id for beats in holdings.heartbeats(lambda job: 0).values() for shown in beats}
        assert listed <= {running.job_id for running in holdings.status(now).attempts}


def running(*jobs: str, slots: int = 2) -> Holdings:
    holdings = holding(*jobs, slots=slots)
    for job in jobs:
        assert holdings.begin(job, 1, now=1).verdict is Verdict.START
    return holdings


def test_a_slot_that_will_be_free_at_once_may_be_granted_again() -> None:
    holdings = running("f-1", "f-2")
    assert holdings.grant(grant_of("f-3"), age=0, now=2).reason == NO_SLOT
    holdings.expect_end("f-1", 1, True)
    assert holdings.status(2).ahead == 1
    assert holdings.grant(grant_of("f-4"), age=0, now=2).verdict is Verdict.START
    assert holdings.grant(grant_of("f-5"), age=0, now=2).reason == NO_SLOT
    holdings.end("f-1", 1, now=3)
    assert (holdings.status(3).ahead, holdings.surplus) == (0, 0)


def test_what_was_granted_for_a_slot_that_does_not_come_free_is_too_much() -> None:
    holdings = running("f-1", slots=1)
    holdings.expect_end("f-1", 1, True)
    holdings.grant(grant_of("f-2"), age=0, now=2)
    assert holdings.surplus == 0
    holdings.expect_end("f-1", 1, False)
    assert holdings.surplus == 1
    assert holdings.status(3).ahead == 0


def test_only_attempts_that_run_make_a_slot_free() -> None:
    holdings = holding("f-1", slots=1)
    holdings.expect_end("f-1", 1, True)
    assert holdings.ahead == 0
    holdings.begin("f-1", 1, now=1)
    assert holdings.ahead == 1
    holdings.stop("f-1", 1, now=2)
    assert holdings.ahead == 0


def test_what_is_expected_is_news_once() -> None:
    holdings = running("f-1")
    before = holdings.revision
    holdings.expect_end("f-1", 1, True)
    holdings.expect_end("f-1", 1, True)
    holdings.expect_end("f-9", 1, True)
    assert holdings.revision == before + 1
