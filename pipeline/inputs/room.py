"""How much the cache holds, and who has to go: the least recently used first, never one that is in use."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.inputs.entry import Entry, free_bytes
from pipeline.inputs.errors import NoRoomError, TimeLimitError
from pipeline.inputs.locks import held, try_lock
from pipeline.inputs.patience import Patience

#: What is evicted until, as a part of the limit: so that not every file means a look at all others.
_LOW = 0.9
#: Seconds after which an entry without data is taken for forgotten.
_FORGOTTEN = 3600.0
#: Seconds that giving back may wait for others.
_SOON = 10.0
#: Digits of the count.
_DIGITS = 20


class Own(NamedTuple):
    """The entry whose lock the caller holds; it takes the bytes of its data, and those that the caller has reserved."""

    entry: Entry
    reserved: int


class Room:
    """The count of a cache's bytes, kept in a file that all its users share.

    The count is never too small: bytes are added before they are written and taken off after they are gone. A process
    that dies between leaves it too large, until the next look at all entries.
    """

    def __init__(self, root: Path, limit: int) -> None:
        """`limit` is in bytes."""
        self._root = root
        self._limit = limit
        self._count = root / "count"

    def reserve(self, size: int, shown: str, patience: Patience, own: Own) -> None:
        """Take `size` bytes, evicting what is needed; raises NoRoomError if that is not enough."""
        if size > self._limit:
            raise NoRoomError(f"{shown}: {size} bytes are more than the whole cache may hold")
        with held(self._count, patience) as handle:
            count = self._read(handle)
            if count is None or count + size > self._limit:
                count = self._evict(lambda taken: taken + size <= self._limit * _LOW, own)
            if count + size > self._limit:
                self._write(handle, count)
                raise NoRoomError(f"{shown}: the cache is full of what is in use")
            self._write(handle, count + size)

    def give_back(self, size: int) -> None:
        """Take bytes off the count; if that can't be done soon, the next look at all entries does it."""
        if size > 0:
            with suppress(TimeLimitError), held(self._count, Patience(_SOON)) as handle:
                count = self._read(handle)
                if count is not None:
                    self._write(handle, max(0, count - size))

    def make_free(self, size: int, patience: Patience, own: Own | None = None) -> bool:
        """Evict until the disk has `size` bytes free; return whether it has. `own` is None for who holds no entry."""
        if free_bytes(self._root) >= size:
            return True
        with held(self._count, patience) as handle:
            self._write(handle, self._evict(lambda _: free_bytes(self._root) >= size, own))
        return free_bytes(self._root) >= size

    def count_anew(self, patience: Patience) -> int:
        """Look at all entries, remove what was forgotten, and return the bytes that they take."""
        with held(self._count, patience) as handle:
            count = self._evict(lambda taken: taken <= self._limit)
            self._write(handle, count)
            return count

    def _evict(self, enough: Callable[[int], bool], own: Own | None = None) -> int:
        """Remove entries until it is enough, the least recently used first; return the bytes that are left."""
        entries = sorted(((entry.used, entry) for entry in self._entries()), key=lambda pair: pair[0])
        newest = entries[-1][0] if entries else 0.0
        charged = {entry.key: entry.charged for _, entry in entries}
        if own is not None:
            charged[own.entry.key] = own.entry.size + own.reserved
        taken = sum(charged.values())
        for used, entry in entries:
            empty = charged[entry.key] == 0 and used < newest - _FORGOTTEN
            if enough(taken) and not empty:
                continue
            if (own is None or entry.key != own.entry.key) and (charged[entry.key] > 0 or empty):
                taken -= self._remove(entry, used, charged[entry.key])
        return taken

    @staticmethod
    def _remove(entry: Entry, used: float, charged: int) -> int:
        """Remove an entry unless it is in use by now; return the bytes that it took."""
        handle = try_lock(entry.lock, create=False)
        if handle is None:
            return 0
        try:
            if entry.in_use or entry.used > used:
                return 0
            entry.remove()
            return charged
        finally:
            os.close(handle)

    def _entries(self) -> Iterator[Entry]:
        for folder in self._root.iterdir():
            if len(folder.name) == 2 and folder.is_dir():
                yield from (Entry(self._root, found.name) for found in folder.iterdir())

    @staticmethod
    def _read(handle: int) -> int | None:
        text = os.pread(handle, _DIGITS, 0)
        return int(text) if len(text) == _DIGITS and text.isdigit() else None

    @staticmethod
    def _write(handle: int, count: int) -> None:
        os.pwrite(handle, f"{count:0{_DIGITS}d}".encode(), 0)
