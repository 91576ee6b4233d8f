"""Scheduler processes against a real broker; the ledger and the workers are played."""

import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.admin import apply, client
from agents.scheduler import main
from agents.scheduler.offsets import LogEnds
from pipeline.settings import KafkaSettings, Settings, TopicSettings
from tests.integration.scheduler_support import Cluster, Process, scheduler
from tests.waiting import until

#: The shortest that brokers allow by default.
SESSION_MS = 6000


@pytest.fixture
def settings(kafka: str, tmp_path: Path) -> Settings:
    made = Settings(
        home=tmp_path / "home",
        kafka=KafkaSettings(bootstrap=kafka),
        topics=TopicSettings(prefix=f"s{uuid.uuid4().hex[:8]}.", inbox_partitions=3),
    )
    apply(made)
    return made


@pytest.fixture
def cluster(settings: Settings) -> Iterator[Cluster]:
    made = Cluster(settings)
    yield made
    made.close()


@pytest.fixture
def leader(settings: Settings, tmp_path: Path) -> Iterator[Process]:
    with scheduler(settings, tmp_path, session_ms=SESSION_MS, view_ms=200) as process:
        yield process


def test_a_waiting_job_is_claimed_for_a_worker(cluster: Cluster, leader: Process) -> None:
    cluster.declare("q")
    cluster.worker()
    cluster.wait("f-1")
    cluster.claimed("f-1")
    (claim,) = cluster.claims
    assert (claim.attempt, claim.queue, claim.holder) == (1, "q", "w:1:r")


def test_the_standby_claims_within_12_s_after_the_leader_was_killed(
    cluster: Cluster, leader: Process, settings: Settings, tmp_path: Path
) -> None:
    cluster.declare("q")
    cluster.worker(slots=1)
    cluster.wait("f-1")
    cluster.claimed("f-1")
    with scheduler(settings, tmp_path) as standby:
        until(lambda: b"stands by" in standby.log.read_bytes())
        cluster.wait("f-2")
        cluster.claimed("f-2")
        assert not standby.leads()
        leader.signal(signal.SIGKILL)
        killed = time.monotonic()
        cluster.wait("f-3")
        cluster.claimed("f-3", timeout=25)
        assert time.monotonic() - killed < 12
        assert standby.leads()
    assert len({claim.claim_id for claim in cluster.claims}) == len(cluster.claims) == 3


def test_a_leader_that_is_told_to_stop_hands_over_at_once(
    cluster: Cluster, leader: Process, settings: Settings, tmp_path: Path
) -> None:
    cluster.declare("q")
    until(leader.leads)
    with scheduler(settings, tmp_path) as standby:
        until(lambda: b"stands by" in standby.log.read_bytes())
        leader.signal(signal.SIGTERM)
        assert leader.popen.wait(10) == 0
        until(standby.leads, timeout=SESSION_MS / 1000)
        cluster.worker()
        cluster.wait("f-1")
        cluster.claimed("f-1")


def test_a_leader_that_stood_still_claims_nothing_when_it_goes_on(
    cluster: Cluster, leader: Process, settings: Settings, tmp_path: Path
) -> None:
    cluster.declare("q")
    until(leader.leads)
    with scheduler(settings, tmp_path, session_ms=SESSION_MS) as standby:
        until(lambda: b"stands by" in standby.log.read_bytes())
        leader.signal(signal.SIGSTOP)
        until(standby.leads)
        cluster.worker(slots=1)
        cluster.ends = False
        cluster.wait("f-1")
        cluster.claimed("f-1")
        cluster.wait("f-2")
        leader.signal(signal.SIGCONT)
        until(lambda: not leader.leads())
        cluster.ends = True
        cluster.worker(slots=3)
        cluster.claimed("f-2")
    assert len({claim.claim_id.rpartition("-")[0] for claim in cluster.claims}) == 1


def test_nothing_is_claimed_before_everything_was_read(settings: Settings, cluster: Cluster, tmp_path: Path) -> None:
    """The first claims are those of the whole queue's smallest ranks, which are written last."""
    cluster.declare("q")
    cluster.worker()
    cluster.many(range(4000), gone=True)
    cluster.many(range(4000, 8000), gone=False)
    cluster.wait("last-1", priority=9, since=0)
    with scheduler(settings, tmp_path, session_ms=SESSION_MS):
        cluster.claimed("last-1")
        until(lambda: len(cluster.claims) > 100)
    # partitions are read in any order: the number in the claim's id is that of its making
    made = sorted(cluster.claims, key=lambda claim: int(claim.claim_id.rpartition("-")[2]))
    assert [claim.job_id for claim in made[:50]] == ["last-1", *(f"f{number}-j" for number in range(4000, 4049))]


def test_a_paused_queue_gives_no_claims_until_it_goes_on(cluster: Cluster, leader: Process) -> None:
    cluster.declare("q", paused=True)
    cluster.declare("open")
    cluster.worker()
    cluster.wait("f-1")
    until(lambda: (cluster.views.get("q") or {}).get("depth") == 1)
    cluster.wait("f-2", "open")
    cluster.claimed("f-2")
    assert [claim.job_id for claim in cluster.claims] == ["f-2"]
    cluster.declare("q")
    cluster.claimed("f-1")


