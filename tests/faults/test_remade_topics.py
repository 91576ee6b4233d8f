"""Topics that are deleted and made anew while records wait in them, and a schema registry that is away for a while."""

import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fastavro
import orjson
import pytest
import urllib3

from agents.admin import apply, client, declare_queue
from ops.cluster import Plan
from ops.embedded.registry import EmbeddedRegistry
from ops.reading.log import Log
from pipeline.settings import Settings
from pipeline.statuses import Status
from pipeline.topic import Topic
from schemas.check import FOLDER
from tests.acceptance.support import NO_SEARCH, QUICK_LEASES, SOON, Site, lines, site_at, tallied
from tests.faults.support import all_complete, nothing_is_violated
from tests.integration.relay import Relay
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

#: ms until a waiting job's run record is written again
REPUBLISH = 3000
UNKNOWN = 2**31 - 1


@pytest.fixture(scope="module")
def registry(servers_home: Path) -> Iterator[str]:
    """The registry's own URL."""
    server = EmbeddedRegistry(servers_home / "remade")
    yield server.start()
    server.wipe()


@pytest.fixture(scope="module")
def relay(registry: str) -> Iterator[Relay]:
    address = urlsplit(registry)
    assert address.hostname and address.port
    relay = Relay(address.hostname, address.port)
    yield relay
    relay.cut()


@pytest.fixture(scope="module")
def site(servers_home: Path, registry: str, relay: Relay) -> Iterator[Site]:
    url = f"{relay.url}{urlsplit(registry).path}"
    ledger = {**QUICK_LEASES["ledger"], "republish_ms": REPUBLISH}
    sections = {**QUICK_LEASES, "ledger": ledger, "kafka": {"registry_url": url, "registry_timeout": 3.0}}
    with site_at(servers_home / "remade", Plan(workers=1, **NO_SEARCH), sections) as site:
        yield site


def delete(settings: Settings, topic: Topic) -> None:
    admin = client(settings)
    admin.delete_topics([topic.name])[topic.name].result(SOON)
    until(lambda: topic.name not in admin.list_topics(timeout=10).topics, SOON, what=f"{topic.name} is gone")


def paused(site: Site, queue: str, *, pause: bool) -> None:
    assert site.cli("queues", "pause" if pause else "resume", queue).returncode == 0


def waiting_in(site: Site, queue: str, count: int) -> list[str]:
    """Submit jobs that wait in a paused queue."""
    declare_queue(site.settings, queue, paused=True)
    jobs = site.submit(*[{"_command": "true"} for _ in range(count)], job_type=queue)
    until(lambda: site.waiting(queue) == count, SOON, 0.5, f"{count} jobs wait in {queue}")
    return jobs


def test_jobs_that_wait_in_a_queue_whose_topic_was_made_anew_are_found_again(site: Site) -> None:
    jobs = waiting_in(site, "remade", 6)
    delete(site.settings, site.settings.topology.run("remade"))
    declare_queue(site.settings, "remade", paused=False)
    all_complete(site, jobs)


def test_a_job_whose_run_record_was_overwritten_is_found_again_by_a_new_scheduler(site: Site) -> None:
    (job,) = waiting_in(site, "overwritten", 1)
    topic = site.settings.topology.run("overwritten")
    site.submitter._publisher.send(topic, f"{job}/1", b"rubbish", 0).result(SOON)
    site.kill("scheduler", signal.SIGKILL)
    site.cluster.start("scheduler")
    paused(site, "overwritten", pause=False)
    all_complete(site, [job])


def test_what_comes_on_a_topic_of_submissions_that_was_made_anew_is_taken_from_its_first_record_on(site: Site) -> None:
    def send(name: str) -> None:
        value = {"submission_id": name, "job_type": "anew", "payload": {"_command": "true", "name": name}}
        assert site.send(orjson.dumps(value))[0] == 0

    before, after = [f"before-{number}" for number in range(5)], [f"after-{number}" for number in range(12)]
    for name in before:
        send(name)
    all_complete(site, [site.job_of(name) for name in before])
    gate = site.process("gate")
    gate.send_signal(signal.SIGSTOP)
    try:
        # it comes back to a longer log than it left, and its place in the old one is a place in this one
        delete(site.settings, site.settings.topology.submit)
        apply(site.settings)
        for name in after:
            send(name)
    finally:
        gate.send_signal(signal.SIGCONT)
    all_complete(site, [site.job_of(name) for name in after])


def of_another_client(registry: str, name: str, number: int) -> bytes:
    """Encode a submission as any client of the registry does, by a schema that nobody here has seen."""
    schema = json.loads((FOLDER / "submission.avsc").read_text())
    fields = [field for field in schema["fields"] if field["name"] in ("submission_id", "job_type", "payload")]
    own: dict[str, Any] = {**schema, "fields": fields, "doc": f"client {number}"}
    answer = urllib3.request(
        "POST", f"{registry}/subjects/jobs.submit-{name}/versions", json={"schema": json.dumps(own)}, timeout=20.0
    )
    assert answer.status == 200, answer.data
    record = {"submission_id": name, "job_type": "registered", "payload": json.dumps({"_command": "true", "is": name})}
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(own), record)
    return b"\x00" + int(answer.json()["id"]).to_bytes(4, "big") + body.getvalue()


def test_while_the_registry_is_away_what_runs_goes_on_and_what_comes_is_taken_when_it_is_back(
    site: Site, registry: str, relay: Relay, tmp_path: Path
) -> None:
    running = site.submit(tallied(tmp_path / "running", 3))
    until(lambda: lines(tmp_path / "running"), SOON, what="a job runs")
    values = {f"foreign-{number}": of_another_client(registry, f"foreign-{number}", number) for number in range(3)}
    before = site.cluster.log("gate").stat().st_size
    relay.cut()
    try:
        places = [site.send(value) for value in values.values()]
        unknown = site.send(b"\x00" + UNKNOWN.to_bytes(4, "big") + b"body")
        last = site.send_job({"_command": "true"}, "after-all", job_type="registered")
        site.await_status(running, Status.COMPLETED)
        log = site.cluster.log("gate")
        until(lambda: b"schema registry" in log.read_bytes()[before:], SOON, what="the gate says what it waits for")
        assert not any(site.jobs_of(name) for name in values)
    finally:
        relay.mend()
    assert len(places) == len(values)
    all_complete(site, [site.job_of(name) for name in (*values, last)])
    with Log(site.settings) as log:
        letters = {
            (headers["topic"], headers["partition"], headers["offset"]): (message.value(), headers["reason"].decode())
            for message in log.read(site.settings.topology.dead, 0)
            if (headers := dict(message.headers() or ()))
        }
    value, reason = letters[b"jobs.submit", str(unknown[0]).encode(), str(unknown[1]).encode()]
    assert value == b"\x00" + UNKNOWN.to_bytes(4, "big") + b"body"
    assert str(UNKNOWN) in reason
    nothing_is_violated(site)
