"""Time in the log: which ticks count, which leases end, what falls due (design §4)."""

from dataclasses import replace

import pytest

from pipeline.ledger.clock import LATE_INTERVALS, MAX_REPUBLISHED, Clock
from pipeline.ledger.decision import At
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Job, Phase
from pipeline.messages.inbox import Due, Heartbeat, Held, Tick
from pipeline.statuses import Status
from tests.unit.ledger_support import HOLDER, OTHER

POLICY = Policy(lease_ms=300, tick_ms=100, republish_ms=10_000)


class Ticking:
    """A clock and a well-behaved ticker."""

    def __init__(self) -> None:
        self.clock = Clock(POLICY)
        self.offset, self.now, self.first = 0, 1_000_000, True

    def tick(self, times: int = 1, resumed: bool = False, wait: int = 100) -> list[Due]:
        found: list[Due] = []
        for _ in range(times):
            self.offset += 1
            self.now += wait
            previous = -1 if self.first else self.clock.last_tick
            self.first = False
            found += self.clock.tick(Tick(previous, resumed, "o"), At(0, self.offset, self.now))
        return found

    def hold(self, job: str = "f-1", **fields: object) -> None:
        values = {"phase": Phase.LEASED, "holder": HOLDER, "status": Status.STARTED} | fields
        self.put(job, **values)

    def put(self, job: str, **fields: object) -> None:
        made = Job("s", "q", 0, self.now, self.now, **fields)
        self.clock.sync(Family(job.partition("-")[0], jobs={job: made}))

    def beat(self, *jobs: str, holder: str = HOLDER, attempt: int = 1) -> list:
        return self.clock.heartbeat(Heartbeat(holder, tuple(Held(job, attempt) for job in jobs)))


@pytest.fixture
def time() -> Ticking:
    ticking = Ticking()
    ticking.tick()
    return ticking


def test_a_lease_ends_after_as_many_ticks_without_a_heartbeat_as_it_lasts(time: Ticking) -> None:
    time.hold()
    assert time.tick(2) == []
    assert time.tick() == [Due("lease", "f-1", 1, time.offset)]


def test_ticks_of_two_owners_that_take_turns_make_time_run_no_faster(time: Ticking) -> None:
    time.hold()
    for _ in range(2):
        assert time.tick(wait=100) == []
        assert time.tick(wait=20) == []
    assert [due.kind for due in time.tick(wait=80)] == ["lease"]


def test_time_goes_on_where_the_broker_s_clock_was_put_back(time: Ticking) -> None:
    time.hold()
    assert time.tick(wait=-3_600_000) == []
    assert time.tick() == []
    assert [due.kind for due in time.tick()] == ["lease"]


def test_a_heartbeat_that_lists_the_attempt_renews_its_lease(time: Ticking) -> None:
    time.hold()
    for _ in range(5):
        assert time.tick(2) == []
        assert time.beat("f-1") == []


def test_a_heartbeat_that_does_not_list_the_attempt_renews_nothing(time: Ticking) -> None:
    time.hold()
    time.tick(2)
    time.beat()
    assert [due.kind for due in time.tick()] == ["lease"]


def test_a_sender_is_told_to_stop_what_it_does_not_hold_each_time(time: Ticking) -> None:
    time.hold()
    for _ in range(2):
        (stop,) = time.beat("f-1", holder=OTHER)
        assert (stop.kind, stop.holder, stop.job_id) == ("stop", OTHER, "f-1")
    assert [stop.attempt for stop in time.beat("f-1", attempt=2)] == [2]


def test_a_burst_of_ticks_and_a_second_ticker_make_time_run_no_faster(time: Ticking) -> None:
    time.hold()
    last = time.clock.last_tick
    for number in range(20):
        assert time.clock.tick(Tick(last - 1, False, "other"), At(0, 100 + number, time.now)) == []
    assert time.clock.last_tick == last


