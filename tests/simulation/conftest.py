"""What all tests of worlds need."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _without_collections() -> Iterator[None]:
    """A world is short and makes much: looking for what can be freed takes a fifth of the time."""
    gc.disable()
    yield
    gc.enable()
