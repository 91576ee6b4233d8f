"""A secured installation that seals its grants: jobs run, and no worker reads or reports another's (decision 029)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, TopicPartition

from agents.bus import Publisher, consumer, end_offsets, read_to_end
from agents.registry import codec
from agents.worker.offer import offer
from ops.reading.waiting import why_it_waits
from ops.reading.workers import worker_rows
from pipeline.holding.holdings import UNSEALED
from pipeline.identity import family_of_job, key_of, token, worker_of
from pipeline.messages.command import GRANT, Command
from pipeline.messages.report import COMPLETED, RELEASE, WorkerReport
from pipeline.protocol import own
from pipeline.rights import Role
from pipeline.sealing import HolderKey, SealingError
from pipeline.settings import SecuritySettings, TopicSettings, WorkerSettings
from pipeline.statuses import Status
from pipeline.topic import Topic
from pipeline.topology import COMMAND_DOCUMENT_LIMIT
from tests.integration.secured_kafka import ALICE, SecuredKafka
from tests.integration.secured_site import KEY, SOON, Site
from tests.waiting import until

# a server and five agents begin before the first test
pytestmark = pytest.mark.timeout(600)

TOPICS = TopicSettings(prefix="sealed-", principals=(ALICE,), submit_partitions=1, commands_partitions=1)
FIRST, KEYLESS = "first", "keyless"
OPEN = {"zone": "open"}
PRIVATE = "pr1vate"


@pytest.fixture(scope="module")
def site(secured_broker: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(secured_broker, tmp_path_factory.mktemp("sealed"), TOPICS, sealing=True)
    made.prepare()
    for role in (Role.GATE, Role.ORCHESTRATOR, Role.SCHEDULER):
        made.start(role)
    made.start(Role.WORKER, FIRST, worker=WorkerSettings(id=FIRST, slots=2))
    made.start(
        Role.WORKER, KEYLESS, worker=WorkerSettings(id=KEYLESS, labels=OPEN), security=SecuritySettings(sealing=False)
    )
    yield made
    made.stop()


@pytest.fixture
def running(site: Site, tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A job that runs until it is told to end."""
    told = tmp_path / "end"
    job = site.submit(ALICE, {"_command": f"sh -c 'while [ ! -e {told} ]; do sleep 0.05; done'", "p": PRIVATE})
    until(lambda: Status.STARTED in site.statuses(job), SOON, what=lambda: site.logs()[-3000:])
    yield job, told.touch
    told.touch()


def grants(site: Site) -> list[Command]:
    """Return what any worker reads on workers.commands."""
    settings = site.settings(Role.WORKER)
    client = consumer(settings, "curious")
    read = [codec(settings).decode("command", one.value()) for one in read_to_end(client, commands(site).name, [0])]
    client.close()
    return [command for command in map(Command.of, read) if command.kind == GRANT]


def commands(site: Site) -> Topic:
    return site.settings(Role.WORKER).topology.commands


def test_jobs_run_though_workers_may_read_no_inbox_whether_their_documents_are_large_or_small(site: Site) -> None:
    before = site.broker.denials()
    for size in (1, COMMAND_DOCUMENT_LIMIT):
        job = site.submit(ALICE, {"_command": "true", "p": PRIVATE * size})
        until(
            lambda job=job: Status.COMPLETED in site.statuses(job),
            SOON,
            what=lambda job=job: (site.statuses(job), site.logs()[-3000:]),
        )
    assert site.broker.denials() == before


def test_a_worker_that_reads_another_s_grant_learns_neither_job_nor_token(
    site: Site, running: tuple[str, Callable[[], None]]
) -> None:
    job, _ = running
    found = grants(site)
    assert job in {grant.job_id for grant in found}
    for grant in found:
        assert (grant.token, grant.document, grant.reference) == ("", None, None)
        assert PRIVATE.encode() not in (grant.sealed or b"")
        assert token(KEY.encode(), grant.job_id, grant.attempt, grant.holder).encode() not in (grant.sealed or b"")
        assert key_of(grant.holder) is not None
        with pytest.raises(SealingError):
            HolderKey().open(grant)


@pytest.mark.parametrize("topic", ["inbox", "events", "reports", "control", "dead", "logs", "run"])
def test_no_other_topic_tells_a_worker_of_others_jobs(site: Site, topic: str) -> None:
    settings = site.settings(Role.WORKER)
    wanted = settings.topology.run("hello") if topic == "run" else getattr(settings.topology, topic)
    client = consumer(settings, "curious", log_level=0)
    error = client.list_topics(wanted.name, timeout=SOON).topics[wanted.name].error
    if error is not None:
        # not even its name is told
        assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    else:
        client.assign([TopicPartition(wanted.name, 0, 0)])
        message = until(lambda: client.poll(0.2), SOON, what=f"{topic} to be refused")
        assert message.error() is not None
        assert message.error().code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    client.close()


