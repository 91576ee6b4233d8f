"""Tables that were lost or spoilt, and written anew from the inbox, with a real broker and a real orchestrator."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from typer.testing import CliRunner

from agents import generations
from agents.admin import TopicError, apply, delete
from agents.admin_client import admin_client
from agents.orchestrator.row import BACKING_KEY, body_of, offset_of, pack
from ops.cli import exits
from ops.cli.main import app
from ops.ledger import changelogs, moving, rebuilding, refusals
from ops.ledger.rows import DOCUMENTS, FAMILIES, LedgerRows
from ops.ledger.writing import Writer
from ops.reading.log import Log
from ops.replaying.store import disk_store
from pipeline.identity import family_of_job
from pipeline.ledger.state import Family
from pipeline.messages.inbox import Control, Inbox, Source
from pipeline.settings import TopicSettings
from tests.asked import LONG
from tests.integration.ledger_bench import PROJECT, Bench, Orchestrator

WHOLE = ["job-queued", "job-started", "job-completed"]
#: a rebuild that is killed while it writes the third row
KILLED = """
import os, signal
from ops.ledger.writing import Writer
send, sent = Writer.send, []
def killed(self, topic, key, *rest):
    sent.append(key)
    if sum(not key.startswith(b"!") for key in sent) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    send(self, topic, key, *rest)
