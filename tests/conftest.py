"""The servers that tests share: each is started when the first test asks for it, once a session.

Each worker of a parallel run is a session of its own, with servers of its own.
`kafka` is a bootstrap string: of an embedded broker, or of one in a container where JOBSTREAM_TEST_BROKER is
`testcontainers`. JOBSTREAM_TEST_KAFKA names the release of embedded brokers, those of whole installations too: `3.9`.
`elasticsearch_url` is the URL of an embedded node. `docker_engine` is a client of the engine that
DOCKER_HOST names, with the images of `ops/containers` built; without an engine its tests are skipped, but fail where CI
is `true`, so that a green CI has run them. `podman_engine` is the same of the engine that CONTAINER_HOST names,
`apptainer_engine` of the program that JOBSTREAM_TEST_APPTAINER names, or else of the one in PATH; of the engines beside
Docker those must be there that JOBSTREAM_TEST_ENGINES lists (names with commas between); the tests of
others are skipped where they are absent. Tests that use one of them get the marker that says so.
"""

import asyncio
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import docker
import psutil
import pytest

from ops.cluster import Cluster
from ops.embedded import process
from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.filelock import file_lock
from ops.embedded.kafka import NEWEST, EmbeddedKafka
from pipeline.containers.apptainer import ApptainerEngine
from pipeline.settings import CLUSTER_FILE, Settings
from tests.asked import asked_for
from tests.waiting import PATIENCE

#: the release of Kafka that tests run with
KAFKA_RELEASE = os.environ.get("JOBSTREAM_TEST_KAFKA", NEWEST)
#: how tasks are taken there: brokers before 4.2 have no share groups
TASK_SOURCE = "share" if KAFKA_RELEASE == NEWEST else "group"
needs_share_groups = pytest.mark.skipif(TASK_SOURCE != "share", reason=f"Kafka {KAFKA_RELEASE} has no share groups")
#: wherever tests run, they ask nobody about the machine
os.environ.setdefault("JOBSTREAM_WORKER__METADATA", "off")

