"""Many processes at one cache: each file is brought once, and kill -9 spoils nothing."""

import os
import random
import signal
import subprocess
import sys
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


def files_of(server: FileServer, number: int, largest: int = 4096) -> dict[str, bytes]:
    made = {f"/{index}": os.urandom(random.randint(1, largest)) for index in range(number)}
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
    wanted = files_of(server, 12, 40 * PIECE)
    cache = tmp_path / "cache"
    for number in range(6):
        process = start(cache, tmp_path / f"killed{number}", list(wanted))
        started.append(process)
        sent = sum(server.seen.sent.values())
        until(lambda sent=sent: sum(server.seen.sent.values()) > sent + 10 * PIECE, what="a download under way")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    for number in range(2):
        started.append(start(cache, tmp_path / f"place{number}", list(wanted)))
    assert [process.wait(120) for process in started[-2:]] == [0, 0]
    check_places(tmp_path, wanted)
    for url, data in wanted.items():
        assert Entry(cache, key_of(url)).data.read_bytes() == data
    assert 206 in {status for _, _, status in server.seen.requests}


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
