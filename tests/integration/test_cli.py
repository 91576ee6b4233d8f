"""The command line against a real broker; the test plays the ledger."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from agents.admin import apply
from agents.bus import Publisher
from ops.cli import exits
from ops.cli.main import app
from pipeline.identity import job_id
from pipeline.messages.inbox import Source
from pipeline.messages.needs import Needs
from pipeline.messages.run import Run
from pipeline.messages.status import Running, WorkerStatus
from pipeline.protocol import Protocol
from pipeline.settings import KafkaSettings, Settings, SinkSettings, TopicSettings
from tests.integration.played_ledger import PlayedLedger

JOB = job_id("0123456789abcdef0123", "s", "h", "c", "q")


@pytest.fixture(scope="module")
def settings(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = Settings(
        home=tmp_path_factory.mktemp("home"),
        kafka=KafkaSettings(bootstrap=kafka),
        topics=TopicSettings(prefix=f"cli-{uuid.uuid4().hex[:6]}.", inbox_partitions=3, submit_partitions=2),
        sink=SinkSettings(elasticsearch="http://127.0.0.1:1"),
    )
    apply(made)
    return made


@pytest.fixture
def ledger(settings: Settings) -> Iterator[PlayedLedger]:
    played = PlayedLedger(settings)
    yield played
    played.close()


@pytest.fixture
def job() -> str:
    """A job of a family of its own."""
    return job_id(uuid.uuid4().hex[:20], "s", "h", "c", "q")


class Cli:
    """Runs commands with the test's settings."""

    def __init__(self, settings: Settings) -> None:
        self._environment = settings.environment()

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(app, list(words), env=self._environment)


@pytest.fixture
def cli(settings: Settings) -> Cli:
    return Cli(settings)


def taking(ledger: PlayedLedger, schema: str, record: dict[str, Any], source: Source) -> None:
    ledger.take(record, source.offset)


def test_a_submission_that_is_taken_names_its_jobs(cli: Cli, ledger: PlayedLedger) -> None:
    with ledger.answering(taking) as answering:
        result = cli("submit", "job:sum:v1", "-p", "a=1", "-p", "b=x", "--priority", "7", "--no-dedup", "-o", "json")
    assert result.exit_code == exits.OK, result.output
    (sent,) = answering.seen
    answer = json.loads(result.stdout)
    assert set(answer) == {"submission_id", "job_ids"}
    assert answer["submission_id"] == sent["submission_id"] == sent["key"]
    assert answer["job_ids"] == [job for job, of in ledger.submissions.items() if of == sent["submission_id"]]
    assert json.loads(sent["payload"]) == {"a": 1, "b": "x"}
    assert (sent["job_type"], sent["priority"], sent["enable_dedup"]) == ("job:sum:v1", 7, False)


def test_all_jobs_of_a_submission_are_named_though_their_facts_come_one_by_one(cli: Cli, ledger: PlayedLedger) -> None:
    def two_queues(ledger: PlayedLedger, schema: str, record: dict[str, Any], source: Source) -> None:
        ledger.take(record, source.offset, ("one", "two"))

    with ledger.answering(two_queues):
        result = cli("submit", "sum", "-p", "two=queues", "-o", "json")
    assert len(json.loads(result.stdout)["job_ids"]) == 2


def test_a_submission_that_nobody_takes_is_exit_code_3_and_keeps_its_id(cli: Cli) -> None:
    result = cli("submit", "sum", "--submission-id", "mine-1", "--timeout", "0.5")
    assert result.exit_code == exits.TIMEOUT
    assert "mine-1" in result.stderr and "not yet taken" in result.stderr


def test_an_id_that_was_taken_before_names_the_same_jobs(cli: Cli, ledger: PlayedLedger) -> None:
    with ledger.answering(taking):
        first = cli("submit", "sum", "-p", "again=1", "--submission-id", "again-1", "-o", "json")
    # nobody answers the second time: a redelivery makes no facts
    second = cli("submit", "sum", "-p", "again=1", "--submission-id", "again-1", "-o", "json")
    assert second.exit_code == exits.OK, second.output
    assert json.loads(second.stdout) == json.loads(first.stdout)


