"""A worker process on a real broker; the test plays the ledger."""

import shlex
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import orjson
import psutil
import pytest

from agents.bus import consumer, read_to_end
from agents.worker.exits import Exit
from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.ports import free_port
from pipeline.codec import Codec
from pipeline.messages.dataset import DatasetPublished
from pipeline.messages.inbox import Inbox, NewJob, Submitted
from pipeline.messages.needs import Needs
from pipeline.messages.report import COMPLETED, FAILED, PUBLISH, RELEASE, STARTED
from pipeline.messages.status import Ended
from pipeline.settings import KafkaSettings, Settings
from tests.conftest import BUSYBOX, Apptainer
from tests.integration.worker_support import LEASE, WORKER, Ledger, ledger, worker
from tests.waiting import until

LONG = {"params": {"duration": 300}}


@pytest.fixture
def played(kafka: str, tmp_path: Path) -> Iterator[Ledger]:
    with ledger(kafka, tmp_path, f"t{uuid.uuid4().hex[:8]}.") as playing:
        yield playing


def runs(script: str, *arguments: str) -> dict:
    """Return the part of a document that makes a process run a Python script."""
    return {"params": {"_command": shlex.join([sys.executable, "-c", script, *arguments])}}


def waits_for(process_file: Path) -> dict:
    """Return a document whose command notes its pid and then lasts for minutes."""
    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"
    return runs(script, str(process_file))


def pid_in(file: Path) -> int:
    return int(until(lambda: file.exists() and file.read_text(), what=f"{file}"))


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_grant_is_reported_started_then_completed_with_its_token(played: Ledger) -> None:
    with played.worker() as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1")
        played.report("fa-1", COMPLETED)
        assert [report.kind for report in played.of("fa-1")] == [STARTED, COMPLETED]
        assert played.result("fa-1", STARTED)["celery_hostname"] == WORKER
        assert all(report.holder == holder for report in played.of("fa-1"))


def test_the_first_status_offers_all_and_each_change_is_told(played: Ledger) -> None:
    with played.worker(memory_mib=100, queues='["a", "b"]', labels='{"site": "x"}') as process:
        holder = played.holder(process)
        first = played.statuses[0]
        assert (first.worker_id, first.slots, first.memory_mib, first.attempts, first.accepting) == (
            WORKER, 2, 100, (), True)  # fmt: skip
        assert (first.queues, first.labels, first.engines) == (("a", "b"), {"site": "x"}, ("noop",))
        assert first.commands_partition == played.settings.topology.commands_partition(WORKER)
        played.grant(holder, "fa-1", LONG)
        held = played.status(lambda status: bool(status.attempts) and status.attempts[0].memory_mib == 10)
        assert [(running.job_id, running.attempt) for running in held.attempts] == [("fa-1", 1)]
        played.stop(holder, "fa-1")
        assert played.status(lambda status: not status.attempts).ended == (Ended("fa-1", 1),)


def test_heartbeats_list_what_is_held_in_its_inbox_partition(played: Ledger) -> None:
    with played.worker() as process:
        holder = played.holder(process)
        grants = [played.grant(holder, job, LONG) for job in ("fa-1", "fb-1")]
        until(lambda: played.listed("fa-1") and played.listed("fb-1"), what="heartbeats")
        for partition, beat in played.heartbeats:
            for shown in beat.attempts:
                assert partition == played.settings.topology.job_partition(shown.job_id)
                assert shown.token in {grant.token for grant in grants}


def test_a_repeated_grant_starts_nothing(played: Ledger) -> None:
    with played.worker() as process:
        holder = played.holder(process)
        first = played.grant(holder, "fa-1")
        played.report("fa-1", COMPLETED)
        played.tell(first)
        played.grant(holder, "fa-2")
        played.report("fa-2", COMPLETED)
        assert len(played.of("fa-1")) == 2


def test_a_stop_before_its_grant_prevents_the_start(played: Ledger) -> None:
    with played.worker() as process:
        holder = played.holder(process)
        played.stop(holder, "fa-1")
        played.grant(holder, "fa-1")
        played.grant(holder, "fa-2")
        played.report("fa-2", COMPLETED)
        assert played.of("fa-1") == []


