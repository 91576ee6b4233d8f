"""The engine that runs a command in a Podman container, through Podman's Docker-compatible socket.

Everything is as with Docker; this is what differs.
"""

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import DockerException
from docker.models.containers import Container
from docker.types import Ulimit

from pipeline.containers.docker import DockerEngine
from pipeline.containers.interruption import Interruption, Outliving
from pipeline.containers.watch import Watch

#: The variable that names Podman's socket, as for its own clients.
HOST_VARIABLE = "CONTAINER_HOST"
#: The most that Podman's service leaves itself of each, so that it can give it to containers.
_MOST_PROCESSES, _MOST_FILES = 32_768, 1_048_576
#: Of Docker's interface, which Podman 4 and later have; to ask for it takes Podman seconds.
_VERSION = "1.41"


class PodmanEngine(DockerEngine):
    """Runs commands in containers of one Podman service on this host; names of images get `localhost/` by themselves.

    Without `base_url` the service is that of CONTAINER_HOST, else the usual one of the worker's user. A container
    outlives its service: one that is restarted is found again, but what it printed meanwhile is lost.
    """

    name = "podman"
    title = "Podman"
    image_prefix = "localhost/"

    def __init__(
        self,
        *,
        base_url: str | None = None,
        roots: Sequence[Path] = (),
        writable_roots: Sequence[Path] = (),
        networks: Sequence[str] = (),
        gpus: bool = False,
        user: str | None = None,
    ) -> None:
        """See DockerEngine."""
        super().__init__(
            base_url=base_url or default_url(),
            roots=roots,
            writable_roots=writable_roots,
            networks=networks,
            gpus=gpus,
            user=user,
        )

    def _connect(self, timeout: Any) -> docker.DockerClient:
        return docker.DockerClient(base_url=self._base_url, version=_VERSION, timeout=timeout)

    def _watch(self, container: Container) -> Watch | None:
        # An attached container has its process already, waiting to be started. Podman doesn't say that memory killed,
        # so all depends on the counters, and those are had in time only here.
        try:
            container.reload()
            return Watch.of(int(container.attrs["State"]["Pid"]))
        except (DockerException, requests.RequestException, KeyError):
            return None

    def _interruption(self, client: docker.DockerClient, container: Container) -> Interruption:
        # each container has a process of its own that watches it
        return Outliving(self.title, client, str(container.id))

    def _program(self) -> list[str]:
        return ["podman", "--remote", "--url", str(self._base_url)]

    def _ulimits(self) -> list[Ulimit]:
        # Given one limit, Podman takes the others from its own defaults, which may be beyond what its service has.
        return [
            *super()._ulimits(),
            _most("nproc", resource.RLIMIT_NPROC, _MOST_PROCESSES),
            _most("nofile", resource.RLIMIT_NOFILE, _MOST_FILES),
        ]


def default_url() -> str:
    """Return the URL of the service that the environment names, else of the worker's user."""
    folder = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    return os.environ.get(HOST_VARIABLE) or f"unix://{folder}/podman/podman.sock"


def _most(name: str, which: int, most: int) -> Ulimit:
    hard = resource.getrlimit(which)[1]
    limit = most if hard == resource.RLIM_INFINITY else min(hard, most)
    # One number for both: other pairs were refused.
    return Ulimit(name=name, soft=limit, hard=limit)
