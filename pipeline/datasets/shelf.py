"""The visible part of a directory store: places, the lock of a place, showing and taking back."""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pipeline.datasets.copying import remove, sync_directory
from pipeline.datasets.errors import Collision, InvalidProduct, StoreBusy, StoreUnsupported
from pipeline.datasets.marker import Marker, read_marker
from pipeline.datasets.rename import exchange, rename_noreplace
from pipeline.datasets.tree import is_text

STAGING = ".staging"
#: A fixed number of lock files: one per location would grow without end, and unlinking locks is a race.
_LOCKS = 64
#: seconds between two tries at a lock that another process holds
_LOCK_INTERVAL = 0.02

Step = Callable[[str], None]


def no_step(_name: str) -> None:
    """Do nothing at a step."""
    return


class Shelf:
    """Products below one directory of a local file system, shared by all workers of this machine."""

    def __init__(self, root: Path, lock_timeout: float = 30.0, on_step: Step = no_step) -> None:
        """Make the directory if it is missing and try out what publishing needs of its file system.

        `lock_timeout` is in seconds. `on_step` is called with the name of each step as it is reached (tests,
        tracing). Raises StoreUnsupported if the file system lacks the atomic renames, OSError as the system does.
        """
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve(strict=True)
        self.staging = self.root / STAGING
        self.lock_timeout = lock_timeout
        self.on_step = on_step
        self._locks = self.staging / ".locks"
        self._locks.mkdir(parents=True, exist_ok=True)
        self._try_renames()

    def place(self, location: str) -> Path:
        """The path of a location: relative to the root, or absolute (also as `file://`) below it.

        Raises InvalidProduct if it is the root itself, leads outside by name, or into the staging area.
        """
        text = location.removeprefix("file://")
        if text.startswith("/"):
            if not text.startswith(f"{self.root}/"):
                raise InvalidProduct(f"location {location!r} is not below the store {self.root}")
            text = text[len(str(self.root)) + 1 :]
        names = text.split("/")
        if "://" in text or any(name in ("", ".", "..") or "\0" in name for name in names):
            raise InvalidProduct(f"location {location!r} is not a plain path inside the store")
        if names[0] == STAGING or any(len(os.fsencode(name)) > 255 for name in names) or not is_text(text):
            raise InvalidProduct(f"location {location!r} can't be used: reserved, not UTF-8, or a name too long")
        return self.root / PurePosixPath(*names)

    @contextmanager
    def locked(self, place: Path) -> Iterator[None]:
        """Hold the lock under which a product is replaced or withdrawn. Raises StoreBusy after the time-out."""
        # by its place in the store: two paths to one store, a mount of it elsewhere, share their locks
        within = os.fsencode(place.relative_to(self.root))
        number = int(hashlib.sha256(within).hexdigest(), 16) % _LOCKS
        handle = os.open(self._locks / f"{number:02}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline = time.monotonic() + self.lock_timeout
            while not try_lock(handle):
                if time.monotonic() > deadline:
                    raise StoreBusy(f"{place}: another process has been replacing here for {self.lock_timeout} s")
                time.sleep(_LOCK_INTERVAL)
            yield
        finally:
            os.close(handle)

    def show(self, staged: Path, place: Path) -> None:
        """Move a staged product to a free place. Raises FileExistsError if it is taken, Collision inside a product.

        Parents come first: once a parent is a plain directory, no product can be put in its place any more, so
        that none of them is a product is still true at the rename.
        """
        self._make_parents(place)
        for parent in place.parents:
            if parent == self.root:
                break
            owner = read_marker(parent)
            if owner is not None:
                raise Collision(f"{place}: inside {parent}, published by job {owner.job_id}", owner=owner.job_id)
        self.on_step("show")
        rename_noreplace(staged, place)
        self.on_step("shown")
        sync_directory(place.parent)

    def take_back(self, place: Path, spare: Path, ours: Callable[[Marker | None], bool]) -> bool:
        """Withdraw a visible product if it is `ours`: what it replaced (at `spare`) returns, else it moves there.

        Returns whether anything changed; a product that somebody else has replaced meanwhile stays. Only for
        attempts that can't show anything any more, so what isn't theirs now needs no lock: a process that
        stands still inside it holds up nobody else.
        """
        if not ours(read_marker(place)):
            return False
        with self.locked(place):
            if not ours(read_marker(place)):
                return False
            self.on_step("take back")
            if ours(read_marker(spare)):
                remove(spare)
            if spare.exists():
                exchange(place, spare)
            else:
                rename_noreplace(place, spare)
        sync_directory(place.parent)
        return True

    def _make_parents(self, place: Path) -> None:
        missing = [parent for parent in place.parents if not parent.exists()]
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise Collision(f"{place}: {error.filename} is not a directory") from error
        if not place.parent.resolve().is_relative_to(self.root):
            raise InvalidProduct(f"{place}: a link in the store leads outside it")
        for parent in missing:
            sync_directory(parent.parent)

    def _try_renames(self) -> None:
        """Fail at the start, not at the first product, on a file system that can't do this."""
        probe = self.staging / f".probe-{os.getpid()}-{time.monotonic_ns()}"
        one, other = probe / "one", probe / "other"
        one.mkdir(parents=True)
        other.mkdir()
        try:
            exchange(one, other)
            try:
                rename_noreplace(one, other)
            except FileExistsError:
                return
            raise StoreUnsupported(f"{self.root}: a rename replaced a directory that it must not")
        finally:
            remove(probe)


def try_lock(handle: int) -> bool:
    """Take an exclusive lock on an open file or directory unless somebody has it. Closing it, or dying, frees it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
