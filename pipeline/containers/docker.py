"""The engine that runs a command in a Docker container, hardened (design §6).

No network, a read-only root file system, no capabilities, no new privileges, an unprivileged user, limits on memory
(swap included), processor and processes. The container sees its working directory and what the mount policy allows;
never the engine's socket.
"""

import os
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig, Ulimit
from docker.types import Mount as Bind

from pipeline.containers import docker_labels as ours
from pipeline.containers.attached import attached
from pipeline.containers.base import Engine, Orphan, Running
from pipeline.containers.container import RunningContainer, remove
from pipeline.containers.docker_images import DockerImages
from pipeline.containers.errors import (
    ENGINE_FAILED,
    NOT_EXECUTABLE,
    NOT_FOUND,
    EngineError,
    RefusedError,
    UnavailableError,
)
from pipeline.containers.interruption import Interruption
from pipeline.containers.mounts import MountPolicy, engine_sockets
from pipeline.containers.output import Outputs
from pipeline.containers.ownership import default_user, give, parse_user
from pipeline.containers.pump import Pump
from pipeline.containers.run_line import run_line
from pipeline.containers.spec import Mount, RunSpec
from pipeline.containers.threads import in_thread
from pipeline.containers.watch import Watch

#: Seconds that a request which answers at once may take.
TIMEOUT = 60
#: What the SDK calls an engine behind a socket of this host.
_LOCAL = "http+docker://localhost"
#: Docker's own least memory.
_LEAST_MEMORY_MIB = 6


