"""Submissions from clients that know nothing of this project: they run like those of the command line."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from ops.cluster import Plan
from tests.acceptance.support import NO_SEARCH, SOON, WHOLE, Site, site_at
from tests.conftest import PROJECT
from tests.waiting import until

SCHEMA = PROJECT / "schemas" / "submission.avsc"
TOPIC = "jobs.submit"


@pytest.fixture(scope="module")
def site(servers_home: Path) -> Iterator[Site]:
    with site_at(servers_home / "clients", Plan(**NO_SEARCH)) as site:
        yield site


@pytest.fixture
def kcat() -> str:
    found = shutil.which("kcat")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("kcat is not installed")
    return str(found)


def payload(text: str) -> dict[str, Any]:
    return {"_command": "sh -c 'echo heard $1' say $text", "text": text}


def produce_with_kcat(kcat: str, site: Site, record: dict[str, Any], *options: str) -> None:
    command = [kcat, "-P", "-b", site.settings.kafka.bootstrap, "-t", TOPIC, *options]
    subprocess.run(command, input=json.dumps(record), text=True, check=True, timeout=SOON)


def single_object(record: dict[str, Any]) -> bytes:
    """Avro's single-object encoding, as its specification has it: marker, fingerprint in little-endian, body."""
    raw = json.loads(SCHEMA.read_text())
    checksum = int(fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO"), 16)
    body = b""

    class Sink:
        def write(self, data: bytes) -> None:
            nonlocal body
            body += data

    fastavro.schemaless_writer(Sink(), fastavro.parse_schema(raw), record)
    return b"\xc3\x01" + checksum.to_bytes(8, "big") + body


def produce_avro(site: Site, record: dict[str, Any]) -> None:
    producer = Producer({"bootstrap.servers": site.settings.kafka.bootstrap})
    failures: list[Any] = []
    producer.produce(TOPIC, single_object(record), on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(SOON) == 0
    assert failures == [None]


def ran_like_the_command_lines(site: Site, job: str, text: str) -> None:
    """Compare a job with one of the command line that differs in its text alone."""
    done = site.cli("submit", "say", "--payload", "-", "-o", "json", stdin=json.dumps(payload(f"{text}!")))
    (ours,) = json.loads(done.stdout)["job_ids"]
    site.await_status([job, ours], WHOLE[-1])
    assert site.facts.statuses(job) == site.facts.statuses(ours) == WHOLE
    theirs, known = site.document(job), site.document(ours)
    assert theirs.keys() == known.keys()
    assert theirs["job"].keys() == known["job"].keys()
    assert theirs["job"]["job_info"].keys() == known["job"]["job_info"].keys()
    assert theirs["job"]["params"] == payload(text)
    assert theirs["type"] == "say"
    assert site.cli("logs", job).stdout == f"heard {text}\n"


def test_a_json_submission_from_kcat_runs_like_one_from_the_command_line(site: Site, kcat: str) -> None:
    produce_with_kcat(kcat, site, {"job_type": "say", "payload": payload("kcat"), "submission_id": "from-kcat"})
    ran_like_the_command_lines(site, site.job_of("from-kcat"), "kcat")


def test_a_submission_without_an_id_is_known_by_its_place_in_the_topic(site: Site, kcat: str) -> None:
    produce_with_kcat(kcat, site, {"job_type": "say", "payload": payload("nameless")}, "-p", "3")

    def job() -> str:
        found = (job for job, facts in site.facts.facts.items() if facts[1].submission_id.startswith(f"{TOPIC}-3-"))
        return next(found, "")

    ran_like_the_command_lines(site, until(job, SOON, what="the submission is taken"), "nameless")


def test_an_avro_submission_from_confluent_kafka_runs_like_one_from_the_command_line(site: Site) -> None:
    record = {"job_type": "job:say", "payload": json.dumps(payload("avro")), "submission_id": "from-avro"}
    produce_avro(site, record)
    ran_like_the_command_lines(site, site.job_of("from-avro"), "avro")


def test_the_same_submission_from_two_clients_makes_one_job(site: Site) -> None:
    record = {"job_type": "say", "payload": payload("twice"), "submission_id": "twice"}
    produce_avro(site, {**record, "payload": json.dumps(record["payload"])})
    site.await_status([site.job_of("twice")], WHOLE[-1])
    site.send(json.dumps(record).encode())
    produce_avro(site, {"job_type": "say", "payload": json.dumps(payload("after")), "submission_id": "after"})
    site.await_status([site.job_of("after")], WHOLE[-1])
    assert len(site.jobs_of("twice")) == 1
    assert site.facts.statuses(site.job_of("twice")) == WHOLE
