"""What people are shown."""

from pipeline.messages.needs import Needs
from pipeline.messages.status import WorkerStatus
from pipeline.scheduling.message import CaughtUp, Now, QueueSettings
from pipeline.scheduling.needs import explain
from pipeline.scheduling.view import queue_views, why
from tests.unit.scheduling_cases import START, claimed, claims, expired, granted, leading, run, status, withdrawn


def offer(worker_id: str, memory: int, queues: tuple[str, ...] = ("*",)) -> WorkerStatus:
    return WorkerStatus(worker_id, f"{worker_id}:1:r", 0, 1, memory, 0, queues=queues)


def test_the_view_tells_depth_oldest_and_running() -> None:
    scheduler = leading("p", "q")
    scheduler.apply(*(run(f"1-{number}", since=START - number, priority=number % 2) for number in range(5)))
    (claim,) = claims(scheduler.apply(status()))
    views = queue_views(scheduler)
    assert (views["q"].depth, views["q"].oldest, views["q"].running) == (5, START - 4, 0)
    scheduler.apply(granted(claim))
    assert (queue_views(scheduler)["q"].depth, queue_views(scheduler)["q"].running) == (4, 1)
    scheduler.apply(status(held=(f"{claim.job_id}/1",)))
    assert queue_views(scheduler)["q"].running == 1
    scheduler.apply(status(ended=(f"{claim.job_id}/1",), slots=0))
    assert queue_views(scheduler)["q"].running == 0
    assert (views["p"].depth, views["p"].oldest, views["p"].heads) == (0, None, [])


def test_a_claimed_job_still_counts_as_waiting_and_as_the_oldest() -> None:
    scheduler = leading()
    scheduler.apply(run("a", since=1), run("b", since=2), status())
    view = queue_views(scheduler)["q"]
    assert (view.depth, view.oldest, [head["job_id"] for head in view.heads]) == (2, 1, ["b"])


def test_the_view_says_what_no_worker_can_meet() -> None:
    scheduler = leading()
    scheduler.apply(status("w", memory=1000), run("a", memory_mib=5000), run("b", memory_mib=5000), run("c"))
    (unmet,) = queue_views(scheduler)["q"].unmet
    assert (unmet["count"], unmet["needs"]["memory_mib"]) == (2, 5000)
    assert unmet["why"] == "no worker can run it: of 1, 1 offer too little memory (5000 MiB)"


def test_the_view_is_what_json_can_hold() -> None:
    scheduler = leading()
    scheduler.apply(run("a", labels={"x": "y"}, avoid=("w",)))
    record = queue_views(scheduler)["q"].record()
    assert set(record) == {"queue", "depth", "oldest", "paused", "running", "unmet", "heads"}


def test_why_names_the_reason_and_how_many_go_before() -> None:
    scheduler = leading("p", "q")
    scheduler.apply(status(held=("x/1",)), run("a", since=1), run("b", since=2, memory_mib=7), run("p", queue="p"))
    found = why(scheduler, "b", 1)
    assert found is not None
    assert (found.before, found.reason) == (1, "every worker that can run it is busy, or others go first")
    scheduler.apply(QueueSettings("q", paused=True))
    assert why(scheduler, "b", 1).reason == "queue q is paused"  # type: ignore[union-attr]
    assert why(scheduler, "nobody", 1) is None


def test_why_counts_each_lack_of_the_workers() -> None:
    offers = [offer("a", 10), offer("b", 10), offer("c", 5000, ("other",))]
    text = explain("q", Needs(memory_mib=4000), offers)
    assert text == "no worker can run it: of 3, 2 offer too little memory (4000 MiB), 1 do not take this queue (q)"
    assert explain("q", Needs(), []) == "no worker is there"
    assert explain("q", Needs(memory_mib=1), offers) == ""


def test_why_counts_workers_that_take_no_jobs_by_their_reasons() -> None:
    apart = ["sealing: no key", "sealing: no key", "draining"]
    assert explain("q", Needs(), [], apart) == (
        "no worker can run it: of 3, 2 take no jobs (sealing: no key), 1 take no jobs (draining)"
    )
    assert "1 do not take this queue (q), 1 take no jobs (draining)" in explain(
        "q", Needs(), [offer("c", 5000, ("other",))], ["draining"]
    )
    assert explain("q", Needs(), [offer("a", 10)], apart) == ""


def test_why_follows_the_reasons_of_workers() -> None:
    scheduler = leading("q")
    scheduler.apply(run("a"), status(accepting=False, reason="sealing: no key"))
    assert why(scheduler, "a", 1).reason.endswith("of 1, 1 take no jobs (sealing: no key)")  # type: ignore[union-attr]
    scheduler.apply(status(accepting=False, reason="stopping"))
    assert why(scheduler, "a", 1).reason.endswith("of 1, 1 take no jobs (stopping)")  # type: ignore[union-attr]


def test_a_job_that_no_worker_can_meet_expires_after_its_max_wait() -> None:
    scheduler = leading()
    scheduler.apply(status(), run("a", memory_mib=9999, max_wait=60_000))
    before = [Now(START + ms) for ms in (15_000, 30_000, 59_999)]
    assert [scheduler.apply(status(time=now.ms), now) for now in before] == [[], [], []]
    assert scheduler.apply(status(time=START + 60_000), Now(START + 60_000)) == []
    (gone,) = expired(scheduler.apply(status(time=START + 75_000), Now(START + 75_000)))
    assert (gone.job_id, gone.attempt) == ("a", 1)
    assert "9999 MiB" in gone.reason


def test_a_job_that_expired_is_named_again_until_its_record_is_gone() -> None:
    scheduler = leading()
    scheduler.apply(run("a", max_wait=1))
    scheduler.apply(Now(START + 20_000))
    assert len(expired(scheduler.apply(Now(START + 35_000)))) == 1
    assert len(expired(scheduler.apply(Now(START + 50_000)))) == 1
    (claim,) = claims(leading().apply(run("a"), status()))
    scheduler.apply(withdrawn(claim))
    assert scheduler.apply(Now(START + 90_000)) == []


def test_a_job_that_waits_for_busy_workers_or_a_paused_queue_does_not_expire() -> None:
    scheduler = leading("p", "q")
    scheduler.apply(QueueSettings("p", paused=True), run("1-b", queue="p", gpus=9, max_wait=1))
    scheduler.apply(run("1-a", max_wait=1), status(held=("x/1",)))
    for second in range(10, 200, 10):
        now = START + second * 1000
        assert scheduler.apply(status(held=("x/1",), time=now), Now(now)) == []


def test_no_job_expires_before_a_new_leader_had_time_to_hear_the_workers() -> None:
    scheduler = leading()
    scheduler.apply(run("a", gpus=1, max_wait=1))
    assert scheduler.apply(Now(START + 14_999)) == []
    assert claimed(scheduler.apply(CaughtUp("q"), status(gpus=1, time=START + 14_999))) == [("a", "w")]
