"""Submissions that are sent again: new ids, a mark that nothing takes off, and workers that refuse it."""

import json
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from ops.cli import exits
from ops.cli.main import app
from pipeline.codec import Codec
from pipeline.messages.inbox import Rejected, Source, Submitted
from pipeline.messages.mark import HEADER, mark_of
from pipeline.messages.report import COMPLETED, FAILED, STARTED
from pipeline.replay import resubmission
from pipeline.replay.resubmission import Again, Resubmission, SkippedError, bare_types, new_id
from pipeline.submission.creators import Creators
from pipeline.submission.jobs import Origin, jobs_of
from pipeline.submission.rejection import rejected
from pipeline.submission.request import Submission
from tests.unit.ledger_support import Ledger
from tests.unit.test_worker_actors import succeeds
from tests.unit.worker_bench import bench, eventually

CODEC = Codec()
PLACE = ("jobs.submit", 2, 17)
JUNE = Resubmission("june")


def again(record: dict[str, Any] | bytes, wanted: Resubmission = JUNE, headers: tuple = ()) -> Again:
    value = record if isinstance(record, bytes) else CODEC.encode("submission", record)
    return wanted.of(CODEC, PLACE, value, headers)


def test_a_submission_gets_a_new_id_that_follows_from_its_old_one_and_a_header() -> None:
    record = {"job_type": "job:x", "payload": '{"a": 1}', "submission_id": "s-1"}
    one = again(record)
    assert (one.original, one.submission_id, one.job_type) == ("s-1", "s-1~june", "x")
    assert one.headers == ((HEADER, b"june"),)
    assert CODEC.decode("submission", one.value) | {"submission_id": "s-1"} == CODEC.decode(
        "submission", CODEC.encode("submission", record)
    )
    assert again({"job_type": "x", "payload": "{}"}).submission_id == "jobs.submit-2-17~june"
    assert len(new_id("x" * 512, "june")) < 512


def test_json_stays_json_with_what_no_schema_knows() -> None:
    one = again(b'{"job_type": "x", "payload": {"a": [1]}, "note": "mine"}', Resubmission("june", dedup=False))
    assert json.loads(one.value) == {
        "job_type": "x",
        "payload": {"a": [1]},
        "note": "mine",
        "submission_id": "jobs.submit-2-17~june",
        "enable_dedup": False,
    }


def test_what_a_sources_headers_say_of_a_submission_is_in_its_value_then() -> None:
    headers = (
        ("jobstream.job-type", b"x"),
        ("jobstream.source", b"pg"),
        ("jobstream.id-headers", b"lsn"),
        ("lsn", b"7"),
    )
    one = JUNE.of(CODEC, PLACE, b'{"a": 1}', headers, b"k")
    assert (one.original, one.headers) == ("pg/k@7", ((HEADER, b"june"),))
    assert json.loads(one.value) == {"job_type": "x", "payload": {"a": 1}, "submission_id": "pg/k@7~june"}


@pytest.mark.parametrize(
    ("record", "headers", "why"),
    [
        (b"rubbish", (), resubmission.UNREADABLE),
        (b'{"job_type": "x", "payload": 3}', (), resubmission.UNREADABLE),
        (b'{"job_type": "job:y", "payload": {}}', (), resubmission.OTHER_TYPE),
        (b'{"job_type": "x", "payload": {}}', ((HEADER, b"may"),), resubmission.MARKED),
    ],
)
def test_what_is_not_sent_again_says_why(record: bytes, headers: tuple, why: str) -> None:
    with pytest.raises(SkippedError, match=why):
        again(record, Resubmission("june", bare_types(["job:x"])), headers)


@pytest.mark.parametrize(
    ("headers", "mark"),
    [
        ([], ""),
        ([("client", b"x")], ""),
        ([(HEADER, b"june")], "june"),
        ([(HEADER, None)], "unnamed"),
        ([(HEADER, b"\xff not a mark")], "unnamed"),
    ],
)
def test_a_mark_that_cannot_be_read_is_a_mark_all_the_same(headers: list, mark: str) -> None:
    assert mark_of(headers) == mark


def test_a_mark_goes_with_the_job_into_its_run_record_its_grant_and_its_facts() -> None:
    origin = Origin("jobs.submit", Source("submit", 0, 1), 5, replay="june")
    one = Submission.model_validate({"job_type": "x", "payload": {"replay": ""}})
    message = jobs_of(one, Creators().of(one), origin, 300)
    assert isinstance(message.body, Submitted)
    job = message.body.jobs[0].job_id
    ledger = Ledger()
    (dispatch,) = ledger.send(message.family, message.body).dispatches
    assert dispatch.headers == ((HEADER, "june"),)
    (grant,) = ledger.claim(job).commands
    assert orjson.loads(grant.document or "")["replay"] == "june"
    assert ledger.document_of(job)["job"]["replay"] == "june"
    refused = rejected({"job_type": "x"}, "bad", origin).body
    assert isinstance(refused, Rejected)
    assert orjson.loads(refused.body)["replay"] == "june"


def test_a_sender_cannot_mark_or_unmark_a_job_by_what_it_submits() -> None:
    one = Submission.model_validate({"job_type": "x", "payload": {"replay": "june"}, "replay": "june"})
    message = jobs_of(one, Creators().of(one), Origin("jobs.submit", Source("submit", 0, 1), 5), 300)
    assert isinstance(message.body, Submitted)
    assert "replay" not in orjson.loads(message.body.jobs[0].body)


async def test_a_worker_ends_a_marked_job_as_failed_without_running_it_unless_it_may() -> None:
    document = '{"params": {}, "replay": "june"}'
    async with bench(succeeds) as made:
        made.grant(document=document)
        await eventually(lambda: made.kinds() == [FAILED])
        result = orjson.loads(made.publisher.reports[-1].result)
        assert (result["category"], "worker.replays" in result["error"]) == ("replay", True)
        await eventually(lambda: len(made.holdings) == 0)
    async with bench(succeeds, replays=True) as made:
        made.grant(document=document)
        await eventually(lambda: made.kinds() == [STARTED, COMPLETED])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "2d", "--to", "1d"], "either --to-topic"),
        (["--from", "2d", "--to", "1d", "--dry-run", "--to-topic", "t"], "either --to-topic"),
        (["--from", "1d", "--to", "2d", "--dry-run"], "before"),
        (["--from", "2d", "--to", "1d", "--dry-run", "--mark", "a b"], "--mark"),
        (["--from", "2d", "--to", "1d", "--to-topic", "jobs.submit"], "--force"),
        (["--from", "2d", "--to", "1d", "--to-topic", "jobs.run.q"], "takes no submissions"),
        (["--from", "2d", "--to", "1d", "--to-topic", "jobs.inbox", "--force"], "takes no submissions"),
    ],
)
def test_a_wrong_command_line_sends_nothing_and_says_why(words: list[str], said: str) -> None:
    env = {"JOBSTREAM_KAFKA__BOOTSTRAP": "127.0.0.1:1", "JOBSTREAM_CONFIG": "/nonexistent.toml"}
    result = CliRunner().invoke(app, ["replay", "submissions", *words], env=env)
    assert (result.exit_code, said in result.stderr) == (exits.USAGE, True), result.stderr