@pytest.mark.parametrize(
    ("status", "info", "code"),
    [("job-completed", {"status": 0}, 0), ("job-failed", {"status": 7}, 7), ("job-failed", {}, 1)],
)
def test_waiting_ends_with_the_exit_status_of_the_job(
    cli: Cli, ledger: PlayedLedger, status: str, info: dict[str, Any], code: int
) -> None:
    def running(ledger: PlayedLedger, schema: str, record: dict[str, Any], source: Source) -> None:
        (job,) = ledger.take(record, source.offset)
        ledger.say(job, "job-started")
        # a lost worker ends nothing: the next attempt does
        ledger.say(job, "job-offline")
        ledger.say(job, status, document={"job": {"job_info": info}})

    with ledger.answering(running):
        result = cli("submit", "sum", "-p", f"wait={status}{info}", "--wait", "--timeout", "30")
    assert result.exit_code == code, result.output
    assert [line.split()[1] for line in result.stdout.splitlines()] == [
        "job-queued",
        "job-started",
        "job-offline",
        status,
    ]


def test_waiting_for_a_duplicate_is_waiting_for_its_original(cli: Cli, ledger: PlayedLedger) -> None:
    originals: list[str] = []

    def duplicate(ledger: PlayedLedger, schema: str, record: dict[str, Any], source: Source) -> None:
        if not originals:
            originals.extend(ledger.take(record, source.offset))
            return
        ledger.take(record, source.offset, status="job-deduped", document={"dedup_job": originals[0]})
        ledger.say(originals[0], "job-failed", document={"job": {"job_info": {"status": 9}}})

    with ledger.answering(duplicate):
        assert cli("submit", "sum", "-p", "dup=1").exit_code == exits.OK
        result = cli("submit", "sum", "-p", "dup=1", "--wait", "--timeout", "30")
    assert result.exit_code == 9, result.output
    assert f"duplicate of {originals[0]}" in result.stdout


def test_events_come_in_order_and_once_whatever_the_log_repeats(cli: Cli, ledger: PlayedLedger, job: str) -> None:
    ledger.say(job, "job-queued", at=(1, 5, 0))
    ledger.say(job, "job-started", reason="claimed")
    ledger.say(job, "job-queued", seq=1)
    ledger.say(job, "job-completed")
    result = cli("events", job, "-o", "json")
    facts = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(fact["seq"], fact["status"]) for fact in facts] == [
        (1, "job-queued"),
        (2, "job-started"),
        (3, "job-completed"),
    ]
    assert facts[1]["reason"] == "claimed"
    assert facts[0]["time"] == "2025-11-24T16:00:00.123Z"
    assert set(facts[0]["provenance"]) == {"inbox_partition", "inbox_offset", "index", "code_version"}
    assert "document" not in facts[0]
    with_documents = cli("events", job, "-o", "json", "--documents").stdout.splitlines()
    assert json.loads(with_documents[2])["document"]["status"] == "job-completed"


@pytest.mark.parametrize("command", ["events", "get", "logs", "why", "watch", "revoke", "retry"])
def test_a_job_that_the_log_does_not_know_is_exit_code_4(cli: Cli, command: str) -> None:
    result = cli(command, "ffffffffffffffffffff-000000000000")
    assert result.exit_code == exits.NOT_FOUND, result.output


def test_a_job_is_shown_from_the_log_where_the_index_is_away(cli: Cli, ledger: PlayedLedger, job: str) -> None:
    ledger.say(job, "job-queued")
    ledger.say(job, "job-started")
    ledger.say(job, "report-refused", document={"status": "job-started"}, whole=False)
    result = cli("get", job, "-o", "json")
    assert result.exit_code == exits.OK, result.output
    document = json.loads(result.stdout)
    assert (document["status"], document["seq"]) == ("job-started", 2)
    assert "from log" in result.stderr


def test_watching_a_job_ends_when_it_has_ended(cli: Cli, ledger: PlayedLedger, job: str) -> None:
    ledger.say(job, "job-started")
    unfinished = cli("watch", job, "--timeout", "0.3")
    assert unfinished.exit_code == exits.TIMEOUT
    ledger.say(job, "job-completed")
    result = cli("watch", job, "--timeout", "30", "-o", "json")
    assert result.exit_code == exits.OK
    assert json.loads(result.stdout.splitlines()[-1])["status"] == "job-completed"


