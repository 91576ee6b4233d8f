"""Inputs from other places than the web: folders of this machine, FTP and SFTP from real servers."""

import importlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import paramiko
import pytest
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

from pipeline.inputs.backends import Backends, load_options
from pipeline.inputs.cache import Cache
from pipeline.inputs.errors import InputError, MissingError, RefusedError
from pipeline.inputs.limits import Limits
from pipeline.inputs.localize import Localized, Localizer
from pipeline.inputs.policy import Policy
from pipeline.inputs.remote import RemoteSource
from pipeline.inputs.request import Input
from pipeline.inputs.version import Version

BIG = os.urandom(20_000_003)
QUICK = Limits(backoff=0.01, backoff_max=0.02, stall=10.0, seconds=60.0, tries=3)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """What the other side has."""
    folder = tmp_path / "there"
    (folder / "D" / "inner").mkdir(parents=True)
    (folder / "big").write_bytes(BIG)
    (folder / "D" / "D.dataset.json").write_text("{}")
    (folder / "D" / "inner" / "x").write_text("x")
    return folder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "job"
    path.mkdir()
    return path


def localizer(tmp_path: Path, options: Any = None, limits: Limits = QUICK) -> Localizer:
    policy = Policy(hosts=("127.0.0.1",), roots=(tmp_path / "there",))
    cache = Cache(tmp_path / "cache", 1 << 30, limits)
    return Localizer(policy, limits, cache, Backends(options, stall=limits.stall))


async def bring(one: Localizer, directory: Path, *urls: Any) -> Localized:
    return await one.localize(directory, {"job_id": "j", "localize_urls": list(urls)})


def files_in(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


WHOLE = {"big": BIG, "D/D.dataset.json": b"{}", "D/inner/x": b"x"}


async def test_local_files_and_folders_are_copied(tmp_path: Path, there: Path, directory: Path) -> None:
    brought = await bring(localizer(tmp_path), directory, str(there / "big"), f"file://{there}/D")
    assert files_in(directory) == WHOLE
    assert [entry["path"] for entry in brought.entries] == ["big", "D/D.dataset.json", "D/inner/x"]
    assert brought.paths == [directory / "big", directory / "D"] or brought.paths == [
        directory / "D",
        directory / "big",
    ]


async def test_names_are_taken_as_they_are(tmp_path: Path, there: Path, directory: Path) -> None:
    odd = there / "a %41#?b"
    odd.mkdir()
    (odd / "x %41#?y").write_bytes(b"odd")
    await bring(
        localizer(tmp_path), directory, str(odd), {"url": f"file://{there}/a%20%2541%23%3Fb", "local_path": "again/"}
    )
    assert files_in(directory) == {"a %41#?b/x %41#?y": b"odd", "again/a %41#?b/x %41#?y": b"odd"}


@pytest.mark.parametrize("rest", ["D?/../../../etc/hostname", "D?", "D#/../../../etc/hostname", "big?x=1"])
async def test_a_file_url_that_could_be_read_in_two_ways_is_refused(
    tmp_path: Path, there: Path, directory: Path, rest: str
) -> None:
    with pytest.raises(RefusedError, match="%3F"):
        await bring(localizer(tmp_path), directory, f"file://{there}/{rest}")
    assert files_in(directory) == {}


@pytest.mark.parametrize("beyond", ["", "there/../outside", "absent"])
async def test_a_link_in_a_folder_does_not_lead_out(tmp_path: Path, there: Path, directory: Path, beyond: str) -> None:
    (tmp_path / "outside").write_text("not for jobs")
    (there / "D" / "out").symlink_to(tmp_path / beyond)
    with pytest.raises(RefusedError, match="not in a folder that inputs may come from"):
        await bring(localizer(tmp_path), directory, str(there / "D"))
    assert b"not for jobs" not in files_in(directory).values()


async def test_a_link_in_a_folder_to_an_allowed_file_is_that_file(tmp_path: Path, there: Path, directory: Path) -> None:
    (there / "D" / "in").symlink_to(there / "big")
    await bring(localizer(tmp_path), directory, str(there / "D"))
    assert files_in(directory)["D/in"] == BIG
    assert not (directory / "D" / "in").is_symlink()


async def test_a_link_in_a_folder_to_a_folder_is_not_followed_round(
    tmp_path: Path, there: Path, directory: Path
) -> None:
    (there / "D" / "inner" / "round").symlink_to(there / "D")
    with pytest.raises(MissingError, match="IsADirectory"):
        await bring(localizer(tmp_path), directory, str(there / "D"))


@pytest.mark.parametrize("url", ["D", "D/pipe"])
async def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, there: Path, directory: Path, url: str
) -> None:
    os.mkfifo(there / "D" / "pipe")
    with pytest.raises(RefusedError, match="neither a file nor a folder"):
        await bring(localizer(tmp_path), directory, str(there / url))


