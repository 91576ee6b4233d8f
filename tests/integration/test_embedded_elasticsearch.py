"""The embedded Elasticsearch node: its life, also in a folder that is closed to the user that it runs as."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from elasticsearch import Elasticsearch

from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.errors import EmbeddedError
from ops.embedded.unprivileged import PUBLIC, reachable
from tests.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedElasticsearch]:
    home = tmp_path_factory.mktemp("closed")
    home.chmod(0o700)
    made = EmbeddedElasticsearch(home, heap_mib=384)
    made.start()
    yield made
    made.wipe()


def test_a_home_that_its_user_cannot_reach_is_no_obstacle(server: EmbeddedElasticsearch) -> None:
    assert server.status().ready
    assert not reachable(server.home)
    assert server.folder.is_relative_to(PUBLIC if os.geteuid() == 0 else server.home)


def test_it_does_not_run_as_root(server: EmbeddedElasticsearch) -> None:
    uids = psutil.Process(server.status().pid).uids()
    expected = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    assert uids.real == uids.effective == uids.saved == expected


def test_it_listens_on_loopback_only(server: EmbeddedElasticsearch) -> None:
    node = psutil.Process(server.status().pid)
    listening = {one.laddr.ip for one in node.net_connections("all") if one.status == psutil.CONN_LISTEN}
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_its_launcher_does_not_stay(server: EmbeddedElasticsearch) -> None:
    from ops.embedded import process

    until(lambda: len(process.find(server.folder)) == 1, what="the launcher to end")


def test_starting_it_again_changes_nothing(server: EmbeddedElasticsearch) -> None:
    before = server.status()
    assert EmbeddedElasticsearch(server.home).start() == before.endpoint
    assert server.status().pid == before.pid


def test_a_folder_of_another_name_does_not_count_as_running(server: EmbeddedElasticsearch) -> None:
    assert not EmbeddedElasticsearch(server.home / "deeper").is_running()


def test_its_documents_are_there_after_a_restart(server: EmbeddedElasticsearch) -> None:
    with Elasticsearch(server.start()) as client:
        client.index(index="kept", id="1", document={"a": 1})
    assert server.stop()
    assert not server.is_running()
    with Elasticsearch(server.start()) as client:
        client.cluster.health(index="kept", wait_for_status="yellow", timeout="30s")
        assert client.get(index="kept", id="1")["_source"] == {"a": 1}


def test_a_taken_port_is_named_with_its_setting(server: EmbeddedElasticsearch, tmp_path: Path) -> None:
    endpoint = server.start()
    port = int(endpoint.rpartition(":")[2])
    with pytest.raises(EmbeddedError, match=r"Elasticsearch HTTP.*JOBSTREAM_EMBEDDED__ELASTICSEARCH_PORT"):
        EmbeddedElasticsearch(tmp_path, port=port).start()
