"""One cached file: `data`, and in `meta.json` which version of what it is, and which file `data` was then.

```
<cache>/<kk>/<key>/lock       held by who fills, checks or removes the entry; its time is that of the last use
<cache>/<kk>/<key>/data       the file, once it was whole; whoever copies from it holds a shared lock on it
<cache>/<kk>/<key>/meta.json  its time is when `data` was last known to be what the other side has
<cache>/<kk>/<key>/part       a download that is not whole, and in part.json what it is a part of
```
"""

import fcntl
import hashlib
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import orjson
from pydantic import BaseModel, ValidationError

from pipeline.inputs.spool import STEP, Note
from pipeline.inputs.version import Version


class Meta(BaseModel):
    """`inode`, `size` and `mtime_ns` are of `data` as it was put there: another file, or a changed one, is no entry."""

    url: str
    version: Version
    inode: int
    size: int
    mtime_ns: int


def key_of(url: str) -> str:
    """Return the name of a URL's entry: its hash, so that what is secret in it isn't shown, and still counts."""
    return hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()


class Entry:
    """The files of one key; what changes them needs `lock` to be held."""

    def __init__(self, root: Path, key: str) -> None:
        self.key = key
        self.folder = root / key[:2] / key
        self.lock = self.folder / "lock"
        self.data = self.folder / "data"
        self.part = self.folder / "part"
        self.part_note = self.folder / "part.json"
        self._meta = self.folder / "meta.json"

    def meta(self) -> Meta | None:
        """Return what is known of `data`; None if it isn't there, or isn't the file that was put there."""
        try:
            meta = Meta.model_validate(orjson.loads(self._meta.read_bytes()))
            there = self.data.stat()
        except (OSError, orjson.JSONDecodeError, ValidationError):
            return None
        same = (there.st_ino, there.st_size, there.st_mtime_ns) == (meta.inode, meta.size, meta.mtime_ns)
        return meta if same else None

    @property
    def validated(self) -> float:
        """When `data` was last known to be current (seconds since the epoch); 0 if never."""
        try:
            return self._meta.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def validate(self, when: float) -> None:
        """Note that `data` was current at a time."""
        os.utime(self._meta, (when, when))

    def use(self) -> None:
        """Note that the entry is used."""
        os.utime(self.lock)

    def commit(self, url: str, version: Version, when: float) -> int:
        """Make the whole, synced part the entry's data, current at a time; return the bytes of what it replaces.

        A kill at any moment leaves the old data, the new, or none: `meta.json` counts for one file only.
        """
        replaced = self.size
        new = self.part.stat()
        meta = Meta(url=url, version=version, inode=new.st_ino, size=new.st_size, mtime_ns=new.st_mtime_ns)
        fresh = self.folder / "meta.new"
        with fresh.open("wb") as file:
            file.write(orjson.dumps(meta.model_dump()))
            file.flush()
            os.fsync(file.fileno())
        os.utime(fresh, (when, when))
        self.part.replace(self.data)
        fresh.replace(self._meta)
        self.part_note.unlink(missing_ok=True)
        # only now: nobody but root could go on with a part that a kill left read-only
        self.data.chmod(0o444)
        _sync(self.folder)
        return replaced

    @property
    def empty(self) -> bool:
        """Whether it holds neither data nor a part."""
        return not self.data.exists() and self.part_size == 0

    def drop_data(self) -> int:
        """Remove the data, of which the other side has a newer version; return its bytes."""
        freed = self.size
        self._meta.unlink(missing_ok=True)
        self.data.unlink(missing_ok=True)
        return freed

    def open(self) -> int:
        """Return a descriptor of `data` with a shared lock, which says that it is in use; raises OSError."""
        handle = os.open(self.data, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return handle

    @property
    def in_use(self) -> bool:
        """Whether somebody copies from `data`."""
        try:
            handle = os.open(self.data, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(handle)

    @property
    def size(self) -> int:
        """Bytes of `data`."""
        return _size(self.data)

    @property
    def charged(self) -> int:
        """Bytes that the entry takes, and those that a download under way will take."""
        if not self.part.exists():
            # a note alone was left by a kill after its part became the data
            return self.size
        try:
            size = Note.model_validate(orjson.loads(self.part_note.read_bytes())).version.size
        except (OSError, orjson.JSONDecodeError, ValidationError):
            size = 0
        return self.size + max(self.part_size + STEP if size is None else size, self.part_size)

    @property
    def part_size(self) -> int:
        """Bytes of the part that are here."""
        return _size(self.part)

    @property
    def used(self) -> float:
        """When it was last used (seconds since the epoch)."""
        try:
            return self.lock.stat().st_mtime
        except FileNotFoundError:
            return time.time()

    def remove(self) -> int:
        """Remove all of it, the lock last; return the bytes that are free now."""
        freed = self.size + self.part_size
        for path in (self._meta, self.folder / "meta.new", self.data, self.part, self.part_note, self.lock):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
        return freed


def free_bytes(path: Path) -> int:
    """Return the bytes that are free on a path's disk."""
    return shutil.disk_usage(path).free


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
