"""What the processes of a host tell each other about images: a folder for each, in one that they share.

```
<folder>/<key>/lock         held by who brings the image
<folder>/<key>/archive      what it loads; of a process that died it is worth nothing
<folder>/<key>/loaded.json  which image was loaded under the name, and of what
<folder>/<key>/failed.json  why the last try failed, for those who waited for it
```
"""

import copy
import hashlib
import os
import time
from contextlib import suppress
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
    """An image that was loaded: its id, the digest of its archive, and the bytes that it takes."""

    name: str
    image_id: str
    sha256: str
    size: int


class Failed(BaseModel):
    """Why a try at an image failed, of which archive, and when (seconds since the epoch)."""

    wanted: str
    error: str
    at: float


class Shelf:
    """The place of one image of one engine."""

    def __init__(self, folder: Path, store: str, name: str) -> None:
        """`store` tells engines apart that know different images. Makes nothing yet."""
        self._folder = folder / hashlib.sha256(f"{store}\n{name}".encode()).hexdigest()[:32]
        self.archive = self._folder / "archive"
        self._loaded = self._folder / "loaded.json"
        self._failed = self._folder / "failed.json"
        self._handle: int | None = None

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

    def note_failed(self, wanted: Wanted, error: str) -> None:
        """Tell those who wait."""
        with suppress(OSError):
            files.write_json(self._failed, Failed(wanted=_mark(wanted), error=error, at=time.time()).model_dump())

    def failed_since(self, wanted: Wanted, began: float) -> str | None:
        """Return why a try at the same archive failed that ended after a time; None if there was none."""
        note = _read(self._failed, Failed)
        return note.error if note is not None and note.wanted == _mark(wanted) and note.at >= began else None

    def _clear(self) -> None:
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
