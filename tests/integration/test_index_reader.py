"""Reading the index that the sink wrote."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.index_reader import IndexReader, IndexUnavailableError, JobQuery
from ops.retrying import Wish, wishes
from pipeline.settings import Settings
from tests.integration.sink_bench import T0, SinkBench, make_fact


@pytest.fixture(scope="module")
def bench(kafka: str, elasticsearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SinkBench]:
    bench = SinkBench(kafka, elasticsearch_url, tmp_path_factory.mktemp("sink"))
    bench.start()
    product = {"id": "P-1", "dataset": "scene", "system_version": "v1"}
    bench.produce(make_fact(1, seq, document={"products": [product]} if seq == 3 else {}) for seq in (2, 1, 3))
    second = {
        "submission_id": "s-2",
        "category": "publish",
        "@timestamp": "2026-09-22T00:00:00Z",
        "tags": ["test", "nightly"],
        "celery_hostname": "node-7",
    }
    job = json.loads(make_fact(2, 1).document)["job"]
    job |= {"username": "ada", "needs": {"memory_mib": 1, "labels": {"site": "alps"}}}
    bench.produce([make_fact(2, 1, document={**second, "job": job})])
    bench.until_acknowledged()
    yield bench
    bench.close()


@pytest.fixture
def reader(bench: SinkBench) -> Iterator[IndexReader]:
    with IndexReader(bench.settings) as reader:
        yield reader


def test_a_job_is_found_by_its_id_with_its_history(reader: IndexReader) -> None:
    job_id = make_fact(1, 1).job_id
    job = reader.get(job_id, fresh=True)
    assert job is not None
    assert (job["status"], job["job"]["params"]["_command"]) == ("job-completed", "/bin/true")
    assert [fact["seq"] for fact in reader.history(job_id, fresh=True)] == [1, 2, 3]


def test_an_unknown_job_is_none(reader: IndexReader) -> None:
    assert reader.get("nobody") is None
    assert reader.history("nobody") == []


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (JobQuery(), [2, 1]),
        (JobQuery(status="job-queued"), [2]),
        (JobQuery(type="job-test:v1", tag="test", queue="test"), [2, 1]),
        (JobQuery(submission_id="s-2"), [2]),
        (JobQuery(since=1_790_030_000), [2]),
        (JobQuery(payload_hash="hash-1"), [1]),
        (JobQuery(category="publish"), [2]),
        (JobQuery(status="job-failed"), []),
        (JobQuery(tag="nightly"), [2]),
        (JobQuery(user="ada", worker="node-7", labels={"site": "alps"}), [2]),
        (JobQuery(labels={"site": "sea"}), []),
        (JobQuery(unfinished=True), [2]),
    ],
)
def test_jobs_are_filtered_and_the_last_changed_comes_first(
    reader: IndexReader, query: JobQuery, numbers: list[int]
) -> None:
    assert [job["uuid"] for job in reader.find(query, fresh=True)] == [f"uuid-{number}" for number in numbers]
    assert reader.find(query, limit=1) == reader.find(query)[:1]


def test_datasets_name_the_job_that_published_them(reader: IndexReader) -> None:
    (dataset,) = reader.datasets(dataset="scene", job_id=make_fact(1, 1).job_id, since=T0 / 1000, fresh=True)
    assert (dataset["id"], dataset["attempt"]) == ("P-1", 1)
    assert reader.datasets(product_id="P-2") == []


def test_jobs_are_counted_by_status(reader: IndexReader) -> None:
    assert reader.counts(fresh=True) == {"job-completed": 1, "job-queued": 1}


def test_an_installation_without_documents_holds_nothing(elasticsearch_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, sink={"elasticsearch": elasticsearch_url, "index_prefix": "nobody-"})
    with IndexReader(settings) as reader:
        assert reader.get("a", fresh=True) is None
        assert (reader.find(), reader.datasets(), reader.counts()) == ([], [], {})


def test_an_elasticsearch_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = Settings(home=tmp_path, sink={"elasticsearch": f"http://user:hidden@127.0.0.1:{port}"})
    with IndexReader(settings) as reader, pytest.raises(IndexUnavailableError) as raised:
        reader.find()
    assert f"127.0.0.1:{port} can't be reached" in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_the_jobs_to_retry_are_those_that_changed_last_the_oldest_of_them_first(bench: SinkBench) -> None:
    with IndexReader(bench.settings) as reader:
        first, second = (Wish(make_fact(number, 1).job_id, 1) for number in (1, 2))
        assert [wish.job_id for wish in wishes(reader, JobQuery(), 5)[0]] == [first.job_id, second.job_id]
        (only,), more = wishes(reader, JobQuery(), 1)
        assert (only.job_id, only.attempt, more) == (second.job_id, 1, True)
