"""The promises of every store, kept by the directory store."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.datasets.directory import DirectoryStore
from tests.store_contract import Shop, StoreContract
from tests.unit import datasets_support


class DirectoryShop(Shop):
    """Looked at through the file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, on_step: Callable[[str], None] = lambda _step: None) -> DirectoryStore:
        return DirectoryStore(self.root, on_step=on_step)

    def visible(self) -> dict[str, str]:
        return datasets_support.visible(self.root)

    def staged(self) -> list[str]:
        return datasets_support.staged(self.root)

    def put_stranger(self, location: str) -> Callable[[], bool]:
        precious = self.root / location / "precious"
        precious.parent.mkdir(parents=True)
        precious.touch()
        return precious.exists


@pytest.fixture
def new_shop(tmp_path: Path) -> Callable[[], Shop]:
    numbers = itertools.count()
    return lambda: DirectoryShop(tmp_path / f"store-{next(numbers)}")


@pytest.fixture
def shop(new_shop: Callable[[], Shop]) -> Shop:
    return new_shop()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


class TestDirectoryStore(StoreContract):
    """See `StoreContract`."""
