"""Reading a directory that a job wrote, without being led out of it.

A job may leave symbolic links behind, and processes that swap a directory for a link while it is read. So a path is
opened one component at a time, no link is ever followed by the kernel, and where a link is allowed to count, its
target is computed first and then opened the same way.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from pipeline.datasets.errors import InvalidProduct
from pipeline.nesting import MOST_LEVELS, is_too_deep

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Directories nested deeper than this are not read: a job can't make the worker recurse without end.
MAX_DEPTH = 64


class JobTree:
    """The files under one job directory. Paths given and returned are relative to it, as tuples of names."""

    def __init__(self, root: Path) -> None:
        """Raise NotADirectoryError or FileNotFoundError if `root` is no directory."""
        self.root = root.resolve(strict=True)
        if not self.root.is_dir():
            raise NotADirectoryError(str(root))

    def locate(self, path: Path) -> tuple[str, ...]:
        """The place under the root that `path` really is, every link resolved.

        Raises InvalidProduct where that is outside the root, where a link is broken or goes in a circle.
        """
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise InvalidProduct(f"{path}: can't be resolved: {error}") from error
        if not real.is_relative_to(self.root):
            raise InvalidProduct(f"{path}: leads outside the job directory, to {real}")
        return real.relative_to(self.root).parts

    @contextmanager
    def opened(self, parts: tuple[str, ...], directory: bool = False) -> Iterator[int]:
        """A file descriptor of the regular file or directory at `parts`.

        Raises InvalidProduct for anything else there (link, device, pipe, socket), OSError as the system does.
        """
        handle = os.open(self.root, _FLAGS | os.O_DIRECTORY)
        try:
            for position, name in enumerate(parts):
                last = position == len(parts) - 1
                flags = _FLAGS | (os.O_NONBLOCK if last and not directory else os.O_DIRECTORY)
                try:
                    inner = os.open(name, flags, dir_fd=handle)
                except OSError as error:
                    raise InvalidProduct(f"{'/'.join(parts)}: {error.strerror}") from error
                os.close(handle)
                handle = inner
            if not directory and not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InvalidProduct(f"{'/'.join(parts)}: not a regular file")
            yield handle
        finally:
            os.close(handle)

    def read(self, parts: tuple[str, ...], limit: int) -> bytes:
        """The content of a regular file. Raises InvalidProduct if it is longer than `limit` bytes."""
        with self.opened(parts) as handle, os.fdopen(os.dup(handle), "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidProduct(f"{'/'.join(parts)}: longer than {limit} bytes")
        return data

    def read_json(self, parts: tuple[str, ...], limit: int) -> dict[str, Any]:
        """The object in a JSON file. Raises InvalidProduct for anything else, and where it is nested too deep."""
        try:
            value = orjson.loads(self.read(parts, limit))
        except orjson.JSONDecodeError as error:
            raise InvalidProduct(f"{parts[-1]}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise InvalidProduct(f"{parts[-1]}: not a JSON object")
        if is_too_deep(value):
            raise InvalidProduct(f"{parts[-1]}: nested deeper than {MOST_LEVELS} levels")
        return value

    def entries(self, parts: tuple[str, ...], wanted: Callable[[str], bool] = lambda name: True) -> list[str]:
        """The names in a directory, or those that are wanted, sorted."""
        if len(parts) > MAX_DEPTH:
            raise InvalidProduct(f"{'/'.join(parts[:8])}/...: nested deeper than {MAX_DEPTH} directories")
        with self.opened(parts, directory=True) as handle, os.scandir(handle) as entries:
            return sorted(entry.name for entry in entries if wanted(entry.name))

    def path(self, parts: tuple[str, ...]) -> Path:
        """The absolute path of `parts`."""
        return self.root.joinpath(*parts)


def is_text(name: str) -> bool:
    """Whether a file's name is UTF-8: other names are files as good as any, but can't be written into JSON."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
