"""Images that are pulled from the worker's registry, where it has one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from agents.worker.images import Images, JobImages
from agents.worker.preparing import Preparing
from pipeline.containers.base import Engine
from pipeline.containers.docker import DockerEngine
from pipeline.settings import Settings
from pipeline.work.errors import AttemptError
from tests import image_support as images
from tests.integration.file_server import Remote, serving
from tests.integration.image_registry import registry
from tests.integration.private_engine import private_engine


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with registry(tmp_path) as at:
        yield at


@pytest.fixture
async def engine(docker_engine: docker.DockerClient) -> AsyncIterator[Engine]:
    made = DockerEngine()
    yield made
    await made.close()
    images.remove_all(docker_engine)


def offered(client: docker.DockerClient, folder: Path, name: str, tag: str) -> str:
    """Push an image of one's own; return its id. The engine doesn't know it any more."""
    made = images.save(folder / "pushed", f"{name}:{tag}")
    with (folder / "pushed").open("rb") as file:
        client.images.load(file)
    for part in client.images.push(name, tag=tag, stream=True, decode=True):
        assert "error" not in part, part
    client.images.remove(f"{name}:{tag}")
    return made


def bringing(engine: Engine, folder: Path, **more: Any) -> JobImages:
    inputs = {"hosts": more.pop("hosts", ("registry.example",)), "tries": 1}
    settings = Settings.model_validate({"home": folder / "home", "inputs": inputs, "images": more})
    return Images(settings, engine, Preparing(settings).localizer).of("fam-1")


async def bring(job: JobImages, name: str, url: str | None = None) -> dict[str, Any]:
    (made,) = await job.supply([{"container_image_name": name, "container_image_url": url}])
    job.close()
    return dict(made)


async def test_an_image_is_pulled_from_the_workers_registry(
    engine: Engine, docker_engine: docker.DockerClient, address: str, tmp_path: Path
) -> None:
    name = images.unique_name()
    repository, _, tag = name.partition(":")
    made = offered(docker_engine, tmp_path, f"{address}/base/{repository}", tag)
    said = await bring(bringing(engine, tmp_path, registry=f"{address}/base"), name)
    assert (said["id"], said["pulled"]) == (made, f"{address}/base/{name}")
    assert docker_engine.images.get(made).tags == [name]


async def test_a_name_that_says_its_registry_is_pulled_as_it_is_if_jobs_may_reach_that(
    engine: Engine, docker_engine: docker.DockerClient, address: str, tmp_path: Path
) -> None:
    name = f"{address}/{images.unique_name()}"
    made = offered(docker_engine, tmp_path, *name.rsplit(":", 1))
    with pytest.raises(AttemptError, match="not allowed"):
        await bring(bringing(engine, tmp_path, registry="registry.example"), name)
    allowed = bringing(engine, tmp_path, registry="registry.example", hosts=("127.0.0.1",))
    assert (await bring(allowed, name))["id"] == made
    assert docker_engine.images.get(made).tags == [name]


async def test_nothing_is_pulled_unless_the_worker_has_a_registry(
    engine: Engine, docker_engine: docker.DockerClient, address: str, tmp_path: Path
) -> None:
    name = f"{address}/{images.unique_name()}"
    offered(docker_engine, tmp_path, *name.rsplit(":", 1))
    with pytest.raises(AttemptError, match="the job doesn't say where it is"):
        await bring(bringing(engine, tmp_path, hosts=("127.0.0.1",)), name)


async def test_what_the_registry_lacks_comes_from_the_jobs_url(
    engine: Engine, docker_engine: docker.DockerClient, address: str, tmp_path: Path
) -> None:
    name = images.unique_name()
    made = images.save(tmp_path / "image", name)
    with pytest.raises(AttemptError, match="can't be pulled"):
        await bring(bringing(engine, tmp_path, registry=address), name)
    with serving() as server:
        server.files["/image"] = Remote((tmp_path / "image").read_bytes())
        both = bringing(engine, tmp_path, registry=address, hosts=("127.0.0.1",))
        said = await bring(both, name, f"{server.url}/image")
    assert (said["id"], said["loaded"]) == (made, True)


async def test_where_the_digest_of_an_archive_is_wanted_nothing_is_pulled(
    engine: Engine, docker_engine: docker.DockerClient, address: str, tmp_path: Path
) -> None:
    name = images.unique_name()
    offered(docker_engine, tmp_path, f"{address}/{name.partition(':')[0]}", "1")
    job = bringing(engine, tmp_path, registry=address, hosts=("127.0.0.1",))
    with pytest.raises(AttemptError, match="404"), serving() as server:
        await bring(job, name, f"{server.url}/none#sha256={'0' * 64}")


@pytest.mark.docker
async def test_podman_pulls_as_its_own_configuration_says(
    docker_engine: docker.DockerClient,
    podman_engine: docker.DockerClient,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = images.unique_name()
    made = offered(docker_engine, tmp_path, f"{address}/{name.partition(':')[0]}", "1")
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    with private_engine("podman", outlived=True) as private:
        using = private.engine()
        said = await bring(bringing(using, tmp_path, registry=address), name)
        assert (said["id"], await using.image_id(name)) == (made, made)
        await using.close()
    images.remove_all(docker_engine)