def test_what_a_worker_reads_of_another_s_attempt_lets_it_report_nothing_on_it(
    site: Site, running: tuple[str, Callable[[], None]]
) -> None:
    job, end = running
    grant = next(grant for grant in grants(site) if grant.job_id == job)
    settings = site.settings(Role.WORKER)
    topology = settings.topology
    reader = consumer(site.settings(Role.OPERATOR), "test")
    dead = end_offsets(reader, topology.dead.name, [0])[0]
    publisher = Publisher(settings, "forger")
    for shown in (grant.token, (grant.sealed or b"").hex()[:32], token(b"", job, 1, grant.holder)):
        report = WorkerReport(COMPLETED, grant.holder, job, 1, shown, '{"status": "job-completed"}')
        value = codec(settings).encode("report", report.record())
        publisher.send(topology.reports, family_of_job(job), value, topology.job_partition(job)).result(SOON)
    publisher.close()
    until(lambda: end_offsets(reader, topology.dead.name, [0])[0] >= dead + 3, SOON, what="three dead letters")
    reader.close()
    assert site.statuses(job)[-1] == Status.STARTED
    end()
    until(lambda: Status.COMPLETED in site.statuses(job), SOON, what="its own worker's report to count")


def test_an_unsealed_grant_is_handed_back_and_not_run(site: Site, tmp_path: Path) -> None:
    holder = next(
        row.status.holder for row in worker_rows(site.settings(Role.OPERATOR)) if worker_of(row.status.holder) == FIRST
    )
    settings = site.settings(Role.ORCHESTRATOR)
    topology, job, ran = settings.topology, "f" * 20 + "-unsealed", tmp_path / "ran"
    document = f'{{"job_id": "{job}", "type": "hello", "params": {{"_command": "touch {ran}"}}}}'
    grant = Command(GRANT, holder, job, 1, "c", token(KEY.encode(), job, 1, holder), 60_000, document=document)
    publisher = Publisher(settings, "careless")
    value = codec(settings).encode("command", grant.record())
    publisher.send(topology.commands, holder, value, 0, own(True).headers).result(SOON)
    publisher.close()
    reader = consumer(site.settings(Role.OPERATOR), "test")
    number = topology.job_partition(job)

    def reported() -> list[WorkerReport]:
        read = read_to_end(reader, topology.reports.name, [number])
        reports = [WorkerReport.of(codec(settings).decode("report", one.value())) for one in read]
        return [report for report in reports if report.job_id == job]

    (report,) = until(reported, SOON, what=lambda: site.logs()[-3000:])
    reader.close()
    assert (report.kind, UNSEALED in report.result) == (RELEASE, True)
    assert not ran.exists()


def said(site: Site, job: str) -> str:
    """Return what `jobstream why` tells."""
    why = why_it_waits(site.settings(Role.OPERATOR), job, 1)
    return "" if why is None else why.reason


def test_a_worker_without_a_key_gets_no_jobs_and_people_are_told_why(site: Site) -> None:
    job = site.submit(ALICE, {"_command": "true", "where": "open"}, needs='{"labels": {"zone": "open"}}')
    operator = site.settings(Role.OPERATOR)

    until(lambda: "the worker has no key to open them" in said(site, job), SOON, what=lambda: said(site, job))
    row = next(row for row in worker_rows(operator) if row.status.worker_id == KEYLESS)
    assert row.apart
    assert "JOBSTREAM_SECURITY__SEALING" in row.reason
    assert site.statuses(job) == [Status.QUEUED]


def test_a_worker_of_a_release_that_knows_no_seals_gets_no_jobs_either(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    job = site.submit(ALICE, {"_command": "true", "where": "older"}, needs='{"labels": {"zone": "older"}}')
    settings = site.settings(Role.WORKER)
    status = replace(offer(settings, "older:1:0a1b2c3d"), worker_id="older", labels={"zone": "older"})
    publisher = Publisher(settings, "older")
    # without the headers that it doesn't know
    publisher.send(settings.topology.status, "older", codec(settings).encode("status", status.record()), 0).result(SOON)
    publisher.close()
    assert "the worker speaks 1," in said(site, job)
    # programs read what the command prints
    assert capsys.readouterr().out == ""
    assert site.statuses(job) == [Status.QUEUED]
