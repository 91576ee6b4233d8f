"""Bringing an image while things go wrong; the engine is one of our own whose loading can be held up."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.containers.apptainer import ApptainerEngine
from pipeline.containers.errors import EngineError, UnavailableError
from pipeline.containers.noop import NoopEngine
from pipeline.images.errors import ImageError
from pipeline.images.shelf import Shelf, Use
from pipeline.images.supply import Supply, Terms
from pipeline.inputs.backends import Backends
from pipeline.inputs.limits import Limits
from pipeline.inputs.localize import Localizer
from pipeline.inputs.policy import Policy


class Held(NoopEngine):
    """Loads once it is let; an archive's bytes are its image's id."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, str] = {}
        self.loading = asyncio.Event()
        self.let = asyncio.Event()
        self.wrong: Exception | None = None
        self.loads = 0

    async def image_id(self, image: str | None) -> str | None:
        if image not in self.known:
            raise EngineError("not here")
        return self.known[image]

    async def load(self, archive: Path, image: str) -> None:
        self.loads += 1
        self.loading.set()
        await self.let.wait()
        if self.wrong is not None:
            raise self.wrong
        self.known[image] = await asyncio.to_thread(archive.read_text)


@pytest.fixture
async def engine() -> Held:
    return Held()


@pytest.fixture
def supply(engine: Held, tmp_path: Path) -> Supply:
    return Supply(engine, tmp_path / "images", localizer(tmp_path), Terms(seconds=60.0))


def localizer(tmp_path: Path) -> Localizer:
    (tmp_path / "archive").write_text("the id")
    return Localizer(Policy(roots=(tmp_path,)), Limits(), None, Backends())


def fields(tmp_path: Path) -> list[dict[str, Any]]:
    return [{"container_image_name": "x:1", "container_image_url": f"file://{tmp_path}/archive"}]


def shelf(engine: Held, tmp_path: Path) -> Shelf:
    return Shelf.of(tmp_path / "images", engine.store, "x:1")


async def test_loading_goes_on_and_keeps_others_waiting_where_its_attempt_is_stopped(
    engine: Held, supply: Supply, tmp_path: Path
) -> None:
    uses: list[Use] = []
    bringing = asyncio.ensure_future(supply.bring("a", fields(tmp_path), uses))
    await engine.loading.wait()
    bringing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bringing
    assert not shelf(engine, tmp_path).claim()
    waiting = asyncio.ensure_future(supply.bring("b", fields(tmp_path), uses))
    engine.let.set()
    (said,) = await waiting
    assert (said["id"], said["waited"], engine.loads) == ("the id", True, 1)
    loaded = shelf(engine, tmp_path).loaded
    assert loaded is not None
    assert loaded.image_id == "the id"


async def test_whoever_waits_hears_why_a_try_failed_and_who_comes_later_tries_again(
    engine: Held, supply: Supply, tmp_path: Path
) -> None:
    first = asyncio.ensure_future(supply.bring("a", fields(tmp_path), []))
    await engine.loading.wait()
    waiting = asyncio.ensure_future(supply.bring("b", fields(tmp_path), []))
    # once it has looked for the image it waits for the one that brings it
    await asyncio.sleep(0)
    engine.wrong = EngineError("image x:1: broken")
    engine.let.set()
    for each in (first, waiting):
        with pytest.raises(ImageError, match=r"^image x:1: broken$"):
            await each
    assert engine.loads == 1
    engine.wrong = None
    assert (await supply.bring("c", fields(tmp_path), []))[0]["id"] == "the id"


async def test_an_engine_that_is_away_is_nobody_elses_failure(engine: Held, supply: Supply, tmp_path: Path) -> None:
    engine.wrong = UnavailableError("away")
    engine.let.set()
    with pytest.raises(UnavailableError, match="away"):
        await supply.bring("a", fields(tmp_path), [])
    place = shelf(engine, tmp_path)
    assert place.claim()
    assert not place.archive.exists()
    place.release()


async def test_nobody_waits_longer_than_the_time_limit(engine: Held, tmp_path: Path) -> None:
    place = shelf(engine, tmp_path)
    assert place.claim()
    impatient = Supply(engine, tmp_path / "images", localizer(tmp_path), Terms(seconds=0.2))
    with pytest.raises(ImageError, match=r"x:1: not there in 0\.2 s"):
        await impatient.bring("a", fields(tmp_path), [])
    place.release()


async def test_an_archive_that_is_too_large_is_not_brought(engine: Held, tmp_path: Path) -> None:
    small = Supply(engine, tmp_path / "images", localizer(tmp_path), Terms(size=3))
    with pytest.raises(ImageError, match="it has more than 3 bytes"):
        await small.bring("a", fields(tmp_path), [])
    assert engine.loads == 0
    assert not shelf(engine, tmp_path).archive.exists()


async def test_what_a_killed_process_left_is_removed(engine: Held, supply: Supply, tmp_path: Path) -> None:
    place = shelf(engine, tmp_path)
    place.archive.parent.mkdir(parents=True)
    for name in ("archive", ".archive.part", ".0123.part"):
        place.archive.with_name(name).write_text("half of it")
    engine.let.set()
    assert (await supply.bring("a", fields(tmp_path), []))[0]["id"] == "the id"
    left = {path.name for path in place.archive.parent.glob("*")}
    assert left == {"lock", "used", "loaded.json"}


async def test_an_image_that_is_a_file_may_be_asked_for_by_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "apptainer"
    folder.mkdir()
    (folder / "x.sif").write_bytes(b"an image")
    engine = ApptainerEngine(tmp_path / "state", folder, program="/bin/true")
    supply = Supply(engine, tmp_path / "images", localizer(tmp_path), Terms())
    wanted = [{"container_image_name": f"{folder}/x.sif"}]
    assert [one["id"] for one in await supply.bring("j", wanted, [])] == [await engine.image_id("x")]
