"""Replay and audit over the log of a real orchestrator that was killed on the way."""

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from typer.testing import CliRunner

from agents.admin_client import admin_client
from ops.cli import exits
from ops.cli.main import app
from ops.reading.log import Log
from pipeline.ledger.case import Case
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Heartbeat, Held
from pipeline.replay import comparison
from tests.integration.ledger_bench import HOLDER, Bench

WHOLE = ["job-queued", "job-started", "job-completed"]
NOWHERE = {"JOBSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1", "JOBSTREAM_CONFIG": "/nonexistent.toml"}


@dataclass
class Past:
    """A bench whose orchestrator is gone, and jobs of it by what became of them."""

    bench: Bench
    completed: str
    duplicate: str
    revoked: str
    lost: str

    def run(self, *words: str):  # type: ignore[no-untyped-def]
        return CliRunner().invoke(app, list(words), env=self.bench.environment)


@pytest.fixture(scope="module")
def past(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    home = tmp_path_factory.mktemp("replay")
    prefix = f"replay-{time.time_ns() % 10**9}."
    bench = Bench(kafka, home, prefix, lease_ms=3000, tick_ms=300, retry_backoff_ms=100)
    orchestrator = bench.orchestrator().start()
    try:
        yield _live(bench, orchestrator)
    finally:
        if orchestrator.process is not None and orchestrator.process.poll() is None:
            orchestrator.process.kill()
            orchestrator.process.wait(10)
        bench.close()


def _live(bench: Bench, orchestrator) -> Past:  # type: ignore[no-untyped-def]
    """Have all kinds of things happen, the orchestrator being killed in between."""
    jobs = [bench.submit(f"many-{number}") for number in range(40)]
    bench.until(lambda: sum(bench.statuses(job) == WHOLE for job in jobs) >= 8)
    orchestrator.end(signal.SIGKILL)
    orchestrator.start()
    bench.until_all(jobs, WHOLE, 90)
    duplicate = bench.submit("many-0", "again")
    bench.until(lambda: bench.statuses(duplicate) == ["job-deduped"])
    bench.control("retry", jobs[1])
    bench.until(lambda: bench.statuses(jobs[1])[-1] == "control-refused")
    bench.completes, bench.forwards_ticks = False, True
    revoked, lost = bench.submit("revoked"), bench.submit("lost")
    bench.until_all([revoked, lost], WHOLE[:2])
    for job in (revoked, lost):
        bench.heartbeat(bench.topology.job_partition(job), Heartbeat(HOLDER, (Held(job, 1),)))
    bench.control("revoke", revoked)
    bench.until(lambda: bench.statuses(revoked)[-1] == "job-revoked")
    bench.until(lambda: bench.statuses(lost)[-3:] == ["job-offline", *WHOLE[:2]], 120)
    bench.report("completed", lost, 1)
    bench.until(lambda: bench.statuses(lost)[-1] == "report-refused")
    bench.report("completed", lost, 2)
    bench.until(lambda: bench.statuses(lost)[-1] == "job-completed")
    assert orchestrator.end() == 0
    return Past(bench, jobs[0], duplicate, revoked, lost)


def test_todays_code_makes_of_the_log_what_was_recorded_and_the_log_holds(past: Past) -> None:
    verified = past.run("replay", "verify", "-o", "json")
    assert verified.exit_code == exits.OK, verified.stdout
    partitions = json.loads(verified.stdout)["partitions"]
    facts = sum(len(of_job) for of_job in past.bench.facts.values())
    assert sum(one["equal"] for one in partitions) == facts
    assert [one["not_judged"] for one in partitions] == [{}] * 4
    audited = past.run("audit", "-o", "json")
    assert audited.exit_code == exits.OK, audited.stdout
    found = json.loads(audited.stdout)
    assert (found["jobs"], found["open"]["count"], found["not_judged"]) == (len(past.bench.facts), 0, {})
    assert found["facts"] - found["repeats"] == facts


def test_a_code_that_decides_otherwise_is_found_before_it_goes_live(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = Case.finish

    def careless(case: Case, job_id: str, job, status, *rest: object) -> None:  # type: ignore[no-untyped-def]
        fail(case, job_id, job, "job-failed" if status == "job-revoked" else status, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Case, "finish", careless)
    result = past.run("replay", "verify", "-o", "json")
    assert result.exit_code == exits.FAILED
    (divergence,) = [one for part in json.loads(result.stdout)["partitions"] for one in part["divergences"]]
    assert (divergence["job_id"], divergence["kind"]) == (past.revoked, comparison.DIFFERS)
    assert {"path": "status", "before": "job-revoked", "after": "job-failed"} in divergence["changes"]
    # nothing of it lies in the span
    assert past.run("replay", "verify", "--from", "2099-01-01").exit_code == exits.OK


def test_an_exported_history_replays_without_a_server_as_the_log_does(past: Past, tmp_path: Path) -> None:
    for job in (past.completed, past.duplicate, past.revoked, past.lost):
        file = tmp_path / f"{job}.json"
        file.write_text(past.run("replay", "export", job).stdout)
        steps = CliRunner().invoke(app, ["replay", "job", "--file", str(file), "-o", "json"], env=NOWHERE)
        assert steps.stdout == past.run("replay", "job", job, "-o", "json").stdout
        told = [json.loads(line) for line in steps.stdout.splitlines()]
        assert [fact["status"] for step in told for fact in step["facts"]] == past.bench.statuses(job)
        assert CliRunner().invoke(app, ["replay", "verify", "--file", str(file)], env=NOWHERE).exit_code == exits.OK
    text = CliRunner().invoke(app, ["replay", "job", "--file", str(tmp_path / f"{past.lost}.json")], env=NOWHERE).stdout
    assert "lease of attempt 1 falls due" in text
    assert "the last that lists it" in text


def test_an_audit_of_the_last_of_it_holds_what_it_does_not_see_against_nobody(past: Past) -> None:
    times = sorted(fact.time for of_job in past.bench.facts.values() for fact in of_job.values())
    for time_ms in times[:: len(times) // 4]:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
        result = past.run("audit", "--from", moment, "-o", "json")
        assert result.exit_code == exits.OK, result.stdout
    assert json.loads(result.stdout)["not_judged"]


def test_what_retention_took_is_not_judged_and_the_rest_is(kafka: str, tmp_path: Path) -> None:
    bench = Bench(kafka, tmp_path, f"retention-{time.time_ns() % 10**9}.")
    orchestrator = bench.orchestrator().start()
    try:
        old = [bench.submit(f"old-{number}") for number in range(12)]
        bench.until_all(old, WHOLE)
        inbox = bench.topology.inbox
        with Log(bench.settings) as log:
            ends = log.ends(inbox, range(inbox.partitions))
        cuts = [TopicPartition(inbox.name, number, max(0, end - 2)) for number, end in ends.items()]
        for cut in admin_client({"bootstrap.servers": kafka}).delete_records(cuts).values():
            cut.result(30)
        new = [bench.submit(f"new-{number}") for number in range(12)]
        bench.until_all(new, WHOLE)
    finally:
        orchestrator.end()
        bench.close()
    past = Past(bench, old[0], "", "", "")
    verified = past.run("replay", "verify", "-o", "json")
    assert verified.exit_code == exits.OK, verified.stdout
    partitions = json.loads(verified.stdout)["partitions"]
    assert sum(one["equal"] for one in partitions) == 3 * len(new)
    assert all(comparison.BEFORE in one["not_judged"] for one in partitions if one["not_judged"])
    assert any(one["not_judged"] for one in partitions)
    audited = past.run("audit", "-o", "json")
    assert audited.exit_code == exits.OK, audited.stdout
    assert json.loads(audited.stdout)["not_judged"]
    told = past.run("replay", "job", old[0])
    assert "what came before is gone" in told.stderr


def test_a_job_that_is_not_there_and_a_broker_that_is_not_are_told_apart(past: Past) -> None:
    assert past.run("replay", "job", "nobody-1").exit_code == exits.NOT_FOUND
    assert past.run("replay", "verify", "--partition", "4").exit_code == exits.USAGE
    for words in (["replay", "verify"], ["audit"]):
        assert CliRunner().invoke(app, words, env=NOWHERE).exit_code == exits.UNREACHABLE


def test_an_audit_ends_with_exit_code_1_where_something_does_not_hold(kafka: str, tmp_path: Path) -> None:
    bench = Bench(kafka, tmp_path, f"audit-{time.time_ns() % 10**9}.")
    job = bench.submit("one")
    family = job.partition("-")[0]
    first = (job, family, "s-one", "h", 2, "job-completed", 1, 1000, "{}", bench.topology.job_partition(job), 0, 0, "1")
    value = bench.codec.encode("fact", Fact(*first).record())
    partition = bench.topology.inbox_partition(family)
    bench.publisher.send(bench.topology.events, family, value, partition).result(30)
    bench.close()
    result = CliRunner().invoke(app, ["audit", "-o", "json"], env=bench.environment)
    assert result.exit_code == exits.FAILED
    assert {one["check"] for one in json.loads(result.stdout)["violations"]} == {"seq"}
    text = CliRunner().invoke(app, ["audit"], env=bench.environment).stdout
    assert "fact 2 came after none" in text
