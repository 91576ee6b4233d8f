"""Replay: the fold makes what the orchestrator makes, and a job's history can be told without any server."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import exits
from ops.cli.main import app
from pipeline.codec import Codec
from pipeline.identity import family_of_hash, family_of_job
from pipeline.ledger.policy import Policy
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Due, Heartbeat, Held, Inbox, PolicySet, Tick
from pipeline.replay.difference import differences
from pipeline.replay.fold import Fold
from pipeline.replay.history import History, HistoryError
from pipeline.replay.job import JobStep, steps
from pipeline.replay.recorded import Recorded
from pipeline.replay.selection import Selection
from tests.unit.partition_support import CODEC, Owner
from tests.unit.replay_support import eventful, read

HISTORIES = sorted((Path(__file__).parents[1] / "histories").glob("*.json"))
NOWHERE = {"JOBSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1", "JOBSTREAM_CONFIG": "/nonexistent.toml"}


def run(*words: str):
    return CliRunner().invoke(app, ["replay", *words], env=NOWHERE)


def history_of(owner: Owner, job: str) -> History:
    selection = Selection(job, CODEC)
    for one in owner.log:
        message = Recorded.read(CODEC, one.offset, one.timestamp, one.key, one.value).message
        selection.take(one.offset, one.timestamp, message.family.encode() if message else b"?", one.value)
    facts = tuple(fact for fact in owner.facts() if fact.job_id == job)
    return History(job, 0, selection.records(), facts, 0, len(owner.log), "1")


def test_the_fold_makes_the_facts_that_the_orchestrator_made_and_keeps_the_same_families(tmp_path: Path) -> None:
    owner, jobs = eventful(tmp_path)
    fold = Fold(0)
    made = [fact for record in read(owner) for fact in fold.apply(record).facts]
    assert made == owner.facts()
    assert {fact.status for fact in made} >= {"job-offline", "job-deduped", "job-revoked", "report-refused"}
    for job in jobs:
        family = family_of_job(job)
        known = owner.tables.family(0, family)
        left = fold.rows.family(family)
        assert (known.jobs, known.done) == (({}, {}) if left is None else (left.jobs, left.done))
        assert owner.tables.document(0, job) == fold.rows.document(job)


def test_of_all_messages_a_history_keeps_what_gives_the_same_facts_of_its_job(tmp_path: Path) -> None:
    owner, jobs = eventful(tmp_path)
    for job in jobs:
        history = history_of(owner, job)
        assert [fact for step in steps(history) for fact in step.facts] == list(history.facts)
    assert len(history_of(owner, jobs[0]).records) < len(owner.log) / 2


def test_a_history_that_was_written_is_read_again_as_it_was(tmp_path: Path) -> None:
    owner, (job, *_) = eventful(tmp_path)
    history = history_of(owner, job)
    bad = Recorded(10_000, owner.now, b"\xff\xfe", None, "no message", b"\x00\xff")
    history = replace(history, records=(*history.records, bad, replace(bad, offset=10_001, value=b"text", key=None)))
    assert History.load(history.dump()) == history
    assert json.loads(history.dump())["messages"][-2]["value"] == {"base64": "AP8="}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "no JSON"),
        (b"{}", "replay export"),
        (b'{"jobstream_history": 99}', "version 99"),
        (b'{"jobstream_history": 1, "job_id": "a"}', "can't be read: KeyError"),
        (b'{"jobstream_history": 1, "job_id": "a", "inbox": 3}', "can't be read: TypeError"),
    ],
)
def test_what_is_no_history_is_refused_in_words(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=said):
        History.load(data)
    file = tmp_path / "h.json"
    file.write_bytes(data)
    result = run("job", "--file", str(file))
    assert result.exit_code == exits.USAGE
    assert said in result.stderr


def told(step: JobStep) -> tuple[str, str]:
    body = step.record.message.body if step.record.message else None
    return type(body).__name__, step.effect or step.why


def test_each_step_says_what_its_message_did_or_why_nothing(tmp_path: Path) -> None:
    owner, (lost, done, again, failed) = eventful(tmp_path)
    of_lost = [told(step) for step in steps(history_of(owner, lost)) if step.concerns_job]
    assert ("Heartbeat", "renews the lease of attempt 1, the last that lists it") in of_lost
    assert any(name == "Tick" and "lease of attempt 1 falls due" in text for name, text in of_lost)
    assert ("Claim", "the job is already job-completed") in [told(step) for step in steps(history_of(owner, done))]
    assert ("Report", "says again that attempt 1 completed") in [told(s) for s in steps(history_of(owner, done))]
    of_failed = [told(step)[1] for step in steps(history_of(owner, failed))]
    assert "a repeat: control 0/4 was applied before" in of_failed
    (first, *_) = [step for step in steps(history_of(owner, again)) if step.changes]
    assert {change.path: change.after for change in first.changes}["status"] == "job-deduped"


def test_a_heartbeat_of_somebody_else_is_told_as_answered_with_a_stop(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    job = owner.submit("h")
    owner.send("", Heartbeat("w9:1:zz", (Held(job, 1),)))
    (step,) = [one for one in steps(history_of(owner, job)) if one.effect]
    assert step.effect.startswith("is answered with a stop for attempt 1: attempt 1 is waiting")


def test_a_policy_that_cannot_be_read_leaves_the_one_before() -> None:
    fold = Fold(0)
    bad = Recorded(0, 1, b"", Inbox("", PolicySet("id", "{")))
    assert "the one before stays" in fold.apply(bad).why
    assert fold.policy == Policy()


def test_what_cannot_be_applied_is_said_and_changes_nothing(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    job = owner.submit("h")
    (record,) = read(owner)
    body = record.message.body  # type: ignore[union-attr]
    bad = replace(record, message=Inbox(family_of_hash("h"), replace(body, jobs=(replace(body.jobs[0], body="[]"),))))
    fold = Fold(0)
    assert "not applied: ValueError" in fold.apply(bad).refused
    assert fold.rows.family(family_of_job(job)) is None


def test_differences_name_each_field_and_tell_none_from_absent() -> None:
    before, after = {"a": None, "b": [1, {"c": 2}], "d": 1}, {"b": [1, {"c": 3}], "d": True}
    records = [change.record() for change in differences(before, after)]
    assert records == [
        {"path": "a", "before": None},
        {"path": "b[1].c", "before": 2, "after": 3},
        {"path": "d", "before": 1, "after": True},
    ]


def test_ticks_that_nothing_fell_due_by_are_left_out_of_a_history() -> None:
    selection = Selection("f-1", Codec())
    for offset in range(1200):
        selection.take(offset, 1, b"", CODEC.encode("inbox", Inbox("", Tick(offset - 1, False, "o")).record()))
    selection.take(1200, 1, b"f", CODEC.encode("inbox", Inbox("f", Due("lease", "f-1", 1, 1199)).record()))
    selection.take(1201, 1, b"f", CODEC.encode("inbox", Inbox("f", Due("lease", "f-2", 1, 1198)).record()))
    assert [one.offset for one in selection.records()] == [1199, 1200, 1201]


# -- the histories that were exported from a real installation


def test_there_are_histories_of_every_way_that_a_job_ends() -> None:
    facts = [History.load(file.read_bytes()).facts for file in HISTORIES]
    ends = {status for of_job in facts for status in {fact.status for fact in of_job}}
    assert len(HISTORIES) >= 6
    assert ends >= {"job-completed", "job-failed", "job-offline", "job-deduped", "job-revoked", "control-refused"}


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_todays_code_makes_of_a_recorded_history_the_facts_that_were_recorded(file: Path) -> None:
    history = History.load(file.read_bytes())
    made = [replace(fact, code_version="") for step in steps(history) for fact in step.facts]
    assert made == [replace(fact, code_version="") for fact in history.facts]
    assert made


def test_a_replayed_job_is_readable_text_and_json_lines() -> None:
    file = next(one for one in HISTORIES if one.stem == "worker-lost")
    text = run("job", "--file", str(file)).stdout
    assert "leased → backoff" in text
    assert "fact 3: job-offline, attempt 1: no heartbeat" in text
    assert "\x1b" not in text
    lines = [json.loads(line) for line in run("job", "--file", str(file), "-o", "json").stdout.splitlines()]
    assert [fact["status"] for line in lines for fact in line["facts"]][-1] == "job-completed"
    offset = next(line["offset"] for line in lines if line["facts"])
    short = run("job", "--file", str(file), "--until", str(offset), "-o", "json").stdout.splitlines()
    assert json.loads(short[-1])["offset"] == offset
    assert len(run("job", "--file", str(file), "--until", "2020-01-01", "-o", "json").stdout) == 0


def test_in_a_terminal_each_step_waits_and_shows_the_state_when_asked(tmp_path: Path) -> None:
    file = next(one for one in HISTORIES if one.stem == "worker-lost")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "ops.cli.main", "replay", "job", "--file", str(file), "--step"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=os.environ | NOWHERE)
    os.close(slave)
    os.write(master, b"\ns\nq\n")
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(master, 65_536):
            shown += part
    os.close(master)
    assert process.wait(30) == 0
    assert shown.count(b"[Enter] next") == 3
    assert b'"phase": "waiting"' in shown
    assert b"\x1b[" in shown
    assert b"job-started" not in shown


def test_a_replayed_job_says_where_the_log_has_something_else(tmp_path: Path) -> None:
    file = next(one for one in HISTORIES if one.stem == "completed")
    history = History.load(file.read_bytes())
    facts: list[Fact] = [*history.facts[:-2], replace(history.facts[-2], status="job-failed")]
    other = tmp_path / "h.json"
    other.write_bytes(replace(history, facts=tuple(facts)).dump())
    text = run("job", "--file", str(other)).stdout
    assert "recorded otherwise: seq 3 is job-failed" in text
    assert "not recorded: seq 4" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["job"], "JOB_ID or --file"),
        (["job", "other", "--file", str(HISTORIES[0])], "is the history of"),
        (["job", "--file", str(HISTORIES[0]), "--until", "noon"], "no time"),
        (["job", "--file", str(HISTORIES[0]), "--step"], "needs a terminal"),
        (["job", "--file", "/nonexistent.json"], "No such file"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(words: list[str], said: str) -> None:
    result = run(*words)
    assert result.exit_code == exits.USAGE
    assert said in result.stderr
