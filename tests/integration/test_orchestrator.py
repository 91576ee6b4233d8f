"""The orchestrator against a real broker: what survives kills, pauses, stale owners and lost messages."""

import json
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agents.admin import apply
from agents.admin_client import admin_client
from agents.bus import consumer, read_to_end
from pipeline.identity import token_is_valid
from pipeline.messages.command import GRANT, STOP
from pipeline.messages.inbox import Heartbeat, Held
from tests.integration.ledger_bench import HOLDER, OVERTAKEN, SLOW_START, Bench, Orchestrator
from tests.waiting import until

WHOLE = ["job-queued", "job-started", "job-completed"]
NUMBER = iter(range(1000))


@pytest.fixture
def make_bench(kafka: str, tmp_path: Path) -> Iterator:
    benches: list[Bench] = []
    running: list[Orchestrator] = []

    def make(start: bool = True, **ledger: object) -> tuple[Bench, Orchestrator]:
        bench = Bench(kafka, tmp_path / "bench", f"o{next(NUMBER)}-{time.time_ns() % 10**9}.", **ledger)
        benches.append(bench)
        orchestrator = bench.orchestrator()
        if start:
            orchestrator.start()
        running.append(orchestrator)
        return bench, orchestrator

    make.also = running.append  # type: ignore[attr-defined]
    yield make
    for orchestrator in running:
        if orchestrator.process is not None and orchestrator.process.poll() is None:
            orchestrator.process.kill()
            orchestrator.process.wait(10)
    for bench in benches:
        bench.close()


def test_a_job_waits_is_granted_starts_and_completes(make_bench) -> None:
    bench, orchestrator = make_bench()
    job = bench.submit("one")
    bench.until(lambda: bench.statuses(job) == WHOLE)
    grant = next(command for command in bench.commands if command.kind == GRANT)
    assert token_is_valid(b"bench", job, 1, HOLDER, grant.token)
    document = json.loads(grant.document)
    assert document["params"] == {"name": "one"}
    assert document["job_info"]["time_queued"].endswith("Z")
    bench.until(lambda: f"{job}/1" in bench.answers)
    assert bench.answers[f"{job}/1"]["result"] == "granted"
    facts = [bench.facts[job][seq] for seq in (1, 2, 3)]
    assert [fact.inbox_offset for fact in facts] == sorted({fact.inbox_offset for fact in facts})
    assert json.loads(facts[2].document)["job"]["job_info"]["pid"] == 7
    assert orchestrator.end() == 0


def test_a_duplicate_names_its_original_and_a_failed_job_blocks_nothing(make_bench) -> None:
    bench, _ = make_bench()
    bench.completes = False
    first = bench.submit("same", "s1")
    second = bench.submit("same", "s2")
    bench.until(lambda: bench.statuses(second) == ["job-deduped"])
    assert json.loads(bench.facts[second][1].document)["dedup_job"] == first
    bench.until(lambda: bench.statuses(first) == WHOLE[:2])
    bench.report("failed", first, 1)
    bench.until(lambda: bench.statuses(first)[-1] == "job-failed")
    third = bench.submit("same", "s3")
    bench.until(lambda: bench.statuses(third)[:1] == ["job-queued"])


def _enough(bench: Bench, jobs: list[str], wanted: int) -> bool:
    return sum(bench.statuses(job) == WHOLE for job in jobs) >= wanted