def test_a_stopped_job_is_killed_and_reported_no_more(played: Ledger, tmp_path: Path) -> None:
    with played.worker(engine="process", slots=1) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", waits_for(tmp_path / "pid"))
        pid = pid_in(tmp_path / "pid")
        played.stop(holder, "fa-1")
        until(lambda: is_gone(pid), what="the job's end")
        played.status(lambda status: not status.attempts)
        played.grant(holder, "fa-2", runs("pass"))
        played.report("fa-2", COMPLETED)
        assert [report.kind for report in played.of("fa-1")] == [STARTED]


def test_a_grant_beyond_the_slots_is_handed_back(played: Ledger) -> None:
    with played.worker(slots=1) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", LONG)
        played.grant(holder, "fa-2")
        assert played.result("fa-2", RELEASE) == {"reason": "no free slot"}
        assert [report.kind for report in played.of("fa-2")] == [RELEASE]


def test_a_grant_of_another_process_is_left_alone(played: Ledger) -> None:
    with played.worker() as process:
        holder = played.holder(process)
        played.grant(f"{WORKER}:1:older", "fa-1")
        played.grant(holder, "fa-2")
        played.report("fa-2", COMPLETED)
        assert played.of("fa-1") == []


def test_a_command_for_a_newer_process_ends_this_one(played: Ledger) -> None:
    with played.worker() as process:
        played.holder(process)
        played.grant(f"{WORKER}:{10**14}:newer", "fa-1")
        assert process.exit_code() == Exit.SUPERSEDED
        assert played.of("fa-1") == []


def test_a_document_by_reference_is_read_from_the_inbox(played: Ledger) -> None:
    body = orjson.dumps({"job_id": "fa-1", "type": "job-test", "params": {"duration": "soon"}}).decode()
    job = NewJob("fa-1", "q", "c", 0, Needs(), body)
    reference = played.put_in_inbox(Inbox("fa", Submitted("s", "h", True, (job,)), time=1_000))
    with played.worker() as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", None, reference=reference)
        played.grant(holder, "fa-2", None, reference=reference)
        assert "duration" in played.result("fa-1", FAILED)["error"]
        assert played.result("fa-2", RELEASE)["reason"].endswith("has no job fa-2")


def test_a_killed_workers_orphans_are_ended_and_listed_by_the_next(played: Ledger, tmp_path: Path) -> None:
    with played.worker(engine="process") as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", waits_for(tmp_path / "pid"))
        pid = pid_in(tmp_path / "pid")
        process.kill()
        assert not is_gone(pid)
    with played.worker(engine="process") as process:
        newer = played.holder(process)
        assert newer > holder
        assert is_gone(pid)
        assert next(status for status in played.statuses if status.holder == newer).ended == (Ended("fa-1", 1),)
        assert len(played.of("fa-1")) == 1


def test_told_to_stop_it_lets_jobs_finish_and_exits_with_0(played: Ledger) -> None:
    with played.worker(grace=30) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", {"params": {"duration": 1}})
        played.report("fa-1", STARTED)
        process.terminate()
        played.seen(lambda status: not status.accepting)
        played.grant(holder, "fa-2")
        assert played.result("fa-2", RELEASE) == {"reason": "stopping"}
        assert process.exit_code() == Exit.OK
        assert [report.kind for report in played.of("fa-1")] == [STARTED, COMPLETED]


def test_what_does_not_finish_within_the_grace_is_handed_back(played: Ledger, tmp_path: Path) -> None:
    with played.worker(engine="process", grace=0.2) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", waits_for(tmp_path / "pid"))
        pid = pid_in(tmp_path / "pid")
        process.terminate()
        assert process.exit_code() == Exit.OK
        assert is_gone(pid)
        until(lambda: len(played.of("fa-1")) == 2)
        assert [report.kind for report in played.of("fa-1")] == [STARTED, RELEASE]
        assert played.result("fa-1", RELEASE) == {"reason": "stopping"}
        assert played.status(lambda status: not status.accepting).attempts == ()


