"""What nobody should have submitted: each gets a clear answer, and the submission after it is processed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from ops.cli import exits
from ops.cluster import Plan
from ops.reading.log import Log
from pipeline.statuses import Status
from pipeline.topology import SUBMISSION_LIMIT
from tests.acceptance.support import NO_SEARCH, SOON, WHOLE, Site, site_at
from tests.waiting import until

GOOD = {"job_type": "fine", "payload": {}}
KIB, MIB = 1024, 1024 * 1024


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    with site_at(servers_home / "bad-input", Plan(engine="noop", **NO_SEARCH)) as site:
        yield site


def dead_letter(site: Site, place: tuple[int, int]) -> tuple[bytes, dict[str, str]] | None:
    """Return the dead letter of what lies at this place of jobs.submit: its bytes and headers."""
    with Log(site.settings) as log:
        for message in log.read(site.settings.topology.dead, 0):
            headers = {name: value.decode() for name, value in message.headers() or ()}
            if (headers["topic"], headers["partition"], headers["offset"]) == ("jobs.submit", *map(str, place)):
                return message.value(), headers
    return None


def the_next_one_runs(site: Site) -> None:
    (job,) = site.submit({}, job_type="fine")
    site.await_status([job], Status.COMPLETED)
    assert site.facts.course(job) == WHOLE


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfe\x00 no text at all", "neither Avro nor JSON"),
        (b'{"job_type": "cut off", "payl', "neither Avro nor JSON"),
        (b'["a list"]', "a JSON object is needed"),
        (b"\xc3\x01" + bytes(8) + b"body", "unknown schema fingerprint"),
        (b"\x00\x00\x00\x00\x07body", "needs a schema registry"),
        (None, "no value"),
    ],
    ids=["noise", "half a record", "a list", "unknown Avro", "a registry's Avro", "a tombstone"],
)
def test_what_cant_be_decoded_becomes_a_dead_letter_with_its_bytes_and_why(
    site: Site, value: bytes | None, reason: str
) -> None:
    place = site.send(value)
    the_next_one_runs(site)
    body, headers = until(lambda: dead_letter(site, place), SOON, what="the dead letter")
    assert body == value
    assert reason in headers["reason"]


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({"payload": {}}, ["job_type"]),
        ({"job_type": "empty"}, ["payload"]),
        ({**GOOD, "priority": "high", "time_limit": -1, "enable_dedup": 3}, ["priority", "time_limit", "enable_dedup"]),
        ({**GOOD, "payload": ["a", "list"]}, ["payload", "object"]),
        ({**GOOD, "payload": "no JSON"}, ["payload"]),
        ({**GOOD, "payload": {"text": "x" * 600 * KIB}}, [str(SUBMISSION_LIMIT), "by reference"]),
        ({**GOOD, "job_queue": "../Ünrúhe; rm -rf /\n"}, ["job_queue", "is no queue name"]),
        ({**GOOD, "job_type": "näh/../\u0000"}, ["is no queue name"]),
        ({**GOOD, "needs": {"memory_mib": "much"}}, ["needs.memory_mib"]),
    ],
    ids=[
        "no type",
        "no payload",
        "wrong types",
        "a list for a payload",
        "a text for a payload",
        "600 KB",
        "an odd queue",
        "an odd type",
        "odd needs",
    ],
)
def test_what_cant_be_accepted_becomes_a_failed_job_that_names_every_fault(
    site: Site, record: dict[str, Any], named: list[str]
) -> None:
    submission_id = f"bad-{abs(hash(json.dumps(record)))}"
    site.send(json.dumps({**record, "submission_id": submission_id}).encode())
    the_next_one_runs(site)
    job = site.job_of(submission_id)
    assert site.facts.statuses(job) == [Status.FAILED]
    error = site.document(job)["error"]
    assert [name for name in named if name not in error] == []


def test_the_command_line_shows_what_was_not_accepted_with_its_error(site: Site) -> None:
    site.send(b'{"submission_id": "shown"}')
    job = site.job_of("shown")
    shown = site.told("get", job)
    assert (shown["status"], shown["error"]) == (Status.FAILED, site.document(job)["error"])
    assert "job_type" in shown["error"]


def test_the_command_line_refuses_5_mib_and_says_what_to_do_instead(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    file.write_text(json.dumps({"text": "x" * 5 * MIB}))
    refused = site.cli("submit", "large", "--payload", str(file))
    assert refused.returncode == exits.USAGE
    assert "256 KiB" in refused.stderr
    assert "URLs" in refused.stderr
    assert "Traceback" not in refused.stderr
    the_next_one_runs(site)


def test_any_other_producer_is_refused_5_mib_by_its_client_or_by_the_broker(site: Site) -> None:
    value = json.dumps({**GOOD, "payload": {"text": "x" * 5 * MIB}}).encode()
    bootstrap = {"bootstrap.servers": site.settings.kafka.bootstrap}
    with pytest.raises(KafkaException) as local:
        Producer(bootstrap).produce("jobs.submit", value)
    errors: list[KafkaError] = [local.value.args[0]]
    producer = Producer({**bootstrap, "message.max.bytes": 10 * MIB})
    producer.produce("jobs.submit", value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(SOON) == 0
    assert [error.code() for error in errors] == [KafkaError.MSG_SIZE_TOO_LARGE] * 2
    the_next_one_runs(site)


def test_the_audit_knows_what_became_of_each_record(site: Site) -> None:
    site.send(b"\xc3\x01rubbish")
    site.send(b'{"payload": {}}')
    the_next_one_runs(site)
    # the gate says only now and then how far it is
    until(lambda: site.told("audit")["checks"]["taken"]["judged"] >= 3, SOON, what="the gate's position")
    assert site.told("audit")["holds"]


def test_nothing_of_all_this_made_a_queue_or_a_topic(site: Site) -> None:
    the_next_one_runs(site)
    assert {row["queue"] for row in site.told("queues")} <= {"fine"}
