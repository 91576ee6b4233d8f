"""The cache of inputs that all workers of a machine share (spec §4.1).

A URL is brought by one process while the others wait, and used only after the other side was asked whether it is still
the same, or was asked by somebody since the job wanted it. A job gets a copy, never a link: it may write to what is in
its directory, and so would change what others read.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.inputs import copying, download
from pipeline.inputs.entry import Entry, Meta, key_of
from pipeline.inputs.errors import DiskFullError, NoRoomError, RetriableError
from pipeline.inputs.gauge import Gauge
from pipeline.inputs.limits import Limits
from pipeline.inputs.locks import held
from pipeline.inputs.patience import Patience
from pipeline.inputs.room import Own, Room
from pipeline.inputs.source import Source
from pipeline.inputs.spool import Spool

#: Seconds that counting waits for others that count.
_SWEEP = 60.0


@dataclass(frozen=True, slots=True)
class Brought:
    """A file in its place: its bytes, and whether nothing had to be transferred for it.

    `stale` is how many seconds ago it was last known to be current, where the other side could not be asked.
    """

    size: int
    cached: bool = False
    stale: float | None = None


class Cache:
    """A cache in one directory of a local file system."""

    def __init__(self, root: Path, limit: int, limits: Limits) -> None:
        """`limit` is the bytes that it may hold. Makes the directory; raises OSError."""
        self._root = root
        self._limits = limits
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.room = Room(root, limit)

    def bring(self, url: str, source: Source, target: Path, patience: Patience, gauge: Gauge) -> Brought:
        """Put a URL's file at `target`, whole or not at all.

        If the other side doesn't answer, what is cached is used for `limits.stale` seconds after it was last known to
        be current, and not beyond. Raises NoRoomError where the cache can't take the file, else InputError.
        """
        began = time.time()
        entry = Entry(self._root, key_of(url))
        with held(entry.lock, patience):
            entry.use()
            try:
                found = self._current(entry, source, began, patience, gauge)
            except BaseException:
                if entry.empty:
                    entry.remove()
                raise
            handle = entry.open()
        try:
            if found.cached:
                gauge.claim(found.size, source.shown)
            copying.copy(handle, target, patience)
        finally:
            os.close(handle)
        return found

    def _current(self, entry: Entry, source: Source, began: float, patience: Patience, gauge: Gauge) -> Brought:
        """Make the entry's data what the other side has."""
        meta = entry.meta()
        if meta is not None and entry.validated >= began:
            return Brought(meta.size, cached=True)
        asked = time.time()
        spool = _Reserved(self, entry, source.shown, patience)
        try:
            known = meta.version if meta is not None else None
            version = download.bring(source, spool.spool, known, self._limits, patience, gauge)
        except RetriableError:
            spool.give_back()
            age = time.time() - entry.validated
            if meta is None or age > self._limits.stale:
                raise
            return Brought(meta.size, cached=True, stale=age)
        except BaseException as error:
            if isinstance(error, NoRoomError):
                spool.spool.discard()
            spool.give_back()
            raise
        if version is None:
            assert meta is not None
            # a part that a kill left is of what the other side no longer has, or all of it was used
            spool.spool.discard()
            spool.give_back()
            entry.validate(asked)
            return Brought(meta.size, cached=True)
        replaced = entry.commit(source.shown, version, asked)
        spool.give_back(keep=spool.spool.size)
        self.room.give_back(replaced)
        return Brought(spool.spool.size)

    def has(self, url: str) -> Meta | None:
        """Return what is cached of a URL, whether it is current or not."""
        return Entry(self._root, key_of(url)).meta()

    def sweep(self) -> int:
        """Count the bytes that it holds and make them fit the limit; raises TimeLimitError, OSError."""
        return self.room.count_anew(Patience(_SWEEP, "counting the cache"))


class _Reserved:
    """An entry's part, for which room is reserved as it turns out how much it needs."""

    def __init__(self, cache: Cache, entry: Entry, shown: str, patience: Patience) -> None:
        self._cache = cache
        self._entry = entry
        self._shown = shown
        self._patience = patience
        self._reserved = 0
        self.spool = Spool(entry.part, entry.part_note, self._need)

    def give_back(self, keep: int = 0) -> None:
        """Take off the count what was reserved beyond `keep`; a part that stays keeps its own bytes."""
        if keep == 0:
            keep = self._entry.part_size
        self._cache.room.give_back(self._reserved - keep)
        self._reserved = keep

    def _need(self, size: int) -> None:
        room = self._cache.room
        if size > self._reserved:
            self._reserve(size - self._reserved)
            self._reserved = size
        missing = size - self._entry.part_size
        if missing > 0 and not room.make_free(missing, self._patience, self._own):
            raise DiskFullError(f"{self._shown}: the disk of the cache has no {missing} bytes free")

    def _reserve(self, size: int) -> None:
        room = self._cache.room
        try:
            room.reserve(size, self._shown, self._patience, self._own)
        except NoRoomError:
            # there may be room for the new version if the old one, which is of no more use, is gone
            freed = self._entry.drop_data()
            if freed == 0:
                raise
            room.give_back(freed)
            room.reserve(size, self._shown, self._patience, self._own)

    @property
    def _own(self) -> Own:
        return Own(self._entry, self._reserved)
