"""The demo's own installation: its folder, its settings, its job type; nothing of it touches another one."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ops.cluster import Cluster, Plan, Tell
from ops.demo.errors import DemoError
from ops.demo.image import TAG
from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.filelock import file_lock
from ops.embedded.kafka import EmbeddedKafka
from pipeline.containers.ownership import default_user
from pipeline.settings import CLUSTER_FILE, Settings

HOME = Path(".jobstream/demo")
PROCESS, DOCKER = "process", "docker"
#: Runs whose products stay.
KEPT_RUNS = 5
#: Where a container sees the program.
_MOUNTED = "/opt/demo"
_FILES = Path(__file__).parent
#: Shows that the folder is a demo's, and is held by the one that runs.
_LOCK = "demo.lock"
_STAYS = (_LOCK, "products")
#: Seconds that another demo in the same folder is waited for, and that a process left by one gets to stop.
_LOCK_TIMEOUT, _STOP_TIMEOUT = 2.0, 10.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One run's place: `home` is the installation's folder, `run` names the run, `engine` runs its jobs."""

    home: Path
    engine: str
    run: str

    @property
    def products(self) -> Path:
        """Where products are published; they stay."""
        return self.home / "products"

    @property
    def container(self) -> dict[str, Any]:
        """What submissions say of the container that their job runs in; nothing without one."""
        if self.engine == PROCESS:
            return {}
        return {"container_image_name": TAG, "container_mappings": {str(self._program): _MOUNTED}}

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Keep other demos out of the folder; raises EmbeddedError while one is in it, DemoError where it isn't ours.

        A folder that holds anything and was not made by a demo is refused: most of it would be removed.
        """
        mark = self.home / _LOCK
        if self.home.exists() and not mark.exists() and any(self.home.iterdir()):
            raise DemoError(f"{self.home} is not a demo's folder, and not empty: name another one with --home")
        with file_lock(mark, _LOCK_TIMEOUT, f"running the demo in {self.home}"):
            yield

    def prepare(self, tell: Tell) -> Cluster:
        """Clear away what an earlier run left, running processes included, and return the new installation.

        Raises DemoError where the folder can't be written to.
        """
        try:
            self._clear(tell)
            return Cluster(self._settings(), Plan(workers=1, engine=self.engine))
        except OSError as error:
            raise DemoError(
                f"{self.home} can't be used ({error.strerror}: {error.filename}): make it writable, free some disk, or "
                "name another folder with --home"
            ) from error

    def _clear(self, tell: Tell) -> None:
        # the settings of whoever calls belong to another installation
        os.environ["JOBSTREAM_HOME"] = str(self.home)
        os.environ["JOBSTREAM_CONFIG"] = os.devnull
        if (self.home / CLUSTER_FILE).exists():
            Cluster(Settings()).down(tell, timeout=_STOP_TIMEOUT)
        EmbeddedKafka(self.home).wipe()
        EmbeddedElasticsearch(self.home).wipe()
        for path in self.home.iterdir():
            if path.name not in _STAYS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        runs = sorted(self.products.glob("terrain/*/*"), key=lambda path: path.stat().st_mtime)
        for old in runs[: max(0, len(runs) + 1 - KEPT_RUNS)]:
            shutil.rmtree(old)

    def _settings(self) -> Settings:
        self._program.mkdir()
        shutil.copyfile(_FILES / "terrain.py", self._program / "terrain.py")
        # a container's user is another one
        self._program.chmod(0o755)
        (self._program / "terrain.py").chmod(0o644)
        commands = self.home / "job_worker.json"
        commands.write_bytes(orjson.dumps({"configs": [self._job_type()]}, option=orjson.OPT_INDENT_2))
        free = dict.fromkeys(("kafka_port", "controller_port", "elasticsearch_port", "transport_port"), 0)
        worker = {
            "slots": max(2, os.cpu_count() or 1),
            "store": self.products,
            "job_worker_file": commands,
            "datasets_file": _FILES / "datasets.json",
            "mounts": (self._program,),
            "user": None if self.engine == PROCESS else default_user(),
            "status_ms": 1000,
            # nothing runs on after the demo
            "grace": 1.0,
        }
        return Settings(home=self.home, worker=worker, embedded=free)

    def _job_type(self) -> Mapping[str, Any]:
        """Return the worker's command for the job type: arguments that are `$names` are the payload's values."""
        inside = self.engine != PROCESS
        program = f"{_MOUNTED}/terrain.py" if inside else str(self._program / "terrain.py")
        arguments = ["--out", ".", "--tile", "$tile", "--name", "$name", "--linger", "$linger"]
        command = {"path": "python3" if inside else sys.executable, "options": [program], "arguments": arguments}
        return {"type": "terrain", "command": command}

    @property
    def _program(self) -> Path:
        return self.home / "program"
