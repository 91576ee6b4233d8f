"""Kafka Connect sources of `ops/connect`: a row, a line, a notice becomes a job, and one that is delivered twice none.

One Connect worker serves them all. It never writes down how far it has read: after a kill it delivers everything again.
"""

import base64
import json
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from agents.admin import client, result
from agents.bus import consumer, read_to_end
from ops.cluster import Plan
from ops.embedded.connect import PROPERTIES, EmbeddedConnect
from ops.embedded.registry import EmbeddedRegistry
from pipeline.codec import CONFLUENT_MAGIC
from tests.acceptance.support import NO_SEARCH, SOON, WHOLE, Site, site_at
from tests.asked import only_where_asked_for
from tests.postgres_server import DATABASE, Postgres, postgres
from tests.waiting import until

FOLDER = PROPERTIES.parent
NOTICES = "granules.new"
#: of the role that the connector reads as
PASSWORD = uuid.uuid4().hex

pytestmark = [pytest.mark.timeout(600), only_where_asked_for("connect")]

#: never within a test; sessions as short as brokers allow
WORKER = {
    "offset.flush.interval.ms": "3600000",
    "scheduled.rebalance.max.delay.ms": "0",
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "1000",
}


@dataclass
class Sources:
    """An installation, and what is upstream of it."""

    site: Site
    connect: EmbeddedConnect
    database: Postgres
    lines: Path
    payloads: Path

    def add_row(self, mark: str) -> int:
        """Insert a request; return its key."""
        payload = json.dumps({"mark": mark})
        text = f"INSERT INTO job_requests (job_type, payload, priority) VALUES ('tile', '{payload}', 3) RETURNING id"
        return int(self.database.sql(text))

    def add_line(self, mark: str) -> None:
        """Append a whole submission."""
        append(self.lines, {"job_type": "tile", "payload": {"mark": mark}})

    def add_payload(self, mark: str) -> None:
        """Append a payload alone."""
        append(self.payloads, {"mark": mark})

    def add_notice(self, mark: str) -> None:
        """Have the other system say that a granule is there."""
        producer = Producer({"bootstrap.servers": self.site.settings.kafka.bootstrap})
        notice = json.dumps({"mark": mark, "url": "s3://granules/g1"})
        producer.produce(NOTICES, notice, f"granule-{mark}", headers=[("ce_id", b"n-1")])
        assert producer.flush(SOON) == 0

    def delivered(self, mark: str) -> list[Any]:
        """The records on jobs.submit that have the mark."""
        topic = self.site.settings.topology.submit
        reader = consumer(self.site.settings, "delivered")
        try:
            read = list(read_to_end(reader, topic.name, range(topic.partitions), SOON))
        finally:
            reader.close()
        return [one for one in read if mark.encode() in (one.value() or b"")]

    def jobs(self, mark: str) -> dict[str, str]:
        """The jobs whose payload has the mark, with their submissions' ids."""
        facts = self.site.facts
        documents = {job: facts.of(job)[0] for job in facts.facts if facts.of(job)}
        return {job: fact.submission_id for job, fact in documents.items() if mark in fact.document}

    def job(self, mark: str) -> tuple[str, str]:
        """Return the job with the mark, and its submission's id, once it has completed."""
        found = until(lambda: self.jobs(mark), SOON, what=lambda: f"{mark} is a job; {self.log()}")
        self.site.await_status(found, WHOLE[-1])
        ((job, submission),) = found.items()
        assert self.site.facts.course(job) == WHOLE
        return job, submission

    def log(self) -> str:
        """What the worker complained of last."""
        return self.connect.log_file.read_text()[-2000:]


def append(file: Path, value: dict[str, Any]) -> None:
    with file.open("a") as open_file:
        open_file.write(json.dumps(value) + "\n")


def configured(name: str, **changed: str) -> dict[str, str]:
    """A connector as its file has it, but for its surroundings."""
    config: dict[str, str] = json.loads((FOLDER / name).read_text())
    names = {key.replace("_", "."): value for key, value in changed.items()}
    assert set(names) <= set(config)
    return config | names


def configure(sources: Sources, registry: str) -> None:
    """Have the worker run all four."""
    kafka, database = sources.site.settings.kafka.bootstrap, sources.database
    apicurio = registry.replace("/apis/ccompat/v7", "/apis/registry/v2")
    brokers = {"source_cluster_bootstrap_servers": kafka, "target_cluster_bootstrap_servers": kafka}
    connectors = {
        "rows": configured("postgres/rows.json", database_port=str(database.port), database_dbname=DATABASE),
        "lines": configured("file/lines.json", file=str(sources.lines)),
        "payloads": configured("file/payloads-avro.json", file=str(sources.payloads))
        | {"value.converter.apicurio.registry.url": apicurio},
        "notices": configured("topic/notices.json", **brokers),
    }
    for name, config in connectors.items():
        sources.connect.configure(name, config)
    running(sources, connectors)