def test_told_twice_it_stops_at_once(played: Ledger) -> None:
    with played.worker(grace=300) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", LONG)
        played.report("fa-1", STARTED)
        process.terminate()
        played.seen(lambda status: not status.accepting)
        process.terminate()
        assert process.exit_code() == Exit.OK
        assert played.report("fa-1", RELEASE)


def test_a_draining_worker_takes_nothing_and_goes_on_with_what_it_holds(played: Ledger) -> None:
    with played.worker() as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", LONG)
        played.report("fa-1", STARTED)
        played.set_draining(True)
        played.status(lambda status: not status.accepting)
        played.grant(holder, "fa-2")
        assert played.result("fa-2", RELEASE) == {"reason": "draining"}
        assert played.statuses[-1].attempts[0].job_id == "fa-1"
        played.set_draining(False)
        played.status(lambda status: status.accepting)


def test_a_worker_that_was_set_to_drain_says_so_in_its_first_status(played: Ledger) -> None:
    played.set_draining(True)
    with played.worker() as process:
        played.holder(process)
        assert not played.statuses[0].accepting


def test_a_second_process_with_the_same_worker_id_does_not_start(played: Ledger) -> None:
    with played.worker() as process, played.worker() as other:
        until(lambda: other.popen.poll() is not None or process.popen.poll() is not None)
        codes = {process.popen.poll(), other.popen.poll()}
        assert codes == {None, Exit.TAKEN}


