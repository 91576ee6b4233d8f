"""The two atomic renames that Python doesn't offer: one that replaces nothing, one that swaps (renameat2, Linux)."""

import ctypes
import errno
import os
from pathlib import Path

from pipeline.datasets.errors import StoreUnsupported

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2


def rename_noreplace(source: Path, target: Path) -> None:
    """Move `source` to `target` in one step. Raises FileExistsError if anything is there, even an empty directory.

    Raises StoreUnsupported if the two are on different file systems, or this one can't do it.
    """
    _renameat2(source, target, _NOREPLACE)


def exchange(one: Path, other: Path) -> None:
    """Swap two existing paths in one step: nobody ever sees either missing. Raises as `rename_noreplace`."""
    _renameat2(one, other, _EXCHANGE)


def _renameat2(source: Path, target: Path, flags: int) -> None:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise StoreUnsupported("the C library has no renameat2: publishing needs Linux with glibc 2.28 or musl 1.2")
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EXDEV:
        raise StoreUnsupported(f"{source} and {target} are on different file systems: no atomic step joins them")
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise StoreUnsupported(
            f"the file system of {target} can't rename without replacing ({os.strerror(number)}): "
            "use a local one (ext4, xfs, btrfs, tmpfs)"
        )
    raise OSError(number, os.strerror(number), str(source), None, str(target))
