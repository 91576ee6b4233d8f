"""An index that is down, overloaded or red: no job notices, and in the end its documents are those of the log."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from ops.cluster import AgentProcess, Plan
from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.ports import free_port
from ops.replaying.indexing import compare, rebuild
from tests.acceptance.support import Site, site_at
from tests.asked import LONG
from tests.faults.support import all_complete, nothing_is_violated
from tests.waiting import until

pytestmark = pytest.mark.timeout(1500 if LONG else 300)

#: s for which Elasticsearch is down
OUTAGE = 600.0 if LONG else 6.0
#: bytes of requests that a node of little memory takes at once: none of ours is as small
_TIGHT = "\nindexing_pressure.memory.limit: 100b\n"
#: s for all that waits to be written: the sink's longest back-off is half a minute
LATE = 90.0


class ChangingElasticsearch(EmbeddedElasticsearch):
    """A node whose configuration may change between a stop and a start."""

    more: str = ""

    def _configure(self, ports: Mapping[str, int]) -> None:
        super()._configure(ports)
        file = self.folder / "config" / "elasticsearch.yml"
        file.write_text(file.read_text() + self.more)


@pytest.fixture(scope="module")
def node(servers_home: Path) -> Iterator[ChangingElasticsearch]:
    node = ChangingElasticsearch(servers_home / "index-faults", free_port(), free_port(), heap_mib=384)
    node.start()
    yield node
    node.wipe()


@pytest.fixture(scope="module")
def site(servers_home: Path, node: ChangingElasticsearch) -> Iterator[Site]:
    plan = Plan(elasticsearch=False, workers=1, engine="noop")
    sink = {"elasticsearch": node.endpoint, "timeout": 5.0}
    with site_at(servers_home / "index-faults", plan, {"sink": sink}) as site:
        all_complete(site, site.submit({}, {}, {}))
        the_index_equals_the_log(site, "first")
        yield site


def the_index_equals_the_log(site: Site, prefix: str, own: str = "") -> None:
    """Wait until the sink has written all, then build the index anew from the log and compare the two."""
    facts = sum(map(len, site.facts.facts.values()))

    def written() -> int:
        with Elasticsearch(site.settings.sink.elasticsearch) as client:
            client.indices.refresh(index=f"{own}job_events-*")
            return int(client.count(index=f"{own}job_events-*")["count"])

    until(lambda: written() == facts, LATE, 0.5, lambda: f"{written()} of {facts} facts are in the index")
    sink = site.settings.sink.model_copy(update={"index_prefix": own})
    settings = site.settings.model_copy(update={"sink": sink})
    rebuilt = rebuild(settings, f"{prefix}-")
    compared = compare(settings, f"{prefix}-", whole=rebuilt.is_whole)
    assert (rebuilt.is_whole, rebuilt.facts, dict(rebuilt.refused)) == (True, facts, {})
    assert compared.is_equal, compared.unlike
    assert compared.newer.total() == 0
    nothing_is_violated(site)


def jobs_go_on(site: Site, said: str, log: Path | None = None) -> None:
    """Run jobs to their ends while the sink can't write, and wait until it says so."""
    log = log or site.cluster.log("sink")
    before = log.stat().st_size
    all_complete(site, site.submit(*[{}] * 20))

    def told() -> bool:
        with log.open("rb") as file:
            file.seek(before)
            return said in file.read().decode(errors="replace")

    until(told, LATE, what=f"the sink says {said}")


def change(client: Elasticsearch, index: str, **settings: Any) -> None:
    client.indices.put_settings(index=index, settings=settings)


def test_while_elasticsearch_is_down_or_refuses_for_its_memory_jobs_go_on_and_all_is_written_in_the_end(
    site: Site, node: ChangingElasticsearch
) -> None:
    sink = site.cluster.pid("sink")
    node.stop()
    over = time.monotonic() + OUTAGE
    jobs_go_on(site, "Connection")
    until(lambda: time.monotonic() > over, OUTAGE + 5, what="the outage is over")
    node.more = _TIGHT
    node.start()
    jobs_go_on(site, "429")
    node.stop()
    node.more = ""
    node.start()
    the_index_equals_the_log(site, "down")
    assert site.cluster.pid("sink") == sink


def test_what_a_full_disk_of_the_index_refuses_is_written_once_there_is_room(site: Site) -> None:
    with Elasticsearch(site.settings.sink.elasticsearch) as client:
        # what Elasticsearch itself sets where its disk is nearly full
        change(client, "job_*", **{"index.blocks.read_only_allow_delete": True})
        jobs_go_on(site, "429")
        change(client, "job_*", **{"index.blocks.read_only_allow_delete": None})
    the_index_equals_the_log(site, "full")


def test_while_the_index_is_red_jobs_go_on_and_all_is_written_in_the_end(site: Site) -> None:
    # a sink of its own, that reads all facts anew: only a new index can have a shard that no node may hold
    rebuild(site.settings, "red-")
    sink = AgentProcess(site.home / "red", "sink", ["sink"])
    own = {"JOBSTREAM_HOME": str(sink.home), "JOBSTREAM_SINK__GROUP": "red", "JOBSTREAM_SINK__INDEX_PREFIX": "red-"}
    with Elasticsearch(site.settings.sink.elasticsearch) as client:
        names = list(client.indices.get(index="red-job_*"))
        for name in names:
            client.indices.delete(index=name)
            nowhere = {"index.routing.allocation.require._name": "nobody"}
            client.indices.create(index=name, settings=nowhere, wait_for_active_shards="0")
        assert client.cluster.health()["status"] == "red"
        sink.start({**site.settings.environment(), **own})
        try:
            jobs_go_on(site, "bulk: waiting for Elasticsearch", sink.log)
            assert client.cluster.health()["status"] == "red"
            change(client, ",".join(names), **{"index.routing.allocation.require._name": None})
            the_index_equals_the_log(site, "well", "red-")
        finally:
            sink.stop(30)
