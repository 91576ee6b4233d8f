"""Images that jobs bring along: from real archives, by real engines, through real attempts."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import docker
import pytest

from agents.worker.engine_work import EngineWork
from agents.worker.work import Assignment, WorkResult
from pipeline.containers.stop import Stop
from pipeline.settings import Settings
from tests import image_support as images
from tests.integration.file_server import FileServer, Remote, serving
from tests.waiting import PATIENCE, until

PROJECT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Host:
    """A host's engine, a worker on it, and a server with archives."""

    engine: str
    client: docker.DockerClient
    server: FileServer
    root: Path
    works: list[EngineWork] = field(default_factory=list)

    def settings(self, **more: Any) -> Settings:
        inputs = {"hosts": ("127.0.0.1",), "roots": (self.root,), "tries": 1}
        worker = {"id": "w1", "slots": 1, "engine": self.engine, "log_mib": 0}
        return Settings.model_validate({"home": self.root / "home", "worker": worker, "inputs": inputs, **more})

    def offer(self, path: str, *names: str, **files: bytes) -> tuple[str, str]:
        """Put an archive on the server; return its URL and its image's id."""
        made = images.save(self.root / "made", *names, **files)
        self.server.files[path] = Remote((self.root / "made").read_bytes())
        return f"{self.server.url}{path}", made

    async def run(self, command: str, attempt: int = 1, stop: Stop | None = None, **changes: Any) -> WorkResult:
        settings = self.settings(**changes.pop("settings", {}))
        document = {"type": "job-x:1", "job_id": "fam-1", "params": {"_command": command}, "job_info": {}, **changes}
        work = EngineWork(settings, "w1:1:aa")
        self.works.append(work)
        assignment = Assignment(document=document, job_id="fam-1", attempt=attempt, worker="w1", holder="w1:1:aa")

        async def may_publish() -> bool:
            return True

        return await work.run(assignment, stop or Stop(), lambda _: None, may_publish)

    def has(self, name: str) -> bool:
        return any(name in tag for image in self.client.api.images() for tag in image["RepoTags"] or ())

    @property
    def left(self) -> list[str]:
        """Archives, or parts of them, that nobody needs any more."""
        return [path.name for path in (self.root / "home" / "images").glob("*/*") if "archive" in path.name]


@pytest.fixture(
    params=[pytest.param(name, id=name, marks=pytest.mark.docker) for name in ("docker", "podman")],
)
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    client: docker.DockerClient = request.getfixturevalue(f"{request.param}_engine")
    with serving() as server:
        made = Host(request.param, client, server, tmp_path)
        yield made
    for work in made.works:
        await work.close()
    images.remove_all(client)


def held_by(gate: threading.Event) -> Callable[[str, int, int], int | None]:
    """Lets no body beyond its first piece pass the gate."""

    def fault(_path: str, _number: int, sent: int) -> int | None:
        if sent:
            gate.wait()
        return None

    return fault


def job_dir(result: WorkResult) -> Path:
    return Path(result.result["job_info"]["job_dir"])


async def test_a_job_runs_in_the_image_that_it_brings(host: Host) -> None:
    name = images.unique_name()
    url, made = host.offer("/image.tar", name, hello=b"brought along")
    result = await host.run("cat /hello", container_image_name=name, container_image_url=f"{url}?token=hidden")
    assert result.completed, result.result
    assert (job_dir(result) / "_stdout.txt").read_bytes() == b"brought along"
    assert result.result["container_image_id"] == made
    (said,) = result.result["job_info"]["images"]
    assert (said["name"], said["id"], said["loaded"]) == (name, made, True)
    assert said["bytes"] == len(host.server.files["/image.tar"].data)
    assert said["duration"] > 0
    assert json.loads((job_dir(result) / "_context.json").read_text())["container_image_id"] == made
    assert host.left == []

    again = await host.run("cat /hello", attempt=2, container_image_name=name, container_image_url="http://gone/x")
    assert again.completed
    assert again.result["job_info"]["images"] == [{"name": name, "id": made}]
    assert host.server.seen.bodies["/image.tar"] == 1