Writer.send = killed
from ops.cli.main import main
main()
"""


class Installation:
    """A bench with what a test of the tables does to it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.orchestrators: list[Orchestrator] = []

    def run(self, *words: str):  # type: ignore[no-untyped-def]
        return CliRunner().invoke(app, list(words), env=self.bench.environment)

    def told(self, *words: str, code: int = exits.OK) -> dict:
        result = self.run(*words, "-o", "json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def start(self, name: str = "a", *, wait: bool = True) -> Orchestrator:
        started = self.bench.orchestrator(name)
        self.orchestrators.append(started)
        return started.start(wait=wait)

    def refused(self, name: str) -> str:
        """Start an orchestrator that refuses to; return what it logged."""
        started = self.start(name, wait=False)
        assert started.process is not None
        assert started.process.wait(60) == 1
        return started.log.read_text()

    def holds(self) -> None:
        """The log holds, today's code agrees with it, and the tables are what it makes."""
        for words in (("audit",), ("replay", "verify"), ("ledger", "verify")):
            result = self.run(*words)
            assert result.exit_code == exits.OK, result.output

    def rows(self, partition: int) -> dict[tuple[str, bytes], bytes]:
        with Log(self.bench.settings, follows=False) as log, disk_store() as store:
            rows = LedgerRows(store, "t")
            changelogs.merge(log, self.bench.topology, partition, rows)
            return {(table, key): value for table in (FAMILIES, DOCUMENTS) for key, value in rows.rows(table)}

    def plant(self, table: str, key: bytes, value: bytes | None, partition: int, **headers: bytes) -> None:
        topic = next(one for one in self.bench.topology.changelogs() if f"-{table}-" in one.name)
        self.bench.publisher.send(topic, key, value, partition, list(headers.items())).result(30)


@pytest.fixture
def make(kafka: str, tmp_path: Path) -> Iterator:
    made: list[Installation] = []

    prefix = f"rb{time.time_ns() % 10**9}."

    def installation(topics: dict[str, int] | None = None) -> Installation:
        # nobody waits long for the session of one that was stopped
        made.append(Installation(Bench(kafka, tmp_path / "bench", prefix, topics, session_ms=6000)))
        return made[-1]

    yield installation
    for one in made:
        for orchestrator in one.orchestrators:
            if orchestrator.process is not None and orchestrator.process.poll() is None:
                orchestrator.process.kill()
                orchestrator.process.wait(10)
        one.bench.close()


def _lived(site: Installation) -> tuple[list[str], list[str], str]:
    """Have jobs completed, running and waiting; return them."""
    bench = site.bench
    done = [bench.submit(f"done-{number}") for number in range(12)]
    bench.until_all(done, WHOLE)
    bench.completes = False
    running = [bench.submit(f"runs-{number}") for number in range(8)]
    bench.until_all(running, WHOLE[:2])
    bench.claims = False
    waits = bench.submit("waits")
    bench.until(lambda: f"{waits}/1" in bench.waiting)
    return done, running, waits


def _goes_on(site: Installation, done: list[str], running: list[str], waits: str) -> None:
    """What ran completes, what waits runs, and what was completed is still known; the log says the same."""
    bench = site.bench
    again = [bench.submit(f"done-{number}", "again") for number in range(len(done))]
    bench.until_all(again, ["job-deduped"])
    for job in running:
        bench.report("completed", job, 1)
    bench.claims = bench.completes = True
    bench.claim(waits, 1)
    bench.until_all([*running, waits], WHOLE)
    assert bench.repeats == []
    assert {tuple(sorted(bench.facts[job])) for job in [*done, *running, waits]} == {(1, 2, 3)}


def test_wrong_rows_are_found_exactly_and_are_gone_after_a_rebuild_from_old_stores_too(make) -> None:
    site = make()
    first = site.start()
    done, running, waits = _lived(site)
    told = site.told("ledger", "verify")
    assert [one["differences"] for one in told["partitions"]] == [[]] * 4
    assert sum(one["equal"][FAMILIES] for one in told["partitions"]) == 21
    refused = site.run("ledger", "rebuild", "--replace")
    assert (refused.exit_code, "stop them first" in refused.output) == (exits.FAILED, True)
    assert first.end() == 0

    spoilt, lost = done[0], done[1]
    partition, other = site.bench.topology.job_partition(spoilt), site.bench.topology.job_partition(lost)
    key = family_of_job(spoilt).encode()
    row = site.rows(partition)[FAMILIES, key]
    family = Family.load(body_of(row))
    wrong = Family(family.id, family.offset, "another hash", family.sources, family.jobs, family.done)
    site.plant(FAMILIES, key, pack(offset_of(row), wrong.dump()), partition)
    site.plant(FAMILIES, b"nobodys", pack(0, Family("nobodys", 0).dump()), partition)
    deleted = str(offset_of(site.rows(other)[DOCUMENTS, lost.encode()])).encode()
    site.plant(DOCUMENTS, lost.encode(), None, other, offset=deleted)
    site.plant("active", b"late", pack(10**6, b""), partition)
    told = site.told("ledger", "verify", code=exits.FAILED)
    found = {(one["table"], one["key"], one["kind"]) for part in told["partitions"] for one in part["differences"]}
    assert found == {
        (FAMILIES, family.id, "differs"),
        (FAMILIES, "nobodys", "only in the tables"),
        (DOCUMENTS, lost, "not in the tables"),
        ("active", "late", "includes more than the inbox has"),
    }
    (shown,) = [one for part in told["partitions"] for one in part["differences"] if one["key"] == family.id]
    assert shown["changes"] == [{"path": "payload_hash", "before": "another hash", "after": family.payload_hash}]

    # the local store takes the wrong rows over
    spoilt_too = site.start()
    assert spoilt_too.end() == 0
    store = site.bench.settings.home / "a/faust/jobstream-orchestrator/v1/tables"
    told = site.told("ledger", "verify", "--store", str(store), code=exits.FAILED)
    assert sum(len(part["differences"]) for part in told["partitions"]) == 4
    refused = site.run("ledger", "rebuild")
    assert (refused.exit_code, "--replace" in refused.output) == (exits.FAILED, True)
    assert site.told("ledger", "rebuild", "--replace", "--dry-run")["rows"][FAMILIES] == 21
    assert site.run("ledger", "rebuild", "--replace").exit_code == exits.OK
    assert site.run("ledger", "verify").exit_code == exits.OK
    last = site.start()
    assert last.count("the local store is of other changelogs") == 1
    _goes_on(site, done, running, waits)
    site.holds()
    assert last.end() == 0
    assert site.run("ledger", "verify", "--store", str(store)).exit_code == exits.OK


def test_a_changelog_that_was_deleted_is_rebuilt_although_the_rebuild_is_killed(make) -> None:
    site = make()
    running = site.start()
    done, jobs, waits = _lived(site)
    running.end(signal.SIGKILL)
    bench = site.bench
    delete(bench.settings, bench.topology.changelogs()[:1])
    # what anybody who starts an installation does
    apply(bench.settings)
    assert "the tables are empty" in site.refused("a")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "ledger", "rebuild"],
        env={**bench.environment, "PATH": "", "JOBSTREAM_HOME": str(bench.settings.home)},
        cwd=PROJECT,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "a rebuild of the tables was broken off" in site.refused("a")
    again = site.run("ledger", "rebuild")
    assert again.exit_code == exits.OK, again.output
    assert "a rebuild was broken off: it begins again" in again.output
    assert site.run("ledger", "verify").exit_code == exits.OK
    site.start("fresh")
    _goes_on(site, done, jobs, waits)
    site.holds()


