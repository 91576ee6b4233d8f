"""Records that were forwarded twice are applied once, and those of a topic that was made anew are no repeats."""

import io
import json

import fastavro
import pytest

from agents.gate.record import Incoming
from agents.gate.reports import Reports
from pipeline.codec import SINGLE_OBJECT_MAGIC, Codec, fingerprint_of
from pipeline.identity import family_of_job, token
from pipeline.ledger.state import Family
from pipeline.messages.control import ControlRequest
from pipeline.messages.inbox import Claim, Control, Inbox, Source
from pipeline.messages.report import WorkerReport
from schemas.check import published
from tests.unit.ledger_support import HOLDER, Ledger
from tests.unit.partition_support import TOPOLOGY

OLD, NEW = "Xk3bQ1q7T5mYv0c2sJ8wHg", "aP9dR4n6QxOe7Ls5tUz1Kw"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def _ask(ledger: Ledger, action: str, job: str, source: Source) -> None:
    ledger.send(family_of_job(job), Control(action, job, arguments=json.dumps({"priority": source.offset})), source)


def test_all_of_what_is_forwarded_twice_is_applied_once(ledger: Ledger) -> None:
    job = ledger.submit()
    for _ in range(2):
        for offset in (3, 4, 5):
            _ask(ledger, "reprioritise", job, Source("control", 0, offset, OLD))
    assert len(ledger.of(job)) == 1 + 3


def test_the_records_of_a_topic_that_was_made_anew_are_no_repeats(ledger: Ledger) -> None:
    job = ledger.started(source=Source("submit", 0, 900, OLD))
    ledger.report("failed", job, source=Source("reports", 0, 900, OLD))
    _ask(ledger, "retry", job, Source("control", 0, 900, OLD))
    ledger.claim(job, 2)
    ledger.report("completed", job, 2, source=Source("reports", 0, 2, NEW))
    assert ledger.statuses(job)[-1] == "job-completed"
    ledger.report("completed", job, 2, source=Source("reports", 0, 2, NEW))
    assert ledger.statuses(job)[-1] == "job-completed"


def test_a_family_keeps_one_offset_for_each_log_however_often_its_topic_is_made_anew() -> None:
    family = Family("f")
    for number, id_ in enumerate([OLD, NEW, OLD, NEW]):
        family = family.at(number, Source("reports", 1, 5, id_)).at(number, Source("reports", 10, 5, id_))
    assert len(family.sources) == 2


def test_rows_and_messages_from_before_topics_had_ids_still_count() -> None:
    row = b'{"id":"f","offset":9,"payload_hash":"h","sources":{"r0":7},"jobs":{},"done":{}}'
    family = Family.load(row)
    assert family.has_applied(Source("reports", 0, 7, NEW))
    assert not family.has_applied(Source("reports", 0, 8, NEW))
    assert family.at(10, Source("reports", 0, 8, NEW)).has_applied(Source("reports", 0, 8, NEW))
    assert Family("f").at(1, Source("reports", 0, 7)).has_applied(Source("reports", 0, 7))


def test_an_inbox_message_from_before_topics_had_ids_can_still_be_read() -> None:
    codec = Codec()
    first = [raw for raw in _published() if "topic_id" not in json.dumps(raw)]
    message = Inbox("f", Claim("f-1", 1, "q", HOLDER, "c"), Source("reports", 1, 7, OLD), 3)
    record = message.record()
    record["source"] = {"topic": "reports", "partition": 1, "offset": 7}
    for raw in first:
        out = io.BytesIO()
        out.write(SINGLE_OBJECT_MAGIC + fingerprint_of(raw))
        fastavro.schemaless_writer(out, fastavro.parse_schema(raw), record)
        read = Inbox.of(codec.decode("inbox", out.getvalue()))
        assert read.source == Source("reports", 1, 7)
        assert read.source.topic_id == ""
    assert first


def _published() -> list[dict]:
    return [schema for _, schema in published("inbox")]


def test_the_gate_says_which_topic_a_record_came_from() -> None:
    job = "f-1"
    partition = TOPOLOGY.job_partition(job)
    codec = Codec()
    report = WorkerReport("completed", HOLDER, job, 1, token(b"key", job, 1, HOLDER))
    control = ControlRequest("revoke", job)
    for topic, schema, record in ((TOPOLOGY.reports, "report", report), (TOPOLOGY.control, "control", control)):
        value = codec.encode(schema, record.record())
        incoming = Incoming(topic.name, partition, 7, 1, b"", value, topic_id=NEW)
        out = Reports(TOPOLOGY, codec, b"key").decide(incoming)
        source = Inbox.of(codec.decode("inbox", out.value)).source
        assert source is not None
        assert source.topic_id == NEW
