"""What the processes of a host tell each other about images: a folder for each, in one that they share.

```
<folder>/<key>/lock         held by who brings the image, or removes it
<folder>/<key>/used         held, shared, by attempts that use the image; its time is that of the last use
<folder>/<key>/archive      what it loads; of a process that died it is worth nothing
<folder>/<key>/loaded.json  which image was loaded under the name, and of what
<folder>/<key>/failed.json  why the last try failed, for those who waited for it
```
"""

import copy
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.images.wanted import Wanted
from pipeline.inputs.locks import try_lock
from pipeline.work import files

M = TypeVar("M", bound=BaseModel)
#: Bytes of a note.
_LIMIT = 64 << 10


class Loaded(BaseModel):
    """An image that was loaded into a store: its id, the digest of its archive, and the bytes that it takes."""

    store: str
    name: str
    image_id: str
    sha256: str
    size: int


class Failed(BaseModel):
    """Why a try at an image failed, of which archive, and when (seconds since the epoch)."""

    wanted: str
    error: str
    at: float


class Use:
    """Says that an image is used, until it is closed or its process ends."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def close(self) -> None:
        """Use it no more; may be called again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):
                os.utime(handle)
            os.close(handle)


class Shelf:
    """The place of one image of one engine."""

    def __init__(self, folder: Path) -> None:
        """Makes nothing yet."""
        self._folder = folder
        self._used = folder / "used"
        self.archive = self._folder / "archive"
        self._loaded = self._folder / "loaded.json"
        self._failed = self._folder / "failed.json"
        self._handle: int | None = None

    @classmethod
    def of(cls, folder: Path, store: str, name: str) -> "Shelf":
        """Return the place of an image; `store` tells engines apart that know different ones."""
        return cls(folder / hashlib.sha256(f"{store}\n{name}".encode()).hexdigest()[:32])

    @classmethod
    def all(cls, folder: Path) -> "list[Shelf]":
        """Return the places of all images, the one that was not used for longest first; raises OSError."""
        if not folder.exists():
            return []
        return sorted((cls(path) for path in folder.iterdir() if path.is_dir()), key=lambda one: one.last_used)

    def use(self) -> "Use | None":
        """Keep the image from being removed; None while somebody is removing it: try again. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self._used, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                os.utime(handle)
                return Use(handle)
        except BlockingIOError:
            pass
        os.close(handle)
        return None

    def claim(self) -> bool:
        """Become the one that brings the image, and clear up after one that died; False while another is. OSError."""
        self._handle = try_lock(self._folder / "lock")
        if self._handle is None:
            return False
        self._clear()
        return True

    def release(self) -> None:
        """Let others; the archive is gone. May be called again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._clear()
            os.close(handle)

    def handed_over(self) -> "Shelf":
        """Return another one that has the claim now, and whose it is to release."""
        other = copy.copy(self)
        self._handle = None
        return other

    @property
    def loaded(self) -> Loaded | None:
        """What was loaded last under this name."""
        return _read(self._loaded, Loaded)

    def note_loaded(self, loaded: Loaded) -> None:
        """Tell what was loaded; raises OSError."""
        files.write_json(self._loaded, loaded.model_dump())
        self._failed.unlink(missing_ok=True)

    @contextmanager
    def nobodys(self) -> Iterator[bool]:
        """Say whether nobody brings or uses the image, nor will before the end of this; raises OSError."""
        handle = None
        try:
            if self.claim():
                handle = try_lock(self._used)
            yield handle is not None
        finally:
            if handle is not None:
                os.close(handle)
            self.release()

    def forget(self) -> None:
        """Drop the note of what was loaded."""
        self._loaded.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the place itself; only who was told that it is nobody's may."""
        with suppress(OSError):
            for path in (self._loaded, self._failed, self._used, self._folder / "lock"):
                path.unlink(missing_ok=True)
            self._folder.rmdir()

    @property
    def last_used(self) -> float:
        """When it was last used (seconds since the epoch), or made where it never was."""
        try:
            return self._folder.stat().st_mtime if not self._used.exists() else self._used.stat().st_mtime
        except OSError:
            return 0.0

    def note_failed(self, wanted: Wanted, error: str) -> None:
        """Tell those who wait."""
        with suppress(OSError):
            files.write_json(self._failed, Failed(wanted=_mark(wanted), error=error, at=time.time()).model_dump())

    def failed_since(self, wanted: Wanted, began: float) -> str | None:
        """Return why a try at the same archive failed that ended after a time; None if there was none."""
        note = _read(self._failed, Failed)
        return note.error if note is not None and note.wanted == _mark(wanted) and note.at >= began else None

    def _clear(self) -> None:
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if path == self.archive or path.name.startswith("."):
                    with suppress(OSError):
                        path.unlink()


def _mark(wanted: Wanted) -> str:
    """Return what tells one archive from another without showing what is secret in its URL."""
    return hashlib.sha256(f"{wanted.url}\n{wanted.sha256}".encode(errors="surrogateescape")).hexdigest()


def _read(path: Path, kind: type[M]) -> M | None:
    data = files.read(path, _LIMIT)
    try:
        return kind.model_validate_json(data) if data else None
    except ValidationError:
        return None
