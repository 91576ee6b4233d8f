"""The sink against a real broker and a real Elasticsearch (design §10)."""

import asyncio
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from elasticsearch import Elasticsearch

from agents.announcing import Announcer, Places
from pipeline.messages.task import Task
from pipeline.partitioning import partition_of
from pipeline.tasks.facts import fact
from pipeline.tasks.status import TaskStatus
from tests.integration.relay import Relay
from tests.integration.sink_bench import DAY, T0, SinkBench, make_fact
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def relay(elasticsearch_url: str) -> Iterator[Relay]:
    address = urlsplit(elasticsearch_url)
    assert address.hostname and address.port
    relay = Relay(address.hostname, address.port)
    yield relay
    relay.cut()


@pytest.fixture
def bench(kafka: str, elasticsearch_url: str, tmp_path: Path) -> Iterator[SinkBench]:
    bench = SinkBench(kafka, elasticsearch_url, tmp_path)
    yield bench
    bench.close()


def test_facts_in_any_order_and_repeated_lead_to_the_newest_document_of_each_job(bench: SinkBench) -> None:
    facts = [make_fact(number, seq) for number in range(40) for seq in (1, 2, 3)]
    shuffled = facts + facts[::3]
    random.Random(1).shuffle(shuffled)
    bench.start()
    bench.produce(shuffled)
    bench.until_acknowledged()

    jobs = bench.documents("job_status")
    assert set(jobs) == {(f"job_status-{DAY}", fact.job_id) for fact in facts}
    assert {(job["status"], job["seq"], job["_version"]) for job in jobs.values()} == {("job-completed", 3, 3)}
    assert set(bench.documents("job_events")) == {(f"job_events-{DAY}", f"{one.job_id}-{one.seq}") for one in facts}
    assert bench.dead() == []


def test_a_fact_that_cannot_be_indexed_goes_to_the_dead_letters_as_it_came_and_the_rest_goes_on(
    bench: SinkBench,
) -> None:
    bench.start()
    refused = make_fact(
        1, 2, document={"job": {"priority": {"no": "number"}, "job_info": {"index": f"job_status-{DAY}"}}}
    )
    homeless = make_fact(2, 1, document={"job": {"job_info": {"index": "elsewhere"}}})
    bench.produce([make_fact(1, 1), refused, homeless])
    bench.produce_raw([("a", b"\xc3\x01 no fact"), ("b", b'{"json": "but no fact"}'), ("c", None)])
    bench.produce([make_fact(3, 1)])
    bench.until_acknowledged()

    letters = bench.dead()
    expected = {bench.codec.encode("fact", one.record()) for one in (refused, homeless)}
    assert {value for value, _ in letters} == expected | {b"\xc3\x01 no fact", b'{"json": "but no fact"}', None}
    (reason,) = [
        headers["reason"] for value, headers in letters if value == bench.codec.encode("fact", refused.record())
    ]
    assert b"parsing_exception" in reason
    assert all(headers["topic"].decode() == bench.settings.topology.events.name for _, headers in letters)
    assert {job["seq"] for job in bench.documents("job_status").values()} == {1}
    assert len(bench.documents("job_status")) == 2


