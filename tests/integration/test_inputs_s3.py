"""Inputs from a real S3 server."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from pipeline.inputs.backends import Backends
from pipeline.inputs.cache import Cache
from pipeline.inputs.entry import Entry, key_of
from pipeline.inputs.errors import InputError, MissingError
from pipeline.inputs.limits import Limits
from pipeline.inputs.localize import Localized, Localizer
from pipeline.inputs.policy import Policy
from pipeline.inputs.spool import Spool
from pipeline.inputs.version import Version
from tests.integration import s3_server
from tests.integration.s3_server import ACCESS, S3, SECRET

# the first of them may have to build the server
pytestmark = pytest.mark.timeout(s3_server.PATIENCE + 300)
BIG = os.urandom(20_000_003)
QUICK = Limits(backoff=0.01, backoff_max=0.02, stall=20.0, tries=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    s3_server.needed()
    with s3_server.serving(tmp_path_factory.mktemp("s3") / "root") as running:
        fs = client(running)
        fs.mkdir("data")
        fs.pipe({"data/big": BIG, "data/D/D.dataset.json": b"{}", "data/D/inner/x": b"x", "data/k+ ü": b"odd"})
        yield running


def client(server: S3) -> Any:
    signed = {"config_kwargs": {"signature_version": "s3v4"}}
    return s3fs.S3FileSystem(
        key=ACCESS, secret=SECRET, endpoint_url=server.endpoint, skip_instance_cache=True, **signed
    )


def localizer(tmp_path: Path, server: S3, secret: str = SECRET) -> Localizer:
    options = {"s3": {"key": ACCESS, "secret": secret, "endpoint_url": server.endpoint}}
    return Localizer(Policy(), QUICK, Cache(tmp_path / "cache", 1 << 30, QUICK), Backends(options, QUICK.stall))


async def bring(one: Localizer, directory: Path, *urls: Any) -> Localized:
    Path.mkdir(directory, exist_ok=True)
    return await one.localize(directory, {"job_id": "j", "localize_urls": list(urls)})


async def test_objects_and_prefixes_are_brought(tmp_path: Path, server: S3) -> None:
    one, job = localizer(tmp_path, server), tmp_path / "job"
    brought = await bring(one, job, "s3://data/big", "s3://data/D/", "s3://data/k+ ü")
    assert (job / "big").read_bytes() == BIG
    assert (job / "D" / "inner" / "x").read_bytes() == b"x"
    assert (job / "k+ ü").read_bytes() == b"odd"
    assert brought.figures["done"] == 4
    again = await bring(one, tmp_path / "2", "s3://data/big")
    assert again.entries[0]["cached"] is True


async def test_an_object_that_has_changed_is_brought_again(tmp_path: Path, server: S3) -> None:
    one = localizer(tmp_path, server)
    for number, data in enumerate((b"first", b"other")):
        client(server).pipe("data/changing", data)
        await bring(one, tmp_path / str(number), "s3://data/changing")
        assert (tmp_path / str(number) / "changing").read_bytes() == data


async def test_a_signed_url_is_brought_over_http_and_validated(tmp_path: Path, server: S3) -> None:
    # good for GET alone: a HEAD beforehand would be refused
    url = client(server).sign("s3://data/big", expiration=600)
    assert "X-Amz-Signature=" in url
    cache = Cache(tmp_path / "cache", 1 << 30, QUICK)
    one = Localizer(Policy(hosts=("127.0.0.1",)), QUICK, cache, Backends())
    for number in range(2):
        brought = await bring(one, tmp_path / str(number), url)
        assert (tmp_path / str(number) / "big").read_bytes() == BIG
        assert brought.entries[0]["cached"] is bool(number)
        assert "X-Amz-Signature=***" in brought.entries[0]["url"]


async def test_a_part_that_is_there_is_completed(tmp_path: Path, server: S3) -> None:
    version = Version.of_info(client(server).info("data/big"))
    entry = Entry(tmp_path / "cache", key_of("s3://data/big"))
    entry.folder.mkdir(parents=True)
    spool = Spool(entry.part, entry.part_note)
    spool.begin(version, 0)
    spool.write(BIG[:15_000_000])
    spool.close()
    brought = await bring(localizer(tmp_path, server), tmp_path / "job", "s3://data/big")
    assert (tmp_path / "job" / "big").read_bytes() == BIG
    assert brought.figures["transferred"] == 5_000_003


async def test_what_is_not_there_is_said_without_secrets(tmp_path: Path, server: S3) -> None:
    for url in ("s3://data/absent", "s3://no-such-bucket/x"):
        with pytest.raises(MissingError, match=url):
            await bring(localizer(tmp_path, server), tmp_path / "job", url)
    with pytest.raises(InputError) as raised:
        await bring(localizer(tmp_path, server, "wrong-secret"), tmp_path / "job", "s3://data/big")
    assert "wrong-secret" not in str(raised.value)