class Broken(BaseException):
    """The rebuild ends here."""


@pytest.mark.skipif(not LONG, reason="a minute; JOBSTREAM_LONG=1")
def test_wherever_a_rebuild_of_emptied_changelogs_breaks_off_none_are_whole_and_the_next_one_makes_them(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make()
    orchestrator = site.start()
    done, running, waits = _lived(site)
    assert orchestrator.end() == 0
    bench = site.bench
    admin = admin_client({"bootstrap.servers": bench.settings.kafka.bootstrap})
    with Log(bench.settings) as log:
        ends = [
            TopicPartition(topic.name, number, end)
            for topic in bench.topology.changelogs()
            for number, end in log.ends(topic, range(4)).items()
        ]
    _empty(admin, ends)
    assert "the tables are empty" in site.refused("b")
    # the newest facts tell where to go on
    refusals.no_orchestrator(bench.settings, print)
    (gone,) = admin.delete_consumer_groups([bench.topology.name(bench.topology.ledger_id)]).values()
    gone.result(30)
    send, sent = Writer.send, []
    limit = 0

    def broken(self: Writer, *arguments: object) -> None:
        sent.append(arguments)
        if len(sent) > limit:
            raise Broken
        send(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "send", broken)
    # 4 marks, then 21 families, their documents and 9 that are unfinished, policies, and the last 4 marks
    for limit in (0, 1, 4, 7, 30, 55, 57):
        sent.clear()
        with pytest.raises(Broken):
            rebuilding.rebuild(bench.settings)
        backings = [_backing(site, number) for number in range(4)]
        assert not all(one is not None and one["whole"] for one in backings), (limit, backings)
    limit = 10**6
    assert rebuilding.rebuild(bench.settings).rows == {FAMILIES: 21, DOCUMENTS: 21, "active": 9}
    site.start("b")
    _goes_on(site, done, running, waits)
    site.holds()


def _backing(site: Installation, number: int) -> dict | None:
    with Log(site.bench.settings, follows=False) as log, disk_store() as store:
        rows = LedgerRows(store, "t")
        changelogs.merge_families(log, site.bench.topology, number, rows)
        value = rows.get(FAMILIES, BACKING_KEY)
        return None if value is None else json.loads(body_of(value))


def _empty(admin, ends: list[TopicPartition]) -> None:  # type: ignore[no-untyped-def]
    # of a topic that is compacted alone no record may be deleted
    setting = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    topics = {ConfigResource(ResourceType.TOPIC, end.topic, incremental_configs=[setting]) for end in ends}
    for altered in admin.incremental_alter_configs(list(topics)).values():
        altered.result(30)
    for emptied in admin.delete_records(ends).values():
        emptied.result(30)


def test_jobs_from_before_the_inbox_begins_are_left_out_only_where_that_is_asked_for(make) -> None:
    site = make()
    orchestrator = site.start()
    _lived(site)
    bench = site.bench
    inbox = bench.topology.inbox
    with Log(bench.settings) as log:
        ends = log.ends(inbox, range(4))
    bench.claims = bench.completes = True
    new = [bench.submit(f"new-{number}") for number in range(8)]
    bench.until_all(new, WHOLE)
    assert orchestrator.end() == 0
    _empty(
        admin_client({"bootstrap.servers": bench.settings.kafka.bootstrap}),
        [TopicPartition(inbox.name, number, end) for number, end in ends.items()],
    )
    told = site.told("ledger", "verify")
    assert sum(one["not_judged"]["its past is before the inbox begins"] for one in told["partitions"]) > 21
    assert sum(one["equal"].get(FAMILIES, 0) for one in told["partitions"]) == 8
    refused = site.run("ledger", "rebuild", "--replace")
    assert (refused.exit_code, "have jobs from before" in refused.output) == (exits.FAILED, True)
    told = site.told("ledger", "rebuild", "--replace", "--lose-past")
    assert (sum(told["left_out"].values()), told["rows"][FAMILIES]) == (21, 8)
    site.start("b")
    again = [bench.submit(f"new-{number}", "again") for number in range(8)]
    bench.until_all(again, ["job-deduped"])
    assert site.orchestrators[-1].end() == 0

    others = {**bench.environment, "JOBSTREAM_TOPICS__INBOX_PARTITIONS": "3"}
    refused = CliRunner().invoke(app, ["ledger", "rebuild", "--replace"], env=others)
    assert (refused.exit_code, "has 4 partitions, the settings say 3" in refused.output) == (exits.FAILED, True)
    number = bench.topology.job_partition(bench.submit("undecided"))
    with Log(bench.settings) as log:
        end = log.ends(inbox, [number])[number]
    _empty(
        admin_client({"bootstrap.servers": bench.settings.kafka.bootstrap}), [TopicPartition(inbox.name, number, end)]
    )
    refused = site.run("ledger", "rebuild", "--replace")
    assert (refused.exit_code, "were not decided yet" in refused.output) == (exits.FAILED, True)


def test_an_inbox_gets_more_partitions_and_nothing_is_forgotten_or_done_twice(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make({"inbox_partitions": 2})
    bench = site.bench
    late = bench.submit("late")
    assert "1 messages of the inbox are not decided yet" in site.run("ledger", "move", "--partitions", "4").output
    bench.claims = False
    orchestrator = site.start()
    bench.until_all([late], WHOLE[:1])
    bench.claims = True
    done, running, waits = _lived(site)
    retried = bench.submit("retried")
    bench.claim(retried, 1)
    bench.until_all([retried], WHOLE[:2])
    bench.report("failed", retried, 1)
    bench.until(lambda: bench.statuses(retried)[-1] == "job-failed")
    bench.control("retry", retried)
    request = Source("control", bench.topology.job_partition(retried), bench._source)
    bench.until_all([retried], ["job-queued", "job-started", "job-failed", "job-queued"])
    assert orchestrator.end() == 0
    for partitions, why in (("3", "no multiple of 2"), ("2", "only get more")):
        assert why in site.run("ledger", "move", "--partitions", partitions).output
    with monkeypatch.context() as patched:
        send, sent = Writer.send, []

        def broken(self: Writer, *arguments: object) -> None:
            sent.append(arguments)
            if len(sent) == 20:
                raise Broken
            send(self, *arguments)  # type: ignore[arg-type]

        patched.setattr(Writer, "send", broken)
        with pytest.raises(Broken):
            moving.move(bench.settings, 4)
    generations.check(bench.settings)
    topics = {"inbox_partitions": 4, "inbox_generation": 2, "fact_partitions": 2}
    wanted = TopicSettings(prefix=bench.topology.prefix, **topics)
    with pytest.raises(TopicError, match="in generation 1, not 2"):
        generations.check(bench.settings.model_copy(update={"topics": wanted}))
    told = site.told("ledger", "move", "--partitions", "4")
    assert (told["families"], told["documents"], told["moved_before"]) == (23, 23, False)
    assert told["settings"] == {f"JOBSTREAM_TOPICS__{name.upper()}": str(number) for name, number in topics.items()}
    assert site.told("ledger", "move", "--partitions", "4")["moved_before"] is True
    with pytest.raises(TopicError, match="the inbox is in generation 2"):
        generations.check(bench.settings)

    after = make(topics)
    after.bench.claims = after.bench.starts = after.bench.completes = False
    second = after.start()
    after.bench.until_all([late], WHOLE[:1])
    after.bench.send_raw(
        Inbox(family_of_job(retried), Control("retry", retried, "test"), request, 1),
        after.bench.topology.job_partition(retried),
    )
    after.bench.starts = True
    _goes_on(after, done, running, waits)
    assert after.bench.statuses(retried) == ["job-queued", "job-started", "job-failed", "job-queued"]
    after.bench.claim(retried, 2)
    after.bench.claim(late, 1)
    after.bench.until_all([late], WHOLE)
    after.bench.until(lambda: after.bench.statuses(retried)[-1] == "job-completed")
    assert len({after.bench.topology.job_partition(job) for job in done}) == 4
    after.holds()
    for words in (("audit",), ("replay", "verify")):
        before = site.run(*words)
        assert before.exit_code == exits.OK, before.output
    assert second.end() == 0
    if LONG:
        assert after.run("ledger", "rebuild", "--replace").exit_code == exits.OK
        assert after.run("ledger", "verify").exit_code == exits.OK
