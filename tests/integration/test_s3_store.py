"""Products in a real S3 server."""

import itertools
import json
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs

from agents.worker.engine_work import EngineWork
from agents.worker.work import Assignment
from pipeline.containers.stop import Stop
from pipeline.datasets.errors import Fenced, InvalidProduct, StoreUnavailable
from pipeline.datasets.s3_store import S3Store
from pipeline.datasets.tree import JobTree
from pipeline.settings import Settings
from tests.integration import s3_server
from tests.integration.s3_server import ACCESS, S3, SECRET
from tests.store_contract import Shop, StoreContract, publish
from tests.unit.datasets_support import make_product, marker, simple_rules

BUCKET = "products"
MARKER = ".jobstream.json"
_numbers = itertools.count()


class S3Shop(Shop):
    """Looked at through the files of the server itself."""

    def __init__(self, server: S3) -> None:
        self.server = server
        self.prefix = f"shop/{next(_numbers)}"
        self.root = server.root / BUCKET / self.prefix

    @property
    def options(self) -> dict[str, str]:
        return {"key": ACCESS, "secret": SECRET, "endpoint_url": self.server.endpoint}

    def open(self, on_step: Callable[[str], None] = lambda _step: None) -> S3Store:
        return S3Store(f"s3://{BUCKET}/{self.prefix}", self.options, on_step)

    def visible(self) -> dict[str, str]:
        shown = {}
        for path, manifest in self._manifests():
            if not manifest["withdrawn"]:
                files = [file for file in (self.root / manifest["data"]).rglob("*") if file.is_file()]
                assert len(files) == manifest["files"]
                assert sum(file.stat().st_size for file in files) == manifest["size"]
                location = str(path.parent.relative_to(self.root))
                shown[location] = (self.root / manifest["data"] / "data.txt").read_text()
        return shown

    def staged(self) -> list[str]:
        kept = [self.root / manifest["data"] for _, manifest in self._manifests() if not manifest["withdrawn"]]
        products = self.root / ".products"
        files = [path for path in products.rglob("*") if path.is_file()]
        loose = [path for path in files if not any(path.is_relative_to(data) for data in kept)]
        return sorted({"/".join(path.relative_to(products).parts[:2]) for path in loose})

    def put_stranger(self, location: str) -> Callable[[], bool]:
        (self.root / location).mkdir(parents=True)
        precious = self.root / location / "precious"
        precious.write_text("1")
        return precious.exists

    def _manifests(self) -> Iterator[tuple[Path, dict[str, object]]]:
        for path in self.root.rglob(MARKER):
            if ".products" not in path.relative_to(self.root).parts:
                yield path, json.loads(path.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    s3_server.needed()
    with s3_server.serving(tmp_path_factory.mktemp("s3") / "root") as running:
        signed = {"config_kwargs": {"signature_version": "s3v4"}}
        s3fs.S3FileSystem(
            key=ACCESS, secret=SECRET, endpoint_url=running.endpoint, skip_instance_cache=True, **signed
        ).mkdir(BUCKET)
        yield running


@pytest.fixture
def new_shop(server: S3) -> Callable[[], Shop]:
    return lambda: S3Shop(server)


@pytest.fixture
def shop(server: S3) -> S3Shop:
    return S3Shop(server)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


class TestS3Store(StoreContract):
    """The promises of every store."""


def test_a_large_file_goes_in_parts_and_comes_back_whole(shop: S3Shop, job: Path) -> None:
    data = os.urandom(40_000_003)
    (make_product(job, "A") / "big").write_bytes(data)
    with shop.open().begin(marker()) as publication:
        publication.stage(JobTree(job), ("A",), "A", {})
        publication.commit()
        address = publication.address("A")
    options = {**shop.options, "skip_instance_cache": True}
    assert s3fs.S3FileSystem(**options).cat(f"{address.url}/big") == data
    assert address.url == f"s3://{BUCKET}/{shop.prefix}/{address.path}"


def test_an_upload_that_is_stopped_leaves_no_parts(shop: S3Shop, job: Path) -> None:
    (make_product(job, "A") / "big").write_bytes(os.urandom(40_000_003))

    def refuse(step: str) -> None:
        if step.startswith("part 2"):
            raise OSError("the disk of the job is gone")

    store = shop.open(refuse)
    with store.begin(marker()) as publication, pytest.raises(OSError, match="disk of the job"):
        publication.stage(JobTree(job), ("A",), "A", {})
    options = {**shop.options, "skip_instance_cache": True}
    client = s3fs.S3FileSystem(**options)
    assert not client.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads")
    assert shop.staged() == []


def test_the_same_attempt_again_takes_the_place_of_the_one_before(shop: S3Shop, job: Path) -> None:
    publish(shop, job, "first")
    publish(shop, job, "second")
    assert (shop.visible(), shop.staged()) == ({"A": "second"}, [])


def test_where_the_same_attempt_begins_again_the_earlier_run_is_fenced(shop: S3Shop, job: Path) -> None:
    make_product(job, "A")
    first = shop.open().begin(marker())
    with shop.open().begin(marker()) as second:
        with pytest.raises(Fenced):
            first.stage(JobTree(job), ("A",), "A", {})
        second.stage(JobTree(job), ("A",), "A", {})
        second.commit()
    first.close()
    assert (shop.visible(), shop.staged()) == ({"A": "data"}, [])


def test_a_server_that_says_no_or_nothing_is_a_failure_that_says_so(shop: S3Shop) -> None:
    wrong = {**shop.options, "secret": "wrong-secret"}
    with pytest.raises(StoreUnavailable) as caught:
        S3Store(f"s3://{BUCKET}/x", wrong).begin(marker())
    assert "wrong-secret" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        S3Store("s3://absent", shop.options).begin(marker())
    with pytest.raises(InvalidProduct):
        S3Store("s3://", shop.options)


async def test_a_workers_job_publishes_to_the_bucket_that_the_settings_name(shop: S3Shop, tmp_path: Path) -> None:
    (tmp_path / "storage.json").write_text(json.dumps({f"s3://{BUCKET}": shop.options}))
    (tmp_path / "datasets.json").write_bytes(
        simple_rules(urls=["{location}", "https://data.example/{path}"]).model_dump_json().encode()
    )
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "worker": {"store": f"s3://{BUCKET}/{shop.prefix}", "datasets_file": tmp_path / "datasets.json"},
            "inputs": {"storage_file": tmp_path / "storage.json"},
        }
    )
    make_product(tmp_path, "TILE-1", "from a job")
    command = shlex.join(["cp", "-r", str(tmp_path / "TILE-1"), "."])
    document = {
        "type": "job-x:1",
        "job_id": "fam-1",
        "payload_hash": "h",
        "params": {"_command": command},
        "job_info": {},
    }
    work = EngineWork(settings, "w1:1:aa")
    await work.reap()

    async def permit() -> bool:
        assert shop.visible() == {}
        return True

    assignment = Assignment(document=document, job_id="fam-1", attempt=1, worker="w1", holder="w1:1:aa")
    result = await work.run(assignment, Stop(), lambda _info: None, permit)
    await work.close()
    assert result.completed, result.result
    assert shop.visible() == {"tiles/v1.0/TILE-1": "from a job"}
    url, other = result.result["products"][0]["urls"]
    fs = s3fs.S3FileSystem(**shop.options, skip_instance_cache=True)
    assert fs.cat(f"{url}/data.txt") == b"from a job"
    assert other == f"https://data.example/{url.removeprefix(f's3://{BUCKET}/{shop.prefix}/')}"
