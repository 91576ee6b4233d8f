"""The artifact store, against a Maven repository on loopback that can be told to misbehave."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ops.embedded import artifacts
from ops.embedded.artifacts import Artifact
from ops.embedded.errors import EmbeddedError
from ops.embedded.fetch import ArtifactStore, require_disk
from ops.embedded.filelock import file_lock
from ops.embedded.ports import free_port
from ops.embedded.progress import PlainLines

CONTENT = b"a small jar" * 5000
JAR = Artifact(
    server="kafka",
    group="org.example",
    name="small",
    version="1.0",
    packaging="jar",
    classifier="",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
NAME = "small-1.0.jar"


class Repository:
    """A Maven repository with one file; `bodies` are what it answers next, before it answers the right thing."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        if not request.path.endswith(NAME):
            request.send_error(404)
            return
        body = self.bodies.pop(0) if self.bodies else CONTENT
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def downloads(self) -> int:
        return sum(path.endswith(NAME) for path in self.requests)


@pytest.fixture
def repository() -> Iterator[Repository]:
    made = Repository()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path, repository: Repository) -> ArtifactStore:
    return ArtifactStore(tmp_path, repository.url)


def test_a_downloaded_file_is_verified_and_kept(store: ArtifactStore) -> None:
    said: list[str] = []
    (path,) = store.ensure([JAR], "test", PlainLines(said.append))
    assert path.read_bytes() == CONTENT
    assert "1/1 small-1.0.jar" in said[-1]


def test_a_second_use_touches_no_network(store: ArtifactStore, repository: Repository) -> None:
    store.ensure([JAR], "test")
    before = list(repository.requests)
    store.ensure([JAR], "test")
    assert repository.requests == before


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT.replace(b"small", b"SMALL", 1), b""])
def test_a_damaged_file_in_the_store_is_downloaded_again(store: ArtifactStore, damage: bytes) -> None:
    (path,) = store.ensure([JAR], "test")
    path.write_bytes(damage)
    store.ensure([JAR], "test")
    assert path.read_bytes() == CONTENT


def test_other_bytes_than_the_pinned_are_removed_and_named(store: ArtifactStore, repository: Repository) -> None:
    repository.bodies = [CONTENT.replace(b"small", b"SMALL")] * 3
    with pytest.raises(EmbeddedError, match=r"org.example:small:1.0 is not the file that was pinned"):
        store.ensure([JAR], "test")
    assert not list(store.cache.rglob("*.jar"))


def test_a_download_that_breaks_off_is_done_again(store: ArtifactStore, repository: Repository) -> None:
    repository.bodies = [CONTENT[:1000]]
    (path,) = store.ensure([JAR], "test")
    assert path.read_bytes() == CONTENT
    assert repository.downloads == 2


def test_what_an_interrupted_run_left_is_not_taken_for_a_whole_file(store: ArtifactStore) -> None:
    left = store.cache / "partial" / JAR.path
    left.parent.mkdir(parents=True)
    left.write_bytes(CONTENT[:1000])
    (path,) = store.ensure([JAR], "test")
    assert path.read_bytes() == CONTENT
    assert not left.exists()


def test_an_unreachable_repository_says_what_to_check(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EmbeddedError, match=r"Is the network up.*HTTPS_PROXY.*JOBSTREAM_MAVEN_REPOSITORY"):
        store.ensure([JAR], "test")


def test_two_processes_at_once_download_once(tmp_path: Path, repository: Repository) -> None:
    stores = [ArtifactStore(tmp_path, repository.url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda one: one.ensure([JAR], "test"), stores))
    assert all(path.read_bytes() == CONTENT for (path,) in paths)
    assert repository.downloads == 1


def test_a_lock_that_another_process_holds_is_waited_for_with_a_limit(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "lock", 1, "first"),
        pytest.raises(EmbeddedError, match=r"second: another process \(pid \d+\)"),
        file_lock(tmp_path / "lock", 0.2, "second"),
    ):
        pass
    with file_lock(tmp_path / "lock", 1, "third"):
        pass


def test_too_little_disk_is_said_before_anything_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="not enough disk for a test"):
        require_disk(tmp_path / "not" / "yet", 1 << 60, "a test")


def test_the_lock_file_pins_every_file_of_both_servers(tmp_path: Path) -> None:
    pinned = artifacts.read_lock()
    assert {one.server for one in pinned} == set(artifacts.ROOTS)
    assert all(len(one.sha256) == 64 and one.size > 0 for one in pinned)
    roots = {root for roots in artifacts.ROOTS.values() for root in roots}
    assert roots <= {str(one) for one in pinned}, "artifacts.lock is older than ROOTS: write it anew"
    artifacts.write_lock(pinned, tmp_path / "lock")
    assert artifacts.read_lock(tmp_path / "lock") == pinned