def test_facts_of_tasks_in_any_order_and_repeated_lead_to_the_newest_document_of_each(bench: SinkBench) -> None:
    statuses = (TaskStatus.QUEUED, TaskStatus.STARTED, TaskStatus.RETRIED, TaskStatus.STARTED, TaskStatus.SUCCEEDED)
    topic = bench.settings.topology.task_events
    facts = []
    for number in range(20):
        for place, status in enumerate(statuses):
            task = Task(function="echo", task_id=f"t-{number}", attempt=1 + place // 3, queued_at=T0, args='[{"a": 1}]')
            facts.append(fact(task, "q", status, worker="w", facts='{"processorcount": 2}', result='{"b": [1, "x"]}'))
    shuffled = facts + facts[::3]
    random.Random(2).shuffle(shuffled)
    records = [(one.task_id, bench.codec.encode("task_fact", one.record())) for one in shuffled]
    records += [("a", b"\xc3\x01 no fact"), ("b", None)]
    for key, value in records:
        bench.publisher.send(topic, key, value, partition_of(key, topic.partitions)).result(30)
    bench.start()

    until(lambda: len(bench.dead()) == 2, 60, 0.5, "what is no fact is a dead letter")
    until(lambda: len(bench.documents("task_status")) == 20, 60, 0.5, "a document each")
    done = lambda: {(one["status"], one["seq"]) for one in bench.documents("task_status").values()}  # noqa: E731
    until(lambda: done() == {("task-succeeded", 24)}, 60, 0.5, lambda: str(done()))
    assert set(bench.documents("task_status")) == {(f"task_status-{DAY}", f"t-{number}") for number in range(20)}
    one = bench.documents("task_status-current")[f"task_status-{DAY}", "t-7"]
    assert (one["resource"], one["uuid"], one["attempt"], one["celery_hostname"]) == ("task", "t-7", 2, "w")
    assert one["time_queued"] == "2026-09-21T14:13:20.000Z"


def test_what_users_put_into_a_job_is_kept_whatever_its_shape(bench: SinkBench) -> None:
    odd = {"": 1, "a..b": 2, "x": {"y": "z" * 40_000}, "n": 2**70}
    info = {"index": f"job_status-{DAY}", "time_start": "yesterday", "facts": {"cpu": "many"}, "duration": "long"}
    shapes = [odd, ["text"], "text", None]
    # what a job measured itself has no types that others of the day would have to have too
    measured = [{"x": 1}, {"x": {"y": 1}}, {"x": "text"}, {"x": [1]}]
    bench.start()
    bench.produce(
        make_fact(number, 1, document={"context": shape, "job": {"params": shape, "command": shape, "job_info": info}})
        for number, shape in enumerate(shapes)
    )
    parts = ("inputs_localized", "products_staged", "usage_stats", "product_provenance")
    bench.produce(
        make_fact(9 + number, 1, document={"job": {"job_info": {**info, "metrics": dict.fromkeys(parts, one)}}})
        for number, one in enumerate(measured)
    )
    bench.until_acknowledged()

    assert bench.dead() == []
    kept = {job["uuid"]: job["job"] for job in bench.documents("job_status").values()}
    assert [kept[f"uuid-{number}"]["params"] for number in range(len(shapes))] == shapes
    metrics = [kept[f"uuid-{9 + number}"]["job_info"]["metrics"] for number in range(len(measured))]
    assert [one["usage_stats"] for one in metrics] == measured


def test_the_datasets_of_a_completed_job_are_indexed_and_the_last_publication_stays(bench: SinkBench) -> None:
    def product(title: str) -> dict[str, object]:
        place = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
        return {"id": "P-1", "dataset": "Scene L1", "system_version": "V2", "label": title, "location": place}

    bench.start()
    newer = make_fact(1, 9, status="job-completed", document={"products": [product("newer")]})
    older = make_fact(1, 3, document={"products": [product("older"), {"id": "nowhere"}]})
    bench.produce([newer, older, make_fact(1, 10, status="job-failed", document={"products": [product("none")]})])
    bench.until_acknowledged()

    datasets = bench.documents("grq")
    assert list(datasets) == [("grq_v2_scene-l1", "P-1")]
    assert datasets["grq_v2_scene-l1", "P-1"]["label"] == "newer"
    ((_, headers),) = bench.dead()
    assert headers["reason"] == b"dataset: a dataset's document needs system_version and dataset"


def test_an_index_gets_aliases_that_products_ask_for_what_is_refused_is_told_and_centers_are_found(
    bench: SinkBench,
) -> None:
    def product(name: str, *aliases: str) -> dict[str, object]:
        place = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 2], [0, 0]]]}
        more = {"location": place, "center": {"type": "point", "coordinates": [2, 1]}, "temporal_span": 3}
        if name == "B":
            more["center"] = "nowhere"
        return {"id": name, "dataset": name, "system_version": "v1", "index": {"aliases": list(aliases)}, **more}

    # an index of somebody else has the name of what will be asked for
    with Elasticsearch(bench.elasticsearch) as client:
        client.indices.create(index=f"{bench.name}-grq-taken")
    bench.start()
    first = make_fact(1, 3, document={"products": [product("A", "all", "a"), product("B", "all")]})
    second = make_fact(2, 3, document={"products": [product("C", "taken", "all")]})
    bench.produce([first, first, second])
    bench.until_acknowledged()

    assert {name for _, name in bench.documents("grq")} == {"A", "B", "C"}
    assert {name for _, name in bench.documents("grq-all")} == {"A", "B", "C"}
    assert {name for _, name in bench.documents("grq-a")} == {"A"}
    # what is in the middle of somewhere is found, also where the index knows no shapes
    box = {"top_left": {"lat": 2, "lon": 1}, "bottom_right": {"lat": 0, "lon": 3}}
    with Elasticsearch(bench.elasticsearch) as client:
        found = client.search(index=f"{bench.name}-grq", query={"geo_bounding_box": {"center": box}})
    assert {hit["_id"] for hit in found["hits"]["hits"]} == {"A", "C"}
    ((_, headers),) = bench.dead()
    assert b"alias" in headers["reason"]
    assert b"grq-taken" in headers["reason"]


def test_while_elasticsearch_is_away_nothing_is_acknowledged_and_then_nothing_is_missing(
    bench: SinkBench, relay: Relay
) -> None:
    process = bench.start(elasticsearch=relay.url, timeout=5)
    bench.produce([make_fact(0, 1)])
    bench.until_acknowledged()
    relay.cut()
    produced = bench.produce(make_fact(number, seq) for number in range(1, 100) for seq in (1, 2))
    until(lambda: bench.logged("waiting for Elasticsearch"), what="the sink holds")
    assert bench.lag() == produced
    assert process.poll() is None
    relay.mend()
    bench.until_acknowledged()

    assert len(bench.documents("job_status")) == 100
    assert len(bench.documents("job_events")) == 199