def running(sources: Sources, names: Iterable[str]) -> None:
    """Wait until the connectors and a task of each run."""

    def states() -> dict[str, list[str]]:
        return {name: sources.connect.states(name) for name in names}

    until(
        lambda: all(one == ["RUNNING", "RUNNING"] for one in states().values()),
        SOON,
        interval=0.3,
        what=lambda: f"sources run: {states()}; {sources.log()}",
    )


@pytest.fixture(scope="module")
def sources(servers_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    home, folder = servers_home / "connected", tmp_path_factory.mktemp("files")
    registry = EmbeddedRegistry(home)
    with ThreadPoolExecutor(1) as beside, ExitStack() as servers:
        ready = beside.submit(registry.start)
        servers.callback(registry.stop)
        database = servers.enter_context(postgres(home))
        url = ready.result()
        sections = {"kafka": {"registry_url": url, "registry_timeout": 10.0}}
        with site_at(home, Plan(workers=1, engine="noop", **NO_SEARCH), sections) as site:
            result(client(site.settings).create_topics([NewTopic(NOTICES, 1, 1)])[NOTICES])
            database.sql((FOLDER / "postgres" / "table.sql").read_text())
            database.sql(f"CREATE ROLE jobstream WITH LOGIN REPLICATION PASSWORD '{PASSWORD}'")
            database.sql("GRANT SELECT ON job_requests TO jobstream")
            secret = {"JOBSTREAM_CONNECT_PG_PASSWORD": PASSWORD}
            connect = EmbeddedConnect(home, site.settings.kafka.bootstrap, properties=WORKER, secrets=secret)
            with connect:
                made = Sources(site, connect, database, folder / "lines", folder / "payloads")
                made.lines.touch()
                made.payloads.touch()
                configure(made, url)
                yield made


@pytest.fixture
def mark() -> str:
    """A text that nothing else has."""
    return uuid.uuid4().hex


def test_a_row_becomes_a_job_and_an_updated_row_another(sources: Sources, mark: str) -> None:
    key = sources.add_row(mark)
    job, submission = sources.job(mark)
    assert submission.startswith(f"requests.job_requests/{key}@")
    changed = uuid.uuid4().hex
    sources.database.sql(f'UPDATE job_requests SET payload = \'{{"mark": "{changed}"}}\' WHERE id = {key}')
    other, update = sources.job(changed)
    assert update.startswith(f"requests.job_requests/{key}@")
    assert (job, submission) != (other, update)
    assert sources.site.document(job)["job"]["priority"] == 3


def test_a_row_that_is_deleted_is_no_submission(sources: Sources, mark: str) -> None:
    key = sources.add_row(mark)
    sources.job(mark)
    after = uuid.uuid4().hex
    sources.database.sql(f"DELETE FROM job_requests WHERE id = {key}")
    sources.add_row(after)
    sources.job(after)
    assert len(sources.delivered(mark)) == 1


def test_a_line_of_json_becomes_a_job(sources: Sources, mark: str) -> None:
    sources.add_line(mark)
    _, submission = sources.job(mark)
    assert submission.startswith("requests.ndjson@")


def test_a_line_becomes_the_payload_of_an_avro_record(sources: Sources, mark: str) -> None:
    sources.add_payload(mark)
    _, submission = sources.job(mark)
    assert submission.startswith("payloads.ndjson@")
    (record,) = sources.delivered(mark)
    assert record.value().startswith(CONFLUENT_MAGIC)


def test_a_notice_of_another_system_becomes_a_job_with_the_notice_as_its_payload(sources: Sources, mark: str) -> None:
    sources.add_notice(mark)
    job, submission = sources.job(mark)
    assert submission.startswith(f"upstream.granules.new/granule-{mark}@")
    assert sources.site.document(job)["job"]["params"]["url"] == "s3://granules/g1"
    (record,) = sources.delivered(mark)
    assert base64.b64decode(dict(record.headers())["ce_id"]) == b"n-1"


def test_what_a_killed_worker_delivers_again_makes_no_second_job(sources: Sources) -> None:
    marks = [uuid.uuid4().hex for _ in range(4)]
    for add, mark in zip(
        (sources.add_row, sources.add_line, sources.add_payload, sources.add_notice), marks, strict=True
    ):
        add(mark)
    jobs = {mark: sources.job(mark) for mark in marks}
    assert [len(sources.delivered(mark)) for mark in marks] == [1, 1, 1, 1]
    worker = psutil.Process(sources.connect.status().pid)
    worker.kill()
    worker.wait(SOON)
    sources.connect.start()
    for mark in marks:
        until(lambda mark=mark: len(sources.delivered(mark)) > 1, SOON, what=lambda: f"again; {sources.log()}")
    after = uuid.uuid4().hex
    sources.add_row(after)
    sources.job(after)
    assert {mark: sources.job(mark) for mark in marks} == jobs