def test_the_view_tells_what_waits_runs_and_can_not_be_met(cluster: Cluster, leader: Process) -> None:
    cluster.declare("q")
    cluster.ends = False
    cluster.worker(slots=1)
    cluster.wait("f-1", since=5)
    cluster.wait("f-2", since=7)
    cluster.wait("f-3", since=6, memory_mib=5000)
    cluster.claimed("f-1")
    until(lambda: cluster.views.get("q", {}).get("running") == 1, what=str(cluster.views))
    view = until(lambda: cluster.views["q"] if cluster.views["q"]["depth"] == 2 else None)
    assert (view["queue"], view["paused"], view["oldest"]) == ("q", False, 6)
    assert [(unmet["count"], unmet["needs"]["memory_mib"]) for unmet in view["unmet"]] == [(1, 5000)]
    assert [head["job_id"] for head in view["heads"]] == ["f-3", "f-2"]


def test_a_queue_that_is_no_longer_declared_leaves_no_view(cluster: Cluster, leader: Process) -> None:
    cluster.declare("q")
    until(lambda: "q" in cluster.views)
    cluster.say("queue/q", None)
    until(lambda: cluster.views["q"] is None)


def test_records_that_can_not_be_read_are_passed(cluster: Cluster, leader: Process, settings: Settings) -> None:
    cluster.declare("q")
    for topic in (settings.topology.run("q"), settings.topology.status, settings.topology.settings):
        for key in ("queue/UPPER", "f-0/1", "worker/w", "\udcff"):
            cluster._publisher.send(topic, key.encode(errors="surrogateescape"), b"\xc3\x01nonsense", 0).result(30)
    cluster.worker()
    cluster.wait("f-1")
    cluster.claimed("f-1")
    assert leader.popen.poll() is None


def test_a_run_topic_that_was_replaced_is_read_again(cluster: Cluster, leader: Process, settings: Settings) -> None:
    cluster.declare("q")
    cluster.worker()
    cluster.many(range(20), gone=True)
    cluster.wait("f-1")
    cluster.claimed("f-1")
    cluster.wait("f-2", gpus=1)
    until(lambda: (cluster.views.get("q") or {}).get("depth") == 1)
    name = settings.topology.run("q").name
    admin = client(settings)
    admin.delete_topics([name])[name].result(30)
    until(lambda: (cluster.views.get("q") or {}).get("depth") == 0)
    cluster.declare("q")
    cluster.wait("f-3")
    cluster.claimed("f-3")


def test_a_queue_whose_topic_comes_late_is_read_when_it_is_there(cluster: Cluster, leader: Process) -> None:
    cluster.say("queue/q", {"declared": True})
    until(lambda: "q" in cluster.views)
    cluster.declare("q")
    cluster.worker()
    cluster.wait("f-1")
    cluster.claimed("f-1")


def test_an_unanswered_claim_is_sent_again_with_the_same_id(
    cluster: Cluster, settings: Settings, tmp_path: Path
) -> None:
    cluster.declare("q")
    cluster.answers = False
    with scheduler(settings, tmp_path, session_ms=SESSION_MS, claim_retry_ms=500):
        cluster.worker()
        cluster.wait("f-1")
        until(lambda: len(cluster.claims) >= 3)
    assert len(set(cluster.claims)) == 1


def test_a_job_past_its_max_wait_is_given_up(cluster: Cluster, settings: Settings, tmp_path: Path) -> None:
    cluster.declare("q")
    cluster.worker()
    cluster.wait("f-1", memory_mib=9999, max_wait=1)
    with scheduler(settings, tmp_path, session_ms=SESSION_MS, silence_ms=1500):
        until(lambda: cluster.controls)
    control = cluster.controls[0]
    assert (control.action, control.job_id, control.by) == ("expire", "f-1", "scheduler")
    assert "9999 MiB" in control.reason


def test_a_scheduler_without_its_topics_does_not_start(kafka: str, tmp_path: Path) -> None:
    bare = Settings(
        home=tmp_path, kafka=KafkaSettings(bootstrap=kafka), topics=TopicSettings(prefix=f"none{uuid.uuid4().hex[:8]}.")
    )
    with scheduler(bare, tmp_path) as process:
        assert process.popen.wait(30) == 1
    assert "no such topic" in process.log.read_text()


def test_a_start_waits_for_a_topic_that_has_no_leader_yet(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    since = LogEnds.since
    asked: list[str] = []

    def without_a_leader_at_first(ends: LogEnds, topic: str, time_ms: int) -> int:
        asked.append(topic)
        if len(asked) < 3:
            raise OSError(f"{topic}: not leader for partition")
        return since(ends, topic, time_ms)

    monkeypatch.setattr(LogEnds, "since", without_a_leader_at_first)
    main._begin(settings, threading.Event()).close()
    assert len(asked) >= 3
