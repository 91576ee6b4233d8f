"""`jobstream ingest` against a real broker, a real Elasticsearch and a store."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from typer.testing import CliRunner

from agents.admin import apply
from agents.bus import consumer, read_to_end
from agents.elastic import client_options
from agents.index_reader import IndexReader
from agents.orphans import Orphans
from agents.sink.installer import install
from agents.sink.writer import Writer
from ops.cli.main import app
from pipeline.codec import Codec
from pipeline.index.documents import Action, dataset_action
from pipeline.messages.dataset import DatasetPublished
from pipeline.settings import Settings
from pipeline.statuses import Status
from tests.unit.datasets_support import make_product, marker, simple_rules, visible


@pytest.fixture
def settings(kafka: str, elasticsearch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    for name, value in {
        "HOME": tmp_path / "home",
        "CONFIG": tmp_path / "none.toml",
        "KAFKA__BOOTSTRAP": kafka,
        "TOPICS__PREFIX": prefix,
        "SINK__ELASTICSEARCH": elasticsearch_url,
        "SINK__INDEX_PREFIX": prefix,
        "WORKER__STORE": tmp_path / "store",
        "WORKER__DATASETS_FILE": tmp_path / "datasets.json",
    }.items():
        monkeypatch.setenv(f"JOBSTREAM_{name}", str(value))
    (tmp_path / "datasets.json").write_bytes(orjson.dumps(simple_rules().model_dump()))
    made = Settings()
    apply(made)
    asyncio.run(prepare(made))
    yield made


async def prepare(settings: Settings, *actions: Action) -> None:
    """Do what the sink does: put the templates, and write."""
    async with AsyncElasticsearch(**client_options(settings.sink)) as client:
        await install(client, settings.sink)
        assert await Writer(client).write(actions) == {}


def ingest(directory: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["ingest", str(directory), "-o", "json", *options])


def indexed(settings: Settings) -> dict[str, Any]:
    with IndexReader(settings) as reader:
        return {one["id"]: one for one in reader.datasets(fresh=True)}


def events(settings: Settings) -> list[DatasetPublished]:
    topic = settings.topology.datasets
    client = consumer(settings, "test-datasets")
    try:
        read = read_to_end(client, topic.name, range(topic.partitions))
        return [DatasetPublished.of(Codec().decode("dataset", message.value())) for message in read]
    finally:
        client.close()


def test_a_directorys_datasets_are_published_indexed_and_announced(settings: Settings, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for name in ("TILE-1", "TILE-2"):
        make_product(made, name)
    said = ingest(made)
    assert said.exit_code == 0, said.output
    assert [one["id"] for one in orjson.loads(said.stdout)] == ["TILE-1", "TILE-2"]
    assert list(visible(tmp_path / "store")) == ["tiles/v1.0/TILE-1", "tiles/v1.0/TILE-2"]
    shown = indexed(settings)
    assert set(shown) == {"TILE-1", "TILE-2"}
    assert sorted(event.dataset_id for event in events(settings)) == ["TILE-1", "TILE-2"]
    assert {event.job_id for event in events(settings)} == {shown["TILE-1"]["job_id"]}
    again = ingest(made)
    assert again.exit_code == 1
    assert "--force" in again.output
    assert ingest(made, "--force").exit_code == 0
    assert indexed(settings)["TILE-1"]["attempt"] > shown["TILE-1"]["attempt"]


def test_a_directorys_datasets_get_the_aliases_that_they_ask_for_or_none_is_published(
    settings: Settings, tmp_path: Path
) -> None:
    prefix = settings.sink.index_prefix
    with Elasticsearch(**client_options(settings.sink)) as client:
        make_product(tmp_path / "made", "TILE-1", index={"aliases": ["all"]})
        assert ingest(tmp_path / "made").exit_code == 0
        assert list(client.indices.get_alias(name=f"{prefix}grq-all")) == [f"{prefix}grq_v1.0_tile"]
        client.indices.create(index=f"{prefix}grq-taken")
        make_product(tmp_path / "more", "TILE-2", index={"aliases": ["taken"]})
        said = ingest(tmp_path / "more")
    assert said.exit_code == 2, said.output
    assert "grq-taken" in said.output
    assert list(visible(tmp_path / "store")) == ["tiles/v1.0/TILE-1"]
    assert set(indexed(settings)) == {"TILE-1"}


def test_a_document_that_the_index_refuses_takes_all_back(settings: Settings, tmp_path: Path) -> None:
    make_product(tmp_path / "first", "TILE-1", label="first")
    assert ingest(tmp_path / "first").exit_code == 0
    made = tmp_path / "made"
    for name in ("TILE-1", "TILE-2", "TILE-3"):
        make_product(made, name, "new", label="new")
    (made / "TILE-3" / "TILE-3.met.json").write_text('{"a..b": 1}')
    said = ingest(made, "--force")
    assert said.exit_code == 2, said.output
    assert "TILE-3" in said.output
    assert visible(tmp_path / "store") == {"tiles/v1.0/TILE-1": "data"}
    assert {name: one["label"] for name, one in indexed(settings).items()} == {"TILE-1": "first"}
    assert len(events(settings)) == 1


def test_without_an_index_nothing_is_published(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_product(tmp_path / "made", "TILE-1")
    monkeypatch.setenv("JOBSTREAM_SINK__ELASTICSEARCH", "http://127.0.0.1:9")
    said = ingest(tmp_path / "made")
    assert said.exit_code == 5
    assert not (tmp_path / "store").exists()
    monkeypatch.setenv("JOBSTREAM_SINK__ELASTICSEARCH", settings.sink.elasticsearch)
    monkeypatch.setenv("JOBSTREAM_SINK__INDEX_PREFIX", "never-prepared")
    assert "the sink has not run yet" in ingest(tmp_path / "made").output


@pytest.mark.parametrize(
    ("status", "attempt", "published", "orphan"),
    [
        (Status.FAILED, 2, False, True),
        (Status.REVOKED, 1, False, True),
        (Status.FAILED, 2, True, False),
        (Status.STARTED, 2, False, False),
        (Status.COMPLETED, 1, False, False),
        (None, 1, False, False),
    ],
)
async def test_an_orphan_is_what_an_ended_job_left_and_nobody_was_told_of(
    elasticsearch_url: str, tmp_path: Path, status: Status | None, attempt: int, published: bool, orphan: bool
) -> None:
    prefix = f"o{uuid.uuid4().hex[:8]}."
    made = Settings.model_validate({"sink": {"elasticsearch": elasticsearch_url, "index_prefix": prefix}})
    actions = []
    if status is not None:
        job = {"job_id": "job-b", "status": status.value, "attempt": attempt}
        actions.append(Action(f"{prefix}job_status-2024.03.01", "job-b", orjson.dumps(job), 1))
    if published:
        document = {"id": "T", "dataset": "TILE", "system_version": "v1"}
        actions.append(dataset_action(document, "job-b", 1, 1, 1, prefix))
    await prepare(made, *actions)
    assert await asyncio.to_thread(Orphans(made), marker("job-b")) is orphan