class DockerEngine(Engine):
    """Runs commands in containers of one Docker daemon, which must be on this host (it sees the same paths).

    Without `base_url` the daemon is that of the environment (DOCKER_HOST). `roots` and `writable_roots` are the only
    folders that mounts may come from; `networks` the only networks besides none; `gpus` says whether there are any
    (without, a request for some is left out and noted, spec §6).

    The command gets HOME (its working directory), the spec's and the image's environment, and one variable that makes
    the container's first process pass SIGTERM on to the whole process group.
    """

    name = "docker"
    needs_image = True
    #: How errors call it.
    title = "Docker"
    #: What goes before the names that images get which name no registry.
    image_prefix = ""

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
        """Connect at the first use only; raises RefusedError if `user` isn't an unprivileged `uid:gid`."""
        super().__init__()
        self._base_url = base_url
        self._networks = frozenset(networks) | {"none"}
        self._gpus = gpus
        self._user = user or default_user()
        parse_user(self._user)
        self._policy = MountPolicy(tuple(roots), tuple(writable_roots), engine_sockets(base_url))
        self._connecting = threading.Lock()
        self._quick: docker.DockerClient | None = None
        self._patient: docker.DockerClient | None = None
        self._images = DockerImages(self.title, self._clients, self.image_prefix)

    async def reap_orphans(self, worker: str, holder: str) -> list[Orphan]:
        """See Engine; containers that were made but never started count too."""
        try:
            return await in_thread(lambda: ours.reap(self._clients()[0], worker, holder))
        except (DockerException, requests.RequestException) as error:
            raise UnavailableError(f"{self.title} can't be asked for orphans: {error}") from error

    async def image_id(self, image: str | None) -> str | None:
        """See Engine."""
        try:
            return await in_thread(self._images.id_of, image)
        except (DockerException, requests.RequestException) as error:
            raise self._as_engine_error(error) from error

    @property
    def store(self) -> str:
        """See Engine."""
        return f"{self.name} {self._base_url or os.environ.get('DOCKER_HOST', '')}"

    async def load(self, archive: Path, image: str) -> None:
        """See Engine: one image of the archive is loaded, and gets no name but this one."""
        await in_thread(self._images.load, archive, image)

    async def pull(self, reference: str, image: str) -> None:
        """See Engine; what the registry calls it is forgotten, unless it was known by that before."""
        await in_thread(self._images.pull, reference, image)

    async def unload(self, image: str, image_id: str) -> bool:
        """See Engine."""
        return await in_thread(self._images.unload, image, image_id)

    async def size(self, image: str) -> int:
        """See Engine: the layers that it shares with others included."""
        return await in_thread(self._images.size, image)

    async def close(self) -> None:
        """See Engine."""
        await super().close()
        for client in (self._quick, self._patient):
            if client is not None:
                client.close()
        self._quick = self._patient = None

    def command_line(self, spec: RunSpec, withheld: Collection[str] = ()) -> list[str]:
        """Return a `run` of the same container, to be removed when it ends."""
        return run_line(self._program(), self._parameters(spec), str(spec.image), spec.argv, withheld)

    def describe(self, spec: RunSpec) -> dict[str, object]:
        """See Engine; the names are those of the Docker SDK, without the environment. Raises RefusedError."""
        made = self._parameters(spec)
        made["mounts"] = [dict(bind) for bind in made["mounts"]]
        made["ulimits"] = [dict(limit) for limit in made["ulimits"]]
        made["log_config"] = dict(made["log_config"])
        made["device_requests"] = [dict(request) for request in made["device_requests"]]
        del made["environment"]
        return made

    async def _start(self, spec: RunSpec) -> Running:
        return await in_thread(self._launch, spec)

    def _launch(self, spec: RunSpec) -> RunningContainer:
        parameters = self._parameters(spec)
        give(spec.working_dir, *parse_user(parameters["user"]))
        try:
            quick, patient = self._clients()
            image = spec.image_id or self._images.id_of(spec.image)
            pump = Pump(Outputs(spec.stdout, spec.stderr, spec.output_limit, spec.observer, spec.mask))
            try:
                container = quick.containers.create(image, list(spec.argv), **parameters)
                watch = self._go(container, patient, pump)
            except BaseException:
                pump.close()
                raise
        except EngineError:
            raise
        except (DockerException, requests.RequestException, OSError) as error:
            raise self._as_engine_error(error) from error
        notes = ["the job asked for GPUs, this worker has none"] if spec.gpus and not self._gpus else []
        interruption = self._interruption(quick, container)
        return RunningContainer(self.title, container, patient, pump, spec, image, notes, interruption, watch)

    def _go(self, container: Container, patient: docker.DockerClient, pump: Pump) -> Watch | None:
        try:
            # Attached before the start: what comes in between would be missed.
            how = {"stdout": 1, "stderr": 1, "stream": 1}
            pump.start(attached(patient.api.attach_socket(str(container.id), how)))
            watch = self._watch(container)
            container.start()
            return watch
        except BaseException:
            # the engine may be away, and have begun the command before
            remove(container)
            raise

    def _watch(self, container: Container) -> Watch | None:
        """Return the watch over a container that is about to start, where there is something to watch already."""
        return None

    def _interruption(self, client: docker.DockerClient, container: Container) -> Interruption:
        return Interruption(self.title, client, str(container.id))

    def _program(self) -> list[str]:
        url = self._base_url or os.environ.get("DOCKER_HOST")
        return ["docker", *(["--host", url] if url else [])]

    def _ulimits(self) -> list[Ulimit]:
        return [Ulimit(name="core", soft=0, hard=0)]

    def _parameters(self, spec: RunSpec) -> dict[str, Any]:
        if not spec.image or spec.image.startswith("-"):
            raise RefusedError(f"no container image: {spec.image!r}")
        if not spec.argv:
            raise EngineError("no command", NOT_FOUND)
        if spec.network not in self._networks:
            raise RefusedError(f"network {spec.network!r} isn't allowed (allowed: {', '.join(sorted(self._networks))})")
        user = spec.user or self._user
        parse_user(user)
        memory = f"{max(spec.memory_mib, _LEAST_MEMORY_MIB)}m"
        return {
            "user": user,
            "network_mode": spec.network,
            "read_only": True,
            "init": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "mem_limit": memory,
            "memswap_limit": memory,
            "nano_cpus": int(spec.cpus * 1e9),
            "pids_limit": spec.pids_limit,
            "shm_size": f"{min(spec.shm_mib, spec.memory_mib)}m",
            "tmpfs": _tmpfs(spec),
            "mounts": self._binds(spec),
            "ulimits": self._ulimits(),
            "device_requests": self._devices(spec),
            "log_config": LogConfig(type="none"),
            "labels": ours.labels(spec.labels, spec.working_dir),
            "environment": _environment(spec),
            "working_dir": str(spec.working_dir),
        }

    def _binds(self, spec: RunSpec) -> list[Bind]:
        own = Mount(str(self._policy.working_dir(spec.working_dir)), str(spec.working_dir), "rw")
        mounts = [own, *self._policy.check(spec.mounts, spec.working_dir)]
        return [
            Bind(target=mount.container, source=mount.host, type="bind", read_only=mount.mode == "ro")
            for mount in mounts
        ]

    def _devices(self, spec: RunSpec) -> list[DeviceRequest]:
        if not spec.gpus or not self._gpus:
            return []
        count = -1 if spec.gpus == "all" else int(spec.gpus)
        return [DeviceRequest(count=count, capabilities=[["gpu"]])]

    def _as_engine_error(self, error: Exception) -> EngineError:
        said = str(getattr(error, "explanation", None) or error)
        code = ENGINE_FAILED
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            return UnavailableError(f"the output files can't be made: {error}")
        if not (isinstance(error, APIError) and error.is_client_error()):
            return UnavailableError(f"{self.title} doesn't work: {said}")
        if "executable file not found" in said:
            code = NOT_FOUND
        elif "permission denied" in said:
            code = NOT_EXECUTABLE
        return EngineError(f"the container could not be run: {said}", code)

    def _clients(self) -> tuple[docker.DockerClient, docker.DockerClient]:
        with self._connecting:
            if self._quick is None or self._patient is None:
                self._quick, self._patient = _undistracted(self._connect(TIMEOUT)), _undistracted(self._connect(None))
            return self._quick, self._patient

    def _connect(self, timeout: Any) -> docker.DockerClient:
        if self._base_url:
            return docker.DockerClient(base_url=self._base_url, timeout=timeout)
        return docker.from_env(timeout=timeout)


def _undistracted(client: docker.DockerClient) -> docker.DockerClient:
    if client.api.base_url == _LOCAL:
        # Else each request looks for proxies and passwords, which a socket has no use for: a third of its time.
        client.api.trust_env = False
    return client


def _environment(spec: RunSpec) -> dict[str, str]:
    return {"HOME": str(spec.working_dir), **spec.env, "TINI_KILL_PROCESS_GROUP": "1"}


def _tmpfs(spec: RunSpec) -> dict[str, str]:
    return {"/tmp": f"rw,nosuid,nodev,exec,mode=1777,size={max(spec.memory_mib // 2, 1)}m"}  # noqa: S108