def test_a_request_is_answered_by_the_fact_that_it_caused_and_by_no_other(
    cli: Cli, ledger: PlayedLedger, job: str
) -> None:
    def revoking(ledger: PlayedLedger, schema: str, record: dict[str, Any], source: Source) -> None:
        ledger.say(job, "job-started", at=(*ledger.control(job, "republish", Source("control", 0, 10**6)), 0))
        ledger.say(job, "job-revoked", at=(*ledger.control(job, "revoke", source), 0))

    ledger.say(job, "job-queued")
    with ledger.answering(revoking) as answering:
        result = cli("revoke", job, "--reason", "enough", "-o", "json")
    assert result.exit_code == exits.OK, result.output
    assert json.loads(result.stdout)["status"] == "job-revoked"
    (asked,) = answering.seen
    assert (asked["action"], asked["reason"]) == ("revoke", "enough")
    assert asked["partition"] == ledger.topology.job_partition(job)


def test_a_request_that_is_refused_says_why_and_ends_with_1(cli: Cli, ledger: PlayedLedger, job: str) -> None:
    def refusing(ledger: PlayedLedger, schema: str, record: dict[str, Any], source: Source) -> None:
        at = (*ledger.control(job, "retry", source), 0)
        ledger.say(job, "control-refused", at=at, reason="retry: it runs", whole=False)

    ledger.say(job, "job-started")
    with ledger.answering(refusing) as answering:
        result = cli("retry", job, "--force")
    assert result.exit_code == exits.FAILED
    assert "retry: it runs" in result.stderr
    assert orjson.loads(answering.seen[0]["arguments"]) == {"force": True}


def test_a_request_that_nobody_applies_is_exit_code_3(cli: Cli, ledger: PlayedLedger, job: str) -> None:
    ledger.say(job, "job-started")
    assert cli("revoke", job, "--timeout", "0.3").exit_code == exits.TIMEOUT


def test_silence_on_a_job_that_the_ledger_has_forgotten_is_said_to_be_that(
    cli: Cli, ledger: PlayedLedger, job: str
) -> None:
    ledger.say(job, "job-failed")
    result = cli("retry", job, "--timeout", "0.3")
    assert (result.exit_code, "longer ago than the ledger remembers" in result.stderr) == (exits.NOT_FOUND, True)


def test_logs_are_those_of_the_work_directory(cli: Cli, ledger: PlayedLedger, job: str, tmp_path: Path) -> None:
    (tmp_path / "_stdout.txt").write_text("out\n")
    secret = tmp_path / "secret"
    secret.write_text("not the job's\n")
    (tmp_path / "_stderr.txt").symlink_to(secret)
    ledger.say(job, "job-completed", document={"job": {"job_info": {"job_dir": str(tmp_path)}}})
    result = cli("logs", job, "-f")
    assert result.exit_code == exits.OK, result.output
    assert result.stdout == "out\n"
    assert "not the job's" not in result.output


def test_logs_of_another_host_are_not_looked_for_here(cli: Cli, ledger: PlayedLedger, job: str) -> None:
    info = {"job_dir": "/nonexistent/dir", "execute_node": "elsewhere"}
    ledger.say(job, "job-completed", document={"job": {"job_info": info}})
    result = cli("logs", job)
    assert result.exit_code == exits.NOT_FOUND
    assert "elsewhere" in result.stderr


def test_queues_are_declared_paused_and_resumed(cli: Cli, settings: Settings) -> None:
    assert cli("queues", "pause", "nobody").exit_code == exits.NOT_FOUND
    assert cli("queues", "declare", "hill").exit_code == exits.OK
    assert cli("queues", "pause", "hill").exit_code == exits.OK
    publish(
        settings, "view", "hill", orjson.dumps({"queue": "hill", "depth": 3, "oldest": 1, "running": 2, "unmet": []})
    )
    (row,) = [row for row in json.loads(cli("queues", "-o", "json").stdout) if row["queue"] == "hill"]
    assert (row["paused"], row["depth"], row["running"]) == (True, 3, 2)
    assert cli("queues", "declare", "hill").stdout == "hill is declared already\n"
    assert cli("queues", "resume", "hill").exit_code == exits.OK
    (row,) = [row for row in json.loads(cli("queues", "list", "-o", "json").stdout) if row["queue"] == "hill"]
    assert row["paused"] is False


