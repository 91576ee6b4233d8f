"""Many processes at one cache: each file is brought once, and kill -9 spoils nothing."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.inputs.cache import Cache
from pipeline.inputs.entry import Entry, key_of
from pipeline.inputs.limits import Limits
from tests.integration.file_server import PIECE, FileServer, Remote, serving
from tests.waiting import until

PROJECT = Path(__file__).resolve().parent.parent.parent
FILES, PROCESSES = 1000, 8
ROOM = 1 << 30


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def start(cache: Path, place: Path, urls: list[str], room: int = ROOM) -> subprocess.Popen[str]:
    place.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.cache_user", str(cache), str(place), str(room)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("\n".join(urls))
    process.stdin.close()
    return process


class Stops:
    """A fault of the server: it stops in the middle of a file, until the end, after so many were sent whole."""

    #: Bytes that are sent all the same: more than a client takes at once, less than there are.
    enough = 36 * PIECE

    def __init__(self) -> None:
        self.all: set[str] = set()
        self.at = ""
        self._lock = threading.Lock()
        self._left = 0
        self._whole: set[tuple[str, int]] = set()
        self._ended = threading.Event()

    def after(self, downloads: int) -> None:
        with self._lock:
            self.at, self._left = "", downloads

    def end(self) -> None:
        self._ended.set()

    def __call__(self, path: str, number: int, sent: int) -> None:
        if sent < self.enough or self._ended.is_set():
            return
        with self._lock:
            if (path, number) in self._whole:
                return
            if self._left > 0:
                self._left -= 1
                self._whole.add((path, number))
                return
            self.at = path
            self.all.add(path)
        self._ended.wait(120)


def files_of(server: FileServer, number: int, largest: int = 4096, smallest: int = 1) -> dict[str, bytes]:
    made = {f"/{index}": os.urandom(random.randint(smallest, largest)) for index in range(number)}
    server.files = {path: Remote(data) for path, data in made.items()}
    return {f"{server.url}{path}": data for path, data in made.items()}


def check_places(tmp_path: Path, wanted: dict[str, bytes]) -> None:
    for place in tmp_path.glob("place*"):
        for url, data in wanted.items():
            assert (place / key_of(url)).read_bytes() == data


def test_a_thousand_files_by_eight_processes_are_each_brought_once(
    tmp_path: Path, server: FileServer, started: list[subprocess.Popen[str]]
) -> None:
    wanted = files_of(server, FILES)
    for number in range(PROCESSES):
        started.append(start(tmp_path / "cache", tmp_path / f"place{number}", list(wanted)))
    assert [process.wait(240) for process in started] == [0] * PROCESSES
    assert dict(server.seen.bodies) == dict.fromkeys(server.files, 1)
    check_places(tmp_path, wanted)


def test_processes_that_are_killed_in_mid_download_spoil_nothing(
    tmp_path: Path, server: FileServer, started: list[subprocess.Popen[str]]
) -> None:
    wanted = files_of(server, 12, 60 * PIECE, smallest=40 * PIECE)
    cache = tmp_path / "cache"
    server.fault = stops = Stops()
    for number in range(6):
        stops.after(downloads=number % 2)
        process = start(cache, tmp_path / f"killed{number}", list(wanted))
        started.append(process)
        until(lambda: stops.at and Entry(cache, key_of(server.url + stops.at)).part_size, what="part of a download")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert not Entry(cache, key_of(server.url + stops.at)).data.exists()
    stops.end()
    for number in range(2):
        started.append(start(cache, tmp_path / f"place{number}", list(wanted)))
    assert [process.wait(120) for process in started[-2:]] == [0, 0]
    check_places(tmp_path, wanted)
    for url, data in wanted.items():
        assert Entry(cache, key_of(url)).data.read_bytes() == data
    # each of the parts was gone on with, by whoever came next
    brought = {path for path, _, status in server.seen.requests if status == 206}
    assert brought == stops.all


def test_a_cache_that_is_far_too_small_for_all_serves_them_all_the_same(
    tmp_path: Path, server: FileServer, started: list[subprocess.Popen[str]]
) -> None:
    wanted = files_of(server, 60, 8192)
    room = 100_000
    for number in range(4):
        started.append(start(tmp_path / "cache", tmp_path / f"place{number}", list(wanted), room))
    assert [process.wait(120) for process in started] == [0] * 4
    check_places(tmp_path, wanted)
    held = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("data"))
    assert held <= room
    assert Cache(tmp_path / "cache", room, Limits()).sweep() == held
