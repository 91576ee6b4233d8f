"""Removes images that jobs brought along, once they are too much: the one that was not used for longest first.

Only what was loaded here is removed, never an image that somebody else provided, and none that an attempt uses.
"""

import logging
import time
from pathlib import Path

from pipeline.containers.base import Engine
from pipeline.containers.errors import EngineError
from pipeline.images.shelf import Loaded, Shelf

log = logging.getLogger(__name__)

#: Seconds after which the place of an image that was not loaded here is of no use.
_FORGOTTEN = 86_400.0


async def sweep(engine: Engine, folder: Path, limit: int) -> None:
    """Remove images of an engine until those that are left take at most `limit` bytes (0: any), and forgotten places.

    What can't go stays.
    """
    try:
        shelves = Shelf.all(folder)
        _clear(shelves)
        loaded = [(shelf, one) for shelf in shelves if (one := shelf.loaded) and one.store == engine.store]
        taken = sum(one.size for _, one in loaded)
        for shelf, one in loaded:
            if not limit or taken <= limit:
                return
            if await _removed(engine, shelf, one):
                taken -= one.size
    except (EngineError, OSError) as error:
        log.warning("images could not be removed: %s", error)


async def _removed(engine: Engine, shelf: Shelf, loaded: Loaded) -> bool:
    with shelf.nobodys() as free:
        if not free or not await engine.unload(loaded.name, loaded.image_id):
            return False
        shelf.forget()
    log.info("image %s: removed, others were used since (%.0f MiB)", loaded.name, loaded.size / (1 << 20))
    return True


def _clear(shelves: list[Shelf]) -> None:
    for shelf in shelves:
        if shelf.loaded is None and shelf.last_used < time.time() - _FORGOTTEN:
            with shelf.nobodys() as free:
                if free:
                    shelf.remove()
