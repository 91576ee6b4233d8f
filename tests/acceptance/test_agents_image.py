"""The agents of compose.yaml in their image, shut in as it says; only networks and servers are the test's."""

import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import docker
import orjson
import pytest
import yaml
from docker.models.containers import Container
from docker.types import Mount

from tests.acceptance.support import SOON
from tests.conftest import CONTAINERS, PROJECT
from tests.waiting import until

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]
AGENTS = ("orchestrator", "scheduler", "worker", "sink")
IMAGE = "jobstream:test"
DATA = "/var/lib/jobstream"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="making the base image needs root"),
]


@pytest.fixture(scope="module")
def image(docker_engine: docker.DockerClient) -> str:
    built = subprocess.run(
        [CONTAINERS / "agents-image.sh", IMAGE], capture_output=True, text=True, timeout=500, check=False
    )
    assert built.returncode == 0, built.stderr
    return IMAGE


class Host:
    """Runs services of compose.yaml on this host's network, against a broker and an index of the test's."""

    def __init__(self, engine: docker.DockerClient, environment: Mapping[str, str]) -> None:
        self._engine = engine
        self._name = f"jobstream-{uuid.uuid4().hex[:8]}"
        self._environment = environment
        self._ends = ExitStack()

    def run(self, service: str, *command: str) -> Container:
        said = SERVICES[service]
        volumes = [volume.split(":") for volume in said.get("volumes", [])]
        mounts = [Mount(target, self._volume(name)) for name, target in volumes]
        places = [place.partition(":") for place in said["tmpfs"]]
        tmpfs = {target: options for target, _, options in places}
        container = self._engine.containers.create(
            IMAGE,
            list(command) or said["command"],
            environment=dict(self._environment),
            network_mode="host",
            read_only=said["read_only"],
            cap_drop=said["cap_drop"],
            security_opt=said["security_opt"],
            init=said["init"],
            pids_limit=said["pids_limit"],
            mem_limit=said["mem_limit"],
            tmpfs=tmpfs,
            mounts=mounts,
        )
        self._ends.callback(container.remove, force=True, v=True)
        container.start()
        return container

    def say(self, *command: str) -> Any:
        """Run one command of the command line to its end; return what it says as JSON."""
        container = self.run("topics", *command, "-o", "json")
        ended = container.wait(timeout=2 * SOON)
        assert ended["StatusCode"] == 0, container.logs().decode()
        return orjson.loads(container.logs(stdout=True, stderr=False))

    def close(self) -> None:
        self._ends.close()

    def _volume(self, name: str) -> str:
        volume = self._engine.volumes.create(f"{self._name}-{name}")
        self._ends.callback(volume.remove, force=True)
        return str(volume.name)


@pytest.fixture
def host(docker_engine: docker.DockerClient, image: str, kafka: str, elasticsearch_url: str) -> Iterator[Host]:
    prefix = f"image-{uuid.uuid4().hex[:6]}."
    environment = {
        "JOBSTREAM_KAFKA__BOOTSTRAP": kafka,
        "JOBSTREAM_SINK__ELASTICSEARCH": elasticsearch_url,
        "JOBSTREAM_SINK__INDEX_PREFIX": prefix.replace(".", "-"),
        "JOBSTREAM_SINK__GROUP": f"{prefix}sink",
        "JOBSTREAM_TOPICS__PREFIX": prefix,
    }
    host = Host(docker_engine, environment)
    yield host
    host.close()


def test_the_agents_of_compose_take_a_job_from_its_submission_to_its_document_in_the_index(host: Host) -> None:
    applied = host.run("topics")
    assert applied.wait(timeout=SOON)["StatusCode"] == 0, applied.logs().decode()
    agents = {name: host.run(name) for name in AGENTS}

    said = host.say("submit", "greeting", "--param", "_command=echo hello", "--wait")
    (job,) = said["job_ids"]
    until(lambda: host.say("list")[:1], SOON, 1.0, what="the job is in the index")
    assert [row["job_id"] for row in host.say("list")] == [job]
    assert host.say("get", job)["status"] == "job-completed"

    for name, container in agents.items():
        container.reload()
        assert container.status == "running", f"{name}: {container.logs(tail=30).decode()}"
        container.stop(timeout=int(SERVICES[name].get("stop_grace_period", "10s")[:-1]))
        assert container.wait(timeout=SOON)["StatusCode"] == 0, f"{name}: {container.logs(tail=30).decode()}"