@pytest.mark.parametrize("outage", ["resumed", "late"])
def test_after_an_outage_of_ours_every_lease_starts_anew(time: Ticking, outage: str) -> None:
    time.hold()
    time.tick(2)
    gap = (LATE_INTERVALS + 1) * POLICY.tick_ms
    assert time.tick(resumed=outage == "resumed", wait=gap if outage == "late" else 100) == []
    assert time.tick(2) == []
    assert [due.kind for due in time.tick()] == ["lease"]


def test_of_one_worker_id_only_the_newest_holder_counts(time: Ticking) -> None:
    time.hold()
    time.beat(holder="w1:2000:bb")
    assert [due.kind for due in time.tick()] == ["lease"]


def test_a_retry_falls_due_at_its_time_once(time: Ticking) -> None:
    time.put("f-1", phase=Phase.BACKOFF, attempt=2, due=time.now + 250)
    assert time.tick(2) == []
    assert time.tick() == [Due("retry", "f-1", 2, time.offset)]
    assert time.tick(3) == []


def test_the_hard_limit_falls_due_but_not_right_after_an_outage(time: Ticking) -> None:
    time.hold(time_limit=0, started_at=time.now - POLICY.hard_limit_grace_ms)
    time.tick(resumed=True)
    kinds = []
    for _ in range(4):
        time.beat("f-1")
        kinds += [due.kind for due in time.tick()]
    assert kinds == ["limit"]


def test_a_waiting_job_is_written_again_now_and_then_and_not_all_at_once(time: Ticking) -> None:
    for number in range(MAX_REPUBLISHED + 30):
        time.put(f"f{number}-1", phase=Phase.WAITING)
    time.tick(wait=200)
    time.now += 3 * POLICY.republish_ms
    assert len(time.tick()) == MAX_REPUBLISHED
    assert len(time.tick()) == 30


def test_a_finished_job_leaves_no_timer(time: Ticking) -> None:
    time.hold()
    time.clock.sync(Family("f"))
    assert not time.clock.has_timers
    assert time.tick(10) == []


def test_what_is_written_again_stands_before_no_retry_and_comes_hourly_not_at_every_tick(time: Ticking) -> None:
    for number in range(MAX_REPUBLISHED + 10):
        time.put(f"w{number}-1", phase=Phase.WAITING)
    time.tick(wait=200)
    time.now += 3 * POLICY.republish_ms
    time.put("r-1", phase=Phase.BACKOFF, attempt=2, due=time.now + 50)
    found = []
    for _ in range(10):
        due = time.tick()
        found += due
        for one in due:
            # the decision leaves the job's state as it was
            if one.kind == "republish":
                time.clock.sync(Family(one.job_id.partition("-")[0], jobs={one.job_id: _waiting(time)}))
    assert [due.job_id for due in found if due.kind == "retry"] == ["r-1"]
    assert sum(due.kind == "republish" for due in found) == MAX_REPUBLISHED + 10


def _waiting(time: Ticking) -> Job:
    return Job("s", "q", 0, 1_000_100, 1_000_100, phase=Phase.WAITING)


@pytest.mark.parametrize("start", ["²", "9" * 5000, "", "-1"])
def test_a_holder_whose_start_is_no_number_is_the_oldest_and_no_error(time: Ticking, start: str) -> None:
    time.beat(holder=f"w1:{start}:x")
    time.beat(holder=HOLDER)
    time.hold()
    assert time.tick() == []


def test_another_policy_counts_for_what_waits_and_runs_already(time: Ticking) -> None:
    time.put("f-1", phase=Phase.WAITING)
    time.hold("g-1", time_limit=1, started_at=time.now)
    time.clock.follow(replace(POLICY, republish_ms=500, hard_limit_grace_ms=0))
    found = []
    for _ in range(14):
        time.beat("g-1")
        found += [(due.kind, due.job_id) for due in time.tick()]
    assert set(found) == {("republish", "f-1"), ("limit", "g-1")}
    assert found.count(("republish", "f-1")) <= 2