def test_a_sink_that_starts_before_elasticsearch_waits_for_it(bench: SinkBench, relay: Relay) -> None:
    relay.cut()
    bench.produce([make_fact(1, 1)])
    bench.start(elasticsearch=relay.url)
    until(lambda: bench.logged("templates: waiting for Elasticsearch"), what="the sink holds")
    relay.mend()
    bench.until_acknowledged()

    assert len(bench.documents("job_status")) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_a_sink_that_is_ended_in_the_middle_of_a_batch_has_acknowledged_none_of_it(
    bench: SinkBench, relay: Relay, number: int, code: int
) -> None:
    process = bench.start(elasticsearch=relay.url, timeout=60)
    bench.produce([make_fact(0, 1)])
    bench.until_acknowledged()
    relay.swallow()
    before = relay.forwarded
    produced = bench.produce(make_fact(number, seq) for number in range(1, 300) for seq in (1, 2))
    until(lambda: relay.forwarded > before, what="a bulk request is under way")
    assert bench.stop(process, number) == code
    assert bench.lag() == produced

    relay.mend()
    bench.start(elasticsearch=relay.url)
    bench.until_acknowledged()
    assert len(bench.documents("job_status")) == 300
    assert len(bench.documents("job_events")) == 599
    assert bench.dead() == []


def test_an_index_that_is_rebuilt_from_the_log_has_the_same_documents(bench: SinkBench) -> None:
    facts = [make_fact(number, seq) for number in range(60) for seq in (3, 1, 2)]
    process = bench.start()
    bench.produce(facts)
    bench.until_acknowledged()
    assert bench.stop(process) == 0

    again = f"{bench.name}-again-"
    bench.start(group="rebuild", index_prefix=again)
    bench.until_acknowledged(group="rebuild")
    for alias in ("job_status", "job_events"):
        assert bench.documents(alias, again) == bench.documents(alias) != {}


def test_when_one_of_two_sinks_is_killed_the_other_takes_over_what_it_had_not_indexed(
    bench: SinkBench, relay: Relay
) -> None:
    bench.start(instance="steady", session_ms=6000)
    until(lambda: bench.logged("ready"))
    dying = bench.start(instance="dying", session_ms=6000, elasticsearch=relay.url, timeout=60)
    until(lambda: relay.forwarded > 0, what="the second sink runs")
    relay.swallow()
    bench.produce(make_fact(number, seq) for number in range(200) for seq in (1, 2, 3))
    bench.stop(dying, signal.SIGKILL)
    bench.until_acknowledged()

    assert {job["seq"] for job in bench.documents("job_status").values()} == {3}
    assert len(bench.documents("job_events")) == 600


def test_a_sink_listens_on_no_port(bench: SinkBench) -> None:
    process = bench.start()
    bench.produce([make_fact(1, 1)])
    bench.until_acknowledged()

    listening = [one for one in psutil.Process(process.pid).net_connections() if one.status == psutil.CONN_LISTEN]
    assert listening == []


def test_a_sink_without_its_topics_says_so_and_ends(bench: SinkBench) -> None:
    bench.topic_prefix = "elsewhere."
    assert bench.start().wait(60) == 1
    assert bench.logged("topics are missing")


def test_datasets_that_did_not_fit_into_a_fact_are_read_from_where_they_were_announced(bench: SinkBench) -> None:
    fact = make_fact(1, 3)
    documents = [
        {"id": f"T-{n}", "dataset": "TILE", "ipath": "demo::data/TILE", "system_version": "v1", "metadata": {"n": n}}
        for n in range(30)
    ]

    async def announce(job_id: str, attempt: int) -> Places:
        announcer = Announcer(bench.publisher, bench.codec, bench.settings.topology)
        said = await announcer.announce(documents, job_id, attempt, "hash")
        assert said is not None
        return said

    asyncio.run(announce("another-job", 1))
    places = asyncio.run(announce(fact.job_id, 1))
    asyncio.run(announce(fact.job_id, 2))
    bench.start()
    refers = {"products_at": {"count": 30, "places": places}}
    bench.produce([make_fact(1, 3, document=refers), make_fact(2, 3, document=refers)])
    bench.until_acknowledged()
    shown = bench.documents("grq")
    assert {name: one["metadata"]["n"] for (_, name), one in shown.items()} == {f"T-{n}": n for n in range(30)}
    assert {(one["job_id"], one["attempt"]) for one in shown.values()} == {(fact.job_id, 1)}
    # the other fact refers to what is not there
    (letter,) = bench.dead()
    assert b"0 of 30 events" in b"".join(letter[1].values())
