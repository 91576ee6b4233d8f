"""A real schema registry: every agent writes by its ids, and other clients too; what doesn't fit is refused."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
import urllib3
from confluent_kafka import Producer

from agents.bus import consumer, read_to_end
from agents.registry import ConfluentRegistry, RegistryError
from ops.cli import exits
from ops.cluster import Plan
from ops.embedded.registry import EmbeddedRegistry
from ops.subjects import MISSING, REFUSED, REGISTERED, UNCHANGED, RefusedSchemaError, check, register
from pipeline.codec import Codec
from pipeline.messages.command import GRANT, Command
from pipeline.settings import Settings, TopicSettings
from pipeline.topology import COMMAND_DOCUMENT_LIMIT
from schemas.check import FOLDER, names, published
from tests.acceptance.support import NO_SEARCH, SOON, WHOLE, Site, site_at
from tests.waiting import until

PRIVATE = "pr1vate"


@pytest.fixture(scope="module")
def registry(servers_home: Path) -> Iterator[EmbeddedRegistry]:
    server = EmbeddedRegistry(servers_home / "registered")
    server.start()
    yield server
    server.wipe()


@pytest.fixture(scope="module")
def url(registry: EmbeddedRegistry) -> str:
    assert registry.endpoint is not None
    return registry.endpoint


@pytest.fixture
def client(url: str) -> Iterator[ConfluentRegistry]:
    one = ConfluentRegistry(url, timeout=20.0)
    yield one
    one.close()


@pytest.fixture(scope="module")
def site(servers_home: Path, url: str) -> Iterator[Site]:
    sections = {"kafka": {"registry_url": url, "registry_timeout": 10.0}}
    with site_at(servers_home / "registered", Plan(workers=1, engine="noop", **NO_SEARCH), sections) as site:
        # what `jobstream` reads where it is called
        (site.home / "jobstream.toml").write_text(f'[kafka]\nregistry_url = "{url}"\nregistry_timeout = 20.0\n')
        yield site


def unheard(subject: str, done: int, total: int) -> None:
    """What nobody looks at while it goes on."""


def called(site: Site, prefix: str) -> Settings:
    """The settings of another installation with the same registry."""
    return site.settings.model_copy(update={"topics": TopicSettings(prefix=prefix)})


def submission_of(url: str, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """Encode as any Confluent client does: register under the topic's subject, then id and body."""
    answer = urllib3.request(
        "POST", f"{url}/subjects/jobs.submit-value/versions", json={"schema": json.dumps(schema)}, timeout=20.0
    )
    assert answer.status == 200, answer.data
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
    return b"\x00" + int(answer.json()["id"]).to_bytes(4, "big") + body.getvalue()


@pytest.mark.parametrize("name", names())
def test_each_published_version_of_a_schema_may_follow_the_one_before(client: ConfluentRegistry, name: str) -> None:
    ids = [client.id_of(f"{name}-versions", schema) for _, schema in published(name)]
    assert len(set(ids)) == len(ids)
    assert client.schema_of(ids[-1]) == published(name)[-1][1]


def test_a_schema_that_could_not_read_what_was_written_is_refused(client: ConfluentRegistry) -> None:
    schema = json.loads((FOLDER / "report.avsc").read_text())
    client.id_of("refusing", schema)
    schema["fields"].append({"name": "needed", "type": "string"})
    with pytest.raises(RegistryError, match="409"):
        client.id_of("refusing", schema)


def test_an_id_that_nobody_registered_is_unknown(client: ConfluentRegistry) -> None:
    assert client.schema_of(2**31 - 1) is None


def test_jobs_run_where_every_record_names_its_schema_by_id(site: Site, client: ConfluentRegistry) -> None:
    jobs = site.submit({}, {}, job_type="registered")
    site.await_status(jobs, WHOLE[-1])
    assert {tuple(site.facts.statuses(job)) for job in jobs} == {tuple(WHOLE)}
    topology, codec = site.settings.topology, Codec(client)
    reader = consumer(site.settings, "registered")
    try:
        for topic in (topology.inbox, topology.events, topology.reports, topology.status, topology.commands):
            values = [one.value() for one in read_to_end(reader, topic.name, range(topic.partitions), SOON)]
            written = [value for value in values if value is not None]
            assert {value[:1] for value in written} == {b"\x00"}, topic.name
            assert all(codec.decode(topic.schema, value) for value in written)
    finally:
        reader.close()


