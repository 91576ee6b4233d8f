"""Which images stay; the engine is one of our own that only remembers names."""

import os
import time
from pathlib import Path

import pytest

from pipeline.containers.errors import EngineError
from pipeline.containers.noop import NoopEngine
from pipeline.images.keeping import sweep
from pipeline.images.shelf import Loaded, Shelf


class Names(NoopEngine):
    """An engine that has images of these names, each under its name as its id."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.images = set(names)
        self.busy: set[str] = set()

    async def unload(self, image: str, image_id: str) -> bool:
        if image in self.busy:
            return False
        self.images.discard(image)
        return True


def place(folder: Path, engine: NoopEngine, name: str, used: float, store: str = "") -> Shelf:
    shelf = Shelf.of(folder, engine.store, name)
    use = shelf.use()
    assert use is not None
    use.close()
    shelf.note_loaded(Loaded(store=store or engine.store, name=name, image_id=name, sha256="x", size=10))
    os.utime(next(path for path in folder.glob("*/used") if path.parent == shelf.archive.parent), (used, used))
    return shelf


@pytest.fixture
def engine() -> Names:
    return Names("a", "b", "c")


@pytest.fixture
def shelves(tmp_path: Path, engine: Names) -> dict[str, Shelf]:
    now = time.time()
    return {name: place(tmp_path, engine, name, now - age) for name, age in (("b", 1), ("a", 2), ("c", 3))}


async def test_the_one_that_was_not_used_for_longest_goes_first(
    tmp_path: Path, engine: Names, shelves: dict[str, Shelf]
) -> None:
    await sweep(engine, tmp_path, 20)
    assert engine.images == {"a", "b"}
    await sweep(engine, tmp_path, 10)
    assert engine.images == {"b"}


async def test_what_is_used_or_brought_stays(tmp_path: Path, engine: Names, shelves: dict[str, Shelf]) -> None:
    use = shelves["c"].use()
    assert use is not None
    assert shelves["a"].claim()
    await sweep(engine, tmp_path, 1)
    assert engine.images == {"a", "c"}
    use.close()
    shelves["a"].release()
    await sweep(engine, tmp_path, 1)
    assert engine.images == set()


async def test_what_the_engine_itself_uses_stays(tmp_path: Path, engine: Names, shelves: dict[str, Shelf]) -> None:
    engine.busy = {"c"}
    await sweep(engine, tmp_path, 20)
    assert engine.images == {"b", "c"}


async def test_images_of_another_engine_are_not_counted(tmp_path: Path, engine: Names) -> None:
    place(tmp_path, engine, "a", time.time() - 5)
    place(tmp_path, engine, "z", time.time() - 9, store="another")
    await sweep(engine, tmp_path, 10)
    assert engine.images == {"a", "b", "c"}


async def test_without_a_limit_all_stay(tmp_path: Path, engine: Names, shelves: dict[str, Shelf]) -> None:
    await sweep(engine, tmp_path, 0)
    assert engine.images == {"a", "b", "c"}


async def test_places_without_an_image_are_forgotten_after_a_day(tmp_path: Path, engine: Names) -> None:
    old, young = Shelf.of(tmp_path, engine.store, "old"), Shelf.of(tmp_path, engine.store, "young")
    for shelf, age in ((old, 90_000), (young, 80_000)):
        use = shelf.use()
        assert use is not None
        use.close()
        used = shelf.archive.with_name("used")
        os.utime(used, (time.time() - age,) * 2)
    await sweep(engine, tmp_path, 0)
    assert not old.archive.parent.exists()
    assert young.archive.parent.exists()


async def test_an_engine_that_does_not_answer_stops_nobody(
    tmp_path: Path, engine: Names, shelves: dict[str, Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_image: str, _id: str) -> bool:
        raise EngineError("away")

    monkeypatch.setattr(engine, "unload", broken)
    await sweep(engine, tmp_path, 1)
    assert engine.images == {"a", "b", "c"}


async def test_a_place_that_is_removed_meanwhile_is_made_anew(tmp_path: Path, engine: Names) -> None:
    shelf = Shelf.of(tmp_path, engine.store, "x")
    use = shelf.use()
    assert use is not None
    shelf.remove()
    again = shelf.use()
    assert again is not None
    with shelf.nobodys() as free:
        assert not free
    again.close()
    with shelf.nobodys() as free:
        assert free
