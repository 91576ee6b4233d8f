"""A worker process among hostile jobs: what they are, and what must hold after each."""

import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from pipeline.disk.removal import Trash
from pipeline.messages.report import COMPLETED, FAILED, PUBLISH
from tests.integration.engine_support import PYTHON_IMAGE
from tests.integration.worker_support import KEY, Ledger, Process
from tests.waiting import until

MIB = 1 << 20
#: What a worker's memory may grow by, whatever its jobs do.
GROWTH = 30 * MIB
#: Users of this test run's alone: a job that kills all that it may kill must not find others.
FIRST_USER = 200_000
RULES = {
    "datasets": [
        {
            "ipath": "test::data/PROD",
            "version": "v1",
            "level": "l0",
            "type": "PROD",
            "match_pattern": "/(?P<id>PROD-(?P<number>\\d+))$",
            "publish": {"location": "{number}/{id}", "urls": []},
        }
    ]
}


def own_user() -> str:
    return f"{FIRST_USER + os.getpid() % 100_000}:{FIRST_USER}"


def python() -> str:
    """A Python that any user can run: the tests' own may lie in a folder of root's."""
    home = Path(sys.executable).resolve()
    if all(folder.stat().st_mode & 0o001 for folder in home.parents):
        return str(home)
    found = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    assert found, "no python3 that every user can run"
    return found


@dataclass
class Arena:
    """A worker process with one engine, and the ledger that grants it jobs, played by the test."""

    ledger: Ledger
    process: Process
    holder: str
    engine: str
    root: Path
    store: Path
    #: Bytes of the worker's memory after its first job.
    memory: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def document(self, script: str, *arguments: str, **more: Any) -> dict[str, Any]:
        """A job that runs a Python script, in a container where the engine is one."""
        contained = {"container_image_name": PYTHON_IMAGE} if self.engine == "docker" else {}
        program = "python3" if contained else python()
        command = shlex.join([program, "-c", script, *arguments])
        return {**contained, "params": {"_command": command}, **more}

    def start(self, script: str, *arguments: str, **more: Any) -> str:
        """Grant a job and return its id."""
        job = f"f{next(self._numbers):05}-1"
        document = self.document(script, *arguments, **more)
        self.ledger.grant(self.holder, job, document | {"needs": {"memory_mib": 128} | document.get("needs", {})})
        return job

    def end(self, job: str) -> dict[str, Any]:
        """Wait for a job's end, permitting what it would publish; return its last report with `kind`."""
        permitted = False

        def ended() -> Any:
            nonlocal permitted
            assert self.process.popen.poll() is None, self.process.log.read_text()[-3000:]
            if not permitted and self.ledger.of(job, PUBLISH):
                permitted = True
                self.ledger.permit(self.holder, job)
            return self.ledger.of(job, COMPLETED, FAILED)

        (report, *_) = until(ended, 60, 0.02, f"the end of {job}")
        return {"kind": report.kind, **orjson.loads(report.result)}

    def run(self, script: str, *arguments: str, **more: Any) -> dict[str, Any]:
        """Run a job to its end."""
        return self.end(self.start(script, *arguments, **more))

    def directory(self, said: Mapping[str, Any]) -> Path:
        return Path(said["job_info"]["job_dir"])

    def assert_unharmed(self) -> None:
        """The same process runs the next job; of all earlier ones nothing runs, is open or holds a seat."""
        said = self.run("print('next')")
        assert said["kind"] == COMPLETED, said
        assert (self.directory(said) / "_stdout.txt").read_text() == "next\n"
        assert self.process.popen.poll() is None
        until(lambda: not self.strays(), 20, what=self.strays)
        for folder in ("open", "room"):
            assert [path.name for path in (self.root / folder).rglob("f*-1-*")] == []

    def strays(self) -> list[psutil.Process]:
        """Processes that jobs left: of the worker's token, user or directories."""
        found = []
        uid = int(own_user().split(":")[0])
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.uids().real == uid or process.cwd().startswith(str(self.root)):
                    found.append(process)
            # the name of its directory may be too long to be read
            except (psutil.Error, OSError):
                continue
        return found


@contextmanager
def arena(playing: Ledger, engine: str, folder: Path, root: Path | None = None, **settings: Any) -> Iterator[Arena]:
    """Start a worker; its jobs run as a user of their own, and what they make may be published."""
    rules, store, root = folder / "datasets.json", folder / "store", root or folder / "root"
    rules.write_bytes(orjson.dumps(RULES))
    given = {"store": store, "datasets_file": rules, "root": root, "user": own_user(), "drain_failures": 0}
    try:
        with playing.worker(engine=engine, slots=2, **given | settings) as process:
            made = Arena(playing, process, playing.holder(process), engine, root, store)
            made.assert_unharmed()
            made.memory = psutil.Process(process.popen.pid).memory_info().rss
            yield made
    finally:
        # what jobs left is more than other means of removing can take
        Trash(root).take(root / "jobs")


SECRET = KEY
