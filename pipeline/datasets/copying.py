"""Copying a product out of a job directory, durably."""

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.marker import MARKER
from pipeline.datasets.tree import MAX_DEPTH, JobTree

#: bytes copied between two looks at whether to stop
_CHUNK = 4 << 20


def copy_product(
    tree: JobTree,
    parts: tuple[str, ...],
    target: Path,
    wanted: Callable[[tuple[str, ...]], bool],
    check: Callable[[], None],
) -> int:
    """Copy the directory `parts` to `target`, which must not exist; return the bytes of its files.

    Links inside the job directory are replaced by what they point at. `check` is called often, and what it raises
    ends the copy. Raises InvalidProduct for links that lead outside, devices, pipes, sockets and the marker's
    name. On return every file and directory is on disk.
    """
    return _Copy(tree, wanted, check).directory(parts, target, (), ())


def write_files(directory: Path, files: Mapping[str, bytes]) -> int:
    """Write files into a directory, over what is there, durably; return their bytes."""
    for name, data in files.items():
        (directory / name).unlink(missing_ok=True)
        handle = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
    sync_directory(directory)
    return sum(map(len, files.values()))


def sync_directory(directory: Path) -> None:
    """Put a directory's entries on disk: what was created, renamed or removed in it."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Copy:
    def __init__(self, tree: JobTree, wanted: Callable[[tuple[str, ...]], bool], check: Callable[[], None]) -> None:
        self.tree = tree
        self.wanted = wanted
        self.check = check
        self.through_link = False

    def directory(
        self, parts: tuple[str, ...], target: Path, inside: tuple[str, ...], chain: tuple[tuple[str, ...], ...]
    ) -> int:
        if parts in chain or len(inside) > MAX_DEPTH:
            raise InvalidProduct(f"{self.tree.path(parts)}: contains itself or is nested too deep")
        target.mkdir(mode=0o755)
        size = 0
        for name in self.tree.entries(parts):
            self.check()
            if not inside and name == MARKER:
                raise InvalidProduct(f"{self.tree.path(parts)}: {MARKER} is reserved")
            size += self._entry((*parts, name), target / name, (*inside, name), (*chain, parts))
        sync_directory(target)
        return size

    def _entry(
        self, parts: tuple[str, ...], target: Path, inside: tuple[str, ...], chain: tuple[tuple[str, ...], ...]
    ) -> int:
        if not self.wanted(inside):
            return 0
        path = self.tree.path(parts)
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            parts = self.tree.locate(path)
            mode = self.tree.path(parts).lstat().st_mode
            if stat.S_ISDIR(mode):
                # One level only: links to directories full of such links would multiply without end.
                if self.through_link:
                    raise InvalidProduct(f"{path}: a link to a directory inside a linked directory")
                return self._linked(parts, target, inside, chain)
        if stat.S_ISDIR(mode):
            return self.directory(parts, target, inside, chain)
        return self._file(parts, target)

    def _linked(
        self, parts: tuple[str, ...], target: Path, inside: tuple[str, ...], chain: tuple[tuple[str, ...], ...]
    ) -> int:
        self.through_link = True
        try:
            return self.directory(parts, target, inside, chain)
        finally:
            self.through_link = False

    def _file(self, parts: tuple[str, ...], target: Path) -> int:
        with self.tree.opened(parts) as source:
            status = os.fstat(source)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(target, flags, 0o600)
            try:
                size = self._content(source, handle)
                os.fchmod(handle, stat.S_IMODE(status.st_mode) & 0o755 | 0o644)
                os.utime(handle, ns=(status.st_atime_ns, status.st_mtime_ns))
                os.fsync(handle)
            finally:
                os.close(handle)
        return size

    def _content(self, source: int, target: int) -> int:
        size = 0
        while copied := os.sendfile(target, source, None, _CHUNK):
            size += copied
            self.check()
        return size


def remove(path: Path) -> None:
    """Remove a file or a whole directory; what is gone already, or goes meanwhile, is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(_function: object, _path: object, info: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