PROJECT = Path(__file__).resolve().parent.parent
CONTAINERS = PROJECT / "ops" / "containers"
#: not below pytest's own temporary folder, which is closed to the user that Elasticsearch runs as
SCRATCH = PROJECT / ".cache" / "tests"
BUSYBOX, PYTHON, KAFKA = "jobstream/busybox:1", "jobstream/python:1", "jobstream/kafka:8.0.0"
SCRIPTS = {BUSYBOX: "busybox-image.sh", PYTHON: "python-image.sh", KAFKA: "kafka-image.sh"}
MARKERS = {
    "kafka": ("integration", "broker"),
    "elasticsearch_url": ("integration",),
    "secured_broker": ("integration",),
    "docker_engine": ("docker",),
    "podman_engine": ("docker",),
    "apptainer_engine": ("docker",),
}
#: files that take minutes: they come first, so that no worker is left with one of them when the others have ended
LONG = (
    "test_chaos",
    "test_stops",
    "test_poison",
    "test_network",
    "test_demo",
    "test_connect",
    "test_orchestrator",
    "test_operations",
    "test_worker",
    "test_task_worker",
    "test_sink",
    "test_scheduler",
    "test_elasticsearch",
    "test_stopped_processes",
    "test_remade_topics",
    "test_full_disks",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            for marker in MARKERS.get(fixture, ()):
                item.add_marker(marker)
        limit = item.get_closest_marker("timeout")
        seconds = limit.args[0] if limit is not None else float(item.config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(seconds * PATIENCE), append=False)


@pytest.fixture(autouse=True)
def nobody_elses_log() -> Iterator[None]:
    """What a test has the process's log go to, its own standard error mostly, ends with it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def servers_home() -> Iterator[Path]:
    """A folder for this session's servers; what sessions that were killed left behind is ended and removed."""
    with file_lock(SCRATCH / "clearing.lock", 120, "clearing up after killed test runs"):
        for left in SCRATCH.glob("*"):
            if left.name.isdigit() and not psutil.pid_exists(int(left.name)):
                _clear(left)
    home = SCRATCH / str(os.getpid())
    home.mkdir(parents=True, exist_ok=True)
    yield home
    shutil.rmtree(home, ignore_errors=True)


def _clear(left: Path) -> None:
    for folder in left.iterdir():
        if (folder / CLUSTER_FILE).exists():
            Cluster(Settings(home=folder)).down(timeout=5)
        # its own servers, and those beside an installation's
        for server in (folder, *(one for one in folder.glob("*") if one.is_dir())):
            process.end(server, timeout=5)
    shutil.rmtree(left, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """The bootstrap string of a broker without topics."""
    if os.environ.get("JOBSTREAM_TEST_BROKER") == "testcontainers":
        yield from _broker_in_a_container(request.getfixturevalue("docker_engine"))
        return
    server = EmbeddedKafka(request.getfixturevalue("servers_home"), release=KAFKA_RELEASE)
    yield server.start()
    server.wipe()


def _broker_in_a_container(engine: docker.DockerClient) -> Iterator[str]:
    # read when testcontainers is imported: its own clean-up container needs an image that nobody has here
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
    from testcontainers.community.kafka import KafkaContainer

    _ensure_image(engine, KAFKA)
    container = KafkaContainer(KAFKA).with_kraft().with_kwargs(mem_limit="1g")
    try:
        yield container.start(timeout=90).get_bootstrap_server().replace("localhost", "127.0.0.1")
    finally:
        container.stop()


@pytest.fixture(scope="session")
def elasticsearch_url(servers_home: Path) -> Iterator[str]:
    """The URL of an Elasticsearch node without indices."""
    server = EmbeddedElasticsearch(servers_home, heap_mib=384)
    yield server.start()
    server.wipe()


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """A client of the Docker engine, where BUSYBOX and PYTHON can be run."""
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as absent:
        unavailable(f"no Docker engine answers (DOCKER_HOST={os.environ.get('DOCKER_HOST')}): {absent}")
    for image in (BUSYBOX, PYTHON):
        _ensure_image(client, image)
    yield client
    client.close()


@pytest.fixture(scope="session")
def image_archives(docker_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """BUSYBOX and PYTHON as `docker save` writes them, by tag."""
    folder = tmp_path_factory.mktemp("images")
    archives = {tag: folder / f"{tag.replace('/', '-').replace(':', '-')}.tar" for tag in (BUSYBOX, PYTHON)}
    for tag, path in archives.items():
        with path.open("wb") as file:
            file.writelines(docker_engine.images.get(tag).save(named=True))
    return archives


@pytest.fixture(scope="session")
def podman_engine(request: pytest.FixtureRequest) -> Iterator[docker.DockerClient]:
    """A client of the Podman engine, where BUSYBOX and PYTHON can be run."""
    url = os.environ.get("CONTAINER_HOST")
    if not url:
        _absent("podman", "no Podman service: CONTAINER_HOST is unset")
    try:
        client = docker.DockerClient(base_url=url, version="1.41")
        client.ping()
    except docker.errors.DockerException as absent:
        _absent("podman", f"no Podman service answers (CONTAINER_HOST={url}): {absent}")
    for tag, archive in request.getfixturevalue("image_archives").items():
        with archive.open("rb") as file:
            client.images.load(file)
        client.images.get(tag)
    yield client
    client.close()


@dataclass(frozen=True)
class Apptainer:
    """The program, and a folder with BUSYBOX and PYTHON."""

    program: str
    images: Path


@pytest.fixture(scope="session")
def apptainer_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Apptainer:
    """Apptainer, by which BUSYBOX and PYTHON can be run."""
    named = os.environ.get("JOBSTREAM_TEST_APPTAINER")
    program = shutil.which(named or "apptainer")
    if program is None:
        _absent("apptainer", f"no Apptainer: JOBSTREAM_TEST_APPTAINER is {named or 'unset'} and PATH has none")
    folder = tmp_path_factory.mktemp("apptainer")
    engine = ApptainerEngine(folder / "state", folder / "images", program=program)
    archives = request.getfixturevalue("image_archives")
    # A loop may run already in this thread.
    with ThreadPoolExecutor(1) as thread:
        for tag, archive in archives.items():
            thread.submit(asyncio.run, engine.load(archive, tag)).result()
    return Apptainer(program, folder / "images")


@pytest.fixture(scope="session")
def busybox_image(docker_engine: docker.DockerClient) -> str:
    """The tag of the smallest image with a shell."""
    return BUSYBOX


@pytest.fixture(scope="session")
def python_image(docker_engine: docker.DockerClient) -> str:
    """The tag of the image with Python 3.11."""
    return PYTHON


def _ensure_image(client: docker.DockerClient, tag: str) -> None:
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        script = [CONTAINERS / SCRIPTS[tag], tag]
        built = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
        if built.returncode != 0:
            unavailable(f"the image {tag} is missing and can't be built here: {built.stderr.strip()[-500:]}")


def _absent(engine: str, reason: str) -> NoReturn:
    if asked_for(engine):
        pytest.fail(reason)
    pytest.skip(reason)


def unavailable(reason: str) -> NoReturn:
    """Skip what needs something that isn't here; fail where CI is `true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