def test_a_worker_is_drained_and_resumed(cli: Cli, settings: Settings, ledger: PlayedLedger) -> None:
    old = WorkerStatus("w", "w:1:a", 0, 1, 100, 100)
    new = WorkerStatus("w", "w:2:b", 0, 4, 100, 100, attempts=(Running(JOB, 1),))
    for status in (old, new):
        publish(settings, "status", "w", ledger.codec.encode("status", status.record()))
    assert cli("workers", "drain", "nobody").exit_code == exits.NOT_FOUND
    assert cli("workers", "drain", "w", "--reason", "new disk").exit_code == exits.OK
    (row,) = json.loads(cli("workers", "-o", "json").stdout)
    assert (row["holder"], row["slots"], row["state"]) == ("w:2:b", 4, "draining")
    assert cli("workers", "resume", "w").exit_code == exits.OK
    (row,) = json.loads(cli("workers", "-o", "json").stdout)
    assert row["state"] == "up"


def test_a_worker_of_another_protocol_is_listed_with_the_reason_even_if_its_status_cannot_be_read(
    cli: Cli, settings: Settings
) -> None:
    newer = Protocol(9, 8).header
    publisher = Publisher(settings, "test")
    publisher.send(settings.topology.status, "newer", b"\xc3\x01" + bytes(20), 0, [newer]).result(30)
    publisher.close()
    (row,) = [row for row in json.loads(cli("workers", "-o", "json").stdout) if row["worker_id"] == "newer"]
    publish(settings, "status", "newer", None)
    assert row["state"] == "incompatible"
    assert "upgrade the orchestrator" in row["reason"]


def test_why_says_that_the_queue_is_paused_and_how_many_go_before(
    cli: Cli, settings: Settings, ledger: PlayedLedger, job: str
) -> None:
    cli("queues", "declare", "why")
    ledger.say(job, "job-queued")
    for number, waiting in enumerate((JOB, job)):
        run = Run(waiting, 1, 1, "why", 0, 1000 + number, "t", Needs())
        publish(settings, "run", run.key, ledger.codec.encode("run", run.record()), "why")
    cli("queues", "pause", "why")
    answer = json.loads(cli("why", job, "-o", "json").stdout)
    assert answer["reason"] == "queue why is paused"
    assert answer["before"] == 1
    ledger.say(job, "job-completed")
    assert json.loads(cli("why", job, "-o", "json").stdout)["status"] == "job-completed"


def publish(settings: Settings, name: str, key: str, value: bytes | None, queue: str | None = None) -> None:
    topology = settings.topology
    topic = topology.run(queue) if queue is not None else getattr(topology, name)
    publisher = Publisher(settings, "test")
    publisher.send(topic, key, value, 0).result(30)
    publisher.close()


def test_a_retry_names_queue_and_attempt_and_an_undeclared_queue_is_refused(
    cli: Cli, ledger: PlayedLedger, job: str
) -> None:
    def does(ledger: PlayedLedger, schema: str, record: dict[str, Any], source: Source) -> None:
        ledger.say(job, "job-queued", at=(*ledger.control(job, "retry", source), 0), attempt=2)

    ledger.say(job, "job-failed")
    assert cli("retry", job, "--queue", "nowhere").exit_code == exits.NOT_FOUND
    assert cli("queues", "declare", "large").exit_code == exits.OK
    with ledger.answering(does) as answering:
        result = cli("retry", job, "--queue", "large", "--attempt", "1")
    assert result.exit_code == exits.OK, result.output
    assert "attempt 2" in result.stdout
    (asked,) = answering.seen
    assert json.loads(asked["arguments"]) == {"queue": "large", "attempt": 1}


def test_get_shows_each_attempt_and_whether_another_follows(cli: Cli, ledger: PlayedLedger, job: str) -> None:
    holder = {"holder": "w9:1:a"}
    ledger.say(job, "job-started", document=holder)
    retry = {"follows": True, "number": 1, "most": 2, "rule": "exit:75", "due": "2026-01-01T00:00:00.000000Z"}
    told = "command-failed; retry 1 of 2 at …"
    ledger.say(job, "attempt-failed", document={"attempt": 1, "retry": retry, **holder}, reason=told)
    shown = cli("get", job).stdout
    assert "1 of 2 (exit:75), from 2026-01-01" in shown
    assert [line.split()[:2] for line in shown.splitlines()[-2:]] == [["ATTEMPT", "STATUS"], ["1", "attempt-failed"]]
    ledger.say(job, "job-started", attempt=2, document={"attempt": 2, "holder": "w8:1:a"})
    lines = cli("get", job).stdout.splitlines()[-2:]
    assert [line.split()[:2] for line in lines] == [["1", "attempt-failed"], ["2", "job-started"]]
    assert "w9" in lines[0] and "w8" in lines[1] and told in lines[0]
