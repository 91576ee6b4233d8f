"""What the broker refuses: which of it is a job's own fault, and how facts stay small enough (design §4)."""

import time
from pathlib import Path

import orjson
import pytest
from confluent_kafka import KafkaError

from agents.orchestrator.outputs import RefusedError
from agents.orchestrator.partition import Record
from pipeline.codec import Codec
from pipeline.identity import family_of_job
from pipeline.messages.inbox import Claim, OutputRefused, Report
from pipeline.shortening import fitted
from tests.unit.ledger_support import Ledger
from tests.unit.partition_support import HOLDER, START, TOPOLOGY, Owner

EVENTS, RUN, COMMANDS = TOPOLOGY.events.name, TOPOLOGY.run("q").name, TOPOLOGY.commands.name
FACT_BYTES = 700 * 1024


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


def _refusing(owner: Owner, topic: str, code: int) -> None:
    owner.publisher.refuses = lambda to, _: code if to.name == topic else None


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (EVENTS, KafkaError.TOPIC_AUTHORIZATION_FAILED),
        (EVENTS, KafkaError.MSG_SIZE_TOO_LARGE),
        (EVENTS, KafkaError._UNKNOWN_TOPIC),
        (RUN, KafkaError.TOPIC_AUTHORIZATION_FAILED),
        (RUN, KafkaError.POLICY_VIOLATION),
    ],
)
def test_what_is_refused_for_no_fault_of_the_record_stops_the_partition_and_names_the_topic(
    owner: Owner, topic: str, code: int
) -> None:
    _refusing(owner, topic, code)
    with pytest.raises(RefusedError, match=topic):
        owner.submit("h")
    assert owner.rows()[0] == []


def test_a_command_that_may_not_be_written_stops_the_partition(owner: Owner) -> None:
    job = owner.submit("h")
    _refusing(owner, COMMANDS, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(RefusedError):
        owner.send(family_of_job(job), Claim(job, 1, "q", HOLDER, "c"))


@pytest.mark.parametrize("value", [b"", None, b"\xc3\x01rubbish"])
def test_a_record_that_is_no_message_is_a_dead_letter_as_it_came_and_stops_the_partition_where_that_is_refused(
    owner: Owner, value: bytes | None
) -> None:
    owner.apply([Record(0, START, b"k", value)])
    assert [letter for _, letter, _ in owner.publisher.records[TOPOLOGY.dead.name]] == [value]
    _refusing(owner, TOPOLOGY.dead.name, KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(RefusedError, match=TOPOLOGY.dead.name):
        owner.apply([Record(1, START, b"k", value)])


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._UNKNOWN_TOPIC, KafkaError.TOPIC_EXCEPTION])
def test_a_run_record_that_is_too_large_or_has_no_topic_fails_its_job_and_the_partition_goes_on(
    owner: Owner, code: int
) -> None:
    _refusing(owner, RUN, code)
    job = owner.submit("h")
    (back,) = owner.publisher.read(TOPOLOGY.inbox, "inbox")
    name, fields = back["body"]
    assert (name, fields["job_id"]) == ("jobstream.OutputRefused", job)
    owner.send(back["family"], OutputRefused(**fields))
    assert [fact.status for fact in owner.facts()] == ["job-queued", "job-failed"]


def test_a_claim_for_a_queue_that_does_not_exist_stops_nothing(owner: Owner) -> None:
    _refusing(owner, TOPOLOGY.run("nowhere").name, KafkaError._UNKNOWN_TOPIC)
    owner.send("f", Claim("f-1", 1, "nowhere", HOLDER, "c"))
    assert owner.rows() == ([], [])


def _size(ledger: Ledger, job: str) -> int:
    return len(Codec().encode("fact", ledger.of(job)[-1].record()))


def test_a_fact_that_would_be_too_large_is_cut_and_says_what_of_it() -> None:
    ledger = Ledger()
    body = {"type": "t", "params": {"x": "é" * 200_000, "list": ["y" * 100] * 4000}, "job_info": {"id": "j"}}
    job = ledger.submit(body=body)
    ledger.claim(job)
    ledger.report("failed", job, traceback="z" * 200_000, error="e" * 50_000, job_info={"cut": ["stdout: some"]})
    assert _size(ledger, job) <= FACT_BYTES
    document = ledger.document_of(job)
    assert document["status"] == "job-failed"
    assert document["job"]["job_info"]["index"].startswith("job_status-")
    said = document["job"]["job_info"]["cut"]
    assert said[0] == "stdout: some"
    assert any(one.startswith("job.params.x: ") for one in said)


def test_a_fact_that_fits_is_not_touched() -> None:
    ledger = Ledger()
    body = {"type": "t", "params": {"x": "é" * 200_000}, "job_info": {"id": "j"}}
    job = ledger.submit(body=body)
    assert ledger.document_of(job)["job"]["params"] == body["params"]
    assert "cut" not in ledger.document_of(job)["job"]["job_info"]


@pytest.mark.parametrize("field", ["error", "short_error", "category"])
def test_no_field_beside_the_document_makes_a_fact_too_large(field: str) -> None:
    ledger = Ledger()
    job = ledger.started()
    ledger.report("failed", job, **{field: "🛰" * 240_000})
    assert _size(ledger, job) <= FACT_BYTES


def test_a_job_with_a_great_many_fields_of_its_own_still_ends_with_a_fact_that_fits(owner: Owner) -> None:
    job = owner.submit("h")
    family = family_of_job(job)
    owner.send(family, Claim(job, 1, "q", HOLDER, "c"))
    info = {f"{number}": {"a": "🛰"} for number in range(60_000)}
    owner.send(family, Report("completed", job, 1, HOLDER, orjson.dumps({"job_info": info}).decode()))
    fact = owner.facts()[-1]
    assert fact.status == "job-completed"
    assert len(fact.document.encode()) <= FACT_BYTES
    document = orjson.loads(fact.document)
    assert document["job_id"] == job
    assert document["job"]["job_info"]["index"].startswith("job_status-")


def test_a_refusal_that_cannot_be_said_either_stops_the_partition(owner: Owner) -> None:
    codes = {RUN: KafkaError.MSG_SIZE_TOO_LARGE, TOPOLOGY.inbox.name: KafkaError.TOPIC_AUTHORIZATION_FAILED}
    owner.publisher.refuses = lambda to, _: codes.get(to.name)
    with pytest.raises(RefusedError, match=TOPOLOGY.inbox.name):
        owner.submit("h")


DEEP: dict = {}
for _ in range(5000):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    "params",
    [
        {"deep": DEEP},
        {"numbers": [0] * 500_000},
        {"lists": [[0] * 100] * 5000},
        {f"k{number}": "v" * 5 for number in range(100_000)},
        {"x" * 900_000: 1},
        {"surrogate": "\udc80" * 100},
        [["y" * 1000]] * 1000,
        "z" * 2_000_000,
    ],
    ids=["deep", "numbers", "lists", "fields", "name", "surrogate", "texts", "text"],
)
def test_any_document_is_made_to_fit_within_half_a_second(params: object) -> None:
    document = {"job_id": "j", "error": "e", "job": {"params": params, "job_info": {"index": "i", "free": params}}}
    begun = time.process_time()
    text = fitted(document, 100 * 1024)
    assert time.process_time() - begun < 0.5
    assert len(text.encode()) <= 100 * 1024
    cut = orjson.loads(text)
    assert (cut["job_id"], cut["job"]["job_info"]["index"]) == ("j", "i")
    assert any(said.startswith("job.params") for said in cut["job"]["job_info"]["cut"])
    assert fitted(document, 100 * 1024) == text