def test_jobs_run_where_grants_are_sealed_and_every_command_names_its_schema_by_id(
    servers_home: Path, site: Site, url: str, client: ConfluentRegistry
) -> None:
    kafka = {"registry_url": url, "registry_timeout": 10.0, "bootstrap": site.settings.kafka.bootstrap}
    sections = {"kafka": kafka, "security": {"sealing": True}, "topics": {"prefix": "sealed-"}}
    plan = Plan(kafka=False, workers=1, engine="noop", **NO_SEARCH)
    with site_at(servers_home / "sealed", plan, sections) as sealing:
        # small, and larger than what travels with an unsealed grant
        jobs = sealing.submit({"p": PRIVATE}, {"p": PRIVATE * COMMAND_DOCUMENT_LIMIT}, job_type="registered")
        sealing.await_status(jobs, WHOLE[-1])
        topic, codec = sealing.settings.topology.commands, Codec(client)
        reader = consumer(sealing.settings, "registered")
        try:
            values = [one.value() or b"" for one in read_to_end(reader, topic.name, range(topic.partitions), SOON)]
        finally:
            reader.close()
    commands = [Command.of(codec.decode("command", value)) for value in values]
    grants = [one for one in commands if one.kind == GRANT]
    assert {one.job_id for one in grants} == set(jobs)
    assert {(one.sealed is not None, one.token, one.document) for one in grants} == {(True, "", None)}
    assert {value[:1] for value in values} == {b"\x00"}
    assert not [value for value in values if PRIVATE.encode() in value]


def test_a_client_with_an_earlier_schema_of_its_own_submits_a_job(site: Site, url: str) -> None:
    schema = published("submission")[0][1]
    fields = [field for field in schema["fields"] if field["name"] in ("submission_id", "job_type", "payload")]
    earlier = {**schema, "fields": fields}
    record = {"submission_id": "of-another-client", "job_type": "registered", "payload": json.dumps({"other": 1})}
    producer = Producer({"bootstrap.servers": site.settings.kafka.bootstrap})
    producer.produce("jobs.submit", submission_of(url, earlier, record))
    assert producer.flush(SOON) == 0
    (job,) = until(lambda: site.jobs_of("of-another-client"), SOON, what="the submission is taken")
    site.await_status([job], WHOLE[-1])


def test_every_schema_is_registered_under_its_topics_name_once(site: Site, client: ConfluentRegistry) -> None:
    settings = called(site, "all.")
    assert {one.state for one in check(settings, client, unheard)} == {MISSING}
    first, second = dict(register(settings, client, unheard)), dict(register(settings, client, unheard))
    assert {"all.jobs.submit-value", "all.jobs.run-value", "all.tasks.default-value"} <= set(first)
    assert (set(first.values()), set(second.values())) == ({REGISTERED}, {UNCHANGED})
    assert all(one.well for one in check(settings, client, unheard))
    earlier = published("submission")[0][1]
    assert client.version_of("all.jobs.submit-value", earlier) == 1


def test_a_subject_that_holds_what_ours_cannot_read_is_refused_and_named(site: Site, client: ConfluentRegistry) -> None:
    settings, subject = called(site, "taken."), "taken.jobs.control-value"
    theirs = {"type": "record", "name": "Other", "fields": [{"name": "text", "type": "string"}]}
    client.id_of(subject, theirs)
    (found,) = [one for one in check(settings, client, unheard) if one.name == subject]
    assert (found.state, found.well) == (REFUSED, False)
    assert found.why
    with pytest.raises(RefusedSchemaError, match=f"409 for subject {subject}.*take that one back"):
        list(register(settings, client, unheard))


def test_a_rule_below_backward_is_found_and_set_right(site: Site, client: ConfluentRegistry) -> None:
    assert site.cli("schemas", "register").returncode == exits.OK
    client.set_rule("jobs.events-value", "NONE")
    found = site.cli("schemas", "check")
    assert found.returncode == exits.FAILED
    assert "jobstream schemas register" in found.stderr
    assert site.told("schemas", "register")["jobs.events-value"] == REGISTERED
    assert client.rule("jobs.events-value") == "BACKWARD"
    assert {one["state"] for one in site.told("schemas", "check")["subjects"]} == {"current"}


def test_a_submission_with_an_id_that_nobody_registered_is_a_dead_letter_that_names_it(site: Site) -> None:
    partition, offset = site.send(b"\x00" + (2**31 - 2).to_bytes(4, "big") + b"body")

    def letters() -> list[dict[str, Any]]:
        return [one for one in site.told("dead", "list") if (one["partition"], one["offset"]) == (partition, offset)]

    (letter,) = until(letters, SOON, what="the letter is written")
    assert letter["reason"] == f"unknown schema id {2**31 - 2}"
