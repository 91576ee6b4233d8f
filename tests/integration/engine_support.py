"""Places to run commands in, with an engine each, for the tests of engines."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.containers import cgroups
from pipeline.containers.apptainer import ApptainerEngine
from pipeline.containers.base import Engine
from pipeline.containers.docker import DockerEngine
from pipeline.containers.outcome import Outcome
from pipeline.containers.podman import PodmanEngine
from pipeline.containers.process import ProcessEngine
from pipeline.containers.spec import Labels, RunSpec
from tests.conftest import PROJECT, Apptainer
from tests.waiting import until

IMAGE, PYTHON_IMAGE = "jobstream/busybox:1", "jobstream/python:1"
#: A worker of this session's alone: others may test on the same container engine.
WORKER = f"w-{uuid.uuid4().hex[:12]}"
LABELS = Labels(job="fam-1", attempt=2, holder=f"{WORKER}:100:aa", worker=WORKER)
LATER = f"{WORKER}:200:bb"
#: A command that ignores SIGTERM and has a child in a session of its own that does too.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('child', 'w'); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
while not os.path.exists("child"):
    time.sleep(0.01)
print("up", flush=True)
time.sleep(300)
"""
#: A command with a child, each of which says what signals it got, and ends a while after the first.
PAIR = """
import os, signal, subprocess, sys, time
name = sys.argv[1] if len(sys.argv) > 1 else "parent"
got = []
signal.signal(signal.SIGTERM, lambda number, _: got.append(number) or os.write(1, f"{name}-{number}\\n".encode()))
if name == "parent":
    child = subprocess.Popen([sys.executable, "-c", os.environ["PAIR"], "child"])
os.write(1, b"up\\n")
while not got:
    time.sleep(0.05)
time.sleep(0.5)
if name == "parent":
    child.wait()
"""
#: Runs a command as a worker would that is killed in the middle of it.
ELSEWHERE = """
import asyncio, json, sys
from pathlib import Path
from pipeline.containers.factory import EngineSettings, engine
from pipeline.containers.spec import Labels, RunSpec

said = json.loads(sys.argv[1])
paths = {name: Path(said["spec"].pop(name)) for name in ("working_dir", "stdout", "stderr")}
spec = RunSpec(**said["spec"], **paths, labels=Labels(**said["labels"]))
settings = {name: Path(path) for name, path in said["settings"].items()}
settings["apptainer"] = str(settings["apptainer"])
asyncio.run(engine(said["engine"], EngineSettings(**settings)).run(spec))
"""


@dataclass
class Bench:
    """An engine and a place to run commands in."""

    engine: Engine
    root: Path
    python: str

    def spec(self, *argv: str, **changes: Any) -> RunSpec:
        work = self.root / "work"
        work.mkdir(exist_ok=True)
        out, err = work / "_stdout.txt", work / "_stderr.txt"
        image = IMAGE if self.engine.needs_image else None
        made = RunSpec(argv=argv, working_dir=work, stdout=out, stderr=err, labels=LABELS, image=image, grace=1.0)
        return replace(made, **changes)

    def sh(self, script: str, **changes: Any) -> RunSpec:
        return self.spec("sh", "-c", script, **changes)

    def py(self, script: str, **changes: Any) -> RunSpec:
        image = PYTHON_IMAGE if self.engine.needs_image else None
        return self.spec(self.python, "-c", script, **{"image": image, **changes})


def process_engine(root: Path, _: pytest.FixtureRequest) -> tuple[Engine, str]:
    return ProcessEngine(root / "state"), sys.executable


def docker_engine_of(root: Path, request: pytest.FixtureRequest) -> tuple[Engine, str]:
    request.getfixturevalue("docker_engine")
    (root / "input").mkdir()
    (root / "output").mkdir()
    return DockerEngine(roots=[root / "input"], writable_roots=[root / "output"]), "python3"


def podman_engine_of(root: Path, request: pytest.FixtureRequest) -> tuple[Engine, str]:
    request.getfixturevalue("podman_engine")
    (root / "input").mkdir()
    (root / "output").mkdir()
    return PodmanEngine(roots=[root / "input"], writable_roots=[root / "output"]), "python3"


def apptainer_engine_of(root: Path, request: pytest.FixtureRequest) -> tuple[Engine, str]:
    there: Apptainer = request.getfixturevalue("apptainer_engine")
    (root / "input").mkdir()
    (root / "output").mkdir()
    roots = {"roots": [root / "input"], "writable_roots": [root / "output"]}
    return ApptainerEngine(root / "state", there.images, program=there.program, **roots), "python3"


#: The engines that enclose what they run, and all that run anything, as parameters of a fixture.
ENCLOSING = [
    pytest.param(docker_engine_of, id="docker", marks=pytest.mark.docker),
    pytest.param(podman_engine_of, id="podman", marks=pytest.mark.docker),
    pytest.param(apptainer_engine_of, id="apptainer", marks=pytest.mark.docker),
]
#: Those of them that allow a command no namespaces of its own; Podman's profile of system calls does.
CONFINING = [one for one in ENCLOSING if one.id != "podman"]
ENGINES = [pytest.param(process_engine, id="process"), *ENCLOSING]


def allowing(engine: Engine, root: Path) -> Engine:
    """Another engine of the kind, that may mount what is in this folder."""
    if isinstance(engine, ApptainerEngine):
        return ApptainerEngine(root / "other", engine._images.folder, program=engine._program, roots=[root])
    assert isinstance(engine, DockerEngine)
    return type(engine)(roots=[root])


def left_of(engine: Engine, outcome: Outcome, work: Path) -> list[object]:
    """What is there of a run that ended: containers, or records, control groups and mounts."""
    if isinstance(engine, DockerEngine):
        filters = {"label": f"jobstream.directory={work}"}
        return list(engine._clients()[0].containers.list(all=True, filters=filters))
    assert isinstance(engine, ApptainerEngine)
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(engine._state_dir) in line]
    return [*engine._state_dir.glob("*.json"), *cgroups.ROOT.glob(f"**/apptainer/{outcome.pid}"), *mounts]


def run_elsewhere(bench: Bench, spec: RunSpec) -> subprocess.Popen[bytes]:
    """Have another process run a command by an engine like this."""
    engine = bench.engine
    settings = {"state_dir": str(bench.root / "state"), "apptainer": "apptainer"}
    if isinstance(engine, ApptainerEngine):
        settings |= {"apptainer_images": str(engine._images.folder), "apptainer": engine._program}
    paths = {name: str(getattr(spec, name)) for name in ("working_dir", "stdout", "stderr")}
    said = {
        "engine": engine.name,
        "settings": settings,
        "labels": asdict(spec.labels),
        "spec": {"argv": spec.argv, "image": spec.image, "grace": spec.grace, **paths},
    }
    return subprocess.Popen([sys.executable, "-c", ELSEWHERE, json.dumps(said)], cwd=PROJECT)


async def shown(condition: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(until, condition)


def read(spec: RunSpec) -> tuple[bytes, bytes]:
    return spec.stdout.read_bytes(), spec.stderr.read_bytes()


def descendants_in(directory: Path) -> list[int]:
    """Processes of this host that work in a directory, in a container or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(directory):
                found.append(process.pid)
        # another test's may work in a place whose name is too long to be read
        except (psutil.Error, OSError):
            continue
    return found