async def test_a_folder_that_can_not_be_listed_is_not_left_out(
    tmp_path: Path, there: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def closed(path: str) -> Any:
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(MissingError, match="Permission denied"):
        await bring(localizer(tmp_path), directory, str(there / "D"))


async def test_names_that_are_no_text_are_kept_and_shown_as_text(tmp_path: Path, there: Path, directory: Path) -> None:
    odd = os.fsdecode(b"\xff.bin")
    (there / "D" / odd).write_bytes(b"odd")
    brought = await bring(localizer(tmp_path), directory, f"{there}/D", f"file://{there}/D/%ff.bin")
    assert (directory / "D" / odd).read_bytes() == (directory / odd).read_bytes() == b"odd"
    assert orjson.dumps(brought.entries)


async def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, there: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = RemoteSource.version
    asked: list[int] = []

    def changing(self: RemoteSource) -> Version:
        if not asked:
            (there / "big").write_bytes(b"other")
        asked.append(1)
        return version(self)

    monkeypatch.setattr(RemoteSource, "version", changing)
    brought = await bring(localizer(tmp_path), directory, str(there / "big"))
    assert (directory / "big").read_bytes() == b"other"
    assert brought.figures["retries"] == 1


async def test_a_folder_has_no_more_files_than_a_job_may_have(tmp_path: Path, there: Path, directory: Path) -> None:
    with pytest.raises(RefusedError, match="more than 1"):
        await bring(localizer(tmp_path, limits=Limits(files=1)), directory, f"file://{there}/D")


async def test_two_inputs_do_not_go_to_one_place(tmp_path: Path, there: Path, directory: Path) -> None:
    with pytest.raises(RefusedError, match="same place"):
        await bring(localizer(tmp_path), directory, f"{there}/big", {"url": f"{there}/D/inner/x", "local_path": "big"})


@contextmanager
def ftp_server(there: Path) -> Iterator[str]:
    class Handler(FTPHandler):  # type: ignore[misc]
        authorizer = DummyAuthorizer()
        permit_foreign_addresses = False

    Handler.authorizer.add_user("me", "hidden", str(there), perm="elr")
    server = ThreadedFTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.1, "handle_exit": False}, daemon=True)
    thread.start()
    try:
        yield f"ftp://me:hidden@127.0.0.1:{server.address[1]}"
    finally:
        server.close_all()
        thread.join(10)


async def test_ftp(tmp_path: Path, there: Path, directory: Path) -> None:
    with ftp_server(there) as url:
        one = localizer(tmp_path)
        brought = await bring(one, directory, f"{url}/big", f"{url}/D")
        assert files_in(directory) == WHOLE
        assert "hidden" not in str(brought.entries)
        second = directory / "2"
        second.mkdir()
        again = await bring(one, second, f"{url}/big")
        assert again.entries[0]["cached"] is True
        with pytest.raises(MissingError) as raised:
            await bring(one, directory, f"{url}/absent")
        assert "hidden" not in str(raised.value)


class _Sftp(paramiko.SFTPServerInterface):
    root = Path()

    def _path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def list_folder(self, path: str) -> Any:
        return [
            paramiko.SFTPAttributes.from_stat(found.stat(), found.name) for found in sorted(self._path(path).iterdir())
        ]

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(self._path(path).stat(), path)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        handle = paramiko.SFTPHandle(flags)
        try:
            handle.readfile = self._path(path).open("rb")  # type: ignore[attr-defined]
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return handle


class _Ssh(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        good = (username, password) == ("me", "hidden")
        return paramiko.common.AUTH_SUCCESSFUL if good else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def get_allowed_auths(self, username: str) -> str:
        return "password"


@contextmanager
def sftp_server(there: Path, known_hosts: Path) -> Iterator[str]:
    key = paramiko.ECDSAKey.generate()
    interface = type("Interface", (_Sftp,), {"root": there})
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    known_hosts.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
    transports: list[paramiko.Transport] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transports.append(transport)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, interface)
            try:
                transport.start_server(server=_Ssh())
            except paramiko.SSHException:
                transport.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"sftp://me:hidden@127.0.0.1:{port}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for transport in transports:
            transport.close()
        thread.join(10)


async def test_sftp(tmp_path: Path, there: Path, directory: Path) -> None:
    known = tmp_path / "known_hosts"
    with sftp_server(there, known) as url:
        one = localizer(tmp_path, {"sftp": {"known_hosts": str(known), "look_for_keys": False, "allow_agent": False}})
        await bring(one, directory, f"{url}/big", f"{url}/D")
        assert files_in(directory) == WHOLE
        with pytest.raises(MissingError) as raised:
            await bring(one, directory, f"{url}/absent")
        assert "hidden" not in str(raised.value)
        with pytest.raises(MissingError, match="Authentication"):
            await bring(one, directory, f"{url.replace('hidden', 'wrong')}/big")


async def test_an_sftp_server_that_is_not_known_is_not_trusted(tmp_path: Path, there: Path, directory: Path) -> None:
    with sftp_server(there, tmp_path / "known_hosts") as url, pytest.raises(InputError, match="known_hosts"):
        await bring(localizer(tmp_path), directory, f"{url}/big")


def test_a_missing_backend_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setattr(importlib.import_module("fsspec.registry"), "_registry", {})
    with pytest.raises(RefusedError, match=r"install jobstream\[s3\]"):
        RemoteSource(Input("s3://b/k"), Backends()).info()


def test_the_longest_beginning_of_a_url_gives_the_options(tmp_path: Path) -> None:
    file = tmp_path / "storage.json"
    file.write_text('{"s3": {"anon": true}, "s3://data": {"profile": "a"}, "s3://data/deep": {"profile": "b"}}')
    backends = Backends(load_options(file))
    found = {url: backends.options(Input(url))[1] for url in ("s3://data/x", "s3://data/deep/x", "s3://database/x")}
    assert found == {
        "s3://data/x": {"profile": "a"},
        "s3://data/deep/x": {"profile": "b"},
        "s3://database/x": {"anon": True},
    }
    file.write_text('{"s3": {"secret": "hid')
    with pytest.raises(ValueError, match="no JSON") as raised:
        load_options(file)
    assert "hid" not in str(raised.value)