def test_a_lease_shorter_than_three_heartbeats_is_refused_at_the_start(played: Ledger) -> None:
    with played.worker(heartbeat_ms=LEASE // 3 + 1) as process:
        assert process.exit_code() == Exit.MISCONFIGURED
        assert "shorter than 3 heartbeats" in process.log.read_text()


def test_a_killed_workers_container_is_ended_by_the_next(
    played: Ledger, docker_engine: docker.DockerClient, busybox_image: str
) -> None:
    name = f"{WORKER}-{uuid.uuid4().hex[:8]}"
    job = {"container_image_name": busybox_image, "params": {"_command": "sleep 300"}}
    label = f"jobstream.worker={name}@{played.settings.home.resolve()}"
    labelled: dict = {"all": True, "ignore_removed": True, "filters": {"label": label}}
    with played.worker(id=name, engine="docker") as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", job)
        until(lambda: docker_engine.containers.list(**labelled), what="the container")
        process.kill()
    assert docker_engine.containers.list(**labelled)
    with played.worker(id=name, engine="docker") as process:
        holder = played.holder(process)
        assert docker_engine.containers.list(**labelled) == []
        assert Ended("fa-1", 1) in next(status for status in played.statuses if status.holder == holder).ended
        played.grant(holder, "fb-1", job | {"params": {"_command": "true"}})
        assert played.result("fb-1", COMPLETED)["job_info"]["status"] == 0


def test_a_worker_with_apptainer_offers_it_and_ends_what_a_killed_one_left(
    played: Ledger, apptainer_engine: Apptainer, tmp_path: Path
) -> None:
    name = f"{WORKER}-{uuid.uuid4().hex[:8]}"
    settings = {"apptainer": apptainer_engine.program, "apptainer_images": str(apptainer_engine.images)}
    job = {"container_image_name": BUSYBOX, "params": {"_command": "sleep 300"}}
    with played.worker(id=name, engine="singularity", **settings) as process:
        holder = played.holder(process)
        assert played.statuses[-1].engines == ("apptainer", "singularity")
        played.grant(holder, "fa-1", job)
        inside = pid_in(Path(until(lambda: list((tmp_path / "home/work").glob("jobs/**/_pid")), what="a pid")[0]))
        process.kill()
    assert not is_gone(inside)
    with played.worker(id=name, engine="apptainer", **settings) as process:
        holder = played.holder(process)
        assert is_gone(inside)
        assert Ended("fa-1", 1) in next(status for status in played.statuses if status.holder == holder).ended
        played.grant(holder, "fb-1", job | {"params": {"_command": "true"}})
        assert played.result("fb-1", COMPLETED)["job_info"]["status"] == 0


RULES = {
    "datasets": [
        {
            "ipath": "test::data/PROD",
            "version": "v1",
            "level": "l0",
            "type": "PROD",
            "match_pattern": "/(?P<id>PROD-(?P<year>\\d{4}))$",
            "alt_match_pattern": None,
            "extractor": None,
            "publish": {"location": "file://{store}/{year}/{id}", "urls": []},
            "browse": {"location": None, "urls": []},
        }
    ]
}
PRODUCES = """
import json, os
os.mkdir("PROD-2020")
open("PROD-2020/data", "w").write("x")
open("PROD-2020/PROD-2020.dataset.json", "w").write(json.dumps({"version": "v1"}))
"""


def events(settings: Settings) -> list[DatasetPublished]:
    """Return what datasets.published holds now."""
    topic = settings.topology.datasets
    client = consumer(settings, "test-datasets")
    try:
        read = read_to_end(client, topic.name, range(topic.partitions))
        return [DatasetPublished.of(Codec().decode("dataset", message.value())) for message in read]
    finally:
        client.close()


def test_products_become_visible_only_with_the_ledgers_permission(played: Ledger, tmp_path: Path) -> None:
    store, rules = tmp_path / "store", tmp_path / "datasets.json"
    rules.write_text(orjson.dumps(RULES).decode().replace("file://{store}/", ""))
    with played.worker(engine="process", store=store, datasets_file=rules) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", runs(PRODUCES))
        played.report("fa-1", PUBLISH)
        assert not (store / "2020").exists()
        played.permit(holder, "fa-1")
        completed = played.result("fa-1", COMPLETED)
        assert (store / "2020" / "PROD-2020" / "data").read_text() == "x"
        assert [product["id"] for product in completed["products"]] == ["PROD-2020"]
        (event,) = events(played.settings)
        assert (event.event_id, event.job_type) == ("fa-1/1/PROD-2020", "dataset:test::data/PROD")
        assert orjson.loads(event.document) == completed["products"][0]


def test_a_stop_instead_of_the_permission_leaves_nothing_visible(played: Ledger, tmp_path: Path) -> None:
    store, rules = tmp_path / "store", tmp_path / "datasets.json"
    rules.write_text(orjson.dumps(RULES).decode().replace("file://{store}/", ""))
    with played.worker(engine="process", store=store, datasets_file=rules) as process:
        holder = played.holder(process)
        played.grant(holder, "fa-1", runs(PRODUCES))
        played.report("fa-1", PUBLISH)
        played.stop(holder, "fa-1")
        played.status(lambda status: Ended("fa-1", 1) in status.ended)
        assert not (store / "2020").exists()
        assert played.of("fa-1", COMPLETED, FAILED) == []


@pytest.mark.integration
def test_a_result_is_kept_while_the_broker_is_away_and_reported_when_it_is_back(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path / "broker", free_port(), free_port(), heap_mib=256)
    try:
        with ledger(broker.start(), tmp_path, "away.") as played, played.worker(engine="process") as process:
            holder = played.holder(process)
            go = tmp_path / "go"
            script = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.05)"
            played.grant(holder, "fa-1", runs(script, str(go)))
            played.report("fa-1", STARTED)
            broker.stop()
            go.touch()
            until(lambda: list((tmp_path / "home" / "work").rglob(".done")), what="the job's end")
            broker.start()
            assert played.report("fa-1", COMPLETED, timeout=60)
            played.grant(holder, "fa-2", runs("pass"))
            assert played.report("fa-2", COMPLETED)
            assert process.popen.poll() is None
    finally:
        broker.stop()


def test_a_worker_waits_for_a_broker_that_is_not_there_and_still_heeds_signals(tmp_path: Path) -> None:
    nowhere = Settings(kafka=KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"))
    with worker(nowhere, tmp_path) as process:
        until(lambda: "Kafka can't be reached" in process.log.read_text(), 60, what="the complaint")
        process.terminate()
        assert process.exit_code() == Exit.OK
