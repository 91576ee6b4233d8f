"""Copying a product out of a job directory, durably."""

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.datasets.tree import JobTree
from pipeline.datasets.walk import walk

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
    copy, directories, size = _Copy(tree, check), [], 0
    for entry in walk(tree, parts, wanted):
        check()
        place = target.joinpath(*entry.inside)
        if entry.is_directory:
            place.mkdir(mode=0o755)
            directories.append(place)
        else:
            size += copy.file(entry.parts, place)
    for directory in reversed(directories):
        sync_directory(directory)
    return size


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
    def __init__(self, tree: JobTree, check: Callable[[], None]) -> None:
        self.tree = tree
        self.check = check

    def file(self, parts: tuple[str, ...], target: Path) -> int:
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
