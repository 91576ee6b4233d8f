"""Images that are files: a folder of the operator's, what each of its files is called, and how more get there."""

import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeline.containers.errors import EngineError, RefusedError

#: Where a root directory says which image it was made from.
IDENTITY_FILE = ".jobstream-image"
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(?:[/:@][A-Za-z0-9_][\w.+-]*)*")
_CHUNK = 1 << 20
_KEPT, _NEW = ".images", ".new-"
#: What a directory has that is an image, and one that images lie in hasn't.
_OF_ROOTS = (IDENTITY_FILE, ".singularity.d", "bin", "usr")


class ImageFolder:
    """Finds an image by its name: `a/b:1` is the folder's `a/b:1`, a file or a directory, or else its `a/b:1.sif`; an
    absolute path stands for itself, if it leads into the folder.

    What was loaded lies below `.images`, each under a digest of its own, and its name is a link to it: to load another
    one under that name disturbs nobody who uses the first. Nothing is removed from there by itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[object, ...], str] = {}
        self._lock = threading.Lock()

    def find(self, name: str | None) -> Path:
        """Return where an image is, resolved; raises EngineError if it isn't there, RefusedError if it is elsewhere."""
        if not name:
            raise EngineError("the job names no container image")
        within = Path(os.path.realpath(self.folder))
        for path in self._candidates(name):
            with suppress(OSError, RuntimeError):
                resolved = path.resolve(strict=True)
                if not resolved.is_relative_to(within) or resolved == within:
                    raise RefusedError(f"container image {name} isn't in the images' folder {self.folder}")
                if resolved.is_file() or resolved.is_dir():
                    return resolved
        raise EngineError(f"container image {name} isn't on this machine (in {self.folder})")

    def known_as(self, name: str | None, identity: str | None) -> Path:
        """Return where the image with this identity is, whatever its name stands for by now; None: what it stands for.

        Raises EngineError, RefusedError as `find`, and EngineError if it can't be found any more.
        """
        if identity is None:
            return self.find(name)
        with self._lock:
            places = [Path(str(key[0])) for key, known in self._known.items() if known == identity]
        for path in (self._kept(identity), *places):
            with suppress(EngineError):
                if path.exists() and self.identity(path) == identity:
                    return path
        found = self.find(name)
        if self.identity(found) != identity:
            raise EngineError(f"container image {name} isn't any more what it was when the job got it: {identity}")
        return found

    def keep(self, name: str, identity: str, make: Callable[[Path], object]) -> None:
        """Have `make` make an image at the path that it is given, unless that one is here, and call it by a name.

        Raises RefusedError for a bad name, also one that leads into another image, OSError, and what `make` raises.
        """
        _check(name)
        self._check_place(name)
        kept = self._kept(identity)
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            new = kept.with_name(f"{_NEW}{uuid.uuid4().hex}")
            try:
                make(new)
                with suppress(FileExistsError):
                    new.rename(kept)
            finally:
                _remove(new)
        link = self.folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        new = link.with_name(f"{_NEW}{uuid.uuid4().hex}")
        new.symlink_to(os.path.relpath(kept, link.parent))
        try:
            new.replace(link)
        finally:
            _remove(new)

    def identity(self, path: Path) -> str:
        """Return what tells an image from others: `sha256:` and the digest of a file, or the id that a root directory
        was made from; of one that says none, a digest of its place and age.

        Digests of files are kept, as long as those don't change. Raises EngineError if it can't be read.
        """
        try:
            found = path.stat()
            key = (str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            with self._lock:
                known = self._known.get(key)
            if known is None:
                known = _of_directory(path, key) if path.is_dir() else digest_of(path)
                with self._lock:
                    self._known[key] = known
        except OSError as error:
            raise EngineError(f"container image {path} can't be read: {error.strerror}") from error
        return known

    def _check_place(self, name: str) -> None:
        for path in Path(name).parents[:-1]:
            folder = self.folder / path
            if folder.is_symlink() or any(os.path.lexists(folder / own) for own in _OF_ROOTS):
                raise RefusedError(f"{name!r} can't be an image's name: {path} is an image itself")

    def _kept(self, identity: str) -> Path:
        return self.folder / _KEPT / identity.replace(":", "-").replace("/", "-")

    def _candidates(self, name: str) -> list[Path]:
        if name.startswith("/"):
            return [Path(name)]
        _check(name)
        return [self.folder / name, self.folder / f"{name}.sif"]


def _check(name: str) -> None:
    if not _NAME.fullmatch(name) or ".." in re.split(r"[/:@]", name):
        raise RefusedError(f"{name!r} can't be an image's name")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """Return `sha256:` and the digest of a file; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _of_directory(path: Path, key: tuple[object, ...]) -> str:
    with suppress(OSError):
        if said := (path / IDENTITY_FILE).read_text().strip():
            return said
    return f"directory:{hashlib.sha256(repr(key).encode()).hexdigest()}"
