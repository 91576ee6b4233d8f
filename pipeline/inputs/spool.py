"""The file that bytes are gathered in until they are all there."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import orjson
from pydantic import BaseModel, ValidationError

from pipeline.inputs.errors import DiskFullError
from pipeline.inputs.source import Part
from pipeline.inputs.version import Version

#: Told how many bytes the file will need, or needs by now; raises InputError if it can't have them.
Room = Callable[[int], None]
#: Bytes by which a file of unknown size is given room.
STEP = 64 << 20
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Note(BaseModel):
    """What a part is of; of another boot, its end may be lost though its size isn't."""

    version: Version
    boot: str


class Spool:
    """A part at `path`, and beside it, if `note` is given, what it is a part of: so that another process can go on."""

    def __init__(self, path: Path, note: Path | None = None, room: Room = lambda _: None) -> None:
        self.path = path
        self._note = note
        self._room = room
        self._handle: int | None = None
        self._version: Version | None = None
        self._asked = 0
        self.size = 0

    def part(self) -> Part | None:
        """Return what is here of a version that is known."""
        version = self._version or self._noted()
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return None
        return Part(version, size) if version is not None and size > 0 else None

    def begin(self, version: Version, start: int) -> None:
        """Open the file to go on after `start` bytes; raises DiskFullError, or what `room` raises."""
        self.close()
        self._version = version
        self._asked = 0
        try:
            self._ask(version.size if version.size is not None else start)
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.ftruncate(self._handle, start)
            if self._note is not None and start == 0:
                # only now: a kill before it must not leave the old bytes under the new version's name
                self._note.write_bytes(orjson.dumps(Note(version=version, boot=_boot()).model_dump()))
            os.lseek(self._handle, start, os.SEEK_SET)
        except OSError as error:
            raise self._full(error) from error
        self.size = start

    def write(self, data: bytes) -> None:
        """Append; raises as `begin` does."""
        assert self._handle is not None
        if self.size + len(data) > self._asked:
            self._ask(self.size + len(data) + STEP)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise self._full(error) from error
        self.size += len(data)

    def finish(self) -> None:
        """Put what was written on disk and close; raises DiskFullError."""
        assert self._handle is not None
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise self._full(error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; the part stays."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def discard(self) -> None:
        """Remove the part."""
        self.close()
        self._version = None
        self.path.unlink(missing_ok=True)
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def _ask(self, size: int) -> None:
        self._room(size)
        self._asked = size

    def _noted(self) -> Version | None:
        if self._note is None:
            return None
        try:
            note = Note.model_validate(orjson.loads(self._note.read_bytes()))
        except (OSError, orjson.JSONDecodeError, ValidationError):
            return None
        return note.version if note.boot == _boot() else None

    def _full(self, error: OSError) -> Exception:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return error
        self.discard()
        return DiskFullError(f"the disk of {self.path.parent} is full after {self.size} bytes")


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
