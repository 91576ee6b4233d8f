"""A whole installation on secured servers: each agent as a user of its own, with the rights of its role and no more."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, AuthorizationException

from agents.bus import Publisher, consumer, end_offsets, read_to_end
from agents.elastic import client_options
from agents.index_reader import IndexReader, IndexUnavailableError
from agents.registry import codec
from agents.sink.writer import Writer
from pipeline.identity import family_of_job
from pipeline.index.documents import Action
from pipeline.messages.report import COMPLETED, WorkerReport
from pipeline.rights import Role
from pipeline.settings import Settings, SinkSettings, TopicSettings
from pipeline.statuses import Status
from tests.certificates import Authority
from tests.integration.secured_elasticsearch import SecuredElasticsearch
from tests.integration.secured_kafka import ALICE, BOB, SecuredKafka
from tests.integration.secured_site import KEY, SOON, Site
from tests.waiting import until

# two servers and five agents begin before the first test
pytestmark = pytest.mark.timeout(600)

#: what no worker offers: the job waits
NOWHERE = '{"labels": {"zone": "nowhere"}}'
AGENTS = (Role.GATE, Role.ORCHESTRATOR, Role.SCHEDULER, Role.WORKER, Role.SINK)
TOPICS = TopicSettings(prefix="run-", principals=(ALICE, BOB), submit_partitions=1, commands_partitions=1)


@pytest.fixture(scope="module")
def search(servers_home: Path) -> Iterator[SecuredElasticsearch]:
    server = SecuredElasticsearch(servers_home / "secured-search", heap_mib=384)
    server.start()
    yield server
    server.wipe()


@pytest.fixture(scope="module")
def site(
    secured_broker: SecuredKafka, search: SecuredElasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    made = Site(secured_broker, tmp_path_factory.mktemp("secured"), TOPICS, search)
    made.prepare()
    for role in AGENTS:
        made.start(role)
    yield made
    made.stop()


def indexed(reader: IndexReader, job_id: str) -> dict[str, Any] | None:
    try:
        return reader.get(job_id, fresh=True)
    except IndexUnavailableError as error:
        # a day's first index has no shards for a moment
        assert "503" in str(error), error
        return None


def test_a_job_runs_and_is_indexed_though_each_agent_has_its_role_s_rights_alone(site: Site) -> None:
    before = site.broker.denials()
    job = site.submit(ALICE, {"_command": "sh -c 'env; cat /proc/self/environ'"}, username="somebody else")
    until(lambda: Status.COMPLETED in site.statuses(job), SOON, what=lambda: (site.statuses(job), site.logs()[-3000:]))
    with IndexReader(Settings(sink=site.search.sink())) as reader:
        found = until(lambda: indexed(reader, job), SOON, what="the job's document")
    assert found["job"]["submitter"] == {"name": ALICE, "verified": True}
    assert site.broker.denials() == before


def test_a_password_is_neither_in_logs_nor_in_the_process_list_nor_in_what_a_job_sees(site: Site) -> None:
    shown = site.logs()
    for role in AGENTS:
        process = site.agents[role].find()
        assert process is not None
        shown += " ".join(process.cmdline())
        # by file: not even in the agent's own environment
        shown += "".join(process.environ().values()).replace(KEY, "")
        assert site.broker.password(role) not in shown
    printed = "".join(path.read_text() for path in (site.home / Role.WORKER / "work").rglob("_std*.txt"))
    assert "PATH=" in printed
    assert "JOBSTREAM_KAFKA" not in printed
    assert KEY not in shown + printed


def test_one_principal_s_payload_and_hash_block_no_job_of_another(site: Site) -> None:
    payload = {"_command": "true", "granule": 7}
    blocked = site.submit(ALICE, payload, payload_hash="mine", needs=NOWHERE)
    job = site.submit(BOB, payload, payload_hash="mine")
    again = site.submit(ALICE, payload, payload_hash="mine")
    until(lambda: Status.COMPLETED in site.statuses(job), SOON, what="the other's job to complete")
    assert site.statuses(blocked) == [Status.QUEUED]
    until(lambda: site.statuses(again) == [Status.DEDUPED], SOON, what="the same principal's own to be a duplicate")


def test_a_worker_can_t_report_on_an_attempt_that_isn_t_its_own(site: Site) -> None:
    job = site.submit(BOB, {"_command": "true", "forged": True}, needs=NOWHERE)
    settings = site.settings(Role.WORKER)
    topology = settings.topology
    reader = consumer(site.settings(Role.OPERATOR), "test")
    dead = end_offsets(reader, topology.dead.name, [0])[0]
    publisher = Publisher(settings, "forger")
    for holder, token in (("vm:1:x", "0" * 32), ("vm:1:x", "")):
        report = WorkerReport(COMPLETED, holder, job, 1, token, '{"status": "job-completed"}')
        value = codec(settings).encode("report", report.record())
        number = topology.job_partition(job)
        publisher.send(topology.reports, family_of_job(job), value, number).result(SOON)
    publisher.close()
    until(lambda: end_offsets(reader, topology.dead.name, [0])[0] >= dead + 2, SOON, what="two dead letters")
    reasons = [dict(one.headers() or ())["reason"].decode() for one in read_to_end(reader, topology.dead.name, [0])]
    reader.close()
    assert all("the token is not that of attempt 1" in reason for reason in reasons[dead:])
    assert site.statuses(job) == [Status.QUEUED]


async def test_a_sinks_key_may_write_all_that_a_sink_writes_and_name_indices(site: Site) -> None:
    names = ("grq_v1_granule", "job_status-2026.11.28", "job_events-2026.11", "task_status-2026.11")
    actions = [Action(name, "tried", b"{}", 1, ("grq_granules",) if name.startswith("grq") else ()) for name in names]
    async with AsyncElasticsearch(**client_options(site.settings(Role.SINK).sink)) as client:
        # what the key doesn't allow is tried for ever
        async with asyncio.timeout(SOON):
            assert await Writer(client).write(actions) == {}
        with pytest.raises(AuthorizationException):
            await client.index(index="others", document={})
        with pytest.raises(AuthorizationException):
            await client.search(index="job_status*")


def test_a_sink_whose_key_is_taken_back_says_so_and_goes_on_with_another(site: Site) -> None:
    sink = site.agents[Role.SINK]
    site.search.take_back(site.key)
    job = site.submit(BOB, {"_command": "true", "unseen": True})
    until(lambda: Status.COMPLETED in site.statuses(job), SOON, what="the job to complete")
    # what it waits for, and why, by the server's own word
    until(lambda: "401" in sink.log.read_text(), SOON, what="the sink to say that it was refused")
    with IndexReader(Settings(sink=site.search.sink())) as reader:
        assert indexed(reader, job) is None
        site.key = site.search.make_key(site.key_file)
        assert sink.stop(SOON)
        site.start(Role.SINK)
        until(lambda: indexed(reader, job), SOON, what="the job's document")


@pytest.mark.parametrize("shown", [{"user": None}, {"api_key": "bm9ib2R5Om5vdGhpbmc="}, {"ca_file": "another"}])
def test_who_shows_elasticsearch_no_valid_key_or_believes_another_authority_gets_nothing(
    search: SecuredElasticsearch, tmp_path: Path, shown: dict[str, Any]
) -> None:
    if "ca_file" in shown:
        shown = {"ca_file": Authority(tmp_path).file}
    with IndexReader(Settings(sink=search.sink(**shown))) as reader, pytest.raises(IndexUnavailableError) as refused:
        reader.counts()
    said = "certificate verify failed" if "ca_file" in shown else "401"
    assert said in str(refused.value).replace("CERTIFICATE_VERIFY_FAILED", said)


def test_an_api_key_is_shown_and_wins_over_a_user(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a2V5OnNlY3JldA==\n")
    known = SinkSettings(elasticsearch="https://search", user="u", password="p", api_key_file=tmp_path / "key")
    options = client_options(known)
    assert options["api_key"] == "a2V5OnNlY3JldA=="
    assert "basic_auth" not in options
    assert options["ssl_context"].check_hostname
    assert "a2V5" not in repr(known)
