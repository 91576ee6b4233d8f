"""Keeps a work root's disk: who wants to run there takes a seat, and what is old goes where there is no room for it."""

import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.disk import account, order
from pipeline.disk.account import Account
from pipeline.disk.errors import DiskShortError
from pipeline.disk.finished import finished
from pipeline.disk.removal import Trash
from pipeline.disk.seats import Seat, Seats, Taken
from pipeline.inputs.entry import free_bytes
from pipeline.inputs.errors import TimeLimitError
from pipeline.inputs.locks import held
from pipeline.inputs.patience import Patience
from pipeline.inputs.room import Room
from pipeline.work.walking import files_below

log = logging.getLogger(__name__)


class Usage(Protocol):
    """Bytes of a disk."""

    @property
    def total(self) -> int:
        """All that it has."""

    @property
    def free(self) -> int:
        """What can still be written."""


#: Looks at the disk that a path is on.
Measure = Callable[[Path], Usage]
#: Seconds that an attempt waits for others that clean up.
PATIENCE = 600.0
#: Seconds after which a thread that waits for another one looks whether it still wants to.
_TURN = 0.5
#: % of the disk's inodes that old work directories make way for, as for its bytes.
_KEEP_INODES = 1
#: Seconds until it is looked again whether there is something to remove, when there was nothing.
_BARREN = 10.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """An attempt that wants to run: the name of its directory, whose it is, and the bytes that it needs."""

    name: str
    worker: str
    need: int = 0


class Keeper:
    """One for all attempts of a worker; those of other processes on the same root keep the same books."""

    def __init__(
        self,
        root: Path,
        keep_percent: int,
        cache: Room | None = None,
        cache_root: Path | None = None,
        measure: Measure = shutil.disk_usage,
    ) -> None:
        """`keep_percent` of the disk are to stay free; `cache` is evicted last, where it is on the same disk."""
        self._measure = measure
        self._own = threading.Lock()
        self._root = root
        self._keep = keep_percent
        self._seats = Seats(root)
        self._trash = Trash(root)
        self._cache = cache
        self._cache_root = cache_root
        self._barren_until = 0.0

    def admit(self, wish: Wish, patience: Patience) -> Seat:
        """Return a seat once there is room, cleaning up if need be. Blocks.

        An attempt that needs no disk gets one anyhow: what is missing is said in it. Raises DiskShortError where the
        need can't be met with `keep_percent` left, or isn't by the end of the patience; CancelledError as the
        patience does; OSError where the root can't be written to.
        """
        try:
            with self._locked(patience):
                short = self._make_room(wish.need, patience)
                if short > 0 and wish.need > 0:
                    raise DiskShortError(self._said(wish, short))
                return self._seats.take(wish.name, wish.need, wish.worker, short)
        except TimeLimitError as error:
            raise DiskShortError(f"others clean up the disk of {self._root} for too long") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskShortError(f"the disk of {self._root} is full") from error
            raise

    def sweep(self) -> None:
        """Close what processes that died left open, and empty the trash. Raises OSError, TimeLimitError."""
        with self._locked(Patience(PATIENCE, "the lock of the work root")):
            self._settle(list(self._seats.taken()))
            self._trash.empty()

    @contextmanager
    def _locked(self, patience: Patience) -> Iterator[None]:
        """Hold the lock of the root; only one thread of this process at a time tries to get it from others."""
        self._root.mkdir(parents=True, exist_ok=True)
        while not self._own.acquire(timeout=_TURN):
            patience.check()
        try:
            with held(self._seats.lock, patience):
                yield
        finally:
            self._own.release()

    def _make_room(self, need: int, patience: Patience) -> int:
        """Return the bytes that are missing after all that could be done."""
        taken = list(self._seats.taken())
        # what they wrote counts twice here, which is quickly said; only where that is too much it is looked at
        if self._missing(sum(one.reserved for one in taken if one.alive), need) == 0:
            return 0
        promised = sum(account.promised(one.reserved, self._written(one)) for one in taken if one.alive)

        def missing() -> int:
            patience.check()
            return self._missing(promised, need)

        lacking = missing()
        if lacking == 0 or time.monotonic() < self._barren_until:
            return lacking
        what = "inodes" if self._lacks_inodes() else f"{lacking // _MIB} MiB"
        log.warning("%s: the disk lacks %s: cleaning up", self._root, what)
        self._settle(taken)
        self._trash.empty()
        in_use = {one.name for one in taken if one.alive}
        lacking = order.clean(self._candidates(in_use), missing, self._trash.take)
        if lacking > 0 and self._cache is not None and self._on_same_disk():
            self._cache.make_free(free_bytes(self._root) + lacking, patience)
            lacking = missing()
        if lacking > 0:
            self._barren_until = time.monotonic() + _BARREN
        return lacking

    def _candidates(self, in_use: Set[str]) -> Iterator[Path]:
        return order.in_order(lambda: finished(self._root, in_use))

    def _missing(self, promised: int, need: int) -> int:
        """Return the bytes that are missing, at least one where inodes are."""
        usage = self._measure(self._root)
        missing = Account(usage.total, usage.free, promised).missing(need, self._keep)
        return max(missing, self._lacks_inodes())

    def _lacks_inodes(self) -> bool:
        status = os.statvfs(self._root)
        return status.f_favail * 100 < status.f_files * _KEEP_INODES

    def _written(self, seat: Taken) -> int:
        directory = self._seats.directory(seat) if seat.reserved else None
        return written(directory.path) if directory else 0

    def _settle(self, taken: list[Taken]) -> None:
        for one in taken:
            if one.alive:
                continue
            try:
                self._seats.settle(one)
                log.warning("%s: left by a process that died: closed", one.name)
            except OSError as error:
                # on a full disk perhaps: others may go, and then this one
                log.warning("%s: left by a process that died, and not closed: %s", one.name, error)

    def _on_same_disk(self) -> bool:
        try:
            return self._cache_root is not None and self._cache_root.stat().st_dev == self._root.stat().st_dev
        except OSError:
            return False

    def _said(self, wish: Wish, short: int) -> str:
        if self._lacks_inodes():
            return f"disk: less than {_KEEP_INODES} % of the inodes of {self._root} are free"
        usage = self._measure(self._root)
        return (
            f"disk: {wish.need // _MIB} MiB are needed, and {self._keep} % of {usage.total // _MIB} MiB have to stay"
            f" free; {usage.free // _MIB} MiB are, with what running jobs reserved {-(-short // _MIB)} MiB too few"
        )


def written(directory: Path) -> int:
    """Return the bytes of disk that a directory takes; what can't be looked at counts as nothing."""
    return sum(status.st_blocks * 512 for _, status in files_below(directory))
