"""What engines with images promise of loading one: it is what the archive says, under the name that was asked for."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from pipeline.containers.errors import EngineError
from tests import image_support as images
from tests.integration.engine_support import ENCLOSING, Bench, read

#: Who loads into the same place as an engine; nobody else does with Apptainer.
SOCKETS = {"docker": "docker_engine", "podman": "podman_engine", "apptainer": "docker_engine"}


@pytest.fixture(params=ENCLOSING)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    engine, python = request.param(tmp_path, request)
    yield Bench(engine, tmp_path, python)
    await engine.close()


@pytest.fixture
def client(bench: Bench, request: pytest.FixtureRequest) -> Iterator[docker.DockerClient]:
    """Of the same engine; images of these tests are gone in the end."""
    found: docker.DockerClient = request.getfixturevalue(SOCKETS[bench.engine.name])
    yield found
    images.remove_all(found)


async def known(bench: Bench, image: str) -> str | None:
    try:
        return await bench.engine.image_id(image)
    except EngineError:
        return None


async def load(bench: Bench, image: str, *names: str, mode: str = "w", **files: bytes) -> str:
    """Load an archive with these names as an image; return the id that the archive's has."""
    path = bench.root / "archive"
    made = images.save(path, *names, mode=mode, **files)
    await bench.engine.load(path, image)
    return made


async def test_a_loaded_image_runs_under_its_name(bench: Bench, client: docker.DockerClient) -> None:
    name = images.unique_name()
    made = await load(bench, name, name, hello=b"from the image")
    assert await known(bench, name) == made
    spec = bench.spec("cat", "/hello", image=name)
    outcome = await bench.engine.run(spec)
    assert (outcome.exit_code, outcome.image_id, read(spec)[0]) == (0, made, b"from the image")


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
async def test_an_archive_may_be_compressed_and_without_a_name(
    bench: Bench, client: docker.DockerClient, mode: str
) -> None:
    name = images.unique_name()
    assert await load(bench, name, mode=mode) == await known(bench, name)


async def test_an_archive_changes_no_other_name(bench: Bench, client: docker.DockerClient) -> None:
    others, mine = images.unique_name(), images.unique_name()
    before = await load(bench, others, others)
    made = await load(bench, mine, others, mine)
    assert (await known(bench, others), await known(bench, mine)) == (before, made)
    assert before != made


async def test_an_image_of_another_name_is_refused(bench: Bench, client: docker.DockerClient) -> None:
    others, mine = images.unique_name(), images.unique_name()
    before = await load(bench, others, others)
    with pytest.raises(EngineError, match=f"holds {others}, not {mine}"):
        await load(bench, mine, others)
    assert (await known(bench, others), await known(bench, mine)) == (before, None)


async def test_an_archive_that_is_cut_off_is_refused(bench: Bench, client: docker.DockerClient) -> None:
    name, path = images.unique_name(), bench.root / "archive"
    made = images.save(path, name)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(EngineError, match="damaged"):
        await bench.engine.load(path, name)
    assert (await known(bench, name), await known(bench, made)) == (None, None)


async def test_layers_that_are_not_those_of_the_configuration_are_refused(
    bench: Bench, client: docker.DockerClient
) -> None:
    name, path = images.unique_name(), bench.root / "archive"
    described = images.config(images.layer())
    files = {
        "layer.tar": images.layer(other=b"x"),
        f"{images.digest(described)}.json": described,
        "manifest.json": images.dumps([images.entry(described, [name], "layer.tar")]),
    }
    images.pack(path, files)
    with pytest.raises(EngineError, match=name):
        await bench.engine.load(path, name)
    assert await known(bench, name) is None


async def test_what_is_no_image_at_all_is_refused_in_words(bench: Bench) -> None:
    path = bench.root / "archive"
    for data, said in ((b"<html>not found</html>", "no tar archive"), (b"", "no image archive|no tar archive")):
        path.write_bytes(data)
        with pytest.raises(EngineError, match=said):
            await bench.engine.load(path, images.unique_name())


async def test_a_name_with_a_digest_can_not_be_given(bench: Bench) -> None:
    with pytest.raises(EngineError, match="name with a digest"):
        await load(bench, f"x@sha256:{'0' * 64}")


@pytest.mark.parametrize("bench", [one for one in ENCLOSING if one.id == "podman"], indirect=True)
async def test_podmans_own_client_finds_it_by_the_same_name(bench: Bench, client: docker.DockerClient) -> None:
    name = images.unique_name()
    await load(bench, name, name)
    words = bench.engine.command_line(bench.spec("true", image=name))
    asked = [*words[: words.index("run")], "image", "inspect", "--format", "{{index .RepoTags 0}}", name]
    said = await asyncio.to_thread(subprocess.run, asked, capture_output=True, text=True)
    assert said.stdout.strip() == f"localhost/{name}", said.stderr
