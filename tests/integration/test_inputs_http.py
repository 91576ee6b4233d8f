"""Inputs over HTTP from a real server: brought, resumed, validated, refused."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.inputs.backends import Backends
from pipeline.inputs.cache import Cache
from pipeline.inputs.entry import Entry, key_of
from pipeline.inputs.errors import InputError, MissingError, RefusedError, RetriableError, TimeLimitError
from pipeline.inputs.limits import Limits
from pipeline.inputs.localize import Localized, Localizer
from pipeline.inputs.policy import Policy
from pipeline.inputs.spool import Spool
from pipeline.inputs.version import Version
from tests.integration.file_server import PIECE, Cut, FileServer, Remote, serving

BIG = os.urandom(64 * PIECE + 17)
QUICK = Limits(backoff=0.01, backoff_max=0.02, stall=5.0, seconds=60.0)
LOCAL = Policy(hosts=("127.0.0.1", "localhost"))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "job"
    path.mkdir()
    return path


def localizer(
    tmp_path: Path, limits: Limits = QUICK, policy: Policy = LOCAL, size: int = 1 << 30, cached: bool = True
) -> Localizer:
    cache = Cache(tmp_path / "cache", size, limits) if cached else None
    return Localizer(policy, limits, cache, Backends(stall=limits.stall))


async def bring(one: Localizer, directory: Path, *urls: Any) -> Localized:
    return await one.localize(directory, {"job_id": "j", "localize_urls": list(urls)})


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*"))


async def test_inputs_go_where_the_job_says(tmp_path: Path, directory: Path, server: FileServer) -> None:
    server.files = {"/a/x.nc": Remote(b"x"), "/a/y%20z.nc": Remote(b"yz"), "/q.tif": Remote(b"q")}
    brought = await bring(
        localizer(tmp_path),
        directory,
        f"{server.url}/a/x.nc",
        {"url": f"{server.url}/a/y%20z.nc", "local_path": "in/"},
        {"url": f"{server.url}/q.tif?b=1", "local_path": "in/deep/other.tif", "cache": False},
    )
    assert (directory / "x.nc").read_bytes() == b"x"
    assert (directory / "in/y z.nc").read_bytes() == b"yz"
    assert (directory / "in/deep/other.tif").read_bytes() == b"q"
    assert [entry["path"] for entry in brought.entries] == ["x.nc", "in/y z.nc", "in/deep/other.tif"]
    assert {"url", "disk_usage", "time_start", "time_end", "duration", "transfer_rate"} <= set(brought.entries[0])
    assert brought.figures["files"] == brought.figures["done"] == 3
    assert left_in(directory) == ["deep", "in", "other.tif", "x.nc", "y z.nc"]


async def test_what_is_unchanged_is_not_brought_again(tmp_path: Path, directory: Path, server: FileServer) -> None:
    server.files["/big"] = Remote(BIG)
    one = localizer(tmp_path)
    await bring(one, directory, f"{server.url}/big")
    (directory / "2").mkdir()
    brought = await bring(one, directory / "2", f"{server.url}/big")
    assert (directory / "2" / "big").read_bytes() == BIG
    assert server.seen.statuses("/big") == [200, 304]
    assert brought.entries[0]["cached"] is True
    assert brought.figures["transferred"] == 0


@pytest.mark.parametrize("changed", [{"etag": '"new"'}, {"etag": "", "mtime": 1_800_000_000.0}])
async def test_what_has_changed_is_brought_again(
    tmp_path: Path, directory: Path, server: FileServer, changed: dict[str, Any]
) -> None:
    server.files["/big"] = Remote(BIG, etag=None if '"' in changed["etag"] else "")
    one = localizer(tmp_path)
    await bring(one, directory, f"{server.url}/big")
    other = bytes(reversed(BIG))
    server.files["/big"] = Remote(other, **changed)
    (directory / "2").mkdir()
    await bring(one, directory / "2", f"{server.url}/big")
    assert (directory / "2" / "big").read_bytes() == other
    assert (directory / "big").read_bytes() == BIG


async def test_a_server_that_ignores_conditions_is_believed_by_its_entity_tag(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    server.files["/big"] = Remote(BIG, etag='"1"', mtime=None)
    one = localizer(tmp_path)
    await bring(one, directory, f"{server.url}/big")
    # If-None-Match has W/ in front, which this server takes for another tag
    server.files["/big"].etag = 'W/"1"'
    (directory / "2").mkdir()
    brought = await bring(one, directory / "2", f"{server.url}/big")
    assert server.seen.statuses("/big") == [200, 200]
    assert brought.entries[0]["cached"] is True
    assert brought.figures["transferred"] == 0


async def test_a_file_without_size_time_or_tag_is_brought_each_time(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    server.files["/big"] = Remote(BIG, etag="", mtime=None, length=False)
    one = localizer(tmp_path)
    await bring(one, directory, f"{server.url}/big")
    (directory / "2").mkdir()
    brought = await bring(one, directory / "2", f"{server.url}/big")
    assert brought.entries[0]["cached"] is False
    assert (directory / "2" / "big").read_bytes() == BIG


@pytest.mark.parametrize("cached", [True, False])
async def test_a_transfer_that_breaks_off_goes_on_where_it_was(
    tmp_path: Path, directory: Path, server: FileServer, cached: bool
) -> None:
    def fault(_: str, number: int, sent: int) -> None:
        if sent >= number * 20 * PIECE and number < 3:
            raise Cut

    server.files["/big"], server.fault = Remote(BIG), fault
    brought = await bring(localizer(tmp_path), directory, {"url": f"{server.url}/big", "cache": cached})
    assert (directory / "big").read_bytes() == BIG
    assert server.seen.statuses("/big") == [200, 206, 206]
    # what the client had received and not yet looked at when the connection ended is lost
    assert server.seen.sent["/big"] < len(BIG) + 20 * PIECE
    assert brought.figures["retries"] == 2


async def test_a_whole_part_costs_no_more_than_a_byte(tmp_path: Path, directory: Path, server: FileServer) -> None:
    # who brought it was killed before it was an entry
    server.files["/big"] = remote = Remote(BIG)
    entry = Entry(tmp_path / "cache", key_of(f"{server.url}/big"))
    entry.folder.mkdir(parents=True)
    spool = Spool(entry.part, entry.part_note)
    spool.begin(Version(size=len(BIG), etag=remote.etag), 0)
    spool.write(BIG)
    spool.close()
    brought = await bring(localizer(tmp_path), directory, f"{server.url}/big")
    assert (directory / "big").read_bytes() == BIG
    assert server.seen.statuses("/big") == [206]
    assert brought.figures["transferred"] == 1


async def test_a_part_of_what_has_changed_since_is_not_gone_on_with(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    other = os.urandom(len(BIG))

    def fault(_: str, number: int, sent: int) -> None:
        if number == 1 and sent == 40 * PIECE:
            server.files["/big"] = Remote(other)
            raise Cut

    server.files["/big"], server.fault = Remote(BIG), fault
    await bring(localizer(tmp_path), directory, f"{server.url}/big")
    assert (directory / "big").read_bytes() == other
    assert server.seen.statuses("/big") == [200, 200]


async def test_a_part_without_a_strong_tag_is_not_gone_on_with(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    def fault(_: str, number: int, sent: int) -> None:
        if number == 1 and sent == 40 * PIECE:
            raise Cut

    server.files["/big"], server.fault = Remote(BIG, etag='W/"1"'), fault
    await bring(localizer(tmp_path), directory, f"{server.url}/big")
    assert (directory / "big").read_bytes() == BIG
    assert server.seen.statuses("/big") == [200, 200]


async def test_a_server_that_is_busy_is_asked_again(tmp_path: Path, directory: Path, server: FileServer) -> None:
    server.files["/x"] = Remote(b"x")
    server.fault = lambda _, number, __: (503, 500, 429, None)[number - 1]
    brought = await bring(localizer(tmp_path), directory, f"{server.url}/x")
    assert brought.figures["retries"] == 3


async def test_a_server_that_stays_busy_fails_the_input(tmp_path: Path, directory: Path, server: FileServer) -> None:
    server.fault = lambda *_: 503
    with pytest.raises(RetriableError, match="the server answered 503"):
        await bring(localizer(tmp_path), directory, f"{server.url}/x")
    assert len(server.seen.requests) == QUICK.tries


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_no_is_not_asked_for_twice(tmp_path: Path, directory: Path, server: FileServer, status: int) -> None:
    server.fault = lambda *_: status
    with pytest.raises(MissingError, match=str(status)) as raised:
        await bring(localizer(tmp_path), directory, f"{server.url.replace('//', '//me:hidden@')}/x?X-Signature=hidden")
    assert "hidden" not in str(raised.value)
    assert len(server.seen.requests) == 1
    assert left_in(directory) == []


async def test_a_user_and_password_in_the_url_reach_the_server_alone(
    tmp_path: Path, directory: Path, server: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "pipeline")
    server.files["/x"] = Remote(b"x")
    url = f"{server.url.replace('//', '//me:hidden@')}/x?token=hidden"
    brought = await bring(localizer(tmp_path), directory, url)
    path, headers, _ = server.seen.requests[0]
    assert (path, headers["Authorization"]) == ("/x?token=hidden", "Basic bWU6aGlkZGVu")
    assert brought.entries[0]["url"] == f"{server.url}/x?token=***"
    assert "hidden" not in caplog.text
    assert not any(b"hidden" in path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())


async def test_one_url_wanted_by_many_jobs_is_brought_once(tmp_path: Path, server: FileServer) -> None:
    server.files["/big"] = Remote(BIG)
    one = localizer(tmp_path)
    places = [tmp_path / f"job{number}" for number in range(8)]
    for place in places:
        place.mkdir()
    await asyncio.gather(*(bring(one, place, f"{server.url}/big") for place in places))
    assert all((place / "big").read_bytes() == BIG for place in places)
    assert server.seen.bodies["/big"] == 1


async def test_what_a_job_does_to_its_copy_is_nobody_elses_business(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    server.files["/x"] = Remote(b"x")
    one = localizer(tmp_path)
    await bring(one, directory, f"{server.url}/x")
    (directory / "x").write_bytes(b"spoilt")
    (directory / "2").mkdir()
    await bring(one, directory / "2", f"{server.url}/x")
    assert (directory / "2" / "x").read_bytes() == b"x"


async def test_a_cached_file_that_was_tampered_with_is_brought_again(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    server.files["/x"] = Remote(b"good")
    one = localizer(tmp_path)
    await bring(one, directory, f"{server.url}/x")
    data = Entry(tmp_path / "cache", key_of(f"{server.url}/x")).data
    data.chmod(0o644)
    data.write_bytes(b"evil")
    (directory / "2").mkdir()
    await bring(one, directory / "2", f"{server.url}/x")
    assert (directory / "2" / "x").read_bytes() == b"good"
    assert server.seen.bodies["/x"] == 2


@pytest.mark.parametrize("stale", [0.0, 3600.0])
async def test_what_can_not_be_validated_is_used_only_for_as_long_as_allowed(
    tmp_path: Path, directory: Path, server: FileServer, stale: float
) -> None:
    server.files["/x"] = Remote(b"x")
    limits = Limits(backoff=0.01, backoff_max=0.02, stall=5.0, stale=stale)
    one = localizer(tmp_path, limits)
    await bring(one, directory, f"{server.url}/x")
    server.fault = lambda *_: 503
    (directory / "2").mkdir()
    if not stale:
        with pytest.raises(RetriableError):
            await bring(one, directory / "2", f"{server.url}/x")
        return
    brought = await bring(one, directory / "2", f"{server.url}/x")
    assert (directory / "2" / "x").read_bytes() == b"x"
    assert brought.entries[0]["stale"] >= 0


async def test_what_the_server_denies_is_not_taken_from_the_cache(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    server.files["/x"] = Remote(b"x")
    one = localizer(tmp_path, Limits(backoff=0.01, stale=3600.0))
    await bring(one, directory, f"{server.url}/x")
    server.fault = lambda *_: 403
    with pytest.raises(MissingError):
        await bring(one, directory, {"url": f"{server.url}/x", "local_path": "y"})


async def test_a_redirect_is_followed_but_not_to_where_jobs_may_not_go(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    server.files["/x"] = Remote(b"x")
    server.redirects = {"/to": f"{server.url}/x", "/away": "http://169.254.169.254/latest/meta-data"}
    one = localizer(tmp_path, policy=Policy(hosts=("*", "127.0.0.1")))
    await bring(one, directory, f"{server.url}/to")
    assert (directory / "to").read_bytes() == b"x"
    with pytest.raises(RefusedError, match=r"169\.254\.169\.254"):
        await bring(one, directory, f"{server.url}/away")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_this_machine_is_out_of_bounds_unless_it_is_named(
    tmp_path: Path, directory: Path, server: FileServer, host: str
) -> None:
    server.files["/x"] = Remote(b"x")
    with pytest.raises(RefusedError):
        await bring(localizer(tmp_path, policy=Policy()), directory, server.url.replace("127.0.0.1", host) + "/x")
    assert server.seen.requests == []


async def test_more_bytes_than_a_job_may_have_are_not_brought(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    server.files = {"/a": Remote(b"a" * 600), "/b": Remote(b"b" * 600, length=False)}
    for urls in (["/a", "/b"], ["/b", "/a"]):
        with pytest.raises(RefusedError, match="1000 bytes"):
            limits = Limits(total=1000, parallel=1)
            await bring(localizer(tmp_path, limits), directory, *(f"{server.url}{path}" for path in urls))


async def test_a_server_that_falls_silent_is_given_up(tmp_path: Path, directory: Path, server: FileServer) -> None:
    ended = threading.Event()

    def fault(_: str, __: int, sent: int) -> None:
        if sent == PIECE:
            ended.wait(20)
            raise Cut

    server.files["/big"], server.fault = Remote(BIG), fault
    try:
        with pytest.raises(InputError):
            await bring(localizer(tmp_path, Limits(backoff=0.01, stall=0.2, tries=2)), directory, f"{server.url}/big")
        with pytest.raises(TimeLimitError, match=r"not done in 0\.4 s"):
            limits = Limits(backoff=0.01, stall=5.0, file_seconds=0.4)
            await bring(localizer(tmp_path, limits, cached=False), directory, f"{server.url}/big")
    finally:
        ended.set()
    assert left_in(directory) == []


async def test_inputs_that_nobody_wants_any_more_end_at_once_and_leave_nothing(
    tmp_path: Path, directory: Path, server: FileServer
) -> None:
    reached, ended = threading.Event(), threading.Event()

    def fault(_: str, __: int, sent: int) -> None:
        if sent == PIECE:
            reached.set()
            ended.wait(20)
            raise Cut

    server.files["/big"], server.fault = Remote(BIG), fault
    work = asyncio.ensure_future(bring(localizer(tmp_path), directory, {"url": f"{server.url}/big", "cache": False}))
    try:
        await asyncio.to_thread(reached.wait, 10)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(work, 5)
    finally:
        ended.set()
    assert left_in(directory) == []


async def test_the_first_failure_ends_the_others(tmp_path: Path, directory: Path, server: FileServer) -> None:
    ended = threading.Event()

    def fault(path: str, _: int, sent: int) -> None:
        if path == "/slow" and sent == PIECE:
            ended.wait(20)
            raise Cut

    server.files["/slow"], server.fault = Remote(BIG), fault
    try:
        with pytest.raises(MissingError, match="404"):
            await asyncio.wait_for(
                bring(localizer(tmp_path), directory, f"{server.url}/slow", f"{server.url}/absent"), 5
            )
    finally:
        ended.set()