async def test_an_image_may_be_a_file_of_an_allowed_folder(host: Host) -> None:
    name = images.unique_name()
    images.save(host.root / "image.tar", name)
    fields = {"container_image_name": name, "container_image_url": f"file://{host.root}/image.tar"}
    assert (await host.run("true", **fields)).completed
    outside = {"container_image_name": images.unique_name(), "container_image_url": "file:///etc/passwd"}
    refused = await host.run("true", attempt=2, **outside)
    assert (refused.completed, refused.result["category"]) == (False, "image")
    assert "not in a folder" in refused.result["error"]


async def test_an_archive_with_another_digest_is_not_loaded(host: Host) -> None:
    name = images.unique_name()
    url, _ = host.offer("/image.tar", name)
    digest = sha256(host.server.files["/image.tar"].data).hexdigest()
    wrong = f"{url}#sha256={'0' * 64}"
    result = await host.run("true", container_image_name=name, container_image_url=wrong)
    assert (result.completed, result.result["category"]) == (False, "image")
    assert digest in result.result["error"]
    assert not host.has(name)
    assert host.left == []
    right = {"container_image_name": name, "container_image_urls": {"x86_64": f"{url}#sha256={digest}"}}
    assert (await host.run("true", attempt=2, **right)).completed


async def test_a_digest_counts_for_what_was_loaded_before_too(host: Host) -> None:
    name = images.unique_name()
    poisoned, first = host.offer("/first.tar", name)
    wanted, second = host.offer("/second.tar", name)
    assert (await host.run("true", container_image_name=name, container_image_url=poisoned)).completed
    pinned = f"{wanted}#sha256={sha256(host.server.files['/second.tar'].data).hexdigest()}"
    result = await host.run("true", attempt=2, container_image_name=name, container_image_url=pinned)
    assert result.result["container_image_id"] == second != first