def test_kills_and_stops_in_mid_stream_lose_nothing_and_repeat_nothing(make_bench) -> None:
    bench, orchestrator = make_bench()
    jobs: list[str] = []
    for number in (signal.SIGKILL, signal.SIGTERM) * 3:
        jobs += [bench.submit(f"{len(jobs)}-{n}") for n in range(40)]
        done = sum(bench.statuses(job) == WHOLE for job in jobs)
        bench.until(partial(_enough, bench, jobs, done + 8))
        assert orchestrator.end(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        orchestrator.start()
    bench.until_all(jobs, WHOLE, 90)
    bench.turn(1.0)
    assert {tuple(bench.statuses(job)) for job in jobs} == {tuple(WHOLE)}
    assert {tuple(sorted(bench.facts[job])) for job in jobs} == {(1, 2, 3)}
    assert bench.repeats == []


def test_an_orchestrator_without_its_disk_rebuilds_the_tables_from_the_changelog(make_bench) -> None:
    bench, orchestrator = make_bench()
    bench.completes = False
    jobs = [bench.submit(f"kept-{n}") for n in range(20)]
    bench.until_all(jobs, WHOLE[:2])
    assert orchestrator.end(signal.SIGKILL) == -signal.SIGKILL
    fresh = bench.orchestrator("fresh").start()
    make_bench.also(fresh)
    for job in jobs:
        bench.report("completed", job, 1)
    bench.until_all(jobs, WHOLE)
    assert [bench.submit(f"kept-{n}", "again") for n in range(3)]
    bench.until(lambda: sum("job-deduped" in bench.statuses(job) for job in bench.facts) == 3)


def test_a_paused_owner_that_wakes_up_ends_itself_and_sets_nothing_back(make_bench) -> None:
    bench, first = make_bench(session_ms=6000)
    jobs = [bench.submit(f"before-{n}") for n in range(60)]
    bench.until(lambda: sum(bench.statuses(job) == WHOLE for job in jobs) > 5)
    first.process.send_signal(signal.SIGSTOP)
    second = bench.orchestrator("b").start()
    make_bench.also(second)
    bench.until_all(jobs, WHOLE, 90)
    first.process.send_signal(signal.SIGCONT)
    until(lambda: first.process.poll() is not None, 30, what="the paused owner ends itself")
    assert first.process.returncode == 1
    assert second.end() == 0
    # nothing waits for this one's session to end, and on a busy machine a start may stand still for half of a short one
    bench.environment["JOBSTREAM_LEDGER__SESSION_MS"] = "20000"
    third = bench.orchestrator("c").start()
    make_bench.also(third)
    again = [bench.submit(f"before-{n}", f"again-{n}") for n in range(60)]
    bench.until(lambda: all(bench.statuses(job) for job in again), 90, "all are answered")
    assert {tuple(bench.statuses(job)) for job in again} == {("job-deduped",)}
    assert bench.repeats == []


def test_a_lease_without_heartbeats_expires_and_the_job_runs_again_as_attempt_2(make_bench) -> None:
    bench, _ = make_bench(lease_ms=1500, tick_ms=300, retry_backoff_ms=100)
    bench.completes, bench.forwards_ticks = False, True
    job = bench.submit("lost")
    bench.until(lambda: bench.statuses(job)[:3] == [*WHOLE[:2], "job-offline"])
    bench.until(lambda: bench.statuses(job)[3:5] == WHOLE[:2])
    assert bench.facts[job][5].attempt == 2
    bench.report("completed", job, 1)
    bench.until(lambda: any(c.kind == STOP and c.attempt == 1 for c in bench.commands))
    bench.report("completed", job, 2)
    bench.until(lambda: bench.statuses(job)[-1] == "job-completed")
    assert bench.statuses(job).count("job-completed") == 1


def test_heartbeats_keep_a_lease_and_an_outage_of_the_orchestrator_expires_nobody(make_bench) -> None:
    bench, orchestrator = make_bench(lease_ms=1500, tick_ms=300)
    bench.completes, bench.forwards_ticks = False, True
    job = bench.submit("alive")
    bench.until(lambda: bench.statuses(job) == WHOLE[:2])
    partition = bench.topology.job_partition(job)
    for _ in range(20):
        bench.heartbeat(partition, Heartbeat(HOLDER, (Held(job, 1),)))
        bench.turn(0.2)
    assert orchestrator.end(signal.SIGKILL) == -signal.SIGKILL
    bench.turn(3.0)
    orchestrator.start()
    for _ in range(15):
        bench.heartbeat(partition, Heartbeat(HOLDER, (Held(job, 1),)))
        bench.turn(0.2)
    assert bench.statuses(job) == WHOLE[:2]


def test_a_revoke_of_a_waiting_job_clears_its_run_record_and_of_a_running_one_stops_it(make_bench) -> None:
    bench, _ = make_bench()
    bench.claims = bench.completes = False
    waits, runs = bench.submit("waits"), bench.submit("runs")
    bench.until(lambda: {f"{waits}/1", f"{runs}/1"} <= set(bench.waiting))
    bench.claim(runs, 1)
    bench.until(lambda: bench.statuses(runs) == WHOLE[:2])
    bench.control("revoke", waits)
    bench.control("revoke", runs)
    bench.until(lambda: bench.statuses(waits)[-1] == bench.statuses(runs)[-1] == "job-revoked")
    bench.until(lambda: bench.answers.get(f"{waits}/1", {}).get("result") == "withdrawn")
    bench.until(lambda: any(c.kind == STOP and c.job_id == runs for c in bench.commands))
    bench.control("retry", runs)
    bench.until(lambda: f"{runs}/2" in bench.waiting)


def test_a_record_that_is_no_message_goes_to_the_dead_letters_and_the_next_is_applied(make_bench) -> None:
    bench, _ = make_bench()
    for number in range(4):
        bench.publisher.send(bench.topology.inbox, b"k", b"\x00rubbish", number).result(30)
    jobs = [bench.submit(f"after-{n}") for n in range(8)]
    bench.until_all(jobs, WHOLE)


def _rows(bench: Bench) -> set[bytes]:
    """Return the keys of the families and documents that the changelog leaves."""
    left: dict[bytes, bytes | None] = {}
    client = consumer(bench.settings, "changelog")
    for topic in bench.topology.changelogs()[:2]:
        for message in read_to_end(client, topic.name, range(topic.partitions)):
            left[message.key()] = message.value()
    client.close()
    return {key for key, value in left.items() if value is not None and not key.startswith(b"!")}


def test_what_has_ended_is_forgotten_and_whoever_rebuilds_the_tables_begins_none_of_it_anew(make_bench) -> None:
    bench, orchestrator = make_bench(tick_ms=200, document_ms=2000, window_ms=4000)
    bench.forwards_ticks = True
    jobs = [bench.submit(f"past-{n}") for n in range(10)]
    bench.until_all(jobs, WHOLE)
    assert {job.encode() for job in jobs} <= _rows(bench)
    bench.until(lambda: not _rows(bench), what="nothing left of what ended")
    assert orchestrator.end(signal.SIGKILL) == -signal.SIGKILL
    make_bench.also(bench.orchestrator("fresh").start())
    again = [bench.submit(f"past-{n}", f"again-{n}") for n in range(10)]
    bench.until_all(again, WHOLE)
    assert {tuple(bench.statuses(job)) for job in jobs} == {tuple(WHOLE)}
    assert bench.repeats == []


def test_what_arrives_while_an_owner_begins_is_applied(make_bench) -> None:
    bench, orchestrator = make_bench()
    before = bench.submit("before")
    bench.until_all([before], WHOLE)
    assert orchestrator.end() == 0
    make_bench.also(bench.orchestrator("fresh").start(before=SLOW_START))
    jobs = []
    for number in range(40):
        jobs.append(bench.submit(f"meanwhile-{number}"))
        bench.turn(0.1)
    bench.until_all(jobs, WHOLE)


def test_an_owner_that_was_overtaken_reads_from_where_its_tables_are_sure_to_be(make_bench) -> None:
    bench, orchestrator = make_bench()
    before = [bench.submit(f"before-{number}") for number in range(3)]
    bench.until_all(before, WHOLE)
    assert orchestrator.end() == 0
    late = bench.orchestrator("late")
    make_bench.also(late.start(before=OVERTAKEN))
    after = bench.submit("after")
    bench.until_all([*before, after], WHOLE)
    assert "committed by somebody else meanwhile" in late.log.read_text()
    assert bench.repeats == []


def test_an_orchestrator_refuses_tables_that_were_built_from_another_inbox(make_bench) -> None:
    bench, orchestrator = make_bench()
    job = bench.submit("one")
    bench.until(lambda: bench.statuses(job) == WHOLE)
    assert orchestrator.end() == 0
    admin = admin_client({"bootstrap.servers": bench.settings.kafka.bootstrap})
    inbox = bench.topology.inbox.name
    admin.delete_topics([inbox])[inbox].result(30)
    until(lambda: inbox not in admin.list_topics(timeout=10).topics, 30)
    apply(bench.settings)
    orchestrator.start(wait=False)
    assert orchestrator.process.wait(60) == 1
    assert "refusing to start" in orchestrator.log.read_text()
