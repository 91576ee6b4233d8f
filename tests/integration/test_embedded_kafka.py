"""The embedded broker: its life, and what it refuses."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import NewTopic

from agents.admin_client import admin_client
from ops.embedded import process
from ops.embedded.errors import EmbeddedError
from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.ports import free_port, is_free
from tests.waiting import until

pytestmark = pytest.mark.integration
START_AND_LEAVE = """
import pathlib, sys
from ops.embedded.kafka import EmbeddedKafka
from agents.admin_client import admin_client
EmbeddedKafka(pathlib.Path(sys.argv[1])).start()
"""


@pytest.fixture(scope="module")
def server(servers_home: Path) -> Iterator[EmbeddedKafka]:
    """A broker that another process, which has ended, started."""
    made = EmbeddedKafka(servers_home / "own")
    subprocess.run([sys.executable, "-c", START_AND_LEAVE, str(made.home)], check=True, timeout=120)
    yield made
    made.wipe()


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A broker that was never started."""
    made = EmbeddedKafka(tmp_path)
    yield made
    made.wipe()


def create(endpoint: str, topic: str) -> None:
    admin = admin_client({"bootstrap.servers": endpoint})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=30)


def topics(endpoint: str) -> set[str]:
    return set(admin_client({"bootstrap.servers": endpoint}).list_topics(timeout=10).topics)


def test_it_outlives_the_process_that_started_it(server: EmbeddedKafka) -> None:
    status = server.status()
    assert status.running
    assert status.ready
    assert status.memory_bytes > 50_000_000
    assert status.endpoint == server.endpoint
    assert status.pid is not None
    assert os.getsid(status.pid) != os.getsid(0)


def test_starting_it_again_changes_nothing(server: EmbeddedKafka) -> None:
    before = server.status()
    assert EmbeddedKafka(server.home).start() == before.endpoint
    assert server.status().pid == before.pid


def test_it_listens_on_loopback_only(server: EmbeddedKafka) -> None:
    broker = psutil.Process(server.status().pid)
    listening = {one.laddr.ip for one in broker.net_connections("all") if one.status == psutil.CONN_LISTEN}
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_another_port_than_the_running_one_is_refused(server: EmbeddedKafka) -> None:
    with pytest.raises(EmbeddedError, match=r"runs already .*JOBSTREAM_EMBEDDED__KAFKA_PORT"):
        EmbeddedKafka(server.home, port=free_port()).start()


def test_its_data_is_there_after_a_restart_even_one_by_force(server: EmbeddedKafka) -> None:
    endpoint = server.start()
    identity = server.cluster_id
    create(endpoint, "kept")
    psutil.Process(server.status().pid).kill()
    until(lambda: not server.is_running(), what="the broker to be gone")
    assert server.endpoint is None
    assert "kept" in topics(server.start())
    assert server.cluster_id == identity
    assert server.stop()
    assert not server.is_running()
    assert not server.stop()
    assert "kept" in topics(server.start())


def test_a_start_whose_pid_file_was_never_written_is_done_again(server: EmbeddedKafka) -> None:
    server.start()
    first = server.status().pid
    (server.folder / "process.json").unlink()
    assert server.is_running()
    server.start()
    assert server.status().ready
    assert server.status().pid != first


def test_a_taken_port_is_named_with_its_holder_and_its_setting(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError) as refused:
            EmbeddedKafka(tmp_path, port=port).start()
    message = str(refused.value)
    assert f"port {port} (Kafka broker) is in use" in message
    assert f"pid {os.getpid()}" in message
    assert "JOBSTREAM_EMBEDDED__KAFKA_PORT" in message


def test_a_stale_pid_file_that_names_somebody_elses_process_harms_nobody(idle: EmbeddedKafka) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        idle.folder.mkdir(parents=True)
        state = {"pid": bystander.pid, "ports": {"broker": free_port(), "controller": free_port()}}
        (idle.folder / "process.json").write_text(json.dumps(state))
        assert not idle.is_running()
        assert idle.endpoint is None
        assert not idle.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"pid": "x"}', '{"pid": -7}'])
def test_a_damaged_pid_file_counts_as_none(idle: EmbeddedKafka, damage: str) -> None:
    idle.folder.mkdir(parents=True)
    (idle.folder / "process.json").write_text(damage)
    assert not idle.status().running
    assert not idle.stop()


def marked_process(program: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Run a Python that waits, under another name and with the mark of `folder`."""
    shutil.copy(Path(sys.executable).resolve(), program)
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    return subprocess.Popen([program, "-c", "input()", process.mark(folder)], stdin=subprocess.PIPE, env=environment)


def test_a_process_that_serves_another_folder_is_not_ours(tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    other = marked_process(tmp_path / "java", folder)
    try:
        until(lambda: process.find(folder), what="the process to show its mark")
        assert process.marked(other.pid, tmp_path / "kafk") is None
        assert not process.find(tmp_path / "other")
        assert process.end(folder, timeout=5) == 1
        assert not psutil.pid_exists(other.pid)
    finally:
        other.kill()
        other.communicate()


def test_a_process_that_only_mentions_the_mark_is_not_ours(tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    searcher = marked_process(tmp_path / "searcher", folder)
    try:
        until(lambda: process.marked(searcher.pid, folder), what="the process to show its mark")
        assert not process.find(folder)
        assert process.end(folder, timeout=1) == 0
        assert searcher.poll() is None
    finally:
        searcher.kill()
        searcher.communicate()


def test_a_start_that_takes_too_long_leaves_nothing_running(tmp_path: Path) -> None:
    port, controller = free_port(), free_port()
    hasty = EmbeddedKafka(tmp_path, port, controller, start_timeout=0.01)
    with pytest.raises(EmbeddedError, match=r"not ready within .* its log is"):
        hasty.start()
    assert not process.find(hasty.folder)
    assert is_free(port)
    assert is_free(controller)


def test_a_broker_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    doomed = EmbeddedKafka(tmp_path)
    (doomed.folder / "data").mkdir(parents=True)
    (doomed.folder / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=99\n")
    with pytest.raises(EmbeddedError, match=r"ended while it started, exit code 1(.|\n)*node.id"):
        doomed.start()


def test_too_little_memory_is_said_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"not enough memory .*JOBSTREAM_EMBEDDED__KAFKA_HEAP_MIB"):
        EmbeddedKafka(tmp_path, heap_mib=10**9).start()
    assert not (tmp_path / "kafka" / "data").exists()