async def test_a_truncated_archive_fails_the_job_and_leaves_nothing(host: Host) -> None:
    name = images.unique_name()
    url, _ = host.offer("/image.tar", name)
    whole = host.server.files["/image.tar"]
    host.server.files["/image.tar"] = Remote(whole.data[: len(whole.data) // 2])
    result = await host.run("true", container_image_name=name, container_image_url=url)
    assert (result.completed, result.result["category"]) == (False, "image")
    assert "damaged" in result.result["error"]
    assert (host.has(name), host.left) == (False, [])
    host.server.files["/image.tar"] = whole
    assert (await host.run("true", attempt=2, container_image_name=name, container_image_url=url)).completed


async def test_an_image_that_nobody_knows_says_what_to_do(host: Host) -> None:
    name = images.unique_name()
    result = await host.run("true", container_image_name=name)
    assert (result.completed, result.result["category"]) == (False, "image")
    assert f"{name} isn't on this machine" in result.result["error"]
    assert "container_image_url" in result.result["error"]
    missing = await host.run(
        "true", attempt=2, container_image_name=name, container_image_url=f"{host.server.url}/none?sig=hidden"
    )
    assert "404" in missing.result["error"]
    assert "hidden" not in missing.result["error"]


async def test_images_that_a_job_depends_on_are_loaded_and_described(host: Host) -> None:
    name, side = images.unique_name(), images.unique_name()
    url, made = host.offer("/image.tar", name)
    side_url, side_made = host.offer("/side.tar", side)
    dependency = {
        "container_image_name": side,
        "container_image_url": side_url,
        "container_mappings": {},
        "runtime_options": {"memory": "100m"},
    }
    fields = {"container_image_name": name, "container_image_url": url, "dependency_images": [dependency]}
    result = await host.run("true", **fields)
    assert result.completed, result.result
    assert [one["id"] for one in result.result["job_info"]["images"]] == [made, side_made]
    params = json.loads((job_dir(result) / "_docker_params.json").read_text())
    assert (set(params), params[side]["mem_limit"]) == ({name, side}, "100m")
    shown = json.loads((job_dir(result) / "_job.json").read_text())
    assert shown["dependency_images"][0]["container_image_id"] == side_made
    context = json.loads((job_dir(result) / "_context.json").read_text())
    assert context["dependency_images"][0]["container_image_id"] == side_made


async def test_a_stop_ends_the_bringing_of_an_image(host: Host) -> None:
    name, stop = images.unique_name(), Stop()
    url, _ = host.offer("/image.tar", name)
    gate = threading.Event()
    host.server.fault = held_by(gate)
    running = asyncio.ensure_future(host.run("true", stop=stop, container_image_name=name, container_image_url=url))
    await asyncio.to_thread(until, lambda: host.server.seen.bodies["/image.tar"])
    stop.request(reason="revoked")
    result = await asyncio.wait_for(running, 30 * PATIENCE)
    gate.set()
    assert result.result["status"] == "job-revoked"
    assert (host.has(name), host.left) == (False, [])


async def test_a_worker_may_insist_on_digests(host: Host) -> None:
    name = images.unique_name()
    url, _ = host.offer("/image.tar", name)
    insisting = {"images": {"need_digest": True}}
    result = await host.run("true", container_image_name=name, container_image_url=url, settings=insisting)
    assert "#sha256=" in result.result["error"]
    assert host.server.seen.bodies["/image.tar"] == 0


async def test_images_that_were_not_used_for_longest_make_way(host: Host) -> None:
    few = {"images": {"keep_mib": 5}}
    names = [images.unique_name() for _ in range(4)]
    fields = [
        {"container_image_name": name, "container_image_url": host.offer(f"/{number}", name)[0], "settings": few}
        for number, name in enumerate(names)
    ]
    assert (await host.run("true", **fields[0])).completed
    stop = Stop()
    running = asyncio.ensure_future(host.run("sleep 600", attempt=2, stop=stop, **fields[1]))
    await asyncio.to_thread(until, lambda: host.has(names[1]))
    assert (await host.run("true", attempt=3, **fields[0])).completed
    assert (await host.run("true", attempt=4, **fields[2])).completed
    assert [host.has(name) for name in names] == [False, True, True, False]
    assert (await host.run("true", attempt=5, **fields[3])).completed
    assert [host.has(name) for name in names] == [False, True, False, True]
    stop.request(reason="enough")
    await running
    again = await host.run("true", attempt=6, **fields[0])
    assert again.result["job_info"]["images"][0]["loaded"]


@pytest.fixture
def user(host: Host) -> Iterator[Any]:
    """Starts processes that want an image."""
    begun: list[subprocess.Popen[str]] = []

    def start(name: str, url: str, *more: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tests.integration.image_user", host.engine, str(host.root / "home"), name, url]
        process = subprocess.Popen([*words, *more], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def said_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=60 * PATIENCE)
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def test_several_processes_at_once_load_an_image_once(host: Host, user: Any) -> None:
    name = images.unique_name()
    url, made = host.offer("/image.tar", name)
    gate = threading.Event()
    host.server.fault = held_by(gate)
    processes = [user(name, url) for _ in range(3)]
    until(lambda: host.server.seen.bodies["/image.tar"], 60)
    gate.set()
    answers = [said_by(process) for process in processes]
    assert [one["id"] for one in answers] == [made] * 3
    assert sum("loaded" in one for one in answers) == 1
    assert host.server.seen.bodies["/image.tar"] == 1


def test_whoever_waits_for_a_try_that_fails_hears_why(host: Host, user: Any) -> None:
    name = images.unique_name()
    url, _ = host.offer("/image.tar", "jobstream-test/other:1")
    gate = threading.Event()
    host.server.fault = held_by(gate)
    first = user(name, url)
    until(lambda: host.server.seen.bodies["/image.tar"], 60)
    waits = user(name, url)
    until(lambda: _waits_for(host, waits), 60)
    gate.set()
    answers = [said_by(first), said_by(waits)]
    assert answers[0] == answers[1]
    assert "holds jobstream-test/other:1" in answers[0]["error"]
    assert host.server.seen.bodies["/image.tar"] == 1


def test_the_next_one_loads_it_where_one_was_killed_in_the_middle(host: Host, user: Any) -> None:
    name = images.unique_name()
    url, made = host.offer("/image.tar", name)
    sticks = user(name, url, "stick")
    assert sticks.stdout is not None
    assert sticks.stdout.readline() == "loading\n"
    waits = user(name, url)
    until(lambda: _waits_for(host, waits), 60)
    assert not host.has(name)
    sticks.kill()
    answer = said_by(waits)
    assert (answer["id"], answer["loaded"]) == (made, True)
    assert host.left == []


def _waits_for(host: Host, process: subprocess.Popen[str]) -> bool:
    log = host.root / "home" / f"{process.pid}.log"
    return log.exists() and "another one brings it" in log.read_text()
