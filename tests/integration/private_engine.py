"""A container engine of one test's own, which may be killed: its data are in a folder that is gone afterwards."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
import pytest
import requests

from pipeline.containers.base import Engine
from pipeline.containers.docker import DockerEngine
from pipeline.containers.podman import PodmanEngine
from tests.waiting import until

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "ops" / "containers"


@dataclass
class PrivateEngine:
    """`kind` is docker or podman; `outlived` says that containers go on while it is away."""

    kind: str
    outlived: bool
    folder: Path

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/{self.kind}.sock"

    def start(self) -> None:
        self._ask("start")

    def stop(self) -> None:
        self._ask("stop")

    def kill(self) -> None:
        process = psutil.Process(int((self.folder / self._pid_file).read_text()))
        process.send_signal(signal.SIGKILL)
        until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)

    def engine(self) -> Engine:
        return (DockerEngine if self.kind == "docker" else PodmanEngine)(base_url=self.url)

    def containers(self) -> list[str]:
        client = docker.DockerClient(base_url=self.url, version="1.41")
        try:
            return [str(one.id) for one in client.containers.list(all=True)]
        finally:
            client.close()

    @property
    def _pid_file(self) -> str:
        return "dockerd.pid" if self.kind == "docker" else "podman.pid"

    def _ask(self, word: str) -> None:
        script = "dockerd.sh" if self.kind == "docker" else "podman.sh"
        environment = {**os.environ, "DOCKERD_LIVE_RESTORE": str(int(self.outlived))}
        asked = [SCRIPTS / script, word, self.folder]
        said = subprocess.run(asked, env=environment, check=False, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr


@contextmanager
def private_engine(kind: str, outlived: bool) -> Iterator[PrivateEngine]:
    """An engine that runs; skips where none can be started."""
    if os.geteuid() != 0 or shutil.which("dockerd" if kind == "docker" else "podman") is None:
        pytest.skip(f"needs root and {kind}, to start one of its own")
    # the path of a socket must be short
    made = PrivateEngine(kind, outlived, Path(tempfile.mkdtemp(prefix="jse-")))
    try:
        made.start()
        yield made
    finally:
        with suppress(docker.errors.DockerException, requests.RequestException):
            client = docker.DockerClient(base_url=made.url, version="1.41")
            for one in client.containers.list(all=True):
                one.remove(force=True)
        made.stop()
        _clear(made.folder)


def _clear(folder: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
